/* Frames for tables and pages, and zeroing them through the reserved temporary slots. Private to src/vmm/. */
#ifndef CAIRN_VMM_FRAMES_H
#define CAIRN_VMM_FRAMES_H

#include "vmm/window.h"

/*
 * Temporary slots: slot i is page 2 * i of the temporary area, so that no two neighbours are ever in use. The first
 * ones are reserved, used within one call and empty between calls; the stack of temp_map() begins above them. One CPU
 * uses them, and flushes them on itself alone: what another may have cached of them it never uses.
 */
enum temp_slot {
    TEMP_SLOT_ZERO,    /* zeroing: kmap.c and frame_zero() */
    TEMP_SLOT_COPY,    /* the source of frame_copy() */
    TEMP_SLOT_GATHER,  /* gather_flush(): a table that was unhooked */
    TEMP_SLOT_GATHER_PD, /* ... a PD, while its PTs go */
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

/* Map a frame at a reserved slot that is empty; empty it again. The CPU has an address for the frame. */
vaddr_t temp_slot_set(struct vmm *vmm, unsigned slot, pfn_t frame);
void temp_slot_clear(struct vmm *vmm, unsigned slot);
/* frame_zero, frame_copy for frames of the PMM: they cannot fail. */
void temp_zero(struct vmm *vmm, pfn_t frame);
void temp_copy(struct vmm *vmm, pfn_t to, pfn_t from);

/*
 * A promised frame of this class (PMM_KERNEL, PMM_USER), or `n` of them: with arbitrary contents, or zeroed: those that
 * the PMM's pool of zeroed frames has cost nothing more, others are zeroed here. Cannot fail: stops the machine if the
 * PMM breaks its promise. Nobody is asked to give memory back.
 */
pfn_t frame_take(struct vmm *vmm, unsigned class);
/* One that is zero if there is such a one: *is_zero. */
pfn_t frame_take_either(struct vmm *vmm, unsigned class, bool *is_zero);
void frames_take(struct vmm *vmm, unsigned class, pfn_t *frames, npages_t n);
pfn_t frame_take_zeroed(struct vmm *vmm, unsigned class);
void frames_take_zeroed(struct vmm *vmm, unsigned class, pfn_t *frames, npages_t n);

/*
 * Entries that were examined and found to name a table, in a frame that the PMM has in use: they are followed without
 * another question. A table that is freed is forgotten.
 */
#define TRUST_NONE UINT64_MAX /* what no entry is under WALK_MASK */
enum { TRUST_LEVEL_FIRST = 2 }; /* the lowest one whose entries name tables */
static inline pte_t *trust_place(struct vmm *vmm, pte_t entry, unsigned level)
{
    return &vmm->trusted[level - TRUST_LEVEL_FIRST][pte_pfn(entry).v % VMM_TRUSTED];
}
static inline bool is_trusted(struct vmm *vmm, pte_t entry, unsigned level)
{
    return trust_place(vmm, entry, level)->v == (entry.v & WALK_MASK);
}
static inline void trust(struct vmm *vmm, pte_t entry, unsigned level)
{
    trust_place(vmm, entry, level)->v = entry.v & WALK_MASK;
}
static inline void trust_no_more(struct vmm *vmm, pte_t entry)
{
    for (unsigned level = TRUST_LEVEL_FIRST; level <= PAGING_LEVELS; level++) {
        trust_place(vmm, entry, level)->v = TRUST_NONE;
    }
}
static inline void trust_nothing(struct vmm *vmm)
{
    for (unsigned i = 0; i < VMM_TRUSTED; i++) {
        trust_no_more(vmm, pte_make(pfn(i), 0));
    }
}

#endif
