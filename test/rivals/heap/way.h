/*
 * Ways to make a heap out of pages, each in a file of its own with its theory at the top: small, correct, and as good
 * as the idea allows. Freestanding: heaps.h puts them beside the product on the host, and the kernel can run on one
 * (kernel/heap.c).
 *
 * Each serves the same calls under its own name, WAY_alloc and so on, over the product's page source:
 *
 *   start         an empty heap in `state` of at most WAY_STATE_BYTES, its first member a struct way.
 *                 `slot_bytes`: the largest block that will be asked for, for those that must know
 *   alloc         `bytes` > 0, aligned to HEAP_ALIGN_BYTES. => null: memory is short, or the idea has no such block;
 *                 nothing changed
 *   alloc_aligned the same, aligned to a power of two up to 1 GiB
 *   resize        contents kept to the smaller size. => null: the block stays as it was. Alignment above
 *                 HEAP_ALIGN_BYTES is kept only where the block stays
 *   release       => OK; MISUSE: this way sees that it is no block in use, and nothing changed. What it does not see,
 *                 it takes
 *   usable        bytes of a block in use
 *   shrink        give pages back that hold nothing. => how many
 *
 * Context: one caller at a time; the source may not call the heap. Null pointers, zero and absurd sizes never get here.
 */
#ifndef CAIRN_RIVALS_HEAP_WAY_H
#define CAIRN_RIVALS_HEAP_WAY_H

#include "heap/heap.h"
#include "lib/string.h"

struct way {
    struct heap_source source;
    uint64_t held_pages; /* from the source, metadata included; not the state itself */
    uint64_t most_held_pages;
    uint64_t used_bytes; /* usable, in use */
    uint64_t allocs, frees;
};

#define HEAP_WAY(way_)                                                                                     \
    void way_##_start(void *state, struct heap_source source, size_t slot_bytes);                          \
    void *way_##_alloc(void *state, size_t bytes);                                                         \
    void *way_##_alloc_aligned(void *state, size_t bytes, size_t align_bytes);                             \
    void *way_##_resize(void *state, void *block, size_t bytes);                                           \
    enum status way_##_release(void *state, void *block);                                                  \
    size_t way_##_usable(void *state, const void *block);                                                  \
    npages_t way_##_shrink(void *state)

HEAP_WAY(tlsf_idea);
HEAP_WAY(first_fit);
HEAP_WAY(carving);
HEAP_WAY(buddy);
HEAP_WAY(single_pages);
HEAP_WAY(one_size);

enum {
    WAY_STATE_BYTES = 16 * 1024, /* larger than any state */
    WAY_PAGE_LOG2 = __builtin_ctz(PAGE_BYTES),
};

static inline void *way_get(struct way *w, npages_t pages, unsigned align_log2)
{
    void *base = w->source.pages_get(w->source.ctx, pages, align_log2, false);
    w->held_pages += base == NULL ? 0 : pages.v;
    w->most_held_pages = w->held_pages > w->most_held_pages ? w->held_pages : w->most_held_pages;
    return base;
}

static inline void way_put(struct way *w, void *base, npages_t pages)
{
    w->held_pages -= pages.v;
    w->source.pages_put(w->source.ctx, base, pages);
}

static inline size_t way_round_up(size_t n, size_t multiple) { return (n + multiple - 1) & ~(multiple - 1); }
static inline unsigned way_log2_down(size_t n) { return 63U - (unsigned)__builtin_clzl(n); }
static inline unsigned way_log2_up(size_t n) { return n <= 1 ? 0 : way_log2_down(n - 1) + 1; }

#endif
