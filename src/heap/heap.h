/*
 * Heap: bytes.
 *
 * Small requests come from slabs: pages cut into objects of one size class, with the state (a bitmap) out of band,
 * found from any pointer in O(1). Others up to 15 KiB share pages with blocks of all sizes, by bitmaps too. Multiples
 * of a page, page-aligned and larger requests are whole pages straight from the page source. Grows a frame at a time
 * and shrinks. A free never needs memory.
 *
 * Invariants, checked by heap_check() and tested by name in test/unit/:
 *   HEAP-I1  a slab's mask has no bit beyond its objects; in a mixed slab no free granule begins a block, and each run
 *            of used ones begins with a block
 *   HEAP-I2  a slab with room is listed or current, and no other is; a mixed slab is in the bin of its greatest hole
 *   HEAP-I3  the tree leads from exactly the pages of slabs, large blocks and pages held ready to their descriptors
 *   HEAP-I4  the counters are the sums over the descriptors
 *   HEAP-I5.. object caches (cache.h)
 *
 * Misuse means, everywhere below: reported with the values and counted, nothing changed.
 *
 * Guard mode (guard.h) finds what a bitmap cannot see, and says what it changes for callers.
 *
 * Context: thread; not re-entrant until there are locks. The source may not call the heap.
 */
#ifndef CAIRN_HEAP_HEAP_H
#define CAIRN_HEAP_HEAP_H

#include "lib/fmt.h"
#include "lib/status.h"
#include "lib/units.h"

enum {
    HEAP_ALIGN_BYTES = 16, /* of every block */
    /* Such a block lies within one page, unless realloc made it so small; larger ones may take several. */
    HEAP_SMALL_MAX_BYTES = 2048,
};

/* Where pages come from. Alignment is of the first page, log2 of bytes, 12..30. */
struct heap_source {
    void *ctx;
    /*
     * Mapped, writable pages, contents arbitrary; null when memory is short. `guarded`: an access just below or above
     * should fault.
     */
    void *(*pages_get)(void *ctx, npages_t pages, unsigned align_log2, bool guarded);
    void (*pages_put)(void *ctx, void *base, npages_t pages);
    /* All pages lie in [span_base, span_base + 512 GiB); page-aligned. */
    vaddr_t span_base;
    /*
     * Optional: blocks that become longer or shorter without a copy. Null: alloc, copy, free instead. `old`: all the
     * pages of one guarded pages_get, as it is now; they keep frames, contents and guards; contents of new ones are
     * arbitrary. All or nothing.
     */
    bool (*pages_grow)(void *ctx, void *base, npages_t old, npages_t pages); /* more, in place; false: not */
    bool (*pages_trim)(void *ctx, void *base, npages_t old, npages_t pages); /* fewer, in place; the rest goes back */
    /* As many or more, at another address, aligned: the same frames, none copied. Null: not. */
    void *(*pages_move)(void *ctx, void *base, npages_t old, npages_t pages, unsigned align_log2);
};

struct heap_stats {
    uint64_t used_bytes;     /* the sum of usable sizes in use; what callers asked for is not kept */
    uint64_t held_bytes;     /* pages held from the source, metadata included */
    uint64_t most_held_bytes; /* at a time */
    uint64_t metadata_bytes; /* descriptors and nodes, part of held */
    uint64_t ready_bytes;    /* pages without any block, for the next request; part of held */
    uint64_t blocks;         /* in use, small and large */
    uint64_t allocs, frees, misuses;
};

struct heap_class_stats { /* of a size class, or of mixed slabs of one kind */
    size_t object_bytes;           /* mixed: of a granule */
    unsigned slab_pages;
    uint64_t slabs, most_slabs;    /* now; at most at a time */
    uint64_t objects, used;        /* objects: room in the slabs held; mixed: granules */
};

struct heap_block { /* what is known of an address */
    void *base;     /* of the block that holds it */
    size_t usable_bytes;
    bool allocated, large;
    size_t class_bytes;     /* of an object in a slab; else 0 */
    const char *cache_name; /* of the object cache whose it is; null: the heap's own */
};

#include "heap/heap_types.h"

/* => OK; INVALID: a source without functions or with an impossible span. `heap` in any state before. Takes no page. */
enum status heap_init(struct heap *heap, struct heap_source source);
/*
 * Have at least `bytes` of pages ready for small and page requests before they are wanted (heap=SIZE). Pages used up
 * are not replaced; before any request fails for want of memory, all go back. => OK; NOMEM: as before, or fewer pages
 * held.
 */
enum status heap_prefill(struct heap *heap, uint64_t bytes);

/*
 * At least `bytes`, aligned to HEAP_ALIGN_BYTES, contents arbitrary. O(1) but for pages.
 * => null when memory is short (nothing changed, but that no page lies ready), when bytes is 0, or above 2^47 (misuse).
 */
void *heap_alloc(struct heap *heap, size_t bytes);
/* The same, the `bytes` asked for zeroed. */
void *heap_zalloc(struct heap *heap, size_t bytes);
/* count * bytes, zeroed. A product that overflows is misuse: null. */
void *heap_alloc_array(struct heap *heap, size_t count, size_t bytes);
/* Alignment: a power of two up to 1 GiB, else misuse: null. */
void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes);
/*
 * The block moved or not, contents kept to the smaller size; null and the old block untouched when memory is short. A
 * large block is not copied where the source can: more pages come in place, or it moves with its frames; fewer go back
 * at once.
 * null `old`: heap_alloc. 0 bytes, more than 2^47, or an `old` that is no block: misuse, null, `old` kept. A block
 * asked for with the alignment of a page or more keeps it; a smaller alignment is not remembered.
 */
void *heap_realloc(struct heap *heap, void *old, size_t bytes);
/*
 * null is allowed. => OK; MISUSE: double free, not the start of a block, not of this heap. Never needs memory. O(1) but
 * for pages.
 */
enum status heap_free(struct heap *heap, void *block);
/*
 * With the size of the last alloc or realloc, checked: the block must be one that such a request can get (an object of
 * a class up to 64 bytes larger, with whatever alignment; as many granules; as many pages). => as heap_free; MISUSE
 * also when the size does not match.
 */
enum status heap_free_sized(struct heap *heap, void *block, size_t bytes);

/* Bytes usable at `block`; 0 and misuse when it is not an allocated block's start. */
size_t heap_usable_size(struct heap *heap, const void *block);
/*
 * Who holds this address? Any address. false: no block and no slab of this heap. In the unused end of a slab: `base`
 * is where that begins, usable_bytes 0.
 */
bool heap_owner_of(const struct heap *heap, const void *address, struct heap_block *out);

/*
 * Give back every page that holds nothing, spares, prefill and metadata included. Returns the pages given back. When
 * no block is in use, no page is held afterwards.
 */
npages_t heap_shrink(struct heap *heap);

/* O(slabs with room). */
struct heap_stats heap_stats(const struct heap *heap);
/* false past the last class, the last kind of mixed slabs. */
bool heap_class_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out);
bool heap_mixed_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out);
/* Compare all independent views (HEAP-I1..I4); says what is wrong to `out` (may be null). => OK; CORRUPT. O(pages). */
enum status heap_check(const struct heap *heap, struct sink *out);
/* Totals, classes, large blocks; no locks, no allocation. */
void heap_dump(const struct heap *heap, struct sink *out);

#endif
