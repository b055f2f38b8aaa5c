/* What the ways stand on inside the kernel (test/rivals/pmm/kernel/machine.c): page tables and page faults do it. */
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "rivals/pmm/bits.h"
#include "rivals/pmm/kernel/real.h"
#include "unit/test.h"
#include "vmm/window.h"

/* Pages of a bitmap over real_map: the first covers RAM, this one never-RAM. */
enum { HOLE_PAGE = 20, PAGES = 41 };

static vaddr_t map_page(uint64_t page) { return vaddr_add_pages(real_area(REAL_MAP), page); }
static bool may_read(vaddr_t va) { return fault_is_permitted(va, 0); }
static bool may_write(vaddr_t va) { return fault_is_permitted(va, FAULT_WRITE); }
/* Not there, and not empty either. */
static bool is_marked(vaddr_t va)
{
    const pte_t e = arch_table_load(window_entry(WINDOW_OWN, va, 1));
    return !pte_is_present(e) && e.v != 0;
}

TEST(rivals_pmm_kernel, pages_of_never_ram_can_be_read_and_not_written)
{
    REQUIRE(real_map_take() == STATUS_OK);
    if (EXPECT(zero_pages_start(real_map, REAL_RUNS) != NULL)) {
        EXPECT(may_write(map_page(0)));
        EXPECT(may_read(map_page(HOLE_PAGE)) && !may_write(map_page(HOLE_PAGE)));
        EXPECT_EQ(arch_read64(map_page(HOLE_PAGE)), 0);
    }
    EXPECT_EQ(real_map_give(), STATUS_OK);
    EXPECT(!may_read(map_page(0)) && !may_read(map_page(HOLE_PAGE)));
}

TEST(rivals_pmm_kernel, each_page_of_the_fault_backed_bitmap_comes_by_one_page_fault)
{
    REQUIRE(real_map_take() == STATUS_OK);
    const uint64_t before = machine.page_faults;
    void *state = faulted_start(real_map, REAL_RUNS);
    if (EXPECT(state != NULL)) {
        EXPECT_EQ(machine.page_faults - before, 1);
        EXPECT(may_write(map_page(0)) && is_marked(map_page(1)) && is_marked(map_page(HOLE_PAGE)));
        while (faulted_alloc(state).v != FRAMES_NONE.v) {
        }
        EXPECT_EQ(faulted_backed(state), PAGES);
        EXPECT_EQ(machine.page_faults - before, PAGES);
        EXPECT(may_read(map_page(HOLE_PAGE)) && !may_write(map_page(HOLE_PAGE)));
        EXPECT(may_write(map_page(PAGES - 1)));
    }
    EXPECT_EQ(real_map_give(), STATUS_OK);
}

TEST(rivals_pmm_kernel, the_inverted_bitmap_maps_the_zero_frame_where_it_gives_a_page_up)
{
    REQUIRE(real_map_take() == STATUS_OK);
    void *state = inverted_start(real_map, REAL_RUNS);
    if (EXPECT(state != NULL)) {
        pfn_t last = FRAMES_NONE;
        EXPECT(may_write(map_page(0)));
        for (pfn_t frame = inverted_alloc(state); frame.v != FRAMES_NONE.v; frame = inverted_alloc(state)) {
            last = frame;
        }
        EXPECT(may_read(map_page(0)) && !may_write(map_page(0)));
        EXPECT_EQ(inverted_free(state, last), STATUS_OK);
        EXPECT(may_write(map_page(last.v / BITS_PAGE_FRAMES)));
    }
    EXPECT_EQ(real_map_give(), STATUS_OK);
}
