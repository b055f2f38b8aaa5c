/* Each invariant broken by hand: heap_check sees it, and is content when it is mended. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

struct scene {
    struct heap_bed *bed;
    uint8_t *object, *full, *large;
    struct heap_desc *slab, *full_slab, *large_desc;
};

/* A slab with room, one without, a large block, an idle page; all sound. */
static bool scene_set(struct scene *s)
{
    s->bed = heap_bed_new(48);
    if (s->bed == NULL) {
        return false;
    }
    struct heap *heap = &s->bed->heap;
    s->object = heap_alloc(heap, 100);
    s->full = heap_alloc(heap, 2048);
    void *other_half = heap_alloc(heap, 2048);
    s->large = heap_alloc(heap, 10000);
    s->slab = heap_lookup(heap, s->object);
    s->full_slab = heap_lookup(heap, s->full);
    s->large_desc = heap_lookup(heap, s->large);
    heap_bed_check(s->bed);
    return heap_lookup(heap, other_half) == s->full_slab && s->full_slab->free == 0;
}

static void scene_clear(struct scene *s)
{
    heap_bed_check(s->bed);
    struct heap *heap = &s->bed->heap;
    EXPECT_EQ(heap_free(heap, s->object), STATUS_OK);
    EXPECT_EQ(heap_free(heap, s->full), STATUS_OK);
    EXPECT_EQ(heap_free(heap, s->full + 2048), STATUS_OK);
    EXPECT_EQ(heap_free(heap, s->large), STATUS_OK);
    heap_bed_end(s->bed);
}

/* `field` has `value` for a moment; heap_check says `text`. */
#define BREAK(s, field, value, text)                                                                                   \
    do {                                                                                                               \
        __typeof__(field) saved_ = (field);                                                                            \
        (field) = (value);                                                                                             \
        EXPECT(heap_bed_check_says((s)->bed, (text)));                                                                 \
        (field) = saved_;                                                                                              \
    } while (0)

TEST(heap, check_sees_a_free_count_or_mask_that_lies)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    BREAK(&s, s.slab->free, 3, "HEAP-I1");
    BREAK(&s, s.slab->free_mask[0], s.slab->free_mask[0] & ~2UL, "HEAP-I1");
    BREAK(&s, s.slab->free_mask[3], 1UL << 63, "HEAP-I1");
    BREAK(&s, s.full_slab->free_mask[0], 4, "HEAP-I1");
    s.slab->free_mask[0] ^= 2; /* one fewer here, so that only its place is wrong there */
    BREAK(&s, s.slab->free_mask[1], 1UL << 63, "HEAP-I1");
    s.slab->free_mask[0] ^= 2;
    scene_clear(&s);
}

TEST(heap, check_sees_a_slab_on_no_list_on_a_wrong_one_or_a_second_empty_one)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    struct heap_class *class = &heap->classes[s.slab->class_index];
    BREAK(&s, class->list, NULL, "HEAP-I2");
    BREAK(&s, heap->classes[0].list, s.slab, "HEAP-I2");
    BREAK(&s, s.slab->prev, s.full_slab, "HEAP-I2");
    BREAK(&s, s.full_slab->next, s.slab, "HEAP-I2");
    BREAK(&s, s.slab->class_index, 3, "HEAP-I2");
    struct heap_class *full_class = &heap->classes[s.full_slab->class_index];
    s.full_slab->next = s.full_slab->prev = s.full_slab;
    BREAK(&s, full_class->list, s.full_slab, "without a free object");
    s.full_slab->next = s.full_slab->prev = NULL;
    scene_clear(&s);
}

TEST(heap, check_sees_an_empty_slab_in_front_of_another)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    void *blocks[3];
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE((blocks[i] = heap_alloc(heap, 1024)) != NULL);
    }
    void *fourth = heap_alloc(heap, 1024);
    void *fifth = heap_alloc(heap, 1024);
    EXPECT_EQ(heap_free(heap, fourth), STATUS_OK);
    EXPECT_EQ(heap_free(heap, fifth), STATUS_OK);
    struct heap_class *class = &heap->classes[heap_class_of(1024)];
    heap_bed_check(s.bed);
    EXPECT_EQ(class->slabs, 2);
    BREAK(&s, class->list, class->list->next, "HEAP-I2"); /* HEAP-I2: the empty one is first now */
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(heap_free(heap, blocks[i]), STATUS_OK);
    }
    scene_clear(&s);
}

TEST(heap, check_sees_a_table_that_leads_astray)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    uint64_t page = heap_page_number(heap, s.large);
    uint64_t *root = heap_node(heap->root);
    uint64_t *middle = heap_node(root[page / HEAP_NODE_ENTRIES / HEAP_NODE_ENTRIES]);
    uint64_t *leaf = heap_node(middle[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES]);
    uint64_t *entry = &leaf[page % HEAP_NODE_ENTRIES];
    BREAK(&s, *entry, 0, "HEAP-I3");
    BREAK(&s, *entry, ptr_to_vaddr(s.slab).v, "HEAP-I3");
    BREAK(&s, leaf[HEAP_NODE_ENTRIES - 1], ptr_to_vaddr(s.slab).v, "HEAP-I3"); /* a page that nobody owns */
    middle[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES]++;                    /* and counted */
    BREAK(&s, leaf[HEAP_NODE_ENTRIES - 1], ptr_to_vaddr(s.slab).v, "HEAP-I3: the table has");
    middle[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES]--;
    BREAK(&s, middle[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES],
          middle[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES] + 1, "HEAP-I3: leaf node");
    BREAK(&s, root[page / HEAP_NODE_ENTRIES / HEAP_NODE_ENTRIES],
          root[page / HEAP_NODE_ENTRIES / HEAP_NODE_ENTRIES] + 1, "HEAP-I3: middle node");
    BREAK(&s, heap->root, heap->root + 1, "HEAP-I3: root node");
    BREAK(&s, heap->root, 0, "HEAP-I3");
    BREAK(&s, s.large_desc->base, s.large + PAGE_BYTES, "HEAP-I3");
    BREAK(&s, s.large_desc->base, s.large + 1, "HEAP-I3");
    BREAK(&s, s.large_desc->large.pages.v, 1UL << 40, "HEAP-I3");
    scene_clear(&s);
}

TEST(heap, check_sees_counters_that_are_not_the_sums)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    EXPECT_EQ(heap_prefill(heap, 2UL * PAGE_BYTES), STATUS_OK);
    BREAK(&s, heap->classes[5].slabs, 7, "HEAP-I4");
    BREAK(&s, heap->classes[5].frees, 1, "HEAP-I4");
    BREAK(&s, heap->large_blocks, 2, "HEAP-I4");
    BREAK(&s, heap->large_pages, 2, "HEAP-I4");
    BREAK(&s, heap->held_pages, 2, "HEAP-I4");
    BREAK(&s, heap->node_count, 0, "nodes, counted as 0");
    BREAK(&s, heap->pool_pages, 1, "HEAP-I4");
    BREAK(&s, heap->pool_pages, 3, "HEAP-I4");
    BREAK(&s, heap->pool->next, heap->pool, "HEAP-I4");
    BREAK(&s, heap->desc_page_count, 0, "HEAP-I4");
    BREAK(&s, heap->desc_pages->free_mask, heap->desc_pages->free_mask | 2, "has kind 1");
    BREAK(&s, s.slab->kind, HEAP_DESC_UNUSED, "HEAP-I4");
    BREAK(&s, s.slab->class_index, 200, "HEAP-I4");
    scene_clear(&s);
}

TEST(heap, a_slab_whose_mask_was_lost_is_taken_out_of_use_and_the_heap_goes_on)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    memset(s.slab->free_mask, 0, sizeof s.slab->free_mask);
    EXPECT(heap_bed_check_says(s.bed, "HEAP-I1"));
    uint8_t *next = heap_alloc(heap, 100);
    EXPECT(next != NULL && heap_lookup(heap, next) != s.slab);
    EXPECT(heap_bed_reported("by its count and none by its mask: taken out of use"));
    EXPECT(heap_bed_check_says(s.bed, "HEAP-I4")); /* its free objects are lost, and check goes on saying so */
    EXPECT_EQ(heap_free(heap, next), STATUS_OK);
    EXPECT_EQ(heap_free(heap, s.object), STATUS_OK);
    test_expect_reports(1);
}

TEST(heap, a_free_into_a_slab_whose_count_lies_is_refused)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    uint16_t saved = s.slab->free;
    s.slab->free = heap->classes[s.slab->class_index].objects;
    struct heap_stats before = heap_stats(heap);
    EXPECT_EQ(heap_free(heap, s.object), STATUS_CORRUPT);
    EXPECT(heap_bed_reported("yet object 0 is in use: nothing done"));
    EXPECT(heap_bed_same(heap_stats(heap), before));
    test_expect_reports(1);
    s.slab->free = saved;
    scene_clear(&s);
}
