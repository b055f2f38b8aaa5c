/*
 * Tables through recursive slots, as most kernels that had a second slot did it: the whole TLB is flushed when the slot
 * gets another table, and again when it is emptied, so that no window page is ever stale.
 */
#include "rivals/paging/rival.h"

enum { INDEX_BITS = 9 };

/* Where PTs appear through `slot`, the PTE of `va` is at the address's own bits, moved down by one index. */
static vaddr_t pte_through(unsigned slot, vaddr_t va)
{
    const uint64_t below = level_span_bytes(PAGING_LEVELS) - ENTRY_BYTES;
    return vaddr(LAYOUT_SLOT_BASE(slot) + (va.v >> INDEX_BITS & below));
}

vaddr_t recursive_entry(unsigned last, vaddr_t va, unsigned level)
{
    vaddr_t entry = pte_through(last, va);
    for (unsigned l = 1; l < level; l++) {
        entry = pte_through(LAYOUT_SLOT_SELF, entry); /* the PTE of the entry's own page is the entry above it */
    }
    return entry;
}

static vaddr_t foreign_slot(void)
{
    return recursive_entry(LAYOUT_SLOT_SELF, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN)), PAGING_LEVELS);
}

static void set_slot(pte_t value)
{
    arch_table_store(foreign_slot(), value);
    arch_root_load(arch_root());
}

static void open(pfn_t root) { set_slot(pte_make(root, PTE_P | PTE_W | PTE_XD)); }
static void close(void) { set_slot((pte_t){0}); }

/* One page, whose PT the boot code has made. */
static vaddr_t show(pfn_t frame)
{
    vaddr_t page = vaddr(LAYOUT_TEMP_BASE);
    arch_table_store(recursive_entry(LAYOUT_SLOT_SELF, page, 1), pte_make(frame, RIVAL_LEAF_BITS));
    return page;
}

static void hide(vaddr_t page)
{
    arch_table_store(recursive_entry(LAYOUT_SLOT_SELF, page, 1), (pte_t){0});
    arch_invlpg(page);
}

const struct reach reach_recursive = {.is_recursive = true, .show = show, .hide = hide, .open = open, .close = close};

const struct paging_subject paging_reload = {RIVAL_BATCHED("reload", &reach_recursive)};
