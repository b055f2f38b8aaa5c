/*
 * Object caches: objects of one type, constructed once.
 *
 * An object that is freed stays constructed: its owner gives it back in the state that the constructor left, and the
 * next one gets it so. Nothing of the heap's is ever written into an object. The constructor runs for all objects of a
 * slab when its pages come, and there is no destructor: a constructor sets bytes and acquires nothing.
 *
 * Objects lie in slabs of 1, 2 or 4 pages of the heap's, apart from its other blocks. The first objects of successive
 * slabs begin at other cache lines as far as a slab has bytes to spare (colouring).
 *
 * Invariants, checked by heap_caches_check() and tested by name in test/unit/:
 *   HEAP-I5  each slab of an object cache is of a cache on the heap's list, and has no bit set beyond its objects
 *   HEAP-I6  such a slab is on its cache's list, or the one that objects come from, if it has a free object; and on the
 *            list only then
 *   HEAP-I7  a cache's counters are the sums over its slabs
 *
 * Guarded objects (guard.h): all of a cache with HEAP_CACHE_GUARD, and those of the others as the heap's guard mode has
 * it, are exactly as long as the type, lie in no slab, and are constructed, or zeroed, each time they are given out.
 * Freed ones are poison and quarantined: what their owner left in them is not kept. heap_shrink gives back what is
 * quarantined, heap_cache_shrink does not.
 *
 * Misuse means: reported with the values and counted, nothing changed. Context: as the heap's.
 */
#ifndef CAIRN_HEAP_CACHE_H
#define CAIRN_HEAP_CACHE_H

#include "heap/heap.h"

enum {
    HEAP_CACHE_MAX_BYTES = 2 * PAGE_BYTES, /* of an object, rounded up to its alignment */
    HEAP_CACHE_COLOUR_BYTES = 64,          /* from one colour to the next, or the alignment if that is more */

    /* Flags. */
    HEAP_CACHE_ZERO = 1 << 0,  /* each object is zeroed when it is given out; not with a constructor */
    HEAP_CACHE_GUARD = 1 << 1, /* each object is guarded; the heap is in guard mode (guard.h), if only for caches */
};

/* What a cache's objects are. */
struct heap_cache_type {
    const char *name; /* kept, not copied */
    size_t object_bytes;
    size_t align_bytes; /* a power of two up to a page */
    /* May be null. Contents are arbitrary before. May not call the heap. */
    void (*construct)(void *ctx, void *object);
    void *ctx;
    unsigned flags;
};

/* Name, size and alignment of a cache of a C type. */
#define HEAP_CACHE_TYPE(name_, type) .name = (name_), .object_bytes = sizeof(type), .align_bytes = _Alignof(type)

/* The caller's memory, which stays where it is until the cache is destroyed. All fields are the heap's. */
struct heap_cache {
    /* Where the next object comes from: a word of some slab's mask, and the place of its bit 0. */
    uint64_t *word;      /* never null */
    uint64_t word_valid; /* bits of it that stand for objects */
    uint8_t *word_base;
    uint64_t used;       /* objects of slabs */
    uint64_t high_water; /* objects, guarded ones included */
    uint64_t ample;            /* from so many used on a new slab is tried first: the rest is the reserve, or nothing; 0
                                * when guard mode may want the next object */
    uint64_t allocs;           /* from slabs, ever */
    uint32_t stride_bytes;     /* from object to object */
    uint32_t reciprocal;       /* of the stride, as in struct heap_class */
    uint32_t limit_bytes;      /* of all objects of a slab */
    uint32_t colour_step_bytes;
    uint64_t last_full; /* the last word of the mask of a slab that is wholly free */

    struct heap *heap;
    struct heap_desc *list, *last; /* slabs with room, but the current one: full ones of late at the end */
    struct heap_desc *current;     /* the slab of `word`; null: none, the word is no_room */
    uint64_t slabs, most_slabs, reserve, constructed;
    uint64_t guarded, guarded_allocs; /* guarded objects: in use, ever */
    uint16_t objects, words, pages; /* a slab */
    uint16_t colours, next_colour;
    bool is_destroyed;
    struct heap_cache_type type;
    struct heap_cache *next; /* of the heap's */
    uint64_t no_room;        /* always 0 */
};

struct heap_cache_stats {
    struct heap_cache_type type;
    size_t stride_bytes;
    unsigned slab_objects, slab_pages, colours;
    uint64_t slabs, most_slabs; /* now; at most at a time */
    uint64_t held_bytes;
    uint64_t objects, used, high_water; /* objects: room in the slabs held */
    uint64_t guarded;                   /* of the used ones those that are in no slab */
    uint64_t reserve, allocs, constructed;
};

/*
 * `cache` in any state before, but for one in use. Takes no memory.
 * => OK; INVALID: no name, no size or too large a one, an alignment that is no power of two up to a page, an unknown
 * flag, HEAP_CACHE_ZERO with a constructor, HEAP_CACHE_GUARD before heap_guard_start; MISUSE: it is a cache of this
 * heap already.
 */
enum status heap_cache_create(struct heap *heap, struct heap_cache *cache, const struct heap_cache_type *type);
/* All its pages go back. => OK; MISUSE: objects are in use, or it is no cache of its heap's (destroyed twice). */
enum status heap_cache_destroy(struct heap_cache *cache);

/* A constructed object, or a zeroed one, else with arbitrary contents. O(1) but for a new slab. => null: memory is
 * short, nothing changed; or the cache was destroyed: misuse. */
void *heap_cache_alloc(struct heap_cache *cache);
/*
 * In its constructed state, unless guarded. Null is allowed. Needs no memory. => OK; MISUSE: double free, not the start
 * of an object, another cache's, a block of the heap, not of the heap; or a guarded object's red zones are broken: it
 * has gone then.
 */
enum status heap_cache_free(struct heap_cache *cache, void *object);
/* `count` objects or none. => OK; NOMEM: nothing changed, nothing was written into `objects` but nulls; MISUSE: the
 * cache was destroyed. */
enum status heap_cache_alloc_bulk(struct heap_cache *cache, size_t count, void *objects[]);
/* All or none, null not among them. => OK; MISUSE: as heap_cache_free for one of them, or one is there twice. Broken
 * red zones: MISUSE, and all have gone. */
enum status heap_cache_free_bulk(struct heap_cache *cache, size_t count, void *const objects[]);

/*
 * From now on `objects` free ones are kept for when memory is short: other ones are given out as long as pages come,
 * and a free refills the reserve before pages go back. 0 ends it; what is too much then goes with heap_cache_shrink.
 * They are not guarded ones: those are tried first, then the reserve serves, and as long as there is one, slabs do.
 * => OK: as many are there now; NOMEM: as before; MISUSE: the cache was destroyed.
 */
enum status heap_cache_reserve(struct heap_cache *cache, uint64_t objects);
/* Give back slabs that hold nothing, but for the reserve's. Returns the pages. heap_shrink does it for all caches. */
npages_t heap_cache_shrink(struct heap_cache *cache);

struct heap_cache_stats heap_cache_stats(const struct heap_cache *cache);
/* The heap's caches in the order they were made: the first one for null; null after the last. */
const struct heap_cache *heap_cache_next(const struct heap *heap, const struct heap_cache *cache);

/* One cache against its slabs as the heap's pages have them; says what is wrong to `out` (may be null). O(pages). */
enum status heap_cache_check(const struct heap_cache *cache, struct sink *out);
/* HEAP-I5..I7 for all caches of the heap. O(caches * pages). */
enum status heap_caches_check(const struct heap *heap, struct sink *out);

/* ---- What a slab looks like ---- */

struct heap_slab_view {
    const uint8_t *base; /* of its pages */
    npages_t pages;
    size_t first_bytes, piece_bytes; /* where the first piece begins, and how large each is */
    unsigned pieces;
    const uint64_t *free_mask;      /* bit i set: piece i is free */
    const struct heap_cache *cache; /* null: the heap's own */
    bool is_mixed;                  /* blocks are of one piece or several */
};

/* Calls for each slab of the heap, by address. No locks, no allocation. */
void heap_visit_slabs(const struct heap *heap, void (*visit)(void *ctx, const struct heap_slab_view *slab), void *ctx);

#endif
