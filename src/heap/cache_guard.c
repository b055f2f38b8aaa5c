/*
 * Guarded objects of caches (cache.c, section 6; guard.c, section 8). The cache only counts them: what is known of each
 * is in its record, which leads to the cache.
 */
#include "heap/cache_internal.h"

HEAP_RARE bool heap_cache_guards_all(const struct heap_cache *cache)
{
    return heap_cache_may_guard(cache) &&
           ((cache->type.flags & HEAP_CACHE_GUARD) != 0 || cache->heap->guard->config.sample_every <= 1);
}

HEAP_RARE bool heap_cache_alloc_guarded(struct heap_cache *cache, const void *site, void **object)
{
    bool is_all = heap_cache_guards_all(cache);
    if (!is_all && !heap_guard_draw(cache->heap)) {
        return false;
    }
    *object = heap_guard_cache_alloc(cache, site);
    if (*object == NULL) {
        return is_all && cache->reserve == 0;
    }
    cache->guarded_allocs++;
    cache->guarded++;
    heap_cache_note_most(cache);
    if (cache->type.construct != NULL) {
        cache->type.construct(cache->type.ctx, *object);
        cache->constructed++;
    } else if ((cache->type.flags & HEAP_CACHE_ZERO) != 0) {
        memset(*object, 0, cache->type.object_bytes);
    }
    return true;
}

HEAP_RARE enum status heap_cache_release_guarded(struct heap_cache *cache, const char *call, void *object,
                                                 const void *site)
{
    enum status status = heap_guard_cache_release(cache, call, object, site);
    cache->guarded -= status != STATUS_ABSENT;
    return status;
}
