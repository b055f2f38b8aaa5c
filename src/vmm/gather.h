/*
 * The gather: nothing is flushed or freed outside of it. What a call unhooks is put in here; one flush covers all
 * of it, and only then frames go back (R13, R14). Private to src/vmm/.
 *
 * `is_live` says whether this CPU may hold translations of the addresses: they are in the kernel half or in the
 * current space. A space that is not current has none left: the CR3 load that left it dropped them (no PCID, no
 * global leaves). With many CPUs this becomes a set.
 */
#ifndef CAIRN_VMM_GATHER_H
#define CAIRN_VMM_GATHER_H

#include "vmm/window.h"

/* The leaf of `va` changed or went. */
void gather_page(struct vmm *vmm, vaddr_t va, bool is_live);
/* A reference to `frame` goes back after the flush. Flushes what is gathered when full. */
void gather_frame(struct vmm *vmm, pfn_t frame);
/* The table in `frame`, which appears at window page `page`, was unhooked (R7). Flushes when full. */
void gather_table(struct vmm *vmm, pfn_t frame, vaddr_t page);
/* Flush, then free. Leaves the gather empty. */
void gather_flush(struct vmm *vmm);

#endif
