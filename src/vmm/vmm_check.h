/* Between the files of the validator. Private to src/vmm/. */
#ifndef CAIRN_VMM_VMM_CHECK_H
#define CAIRN_VMM_VMM_CHECK_H

#include "vmm/entry.h"
#include "vmm/vmm.h"

/* An entry of level 2 or 3, in the user half, that names a table. */
struct shared_entry {
    vaddr_t va;
    unsigned level;
    pte_t entry;
    bool is_behind; /* a closed entry of the same walk */
};

/* What is wrong with its marks, its references, its loan (VMM-I9, VMM-I10); null: nothing. */
const char *share_complaint(struct vmm *vmm, const struct space *space, const struct shared_entry *s);
/* A loan in the list that is none (VMM-I10), or null. */
const struct vmm_loan *share_bad_loan(struct vmm *vmm, const struct space *lender);
/*
 * Entries of `level` for `va`, over all spaces, that name the table and are no borrower's, each once.
 */
unsigned share_parents(struct vmm *vmm, pfn_t table, vaddr_t va, unsigned level);
/* Does the walk to `va` in an earlier space lead to the table that `entry`, of `level`, names? Of none that is lent. */
bool share_was_seen(struct vmm *vmm, const struct space *space, pte_t entry, vaddr_t va, unsigned level);

#endif
