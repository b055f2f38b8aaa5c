/* Operations on a PMM held against the model: memory is short, frames are zeroed ahead, and what is traced. */
#include "unit/pmm_random_ops.h"

/* ---- Callbacks ---- */

/* What is freed or drained while a call is in progress may be served from a magazine, or have been. */
static void look_at_cached(struct play *p)
{
    uint64_t cached = pmm_stats(p->pmm).cached.v;
    p->model->cached = cached > p->model->cached ? cached : p->model->cached;
}

/* Frames that are used once, whosever they are: the game plays all users. */
static uint64_t give_frames(struct play *p, uint64_t most)
{
    struct pmm_model *m = p->model;
    uint64_t given = 0;
    for (uint64_t f = play_find(p, MODEL_USED); f < m->end && given < most && m->ok; f++) {
        if (model_free_one(m, f) == STATUS_OK && (model_marks(m, f) & MARK_GOES_BAD) == 0) {
            unsigned owner = play_owner_of(p, f);
            AGREE_EQ(m, pmm_free(p->pmm, pfn(f)), STATUS_OK);
            play_released(p, f, owner);
            given++;
        }
    }
    return given;
}

static void allocate_inside(struct play *p)
{
    struct pmm_model *m = p->model;
    unsigned flags = dice_below(&p->dice, 2) == 0 ? PMM_EMERGENCY : PMM_USER;
    pfn_t frame;
    p->has_swapped = true;
    enum status s = pmm_alloc(p->pmm, flags, &frame);
    if (s == STATUS_OK) {
        AGREE(m, model_is_broken(m) || model_may_serve(m, flags, 1));
        p->drawn += (flags & PMM_EMERGENCY) != 0;
        play_took(p, flags, frame);
    } else {
        AGREE(m, s == STATUS_NOMEM || (s == STATUS_CORRUPT && model_is_broken(m)));
    }
}

static npages_t reclaim(void *ctx, npages_t wanted)
{
    struct play_low *low = ctx;
    struct play *p = low->play;
    struct pmm_model *m = p->model;
    AGREE(m, p->callbacks != CALLS_NOBODY && !p->reclaims && low->is_added && wanted.v > 0);
    p->reclaims = true;
    low->calls++;
    low->was_called = true;
    uint64_t most = dice_below(&p->dice, 12);
    uint64_t given = give_frames(p, most < wanted.v ? most : wanted.v);
    look_at_cached(p);
    if (p->callbacks == CALLS_TO_ALLOCATE && dice_one_in(&p->dice, 6)) {
        allocate_inside(p);
    }
    p->reclaims = false;
    return npages(dice_one_in(&p->dice, 10) ? wanted.v : given); /* "or will soon have" */
}

void play_lows(struct play *p)
{
    struct dice *d = &p->dice;
    struct play_low *low = &p->lows[dice_below(d, PLAY_LOWS)];
    play_calls(p, CALLS_NOBODY);
    if (dice_below(d, 2) == 0) {
        if (!low->is_added) {
            *low = (struct play_low){.play = p};
            low->low = (struct pmm_low){.threshold = npages(dice_below(d, 3) == 0 ? 0 : dice_below(d, 300)),
                                        .cost = (unsigned)dice_below(d, 3), .reclaim = reclaim, .ctx = low};
        }
        enum status s = pmm_low_add(p->pmm, &low->low);
        play_answers(p, CALL_LOW_ADD, s, MAY(low->is_added ? STATUS_EXISTS : STATUS_OK));
        low->is_added = true;
    } else {
        enum status s = pmm_low_remove(p->pmm, &low->low);
        play_answers(p, CALL_LOW_REMOVE, s, MAY(low->is_added ? STATUS_OK : STATUS_ABSENT));
        low->is_added = false;
    }
}

void play_lows_after(struct play *p, unsigned flags, uint64_t avail_before, enum status s)
{
    struct pmm_model *m = p->model;
    uint64_t avail = model_for_all(m), calls = 0;
    if ((flags & (PMM_NO_RECLAIM | PMM_PROMISED)) != 0 || model_is_broken(m)) {
        return;
    }
    for (size_t i = 0; i < PLAY_LOWS; i++) {
        calls += p->lows[i].calls;
    }
    for (size_t i = 0; i < PLAY_LOWS; i++) {
        struct play_low *low = &p->lows[i];
        /* All are asked before a request fails; and whom it fell below before this call was told in it at the latest.
         */
        bool must = low->is_added && (s == STATUS_NOMEM || (s == STATUS_OK && calls == 0 && p->bed->cpu_count == 0 &&
                                                            avail_before < low->low.threshold.v && !low->was_called));
        if (!AGREE(m, !must || low->calls > 0)) {
            test_note("callback %lu: threshold %lu, %lu available before and %lu after; called %lu times", i,
                      low->low.threshold.v, avail_before, avail, low->calls);
        }
        if (s == STATUS_OK && calls == 0 && avail >= low->low.threshold.v) {
            low->was_called = false; /* it will be told again */
        }
    }
}

/* ---- Reserves ---- */

void play_reserves(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t n = dice_below(d, 2) == 0 ? 0 : dice_below(d, dice_below(d, 4) == 0 ? 5000 : 60);
    if (dice_below(d, 2) == 0) {
        uint64_t zone = dice_below(d, PMM_ZONES + (dice_one_in(d, 4) ? 3 : 0));
        play_calls(p, CALLS_NOBODY);
        enum status s = pmm_zone_reserve(p->pmm, (enum pmm_zone)zone, npages(n));
        unsigned may = zone < PMM_ZONE_HIGH ? MAY(STATUS_OK) : MAY(STATUS_INVALID);
        /* Whether anybody is kept from the highest zone is not said. */
        may |= zone == PMM_ZONE_HIGH ? MAY(STATUS_OK) : 0;
        if (play_answers(p, CALL_ZONE_RESERVE, s, may)) {
            m->zone_reserve[zone] = n;
        }
        return;
    }
    play_calls(p, CALLS_TO_FREE);
    enum status s = pmm_emergency_reserve(p->pmm, npages(n));
    uint64_t most = model_free(m) - m->promised, kept = model_kept_by_zones(m, 0) + model_out_of_reach(m);
    unsigned may = (n <= most ? MAY(STATUS_OK) : 0) | (n + kept > most ? MAY(STATUS_NOMEM) : 0);
    if (play_answers(p, CALL_EMERGENCY_RESERVE, s, may)) {
        m->emergency = m->emergency_wanted = n;
        m->came_free = 0;
    }
}

/* All is promised, and the emergency reserve drawn on: what becomes free fills it up again. */
void play_squeeze(struct play *p)
{
    struct pmm_model *m = p->model;
    uint64_t n = 1 + dice_below(&p->dice, 30);
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_emergency_reserve(p->pmm, npages(n));
    if (!play_answers(p, CALL_EMERGENCY_RESERVE, s, MAY(STATUS_OK) | MAY(STATUS_NOMEM))) {
        return;
    }
    m->emergency = m->emergency_wanted = n;
    m->came_free = 0;
    play_promise_all(p);
    for (uint64_t draws = dice_below(&p->dice, n + 1); draws > 0 && m->ok && s == STATUS_OK; draws--) {
        pfn_t frame;
        play_calls(p, CALLS_NOBODY);
        s = pmm_alloc(p->pmm, PMM_EMERGENCY | PMM_NO_RECLAIM, &frame);
        if (play_served(p, CALL_ALLOC, PMM_EMERGENCY | PMM_NO_RECLAIM, 1, s)) {
            play_took(p, PMM_EMERGENCY | PMM_NO_RECLAIM, frame);
        }
    }
}

/* ---- Frames zeroed ahead ---- */

void play_alloc_zeroed(struct play *p)
{
    enum { OLD = 999 };
    struct pmm_model *m = p->model;
    unsigned flags = play_flags(p);
    struct pmm_stats before = pmm_stats(p->pmm);
    uint64_t avail = model_for_all(m);
    bool is_zero = false;
    pfn_t frame = pfn(OLD);
    play_calls(p, (flags & PMM_NO_RECLAIM) == 0 ? CALLS_TO_ALLOCATE : CALLS_NOBODY);
    enum status s = pmm_alloc_zeroed(p->pmm, flags, &frame, &is_zero);
    if (play_served(p, CALL_ALLOC_ZEROED, flags, 1, s)) {
        AGREE(m, !is_zero || (model_marks(m, frame.v) & MARK_ZEROED) != 0);
        play_took(p, flags, frame);
        AGREE_EQ(m, pmm_stats(p->pmm).zero_hits, before.zero_hits + is_zero);
        AGREE_EQ(m, pmm_stats(p->pmm).zero_misses, before.zero_misses + !is_zero);
        if (is_zero) {
            return; /* the pool serves without a look at thresholds */
        }
    } else if (s != STATUS_OK) {
        AGREE_EQ(m, frame.v, OLD);
    }
    play_lows_after(p, flags, avail, s);
}

static bool zero(void *ctx, pfn_t frame)
{
    struct play *p = ctx;
    struct pmm_model *m = p->model;
    AGREE_EQ(m, model_kind(m, frame.v), MODEL_FREE);
    if (dice_one_in(&p->dice, 20) || !m->ok) {
        return false;
    }
    p->zeroing = frame.v;
    if (dice_one_in(&p->dice, 20)) {
        p->callbacks = CALLS_TO_FREE; /* for want of memory, inside */
        allocate_inside(p);
        p->callbacks = CALLS_NOBODY;
    }
    p->zeroing = MODEL_NO_FRAME;
    m->marks[frame.v - m->first] |= MARK_ZEROED;
    p->zeroed++;
    return true;
}

void play_zero_fill(struct play *p)
{
    struct pmm_model *m = p->model;
    bool has_pool = p->bed->zero_capacity > 0;
    uint64_t most = dice_below(&p->dice, 40);
    npages_t filled = npages(0);
    p->zeroed = 0;
    play_calls(p, CALLS_NOBODY);
    unsigned class = (unsigned)dice_below(&p->dice, PMM_CLASSES);
    enum status s = pmm_zero_fill(p->pmm, class, npages(most), zero, p, &filled);
    play_answers(p, CALL_ZERO_FILL, s, MAY(has_pool ? STATUS_OK : STATUS_UNSUPPORTED));
    AGREE(m, filled.v <= most);
    AGREE_EQ(m, filled.v, p->zeroed);
    struct pmm_stats stats = pmm_stats(p->pmm);
    if (filled.v > 0) {
        AGREE(m, stats.free.v - stats.zeroed.v >= stats.free.v / 16);
    }
}

void play_drain(struct play *p)
{
    play_calls(p, CALLS_NOBODY);
    pmm_drain(p->pmm);
    struct pmm_stats stats = pmm_stats(p->pmm);
    AGREE_EQ(p->model, stats.zeroed.v, 0);
    AGREE(p->model, p->bed->cpu_count > 1 || stats.cached.v == 0);
}

/* ---- Trace ---- */

static void told(void *ctx, enum pmm_event event, pfn_t first, npages_t frames)
{
    struct play *p = ctx;
    AGREE(p->model, pmm_event_name(event) != NULL);
    AGREE(p->model, p->is_traced);
    if (event == PMM_EVENT_ALLOC) {
        AGREE(p->model, frames.v > 0 && model_kind(p->model, first.v) == MODEL_FREE);
        p->traced += frames.v;
    }
}

void play_trace(struct play *p)
{
    p->is_traced = !p->is_traced && dice_below(&p->dice, 2) == 0;
    p->traced = p->to_trace = 0;
    pmm_trace(p->pmm, p->is_traced ? told : NULL, p);
    if (p->is_traced && p->bed->cpu_count <= 1) {
        struct pmm_stats stats = pmm_stats(p->pmm);
        AGREE_EQ(p->model, stats.cached.v, stats.zeroed.v);
    }
}
