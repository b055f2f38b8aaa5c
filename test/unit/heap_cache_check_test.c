/* Object caches: masks, lists and counters that something overwrote. */
#include "heap/heap_internal.h"
#include "unit/heap_cache_bed.h"

static bool says(const struct heap_cache *cache, const char *what)
{
    char text[1024];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    bool found = heap_cache_check(cache, &buffer.sink) == STATUS_CORRUPT && heap_bed_contains(text, what);
    if (!found) {
        test_note("wanted \"%s\" in \"%s\"", what, text);
    }
    return found && heap_caches_check(cache->heap, NULL) == STATUS_CORRUPT;
}

TEST(heap_cache, heap_i5_a_bit_beyond_the_objects_is_found_and_the_slab_taken_out_of_use)
{
    struct cache_pair p;
    void *objects[41];
    REQUIRE(cache_pair_begin(&p));
    REQUIRE(heap_cache_alloc_bulk(&p.cache, 41, objects) == STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.cache, objects[0]), STATUS_OK);
    struct heap_desc *slab = heap_find(&p.bed->heap, objects[0]);
    REQUIRE(slab->cache == &p.cache && slab != p.cache.current);
    slab->free_mask[0] |= 1UL << 63;
    EXPECT(says(&p.cache, "HEAP-I5: slab "));
    p.bed->forbids_gets = true;
    for (unsigned i = 41; i < 60; i++) { /* the rest of the third slab */
        EXPECT(heap_cache_alloc(&p.cache) != NULL);
    }
    p.bed->forbids_gets = false;
    EXPECT_EQ(test_reports(), 0);
    EXPECT(heap_cache_alloc(&p.cache) != NULL); /* meets it, and takes another slab */
    EXPECT(heap_bed_reported("taken out of use"));
    EXPECT_EQ(heap_cache_stats(&p.cache).used, 61);
    EXPECT_EQ(heap_caches_check(&p.bed->heap, NULL), STATUS_OK);
    test_expect_reports(1);
}

TEST(heap_cache, a_bit_beyond_the_objects_of_the_current_slab_is_not_given_out)
{
    struct cache_pair p;
    void *objects[20];
    REQUIRE(cache_pair_begin(&p));
    objects[0] = heap_cache_alloc(&p.cache);
    p.cache.current->free_mask[0] |= 1UL << 40;
    EXPECT(says(&p.cache, "HEAP-I5: slab "));
    for (unsigned i = 1; i < 20; i++) {
        objects[i] = heap_cache_alloc(&p.cache);
        EXPECT((uint8_t *)objects[i] == (uint8_t *)objects[0] + (size_t)i * OBJECT_BYTES);
    }
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 20, objects), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, heap_i5_a_slab_of_no_known_cache_is_found)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    void *object = heap_cache_alloc(&p.cache);
    struct heap_cache copy = p.cache;
    heap_find(&p.bed->heap, object)->cache = &copy;
    EXPECT_EQ(heap_caches_check(&p.bed->heap, NULL), STATUS_CORRUPT);
    EXPECT(says(&p.cache, "HEAP-I7"));
    heap_find(&p.bed->heap, object)->cache = &p.cache;
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, heap_i6_a_slab_that_the_list_has_lost_is_found)
{
    struct cache_pair p;
    void *objects[41];
    REQUIRE(cache_pair_begin(&p));
    REQUIRE(heap_cache_alloc_bulk(&p.cache, 41, objects) == STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.cache, objects[0]), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.cache, objects[25]), STATUS_OK);
    struct heap_desc *list = p.cache.list, *last = p.cache.last;
    REQUIRE(list != NULL && list != last);
    p.cache.list = NULL;
    EXPECT(says(&p.cache, "HEAP-I6: the cache 'first' lists"));
    p.cache.list = last;
    EXPECT(says(&p.cache, "HEAP-I6: the list of the cache 'first' is broken"));
    p.cache.list = list;
    last->next = list;
    EXPECT(says(&p.cache, "HEAP-I6: the list of the cache 'first' is broken"));
    last->next = NULL;
    list->base_and_kind ^= HEAP_DESC_ACTIVE;
    EXPECT(says(&p.cache, "1 free objects, and is not listed"));
    list->base_and_kind ^= HEAP_DESC_ACTIVE;
    EXPECT_EQ(heap_cache_alloc_bulk(&p.cache, 1, &objects[0]), STATUS_OK);
    EXPECT_EQ(heap_cache_alloc_bulk(&p.cache, 1, &objects[25]), STATUS_OK);
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 41, objects), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, heap_i7_counters_that_are_no_sums_are_found)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    void *object = heap_cache_alloc(&p.cache);
    uint64_t *const counters[] = {&p.cache.used, &p.cache.slabs, &p.cache.reserve, &p.cache.ample};
    for (unsigned i = 0; i < ARRAY_LEN(counters); i++) {
        ++*counters[i];
        EXPECT(says(&p.cache, "HEAP-I7: the cache 'first' counts"));
        --*counters[i];
    }
    p.cache.most_slabs--;
    EXPECT(says(&p.cache, "HEAP-I7: the cache 'first' counts"));
    p.cache.most_slabs++;
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_OK);
    cache_pair_end(&p);
}
