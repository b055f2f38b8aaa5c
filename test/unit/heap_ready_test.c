/* What calls make ready for others, and what goes in a call: so that none is long. */
#include "heap/tree.h"
#include "unit/heap_bed.h"

enum { PAGES = 4 * HEAP_LEAF_PAGES };

static bool a_clean_page_is_spare(const struct heap *heap)
{
    return heap->spares != NULL && heap->spares->dirty_bytes == sizeof *heap->spares;
}

TEST(heap, a_block_of_many_pages_leaves_a_clean_page_for_the_next_leaf_as_it_found_one)
{
    struct heap_bed *bed = heap_bed_new(PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *singles[HEAP_LEAF_PAGES];
    unsigned count = 0;
    while (!a_clean_page_is_spare(heap)) {
        REQUIRE(count < ARRAY_LEN(singles));
        REQUIRE((singles[count++] = heap_alloc(heap, PAGE_BYTES)) != NULL);
    }
    const uint64_t leaves = heap->leaf_count;
    /* Whichever leaf it begins in, it needs another. */
    void *large = heap_alloc(heap, 2UL * HEAP_LEAF_PAGES * PAGE_BYTES);
    REQUIRE(large != NULL);
    EXPECT(heap->leaf_count > leaves);
    EXPECT(a_clean_page_is_spare(heap));
    heap_bed_check(bed);
    EXPECT_EQ(heap_free(heap, large), STATUS_OK);
    while (count > 0) {
        EXPECT_EQ(heap_free(heap, singles[--count]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, when_an_idle_slab_of_four_pages_goes_the_page_that_was_to_go_stays)
{
    struct heap_bed *bed = heap_bed_new(PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *singles[HEAP_LEAF_PAGES / 2], *block = heap_alloc(heap, PAGE_BYTES + 64);
    for (unsigned i = 0; i < ARRAY_LEN(singles); i++) {
        REQUIRE((singles[i] = heap_alloc(heap, PAGE_BYTES)) != NULL);
    }
    EXPECT_EQ(heap_free(heap, block), STATUS_OK);
    EXPECT_EQ(heap->mixed[1].slabs, 1); /* it stays, for the next such block */
    unsigned next = 0;
    heap->turn = 1; /* as if all classes but one had had theirs */
    for (uint64_t puts = bed->puts; bed->puts == puts;) { /* until as many lie ready as may */
        REQUIRE(next < ARRAY_LEN(singles) / 2);
        EXPECT_EQ(heap_free(heap, singles[next++]), STATUS_OK);
    }
    EXPECT_EQ(heap->turn, 0);
    const uint64_t puts = bed->puts, out = bed->pages_out, ready = heap->ready_pages;
    EXPECT_EQ(heap_free(heap, singles[next++]), STATUS_OK);
    EXPECT_EQ(heap->mixed[1].slabs, 0);
    EXPECT_EQ(bed->puts, puts + 1);
    EXPECT_EQ(bed->pages_out, out - 4);
    EXPECT_EQ(heap->ready_pages, ready + 1);
    EXPECT_EQ(heap->turn, HEAP_CLASSES); /* the next such slab may stay until the classes had theirs */
    heap_bed_check(bed);
    while (next < ARRAY_LEN(singles)) {
        EXPECT_EQ(heap_free(heap, singles[next++]), STATUS_OK);
    }
    EXPECT(heap->ready_pages <= 2);
    heap_bed_end(bed);
}

TEST(heap, before_a_request_is_refused_what_the_next_leaf_would_need_is_given_up_too)
{
    enum { MANY = 5 * HEAP_LEAF_PAGES };
    struct heap_bed *bed = heap_bed_new(MANY);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *singles[MANY], *block;
    unsigned count = 0;
    bool had_spare = false;
    while ((block = heap_alloc(heap, PAGE_BYTES)) != NULL) {
        REQUIRE(count < MANY);
        singles[count++] = block;
        had_spare = had_spare || heap->spares != NULL;
    }
    EXPECT(had_spare);
    EXPECT_EQ(bed->pages_out, count + heap->leaf_count + heap->node_count);
    heap_bed_check(bed);
    while (count > 0) {
        EXPECT_EQ(heap_free(heap, singles[--count]), STATUS_OK);
    }
    heap_bed_end(bed);
}
