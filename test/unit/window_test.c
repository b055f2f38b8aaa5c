/* Where entries appear: the addresses of the two windows, by the pair of slots alone. */
#include "arch/layout.h"
#include "unit/test.h"
#include "vmm/window.h"

/* An address by its indices from the PML4 down, put together bit by bit. */
static uint64_t address(const unsigned index[PAGING_LEVELS], unsigned byte)
{
    uint64_t va = byte;
    for (unsigned i = 0; i < PAGING_LEVELS; i++) {
        va |= level_span_bytes(PAGING_LEVELS - i) * index[i];
    }
    return index[0] >= LAYOUT_SLOT_KERNEL ? va | LAYOUT_SLOT_BASE(LAYOUT_SLOT_KERNEL) : va;
}

/* As the MMU walks: the self slot for each level that is left out, then `last`, then the address's own indices. */
static uint64_t expected(const unsigned index[PAGING_LEVELS], unsigned level, unsigned last)
{
    unsigned walk[PAGING_LEVELS];
    for (unsigned i = 0; i < PAGING_LEVELS; i++) {
        walk[i] = i + 1 < level ? LAYOUT_SLOT_SELF : i + 1 == level ? last : index[i - level];
    }
    return address(walk, index[PAGING_LEVELS - level] * ENTRY_BYTES);
}

TEST(window, an_entry_appears_where_the_walk_through_the_slots_ends)
{
    static const unsigned some[] = {0, 1, 255, 256, 499, 500, 509, 510, 511};
    const unsigned count = ARRAY_LEN(some);
    for (unsigned n = 0; n < count * count * count * count; n++) {
        unsigned index[PAGING_LEVELS];
        for (unsigned i = 0, rest = n; i < PAGING_LEVELS; i++, rest /= count) {
            index[i] = some[rest % count];
        }
        vaddr_t va = vaddr(address(index, 0));
        for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
            EXPECT_EQ(window_entry(WINDOW_OWN, va, level).v, expected(index, level, LAYOUT_SLOT_SELF));
            EXPECT_EQ(window_entry(WINDOW_FOREIGN, va, level).v, expected(index, level, LAYOUT_SLOT_FOREIGN));
        }
    }
}

TEST(window, all_entries_of_the_PML4_are_reached_by_index_and_the_last_ends_where_the_window_does)
{
    vaddr_t first = window_entry(WINDOW_OWN, vaddr(0), PAGING_LEVELS);
    EXPECT(is_page_aligned(first.v));
    for (unsigned slot = 0; slot < TABLE_ENTRIES; slot++) {
        vaddr_t entry = window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(slot)), PAGING_LEVELS);
        EXPECT_EQ(entry.v, first.v + slot * (uint64_t)ENTRY_BYTES);
        EXPECT(vaddr_is_canonical(entry) && vaddr_is_window(entry));
    }
    if (LAYOUT_SLOT_SELF == TABLE_ENTRIES - 1) {
        vaddr_t last = window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(TABLE_ENTRIES - 1)), PAGING_LEVELS);
        EXPECT_EQ(vaddr_add(last, ENTRY_BYTES).v, 0); /* 2^64: an address to compare with there is not */
    }
}

TEST(window, exactly_the_windows_and_the_bank_are_refused)
{
    for (unsigned slot = 0; slot < TABLE_ENTRIES; slot++) {
        bool is_window = slot == LAYOUT_SLOT_SELF || slot == LAYOUT_SLOT_FOREIGN ||
                         (slot >= LAYOUT_SLOT_BANK_FIRST && slot <= LAYOUT_SLOT_BANK_LAST);
        vaddr_t base = vaddr(LAYOUT_SLOT_BASE(slot));
        EXPECT_EQ(vaddr_is_window(base), is_window);
        EXPECT_EQ(vaddr_is_window(vaddr(base.v + level_span_bytes(PAGING_LEVELS) - 1)), is_window);
    }
}
