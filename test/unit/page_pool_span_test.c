/* The page pool's spans: addresses and memory for them, none of either, and what becomes of them. */
#include "lib/glob.h"
#include "unit/page_pool_bed.h"

enum { NODE_PAGES = 8, SPANS_A_PAGE = PAGE_BYTES / sizeof(struct page_pool_span) };

/* Pieces of four until there are `spans`, each of them full. */
static void fill(struct pool_bed *b, unsigned spans)
{
    uint64_t page = 0;
    while (page != POOL_NONE &&
           (b->pool.span_count < spans || b->pool.idle != 0 || b->pool.room[PAGE_POOL_FOUR] != 0)) {
        const unsigned had = b->pool.span_count;
        page = pool_bed_get(b, PAGE_POOL_FOUR);
        if (b->pool.span_count != had && page / POOL_SPAN != had) {
            test_note("span %u begins at page %lu", had, page);
            EXPECT(false);
        }
    }
}

/* The pieces in use of the first so many pages of the arena, whatever they are, found by their addresses. */
static void put_below(struct pool_bed *b, uint64_t pages)
{
    struct page_pool_piece piece;
    for (uint64_t page = 0; page < pages; page++) {
        const vaddr_t va = pool_bed_page(b, page);
        if (page_pool_find(&b->pool, va, &piece) && piece.base.v == va.v) {
            EXPECT_EQ(page_pool_put(&b->pool, va), STATUS_OK);
        }
    }
}

static void put_all(struct pool_bed *b, uint64_t pages)
{
    put_below(b, pages);
    EXPECT(b->pool.used == 0 && b->pool.room[PAGE_POOL_ONE] == 0 && b->pool.room[PAGE_POOL_APART] == 0 &&
           b->pool.room[PAGE_POOL_FOUR] == 0);
    pool_bed_is_sound(b);
}

TEST(page_pool, a_pool_has_64_spans_and_no_more)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, (POOL_SPANS + 1ULL) * POOL_SPAN, 2 * NODE_PAGES));
    fill(&b, POOL_SPANS);
    EXPECT_EQ(b.pool.used, (uint64_t)POOL_SPANS * pool_bed_pieces(PAGE_POOL_FOUR));
    EXPECT(b.bed.arena.ranges == POOL_SPANS && b.bed.arena.used.v == (uint64_t)POOL_SPANS * POOL_SPAN);
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        pool_bed_expect_nomem(&b, kind);
    }
    struct page_pool_piece piece; /* in the last span as in the first */
    const uint64_t last = (uint64_t)POOL_SPANS * POOL_SPAN - 1;
    EXPECT(page_pool_find(&b.pool, pool_bed_page(&b, last), &piece) && piece.base.v == pool_bed_page(&b, last - 3).v);
    EXPECT(!page_pool_find(&b.pool, pool_bed_page(&b, last + 1), &piece));
    pool_bed_put(&b, last - 3);
    pool_bed_put(&b, 40);
    pool_bed_expect_nomem(&b, PAGE_POOL_ONE); /* there is room, but not for single pages */
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_FOUR), 40);
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_FOUR), last - 3);
    for (unsigned i = 0; i < POOL_CHUNK; i += 4) { /* a whole chunk of the last span */
        pool_bed_put(&b, last + 1 - POOL_CHUNK + i);
    }
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_ONE), last + 1 - POOL_CHUNK);
    pool_bed_expect_nomem(&b, PAGE_POOL_APART);
    put_all(&b, last + 1);
    EXPECT_EQ(b.bed.arena.ranges, POOL_SPANS); /* they stay */
    EXPECT_EQ(page_pool_end(&b.pool), STATUS_OK);
    EXPECT(b.bed.arena.ranges == 0 && b.bed.arena.used.v == 0);
    pool_bed_is_sound(&b);
}

TEST(page_pool, the_lowest_span_with_room_serves)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 4ULL * POOL_SPAN, NODE_PAGES));
    fill(&b, 3);
    pool_bed_put(&b, 2ULL * POOL_SPAN + 64);
    pool_bed_put(&b, 1ULL * POOL_SPAN + 4);
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_FOUR), 1ULL * POOL_SPAN + 4);
    for (unsigned i = 0; i < POOL_CHUNK; i += 4) { /* idle chunks of the second and of the third */
        pool_bed_put(&b, 2ULL * POOL_SPAN + 9ULL * POOL_CHUNK + i);
        pool_bed_put(&b, 1ULL * POOL_SPAN + 9ULL * POOL_CHUNK + i);
    }
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_FOUR), 2ULL * POOL_SPAN + 64); /* a chunk of the kind before an idle one */
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_ONE), 1ULL * POOL_SPAN + 9ULL * POOL_CHUNK);
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_APART), 2ULL * POOL_SPAN + 9ULL * POOL_CHUNK + 1);
    EXPECT_EQ(b.bed.arena.ranges, 3);
    put_all(&b, 4ULL * POOL_SPAN);
}

/* ---- The end ---- */

TEST(page_pool, a_pool_ends_when_nothing_of_it_is_in_use_and_can_be_used_again)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 3ULL * POOL_SPAN, NODE_PAGES));
    EXPECT_EQ(page_pool_end(&b.pool), STATUS_OK); /* there is nothing */
    uint64_t pages[PAGE_POOL_KINDS];
    fill(&b, 1);
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        pages[kind] = pool_bed_get(&b, kind);
    }
    put_below(&b, POOL_SPAN);
    for (unsigned kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        const struct page_pool before = b.pool;
        test_expect_reports(kind + 1);
        EXPECT_EQ(page_pool_end(&b.pool), STATUS_MISUSE);
        EXPECT(glob_match("page_pool_end: * of the pool 'pool' are in use", test_last_report()));
        EXPECT(memcmp(&b.pool, &before, sizeof before) == 0 && b.bed.arena.ranges == 2);
        pool_bed_put(&b, pages[kind]);
    }
    for (unsigned round = 0; round < 3; round++) {
        EXPECT_EQ(page_pool_end(&b.pool), STATUS_OK);
        EXPECT(b.bed.arena.ranges == 0 && b.bed.arena.used.v == 0 && b.pool.span_count == 0);
        REQUIRE(pool_bed_is_sound(&b));
        EXPECT_EQ(page_pool_put(&b.pool, pool_bed_page(&b, pages[PAGE_POOL_ONE])), STATUS_ABSENT);
        arena_trim(&b.bed.arena);
        EXPECT_EQ(arena_bed_take(&b.bed, 3ULL * POOL_SPAN), 0); /* all of the addresses are one range again */
        arena_bed_give(&b.bed, 0);
        const unsigned given = b.bed.given;
        fill(&b, 2);
        EXPECT_EQ(b.bed.given, given); /* the memory for the bits was kept */
        REQUIRE(pool_bed_is_sound(&b));
        put_all(&b, 3ULL * POOL_SPAN);
    }
}

/* ---- Memory is short ---- */

/* The arena has nodes for all that the pool will ask of it: from now on `given` counts pages for bits. */
static bool open_ready(struct pool_bed *b, unsigned spans)
{
    const bool ok = pool_bed_open(b, (uint64_t)spans * POOL_SPAN, 4 * NODE_PAGES) &&
                    EXPECT_EQ(arena_reserve_for(&b->bed.arena, spans), STATUS_OK);
    b->bed.left = 0;
    return ok;
}

TEST(page_pool, each_refusal_of_memory_changes_nothing)
{
    static struct pool_bed b;
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        REQUIRE(open_ready(&b, SPANS_A_PAGE + 1));
        pool_bed_expect_nomem(&b, kind); /* for the bits */
        b.bed.left = 1;
        const struct arena_reserve whole = arena_bed_hide_nodes(&b.bed.arena);
        vaddr_t page = vaddr(1);
        EXPECT_EQ(page_pool_get(&b.pool, kind, &page), STATUS_NOMEM); /* for the arena's nodes */
        EXPECT(page.v == 1 && b.pool.span_count == 0 && b.pool.used == 0 && b.pool.idle == 0);
        EXPECT(b.bed.left == 0 && b.bed.arena.ranges == 0);
        *b.bed.arena.reserve = whole;
        REQUIRE(pool_bed_is_sound(&b));
        EXPECT_EQ(pool_bed_get(&b, kind), pool_bed_nth(kind, 0)); /* the memory for the bits is there */
        vaddr_t pieces[2];
        unsigned got = 1;
        while (got <= POOL_SPANS * POOL_SPAN && page_pool_get(&b.pool, kind, &pieces[got % 2]) == STATUS_OK) {
            got++;
        }
        EXPECT_EQ(got, SPANS_A_PAGE * pool_bed_pieces(kind)); /* for the bits of the next one */
        pool_bed_expect_nomem(&b, kind);
        b.bed.left = 1;
        EXPECT_EQ(pool_bed_get(&b, kind), (uint64_t)SPANS_A_PAGE * POOL_SPAN + pool_bed_nth(kind, 0));
        EXPECT_EQ(page_pool_put(&b.pool, pieces[0]), STATUS_OK); /* which needs none */
        pool_bed_is_sound(&b);
    }
}

/* No addresses, time and again: memory that was had for the bits of the next span is there when there are some. */
TEST(page_pool, what_was_had_before_a_refusal_is_not_lost)
{
    enum { SPANS = 20, TRIES = 5 };
    static struct pool_bed b;
    REQUIRE(open_ready(&b, SPANS));
    const unsigned had = b.bed.given;
    b.bed.left = NODE_PAGES;
    for (unsigned spans = 0; spans < SPANS; spans++) {
        fill(&b, spans);
        arena_bed_take_at(&b.bed, (uint64_t)spans * POOL_SPAN, (uint64_t)(SPANS - spans) * POOL_SPAN);
        for (unsigned i = 0; i < TRIES; i++) {
            pool_bed_expect_nomem(&b, PAGE_POOL_FOUR);
        }
        EXPECT_EQ(b.bed.given, had + spans / SPANS_A_PAGE + 1);
        arena_bed_give(&b.bed, (uint64_t)spans * POOL_SPAN);
    }
    fill(&b, SPANS);
    EXPECT_EQ(b.bed.given, had + (SPANS - 1) / SPANS_A_PAGE + 1);
    put_all(&b, (uint64_t)SPANS * POOL_SPAN);
}

/* ---- Arenas that do not fit a span ---- */

/* An arena of `pages` that begins `off` pages behind a multiple of a span: as many spans as lie in it, and no more. */
static void expect_spans(struct pool_bed *b, uint64_t off, uint64_t pages)
{
    REQUIRE(pool_bed_open_at(b, vaddr_add_pages(vaddr(ARENA_BED_BASE), off), pages, NODE_PAGES));
    const uint64_t skip = (POOL_SPAN - off % POOL_SPAN) % POOL_SPAN;
    const uint64_t spans = pages < skip ? 0 : (pages - skip) / POOL_SPAN;
    for (uint64_t i = 0; i < spans * pool_bed_pieces(PAGE_POOL_FOUR); i++) {
        const unsigned per_span = pool_bed_pieces(PAGE_POOL_FOUR);
        const uint64_t page = pool_bed_get(b, PAGE_POOL_FOUR);
        EXPECT_EQ(page, skip + i / per_span * POOL_SPAN + pool_bed_nth(PAGE_POOL_FOUR, (unsigned)(i % per_span)));
    }
    EXPECT_EQ(b->bed.arena.ranges, spans);
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        pool_bed_expect_nomem(b, kind);
    }
    put_all(b, pages);
    EXPECT_EQ(page_pool_end(&b->pool), STATUS_OK);
    arena_trim(&b->bed.arena);
    EXPECT_EQ(arena_bed_take(&b->bed, pages), 0);
}

TEST(page_pool, a_span_lies_in_the_arena_or_is_not_had)
{
    static struct pool_bed b;
    static const struct {
        uint64_t off, pages;
    } arenas[] = {{0, 1},
                  {0, POOL_SPAN - 1},
                  {0, POOL_SPAN},
                  {1, POOL_SPAN},
                  {1, 2 * POOL_SPAN - 2},
                  {1, 2 * POOL_SPAN - 1},
                  {POOL_SPAN - 1, POOL_SPAN},
                  {POOL_SPAN - 1, POOL_SPAN + 1},
                  {5, 3 * POOL_SPAN + 77},
                  {0, 3 * POOL_SPAN - 1}};
    for (unsigned i = 0; i < ARRAY_LEN(arenas); i++) {
        expect_spans(&b, arenas[i].off, arenas[i].pages);
    }
}

/* In the holes that others leave, at the low end of each of them that has room, so that single ranges lie behind it. */
TEST(page_pool, spans_lie_between_what_others_have)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 6ULL * POOL_SPAN, NODE_PAGES));
    arena_bed_take_at(&b.bed, 0, 1);
    arena_bed_take_at(&b.bed, 3ULL * POOL_SPAN - 1, 1);
    arena_bed_take_at(&b.bed, 4ULL * POOL_SPAN + 9, 2);
    unsigned seen = 0; /* bit s: there is a span at s */
    for (unsigned i = 0; i < 3 * pool_bed_pieces(PAGE_POOL_APART); i++) {
        seen |= 1U << pool_bed_get(&b, PAGE_POOL_APART) / POOL_SPAN;
    }
    EXPECT_EQ(seen, 1U << 1 | 1U << 3 | 1U << 5);
    pool_bed_expect_nomem(&b, PAGE_POOL_ONE);
    put_all(&b, 6ULL * POOL_SPAN);
}

/* ---- Side by side ---- */

TEST(page_pool, pools_keep_apart_though_they_share_an_arena_or_a_reserve)
{
    static struct pool_bed b;
    static struct arena other_arena;
    REQUIRE(pool_bed_open(&b, 8ULL * POOL_SPAN, 2 * NODE_PAGES));
    const vaddr_t far = vaddr_add_pages(b.bed.base, 1ULL << 20), end = vaddr_add_pages(far, 2ULL * POOL_SPAN);
    REQUIRE(arena_init_shared(&other_arena, far, end, &b.bed.arena.own) == STATUS_OK);
    static struct page_pool beside, elsewhere;
    page_pool_init(&beside, &b.bed.arena, "beside", 1);
    page_pool_init(&elsewhere, &other_arena, "elsewhere", 1);
    struct page_pool *const pools[] = {&b.pool, &beside, &elsewhere};
    vaddr_t pages[ARRAY_LEN(pools)][PAGE_POOL_KINDS];
    for (unsigned i = 0; i < ARRAY_LEN(pools) * PAGE_POOL_KINDS; i++) {
        EXPECT_EQ(page_pool_get(pools[i % 3], (enum page_pool_kind)(i / 3), &pages[i % 3][i / 3]), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(pools) * PAGE_POOL_KINDS; i++) {
        const vaddr_t page = pages[i % 3][i / 3];
        struct page_pool_piece piece;
        for (unsigned k = 0; k < ARRAY_LEN(pools); k++) {
            EXPECT_EQ(page_pool_find(pools[k], page, &piece), k == i % 3);
            EXPECT_EQ(page_pool_put(pools[k], page), k == i % 3 ? STATUS_OK : STATUS_ABSENT);
        }
    }
    EXPECT_EQ(page_pool_check(&beside, NULL), STATUS_OK);
    EXPECT_EQ(page_pool_check(&elsewhere, NULL), STATUS_OK);
    EXPECT(b.bed.arena.ranges == 2 && other_arena.ranges == 1);
    EXPECT_EQ(page_pool_end(&beside), STATUS_OK);
    EXPECT_EQ(page_pool_end(&elsewhere), STATUS_OK);
    arena_end(&other_arena);
    EXPECT_EQ(b.bed.arena.ranges, 1);
    pool_bed_is_sound(&b);
}

/* An arena that imports its addresses, in spans of its own that are larger than the pool's, as large, or smaller. */
static enum status import_get(void *ctx, npages_t pages, vaddr_t *base)
{
    const struct arena_request request = {
        .pages = pages, .align_log2 = PAGE_POOL_SPAN_ALIGN_LOG2, .tag = "import", .low_end = true};
    return arena_request(ctx, &request, base);
}

static void import_put(void *ctx, vaddr_t base, npages_t pages)
{
    (void)pages;
    EXPECT_EQ(arena_free(ctx, base), STATUS_OK);
}

TEST(page_pool, a_pool_stands_in_front_of_an_arena_that_grows)
{
    enum { SPANS = 12 };
    static const uint64_t sizes[] = {2 * POOL_SPAN, POOL_SPAN, POOL_SPAN / 8};
    static struct arena_bed from;
    static struct pool_bed b;
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        REQUIRE(arena_bed_open(&from, (uint64_t)SPANS * POOL_SPAN, 2 * NODE_PAGES));
        const vaddr_t end = arena_bed_page(&from, (uint64_t)SPANS * POOL_SPAN);
        const struct arena_spans spans = {&from.arena, npages(sizes[i]), import_get, import_put};
        REQUIRE(arena_init_spans(&b.bed.arena, from.base, end, from.arena.reserve, spans) == STATUS_OK);
        b.bed.base = from.base;
        page_pool_init(&b.pool, &b.bed.arena, "pool", 1);
        fill(&b, 3);
        EXPECT_EQ(b.bed.arena.ranges, 3);
        put_all(&b, (uint64_t)SPANS * POOL_SPAN);
        EXPECT_EQ(page_pool_end(&b.pool), STATUS_OK);
        arena_end(&b.bed.arena);
        EXPECT_EQ(from.arena.used.v, 0);
        arena_bed_is_sound(&from);
    }
}
