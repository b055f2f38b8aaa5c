/* The arena's validator: each invariant broken in turn. */
#include "unit/arena_bed.h"

enum { ARENA_PAGES = 256 };

static void expect_broken(const struct arena *a, const char *invariant)
{
    static char text[256];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(arena_check(a, &b.sink), STATUS_CORRUPT);
    if (!EXPECT(strncmp(text, invariant, strlen(invariant)) == 0)) {
        test_note("expected %s, got: %s", invariant, text);
    }
    EXPECT_EQ(arena_check(a, NULL), STATUS_CORRUPT);
}

/* Used: pages 5-6, 70-71, 200-201. Cached: 80-81. */
static bool scene(struct arena_bed *bed)
{
    if (!arena_bed_open(bed, ARENA_PAGES, 2)) {
        return false;
    }
    arena_bed_take_at(bed, 5, 2);
    arena_bed_take_at(bed, 70, 2);
    arena_bed_take_at(bed, 80, 2);
    arena_bed_take_at(bed, 200, 2);
    arena_bed_give(bed, 80);
    return arena_bed_is_sound(bed);
}

static struct arena_node *node_at(const struct arena_bed *bed, uint64_t page)
{
    return arena_index_find(&bed->arena, arena_bed_page(bed, page));
}

TEST(arena, the_check_sees_the_list_broken)
{
    struct arena_bed bed;
    REQUIRE(scene(&bed));
    struct arena *a = &bed.arena;
    struct arena_node *n = node_at(&bed, 70);
    struct arena broken = *a; /* the nodes no longer reach the end */
    broken.end = vaddr_add_pages(broken.end, 1);
    expect_broken(&broken, "ARENA-I1");
    struct arena_node whole = *n;
    n->pages.v++;
    expect_broken(a, "ARENA-I1");
    *n = whole;
    n->prev = n->next;
    expect_broken(a, "ARENA-I1");
    *n = whole;
    n->tag = NULL;
    expect_broken(a, "ARENA-I1");
    *n = whole;
    n->state = ARENA_FREE; /* as a lost merge would leave it */
    expect_broken(a, "ARENA-I2");
    *n = whole;
    a->used.v++;
    expect_broken(a, "ARENA-I3");
    a->used.v--;
    a->ranges--;
    expect_broken(a, "ARENA-I3");
    a->ranges++;
    arena_bed_is_sound(&bed);
}

TEST(arena, the_check_sees_the_index_broken)
{
    struct arena_bed bed;
    REQUIRE(scene(&bed));
    struct arena *a = &bed.arena;
    struct arena_node *first = node_at(&bed, 5), *n = node_at(&bed, 70);
    uint64_t *word = &a->index->word[0], whole = *word; /* all of pages 0-63 */
    EXPECT_EQ(whole, ptr_to_vaddr(first).v);
    *word = 0; /* a range that is not found */
    expect_broken(a, "ARENA-I4");
    *word = whole;
    a->index->present ^= 1; /* a range that a search for the one below misses */
    expect_broken(a, "ARENA-I4");
    a->index->present ^= 1;
    word = &a->index->word[2];
    EXPECT_EQ(*word, 0);
    *word = ptr_to_vaddr(n).v; /* one range twice */
    a->index->present |= 4;
    expect_broken(a, "ARENA-I4");
    *word = ptr_to_vaddr(a->first).v; /* a free one */
    expect_broken(a, "ARENA-I4");
    *word = 0;
    a->index->present &= ~4ULL;
    struct arena_index *below = index_below(a->index->word[1]);
    below->depth++;
    expect_broken(a, "ARENA-I4");
    below->depth--;
    below->parent_slot++;
    expect_broken(a, "ARENA-I4");
    below->parent_slot--;
    arena_bed_is_sound(&bed);
}

TEST(arena, the_check_sees_the_size_lists_broken)
{
    struct arena_bed bed;
    REQUIRE(scene(&bed));
    struct arena *a = &bed.arena;
    unsigned class = arena_size_class(a->first->pages.v);
    EXPECT(a->classes[class] == a->first);
    a->classes[class] = NULL;
    expect_broken(a, "ARENA-I5");
    a->classes[class] = a->first;
    a->class_map[class / 64] ^= 1ULL << class % 64;
    expect_broken(a, "ARENA-I5");
    a->class_map[class / 64] ^= 1ULL << class % 64;
    a->class_words ^= 1ULL << (ARENA_CLASS_WORDS - 1);
    expect_broken(a, "ARENA-I5");
    a->class_words ^= 1ULL << (ARENA_CLASS_WORDS - 1);
    a->first->back = a->first;
    expect_broken(a, "ARENA-I5");
    a->first->back = NULL;
    struct arena_node *other = a->first->next->next; /* free, of another class */
    a->first->peer = other;
    expect_broken(a, "ARENA-I5");
    a->first->peer = NULL;
    arena_bed_is_sound(&bed);
}

TEST(arena, the_check_sees_cache_and_reserve_broken)
{
    struct arena_bed bed;
    REQUIRE(scene(&bed));
    struct arena *a = &bed.arena;
    struct arena_node *n = node_at(&bed, 80);
    a->cache[2].count++;
    expect_broken(a, "ARENA-I6");
    a->cache[2].count--;
    n->stack = 3;
    expect_broken(a, "ARENA-I6");
    n->stack = 2;
    n->peer = node_at(&bed, 70); /* a used range on the stack */
    expect_broken(a, "ARENA-I6");
    n->peer = NULL;
    a->cache[0].count--;
    expect_broken(a, "ARENA-I6");
    a->cache[0].count++;
    struct arena_cache whole = a->cache[2];
    a->cache[2] = (struct arena_cache){0}; /* a range that is lost */
    expect_broken(a, "ARENA-I6");
    a->cache[2] = whole;
    a->spare_node_count--;
    expect_broken(a, "ARENA-I7");
    a->spare_node_count++;
    a->spare_index_count++;
    expect_broken(a, "ARENA-I7");
    a->spare_index_count--;
    a->spare_indexes->word[3] = 8;
    expect_broken(a, "ARENA-I7");
    a->spare_indexes->word[3] = 0;
    arena_bed_is_sound(&bed);
}
