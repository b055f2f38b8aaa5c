/* Calls of the PMM under test, and interrupts that land in them. */
#include "unit/pmm_scene.h"

#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

enum { MANY = PMM_MAGAZINE_FRAMES + 6 };

/* ---- The interrupt's side ---- */

static void timer_says(struct scene *sc, enum status s)
{
    s = sc->scarce && s == STATUS_NOMEM ? STATUS_OK : s;
    sc->timer_status = sc->timer_status == STATUS_OK ? s : sc->timer_status;
}

static void timer_takes(struct scene *sc, unsigned flags, unsigned n)
{
    for (unsigned i = 0; i < n && sc->timer_count < SCENE_TIMER_MAX; i++) {
        enum status s = pmm_alloc(sc->pmm, flags | PMM_NO_RECLAIM, &sc->timer_held[sc->timer_count]);
        timer_says(sc, s);
        sc->timer_count += s == STATUS_OK;
    }
}

static void timer_gives(struct scene *sc, unsigned n)
{
    for (unsigned i = 0; i < n && sc->timer_count > 0; i++) {
        timer_says(sc, pmm_free(sc->pmm, sc->timer_held[--sc->timer_count]));
    }
}

static void allocates(struct scene *sc) { timer_takes(sc, sc->flags, 1); }
static void frees(struct scene *sc) { timer_gives(sc, 1); }
static void allocates_three(struct scene *sc) { timer_takes(sc, sc->flags, SCENE_TIMER_FRAMES); }
static void frees_three(struct scene *sc) { timer_gives(sc, SCENE_TIMER_FRAMES); }
static void drains(struct scene *sc) { pmm_drain(sc->pmm); }

static void allocates_and_frees(struct scene *sc)
{
    timer_takes(sc, sc->flags, 1);
    timer_gives(sc, 1);
}

static void works_with_the_other_class(struct scene *sc)
{
    timer_takes(sc, (sc->flags & PMM_USER) ^ PMM_USER, 2);
    timer_gives(sc, 2);
}

static void takes_a_block(struct scene *sc)
{
    pfn_t first;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    enum status s = pmm_alloc_run(sc->pmm, sc->flags | PMM_NO_RECLAIM, n, n, npages(0), PMM_NO_LIMIT, &first);
    timer_says(sc, s);
    if (s == STATUS_OK) {
        timer_says(sc, pmm_free_run(sc->pmm, first, n));
    }
}

static void shares(struct scene *sc)
{
    if (sc->timer_count > 0) {
        timer_says(sc, pmm_retain(sc->pmm, sc->timer_held[0]));
        timer_says(sc, pmm_release(sc->pmm, sc->timer_held[0], NULL));
    }
}

const struct scene_timer scene_timers[] = {
    {"allocates", allocates, false},
    {"frees", frees, false},
    {"allocates and frees", allocates_and_frees, true},
    {"allocates three", allocates_three, false},
    {"frees three", frees_three, false},
    {"works with the other class", works_with_the_other_class, true},
    {"drains", drains, true},
    {"takes a block", takes_a_block, true},
    {"shares", shares, true},
    {0},
};

/* ---- Calls under test ---- */

static bool take(struct scene *sc, uint64_t n)
{
    for (; n > 0; n--) {
        if (!EXPECT(pmm_alloc(sc->pmm, sc->flags, &sc->held[sc->held_count]) == STATUS_OK)) {
            return false;
        }
        sc->held_count++;
    }
    return true;
}

static bool drop(struct scene *sc, uint64_t n)
{
    for (; n > 0; n--) {
        if (!EXPECT(pmm_free(sc->pmm, sc->held[--sc->held_count]) == STATUS_OK)) {
            return false;
        }
    }
    return true;
}

static bool take_run(struct scene *sc, uint64_t frames)
{
    sc->run_frames = npages(frames);
    return EXPECT(pmm_alloc_run(sc->pmm, sc->flags, sc->run_frames, npages(1), npages(0), PMM_NO_LIMIT, &sc->run) ==
                  STATUS_OK);
}

static bool as_it_is(struct scene *sc)
{
    (void)sc;
    return true;
}
static bool magazine_has_frames(struct scene *sc) { return take(sc, 1) && drop(sc, 1); }
static bool one_held(struct scene *sc) { return take(sc, 1); }
static bool many_held(struct scene *sc) { return take(sc, MANY); }
static bool block_held(struct scene *sc) { return take_run(sc, PMM_BLOCK_FRAMES); }
static bool run_of_64_held(struct scene *sc) { return take_run(sc, PMM_MAGAZINE_FRAMES); }

static bool one_shared(struct scene *sc)
{
    return take(sc, 1) && EXPECT(pmm_retain(sc->pmm, sc->held[0]) == STATUS_OK);
}

/* Both magazines full, one frame held. */
static bool magazines_are_full(struct scene *sc)
{
    bool ok = take(sc, 2 * PMM_MAGAZINE_FRAMES + 1);
    pmm_drain(sc->pmm);
    return ok && drop(sc, 2 * PMM_MAGAZINE_FRAMES);
}

static bool is_called_zero(void *ctx, pfn_t frame)
{
    (void)ctx;
    (void)frame;
    return true; /* nobody reads these frames: on the bed there are none */
}

static bool pool_has_frames(struct scene *sc)
{
    npages_t filled;
    return EXPECT(pmm_zero_fill(sc->pmm, PMM_USER, npages(2), is_called_zero, NULL, &filled) == STATUS_OK) &&
           EXPECT(filled.v == 2);
}

static void call_alloc(struct scene *sc)
{
    sc->status = pmm_alloc(sc->pmm, sc->flags, &sc->held[sc->held_count]);
    sc->held_count += sc->status == STATUS_OK;
}

static void call_alloc_of_the_other_class(struct scene *sc)
{
    sc->status = pmm_alloc(sc->pmm, sc->flags ^ PMM_USER, &sc->held[sc->held_count]);
    sc->held_count += sc->status == STATUS_OK;
}

static void call_alloc_for_owner(struct scene *sc)
{
    sc->status = pmm_alloc(sc->pmm, PMM_OWNER(sc->owner), &sc->held[sc->held_count]);
    sc->held_count += sc->status == STATUS_OK;
}

static void call_alloc_zeroed(struct scene *sc)
{
    bool is_zero;
    sc->status = pmm_alloc_zeroed(sc->pmm, sc->flags, &sc->held[sc->held_count], &is_zero);
    sc->held_count += sc->status == STATUS_OK;
}

static void call_free(struct scene *sc)
{
    sc->status = pmm_free(sc->pmm, sc->held[sc->held_count - 1]);
    sc->held_count -= sc->status == STATUS_OK;
}

static void call_retain(struct scene *sc) { sc->status = pmm_retain(sc->pmm, sc->held[0]); }

static void call_release(struct scene *sc)
{
    bool freed;
    sc->status = pmm_release(sc->pmm, sc->held[0], &freed);
    sc->held_count -= sc->status == STATUS_OK && freed;
}

static void call_alloc_many(struct scene *sc)
{
    sc->status = pmm_alloc_many(sc->pmm, sc->flags, sc->held, npages(MANY));
    sc->held_count = sc->status == STATUS_OK ? MANY : 0;
}

static void call_free_many(struct scene *sc)
{
    npages_t done;
    sc->status = pmm_free_many(sc->pmm, sc->held, npages(MANY), &done);
    sc->held_count = 0;
    if (done.v != MANY) {
        sc->status = STATUS_CORRUPT;
    }
}

static void call_alloc_block(struct scene *sc)
{
    npages_t n = npages(PMM_BLOCK_FRAMES);
    sc->status = pmm_alloc_run(sc->pmm, sc->flags, n, n, npages(0), PMM_NO_LIMIT, &sc->run);
    sc->run_frames = sc->status == STATUS_OK ? n : npages(0);
}

static void call_alloc_run_of_64(struct scene *sc)
{
    npages_t n = npages(PMM_MAGAZINE_FRAMES);
    sc->status = pmm_alloc_run(sc->pmm, sc->flags, n, n, npages(0), PMM_NO_LIMIT, &sc->run);
    sc->run_frames = sc->status == STATUS_OK ? n : npages(0);
}

static void call_free_run(struct scene *sc)
{
    sc->status = pmm_free_run(sc->pmm, sc->run, sc->run_frames);
    sc->run_frames = sc->status == STATUS_OK ? npages(0) : sc->run_frames;
}

static void call_split_run(struct scene *sc) { sc->status = pmm_split_run(sc->pmm, sc->run, sc->run_frames); }

static void call_promise(struct scene *sc)
{
    sc->status = pmm_promise(sc->pmm, npages(2));
    if (sc->status == STATUS_OK) {
        sc->status = pmm_unpromise(sc->pmm, npages(2));
    }
}

static void call_drain(struct scene *sc)
{
    pmm_drain(sc->pmm);
    sc->status = STATUS_OK;
}

static void call_zero_fill(struct scene *sc)
{
    npages_t filled;
    sc->status = pmm_zero_fill(sc->pmm, PMM_USER, npages(2), is_called_zero, NULL, &filled);
}

const struct scene_call scene_calls[] = {
    {"alloc from the magazine", magazine_has_frames, call_alloc, SCENE_ANY, 1},
    {"alloc that refills", as_it_is, call_alloc, SCENE_REFILL, 1},
    {"free to the magazine", one_held, call_free, SCENE_ANY, 1},
    {"free that flushes", magazines_are_full, call_free, SCENE_FLUSH, 2 * PMM_MAGAZINE_FRAMES + 1},
    {"retain", one_held, call_retain, SCENE_ANY, 1},
    {"release of a shared frame", one_shared, call_release, SCENE_ANY, 1},
    {"release that frees", one_held, call_release, SCENE_ANY, 1},
    {"alloc of a block", as_it_is, call_alloc_block, SCENE_ANY, PMM_BLOCK_FRAMES},
    {"free of a block", block_held, call_free_run, SCENE_ANY, PMM_BLOCK_FRAMES},
    {"alloc of 64 in a run", magazine_has_frames, call_alloc_run_of_64, SCENE_ANY, PMM_MAGAZINE_FRAMES},
    {"free of a run of 64", run_of_64_held, call_free_run, SCENE_ANY, PMM_MAGAZINE_FRAMES},
    {"split of a block", block_held, call_split_run, SCENE_ANY, PMM_BLOCK_FRAMES},
    {"alloc of many", magazine_has_frames, call_alloc_many, SCENE_ANY, MANY},
    {"free of many", many_held, call_free_many, SCENE_ANY, MANY},
    {"promise and back", magazine_has_frames, call_promise, SCENE_ANY, 2},
    {"drain", magazine_has_frames, call_drain, SCENE_ANY, 1},
    {0},
};

const struct scene_call scene_bed_calls[] = {
    {"alloc for an owner", as_it_is, call_alloc_for_owner, SCENE_ANY, 1},
    {"alloc zeroed", pool_has_frames, call_alloc_zeroed, SCENE_ANY, 2},
    {"fill of the pool", as_it_is, call_zero_fill, SCENE_ANY, 2},
    {0},
};

const struct scene_call scene_opening_call = {
    "alloc that opens a block", as_it_is, call_alloc_of_the_other_class, SCENE_ANY, 1};

/* ---- Around a call ---- */

bool scene_begin(struct scene *sc)
{
    sc->status = sc->timer_status = STATUS_OK;
    timer_takes(sc, sc->flags, SCENE_TIMER_FRAMES);
    pmm_drain(sc->pmm);
    return EXPECT_EQ(sc->timer_count, SCENE_TIMER_FRAMES);
}

bool scene_apart(const struct scene *sc)
{
    bool ok = true;
    for (uint64_t t = 0; t < sc->timer_count; t++) {
        pfn_t frame = sc->timer_held[t];
        ok = ok && EXPECT(frame.v - sc->run.v >= sc->run_frames.v);
        ok = ok && EXPECT_EQ(pmm_query(sc->pmm, frame).references, 1);
        for (uint64_t i = 0; i < sc->held_count; i++) {
            ok = ok && EXPECT(sc->held[i].v != frame.v);
        }
    }
    for (uint64_t i = 0; i < sc->held_count; i++) {
        ok = ok && EXPECT_EQ(pmm_query(sc->pmm, sc->held[i]).state, PMM_STATE_USED);
    }
    return ok;
}

bool scene_end(struct scene *sc)
{
    bool ok = true;
    while (sc->held_count > 0) {
        pfn_t frame = sc->held[--sc->held_count];
        if (pmm_query(sc->pmm, frame).references > 1) {
            ok = EXPECT_EQ(pmm_release(sc->pmm, frame, NULL), STATUS_OK) && ok;
        }
        ok = EXPECT_EQ(pmm_free(sc->pmm, frame), STATUS_OK) && ok;
    }
    if (sc->run_frames.v > 0) {
        ok = EXPECT_EQ(pmm_free_run(sc->pmm, sc->run, sc->run_frames), STATUS_OK) && ok;
        sc->run_frames = npages(0);
    }
    timer_gives(sc, SCENE_TIMER_MAX);
    return EXPECT_EQ(sc->timer_status, STATUS_OK) && ok;
}
