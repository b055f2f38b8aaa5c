/* A heap in a static array: no paging, no frames, nothing but the array. */
#include "heap/buffer.h"
#include "heap/cache.h"
#include "lib/string.h"
#include "unit/test.h"

enum { PAGES = 56, STRAY_BYTES = 24, LIVE = 60, STEPS = 4000, MOST_BYTES = 50000, CANARY = 0x5C };

/* Nothing in it is aligned. The heap gets all but a few bytes on both sides. */
static uint8_t memory[PAGES * PAGE_BYTES];
static const size_t all_bytes = sizeof memory - 2UL * STRAY_BYTES;

struct room {
    struct heap_buffer buffer;
    struct heap heap;
};
static struct room room;

static struct heap *begin(void)
{
    struct heap_source source;
    memset(memory, CANARY, sizeof memory);
    EXPECT_EQ(heap_buffer_init(&room.buffer, memory + STRAY_BYTES, all_bytes, &source), STATUS_OK);
    EXPECT_EQ(heap_init(&room.heap, source), STATUS_OK);
    EXPECT_EQ(room.buffer.out.v, 0);
    return &room.heap;
}

static bool is_canary(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at == CANARY) {
        at++;
    }
    return at == end;
}

static void end(void)
{
    EXPECT_EQ(heap_check(&room.heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_stats(&room.heap).blocks, 0);
    EXPECT_EQ(heap_stats(&room.heap).held_bytes, pages_to_bytes(room.buffer.out));
    (void)heap_shrink(&room.heap);
    EXPECT_EQ(room.buffer.out.v, 0);
    EXPECT_EQ(room.buffer.used[0], 1); /* the page that the bits are in */
    /* Nor were bytes beside its whole pages written. */
    const uint8_t *last = room.buffer.base + pages_to_bytes(room.buffer.pages);
    EXPECT(is_canary(memory, room.buffer.base) && is_canary(last, memory + sizeof memory));
}

TEST(heap_buffer, every_call_is_served_from_the_array_alone)
{
    struct heap *heap = begin();
    struct heap_cache cache;
    const struct heap_cache_type type = {.name = "of an array", .object_bytes = 72, .align_bytes = 8};
    EXPECT_EQ(heap_cache_create(heap, &cache, &type), STATUS_OK);
    uint8_t *blocks[] = {heap_alloc(heap, 100), heap_zalloc(heap, 3000), heap_alloc_array(heap, 10, 40),
                         heap_alloc_aligned(heap, 100, 2UL * PAGE_BYTES), heap_alloc(heap, 5UL * PAGE_BYTES)};
    uint8_t *object = heap_cache_alloc(&cache);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        REQUIRE(blocks[i] >= room.buffer.base && blocks[i] < memory + sizeof memory);
    }
    EXPECT(object >= room.buffer.base && object < memory + sizeof memory);
    EXPECT_EQ(ptr_to_vaddr(blocks[3]).v % (2UL * PAGE_BYTES), 0);
    memset(blocks[4], 7, 5UL * PAGE_BYTES);
    blocks[4] = heap_realloc(heap, blocks[4], 9UL * PAGE_BYTES);
    REQUIRE(blocks[4] != NULL);
    EXPECT(blocks[4][0] == 7 && blocks[4][5 * PAGE_BYTES - 1] == 7);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_free(heap, memory + STRAY_BYTES), STATUS_MISUSE);
    EXPECT_EQ(heap_free(heap, room.buffer.used), STATUS_MISUSE);
    test_expect_reports(2);
    EXPECT_EQ(heap_cache_free(&cache, object), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(&cache), STATUS_OK);
    end();
}

TEST(heap_buffer, the_array_is_used_to_its_last_page_and_no_further)
{
    struct heap *heap = begin();
    void *blocks[PAGES];
    uint64_t count = 0;
    while (count < PAGES && (blocks[count] = heap_alloc(heap, PAGE_BYTES)) != NULL) {
        memset(blocks[count++], 1, PAGE_BYTES);
    }
    EXPECT_EQ(room.buffer.out.v, room.buffer.pages.v - 1); /* the bits take one */
    EXPECT_EQ(heap_stats(heap).held_bytes, pages_to_bytes(room.buffer.out));
    EXPECT(count >= PAGES - 6);
    EXPECT(heap_alloc(heap, PAGE_BYTES) == NULL && heap_alloc(heap, 1000) == NULL);
    EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
    while (count > 0) {
        EXPECT_EQ(heap_free(heap, blocks[--count]), STATUS_OK);
    }
    EXPECT(heap_alloc(heap, sizeof memory) == NULL);
    EXPECT(heap_alloc_aligned(heap, 1, 1UL << 30) == NULL || ptr_to_vaddr(memory).v % GIB > GIB - sizeof memory);
    end();
}

TEST(heap_buffer, random_work_keeps_every_byte)
{
    static struct {
        uint8_t *at;
        size_t bytes;
        uint8_t fill;
    } live[LIVE];
    struct heap *heap = begin();
    struct rng rng = rng_seeded(test_seed());
    memset(live, 0, sizeof live);
    uint64_t refused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)rng_below(&rng, LIVE);
        if (live[i].at == NULL) {
            live[i].bytes = 1 + rng_below(&rng, rng_below(&rng, 4) == 0 ? MOST_BYTES : 400);
            live[i].fill = (uint8_t)(1 + rng_below(&rng, 255));
            live[i].at = heap_alloc(heap, live[i].bytes);
            refused += live[i].at == NULL;
            if (live[i].at != NULL) {
                memset(live[i].at, live[i].fill, live[i].bytes);
            }
            continue;
        }
        size_t n = 0;
        while (n < live[i].bytes && live[i].at[n] == live[i].fill) {
            n++;
        }
        REQUIRE(n == live[i].bytes);
        EXPECT_EQ(heap_free_sized(heap, live[i].at, live[i].bytes), STATUS_OK);
        live[i].at = NULL;
    }
    EXPECT(refused > 0 && refused < STEPS / 3);
    for (unsigned i = 0; i < LIVE; i++) {
        EXPECT_EQ(heap_free(heap, live[i].at), STATUS_OK);
    }
    end();
}

TEST(heap_buffer, an_array_without_two_whole_pages_or_beyond_the_span_is_refused)
{
    struct heap_source source = {.ctx = memory};
    struct heap_buffer buffer = {.out = npages(77)};
    uint8_t *page = vaddr_to_ptr(vaddr_page(vaddr(ptr_to_vaddr(memory).v + PAGE_BYTES - 1)));
    memset(memory, CANARY, sizeof memory);
    static const size_t few[] = {0, 1, PAGE_BYTES, 2UL * PAGE_BYTES - 1};
    for (unsigned i = 0; i < ARRAY_LEN(few); i++) {
        EXPECT_EQ(heap_buffer_init(&buffer, page, few[i], &source), STATUS_INVALID);
        EXPECT_EQ(heap_buffer_init(&buffer, page + 1, few[i] + PAGE_BYTES - 1, &source), STATUS_INVALID);
    }
    EXPECT_EQ(heap_buffer_init(&buffer, page, 513 * GIB, &source), STATUS_INVALID);
    EXPECT(source.ctx == memory && buffer.out.v == 77 && is_canary(memory, memory + sizeof memory));
    EXPECT_EQ(heap_buffer_init(&buffer, page, 2UL * PAGE_BYTES, &source), STATUS_OK);
    EXPECT_EQ(heap_buffer_init(&buffer, page + 1, 3UL * PAGE_BYTES - 1, &source), STATUS_OK);
}
