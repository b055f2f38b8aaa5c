/* The arena's nodes: how many it takes, and what happens when there are no more. */
#include "unit/arena_bed.h"

TEST(arena, running_out_of_nodes_fails_the_allocation_and_never_a_free)
{
    enum { PAGES = 1000 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, 4));
    bed.left = 1;
    struct arena *a = &bed.arena;
    uint64_t got = 0;
    while (arena_alloc_at(a, arena_bed_page(&bed, 2 * got), npages(1), "t") == STATUS_OK) {
        got++;
    }
    REQUIRE(got > 10 && 2 * got < PAGES);
    EXPECT(a->ranges == got && bed.given == 2);
    arena_bed_is_sound(&bed);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&bed, 2 * got), npages(1), "t"), STATUS_NOMEM);
    bed.left = 2;
    arena_bed_take_at(&bed, 2 * got, 1);
    bed.left = 0;
    for (uint64_t i = 0; i <= got; i += 2) {
        arena_bed_give(&bed, 2 * i);
    }
    for (uint64_t i = 1; i <= got; i += 2) {
        arena_bed_give(&bed, 2 * i);
    }
    EXPECT(a->used.v == 0 && a->ranges == 0);
    arena_bed_is_sound(&bed);
    EXPECT_EQ(arena_bed_take(&bed, PAGES), 0); /* merged into one */
}

/* Page 1, 64, 4096 and so on behind the last one: neighbours and strangers, so that every depth of the index is cut. */
static uint64_t place(unsigned i)
{
    static const unsigned far[] = {0, 1, 7, 13, 19, 25, 31, 33};
    return (1ULL << far[i % ARRAY_LEN(far)]) + 3 * (i / ARRAY_LEN(far)) + (i % ARRAY_LEN(far) > 4 ? 64 * i : 0);
}

/* => calls that succeeded before one failed for want of nodes; `count`: all. */
static unsigned play(struct arena_bed *bed, unsigned first, unsigned count)
{
    for (unsigned i = first; i < count; i++) {
        struct arena before = bed->arena;
        enum status s = arena_alloc_at(&bed->arena, arena_bed_page(bed, place(i)), npages(1), "t");
        if (s != STATUS_OK) {
            EXPECT_EQ(s, STATUS_NOMEM);
            EXPECT(bed->arena.used.v == before.used.v && bed->arena.ranges == before.ranges);
            EXPECT_EQ(bed->left, 0);
            arena_bed_is_sound(bed);
            vaddr_t base = vaddr(1);
            EXPECT_EQ(arena_alloc(&bed->arena, npages(2), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
            EXPECT_EQ(base.v, 1);
            return i;
        }
    }
    return count;
}

/* Each page of nodes is refused in turn; with one more page the same call succeeds. */
TEST(arena, each_refusal_of_nodes_changes_nothing)
{
    enum { RANGES = 120, PAGES_MAX = 200 };
    unsigned pages = 1, made = 0;
    for (; made < RANGES && pages < PAGES_MAX; pages++) {
        struct arena_bed bed;
        REQUIRE(arena_bed_open(&bed, 1ULL << 34, pages + 2));
        bed.left = pages - 1;
        made = play(&bed, 0, RANGES);
        for (unsigned i = 0; i < made; i += 2) { /* frees need nothing */
            arena_bed_give(&bed, place(i));
        }
        arena_bed_is_sound(&bed);
        for (unsigned i = 0; i < made; i += 2) { /* and these are cached: nor do they */
            vaddr_t base;
            if (arena_bed_cached(&bed, 1) > 0) {
                EXPECT_EQ(arena_alloc(&bed.arena, npages(1), ARENA_ALIGN_PAGE, "t", &base), STATUS_OK);
            }
        }
        if (made < RANGES) {
            bed.left = 2;
            arena_bed_take_at(&bed, place(made), 1);
        }
        arena_bed_is_sound(&bed);
    }
    EXPECT(pages > 4 && pages < PAGES_MAX);
}

/* Ranges that are cached side by side hold nodes: they come back when there are no others. */
TEST(arena, what_is_cached_gives_its_nodes_before_an_allocation_fails)
{
    enum { CACHED = 8, PAGES = 1000 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, 2));
    for (uint64_t i = 0; i < CACHED; i++) {
        EXPECT_EQ(arena_bed_take(&bed, 1), i);
    }
    uint64_t at = 2 * CACHED;
    while (arena_alloc_at(&bed.arena, arena_bed_page(&bed, at), npages(1), "t") == STATUS_OK) {
        at += 2;
    }
    REQUIRE(bed.left == 0 && at < PAGES - 2);
    for (uint64_t i = 0; i < CACHED; i++) {
        arena_bed_give(&bed, i);
    }
    EXPECT_EQ(arena_bed_cached(&bed, 1), CACHED);
    EXPECT_EQ(arena_bed_take(&bed, 3), 0);
    arena_bed_take_at(&bed, at, 1);
    arena_bed_is_sound(&bed);
}

/* At most two nodes a range and one more; an index node for each level below the root at most. */
TEST(arena, nodes_are_as_many_as_the_ranges_explain)
{
    enum { RANGES = 200, DEPTH = 5 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1ULL << 34, 400));
    EXPECT_EQ(play(&bed, 0, RANGES), RANGES);
    EXPECT_EQ(bed.arena.index_below, DEPTH);
    uint64_t nodes = 0;
    for (const struct arena_node *n = bed.arena.first; n != NULL; n = n->next) {
        nodes++;
    }
    EXPECT(nodes <= 2 * RANGES + 1);
    uint64_t enough = (RANGES * DEPTH + 1) / 7 + 2 * RANGES / 64 + 3;
    EXPECT(bed.given <= enough);
    for (unsigned i = 0; i < RANGES; i++) {
        arena_bed_give(&bed, place(i));
    }
    arena_bed_take_at(&bed, 0, 1ULL << 34); /* nothing is cached now: all nodes but one are back */
    arena_bed_is_sound(&bed);
    unsigned given = bed.given;
    arena_bed_give(&bed, 0);
    bed.left = 0;
    EXPECT_EQ(play(&bed, 0, RANGES), RANGES); /* the same again needs no more of them */
    EXPECT_EQ(bed.given, given);
}

/* Whoever is asked for a page of nodes needs addresses too: the same nodes, once the very range that is asked for. */
struct greedy {
    struct arena_bed bed;
    struct arena_source source; /* the bed's own */
    uint64_t next, takes;       /* page taken next; how many at each call */
};

static void *more_and_take(void *ctx)
{
    struct greedy *g = ctx;
    void *page = g->source.more(g->source.ctx);
    for (uint64_t takes = g->takes; page != NULL && takes > 0; takes--) {
        g->takes = 0; /* not again, further in */
        arena_bed_take_at(&g->bed, g->next, 1);
        g->next += 1ULL << 20;
    }
    return page;
}

TEST(arena, who_is_asked_for_nodes_may_use_the_arena)
{
    enum { PAGES_LOG2 = 34, ROUNDS = 40 };
    static struct greedy g;
    REQUIRE(arena_bed_open(&g.bed, 1ULL << PAGES_LOG2, 40));
    g.source = g.bed.arena.reserve->source;
    g.next = 1ULL << 33;
    g.bed.arena.reserve->source = (struct arena_source){&g, more_and_take};
    uint64_t taken = 0;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        g.takes = 6;
        arena_bed_take_at(&g.bed, i * 70, 1);
        taken++;
    }
    EXPECT(g.next > (1ULL << 33) + (3ULL << 20)); /* it was asked */
    g.takes = 1;
    enum status s = STATUS_OK;
    for (uint64_t at = 1ULL << 30; s == STATUS_OK && at < 1ULL << 33; at += 1ULL << 22) {
        g.next = at; /* the one that is wanted, when there are no nodes for it */
        s = arena_alloc_at(&g.bed.arena, arena_bed_page(&g.bed, at), npages(1), "t");
    }
    EXPECT_EQ(s, STATUS_EXISTS);
    arena_bed_is_sound(&g.bed);
}
