/*
 * The foreign window's protocol: store the slot, invalidate each window page before its first use (R8), remember
 * both (R9).
 *
 * The slot is the current PML4's, and so what it names is kept in that space (`opens`), and every CPU that runs on it
 * may follow the slot, on its own account, into the space that is opened: it is noted there (`reached`, R15), and
 * tables of that space are freed only after these CPUs have dropped what they may hold (gather.c). A CPU's walker is
 * done with the old space at the first INVLPG after the slot has changed, since INVLPG drops all paging-structure
 * caches: EFER.TCE must be 0 (arch.h). Translations of window pages that are left are never used before their own
 * INVLPG.
 *
 * From one space to another the slot goes by way of 0 and an INVLPG: "it is not safe to modify an upper level entry
 * [...] without first clearing its present bit, followed by an INVLPG instruction" (APM 2, 5.5.3). That INVLPG is the
 * one which the PML4's window page needs anyhow, so it costs one store.
 */
#include "vmm/foreign.h"

#include "lib/report.h"
#include "vmm/gather.h"

/* The foreign slot of the PML4 in CR3, in our own window. */
static vaddr_t foreign_slot(void)
{
    return window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN)), PAGING_LEVELS);
}

/* Where the PML4 that it names appears. */
static vaddr_t top_page(void) { return window_entry(WINDOW_FOREIGN, vaddr(0), PAGING_LEVELS); }

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
    if (f->space != NULL) {
        table_store(vmm, foreign_slot(), (pte_t){0});
    }
    window_invlpg(vmm, top_page());
    table_store(vmm, foreign_slot(), pte_make(space->root, SLOT_BITS));
    vmm->counters.foreign_opens++;
    f->opening += 1ULL << WINDOW_NOTE_PT_BITS;
    vmm->changes++;
    vmm->current->opens = f->space = space;
    /* Those that once had a slot on our PML4 may still follow it, and then ours. */
    space->reached.mask |= vmm->current->cpus.mask | vmm->current->reached.mask;
    f->all_clean = false;
    for (unsigned level = 1; level < PAGING_LEVELS; level++) {
        f->last[level] = vaddr(0);
    }
    f->last[PAGING_LEVELS] = f->pages[0] = top_page();
    f->count = 1;
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
    }
    /*
     * One INVLPG drops all paging-structure-cache entries (SDM 3A 4.10.4.1), so no walk can pass the slot's old
     * value. Translations of window pages may stay in the TLB: they are never used before their own INVLPG in a
     * later opening.
     */
    gather_window(vmm, top_page(), space->reached);
    gather_flush(vmm);
}
