/*
 * Cache types of frames that are no RAM of the PMM: which ranges are mapped as what, and by how many leaves. The theory
 * is in cache_types.c, the contract in vmm_marks.h. Private to src/vmm/.
 */
#ifndef CAIRN_VMM_CACHE_TYPES_H
#define CAIRN_VMM_CACHE_TYPES_H

#include "lib/fmt.h"
#include "vmm/entry.h"
#include "vmm/vmm.h"

/* A frame number with the cache type of a leaf above it: one comparison says whether both are in a range. */
enum { TYPED_SHIFT = 48 - __builtin_ctz(PTE_PWT) };
static inline uint64_t typed_frame(pfn_t frame, uint64_t leaf_bits)
{
    return frame.v | (leaf_bits & (PTE_PWT | PTE_PCD)) << TYPED_SHIFT;
}

struct typed_leaves {
    enum status status;
    uint64_t bits; /* of the leaves */
};

/* The same for what is not in the range used last. */
struct typed_leaves cache_types_find(struct vmm *vmm, pfn_t first, uint64_t pages, uint64_t bits);

/*
 * [first, first + pages) are about to be mapped by leaves with these bits, which have PTE_DEVICE: they are counted.
 * When all are RAM of the PMM, they are not, and PTE_DEVICE is left out. The leaves must follow. => OK; CONFLICT:
 * another type holds for one of them; LIMIT (noted): VMM_CACHE_RANGES. Nothing changed then.
 */
static inline struct typed_leaves device_leaves_come(struct vmm *vmm, pfn_t first, uint64_t pages, uint64_t bits)
{
    struct vmm_cache_range *last = &vmm->cache.range[0];
    const uint64_t key = typed_frame(first, bits);
    if (key >= last->first && key + pages <= last->end) {
        last->mapped += pages;
        return (struct typed_leaves){STATUS_OK, bits};
    }
    return cache_types_find(vmm, first, pages, bits);
}

/* The same for what is not in the range used last, or ends a range. */
void cache_types_forget(struct vmm *vmm, pte_t leaf, uint64_t pages);

/* So many frames from that of `leaf` on, behind leaves of 4 KiB with its bits and PTE_DEVICE, are mapped no more. */
static inline void device_leaves_gone(struct vmm *vmm, pte_t leaf, uint64_t pages)
{
    struct vmm_cache_range *last = &vmm->cache.range[0];
    const uint64_t key = typed_frame(pte_pfn(leaf), leaf.v);
    if (key >= last->first && key + pages <= last->end && last->mapped > pages) {
        last->mapped -= pages;
        return;
    }
    cache_types_forget(vmm, leaf, pages);
}
/* A leaf of 4 KiB with PTE_DEVICE, that is counted, is there once more, in a copy of its table. */
void device_leaf_copied(struct vmm *vmm, pte_t leaf);
/* A leaf of a table of `level`, with PTE_DEVICE, is no more. */
void device_leaf_gone(struct vmm *vmm, pte_t leaf, unsigned level);

/* May the frame be mapped write-back for a moment (temporary mappings)? */
bool frame_is_write_back(const struct vmm *vmm, pfn_t frame);

/* ---- For the validator ---- */

/* Leaves of each range, as found in the tables. */
struct cache_census {
    uint64_t found[VMM_CACHE_RANGES];
};

/* Count a leaf of a table of `level`, in the census. => null; what is wrong with it. */
const char *cache_census_add(struct cache_census *census, const struct vmm *vmm, pte_t leaf, unsigned level);
/* Is every range mapped as often as it says, and are they apart? => true; else said to `out` (may be null). */
bool cache_census_agrees(const struct cache_census *census, const struct vmm *vmm, struct sink *out);

#endif
