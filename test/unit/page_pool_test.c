/* The page pool's contract: which pieces it gives, how they lie, what it finds and takes back. */
#include "lib/glob.h"
#include "unit/page_pool_bed.h"

enum { NODE_PAGES = 8 };

TEST(page_pool, kinds_serve_one_page_and_four)
{
    EXPECT_EQ(page_pool_kind_for(npages(1), ARENA_ALIGN_PAGE, false), PAGE_POOL_ONE);
    EXPECT_EQ(page_pool_kind_for(npages(1), ARENA_ALIGN_PAGE, true), PAGE_POOL_APART);
    EXPECT_EQ(page_pool_kind_for(npages(4), ARENA_ALIGN_PAGE, false), PAGE_POOL_FOUR);
    static const uint64_t others[] = {0, 2, 3, 5, 64, 257, (1ULL << 32) + 1, (1ULL << 32) + 4, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        EXPECT_EQ(page_pool_kind_for(npages(others[i]), ARENA_ALIGN_PAGE, false), PAGE_POOL_KINDS);
        EXPECT_EQ(page_pool_kind_for(npages(others[i]), ARENA_ALIGN_PAGE, true), PAGE_POOL_KINDS);
    }
    EXPECT_EQ(page_pool_kind_for(npages(4), ARENA_ALIGN_PAGE, true), PAGE_POOL_KINDS);
}

/* All of a span, one piece of the next one, and then those that were given back, whatever their order was. */
TEST(page_pool, the_lowest_free_piece_of_a_kind_comes_first)
{
    static struct pool_bed b;
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        REQUIRE(pool_bed_open(&b, 2ULL * POOL_SPAN, NODE_PAGES));
        const unsigned pieces = pool_bed_pieces(kind);
        for (unsigned i = 0; i < pieces; i++) {
            EXPECT_EQ(pool_bed_get(&b, kind), pool_bed_nth(kind, i));
        }
        EXPECT(b.bed.arena.ranges == 1 && b.bed.arena.used.v == POOL_SPAN);
        const uint64_t next = pool_bed_get(&b, kind);
        EXPECT_EQ(next, POOL_SPAN + pool_bed_nth(kind, 0));
        EXPECT(b.bed.arena.ranges == 2 && b.bed.arena.used.v == 2ULL * POOL_SPAN);
        REQUIRE(pool_bed_is_sound(&b));
        const unsigned chunk = pool_cuts[kind].pieces; /* of the first chunks, so that none becomes idle */
        const uint64_t back[] = {pool_bed_nth(kind, 2), pool_bed_nth(kind, chunk - 1), pool_bed_nth(kind, 0)};
        for (unsigned i = 0; i < ARRAY_LEN(back); i++) {
            pool_bed_put(&b, back[i]);
        }
        EXPECT_EQ(b.pool.used, pieces + 1 - ARRAY_LEN(back));
        REQUIRE(pool_bed_is_sound(&b));
        EXPECT_EQ(pool_bed_get(&b, kind), back[2]);
        EXPECT_EQ(pool_bed_get(&b, kind), back[0]);
        EXPECT_EQ(pool_bed_get(&b, kind), back[1]);
        EXPECT_EQ(pool_bed_get(&b, kind), next + pool_cuts[kind].step);
        pool_bed_is_sound(&b);
    }
}

struct owned {
    bool page[2 * POOL_SPAN];
    unsigned got[PAGE_POOL_KINDS]; /* pieces */
};

/* Takes all pages of a piece, and those beside one that is apart. => they are, and were nobody's. */
static bool claim(struct owned *owned, uint64_t page, enum page_pool_kind kind)
{
    const uint64_t beside = kind == PAGE_POOL_APART ? 1 : 0;
    bool ok = page >= beside && page < ARRAY_LEN(owned->page) - pool_cuts[kind].pages - beside + 1;
    for (uint64_t i = page - beside; ok && i < page + pool_cuts[kind].pages + beside; i++) {
        ok = !owned->page[i];
        owned->page[i] = true;
    }
    owned->got[kind]++;
    return ok;
}

TEST(page_pool, no_two_pieces_share_a_page_and_nobody_lies_beside_one_apart)
{
    static struct pool_bed b;
    static struct owned owned;
    memset(&owned, 0, sizeof owned);
    REQUIRE(pool_bed_open(&b, 2ULL * POOL_SPAN, NODE_PAGES));
    for (unsigned i = 0; b.pool.span_count < 2 || b.pool.idle != 0; i++) { /* until each chunk is somebody's */
        const enum page_pool_kind kind = (enum page_pool_kind)(i % PAGE_POOL_KINDS);
        REQUIRE(claim(&owned, pool_bed_get(&b, kind), kind));
    }
    REQUIRE(pool_bed_is_sound(&b));
    unsigned chunks = 0, pieces = 0;
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) { /* and what is left in them */
        vaddr_t page;
        while (page_pool_get(&b.pool, kind, &page) == STATUS_OK) {
            REQUIRE(claim(&owned, bytes_to_pages_down(page.v - b.bed.base.v).v, kind));
        }
        pool_bed_expect_nomem(&b, kind);
        EXPECT(owned.got[kind] > 0 && owned.got[kind] % pool_cuts[kind].pieces == 0);
        chunks += owned.got[kind] / pool_cuts[kind].pieces;
        pieces += owned.got[kind];
    }
    EXPECT(chunks == 2 * POOL_CHUNKS && b.pool.used == pieces);
}

TEST(page_pool, a_chunk_serves_any_kind_once_all_of_it_is_back)
{
    enum { CHUNK = 5, HELD = 7 };
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 2ULL * POOL_SPAN, NODE_PAGES));
    for (unsigned i = 0; i < POOL_SPAN; i++) {
        EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_ONE), i);
    }
    for (unsigned i = 0; i < POOL_CHUNK; i++) {
        pool_bed_put(&b, CHUNK * POOL_CHUNK + i);
        if (i > 0) {
            pool_bed_put(&b, HELD * POOL_CHUNK + i); /* but for its first page */
        }
    }
    REQUIRE(pool_bed_is_sound(&b));
    static const enum page_pool_kind kinds[] = {PAGE_POOL_APART, PAGE_POOL_FOUR, PAGE_POOL_APART, PAGE_POOL_FOUR};
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct pool_cut cut = pool_cuts[kinds[i]];
        for (unsigned n = 0; n < cut.pieces; n++) {
            EXPECT_EQ(pool_bed_get(&b, kinds[i]), CHUNK * POOL_CHUNK + cut.first + n * cut.step);
        }
        for (unsigned n = 0; n < cut.pieces; n++) {
            pool_bed_put(&b, CHUNK * POOL_CHUNK + cut.first + n * cut.step);
        }
        REQUIRE(pool_bed_is_sound(&b));
    }
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_ONE), HELD * POOL_CHUNK + 1); /* before an idle chunk */
    EXPECT_EQ(b.bed.arena.ranges, 1);
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_FOUR), CHUNK * POOL_CHUNK);
    EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_APART), POOL_SPAN + pool_bed_nth(PAGE_POOL_APART, 0)); /* HELD is not idle */
    EXPECT_EQ(b.bed.arena.ranges, 2);
    pool_bed_is_sound(&b);
}

TEST(page_pool, single_pages_lie_one_behind_the_other_whatever_comes_between)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, POOL_SPAN, NODE_PAGES));
    unsigned others = 0;
    for (unsigned i = 0; i < 15 * POOL_CHUNK; i++) {
        EXPECT_EQ(pool_bed_get(&b, PAGE_POOL_ONE), i);
        if (i % 2 == 0) {
            const enum page_pool_kind kind = i % 4 == 0 ? PAGE_POOL_APART : PAGE_POOL_FOUR;
            const uint64_t page = pool_bed_get(&b, kind);
            EXPECT(page >= 15 * POOL_CHUNK);
            others++;
        }
    }
    EXPECT_EQ(b.pool.used, 15 * POOL_CHUNK + others);
    pool_bed_is_sound(&b);
}

/* ---- Finding ---- */

struct found {
    uint8_t held[POOL_CHUNK]; /* 1 + the piece's first page; 0: no piece's, not even beside one */
};

/* Every address of the chunk is found as the record says. */
static void expect_found(const struct pool_bed *b, uint64_t chunk, enum page_pool_kind kind, const struct found *f)
{
    static const uint64_t offsets[] = {0, 1, PAGE_BYTES / 2, PAGE_BYTES - 1};
    for (unsigned page = 0; page < POOL_CHUNK; page++) {
        for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
            const vaddr_t va = vaddr_add(pool_bed_page(b, chunk * POOL_CHUNK + page), offsets[i]);
            struct page_pool_piece piece = {0};
            EXPECT_EQ(page_pool_find(&b->pool, va, &piece), f->held[page] != 0);
            if (f->held[page] != 0) {
                EXPECT_EQ(piece.base.v, pool_bed_page(b, chunk * POOL_CHUNK + f->held[page] - 1U).v);
                EXPECT_EQ(piece.pages.v, pool_cuts[kind].pages);
                EXPECT_EQ(piece.apart, kind == PAGE_POOL_APART);
            }
        }
    }
}

static void hold(struct found *f, enum page_pool_kind kind, unsigned first, bool held)
{
    const unsigned beside = kind == PAGE_POOL_APART ? 1 : 0;
    for (unsigned i = first - beside; i < first + pool_cuts[kind].pages + beside; i++) {
        f->held[i] = (uint8_t)(held ? first + 1 : 0);
    }
}

TEST(page_pool, a_piece_is_found_by_each_of_its_addresses_and_by_those_beside_it_if_it_is_apart)
{
    static struct pool_bed b;
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        const struct pool_cut cut = pool_cuts[kind];
        struct found f = {0};
        REQUIRE(pool_bed_open(&b, POOL_SPAN, NODE_PAGES));
        expect_found(&b, 0, kind, &f); /* no span yet */
        const uint64_t chunk = pool_bed_nth(kind, 0) / POOL_CHUNK;
        for (unsigned n = 0; n < cut.pieces; n++) {
            const uint64_t page = pool_bed_get(&b, kind);
            hold(&f, kind, (unsigned)(page % POOL_CHUNK), true);
            expect_found(&b, chunk, kind, &f);
        }
        for (unsigned i = 0; i < 2 * cut.pieces; i++) { /* every other one first, and then all: the chunk is idle */
            const unsigned n = i % cut.pieces, first = cut.first + n * cut.step;
            if (n % 2 == i / cut.pieces) {
                pool_bed_put(&b, chunk * POOL_CHUNK + first);
                hold(&f, kind, first, false);
                expect_found(&b, chunk, kind, &f);
            }
        }
        EXPECT_EQ(b.pool.used, 0);
    }
}

TEST(page_pool, nothing_is_found_outside_the_spans)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 4ULL * POOL_SPAN, NODE_PAGES));
    const uint64_t one = pool_bed_get(&b, PAGE_POOL_ONE), apart = pool_bed_get(&b, PAGE_POOL_APART);
    struct page_pool_piece piece;
    EXPECT(page_pool_find(&b.pool, pool_bed_page(&b, one), &piece));
    EXPECT(page_pool_find(&b.pool, pool_bed_page(&b, apart + 1), &piece));
    const uint64_t wrong[] = {b.bed.base.v - 1, pool_bed_page(&b, POOL_SPAN).v, pool_bed_page(&b, POOL_SPAN + apart).v,
                              pool_bed_page(&b, 4ULL * POOL_SPAN).v, 0, UINT64_MAX, b.bed.base.v & ~(1ULL << 63)};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT(!page_pool_find(&b.pool, vaddr(wrong[i]), &piece));
    }
}

/* ---- Misuse ---- */

/* No piece in use begins there: it is said, and all is as it was. */
static void expect_misuse(struct pool_bed *b, uint64_t va)
{
    const struct page_pool before = b->pool;
    test_expect_reports(test_reports() + 1);
    EXPECT_EQ(page_pool_put(&b->pool, vaddr(va)), STATUS_MISUSE);
    EXPECT(glob_match("page_pool_put: 0x*first page of no piece in use of the pool 'pool'", test_last_report()));
    EXPECT(memcmp(&b->pool, &before, sizeof before) == 0);
    pool_bed_is_sound(b);
}

TEST(page_pool, wrong_puts_are_reported_and_change_nothing)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 2ULL * POOL_SPAN, NODE_PAGES));
    uint64_t first[PAGE_POOL_KINDS];
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        first[kind] = pool_bed_page(&b, pool_bed_get(&b, kind)).v;
        const vaddr_t second = pool_bed_page(&b, pool_bed_get(&b, kind));
        const vaddr_t third = pool_bed_page(&b, pool_bed_get(&b, kind));
        EXPECT_EQ(page_pool_put(&b.pool, second), STATUS_OK);
        expect_misuse(&b, second.v); /* twice */
        EXPECT_EQ(page_pool_put(&b.pool, third), STATUS_OK);
        expect_misuse(&b, third.v + pages_to_bytes(npages(pool_cuts[kind].step))); /* never given */
        expect_misuse(&b, first[kind] + 1);
        expect_misuse(&b, first[kind] + PAGE_BYTES - 1);
    }
    for (unsigned i = 1; i < 4; i++) {
        expect_misuse(&b, first[PAGE_POOL_FOUR] + i * PAGE_BYTES);
    }
    expect_misuse(&b, first[PAGE_POOL_APART] - PAGE_BYTES); /* the page below it, and the one above */
    expect_misuse(&b, first[PAGE_POOL_APART] + PAGE_BYTES);
    expect_misuse(&b, first[PAGE_POOL_APART] + 62ULL * PAGE_BYTES); /* the last page of its chunk, of no three */
    expect_misuse(&b, pool_bed_page(&b, 30ULL * POOL_CHUNK).v); /* an idle chunk */
    for (enum page_pool_kind kind = 0; kind < PAGE_POOL_KINDS; kind++) { /* they are all there still */
        EXPECT_EQ(page_pool_put(&b.pool, vaddr(first[kind])), STATUS_OK);
        expect_misuse(&b, first[kind]); /* the chunk is idle now */
    }
    EXPECT_EQ(b.pool.used, 0);
}

TEST(page_pool, an_address_of_nobodys_span_is_absent)
{
    static struct pool_bed b;
    REQUIRE(pool_bed_open(&b, 3ULL * POOL_SPAN, NODE_PAGES));
    EXPECT_EQ(page_pool_put(&b.pool, pool_bed_page(&b, 0)), STATUS_ABSENT); /* the pool has none yet */
    const uint64_t page = pool_bed_get(&b, PAGE_POOL_ONE);
    const uint64_t plain = arena_bed_take(&b.bed, 1);
    EXPECT(plain / POOL_SPAN != page / POOL_SPAN);
    const uint64_t wrong[] = {pool_bed_page(&b, plain).v, pool_bed_page(&b, plain).v + 1, b.bed.base.v - PAGE_BYTES,
                              pool_bed_page(&b, 3ULL * POOL_SPAN).v, 0, UINT64_MAX, b.bed.base.v & ~(1ULL << 63)};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_EQ(page_pool_put(&b.pool, vaddr(wrong[i])), STATUS_ABSENT);
    }
    EXPECT_EQ(b.pool.used, 1);
    pool_bed_put(&b, page);
    arena_bed_give(&b.bed, plain);
    pool_bed_is_sound(&b);
}
