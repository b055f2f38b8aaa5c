/* Object caches: objects of one type, constructed once. */
#include "heap/cache.h"
#include "unit/heap_bed.h"

enum { ARENA_PAGES = 96, MANY = 600 };

struct thing {
    uint64_t magic, number;
    uint8_t bytes[80];
};

#define THING_MAGIC 0x7468696e67 /* what the constructor writes */

/* A heap and a cache of things in it. */
struct scene {
    struct heap_bed *bed;
    struct heap_cache cache;
    uint64_t constructed; /* calls of the constructor */
};

static void construct(void *ctx, void *object)
{
    uint64_t *constructed = ctx;
    struct thing *thing = object;
    memset(thing, 0, sizeof *thing);
    thing->magic = THING_MAGIC;
    ++*constructed;
}

static void check(struct scene *s)
{
    char text[REPORT_TEXT_BYTES];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    if (!EXPECT_EQ(heap_caches_check(&s->bed->heap, &buffer.sink), STATUS_OK)) {
        test_note("%s", text);
    }
    heap_bed_check(s->bed);
}

static bool begin(struct scene *s)
{
    s->constructed = 0;
    s->bed = heap_bed_new(ARENA_PAGES);
    struct heap_cache_type type = {HEAP_CACHE_TYPE("things", struct thing)};
    type.construct = construct;
    type.ctx = &s->constructed;
    return s->bed != NULL && EXPECT_EQ(heap_cache_create(&s->bed->heap, &s->cache, &type), STATUS_OK);
}

static void end(struct scene *s)
{
    check(s);
    EXPECT_EQ(heap_cache_destroy(&s->cache), STATUS_OK);
    heap_bed_end(s->bed);
}

static struct heap_cache_type plain(size_t bytes, size_t align)
{
    return (struct heap_cache_type){.name = "plain", .object_bytes = bytes, .align_bytes = align};
}

TEST(heap_cache, an_object_is_constructed_once_and_comes_back_as_it_was_given)
{
    struct scene s;
    REQUIRE(begin(&s));
    struct thing *thing = heap_cache_alloc(&s.cache);
    REQUIRE(thing != NULL);
    EXPECT_EQ(thing->magic, THING_MAGIC);
    uint64_t constructed = s.constructed;
    EXPECT_EQ(constructed, heap_cache_stats(&s.cache).slab_objects);
    thing->number = 77;
    for (unsigned i = 0; i < 10; i++) {
        EXPECT_EQ(heap_cache_free(&s.cache, thing), STATUS_OK);
        EXPECT_EQ(thing->magic, THING_MAGIC);
        EXPECT(heap_cache_alloc(&s.cache) == thing);
        EXPECT_EQ(thing->number, 77);
    }
    EXPECT_EQ(s.constructed, constructed);
    EXPECT_EQ(heap_cache_stats(&s.cache).constructed, constructed);
    EXPECT_EQ(heap_cache_free(&s.cache, thing), STATUS_OK);
    EXPECT_EQ(heap_cache_shrink(&s.cache).v, 1); /* the slab went: the next one is constructed anew */
    REQUIRE((thing = heap_cache_alloc(&s.cache)) != NULL);
    EXPECT_EQ(s.constructed, 2 * constructed);
    EXPECT_EQ(thing->number, 0);
    EXPECT_EQ(heap_cache_free(&s.cache, thing), STATUS_OK);
    end(&s);
}

TEST(heap_cache, a_freed_object_keeps_every_byte)
{
    struct scene s;
    REQUIRE(begin(&s));
    struct thing *things[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        REQUIRE((things[i] = heap_cache_alloc(&s.cache)) != NULL);
        heap_bed_fill(things[i], sizeof *things[i], i);
    }
    unsigned kept = heap_cache_stats(&s.cache).slab_objects;
    for (unsigned i = 1; i < MANY; i += 2) { /* every second one: no slab goes back */
        EXPECT_EQ(heap_cache_free(&s.cache, things[i]), STATUS_OK);
    }
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT(heap_bed_filled(things[i], sizeof *things[i], i));
    }
    check(&s);
    for (unsigned i = 0; i < MANY; i += 2) {
        EXPECT_EQ(heap_cache_free(&s.cache, things[i]), STATUS_OK);
    }
    EXPECT(heap_cache_stats(&s.cache).objects <= kept);
    EXPECT_EQ(heap_cache_stats(&s.cache).high_water, MANY);
    EXPECT_EQ(heap_cache_stats(&s.cache).used, 0);
    end(&s);
}

/* As many as two slabs hold, and one more: aligned, apart from each other, zeroed where that was asked for. */
static void try_shape(struct heap_bed *bed, struct heap_cache_type type)
{
    struct heap_cache cache;
    uint8_t *objects[600];
    REQUIRE(heap_cache_create(&bed->heap, &cache, &type) == STATUS_OK);
    struct heap_cache_stats stats = heap_cache_stats(&cache);
    unsigned count = 2 * stats.slab_objects + 1;
    EXPECT(stats.slab_objects > 0);
    EXPECT(stats.slab_pages == 1 || stats.slab_pages == 2 || stats.slab_pages == 4);
    EXPECT(stats.slab_objects >= 8 || stats.stride_bytes * 8 > pages_to_bytes(npages(4)));
    for (unsigned i = 0; i < count; i++) {
        REQUIRE((objects[i] = heap_cache_alloc(&cache)) != NULL);
        EXPECT_EQ(ptr_to_vaddr(objects[i]).v % type.align_bytes, 0);
        for (size_t byte = 0; byte < type.object_bytes && (type.flags & HEAP_CACHE_ZERO) != 0; byte++) {
            REQUIRE(objects[i][byte] == 0);
        }
        heap_bed_fill(objects[i], type.object_bytes, i);
    }
    heap_bed_check(bed);
    EXPECT_EQ(heap_caches_check(&bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_stats(&bed->heap).used_bytes, count * heap_cache_stats(&cache).stride_bytes);
    EXPECT_EQ(heap_stats(&bed->heap).blocks, count);
    EXPECT_EQ(heap_cache_stats(&cache).slabs, 3);
    for (unsigned i = 0; i < count; i++) {
        EXPECT(heap_bed_filled(objects[i], type.object_bytes, i));
        EXPECT_EQ(heap_cache_free(&cache, objects[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_stats(&bed->heap).frees, heap_stats(&bed->heap).allocs);
    EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
    EXPECT_EQ(heap_stats(&bed->heap).frees, heap_stats(&bed->heap).allocs);
}

TEST(heap_cache, objects_of_every_size_and_alignment_lie_apart_and_aligned)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    static const size_t sizes[] = {1,   8,   16,  17,   24,   40,   64,   96,   100,  120,  200,
                                   255, 257, 520, 1000, 1024, 1500, 2000, 2048, 3000, PAGE_BYTES, 2 * PAGE_BYTES};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        try_shape(bed, plain(sizes[i], 1));
        struct heap_cache_type zeroed = plain(sizes[i], 64);
        zeroed.flags = HEAP_CACHE_ZERO;
        try_shape(bed, zeroed);
        try_shape(bed, plain(sizes[i], PAGE_BYTES));
    }
    heap_bed_end(bed);
}

TEST(heap_cache, a_slab_is_as_large_as_pays_for_its_objects)
{
    struct heap_bed *bed = heap_bed_new(4);
    REQUIRE(bed != NULL);
    static const struct {
        size_t bytes;
        unsigned pages, objects;
    } shapes[] = {{8, 1, 256}, {16, 1, 256}, {40, 1, 102}, {1024, 2, 8}, {2048, 4, 8}, {528, 4, 31}, {PAGE_BYTES, 1, 1},
                  {3000, 4, 5}};
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        struct heap_cache cache;
        struct heap_cache_type type = plain(shapes[i].bytes, 8);
        REQUIRE(heap_cache_create(&bed->heap, &cache, &type) == STATUS_OK);
        EXPECT_EQ(heap_cache_stats(&cache).slab_pages, shapes[i].pages);
        EXPECT_EQ(heap_cache_stats(&cache).slab_objects, shapes[i].objects);
        EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap_cache, successive_slabs_begin_at_other_cache_lines)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap_cache cache;
    struct heap_cache_type type = plain(496, 16); /* eight a page leave 128 bytes: three colours */
    REQUIRE(heap_cache_create(&bed->heap, &cache, &type) == STATUS_OK);
    REQUIRE(heap_cache_stats(&cache).colours == 3);
    void *objects[48];
    for (unsigned i = 0; i < 48; i++) {
        REQUIRE((objects[i] = heap_cache_alloc(&cache)) != NULL);
        EXPECT_EQ(page_offset_bytes(ptr_to_vaddr(objects[i]).v), i / 8 % 3 * 64 + i % 8 * 496);
    }
    EXPECT_EQ(heap_caches_check(&bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_cache_free_bulk(&cache, 48, objects), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap_cache, a_pair_at_the_edge_of_a_slab_moves_no_page)
{
    struct scene s;
    REQUIRE(begin(&s));
    void *objects[MANY];
    unsigned count = 2 * heap_cache_stats(&s.cache).slab_objects;
    REQUIRE(heap_cache_alloc_bulk(&s.cache, count, objects) == STATUS_OK);
    void *one = heap_cache_alloc(&s.cache);
    EXPECT_EQ(heap_cache_free(&s.cache, one), STATUS_OK);
    uint64_t moves = s.bed->gets + s.bed->puts;
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(heap_cache_alloc(&s.cache) == one);
        EXPECT_EQ(heap_cache_free(&s.cache, one), STATUS_OK);
    }
    EXPECT_EQ(s.bed->gets + s.bed->puts, moves);
    EXPECT_EQ(heap_cache_free_bulk(&s.cache, count, objects), STATUS_OK);
    end(&s);
}

TEST(heap_cache, bulk_takes_and_gives_all_or_none)
{
    struct scene s;
    REQUIRE(begin(&s));
    void *objects[MANY];
    EXPECT_EQ(heap_cache_alloc_bulk(&s.cache, 0, objects), STATUS_OK);
    uint64_t held = heap_stats(&s.bed->heap).held_bytes;
    for (unsigned k = 1; k < 40; k++) {
        s.bed->fail_at = k;
        objects[0] = &s;
        enum status status = heap_cache_alloc_bulk(&s.cache, MANY, objects);
        if (status == STATUS_OK) {
            EXPECT(k > 10);
            EXPECT_EQ(heap_cache_stats(&s.cache).used, MANY);
            EXPECT_EQ(heap_cache_free_bulk(&s.cache, MANY, objects), STATUS_OK);
            break;
        }
        EXPECT_EQ(status, STATUS_NOMEM);
        EXPECT(objects[0] == &s);
        EXPECT_EQ(heap_cache_stats(&s.cache).used, 0);
        EXPECT_EQ(heap_cache_stats(&s.cache).high_water, 0);
        check(&s);
        heap_shrink(&s.bed->heap);
        EXPECT_EQ(heap_stats(&s.bed->heap).held_bytes, held);
    }
    s.bed->fail_at = 0;
    EXPECT_EQ(heap_cache_alloc_bulk(&s.cache, SIZE_MAX, objects), STATUS_NOMEM);
    EXPECT_EQ(heap_cache_stats(&s.cache).used, 0);
    end(&s);
}

TEST(heap_cache, heap_shrink_gives_back_what_caches_hold_idle)
{
    struct scene s;
    REQUIRE(begin(&s));
    EXPECT_EQ(heap_cache_free(&s.cache, heap_cache_alloc(&s.cache)), STATUS_OK);
    EXPECT_EQ(heap_cache_stats(&s.cache).slabs, 1);
    EXPECT(heap_shrink(&s.bed->heap).v > 0);
    EXPECT_EQ(heap_cache_stats(&s.cache).slabs, 0);
    EXPECT_EQ(s.bed->pages_out, 0);
    end(&s);
}

TEST(heap_cache, what_a_destroyed_cache_gave_out_stays_counted)
{
    struct scene s;
    REQUIRE(begin(&s));
    EXPECT_EQ(heap_cache_free(&s.cache, heap_cache_alloc(&s.cache)), STATUS_OK);
    end(&s);
    EXPECT_EQ(heap_stats(&s.bed->heap).allocs, 1);
    EXPECT_EQ(heap_stats(&s.bed->heap).frees, 1);
}
