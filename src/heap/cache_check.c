/*
 * The validator of object caches: the slabs as the heap's pages have them, the lists and the counters are read
 * separately and compared (HEAP-I5..I7). A list is walked for as many steps as the pages have slabs, no further.
 */
#include "heap/cache_internal.h"
#include "lib/bits.h"

struct check {
    const struct heap *heap;
    const struct heap_cache *cache; /* null: only whether slabs are of a known one */
    struct sink *out;               /* may be null */
    uint64_t wrong;
    uint64_t slabs, used, active; /* of this cache */
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *format, ...)
{
    c->wrong++;
    if (c->out != NULL) {
        va_list args;
        va_start(args, format);
        sink_vprintf(c->out, format, args);
        va_end(args);
        sink_printf(c->out, "\n");
    }
}

static void check_slab(struct check *c, const struct heap_desc *slab)
{
    const struct heap_cache *cache = c->cache;
    const void *base = heap_desc_base(slab);
    bool is_active = (slab->base_and_kind & HEAP_DESC_ACTIVE) != 0;
    uint64_t free = 0, beyond = 0;
    for (unsigned word = 0; word < HEAP_SLAB_WORDS; word++) {
        uint64_t allowed = word + 1U < cache->words ? UINT64_MAX : word + 1U == cache->words ? cache->last_full : 0;
        beyond |= slab->free_mask[word] & ~allowed;
        free += bits_set(slab->free_mask[word] & allowed);
    }
    if (beyond != 0) {
        wrong(c, "HEAP-I5: slab %p of the cache '%s' has %u objects, its mask is %#lx %#lx %#lx %#lx", base,
              cache->type.name, cache->objects, slab->free_mask[0], slab->free_mask[1], slab->free_mask[2],
              slab->free_mask[3]);
    }
    if (is_active ? free == 0 && slab != cache->current : free != 0) {
        wrong(c, "HEAP-I6: slab %p of the cache '%s' has %lu free objects, and is %s", base, cache->type.name, free,
              is_active ? "listed" : "not listed");
    }
    c->slabs++;
    c->used += cache->objects - free;
    c->active += is_active;
}

static bool is_known(const struct heap *heap, const struct heap_cache *cache)
{
    const struct heap_cache *known = heap->caches;
    while (known != NULL && known != cache) {
        known = known->next;
    }
    return known != NULL;
}

uint64_t heap_cache_slab_pages(const struct heap *heap, const struct heap_desc *slab)
{
    return is_known(heap, slab->cache) ? slab->cache->pages : 0;
}

static void check_leaf(void *ctx, uint64_t number, struct heap_desc *descs)
{
    struct check *c = ctx;
    (void)number;
    for (unsigned i = 0; i < HEAP_LEAF_PAGES; i++) {
        if (heap_desc_kind(&descs[i]) != HEAP_DESC_CACHE) {
            continue;
        }
        if (c->cache == NULL) {
            if (!is_known(c->heap, descs[i].cache)) {
                wrong(c, "HEAP-I5: slab %p is of the cache %p, which is none of this heap's",
                      (void *)heap_desc_base(&descs[i]), (void *)descs[i].cache);
            }
        } else if (descs[i].cache == c->cache) {
            check_slab(c, &descs[i]);
        }
    }
}

/* The slabs on the list, and the current one, are those that say that they are. */
static void check_list(struct check *c)
{
    const struct heap_cache *cache = c->cache;
    const struct heap_desc *before = NULL, *slab = cache->list;
    uint64_t listed = cache->current != NULL;
    for (; slab != NULL && listed <= c->slabs; slab = slab->next) {
        if (heap_find_page(c->heap, heap_desc_base(slab)) != slab || heap_desc_kind(slab) != HEAP_DESC_CACHE ||
            slab->cache != cache || slab->prev != before || slab == cache->current ||
            (slab->base_and_kind & HEAP_DESC_ACTIVE) == 0) {
            wrong(c, "HEAP-I6: the list of the cache '%s' is broken at %p", cache->type.name, (const void *)slab);
            return;
        }
        before = slab;
        listed++;
    }
    if (listed != c->active || cache->last != before) {
        wrong(c, "HEAP-I6: the cache '%s' lists %lu slabs that end with %p, %lu of them say so and %p is the last",
              cache->type.name, listed, (const void *)before, c->active, (const void *)cache->last);
    }
}

enum status heap_cache_check(const struct heap_cache *cache, struct sink *out)
{
    struct check c = {.heap = cache->heap, .cache = cache, .out = out};
    const struct heap_visitor visitor = {.leaf = check_leaf, .ctx = &c};
    heap_tree_walk(cache->heap, &visitor);
    check_list(&c);
    if (c.slabs != cache->slabs || cache->slabs > cache->most_slabs || c.used != cache->used ||
        cache->used + cache->guarded > cache->high_water ||
        cache->ample != (heap_cache_may_guard(cache) ? 0 : heap_cache_ample(cache))) {
        wrong(&c, "HEAP-I7: the cache '%s' counts %lu slabs, %lu used, at most %lu, %lu without the reserve of %lu; "
                  "its slabs are %lu, used in them %lu",
              cache->type.name, cache->slabs, cache->used, cache->high_water, cache->ample, cache->reserve, c.slabs,
              c.used);
    }
    uint64_t guarded = heap_guard_cache_count(cache);
    if (guarded != cache->guarded) {
        wrong(&c, "HEAP-I7: the cache '%s' counts %lu guarded objects, recorded are %lu", cache->type.name,
              cache->guarded, guarded);
    }
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

enum status heap_caches_check(const struct heap *heap, struct sink *out)
{
    struct check c = {.heap = heap, .out = out};
    const struct heap_visitor visitor = {.leaf = check_leaf, .ctx = &c};
    heap_tree_walk(heap, &visitor);
    for (const struct heap_cache *cache = heap->caches; cache != NULL; cache = cache->next) {
        c.wrong += heap_cache_check(cache, out) != STATUS_OK;
    }
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}
