/*
 * The two windows: where the entry for an address appears, for our own tables and for the foreign space's, and the only
 * loads, stores and flushes that the VMM does. Private to src/vmm/; the pair of slots is chosen in arch/layout.h.
 */
#ifndef CAIRN_VMM_WINDOW_H
#define CAIRN_VMM_WINDOW_H

#include "vmm/entry.h"
#include "vmm/vmm.h"

enum window {
    WINDOW_OWN,     /* the tables in CR3, through LAYOUT_SLOT_SELF */
    WINDOW_FOREIGN, /* those of vmm->foreign.space, through LAYOUT_SLOT_FOREIGN */
};

/*
 * The one predicate for addresses that show tables: nothing is mapped, allocated or freed there (R23). Canonical
 * addresses only.
 */
static inline bool slot_is_window(unsigned slot)
{
    return slot == LAYOUT_SLOT_SELF || slot == LAYOUT_SLOT_FOREIGN ||
           (slot >= LAYOUT_SLOT_BANK_FIRST && slot <= LAYOUT_SLOT_BANK_LAST);
}
static inline bool vaddr_is_window(vaddr_t va) { return slot_is_window(table_index(va, PAGING_LEVELS)); }

/*
 * The address of the entry for `va` in the table of `level` (1..4). Consecutive entries of one table are
 * ENTRY_BYTES apart; never step past the last one of a table: that of the PML4 may end at 2^64 (R22).
 */
vaddr_t window_entry(enum window w, vaddr_t va, unsigned level);

/* Counted accesses. Through the foreign window each page is made clean before its first use in this opening (R8). */
pte_t window_load(struct vmm *vmm, enum window w, vaddr_t entry);
void window_store(struct vmm *vmm, enum window w, vaddr_t entry, pte_t value);

/* Counted flushes. A reload leaves every page of an open foreign window clean. */
void window_invlpg(struct vmm *vmm, vaddr_t va);
void window_root_load(struct vmm *vmm, pfn_t root);
void window_root_reload(struct vmm *vmm);

#endif
