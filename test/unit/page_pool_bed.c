/* What the tests of the page pool share. */
#include "unit/page_pool_bed.h"

enum { KIND_IN_ARENA = 5 };

const struct pool_cut pool_cuts[PAGE_POOL_KINDS] = {
    [PAGE_POOL_ONE] = {0, 1, 1, 64, 0},
    [PAGE_POOL_APART] = {1, 3, 1, 21, 32},
    [PAGE_POOL_FOUR] = {0, 4, 4, 16, 48},
};

bool pool_bed_open_at(struct pool_bed *b, vaddr_t base, uint64_t pages, unsigned node_pages)
{
    if (!arena_bed_open_at(&b->bed, base, pages, node_pages)) {
        return false;
    }
    page_pool_init(&b->pool, &b->bed.arena, "pool", KIND_IN_ARENA);
    return EXPECT(b->bed.arena.ranges == 0 && pool_bed_is_sound(b)); /* nothing is taken yet */
}

bool pool_bed_open(struct pool_bed *b, uint64_t pages, unsigned node_pages)
{
    return pool_bed_open_at(b, vaddr(ARENA_BED_BASE), pages, node_pages);
}

uint64_t pool_bed_get(struct pool_bed *b, enum page_pool_kind kind)
{
    vaddr_t page;
    if (!EXPECT_EQ(page_pool_get(&b->pool, kind, &page), STATUS_OK)) {
        return POOL_NONE;
    }
    EXPECT(is_page_aligned(page.v));
    return bytes_to_pages_down(page.v - b->bed.base.v).v;
}

void pool_bed_put(struct pool_bed *b, uint64_t page)
{
    EXPECT_EQ(page_pool_put(&b->pool, pool_bed_page(b, page)), STATUS_OK);
}

void pool_bed_expect_nomem(struct pool_bed *b, enum page_pool_kind kind)
{
    const struct page_pool before = b->pool;
    const uint64_t used = b->bed.arena.used.v, ranges = b->bed.arena.ranges;
    vaddr_t page = vaddr(1);
    EXPECT_EQ(page_pool_get(&b->pool, kind, &page), STATUS_NOMEM);
    EXPECT_EQ(page.v, 1);
    EXPECT(b->pool.used == before.used && b->pool.span_count == before.span_count && b->pool.idle == before.idle);
    EXPECT(memcmp(b->pool.room, before.room, sizeof before.room) == 0);
    EXPECT(b->bed.arena.used.v == used && b->bed.arena.ranges == ranges);
    pool_bed_is_sound(b);
}

bool pool_bed_is_sound(const struct pool_bed *b)
{
    static char text[256];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    const bool sound = EXPECT_EQ(page_pool_check(&b->pool, &sink.sink), STATUS_OK);
    if (!sound) {
        test_note("%s", text);
    }
    return arena_bed_is_sound(&b->bed) && sound;
}

void pool_bed_expect_broken(const struct pool_bed *b, const char *invariant)
{
    static char text[256];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    EXPECT_EQ(page_pool_check(&b->pool, &sink.sink), STATUS_CORRUPT);
    if (!EXPECT(strncmp(text, invariant, strlen(invariant)) == 0)) {
        test_note("expected %s, got: %s", invariant, text);
    }
    EXPECT_EQ(page_pool_check(&b->pool, NULL), STATUS_CORRUPT);
}

unsigned pool_bed_nth_chunk(enum page_pool_kind kind, unsigned n)
{
    const unsigned from = pool_cuts[kind].chunk;
    return from + n < POOL_CHUNKS ? from + n : from + n - POOL_CHUNKS;
}

uint64_t pool_bed_nth(enum page_pool_kind kind, unsigned n)
{
    const struct pool_cut cut = pool_cuts[kind];
    const unsigned chunk = pool_bed_nth_chunk(kind, n / cut.pieces);
    return chunk * (uint64_t)POOL_CHUNK + cut.first + n % cut.pieces * cut.step;
}
