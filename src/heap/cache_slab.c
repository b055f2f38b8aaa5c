/* Slabs of object caches (cache.c): opened, closed, listed. */
#include "heap/cache_internal.h"

static uint64_t free_objects(const struct heap_cache *cache)
{
    return cache->slabs * cache->objects - cache->used;
}

uint64_t heap_cache_ample(const struct heap_cache *cache)
{
    uint64_t room = cache->slabs * cache->objects;
    return room > cache->reserve ? room - cache->reserve : 0;
}

void heap_cache_count_ample(struct heap_cache *cache)
{
    cache->ample = heap_cache_may_guard(cache) ? 0 : heap_cache_ample(cache);
}

static uint64_t whole_word(const struct heap_cache *cache, unsigned word)
{
    return word + 1U == cache->words ? cache->last_full : UINT64_MAX;
}

static bool is_wholly_free(const struct heap_cache *cache, const struct heap_desc *slab)
{
    for (unsigned word = 0; word < cache->words; word++) {
        if (slab->free_mask[word] != whole_word(cache, word)) {
            return false;
        }
    }
    return true;
}

static void list_push(struct heap_cache *cache, struct heap_desc *slab)
{
    struct heap_desc *last = cache->last;
    slab->next = NULL;
    slab->prev = last;
    *(last != NULL ? &last->next : &cache->list) = slab;
    cache->last = slab;
    slab->base_and_kind |= HEAP_DESC_ACTIVE;
}

static void list_remove(struct heap_cache *cache, struct heap_desc *slab)
{
    *(slab->next != NULL ? &slab->next->prev : &cache->last) = slab->prev;
    *(slab->prev != NULL ? &slab->prev->next : &cache->list) = slab->next;
}

void heap_cache_forget_current(struct heap_cache *cache)
{
    cache->current = NULL;
    cache->word = &cache->no_room;
}

static void close_slab(struct heap_cache *cache, struct heap_desc *slab)
{
    if (slab == cache->current) {
        heap_cache_forget_current(cache);
    } else {
        list_remove(cache, slab);
    }
    cache->slabs--;
    heap_cache_count_ample(cache);
    heap_pages_close(cache->heap, slab, npages(cache->pages), false);
}

uint64_t heap_cache_close_if_idle(struct heap_cache *cache, struct heap_desc *slab)
{
    if (!is_wholly_free(cache, slab) || free_objects(cache) - cache->objects < cache->reserve) {
        return 0;
    }
    close_slab(cache, slab);
    return cache->pages;
}

bool heap_cache_open_slab(struct heap_cache *cache)
{
    struct heap_desc *slab =
        heap_pages_open(cache->heap, HEAP_DESC_CACHE, npages(cache->pages), HEAP_PAGE_ALIGN_LOG2, false);
    if (slab == NULL) {
        return false;
    }
    slab->cache = cache;
    slab->base_and_kind |= (uint64_t)cache->next_colour << HEAP_CACHE_COLOUR_SHIFT;
    cache->next_colour = (uint16_t)((cache->next_colour + 1U) % cache->colours);
    if (cache->type.construct != NULL) {
        uint8_t *first = heap_cache_first(slab);
        for (unsigned i = 0; i < cache->objects; i++) {
            cache->type.construct(cache->type.ctx, first + (size_t)i * cache->stride_bytes);
        }
        cache->constructed += cache->objects;
    }
    for (unsigned word = 0; word < cache->words; word++) {
        slab->free_mask[word] = whole_word(cache, word);
    }
    cache->slabs++;
    heap_note_most(&cache->most_slabs, cache->slabs);
    heap_cache_count_ample(cache);
    list_push(cache, slab);
    return true;
}

bool heap_cache_have_free(struct heap_cache *cache, uint64_t wanted)
{
    uint64_t opened = 0;
    if (wanted > HEAP_SPAN_BYTES / cache->stride_bytes) {
        return false;
    }
    while (free_objects(cache) < wanted) {
        if (!heap_cache_open_slab(cache)) {
            for (; opened > 0; opened--) {
                close_slab(cache, cache->last);
            }
            return false;
        }
        opened++;
    }
    return true;
}

/* The next word with room of the slab is where objects come from. => false: it has no room. */
static bool use(struct heap_cache *cache, struct heap_desc *slab)
{
    unsigned word = 0;
    while (slab->free_mask[word] == 0) {
        if (++word == cache->words) {
            return false;
        }
    }
    cache->current = slab;
    cache->word = &slab->free_mask[word];
    cache->word_valid = whole_word(cache, word);
    cache->word_base = heap_cache_first(slab) + (size_t)word * HEAP_WORD_BITS * cache->stride_bytes;
    return true;
}

static uint64_t free_in(const struct heap_desc *slab)
{
    uint64_t free = 0;
    for (unsigned word = 0; slab != NULL && word < HEAP_SLAB_WORDS; word++) {
        for (uint64_t mask = slab->free_mask[word]; mask != 0; mask &= mask - 1) {
            free++;
        }
    }
    return free;
}

/* A listed slab with bits beyond its objects, or with none: something overwrote its mask. It is taken out of use: none
 * of its objects is free. */
HEAP_RARE static void isolate(struct heap_cache *cache, struct heap_desc *slab)
{
    report(REPORT_CORRUPT,
           "heap: slab %p of the cache '%s' has %u objects, yet its mask is %#lx %#lx %#lx %#lx: taken out of use",
           (void *)heap_desc_base(slab), cache->type.name, cache->objects, slab->free_mask[0], slab->free_mask[1],
           slab->free_mask[2], slab->free_mask[3]);
    memset(slab->free_mask, 0, sizeof slab->free_mask);
    slab->base_and_kind &= ~(uint64_t)HEAP_DESC_ACTIVE;
    uint64_t free = free_in(cache->current);
    for (slab = cache->list; slab != NULL; slab = slab->next) {
        free += free_in(slab);
    }
    cache->used = cache->slabs * cache->objects - free;
}

bool heap_cache_refill(struct heap_cache *cache)
{
    struct heap_desc *slab = cache->current;
    if (slab != NULL) {
        if (use(cache, slab)) {
            return true;
        }
        slab->base_and_kind &= ~(uint64_t)HEAP_DESC_ACTIVE;
        heap_cache_forget_current(cache);
    }
    while ((slab = cache->list) != NULL) {
        list_remove(cache, slab);
        bool is_sound = (slab->free_mask[cache->words - 1] & ~cache->last_full) == 0;
        if (LIKELY(is_sound) && LIKELY(use(cache, slab))) {
            return true;
        }
        isolate(cache, slab);
    }
    return false;
}

void heap_cache_settle(struct heap_cache *cache, struct heap_desc *slab)
{
    if ((slab->base_and_kind & HEAP_DESC_ACTIVE) == 0) {
        list_push(cache, slab);
    }
    if (slab != cache->current) {
        (void)heap_cache_close_if_idle(cache, slab);
    }
}
