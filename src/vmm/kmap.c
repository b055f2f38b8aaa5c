/* Kernel pages without a VMM: three levels, own window, frames from the caller. */
#include "vmm/kmap.h"

#include "arch/arch.h"
#include "lib/report.h"
#include "vmm/frames.h"

enum { FIRST_LEVEL = 3 }; /* entries of the PDPTs, which exist, down to the PTE */

/* Pages that are mapped once and stay: the arena's nodes, the PMM's arrays. */
static bool is_kmap_page(vaddr_t page)
{
    bool is_node = page.v >= LAYOUT_ARENA_NODES && page.v < LAYOUT_ARENA_BASE;
    bool is_array = page.v >= LAYOUT_PMM_STATES && page.v < LAYOUT_TEMP_END;
    bool is_temp = page.v >= LAYOUT_TEMP_BASE && page.v < LAYOUT_TEMP_BASE + level_span_bytes(2);
    return is_page_aligned(page.v) && (is_node || is_array) && !is_temp;
}

static vaddr_t own_entry(vaddr_t page, unsigned level) { return window_entry(WINDOW_OWN, page, level); }

/* The first level, from the top, whose entry is not present; 0 when the page is mapped. */
static unsigned first_missing(vaddr_t page)
{
    unsigned level = FIRST_LEVEL;
    while (level > 0 && pte_is_present(arch_table_load(own_entry(page, level)))) {
        level--;
    }
    return level;
}

/* An entry on the way that is present but no table: what is below it must not be read (R3). */
static bool is_blocked(vaddr_t page)
{
    for (unsigned level = FIRST_LEVEL; level > 1; level--) {
        pte_t e = arch_table_load(own_entry(page, level));
        if (!pte_is_present(e)) {
            return false;
        }
        if (entry_is_corrupt(e, level) || entry_is_large(e, level)) {
            report(REPORT_CORRUPT, "kmap: page %#lx: the level-%u entry is %#lx, not a table", page.v, level, e.v);
            return true;
        }
    }
    return false;
}

npages_t kmap_missing(vaddr_t page) { return npages(is_blocked(page) ? 0 : first_missing(page)); }

/* Through the first temporary slot, which is empty between calls. */
static void zero(pfn_t frame)
{
    vaddr_t page = temp_slot_page(TEMP_SLOT_ZERO);
    arch_table_store(own_entry(page, 1), pte_make(frame, TEMP_LEAF_BITS));
    arch_page_zero(page);
    arch_table_store(own_entry(page, 1), (pte_t){0});
    arch_invlpg(page);
}

enum status kmap_back(vaddr_t page, const pfn_t *frames, npages_t n)
{
    if (!is_kmap_page(page)) {
        return STATUS_INVALID;
    }
    if (is_blocked(page)) {
        return STATUS_CORRUPT;
    }
    unsigned level = first_missing(page);
    if (n.v != level || level == 0) {
        return STATUS_INVALID;
    }
    for (uint64_t i = 0; level > 0; i++, level--) {
        zero(frames[i]); /* before anything can see it (R19) */
        arch_table_store(own_entry(page, level), pte_make(frames[i], level > 1 ? TABLE_BITS_KERNEL : TEMP_LEAF_BITS));
    }
    return STATUS_OK;
}

npages_t kmap_pmm_missing(void *ctx, const void *page)
{
    (void)ctx;
    return kmap_missing(vaddr_page(ptr_to_vaddr(page)));
}

enum status kmap_pmm_back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    (void)ctx;
    return kmap_back(vaddr_page(ptr_to_vaddr(page)), frames, n);
}
