/* Large pages on other machines, and under the calls that do not map: questions, copies, ends. Host only. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/large.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0xC000000};

static vaddr_t page_at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

static unsigned level_of(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, page_at(page), &w));
    return w.present ? w.level : 0;
}

static enum status map_device(struct vmm_bed *bed, uint64_t page, uint64_t pages, unsigned flags)
{
    return vmm_map_frames(bed->vmm, &bed->a, page_at(page), pfn_add(device, page), npages(pages), RW | flags, false);
}

TEST_HOST(vmm_large_more, a_cpu_without_1_gib_pages_does_with_2_mib)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    model_machine->variant.no_1g_pages = true;
    EXPECT_EQ(map_device(&bed, 0, PAGES_PER_1G, VMM_1G), STATUS_UNSUPPORTED);
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(0), npages(PAGES_PER_1G), RW | VMM_1G), STATUS_UNSUPPORTED);
    EXPECT_OK(map_device(&bed, 0, PAGES_PER_1G, VMM_LARGE));
    EXPECT_EQ(level_of(&bed, &bed.a, 0), 2);
    EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, page_at(0), 3, 0), STATUS_UNSUPPORTED);
    EXPECT_EQ(level_of(&bed, &bed.a, PAGES_PER_1G - 1), 2);
    model_machine->variant.no_1g_pages = false;
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_large_more, more_fresh_large_pages_than_the_list_holds_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t stores = bed.vmm->counters.table_stores;
    const uint64_t pages = (VMM_MAP_LARGE_MAX + 1ULL) * 512;
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(0), npages(pages), RW | VMM_2M), STATUS_LIMIT);
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(0), npages(pages - 512), RW | VMM_2M), STATUS_NOMEM); /* 1 GiB */
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    vmm_bed_close(&bed);
}

struct seen {
    struct vmm_mapping mapping[8];
    unsigned count;
};

static bool see(void *ctx, const struct vmm_mapping *m)
{
    struct seen *seen = ctx;
    if (seen->count < ARRAY_LEN(seen->mapping)) {
        seen->mapping[seen->count] = *m;
    }
    seen->count++;
    return true;
}

TEST_HOST(vmm_large_more, a_visit_tells_the_sizes_apart)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_device(&bed, 511, 2 * PAGES_PER_1G + 3, VMM_LARGE));
    static const uint64_t expected[][3] = {{511, 1, 1},
                                           {512, PAGES_PER_1G - 512, 2},
                                           {PAGES_PER_1G, PAGES_PER_1G, 3},
                                           {2 * PAGES_PER_1G, 512, 2},
                                           {2 * PAGES_PER_1G + 512, 2, 1}};
    struct seen seen = {0};
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), see, &seen);
    EXPECT_EQ(seen.count, ARRAY_LEN(expected));
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        const struct vmm_mapping *m = &seen.mapping[i];
        EXPECT_EQ(m->base.v, page_at(expected[i][0]).v);
        EXPECT_EQ(m->pages.v, expected[i][1]);
        EXPECT_EQ(m->page_bytes, level_span_bytes((unsigned)expected[i][2]));
        EXPECT_EQ(paddr_to_pfn(m->address).v, device.v + expected[i][0]);
    }
    seen.count = 0; /* a part of a large page */
    vmm_visit(bed.vmm, &bed.a, page_at(PAGES_PER_1G + 5), page_at(PAGES_PER_1G + 7), see, &seen);
    EXPECT(seen.count == 1 && seen.mapping[0].base.v == page_at(PAGES_PER_1G + 5).v && seen.mapping[0].pages.v == 2);
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_large_more, contents_are_copied_into_and_out_of_large_pages)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(512), RW | VMM_2M));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, page_at(3), npages(40), RW));
    uint64_t word = 0xFEED, back = 0;
    vmm_bed_switch(&bed, &bed.b);
    arch_write64(vaddr_add(page_at(3), 16), word);
    EXPECT_OK(space_copy(bed.vmm, &bed.a, page_at(470), &bed.b, page_at(3), pages_to_bytes(npages(40))));
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr_add(page_at(470), 16), &back, sizeof back));
    EXPECT_EQ(back, word);
    EXPECT_OK(space_clear(bed.vmm, &bed.a, page_at(470), 24));
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr_add(page_at(470), 16), &back, sizeof back));
    EXPECT_EQ(back, 0);
    EXPECT_EQ(space_clear(bed.vmm, &bed.a, page_at(511), PAGE_BYTES + 1), STATUS_ABSENT);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page_at(0), npages(512), VMM_READ));
    EXPECT_EQ(space_clear(bed.vmm, &bed.a, page_at(470), 24), STATUS_DENIED);
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_large_more, a_space_ends_with_large_pages_of_every_kind)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned keeps = 0; keeps < 2; keeps++) {
        const uint64_t free = pmm_stats(bed.vmm->pmm).free.v;
        EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, keeps != 0));
        EXPECT_OK(map_device(&bed, 511, PAGES_PER_1G + 1, VMM_LARGE));
        EXPECT_OK(map_device(&bed, 4 * PAGES_PER_1G, 3 * PAGES_PER_1G, VMM_LARGE));
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1030), RW | VMM_LARGE));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL + 5 * PAGE_BYTES), npages(2)));
        EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, keeps == 0));
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(space_destroy(bed.vmm, &bed.a));
        EXPECT_OK(space_create(bed.vmm, &bed.a));
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).free.v, free);
    }
    vmm_bed_close(&bed);
}

/* More than is flushed page by page, more than the gather holds, and tables among them. */
TEST_HOST(vmm_large_more, long_ranges_of_all_sizes_come_and_go)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned own = 0; own < 2; own++) {
        vmm_bed_switch(&bed, own != 0 ? &bed.a : &bed.b);
        EXPECT_OK(map_device(&bed, 0, 3 * PAGES_PER_1G, VMM_2M));
        for (uint64_t i = 0; i < 40; i++) {
            EXPECT_OK(vmm_demote(bed.vmm, &bed.a, page_at(i * 1024)));
        }
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page_at(1), npages(3 * PAGES_PER_1G - 2), VMM_READ));
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(1), npages(3 * PAGES_PER_1G - 2)));
        EXPECT_EQ(bed.a.pages.v, 2);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(1)));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(3 * PAGES_PER_1G - 1), npages(1)));
        EXPECT_EQ(bed.a.tables.v, 1);
    }
    vmm_bed_close(&bed);
}

/* The validator sees what is wrong with a large page. */
TEST_HOST(vmm_large_more, the_validator_counts_and_asks_for_large_pages)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(512), RW | VMM_2M));
    const paddr_t at = model_entry_at(model_machine, bed.a.root, page_at(0), 2);
    const uint64_t old = model_phys_read64(model_machine, at);
    const uint64_t wrong[] = {old & ~PTE_XD, old | 1ULL << 58, old | PAGE_BYTES, 0, old + level_span_bytes(2) * 3,
                              pte_make(pfn(0), old & ~PTE_FRAME_MASK).v};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        model_phys_write64(model_machine, at, wrong[i]);
        if (!EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT)) {
            test_note("entry %#lx", wrong[i]);
        }
    }
    model_phys_write64(model_machine, at, old);
    const pfn_t frame = pfn_add(pte_pfn((pte_t){old}), 300); /* one of its frames is free */
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
    EXPECT_OK(pmm_claim(bed.vmm->pmm, frame, npages(1)));
    vmm_bed_close(&bed);
}
