/* Wrong calls: reported with their values, and nothing changed. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

/* Each of the four calls that take a block refuses it, says `why`, and leaves everything as it was. */
static void refused_by_all(struct heap_bed *bed, void *block, const char *why)
{
    struct heap *heap = &bed->heap;
    char address[32];
    fmt_text(address, sizeof address, "%p", block);
    for (unsigned call = 0; call < 4; call++) {
        struct heap_stats before = heap_stats(heap);
        unsigned reports = test_reports();
        bed->forbids_gets = true;
        switch (call) {
        case 0:
            EXPECT_EQ(heap_free(heap, block), STATUS_MISUSE);
            EXPECT(heap_bed_reported("heap_free: "));
            break;
        case 1:
            EXPECT_EQ(heap_free_sized(heap, block, 100), STATUS_MISUSE);
            EXPECT(heap_bed_reported("heap_free_sized: "));
            break;
        case 2:
            EXPECT(heap_realloc(heap, block, 100) == NULL);
            EXPECT(heap_bed_reported("heap_realloc: "));
            break;
        default: EXPECT_EQ(heap_usable_size(heap, block), 0); EXPECT(heap_bed_reported("heap_usable_size: "));
        }
        bed->forbids_gets = false;
        EXPECT(heap_bed_reported(why));
        EXPECT(heap_bed_reported(address));
        EXPECT_EQ(test_reports(), reports + 1);
        before.misuses++;
        EXPECT(heap_bed_same(heap_stats(heap), before));
        heap_bed_check(bed);
    }
}

TEST(heap, free_of_null_is_allowed)
{
    struct heap_bed *bed = heap_bed_new(4);
    REQUIRE(bed != NULL);
    EXPECT_EQ(heap_free(&bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_free_sized(&bed->heap, NULL, 10), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_double_free_is_reported_at_once_and_after_others)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    void *blocks[41];
    for (unsigned i = 0; i < 41; i++) {
        REQUIRE((blocks[i] = heap_alloc(&bed->heap, 90)) != NULL);
    }
    for (unsigned i = 1; i < 41; i++) {
        EXPECT_EQ(heap_free(&bed->heap, blocks[i]), STATUS_OK);
        if (i == 1) {
            refused_by_all(bed, blocks[1], "is not allocated (double free)");
        }
    }
    refused_by_all(bed, blocks[1], "is not allocated (double free)");
    EXPECT_EQ(heap_free(&bed->heap, blocks[0]), STATUS_OK);
    refused_by_all(bed, blocks[0], "double free");
    (void)heap_shrink(&bed->heap);
    refused_by_all(bed, blocks[0], "given back with its pages (double free)");
    test_expect_reports(16);
    heap_bed_end(bed);
}

TEST(heap, a_double_free_of_a_large_block_is_reported)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    void *large = heap_alloc(&bed->heap, 20000);
    void *page = heap_alloc_aligned(&bed->heap, 10, PAGE_BYTES);
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_OK);
    refused_by_all(bed, large, "is not this heap's");
    EXPECT_EQ(heap_free(&bed->heap, page), STATUS_OK);
    refused_by_all(bed, page, "is not this heap's");
    test_expect_reports(8);
    heap_bed_end(bed);
}

TEST(heap, an_address_inside_a_block_is_refused_with_its_block)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    uint8_t *small = heap_alloc(&bed->heap, 300);
    uint8_t *large = heap_alloc(&bed->heap, 20000);
    REQUIRE(small != NULL && large != NULL);
    char base[64];
    fmt_text(base, sizeof base, "inside the allocated block %p of 320 bytes", (void *)small);
    refused_by_all(bed, small + 1, base);
    refused_by_all(bed, small + 16, base);
    refused_by_all(bed, small + 319, base);
    refused_by_all(bed, small + 330, "of 3776 bytes is not allocated");
    fmt_text(base, sizeof base, "inside the large block %p of 20480 bytes", (void *)large);
    refused_by_all(bed, large + 16, base);
    refused_by_all(bed, large + 8192, base);
    test_expect_reports(24);
    EXPECT_EQ(heap_free(&bed->heap, small), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, an_address_inside_a_slab_is_refused_with_its_object)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    uint8_t *objects[40];
    for (unsigned i = 0; i < ARRAY_LEN(objects); i++) {
        REQUIRE((objects[i] = heap_alloc(&bed->heap, 240)) != NULL);
    }
    char base[64];
    uint8_t *last = objects[39];
    fmt_text(base, sizeof base, "inside the allocated block %p of class 240", (void *)last);
    refused_by_all(bed, last + 1, base);
    refused_by_all(bed, last + 16, base);
    refused_by_all(bed, last + 239, base);
    refused_by_all(bed, last + 240, "of class 240 is not allocated (double free)");
    refused_by_all(bed, last + 250, "inside the free block");
    uint8_t *page = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(last)));
    refused_by_all(bed, page + 4080, "in the unused end");
    refused_by_all(bed, page + PAGE_BYTES - 1, "of a slab of class 240, in no block");
    test_expect_reports(28);
    for (unsigned i = 0; i < ARRAY_LEN(objects); i++) {
        EXPECT_EQ(heap_free(&bed->heap, objects[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, foreign_addresses_are_refused)
{
    struct heap_bed *bed = heap_bed_new(32);
    struct heap_bed *other = heap_bed_new(32);
    REQUIRE(bed != NULL && other != NULL);
    void *mine = heap_alloc(&bed->heap, 64);
    void *theirs = heap_alloc(&other->heap, 64);
    uint64_t on_stack[2] = {0};
    refused_by_all(bed, on_stack, "is not this heap's");
    refused_by_all(bed, theirs, "is not this heap's");
    refused_by_all(bed, heap_find_page(&bed->heap, mine), "is not this heap's");
    refused_by_all(bed, vaddr_to_ptr(vaddr(bed->heap.root)), "is not this heap's");
    refused_by_all(bed, vaddr_to_ptr(vaddr(16)), "is not this heap's");
    refused_by_all(bed, vaddr_to_ptr(vaddr(UINT64_MAX - 15)), "is not this heap's");
    refused_by_all(bed, vaddr_to_ptr(vaddr(0x0001000000000000)), "is not this heap's");
    /* A span further, the same table indices: not ours. */
    refused_by_all(bed, vaddr_to_ptr(vaddr_add(ptr_to_vaddr(mine), 512 * GIB)), "is not this heap's");
    refused_by_all(bed, vaddr_to_ptr(vaddr(ptr_to_vaddr(mine).v - 512 * GIB)), "is not this heap's");
    test_expect_reports(36);
    EXPECT_EQ(heap_free(&bed->heap, mine), STATUS_OK);
    EXPECT_EQ(heap_free(&other->heap, theirs), STATUS_OK);
    heap_bed_end(bed);
    heap_bed_end(other);
}

static void size_refused(struct heap_bed *bed, void *block, size_t bytes)
{
    struct heap_stats before = heap_stats(&bed->heap);
    char tail[64];
    fmt_text(tail, sizeof tail, "was not asked for as %zu: size does not match", bytes);
    EXPECT_EQ(heap_free_sized(&bed->heap, block, bytes), STATUS_MISUSE);
    EXPECT(heap_bed_reported(tail));
    before.misuses++;
    EXPECT(heap_bed_same(heap_stats(&bed->heap), before));
    heap_bed_check(bed);
}

TEST(heap, a_size_that_does_not_match_is_refused)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *small = heap_alloc(heap, 200); /* four granules of 64 bytes */
    void *large = heap_alloc(heap, 20000);
    void *page = heap_alloc(heap, 4000);
    static const size_t bad_small[] = {0, 192, 257, 200 + (16UL << 32), SIZE_MAX};
    static const size_t bad_large[] = {0, 16384, 20481, 100, SIZE_MAX};
    for (unsigned i = 0; i < ARRAY_LEN(bad_small); i++) {
        size_refused(bed, small, bad_small[i]);
        size_refused(bed, large, bad_large[i]);
    }
    size_refused(bed, page, 2048);
    test_expect_reports(11);
    EXPECT_EQ(heap_free_sized(heap, small, 193), STATUS_OK);
    EXPECT_EQ(heap_free_sized(heap, large, 16385), STATUS_OK);
    EXPECT_EQ(heap_free_sized(heap, page, 4090), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, realloc_to_nothing_or_to_the_absurd_keeps_the_block)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    static const size_t sizes[] = {200, 9000};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        void *block = heap_alloc(&bed->heap, sizes[i]);
        heap_bed_fill(block, sizes[i], 4);
        struct heap_stats before = heap_stats(&bed->heap);
        EXPECT(heap_realloc(&bed->heap, block, 0) == NULL);
        EXPECT(heap_bed_reported("bytes to 0 bytes"));
        EXPECT(heap_realloc(&bed->heap, block, SIZE_MAX - 100) == NULL);
        EXPECT(heap_bed_reported("bytes to 18446744073709551515 bytes"));
        before.misuses += 2;
        EXPECT(heap_bed_same(heap_stats(&bed->heap), before));
        EXPECT(heap_bed_filled(block, sizes[i], 4));
        EXPECT_EQ(heap_free_sized(&bed->heap, block, sizes[i]), STATUS_OK);
    }
    EXPECT(heap_realloc(&bed->heap, NULL, 0) == NULL);
    test_expect_reports(4);
    heap_bed_end(bed);
}

TEST(heap, pages_outside_the_span_are_not_used)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    bed->is_fabricating = true;
    bed->fabricated = bed->heap.source.span_base.v + 512 * GIB - PAGE_BYTES; /* two pages from here leave the span */
    EXPECT(heap_alloc(&bed->heap, 2 * PAGE_BYTES) == NULL);
    EXPECT(heap_bed_reported("heap: the page source gave "));
    test_expect_reports(1);
    bed->fabricated = bed->heap.source.span_base.v + 512 * GIB - 2 * PAGE_BYTES; /* and these just fit */
    void *last = heap_alloc(&bed->heap, 2 * PAGE_BYTES);
    EXPECT(last != NULL);
    heap_bed_check(bed);
    EXPECT_EQ(heap_free(&bed->heap, last), STATUS_OK);
    heap_bed_end(bed);
}
