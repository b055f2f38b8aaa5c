/* The heap's contract, line by line. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

TEST(heap, classes_cover_every_size_of_an_object_with_less_than_a_granule_of_rounding)
{
    uint64_t wrong = 0;
    for (size_t bytes = 1; bytes <= HEAP_SLAB_MAX_BYTES; bytes++) {
        unsigned class = heap_class_of(bytes);
        size_t got = heap_class_bytes(class);
        wrong += class >= HEAP_CLASSES || got < bytes || got - bytes >= HEAP_ALIGN_BYTES;
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(heap_class_bytes(0), HEAP_ALIGN_BYTES);
    EXPECT_EQ(heap_class_bytes(HEAP_CLASSES - 1), HEAP_SLAB_MAX_BYTES);
}

TEST(heap, a_slab_leaves_at_most_a_sixteenth_of_its_page_unused)
{
    struct heap_bed *bed = heap_bed_new(1);
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &bed->heap.classes[i];
        size_t slab = PAGE_BYTES;
        EXPECT_EQ((size_t) class->objects * class->object_bytes, class->limit_bytes);
        EXPECT(class->limit_bytes <= slab && slab - class->limit_bytes < class->object_bytes);
        EXPECT(slab - class->limit_bytes <= slab / 16);
        EXPECT(class->objects <= class->words * HEAP_WORD_BITS && class->words <= HEAP_SLAB_WORDS);
    }
}

TEST(heap, the_reciprocal_divides_every_offset_of_a_slab_exactly_and_knows_where_objects_begin)
{
    struct heap_bed *bed = heap_bed_new(1);
    REQUIRE(bed != NULL);
    uint64_t wrong = 0;
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &bed->heap.classes[i];
        for (uint64_t offset = 0; offset < PAGE_BYTES; offset++) {
            uint64_t product = offset * class->reciprocal;
            wrong += product >> 32 != offset / class->object_bytes;
            wrong += ((uint32_t)product < class->reciprocal) != (offset % class->object_bytes == 0);
        }
    }
    EXPECT_EQ(wrong, 0);
}

TEST(heap, init_refuses_a_source_that_cannot_be_and_takes_no_page)
{
    struct heap_bed *bed = heap_bed_new(4);
    REQUIRE(bed != NULL);
    struct heap_source good = bed->heap.source;
    struct heap_source bad[4] = {good, good, good, good};
    bad[0].pages_get = NULL;
    bad[1].pages_put = NULL;
    bad[2].span_base.v += 16;
    bad[3].span_base.v = 0UL - 256 * GIB;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(heap_init(&bed->heap, bad[i]), STATUS_INVALID);
    }
    good.span_base.v = 0UL - 512 * GIB;
    EXPECT_EQ(heap_init(&bed->heap, good), STATUS_OK);
    memset(&bed->heap, 0xFF, sizeof bed->heap);
    EXPECT_EQ(heap_init(&bed->heap, good), STATUS_OK);
    EXPECT_EQ(bed->gets, 0);
    heap_bed_end(bed);
}

TEST(heap, every_size_gets_its_bytes_aligned_and_only_them)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    static const size_t sizes[] = {1,          15,   16,   17, 128, 129, 1000, 2047, 2048, 2049, PAGE_BYTES - 1,
                                   PAGE_BYTES, 4097, 20000, 5UL * PAGE_BYTES};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t *block = heap_alloc(&bed->heap, sizes[i]);
        REQUIRE(block != NULL);
        size_t usable = heap_usable_size(&bed->heap, block);
        EXPECT(usable >= sizes[i]);
        EXPECT_EQ(ptr_to_vaddr(block).v % HEAP_ALIGN_BYTES, 0);
        if (sizes[i] % PAGE_BYTES == 0 || sizes[i] > HEAP_MIXED_MAX_BYTES) {
            EXPECT_EQ(usable, pages_to_bytes(bytes_to_pages_up(sizes[i])));
            EXPECT(bed->guards_fresh || usable == PAGE_BYTES); /* several pages lie between guards */
        } else {
            EXPECT(usable - sizes[i] < sizes[i] / 8 + 64);
        }
        memset(block, 0x11, usable);
        heap_bed_check(bed);
        EXPECT_EQ(heap_stats(&bed->heap).used_bytes, usable);
        EXPECT_EQ(heap_free_sized(&bed->heap, block, sizes[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, zero_absurd_and_overflowing_sizes_get_null)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    EXPECT(heap_alloc(heap, 0) == NULL);
    EXPECT(heap_zalloc(heap, 0) == NULL);
    EXPECT(heap_alloc_array(heap, 0, 8) == NULL);
    EXPECT(heap_alloc_array(heap, 8, 0) == NULL);
    EXPECT(heap_alloc_aligned(heap, 0, 64) == NULL);
    EXPECT(heap_alloc(heap, 1UL << 47) == NULL);
    EXPECT(heap_alloc_aligned(heap, 1UL << 40, GIB) == NULL);
    EXPECT_EQ(bed->gets, 0);
    EXPECT_EQ(test_reports(), 0);
    EXPECT(heap_alloc(heap, (1UL << 47) + 1) == NULL);
    EXPECT(heap_bed_reported("heap_alloc: 140737488355329 bytes"));
    EXPECT(heap_alloc(heap, SIZE_MAX) == NULL);
    EXPECT(heap_zalloc(heap, SIZE_MAX) == NULL);
    EXPECT(heap_alloc_aligned(heap, SIZE_MAX, 64) == NULL);
    EXPECT(heap_alloc_aligned(heap, SIZE_MAX - 10, PAGE_BYTES) == NULL);
    EXPECT(heap_bed_reported("heap_alloc_aligned: 18446744073709551605 bytes"));
    EXPECT(heap_alloc_array(heap, 1UL << 33, 1UL << 33) == NULL);
    EXPECT(heap_bed_reported("heap_alloc_array: 8589934592 times 8589934592 bytes overflows"));
    EXPECT_EQ(heap_stats(heap).misuses, 6);
    EXPECT_EQ(bed->gets, 0);
    test_expect_reports(6);
    heap_bed_end(bed);
}

TEST(heap, zeroed_blocks_are_zero_in_pages_and_objects_used_before)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    static const size_t sizes[] = {40, 2000, 9000};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        size_t bytes = sizes[i / 2];
        bool is_array = i % 2 == 0;
        uint8_t *block = is_array ? heap_alloc_array(&bed->heap, bytes / 8, 8) : heap_zalloc(&bed->heap, bytes);
        REQUIRE(block != NULL);
        uint64_t not_zero = 0;
        for (size_t k = 0; k < bytes; k++) {
            not_zero += block[k] != 0;
        }
        EXPECT_EQ(not_zero, 0);
        memset(block, 0xEE, bytes);
        EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, small_alignments_are_kept_by_every_object_of_a_slab)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    static const size_t sizes[] = {1, 17, 100, 130, 272, HEAP_SLAB_MAX_BYTES, 700, 1100, 2048};
    void *blocks[12];
    for (size_t align = 1; align <= HEAP_SMALL_MAX_BYTES; align *= 2) {
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            for (unsigned k = 0; k < ARRAY_LEN(blocks); k++) {
                blocks[k] = heap_alloc_aligned(&bed->heap, sizes[i], align);
                EXPECT(blocks[k] != NULL && ptr_to_vaddr(blocks[k]).v % align == 0);
            }
            heap_bed_check(bed);
            for (unsigned k = 0; k < ARRAY_LEN(blocks); k++) {
                EXPECT_EQ(heap_free_sized(&bed->heap, blocks[k], sizes[i]), STATUS_OK);
            }
        }
    }
    heap_bed_end(bed);
}

TEST(heap, what_a_class_borrows_does_not_break_an_alignment)
{
    enum { BYTES = 320, LARGER = 352, ALIGN = 64, LARGER_A_SLAB = PAGE_BYTES / LARGER };
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *larger[2 * LARGER_A_SLAB], *borrowed[2], *aligned[4];
    heap->classes[heap_class_of(LARGER)].rare_left = heap->classes[heap_class_of(BYTES)].rare_left = 0;
    for (unsigned i = 0; i < ARRAY_LEN(larger); i++) {
        REQUIRE((larger[i] = heap_alloc(heap, LARGER)) != NULL);
    }
    for (unsigned i = 0; i < 8; i++) { /* of the first slab, which is full and not the current one */
        EXPECT_EQ(heap_free(heap, larger[i]), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(borrowed); i++) {
        REQUIRE((borrowed[i] = heap_alloc(heap, BYTES)) != NULL);
        EXPECT_EQ(heap_usable_size(heap, borrowed[i]), LARGER);
    }
    for (unsigned i = 0; i < ARRAY_LEN(aligned); i++) {
        REQUIRE((aligned[i] = heap_alloc_aligned(heap, BYTES, ALIGN)) != NULL);
        EXPECT_EQ(ptr_to_vaddr(aligned[i]).v % ALIGN, 0);
    }
    heap_bed_check(bed);
    for (unsigned i = 0; i < ARRAY_LEN(aligned); i++) {
        EXPECT_EQ(heap_free_sized(heap, aligned[i], BYTES), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(borrowed); i++) {
        EXPECT_EQ(heap_free_sized(heap, borrowed[i], BYTES), STATUS_OK);
    }
    for (unsigned i = 8; i < ARRAY_LEN(larger); i++) {
        EXPECT_EQ(heap_free(heap, larger[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, page_alignments_up_to_a_gibibyte_reach_the_source_and_cost_only_their_pages)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    bed->is_fabricating = true;
    unsigned log2 = HEAP_PAGE_ALIGN_LOG2;
    for (size_t align = PAGE_BYTES; align <= GIB; align *= 2, log2++) {
        uint8_t *block = heap_alloc_aligned(&bed->heap, 2 * PAGE_BYTES + 1, align);
        REQUIRE(block != NULL);
        EXPECT_EQ(ptr_to_vaddr(block).v % align, 0);
        EXPECT_EQ(heap_stats(&bed->heap).used_bytes, 3 * PAGE_BYTES);
        struct heap_block owner;
        EXPECT(heap_owner_of(&bed->heap, block + 3 * PAGE_BYTES - 1, &owner) && owner.base == block && owner.large);
        EXPECT(!heap_owner_of(&bed->heap, block + 3 * PAGE_BYTES, &owner));
        EXPECT(!heap_owner_of(&bed->heap, block - 1, &owner));
        heap_bed_check(bed);
        EXPECT_EQ(heap_free_sized(&bed->heap, block, 2 * PAGE_BYTES + 1), STATUS_OK);
    }
    EXPECT_EQ(log2, 31);
    heap_bed_end(bed);
}

TEST(heap, the_alignment_asked_for_is_the_one_the_source_hears)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    bed->is_fabricating = true;
    void *block = heap_alloc_aligned(&bed->heap, 100, MIB);
    REQUIRE(block != NULL);
    EXPECT_EQ(ptr_to_vaddr(block).v % MIB, 0);
    EXPECT_EQ(heap_usable_size(&bed->heap, block), PAGE_BYTES);
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, alignments_that_cannot_be_are_misuse)
{
    struct heap_bed *bed = heap_bed_new(4);
    REQUIRE(bed != NULL);
    static const size_t bad[] = {0, 3, 24, 4097, GIB + 1, 2 * GIB, SIZE_MAX, 1UL << 63};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT(heap_alloc_aligned(&bed->heap, 64, bad[i]) == NULL);
    }
    EXPECT(heap_alloc_aligned(&bed->heap, 77, 48) == NULL);
    EXPECT(heap_bed_reported("alignment 48 of 77 bytes is not a power of two up to 1 GiB"));
    EXPECT_EQ(heap_stats(&bed->heap).misuses, ARRAY_LEN(bad) + 1);
    test_expect_reports(ARRAY_LEN(bad) + 1);
    EXPECT_EQ(bed->gets, 0);
    heap_bed_end(bed);
}

TEST(heap, realloc_within_a_class_or_its_pages_stays_and_elsewhere_keeps_the_bytes)
{
    struct heap_bed *bed = heap_bed_new(128);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    uint8_t *block = heap_realloc(heap, NULL, 100);
    REQUIRE(block != NULL);
    heap_bed_fill(block, 100, 3);
    EXPECT(heap_realloc(heap, block, 112) == block);
    EXPECT(heap_realloc(heap, block, 97) == block);
    static const size_t sizes[] = {400, 60, 2048, 2049, 50000, 49000, 41000, 12000, 90};
    size_t kept = 97;
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        kept = sizes[i] < kept ? sizes[i] : kept;
        block = heap_realloc(heap, block, sizes[i]);
        REQUIRE(block != NULL);
        EXPECT(heap_bed_filled(block, kept, 3));
        EXPECT(heap_usable_size(heap, block) >= sizes[i]);
        EXPECT_EQ(heap_stats(heap).blocks, 1);
        heap_bed_check(bed);
    }
    EXPECT_EQ(heap_free_sized(heap, block, 90), STATUS_OK);
    block = heap_alloc(heap, 50000);
    REQUIRE(block != NULL);
    EXPECT(heap_realloc(heap, block, 53248) == block);
    EXPECT(heap_realloc(heap, block, 30000) == block);
    EXPECT(heap_realloc(heap, block, 5000) != NULL);
    EXPECT_EQ(heap_stats(heap).used_bytes, 20 * 256);
    struct heap_block owner;
    EXPECT(!heap_owner_of(heap, block + 40000, &owner));
    bed->fail_at = 0;
    (void)heap_shrink(heap);
    for (size_t i = 0; i < bed->pages; i++) {
        if (heap_owner_of(heap, bed->arena + i * PAGE_BYTES, &owner) && owner.allocated) {
            EXPECT_EQ(heap_free_sized(heap, owner.base, 5000), STATUS_OK);
        }
    }
    heap_bed_end(bed);
}

TEST(heap, realloc_that_cannot_move_leaves_an_object_and_keeps_a_large_block_in_place)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    uint8_t *small = heap_alloc(heap, 1000);
    uint8_t *large = heap_alloc(heap, 40000);
    REQUIRE(small != NULL && large != NULL);
    heap_bed_fill(small, 1000, 1);
    heap_bed_fill(large, 40000, 2);
    struct heap_stats before = heap_stats(heap);
    bed->fail_at = 1;
    EXPECT(heap_realloc(heap, small, 9000) == NULL);
    bed->fail_at = 1;
    EXPECT(heap_realloc(heap, large, 80000) == NULL);
    bed->fail_at = 1;
    EXPECT(heap_realloc(heap, large, 16384) == large);
    EXPECT_EQ(bed->fail_at, 0);
    EXPECT(heap_bed_same(heap_stats(heap), before));
    EXPECT(heap_bed_filled(small, 1000, 1) && heap_bed_filled(large, 40000, 2));
    EXPECT_EQ(heap_free_sized(heap, large, 16384), STATUS_OK);
    EXPECT_EQ(heap_free_sized(heap, small, 1000), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, realloc_keeps_the_alignment_of_page_aligned_blocks)
{
    struct heap_bed *bed = heap_bed_new(128);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    static const size_t sizes[] = {30000, 60000, 10000, 100, 5000};
    uint8_t *block = heap_alloc_aligned(heap, 20000, 8UL * PAGE_BYTES);
    REQUIRE(block != NULL);
    heap_bed_fill(block, 100, 5);
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        block = heap_realloc(heap, block, sizes[i]);
        REQUIRE(block != NULL);
        EXPECT_EQ(ptr_to_vaddr(block).v % (8UL * PAGE_BYTES), 0);
        EXPECT(heap_bed_filled(block, 100, 5));
        EXPECT(heap_usable_size(heap, block) < 2 * sizes[i] + 2 * PAGE_BYTES);
        heap_bed_check(bed);
    }
    EXPECT_EQ(heap_free_sized(heap, block, 5000), STATUS_OK);
    block = heap_alloc_aligned(heap, 100, PAGE_BYTES);
    EXPECT(heap_realloc(heap, block, 50) == block);
    EXPECT(heap_realloc(heap, block, 4000) == block);
    EXPECT_EQ(heap_free_sized(heap, block, 4000), STATUS_OK);
    heap_bed_end(bed);
}
