/*
 * The gather on long ranges: one flush, frames that their own tables remember, tables that stay. Host only: large, and
 * the model sees a frame that goes back before the flush.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

/* 300 pages of a PT, then four whole ones, then 100 of another. */
enum { HEAD = 300, WHOLE = 4, TAIL = 100, LONG = HEAD + WHOLE * PAGES_PER_2M + TAIL };

static vaddr_t at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

struct difference {
    uint64_t loads, stores, invlpg, cr3_loads;
};

static void expect_difference(const struct vmm_counters *was, const struct vmm_counters *now, struct difference d)
{
    EXPECT_EQ(now->table_loads - was->table_loads, d.loads);
    EXPECT_EQ(now->table_stores - was->table_stores, d.stores);
    EXPECT_EQ(now->invlpg - was->invlpg, d.invlpg);
    EXPECT_EQ(now->cr3_loads - was->cr3_loads, d.cr3_loads);
}

/* Every page is touched, so that the model's TLB holds it when it goes. */
static void touch_all(uint64_t first, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        arch_write64(at(first + i), i);
    }
}

TEST_HOST(vmm_gather, an_unmap_of_any_length_flushes_once)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const uint64_t first = PAGES_PER_2M - HEAD, used = vmm_bed_frames(bed.vmm);
    for (unsigned turn = 0; turn < 2; turn++) {
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, at(first), npages(LONG), RW));
        touch_all(first, LONG);
        const struct vmm_counters was = bed.vmm->counters;
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, at(first), npages(LONG)));
        /*
         * The ends and one whole PT are read through the window, the others after the flush through a temporary
         * mapping. Stored: the six PDEs, the PDPTE, the PML4E; no leaf.
         */
        const uint64_t later = WHOLE - 1;
        expect_difference(&was, &bed.vmm->counters,
                          (struct difference){1 + 1 + 6 + LONG, 6 + 2 + 2 * later, later, 1});
        EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
    }
    vmm_bed_close(&bed);
}

/* Neighbours keep the tables at both ends: their leaves are cleared, the whole ones between go as they are. */
TEST_HOST(vmm_gather, tables_at_the_ends_that_stay_are_cleared)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const uint64_t first = PAGES_PER_2M - HEAD;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, at(first - 1), npages(LONG + 2), RW));
    touch_all(first - 1, LONG + 2);
    const struct vmm_counters was = bed.vmm->counters;
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, at(first), npages(LONG)));
    const uint64_t later = WHOLE - 1;
    expect_difference(&was, &bed.vmm->counters,
                      (struct difference){1 + 1 + 6 + LONG, HEAD + TAIL + 6 + 1 + 2 * later, later, 1});
    EXPECT(bed.a.pages.v == 2 && bed.a.tables.v == 1 + 2 + 2);
    EXPECT_EQ(arch_read64(at(first - 1)), 0);
    EXPECT_EQ(arch_read64(at(first + LONG)), LONG + 1);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* Kept tables have no leaves in the end: their frames must be listed, and what is listed goes before it overflows. */
TEST_HOST(vmm_gather, kept_tables_flush_when_the_list_is_full)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, true));
    const uint64_t first = PAGES_PER_2M - HEAD;
    for (unsigned turn = 0; turn < 2; turn++) {
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, at(first), npages(LONG), RW));
        touch_all(first, LONG);
        const struct vmm_counters was = bed.vmm->counters;
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, at(first), npages(LONG)));
        /* 300 + 512 | 512 | 512 | 512 + 100: room is kept for the last. */
        expect_difference(&was, &bed.vmm->counters, (struct difference){1 + 1 + 6 + LONG, LONG + 6, 0, 4});
        EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1 + 2 + 6);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, false));
    EXPECT_EQ(bed.a.tables.v, 1);
    vmm_bed_close(&bed);
}

/* Device pages fill no list: the leaves of all whole PTs are read once, before the flush. */
TEST_HOST(vmm_gather, pages_without_frames_of_their_own_need_no_second_reading)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const uint64_t first = PAGES_PER_2M - HEAD;
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, at(first), pfn(0x80000000), npages(LONG), RW, false));
    const struct vmm_counters was = bed.vmm->counters;
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, at(first), npages(LONG)));
    expect_difference(&was, &bed.vmm->counters, (struct difference){1 + 1 + 6 + LONG, 6 + 2, 0, 1});
    vmm_bed_close(&bed);
}

/* The frames of a space that ends are found in its tables, shared ones stay with who else has them. */
TEST_HOST(vmm_gather, a_space_that_ends_gives_back_what_its_tables_own)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t used = vmm_bed_frames(bed.vmm);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, at(7), npages(LONG), RW));
    pfn_t shared = pfn(vmm_bed_frame_of(&bed, &bed.a, at(9)));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b, at(0), shared, npages(1), RW, true));
    EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, true));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, at(600), npages(500))); /* one PT is empty now, and kept */
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    EXPECT_EQ(pmm_query(bed.vmm->pmm, shared).references, 1);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, at(0), npages(1)));
    EXPECT_EQ(vmm_bed_frames(bed.vmm), used - 1); /* the PML4 of a */
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    vmm_bed_close(&bed);
}

/* The kernel's own: its PTs and PDs in the arena go or are kept, its PDPTs never go. */
TEST_HOST(vmm_gather, the_kernels_tables_are_kept_on_demand_and_its_pdpts_always)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vaddr_t base;
    EXPECT_OK(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, 0, "first", &base)); /* nodes are there from now on */
    EXPECT_OK(kpages_free(vmm, base));
    EXPECT_EQ(vmm->kernel_tables.v, 0);
    EXPECT_OK(space_keep_tables(vmm, &vmm->kernel, true));
    for (unsigned turn = 0; turn < 3; turn++) {
        const uint64_t made = vmm->counters.tables_made;
        EXPECT_OK(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, 0, "again", &base));
        EXPECT_OK(kpages_free(vmm, base));
        EXPECT_EQ(vmm->counters.tables_made - made, turn == 0 ? 2 : 0);
        EXPECT_EQ(vmm->kernel_tables.v, 2);
        EXPECT(vmm_bed_check(vmm));
    }
    EXPECT_OK(space_keep_tables(vmm, &vmm->kernel, false));
    EXPECT_EQ(vmm->kernel_tables.v, 0);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(vmm, &vmm->kernel, base, &w));
    EXPECT_EQ(w.level, 3); /* the PML4E is there, and the PDPT behind it */
    vmm_bed_close(&bed);
}
