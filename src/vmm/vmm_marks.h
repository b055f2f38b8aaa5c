/*
 * VMM: what a leaf says beside its frame and rights: cache types, accessed, dirty.
 *
 * Cache types. RAM of the PMM is write-back, always: temporary mappings are. For all other frames (devices, ROM) the
 * first mapping decides, until its last page is unmapped; the table of such ranges holds VMM_CACHE_RANGES. One type a
 * frame, for all spaces: aliases of different types are what R4 is about, and undefined on some CPUs.
 */
#ifndef CAIRN_VMM_VMM_MARKS_H
#define CAIRN_VMM_VMM_MARKS_H

#include "vmm/vmm.h"

/* Of [va, va + pages): how many 4 KiB pages have been accessed, written to (those of large pages all). */
struct vmm_marks {
    npages_t accessed, dirty;
};

enum vmm_mark { VMM_ACCESSED = 1 << 0, VMM_DIRTY = 1 << 1 };

/*
 * Count the marks of a range that is mapped throughout, and clear those in `clear` (VMM_ACCESSED, VMM_DIRTY), losing
 * none that a CPU sets meanwhile (R19); what was cleared is flushed on return, so the next access sets it again.
 * => OK; ABSENT; SHARED: clearing behind a shared table; INVALID, RANGE, MISUSE, CORRUPT as vmm_map.
 */
enum status vmm_marks(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned clear,
                      struct vmm_marks *out);

#endif
