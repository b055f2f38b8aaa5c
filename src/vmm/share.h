/* Shared tables, between the files that edit them. The theory is in lend.c and cow.c. Private to src/vmm/. */
#ifndef CAIRN_VMM_SHARE_H
#define CAIRN_VMM_SHARE_H

#include "vmm/pair.h"
#include "vmm/request.h"
#include "vmm/vmm_share.h"
#include "vmm/walk.h"

/* ---- Where loans are found (loans.c) ---- */

/* A loan begins, or ends. O(log loans). */
void loan_enter(struct vmm *vmm, struct vmm_loan *loan);
void loan_leave(struct vmm *vmm, struct vmm_loan *loan);
/* Is it one? The struct may be anything: it is not read. O(log loans). */
bool loan_is_running(const struct vmm *vmm, const struct vmm_loan *loan);
/* Is the lender's table behind another loan too? O(log loans). */
bool loan_is_lent_again(const struct vmm_loan *loan);

/*
 * Gather a flush of everything, where something in [va, va + pages) is lent: on the lender's CPUs and all borrowers';
 * `tables`: also where tables of these may be held (R15). O(log loans + those of the range).
 */
void gather_sharers(struct vmm *vmm, const struct space *lender, vaddr_t va, uint64_t pages, bool tables);

static inline bool loan_overlaps(vaddr_t part, unsigned level, vaddr_t va, uint64_t pages)
{
    const uint64_t first = vaddr_page_number(part), from = vaddr_page_number(va);
    return first < from + pages && from < first + level_span_pages(level);
}

/* The first loan that `borrower` has of something in [va, va + pages), or null. O(log loans). */
struct vmm_loan *loan_find(const struct space *borrower, vaddr_t va, uint64_t pages);

/* ---- Lending (lend.c) ---- */

/*
 * The middle of a withdrawal, within an edit of the two: the borrower's entry becomes `instead`, or goes (0), the
 * lender counts again, the loan is over. => OK; CORRUPT: the borrower's entry is not that of the loan.
 */
enum status loan_end(const struct pair *p, struct vmm_loan *loan, pte_t instead);

/* All that a space that dies has borrowed goes back. => OK; MISUSE; CORRUPT: all is over, but some of it is lost. */
enum status loans_end_all(struct vmm *vmm, struct space *borrower);

/* The borrower's entry of a loan, from memory; 0: none is there. */
pte_t loan_entry(struct vmm *vmm, const struct vmm_loan *loan);

/* ---- Copy on write (cow.c) ---- */

/* A leaf with PTE_COW and other rights (RIGHTS_BITS): never writable, but by vmm_own_page. */
static inline pte_t cow_leaf_with(pte_t old, uint64_t bits)
{
    uint64_t write = (bits & PTE_W) != 0 ? PTE_COW_WRITE : 0;
    return (pte_t){(old.v & ~(RIGHTS_BITS | PTE_COW_WRITE)) | (bits & ~PTE_W) | write};
}

/* Any leaf with other rights. */
static inline pte_t with_rights(pte_t leaf, uint64_t bits)
{
    return (leaf.v & PTE_COW) != 0 ? cow_leaf_with(leaf, bits) : (pte_t){(leaf.v & ~RIGHTS_BITS) | bits};
}

/*
 * The space dies: the stretch is behind a table that it shares for copy on write. This parent goes, and the stretch is
 * all that the entry covered.
 */
void drop_shared(struct cursor *c);

#endif
