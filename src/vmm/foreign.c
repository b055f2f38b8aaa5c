/*
 * The foreign window's protocol: store the slot, invalidate each window page before its first use (R8), remember
 * both (R9).
 *
 * The slot is the current PML4's, and so what it names is kept in that space (`opens`), and every CPU that runs on it
 * may follow the slot, on its own account, into the space that is opened: it is noted there (`reached`, R15), and
 * tables of that space are freed only after these CPUs have dropped what they may hold (gather.c). One CPU's own
 * walker is done with the old space at the first INVLPG after the slot has changed, since INVLPG drops all
 * paging-structure caches; translations of window pages that are left are never used before their own INVLPG.
 */
#include "vmm/foreign.h"

#include "lib/report.h"

/* The foreign slot of the PML4 in CR3, in our own window. */
static vaddr_t foreign_slot(void)
{
    return window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN)), PAGING_LEVELS);
}

enum status foreign_open(struct vmm *vmm, struct space *space)
{
    struct vmm_foreign *f = &vmm->foreign;
    if (f->space == space) {
        vmm->counters.foreign_reopens++;
        return STATUS_OK;
    }
    if (space == vmm->current || space->opens != NULL) {
        return misuse("foreign_open: space %u %s (R18)", space->id,
                      space == vmm->current ? "is current: its tables are our own" : "has its own foreign slot open");
    }
    /* From one space straight to another needs no 0 between: a page of the window is used only after its own INVLPG. */
    table_store(vmm, foreign_slot(), pte_make(space->root, SLOT_BITS));
    vmm->counters.foreign_opens++;
    vmm->changes++;
    vmm->current->opens = f->space = space;
    space->reached.mask |= vmm->current->cpus.mask;
    f->all_clean = false;
    f->count = 0;
    for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
        f->last[level] = vaddr(0);
    }
    return STATUS_OK;
}

void foreign_clear(struct vmm *vmm)
{
    if (vmm->foreign.space != NULL) {
        table_store(vmm, foreign_slot(), (pte_t){0});
        vmm->current->opens = vmm->foreign.space = NULL;
        vmm->changes++;
    }
}

void foreign_close(struct vmm *vmm, struct space *space)
{
    if (vmm->foreign.space == space) {
        foreign_clear(vmm);
        /*
         * One INVLPG drops all paging-structure-cache entries (SDM 3A 4.10.4.1), so no walk can pass the slot's old
         * value. Translations of window pages may stay in the TLB: they are never used before their own INVLPG in a
         * later opening.
         */
        window_invlpg(vmm, window_entry(WINDOW_FOREIGN, vaddr(0), PAGING_LEVELS));
    }
}
