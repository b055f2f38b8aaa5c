/*
 * The usual openings: of a block whose frames are known, and whose pages are there. No list is searched, and no more
 * than one code written. Private to src/pmm/. All want the lock; O(1).
 */
#ifndef CAIRN_PMM_OPEN_H
#define CAIRN_PMM_OPEN_H

#include "pmm/account.h"
#include "pmm/hints.h"

/* Is this never-used block of r surely whole? A hold may go, but none comes: what was known once stays so. */
static inline bool surely_whole(const struct pmm_region *r, uint64_t block)
{
    return has_few_blocks(r) ? (r->whole_bits >> (block - r->base) & 1) != 0
                                        : block - r->plain < r->plain_end - r->plain;
}

/* supply_leave, where that the region is on this list is known. */
__attribute__((always_inline)) static inline void supply_leave_inline(struct pmm *pmm, struct pmm_region *r,
                                                                      enum pmm_supply kind)
{
    uint16_t next = r->links[kind].next, prev = r->links[kind].prev;
    r->listed &= (uint8_t)~(1U << kind);
    if (next != PMM_NO_REGION) {
        pmm->regions[next].links[kind].prev = prev;
    }
    if (prev != PMM_NO_REGION) {
        pmm->regions[prev].links[kind].next = next;
        return;
    }
    pmm->supply[kind][r->zone][r->node] = next;
    if (next == PMM_NO_REGION) {
        pmm->nodes_with[r->zone] &= ~(1ULL << (kind * 8 + r->node));
    }
}

/* supply_join. */
__attribute__((always_inline)) static inline void supply_join_inline(struct pmm *pmm, uint16_t slot,
                                                                     struct pmm_region *r, enum pmm_supply kind)
{
    uint16_t *head = &pmm->supply[kind][r->zone][r->node], next = *head;
    r->listed |= (uint8_t)(1U << kind);
    r->links[kind] = (struct pmm_link){next, PMM_NO_REGION};
    *head = slot;
    pmm->news = UINT16_MAX; /* what a better place can give now is served before what a current block still has */
    if (next != PMM_NO_REGION) {
        pmm->regions[next].links[kind].prev = slot;
    } else {
        pmm->nodes_with[r->zone] |= 1ULL << (kind * 8 + r->node);
    }
}

/* Frames of never-used blocks of r are free in an opened block from now on. */
static inline void untouched_sub(struct pmm *pmm, struct pmm_region *r, uint64_t frames)
{
    ASSERT(r->untouched >= frames && pmm->untouched >= frames);
    r->untouched -= frames;
    pmm->untouched -= frames;
    if (r->untouched == 0 && (r->listed >> PMM_SUPPLY_FRESH & 1) != 0) {
        supply_leave_inline(pmm, r, PMM_SUPPLY_FRESH);
    }
}

/* This never-used block, which is whole, is no such block any more. */
static inline void fresh_whole_remove(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (has_few_blocks(r)) {
        r->whole_bits &= ~block_bit(r, block);
    }
    r->fresh_whole--;
    if (r->fresh_whole == 0) {
        supply_leave_inline(pmm, r, PMM_SUPPLY_FRESH_WHOLE);
    }
}

/*
 * The descriptor of a block just opened: all its frames from the mark on are free, if not all 512 less than all are
 * RAM. Written by words, each once, whose other fields are 0; so is what it says of gaps, as in any never used.
 */
static inline void block_begin(const struct pmm_region *r, struct pmm_block *b, unsigned class, unsigned carved,
                               unsigned free, unsigned usable, bool is_late)
{
    static_assert(offsetof(struct pmm_block, free) == 2 && offsetof(struct pmm_block, carved) == 4, "16 bits each");
    static_assert(offsetof(struct pmm_block, lane) - offsetof(struct pmm_block, kind) == 2, "the third byte of `kind`");
    ASSERT(b->gap_blocks == 0);
    unsigned frames = usable | (is_late ? 1U << 11 : 0);
    __atomic_store_n(&b->counts, (uint64_t)carved << 32 | free << 16, __ATOMIC_RELAXED);
    __atomic_store_n(&b->kind, (uint64_t)frames << 32 | class << 16 | r->new_kind, __ATOMIC_RELAXED);
    b->next = b->prev = PMM_NO_BLOCK;
}

/* Its descriptor is backed; it is open now. */
static inline void extent_take(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (has_few_blocks(r)) {
        r->never &= ~block_bit(r, block);
        if (block == r->watermark) {
            r->watermark++;
            return;
        }
        r->watermark = block < r->watermark ? r->watermark : (uint32_t)block + 1;
        bool has_some = r->never << (-(r->watermark - r->base) % PMM_REGION_BITS) != 0; /* below: gap_bits */
        r->gaps = has_some ? r->base : PMM_NO_BLOCK;
        return;
    }
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
    if (block % PAGE_BLOCKS == 0 || block <= r->base) {
        return false;
    }
    return has_few_blocks(r) ? (r->never & block_bit(r, block - 1)) == 0 : block == extent_bottom(pmm, r);
}

/* open_cost, where the block's page of codes is known, and how many are missing for it. (metadata.c) */
uint64_t open_cost_with(const struct pmm *pmm, uint64_t block, const void *states, uint64_t missing);
/*
 * As open_cost. A page of codes is there only since a block of it was opened: then the page that all their descriptors
 * share is there too, since it is backed first.
 */
static inline uint64_t cost_now(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    uint64_t cost = 0;
    if (!shares_pages(pmm, r, block)) {
        const void *states = states_page(pmm, block);
        uint64_t missing = pmm->backing.missing(pmm->backing.ctx, states).v;
        cost = missing > 0 ? open_cost_with(pmm, block, states, missing) : 0;
    }
    ASSERT(open_cost(pmm, block).v == cost);
    return cost;
}

/* The hint's run, with no hold of it below the hint's, has a block of r that is whole: those beside it are plain. */
void plain_learn(const struct pmm *pmm, struct pmm_region *r, struct pmm_list_hint hint);

/* Who gives it back will look for it. */
static inline void know_opened(struct pmm *pmm, const struct pmm_region *r, const struct pmm_block *b, uint64_t block)
{
    if (block - pmm->known_first < pmm->known_count) {
        return;
    }
    bool is_alone = has_gaps(r);
    pmm->known_first = is_alone ? block : r->base + (r->base == 0);
    pmm->known_count = is_alone ? 1 : r->watermark - pmm->known_first;
    pmm->known_region = b->region;
}

/* A block of r that is surely whole, and costs nothing: it lies on no stack yet. */
static inline struct pmm_block *open_plain(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    ASSERT(pmm->claim_first == pmm->claim_end && !pmm->broken);
    struct pmm_block *b = &pmm->blocks[block];
    if (hint_is_said(b)) {
        hint_take(pmm, r, block);
    }
    block_begin(r, b, 0, 0, PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES, false);
    trace(pmm, PMM_EVENT_OPEN_BLOCK, block_start(block), PMM_BLOCK_FRAMES);
    fresh_whole_remove(pmm, r, block);
    extent_take(pmm, r, block);
    untouched_sub(pmm, r, PMM_BLOCK_FRAMES);
    know_opened(pmm, r, b, block);
    return b;
}

#endif
