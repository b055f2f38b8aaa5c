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

/*
 * All window pages that show the table of `level` for va, or the large page in its place. Of the kernel half this CPU
 * sees all tables through both windows: nobody uses them through the foreign one, but where the page size changes, no
 * translation of the old one may be left anywhere (R12).
 */
void gather_windows(struct vmm *vmm, enum window w, vaddr_t va, unsigned level, struct vmm_cpus cpus);
/*
 * The large page of `level` at va, in the tables that window `w` shows, changed or went: it, and the window pages that
 * show its frames as if it were a table (R3, R7, R12): one of a 2 MiB page; of a 1 GiB page one behind its PDPTE, and
 * the 2 MiB behind that. `table_cpus`: those that may have come by the windows (R15, R16).
 */
void gather_large(struct vmm *vmm, enum window w, vaddr_t va, unsigned level, struct vmm_cpus cpus,
                  struct vmm_cpus table_cpus);
/*
 * The frames of the large page of `level` that `leaf` mapped: if it owned them, one reference of each goes back after
 * the flush. Flushes when full, as gather_table.
 */
void gather_large_frames(struct vmm *vmm, pte_t leaf, unsigned level);
/*
 * One parent less for the table of `level` (1, 2) that `entry` names, after the flush. `entry` counts COUNT_SEVERAL;
 * the last parent frees it with all that is in it. The rest as gather_table.
 */
void gather_shared(struct vmm *vmm, pte_t entry, unsigned level);
/* Everything goes that these CPUs hold of the half that `va` is in: more than can be listed changed. */
void gather_all(struct vmm *vmm, vaddr_t va, struct vmm_cpus cpus);

/* Flush, then free. Leaves the gather empty. */
void gather_flush(struct vmm *vmm);
/* The leaf of one page of the user half changed or went, and that is all: flushed before it returns. */
void gather_flush_page(struct vmm *vmm, vaddr_t va, struct vmm_cpus cpus);

#endif
