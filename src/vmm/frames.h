/* Frames for tables and pages, and zeroing them through the reserved temporary slots. Private to src/vmm/. */
#ifndef CAIRN_VMM_FRAMES_H
#define CAIRN_VMM_FRAMES_H

#include "vmm/window.h"

/*
 * Temporary slots: slot i is page 2 * i of the temporary area, so that no two neighbours are ever in use. The first
 * ones are reserved, used within one call and empty between calls; the stack of temp_map() begins above them.
 */
enum temp_slot {
    TEMP_SLOT_ZERO,    /* zeroing: kmap.c and frame_zero() */
    TEMP_SLOT_COPY,    /* the source of frame_copy() */
    TEMP_SLOT_CHECK,   /* vmm_check(): one a level of the walk */
    TEMP_SLOT_STACK = TEMP_SLOT_CHECK + PAGING_LEVELS,
    TEMP_SLOTS_END = TEMP_SLOT_STACK + VMM_TEMP_SLOTS,
    TEMP_SLOT_STRIDE = 2, /* pages */
};
static_assert(TEMP_SLOTS_END * TEMP_SLOT_STRIDE <= TABLE_ENTRIES, "all temporary slots lie in one PT");

/* Leaves of temporary mappings: the kernel's, writable, never executable. */
#define TEMP_LEAF_BITS (PTE_P | PTE_W | PTE_XD)

static inline vaddr_t temp_slot_page(unsigned slot)
{
    return vaddr_add_pages(vaddr(LAYOUT_TEMP_BASE), (uint64_t)slot * TEMP_SLOT_STRIDE);
}

/* Map a frame at a reserved slot that is empty; empty it again. */
vaddr_t temp_slot_set(struct vmm *vmm, unsigned slot, pfn_t frame);
void temp_slot_clear(struct vmm *vmm, unsigned slot);

/*
 * A promised frame of this class (PMM_KERNEL, PMM_USER), zeroed or with arbitrary contents. Cannot fail: stops the
 * machine if the PMM breaks its promise.
 */
pfn_t frame_take(struct vmm *vmm, unsigned class);
pfn_t frame_take_zeroed(struct vmm *vmm, unsigned class);

#endif
