/*
 * Mixed slabs (heap.c, section 3): blocks of all sizes in one page, or four, cut into 64 granules. Two words out of
 * band say which granules are free and where the blocks in use begin; a block ends where the next begins or a free
 * granule is. Holes join by themselves.
 *
 * Slabs with room are in bins by their greatest hole, which is counted anew whenever it may have changed: bit
 * arithmetic on one word. So the best fit is found at once: the first bin that is not empty, from the request's size
 * on. A hole is filled from its beginning.
 */
#include "heap/heap_internal.h"

enum { SMALL_GRANULE_LOG2 = 6, BIG_GRANULE_LOG2 = 8, BIG_PAGES = 4, GRANULES = HEAP_WORD_BITS, FEW_IN_GRANULES = 16 };

/* `n` bits from `at` on; n is 1..64. */
static uint64_t bits(unsigned at, unsigned n)
{
    return UINT64_MAX >> (GRANULES - n) << at;
}

/* Bit i set: `n` granules are free from i on. */
static uint64_t fits(uint64_t free, unsigned n)
{
    unsigned have = 1;
    while (have * 2 <= n) {
        free &= free >> have;
        have *= 2;
    }
    return free & free >> (n - have);
}

struct hole {
    unsigned at, granules;
};

/* If `length` more ones fit behind the `n` that begin where `runs` says, so they do. `mask`: where `length` begin. */
static inline void lengthen(uint64_t *runs, unsigned *n, uint64_t mask, unsigned length)
{
    uint64_t longer = *runs & mask >> *n;
    *n += longer != 0 ? length : 0;
    *runs = longer != 0 ? longer : *runs;
}

/* The longest run of ones, the lowest of them; `free` is neither empty nor full. No branch: what comes is not to be
 * foreseen. */
static inline struct hole longest_run(uint64_t free)
{
    uint64_t by2 = free & free >> 1, by4 = by2 & by2 >> 2, by8 = by4 & by4 >> 4; /* where so many ones begin */
    uint64_t by16 = by8 & by8 >> 8, by32 = by16 & by16 >> 16;
    uint64_t runs = UINT64_MAX;
    unsigned n = 0;
    lengthen(&runs, &n, by32, 32);
    lengthen(&runs, &n, by16, 16);
    lengthen(&runs, &n, by8, 8);
    lengthen(&runs, &n, by4, 4);
    lengthen(&runs, &n, by2, 2);
    lengthen(&runs, &n, free, 1);
    return (struct hole){(unsigned)__builtin_ctzl(runs), n};
}

/* The hole that `at`, a free granule, lies in. */
static inline struct hole hole_around(uint64_t free, unsigned at)
{
    uint64_t above = ~free >> at, below = ~free << 1 << (GRANULES - 1 - at);
    unsigned up = above == 0 ? GRANULES - at : (unsigned)__builtin_ctzl(above);
    unsigned down = below == 0 ? at : (unsigned)__builtin_clzl(below);
    return (struct hole){at - down, up + down};
}

/* ---- Bins ---- */

static inline void bin_leave(struct heap_mixed *mixed, struct heap_desc *slab)
{
    struct heap_desc *next = slab->next, *prev = slab->prev;
    unsigned bin = slab->mixed.hole - 1U;
    if (next != NULL) {
        next->prev = prev;
    }
    if (prev != NULL) {
        prev->next = next;
        return;
    }
    mixed->bins[bin] = next;
    mixed->nonempty &= ~((uint64_t)(next == NULL) << bin);
}

static inline void bin_enter(struct heap_mixed *mixed, struct heap_desc *slab, struct hole hole)
{
    unsigned bin = hole.granules - 1;
    struct heap_desc *next = mixed->bins[bin];
    slab->mixed.hole = (uint8_t)hole.granules;
    slab->mixed.hole_at = (uint8_t)hole.at;
    slab->next = next;
    slab->prev = NULL;
    if (next != NULL) {
        next->prev = slab;
    }
    mixed->bins[bin] = slab;
    mixed->nonempty |= 1UL << bin;
}

/* The hole around `at` has grown. */
static inline void hole_grew(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at)
{
    struct hole hole = hole_around(slab->mixed.free, at);
    if (hole.granules > slab->mixed.hole) {
        if (slab->mixed.hole != 0) {
            bin_leave(mixed, slab);
        }
        bin_enter(mixed, slab, hole);
    }
}

/* To the bin where it belongs, after any change. */
__attribute__((noinline)) static void rebin(struct heap_mixed *mixed, struct heap_desc *slab)
{
    if (slab->mixed.hole != 0) {
        bin_leave(mixed, slab);
    }
    slab->mixed.hole = 0;
    if (slab->mixed.free != 0) {
        bin_enter(mixed, slab, longest_run(slab->mixed.free));
    }
}

/* ---- Alloc ---- */

HEAP_RARE void heap_mixed_init(struct heap *heap)
{
    heap->mixed[0].granule_log2 = SMALL_GRANULE_LOG2;
    heap->mixed[0].pages = 1;
    heap->mixed[1].granule_log2 = BIG_GRANULE_LOG2;
    heap->mixed[1].pages = BIG_PAGES;
}

struct heap_mixed *heap_mixed_for(struct heap *heap, size_t bytes)
{
    if (bytes <= HEAP_SMALL_MAX_BYTES) {
        return &heap->mixed[0];
    }
    size_t lost = pages_to_bytes(bytes_to_pages_up(bytes)) - bytes;
    return bytes <= HEAP_MIXED_MAX_BYTES && lost > bytes / 16 ? &heap->mixed[1] : NULL;
}

static inline unsigned granules_of(const struct heap_mixed *mixed, size_t bytes)
{
    return (unsigned)((bytes - 1) >> mixed->granule_log2) + 1;
}

HEAP_RARE static struct heap_desc *open_slab(struct heap *heap, struct heap_mixed *mixed)
{
    struct heap_desc *slab = heap_pages_open(heap, HEAP_DESC_MIXED, npages(mixed->pages), HEAP_PAGE_ALIGN_LOG2, false);
    if (slab == NULL) {
        return NULL;
    }
    slab->mixed.free = UINT64_MAX;
    slab->owner = mixed;
    mixed->slabs++;
    heap_note_most(&mixed->most_slabs, mixed->slabs);
    bin_enter(mixed, slab, (struct hole){0, GRANULES});
    return slab;
}

/* A hole that is not there: something overwrote the descriptor. The slab is taken out of use; what it holds stays. */
HEAP_RARE static void isolate(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n)
{
    report(REPORT_CORRUPT,
           "heap: mixed slab %p has a hole of %u granules, yet of %u at %u not all are free (%#lx): taken out of use",
           (void *)heap_desc_base(slab), slab->mixed.hole, n, at, slab->mixed.free);
    bin_leave(mixed, slab);
    slab->mixed.hole = 0;
    slab->mixed.free = 0;
}

/* `n` granules from `at` on. => null: they are not free, against what the bin says. */
__attribute__((noinline)) static void *place(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n)
{
    uint64_t wanted = bits(at, n);
    if (UNLIKELY((slab->mixed.free & wanted) != wanted)) {
        isolate(mixed, slab, at, n);
        return NULL;
    }
    struct hole rest = {at + n, slab->mixed.hole - n};
    slab->mixed.free &= ~wanted;
    slab->mixed.starts |= 1UL << at;
    mixed->granules_used += n;
    mixed->allocs++;
    if (UNLIKELY(n <= HEAP_FEW_GRANULES)) {
        mixed->few[n]++;
    }
    bool is_rest = at == slab->mixed.hole_at && rest.granules != 0 &&
                   slab->mixed.free == bits(rest.at, rest.granules); /* the only hole */
    if (is_rest) {
        bin_leave(mixed, slab);
        bin_enter(mixed, slab, rest);
    } else {
        rebin(mixed, slab);
    }
    return heap_desc_base(slab) + ((size_t)at << mixed->granule_log2);
}

/* A slab with a hole of `n` granules, of those the one with the least; null: none has. */
static inline struct heap_desc *best_fit(const struct heap_mixed *mixed, unsigned n)
{
    if (n > GRANULES) {
        return NULL;
    }
    uint64_t bins = mixed->nonempty >> (n - 1);
    return bins == 0 ? NULL : mixed->bins[n - 1 + (unsigned)__builtin_ctzl(bins)];
}

/*
 * Where `n` granules go in its hole; GRANULES: there is no room for them. What comes to slabs of four pages from the
 * other kind is small, and small blocks lie within one page.
 */
static unsigned place_within_page(const struct heap_mixed *mixed, const struct heap_desc *slab, unsigned n)
{
    unsigned page = GRANULES / mixed->pages, at = slab->mixed.hole_at, end = at + slab->mixed.hole;
    if (at % page + n > page) {
        at += page - at % page;
    }
    return at + n <= end ? at : GRANULES;
}

/* In a slab of the other kind, if that costs no more than a third. => null: not there. */
static void *alloc_elsewhere(struct heap *heap, struct heap_mixed *mixed, size_t bytes)
{
    struct heap_mixed *other = &heap->mixed[mixed == &heap->mixed[0]];
    if (bytes < 3UL << other->granule_log2) {
        return NULL;
    }
    unsigned n = granules_of(other, bytes), at = GRANULES;
    struct heap_desc *slab = NULL;
    for (unsigned hole = n; at == GRANULES && hole < 2 * n; hole += n - 1) { /* in the second there is for certain */
        slab = best_fit(other, hole);
        at = slab != NULL ? place_within_page(other, slab, n) : GRANULES;
    }
    return at < GRANULES ? place(other, slab, at, n) : NULL;
}

/* No slab of this kind has room, or one that was asked is corrupt: then the next is. */
HEAP_RARE static void *alloc_slowly(struct heap *heap, struct heap_mixed *mixed, size_t bytes)
{
    unsigned n = granules_of(mixed, bytes);
    for (;;) {
        struct heap_desc *slab = best_fit(mixed, n);
        void *block = slab == NULL ? alloc_elsewhere(heap, mixed, bytes) : NULL;
        if (block != NULL) {
            return block;
        }
        slab = slab != NULL ? slab : open_slab(heap, mixed);
        block = slab != NULL ? place(mixed, slab, slab->mixed.hole_at, n) : NULL;
        if (slab == NULL || LIKELY(block != NULL)) {
            return block;
        }
    }
}

void *heap_mixed_alloc(struct heap *heap, struct heap_mixed *mixed, size_t bytes)
{
    unsigned n = granules_of(mixed, bytes);
    struct heap_desc *slab = best_fit(mixed, n);
    void *block = LIKELY(slab != NULL) ? place(mixed, slab, slab->mixed.hole_at, n) : NULL;
    return LIKELY(block != NULL) ? block : alloc_slowly(heap, mixed, bytes);
}

HEAP_RARE void *heap_mixed_alloc_aligned(struct heap *heap, struct heap_mixed *mixed, size_t bytes, size_t align_bytes)
{
    unsigned n = granules_of(mixed, bytes);
    unsigned step = (unsigned)(align_bytes >> mixed->granule_log2);
    if (align_bytes <= 1UL << SMALL_GRANULE_LOG2) {
        return heap_mixed_alloc(heap, mixed, bytes);
    }
    step = step == 0 ? 1 : step;
    struct heap_desc *slab = best_fit(mixed, n + step - 1); /* such a hole has such a place for certain */
    slab = slab != NULL ? slab : open_slab(heap, mixed);
    if (slab == NULL) {
        return NULL;
    }
    uint64_t places = fits(slab->mixed.free, n) & UINT64_MAX / ((1UL << step) - 1);
    return place(mixed, slab, places == 0 ? 0 : (unsigned)__builtin_ctzl(places), n);
}

bool heap_mixed_takes_few(const struct heap *heap, size_t bytes)
{
    unsigned n = granules_of(&heap->mixed[0], bytes);
    return heap->mixed[0].few[n] * n < FEW_IN_GRANULES;
}

/* ---- Free ---- */

/* Granules of the block that begins at `at`. */
static unsigned length_at(const struct heap_desc *slab, unsigned at)
{
    uint64_t ends = (slab->mixed.free | slab->mixed.starts) >> at >> 1;
    return ends == 0 ? GRANULES - at : (unsigned)__builtin_ctzl(ends) + 1;
}

/* The granule at which a block starts at this address; GRANULES: none does. */
static unsigned start_at(const struct heap_desc *slab, const void *block)
{
    uint64_t offset = (uint64_t)((const uint8_t *)block - heap_desc_base(slab));
    unsigned shift = slab->owner->granule_log2;
    uint64_t at = offset >> shift;
    if (UNLIKELY(at << shift != offset || at >= GRANULES || (slab->mixed.starts >> at & 1) == 0)) {
        return GRANULES;
    }
    return (unsigned)at;
}

HEAP_RARE size_t heap_mixed_usable(const struct heap_desc *slab, const void *block)
{
    unsigned at = start_at(slab, block);
    return at == GRANULES ? 0 : (size_t)length_at(slab, at) << slab->owner->granule_log2;
}

HEAP_RARE static void close_slab(struct heap *heap, struct heap_mixed *mixed, struct heap_desc *slab)
{
    if (slab->mixed.hole != 0) {
        bin_leave(mixed, slab);
    }
    mixed->slabs--;
    heap_pages_close(heap, slab, npages(mixed->pages), false);
}

HEAP_RARE void heap_mixed_shrink(struct heap *heap, struct heap_mixed *mixed)
{
    if (mixed->bins[GRANULES - 1] != NULL) {
        close_slab(heap, mixed, mixed->bins[GRANULES - 1]);
    }
}

bool heap_mixed_free(struct heap *heap, struct heap_desc *slab, const void *block)
{
    struct heap_mixed *mixed = slab->owner;
    unsigned at = start_at(slab, block);
    if (UNLIKELY(at == GRANULES)) {
        return false;
    }
    unsigned n = length_at(slab, at);
    slab->mixed.free |= bits(at, n);
    slab->mixed.starts &= ~(1UL << at);
    mixed->granules_used -= n;
    mixed->frees++;
    if (UNLIKELY(n <= HEAP_FEW_GRANULES)) {
        mixed->few[n]--;
    }
    if (UNLIKELY(slab->mixed.free == UINT64_MAX) && (mixed->pages == 1 || mixed->bins[GRANULES - 1] != NULL)) {
        close_slab(heap, mixed, slab);
        return true;
    }
    hole_grew(mixed, slab, at);
    return true;
}

/* A block of `n` granules has `wanted` from now on. */
static void resized(struct heap_mixed *mixed, unsigned n, unsigned wanted)
{
    mixed->granules_used += (uint64_t)wanted - n;
    mixed->few[n <= HEAP_FEW_GRANULES ? n : 0]--;
    mixed->few[wanted <= HEAP_FEW_GRANULES ? wanted : 0]++;
}

HEAP_RARE bool heap_mixed_resize(struct heap *heap, struct heap_desc *slab, const void *block, size_t bytes)
{
    struct heap_mixed *mixed = slab->owner;
    unsigned at = start_at(slab, block);
    unsigned n = length_at(slab, at);
    if (bytes > (size_t)n << mixed->granule_log2 && heap_mixed_for(heap, bytes) != mixed) {
        return false;
    }
    unsigned wanted = granules_of(mixed, bytes);
    if (wanted > n) {
        uint64_t more = at + wanted > GRANULES ? 0 : bits(at + n, wanted - n);
        if (more == 0 || (slab->mixed.free & more) != more) {
            return false;
        }
        slab->mixed.free &= ~more;
    } else if (wanted < n) {
        slab->mixed.free |= bits(at + wanted, n - wanted);
    }
    if (wanted != n) {
        resized(mixed, n, wanted);
        rebin(mixed, slab);
    }
    return true;
}

HEAP_RARE void heap_mixed_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out)
{
    unsigned shift = slab->owner->granule_log2;
    unsigned at = (unsigned)((uint64_t)((const uint8_t *)address - heap_desc_base(slab)) >> shift);
    uint64_t below = slab->mixed.starts & bits(0, at + 1);
    unsigned start = below == 0 ? at : (unsigned)(GRANULES - 1 - __builtin_clzl(below));
    bool is_used = below != 0 && start + length_at(slab, start) > at;
    struct hole hole = hole_around(slab->mixed.free, at);
    *out = (struct heap_block){
        .base = heap_desc_base(slab) + ((size_t)(is_used ? start : hole.at) << shift),
        .usable_bytes = (is_used ? 0UL + length_at(slab, start) : hole.granules) << shift,
        .allocated = is_used,
    };
}
