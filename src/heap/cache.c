/*
 * Object caches: the theory, and the calls.
 *
 * 1. Data. A slab is what a slab of the heap is: pages with one descriptor out of band whose mask has a bit for each
 * object, set while it is free. Its kind is one of its own, so that heap_free does not take an object of a cache for a
 * block, and pays nothing for that. Objects begin `colour` steps behind the slab's base; the colour stands in the
 * descriptor, beside the kind. Four words of mask: at most 256 objects a slab.
 *
 * 2. The slab's size is 1, 2 or 4 pages: the least one, unless a larger one is the first that holds FEW_OBJECTS or
 * leaves idle less by a share of 1 in WORTH_SHARE. Single pages come from those that the heap keeps ready.
 *
 * 3. Which object. The lowest of the current slab's; then those of the slab that has been on the list for the longest
 * time. A slab that gets its first free object back goes to the end. One that becomes wholly free goes back at once,
 * unless it is the current one, so that a pair of alloc and free never moves pages, or the reserve needs it.
 *
 * 4. The reserve is a number, not a place: of the free objects, as many are not given out while pages can be had. So a
 * free refills it without knowing, and `ample` makes it cost nothing: the one comparison is against the objects that
 * may be used before a new slab has to be tried.
 *
 * 5. Memory short in the middle: what a call needs is opened first, at the end of the list, and closed again from there
 * when it is not enough. A free only ever gives back.
 *
 * 6. Guarded objects (guard.c, section 8) lie in no slab of the cache's. Where guard mode may want the next object
 * `ample` is 0, so that every alloc comes to the slow way, which asks; a free comes there because it finds no slab. The
 * slabs then serve what guard mode leaves over: objects from before, the reserve, all but the samples.
 *
 * 7. Rejected. Objects constructed when they are first given out: needs a second mask, and a look at it in each alloc.
 * Links through free objects: they would have to be constructed anew. The struct on the heap: its bytes decide what is
 * given out next, and the heap keeps such bytes away from those of callers.
 */
#include "heap/cache_internal.h"

void *heap_cache_alloc(struct heap_cache *cache)
{
    return heap_cache_alloc_at(cache, GUARD_SITE());
}

enum status heap_cache_free(struct heap_cache *cache, void *object)
{
    struct heap_desc *slab = heap_cache_find_recent(cache->heap, object);
    uint64_t bit = 0;
    uint64_t *word = heap_cache_locate(cache, slab, object, &bit);
    if (UNLIKELY(word == NULL)) {
        return heap_cache_free_slowly(cache, object, GUARD_SITE());
    }
    uint64_t before = *word, after = before | bit;
    if (UNLIKELY(after == before)) {
        return heap_cache_free_slowly(cache, object, GUARD_SITE());
    }
    *word = after;
    cache->used--;
    if (UNLIKELY(before == 0 || after == cache->last_full || after == UINT64_MAX)) {
        heap_cache_settle(cache, slab);
    }
    return STATUS_OK;
}
