/* Between the files of copy on write. The theory is in cow.c. Private to src/vmm/. */
#ifndef CAIRN_VMM_COW_H
#define CAIRN_VMM_COW_H

#include "vmm/share.h"

/* vmm_unshare without the checks of arguments, outside of an edit. */
enum status unshare(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const char *call);

/* What is copied: the table of `level` 1 or 2 that can be read from `table` on; or the parts of a page of 2 MiB. */
struct copy_source {
    vaddr_t table; /* 0: the page */
    pte_t large;
    unsigned level;
    pte_t link;    /* the parent entry of the table, or of the one that the page is in */
};
/* Into `frame`. *live: present entries. => OK; LIMIT, MISUSE as pmm_retain: no reference is kept. */
enum status copy_table(struct vmm *vmm, const struct copy_source *from, pfn_t frame, unsigned *live);

/* Tables that a copy of the borrowed part takes, added: itself and, of a PD, a PT for each entry. => OK; CORRUPT */
enum status count_loan(struct vmm *vmm, const struct vmm_loan *loan, npages_t *tables);
/*
 * The loan ends, and the borrower has a copy, from promised frames. *left: those not taken yet. `p`: lender and
 * borrower, which wait. *changes: after the edit before, and after this one; if others have edited in between, nothing
 * is done. => as vmm_unshare
 */
enum status own_loan(const struct pair *p, struct vmm_loan *loan, npages_t *left, uint64_t *changes);

/* Has the frame other users than the one who asks? */
static inline bool has_other_users(struct vmm *vmm, pfn_t frame)
{
    struct pmm_frame f = pmm_query(vmm->pmm, frame);
    return (f.state != PMM_STATE_USED && f.state != PMM_STATE_RUN) || f.references > 1;
}

#endif
