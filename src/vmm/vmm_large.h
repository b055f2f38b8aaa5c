/*
 * VMM: pages of 2 MiB and 1 GiB.
 *
 * vmm_map and vmm_map_frames use them when asked: VMM_LARGE allows them wherever address, frame, length and CPU do, the
 * largest that fit; VMM_2M and VMM_1G ask for this size throughout. Without a flag a range is mapped with 4 KiB pages:
 * these can be unmapped and protected in part without memory, while a part of a large page needs a table first, and so
 * vmm_unmap and vmm_protect may answer NOMEM there (nothing changed).
 *
 * A page size is changed by break, flush, make (R12): the entry is cleared, the range and the window pages behind it
 * are flushed on all CPUs that may hold them, then the new entry is stored. In between an access by another CPU faults:
 * its handler finds the table lock taken, and the page there afterwards. The caller's stack, and what belongs to the
 * VMM and the PMM, must not lie there.
 */
#ifndef CAIRN_VMM_VMM_LARGE_H
#define CAIRN_VMM_VMM_LARGE_H

#include "vmm/vmm.h"

/* Bytes of a 2 MiB and of a 1 GiB page are level_span_bytes(2) and level_span_bytes(3): `level` is 2 or 3 below. */

enum vmm_promote_flags {
    VMM_PROMOTE_COPY = 1 << 0, /* where the frames are not one aligned run: copy them into one */
};

/*
 * The pages at [va, va + the span of `level`) become one. They must be 512 leaves of one table, alike in rights, kind
 * and cache type (accessed and dirty are joined). In place where their frames continue each other, aligned: 2 stores,
 * one flush of the range, the table is freed; where other CPUs run in the space and may mark a page that is not yet
 * marked, 2 stores and 1 INVLPG more, for a temporary mapping. Else with VMM_PROMOTE_COPY, level 2 only: owned frames
 * with one reference each are copied into a run of the PMM and released.
 * => OK; EXISTS: it is one page already; ABSENT: something is not mapped; CONFLICT: the leaves differ, or the frames do
 * not continue each other and no copy is asked for; SHARED: a frame has other users, or a table several parents; NOMEM:
 * no run; UNSUPPORTED: the CPU has no 1 GiB pages; INVALID, RANGE, MISUSE, CORRUPT as vmm_map. Nothing changed but for
 * OK.
 */
enum status vmm_promote(struct vmm *vmm, struct space *space, vaddr_t va, unsigned level, unsigned flags);

/*
 * The large page that maps `va` becomes 512 of the size below: 512 stores into a new table, 2 in its parent, one flush;
 * 2 stores and 1 INVLPG more where the PMM has no frame zeroed ahead.
 * => OK; ABSENT: nothing is mapped there; EXISTS: it is a 4 KiB page already; SHARED: a table on the way has several
 * parents; NOMEM: nothing changed; INVALID, RANGE, MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_demote(struct vmm *vmm, struct space *space, vaddr_t va);

#endif
