/* Lending from inside: mapping.h has what others need. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_LOANS_H
#define CAIRN_ASPACE_LOANS_H

#include "aspace/mapping.h"

/* The loan of `borrower` that covers `va`; null: none. O(log loans). */
struct vmm_loan *loan_borrowed_at(const struct aspace *borrower, vaddr_t va);

/* Pages of stock that a loan takes at most. */
size_t loan_missing(const struct aspaces *system);
/*
 * Whole parts of 2 MiB and 1 GiB of [va, va + pages) of `lender` become usable at `to_va` in `borrower` by lending the
 * tables that there are. Both have the same pages of one object there by their mappings, shared, of equal VMM_USER; no
 * page of the borrower's is mapped. What cannot be lent is left to faults.
 */
void loans_begin(struct aspace *lender, vaddr_t va, npages_t pages, struct aspace *borrower, vaddr_t to_va,
                 unsigned rights);

/*
 * What the tables show of shared pages in [va, va + pages) goes, loans too, and is flushed everywhere. Needs no memory:
 * large pages that reach over an end go whole, and come back by faults; tables shared by clones show no shared page.
 * => OK; CORRUPT
 */
enum status tables_drop_shared(struct aspace *space, vaddr_t va, npages_t pages);

#endif
