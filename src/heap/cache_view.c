/* What there is of object caches and of slabs, for statistics and for those who look. */
#include "heap/cache_internal.h"

struct heap_cache_stats heap_cache_stats(const struct heap_cache *cache)
{
    return (struct heap_cache_stats){
        .type = cache->type,
        .stride_bytes = cache->stride_bytes,
        .slab_objects = cache->objects,
        .slab_pages = cache->pages,
        .colours = cache->colours,
        .slabs = cache->slabs,
        .most_slabs = cache->most_slabs,
        .held_bytes = pages_to_bytes(npages(cache->slabs * cache->pages)),
        .objects = cache->slabs * cache->objects,
        .used = cache->used + cache->guarded,
        .guarded = cache->guarded,
        .high_water = cache->high_water,
        .reserve = cache->reserve,
        .allocs = cache->allocs + cache->guarded_allocs,
        .constructed = cache->constructed,
    };
}

const struct heap_cache *heap_cache_next(const struct heap *heap, const struct heap_cache *cache)
{
    return cache == NULL ? heap->caches : cache->next;
}

void heap_caches_add_stats(const struct heap *heap, struct heap_stats *stats)
{
    stats->allocs += heap->past_cache_allocs;
    for (const struct heap_cache *cache = heap->caches; cache != NULL; cache = cache->next) {
        stats->used_bytes += cache->used * cache->stride_bytes;
        stats->blocks += cache->used;
        stats->allocs += cache->allocs;
    }
}

void heap_cache_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out)
{
    const struct heap_cache *cache = slab->cache;
    uint8_t *first = heap_cache_first(slab);
    uint64_t offset = (uint64_t)((const uint8_t *)address - first); /* wraps before the first object: no object */
    bool is_object = offset < cache->limit_bytes;
    uint64_t index = is_object ? offset / cache->stride_bytes : 0;
    uint8_t *base = is_object ? first + index * cache->stride_bytes
                              : ((const uint8_t *)address < first ? heap_desc_base(slab) : first + cache->limit_bytes);
    bool is_used = is_object && (slab->free_mask[index / HEAP_WORD_BITS] >> index % HEAP_WORD_BITS & 1) == 0;
    heap_describe(out, base, is_object ? cache->stride_bytes : 0, is_used, cache->stride_bytes);
    out->cache_name = cache->type.name;
}

/* ---- Slabs ---- */

struct visit {
    void (*each)(void *ctx, const struct heap_slab_view *slab);
    void *ctx;
};

/* => false: it is no slab. */
static bool view(const struct heap_desc *desc, struct heap_slab_view *out)
{
    *out = (struct heap_slab_view){.base = heap_desc_base(desc), .free_mask = desc->free_mask};
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        out->pages = npages(1);
        out->piece_bytes = desc->class->object_bytes;
        out->pieces = desc->class->objects;
        return true;
    case HEAP_DESC_MIXED:
        out->pages = npages(desc->owner->pages);
        out->piece_bytes = 1UL << desc->owner->granule_log2;
        out->pieces = HEAP_WORD_BITS;
        out->free_mask = &desc->mixed.free;
        out->is_mixed = true;
        return true;
    case HEAP_DESC_CACHE:
        out->pages = npages(desc->cache->pages);
        out->first_bytes = (size_t)(heap_cache_first(desc) - out->base);
        out->piece_bytes = desc->cache->stride_bytes;
        out->pieces = desc->cache->objects;
        out->cache = desc->cache;
        return true;
    default:
        return false;
    }
}

static void visit_leaf(void *ctx, uint64_t number, struct heap_desc *descs)
{
    const struct visit *visit = ctx;
    struct heap_slab_view slab;
    (void)number;
    for (unsigned i = 0; i < HEAP_LEAF_PAGES; i++) {
        if (view(&descs[i], &slab)) {
            visit->each(visit->ctx, &slab);
        }
    }
}

void heap_visit_slabs(const struct heap *heap, void (*visit)(void *ctx, const struct heap_slab_view *slab), void *ctx)
{
    struct visit each = {visit, ctx};
    const struct heap_visitor visitor = {.leaf = visit_leaf, .ctx = &each};
    heap_tree_walk(heap, &visitor);
}
