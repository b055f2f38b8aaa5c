/* Mixed slabs whose descriptors were overwritten, holes that are to be used, and the spare pages of the tree. */
#include "heap/tree.h"
#include "unit/heap_bed.h"

enum { ARENA_PAGES = 700, BLOCK_BYTES = 640, GRANULES = 10, GRANULE_BYTES = 64, BLOCKS = 6 };

/* Two blocks that stay, and a hole behind each: of ten granules, and of 34. */
struct holes {
    struct heap_bed *bed;
    uint8_t *first, *second;
    struct heap_desc *slab;
};

static bool holes_set(struct holes *h)
{
    h->bed = heap_bed_new(ARENA_PAGES);
    if (h->bed == NULL) {
        return false;
    }
    struct heap *heap = &h->bed->heap;
    h->first = heap_alloc(heap, BLOCK_BYTES);
    uint8_t *between = heap_alloc(heap, BLOCK_BYTES);
    h->second = heap_alloc(heap, BLOCK_BYTES);
    bool is_right = h->second != NULL && heap_free(heap, between) == STATUS_OK;
    h->slab = heap_find(heap, h->first);
    return is_right && h->slab->mixed.hole == 34 && h->slab->mixed.hole_at == 30;
}

/* Whatever the descriptor said: what is given out lies within slabs, in no block; and the heap is sound. */
static void goes_on(struct holes *h, unsigned reports)
{
    struct heap *heap = &h->bed->heap;
    uint8_t *blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = heap_alloc(heap, BLOCK_BYTES);
        REQUIRE(blocks[i] != NULL);
        EXPECT(blocks[i] >= h->bed->arena && blocks[i] < h->bed->arena + pages_to_bytes(npages(ARENA_PAGES)));
        EXPECT(page_offset_bytes(ptr_to_vaddr(blocks[i]).v) + BLOCK_BYTES <= PAGE_BYTES);
        for (unsigned k = 0; k < i; k++) {
            EXPECT(blocks[i] >= blocks[k] + BLOCK_BYTES || blocks[k] >= blocks[i] + BLOCK_BYTES);
        }
        EXPECT(blocks[i] >= h->second + BLOCK_BYTES || blocks[i] + BLOCK_BYTES <= h->second);
    }
    EXPECT_EQ(test_reports(), reports);
    heap_bed_check(h->bed);
    struct heap_stats stats = heap_stats(heap);
    EXPECT(stats.used_bytes <= stats.held_bytes);
    for (unsigned i = 0; i < BLOCKS; i++) {
        EXPECT_EQ(heap_free_sized(heap, blocks[i], BLOCK_BYTES), STATUS_OK);
    }
    EXPECT_EQ(heap_free_sized(heap, h->first, BLOCK_BYTES), STATUS_OK);
    EXPECT_EQ(heap_free_sized(heap, h->second, BLOCK_BYTES), STATUS_OK);
    heap_bed_check(h->bed);
}

static void ends_out_of_use(struct holes *h)
{
    struct heap *heap = &h->bed->heap;
    EXPECT(heap_bed_reported("taken out of use"));
    /* What were its holes are blocks in nobody's hands now. */
    EXPECT_EQ(heap_stats(heap).blocks, 2);
    EXPECT_EQ(heap_free_sized(heap, h->first + BLOCK_BYTES, BLOCK_BYTES), STATUS_OK);
    EXPECT_EQ(heap_free_sized(heap, h->second + BLOCK_BYTES, 34UL * GRANULE_BYTES), STATUS_OK);
    heap_bed_end(h->bed);
}

TEST(heap, a_hole_that_was_overwritten_leads_to_nothing_beyond_its_slab_and_those_beside_it_keep_their_size)
{
    static const unsigned wrong[][2] = {{34, 64}, {34, 94}, {34, 255}, {34, 31}, {34, 20},
                                        {0, 30},  {9, 30},  {35, 30},  {64, 30}, {255, 30}};
    unsigned reports = 0;
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        struct holes h;
        REQUIRE(holes_set(&h));
        h.slab->mixed.hole = (uint8_t)wrong[i][0];
        h.slab->mixed.hole_at = (uint8_t)wrong[i][1];
        goes_on(&h, ++reports);
        ends_out_of_use(&h);
    }
    test_expect_reports(reports);
}

TEST(heap, a_hole_that_is_said_to_be_less_than_it_is_is_found_by_the_bin_that_the_slab_is_in)
{
    unsigned reports = 0;
    for (unsigned said = GRANULES; said < 34; said += 3) {
        struct holes h;
        REQUIRE(holes_set(&h));
        h.slab->mixed.hole = (uint8_t)said;
        goes_on(&h, ++reports);
        ends_out_of_use(&h);
    }
    test_expect_reports(reports);
}

TEST(heap, a_free_into_a_slab_whose_greatest_hole_was_overwritten_mends_it)
{
    static const unsigned wrong[] = {1, 9, 35, 64, 65, 255};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        struct holes h;
        REQUIRE(holes_set(&h));
        struct heap *heap = &h.bed->heap;
        void *other = heap_alloc(heap, 2048); /* what is left is 2 and 10 */
        EXPECT(h.slab->mixed.hole == GRANULES);
        h.slab->mixed.hole = (uint8_t)wrong[i];
        EXPECT_EQ(heap_free(heap, other), STATUS_OK);
        EXPECT_EQ(heap_free(heap, h.first), STATUS_OK);
        EXPECT_EQ(heap_free(heap, h.second), STATUS_OK);
        EXPECT_EQ(test_reports(), 0);
        heap_bed_end(h.bed);
    }
}

TEST(heap, an_aligned_block_that_only_a_whole_slab_holds_lies_in_the_one_that_is_kept)
{
    enum { BYTES = 15 * 1024, ALIGN = 2048 };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *block = heap_alloc(&bed->heap, BYTES);
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    const uint64_t gets = bed->gets;
    void *aligned = heap_alloc_aligned(&bed->heap, BYTES, ALIGN);
    EXPECT(aligned == block && bed->gets == gets);
    void *second = heap_alloc_aligned(&bed->heap, BYTES, ALIGN);
    EXPECT(second != NULL && ptr_to_vaddr(second).v % ALIGN == 0);
    EXPECT(heap_free(&bed->heap, aligned) == STATUS_OK && heap_free(&bed->heap, second) == STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, an_object_lies_in_a_hole_of_a_mixed_slab_when_the_source_has_nothing)
{
    enum { OBJECT_BYTES = 256, RARE = 4, OBJECTS = RARE + PAGE_BYTES / OBJECT_BYTES };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void *objects[OBJECTS + 1];
    for (unsigned i = 0; i < OBJECTS; i++) {
        objects[i] = heap_alloc(&bed->heap, OBJECT_BYTES);
    }
    bed->fail_at = 1;
    objects[OBJECTS] = heap_alloc(&bed->heap, OBJECT_BYTES);
    EXPECT_EQ(bed->fail_at, 0);
    EXPECT(objects[OBJECTS] != NULL && heap_find(&bed->heap, objects[OBJECTS]) == heap_find(&bed->heap, objects[0]));
    for (unsigned i = 0; i <= OBJECTS; i++) {
        EXPECT_EQ(heap_free_sized(&bed->heap, objects[i], OBJECT_BYTES), STATUS_OK);
    }
    heap_bed_end(bed);
}

/* ---- Spare pages ---- */

TEST(heap, a_leaf_and_its_nodes_are_ready_and_clean_when_a_page_needs_them)
{
    enum { MANY = 400 };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void **blocks = test_pages(1);
    REQUIRE(blocks != NULL);
    unsigned begun = 0;
    for (unsigned i = 0; i < MANY; i++) {
        const uint64_t gets = bed->gets, spares = heap->spare_pages, nodes = heap->node_count + heap->leaf_count;
        const size_t dirty_bytes = spares != 0 ? heap->spares->dirty_bytes : 0;
        blocks[i] = heap_alloc(heap, PAGE_BYTES);
        REQUIRE(blocks[i] != NULL);
        const uint64_t more = heap->node_count + heap->leaf_count - nodes;
        EXPECT(more <= 1 || i < 5); /* the tree becomes higher a call before the leaf is wanted */
        EXPECT(bed->gets <= gets + 2 || i < 5); /* the page, and a spare one */
        if (more != 0 && i >= 5) {
            begun++;
            EXPECT(bed->gets == gets + 1 && spares == more && heap->spare_pages == 0);
            EXPECT_EQ(dirty_bytes, sizeof(struct heap_spare));
        }
    }
    EXPECT(begun >= 5);
    heap_bed_check(bed);
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    heap_bed_end(bed);
}

TEST(heap, a_page_that_is_got_ahead_of_need_is_first_written_to_by_another_call)
{
    enum { MANY = 400 };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    unsigned got = 0, written = 0;
    for (unsigned i = 0; i < MANY; i++) {
        const void *before = heap->got;
        const uint64_t spares = heap->spare_pages;
        REQUIRE(heap_alloc(heap, PAGE_BYTES) != NULL);
        if (heap->got != before) {
            EXPECT(before == NULL ? heap->spare_pages == spares : heap->got == NULL && heap->spare_pages == spares + 1);
            got += before == NULL;
            written += before != NULL;
        }
        if (heap->got != NULL) {
            EXPECT(before != heap->got); /* it waits for one call */
            const uint64_t *words = heap->got; /* as the source gave it, all the same */
            EXPECT(words[0] == words[HEAP_NODE_ENTRIES - 1] && words[1] == words[0]);
        }
    }
    EXPECT(got >= 5 && got - written <= 1);
    EXPECT_EQ(heap_check(heap, NULL), STATUS_OK);
    heap_shrink(heap); /* what was got goes too */
    EXPECT_EQ(heap->got, NULL);
    heap_bed_check(bed);
}

static bool has_leaf(const struct heap *heap, const void *address)
{
    struct heap_path path;
    const uint64_t *word = heap_path_to(heap, heap_page_number(heap, address) / HEAP_LEAF_PAGES, &path);
    return word != NULL && *word != 0;
}

TEST(heap, no_free_of_a_page_gives_back_more_than_three_and_few_stay_all_the_same)
{
    enum { LEAVES = 6, MANY = LEAVES * HEAP_LEAF_PAGES };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    void **blocks = test_pages(1);
    REQUIRE(blocks != NULL);
    for (unsigned i = 0; i < MANY; i++) {
        REQUIRE((blocks[i] = heap_alloc(&bed->heap, PAGE_BYTES)) != NULL);
    }
    /* One of each leaf in turn, so that the leaves become empty one right after the other. */
    for (unsigned i = 0; i < MANY; i++) {
        const uint64_t puts = bed->puts;
        void *block = blocks[i % LEAVES * HEAP_LEAF_PAGES + i / LEAVES];
        EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
        EXPECT(bed->puts <= puts + (has_leaf(&bed->heap, block) ? 3 : 2)); /* its leaf is empty: that is enough */
    }
    EXPECT(bed->pages_out <= 2 * LEAVES); /* the rest goes with the next pages, or by a shrink */
    heap_bed_end(bed);
}

static bool is_recent(const struct heap *heap, const void *address)
{
    const uint64_t number = heap_page_number(heap, address) / HEAP_LEAF_PAGES;
    const unsigned at = number % HEAP_RECENT_LEAVES;
    struct heap_path path;
    return heap->recent_words[at].number == number &&
           heap->recent_words[at].word == heap_path_to(heap, number, &path);
}

TEST(heap, the_leaf_that_was_the_whole_tree_is_found_at_once_when_the_tree_has_grown_and_shrunken)
{
    enum { MANY = 4 * HEAP_LEAF_PAGES };
    struct heap_bed *bed = heap_bed_new(ARENA_PAGES);
    REQUIRE(bed != NULL);
    struct heap *heap = &bed->heap;
    void **blocks = test_pages(1);
    REQUIRE(blocks != NULL);
    unsigned grown = 0;
    for (unsigned i = 0; i < MANY; i++) {
        const unsigned height = heap->height;
        REQUIRE((blocks[i] = heap_alloc(heap, PAGE_BYTES)) != NULL);
        grown += height < heap->height;
        EXPECT(is_recent(heap, blocks[0]));
    }
    EXPECT(grown > 0);
    for (unsigned i = MANY - 1; i > 0; i--) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    heap_shrink(heap);
    EXPECT_EQ(heap->height, 0);
    EXPECT(is_recent(heap, blocks[0]));
    EXPECT_EQ(heap_free(heap, blocks[0]), STATUS_OK);
    heap_bed_end(bed);
}

/* No page is there for one more node when the block has moved: all that it needs was got before. */
static void *moves_and_shuts(void *ctx, void *base, npages_t old, npages_t pages, unsigned align_log2)
{
    struct heap_bed *bed = ctx;
    (void)base, (void)align_log2;
    void *to = vaddr_to_ptr(vaddr_add_pages(bed->heap.source.span_base, HEAP_SPAN_BYTES / PAGE_BYTES - pages.v - 1));
    bed->pages_out += pages.v - old.v;
    bed->forbids_gets = true;
    return to;
}

TEST(heap, a_block_that_moves_over_most_of_the_span_has_its_nodes_ready_before)
{
    enum { GIBS = 400, NODES = 8 * GIBS + 64 };
    struct heap_bed *bed = heap_bed_new(3UL * NODES);
    REQUIRE(bed != NULL);
    bed->is_fabricating = true;
    bed->heap.source.pages_move = moves_and_shuts;
    void *block = heap_alloc(&bed->heap, 2UL * PAGE_BYTES);
    REQUIRE(block != NULL);
    block = heap_realloc(&bed->heap, block, GIBS * GIB);
    EXPECT(block != NULL && bed->forbids_gets);
    EXPECT_EQ(bed->wrong, 0);
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}
