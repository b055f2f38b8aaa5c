/* Slabs, prefill, shrink, and who owns an address: how pages are held and given back. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

enum { OBJECTS_A_SLAB = PAGE_BYTES / HEAP_SLAB_MAX_BYTES };

/* `count` objects of the greatest class; the first few of a size lie in mixed slabs. */
static void alloc_objects(struct heap *heap, uint8_t **blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = heap_alloc(heap, HEAP_SLAB_MAX_BYTES);
        REQUIRE(blocks[i] != NULL);
    }
}

static uint64_t slabs_of(struct heap *heap, unsigned class)
{
    struct heap_class_stats stats;
    EXPECT(heap_class_stats(heap, class, &stats));
    return stats.slabs;
}

TEST(heap, empty_slabs_go_back_but_one_a_class_and_a_few_pages_kept_ready)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    uint8_t *blocks[4 * OBJECTS_A_SLAB];
    unsigned class = heap_class_of(HEAP_SLAB_MAX_BYTES);
    alloc_objects(heap, blocks, ARRAY_LEN(blocks));
    EXPECT_EQ(slabs_of(heap, class), 4);
    heap->turn = (uint8_t)class; /* it had its turn when pages went back before */
    bed->forbids_gets = true;
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        heap_bed_check(bed);
        EXPECT(heap->ready_pages <= 2 + heap->held_pages / HEAP_READY_SHARE);
    }
    EXPECT_EQ(slabs_of(heap, class), 1);
    EXPECT(heap->ready_pages <= 2);
    EXPECT_EQ(bed->pages_out, 1 + heap->ready_pages + heap->leaf_count + heap->node_count);
    struct heap_class_stats stats;
    EXPECT(!heap_class_stats(heap, HEAP_CLASSES, &stats));
    heap_bed_end(bed);
}

TEST(heap, the_most_that_was_held_stays_known_when_it_has_gone)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    struct heap_class_stats stats;
    uint8_t *blocks[4 * OBJECTS_A_SLAB], *mixed[9];
    alloc_objects(heap, blocks, ARRAY_LEN(blocks));
    for (unsigned i = 0; i < ARRAY_LEN(mixed); i++) {
        mixed[i] = heap_alloc(heap, HEAP_SMALL_MAX_BYTES);
    }
    void *large = heap_alloc(heap, 5UL * PAGE_BYTES);
    const uint64_t most = bed->pages_out;
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(mixed); i++) {
        EXPECT_EQ(heap_free(heap, mixed[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_free(heap, large), STATUS_OK);
    (void)heap_shrink(heap);
    EXPECT_EQ(heap_stats(heap).held_bytes, 0);
    EXPECT_EQ(heap_stats(heap).most_held_bytes, pages_to_bytes(npages(most)));
    EXPECT(heap_class_stats(heap, heap_class_of(HEAP_SLAB_MAX_BYTES), &stats));
    EXPECT(stats.slabs == 0 && stats.most_slabs == 4 && stats.slab_pages == 1);
    EXPECT(heap_mixed_stats(heap, 0, &stats) && stats.slabs == 0 && stats.most_slabs == 5 && stats.used == 0);
    EXPECT(heap_mixed_stats(heap, 1, &stats) && stats.most_slabs == 0 && stats.slab_pages == 4);
    EXPECT(!heap_mixed_stats(heap, HEAP_MIXED_KINDS, &stats));
    heap_bed_end(bed);
}

TEST(heap, the_first_objects_of_a_size_share_a_page_with_others)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    enum { CLASSES = 20 }; /* 60 of a page's 64 granules; all of them would need another page */
    uint8_t *blocks[CLASSES];
    for (unsigned i = 0; i < CLASSES; i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, heap_class_bytes(i))) != NULL);
    }
    EXPECT_EQ(bed->pages_out, 1 + 1); /* a page, a leaf */
    EXPECT_EQ(heap->mixed[0].slabs, 1);
    heap_bed_check(bed);
    for (unsigned i = 0; i < CLASSES; i++) {
        EXPECT_EQ(heap_free_sized(heap, blocks[i], heap_class_bytes(i)), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, a_class_without_room_borrows_from_one_that_is_little_larger)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    uint8_t *blocks[2 * OBJECTS_A_SLAB + 4], *borrowed[4];
    alloc_objects(heap, blocks, ARRAY_LEN(blocks)); /* 3 in a mixed slab, 2 slabs full, one begun */
    for (unsigned i = 0; i < ARRAY_LEN(borrowed); i++) {
        EXPECT_EQ(heap_free(heap, blocks[4 + i]), STATUS_OK); /* holes in the first */
    }
    uint64_t out = bed->pages_out;
    heap->classes[heap_class_of(HEAP_SLAB_MAX_BYTES - HEAP_BORROW_BYTES)].rare_left = 0; /* as if often asked for */
    for (unsigned i = 0; i < ARRAY_LEN(borrowed); i++) {
        REQUIRE((borrowed[i] = heap_alloc(heap, HEAP_SLAB_MAX_BYTES - HEAP_BORROW_BYTES)) != NULL);
        EXPECT_EQ(heap_usable_size(heap, borrowed[i]), HEAP_SLAB_MAX_BYTES);
        heap_bed_check(bed);
    }
    EXPECT_EQ(bed->pages_out, out);
    /* The size that a block was asked for it has room for, however much larger it is. */
    const size_t least = HEAP_SLAB_MAX_BYTES - HEAP_BORROW_BYTES - HEAP_ALIGN_BYTES + 1;
    bed->forbids_gets = true;
    EXPECT(heap_realloc(heap, borrowed[0], least) == borrowed[0]);
    EXPECT_EQ(heap_free_sized(heap, borrowed[0], least), STATUS_OK);
    bed->forbids_gets = false;
    REQUIRE((borrowed[0] = heap_alloc(heap, HEAP_SLAB_MAX_BYTES - HEAP_BORROW_BYTES)) != NULL);
    for (unsigned i = 0; i < ARRAY_LEN(borrowed); i++) {
        EXPECT_EQ(heap_free_sized(heap, borrowed[i], HEAP_SLAB_MAX_BYTES - HEAP_BORROW_BYTES), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        if (i < 4 || i >= 4 + ARRAY_LEN(borrowed)) {
            EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        }
    }
    heap_bed_end(bed);
}

TEST(heap, a_pair_at_the_edge_of_a_slab_does_not_thrash)
{
    static const size_t sizes[] = {16, 200, HEAP_SLAB_MAX_BYTES, 500, HEAP_SMALL_MAX_BYTES, 3000, PAGE_BYTES};
    for (unsigned k = 0; k < ARRAY_LEN(sizes); k++) {
        struct heap_bed *bed = heap_bed_new(32);
        REQUIRE(bed != NULL);
        for (unsigned i = 0; i < 100; i++) {
            void *block = heap_alloc(&bed->heap, sizes[k]);
            bed->forbids_gets = true;
            EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
        }
        EXPECT_EQ(bed->puts, 0);
        bed->forbids_gets = false;
        heap_bed_end(bed);
    }
}

TEST(heap, prefill_serves_single_pages_without_the_source_and_shrink_returns_it)
{
    struct heap_bed *bed = heap_bed_new(64);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    EXPECT_EQ(heap_prefill(heap, 10UL * PAGE_BYTES - 1), STATUS_OK);
    EXPECT_EQ(heap_prefill(heap, 3UL * PAGE_BYTES), STATUS_OK);
    EXPECT_EQ(heap_prefill(heap, 0), STATUS_OK);
    uint64_t metadata = heap->leaf_count + heap->node_count;
    EXPECT_EQ(bed->pages_out, 10 + metadata);
    EXPECT_EQ(heap_stats(heap).held_bytes, (10 + metadata) * PAGE_BYTES);
    heap_bed_check(bed);
    bed->forbids_gets = true;
    void *small = heap_alloc(heap, 30);
    void *page = heap_alloc(heap, PAGE_BYTES);
    void *aligned = heap_alloc_aligned(heap, 8, PAGE_BYTES);
    bed->forbids_gets = false;
    EXPECT_EQ(bed->gets, 10 + metadata);
    EXPECT_EQ(heap->ready_pages, 10 - 3);
    void *two = heap_alloc(heap, 2 * PAGE_BYTES);
    EXPECT_EQ(bed->gets, 10 + metadata + 1);
    heap_bed_check(bed);
    EXPECT_EQ(heap_prefill(heap, 1UL << 40), STATUS_NOMEM);
    EXPECT_EQ(heap_prefill(heap, 200UL * PAGE_BYTES), STATUS_NOMEM);
    EXPECT_EQ(heap->ready_pages, 7);
    EXPECT_EQ(heap_free(heap, small), STATUS_OK);
    EXPECT_EQ(heap_free(heap, page), STATUS_OK);
    EXPECT_EQ(heap_free(heap, aligned), STATUS_OK);
    EXPECT_EQ(heap_free(heap, two), STATUS_OK);
    heap_bed_end(bed);
}

/* Half of what there is lies ready; no request is refused for that. */
TEST(heap, pages_that_lie_ready_are_given_up_before_a_request_is_refused)
{
    enum { PAGES = 64, READY = 36, MANY = 36 };
    struct heap_bed *bed = heap_bed_new(PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    EXPECT_EQ(heap_prefill(heap, READY * PAGE_BYTES), STATUS_OK);
    uint8_t *block = heap_alloc(heap, MANY * PAGE_BYTES);
    EXPECT(block != NULL);
    EXPECT_EQ(heap->ready_pages, 0);
    heap_bed_check(bed);
    EXPECT(heap_alloc(heap, MANY * PAGE_BYTES) == NULL); /* and this one fails though nothing lies ready */
    EXPECT_EQ(heap_free(heap, block), STATUS_OK);
    EXPECT_EQ(heap_prefill(heap, READY * PAGE_BYTES), STATUS_OK);
    bed->fail_at = 1;
    void *two = heap_alloc(heap, 2UL * PAGE_BYTES);
    EXPECT(two != NULL && heap->ready_pages == 0);
    EXPECT_EQ(heap_free(heap, two), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, of_pages_that_lie_ready_all_that_are_too_many_go_when_a_large_block_does)
{
    enum { PAGES = 400, SINGLE = 50 };
    struct heap_bed *bed = heap_bed_new(PAGES + 2 * SINGLE);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *large = heap_alloc(heap, PAGES * PAGE_BYTES), *pages[SINGLE];
    for (unsigned i = 0; i < SINGLE; i++) {
        REQUIRE((pages[i] = heap_alloc(heap, PAGE_BYTES)) != NULL);
    }
    for (unsigned i = 0; i < SINGLE; i++) {
        EXPECT_EQ(heap_free(heap, pages[i]), STATUS_OK);
    }
    EXPECT(heap->ready_pages > SINGLE - 5);
    EXPECT_EQ(heap_free(heap, large), STATUS_OK);
    heap_bed_check(bed);
    const uint64_t metadata_pages = heap->leaf_count + heap->node_count + heap->spare_pages;
    EXPECT(heap->ready_pages <= 1 + (SINGLE + metadata_pages) / HEAP_READY_SHARE);
    heap_bed_end(bed);
}

/* Each class has a slab that it takes from; when the last object goes, nobody looks. */
TEST(heap, of_a_heap_that_was_large_less_than_a_page_a_class_is_held_when_all_is_freed)
{
    enum { PAGES = 4 * HEAP_CLASSES };
    struct heap_bed *bed = heap_bed_new(4 * HEAP_CLASSES + 2 * PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void *objects[HEAP_CLASSES], *others[HEAP_CLASSES], *pages[PAGES];
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        heap->classes[i].rare_left = 0; /* as if often asked for */
        objects[i] = heap_alloc(heap, heap_class_bytes(i));
        others[i] = heap_alloc(heap, heap_class_bytes(i));
        REQUIRE(objects[i] != NULL && others[i] != NULL);
    }
    void *mixed = heap_alloc(heap, 3000);
    for (unsigned i = 0; i < PAGES; i++) {
        REQUIRE((pages[i] = heap_alloc(heap, PAGE_BYTES)) != NULL);
    }
    for (unsigned i = 0; i < HEAP_CLASSES; i += 2) {
        EXPECT_EQ(heap_free(heap, objects[i]), STATUS_OK); /* one class in two has an idle slab when pages go back */
        EXPECT_EQ(heap_free(heap, others[i]), STATUS_OK);
    }
    for (unsigned i = 0; i < PAGES; i++) {
        EXPECT_EQ(heap_free(heap, pages[i]), STATUS_OK);
        heap_bed_check(bed);
    }
    for (unsigned i = 1; i < HEAP_CLASSES; i += 2) {
        EXPECT_EQ(heap_free(heap, objects[i]), STATUS_OK);
        EXPECT_EQ(heap_free(heap, others[i]), STATUS_OK);
        heap_bed_check(bed);
    }
    EXPECT_EQ(heap_free(heap, mixed), STATUS_OK);
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        EXPECT_EQ(slabs_of(heap, i), 0);
    }
    EXPECT_EQ(heap->mixed[1].slabs, 0);
    EXPECT(bed->pages_out <= HEAP_CLASSES / 2);
    heap_bed_end(bed);
}

TEST(heap, shrink_gives_back_what_is_empty_and_leaves_what_is_used)
{
    struct heap_bed *bed = heap_bed_new(256);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    static void *blocks[260];
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, 2048)) != NULL); /* 130 pages, over a border between two nodes */
    }
    EXPECT(heap->leaf_count >= 3 && heap->node_count >= 2);
    for (size_t i = ARRAY_LEN(blocks) - 1; i > 0; i--) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
        EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
    }
    heap_bed_fill(blocks[0], 2048, 9);
    (void)heap_shrink(heap);
    heap_bed_check(bed);
    EXPECT_EQ(bed->pages_out, 1 + 1); /* the slab, its leaf */
    EXPECT_EQ(heap_stats(heap).metadata_bytes, PAGE_BYTES);
    EXPECT(heap_bed_filled(blocks[0], 2048, 9));
    EXPECT_EQ(heap_free(heap, blocks[0]), STATUS_OK);
    heap_bed_end(bed);
}

/* An address that nobody has: of no block and no slab. */
static void expect_no_owner(struct heap *heap, const void *address)
{
    struct heap_block owner;
    EXPECT(!heap_owner_of(heap, address, &owner));
}

TEST(heap, owner_of_tells_every_address_from_its_block)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    struct heap_block owner;
    expect_no_owner(heap, bed->arena);
    uint8_t *first = heap_alloc(heap, 300), *second = heap_alloc(heap, 300);
    REQUIRE(first != NULL && second == first + 320);
    EXPECT(heap_owner_of(heap, first + 319, &owner));
    EXPECT(owner.base == first && owner.usable_bytes == 320 && owner.allocated && !owner.large);
    EXPECT(heap_owner_of(heap, second, &owner) && owner.base == second);
    EXPECT(heap_owner_of(heap, second + 320, &owner) && owner.base == second + 320 && !owner.allocated);
    uint8_t *objects[40];
    for (unsigned i = 0; i < ARRAY_LEN(objects); i++) {
        REQUIRE((objects[i] = heap_alloc(heap, 240)) != NULL);
    }
    uint8_t *base = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(objects[39]))); /* in a slab: 17 objects, 4080 bytes */
    EXPECT(heap_owner_of(heap, objects[39] + 239, &owner));
    EXPECT(owner.base == objects[39] && owner.usable_bytes == 240 && owner.class_bytes == 240 && owner.allocated);
    EXPECT(heap_owner_of(heap, base + PAGE_BYTES - 1, &owner));
    EXPECT(owner.base == base + 4080 && owner.usable_bytes == 0 && !owner.allocated && owner.class_bytes == 240);
    expect_no_owner(heap, NULL);
    expect_no_owner(heap, heap);
    expect_no_owner(heap, vaddr_to_ptr(vaddr(UINT64_MAX)));
    expect_no_owner(heap, vaddr_to_ptr(vaddr(heap->source.span_base.v - 1)));
    expect_no_owner(heap, vaddr_to_ptr(vaddr(heap->source.span_base.v + 512 * GIB - 1)));
    expect_no_owner(heap, vaddr_to_ptr(vaddr(heap->root)));
    for (unsigned i = 0; i < ARRAY_LEN(objects); i++) {
        EXPECT_EQ(heap_free(heap, objects[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_free(heap, first), STATUS_OK);
    EXPECT_EQ(heap_free(heap, second), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_large_block_takes_no_leaf_for_the_stretches_inside_of_it)
{
    struct heap_bed *bed = heap_bed_new(16);
    REQUIRE(bed != NULL);
    bed->is_fabricating = true;
    struct heap *heap = &bed->heap;
    uint8_t *block = heap_alloc(heap, 64 * MIB);
    REQUIRE(block != NULL);
    EXPECT(heap->leaf_count <= 2 && heap->node_count <= 2);
    struct heap_block owner;
    static const size_t inside[] = {0, PAGE_BYTES, 256 * KIB, MIB + 5, 64 * MIB - 1};
    for (unsigned i = 0; i < ARRAY_LEN(inside); i++) {
        EXPECT(heap_owner_of(heap, block + inside[i], &owner) && owner.base == block && owner.large);
    }
    EXPECT(!heap_owner_of(heap, block + 64 * MIB, &owner) && !heap_owner_of(heap, block - 1, &owner));
    EXPECT_EQ(heap_free(heap, block + MIB), STATUS_MISUSE);
    EXPECT(heap_bed_reported("inside the large block"));
    test_expect_reports(1);
    heap_bed_check(bed);
    EXPECT_EQ(heap_free(heap, block), STATUS_OK);
    expect_no_owner(heap, block + MIB);
    heap_bed_end(bed);
}

TEST(heap, the_dump_shows_classes_and_large_blocks)
{
    struct heap_bed *bed = heap_bed_new(32);
    REQUIRE(bed != NULL);
    static char text[2048];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    void *small[33];
    for (unsigned i = 0; i < ARRAY_LEN(small); i++) {
        small[i] = heap_alloc(&bed->heap, 48);
    }
    void *large = heap_alloc(&bed->heap, 20000);
    heap_dump(&bed->heap, &buffer.sink);
    EXPECT(heap_bed_contains(text, "34 blocks, 22320 bytes used")); /* 16 of them in granules of 64 bytes */
    EXPECT(heap_bed_contains(text, "    48        1       85       17         4096\n"));
    EXPECT(heap_bed_contains(text, "mixed 1 slabs of 1 pages, 16 blocks, 1024 bytes in granules of 64\n"));
    EXPECT(heap_bed_contains(text, "5 pages, asked for 20000 bytes"));
    EXPECT_EQ(buffer.lost, 0);
    for (unsigned i = 0; i < ARRAY_LEN(small); i++) {
        EXPECT_EQ(heap_free(&bed->heap, small[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_OK);
    heap_bed_end(bed);
}
