/* What mixed slabs (mixed.c) do seldom: they open and close, hold aligned blocks, resize blocks, are corrupt. */
#include "heap/mixed.h"

/* heap_length_at, where nobody waits for it. */
HEAP_RARE static unsigned length_at(const struct heap_desc *slab, unsigned at)
{
    return heap_length_at(slab, at);
}

void heap_mixed_init(struct heap *heap)
{
    heap->mixed[0].granule_log2 = HEAP_SMALL_GRANULE_LOG2;
    heap->mixed[0].pages = 1;
    heap->mixed[1].granule_log2 = HEAP_BIG_GRANULE_LOG2;
    heap->mixed[1].pages = HEAP_BIG_PAGES;
    for (unsigned n = 0; n <= HEAP_GRANULES; n++) {
        for (struct heap_mixed *mixed = heap->mixed; mixed < heap->mixed + HEAP_MIXED_KINDS; mixed++) {
            mixed->bins[n].next = mixed->bins[n].prev = &mixed->bins[n];
        }
    }
}

struct heap_mixed *heap_mixed_for(struct heap *heap, size_t bytes)
{
    if (bytes <= HEAP_SMALL_MAX_BYTES) {
        return &heap->mixed[0];
    }
    size_t lost = pages_to_bytes(bytes_to_pages_up(bytes)) - bytes;
    return bytes <= HEAP_MIXED_MAX_BYTES && lost > bytes / 16 ? &heap->mixed[1] : NULL;
}

bool heap_mixed_takes_few(const struct heap *heap, size_t bytes)
{
    enum { FEW_IN_GRANULES = 16 };
    unsigned n = heap_granules_of(&heap->mixed[0], bytes);
    return heap->mixed[0].lengths[n] * n < FEW_IN_GRANULES;
}

/* ---- Corrupt ones ---- */

void heap_mixed_isolate(struct heap_mixed *mixed, struct heap_desc *slab, unsigned at, unsigned n)
{
    report(REPORT_CORRUPT,
           "heap: mixed slab %p has a hole of %u granules, yet of %u at %u not all are free (%#lx): taken out of use",
           (void *)heap_desc_base(slab), slab->mixed.hole, n, at, slab->mixed.free);
    /* Its holes become blocks that nobody holds, so that those beside them stay as long as they are. */
    uint64_t holes = slab->mixed.free & ~(slab->mixed.free << 1);
    slab->mixed.starts |= holes;
    slab->mixed.free = 0;
    heap_mixed_rebin(mixed, slab);
    for (; holes != 0; holes &= holes - 1) {
        mixed->allocs++;
        mixed->lengths[length_at(slab, (unsigned)__builtin_ctzl(holes))]++;
    }
}

/* ---- Opening and closing ---- */

static struct heap_desc *open_slab(struct heap *heap, struct heap_mixed *mixed)
{
    struct heap_desc *slab = heap_pages_open(heap, HEAP_DESC_MIXED, npages(mixed->pages), HEAP_PAGE_ALIGN_LOG2, false);
    if (slab != NULL) {
        slab->mixed.free = UINT64_MAX;
        slab->owner = mixed;
        slab->link = (struct heap_link){mixed->bins, mixed->bins};
        mixed->stays = mixed->pages > 1;
        mixed->slabs++;
        heap_note_most(&mixed->most_slabs, mixed->slabs);
        heap_mixed_move_to_bin(mixed, slab, 0, HEAP_GRANULES);
    }
    return slab;
}

void heap_mixed_close(struct heap *heap, struct heap_mixed *mixed, struct heap_desc *slab)
{
    heap_mixed_move_to_bin(mixed, slab, 0, 0);
    mixed->slabs--;
    heap_pages_close(heap, slab, npages(mixed->pages), false);
}

bool heap_mixed_shrink(struct heap *heap)
{
    struct heap_mixed *mixed = &heap->mixed[1];
    struct heap_desc *slab = heap_mixed_best_fit(mixed, HEAP_GRANULES);
    mixed->stays = false;
    heap->turn = HEAP_CLASSES;
    if (slab != NULL) {
        heap_mixed_move_to_bin(mixed, slab, 0, 0);
        mixed->slabs--;
        heap_pages_give_back(heap, slab, npages(HEAP_BIG_PAGES));
    }
    return slab != NULL;
}

/* ---- Alloc ---- */

/* From slabs of the other kind, if that costs no more than a third. */
static struct heap_desc *best_fit_elsewhere(struct heap *heap, struct heap_mixed **mixed, size_t bytes)
{
    struct heap_mixed *other = *mixed == &heap->mixed[0] ? &heap->mixed[1] : &heap->mixed[0];
    if (bytes < 3UL << other->granule_log2) {
        return NULL;
    }
    unsigned n = heap_granules_of(other, bytes), page_granules = 1U << (HEAP_PAGE_ALIGN_LOG2 - other->granule_log2);
    struct heap_desc *slab = n > HEAP_GRANULES ? NULL : heap_mixed_best_fit(other, n);
    if (slab == NULL || (slab->mixed.hole_at & (page_granules - 1)) + n > page_granules) {
        return NULL; /* what comes to slabs of four pages from here is small, and small blocks lie within one page */
    }
    *mixed = other;
    return slab;
}

/* Bit i set: `n` granules are free from i on. */
static uint64_t fits(uint64_t free, unsigned n)
{
    for (unsigned have = 1; have < n; have++) {
        free &= free >> 1;
    }
    return free;
}

/* A slab that turns out to be corrupt is passed over. */
void *heap_mixed_alloc_aligned(struct heap *heap, struct heap_mixed *mixed, size_t bytes, size_t align_bytes)
{
    bool is_granule_enough = align_bytes <= 1UL << HEAP_SMALL_GRANULE_LOG2;
    unsigned step = (unsigned)(align_bytes >> mixed->granule_log2), more = step > 1 ? step - 1 : 0;
    void *block = NULL;
    while (block == NULL) {
        struct heap_mixed *from = mixed;
        unsigned n = heap_granules_of(mixed, bytes);
        /* A hole of so many granules has such a place for certain, and a slab that is wholly free too. */
        struct heap_desc *slab = heap_mixed_best_fit(mixed, n + more < HEAP_GRANULES ? n + more : HEAP_GRANULES);
        if (slab == NULL && is_granule_enough) {
            slab = best_fit_elsewhere(heap, &from, bytes);
            n = heap_granules_of(from, bytes);
        }
        slab = slab != NULL ? slab : open_slab(heap, mixed);
        if (slab == NULL) {
            break;
        }
        unsigned at = slab->mixed.hole_at;
        if (more != 0) {
            uint64_t places = fits(slab->mixed.free, n) & UINT64_MAX / ((1UL << step) - 1);
            at = places == 0 ? 0 : (unsigned)__builtin_ctzl(places); /* where not all are free */
        }
        block = heap_mixed_place(from, slab, at, n);
    }
    return block;
}

/* ---- Resize ---- */

bool heap_mixed_resize(struct heap *heap, struct heap_desc *slab, const void *block, size_t bytes)
{
    struct heap_mixed *mixed = slab->owner;
    unsigned at = heap_start_at(slab, block);
    unsigned n = length_at(slab, at);
    if (bytes > (size_t)n << mixed->granule_log2 && heap_mixed_for(heap, bytes) != mixed) {
        return false;
    }
    unsigned wanted = heap_granules_of(mixed, bytes);
    if (wanted > n) {
        uint64_t more = at + wanted > HEAP_GRANULES ? 0 : heap_bits(at + n, wanted - n);
        if (more == 0 || (~slab->mixed.free & more) != 0) {
            return false;
        }
        slab->mixed.free &= ~more;
    } else if (wanted < n) {
        slab->mixed.free |= heap_bits(at + wanted, n - wanted);
    }
    if (wanted != n) {
        mixed->lengths[n]--;
        mixed->lengths[wanted]++;
        heap_mixed_rebin(mixed, slab);
    }
    return true;
}

/* ---- Whose ---- */

void heap_mixed_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out)
{
    unsigned shift = slab->owner->granule_log2;
    unsigned at = (unsigned)((uint64_t)((const uint8_t *)address - heap_desc_base(slab)) >> shift);
    struct heap_hole piece = heap_hole_around(slab->mixed.free, at);
    bool is_used = (slab->mixed.free >> at & 1) == 0;
    if (is_used) {
        uint64_t below = slab->mixed.starts & heap_bits(0, at + 1);
        piece.at = HEAP_GRANULES - 1 - (unsigned)__builtin_clzl(below | 1);
        piece.granules = length_at(slab, piece.at);
    }
    heap_describe(out, heap_desc_base(slab) + ((size_t)piece.at << shift), (size_t)piece.granules << shift, is_used, 0);
}
