/* The arena's validator: each invariant broken in turn. */
#include "unit/arena_bed.h"

enum { ARENA_PAGES = 256 };

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
    arena_bed_expect_broken(&broken, "ARENA-I1");
    struct arena_node whole = *n;
    n->pages.v++;
    arena_bed_expect_broken(a, "ARENA-I1");
    *n = whole;
    n->prev = n->next;
    arena_bed_expect_broken(a, "ARENA-I1");
    *n = whole;
    n->tag = NULL;
    arena_bed_expect_broken(a, "ARENA-I1");
    *n = whole;
    n->state = ARENA_FREE; /* as a lost merge would leave it */
    arena_bed_expect_broken(a, "ARENA-I2");
    *n = whole;
    a->used.v++;
    arena_bed_expect_broken(a, "ARENA-I3");
    a->used.v--;
    a->ranges--;
    arena_bed_expect_broken(a, "ARENA-I3");
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
    arena_bed_expect_broken(a, "ARENA-I4");
    *word = whole;
    a->index->present ^= 1; /* a range that a search for the one below misses */
    arena_bed_expect_broken(a, "ARENA-I4");
    a->index->present ^= 1;
    word = &a->index->word[2];
    EXPECT_EQ(*word, 0);
    *word = ptr_to_vaddr(n).v; /* one range twice */
    a->index->present |= 4;
    arena_bed_expect_broken(a, "ARENA-I4");
    *word = ptr_to_vaddr(a->first).v; /* a free one */
    arena_bed_expect_broken(a, "ARENA-I4");
    *word = 0;
    a->index->present &= ~4ULL;
    struct arena_index *below = index_below(a->index->word[1]);
    below->depth++;
    arena_bed_expect_broken(a, "ARENA-I4");
    below->depth--;
    below->parent_slot++;
    arena_bed_expect_broken(a, "ARENA-I4");
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
    arena_bed_expect_broken(a, "ARENA-I5");
    a->classes[class] = a->first;
    a->class_map[class / 64] ^= 1ULL << class % 64;
    arena_bed_expect_broken(a, "ARENA-I5");
    a->class_map[class / 64] ^= 1ULL << class % 64;
    a->class_words ^= 1ULL << (ARENA_CLASS_WORDS - 1);
    arena_bed_expect_broken(a, "ARENA-I5");
    a->class_words ^= 1ULL << (ARENA_CLASS_WORDS - 1);
    a->first->back = a->first;
    arena_bed_expect_broken(a, "ARENA-I5");
    a->first->back = NULL;
    struct arena_node *other = a->first->next->next; /* free, of another class */
    a->first->peer = other;
    arena_bed_expect_broken(a, "ARENA-I5");
    a->first->peer = NULL;
    arena_bed_is_sound(&bed);
}

TEST(arena, the_check_sees_cache_and_reserve_broken)
{
    struct arena_bed bed;
    REQUIRE(scene(&bed));
    struct arena *a = &bed.arena;
    struct arena_node *n = node_at(&bed, 80);
    a->room[2]--;
    arena_bed_expect_broken(a, "ARENA-I6");
    a->room[2]++;
    n->stack = 3;
    arena_bed_expect_broken(a, "ARENA-I6");
    n->stack = 2;
    n->peer = node_at(&bed, 70); /* a used range on the stack */
    arena_bed_expect_broken(a, "ARENA-I6");
    n->peer = NULL;
    a->room[0]++;
    arena_bed_expect_broken(a, "ARENA-I6");
    a->room[0]--;
    struct arena_node *whole = a->cache[2];
    a->cache[2] = NULL; /* a range that is lost */
    a->room[2]++;
    arena_bed_expect_broken(a, "ARENA-I6");
    a->cache[2] = whole;
    a->room[2]--;
    a->reserve->node_count--;
    arena_bed_expect_broken(a, "ARENA-I7");
    a->reserve->node_count++;
    a->reserve->index_count++;
    arena_bed_expect_broken(a, "ARENA-I7");
    a->reserve->index_count--;
    a->reserve->indexes->word[3] = 8;
    arena_bed_expect_broken(a, "ARENA-I7");
    a->reserve->indexes->word[3] = 0;
    arena_bed_is_sound(&bed);
}
