/*
 * The ways to keep account of frames (test/rivals/pmm/) are correct, so that what is measured of them counts: a map
 * with holes, all of it handed out and taken back, and random histories against a plain list of what is in use.
 */
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"
#include "unit/test.h"

enum { STEPS = 60000, BLOCKS_MAX = 256 };

/* Runs that share a block, a word and a page of a bitmap; a hole of several such pages; ends at odd places. */
#ifdef CAIRN_HOST
static const struct frame_run map[] = {
    {{16}, {143}}, {{160}, {500}}, {{1024}, {1700}}, {{3 * 32768 + 100}, {40000}}, {{8 * 32768 - 3}, {32768}},
};
enum { RUNS = sizeof map / sizeof map[0] };
static bool map_take(void) { return true; }
static bool map_give(void) { return true; }
#else /* of frames that are there */
#include "rivals/pmm/kernel/real.h"
#define map real_map
enum { RUNS = REAL_RUNS };
static bool map_take(void) { return EXPECT_EQ(real_map_take(), STATUS_OK); }
static bool map_give(void) { return EXPECT_EQ(real_map_give(), STATUS_OK); }
#endif
#define MAP_FRAMES run_end(map[RUNS - 1])

static struct {
    const struct frames_way *way;
    void *state;
    struct rng rng;
    uint8_t *used; /* a byte a frame: 1, single; 2, of a block */
    uint32_t *held; /* frames in use one by one */
    uint64_t count;
    uint32_t blocks[BLOCKS_MAX];
    unsigned block_count;
} game;

static uint64_t ram_frames(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < RUNS; i++) {
        sum += map[i].frames.v;
    }
    return sum;
}

static bool is_ram(uint64_t frame)
{
    for (unsigned i = 0; i < RUNS; i++) {
        if (frame >= map[i].first.v && frame < run_end(map[i])) {
            return true;
        }
    }
    return false;
}

static bool begin(const struct frames_way *way)
{
    game.way = way;
    game.state = way->start(map, RUNS);
    game.used = test_pages(bytes_to_pages_up(MAP_FRAMES).v);
    game.held = test_pages(bytes_to_pages_up(MAP_FRAMES * sizeof *game.held).v);
    game.count = game.block_count = 0;
    game.rng = rng_seeded(test_seed());
    return EXPECT(game.state != NULL) && game.used != NULL && game.held != NULL;
}

/* One that was handed out: of RAM, and nobody else's. */
static bool got(uint64_t first, uint64_t frames, uint8_t mark)
{
    for (uint64_t f = first; f < first + frames; f++) {
        if (!EXPECT(f < MAP_FRAMES) || !EXPECT(is_ram(f)) || !EXPECT_EQ(game.used[f], 0)) {
            test_note("%s, frame 0x%lx", game.way->name, f);
            return false;
        }
        game.used[f] = mark;
    }
    return true;
}

static bool take(void)
{
    pfn_t frame = rng_below(&game.rng, 8) == 0 && game.way->alloc_kernel != NULL ? game.way->alloc_kernel(game.state)
                                                                                 : game.way->alloc(game.state);
    if (frame.v == FRAMES_NONE.v) {
        return false;
    }
    game.held[game.count++] = (uint32_t)frame.v;
    return got(frame.v, 1, 1);
}

static bool give(uint64_t at)
{
    uint32_t frame = game.held[at];
    game.held[at] = game.held[--game.count];
    game.used[frame] = 0;
    return EXPECT_EQ(game.way->free(game.state, pfn(frame)), STATUS_OK);
}

static bool take_block(void)
{
    if (game.block_count == BLOCKS_MAX) {
        return true;
    }
    pfn_t first = game.way->alloc_block(game.state);
    if (first.v == FRAMES_NONE.v) {
        return true;
    }
    game.blocks[game.block_count++] = (uint32_t)first.v;
    return EXPECT_EQ(first.v % FRAMES_BLOCK, 0) && got(first.v, FRAMES_BLOCK, 2);
}

static bool give_block(unsigned at)
{
    uint32_t first = game.blocks[at];
    game.blocks[at] = game.blocks[--game.block_count];
    memset(game.used + first, 0, FRAMES_BLOCK);
    return EXPECT_EQ(game.way->free_block(game.state, pfn(first)), STATUS_OK);
}

/* What is never handed out: as many as are said, and nobody has one. */
static uint64_t kept(void)
{
    if (game.way->kept == NULL) {
        return 0;
    }
    uint64_t count = 0;
    for (uint64_t frame = 0; frame < MAP_FRAMES; frame++) {
        const bool is_kept = is_ram(frame) && game.way->keeps(game.state, pfn(frame));
        EXPECT(!is_kept || game.used[frame] == 0);
        count += is_kept;
    }
    EXPECT_EQ(count, game.way->kept(game.state));
    return count;
}

/* All that is left, and it is as much as there is. */
static bool exhaust(void)
{
    while (take()) {
    }
    uint64_t own = game.way->own == NULL ? 0 : game.way->own(game.state);
    return EXPECT_EQ(own, kept()) &&
           EXPECT_EQ(game.count + game.block_count * (uint64_t)FRAMES_BLOCK + own, ram_frames()) &&
           EXPECT_EQ(game.way->alloc(game.state).v, FRAMES_NONE.v) &&
           (game.way->alloc_block == NULL || EXPECT_EQ(game.way->alloc_block(game.state).v, FRAMES_NONE.v));
}

static bool all_back(void)
{
    bool ok = true;
    while (ok && game.count > 0) {
        ok = give(rng_below(&game.rng, game.count));
    }
    while (ok && game.block_count > 0) {
        ok = give_block(game.block_count - 1);
    }
    return ok;
}

/* Each begins with the frames of the map as its RAM. */
static void each_way(bool (*play)(void))
{
    REQUIRE(map_take());
    for (unsigned i = 0; i < FRAMES_WAYS; i++) {
        if (!begin(&frames_ways[i]) || !play()) {
            test_note("%s", frames_ways[i].name);
            break;
        }
    }
    (void)map_give();
}

static bool play_three_rounds(void)
{
    for (unsigned round = 0; round < 3; round++) {
        if (!exhaust() || !all_back()) {
            test_note("round %u", round);
            return false;
        }
    }
    return true;
}

TEST(rivals_pmm, every_way_hands_out_each_frame_of_ram_once_and_all_of_it_again) { each_way(play_three_rounds); }

static bool step(unsigned takes)
{
    bool blocks = game.way->alloc_block != NULL && rng_below(&game.rng, 40) == 0;
    bool is_take = rng_below(&game.rng, 100) < takes;
    if (blocks && is_take) {
        return take_block();
    }
    if (blocks && game.block_count > 0) {
        return give_block((unsigned)rng_below(&game.rng, game.block_count));
    }
    if (is_take) {
        uint64_t before = game.count;
        return take() || EXPECT_EQ(game.count, before);
    }
    return game.count == 0 || give(rng_below(&game.rng, game.count));
}

static bool play_a_history(void)
{
    unsigned takes = 60;
    for (unsigned k = 0; k < STEPS; k++) {
        if (k % 5000 == 0) {
            takes = 20 + (unsigned)rng_below(&game.rng, 65);
        }
        if (!step(takes)) {
            test_note("step %u", k);
            return false;
        }
    }
    return exhaust() && all_back() && exhaust();
}

TEST(rivals_pmm, every_way_agrees_with_a_plain_list_over_random_histories) { each_way(play_a_history); }

/* `n` frames out of a full memory, one of them twice, and in again. */
static bool out_and_in(unsigned n)
{
    uint32_t last = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = rng_below(&game.rng, game.count);
        last = game.held[at];
        if (!give(at)) {
            return false;
        }
    }
    if ((game.way->sees & FRAMES_SEES_DOUBLE) != 0 &&
        !EXPECT_EQ(game.way->free(game.state, pfn(last)), STATUS_MISUSE)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!EXPECT(take())) {
            return false;
        }
    }
    return EXPECT(!take());
}

static bool play_at_the_edge(void)
{
    if (!exhaust()) {
        return false;
    }
    for (unsigned k = 0; k < 2000; k++) {
        if (!out_and_in(1 + (unsigned)rng_below(&game.rng, 4))) {
            test_note("time %u", k);
            return false;
        }
    }
    return exhaust();
}

TEST(rivals_pmm, out_of_a_full_memory_as_many_frames_come_as_were_freed) { each_way(play_at_the_edge); }

static bool is_refused(uint64_t frame) { return EXPECT_EQ(game.way->free(game.state, pfn(frame)), STATUS_MISUSE); }

/* Next to each run, and far away. */
static bool refuses_what_is_outside(void)
{
    bool ok = is_refused(0) && is_refused(9ULL << 40);
    for (unsigned i = 0; i < RUNS; i++) {
        ok = ok && is_refused(map[i].first.v - 1) && is_refused(run_end(map[i]));
    }
    return ok;
}

static bool play_wrong_frees(void)
{
    for (unsigned k = 0; k < 2000; k++) {
        if (!EXPECT(take())) {
            return false;
        }
    }
    for (unsigned k = 0; k < 500 && (game.way->sees & FRAMES_SEES_DOUBLE) != 0; k++) {
        uint64_t at = rng_below(&game.rng, game.count);
        uint32_t frame = game.held[at];
        if (!give(at) || !is_refused(frame)) {
            return false;
        }
    }
    return ((game.way->sees & FRAMES_SEES_OUTSIDE) == 0 || refuses_what_is_outside()) && exhaust();
}

TEST(rivals_pmm, a_wrong_free_is_refused_by_the_ways_that_see_it_and_changes_nothing) { each_way(play_wrong_frees); }

static bool play_blocks(void)
{
    if (game.way->alloc_block == NULL) {
        return true;
    }
    while (game.block_count < 20) {
        if (!take_block()) {
            return false;
        }
    }
    const pfn_t first = pfn(game.blocks[0]);
    EXPECT_EQ(game.way->free_block(game.state, pfn_add(first, 1)), STATUS_MISUSE);
    EXPECT_EQ(game.way->free_block(game.state, pfn(9ULL << 40)), STATUS_MISUSE);
    bool ok = give_block(0);
    EXPECT_EQ(game.way->free_block(game.state, first), STATUS_MISUSE);
    return ok && exhaust() && all_back();
}

TEST(rivals_pmm, a_block_is_freed_as_a_whole_or_not_at_all) { each_way(play_blocks); }

TEST(rivals_pmm, no_way_starts_without_memory)
{
    for (unsigned i = 0; i < FRAMES_WAYS; i++) {
        EXPECT(frames_ways[i].start(map, 0) == NULL);
        EXPECT(frames_way(frames_ways[i].name) == &frames_ways[i]);
    }
    EXPECT(frames_way("nothing") == NULL);
}
