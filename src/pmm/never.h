/*
 * Which blocks of a region were never used: a bit each where they are few, else by the watermark and the list of gaps
 * below it (region.c). Private to src/pmm/. All want the lock; O(1).
 */
#ifndef CAIRN_PMM_NEVER_H
#define CAIRN_PMM_NEVER_H

#include "pmm/internal.h"

static inline bool has_few_blocks(const struct pmm_region *r) { return r->blocks <= PMM_REGION_BITS; }

/* Of a word of bits, those from this one on: none from 64 on. */
static inline uint64_t bits_from(uint64_t bit) { return bit < PMM_REGION_BITS ? ~0ULL << bit : 0; }

/* Of a region of few blocks: the bit of a block of it; those of blocks below the watermark that were never used. */
static inline uint64_t block_bit(const struct pmm_region *r, uint64_t block) { return 1ULL << (block - r->base); }
static inline uint64_t gap_bits(const struct pmm_region *r) { return r->never & ~bits_from(r->watermark - r->base); }

/* Has it never-used blocks below the watermark? */
static inline bool has_gaps(const struct pmm_region *r) { return r->gaps != PMM_NO_BLOCK; }

/*
 * The never-used block of r that is opened next: of few blocks the lowest, so that one hint goes up with it; of more
 * the lowest of the last extent, or, where that is used up, of the first gap. Else one outside of r.
 */
static inline uint64_t extent_bottom(const struct pmm *pmm, const struct pmm_region *r)
{
    if (has_few_blocks(r)) {
        uint64_t bits = r->never & ~r->skipped;
        return bits != 0 ? r->base + (unsigned)__builtin_ctzll(bits) : region_end(r);
    }
    uint64_t block = r->watermark;
    if (block == region_end(r) && r->gaps != PMM_NO_BLOCK) {
        block = r->gaps - pmm->blocks[r->gaps].gap_blocks;
    }
    return block;
}

/* block == extent_bottom, of a never-used block; of few blocks also of one just opened. */
static inline bool extent_is_bottom(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    return has_few_blocks(r) ? (r->never & ~r->skipped & (block_bit(r, block) - 1)) == 0
                             : block == extent_bottom(pmm, r);
}

#endif
