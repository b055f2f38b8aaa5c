/* Each invariant broken by hand: heap_check sees it, and is content when it is mended. */
#include "heap/heap_internal.h"
#include "unit/heap_bed.h"

enum { OBJECTS = 40, OBJECT_BYTES = 240 };

struct scene {
    struct heap_bed *bed;
    uint8_t *objects[OBJECTS];
    uint8_t *block, *large;
    struct heap_desc *slab, *full_slab, *mixed, *large_desc;
    struct heap_class *class;
};

/* A slab with room and one without, blocks in a mixed slab, a large block, a page ready; all sound. */
static bool scene_set(struct scene *s)
{
    s->bed = heap_bed_new(64);
    if (s->bed == NULL) {
        return false;
    }
    struct heap *heap = &s->bed->heap;
    for (unsigned i = 0; i < OBJECTS; i++) {
        s->objects[i] = heap_alloc(heap, OBJECT_BYTES); /* the first four in a mixed slab, then 17 a slab */
    }
    s->block = heap_alloc(heap, 600);
    s->large = heap_alloc(heap, 20000);
    s->class = &heap->classes[heap_class_of(OBJECT_BYTES)];
    s->full_slab = heap_find(heap, s->objects[10]);
    s->slab = heap_find(heap, s->objects[39]);
    s->mixed = heap_find(heap, s->block);
    s->large_desc = heap_find(heap, s->large);
    bool is_ready = heap_prefill(heap, 2UL * PAGE_BYTES) == STATUS_OK;
    heap_bed_check(s->bed);
    return is_ready && s->class->slabs == 3 && s->class->current == s->slab &&
           heap_desc_kind(s->mixed) == HEAP_DESC_MIXED;
}

static void scene_clear(struct scene *s)
{
    heap_bed_check(s->bed);
    struct heap *heap = &s->bed->heap;
    for (unsigned i = 0; i < OBJECTS; i++) {
        EXPECT_EQ(heap_free(heap, s->objects[i]), STATUS_OK);
    }
    EXPECT_EQ(heap_free(heap, s->block), STATUS_OK);
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

TEST(heap, check_sees_a_mask_that_lies)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    BREAK(&s, s.slab->free_mask[0], s.slab->free_mask[0] | 1UL << 17, "HEAP-I1");
    BREAK(&s, s.slab->free_mask[3], 1UL << 63, "HEAP-I1");
    BREAK(&s, s.full_slab->free_mask[0], 4, "has room, and nobody knows it");
    BREAK(&s, s.slab->class, NULL, "HEAP-I1");
    BREAK(&s, s.mixed->mixed.starts, s.mixed->mixed.starts | 1UL << 63, "HEAP-I1");
    BREAK(&s, s.mixed->mixed.starts, s.mixed->mixed.starts & ~1UL, "HEAP-I1");
    BREAK(&s, s.mixed->mixed.free, s.mixed->mixed.free | 1, "HEAP-I1");
    BREAK(&s, s.mixed->mixed.free, s.mixed->mixed.free & ~(1UL << 63), "HEAP-I4");
    BREAK(&s, s.mixed->owner, NULL, "HEAP-I1");
    scene_clear(&s);
}

TEST(heap, check_sees_a_slab_on_no_list_or_on_a_wrong_one)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    EXPECT_EQ(heap_free(heap, s.objects[10]), STATUS_OK);
    EXPECT(s.class->list == s.full_slab);
    heap_bed_check(s.bed);
    BREAK(&s, s.class->list, NULL, "HEAP-I2");
    BREAK(&s, s.class->last, NULL, "HEAP-I2");
    BREAK(&s, heap->classes[0].list, s.full_slab, "HEAP-I2");
    BREAK(&s, s.full_slab->prev, s.slab, "HEAP-I2");
    BREAK(&s, s.full_slab->class, &heap->classes[3], "HEAP-I2");
    BREAK(&s, s.full_slab->base_and_kind, s.full_slab->base_and_kind & ~(uint64_t)HEAP_DESC_ACTIVE, "HEAP-I2");
    BREAK(&s, s.class->current, NULL, "HEAP-I2");
    BREAK(&s, s.class->stays, s.full_slab, "HEAP-I2");
    s.objects[10] = heap_alloc(heap, OBJECT_BYTES);
    scene_clear(&s);
}

TEST(heap, check_sees_a_hole_that_is_not_there_and_a_mixed_slab_in_a_wrong_bin)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap_mixed *mixed = &s.bed->heap.mixed[0];
    unsigned bin = s.mixed->mixed.hole;
    BREAK(&s, s.mixed->mixed.hole, 1, "HEAP-I2");
    BREAK(&s, s.mixed->mixed.hole, 0, "HEAP-I2");
    BREAK(&s, s.mixed->mixed.hole_at, 0, "HEAP-I2");
    BREAK(&s, s.mixed->mixed.hole_at, 63, "HEAP-I2");
    BREAK(&s, mixed->bins[bin].next, &mixed->bins[bin], "HEAP-I2");
    BREAK(&s, mixed->bins[bin].next, NULL, "HEAP-I2");
    BREAK(&s, mixed->nonempty, 0, "HEAP-I2");
    BREAK(&s, mixed->bins[bin + 1].next, &s.mixed->link, "HEAP-I2");
    BREAK(&s, mixed->bins[0].next, &s.mixed->link, "HEAP-I2");
    BREAK(&s, s.mixed->link.prev, &s.slab->link, "HEAP-I2");
    scene_clear(&s);
}

TEST(heap, check_sees_a_tree_that_leads_astray)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    struct heap_desc *tail = heap_find_page(heap, s.large + PAGE_BYTES);
    EXPECT_EQ(heap_desc_kind(tail), HEAP_DESC_TAIL);
    BREAK(&s, tail->base_and_kind, 0, "HEAP-I4");
    BREAK(&s, tail->base_and_kind, s.slab->base_and_kind, "HEAP-I3");
    BREAK(&s, tail->base_and_kind, ptr_to_vaddr(heap_desc_base(s.slab)).v + HEAP_DESC_TAIL, "HEAP-I3");
    BREAK(&s, s.slab->base_and_kind, ptr_to_vaddr(s.large).v + HEAP_DESC_SLAB, "HEAP-I3");
    BREAK(&s, s.slab->base_and_kind, s.slab->base_and_kind | HEAP_KIND_MASK, "HEAP-I3");
    BREAK(&s, s.large_desc->large.pages.v, 1UL << 40, "HEAP-I3");
    BREAK(&s, s.large_desc->large.pages.v, 1, "HEAP-I3");
    BREAK(&s, heap->root, heap->root + 2, "HEAP-I3");
    BREAK(&s, heap->root, 0, "HEAP-I4");
    uint64_t number = heap_page_number(heap, s.slab) / HEAP_LEAF_PAGES;
    (void)number;
    unsigned at = heap_page_number(heap, s.objects[39]) / HEAP_LEAF_PAGES % HEAP_RECENT_LEAVES;
    BREAK(&s, heap->recent[at], heap->recent[at] + HEAP_LEAF_PAGES, "HEAP-I3: the recent leaf");
    scene_clear(&s);
}

TEST(heap, check_sees_counters_that_are_not_the_sums)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    BREAK(&s, heap->classes[5].slabs, 7, "HEAP-I4");
    BREAK(&s, heap->mixed[0].slabs, 9, "HEAP-I4");
    BREAK(&s, heap->mixed[0].lengths[4], 9, "HEAP-I4");
    BREAK(&s, heap->mixed[0].lengths[64], 1, "HEAP-I4");
    BREAK(&s, heap->large_blocks, 2, "HEAP-I4");
    BREAK(&s, heap->large_pages, 2, "HEAP-I4");
    BREAK(&s, heap->held_pages, 2, "HEAP-I4");
    BREAK(&s, heap->most_held_pages, 1, "HEAP-I4: more is held than was ever held at most");
    BREAK(&s, heap->classes[heap_class_of(240)].most_slabs, 0, "HEAP-I4: more is held");
    BREAK(&s, heap->mixed[0].most_slabs, 0, "HEAP-I4: more is held");
    BREAK(&s, heap->node_count, 9, "9");
    BREAK(&s, heap->leaf_count, 0, "HEAP-I4");
    BREAK(&s, heap->ready_pages, 1, "HEAP-I4");
    BREAK(&s, heap->ready_pages, 3, "HEAP-I4");
    BREAK(&s, heap->spare_pages, 1, "HEAP-I4");
    BREAK(&s, heap->ready->next, heap->ready, "HEAP-I4");
    scene_clear(&s);
}

TEST(heap, a_slab_whose_mask_was_overwritten_is_taken_out_of_use_and_the_heap_goes_on)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    EXPECT_EQ(heap_free(heap, s.objects[10]), STATUS_OK);
    s.full_slab->free_mask[0] |= 1UL << 40;
    s.slab->free_mask[0] = 1UL << 60;
    for (unsigned i = 0; i < OBJECTS; i++) {
        uint8_t *next = heap_alloc(heap, OBJECT_BYTES);
        EXPECT(next != NULL && heap_find(heap, next) != s.full_slab && heap_find(heap, next) != s.slab);
        EXPECT((ptr_to_vaddr(next).v & (PAGE_BYTES - 1)) + OBJECT_BYTES <= PAGE_BYTES);
    }
    EXPECT(heap_bed_reported("of class 240 has 17 objects, yet its mask is "));
    EXPECT_EQ(test_reports(), 2);
    EXPECT_EQ(heap_free(heap, s.objects[11]), STATUS_OK);
    EXPECT_EQ(heap_free(heap, s.block), STATUS_OK);
    test_expect_reports(2);
}

TEST(heap, a_mixed_slab_whose_hole_is_not_there_is_taken_out_of_use_and_the_heap_goes_on)
{
    struct scene s;
    REQUIRE(scene_set(&s));
    struct heap *heap = &s.bed->heap;
    s.mixed->mixed.free = 1UL << 63;
    for (unsigned i = 0; i < 20; i++) {
        uint8_t *next = i % 2 == 0 ? heap_alloc(heap, 600) : heap_alloc_aligned(heap, 300, 512);
        EXPECT(next == NULL || heap_find(heap, next) != s.mixed);
        EXPECT(next != NULL || i < 2);
    }
    EXPECT(heap_bed_reported("taken out of use"));
    EXPECT_EQ(heap_free(heap, s.objects[11]), STATUS_OK);
    test_expect_reports(1);
}
