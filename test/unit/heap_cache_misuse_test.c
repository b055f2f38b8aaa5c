/* Object caches: the reserve, and wrong calls. */
#include "unit/heap_cache_bed.h"

/* ---- Arguments ---- */

TEST(heap_cache, a_type_that_cannot_be_is_invalid)
{
    struct heap_bed *bed = heap_bed_new(4);
    struct heap_cache cache;
    REQUIRE(bed != NULL);
    struct heap_cache_type good = cache_type_named("good");
    struct heap_cache_type wrong[] = {good, good, good, good, good, good, good, good};
    wrong[0].name = NULL;
    wrong[1].object_bytes = 0;
    wrong[2].object_bytes = HEAP_CACHE_MAX_BYTES + 1;
    wrong[3].object_bytes = SIZE_MAX;
    wrong[4].align_bytes = 0;
    wrong[5].align_bytes = 24;
    wrong[6].align_bytes = 2 * PAGE_BYTES;
    wrong[7].flags = 1 << 5;
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_EQ(heap_cache_create(&bed->heap, &cache, &wrong[i]), STATUS_INVALID);
    }
    good.flags = HEAP_CACHE_GUARD;
    EXPECT_EQ(heap_cache_create(&bed->heap, &cache, &good), STATUS_INVALID); /* no guard mode */
    EXPECT(heap_cache_next(&bed->heap, NULL) == NULL);
    heap_bed_end(bed);
}

static void construct_nothing(void *ctx, void *object)
{
    (void)ctx;
    (void)object;
}

TEST(heap_cache, zeroing_and_a_constructor_exclude_each_other)
{
    struct heap_bed *bed = heap_bed_new(4);
    struct heap_cache cache;
    REQUIRE(bed != NULL);
    struct heap_cache_type type = cache_type_named("both");
    type.flags = HEAP_CACHE_ZERO;
    type.construct = construct_nothing;
    EXPECT_EQ(heap_cache_create(&bed->heap, &cache, &type), STATUS_INVALID);
    heap_bed_end(bed);
}

TEST(heap_cache, the_heap_lists_its_caches_in_the_order_they_were_made)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    EXPECT(heap_cache_next(&p.bed->heap, NULL) == &p.cache);
    EXPECT(heap_cache_next(&p.bed->heap, &p.cache) == &p.other);
    EXPECT(heap_cache_next(&p.bed->heap, &p.other) == NULL);
    cache_pair_end(&p);
    EXPECT(heap_cache_next(&p.bed->heap, NULL) == NULL);
}

/* ---- The reserve ---- */

/* Objects until there are none; with no page left in the arena. */
static unsigned take_all(struct heap_cache *cache, void **objects, unsigned most)
{
    unsigned n = 0;
    while (n < most && (objects[n] = heap_cache_alloc(cache)) != NULL) {
        n++;
    }
    return n;
}

TEST(heap_cache, a_reserve_is_had_when_memory_is_short_and_a_free_refills_it)
{
    struct cache_pair p;
    void *objects[ARENA_PAGES * 20];
    REQUIRE(cache_pair_begin(&p));
    EXPECT_EQ(heap_cache_reserve(&p.cache, 50), STATUS_OK);
    EXPECT(heap_cache_stats(&p.cache).objects >= 50);
    EXPECT_EQ(heap_shrink(&p.bed->heap).v, 0);
    EXPECT(heap_cache_stats(&p.cache).objects >= 50);
    void *first = heap_cache_alloc(&p.cache);
    EXPECT(heap_cache_stats(&p.cache).objects - 1 >= 50); /* while pages come the reserve stays */
    while (heap_alloc(&p.bed->heap, PAGE_BYTES) != NULL) {
    }
    p.bed->forbids_gets = false;
    unsigned left = (unsigned)heap_cache_stats(&p.cache).objects - 1;
    EXPECT_EQ(take_all(&p.cache, objects, ARRAY_LEN(objects)), left);
    EXPECT(left >= 50);
    uint64_t slabs = heap_cache_stats(&p.cache).slabs;
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 50, objects), STATUS_OK);
    EXPECT_EQ(heap_cache_stats(&p.cache).slabs, slabs);
    EXPECT_EQ(heap_cache_alloc_bulk(&p.cache, 51, objects), STATUS_NOMEM);
    EXPECT_EQ(heap_cache_alloc_bulk(&p.cache, 50, objects), STATUS_OK);
    EXPECT(heap_cache_alloc(&p.cache) == NULL);
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, left, objects), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.cache, first), STATUS_OK);
    EXPECT(heap_cache_stats(&p.cache).objects >= 50);
    heap_shrink(&p.bed->heap);
    EXPECT(heap_cache_stats(&p.cache).objects >= 50);
    EXPECT_EQ(heap_caches_check(&p.bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_cache_reserve(&p.cache, 0), STATUS_OK);
    EXPECT_EQ(heap_cache_shrink(&p.cache).v, 3);
    EXPECT_EQ(heap_cache_destroy(&p.cache), STATUS_OK);
}

TEST(heap_cache, a_reserve_that_cannot_be_had_changes_nothing)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    EXPECT_EQ(heap_cache_reserve(&p.cache, 30), STATUS_OK);
    heap_shrink(&p.bed->heap);
    uint64_t slabs = heap_cache_stats(&p.cache).slabs, held = heap_stats(&p.bed->heap).held_bytes;
    EXPECT_EQ(heap_cache_reserve(&p.cache, ARENA_PAGES * 20), STATUS_NOMEM);
    EXPECT_EQ(heap_cache_reserve(&p.cache, UINT64_MAX), STATUS_NOMEM);
    heap_shrink(&p.bed->heap);
    EXPECT_EQ(heap_cache_stats(&p.cache).slabs, slabs);
    EXPECT_EQ(heap_cache_stats(&p.cache).reserve, 30);
    EXPECT_EQ(heap_stats(&p.bed->heap).held_bytes, held);
    cache_pair_end(&p);
}

/* ---- Wrong calls ---- */

static void refused(struct cache_pair *p, enum status (*call)(struct cache_pair *p, void *object), void *object,
                    const char *why)
{
    struct heap_stats before = heap_stats(&p->bed->heap);
    p->bed->forbids_gets = true;
    EXPECT_EQ(call(p, object), STATUS_MISUSE);
    p->bed->forbids_gets = false;
    EXPECT(heap_bed_reported(why));
    before.misuses++;
    EXPECT(heap_bed_same(heap_stats(&p->bed->heap), before));
    EXPECT_EQ(heap_caches_check(&p->bed->heap, NULL), STATUS_OK);
    heap_bed_check(p->bed);
}

static enum status free_one(struct cache_pair *p, void *object)
{
    return heap_cache_free(&p->cache, object);
}

/* Between two objects that are fine. */
static enum status free_among(struct cache_pair *p, void *object)
{
    void *fine[3] = {NULL, object, NULL};
    if (heap_cache_alloc_bulk(&p->cache, 1, &fine[0]) != STATUS_OK ||
        heap_cache_alloc_bulk(&p->cache, 1, &fine[2]) != STATUS_OK) {
        return STATUS_NOMEM;
    }
    enum status status = heap_cache_free_bulk(&p->cache, 3, fine);
    p->bed->wrong += heap_cache_free(&p->cache, fine[0]) != STATUS_OK;
    p->bed->wrong += heap_cache_free(&p->cache, fine[2]) != STATUS_OK;
    return status;
}

static void refused_by_both(struct cache_pair *p, void *object, const char *why)
{
    refused(p, free_one, object, why);
    EXPECT(heap_bed_reported("heap_cache_free: "));
    struct heap_stats before = heap_stats(&p->bed->heap);
    EXPECT_EQ(free_among(p, object), STATUS_MISUSE);
    EXPECT(heap_bed_reported("heap_cache_free_bulk: "));
    EXPECT(heap_bed_reported(why));
    EXPECT_EQ(heap_stats(&p->bed->heap).blocks, before.blocks);
    EXPECT_EQ(heap_caches_check(&p->bed->heap, NULL), STATUS_OK);
}

TEST(heap_cache, a_wrong_free_is_reported_with_both_names_and_changes_nothing)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    uint8_t *mine = heap_cache_alloc(&p.cache), *freed = heap_cache_alloc(&p.cache);
    uint8_t *others = heap_cache_alloc(&p.other), *block = heap_alloc(&p.bed->heap, 100);
    uint8_t *large = heap_alloc(&p.bed->heap, 3 * PAGE_BYTES);
    REQUIRE(mine != NULL && freed != NULL && others != NULL && block != NULL && large != NULL);
    EXPECT_EQ(heap_cache_free(&p.cache, NULL), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.cache, freed), STATUS_OK);
    struct heap_cache_stats stats = heap_cache_stats(&p.cache);
    uint8_t *slab = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(mine)));
    refused_by_both(&p, slab + (stats.slab_objects - 1) * stats.stride_bytes,
                    "of the cache 'first' is not allocated (double free)");
    refused_by_both(&p, mine + 8, "not its start");
    refused_by_both(&p, slab + stats.slab_objects * stats.stride_bytes, "in the unused end");
    refused_by_both(&p, others, "of the cache 'second', not of the cache 'first'");
    refused_by_both(&p, block, "is in the heap's own block");
    refused_by_both(&p, block, "not of the cache 'first'");
    refused_by_both(&p, large + PAGE_BYTES, "is in the heap's own block");
    refused_by_both(&p, &p, "is not this heap's");
    test_expect_reports(16);
    EXPECT_EQ(heap_cache_free(&p.cache, mine), STATUS_OK);
    EXPECT_EQ(heap_cache_free(&p.other, others), STATUS_OK);
    EXPECT_EQ(heap_free(&p.bed->heap, block), STATUS_OK);
    EXPECT_EQ(heap_free(&p.bed->heap, large), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, an_object_twice_in_one_bulk_free_is_reported)
{
    struct cache_pair p;
    void *objects[4];
    REQUIRE(cache_pair_begin(&p));
    REQUIRE(heap_cache_alloc_bulk(&p.cache, 3, objects) == STATUS_OK);
    objects[3] = objects[1];
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 4, objects), STATUS_MISUSE);
    EXPECT(heap_bed_reported("double free"));
    test_expect_reports(1);
    EXPECT_EQ(heap_cache_stats(&p.cache).used, 3);
    EXPECT_EQ(heap_caches_check(&p.bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 3, objects), STATUS_OK);
    cache_pair_end(&p);
}

static enum status to_heap_free(struct cache_pair *p, void *object)
{
    return heap_free(&p->bed->heap, object);
}

static enum status to_free_sized(struct cache_pair *p, void *object)
{
    return heap_free_sized(&p->bed->heap, object, OBJECT_BYTES);
}

static enum status to_realloc(struct cache_pair *p, void *object)
{
    return heap_realloc(&p->bed->heap, object, 300) == NULL ? STATUS_MISUSE : STATUS_OK;
}

static enum status to_usable(struct cache_pair *p, void *object)
{
    return heap_usable_size(&p->bed->heap, object) == 0 ? STATUS_MISUSE : STATUS_OK;
}

TEST(heap_cache, the_heap_does_not_take_an_object_for_a_block)
{
    struct cache_pair p;
    REQUIRE(cache_pair_begin(&p));
    uint8_t *object = heap_cache_alloc(&p.cache);
    REQUIRE(object != NULL);
    refused(&p, to_heap_free, object, "is an object of the cache 'first', which heap_cache_free takes");
    refused(&p, to_free_sized, object, "is an object of the cache 'first'");
    refused(&p, to_realloc, object, "is an object of the cache 'first'");
    refused(&p, to_usable, object, "is an object of the cache 'first'");
    refused(&p, to_heap_free, object + 16, "not its start");
    refused(&p, to_heap_free, object + OBJECT_BYTES, "is not allocated");
    test_expect_reports(6);
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, owner_of_knows_objects_and_their_cache)
{
    struct cache_pair p;
    struct heap_block found;
    REQUIRE(cache_pair_begin(&p));
    uint8_t *object = heap_cache_alloc(&p.cache);
    REQUIRE(object != NULL);
    EXPECT(heap_owner_of(&p.bed->heap, object + 17, &found));
    EXPECT(found.base == object && found.allocated && !found.large && strcmp(found.cache_name, "first") == 0);
    EXPECT_EQ(found.usable_bytes, OBJECT_BYTES);
    EXPECT(heap_owner_of(&p.bed->heap, object + OBJECT_BYTES, &found));
    EXPECT(found.base == object + OBJECT_BYTES && !found.allocated);
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_OK);
    EXPECT(heap_owner_of(&p.bed->heap, object, &found) && !found.allocated);
    void *block = heap_alloc(&p.bed->heap, 10);
    EXPECT(heap_owner_of(&p.bed->heap, block, &found) && found.cache_name == NULL);
    EXPECT_EQ(heap_free(&p.bed->heap, block), STATUS_OK);
    cache_pair_end(&p);
}

TEST(heap_cache, a_cache_in_use_is_not_destroyed_nor_made_again)
{
    struct cache_pair p;
    struct heap_cache_type type = cache_type_named("again");
    REQUIRE(cache_pair_begin(&p));
    void *object = heap_cache_alloc(&p.cache);
    EXPECT_EQ(heap_cache_destroy(&p.cache), STATUS_MISUSE);
    EXPECT(heap_bed_reported("'first' has 1 objects of 200 bytes in use"));
    EXPECT_EQ(heap_cache_create(&p.bed->heap, &p.cache, &type), STATUS_MISUSE);
    EXPECT(heap_bed_reported("is the cache 'first' of this heap already"));
    EXPECT_EQ(heap_cache_stats(&p.cache).used, 1);
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_OK);
    cache_pair_end(&p);
    EXPECT_EQ(heap_cache_destroy(&p.cache), STATUS_MISUSE);
    EXPECT(heap_bed_reported("destroyed twice"));
    EXPECT(heap_cache_alloc(&p.cache) == NULL);
    EXPECT_EQ(heap_cache_free(&p.cache, object), STATUS_MISUSE);
    EXPECT_EQ(heap_cache_alloc_bulk(&p.cache, 1, &object), STATUS_MISUSE);
    EXPECT_EQ(heap_cache_free_bulk(&p.cache, 1, &object), STATUS_MISUSE);
    EXPECT_EQ(heap_cache_reserve(&p.cache, 1), STATUS_MISUSE);
    EXPECT(heap_bed_reported("heap_cache_reserve: the cache "));
    EXPECT(heap_bed_reported("'first' was destroyed"));
    test_expect_reports(8);
    EXPECT_EQ(heap_stats(&p.bed->heap).held_bytes, 0);
}
