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

struct pmm_region *region_find(const struct pmm *pmm, uint64_t block)
{
    size_t low = 0, high = pmm->region_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (region_end(region_at(pmm, middle)) > block) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low == pmm->region_count) {
        return NULL;
    }
    struct pmm_region *r = region_at(pmm, low);
    return r->base <= block ? r : NULL;
}

enum pmm_zone zone_of_block(uint64_t block)
{
    if (block < block_of(bytes_to_pages_down(16 * MIB).v)) {
        return PMM_ZONE_16M;
    }
    return block < block_of(bytes_to_pages_down(4 * GIB).v) ? PMM_ZONE_4G : PMM_ZONE_HIGH;
}

uint64_t zone_end(uint64_t block)
{
    static const uint64_t bytes[] = {16 * MIB, 16 * MIB, 4 * GIB};
    enum pmm_zone zone = zone_of_block(block);
    return zone == PMM_ZONE_HIGH ? UINT64_MAX : block_of(bytes_to_pages_down(bytes[zone]).v);
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
    if (block - pmm->known_first >= pmm->known_count) {
        const struct pmm_region *r = region_find(pmm, block);
        if (r == NULL || !block_is_open(pmm, r, block)) {
            return NULL;
        }
        /* Without gaps all descriptors up to the watermark are backed; with gaps the ones in this page are. */
        uint64_t first = r->base, end = r->watermark;
        first += first == 0 && block != 0; /* block 0 is two descriptors: always looked for */
        if (r->gaps != PMM_NO_BLOCK) {
            uint64_t page_blocks = PAGE_BYTES / PMM_BLOCK_BYTES;
            uint64_t page_first = block - block % page_blocks;
            first = page_first > first ? page_first : first; /* block 0's page: from block 1 on, as above */
            end = page_first + page_blocks < end ? page_first + page_blocks : end;
        }
        if (block != 0) {
            pmm->known_first = first;
            pmm->known_count = end - first;
            pmm->known_region = (uint16_t)(r - pmm->regions);
        }
    }
    struct pmm_block *b = &pmm->blocks[block];
    if (b->mode == PMM_BLOCK_NEVER) {
        return NULL;
    }
    return frame < frames_below_1m() ? &pmm->low : b;
}

/* ---- The lists: doubly linked, newest first ---- */

static unsigned distance_rank(const struct pmm *pmm, unsigned home, unsigned node)
{
    unsigned rank = 0;
    while (pmm->node_order[home][rank] != node) {
        rank++;
    }
    return rank;
}

/* Is r served before `other` to a CPU of this node? As take.c walks them. */
static bool comes_first(const struct pmm *pmm, unsigned home, const struct pmm_region *r,
                        const struct pmm_region *other)
{
    bool r_low = r->zone == PMM_ZONE_16M, other_low = other->zone == PMM_ZONE_16M;
    if (r_low != other_low) {
        return other_low;
    }
    if (r->node != other->node) {
        return distance_rank(pmm, home, r->node) < distance_rank(pmm, home, other->node);
    }
    return r->zone > other->zone;
}

/* What a better place can give now is served before what a current block still has. */
static void currents_yield(struct pmm *pmm, const struct pmm_region *r, enum pmm_supply kind)
{
    for (unsigned home = 0; home < pmm->node_count; home++) {
        for (unsigned class = 0; class < PMM_CLASSES; class++) {
            const struct pmm_block *b = pmm->current[home][class];
            if (b == &pmm->none || b->region == (uint16_t)(r - pmm->regions)) {
                continue;
            }
            bool serves = kind == (enum pmm_supply)class || kind >= PMM_SUPPLY_HOLED;
            if (serves && b->free > 0 && comes_first(pmm, home, r, &pmm->regions[b->region])) {
                current_retire(pmm, home, class);
            }
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
    uint16_t self = (uint16_t)(r - pmm->regions);
    uint16_t *head = &pmm->supply[kind][r->zone][r->node];
    if (has) {
        r->links[kind].next = *head;
        r->links[kind].prev = PMM_NO_REGION;
        if (*head != PMM_NO_REGION) {
            pmm->regions[*head].links[kind].prev = self;
        }
        *head = self;
        if (pmm->currents > 0) {
            currents_yield(pmm, r, kind);
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
        count_free(pmm, r, -(int64_t)frames);
    }
    supply_update(pmm, r, PMM_SUPPLY_FRESH, r->untouched > 0);
}

void untouched_add(struct pmm *pmm, struct pmm_region *r, uint64_t frames)
{
    r->untouched += frames;
    pmm->untouched += frames;
    count_free(pmm, r, (int64_t)frames);
    supply_update(pmm, r, PMM_SUPPLY_FRESH, true);
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

static uint64_t whole_block_in(const struct pmm *pmm, uint64_t from, uint64_t end)
{
    uint64_t stop = from;
    for (from = usable_next(pmm, from, end, &stop); from < end; from = usable_next(pmm, stop, end, &stop)) {
        uint64_t block = block_of(from + PMM_BLOCK_FRAMES - 1);
        if (block_start(block + 1) <= stop) {
            return block;
        }
    }
    return FRAME_NONE;
}

uint64_t fresh_whole_block(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t block = whole_block_in(pmm, block_start(r->watermark), block_start(region_end(r)));
    for (uint32_t d = r->gaps; d != PMM_NO_BLOCK && block == FRAME_NONE; d = pmm->blocks[d].gap_next) {
        block = whole_block_in(pmm, block_start(d - pmm->blocks[d].gap_blocks), block_start(d));
    }
    return block;
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
        const struct pmm_region *r = region_find(pmm, block); /* usable frames are in runs, runs in regions */
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
