/* Guarded objects of caches: each kind of misuse names the cache and both sites; who did not ask pays nothing. */
#include "heap/cache_internal.h"
#include "unit/guard_bed.h"

enum { OBJECT_BYTES = 100, BED_PAGES = 256, FUNCTION_BYTES_MAX = 512, FIRST_WORD = 0x5EED };

struct room {
    struct guard_bed *g;
    struct heap *heap;
    struct heap_cache cache, other;
    uint64_t constructed;
};

static void construct(void *ctx, void *object)
{
    uint64_t word = FIRST_WORD;
    memset(object, 0x11, OBJECT_BYTES);
    memcpy(object, &word, sizeof word);
    ++*(uint64_t *)ctx;
}

static bool is_constructed(const void *object)
{
    uint64_t word;
    memcpy(&word, object, sizeof word);
    return word == FIRST_WORD && ((const uint8_t *)object)[OBJECT_BYTES - 1] == 0x11;
}

__attribute__((noinline)) static void *take(struct heap_cache *cache)
{
    void *object = heap_cache_alloc(cache);
    __asm__ volatile("" ::: "memory"); /* a call, not a jump: this is where it returns to */
    return object;
}

__attribute__((noinline)) static enum status give(struct heap_cache *cache, void *object)
{
    enum status s = heap_cache_free(cache, object);
    __asm__ volatile("" ::: "memory");
    return s;
}

static void site_text(char *text, size_t size, const void *site)
{
    const uint64_t at = ptr_to_vaddr(site).v;
    const uint64_t in_take = at - (uint64_t)(uintptr_t)take, in_give = at - (uint64_t)(uintptr_t)give;
    bool is_take = in_take < FUNCTION_BYTES_MAX && in_take < in_give;
    fmt_text(text, size, "%s", is_take ? "the-take" : in_give < FUNCTION_BYTES_MAX ? "the-give" : "elsewhere");
}

static bool begin(struct room *r, enum guard_way way, bool only_caches)
{
    struct heap_guard_config config = guard_bed_config(way);
    config.only_caches = only_caches;
    config.site_text = site_text;
    r->constructed = 0;
    r->g = guard_bed_new(BED_PAGES, &config);
    if (r->g == NULL) {
        return false;
    }
    r->heap = r->g->heap;
    struct heap_cache_type type = {.name = "guarded",
                                   .object_bytes = OBJECT_BYTES,
                                   .align_bytes = HEAP_ALIGN_BYTES, /* at an edge a red zone behind, too */
                                   .construct = construct,
                                   .ctx = &r->constructed,
                                   .flags = HEAP_CACHE_GUARD};
    struct heap_cache_type plain = {.name = "plain", .object_bytes = OBJECT_BYTES, .align_bytes = 4};
    return EXPECT_EQ(heap_cache_create(r->heap, &r->cache, &type), STATUS_OK) &&
           EXPECT_EQ(heap_cache_create(r->heap, &r->other, &plain), STATUS_OK);
}

static void end(struct room *r)
{
    heap_bed_check(r->g->bed);
    EXPECT_EQ(heap_cache_destroy(&r->cache), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(&r->other), STATUS_OK);
    guard_bed_end(r->g);
}

/* Both ways, in each for all the heap, and for caches alone. */
#define EACH_ROOM(r)                                                                                                   \
    for (unsigned way_ = 0; way_ < 2 * GUARD_WAYS; way_++)                                                             \
        for (struct room room_, *r = begin(&room_, (enum guard_way)(way_ / 2), way_ % 2 != 0) ? &room_ : NULL;         \
             r != NULL; r = NULL)

/* The last report is about this object, names the cache, and where it was taken. */
static bool tells(const void *object, const char *what)
{
    char text[64];
    fmt_text(text, sizeof text, ": block %p of %u bytes (", object, OBJECT_BYTES);
    return heap_bed_reported(text) && heap_bed_reported(", cache 'guarded'): ") && heap_bed_reported(what) &&
           heap_bed_reported("; allocated at the-take");
}

TEST(heap_cache_guard, each_object_is_a_block_with_zones_and_is_constructed_each_time)
{
    EACH_ROOM(r)
    {
        for (unsigned i = 1; i <= 20; i++) {
            uint8_t *object = take(&r->cache);
            REQUIRE(object != NULL);
            EXPECT(is_constructed(object));
            EXPECT_EQ(r->constructed, i);
            EXPECT_EQ(object[-1], GUARD_ZONE_BYTE);
            EXPECT_EQ(object[OBJECT_BYTES], GUARD_ZONE_BYTE);
            struct heap_block owner;
            EXPECT(heap_owner_of(r->heap, object + 50, &owner));
            EXPECT(owner.base == object && owner.allocated && owner.usable_bytes == OBJECT_BYTES);
            EXPECT(owner.cache_name != NULL && strcmp(owner.cache_name, "guarded") == 0);
            heap_bed_check(r->g->bed);
            memset(object, 0, OBJECT_BYTES);
            EXPECT_EQ(give(&r->cache, object), STATUS_OK);
            EXPECT_EQ(object[0], GUARD_FREE_BYTE);
        }
        struct heap_cache_stats stats = heap_cache_stats(&r->cache);
        EXPECT(stats.allocs == 20 && stats.constructed == 20 && stats.used == 0 && stats.guarded == 0);
        EXPECT(stats.high_water == 1 && stats.slabs == 0);
        end(r);
    }
}

TEST(heap_cache_guard, zeroed_objects_are_zero_each_time_and_keep_their_alignment)
{
    EACH_ROOM(r)
    {
        struct heap_cache cache;
        struct heap_cache_type type = {
            .name = "zeroed", .object_bytes = 200, .align_bytes = 128, .flags = HEAP_CACHE_GUARD | HEAP_CACHE_ZERO};
        EXPECT_EQ(heap_cache_create(r->heap, &cache, &type), STATUS_OK);
        for (unsigned i = 0; i < 3; i++) {
            uint8_t *object = heap_cache_alloc(&cache);
            REQUIRE(object != NULL);
            EXPECT_EQ(ptr_to_vaddr(object).v % 128, 0);
            EXPECT_EQ(guard_first_other(object, 200, 0), 200);
            memset(object, 9, 200);
            EXPECT_EQ(heap_cache_free(&cache, object), STATUS_OK);
        }
        EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
        end(r);
    }
}

TEST(heap_cache_guard, writes_beside_and_after_it_name_the_cache_and_both_sites)
{
    unsigned reports = 0;
    EACH_ROOM(r)
    {
        uint8_t *object = take(&r->cache);
        object[OBJECT_BYTES] = 0;
        EXPECT(heap_bed_check_says(r->g->bed, "GUARD-I2: overflow: byte 0 behind"));
        EXPECT(heap_bed_check_says(r->g->bed, "bytes of the cache 'guarded', allocated at the-take"));
        EXPECT_EQ(give(&r->cache, object), STATUS_MISUSE);
        EXPECT(tells(object, "overflow: byte 0 behind its end has become 0"));
        EXPECT(heap_bed_reported("; allocated at the-take, now at the-give"));
        object = take(&r->cache);
        object[-1] = 7;
        EXPECT_EQ(give(&r->cache, object), STATUS_MISUSE);
        EXPECT(tells(object, "underflow: byte 1 before it has become 0x7"));
        object = take(&r->cache);
        EXPECT_EQ(give(&r->cache, object), STATUS_OK);
        object[42] = 7;
        EXPECT(heap_bed_check_says(r->g->bed, "GUARD-I3: write after free: byte 42"));
        EXPECT(heap_bed_check_says(r->g->bed, "freed at the-give"));
        (void)heap_shrink(r->heap);
        EXPECT(tells(object, "write after free: byte 42 of it has become 0x7"));
        EXPECT(heap_bed_reported(", freed at the-give"));
        EXPECT_EQ(heap_cache_stats(&r->cache).used, 0);
        reports += 3;
        end(r);
    }
    test_expect_reports(reports);
}

static void *const null_object = NULL;

TEST(heap_cache_guard, wrong_frees_change_nothing)
{
    unsigned reports = 0;
    EACH_ROOM(r)
    {
        uint8_t *object = take(&r->cache), *block = heap_alloc(r->heap, 64), *plain = heap_cache_alloc(&r->other);
        EXPECT_EQ(give(&r->cache, null_object), STATUS_OK);
        EXPECT_EQ(give(&r->cache, object + 16), STATUS_MISUSE);
        EXPECT(tells(object, "is byte 16 of it, not its start"));
        EXPECT_EQ(give(&r->other, object), STATUS_MISUSE);
        EXPECT(tells(object, "not of the cache 'plain'"));
        EXPECT_EQ(heap_free(r->heap, object), STATUS_MISUSE);
        EXPECT(tells(object, "an object, which heap_cache_free takes"));
        EXPECT_EQ(heap_free_sized(r->heap, object, OBJECT_BYTES), STATUS_MISUSE);
        EXPECT(tells(object, "an object, which heap_cache_free takes"));
        EXPECT(heap_realloc(r->heap, object, 50) == NULL);
        EXPECT_EQ(heap_usable_size(r->heap, object), 0);
        EXPECT(tells(object, "an object, which heap_cache_free takes"));
        EXPECT_EQ(give(&r->cache, block), STATUS_MISUSE);
        EXPECT_EQ(give(&r->cache, plain), STATUS_MISUSE);
        EXPECT_EQ(heap_cache_destroy(&r->cache), STATUS_MISUSE);
        EXPECT(heap_bed_reported("has 1 objects"));
        EXPECT_EQ(heap_stats(r->heap).blocks, 3);
        heap_bed_check(r->g->bed);
        EXPECT_EQ(give(&r->cache, object), STATUS_OK);
        EXPECT_EQ(give(&r->cache, object), STATUS_MISUSE);
        EXPECT(tells(object, "not allocated (double free)"));
        EXPECT(heap_bed_reported(", freed at the-give, now at the-give"));
        EXPECT_EQ(heap_free(r->heap, block), STATUS_OK);
        EXPECT_EQ(heap_cache_free(&r->other, plain), STATUS_OK);
        EXPECT_EQ(heap_stats(r->heap).blocks, 0);
        reports += 10;
        EXPECT_EQ(heap_stats(r->heap).misuses, 10);
        end(r);
    }
    test_expect_reports(reports);
}

TEST(heap_cache_guard, an_object_of_whole_pages_is_not_taken_for_a_block)
{
    unsigned reports = 0;
    EACH_ROOM(r)
    {
        struct heap_cache cache;
        struct heap_cache_type type = {
            .name = "page", .object_bytes = PAGE_BYTES, .align_bytes = PAGE_BYTES, .flags = HEAP_CACHE_GUARD};
        EXPECT_EQ(heap_cache_create(r->heap, &cache, &type), STATUS_OK);
        void *object = take(&cache), *large = heap_alloc(r->heap, 5UL * PAGE_BYTES);
        REQUIRE(object != NULL && large != NULL);
        EXPECT(is_page_aligned(ptr_to_vaddr(object).v));
        EXPECT_EQ(heap_free(r->heap, object), STATUS_MISUSE);
        EXPECT(heap_bed_reported("cache 'page'): an object, which heap_cache_free takes"));
        EXPECT_EQ(heap_free(r->heap, large), STATUS_OK);
        EXPECT_EQ(give(&cache, object), STATUS_OK);
        EXPECT_EQ(heap_free(r->heap, object), STATUS_MISUSE);
        EXPECT(heap_bed_reported("not allocated (double free)"));
        EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
        reports += 2;
        end(r);
    }
    test_expect_reports(reports);
}

TEST(heap_cache_guard, for_caches_alone_all_others_stay_unguarded)
{
    for (unsigned way = 0; way < GUARD_WAYS; way++) {
        struct room r;
        REQUIRE(begin(&r, (enum guard_way)way, true));
        void *object = heap_cache_alloc(&r.cache), *plain = heap_cache_alloc(&r.other);
        void *blocks[] = {heap_alloc(r.heap, 40), heap_zalloc(r.heap, 1000), heap_alloc_aligned(r.heap, 100, 64),
                          heap_realloc(r.heap, NULL, 5000), heap_alloc(r.heap, 5UL * PAGE_BYTES)};
        EXPECT_EQ(r.g->guard.live_blocks, 1);
        EXPECT(heap_cache_stats(&r.other).slabs == 1 && heap_cache_stats(&r.other).guarded == 0);
        EXPECT(r.other.ample != 0);
        EXPECT(heap_usable_size(r.heap, blocks[0]) > 40);
        for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
            EXPECT_EQ(heap_free(r.heap, blocks[i]), STATUS_OK);
        }
        EXPECT_EQ(r.g->guard.kept_count, 0);
        EXPECT_EQ(heap_free(r.heap, blocks[0]), STATUS_MISUSE);
        EXPECT_EQ(heap_cache_free(&r.other, plain), STATUS_OK);
        EXPECT_EQ(heap_cache_free(&r.cache, object), STATUS_OK);
        EXPECT_EQ(r.g->guard.kept_count, 1);
        end(&r);
    }
    test_expect_reports(GUARD_WAYS);
}
