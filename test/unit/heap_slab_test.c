/* Slabs, prefill, shrink, and who owns an address: how pages are held and given back. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

TEST(heap, one_empty_slab_a_class_is_kept_and_the_others_go_back_at_once)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *blocks[8 * 4];
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, 512)) != NULL);
    }
    uint64_t out = bed->pages_out;
    struct heap_class_stats stats;
    unsigned class = heap_class_of(512);
    EXPECT(heap_class_stats(heap, class, &stats));
    EXPECT_EQ(stats.object_bytes, 512);
    EXPECT_EQ(stats.slabs, 4);
    EXPECT_EQ(stats.used, ARRAY_LEN(blocks));
    EXPECT_EQ(stats.objects, ARRAY_LEN(blocks));
    bed->forbids_gets = true;
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        heap_bed_check(bed);
        EXPECT(heap_class_stats(heap, class, &stats));
        uint64_t empty = (i + 1) / 8;
        EXPECT_EQ(stats.slabs, 4 - (empty > 0 ? empty - 1 : 0));
    }
    EXPECT_EQ(bed->pages_out, out - 3);
    EXPECT(!heap_class_stats(heap, HEAP_CLASSES, &stats));
    heap_bed_end(bed);
}

TEST(heap, a_class_at_the_edge_of_a_slab_does_not_thrash)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < 100; i++) {
        void *block = heap_alloc(&bed->heap, 2048);
        EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    }
    EXPECT_EQ(bed->gets, 5); /* descriptors, slab, root, middle, leaf; once */
    EXPECT_EQ(bed->puts, 0);
    heap_bed_end(bed);
}

TEST(heap, nearly_full_slabs_are_filled_before_emptier_ones)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    uint8_t *blocks[16];
    for (unsigned i = 0; i < 16; i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, 512)) != NULL);
    }
    for (unsigned i = 0; i < 7; i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK); /* the first slab: one left */
    }
    EXPECT_EQ(heap_free(heap, blocks[12]), STATUS_OK); /* the second: one missing */
    EXPECT(heap_alloc(heap, 512) == blocks[12]);
    EXPECT(heap_alloc(heap, 512) == blocks[0]);
    EXPECT_EQ(heap_free(heap, blocks[0]), STATUS_OK);
    for (unsigned i = 7; i < 16; i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, prefill_serves_single_pages_without_the_source_and_shrink_returns_it)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    EXPECT_EQ(heap_prefill(heap, 10UL * PAGE_BYTES - 1), STATUS_OK);
    EXPECT_EQ(heap_prefill(heap, 3UL * PAGE_BYTES), STATUS_OK);
    EXPECT_EQ(heap_prefill(heap, 0), STATUS_OK);
    EXPECT_EQ(bed->pages_out, 10);
    EXPECT(bed->guards_fresh);
    EXPECT_EQ(heap_stats(heap).held_bytes, 10 * PAGE_BYTES);
    heap_bed_check(bed);
    bed->forbids_gets = true;
    void *small = heap_alloc(heap, 30);
    void *page = heap_alloc(heap, PAGE_BYTES);
    void *aligned = heap_alloc_aligned(heap, 8, PAGE_BYTES);
    bed->forbids_gets = false;
    EXPECT_EQ(bed->gets, 10);
    EXPECT_EQ(heap->pool_pages, 10 - 4 - 3);
    void *two = heap_alloc(heap, 2 * PAGE_BYTES);
    EXPECT_EQ(bed->gets, 11);
    heap_bed_check(bed);
    EXPECT_EQ(heap_prefill(heap, 1UL << 40), STATUS_NOMEM);
    EXPECT_EQ(heap_prefill(heap, 200UL * PAGE_BYTES), STATUS_NOMEM);
    EXPECT_EQ(heap->pool_pages, 3);
    EXPECT_EQ(heap_free(heap, small), STATUS_OK);
    EXPECT_EQ(heap_free(heap, page), STATUS_OK);
    EXPECT_EQ(heap_free(heap, aligned), STATUS_OK);
    EXPECT_EQ(heap_free(heap, two), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, shrink_gives_back_what_is_empty_and_leaves_what_is_used)
{
    struct heap_bed *bed = heap_bed_new(256);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    static void *blocks[260];
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, 2048)) != NULL); /* 130 slabs: three pages of descriptors */
    }
    EXPECT_EQ(heap->desc_page_count, 3);
    for (size_t i = ARRAY_LEN(blocks) - 1; i > 0; i--) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
    }
    heap_bed_fill(blocks[0], 2048, 9);
    (void)heap_shrink(heap);
    heap_bed_check(bed);
    EXPECT_EQ(heap->desc_page_count, 1);
    EXPECT_EQ(bed->pages_out, 1 + 1 + 3); /* the slab, its descriptors, three nodes */
    EXPECT_EQ(heap_stats(heap).metadata_bytes, 4 * PAGE_BYTES);
    EXPECT(heap_bed_filled(blocks[0], 2048, 9));
    EXPECT_EQ(heap_free(heap, blocks[0]), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, owner_of_tells_every_address_from_its_block)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    struct heap_block owner;
    EXPECT(!heap_owner_of(heap, bed->arena, &owner));
    uint8_t *first = heap_alloc(heap, 300);
    REQUIRE(first != NULL);
    uint8_t *second = heap_alloc(heap, 300);
    REQUIRE(second == first + 320);
    EXPECT(heap_owner_of(heap, first + 319, &owner));
    EXPECT(owner.base == first && owner.usable_bytes == 320 && owner.class_bytes == 320 && owner.allocated &&
           !owner.large);
    EXPECT(heap_owner_of(heap, second, &owner) && owner.base == second);
    EXPECT(heap_owner_of(heap, second + 320, &owner) && owner.base == second + 320 && !owner.allocated);
    EXPECT(heap_owner_of(heap, first + PAGE_BYTES - 1, &owner)); /* 12 * 320 = 3840 */
    EXPECT(owner.base == first + 3840 && owner.usable_bytes == 0 && !owner.allocated && owner.class_bytes == 320);
    EXPECT(!heap_owner_of(heap, NULL, &owner));
    EXPECT(!heap_owner_of(heap, heap, &owner));
    EXPECT(!heap_owner_of(heap, vaddr_to_ptr(vaddr(UINT64_MAX)), &owner));
    EXPECT(!heap_owner_of(heap, vaddr_to_ptr(vaddr(heap->source.span_base.v - 1)), &owner));
    EXPECT(!heap_owner_of(heap, vaddr_to_ptr(vaddr(heap->source.span_base.v + 512 * GIB - 1)), &owner));
    EXPECT(!heap_owner_of(heap, heap->desc_pages, &owner));
    EXPECT_EQ(heap_free(heap, first), STATUS_OK);
    EXPECT_EQ(heap_free(heap, second), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, the_dump_shows_classes_and_large_blocks)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    static char text[2048];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    void *small = heap_alloc(&bed->heap, 48);
    void *large = heap_alloc(&bed->heap, 5000);
    heap_dump(&bed->heap, &buffer.sink);
    EXPECT(heap_bed_contains(text, "2 blocks, 8240 bytes used"));
    EXPECT(heap_bed_contains(text, "    48        1       85        1         4096\n"));
    EXPECT(heap_bed_contains(text, "2 pages, asked for 5000 bytes"));
    EXPECT_EQ(buffer.lost, 0);
    EXPECT_EQ(heap_free(&bed->heap, small), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_OK);
    heap_bed_end(bed);
}
