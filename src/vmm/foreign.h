/*
 * Opening the foreign window. It stays open until another space is opened, the current space changes, or its space
 * dies. Private to src/vmm/.
 */
#ifndef CAIRN_VMM_FOREIGN_H
#define CAIRN_VMM_FOREIGN_H

#include "vmm/window.h"

/*
 * The window through which the tables for `va` in `space` appear, when it is open. Never a space on itself (R18),
 * never the shared kernel half.
 */
static inline enum window window_for(const struct vmm *vmm, const struct space *space, vaddr_t va)
{
    return space == vmm->current || is_kernel_half(va) ? WINDOW_OWN : WINDOW_FOREIGN;
}

/*
 * The foreign window shows `space` on return; nothing is done where it did so already (R9). No frame is taken.
 * => OK; MISUSE (reported, R18): the space is current, or its own foreign slot is not 0.
 */
enum status foreign_open(struct vmm *vmm, struct space *space);

/*
 * Before CR3 changes: the slot of the PML4 that is left must be 0 (R18). The CR3 load that follows does the flushing.
 */
void foreign_clear(struct vmm *vmm);

/*
 * The space's PML4 is about to be freed: no walker of any CPU may follow a slot to it any more (R9, R15). Within an
 * edit of the space.
 */
void foreign_close(struct vmm *vmm, struct space *space);

#endif
