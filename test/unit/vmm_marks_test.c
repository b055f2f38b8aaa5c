/* Accessed and dirty bits: counted, cleared, flushed, and none lost. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_marks.h"

enum { RW = VMM_READ | VMM_WRITE, BOTH = VMM_ACCESSED | VMM_DIRTY, PAGES = 40 };

static vaddr_t page(uint64_t n) { return vaddr_add_pages(vaddr(VA_GLOBAL), n); }

/* So many pages are dirty; all of them have been accessed, and at least so many. */
static void expect_marks(struct vmm_bed *bed, struct space *space, unsigned clear, uint64_t accessed, uint64_t dirty)
{
    struct vmm_marks m = {{UINT64_MAX}, {UINT64_MAX}};
    EXPECT_OK(vmm_marks(bed->vmm, space, page(0), npages(PAGES), clear, &m));
    EXPECT_EQ(m.dirty.v, dirty);
    EXPECT(m.accessed.v >= accessed && m.accessed.v <= PAGES); /* a CPU may walk more than it is asked for */
}

static void use(uint64_t read, uint64_t written)
{
    for (uint64_t i = 0; i < read; i++) {
        (void)arch_read64(page(i));
    }
    for (uint64_t i = 0; i < written; i++) {
        arch_write64(page(PAGES - 1 - i), i);
    }
}

TEST(vmm_marks, pages_that_were_written_are_counted_until_the_mark_is_cleared)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(0), npages(PAGES), RW));
    expect_marks(&bed, &bed.a, 0, 0, 0);
    use(5, 3);
    expect_marks(&bed, &bed.a, 0, 8, 3);
    expect_marks(&bed, &bed.a, VMM_ACCESSED, 8, 3);
    expect_marks(&bed, &bed.a, VMM_DIRTY, 0, 3);
    expect_marks(&bed, &bed.a, 0, 0, 0);
    use(2, 4); /* through translations that were there before: set again only if they were flushed */
    expect_marks(&bed, &bed.a, BOTH, 6, 4);
    use(0, PAGES);
    expect_marks(&bed, &bed.a, BOTH, PAGES, PAGES); /* more than are flushed one by one */
    use(0, PAGES);
    expect_marks(&bed, &bed.a, BOTH, PAGES, PAGES);
    vmm_bed_close(&bed);
}

TEST(vmm_marks, a_change_of_rights_keeps_them)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(0), npages(PAGES), RW));
    use(1, 7);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page(0), npages(PAGES), VMM_READ));
    expect_marks(&bed, &bed.a, 0, 8, 7);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page(PAGES - 1), npages(1), RW));
    expect_marks(&bed, &bed.a, VMM_DIRTY, 8, 7);
    vmm_bed_close(&bed);
}

/* Its own marks, in the tables of a space that runs nowhere; in kernel pages too. */
TEST(vmm_marks, another_space_and_the_kernel_half_are_counted_alike)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(0), npages(PAGES), RW));
    vmm_bed_switch(&bed, &bed.a);
    use(0, 2);
    vmm_bed_switch(&bed, &bed.b);
    const uint64_t flushed = bed.vmm->counters.cr3_loads;
    expect_marks(&bed, &bed.a, BOTH, 2, 2);
    expect_marks(&bed, &bed.a, BOTH, 0, 0);
    EXPECT_EQ(bed.vmm->counters.cr3_loads, flushed);
    vaddr_t base;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(4), ARENA_ALIGN_PAGE, 0, "marks", &base));
    struct vmm_marks m;
    struct space *kernel = space_find(bed.vmm, 0);
    arch_write64(base, 1);
    for (unsigned turn = 0; turn < 2; turn++) {
        EXPECT_OK(vmm_marks(bed.vmm, kernel, base, npages(4), VMM_DIRTY, &m));
        EXPECT_EQ(m.dirty.v, 1);
        arch_write64(base, 2);
    }
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

/* One load a page to look, one to count; a leaf that has no mark to clear is not stored to. */
TEST(vmm_marks, what_is_not_marked_costs_no_store_and_no_flush)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(0), npages(PAGES), RW));
    use(0, 3);
    static const uint64_t stores[] = {3, 0};
    for (unsigned i = 0; i < ARRAY_LEN(stores); i++) {
        const struct vmm_counters before = bed.vmm->counters;
        expect_marks(&bed, &bed.a, VMM_DIRTY, 0, stores[i]);
        const struct vmm_counters *now = &bed.vmm->counters;
        EXPECT_EQ(now->table_loads - before.table_loads, 3 + 2 * PAGES);
        EXPECT_EQ(now->table_stores - before.table_stores, stores[i]);
        EXPECT_EQ(now->invlpg - before.invlpg, stores[i]);
        EXPECT_EQ(now->cr3_loads - before.cr3_loads, 0);
    }
    vmm_bed_close(&bed);
}

/* Over the ends of tables of each level, with one page missing anywhere: nothing is cleared. */
TEST(vmm_marks, a_range_with_a_hole_is_refused_and_nothing_cleared)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    static const uint64_t ends[] = {VA_PRIVATE + 512ULL * PAGE_BYTES, VA_PRIVATE, LAYOUT_SLOT_BASE(8)};
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        const vaddr_t first = vaddr(ends[i] - 2ULL * PAGE_BYTES);
        struct vmm_marks m = {{77}, {77}};
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, first, npages(4), RW));
        for (uint64_t n = 0; n < 4; n++) {
            arch_write64(vaddr_add_pages(first, n), n);
        }
        for (uint64_t hole = 0; hole < 4; hole++) {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(first, hole), npages(1)));
            EXPECT_EQ(vmm_marks(bed.vmm, &bed.a, first, npages(4), BOTH, &m), STATUS_ABSENT);
            EXPECT(m.accessed.v == 77 && m.dirty.v == 77);
            EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(first, hole), npages(1), RW));
            arch_write64(vaddr_add_pages(first, hole), hole);
        }
        EXPECT_OK(vmm_marks(bed.vmm, &bed.a, first, npages(4), BOTH, &m));
        EXPECT(m.accessed.v == 4 && m.dirty.v == 4);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_marks, bad_arguments_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(0), npages(2), RW));
    static const struct {
        uint64_t va, pages;
        unsigned clear;
        enum status expected;
    } bad[] = {
        {VA_GLOBAL, 0, 0, STATUS_INVALID},
        {VA_GLOBAL + 1, 1, 0, STATUS_INVALID},
        {VA_GLOBAL, 2, BOTH + 1, STATUS_INVALID},
        {VA_GLOBAL, UINT64_MAX, 0, STATUS_INVALID},
        {0, 1, 0, STATUS_RANGE},
        {LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 1, BOTH, STATUS_RANGE},
        {LAYOUT_ARENA_BASE, 1, BOTH, STATUS_RANGE}, /* of a space but 0 */
        {VA_GLOBAL, 3, BOTH, STATUS_ABSENT},
        {VA_PRIVATE, 1, 0, STATUS_ABSENT},
    };
    struct vmm_marks m;
    const uint64_t stores = bed.vmm->counters.table_stores;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(vmm_marks(bed.vmm, &bed.a, vaddr(bad[i].va), npages(bad[i].pages), bad[i].clear, &m),
                  bad[i].expected);
    }
    EXPECT_EQ(vmm_marks(bed.vmm, &bed.a, page(0), npages(1), 0, NULL), STATUS_INVALID);
    EXPECT(bed.vmm->counters.table_stores <= stores + 2); /* the window was opened */
    test_expect_reports(1);
    EXPECT_EQ(vmm_marks(bed.vmm, NULL, page(0), npages(1), 0, &m), STATUS_MISUSE);
    vmm_bed_close(&bed);
}
