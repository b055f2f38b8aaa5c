/* Guarded objects of caches: in bulk, with memory short, as samples, before and after guard mode and the cache. */
#include "heap/cache_internal.h"
#include "unit/guard_bed.h"

enum { OBJECT_BYTES = 100, BED_PAGES = 256, COUNT = 12 };

static struct guard_bed *bed_of(enum guard_way way, uint64_t sample_every)
{
    struct heap_guard_config config = guard_bed_config(way);
    config.sample_every = sample_every;
    struct guard_bed *g = guard_bed_new(BED_PAGES, &config);
    EXPECT(g != NULL);
    return g;
}

static bool make(struct guard_bed *g, struct heap_cache *cache, unsigned flags)
{
    struct heap_cache_type type = {.name = "of", .object_bytes = OBJECT_BYTES, .align_bytes = 8, .flags = flags};
    return EXPECT_EQ(heap_cache_create(g->heap, cache, &type), STATUS_OK);
}

static void end(struct guard_bed *g, struct heap_cache *cache)
{
    heap_bed_check(g->bed);
    EXPECT_EQ(heap_cache_destroy(cache), STATUS_OK);
    guard_bed_end(g);
}

TEST(heap_cache_guard, in_bulk_all_go_or_none)
{
    struct guard_bed *g = bed_of(GUARD_ZONES, 0);
    struct heap_cache cache;
    REQUIRE(g != NULL && make(g, &cache, HEAP_CACHE_GUARD));
    void *objects[COUNT + 1];
    EXPECT_EQ(heap_cache_alloc_bulk(&cache, COUNT, objects), STATUS_OK);
    EXPECT_EQ(heap_cache_stats(&cache).guarded, COUNT);
    objects[COUNT] = objects[3];
    EXPECT_EQ(heap_cache_free_bulk(&cache, COUNT + 1, objects), STATUS_MISUSE);
    EXPECT(heap_bed_reported("heap_cache_free_bulk: ") && heap_bed_reported("not allocated (double free)"));
    EXPECT_EQ(heap_cache_stats(&cache).guarded, COUNT);
    EXPECT_EQ(g->guard.live_blocks, COUNT);
    heap_bed_check(g->bed);
    ((uint8_t *)objects[5])[OBJECT_BYTES] = 1;
    EXPECT_EQ(heap_cache_free_bulk(&cache, COUNT, objects), STATUS_MISUSE);
    EXPECT(heap_bed_reported("overflow: byte 0 behind its end"));
    EXPECT_EQ(heap_cache_stats(&cache).guarded, 0);
    EXPECT_EQ(g->guard.kept_count, COUNT);
    test_expect_reports(2);
    end(g, &cache);
}

/* The alignment is the type's, however small: up to the last byte there is room for nothing else. */
TEST(heap_cache_guard, at_a_pages_edge_the_byte_behind_an_object_is_in_the_next_page)
{
    static const size_t sizes[][2] = {{100, 4}, {1, 1}, {PAGE_BYTES - 1, 1}, {PAGE_BYTES + 2, 2}, {24, 8}};
    struct guard_bed *g = bed_of(GUARD_EDGE, 1);
    REQUIRE(g != NULL);
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        struct heap_cache cache;
        struct heap_guard_block found;
        struct heap_cache_type type = {
            .name = "edge", .object_bytes = sizes[i][0], .align_bytes = sizes[i][1], .flags = HEAP_CACHE_GUARD};
        EXPECT_EQ(heap_cache_create(g->heap, &cache, &type), STATUS_OK);
        uint8_t *object = heap_cache_alloc(&cache);
        REQUIRE(object != NULL);
        EXPECT(is_page_aligned(ptr_to_vaddr(object + sizes[i][0]).v));
        EXPECT(heap_guard_find(g->heap, object + sizes[i][0], &found) && found.base == object);
        EXPECT(found.bytes == sizes[i][0] && found.cache_name == type.name);
        EXPECT_EQ(heap_cache_free(&cache, object), STATUS_OK);
        EXPECT(heap_guard_find(g->heap, object, &found) && found.cache_name == type.name);
        EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
        EXPECT(heap_guard_find(g->heap, object, &found) && found.base == object && found.cache_name == NULL);
    }
    guard_bed_end(g);
}

TEST(heap_cache_guard, when_memory_is_short_nothing_has_changed)
{
    for (unsigned way = 0; way < GUARD_WAYS; way++) {
        struct guard_bed *g = bed_of((enum guard_way)way, way == GUARD_EDGE);
        struct heap_cache cache;
        REQUIRE(g != NULL && make(g, &cache, 0));
        void *objects[COUNT];
        unsigned refused = 0;
        for (uint64_t k = 1;; k++) {
            struct heap_stats before = heap_stats(g->heap);
            g->bed->fail_at = k;
            enum status s = heap_cache_alloc_bulk(&cache, COUNT, objects);
            g->bed->fail_at = 0;
            if (s == STATUS_OK) {
                break;
            }
            refused++;
            EXPECT_EQ(s, STATUS_NOMEM);
            EXPECT_EQ(heap_stats(g->heap).blocks, before.blocks);
            EXPECT_EQ(heap_cache_stats(&cache).used, 0);
            heap_bed_check(g->bed);
            (void)heap_shrink(g->heap);
        }
        EXPECT(refused >= 3);
        EXPECT_EQ(heap_cache_free_bulk(&cache, COUNT, objects), STATUS_OK);
        end(g, &cache);
    }
}

TEST(heap_cache_guard, the_reserve_is_of_plain_objects_given_out_when_no_guarded_one_can_be_had)
{
    struct guard_bed *g = bed_of(GUARD_EDGE, 1);
    struct heap_cache cache;
    REQUIRE(g != NULL && make(g, &cache, HEAP_CACHE_GUARD));
    EXPECT_EQ(heap_cache_reserve(&cache, 2), STATUS_OK);
    void *first = heap_cache_alloc(&cache);
    EXPECT(first != NULL && heap_cache_stats(&cache).guarded == 1);
    void *objects[BED_PAGES] = {0};
    unsigned count = 0;
    while (count < BED_PAGES && (objects[count] = heap_cache_alloc(&cache)) != NULL) {
        count++;
    }
    struct heap_cache_stats stats = heap_cache_stats(&cache);
    EXPECT(stats.guarded > 10);
    EXPECT(stats.used - stats.guarded >= 2);
    EXPECT_EQ(stats.used, count + 1);
    EXPECT_EQ(stats.high_water, count + 1);
    EXPECT_EQ(stats.allocs, count + 1);
    heap_bed_check(g->bed);
    EXPECT_EQ(heap_cache_free_bulk(&cache, count, objects), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&cache, first), STATUS_OK);
    EXPECT_EQ(heap_cache_stats(&cache).used, 0);
    end(g, &cache);
}

TEST(heap_cache_guard, of_a_cache_without_the_flag_samples_are_guarded_and_of_one_with_it_all)
{
    struct guard_bed *g = bed_of(GUARD_EDGE, 4);
    struct heap_cache sampled, whole;
    void *objects[2 * COUNT], *all[COUNT];
    REQUIRE(g != NULL && make(g, &sampled, 0) && make(g, &whole, HEAP_CACHE_GUARD));
    for (unsigned i = 0; i < 40; i++) {
        EXPECT_EQ(heap_cache_alloc_bulk(&sampled, 2 * COUNT, objects), STATUS_OK);
        EXPECT_EQ(heap_cache_alloc_bulk(&whole, COUNT, all), STATUS_OK);
        EXPECT_EQ(heap_cache_stats(&whole).guarded, COUNT);
        EXPECT(heap_cache_stats(&sampled).guarded < 2 * COUNT);
        heap_bed_check(g->bed);
        EXPECT_EQ(heap_cache_free_bulk(&whole, COUNT, all), STATUS_OK);
        EXPECT_EQ(heap_cache_free_bulk(&sampled, 2 * COUNT, objects), STATUS_OK);
    }
    EXPECT(sampled.guarded_allocs > 100 && sampled.allocs > 400);
    EXPECT_EQ(heap_stats(g->heap).blocks, 0);
    EXPECT_EQ(heap_stats(g->heap).allocs, 40 * 3 * COUNT);
    EXPECT_EQ(heap_cache_destroy(&whole), STATUS_OK);
    end(g, &sampled);
}

TEST(heap_cache_guard, objects_from_before_guard_mode_go_back_to_their_slabs)
{
    struct heap_bed *bed = heap_bed_new(BED_PAGES);
    struct heap_guard *guard = test_pages(bytes_to_pages_up(sizeof *guard).v);
    REQUIRE(bed != NULL && guard != NULL);
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct heap_cache_type type = {.name = "old", .object_bytes = OBJECT_BYTES, .align_bytes = 8};
    struct heap_cache cache;
    EXPECT_EQ(heap_cache_create(&bed->heap, &cache, &type), STATUS_OK);
    void *before[2] = {heap_cache_alloc(&cache), heap_cache_alloc(&cache)};
    EXPECT_EQ(heap_guard_start(&bed->heap, guard, &config), STATUS_OK);
    void *after = heap_cache_alloc(&cache);
    EXPECT_EQ(heap_cache_stats(&cache).guarded, 1);
    EXPECT_EQ(heap_cache_stats(&cache).used, 3);
    EXPECT_EQ(heap_cache_stats(&cache).high_water, 3);
    heap_bed_check(bed);
    EXPECT_EQ(heap_cache_free(&cache, before[0]), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&cache, before[0]), STATUS_MISUSE);
    void *both[2] = {after, before[1]};
    EXPECT_EQ(heap_cache_free_bulk(&cache, 2, both), STATUS_OK);
    EXPECT_EQ(heap_cache_stats(&cache).used, 0);
    test_expect_reports(1);
    EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap_cache_guard, objects_are_listed_by_site_counted_by_check_and_drained_by_shrink)
{
    struct guard_bed *g = bed_of(GUARD_ZONES, 0);
    struct heap_cache cache;
    struct heap_guard_site site;
    void *objects[COUNT];
    REQUIRE(g != NULL && make(g, &cache, 0));
    for (unsigned i = 0; i < COUNT; i++) {
        objects[i] = heap_cache_alloc(&cache);
    }
    uint64_t blocks = 0, bytes = 0; /* the loop may be unrolled: several sites */
    for (const void *at = NULL; heap_guard_site_next(g->heap, at, &site); at = site.site) {
        blocks += site.blocks;
        bytes += site.bytes;
    }
    EXPECT(blocks == COUNT && bytes == COUNT * OBJECT_BYTES);
    cache.guarded--;
    EXPECT(heap_bed_check_says(g->bed, "HEAP-I7: the cache 'of' counts 11 guarded objects, recorded are 12"));
    cache.guarded++;
    EXPECT_EQ(heap_cache_free_bulk(&cache, COUNT, objects), STATUS_OK);
    EXPECT(!heap_guard_site_next(g->heap, NULL, &site));
    EXPECT_EQ(g->guard.kept_count, COUNT);
    EXPECT(heap_shrink(g->heap).v > 0);
    EXPECT_EQ(g->guard.kept_count, 0);
    EXPECT_EQ(g->bed->pages_out, 0);
    end(g, &cache);
}

TEST(heap_cache_guard, what_is_quarantined_does_not_lead_to_a_cache_that_was_destroyed)
{
    struct guard_bed *g = bed_of(GUARD_ZONES, 0);
    struct heap_cache *cache = test_pages(1);
    REQUIRE(g != NULL && cache != NULL && make(g, cache, 0));
    uint8_t *object = heap_cache_alloc(cache);
    EXPECT_EQ(heap_cache_free(cache, object), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(cache), STATUS_OK);
    EXPECT_EQ(heap_cache_free(cache, object), STATUS_MISUSE);
    EXPECT(heap_bed_reported("was destroyed"));
    EXPECT(heap_cache_alloc(cache) == NULL);
    memset(cache, 0xEE, sizeof *cache);
    object[0] = 1;
    EXPECT(heap_bed_check_says(g->bed, "GUARD-I3"));
    EXPECT_EQ(heap_free(g->heap, object), STATUS_MISUSE);
    EXPECT(heap_bed_reported("not allocated (double free)"));
    (void)heap_shrink(g->heap);
    EXPECT(heap_bed_reported("write after free"));
    test_expect_reports(4);
    guard_bed_end(g);
}
