/* Operations on a PMM held against the model: many frames in one call. */
#include "unit/pmm_random_ops.h"

/* ---- Arrays ---- */

void play_alloc_many(struct play *p)
{
    enum { OLD = 54321 };
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    unsigned flags = play_flags(p);
    uint64_t n = dice_below(d, dice_below(d, 3) == 0 ? PLAY_MANY + 1 : 20), avail = model_for_all(m);
    for (uint64_t i = 0; i < PLAY_MANY; i++) {
        p->frames[i] = pfn(OLD);
    }
    play_calls(p, (flags & PMM_NO_RECLAIM) == 0 ? CALLS_TO_ALLOCATE : CALLS_NOBODY);
    enum status s = pmm_alloc_many(p->pmm, flags, p->frames, npages(n));
    bool ok = play_served(p, CALL_ALLOC_MANY, flags, n, s);
    for (uint64_t i = 0; i < n && ok && m->ok; i++) {
        play_took(p, flags, p->frames[i]);
    }
    for (uint64_t i = n; i < PLAY_MANY && m->ok; i++) {
        AGREE_EQ(m, p->frames[i].v, OLD);
    }
    if (n > 0) {
        play_lows_after(p, flags, avail, s);
    }
}

void play_free_many(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t n = 0, want = dice_below(d, dice_below(d, 3) == 0 ? PLAY_MANY + 1 : 20);
    unsigned owners[PLAY_MANY];
    for (uint64_t frame = play_find(p, MODEL_USED); n < want && frame < m->end; frame++) {
        if (model_free_one(m, frame) == STATUS_OK) {
            p->frames[n++] = pfn(frame);
        }
    }
    if (n > 0 && dice_one_in(d, 8)) {
        p->frames[dice_below(d, n)] = pfn(play_anywhere(p)); /* may be twice in the list now, too */
    }
    for (uint64_t i = 0; i < n; i++) {
        owners[i] = play_owner_of(p, p->frames[i].v);
    }
    npages_t done = npages(n + 1);
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_free_many(p->pmm, p->frames, npages(n), &done);
    uint64_t right = 0;
    while (right < n && model_free_one(m, p->frames[right].v) == STATUS_OK) {
        play_released(p, p->frames[right].v, owners[right]);
        right++;
    }
    AGREE_EQ(m, done.v, right);
    play_answers(p, CALL_FREE_MANY, s, MAY(right < n ? STATUS_MISUSE : STATUS_OK));
}

/* ---- Contiguous runs ---- */

static uint64_t power_or_wrong(struct dice *d, unsigned most)
{
    return dice_one_in(d, 40) ? 3 + dice_below(d, 4) * 3 : 1ULL << dice_below(d, most);
}

static bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

struct run_request {
    unsigned flags;
    uint64_t n, align, boundary;
    pfn_t limit;
};

static struct run_request draw_request(struct play *p)
{
    static const uint16_t lengths[] = {1, 2, 3, 16, 17, 64, 250, 511, 512, 513, 1000, 1024, 1536, 1537};
    const struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    struct run_request r = {.flags = play_flags(p) & ~PMM_OWNER(UINT16_MAX), .limit = PMM_NO_LIMIT};
    r.flags &= dice_one_in(d, 20) ? ~0U : ~(unsigned)PMM_PROMISED;
    r.flags |= dice_one_in(d, 60) ? PMM_OWNER(1) : 0;
    uint64_t which = dice_below(d, 2) == 0 ? dice_below(d, ARRAY_LEN(lengths)) : dice_below(d, 5);
    r.n = dice_below(d, 4) == 0 ? 1 + dice_below(d, 2000) : lengths[which];
    r.n = dice_one_in(d, 60) ? dice_below(d, 2) * (UINT64_MAX - 2) : r.n;
    r.align = dice_below(d, 2) == 0 ? dice_below(d, 2) : power_or_wrong(d, 12);
    if (dice_below(d, 6) == 0) {
        r.boundary = power_or_wrong(d, 12);
        while (r.boundary < r.n && is_power_of_two(r.boundary) && !dice_one_in(d, 10)) {
            r.boundary = r.boundary <= UINT64_MAX / 4 ? 2 * r.boundary : 0;
        }
    }
    if (dice_below(d, 5) == 0) {
        r.limit = pfn(m->first + dice_below(d, m->end - m->first));
    }
    return r;
}

static bool request_is_invalid(struct run_request r)
{
    return r.n == 0 || r.n > UINT64_MAX / PAGE_BYTES || (r.align != 0 && !is_power_of_two(r.align)) ||
           (r.boundary != 0 && (!is_power_of_two(r.boundary) || r.boundary < r.n));
}

/* What this request may answer; after the call, before what it did is written down. */
static unsigned run_answers(const struct play *p, struct run_request r, struct model_wish wish, enum status s)
{
    struct pmm_model *m = p->model;
    bool wrong = model_flags_wrong(m, r.flags, 0) || (r.flags & PMM_PROMISED) != 0 || r.flags >> PMM_OWNER_SHIFT != 0;
    bool invalid = request_is_invalid(r);
    if (wrong || invalid) {
        return (wrong ? MAY(STATUS_MISUSE) : 0) | (invalid ? MAY(STATUS_INVALID) : 0);
    }
    if (model_is_broken(m)) {
        return MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_CORRUPT);
    }
    if (s == STATUS_OK) {
        return model_may_serve(m, r.flags, r.n) ? MAY(STATUS_OK) : 0;
    }
    uint64_t found =
        s == STATUS_NOMEM && model_must_serve(m, r.flags, r.n) ? model_find_run(m, wish, true) : MODEL_NO_FRAME;
    if (found == MODEL_NO_FRAME || p->has_swapped) {
        return MAY(STATUS_NOMEM);
    }
    test_note("the run of %lu frames at %#lx would do", r.n, found);
    return 0;
}

/* One call of pmm_alloc_run, judged. */
static enum status ask_for_run(struct play *p, struct run_request r)
{
    enum { OLD = 777 };
    struct pmm_model *m = p->model;
    uint64_t limit = model_limit(r.flags);
    struct model_wish wish = {r.n, r.align == 0 ? 1 : r.align, r.boundary, r.limit.v < limit ? r.limit.v : limit,
                              r.flags};
    pfn_t first = pfn(OLD);
    p->may_lose = r.n;
    play_calls(p, (r.flags & PMM_NO_RECLAIM) == 0 ? CALLS_TO_ALLOCATE : CALLS_NOBODY);
    enum status s = pmm_alloc_run(p->pmm, r.flags, npages(r.n), npages(r.align), npages(r.boundary), r.limit, &first);
    bool ok = play_answers(p, CALL_ALLOC_RUN, s, run_answers(p, r, wish, s));
    if (ok && AGREE(m, model_run_fits(m, wish, first.v))) {
        model_run_taken(m, first.v, r.n);
        play_zone_is_kept(p, r.flags, model_zone(first.v));
        p->to_trace += p->is_traced ? r.n : 0;
        p->drawn += (r.flags & PMM_EMERGENCY) != 0 ? r.n : 0;
    } else if (s != STATUS_OK) {
        AGREE_EQ(m, first.v, OLD);
    }
    if (!m->ok) {
        test_note("run of %lu at %#lx, flags %#x, align %lu, boundary %lu, limit %#lx", r.n, first.v, r.flags, r.align,
                  r.boundary, r.limit.v);
    }
    return s;
}

void play_alloc_run(struct play *p)
{
    struct run_request r = draw_request(p);
    uint64_t avail = model_for_all(p->model);
    enum status s = ask_for_run(p, r);
    play_lows_after(p, r.flags, avail, s);
}

void play_largest_run(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    struct run_request r = {.flags = PMM_NO_RECLAIM, .limit = PMM_NO_LIMIT};
    if (dice_below(d, 3) == 0) {
        r.limit = pfn(m->first + dice_below(d, m->end - m->first));
    }
    play_calls(p, CALLS_NOBODY);
    uint64_t said = pmm_largest_run(p->pmm, r.limit).v;
    uint64_t sure = model_longest_run(m, r.limit.v, true), avail = model_avail(m) - model_out_of_reach(m);
    AGREE(m, said <= model_longest_run(m, r.limit.v, false));
    AGREE(m, said >= (sure < avail ? sure : avail) || model_has_reserves(m));
    if (!m->ok) {
        test_note("the largest run below %#lx is said to be %lu, the model says %lu; %lu available", r.limit.v, said,
                  sure, avail);
        return;
    }
    /* What it says can be had, and not a frame more. */
    if (p->bed->cpu_count <= 1 && !model_has_reserves(m) && dice_below(d, 3) == 0 &&
        model_must_serve(m, r.flags, said + 1)) {
        r.n = said + 1;
        AGREE_EQ(m, ask_for_run(p, r), STATUS_NOMEM);
        r.n = said;
        if (said > 0 && m->ok) {
            enum status s = ask_for_run(p, r);
            if (!AGREE(m, s == STATUS_OK || model_is_broken(m))) {
                test_note("the largest run below %#lx is said to be %lu", r.limit.v, said);
            }
        }
    }
}

/* ---- Back ---- */

/* Frames in use from `at` on, one after the other, at most `most`; a block handed out whole counts. */
static uint64_t in_use_from(const struct pmm_model *m, uint64_t at, uint64_t most)
{
    uint64_t n = 0;
    while (n < most && (model_kind(m, at + n) == MODEL_RUN || model_free_one(m, at + n) == STATUS_OK)) {
        n++;
    }
    return n;
}

/* A run in use or a part of it, or more than it, frames in use side by side, or anything. */
static void draw_range(struct play *p, uint64_t *first, uint64_t *n)
{
    struct dice *d = &p->dice;
    enum model_kind kind = dice_below(d, 2) == 0 ? MODEL_RUN : MODEL_USED;
    uint64_t at = dice_one_in(d, 12) ? MODEL_NO_FRAME : play_find(p, kind);
    uint64_t most = dice_below(d, 3) == 0 ? 600 : 6;
    if (at == MODEL_NO_FRAME) {
        at = play_anywhere(p);
    } else if (kind == MODEL_RUN && dice_below(d, 4) != 0) { /* whole blocks, most of the time */
        at -= at % PMM_BLOCK_FRAMES;
        most = (1 + dice_below(d, 3)) * PMM_BLOCK_FRAMES + dice_below(d, 2) * dice_below(d, PMM_BLOCK_FRAMES);
        while (model_continues_run(p->model, at) && dice_below(d, 4) != 0) {
            at -= PMM_BLOCK_FRAMES;
        }
    }
    *first = at;
    *n = in_use_from(p->model, at, most);
    if (*n > 1 && dice_below(d, 4) == 0) {
        *n = 1 + dice_below(d, *n);
    }
    if (dice_one_in(d, 20)) {
        *n = dice_below(d, 3) == 0 ? UINT64_MAX - 1 : *n + dice_below(d, 3);
    }
}

void play_free_run(struct play *p)
{
    struct pmm_model *m = p->model;
    uint64_t first, n;
    draw_range(p, &first, &n);
    unsigned may = model_free_run(m, first, n);
    uint64_t in_own[MODEL_OWNERS + 1] = {0};
    for (uint64_t f = first; f < first + n && f < m->end && (may & MAY(STATUS_OK)) != 0; f++) {
        unsigned owner = play_owner_of(p, f);
        in_own[owner <= MODEL_OWNERS ? owner : 0]++;
    }
    play_calls(p, CALLS_NOBODY);
    if (play_answers(p, CALL_FREE_RUN, pmm_free_run(p->pmm, pfn(first), npages(n)), may)) {
        model_run_freed(m, first, n);
        for (unsigned owner = 1; owner <= MODEL_OWNERS; owner++) {
            m->owners[owner].held -= in_own[owner];
        }
    } else if (!m->ok) {
        test_note("[%#lx, %#lx + %lu)", first, first, n);
    }
}

void play_split_run(struct play *p)
{
    uint64_t first, n;
    draw_range(p, &first, &n);
    n += dice_one_in(&p->dice, 4) ? dice_below(&p->dice, PMM_BLOCK_FRAMES) : 0;
    unsigned may = model_split_run(p->model, first, n);
    play_calls(p, CALLS_NOBODY);
    if (play_answers(p, CALL_SPLIT_RUN, pmm_split_run(p->pmm, pfn(first), npages(n)), may)) {
        model_split(p->model, first, n);
    } else if (!p->model->ok) {
        test_note("[%#lx, %#lx + %lu)", first, first, n);
    }
}
