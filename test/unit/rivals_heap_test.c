/*
 * The ways to make a heap out of pages (test/rivals/heap/way.h) are correct, so that what is measured of them counts:
 * random histories against what was written in each block, a source that refuses, and a source that sees pages given
 * back wrongly.
 */
#include "rivals/heap/way.h"
#include "unit/heap_pages.h"

enum { SOURCE_PAGES = 6000, LIVE = 250, STEPS = 12000, SLOT_BYTES = 4 * PAGE_BYTES, SMALL_SLOT_BYTES = 1500 };

struct calls {
    const char *name;
    void (*start)(void *state, struct heap_source source, size_t slot_bytes);
    void *(*alloc)(void *state, size_t bytes);
    void *(*alloc_aligned)(void *state, size_t bytes, size_t align_bytes);
    void *(*resize)(void *state, void *block, size_t bytes);
    enum status (*release)(void *state, void *block);
    size_t (*usable)(void *state, const void *block);
    npages_t (*shrink)(void *state);
    size_t most_bytes, slot_bytes;
};

#define WAY(way_, most_, slot_)                                                                                 \
    {                                                                                                           \
        #way_, way_##_start, way_##_alloc, way_##_alloc_aligned, way_##_resize, way_##_release, way_##_usable, \
            way_##_shrink, most_, slot_                                                                         \
    }
static const struct calls ways[] = {
    WAY(tlsf_idea, 8 * SLOT_BYTES, 0),
    WAY(first_fit, 8 * SLOT_BYTES, 0),
    WAY(carving, 8 * SLOT_BYTES, 0),
    WAY(buddy, 8 * SLOT_BYTES, 0),
    WAY(single_pages, PAGE_BYTES, 0),
    WAY(one_size, SLOT_BYTES, SLOT_BYTES),
    WAY(one_size, SMALL_SLOT_BYTES, SMALL_SLOT_BYTES),
};
enum { WAYS = sizeof ways / sizeof ways[0], WITH_TAGS = 3, WITH_HEADS_OR_MAP = 4 };

/* => the state; null: no memory. */
static void *begin(const struct calls *way)
{
    uint8_t *state = test_pages(bytes_to_pages_up(WAY_STATE_BYTES).v);
    const struct heap_source source = heap_pages_begin(SOURCE_PAGES);
    if (state != NULL && source.pages_get != NULL) {
        way->start(state, source, way->slot_bytes);
        return state;
    }
    return NULL;
}

static bool is_empty(const struct calls *way, void *state)
{
    const struct way *w = state;
    (void)way->shrink(state);
    return EXPECT_EQ(heap_pages_out(), 0) && EXPECT_EQ(w->held_pages, 0) && EXPECT_EQ(w->used_bytes, 0) &&
           EXPECT_EQ(w->allocs, w->frees);
}

/* ---- Histories ---- */

static size_t random_bytes(const struct calls *way, struct rng *rng)
{
    const size_t most = rng_below(rng, 10) == 0 ? way->most_bytes : way->most_bytes < 600 ? way->most_bytes : 600;
    return 1 + rng_below(rng, most);
}

static bool step_new(const struct calls *way, void *state, struct rng *rng, struct pattern_block *b)
{
    size_t align = HEAP_ALIGN_BYTES;
    b->bytes = random_bytes(way, rng);
    if (rng_below(rng, 4) == 0) {
        align = 1UL << rng_below(rng, 14);
        align = align > way->most_bytes ? HEAP_ALIGN_BYTES : align;
        b->at = way->alloc_aligned(state, b->bytes, align);
    } else {
        b->at = way->alloc(state, b->bytes);
    }
    if (!EXPECT(b->at != NULL) || !EXPECT_EQ((uintptr_t)b->at & (align - 1), 0) ||
        !EXPECT(way->usable(state, b->at) >= b->bytes)) {
        return false;
    }
    pattern_fill(b, rng_next(rng));
    return true;
}

static bool step_resize(const struct calls *way, void *state, struct rng *rng, struct pattern_block *b)
{
    const size_t bytes = random_bytes(way, rng), kept = bytes < b->bytes ? bytes : b->bytes;
    uint8_t *moved = way->resize(state, b->at, bytes);
    if (!EXPECT(moved != NULL)) {
        return false;
    }
    b->at = moved;
    if (!EXPECT(pattern_is_kept(b, kept)) || !EXPECT(way->usable(state, moved) >= bytes)) {
        return false;
    }
    b->bytes = bytes;
    pattern_fill(b, rng_next(rng));
    return true;
}

static bool step(const struct calls *way, void *state, struct rng *rng, struct pattern_block *b)
{
    if (b->at == NULL) {
        return step_new(way, state, rng, b);
    }
    if (!EXPECT(pattern_is_kept(b, b->bytes))) {
        return false;
    }
    if (rng_below(rng, 3) == 0) {
        return step_resize(way, state, rng, b);
    }
    const bool is_back = EXPECT_EQ(way->release(state, b->at), STATUS_OK);
    b->at = NULL;
    return is_back;
}

static bool play(const struct calls *way, void *state)
{
    static struct pattern_block live[LIVE];
    struct rng rng = rng_seeded(test_seed());
    memset(live, 0, sizeof live);
    for (unsigned i = 0; i < STEPS; i++) {
        if (!step(way, state, &rng, &live[rng_below(&rng, LIVE)])) {
            test_note("%s, step %u", way->name, i);
            return false;
        }
        if (i % (STEPS / 8) == 0) { /* it goes on as well after a shrink */
            (void)way->shrink(state);
        }
        if (!EXPECT_EQ(heap_pages_out(), ((struct way *)state)->held_pages)) {
            return false;
        }
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (live[i].at != NULL &&
            (!EXPECT(pattern_is_kept(&live[i], live[i].bytes)) ||
             !EXPECT_EQ(way->release(state, live[i].at), STATUS_OK))) {
            return false;
        }
    }
    return is_empty(way, state);
}

TEST_HOST(rivals_heap, every_way_keeps_what_is_written_in_its_blocks_and_gives_all_pages_back)
{
    for (unsigned i = 0; i < WAYS; i++) {
        void *state = begin(&ways[i]);
        REQUIRE(state != NULL);
        if (!play(&ways[i], state)) {
            test_note("%s", ways[i].name);
            return;
        }
    }
}

/* Blocks until the source refuses its k-th request, whichever that is: null, and the heap is as before. */
static bool refuse_each(const struct calls *way, void *state)
{
    const struct way *w = state;
    void *blocks[16];
    uint64_t refused = 1;
    for (uint64_t k = 1; refused != 0; k++) {
        unsigned count = 0;
        heap_pages_refuse_at(k);
        refused = 0;
        for (; count < 16 && refused == 0; count++) {
            const struct way before = *w;
            const size_t bytes = way->most_bytes > 3 * PAGE_BYTES ? 3 * PAGE_BYTES : way->most_bytes;
            blocks[count] =
                count % 2 == 0 ? way->alloc(state, bytes) : way->alloc_aligned(state, bytes, bytes & -bytes);
            refused = blocks[count] == NULL;
            if (refused != 0 && (!EXPECT_EQ(w->used_bytes, before.used_bytes) || !EXPECT_EQ(w->allocs, before.allocs) ||
                                 !EXPECT_EQ(w->held_pages, heap_pages_out()))) {
                return false;
            }
        }
        for (unsigned i = 0; i < count; i++) {
            if (blocks[i] != NULL && !EXPECT_EQ(way->release(state, blocks[i]), STATUS_OK)) {
                return false;
            }
        }
        heap_pages_refuse_at(0);
        if (!is_empty(way, state)) {
            return false;
        }
    }
    return true;
}

TEST_HOST(rivals_heap, a_way_whose_source_refuses_answers_null_and_is_as_before)
{
    for (unsigned i = 0; i < WAYS; i++) {
        void *state = begin(&ways[i]);
        REQUIRE(state != NULL);
        if (!refuse_each(&ways[i], state)) {
            test_note("%s", ways[i].name);
            return;
        }
    }
}

TEST_HOST(rivals_heap, what_lies_around_an_aligned_block_is_used_by_carving_and_not_by_first_fit)
{
    uint64_t held[WITH_TAGS];
    for (unsigned i = 0; i < WITH_TAGS; i++) {
        void *state = begin(&ways[i]);
        REQUIRE(state != NULL);
        for (unsigned k = 0; k < 50; k++) {
            REQUIRE(ways[i].alloc_aligned(state, PAGE_BYTES, PAGE_BYTES) != NULL);
        }
        for (unsigned k = 0; k < 300; k++) {
            REQUIRE(ways[i].alloc(state, 600) != NULL);
        }
        held[i] = heap_pages_out();
    }
    const uint64_t asked = bytes_to_pages_up(50 * PAGE_BYTES + 300 * 600).v;
    EXPECT(held[0] < asked * 5 / 4); /* TLSF's idea carves */
    EXPECT(held[2] < asked * 5 / 4);
    EXPECT(held[1] > asked * 5 / 4);
}

TEST_HOST(rivals_heap, a_block_freed_twice_at_once_is_seen_where_the_way_keeps_a_state_of_blocks)
{
    for (unsigned i = 0; i < WITH_HEADS_OR_MAP; i++) {
        void *state = begin(&ways[i]);
        REQUIRE(state != NULL);
        void *blocks[3];
        for (unsigned k = 0; k < 3; k++) {
            blocks[k] = ways[i].alloc(state, 100);
            REQUIRE(blocks[k] != NULL);
        }
        EXPECT_EQ(ways[i].release(state, blocks[1]), STATUS_OK);
        EXPECT_EQ(ways[i].release(state, blocks[1]), STATUS_MISUSE);
        EXPECT_EQ(ways[i].release(state, blocks[0]), STATUS_OK);
        EXPECT_EQ(ways[i].release(state, blocks[2]), STATUS_OK);
        EXPECT(is_empty(&ways[i], state));
    }
}
