/*
 * VMM: tables that several spaces use: a part of 2 MiB or 1 GiB is shared by one store.
 *
 * Two ways. They do not mix: a table is lent, or copied on write, or neither.
 *
 *   Lending. The lender's table for an aligned part is linked into the borrower too, with the lender's rights or fewer.
 *   The lender goes on editing it; each edit reaches the CPUs of all borrowers before the call returns. The borrower
 *   cannot edit: its calls answer SHARED until it has taken a copy (vmm_unshare) or the loan is over.
 *
 *   Copy on write. Both see the part read-only from then on, as equals. Who wants to write makes the way to the page
 *   its own, table by table from the top (vmm_own_page); who wants to edit, the tables (vmm_unshare). The last user
 *   left gets the table itself.
 *
 * In entries: the parent entry of a table that is lent counts COUNT_SEVERAL; a borrower's has ENTRY_BORROWED; all
 * parents of a table to be copied on write have W = 0. How many parents a table has is its frame's reference count.
 * Only the user half is shared so. A space's page and table figures leave out what is borrowed and what is shared for
 * copy on write. Large pages are lent with the PD that they are in: there they are mapped, unmapped and protected
 * whole, and never change their size; behind tables shared for copy on write there are none.
 */
#ifndef CAIRN_VMM_VMM_SHARE_H
#define CAIRN_VMM_VMM_SHARE_H

#include "lib/macros.h"
#include "vmm/vmm.h"

/* One part that is lent. The caller brings the struct and keeps it in place until the loan is over. Read-only. */
struct vmm_loan {
    struct space *lender, *borrower; /* null: over */
    vaddr_t from, to;                /* where the part begins in each */
    unsigned level;                  /* 2: a PT, 2 MiB; 3: a PD, 1 GiB */
    unsigned rights;                 /* that the linking entry leaves */
    /* In lender->lent, in the order of `from`, a PD before the PTs in it; in borrower->borrowed; in vmm->loans. */
    struct avl_node by_from, by_to, by_struct;
};
static inline struct vmm_loan *vmm_loan_by_from(struct avl_node *n)
{
    return n == NULL ? NULL : CONTAINER_OF(n, struct vmm_loan, by_from);
}
static inline struct vmm_loan *vmm_loan_by_to(struct avl_node *n)
{
    return n == NULL ? NULL : CONTAINER_OF(n, struct vmm_loan, by_to);
}

/*
 * Lend the part of `level` (2 or 3) at `from` in `lender` to `borrower` at `to`. `rights`: VMM_READ, and VMM_WRITE,
 * VMM_EXECUTE as the borrower may have them: the AND with those of the lender's leaves holds. At most 3 stores (link,
 * mark, count), tables of the borrower above it where they are missing; of level 3, where the lender was ever cloned, a
 * load for each PT. O(log loans).
 * => OK; ABSENT: the lender has no table for that part (nothing, or a large page); EXISTS: something is there in the
 * borrower; SHARED: the part, or something in it, is itself borrowed or shared for copy on write, or the borrower's
 * place is in a part that it lends; DENIED: more rights than the walk to the lender's table leaves; INVALID: not
 * aligned, level, rights, one space twice; NOMEM; LIMIT as pmm_retain; RANGE (the kernel half too), MISUSE, CORRUPT as
 * vmm_map; MISUSE also for a struct whose loan is not over.
 */
enum status vmm_lend(struct vmm *vmm, struct space *lender, vaddr_t from, struct space *borrower, vaddr_t to,
                     unsigned level, unsigned rights, struct vmm_loan *loan);

/*
 * The loan is over: the borrower's entry goes, and is flushed before the call returns. At most 3 stores; the last loan
 * of a table has it counted (512 loads), and freed if it is empty. O(log loans). Needs no memory.
 * => OK; ABSENT: it was not lent, or is over already; MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_withdraw(struct vmm *vmm, struct vmm_loan *loan);

/*
 * From now on the borrower has fewer rights: its entry says so, and is flushed before the call returns. One store, and
 * nothing of the lender's is touched. Needs no memory.
 * => OK; DENIED: more than it has; INVALID: without VMM_READ; ABSENT, MISUSE, CORRUPT as vmm_withdraw.
 */
enum status vmm_narrow(struct vmm *vmm, struct vmm_loan *loan, unsigned rights);

/*
 * Share the tables for [va, va + pages) of `from` with `to`, at the same address, for copy on write: whole parts of the
 * highest level (1 GiB, 2 MiB) for which there is a table. va and pages are multiples of 2 MiB (va 0 too, though the
 * first 64 KiB are never mapped); what is not mapped stays so; large pages in it are demoted first. Three stores a
 * table, and one flush of `from`.
 * => OK; EXISTS: something is mapped in `to`; SHARED: a part is lent or borrowed; NOMEM: nothing changed; LIMIT as
 * pmm_retain: nothing changed but large pages; INVALID also one space twice; RANGE, MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_clone(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, npages_t pages);

/*
 * The tables on the way to [va, va + pages) become the space's own, from the top down, so that the range can be edited:
 * copied with the leaves of owned frames read-only and marked, and these retained; the last parent gets the table
 * itself. 512 loads and stores and 512 retains a table copied, 4 stores and 3 INVLPGs for it. Ends a loan that it
 * borrowed: of that, all PTs are copied, and large pages into PTs; what the lender writes to a page shows until the
 * copy owns the page (vmm_own_page); rights that the loan took away stay away.
 * => OK, also where nothing was shared; NOMEM: nothing changed; LIMIT as pmm_retain: some tables may be its own
 * already; INVALID, RANGE, MISUSE, CORRUPT as vmm_map. Where others edit meanwhile, NOMEM too may come when some are.
 */
enum status vmm_unshare(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages);

/*
 * The page at `va` (anywhere in it) becomes writable for its space, as a write fault wants: the tables on the way its
 * own, then its frame: alone, it is made writable in place; with other users, it is copied. A frame that is not owned
 * is never copied. => OK; it is writable already, too; ABSENT; DENIED: the page is read-only for good, or for this
 * borrower; SHARED: it is borrowed, and the lender would have to own it; NOMEM, LIMIT: nothing changed but tables made
 * its own; the rest as vmm_unshare.
 */
enum status vmm_own_page(struct vmm *vmm, struct space *space, vaddr_t va);

/*
 * The page at `va` (anywhere in it), which `old` is behind, is in `fresh` from now on, a frame of the PMM that only the
 * caller has: break, flush, copy, make. Rights, kind and marks are kept, those too that come until the break. The
 * leaf's reference to `old` is the caller's afterwards, as the leaf has the one to `fresh`; whoever else has references
 * to `old` goes on seeing that, so the caller knows that there is nobody. Needs no memory.
 * => OK; ABSENT: no page of 4 KiB that is owned shows `old` there; SHARED: behind a table that is borrowed, or shared
 * for copy on write; RANGE, MISUSE, CORRUPT as vmm_map. O(1): 300 instructions and the copy; of what is lent O(loans).
 */
enum status vmm_replace(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t old, pfn_t fresh);

/*
 * The page at `va` of `from`, which is current, becomes one of `to`, at the same address and with these rights (good
 * ones, of a leaf of the user half): an owned page of 4 KiB that nobody waits to copy, in both spaces behind tables of
 * their own, which stay. At no moment both have it; no frame is counted. => false: one of these is not so; nothing has
 * changed. O(1): 250 instructions.
 */
bool vmm_pass_page(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, unsigned rights);

#endif
