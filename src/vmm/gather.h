/*
 * The gather: nothing is flushed or freed outside of it. What a call unhooks is put in here; one flush covers all
 * of it, on all CPUs that may hold it, and only then frames go back (R13, R14). Private to src/vmm/.
 *
 * `cpus` are the CPUs that may hold translations of an address: all for the kernel half, those that run in the space
 * else. A space that runs nowhere has none left: the CR3 load that left it dropped them (no PCID, no global leaves).
 * Tables may be held by more of them (R15): also by those that ran where the space was open. And what this CPU sees
 * through one window, another sees through the other one: whose PML4 it is sees its tables in its own (R16).
 */
#ifndef CAIRN_VMM_GATHER_H
#define CAIRN_VMM_GATHER_H

#include "vmm/window.h"

/* The leaves of [va, va + pages) changed or went. */
void gather_range(struct vmm *vmm, vaddr_t va, uint64_t pages, struct vmm_cpus cpus);
/*
 * Room for owned frames, of which one reference each goes back after the flush: they are put at the end of
 * vmm->gather.frames.
 */
static inline unsigned gather_room(const struct vmm *vmm) { return VMM_GATHER_FRAMES - vmm->gather.frame_count; }
/*
 * The table that `entry` named, which appears at window page `page`, was unhooked (R7). The live count in `entry` is
 * that of leaves still in it, whose owned frames go back with it: only a PT may have some. Flushes when full: what was
 * gathered before must be unhooked.
 */
void gather_table(struct vmm *vmm, pte_t entry, vaddr_t page, struct vmm_cpus cpus);
/* Another window page that shows the table gathered last, or one that is about to go. */
void gather_window(struct vmm *vmm, vaddr_t page, struct vmm_cpus cpus);

/* Flush, then free. Leaves the gather empty. */
void gather_flush(struct vmm *vmm);

#endif
