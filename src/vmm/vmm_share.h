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
 * copy on write.
 */
#ifndef CAIRN_VMM_VMM_SHARE_H
#define CAIRN_VMM_VMM_SHARE_H

#include "vmm/vmm.h"

/* One part that is lent. The caller brings the struct and keeps it in place until the loan is over. Read-only. */
struct vmm_loan {
    struct space *lender, *borrower; /* null: over */
    vaddr_t from, to;                /* where the part begins in each */
    unsigned level;                  /* 2: a PT, 2 MiB; 3: a PD, 1 GiB */
    unsigned rights;                 /* that the linking entry leaves */
    struct vmm_loan *next;           /* of the lender's */
};

/*
 * Lend the part of `level` (2 or 3) at `from` in `lender` to `borrower` at `to`. `rights`: VMM_READ, and VMM_WRITE,
 * VMM_EXECUTE as the borrower may have them: the AND with those of the lender's leaves holds. At most 3 stores (link,
 * mark, count), and tables of the borrower above it where they are missing.
 * => OK; ABSENT: the lender has no table for that part (nothing, or a large page); EXISTS: something is there in the
 * borrower; SHARED: the part is itself borrowed or shared for copy on write; DENIED: more rights than the walk to the
 * lender's table leaves; INVALID: not aligned, level, rights, one space twice; NOMEM; RANGE, MISUSE, CORRUPT as
 * vmm_map.
 */
enum status vmm_lend(struct vmm *vmm, struct space *lender, vaddr_t from, struct space *borrower, vaddr_t to,
                     unsigned level, unsigned rights, struct vmm_loan *loan);

/*
 * The loan is over: the borrower's entry goes, and is flushed before the call returns. At most 3 stores.
 * => OK; ABSENT: it was not lent, or is over already; MISUSE as vmm_map.
 */
enum status vmm_withdraw(struct vmm *vmm, struct vmm_loan *loan);

/*
 * Share the tables for [va, va + pages) of `from` with `to`, at the same address, for copy on write: whole parts of the
 * highest level (1 GiB, 2 MiB) for which there is a table. va and pages are multiples of 2 MiB; what is not mapped
 * stays so; a large page in it is demoted first. Three stores a table, and one flush of `from`.
 * => OK; EXISTS: something is mapped in `to`; SHARED: a part is lent or borrowed; NOMEM: nothing changed; INVALID also
 * one space twice; RANGE, MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_clone(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, npages_t pages);

/*
 * The tables on the way to [va, va + pages) become the space's own, from the top down, so that the range can be edited:
 * copied with their writable leaves read-only and marked, and their frames retained; the last parent gets the table
 * itself. Ends a loan that it borrowed. 512 loads and stores and 512 retains a table copied.
 * => OK, also where nothing was shared; NOMEM: nothing changed; INVALID, RANGE, MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_unshare(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages);

/*
 * The page at `va` becomes writable for its space, as a write fault wants: the tables on the way its own, then its
 * frame: alone, it is made writable in place; with other users, it is copied. => OK, also: it is writable already;
 * ABSENT; DENIED: the page is read-only for good; NOMEM: nothing changed but tables made its own; the rest as vmm_map.
 */
enum status vmm_own_page(struct vmm *vmm, struct space *space, vaddr_t va);

#endif
