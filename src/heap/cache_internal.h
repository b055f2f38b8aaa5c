/* Between the files of object caches; nobody else includes it. */
#ifndef CAIRN_HEAP_CACHE_INTERNAL_H
#define CAIRN_HEAP_CACHE_INTERNAL_H

#include "heap/cache.h"
#include "heap/guard_internal.h"
#include "lib/string.h"

/* ---- Slabs, cache_slab.c ---- */

/* Where the first object of a cache's slab begins. */
static inline uint8_t *heap_cache_first(const struct heap_desc *slab)
{
    uint64_t colour = page_offset_bytes(slab->base_and_kind) >> HEAP_CACHE_COLOUR_SHIFT;
    return heap_desc_base(slab) + colour * slab->cache->colour_step_bytes;
}

/* A slab at the end of the list. => false: memory is short. */
bool heap_cache_open_slab(struct heap_cache *cache);
/* Have so many free objects. => false: memory is short, nothing changed. */
bool heap_cache_have_free(struct heap_cache *cache, uint64_t wanted);
/* If the slab is wholly free and the reserve can do without it, it goes. => its pages. */
uint64_t heap_cache_close_if_idle(struct heap_cache *cache, struct heap_desc *slab);
/* The current word is empty: the next one. => false: no slab has room. */
bool heap_cache_refill(struct heap_cache *cache);
/* The slab may have got its first free object back, or its last one. */
void heap_cache_settle(struct heap_cache *cache, struct heap_desc *slab);
/* So many objects of the slabs may be in use before a new slab is tried. */
uint64_t heap_cache_ample(const struct heap_cache *cache);
/* There are more slabs, or fewer, or the reserve is another. */
void heap_cache_count_ample(struct heap_cache *cache);
void heap_cache_forget_current(struct heap_cache *cache);

/* ---- Objects: the rare ways of alloc and free are in cache_make.c ---- */

void *heap_cache_alloc_slowly(struct heap_cache *cache, const void *site);
/* Any object, if need be through the tree; or what is wrong with it. */
enum status heap_cache_free_slowly(struct heap_cache *cache, void *object, const void *site);

/* ---- Guarded objects, cache_guard.c ---- */

/* May its objects be guarded ones? Then each alloc goes the slow way. */
static inline bool heap_cache_may_guard(const struct heap_cache *cache)
{
    const struct heap *heap = cache->heap;
    return heap->guard != NULL && (heap->guards_blocks || (cache->type.flags & HEAP_CACHE_GUARD) != 0);
}

static inline void heap_cache_note_most(struct heap_cache *cache)
{
    uint64_t used = cache->used + cache->guarded;
    cache->high_water = used > cache->high_water ? used : cache->high_water;
}

/* Are all of them? */
bool heap_cache_guards_all(const struct heap_cache *cache);
/* => true: *object is the answer, null included; false: one of the slabs' is to be taken. */
bool heap_cache_alloc_guarded(struct heap_cache *cache, const void *site, void **object);
/* Of an object claimed (guard_internal.h). => OK; MISUSE: its red zones were broken; ABSENT: it was not claimed. */
enum status heap_cache_release_guarded(struct heap_cache *cache, const char *call, void *object, const void *site);

/* The current word is not empty. */
static inline void *heap_cache_take(struct heap_cache *cache)
{
    uint64_t mask = *cache->word & cache->word_valid;
    uint64_t used = cache->used + 1;
    *cache->word = mask & (mask - 1);
    cache->used = used;
    cache->high_water = used > cache->high_water ? used : cache->high_water;
    cache->allocs++;
    void *object = cache->word_base + (size_t)(unsigned)__builtin_ctzl(mask) * cache->stride_bytes;
    return (cache->type.flags & HEAP_CACHE_ZERO) != 0 ? memset(object, 0, cache->type.object_bytes) : object;
}

static inline void *heap_cache_alloc_at(struct heap_cache *cache, const void *site)
{
    bool is_slow = (*cache->word & cache->word_valid) == 0 || cache->used >= cache->ample;
    return UNLIKELY(is_slow) ? heap_cache_alloc_slowly(cache, site) : heap_cache_take(cache);
}

/* The word and bit of the object that starts here in this slab; null: none of this cache does. */
static inline uint64_t *heap_cache_locate(const struct heap_cache *cache, struct heap_desc *slab,
                                          const void *object, uint64_t *bit)
{
    if (UNLIKELY(heap_desc_kind(slab) != HEAP_DESC_CACHE || slab->cache != cache)) {
        return NULL;
    }
    uint64_t offset = (uint64_t)((const uint8_t *)object - heap_cache_first(slab));
    uint64_t product = offset * cache->reciprocal;
    if (UNLIKELY(offset >= cache->limit_bytes || (uint32_t)product >= cache->reciprocal)) {
        return NULL;
    }
    uint64_t index = product >> 32;
    *bit = 1UL << index % HEAP_WORD_BITS;
    return &slab->free_mask[index / HEAP_WORD_BITS];
}

/* The descriptor that the object's slab has if the page's leaf is a recent one. */
static inline struct heap_desc *heap_cache_find_recent(const struct heap *heap, const void *object)
{
    struct heap_desc *desc = heap_find_recent(heap, object);
    return heap_desc_kind(desc) == HEAP_DESC_TAIL ? heap_find_recent(heap, heap_desc_base(desc)) : desc;
}

#endif
