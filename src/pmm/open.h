/*
 * The usual openings: of a block whose frames are known, and whose pages are there. No list is searched, and no more
 * than one code written. Private to src/pmm/. All want the lock; O(1).
 */
#ifndef CAIRN_PMM_OPEN_H
#define CAIRN_PMM_OPEN_H

#include "pmm/account.h"

/* Is this never-used block of r surely whole? A hold may go, but none comes: what was known once stays so. */
static inline bool surely_whole(const struct pmm_region *r, uint64_t block)
{
    return r->blocks <= PMM_REGION_BITS ? (r->whole_bits >> (block - r->base) & 1) != 0
                                        : block - r->plain < r->plain_end - r->plain;
}

/* Lowest block of the last extent of r, or, where that is used up, of its first gap; else one outside of r. */
static inline uint64_t extent_bottom(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t block = r->watermark;
    if (block == region_end(r) && r->gaps != PMM_NO_BLOCK) {
        block = r->gaps - pmm->blocks[r->gaps].gap_blocks;
    }
    return block;
}

/* Frames of never-used blocks of r are free in an opened block from now on. */
static inline void untouched_sub(struct pmm *pmm, struct pmm_region *r, uint64_t frames)
{
    ASSERT(r->untouched >= frames && pmm->untouched >= frames);
    r->untouched -= frames;
    pmm->untouched -= frames;
    supply_update(pmm, r, PMM_SUPPLY_FRESH, r->untouched > 0);
}

/* What stands in the descriptor of a block just opened, all 512 frames free. */
static inline void block_begin(const struct pmm *pmm, const struct pmm_region *r, struct pmm_block *b, unsigned class)
{
    unsigned direct = r->zone < pmm->cache_zone ? LANE_DIRECT : 0;
    b->top = 0;
    b->free = PMM_BLOCK_FRAMES;
    b->carved = 0;
    b->owner = 0;
    b->region = (uint16_t)(r - pmm->regions);
    b->lane = (uint8_t)(class | (unsigned)r->node << LANE_NODE_SHIFT | direct);
    b->mode = PMM_BLOCK_OPEN;
    b->stack = STACK_NONE;
    b->usable = PMM_BLOCK_FRAMES;
    b->late = 0;
    b->retained = 0;
    b->loose = 0;
    b->next = b->prev = b->gap_next = PMM_NO_BLOCK;
    b->gap_blocks = 0;
}

/* Its descriptor is backed; it is open now. */
static inline void extent_take(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (block == r->watermark) {
        r->watermark++;
        return;
    }
    struct pmm_block *above = r->gaps != PMM_NO_BLOCK ? &pmm->blocks[r->gaps] : NULL;
    if (block < r->watermark && block == r->gaps - above->gap_blocks) { /* the lowest of the first gap */
        above->gap_blocks--;
        r->gaps = above->gap_blocks > 0 ? r->gaps : above->gap_next;
        return;
    }
    extent_take_off(pmm, r, block);
}

/* A block of a page of codes but the first, right above one that is open, shares all pages with it. */
static inline bool shares_pages(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    enum { PAGE_BLOCKS = PAGE_BYTES / (PMM_BLOCK_FRAMES * sizeof(uint16_t)) };
    return block % PAGE_BLOCKS != 0 && block > r->base && block == extent_bottom(pmm, r);
}

/* As open_cost. */
static inline uint64_t cost_now(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    return shares_pages(pmm, r, block) ? 0 : open_cost(pmm, block).v;
}

/* The hint's run, with no hold of it below the hint's, has a block of r that is whole: those beside it are plain. */
void plain_learn(const struct pmm *pmm, struct pmm_region *r, struct pmm_list_hint hint);

/*
 * One frame of the next never-used block of r, the first place for such a request: that block is opened. => TAKEN; else
 * it is not so simple, nothing has changed, and this is what opening the lowest block of r costs (cost_now).
 */
#define TAKEN UINT64_MAX
uint64_t open_and_take_one(struct pmm *pmm, struct pmm_region *r, unsigned flags, unsigned home, uint64_t *frame,
                           unsigned code);
/* A block of r that is surely whole, and costs nothing: it lies on no stack yet. */
struct pmm_block *open_plain(struct pmm *pmm, struct pmm_region *r, uint64_t block);

#endif
