/*
 * The page pool under random calls, against a record of what each page is. The record says which piece must come: of
 * the chunks of its kind the first one with a free piece, else an idle one; in the order in which the spans came.
 */
#include "unit/page_pool_bed.h"

enum {
    SPANS_MAX = 4,
    CHUNKS_MAX = SPANS_MAX * POOL_CHUNKS,
    PAGES_MAX = SPANS_MAX * POOL_SPAN,
    NOBODYS = 0xFF,
    IDLE = PAGE_POOL_KINDS,
};

/* Chunks and pages are numbered over all spans, in the order in which these came. */
static struct record {
    vaddr_t base[SPANS_MAX];
    unsigned spans, spans_max;
    uint8_t kind[CHUNKS_MAX];    /* IDLE, or of its pieces */
    unsigned in_use[CHUNKS_MAX]; /* pieces */
    uint8_t held[PAGES_MAX];     /* page - first page of its piece + 1 (0: the page below one apart); NOBODYS */
    uint64_t used;               /* pieces */
} record;

static unsigned first_of(unsigned chunk, unsigned piece)
{
    const struct pool_cut cut = pool_cuts[record.kind[chunk]];
    return chunk * POOL_CHUNK + cut.first + piece * cut.step;
}

static vaddr_t address(unsigned page)
{
    return vaddr_add_pages(record.base[page / POOL_SPAN], page % POOL_SPAN);
}

/* The lowest free piece of the chunk; as many as there are: none. */
static unsigned free_piece(unsigned chunk)
{
    const unsigned pieces = pool_cuts[record.kind[chunk]].pieces;
    unsigned piece = 0;
    while (piece < pieces && record.held[first_of(chunk, piece)] != NOBODYS) {
        piece++;
    }
    return piece;
}

/* Of the first span that has one: the kind's first that is idle. => CHUNKS_MAX: none. */
static unsigned idle_chunk(enum page_pool_kind kind)
{
    for (unsigned i = 0; i < record.spans * POOL_CHUNKS; i++) {
        const unsigned span = i / POOL_CHUNKS, chunk = span * POOL_CHUNKS + pool_bed_nth_chunk(kind, i % POOL_CHUNKS);
        if (record.kind[chunk] == IDLE) {
            return chunk;
        }
    }
    return CHUNKS_MAX;
}

/* Where the next piece must come from; with none idle and a span to be had, from that. => CHUNKS_MAX: none. */
static unsigned expected_chunk(enum page_pool_kind kind)
{
    for (unsigned chunk = 0; chunk < record.spans * POOL_CHUNKS; chunk++) {
        if (record.kind[chunk] == kind && record.in_use[chunk] < pool_cuts[kind].pieces) {
            return chunk;
        }
    }
    const unsigned chunk = idle_chunk(kind);
    if (chunk != CHUNKS_MAX || record.spans == record.spans_max) {
        return chunk;
    }
    return record.spans * POOL_CHUNKS + pool_bed_nth_chunk(kind, 0);
}

static void hold(unsigned first, enum page_pool_kind kind, bool held)
{
    const unsigned beside = kind == PAGE_POOL_APART ? 1 : 0;
    for (unsigned page = first - beside; page < first + pool_cuts[kind].pages + beside; page++) {
        EXPECT_EQ(record.held[page] == NOBODYS, held);
        record.held[page] = (uint8_t)(held ? page - first + 1 : NOBODYS);
    }
}

static void random_get(struct pool_bed *b, enum page_pool_kind kind)
{
    const unsigned chunk = expected_chunk(kind);
    vaddr_t page = vaddr(1);
    const enum status s = page_pool_get(&b->pool, kind, &page);
    EXPECT_EQ(s, chunk != CHUNKS_MAX ? STATUS_OK : STATUS_NOMEM);
    if (s != STATUS_OK || chunk == CHUNKS_MAX) {
        EXPECT_EQ(page.v, 1);
        return;
    }
    if (chunk / POOL_CHUNKS == record.spans) {
        const uint64_t span_bytes = pages_to_bytes(npages(POOL_SPAN));
        record.base[record.spans] = vaddr(page.v / span_bytes * span_bytes);
        EXPECT(record.base[record.spans].v >= b->bed.base.v &&
               record.base[record.spans].v + span_bytes <= b->bed.arena.end.v);
        record.spans++;
    }
    record.kind[chunk] = (uint8_t)kind;
    const unsigned first = first_of(chunk, free_piece(chunk));
    EXPECT_EQ(page.v, address(first).v);
    hold(first, kind, true);
    record.in_use[chunk]++;
    record.used++;
}

/* Any page: a piece goes back by its first page alone. */
static void random_put(struct pool_bed *b, unsigned page, uint64_t offset)
{
    const unsigned chunk = page / POOL_CHUNK;
    const bool is_first = offset == 0 && record.held[page] == 1;
    if (!is_first) {
        test_expect_reports(test_reports() + 1);
    }
    EXPECT_EQ(page_pool_put(&b->pool, vaddr_add(address(page), offset)), is_first ? STATUS_OK : STATUS_MISUSE);
    if (is_first) {
        hold(page, (enum page_pool_kind)record.kind[chunk], false);
        record.kind[chunk] = --record.in_use[chunk] == 0 ? IDLE : record.kind[chunk];
        record.used--;
    }
}

static void expect_found(const struct pool_bed *b, unsigned page, uint64_t offset)
{
    struct page_pool_piece piece = {0};
    const bool is_held = record.held[page] != NOBODYS;
    EXPECT_EQ(page_pool_find(&b->pool, vaddr_add(address(page), offset), &piece), is_held);
    if (is_held) {
        const enum page_pool_kind kind = (enum page_pool_kind)record.kind[page / POOL_CHUNK];
        const unsigned first = page + 1 - record.held[page];
        EXPECT(record.held[page] == 0 || record.held[first] == 1);
        EXPECT_EQ(piece.base.v, address(first).v);
        EXPECT_EQ(piece.pages.v, pool_cuts[kind].pages);
        EXPECT_EQ(piece.apart, kind == PAGE_POOL_APART);
    }
}

/* The whole chunk, mostly: so that it becomes idle. */
static void put_around(struct pool_bed *b, unsigned page)
{
    const unsigned begin = page / POOL_CHUNK * POOL_CHUNK;
    for (unsigned at = begin; at < begin + POOL_CHUNK; at++) {
        if (record.held[at] == 1) {
            random_put(b, at, 0);
        }
    }
}

static void random_call(struct pool_bed *b, struct rng *rng, uint64_t wish)
{
    const uint64_t what = rng_below(rng, 100), offset = rng_below(rng, 8) == 0 ? rng_below(rng, PAGE_BYTES) : 0;
    const enum page_pool_kind kind = (enum page_pool_kind)(rng_below(rng, 5) % PAGE_POOL_KINDS);
    if (record.spans == 0 || what < wish) {
        random_get(b, kind);
        return;
    }
    unsigned page = (unsigned)rng_below(rng, (uint64_t)record.spans * POOL_SPAN);
    if (record.held[page] != NOBODYS && rng_below(rng, 4) != 0) {
        page = page + 1 - record.held[page]; /* the first page of its piece */
    }
    if (what > 97) {
        put_around(b, page);
    } else {
        random_put(b, page, offset);
    }
    expect_found(b, page, offset);
}

/* In an arena that begins and ends somewhere: as many spans as fit are had. */
static void play(struct rng *rng, unsigned spans, uint64_t off, uint64_t pages)
{
    enum { NODE_PAGES = 8, TIDES = 6, CALLS = 2500, CHECK_EACH = 50 };
    static struct pool_bed b;
    record = (struct record){.spans_max = spans};
    memset(record.kind, IDLE, sizeof record.kind);
    memset(record.held, NOBODYS, sizeof record.held);
    REQUIRE(pool_bed_open_at(&b, vaddr_add_pages(vaddr(ARENA_BED_BASE), off), pages, NODE_PAGES));
    for (unsigned tide = 0; tide < TIDES; tide++) {
        const uint64_t wish = tide % 2 == 0 ? 90 : 20; /* more and more, fewer and fewer */
        for (unsigned i = 1; i <= CALLS * test_effort(); i++) {
            random_call(&b, rng, wish);
            if (i % CHECK_EACH == 0) {
                REQUIRE(pool_bed_is_sound(&b));
                EXPECT_EQ(b.pool.used, record.used);
                EXPECT_EQ(b.bed.arena.ranges, record.spans);
            }
        }
    }
    for (unsigned page = 0; page < record.spans * POOL_SPAN; page++) {
        expect_found(&b, page, 0);
        if (record.held[page] == 1) {
            random_put(&b, page, 0);
        }
    }
    EXPECT(b.pool.used == 0 && page_pool_end(&b.pool) == STATUS_OK && b.bed.arena.ranges == 0);
}

TEST(page_pool, random_calls_agree_with_a_record_of_pages)
{
    struct rng rng = rng_seeded(test_seed());
    play(&rng, 1, 0, POOL_SPAN);
    play(&rng, 2, 1 + rng_below(&rng, POOL_SPAN - 2), 3ULL * POOL_SPAN);
    play(&rng, SPANS_MAX, 0, SPANS_MAX * POOL_SPAN + rng_below(&rng, POOL_SPAN));
}
