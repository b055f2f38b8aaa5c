/* Wrong arguments of the range calls: the status that says what is wrong, and nothing changed. */
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

struct bad_range {
    uint64_t va, pages;
    enum status expected;
};

static const struct bad_range bad_ranges[] = {
    {VA_PRIVATE + 1, 1, STATUS_INVALID},
    {VA_PRIVATE + ENTRY_BYTES, 1, STATUS_INVALID},
    {VA_PRIVATE, 0, STATUS_INVALID},
    {VA_PRIVATE, UINT64_MAX, STATUS_INVALID},
    {VA_PRIVATE, UINT64_MAX / PAGE_BYTES, STATUS_INVALID},
    {UINT64_MAX - PAGE_BYTES + 1, 2, STATUS_INVALID},        /* wraps */
    {UINT64_MAX - PAGE_BYTES + 1, 1, STATUS_RANGE},          /* the PML4 in its own window */
    {0, 1, STATUS_RANGE},                                    /* the first 64 KiB */
    {LAYOUT_USER_FIRST - PAGE_BYTES, 2, STATUS_RANGE},
    {LAYOUT_USER_END, 1, STATUS_RANGE},                      /* the last page below the hole */
    {LAYOUT_USER_END - PAGE_BYTES, 2, STATUS_RANGE},
    {0x0000800000000000, 1, STATUS_RANGE},                   /* in the hole */
    {0xFFFF7FFFFFFFF000, 1, STATUS_RANGE},
    {LAYOUT_USER_END - PAGE_BYTES, 0x1000000000000, STATUS_RANGE}, /* over the hole */
    {LAYOUT_ARENA_NODES, 1, STATUS_RANGE},
    {LAYOUT_ARENA_BASE - PAGE_BYTES, 2, STATUS_RANGE},
    {LAYOUT_KERNEL_END - PAGE_BYTES, 2, STATUS_RANGE},
    {LAYOUT_PMM_STATES, 1, STATUS_RANGE},
    {LAYOUT_TEMP_BASE, 1, STATUS_RANGE},
    {LAYOUT_IMAGE_BASE, 1, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_BANK_FIRST), 1, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN), 1, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 1, STATUS_RANGE},
};

static void expect_refused(struct vmm_bed *bed, struct space *space, const struct bad_range *r)
{
    vaddr_t va = vaddr(r->va);
    npages_t pages = npages(r->pages);
    EXPECT_EQ(vmm_map(bed->vmm, space, va, pages, RW), r->expected);
    EXPECT_EQ(vmm_map_frames(bed->vmm, space, va, pfn(1), pages, RW, false), r->expected);
    EXPECT_EQ(vmm_unmap(bed->vmm, space, va, pages), r->expected);
    EXPECT_EQ(vmm_protect(bed->vmm, space, va, pages, RW), r->expected);
    EXPECT_EQ(vmm_unmap_present(bed->vmm, space, va, pages), r->expected);
    EXPECT_EQ(vmm_protect_present(bed->vmm, space, va, pages, RW), r->expected);
}

TEST(vmm, bad_ranges_are_refused_in_every_space)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    uint64_t stores = bed.vmm->counters.table_stores;
    for (unsigned i = 0; i < ARRAY_LEN(bad_ranges); i++) {
        expect_refused(&bed, &bed.a, &bad_ranges[i]);
        expect_refused(&bed, space_find(bed.vmm, 0), &bad_ranges[i]);
    }
    struct bad_range kernel = {LAYOUT_ARENA_BASE, 1, STATUS_RANGE}; /* space 0 only */
    expect_refused(&bed, &bed.a, &kernel);
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    vmm_bed_close(&bed);
}

TEST(vmm, bad_rights_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static const unsigned bad[] = {VMM_WRITE | VMM_EXECUTE, RW | VMM_EXECUTE | VMM_USER, 1 << 4, RW | 1U << 31};
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), VMM_READ));
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), bad[i]), STATUS_INVALID);
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE), pfn(1), npages(1), bad[i], false), STATUS_INVALID);
        EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), bad[i]), STATUS_INVALID);
        EXPECT_EQ(vmm_protect_present(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), bad[i]), STATUS_INVALID);
    }
    struct space *kernel = space_find(bed.vmm, 0);
    EXPECT_EQ(vmm_map(bed.vmm, kernel, vaddr(LAYOUT_KERNEL_END - PAGE_BYTES), npages(1), RW | VMM_USER),
              STATUS_INVALID);
    EXPECT(bed.a.pages.v == 1 && bed.a.tables.v == 4);
    vmm_bed_close(&bed);
}

TEST(vmm, what_is_mapped_is_not_mapped_again_and_what_is_not_is_not_unmapped)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t va = vaddr(VA_PRIVATE);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(va, 600), npages(2), RW));
    uint64_t stores = bed.vmm->counters.table_stores, free = pmm_stats(bed.vmm->pmm).free.v;
    static const struct {
        uint64_t first, pages;
    } over[] = {{600, 1}, {599, 2}, {601, 5}, {0, 601}, {0, 2048}, {512, 512}, {601, 1000}};
    for (unsigned i = 0; i < ARRAY_LEN(over); i++) {
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(va, over[i].first), npages(over[i].pages), RW),
                  STATUS_EXISTS);
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(va, over[i].first), pfn(1), npages(over[i].pages), RW,
                                 false),
                  STATUS_EXISTS);
    }
    static const struct {
        uint64_t first, pages;
    } absent[] = {{599, 1}, {599, 2}, {601, 2}, {0, 1}, {512, 512}, {600, 2000}, {PAGES_PER_1G, 1}};
    for (unsigned i = 0; i < ARRAY_LEN(absent); i++) {
        EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(va, absent[i].first), npages(absent[i].pages)),
                  STATUS_ABSENT);
        EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, vaddr_add_pages(va, absent[i].first), npages(absent[i].pages), VMM_READ),
                  STATUS_ABSENT);
    }
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).free.v, free);
    vmm_bed_close(&bed);
}

/* Once more in the list, a struct would follow itself, and every search for a space would never end. */
TEST(vmm, a_space_is_not_created_over_a_living_one)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const struct space a = bed.a, b = bed.b;
    test_expect_reports(3);
    EXPECT_EQ(space_create(bed.vmm, &bed.b), STATUS_MISUSE);
    EXPECT_EQ(space_create(bed.vmm, &bed.a), STATUS_MISUSE);
    EXPECT_EQ(space_create(bed.vmm, &bed.vmm->kernel), STATUS_MISUSE);
    EXPECT(bed.a.root.v == a.root.v && bed.b.root.v == b.root.v && bed.b.next == NULL);
    vmm_bed_close(&bed);
}

TEST(vmm, frames_that_are_not_in_use_cannot_be_owned)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    test_expect_reports(1);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), frame, npages(1), RW, true), STATUS_MISUSE);
    const uint64_t end = bed.vmm->frames_end.v;
    EXPECT(end > pmm_stats(bed.vmm->pmm).ram.v && end <= paddr_to_pfn(paddr(PTE_FRAME_MASK)).v + 1);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn(end), npages(1), RW, false), STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn(end - 1), npages(2), RW, false), STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn(UINT64_MAX), npages(2), RW, false), STATUS_RANGE);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn(end - 1), npages(1), RW, false));
    vmm_bed_close(&bed);
}

TEST(vmm, translate_refuses_windows_and_what_is_no_address)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static const uint64_t bad[] = {0x0000800000000000,
                                   0xFFFF7FFFFFFFFFFF,
                                   LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN),
                                   LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF),
                                   LAYOUT_SLOT_BASE(LAYOUT_SLOT_BANK_FIRST),
                                   LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + 512 * GIB - 1};
    struct vmm_walk w;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(vmm_translate(bed.vmm, &bed.a, vaddr(bad[i]), &w), STATUS_RANGE);
    }
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(LAYOUT_IMAGE_BASE), &w));
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(0x00007FFFFFFFFFFF), &w));
    vmm_bed_close(&bed);
}

TEST(vmm, spaces_in_use_or_unknown_are_not_destroyed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space stranger = {0};
    struct vmm_walk w;
    test_expect_reports(6);
    EXPECT_EQ(space_destroy(bed.vmm, &stranger), STATUS_MISUSE);
    EXPECT_EQ(space_switch(bed.vmm, &stranger), STATUS_MISUSE);
    EXPECT_EQ(vmm_map(bed.vmm, &stranger, vaddr(VA_GLOBAL), npages(1), RW), STATUS_MISUSE);
    EXPECT_EQ(vmm_translate(bed.vmm, &stranger, vaddr(VA_GLOBAL), &w), STATUS_MISUSE);
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_EQ(space_destroy(bed.vmm, &bed.a), STATUS_MISUSE);
    EXPECT_EQ(space_destroy(bed.vmm, space_find(bed.vmm, 0)), STATUS_MISUSE);
    vmm_bed_close(&bed);
}
