/* Parts of ranges go back; nodes are made sure of beforehand; arenas share them. */
#include "unit/arena_bed.h"

enum { NODE_PAGES = 40, FIRST = 30, PAGES = 7, AFTER = FIRST + PAGES };

/* What is found at a page. */
static void expect_range(const struct arena_bed *bed, uint64_t at, uint64_t first, uint64_t pages, bool is_used)
{
    struct arena_range range = {0};
    EXPECT(arena_find(&bed->arena, arena_bed_page(bed, at), &range));
    EXPECT_EQ(range.base.v, arena_bed_page(bed, first).v);
    EXPECT_EQ(range.pages.v, pages);
    EXPECT_EQ(range.tag != NULL, is_used);
}

/* Each part of a range, between neighbours that are used, cached or free. */
static void free_one_part(struct arena_bed *bed, unsigned neighbours, uint64_t from, uint64_t to)
{
    arena_bed_take_at(bed, FIRST - 2, 2);
    arena_bed_take_at(bed, AFTER, 2);
    struct arena_request request = {
        .pages = npages(PAGES), .align_log2 = ARENA_ALIGN_PAGE, .tag = "parted", .kind = 77};
    arena_bed_take_at(bed, 0, FIRST - 2);
    vaddr_t base;
    REQUIRE(arena_request(&bed->arena, &request, &base) == STATUS_OK && base.v == arena_bed_page(bed, FIRST).v);
    if ((neighbours & 1) != 0) {
        arena_bed_give(bed, FIRST - 2); /* cached */
    }
    if ((neighbours & 2) != 0) {
        arena_bed_give(bed, AFTER);
    }
    if ((neighbours & 4) != 0) {
        arena_trim(&bed->arena); /* free */
    }
    EXPECT_EQ(arena_free_part(&bed->arena, arena_bed_page(bed, FIRST + from), npages(to - from)), STATUS_OK);
    const uint64_t low = from == 0 && (neighbours & 1) != 0 ? FIRST - 2 : FIRST + from;
    const uint64_t high = to < PAGES ? FIRST + to : (neighbours & 2) != 0 ? 100 : AFTER;
    expect_range(bed, FIRST + from, low, high - low, false);
    if (from > 0) {
        expect_range(bed, FIRST, FIRST, from, true);
    }
    if (to < PAGES) {
        expect_range(bed, AFTER - 1, FIRST + to, PAGES - to, true);
        struct arena_range above;
        EXPECT(arena_find(&bed->arena, arena_bed_page(bed, AFTER - 1), &above) && above.kind == 77);
    }
    const bool is_used[] = {from > 0, to < PAGES, (neighbours & 1) == 0, (neighbours & 2) == 0};
    EXPECT_EQ(bed->arena.ranges, 1U + is_used[0] + is_used[1] + is_used[2] + is_used[3]);
    REQUIRE(arena_bed_is_sound(bed));
    if (from > 0) {
        arena_bed_give(bed, FIRST);
    }
    if (to < PAGES) {
        arena_bed_give(bed, FIRST + to);
    }
    arena_trim(&bed->arena);
    arena_bed_take_at(bed, FIRST, PAGES);
    arena_bed_is_sound(bed);
    arena_bed_give(bed, FIRST);
    arena_bed_give(bed, 0);
    if ((neighbours & 1) == 0) {
        arena_bed_give(bed, FIRST - 2);
    }
    if ((neighbours & 2) == 0) {
        arena_bed_give(bed, AFTER);
    }
    arena_trim(&bed->arena);
    expect_range(bed, 50, 0, 100, false); /* one free range again */
}

TEST(arena, each_part_of_a_range_goes_back_among_all_neighbours)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 100, NODE_PAGES));
    for (unsigned neighbours = 0; neighbours < 8; neighbours++) {
        for (uint64_t from = 0; from < PAGES; from++) {
            for (uint64_t to = from + 1; to <= PAGES; to++) {
                free_one_part(&bed, neighbours, from, to);
            }
        }
    }
}

TEST(arena, parts_that_are_in_no_used_range_are_reported)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 100, NODE_PAGES));
    arena_bed_take_at(&bed, 10, 4);
    arena_bed_take_at(&bed, 14, 4);
    arena_bed_take_at(&bed, 30, 2);
    arena_bed_give(&bed, 30); /* cached */
    static const struct {
        uint64_t page, pages;
    } wrong[] = {{12, 3}, {13, 2}, {9, 2}, {9, 1}, {17, 2}, {18, 1}, {30, 1}, {30, 2}, {99, 2}, {100, 1},
                 {10, UINT64_MAX}, {1ULL << 40, 1}, {UINT64_MAX / PAGE_BYTES, 1}};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        test_expect_reports(i + 1);
        EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, wrong[i].page), npages(wrong[i].pages)),
                  STATUS_MISUSE);
    }
    EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, 10), npages(0)), STATUS_INVALID);
    EXPECT_EQ(arena_free_part(&bed.arena, vaddr_add(arena_bed_page(&bed, 10), 1), npages(1)), STATUS_INVALID);
    EXPECT(bed.arena.used.v == 8 && bed.arena.ranges == 2);
    arena_bed_is_sound(&bed);
}

/* Nodes are refused; then one operation's worth is in reserve, and no more can be had. */
TEST(arena, a_part_that_needs_nodes_is_refused_without_and_the_whole_is_not)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1ULL << 34, NODE_PAGES));
    arena_bed_take_at(&bed, 10, 8);
    struct arena_reserve whole = arena_bed_hide_nodes(&bed.arena);
    const unsigned left = bed.left;
    bed.left = 0;
    for (uint64_t from = 10; from < 14; from += 2) {
        EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, from), npages(2)), STATUS_NOMEM);
        expect_range(&bed, 10, 10, 8, true);
        EXPECT_EQ(bed.arena.used.v, 8);
    }
    EXPECT_EQ(arena_reserve_for(&bed.arena, 1), STATUS_NOMEM);
    *bed.arena.reserve = whole;
    bed.left = left;
    EXPECT_EQ(arena_reserve_for(&bed.arena, 1), STATUS_OK);
    bed.left = 0;
    EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, 12), npages(2)), STATUS_OK);
    arena_bed_is_sound(&bed);
    (void)arena_bed_hide_nodes(&bed.arena);
    EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, 14), npages(4)), STATUS_OK);
    arena_bed_is_sound(&bed);
}

/* Far apart, so that the index grows at each one. */
static uint64_t far_page(unsigned i) { return (1ULL << (6 + i % 27)) + 37ULL * 64 * 64 * (i / 27) + 5; }

/* The worst that each operation can do to the reserve: it has nodes for just so many. */
TEST(arena, what_was_made_sure_of_is_enough_for_the_worst_operations)
{
    enum { ROUNDS = 60, MOST = 4 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1ULL << 34, 400));
    struct rng rng = rng_seeded(test_seed());
    unsigned next = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned operations = 1 + (unsigned)rng_below(&rng, MOST);
        EXPECT_EQ(arena_reserve_for(&bed.arena, operations), STATUS_OK);
        const unsigned left = bed.left;
        bed.left = 0;
        for (unsigned i = 0; i < operations; i++, next++) {
            const uint64_t page = far_page(next / 2);
            enum status s = next % 2 == 0
                                ? arena_alloc_at(&bed.arena, arena_bed_page(&bed, page), npages(9), "t")
                                : arena_free_part(&bed.arena, arena_bed_page(&bed, page + 1 + round % 3), npages(4));
            EXPECT_EQ(s, STATUS_OK);
        }
        bed.left = left;
        REQUIRE(arena_bed_is_sound(&bed));
    }
}

/* ---- Nodes for many arenas ---- */

struct pages {
    uint8_t *next;
    unsigned left, given;
};

static void *more(void *ctx)
{
    struct pages *p = ctx;
    if (p->left == 0) {
        return NULL;
    }
    p->left--;
    p->given++;
    p->next += PAGE_BYTES;
    return p->next - PAGE_BYTES;
}

static bool is_sound(const struct arena *a) { return EXPECT_EQ(arena_check(a, NULL), STATUS_OK); }

static void fill(struct arena *a, unsigned ranges)
{
    for (unsigned i = 0; i < ranges; i++) {
        EXPECT_EQ(arena_alloc_at(a, vaddr_add_pages(a->base, far_page(i)), npages(3), "t"), STATUS_OK);
    }
    for (unsigned i = 0; i < ranges; i += 3) {
        EXPECT_EQ(arena_free(a, vaddr_add_pages(a->base, far_page(i))), STATUS_OK);
    }
}

TEST(arena, what_one_arena_gives_back_serves_the_others)
{
    enum { ARENAS = 3, RANGES = 40, SHARED_PAGES = 100 };
    static struct arena arena[ARENAS];
    struct pages pages = {.next = test_pages(SHARED_PAGES), .left = SHARED_PAGES};
    REQUIRE(pages.next != NULL);
    struct arena_reserve reserve;
    arena_reserve_init(&reserve, (struct arena_source){&pages, more});
    const vaddr_t base = vaddr(ARENA_BED_BASE), end = vaddr_add_pages(base, 1ULL << 34);
    for (unsigned i = 0; i < ARENAS; i++) {
        REQUIRE(arena_init_shared(&arena[i], base, end, &reserve) == STATUS_OK);
        fill(&arena[i], RANGES);
        EXPECT(is_sound(&arena[i]));
    }
    const unsigned given = pages.given;
    pages.left = 0;
    EXPECT(given > 3);
    for (unsigned round = 0; round < 3 * ARENAS; round++) {
        arena_end(&arena[round % ARENAS]); /* with all that is used and cached in it */
        EXPECT(is_sound(&arena[(round + 1) % ARENAS]) && is_sound(&arena[(round + 2) % ARENAS]));
        REQUIRE(arena_init_shared(&arena[round % ARENAS], base, end, &reserve) == STATUS_OK);
        fill(&arena[round % ARENAS], RANGES); /* needs what the one before it had */
    }
    EXPECT_EQ(pages.given, given);
    for (unsigned i = 0; i < ARENAS; i++) {
        EXPECT_EQ(arena[i].ranges, RANGES - (RANGES + 2) / 3);
        arena_end(&arena[i]);
    }
    uint64_t nodes = 0, indexes = 0;
    for (const struct arena_node *n = reserve.nodes; n != NULL; n = n->next) {
        nodes++;
    }
    for (const struct arena_index *t = reserve.indexes; t != NULL; t = t->parent) {
        indexes++;
    }
    EXPECT_EQ(nodes + (uint64_t)(reserve.fresh_end - reserve.fresh), reserve.node_count);
    EXPECT_EQ(indexes, reserve.index_count);
    EXPECT_EQ(indexes % (PAGE_BYTES / sizeof(struct arena_index)), 0); /* whole pages of them: none is lost */
}

TEST(arena, an_arena_that_gets_no_nodes_does_not_begin)
{
    struct pages pages = {.next = test_pages(2)};
    REQUIRE(pages.next != NULL);
    struct arena_reserve reserve;
    struct arena a;
    arena_reserve_init(&reserve, (struct arena_source){&pages, more});
    const vaddr_t base = vaddr(ARENA_BED_BASE), end = vaddr_add_pages(base, 100);
    EXPECT_EQ(arena_init_shared(&a, base, end, &reserve), STATUS_NOMEM);
    EXPECT(reserve.node_count == 0 && reserve.index_count == 0);
    EXPECT_EQ(arena_init_shared(&a, base, base, &reserve), STATUS_INVALID);
    pages.left = 1;
    EXPECT_EQ(arena_init_shared(&a, base, end, &reserve), STATUS_OK);
    is_sound(&a);
    arena_end(&a);
}

/* Two used ranges become one, and parts of it go back as of any other. */
TEST(arena, used_neighbours_become_one_range)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1000, NODE_PAGES));
    struct arena_request request = {.pages = npages(6), .align_log2 = ARENA_ALIGN_PAGE, .tag = "joined", .kind = 77};
    vaddr_t base;
    REQUIRE(arena_request(&bed.arena, &request, &base) == STATUS_OK && base.v == arena_bed_page(&bed, 0).v);
    arena_bed_take_at(&bed, 6, 30);
    arena_bed_take_at(&bed, 36, 1);
    EXPECT_EQ(arena_join(&bed.arena, base), STATUS_OK);
    struct arena_range range;
    for (uint64_t at = 0; at < 36; at += 5) {
        expect_range(&bed, at, 0, 36, true);
        EXPECT(arena_find(&bed.arena, arena_bed_page(&bed, at), &range) && range.kind == 77);
    }
    expect_range(&bed, 36, 36, 1, true);
    EXPECT(bed.arena.ranges == 2 && bed.arena.used.v == 37);
    REQUIRE(arena_bed_is_sound(&bed));
    EXPECT_EQ(arena_free_part(&bed.arena, arena_bed_page(&bed, 10), npages(26)), STATUS_OK);
    expect_range(&bed, 0, 0, 10, true);
    arena_bed_give(&bed, 0); /* with the length that it has now: the next of 10 gets it */
    EXPECT_EQ(arena_bed_take(&bed, 10), 0);
    arena_bed_is_sound(&bed);
}

TEST(arena, only_used_neighbours_are_joined)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 100, NODE_PAGES));
    arena_bed_take_at(&bed, 10, 4);
    arena_bed_take_at(&bed, 14, 4);
    arena_bed_take_at(&bed, 20, 4);
    arena_bed_take_at(&bed, 24, 4);
    arena_bed_give(&bed, 24); /* cached */
    arena_bed_take_at(&bed, 96, 4);
    static const uint64_t wrong[] = {0, 9, 11, 14, 18, 20, 24, 96, 100, 1ULL << 40};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        test_expect_reports(i + 1);
        EXPECT_EQ(arena_join(&bed.arena, arena_bed_page(&bed, wrong[i])), STATUS_MISUSE);
    }
    EXPECT(bed.arena.used.v == 16 && bed.arena.ranges == 4);
    EXPECT_EQ(arena_join(&bed.arena, arena_bed_page(&bed, 10)), STATUS_OK);
    arena_bed_is_sound(&bed);
    arena_bed_give(&bed, 10); /* cached as one of 8, not as one of 4 */
    arena_bed_is_sound(&bed);
}
