/* Object caches (cache.c): made and ended, objects in bulk, and what alloc and free seldom come to. */
#include "heap/cache_internal.h"
#include "heap/raw.h"

enum {
    FEW_OBJECTS = 8,
    WORTH_SHARE = 32,
    SLAB_MAX_PAGES = 4,
    MASK_BITS = HEAP_SLAB_WORDS * HEAP_WORD_BITS,
    STRIDE_MIN_BYTES = PAGE_BYTES / MASK_BITS,
    OBJECT_ALIGN_BYTES = 8,
    COLOURS_MAX = 1 << (HEAP_DESC_DETAIL_SHIFT + 8 - HEAP_CACHE_COLOUR_SHIFT),
};

/* A call to a cache that was destroyed. */
HEAP_RARE static bool report_gone(const struct heap_cache *cache, const char *call)
{
    (void)HEAP_MISUSE(cache->heap, "%s: the cache %p '%s' was destroyed", call, (const void *)cache, cache->type.name);
    return true;
}

static inline bool is_gone(const struct heap_cache *cache, const char *call)
{
    return UNLIKELY(cache->is_destroyed) && report_gone(cache, call);
}

/* ---- Alloc ---- */

void *heap_cache_alloc_slowly(struct heap_cache *cache, const void *site)
{
    if (is_gone(cache, "heap_cache_alloc")) {
        return NULL;
    }
    void *object;
    if (UNLIKELY(heap_cache_may_guard(cache)) && heap_cache_alloc_guarded(cache, site, &object)) {
        return object;
    }
    bool is_short = cache->used >= heap_cache_ample(cache) && !heap_cache_open_slab(cache);
    if ((*cache->word & cache->word_valid) == 0 && !heap_cache_refill(cache) &&
        (is_short || !heap_cache_open_slab(cache) || !heap_cache_refill(cache))) {
        return NULL;
    }
    object = heap_cache_take(cache);
    heap_cache_note_most(cache);
    return object;
}

enum status heap_cache_alloc_bulk(struct heap_cache *cache, size_t count, void *objects[])
{
    if (is_gone(cache, "heap_cache_alloc_bulk")) {
        return STATUS_MISUSE;
    }
    bool has_reserve = cache->reserve != 0;
    if (count > HEAP_SPAN_BYTES ||
        (!heap_cache_guards_all(cache) && !heap_cache_have_free(cache, count + cache->reserve) &&
         !(has_reserve && heap_cache_have_free(cache, count)))) {
        return STATUS_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        objects[i] = heap_cache_alloc_at(cache, GUARD_SITE());
        if (objects[i] == NULL) { /* a slab was taken out of use, or nothing left for a guarded one */
            (void)!heap_cache_free_bulk(cache, i, objects);
            memset(objects, 0, i * sizeof objects[0]);
            return STATUS_NOMEM;
        }
    }
    return STATUS_OK;
}

/* ---- Free ---- */

/* The same for any object; null: none of this cache starts here. */
static uint64_t *find(const struct heap_cache *cache, const void *object,
                      struct heap_desc **slab, uint64_t *bit)
{
    *slab = heap_cache_find_recent(cache->heap, object);
    uint64_t *word = heap_cache_locate(cache, *slab, object, bit);
    if (UNLIKELY(word == NULL)) {
        heap_remember(cache->heap, heap_page_number(cache->heap, object) / HEAP_LEAF_PAGES);
        *slab = heap_find(cache->heap, object);
        word = heap_cache_locate(cache, *slab, object, bit);
    }
    return word;
}

HEAP_RARE static enum status refuse(struct heap_cache *cache, const char *call, const void *object)
{
    struct heap *heap = cache->heap;
    struct heap_block found;
    if (is_gone(cache, call)) {
        return STATUS_MISUSE;
    }
    const struct heap_desc *desc = heap_raw_owner_of(heap, object, &found);
    if (desc == NULL || desc->cache == cache) {
        return heap_refuse(heap, call, object);
    }
    if (found.cache_name == NULL) {
        return HEAP_MISUSE(heap, "%s: %p is in the heap's own block %p of %zu bytes, not of the cache '%s'", call,
                           object, found.base, found.usable_bytes, cache->type.name);
    }
    return HEAP_MISUSE(heap, "%s: %p is in the object %p of the cache '%s', not of the cache '%s'", call, object,
                       found.base, found.cache_name, cache->type.name);
}

/* A guarded object, or what is wrong with it. */
HEAP_RARE static enum status claim(struct heap_cache *cache, const char *call, const void *object, const void *site)
{
    enum status status = cache->heap->guard == NULL || cache->is_destroyed
                             ? STATUS_ABSENT
                             : heap_guard_cache_claim(cache, call, object, site);
    return status == STATUS_ABSENT ? refuse(cache, call, object) : status;
}

enum status heap_cache_free_slowly(struct heap_cache *cache, void *object, const void *site)
{
    struct heap_desc *slab;
    uint64_t bit;
    if (object == NULL) {
        return STATUS_OK;
    }
    uint64_t *word = find(cache, object, &slab, &bit);
    if (word == NULL || (*word & bit) != 0) {
        enum status status = claim(cache, "heap_cache_free", object, site);
        return status != STATUS_OK ? status : heap_cache_release_guarded(cache, "heap_cache_free", object, site);
    }
    *word |= bit;
    cache->used--;
    heap_cache_settle(cache, slab);
    return STATUS_OK;
}

/* The object is in use again. */
static void free_undo(struct heap_cache *cache, const void *object)
{
    struct heap_desc *slab;
    uint64_t bit = 0, *word = find(cache, object, &slab, &bit);
    if (word == NULL) {
        (void)heap_guard_cache_unclaim(cache, object);
        return;
    }
    *word &= ~bit;
    cache->used++;
}

enum status heap_cache_free_bulk(struct heap_cache *cache, size_t count, void *const objects[])
{
    static const char call[] = "heap_cache_free_bulk";
    struct heap_desc *slab;
    uint64_t *word, bit = 0;
    enum status done = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        word = find(cache, objects[i], &slab, &bit);
        if (word == NULL || (*word & bit) != 0) {
            enum status status = claim(cache, call, objects[i], GUARD_SITE());
            if (status == STATUS_OK) {
                continue;
            }
            while (i-- > 0) {
                free_undo(cache, objects[i]);
            }
            return status;
        }
        *word |= bit;
        cache->used--;
    }
    for (size_t i = 0; i < count; i++) {
        if (find(cache, objects[i], &slab, &bit) != NULL) { /* else its slab is gone, or it lay in none */
            heap_cache_settle(cache, slab);
        } else if (cache->heap->guard != NULL &&
                   heap_cache_release_guarded(cache, call, objects[i], GUARD_SITE()) == STATUS_MISUSE) {
            done = STATUS_MISUSE;
        }
    }
    return done;
}

/* ---- The caches of a heap ---- */

/* Slabs of so many pages: objects in one, and what it leaves idle in bytes of SLAB_MAX_PAGES. */
HEAP_RARE static unsigned objects_in(unsigned pages, size_t stride, size_t *idle_bytes)
{
    size_t bytes = pages_to_bytes(npages(pages));
    unsigned objects = (unsigned)(bytes / stride < MASK_BITS ? bytes / stride : MASK_BITS);
    *idle_bytes = (bytes - objects * stride) * (SLAB_MAX_PAGES / pages);
    return objects;
}

HEAP_RARE static void choose_slab(struct heap_cache *cache, size_t stride, size_t align)
{
    size_t least_idle = SIZE_MAX, worth = pages_to_bytes(npages(SLAB_MAX_PAGES)) / WORTH_SHARE;
    for (unsigned pages = 1; pages <= SLAB_MAX_PAGES; pages *= 2) {
        size_t idle;
        unsigned objects = objects_in(pages, stride, &idle);
        bool is_first = objects > 0 && cache->objects == 0;
        if (is_first || (cache->objects < FEW_OBJECTS && objects >= FEW_OBJECTS) || idle + worth < least_idle) {
            cache->objects = (uint16_t)objects;
            cache->pages = (uint16_t)pages;
            least_idle = idle;
        }
    }
    size_t limit = cache->objects * stride;
    size_t step = align > HEAP_CACHE_COLOUR_BYTES ? align : HEAP_CACHE_COLOUR_BYTES;
    size_t colours = (pages_to_bytes(npages(cache->pages)) - limit) / step + 1;
    cache->stride_bytes = (uint32_t)stride;
    cache->reciprocal = (uint32_t)(((1UL << 32) + stride - 1) / stride);
    cache->limit_bytes = (uint32_t)limit;
    cache->words = (uint16_t)((cache->objects + HEAP_WORD_BITS - 1U) / HEAP_WORD_BITS);
    cache->last_full = UINT64_MAX >> (-(unsigned)cache->objects % HEAP_WORD_BITS);
    cache->colour_step_bytes = (uint32_t)step;
    cache->colours = (uint16_t)(colours < COLOURS_MAX ? colours : COLOURS_MAX);
}

HEAP_RARE static enum status judge(const struct heap *heap, const struct heap_cache_type *type)
{
    size_t align = type->align_bytes;
    if (type->name == NULL || type->object_bytes == 0 || type->object_bytes > HEAP_CACHE_MAX_BYTES || align == 0 ||
        (align & (align - 1)) != 0 || align > PAGE_BYTES ||
        (type->flags & ~(unsigned)(HEAP_CACHE_ZERO | HEAP_CACHE_GUARD)) != 0 ||
        ((type->flags & HEAP_CACHE_ZERO) != 0 && type->construct != NULL)) {
        return STATUS_INVALID;
    }
    return (type->flags & HEAP_CACHE_GUARD) != 0 && heap->guard == NULL ? STATUS_INVALID : STATUS_OK;
}

/* The link of the heap's list that leads to this cache, else the last one. */
static struct heap_cache **link_to(struct heap *heap, const struct heap_cache *cache)
{
    struct heap_cache **link = &heap->caches;
    while (*link != NULL && *link != cache) {
        link = &(*link)->next;
    }
    return link;
}

HEAP_RARE enum status heap_cache_create(struct heap *heap, struct heap_cache *cache,
                                        const struct heap_cache_type *type)
{
    enum status status = judge(heap, type);
    if (status != STATUS_OK) {
        return status;
    }
    struct heap_cache **link = link_to(heap, cache);
    if (*link != NULL) {
        return HEAP_MISUSE(heap, "heap_cache_create: %p is the cache '%s' of this heap already", (void *)cache,
                           cache->type.name);
    }
    size_t align = type->align_bytes > OBJECT_ALIGN_BYTES ? type->align_bytes : OBJECT_ALIGN_BYTES;
    size_t stride = heap_round_up(type->object_bytes, align);
    memset(cache, 0, sizeof *cache);
    cache->heap = heap;
    cache->type = *type;
    choose_slab(cache, stride < STRIDE_MIN_BYTES ? STRIDE_MIN_BYTES : stride, align);
    heap_cache_forget_current(cache);
    *link = cache;
    return STATUS_OK;
}

HEAP_RARE enum status heap_cache_destroy(struct heap_cache *cache)
{
    struct heap *heap = cache->heap;
    struct heap_cache **link = link_to(heap, cache);
    if (*link == NULL) {
        return HEAP_MISUSE(heap, "heap_cache_destroy: %p is no cache of this heap (destroyed twice)", (void *)cache);
    }
    if (cache->used + cache->guarded != 0) {
        return HEAP_MISUSE(heap, "heap_cache_destroy: the cache %p '%s' has %lu objects of %zu bytes in use",
                           (void *)cache, cache->type.name, cache->used + cache->guarded, cache->type.object_bytes);
    }
    cache->reserve = 0;
    (void)heap_cache_shrink(cache);
    cache->is_destroyed = true;
    if (heap->guard != NULL) {
        heap_guard_cache_forget(cache);
    }
    heap->past_cache_allocs += cache->allocs;
    *link = cache->next;
    return STATUS_OK;
}

enum status heap_cache_reserve(struct heap_cache *cache, uint64_t objects)
{
    if (is_gone(cache, "heap_cache_reserve")) {
        return STATUS_MISUSE;
    }
    if (!heap_cache_have_free(cache, objects)) {
        return STATUS_NOMEM;
    }
    cache->reserve = objects;
    heap_cache_count_ample(cache);
    return STATUS_OK;
}

npages_t heap_cache_shrink(struct heap_cache *cache)
{
    uint64_t pages = cache->current != NULL ? heap_cache_close_if_idle(cache, cache->current) : 0;
    for (struct heap_desc *slab = cache->list, *next; slab != NULL; slab = next) {
        next = slab->next;
        pages += heap_cache_close_if_idle(cache, slab);
    }
    return npages(pages);
}

void heap_caches_shrink(struct heap *heap)
{
    for (struct heap_cache *cache = heap->caches; cache != NULL; cache = cache->next) {
        (void)heap_cache_shrink(cache);
    }
}

void heap_caches_count_ample(struct heap *heap)
{
    for (struct heap_cache *cache = heap->caches; cache != NULL; cache = cache->next) {
        heap_cache_count_ample(cache);
    }
}
