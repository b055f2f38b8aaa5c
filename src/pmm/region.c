/*
 * Regions: finding the one of a frame, the lists of regions that have something to give, and the extents of blocks
 * never used.
 *
 *   base          d1        d2            watermark            end
 *   |opened |gap  |D|opened |gap |D|opened|  last extent       |
 *
 * Everything from the watermark on was never used. A gap below it was skipped (by a claim, or since nothing in it was
 * usable); the opened block D right above each gap says how long it is and links to the next such D. So any number of
 * extents costs no memory, and the usual region has none.
 */
#include "pmm/internal.h"

size_t region_find(const struct pmm *pmm, uint64_t block)
{
    size_t low = 0, high = pmm->region_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (region_end(&pmm->regions[middle]) > block) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low < pmm->region_count && pmm->regions[low].base <= block ? low : SIZE_MAX;
}

bool block_is_open(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    if (block >= r->watermark) {
        return false;
    }
    if (r->gaps == PMM_NO_BLOCK) {
        return true;
    }
    return pmm->backing.missing(pmm->backing.ctx, descriptor_page(pmm, block)).v == 0
           && pmm->blocks[block].mode != PMM_BLOCK_NEVER;
}

uint64_t unopened_end(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    if (block >= r->watermark) {
        return region_end(r);
    }
    if (pmm->backing.missing(pmm->backing.ctx, descriptor_page(pmm, block)).v == 0) {
        return block + 1;
    }
    uint64_t page_blocks = PAGE_BYTES / PMM_BLOCK_BYTES;
    uint64_t end = block - block % page_blocks + page_blocks;
    return end < r->watermark ? end : r->watermark;
}

struct pmm_block *block_find(struct pmm *pmm, uint64_t frame)
{
    uint64_t block = block_of(frame);
    struct pmm_known *known = &pmm->known[group_of_block(block)];
    if (block - known->first >= known->count) {
        size_t index = region_find(pmm, block);
        if (index == SIZE_MAX || !block_is_open(pmm, &pmm->regions[index], block)) {
            return NULL;
        }
        struct pmm_region *r = &pmm->regions[index];
        /* Without gaps all descriptors up to the watermark are backed; with gaps the ones in this page are. */
        uint64_t first = r->base, end = r->watermark;
        if (r->gaps != PMM_NO_BLOCK) {
            uint64_t page_blocks = PAGE_BYTES / PMM_BLOCK_BYTES;
            uint64_t page_first = block - block % page_blocks;
            first = page_first > first ? page_first : first;
            end = page_first + page_blocks < end ? page_first + page_blocks : end;
        }
        *known = (struct pmm_known){first, end - first};
    }
    struct pmm_block *b = &pmm->blocks[block];
    if (b->mode == PMM_BLOCK_NEVER) {
        return NULL;
    }
    return frame < frames_below_1m() ? &pmm->low : b;
}

/* ---- The lists: doubly linked, newest first ---- */

/* What a group above can give now is served before what a current block below still has. */
static void currents_yield(struct pmm *pmm, enum pmm_supply kind)
{
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        struct pmm_block *b = pmm->current[class];
        bool serves = kind == (enum pmm_supply)class || kind >= PMM_SUPPLY_IDLE;
        if (serves && b->free > 0 && group_of(&pmm->regions[b->region]) == PMM_GROUP_LOW) {
            current_retire(pmm, class);
        }
    }
}

void supply_update(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind, bool has)
{
    unsigned bit = 1U << kind;
    if (((r->listed & bit) != 0) == has) {
        return;
    }
    r->listed = (uint8_t)(r->listed ^ bit);
    unsigned group = group_of(r);
    uint16_t self = (uint16_t)(r - pmm->regions);
    uint16_t *head = &pmm->supply[kind][group];
    if (has) {
        r->links[kind].next = *head;
        r->links[kind].prev = PMM_NO_REGION;
        if (*head != PMM_NO_REGION) {
            pmm->regions[*head].links[kind].prev = self;
        }
        *head = self;
        if (group == PMM_GROUP_HIGH) {
            currents_yield(pmm, kind);
        }
        return;
    }
    uint16_t next = r->links[kind].next, prev = r->links[kind].prev;
    if (next != PMM_NO_REGION) {
        pmm->regions[next].links[kind].prev = prev;
    }
    if (prev != PMM_NO_REGION) {
        pmm->regions[prev].links[kind].next = next;
    } else {
        *head = next;
    }
}

/* ---- Extents of blocks never used ---- */

void untouched_sub(struct pmm *pmm, struct pmm_region *r, uint64_t frames, bool stay_free)
{
    ASSERT(r->untouched >= frames && pmm->untouched >= frames);
    r->untouched -= frames;
    pmm->untouched -= frames;
    if (!stay_free) {
        r->free -= frames;
    }
    supply_update(pmm, r, PMM_SUPPLY_FRESH, r->untouched > 0);
}

uint64_t fresh_block(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t end = block_start(region_end(r));
    uint64_t frame = usable_next(pmm, block_start(r->watermark), end, NULL);
    if (frame < end) {
        return block_of(frame);
    }
    for (uint32_t d = r->gaps; d != PMM_NO_BLOCK; d = pmm->blocks[d].gap_next) {
        end = block_start(d);
        frame = usable_next(pmm, block_start(d - pmm->blocks[d].gap_blocks), end, NULL);
        if (frame < end) {
            return block_of(frame);
        }
    }
    return FRAME_NONE;
}

static void gap_push(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t gap_blocks)
{
    pmm->blocks[block].gap_blocks = (uint32_t)gap_blocks;
    if (gap_blocks > 0) {
        pmm->blocks[block].gap_next = r->gaps;
        r->gaps = (uint32_t)block;
    }
}

void extent_take(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (block >= r->watermark) {
        gap_push(pmm, r, block, block - r->watermark);
        r->watermark = (uint32_t)(block + 1);
        return;
    }
    uint32_t prev = PMM_NO_BLOCK, d = r->gaps;
    while (d != PMM_NO_BLOCK && !(block < d && block >= d - pmm->blocks[d].gap_blocks)) {
        prev = d;
        d = pmm->blocks[d].gap_next;
    }
    ASSERT(d != PMM_NO_BLOCK);
    uint64_t below = block - (d - pmm->blocks[d].gap_blocks);
    pmm->blocks[d].gap_blocks = (uint32_t)(d - block - 1);
    if (pmm->blocks[d].gap_blocks == 0) {
        if (prev == PMM_NO_BLOCK) {
            r->gaps = pmm->blocks[d].gap_next;
        } else {
            pmm->blocks[prev].gap_next = pmm->blocks[d].gap_next;
        }
    }
    gap_push(pmm, r, block, below);
}

uint64_t unopened_next(const struct pmm *pmm, uint64_t from)
{
    for (;;) {
        from = usable_next(pmm, from, FRAME_NONE, NULL);
        if (from == FRAME_NONE) {
            return FRAME_NONE;
        }
        uint64_t block = block_of(from);
        const struct pmm_region *r =
            &pmm->regions[region_find(pmm, block)]; /* usable frames are in runs, runs in regions */
        if (r->left_out) {
            from = block_start(region_end(r));
        } else if (block >= r->watermark) {
            return from;
        } else if (r->gaps == PMM_NO_BLOCK) {
            from = block_start(r->watermark);
        } else if (block_is_open(pmm, r, block)) {
            from = block_start(block + 1);
        } else {
            return from;
        }
    }
}
