/*
 * The two windows: where the entry for an address appears, for our own tables and for the foreign space's, and the only
 * loads, stores and flushes that the VMM does. Private to src/vmm/; the pair of slots is chosen in arch/layout.h.
 *
 * What is done once a page is inline. An access is three things: its window page is usable (window_use, R8), it is
 * counted, it is done. A run of entries of one table is used and counted once.
 */
#ifndef CAIRN_VMM_WINDOW_H
#define CAIRN_VMM_WINDOW_H

#include "arch/arch.h"
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

/* Bits of an entry's address that say where in a window of 2^36 entries it is. */
#define WINDOW_OFFSET_MASK (((1ULL << 39) - 1) & ~(uint64_t)(ENTRY_BYTES - 1))

/* Where the PTE of `va` appears in the window whose PTs begin at `base`. */
static inline vaddr_t window_pte(uint64_t base, vaddr_t va) { return vaddr(base | (va.v >> 9 & WINDOW_OFFSET_MASK)); }

/*
 * The entry one level up. An entry of any level is a word of a window page, and the entry that maps this page is the
 * one wanted; pages of both windows are found through our own self slot, so the foreign space needs none of its own.
 */
static inline vaddr_t window_above(vaddr_t entry) { return window_pte(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), entry); }

/*
 * The address of the entry for `va` in the table of `level` (1..4). Consecutive entries of one table are
 * ENTRY_BYTES apart; never step past the last one of a table: that of the PML4 may end at 2^64 (R22).
 */
static inline vaddr_t window_entry(enum window w, vaddr_t va, unsigned level)
{
    vaddr_t entry = window_pte(LAYOUT_SLOT_BASE(w == WINDOW_OWN ? LAYOUT_SLOT_SELF : LAYOUT_SLOT_FOREIGN), va);
    for (unsigned l = 1; l < level; l++) {
        entry = window_above(entry);
    }
    return entry;
}

/*
 * Numbers of PTs have 26 bits. So many openings that a note of this one is met again take longer than any machine
 * runs: 2^37 stores to the slot.
 */
enum { WINDOW_NOTE_PT_BITS = 27 };
/* How the PT with the entry for `va`, of the user half, is noted in `shown`: by its number and the opening's. */
static inline uint64_t window_note(const struct vmm_foreign *f, vaddr_t va)
{
    return f->opening | vaddr_page_number(va) >> level_span_log2(2);
}
static inline unsigned window_note_place(vaddr_t va)
{
    return (unsigned)(vaddr_page_number(va) >> level_span_log2(2)) % VMM_WINDOW_NOTES;
}
/* Was the page of the foreign window with the PTE of `va` used in this opening? False: it may have been. */
static inline bool window_shows(const struct vmm_foreign *f, vaddr_t va)
{
    return f->shown[window_note_place(va)] == window_note(f, va) || f->all_clean;
}
static inline void window_note_shown(struct vmm_foreign *f, vaddr_t va)
{
    f->shown[window_note_place(va)] = window_note(f, va);
}

/* `page` of the foreign window is used for the first time in this opening, or after another of its level. */
void window_touch(struct vmm *vmm, vaddr_t page, unsigned level);

/* Before an access to `entry`, of a table of `level`: its page shows what the slot names now (R8). */
static inline void window_use(struct vmm *vmm, enum window w, vaddr_t entry, unsigned level)
{
    if (w == WINDOW_FOREIGN && vaddr_page(entry).v != vmm->foreign.last[level].v) {
        window_touch(vmm, vaddr_page(entry), level);
    }
}

/* Counted accesses to tables of our own, or that a temporary mapping shows. */
static inline pte_t table_load(struct vmm *vmm, vaddr_t entry)
{
    vmm->counters.table_loads++;
    return arch_table_load(entry);
}

static inline void table_store(struct vmm *vmm, vaddr_t entry, pte_t value)
{
    vmm->counters.table_stores++;
    arch_table_store(entry, value);
}

/* The same through any window; the entry is of a table of `level`. */
static inline pte_t window_load(struct vmm *vmm, enum window w, vaddr_t entry, unsigned level)
{
    window_use(vmm, w, entry, level);
    return table_load(vmm, entry);
}

static inline void window_store(struct vmm *vmm, enum window w, vaddr_t entry, unsigned level, pte_t value)
{
    window_use(vmm, w, entry, level);
    table_store(vmm, entry, value);
}

/* The i-th entry of a run that begins at `first`: within one table. */
static inline vaddr_t entry_at(vaddr_t first, uint64_t i) { return vaddr_add(first, i * ENTRY_BYTES); }

/* Counted flushes of this CPU. A reload leaves every page of an open foreign window clean. */
static inline void window_invlpg(struct vmm *vmm, vaddr_t va)
{
    vmm->counters.invlpg++;
    arch_invlpg(va);
}
void window_root_load(struct vmm *vmm, pfn_t root);
void window_root_reload(struct vmm *vmm);
void window_flush_all(struct vmm *vmm); /* global translations too (R11) */

#endif
