/* Object caches in the heap's fuzz program: objects apart, constructed, and wrong calls told from right ones. */
#include <string.h>

#include "heap_fuzz.h"

enum { BULK_MAX = 24, BUILT = 0x3C };

/* As an owner finds it, and leaves it. */
static void construct(void *ctx, void *object)
{
    const struct heap_cache *cache = ctx;
    memset(object, BUILT, cache->type.object_bytes);
}

static void create(struct model *m, unsigned which)
{
    struct input *in = &m->in;
    struct heap_cache *cache = &m->caches[which];
    uint64_t way = take_below(in, 3);
    struct heap_cache_type type = {
        .name = "fuzz",
        .object_bytes = take_below(in, 4) == 0 ? 1 + take_below(in, HEAP_CACHE_MAX_BYTES) : 1 + take_below(in, 256),
        .align_bytes = 1UL << take_below(in, 13),
        .construct = way == 0 ? construct : NULL,
        .ctx = cache,
        .flags = way == 1 ? HEAP_CACHE_ZERO : 0,
    };
    if (heap_cache_create(&m->heap, cache, &type) == STATUS_OK) {
        m->has_cache[which] = true;
        MUST(heap_cache_create(&m->heap, cache, &type) == STATUS_MISUSE);
        m->misuses++;
    } else {
        MUST(((type.object_bytes + type.align_bytes - 1) & ~(type.align_bytes - 1)) > HEAP_CACHE_MAX_BYTES);
    }
}

static void adopt(struct model *m, unsigned which, struct object *o, void *base)
{
    const struct heap_cache_type *type = &m->caches[which].type;
    struct heap_block owner;
    MUST(o->base == NULL && ptr_to_vaddr(base).v % type->align_bytes == 0);
    model_no_overlap(m, base, type->object_bytes);
    MUST(type->construct == NULL || bytes_are(base, type->object_bytes, BUILT));
    MUST((type->flags & HEAP_CACHE_ZERO) == 0 || bytes_are(base, type->object_bytes, 0));
    MUST(heap_owner_of(&m->heap, base, &owner) && owner.base == base && owner.allocated && owner.cache_name != NULL);
    *o = (struct object){.base = base, .stamp = m->next_stamp++};
    model_stamp(base, type->object_bytes, o->stamp);
    m->objects_used++;
}

/* => the object in the state in which it goes back. */
static void *leave(struct model *m, unsigned which, struct object *o)
{
    const struct heap_cache_type *type = &m->caches[which].type;
    void *base = o->base;
    MUST(model_stamped(base, type->object_bytes, type->object_bytes, o->stamp));
    if (type->construct != NULL) {
        memset(base, BUILT, type->object_bytes);
    }
    o->base = NULL;
    m->objects_used--;
    return base;
}

static void alloc_one(struct model *m, unsigned which, struct object *o)
{
    const struct heap_stats before = heap_stats(&m->heap);
    const uint64_t refusals = pages.refusals;
    void *base = heap_cache_alloc(&m->caches[which]);
    if (base == NULL) {
        MUST(pages.refusals > refusals);
        MUST(m->heap.guard != NULL || model_unchanged(m, before)); /* guard mode may have emptied its quarantine */
        return;
    }
    adopt(m, which, o, base);
}

static void free_one(struct model *m, unsigned which, struct object *o)
{
    void *base = leave(m, which, o);
    pages.forbids_requests = true;
    MUST(heap_cache_free(&m->caches[which], base) == STATUS_OK);
    if (take_below(&m->in, 4) == 0) {
        MUST(heap_cache_free(&m->caches[which], base) == STATUS_MISUSE);
        m->misuses++;
    }
    pages.forbids_requests = false;
}

static void alloc_bulk(struct model *m, unsigned which)
{
    void *got[BULK_MAX];
    struct object *to[BULK_MAX];
    size_t wanted = take_below(&m->in, BULK_MAX + 1), room = 0;
    for (unsigned i = 0; i < OBJECTS_MAX && room < wanted; i++) {
        if (m->objects[which][i].base == NULL) {
            to[room++] = &m->objects[which][i];
        }
    }
    memset(got, 0, sizeof got);
    const struct heap_stats before = heap_stats(&m->heap);
    const uint64_t refusals = pages.refusals;
    enum status s = heap_cache_alloc_bulk(&m->caches[which], room, got);
    if (s != STATUS_OK) {
        const struct heap_stats now = heap_stats(&m->heap);
        MUST(s == STATUS_NOMEM && pages.refusals > refusals);
        MUST(now.blocks == before.blocks && now.used_bytes == before.used_bytes); /* pages may be held ready now */
        MUST(bytes_are((const uint8_t *)got, sizeof got, 0));
        return;
    }
    for (size_t i = 0; i < room; i++) {
        adopt(m, which, to[i], got[i]);
    }
}

static void free_bulk(struct model *m, unsigned which)
{
    void *given[BULK_MAX + 1];
    struct object *from[BULK_MAX];
    size_t wanted = take_below(&m->in, BULK_MAX + 1), count = 0;
    for (unsigned i = 0; i < OBJECTS_MAX && count < wanted; i++) {
        if (m->objects[which][i].base != NULL) {
            from[count] = &m->objects[which][i];
            given[count++] = m->objects[which][i].base;
        }
    }
    uint64_t way = take_below(&m->in, 8);
    if (way < 3 && count > 0) { /* one that does not belong there: nothing goes */
        given[count] = way == 0 ? given[take_below(&m->in, count)] : way == 1 ? (uint8_t *)given[0] + 1 : (void *)m;
        m->misuses++;
        MUST(heap_cache_free_bulk(&m->caches[which], count + 1, given) == STATUS_MISUSE);
    }
    for (size_t i = 0; i < count; i++) {
        (void)leave(m, which, from[i]);
    }
    pages.forbids_requests = true;
    MUST(heap_cache_free_bulk(&m->caches[which], count, given) == STATUS_OK);
    pages.forbids_requests = false;
}

/* Wrong objects; the cache is as it was. */
static void wrong(struct model *m, unsigned which, const struct object *o)
{
    struct heap_cache *cache = &m->caches[which], *other = &m->caches[(which + 1) % CACHES];
    const struct block *b = &m->blocks[take_below(&m->in, BLOCKS_MAX)];
    uint64_t way = take_below(&m->in, 6);
    void *address = pages_address(take(&m->in, 4));
    m->misuses++;
    if (o->base != NULL && way == 0) {
        MUST(heap_free(&m->heap, o->base) == STATUS_MISUSE);
    } else if (o->base != NULL && way == 1) {
        MUST(heap_realloc(&m->heap, o->base, 1 + take_below(&m->in, 256)) == NULL);
    } else if (o->base != NULL && way == 2 && m->has_cache[(which + 1) % CACHES]) {
        MUST(heap_cache_free(other, o->base) == STATUS_MISUSE);
    } else if (m->caches[which].used > 0 && way == 3) {
        MUST(heap_cache_destroy(cache) == STATUS_MISUSE);
    } else if (b->base != NULL && way == 4) {
        MUST(heap_cache_free(cache, b->base) == STATUS_MISUSE);
    } else if (!model_is_object(m, address)) {
        MUST(heap_cache_free(cache, address) == STATUS_MISUSE);
    } else {
        m->misuses--;
    }
}

static void reserve(struct model *m, unsigned which)
{
    struct heap_cache *cache = &m->caches[which];
    const uint64_t refusals = pages.refusals, wanted = take_below(&m->in, 100);
    const struct heap_cache_stats before = heap_cache_stats(cache);
    enum status s = heap_cache_reserve(cache, wanted);
    const struct heap_cache_stats now = heap_cache_stats(cache);
    if (s == STATUS_OK) {
        MUST(now.reserve == wanted && now.objects - (now.used - now.guarded) >= wanted);
    } else {
        MUST(s == STATUS_NOMEM && pages.refusals > refusals && now.reserve == before.reserve);
        MUST(now.objects == before.objects && now.used == before.used); /* pages may be held ready now */
    }
}

/* Empty: it goes, and is known to be gone. */
static void destroy(struct model *m, unsigned which)
{
    struct heap_cache *cache = &m->caches[which];
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (m->objects[which][i].base != NULL) {
            free_one(m, which, &m->objects[which][i]);
        }
    }
    MUST(cache->used == 0);
    pages.forbids_requests = true;
    MUST(heap_cache_destroy(cache) == STATUS_OK);
    MUST(heap_cache_destroy(cache) == STATUS_MISUSE && heap_cache_alloc(cache) == NULL);
    pages.forbids_requests = false;
    m->misuses += 2;
    m->has_cache[which] = false;
}

void caches_step(struct model *m)
{
    unsigned which = (unsigned)take_below(&m->in, CACHES);
    struct heap_cache *cache = &m->caches[which];
    struct object *o = &m->objects[which][take_below(&m->in, OBJECTS_MAX)];
    if (!m->has_cache[which]) {
        create(m, which);
        return;
    }
    switch (take_below(&m->in, 12)) {
    case 0: destroy(m, which); break;
    case 1: wrong(m, which, o); break;
    case 2: reserve(m, which); break;
    case 3: (void)heap_cache_shrink(cache); break;
    case 4:
    case 5: free_bulk(m, which); break;
    case 6:
    case 7:
    case 8: alloc_bulk(m, which); break;
    default:
        if (o->base == NULL) {
            alloc_one(m, which, o);
        } else {
            free_one(m, which, o);
        }
    }
}

void caches_end(struct model *m)
{
    for (unsigned which = 0; which < CACHES; which++) {
        if (m->has_cache[which]) {
            destroy(m, which);
        }
    }
}
