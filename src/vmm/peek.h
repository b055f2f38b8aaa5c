/*
 * The shortest question: which leaf maps an address of the user half? Inline, for those who ask it with every call of
 * theirs (vmm_leaf, aspace_query). Private to src/vmm/ and src/aspace/query.c.
 *
 * 1. In the user half the number of an entry within its window is the address shifted, with nothing to mask: so each
 *    load is a shift and a constant base, and none waits for the address of another.
 *
 * 2. The way is followed as a CPU follows it, through tables with their usual rights, and closed ones, which take write
 *    from the leaf. Large pages, borrowed tables and what no correct code writes are left to the cursor.
 *
 * 3. Through the foreign window each page must be clean before it is used (R8). A walk comes from the top, so who has
 *    used the page of the PT has used those of the tables above it in the same opening: one look at the lowest is
 *    enough.
 */
#ifndef CAIRN_VMM_PEEK_H
#define CAIRN_VMM_PEEK_H

#include "vmm/window.h"

/* window_entry, of an address of the user half. */
__attribute__((always_inline)) static inline vaddr_t window_entry_user(enum window w, vaddr_t va, unsigned level)
{
    return vaddr_add(window_entry(w, vaddr(0), level),
                     (vaddr_page_number(va) >> level_span_log2(level)) * ENTRY_BYTES);
}

/* Bits that a table's entry has, and those that it has not. Without W it is closed, as those that clones share. */
#define PEEK_TABLE (PTE_P | PTE_U)
#define PEEK_ODD (PTE_XD | PTE_PS | ENTRY_BORROWED | TABLE_UNUSED_MASK)
/* All of the first and none of the others: with the first taken away none of both is left, and only then. */
static inline bool peek_is_table(pte_t e, uint64_t with)
{
    return ((e.v - (PEEK_TABLE | with)) & (PEEK_TABLE | PEEK_ODD | with)) == 0;
}

/*
 * The leaf at `va`, through a window whose pages are usable there, behind tables whose entries have W (`with` PTE_W) or
 * may be closed (0). => true: *leaf is as vmm_leaf says, after four loads; false: it is found in another way, and *leaf
 * is undefined. Loads are for the caller to count.
 */
__attribute__((always_inline)) static inline bool peek_leaf(enum window w, vaddr_t va, uint64_t with, pte_t *leaf)
{
    const pte_t top = arch_table_load(window_entry_user(w, va, PAGING_LEVELS));
    if (!peek_is_table(top, with)) {
        return false;
    }
    const pte_t third = arch_table_load(window_entry_user(w, va, 3));
    if (!peek_is_table(third, with)) {
        return false;
    }
    const pte_t second = arch_table_load(window_entry_user(w, va, 2));
    if (!peek_is_table(second, with)) {
        return false;
    }
    *leaf = arch_table_load(window_entry_user(w, va, 1));
    leaf->v &= with != 0 ? UINT64_MAX : (top.v & third.v & second.v) | ~PTE_W;
    return true;
}

/*
 * The same where nothing has to be asked before: our own tables, or those of the space whose window is open, and this
 * page of it clean. Inside of edits and visits too, as all questions that move no window.
 */
__attribute__((always_inline)) static inline bool peek_now(const struct vmm *vmm, const struct space *space, vaddr_t va,
                                                           uint64_t with, pte_t *leaf)
{
    if (space->table_lock.shared) {
        return false;
    }
    if (space == vmm->current) {
        return peek_leaf(WINDOW_OWN, va, with, leaf);
    }
    return space == vmm->foreign.space && window_shows(&vmm->foreign, va) &&
           peek_leaf(WINDOW_FOREIGN, va, with, leaf);
}

#endif
