/*
 * The PMM against its model: random operations on odd maps, and exhaustion to the last frame.
 */
#include "unit/pmm_model.h"

enum { FRAMES_MAX = 40 * PMM_BLOCK_FRAMES };

struct play {
    struct pmm_bed *bed;
    struct pmm_model *model;
    struct rng rng;
    uint64_t *mine; /* frames that alloc or claim gave */
    size_t count;
    unsigned misuses;
};

static uint64_t anywhere(struct play *p)
{
    if (p->count > 0 && rng_below(&p->rng, 2) == 0) {
        return p->mine[rng_below(&p->rng, p->count)];
    }
    const struct frame_run *run = &p->bed->runs[rng_below(&p->rng, p->bed->run_count)];
    uint64_t f = run->first.v + rng_below(&p->rng, run->frames.v);
    return rng_below(&p->rng, 10) == 0 ? f + rng_below(&p->rng, 5000) : f;
}

static void play_alloc(struct play *p)
{
    static const unsigned flags[] = {PMM_KERNEL, PMM_USER, PMM_USER | PMM_PROMISED, PMM_PROMISED, PMM_BELOW_1M};
    unsigned how = flags[rng_below(&p->rng, 20) < 17 ? rng_below(&p->rng, 2) : 2 + rng_below(&p->rng, 3)];
    bool promised = (how & PMM_PROMISED) != 0;
    if (promised && p->model->promised == 0) {
        return;
    }
    bool must = promised || model_free(p->model) > p->model->promised;
    pfn_t frame = pfn(12345);
    enum status s = pmm_alloc(&p->bed->pmm, how, &frame);
    if (s == STATUS_OK) {
        EXPECT(must);
        EXPECT(how != PMM_BELOW_1M || frame.v < bytes_to_pages_down(MIB).v);
        model_allocated(p->model, frame.v);
        p->model->promised -= promised;
        p->mine[p->count++] = frame.v;
    } else {
        EXPECT_EQ(s, STATUS_NOMEM);
        EXPECT_EQ(frame.v, 12345);
        EXPECT(!must || how == PMM_BELOW_1M);
    }
}

static void forget(struct play *p, uint64_t frame)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->mine[i] == frame) {
            p->mine[i] = p->mine[--p->count];
            return;
        }
    }
}

static void play_free(struct play *p)
{
    uint64_t frame = p->count > 0 && rng_below(&p->rng, 20) != 0 ? p->mine[rng_below(&p->rng, p->count)] : anywhere(p);
    bool release = rng_below(&p->rng, 2) == 0, freed = false;
    enum status expected = model_release(p->model, frame, !release);
    EXPECT_EQ(release ? pmm_release(&p->bed->pmm, pfn(frame), &freed) : pmm_free(&p->bed->pmm, pfn(frame)), expected);
    p->misuses += expected == STATUS_MISUSE;
    if (model_kind(p->model, frame) == MODEL_FREE && expected == STATUS_OK) {
        EXPECT(freed || !release);
        forget(p, frame);
    } else {
        EXPECT(!freed);
    }
}

static void play_claim(struct play *p)
{
    uint64_t first = anywhere(p), frames = 1 + rng_below(&p->rng, rng_below(&p->rng, 3) == 0 ? 900 : 4);
    enum status s = pmm_claim(&p->bed->pmm, pfn(first), npages(frames));
    /* The PMM has paid by now for what it opened: the model learned of it, and free did not change by it. */
    EXPECT_EQ(s, model_claim(p->model, first, frames));
    for (uint64_t f = first; s == STATUS_OK && f < first + frames; f++) {
        p->mine[p->count++] = f;
    }
}

static void play_give_back(struct play *p)
{
    const struct pmm_bed *bed = p->bed;
    uint64_t first = anywhere(p), frames = 1 + rng_below(&p->rng, 3);
    if (bed->hold_count > 0 && rng_below(&p->rng, 3) != 0) {
        struct frame_hold h = bed->given_holds[rng_below(&p->rng, bed->hold_count)];
        first = h.first.v + rng_below(&p->rng, h.frames);
        frames = 1 + rng_below(&p->rng, hold_end(h) - first);
    }
    enum status expected = model_give_back(p->model, first, frames);
    EXPECT_EQ(pmm_give_back(&p->bed->pmm, pfn(first), npages(frames)), expected);
    p->misuses += expected == STATUS_MISUSE;
}

static void play_rest(struct play *p, uint64_t what)
{
    struct pmm *pmm = &p->bed->pmm;
    uint64_t frame = anywhere(p), n = rng_below(&p->rng, 50);
    if (what == 0) {
        enum status expected = model_retain(p->model, frame);
        EXPECT_EQ(pmm_retain(pmm, pfn(frame)), expected);
        p->misuses += expected == STATUS_MISUSE;
    } else if (what == 1) {
        bool fits = n <= model_free(p->model) - p->model->promised;
        EXPECT_EQ(pmm_promise(pmm, npages(n)), fits ? STATUS_OK : STATUS_NOMEM);
        p->model->promised += fits ? n : 0;
    } else {
        bool fits = n <= p->model->promised;
        EXPECT_EQ(pmm_unpromise(pmm, npages(n)), fits ? STATUS_OK : STATUS_MISUSE);
        p->model->promised -= fits ? n : 0;
        p->misuses += !fits;
    }
}

static void play_step(struct play *p, uint64_t phase)
{
    uint64_t dice = rng_below(&p->rng, 100);
    uint64_t allocs = phase % 2 == 0 ? 60 : 25;
    if (dice < allocs) {
        play_alloc(p);
    } else if (dice < 85) {
        play_free(p);
    } else if (dice < 89) {
        play_claim(p);
    } else if (dice < 93) {
        play_give_back(p);
    } else {
        play_rest(p, rng_below(&p->rng, 3));
    }
}

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
    }
    return bed;
}

TEST(pmm, random_operations_agree_with_the_model)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    struct play play = {.misuses = 0};
    play.mine = test_pages(bytes_to_pages_up(FRAMES_MAX * sizeof(uint64_t)).v);
    REQUIRE(play.mine != NULL);
    for (uint64_t round = 0; round < 6 * test_effort(); round++) {
        play.bed = random_bed(&arena, &rng, round);
        REQUIRE(play.bed != NULL);
        play.model = model_new(play.bed);
        REQUIRE(play.model != NULL);
        play.rng = rng_seeded(rng_next(&rng));
        play.count = 0;
        if (model_count(play.model, MODEL_FREE) < model_earmarked(play.model)) {
            play.bed->model = NULL; /* the strict rule, or none: tested by name */
            continue;
        }
        REQUIRE(bed_starts(play.bed));
        REQUIRE(model_agrees(play.model));
        for (uint64_t step = 0; step < 300; step++) {
            play_step(&play, round);
            if (step % 100 == 99 && !(bed_sound(play.bed) && model_agrees(play.model))) {
                test_note("round %lu step %lu", round, step);
                return;
            }
        }
    }
    test_expect_reports(play.misuses);
}

/* Hand out everything, check that it is exactly what `free` said, give it all back. */
static bool exhaust(struct pmm_bed *bed, struct pmm_model *model, uint64_t *mine, struct rng *rng)
{
    struct pmm *pmm = &bed->pmm;
    uint64_t free = pmm_stats(pmm).free.v, count = 0;
    unsigned classes = (unsigned)rng_below(rng, 3); /* 0: kernel, 1: user, 2: mixed */
    bool low_began = false;
    enum status s;
    for (pfn_t frame;; mine[count++] = frame.v) {
        s = pmm_alloc(pmm, classes < 2 ? classes : (unsigned)rng_below(rng, 2), &frame);
        if (s != STATUS_OK || count > free) {
            break;
        }
        model_allocated(model, frame.v);
        bool low = frame.v < bytes_to_pages_down(MIB).v;
        EXPECT(low || !low_began);
        low_began = low;
    }
    bool ok = EXPECT_EQ(s, STATUS_NOMEM);
    ok &= EXPECT_EQ(count, free);
    ok &= EXPECT_EQ(pmm_stats(pmm).free.v, 0);
    ok = ok && bed_sound(bed) && model_agrees(model);
    while (ok && count > 0) {
        uint64_t pick = rng_below(rng, count);
        EXPECT_EQ(pmm_free(pmm, pfn(mine[pick])), STATUS_OK);
        model_freed(model, mine[pick]);
        mine[pick] = mine[--count];
    }
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
        if (model_count(model, MODEL_FREE) < model_earmarked(model)) {
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
