/* Map, unmap, protect, translate, visit: what they do, in our own and in foreign spaces. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

TEST(vmm, fresh_pages_read_as_zero_and_keep_what_is_written)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(3), RW));
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), i)), 0);
        arch_write64(vaddr_add_pages(vaddr(VA_GLOBAL), i), 1000 + i);
    }
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), i)), 1000 + i);
    }
    EXPECT_EQ(bed.a.pages.v, 3);
    EXPECT_EQ(bed.a.tables.v, 4);
    vmm_bed_close(&bed);
}

TEST(vmm, a_foreign_edit_is_seen_after_the_switch)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_OK(frame_zero(bed.vmm, frame));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), frame, npages(1), RW, true));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b, vaddr(VA_PRIVATE), frame, npages(1), RW, true));
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 3);
    vmm_bed_switch(&bed, &bed.a);
    arch_write64(vaddr(VA_GLOBAL), 0xC0FFEE);
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(arch_read64(vaddr(VA_PRIVATE)), 0xC0FFEE);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1)));
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_GLOBAL)), UINT64_MAX);
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 2);
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    vmm_bed_close(&bed);
}

TEST(vmm, each_page_of_a_batch_gets_its_own_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t device = pfn(0xC000000);
    for (uint64_t n = 1; n <= 13; n++) { /* within a table, then over its end */
        for (unsigned border = 0; border < 2; border++) {
            vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), border == 0 ? 5 : 512 - n / 2);
            EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, device, npages(n), RW, false));
            for (uint64_t i = 0; i < n; i++) {
                EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(va, i)), device.v + i);
            }
            EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(va, n)), UINT64_MAX);
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(n)));
        }
    }
    vmm_bed_close(&bed);
}

/* Unmapping must flush: the same address, mapped to another frame, shows that one. */
TEST(vmm, an_address_mapped_anew_shows_the_new_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static const uint64_t lengths[] = {1, 31, 32, 33, 600};
    pfn_t frames[2];
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_USER, &frames[i]) == STATUS_OK);
        vaddr_t page;
        EXPECT_OK(temp_map(bed.vmm, frames[i], &page));
        arch_write64(page, 0xAA00 + i);
        EXPECT_OK(temp_unmap(bed.vmm, page));
    }
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned n = 0; n < ARRAY_LEN(lengths); n++) {
        for (uint64_t turn = 0; turn < 2; turn++) {
            for (uint64_t i = 0; i < lengths[n]; i++) {
                EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), i), frames[turn], npages(1),
                                         VMM_READ, true));
                EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), i)), 0xAA00 + turn);
            }
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(lengths[n])));
        }
    }
    EXPECT_OK(pmm_free(bed.vmm->pmm, frames[0]));
    EXPECT_OK(pmm_free(bed.vmm->pmm, frames[1]));
    vmm_bed_close(&bed);
}

/* A table that comes back in another frame: its window page must have been invalidated when the first one went (R7). */
static void remap_with_other_tables(struct vmm_bed *bed, struct space *space)
{
    const vaddr_t va = vaddr(VA_PRIVATE);
    pfn_t held[4];
    EXPECT_OK(vmm_map(bed->vmm, space, va, npages(2), RW));
    EXPECT_OK(vmm_unmap(bed->vmm, space, va, npages(2)));
    EXPECT_EQ(space->tables.v, 1);
    for (unsigned i = 0; i < ARRAY_LEN(held); i++) { /* the frames that the tables had */
        REQUIRE(pmm_alloc(bed->vmm->pmm, PMM_KERNEL, &held[i]) == STATUS_OK);
    }
    EXPECT_OK(vmm_map(bed->vmm, space, va, npages(2), RW));
    EXPECT(vmm_bed_frame_of(bed, space, va) != UINT64_MAX);
    EXPECT(vmm_bed_check(bed->vmm));
    EXPECT_OK(vmm_unmap(bed->vmm, space, va, npages(2)));
    for (unsigned i = 0; i < ARRAY_LEN(held); i++) {
        EXPECT_OK(pmm_free(bed->vmm->pmm, held[i]));
    }
}

TEST(vmm, empty_tables_go_back_and_new_ones_are_seen)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    remap_with_other_tables(&bed, &bed.a);
    vmm_bed_switch(&bed, &bed.b);
    remap_with_other_tables(&bed, &bed.b);
    vmm_bed_close(&bed);
}

TEST(vmm, protect_changes_rights_and_nothing_else)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(40), VMM_READ));
    uint64_t frame = vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_GLOBAL));
    EXPECT_EQ(arch_read64(vaddr(VA_GLOBAL)), 0);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(40), RW));
    arch_write64(vaddr(VA_GLOBAL), 5); /* the model fails this on a kept read-only translation */
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(20), VMM_READ | VMM_EXECUTE | VMM_USER));
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(VA_GLOBAL), &w));
    EXPECT_EQ(w.rights, VMM_READ | VMM_EXECUTE | VMM_USER);
    EXPECT_EQ(paddr_to_pfn(w.address).v, frame);
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 20), &w));
    EXPECT_EQ(w.rights, RW);
    EXPECT_EQ(bed.a.pages.v, 40);
    vmm_bed_close(&bed);
}

TEST(vmm, translate_names_the_entries_and_the_byte)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *spaces[] = {&bed.a, &bed.b};
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2; i++) { /* own, then foreign */
        const vaddr_t va = vaddr(VA_PRIVATE + 0x123);
        struct vmm_walk w;
        EXPECT_OK(vmm_translate(bed.vmm, spaces[i], va, &w));
        EXPECT(!w.present && w.level == 4 && w.rights == 0 && w.page_bytes == 0 && w.address.v == 0);
        EXPECT_OK(vmm_map(bed.vmm, spaces[i], vaddr_page(va), npages(1), VMM_READ | VMM_USER));
        EXPECT_OK(vmm_translate(bed.vmm, spaces[i], va, &w));
        EXPECT(w.present && w.level == 1 && w.rights == (VMM_READ | VMM_USER) && w.page_bytes == PAGE_BYTES);
        EXPECT_EQ(page_offset_bytes(w.address.v), 0x123);
        for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
            EXPECT_EQ(arch_table_load(w.window[level]).v, w.entry[level].v);
            EXPECT(pte_is_present(w.entry[level]));
        }
        EXPECT_OK(vmm_translate(bed.vmm, spaces[i], vaddr_add_pages(vaddr_page(va), 1), &w));
        EXPECT(!w.present && w.level == 1);
    }
    vmm_bed_close(&bed);
}

struct visited {
    struct vmm_bed *bed;
    unsigned count;
    struct vmm_mapping mapping[8];
};

static bool collect(void *ctx, const struct vmm_mapping *m)
{
    struct visited *v = ctx;
    if (v->count == ARRAY_LEN(v->mapping)) {
        return false;
    }
    v->mapping[v->count++] = *m;
    /* A visitor may ask about another space: this moves the foreign window. */
    EXPECT_EQ(vmm_bed_frame_of(v->bed, &v->bed->b, vaddr(VA_PRIVATE)), UINT64_MAX);
    return true;
}

TEST(vmm, visit_shows_all_mappings_merged)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t device = pfn(0xC000000); /* far above all RAM of these tests; never accessed */
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_PRIVATE), 510), device, npages(4), RW, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_PRIVATE), 514), pfn_add(device, 4), npages(1),
                             VMM_READ, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(LAYOUT_USER_END - PAGE_BYTES), device, npages(1), RW, false));
    struct visited v = {.bed = &bed};
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), collect, &v);
    REQUIRE(v.count == 3);
    EXPECT_EQ(v.mapping[0].base.v, VA_PRIVATE + pages_to_bytes(npages(510)));
    EXPECT_EQ(v.mapping[0].pages.v, 4);
    EXPECT_EQ(v.mapping[0].address.v, pfn_to_paddr(device).v);
    EXPECT(v.mapping[0].rights == RW && !v.mapping[0].owned && v.mapping[0].page_bytes == PAGE_BYTES &&
           v.mapping[0].cache == 0);
    EXPECT(v.mapping[1].pages.v == 1 && v.mapping[1].rights == VMM_READ);
    EXPECT_EQ(v.mapping[2].base.v, LAYOUT_USER_END - PAGE_BYTES);
    struct visited part = {.bed = &bed};
    vmm_visit(bed.vmm, &bed.a, vaddr(VA_PRIVATE), vaddr_add_pages(vaddr(VA_PRIVATE), 512), collect, &part);
    EXPECT(part.count == 1 && part.mapping[0].pages.v == 2);
    vmm_bed_close(&bed);
}

TEST(vmm, space_0_edits_the_kernel_half_from_any_space)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *kernel = space_find(bed.vmm, 0);
    vaddr_t range;
    REQUIRE(arena_alloc(&bed.vmm->arena, npages(2), ARENA_ALIGN_PAGE, "test", &range) == STATUS_OK);
    uint64_t opens = bed.vmm->counters.foreign_opens;
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, kernel, range, npages(2), RW));
    arch_write64(range, 77);
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(arch_read64(range), 77);
    EXPECT_OK(vmm_unmap(bed.vmm, kernel, range, npages(2)));
    EXPECT_EQ(bed.vmm->counters.foreign_opens, opens); /* always our own window */
    EXPECT_OK(arena_free(&bed.vmm->arena, range));
    vmm_bed_close(&bed);
}

TEST(vmm, spaces_are_found_by_number_until_destroyed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT(space_find(bed.vmm, bed.a.id) == &bed.a);
    EXPECT(space_find(bed.vmm, bed.b.id) == &bed.b && bed.b.id > bed.a.id);
    EXPECT(space_find(bed.vmm, 0)->id == 0);
    EXPECT(space_find(bed.vmm, bed.b.id + 1) == NULL);
    unsigned id = bed.a.id;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(700), RW | VMM_USER));
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    EXPECT(space_find(bed.vmm, id) == NULL);
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    EXPECT(bed.a.id > bed.b.id);
    vmm_bed_close(&bed);
}
