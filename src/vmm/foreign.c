/*
 * The foreign window's protocol: store the slot, invalidate each window page before its first use (R8), remember
 * both (R9).
 */
#include "vmm/foreign.h"

/* The foreign slot of the PML4 in CR3, in our own window. */
static vaddr_t foreign_slot(void)
{
    return window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN)), PAGING_LEVELS);
}

enum window foreign_use(struct vmm *vmm, struct space *space, vaddr_t va)
{
    if (window_for(vmm, space, va) == WINDOW_OWN) {
        return WINDOW_OWN;
    }
    struct vmm_foreign *f = &vmm->foreign;
    if (f->space == space) {
        vmm->counters.foreign_reopens++;
        return WINDOW_FOREIGN;
    }
    /* From one space straight to another needs no 0 between: a page of the window is used only after its own INVLPG. */
    window_store(vmm, WINDOW_OWN, foreign_slot(), pte_make(space->root, SLOT_BITS));
    vmm->counters.foreign_opens++;
    f->space = space;
    f->all_clean = false;
    f->count = 0;
    f->last = vaddr(0);
    return WINDOW_FOREIGN;
}

void foreign_clear(struct vmm *vmm)
{
    if (vmm->foreign.space != NULL) {
        window_store(vmm, WINDOW_OWN, foreign_slot(), (pte_t){0});
        vmm->foreign.space = NULL;
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
