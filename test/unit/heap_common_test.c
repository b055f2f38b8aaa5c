/*
 * What any heap behind heap.h must do, ours and those of test/rivals/heap/ with which the kernel can be built
 * (-DCAIRN_HEAP): only calls and promises that all of them have.
 */
#include "heap/heap.h"
#include "unit/heap_pages.h"

enum { PAGES = 700, LIVE = 100, STEPS = 3000, MOST_BYTES = 3 * PAGE_BYTES, USUAL_BYTES = 600 };

static struct heap *begin(void)
{
    struct heap *heap = test_pages(bytes_to_pages_up(sizeof *heap).v);
    const struct heap_source source = heap_pages_begin(PAGES);
    const bool is_there = heap != NULL && source.pages_get != NULL && heap_init(heap, source) == STATUS_OK;
    return EXPECT(is_there) ? heap : NULL;
}

static void expect_empty(struct heap *heap)
{
    (void)heap_shrink(heap);
    const struct heap_stats s = heap_stats(heap);
    EXPECT_EQ(s.blocks, 0);
    EXPECT_EQ(s.used_bytes, 0);
    EXPECT_EQ(s.held_bytes, 0);
    EXPECT_EQ(heap_pages_out(), 0);
    EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
}

static bool is_zero(const uint8_t *at, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && at[i] == 0) {
        i++;
    }
    return i == bytes;
}

static size_t random_bytes(struct rng *rng)
{
    return 1 + rng_below(rng, rng_below(rng, 8) == 0 ? MOST_BYTES : USUAL_BYTES);
}

static bool step_new(struct heap *heap, struct rng *rng, struct pattern_block *b)
{
    size_t align = HEAP_ALIGN_BYTES;
    bool zeroed = false;
    b->bytes = random_bytes(rng);
    switch (rng_below(rng, 6)) {
    case 0:
        align = 1UL << rng_below(rng, 14);
        b->at = heap_alloc_aligned(heap, b->bytes, align);
        break;
    case 1:
        zeroed = true;
        b->at = heap_zalloc(heap, b->bytes);
        break;
    case 2:
        zeroed = true;
        b->bytes = b->bytes / 8 * 8 + 8;
        b->at = heap_alloc_array(heap, b->bytes / 8, 8);
        break;
    default: b->at = heap_alloc(heap, b->bytes);
    }
    align = align < HEAP_ALIGN_BYTES ? HEAP_ALIGN_BYTES : align;
    if (!EXPECT(b->at != NULL) || !EXPECT_EQ((uintptr_t)b->at & (align - 1), 0) ||
        !EXPECT(heap_usable_size(heap, b->at) >= b->bytes) || !EXPECT(!zeroed || is_zero(b->at, b->bytes))) {
        return false;
    }
    pattern_fill(b, rng_next(rng));
    return true;
}

static bool step_old(struct heap *heap, struct rng *rng, struct pattern_block *b)
{
    if (!EXPECT(pattern_is_kept(b, b->bytes))) {
        return false;
    }
    if (rng_below(rng, 3) == 0) {
        const size_t bytes = random_bytes(rng), kept = bytes < b->bytes ? bytes : b->bytes;
        uint8_t *moved = heap_realloc(heap, b->at, bytes);
        b->at = moved != NULL ? moved : b->at;
        const bool is_kept = EXPECT(moved != NULL) && EXPECT(pattern_is_kept(b, kept));
        b->bytes = bytes;
        pattern_fill(b, rng_next(rng));
        return is_kept;
    }
    const enum status s = rng_below(rng, 2) == 0 ? heap_free(heap, b->at) : heap_free_sized(heap, b->at, b->bytes);
    b->at = NULL;
    return EXPECT_EQ(s, STATUS_OK);
}

TEST(heap_common, blocks_keep_what_is_written_and_all_pages_go_back)
{
    static struct pattern_block live[LIVE];
    struct heap *heap = begin();
    REQUIRE(heap != NULL);
    struct rng rng = rng_seeded(test_seed());
    memset(live, 0, sizeof live);
    for (unsigned i = 0; i < STEPS; i++) {
        struct pattern_block *b = &live[rng_below(&rng, LIVE)];
        REQUIRE(b->at == NULL ? step_new(heap, &rng, b) : step_old(heap, &rng, b));
        if (i % (STEPS / 4) == 0) { /* it goes on as well after a shrink */
            (void)heap_shrink(heap);
        }
        REQUIRE(heap_stats(heap).held_bytes == pages_to_bytes(npages(heap_pages_out())));
    }
    EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
    for (unsigned i = 0; i < LIVE; i++) {
        REQUIRE(live[i].at == NULL || pattern_is_kept(&live[i], live[i].bytes));
        EXPECT_EQ(heap_free(heap, live[i].at), STATUS_OK);
    }
    expect_empty(heap);
}

TEST(heap_common, a_source_that_refuses_any_one_request_leaves_the_heap_as_it_was)
{
    enum { BLOCKS = 12 };
    struct heap *heap = begin();
    REQUIRE(heap != NULL);
    bool is_refused = true;
    for (uint64_t k = 1; is_refused; k++) {
        void *blocks[BLOCKS] = {NULL};
        heap_pages_refuse_at(k);
        is_refused = false;
        for (unsigned i = 0; i < BLOCKS && !is_refused; i++) {
            const struct heap_stats before = heap_stats(heap);
            const size_t bytes = i % 3 == 2 ? USUAL_BYTES : MOST_BYTES;
            blocks[i] = i % 3 == 0 ? heap_alloc_aligned(heap, bytes, PAGE_BYTES) : heap_alloc(heap, bytes);
            is_refused = blocks[i] == NULL;
            const struct heap_stats after = heap_stats(heap);
            REQUIRE(!is_refused || (after.blocks == before.blocks && after.used_bytes == before.used_bytes));
            REQUIRE(after.held_bytes == pages_to_bytes(npages(heap_pages_out())));
        }
        heap_pages_refuse_at(0);
        for (unsigned i = 0; i < BLOCKS; i++) {
            EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        }
        expect_empty(heap);
    }
}

TEST(heap_common, a_block_that_cannot_grow_stays)
{
    struct heap *heap = begin();
    REQUIRE(heap != NULL);
    struct pattern_block b = {heap_alloc(heap, 200), 200, 0};
    REQUIRE(b.at != NULL);
    pattern_fill(&b, 3);
    EXPECT(heap_realloc(heap, b.at, pages_to_bytes(npages(PAGES))) == NULL);
    EXPECT(pattern_is_kept(&b, b.bytes));
    EXPECT_EQ(heap_free(heap, b.at), STATUS_OK);
    expect_empty(heap);
}

TEST(heap_common, sizes_and_alignments_that_cannot_be_meant_are_reported)
{
    struct heap *heap = begin();
    REQUIRE(heap != NULL);
    test_expect_reports(5);
    void *block = heap_alloc(heap, 100);
    REQUIRE(block != NULL);
    EXPECT(heap_alloc(heap, 0) == NULL);
    EXPECT(heap_alloc(heap, SIZE_MAX) == NULL);
    EXPECT(heap_alloc_array(heap, SIZE_MAX / 16 + 2, 16) == NULL);
    EXPECT(heap_alloc_aligned(heap, 100, 48) == NULL);
    EXPECT(heap_realloc(heap, block, 0) == NULL);
    EXPECT(heap_realloc(heap, block, SIZE_MAX - 100) == NULL);
    EXPECT_EQ(heap_stats(heap).misuses, 5);
    EXPECT_EQ(heap_free(heap, block), STATUS_OK);
    EXPECT_EQ(heap_free(heap, NULL), STATUS_OK);
    expect_empty(heap);
}

TEST(heap_common, a_block_freed_twice_at_once_is_reported)
{
    struct heap *heap = begin();
    REQUIRE(heap != NULL);
    test_expect_reports(1);
    void *blocks[3];
    for (unsigned i = 0; i < 3; i++) {
        blocks[i] = heap_alloc(heap, 100);
        REQUIRE(blocks[i] != NULL);
    }
    EXPECT_EQ(heap_free(heap, blocks[1]), STATUS_OK);
    EXPECT_EQ(heap_free(heap, blocks[1]), STATUS_MISUSE);
    EXPECT_EQ(heap_free(heap, blocks[0]), STATUS_OK);
    EXPECT_EQ(heap_free(heap, blocks[2]), STATUS_OK);
    expect_empty(heap);
}
