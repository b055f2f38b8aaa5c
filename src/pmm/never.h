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

#endif
