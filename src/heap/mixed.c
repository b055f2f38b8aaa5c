/*
 * Mixed slabs (heap.c, section 3): blocks of all sizes in one page, or four, cut into 64 granules. Two words out of
 * band say which granules are free and where the blocks in use begin; a block ends where the next begins or a free
 * granule is. Holes join by themselves.
 *
 * Slabs with room are in bins by their greatest hole, which is counted anew whenever it may have changed: bit
 * arithmetic on one word. So the best fit is found at once: the first bin that is not empty, from the request's size
 * on. A hole is filled from its beginning. A bin is a ring with a head: which neighbours a slab has makes no difference
 * to how it leaves, and no branch, which nobody could foresee, depends on them.
 *
 * Here is what each alloc and free does; the rest is in mixed_rare.c.
 */
#include "heap/mixed.h"

/* The longest run of ones, the lowest of them; `free` is not full. No branch on what is in it: what comes is not to be
 * foreseen. */
static inline struct heap_hole longest_run(uint64_t free)
{
    uint64_t by2 = free & free >> 1, by4 = by2 & by2 >> 2, by8 = by4 & by4 >> 4;
    uint64_t by16 = by8 & by8 >> 8, by32 = by16 & by16 >> 16;
    const uint64_t begins[] = {by32, by16, by8, by4, by2, free}; /* where so many ones begin */
    uint64_t runs = UINT64_MAX;                                  /* where `n` ones begin */
    unsigned n = 0;
    for (unsigned i = 0, length = 32; i < ARRAY_LEN(begins); i++, length /= 2) {
        /* If `length` more fit behind them, so they do. A mask, since the compiler would make a choice a branch. */
        uint64_t longer = runs & begins[i] >> n, none = (uint64_t)(longer != 0) - 1;
        runs = longer | (runs & none);
        n |= length & ~(unsigned)none;
    }
    return (struct heap_hole){(unsigned)__builtin_ctzl(runs), n};
}

/* ---- Bins ---- */

/* Not inlined: it is most of the code of those that call it. And without a branch, as above. */
__attribute__((noinline)) void heap_mixed_move_to_bin(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at,
                                                      unsigned granules)
{
    struct heap_link *link = &slab->link, *next = link->next, *prev = link->prev, *bin = &mixed->bins[granules];
    prev->next = next;
    next->prev = prev;
    /* Where both were the head. Of [0] and of the last bin it is the bit that says nothing. */
    mixed->nonempty &= ~((uint64_t)(next == prev) << (unsigned)(next - mixed->bins - 1) % HEAP_GRANULES);
    next = bin->next;
    link->next = next;
    link->prev = bin;
    next->prev = link;
    bin->next = link;
    mixed->nonempty |= 1UL << (granules - 1) % HEAP_GRANULES;
    /* Who is in no bin has no neighbours: they would be in pages that nobody looked at for long. */
    mixed->bins[0].next = mixed->bins;
    slab->mixed.hole = (uint8_t)granules;
    slab->mixed.hole_at = (uint8_t)at;
}

__attribute__((noinline)) void heap_mixed_rebin(struct heap_mixed *mixed, struct heap_desc *slab)
{
    struct heap_hole hole = longest_run(slab->mixed.free);
    heap_mixed_move_to_bin(mixed, slab, hole.at, hole.granules);
}

/* ---- Alloc and free ---- */

void *heap_mixed_place(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n)
{
    unsigned hole = slab->mixed.hole, hole_at = slab->mixed.hole_at;
    if (UNLIKELY(hole_at + hole > HEAP_GRANULES || slab->link.prev != &mixed->bins[hole] ||
                 (~slab->mixed.free & heap_bits(at, n)) != 0)) {
        heap_mixed_isolate(mixed, slab, at, n);
        return NULL;
    }
    unsigned rest = hole - n;
    uint64_t free = slab->mixed.free & ~heap_bits(at, n);
    slab->mixed.free = free;
    slab->mixed.starts |= 1UL << at;
    mixed->allocs++;
    mixed->lengths[n]++;
    void *block = heap_desc_base(slab) + ((size_t)at << mixed->granule_log2);
    if (at == hole_at && rest != 0 && free == heap_bits(at + n, rest)) {
        heap_mixed_move_to_bin(mixed, slab, at + n, rest); /* the only hole */
    } else {
        heap_mixed_rebin(mixed, slab);
    }
    return block;
}

void *heap_mixed_alloc(struct heap *heap, struct heap_mixed *mixed, size_t bytes)
{
    unsigned n = heap_granules_of(mixed, bytes);
    struct heap_desc *slab = heap_mixed_best_fit(mixed, n);
    void *block = LIKELY(slab != NULL) ? heap_mixed_place(mixed, slab, slab->mixed.hole_at, n) : NULL;
    return LIKELY(block != NULL) ? block : heap_mixed_alloc_aligned(heap, mixed, bytes, HEAP_ALIGN_BYTES);
}

bool heap_mixed_free(struct heap *heap, struct heap_desc *slab, const void *block)
{
    struct heap_mixed *mixed = slab->owner;
    unsigned at = heap_start_at(slab, block);
    if (UNLIKELY(at == HEAP_GRANULES)) {
        return false;
    }
    unsigned n = heap_length_at(slab, at);
    uint64_t free = slab->mixed.free | heap_bits(at, n);
    slab->mixed.free = free;
    slab->mixed.starts &= ~(1UL << at);
    mixed->lengths[n]--;
    if (UNLIKELY(free == UINT64_MAX) && (!mixed->stays || heap_mixed_best_fit(mixed, HEAP_GRANULES) != NULL)) {
        heap_mixed_close(heap, mixed, slab);
        return true;
    }
    struct heap_hole hole = heap_hole_around(free, at);
    if (hole.granules > slab->mixed.hole) {
        heap_mixed_move_to_bin(mixed, slab, hole.at, hole.granules);
    }
    return true;
}
