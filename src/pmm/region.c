/*
 * Regions: finding the one of a frame, the lists of regions that have something to give, and the extents of blocks
 * never used.
 *
 *   base          d1        d2            watermark            end
 *   |opened |gap  |D|opened |gap |D|opened|  last extent       |
 *
 * Everything from the watermark on was never used. A gap below it was skipped (by a claim, or since nothing in it was
 * usable); the opened block D right above each gap says how long it is and links to the next such D. So any number of
 * extents costs no memory, and the usual region has none. A region of up to 64 blocks has a bit a block instead: in
 * its middle a gap is not searched for.
 *
 * Who opens a block must know which runs lie in it. The region remembers that for the block that is opened next (by the
 * watermark and the first gap, of few blocks the lowest); what begins another extent says it itself, in its descriptor.
 * So it is never searched for by a call of one frame: docs/design/0025-openings-in-one-go.md.
 */
#include "pmm/open.h"

struct pmm_region *region_find(const struct pmm *pmm, uint64_t block)
{
    const struct pmm_place *at = pmm->places;
    uint32_t wanted = block < PMM_NO_BLOCK ? (uint32_t)block : PMM_NO_BLOCK;
    for (size_t n = pmm->region_count; n > 1;) { /* it is one of the n from `at` on, or there is none */
        size_t half = n / 2;
        at = at[half - 1].end <= wanted ? at + half : at;
        n -= half;
    }
    struct pmm_region *r = &pmm->regions[at->slot];
    return pmm->region_count > 0 && block - r->base < r->blocks ? r : NULL;
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
    if (has_few_blocks(r)) {
        return (r->never & block_bit(r, block)) == 0;
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

/* Can this descriptor be read? Within the regions nothing but descriptors is ever there, and pages stay once backed. */
__attribute__((always_inline)) static inline bool has_descriptor(const struct pmm *pmm, uint64_t block)
{
    return block - pmm->first_block < pmm->end_block - pmm->first_block
           && pmm->backing.missing(pmm->backing.ctx, descriptor_page(pmm, block)).v == 0;
}

/* Where the blocks around this open one have descriptors too: without gaps up to the watermark, else in this page. */
static void remember(struct pmm *pmm, uint64_t block)
{
    uint16_t region = pmm->blocks[block].region;
    const struct pmm_region *r = &pmm->regions[region];
    uint64_t first = r->base + (r->base == 0 && block != 0), end = r->watermark; /* block 0 is always looked for */
    if (has_gaps(r)) {
        uint64_t page_blocks = PAGE_BYTES / PMM_BLOCK_BYTES, page_first = block - block % page_blocks;
        first = page_first > first ? page_first : first;
        end = page_first + page_blocks < end ? page_first + page_blocks : end;
    }
    pmm->known_first = first;
    pmm->known_count = end - first;
    pmm->known_region = region;
}

/* All blocks of the region of this open one from *first on, before *end, are open: what is quickly known. */
static void open_around(const struct pmm *pmm, const struct pmm_region *r, uint64_t block, uint64_t *from,
                        uint64_t *stop)
{
    enum { GAPS_MAX = 2 }; /* looked at; with more of them the block stands alone */
    uint64_t first = r->base + (r->base == 0), end = r->watermark;
    if (has_few_blocks(r)) {
        uint64_t at = block - r->base, below = r->never & ~bits_from(at), above = r->never & bits_from(at);
        *from = below != 0 ? r->base + (uint64_t)PMM_REGION_BITS - (unsigned)__builtin_clzll(below) : first;
        *stop = above != 0 ? r->base + (unsigned)__builtin_ctzll(above) : end;
        return;
    }
    uint32_t d = r->gaps;
    for (unsigned i = 0; i < GAPS_MAX && d != PMM_NO_BLOCK; i++, d = pmm->blocks[d].gap_next) {
        uint64_t below = d - pmm->blocks[d].gap_blocks;
        first = d <= block && d > first ? d : first;
        end = d > block && below < end ? below : end;
    }
    *from = d != PMM_NO_BLOCK ? block : first;
    *stop = d != PMM_NO_BLOCK ? block + 1 : end;
}

/* Out of line: it is rare. */
__attribute__((noinline)) static void trust_around(const struct pmm *pmm, struct pmm_cpu *cpu, uint64_t block)
{
    const struct pmm_block *b = &pmm->blocks[block];
    if (block == 0 || (b->lane ^ cpu->lane) > LANE_CLASS || pmm->has_closed) {
        return; /* frames below 1 MiB are another descriptor's, and go past the magazines */
    }
    uint64_t first, end;
    open_around(pmm, &pmm->regions[b->region], block, &first, &end);
    cpu->drawn_first = block_start(first);
    __atomic_store_n(&cpu->drawn_count, block_start(end - first), __ATOMIC_RELAXED);
}

void cpus_distrust_codes(struct pmm *pmm)
{
    pmm->has_closed = true;
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        __atomic_store_n(&pmm->cpus[i].drawn_count, 0, __ATOMIC_RELAXED);
    }
}

void cpu_trusts_codes(const struct pmm *pmm, struct pmm_cpu *cpu, uint64_t frame)
{
    if (__builtin_expect(frame - cpu->drawn_first >= cpu->drawn_count, 0)) {
        trust_around(pmm, cpu, block_of(frame));
    }
}

struct pmm_block *block_find(struct pmm *pmm, uint64_t frame)
{
    uint64_t block = block_of(frame);
    bool is_known = block - pmm->known_first < pmm->known_count;
    if (!is_known && !has_descriptor(pmm, block)) {
        return NULL;
    }
    struct pmm_block *b = &pmm->blocks[block];
    if (b->mode == PMM_BLOCK_NEVER) {
        return NULL;
    }
    if (!is_known && block != 0) {
        remember(pmm, block);
    }
    return frame < frames_below_1m() ? &pmm->low : b;
}

/* ---- The lists: doubly linked, newest first ---- */

void supply_join(struct pmm *pmm, uint16_t slot, enum pmm_supply kind)
{
    supply_join_inline(pmm, slot, &pmm->regions[slot], kind);
}

void supply_leave(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind) { supply_leave_inline(pmm, r, kind); }

/* ---- Extents of blocks never used ---- */

void untouched_taken(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t frames)
{
    untouched_sub(pmm, r, frames);
    count_free(pmm, r, -(int64_t)frames);
    pmm->low_untouched -= first < frames_below_1m() ? frames : 0;
}

void untouched_add(struct pmm *pmm, struct pmm_region *r, uint64_t frames)
{
    r->untouched += frames;
    pmm->untouched += frames;
    count_free(pmm, r, (int64_t)frames);
    supply_update(pmm, r, PMM_SUPPLY_FRESH, true);
}

/* The block of the first usable frame of blocks [first, end), or FRAME_NONE. */
__attribute__((cold)) static uint64_t first_usable(const struct pmm *pmm, uint64_t first, uint64_t end,
                                                   struct pmm_list_hint *hint)
{
    struct stretch s = stretch_near(pmm, block_start(first), *hint);
    bool found = stretch_next(pmm, &s, block_start(end));
    *hint = stretch_hint(&s);
    return found ? block_of(s.first) : FRAME_NONE;
}

/* As fresh_block, by the lists. */
__attribute__((noinline, cold)) static uint64_t fresh_by_lists(const struct pmm *pmm, struct pmm_region *r)
{
    uint64_t end = region_end(r), block = FRAME_NONE;
    if (has_few_blocks(r)) {
        while ((block = extent_bottom(pmm, r)) < end && first_usable(pmm, block, block + 1, &r->fresh) == FRAME_NONE) {
            r->skipped |= block_bit(r, block);
        }
        return block < end ? block : FRAME_NONE;
    }
    block = r->watermark < end ? first_usable(pmm, r->watermark, end, &r->fresh) : FRAME_NONE;
    for (uint32_t d = r->gaps; d != PMM_NO_BLOCK && block == FRAME_NONE; d = pmm->blocks[d].gap_next) {
        block = first_usable(pmm, d - pmm->blocks[d].gap_blocks, d, &r->in_gap);
    }
    return block;
}

uint64_t fresh_block(const struct pmm *pmm, struct pmm_region *r, uint64_t next)
{
    return next < region_end(r) && surely_usable(pmm, *hint_of(r, next), next) ? next : fresh_by_lists(pmm, r);
}

uint64_t whole_count(const struct pmm *pmm, uint64_t first_block, uint64_t end_block)
{
    uint64_t count = 0;
    struct stretch s = stretch_from(pmm, block_start(first_block));
    while (stretch_next(pmm, &s, block_start(end_block))) {
        count += whole_blocks(&s);
    }
    return count;
}

static void gap_push(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t gap_blocks)
{
    pmm->blocks[block].gap_blocks = (uint32_t)gap_blocks;
    if (gap_blocks > 0) {
        pmm->blocks[block].gap_next = r->gaps;
        r->gaps = (uint32_t)block;
    }
}

#define RARE __attribute__((noinline, cold)) /* small, rather than short */

RARE static struct pmm_list_hint hint_at(const struct pmm *pmm, uint64_t block, struct pmm_list_hint near)
{
    struct stretch s = stretch_near(pmm, block_start(block), near);
    return stretch_hint(&s);
}

/*
 * Where the lists are to be looked at for this block, if it was never used: its descriptor says so from now on, if
 * it is there. If not, whoever opens the block most often backs two pages, and can afford to look.
 */
RARE static void hint_note(struct pmm *pmm, const struct pmm_region *r, uint64_t block, struct pmm_list_hint near)
{
    if (block - r->base < r->blocks && has_descriptor(pmm, block) && !block_is_open(pmm, r, block)) {
        struct pmm_list_hint hint = hint_at(pmm, block, near);
        pmm->blocks[block].next = hint.run + 1;
        pmm->blocks[block].prev = hint.hold;
    }
}

__attribute__((noinline)) void hint_take(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    const struct pmm_block *b = &pmm->blocks[block];
    uint64_t bit = has_few_blocks(r) ? block_bit(r, block) : 0;
    if (bit == 0 || (r->never & ~r->skipped & (bit - 1)) == 0) {
        *hint_of(r, block) = hint_said(b);
        return;
    }
    uint64_t above = r->never & -bit & ~bit;
    struct pmm_block *next = &pmm->blocks[above != 0 ? r->base + (unsigned)__builtin_ctzll(above) : block];
    bool is_in_page = vaddr_page(ptr_to_vaddr(next)).v == vaddr_page(ptr_to_vaddr(b)).v; /* of descriptors */
    if ((is_in_page || has_descriptor(pmm, (uint64_t)(next - pmm->blocks))) && next->next == 0) {
        next->next = b->next;
        next->prev = b->prev;
    }
}

RARE void extents_note(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (has_few_blocks(r)) {
        uint64_t at = block - r->base, open_below = ~r->never & ~bits_from(at), above = r->never & bits_from(at);
        uint64_t low = open_below != 0 ? PMM_REGION_BITS - (unsigned)__builtin_clzll(open_below) : 0;
        r->fresh = hint_at(pmm, extent_bottom(pmm, r), r->fresh); /* it was the opened block's */
        hint_note(pmm, r, r->base + low, r->fresh);
        hint_note(pmm, r, above != 0 ? r->base + (unsigned)__builtin_ctzll(above) : block, r->fresh);
        return;
    }
    if (r->gaps != PMM_NO_BLOCK) {
        const struct pmm_block *first = &pmm->blocks[r->gaps];
        if (first->gap_next != PMM_NO_BLOCK) { /* until now it may have been the first */
            hint_note(pmm, r, first->gap_next - pmm->blocks[first->gap_next].gap_blocks, r->in_gap);
        }
        r->in_gap = hint_at(pmm, r->gaps - first->gap_blocks, r->fresh);
    }
    if (block + 1 == r->watermark) {
        r->fresh = hint_at(pmm, block + 1, r->fresh_whole_at);
    } else {
        hint_note(pmm, r, block + 1, r->in_gap);
    }
}

RARE void extent_usable(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    if (has_few_blocks(r)) {
        hint_note(pmm, r, extent_bottom(pmm, r), r->fresh); /* it may not be the next any more */
        r->skipped &= ~block_bit(r, block);
        r->fresh = hint_at(pmm, extent_bottom(pmm, r), r->fresh);
    }
}

static void extent_split(struct pmm *pmm, struct pmm_region *r, uint64_t block)
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

void extent_take_off(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    extent_split(pmm, r, block);
    extents_note(pmm, r, block);
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
        } else if (!has_gaps(r)) {
            from = block_start(r->watermark);
        } else if (block_is_open(pmm, r, block)) {
            from = block_start(block + 1);
        } else {
            return from;
        }
    }
}
