/* Granules and bins of mixed slabs (mixed.c), for mixed.c and mixed_rare.c. */
#ifndef CAIRN_HEAP_MIXED_H
#define CAIRN_HEAP_MIXED_H

#include "heap/heap_internal.h"

enum { HEAP_SMALL_GRANULE_LOG2 = 6, HEAP_BIG_GRANULE_LOG2 = 8, HEAP_BIG_PAGES = 4, HEAP_GRANULES = HEAP_WORD_BITS };

struct heap_hole {
    unsigned at, granules;
};

/* `n` bits from `at` on; n is 1..64, at + n too. */
static inline uint64_t heap_bits(unsigned at, unsigned n)
{
    return UINT64_MAX >> (HEAP_GRANULES - n) << at;
}

static inline unsigned heap_granules_of(const struct heap_mixed *mixed, size_t bytes)
{
    return (unsigned)((bytes - 1) >> mixed->granule_log2) + 1;
}

/* Granules from `at` to the next one behind it that `ends` has, or to the end of the slab. */
static inline unsigned heap_run(uint64_t ends, unsigned at)
{
    unsigned behind = HEAP_GRANULES - 1 - at;
    return (unsigned)__builtin_ctzl(ends >> at >> 1 | 1UL << behind) + 1;
}

/* The hole that `at`, a free granule, lies in. */
static inline struct heap_hole heap_hole_around(uint64_t free, unsigned at)
{
    unsigned below = (unsigned)__builtin_clzl((~free << 1 | 1) << (HEAP_GRANULES - 1 - at));
    return (struct heap_hole){at - below, below + heap_run(~free, at)};
}

/* Granules of the block that begins at `at`. */
static inline unsigned heap_length_at(const struct heap_desc *slab, unsigned at)
{
    return heap_run(slab->mixed.free | slab->mixed.starts, at);
}

/* The granule at which a block starts at this address; HEAP_GRANULES: none does. */
static inline unsigned heap_start_at(const struct heap_desc *slab, const void *block)
{
    uint64_t offset = (uint64_t)((const uint8_t *)block - heap_desc_base(slab));
    unsigned shift = slab->owner->granule_log2;
    uint64_t at = offset >> shift;
    if (UNLIKELY(at << shift != offset || at >= HEAP_GRANULES || (slab->mixed.starts >> at & 1) == 0)) {
        return HEAP_GRANULES;
    }
    return (unsigned)at;
}

/* A slab with a hole of `n` granules, 1..64, of those the one with the least; null: none has. */
static inline struct heap_desc *heap_mixed_best_fit(const struct heap_mixed *mixed, unsigned n)
{
    uint64_t bins = (mixed->nonempty | 1UL << (HEAP_GRANULES - 1)) >> (n - 1);
    const struct heap_link *bin = &mixed->bins[n + (unsigned)__builtin_ctzl(bins)];
    return bin->next == bin ? NULL : CONTAINER_OF(bin->next, struct heap_desc, link);
}

/* ---- mixed.c ---- */

/* `n` granules from `at` on, of a slab that was found in a bin; at + n is at most 64, or `at` the greatest hole. =>
 * null: they are not free, against what the bin says: it is out of use now. */
void *heap_mixed_place(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n);
/* Its greatest hole begins at `at` and is of so many granules: to its bin; of no granule: to none. Where it was says
 * its links, not what it says of its hole. */
void heap_mixed_move_to_bin(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned granules);
/* The same, counted; for a slab that is not wholly free. */
void heap_mixed_rebin(struct heap_mixed *mixed, struct heap_desc *slab);

/* ---- mixed_rare.c ---- */

/* Nothing lies in it. */
void heap_mixed_close(struct heap *heap, struct heap_mixed *mixed, struct heap_desc *slab);
/* `n` granules at `at` cannot be had though its bin says so: something overwrote the descriptor. The slab is taken out
 * of use; what it holds stays. */
void heap_mixed_isolate(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n);

#endif
