/* What an attacker of the heap would try first: odd alignments on a heap that is full of holes, memory that is short
 * while another class has room, descriptors that were overwritten, sizes that nothing can hold, and every address. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

enum { ARENA_PAGES = 160, HELD = 64, OBJECT_BYTES = 256, SLAB_OBJECTS = 16, RARE = 4, SLABS = 3 };

/* A heap with holes of many lengths: what is held changes with each call. */
static void stir(struct heap *heap, void **held, struct rng *rng)
{
    void **it = &held[rng_below(rng, HELD)];
    EXPECT_EQ(heap_free(heap, *it), STATUS_OK);
    *it = heap_alloc(heap, 1 + rng_below(rng, rng_below(rng, 2) == 0 ? 5000 : 1500));
}

static void try_aligned(struct heap *heap, size_t bytes, size_t align)
{
    void *block = heap_alloc_aligned(heap, bytes, align);
    REQUIRE(block != NULL);
    bool is_right = ptr_to_vaddr(block).v % align == 0 && heap_usable_size(heap, block) >= bytes;
    is_right = is_right && heap_free_sized(heap, block, bytes) == STATUS_OK;
    if (!EXPECT(is_right)) {
        test_note("%zu bytes aligned to %zu at %p", bytes, align, block);
    }
}

TEST(heap, every_size_with_every_alignment_is_aligned_and_known_by_its_size)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *held[HELD] = {NULL};
    struct rng rng = rng_seeded(test_seed());
    const size_t step = test_effort() > 1 ? 1 : 7;
    for (size_t bytes = 1; bytes <= 4UL * PAGE_BYTES; bytes += bytes <= HEAP_SLAB_MAX_BYTES ? 1 : step) {
        stir(&bed->heap, held, &rng);
        for (size_t align = HEAP_ALIGN_BYTES; align < PAGE_BYTES; align *= 2) {
            try_aligned(&bed->heap, bytes, align);
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        EXPECT_EQ(heap_free(&bed->heap, held[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, an_alignment_is_kept_where_slabs_of_another_granule_serve)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *first = heap_alloc(&bed->heap, 300);
    for (size_t align = HEAP_ALIGN_BYTES; align < PAGE_BYTES; align *= 2) {
        try_aligned(&bed->heap, HEAP_SMALL_MAX_BYTES + 52, align);
    }
    EXPECT_EQ(heap_free(&bed->heap, first), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_small_block_lies_within_a_page_wherever_there_is_room)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *first = heap_alloc(&bed->heap, 2560); /* in four pages; what is free of them begins in their first */
    for (size_t bytes = 700; bytes <= HEAP_SMALL_MAX_BYTES; bytes += 4) {
        void *block = heap_alloc(&bed->heap, bytes);
        REQUIRE(block != NULL);
        EXPECT(page_offset_bytes(ptr_to_vaddr(block).v) + bytes <= PAGE_BYTES);
        EXPECT_EQ(heap_free_sized(&bed->heap, block, bytes), STATUS_OK);
    }
    EXPECT_EQ(heap_free(&bed->heap, first), STATUS_OK);
    heap_bed_end(bed);
}

static void *no_move(void *ctx, void *base, npages_t old, npages_t pages, unsigned align_log2)
{
    (void)ctx, (void)base, (void)old, (void)pages, (void)align_log2;
    return NULL;
}

TEST(heap, a_size_that_no_span_holds_is_refused_before_any_page_is_asked_for)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    bed->heap.source.pages_move = no_move;
    void *block = heap_alloc(&bed->heap, 2UL * PAGE_BYTES);
    REQUIRE(block != NULL);
    bed->forbids_gets = true;
    EXPECT(heap_realloc(&bed->heap, block, HEAP_SPAN_BYTES + 1) == NULL);
    EXPECT(heap_realloc(&bed->heap, block, HEAP_ABSURD_BYTES) == NULL);
    EXPECT(heap_alloc(&bed->heap, HEAP_SPAN_BYTES + 1) == NULL);
    EXPECT_EQ(heap_prefill(&bed->heap, UINT64_MAX), STATUS_NOMEM);
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_class_without_a_slab_borrows_when_the_source_has_nothing)
{
    enum { LENDER_BYTES = 144, LENDERS = 6 + PAGE_BYTES / LENDER_BYTES + 1 }; /* six of them are rare */
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *lenders[LENDERS], *fill[2];
    for (unsigned i = 0; i < LENDERS; i++) {
        lenders[i] = heap_alloc(&bed->heap, LENDER_BYTES);
    }
    fill[0] = heap_alloc(&bed->heap, 2048);
    fill[1] = heap_alloc(&bed->heap, 896); /* the mixed slab is full */
    EXPECT_EQ(heap_free(&bed->heap, lenders[6]), STATUS_OK);
    bed->fail_at = 1;
    lenders[6] = heap_alloc(&bed->heap, 96);
    EXPECT_EQ(bed->fail_at, 0);
    REQUIRE(lenders[6] != NULL);
    EXPECT_EQ(heap_usable_size(&bed->heap, lenders[6]), LENDER_BYTES);
    EXPECT_EQ(heap_free_sized(&bed->heap, lenders[6], 96), STATUS_OK);
    for (unsigned i = 0; i < LENDERS; i++) {
        EXPECT(i == 6 || heap_free(&bed->heap, lenders[i]) == STATUS_OK);
    }
    EXPECT(heap_free(&bed->heap, fill[0]) == STATUS_OK && heap_free(&bed->heap, fill[1]) == STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_slab_that_was_overwritten_while_full_is_whole_again_when_all_of_it_is_freed)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *objects[RARE + SLABS * SLAB_OBJECTS];
    for (unsigned i = 0; i < ARRAY_LEN(objects); i++) {
        objects[i] = heap_alloc(&bed->heap, OBJECT_BYTES);
        REQUIRE(objects[i] != NULL);
    }
    /* Two slabs are listed; the one that the class takes from is full, and has an object too many of a sudden. */
    EXPECT_EQ(heap_free(&bed->heap, objects[RARE]), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, objects[RARE + SLAB_OBJECTS]), STATUS_OK);
    heap_find(&bed->heap, objects[RARE + 2 * SLAB_OBJECTS])->free_mask[0] |= 1UL << 20;
    objects[RARE] = heap_alloc(&bed->heap, OBJECT_BYTES);
    EXPECT(heap_bed_reported("taken out of use"));
    heap_bed_check(bed);
    for (unsigned i = ARRAY_LEN(objects); i-- > 0;) {
        EXPECT(i == RARE + SLAB_OBJECTS || heap_free(&bed->heap, objects[i]) == STATUS_OK);
        heap_bed_check(bed);
    }
    heap_bed_end(bed);
    test_expect_reports(1);
}

TEST(heap, the_owner_of_a_hole_is_the_whole_hole)
{
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    uint8_t *blocks[3];
    for (unsigned i = 0; i < 3; i++) {
        blocks[i] = heap_alloc(&bed->heap, 640);
    }
    EXPECT_EQ(heap_free(&bed->heap, blocks[1]), STATUS_OK);
    for (unsigned i = 0; i < 640; i += 16) {
        struct heap_block found;
        EXPECT(heap_owner_of(&bed->heap, blocks[1] + i, &found) && !found.allocated);
        EXPECT(found.base == blocks[1] && found.usable_bytes == 640);
    }
    EXPECT(heap_free(&bed->heap, blocks[0]) == STATUS_OK && heap_free(&bed->heap, blocks[2]) == STATUS_OK);
    heap_bed_end(bed);
}

/* Blocks of each kind and pages in each state; then all addresses of the arena but the blocks' own are freed. */
TEST(heap, an_address_that_is_no_blocks_start_is_refused_once_and_changes_nothing)
{
    static const size_t sizes[] = {16, 48, 200, 256, 300, 900, 2048, 2600, 9000, 15360, PAGE_BYTES, 12288, 90000};
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *blocks[ARRAY_LEN(sizes)];
    EXPECT_EQ(heap_prefill(&bed->heap, 3UL * PAGE_BYTES), STATUS_OK);
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        blocks[i] = heap_alloc(&bed->heap, sizes[i]);
        REQUIRE(blocks[i] != NULL);
    }
    const struct heap_stats before = heap_stats(&bed->heap);
    unsigned reports = 0;
    uint64_t wrong = 0;
    for (uint8_t *at = bed->arena; at < bed->arena + pages_to_bytes(npages(ARENA_PAGES)); at += 8 + reports % 57) {
        bool is_start = false;
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            is_start = is_start || blocks[i] == at;
        }
        if (!is_start) {
            wrong += heap_free(&bed->heap, at) != STATUS_MISUSE;
            wrong += test_reports() != ++reports;
        }
    }
    EXPECT_EQ(wrong, 0);
    struct heap_stats after = heap_stats(&bed->heap);
    EXPECT_EQ(after.misuses, reports);
    after.misuses = before.misuses;
    EXPECT(heap_bed_same(before, after));
    heap_bed_check(bed);
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        EXPECT_EQ(heap_free_sized(&bed->heap, blocks[i], sizes[i]), STATUS_OK);
    }
    heap_bed_end(bed);
    test_expect_reports(reports);
}
