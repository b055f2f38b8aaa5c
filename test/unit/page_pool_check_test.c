/* The page pool's validator: each word broken in turn, and mended. */
#include "unit/page_pool_bed.h"

enum { NODE_PAGES = 8, FULL = 0, PART = 1, ONCE = 2, FOUR = 48, APART = 32, NEVER = 30 };

/* Chunks of the one span: FULL and PART of single pages, ONCE was one, FOUR, APART; NEVER and the others are idle. */
static bool scene(struct pool_bed *b)
{
    if (!pool_bed_open(b, 4ULL * POOL_SPAN, NODE_PAGES)) {
        return false;
    }
    for (unsigned i = 0; i <= ONCE * POOL_CHUNK; i++) {
        EXPECT_EQ(pool_bed_get(b, PAGE_POOL_ONE), i);
    }
    pool_bed_put(b, ONCE * POOL_CHUNK);
    pool_bed_put(b, PART * POOL_CHUNK + 3);
    pool_bed_put(b, PART * POOL_CHUNK + 63);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(pool_bed_get(b, PAGE_POOL_APART), APART * POOL_CHUNK + 1 + 3 * i);
        EXPECT_EQ(pool_bed_get(b, PAGE_POOL_FOUR), FOUR * POOL_CHUNK + 4 * i);
    }
    return pool_bed_is_sound(b);
}

/* Nothing of the first span is idle, or free for four pages. */
static bool begin_second(struct pool_bed *b)
{
    while (b->pool.span_count == 1 && pool_bed_get(b, PAGE_POOL_FOUR) != POOL_NONE) {
    }
    return pool_bed_is_sound(b);
}

/* `field` has `value` for a moment; the check says `text` first. */
#define BREAK(b, field, value, text)                                                                                   \
    do {                                                                                                               \
        const __typeof__(field) saved_ = (field);                                                                      \
        (field) = (value);                                                                                             \
        pool_bed_expect_broken((b), (text));                                                                           \
        (field) = saved_;                                                                                              \
    } while (0)

TEST(page_pool, the_check_sees_a_free_bit_that_lies)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    uint64_t *free = b.pool.spans[0]->free;
    for (unsigned bit = 0; bit < POOL_CHUNK; bit++) {
        const uint64_t flipped = 1ULL << bit;
        BREAK(&b, free[FULL], flipped, "POOL-I2: room");
        BREAK(&b, free[PART], free[PART] ^ flipped, "POOL-I3");
        const bool begins_apart = bit % 3 == 1 && bit < 63;
        BREAK(&b, free[APART], free[APART] ^ flipped, begins_apart ? "POOL-I3" : "POOL-I2: pieces");
        BREAK(&b, free[FOUR], free[FOUR] ^ flipped, bit % 4 == 0 ? "POOL-I3" : "POOL-I2: pieces");
    }
    BREAK(&b, free[PART], 0, "POOL-I2: room");
    BREAK(&b, free[APART], 0, "POOL-I2: room");
    BREAK(&b, free[PART], UINT64_MAX, "POOL-I2: pieces"); /* it should be idle */
    BREAK(&b, free[APART], UINT64_MAX / 7, "POOL-I2: pieces");
    BREAK(&b, free[FOUR], UINT64_MAX / 15, "POOL-I2: pieces");
    pool_bed_is_sound(&b);
}

TEST(page_pool, the_check_sees_a_word_of_a_span_that_lies)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    struct page_pool_span *span = b.pool.spans[0];
    for (unsigned kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        for (unsigned chunk = 0; chunk < POOL_CHUNKS; chunk++) {
            BREAK(&b, span->room[kind], span->room[kind] ^ 1ULL << chunk, "POOL-I2: room");
        }
    }
    BREAK(&b, span->idle, span->idle | 1ULL << FULL, "POOL-I3");
    BREAK(&b, span->idle, span->idle | 1ULL << PART, "POOL-I2: room");
    BREAK(&b, span->idle, span->idle | 1ULL << FOUR, "POOL-I2: room");
    BREAK(&b, span->idle, span->idle & ~(1ULL << ONCE), "POOL-I2");
    BREAK(&b, span->idle, span->idle & ~(1ULL << NEVER), "POOL-I3");
    BREAK(&b, span->idle, 0, "POOL-I2");
    static const unsigned chunks[] = {FULL, PART, FOUR, APART};
    for (unsigned i = 0; i < ARRAY_LEN(chunks); i++) {
        BREAK(&b, span->kinds[chunks[i]], PAGE_POOL_KINDS, "POOL-I2");
        BREAK(&b, span->kinds[chunks[i]], PAGE_POOL_KINDS + 1, "POOL-I2");
        BREAK(&b, span->kinds[chunks[i]], UINT8_MAX, "POOL-I2");
    }
    BREAK(&b, span->kinds[PART], PAGE_POOL_APART, "POOL-I2");
    BREAK(&b, span->kinds[APART], PAGE_POOL_FOUR, "POOL-I2");
    BREAK(&b, span->kinds[FOUR], PAGE_POOL_ONE, "POOL-I2");
    BREAK(&b, span->kinds[FULL], PAGE_POOL_FOUR, "POOL-I3"); /* 16 pieces instead of 64 */
    span->kinds[NEVER] = PAGE_POOL_APART;                         /* of an idle one it says nothing */
    span->free[NEVER] = 2;
    pool_bed_is_sound(&b);
}

TEST(page_pool, the_check_sees_a_word_of_the_pool_that_lies)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    for (unsigned kind = 0; kind < PAGE_POOL_KINDS; kind++) {
        BREAK(&b, b.pool.room[kind], 0, "POOL-I2: the pool's word");
    }
    BREAK(&b, b.pool.idle, 0, "POOL-I2: the pool's word");
    BREAK(&b, b.pool.used, b.pool.used + 1, "POOL-I3");
    BREAK(&b, b.pool.used, b.pool.used - 1, "POOL-I3");
    BREAK(&b, b.pool.used, 0, "POOL-I3");
    REQUIRE(begin_second(&b)); /* of the first one, that has neither room nor idle chunks */
    BREAK(&b, b.pool.room[PAGE_POOL_FOUR], b.pool.room[PAGE_POOL_FOUR] | 1, "POOL-I2: the pool's word");
    BREAK(&b, b.pool.idle, b.pool.idle | 1, "POOL-I2: the pool's word");
    pool_bed_is_sound(&b);
}

TEST(page_pool, the_check_sees_a_span_that_is_no_range_of_the_arena)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    struct arena *a = &b.bed.arena;
    const vaddr_t base = b.pool.bases[0];
    BREAK(&b, b.pool.bases[0], vaddr_add_pages(base, 1), "POOL-I1");
    BREAK(&b, b.pool.bases[0], vaddr_add_pages(base, POOL_SPAN), "POOL-I1");
    BREAK(&b, b.pool.bases[0], vaddr_add_pages(base, 4ULL * POOL_SPAN), "POOL-I1");
    BREAK(&b, b.pool.bases[0], vaddr(0), "POOL-I1");
    BREAK(&b, b.pool.tag, "loop", "POOL-I1");
    b.pool.kind = 0; /* which ranges have from arena_alloc_at: they differ by what else is wrong with them */
    EXPECT_EQ(arena_free(a, base), STATUS_OK); /* it is nobody's; then somebody else's; then shorter, or longer */
    pool_bed_expect_broken(&b, "POOL-I1");
    EXPECT_EQ(arena_alloc_at(a, base, npages(POOL_SPAN), "else"), STATUS_OK);
    pool_bed_expect_broken(&b, "POOL-I1");
    EXPECT_EQ(arena_free(a, base), STATUS_OK);
    static const int64_t more[] = {-1, 1, -POOL_SPAN / 2, POOL_SPAN};
    for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
        EXPECT_EQ(arena_alloc_at(a, base, npages((uint64_t)(POOL_SPAN + more[i])), b.pool.tag), STATUS_OK);
        pool_bed_expect_broken(&b, "POOL-I1");
        EXPECT_EQ(arena_free(a, base), STATUS_OK);
    }
    const struct arena_request same = {.pages = npages(POOL_SPAN),
                                       .align_log2 = PAGE_POOL_SPAN_ALIGN_LOG2,
                                       .tag = b.pool.tag,
                                       .kind = b.pool.kind,
                                       .low_end = true};
    vaddr_t again;
    arena_trim(a);
    EXPECT_EQ(arena_request(a, &same, &again), STATUS_OK);
    EXPECT_EQ(again.v, base.v);
    pool_bed_is_sound(&b);
}

/* A bit of the pool's words for a span that there is not leads nowhere: the next call would go there. */
TEST(page_pool, the_check_sees_what_is_said_of_spans_that_are_not_there)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    for (unsigned span = 1; span < POOL_SPANS; span++) {
        for (unsigned kind = 0; kind < PAGE_POOL_KINDS; kind++) {
            BREAK(&b, b.pool.room[kind], b.pool.room[kind] | 1ULL << span, "POOL-I2");
        }
        BREAK(&b, b.pool.idle, b.pool.idle | 1ULL << span, "POOL-I2");
    }
    pool_bed_is_sound(&b);
}

/* A range that reaches as far, and begins elsewhere. */
TEST(page_pool, the_check_sees_a_span_that_lies_in_a_range_which_begins_below_it)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    b.pool.kind = 0;
    EXPECT_EQ(arena_free(&b.bed.arena, b.pool.bases[0]), STATUS_OK);
    EXPECT_EQ(arena_alloc_at(&b.bed.arena, b.pool.bases[0], npages(POOL_SPAN), b.pool.tag), STATUS_OK);
    arena_bed_take_at(&b.bed, POOL_SPAN, 1);
    REQUIRE(begin_second(&b));
    const vaddr_t base = b.pool.bases[1];
    EXPECT_EQ(base.v, pool_bed_page(&b, 2ULL * POOL_SPAN).v);
    EXPECT_EQ(arena_free(&b.bed.arena, base), STATUS_OK);
    const vaddr_t below = pool_bed_page(&b, 2ULL * POOL_SPAN - 7);
    EXPECT_EQ(arena_alloc_at(&b.bed.arena, below, npages(POOL_SPAN), b.pool.tag), STATUS_OK);
    pool_bed_expect_broken(&b, "POOL-I1");
}

/* Of two spans at one place the second is never found, so that no piece of it goes back; nor is one that lies askew. */
TEST(page_pool, the_check_sees_a_span_that_is_not_found_by_its_base)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    struct arena *a = &b.bed.arena;
    REQUIRE(begin_second(&b));
    BREAK(&b, b.pool.bases[1], b.pool.bases[0], "POOL-I1");
    arena_bed_take_at(&b.bed, 2ULL * POOL_SPAN, 1);
    const vaddr_t askew = pool_bed_page(&b, 2ULL * POOL_SPAN + 1);
    EXPECT_EQ(arena_alloc_at(a, askew, npages(POOL_SPAN), b.pool.tag), STATUS_OK);
    BREAK(&b, b.pool.bases[1], askew, "POOL-I1");
    pool_bed_is_sound(&b);
}

TEST(page_pool, the_check_sees_a_span_that_has_another_kind_in_the_arena)
{
    static struct pool_bed b;
    REQUIRE(scene(&b));
    BREAK(&b, b.pool.kind, b.pool.kind + 1, "POOL-I1");
    pool_bed_is_sound(&b);
}
