/*
 * Random work on several object caches and the heap beside them, against a record of who owns each object and what must
 * stand in it; pages are refused now and then.
 */
#include "heap/cache.h"
#include "unit/heap_bed.h"

enum { CACHES = 5, SLOTS = 300, ARENA_PAGES = 200, STEPS = 4000, BULK_MOST = 24, CONSTRUCTED = 0xC0 };

struct owned {
    uint8_t *object;
    uint64_t seed;
};

struct model {
    struct heap_bed *bed;
    struct heap_cache caches[CACHES];
    struct owned slots[CACHES][SLOTS];
    unsigned used[CACHES]; /* the first so many slots */
    unsigned most[CACHES];
    uint64_t refused, served;
    struct rng rng;
};

static const struct {
    size_t bytes, align;
    bool is_constructed;
} shapes[CACHES] = {{8, 8, true}, {72, 8, true}, {192, 64, false}, {600, 16, true}, {5000, PAGE_BYTES, false}};

/* The bytes that say whose it is; the byte behind them is the constructor's and stays. */
static size_t marked_bytes(unsigned which)
{
    return shapes[which].bytes - 1;
}

static void construct(void *ctx, void *object)
{
    unsigned which = *(const unsigned *)ctx;
    ((uint8_t *)object)[marked_bytes(which)] = CONSTRUCTED;
}

static void adopt(struct model *m, unsigned which, uint8_t *object)
{
    struct owned *slot = &m->slots[which][m->used[which]++];
    *slot = (struct owned){object, rng_next(&m->rng)};
    EXPECT_EQ(ptr_to_vaddr(object).v % shapes[which].align, 0);
    if (shapes[which].is_constructed) {
        EXPECT_EQ(object[marked_bytes(which)], CONSTRUCTED);
    } else {
        EXPECT_EQ(object[marked_bytes(which)], 0); /* HEAP_CACHE_ZERO */
        EXPECT_EQ(object[0], 0);
        object[marked_bytes(which)] = CONSTRUCTED;
    }
    heap_bed_fill(object, marked_bytes(which), slot->seed);
    m->most[which] = m->used[which] > m->most[which] ? m->used[which] : m->most[which];
}

/* A random one is out of the record. */
static uint8_t *abandon(struct model *m, unsigned which)
{
    struct owned *slot = &m->slots[which][rng_below(&m->rng, m->used[which])];
    uint8_t *object = slot->object;
    EXPECT(heap_bed_filled(object, marked_bytes(which), slot->seed));
    EXPECT_EQ(object[marked_bytes(which)], CONSTRUCTED);
    *slot = m->slots[which][--m->used[which]];
    return object;
}

static void take(struct model *m, unsigned which)
{
    void *objects[BULK_MOST];
    unsigned room = SLOTS - m->used[which];
    unsigned wanted = 1 + (unsigned)rng_below(&m->rng, rng_below(&m->rng, 3) == 0 ? BULK_MOST : 1);
    wanted = wanted > room ? room : wanted;
    m->bed->fail_at = rng_below(&m->rng, 6) == 0 ? 1 + rng_below(&m->rng, 3) : 0;
    struct heap_cache_stats before = heap_cache_stats(&m->caches[which]);
    enum status status = STATUS_OK;
    if (wanted == 1) {
        objects[0] = heap_cache_alloc(&m->caches[which]);
        status = objects[0] == NULL ? STATUS_NOMEM : STATUS_OK;
    } else {
        status = heap_cache_alloc_bulk(&m->caches[which], wanted, objects);
    }
    m->bed->fail_at = 0;
    if (status == STATUS_OK) {
        m->served += wanted;
        for (unsigned i = 0; i < wanted; i++) {
            adopt(m, which, objects[i]);
        }
        return;
    }
    struct heap_cache_stats after = heap_cache_stats(&m->caches[which]);
    EXPECT_EQ(after.used, before.used);
    EXPECT_EQ(after.slabs, before.slabs);
    EXPECT(before.objects - before.used < wanted); /* what was free is never refused */
    m->refused++;
}

static void give(struct model *m, unsigned which)
{
    void *objects[BULK_MOST];
    unsigned wanted = 1 + (unsigned)rng_below(&m->rng, rng_below(&m->rng, 3) == 0 ? BULK_MOST : 1);
    wanted = wanted > m->used[which] ? m->used[which] : wanted;
    for (unsigned i = 0; i < wanted; i++) {
        objects[i] = abandon(m, which);
    }
    m->bed->forbids_gets = true;
    if (wanted == 1) {
        EXPECT_EQ(heap_cache_free(&m->caches[which], objects[0]), STATUS_OK);
    } else {
        EXPECT_EQ(heap_cache_free_bulk(&m->caches[which], wanted, objects), STATUS_OK);
    }
    m->bed->forbids_gets = false;
}

static void compare(struct model *m)
{
    uint64_t blocks = 0, bytes = 0;
    for (unsigned i = 0; i < CACHES; i++) {
        struct heap_cache_stats stats = heap_cache_stats(&m->caches[i]);
        EXPECT_EQ(stats.used, m->used[i]);
        EXPECT_EQ(stats.high_water, m->most[i]);
        EXPECT_EQ(heap_cache_check(&m->caches[i], NULL), STATUS_OK);
        blocks += m->used[i];
        bytes += m->used[i] * stats.stride_bytes;
    }
    EXPECT_EQ(heap_stats(&m->bed->heap).blocks, blocks);
    EXPECT_EQ(heap_stats(&m->bed->heap).used_bytes, bytes);
    EXPECT_EQ(heap_caches_check(&m->bed->heap, NULL), STATUS_OK);
    heap_bed_check(m->bed);
}

/* A block of the heap's own comes and goes, the reserve changes, or all that is idle goes. */
static void disturb(struct model *m, unsigned which)
{
    struct heap *heap = &m->bed->heap;
    switch (rng_below(&m->rng, 3)) {
    case 0: {
        void *block = heap_alloc(heap, 1 + rng_below(&m->rng, 3000));
        EXPECT_EQ(heap_free(heap, block), STATUS_OK);
        return;
    }
    case 1:
        if (heap_cache_reserve(&m->caches[which], rng_below(&m->rng, 40)) == STATUS_OK) {
            struct heap_cache_stats stats = heap_cache_stats(&m->caches[which]);
            EXPECT(stats.objects - stats.used >= stats.reserve);
        }
        return;
    default: heap_shrink(heap);
    }
}

static void play(struct model *m)
{
    static unsigned numbers[CACHES];
    for (unsigned i = 0; i < CACHES; i++) {
        numbers[i] = i;
        struct heap_cache_type type = {"shape", shapes[i].bytes, shapes[i].align, NULL, NULL, 0};
        type.construct = shapes[i].is_constructed ? construct : NULL;
        type.ctx = &numbers[i];
        type.flags = shapes[i].is_constructed ? 0 : HEAP_CACHE_ZERO;
        EXPECT_EQ(heap_cache_create(&m->bed->heap, &m->caches[i], &type), STATUS_OK);
    }
    bool grows = true;
    for (unsigned step = 0; step < STEPS * test_effort(); step++) {
        unsigned which = (unsigned)rng_below(&m->rng, CACHES);
        grows = step % 500 == 0 ? rng_below(&m->rng, 2) == 0 : grows;
        if (rng_below(&m->rng, 30) == 0) {
            disturb(m, which);
        } else if (m->used[which] == 0 || (m->used[which] < SLOTS && (rng_below(&m->rng, 5) < 3) == grows)) {
            take(m, which);
        } else {
            give(m, which);
        }
        if (step % 100 == 0) {
            compare(m);
        }
    }
}

TEST(heap_cache, random_work_keeps_every_object_apart_and_constructed)
{
    struct model *m = test_pages(bytes_to_pages_up(sizeof *m).v);
    REQUIRE(m != NULL);
    REQUIRE((m->bed = heap_bed_new(ARENA_PAGES)) != NULL);
    m->rng = rng_seeded(test_seed());
    play(m);
    EXPECT(m->served > 0);
    EXPECT(m->refused > 0);
    for (unsigned i = 0; i < CACHES; i++) {
        EXPECT_EQ(heap_cache_reserve(&m->caches[i], 0), STATUS_OK);
        while (m->used[i] > 0) {
            give(m, i);
        }
    }
    compare(m);
    for (unsigned i = 0; i < CACHES; i++) {
        EXPECT_EQ(heap_cache_destroy(&m->caches[i]), STATUS_OK);
    }
    heap_bed_end(m->bed);
}
