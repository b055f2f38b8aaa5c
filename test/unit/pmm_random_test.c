/*
 * The PMM against its model: random operations of all calls on odd maps, with a backing that fails, and exhaustion to
 * the last frame.
 */
#include "unit/pmm_random_ops.h"

enum { GAME_STEPS = 200, BLOCKS_MAX = 64, FRAMES_MAX = BLOCKS_MAX * PMM_BLOCK_FRAMES };

/* What every call must have answered at least once. CORRUPT is another test's. */
static const unsigned demanded[PLAY_CALLS] = {
    [CALL_INIT] = MAY(STATUS_OK) | MAY(STATUS_INVALID) | MAY(STATUS_LIMIT),
    [CALL_ALLOC] = MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_MISUSE),
    [CALL_FREE] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_FREE_AT] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_RETAIN] = MAY(STATUS_OK) | MAY(STATUS_MISUSE) | MAY(STATUS_LIMIT),
    [CALL_RELEASE] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_ZERO_FRAME_SET] = MAY(STATUS_OK) | MAY(STATUS_EXISTS) | MAY(STATUS_MISUSE),
    [CALL_ZERO_FRAME] = MAY(STATUS_OK) | MAY(STATUS_ABSENT),
    [CALL_CLAIM] = MAY(STATUS_OK) | MAY(STATUS_EXISTS) | MAY(STATUS_ABSENT) | MAY(STATUS_NOMEM) | MAY(STATUS_INVALID),
    [CALL_GIVE_BACK] = MAY(STATUS_OK) | MAY(STATUS_MISUSE) | MAY(STATUS_LIMIT) | MAY(STATUS_NOMEM),
    [CALL_PROMISE] = MAY(STATUS_OK) | MAY(STATUS_NOMEM),
    [CALL_UNPROMISE] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_ALLOC_MANY] = MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_MISUSE),
    [CALL_FREE_MANY] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_ALLOC_RUN] = MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_INVALID) | MAY(STATUS_MISUSE),
    [CALL_FREE_RUN] = MAY(STATUS_OK) | MAY(STATUS_MISUSE) | MAY(STATUS_INVALID),
    [CALL_SPLIT_RUN] = MAY(STATUS_OK) | MAY(STATUS_MISUSE) | MAY(STATUS_INVALID),
    [CALL_OWNER_OPEN] = MAY(STATUS_OK) | MAY(STATUS_LIMIT),
    [CALL_OWNER_CLOSE] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_UNCHARGE] = MAY(STATUS_OK) | MAY(STATUS_MISUSE),
    [CALL_LOW_ADD] = MAY(STATUS_OK) | MAY(STATUS_EXISTS),
    [CALL_LOW_REMOVE] = MAY(STATUS_OK) | MAY(STATUS_ABSENT),
    [CALL_EMERGENCY_RESERVE] = MAY(STATUS_OK) | MAY(STATUS_NOMEM),
    [CALL_ZONE_RESERVE] = MAY(STATUS_OK) | MAY(STATUS_INVALID),
    [CALL_ALLOC_ZEROED] = MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_MISUSE),
    [CALL_ZERO_FILL] = MAY(STATUS_OK) | MAY(STATUS_UNSUPPORTED),
    [CALL_MARK_BAD] = MAY(STATUS_OK) | MAY(STATUS_EXISTS) | MAY(STATUS_ABSENT) | MAY(STATUS_LIMIT) |
                      MAY(STATUS_NOMEM) | MAY(STATUS_MISUSE),
    /* NOMEM: a block brings 512 frames and takes 6 at most. */
    [CALL_REGION_ADD] = MAY(STATUS_OK) | MAY(STATUS_INVALID) | MAY(STATUS_EXISTS) | MAY(STATUS_LIMIT),
    [CALL_REGION_REMOVE] = MAY(STATUS_OK) | MAY(STATUS_EXISTS) | MAY(STATUS_ABSENT) | MAY(STATUS_NOMEM),
};

/* Of those that can open a block. */
static const unsigned demanded_of_failing[PLAY_CALLS] = {
    [CALL_ALLOC] = MAY(STATUS_CORRUPT),      [CALL_ALLOC_MANY] = MAY(STATUS_CORRUPT),
    [CALL_ALLOC_RUN] = MAY(STATUS_CORRUPT),  [CALL_ALLOC_ZEROED] = MAY(STATUS_CORRUPT),
    [CALL_CLAIM] = MAY(STATUS_CORRUPT),      [CALL_MARK_BAD] = MAY(STATUS_CORRUPT),
};

/* Has every call answered all that is demanded? `says`: name what is missing. */
static bool seen_all(const struct play_tally *tally, const unsigned demands[PLAY_CALLS], bool says)
{
    bool all = true;
    for (unsigned call = 0; call < PLAY_CALLS; call++) {
        for (unsigned s = 0; s < PLAY_STATUSES; s++) {
            if ((demands[call] >> s & 1U) != 0 && tally->seen[call][s] == 0) {
                all = false;
                if (says) {
                    test_note("%s never answered %s", play_call_name((enum play_call)call),
                              status_name((enum status)s));
                }
            }
        }
    }
    return all;
}

static bool half_succeeded(const struct play_tally *tally)
{
    uint64_t ok = 0, all = 0;
    for (unsigned call = 0; call < PLAY_CALLS; call++) {
        for (unsigned s = 0; s < PLAY_STATUSES; s++) {
            all += tally->seen[call][s];
            ok += s == STATUS_OK ? tally->seen[call][s] : 0;
        }
    }
    test_note("%lu calls, %lu of them OK", all, ok);
    return 2 * ok >= all;
}

/* One game from its seed. false: something is wrong. */
static bool game(struct play *p, struct bed_arena *arena, struct play_tally *tally, uint64_t seed, uint64_t fail_at)
{
    /* Small ones are looked at in full after each step. */
    enum play_depth depth = seed % 4 == 0 ? PLAY_THOROUGH : PLAY_LIGHT;
    p->dice = (struct dice){.rng = rng_seeded(seed)};
    bool good = play_begin(p, arena, tally, depth == PLAY_THOROUGH ? 5 : BLOCKS_MAX, fail_at);
    if (p->bed == NULL) {
        return true;
    }
    while (good && p->step < GAME_STEPS) {
        good = play_step(p, depth);
    }
    good = good && play_end(p);
    if (!good) {
        test_note("seed %#lx, backing fails at %lu, step %lu: %s", seed, fail_at, p->step, p->what);
    }
    return good;
}

TEST(pmm, random_operations_of_all_calls_agree_with_the_model_and_every_status_is_seen)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    struct play_tally *tally = test_pages(bytes_to_pages_up(sizeof *tally).v);
    struct play *play = test_pages(bytes_to_pages_up(sizeof *play).v);
    REQUIRE(tally != NULL && play != NULL && arena.base != NULL);
    uint64_t games = 12 * test_effort() * test_effort(); /* the kernel has less time */
    for (uint64_t i = 0; i < games || (i < 60 * games && !seen_all(tally, demanded, false)); i++) {
        if (!game(play, &arena, tally, rng_next(&rng), 0)) {
            EXPECT(false);
            break;
        }
    }
    test_expect_reports((unsigned)tally->reports);
    EXPECT(seen_all(tally, demanded, true));
    EXPECT(half_succeeded(tally));
}

TEST(pmm, random_operations_survive_a_backing_that_fails_at_each_call_in_turn)
{
    struct rng rng = rng_seeded(test_seed() + 1);
    struct bed_arena arena = bed_arena();
    struct play_tally *tally = test_pages(bytes_to_pages_up(sizeof *tally).v);
    struct play *play = test_pages(bytes_to_pages_up(sizeof *play).v);
    REQUIRE(tally != NULL && play != NULL && arena.base != NULL);
    uint64_t games = 12 * test_effort();
    for (uint64_t i = 0; i < games || (i < 20 * games && !seen_all(tally, demanded_of_failing, false)); i++) {
        if (!game(play, &arena, tally, rng_next(&rng), 1 + i % 12)) {
            EXPECT(false);
            break;
        }
    }
    test_expect_reports((unsigned)tally->reports);
    EXPECT(seen_all(tally, demanded_of_failing, true));
}

/* ---- To the last frame ---- */

static const uint64_t windows[][2] = {{0, 12}, {2040, 2056}, {5000, 5004}, {0, 40}};

static struct pmm_bed *random_bed(struct bed_arena *arena, struct rng *rng, uint64_t round)
{
    const uint64_t *window = windows[rng_below(rng, ARRAY_LEN(windows))];
    struct pmm_bed *bed = bed_new(arena, window[0], window[1], (unsigned)(round % 3));
    if (bed != NULL) {
        /* The arrays are whole pages; the map keeps to the window that was asked for. */
        bed->first_block = window[0];
        bed->end_block = window[1];
        bed_random_map(bed, rng, (unsigned)rng_below(rng, BED_STYLES));
        bed_with_cpus(bed, rng_below(rng, 2));
        bed_with_zero_pool(bed, rng_below(rng, 2) * 20);
        bed_with_owners(bed, 1);
    }
    return bed;
}

static bool yes(void *ctx, pfn_t frame)
{
    (void)ctx;
    (void)frame;
    return true;
}

/* A few frames by any call that takes them; *got says how many. */
static enum status take_some(struct pmm *pmm, struct rng *rng, unsigned classes, unsigned owner, pfn_t frames[8],
                             uint64_t *got)
{
    unsigned flags = classes < 2 ? classes : (unsigned)rng_below(rng, 2);
    bool is_zero;
    uint64_t how = rng_below(rng, 12);
    *got = how == 0 ? 1 + rng_below(rng, 8) : 1;
    flags |= how == 1 ? PMM_OWNER(owner) : 0;
    return how == 0   ? pmm_alloc_many(pmm, flags, frames, npages(*got))
           : how == 2 ? pmm_alloc_zeroed(pmm, flags, frames, &is_zero)
                      : pmm_alloc(pmm, flags, frames);
}

/* Hand out everything, check that it is exactly what `free` said, give it all back. */
static bool exhaust(struct pmm_bed *bed, struct pmm_model *model, uint64_t *mine, struct rng *rng)
{
    struct pmm *pmm = &bed->pmm;
    uint64_t free = pmm_stats(pmm).free.v, count = 0, got;
    unsigned classes = (unsigned)rng_below(rng, 3), owner; /* 0: kernel, 1: user, 2: mixed */
    npages_t filled;
    pfn_t frames[8];
    enum status s = pmm_owner_open(pmm, &owner);
    bool ok = EXPECT_EQ(s, STATUS_OK);
    s = pmm_zero_fill(pmm, PMM_USER, npages(10), yes, NULL, &filled);
    ok &= EXPECT_EQ(s, bed->zero_capacity > 0 ? STATUS_OK : STATUS_UNSUPPORTED);
    while (ok && count <= free) {
        s = take_some(pmm, rng, classes, owner, frames, &got);
        if (s == STATUS_NOMEM && got > 1) {
            ok = EXPECT(got > free - count); /* all or nothing; the rest comes one by one */
            continue;
        }
        if (s != STATUS_OK) {
            break;
        }
        for (uint64_t i = 0; i < got; i++) {
            model_allocated(model, frames[i].v);
            mine[count++] = frames[i].v;
        }
    }
    ok &= EXPECT_EQ(s, STATUS_NOMEM);
    ok &= EXPECT_EQ(count, free);
    ok &= EXPECT_EQ(pmm_stats(pmm).free.v, 0);
    ok = ok && bed_sound(bed);
    while (ok && count > 0) {
        uint64_t pick = rng_below(rng, count);
        ok = EXPECT_EQ(pmm_free(pmm, pfn(mine[pick])), STATUS_OK);
        model_released(model, mine[pick]);
        mine[pick] = mine[--count];
    }
    ok &= EXPECT_EQ(pmm_owner_close(pmm, owner, NULL), STATUS_OK);
    pmm_drain(pmm);
    return ok && EXPECT_EQ(pmm_stats(pmm).free.v, free) && bed_sound(bed) && model_agrees(model);
}

TEST(pmm, odd_maps_are_served_to_the_last_frame_that_free_promised_and_back)
{
    struct rng rng = rng_seeded(test_seed() + 1);
    struct bed_arena arena = bed_arena();
    uint64_t *mine = test_pages(bytes_to_pages_up(FRAMES_MAX * sizeof(uint64_t)).v);
    REQUIRE(mine != NULL);
    for (uint64_t round = 0; round < 25 * test_effort(); round++) {
        struct pmm_bed *bed = random_bed(&arena, &rng, round);
        REQUIRE(bed != NULL);
        struct pmm_model *model = model_new(bed);
        REQUIRE(model != NULL);
        if (model_is_poor(model)) {
            bed->model = NULL;
            continue;
        }
        REQUIRE(bed_starts(bed));
        if (!exhaust(bed, model, mine, &rng)) {
            test_note("round %lu", round);
            return;
        }
    }
}
