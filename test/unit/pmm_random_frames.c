/* Operations on a PMM held against the model: frames one at a time. */
#include "unit/pmm_random_ops.h"

enum { UNTOUCHED_ANSWER = 12345 };

void play_alloc(struct play *p)
{
    unsigned flags = play_flags(p);
    pfn_t frame = pfn(UNTOUCHED_ANSWER);
    uint64_t avail = model_for_all(p->model);
    play_calls(p, (flags & PMM_NO_RECLAIM) == 0 ? CALLS_TO_ALLOCATE : CALLS_NOBODY);
    enum status s = pmm_alloc(p->pmm, flags, &frame);
    if (play_served(p, CALL_ALLOC, flags, 1, s)) {
        play_took(p, flags, frame);
    } else if (s != STATUS_OK) {
        AGREE_EQ(p->model, frame.v, UNTOUCHED_ANSWER);
    }
    play_lows_after(p, flags, avail, s);
}

void play_free(struct play *p)
{
    uint64_t frame = play_in_use(p), how = dice_below(&p->dice, 8);
    unsigned owner = play_owner_of(p, frame);
    enum status expected = model_free_one(p->model, frame), s;
    enum play_call call = CALL_FREE;
    bool freed = false, was_last = model_references(p->model, frame) == 1;
    play_calls(p, CALLS_NOBODY);
    if (how < 4) {
        call = CALL_RELEASE;
        expected = model_release(p->model, frame);
        s = pmm_release(p->pmm, pfn(frame), &freed);
        AGREE_EQ(p->model, freed, s == STATUS_OK && was_last);
    } else if (how == 4 && frame < UINT64_MAX / PAGE_BYTES) {
        call = CALL_FREE_AT;
        s = pmm_free_at(p->pmm, pfn_to_paddr(pfn(frame)));
    } else if (how == 5 && frame < UINT64_MAX / PAGE_BYTES && dice_one_in(&p->dice, 4)) {
        call = CALL_FREE_AT;
        expected = STATUS_MISUSE;
        s = pmm_free_at(p->pmm, paddr(pfn_to_paddr(pfn(frame)).v + 1 + dice_below(&p->dice, PAGE_BYTES - 1)));
    } else {
        s = pmm_free(p->pmm, pfn(frame));
    }
    if (play_answers(p, call, s, MAY(expected))) {
        play_released(p, frame, owner);
    } else if (!p->model->ok) {
        test_note("frame %#lx: kind %u, %u references", frame, model_kind(p->model, frame),
                  model_references(p->model, frame));
    }
}

void play_retain(struct play *p)
{
    uint64_t frame = play_in_use(p);
    unsigned may = model_retain(p->model, frame);
    play_calls(p, CALLS_NOBODY);
    if (play_answers(p, CALL_RETAIN, pmm_retain(p->pmm, pfn(frame)), may)) {
        model_retained(p->model, frame);
    }
}

/* To the limit and back: once a game, it takes its time. */
void play_reference_limit(struct play *p)
{
    struct pmm_model *m = p->model;
    uint64_t frame = play_find(p, MODEL_USED), retains = 0, releases = 0;
    bool fits = frame != MODEL_NO_FRAME && model_references(m, frame) == 1 && model_marks(m, frame) == 0;
    bool again = dice_one_in(&p->dice, 8) || p->tally->seen[CALL_RETAIN][STATUS_LIMIT] == 0;
    if (p->limit_was_tried || p->is_traced || !fits || !again) {
        return;
    }
    p->limit_was_tried = true;
    play_calls(p, CALLS_NOBODY);
    while (retains < PMM_REFERENCES_MAX - 1 && pmm_retain(p->pmm, pfn(frame)) == STATUS_OK) {
        retains++;
    }
    AGREE_EQ(m, retains, PMM_REFERENCES_MAX - 1);
    AGREE_EQ(m, pmm_query(p->pmm, pfn(frame)).references, PMM_REFERENCES_MAX);
    play_answers(p, CALL_RETAIN, pmm_retain(p->pmm, pfn(frame)), MAY(STATUS_LIMIT));
    while (releases < retains && pmm_release(p->pmm, pfn(frame), NULL) == STATUS_OK) {
        releases++;
    }
    AGREE_EQ(m, releases, retains);
    model_retained(m, frame);
    model_released(m, frame);
}

void play_zero_frame(struct play *p)
{
    struct pmm_model *m = p->model;
    pfn_t zero = pfn(UNTOUCHED_ANSWER);
    bool is_set = m->zero_frame != MODEL_NO_FRAME;
    play_calls(p, CALLS_NOBODY);
    play_answers(p, CALL_ZERO_FRAME, pmm_zero_frame(p->pmm, &zero), MAY(is_set ? STATUS_OK : STATUS_ABSENT));
    if (is_set) {
        AGREE_EQ(m, zero.v, m->zero_frame);
    }
    if (!dice_one_in(&p->dice, 2)) {
        return;
    }
    uint64_t frame = play_in_use(p);
    enum model_kind kind = model_kind(m, frame);
    unsigned may = is_set ? MAY(STATUS_EXISTS) : 0;
    may |= model_free_one(m, frame) != STATUS_OK || kind == MODEL_RUN ? MAY(STATUS_MISUSE) : 0;
    /* Whether a frame of a run, or one that goes bad, is as good as another is not said. */
    may |= kind == MODEL_RUN && !is_set ? MAY(STATUS_OK) : 0;
    may |= (model_marks(m, frame) & MARK_GOES_BAD) != 0 ? MAY(STATUS_MISUSE) : 0;
    may |= model_free_one(m, frame) == STATUS_OK && !is_set ? MAY(STATUS_OK) : 0;
    play_calls(p, CALLS_NOBODY);
    if (play_answers(p, CALL_ZERO_FRAME_SET, pmm_zero_frame_set(p->pmm, pfn(frame)), may)) {
        model_split(m, frame, 1);
        model_set(m, frame, MODEL_ZERO);
        m->zero_frame = frame;
    }
}

/* ---- Given frames ---- */

void play_claim(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t first = dice_below(d, 3) != 0 ? play_find(p, MODEL_FREE) : play_anywhere(p);
    first = first == MODEL_NO_FRAME ? play_anywhere(p) : first;
    uint64_t frames = dice_one_in(d, 20) ? 0 : 1 + dice_below(d, dice_below(d, 6) == 0 ? 900 : 4);
    frames = dice_one_in(d, 40) ? UINT64_MAX - dice_below(d, 3) : frames;
    p->may_lose = frames;
    play_calls(p, CALLS_TO_FREE);
    enum status s = pmm_claim(p->pmm, pfn(first), npages(frames));
    /* The PMM has paid by now for what it opened: the model learned of it, and free did not change by it. */
    if (play_answers(p, CALL_CLAIM, s, model_claim(m, first, frames))) {
        model_claimed(m, first, frames);
        for (uint64_t f = first; f < first + frames && m->ok; f++) {
            unsigned owner = play_owner_of(p, f);
            if (owner != 0) {
                m->owners[owner].held++;
                AGREE(m, !pmm_owner_takes_back(p->pmm, owner, pfn(f)));
            }
        }
    } else if (!m->ok) {
        test_note("claim of %lu frames at %#lx", frames, first);
    }
}

void play_give_back(struct play *p)
{
    const struct pmm_bed *bed = p->bed;
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t first = dice_below(d, 4) != 0 ? play_find(p, MODEL_RESERVED) : play_anywhere(p);
    first = first == MODEL_NO_FRAME ? play_anywhere(p) : first;
    for (uint64_t steps = dice_below(d, 6); steps > 0 && model_kind(m, first + 1) == MODEL_RESERVED; steps--) {
        first++; /* into the middle of a hold: it is split there */
    }
    uint64_t frames = 1 + dice_below(d, 3);
    if (bed->hold_count > 0 && dice_below(d, 3) == 0) {
        struct frame_hold h = bed->given_holds[dice_below(d, bed->hold_count)];
        first = h.first.v + dice_below(d, h.frames);
        frames = 1 + dice_below(d, hold_end(h) - first);
    }
    unsigned may = model_give_back(m, first, frames);
    play_calls(p, CALLS_NOBODY);
    if (play_answers(p, CALL_GIVE_BACK, pmm_give_back(p->pmm, pfn(first), npages(frames)), may)) {
        for (uint64_t f = first; f < first + frames; f++) {
            model_set(m, f, MODEL_FREE);
        }
    } else if (!m->ok) {
        test_note("give back of %lu frames at %#lx, kind %u", frames, first, model_kind(m, first));
    }
}

void play_promise(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t n = dice_below(d, dice_below(d, 4) == 0 ? 3000 : 40);
    bool broken = model_is_broken(m);
    if (dice_below(d, 2) == 0) {
        play_calls(p, CALLS_TO_ALLOCATE);
        enum status s = pmm_promise(p->pmm, npages(n));
        uint64_t avail = model_avail(m);
        unsigned may = n <= avail || broken ? MAY(STATUS_OK) : 0;
        uint64_t kept = model_kept_by_zones(m, 0) + model_out_of_reach(m); /* a promise may empty no reserve */
        may |= n + kept > avail || broken ? MAY(STATUS_NOMEM) : 0;
        m->promised += play_answers(p, CALL_PROMISE, s, may) ? n : 0;
        return;
    }
    n = dice_below(d, 4) != 0 && m->promised > 0 ? 1 + dice_below(d, m->promised) : n;
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_unpromise(p->pmm, npages(n));
    m->promised -= play_answers(p, CALL_UNPROMISE, s, MAY(n <= m->promised ? STATUS_OK : STATUS_MISUSE)) ? n : 0;
}

/* ---- Questions ---- */

static void drop(struct sink *self, const char *text, size_t len)
{
    (void)self;
    (void)text;
    (void)len;
}

void play_questions(struct play *p)
{
    struct pmm_model *m = p->model;
    uint64_t frame = play_anywhere(p);
    struct pmm_frame q = pmm_query(p->pmm, pfn(frame));
    AGREE(m, model_kind(m, frame) != MODEL_OUTSIDE || (q.state == PMM_STATE_OUTSIDE && q.region == SIZE_MAX));
    AGREE(m, q.state < PMM_STATES && pmm_state_name(q.state) != NULL && pmm_zone_name(q.zone) != NULL);
    if (frame < UINT64_MAX / PAGE_BYTES) {
        paddr_t address = paddr(pfn_to_paddr(pfn(frame)).v + dice_below(&p->dice, PAGE_BYTES));
        struct pmm_frame same = pmm_frame_state(p->pmm, address);
        AGREE(m, same.state == q.state && same.references == q.references && same.region == q.region);
    }
    struct pmm_region_stats s;
    AGREE(m, !pmm_region_stats(p->pmm, SIZE_MAX, &s));
    if (dice_one_in(&p->dice, 8)) {
        struct sink nowhere = {drop};
        pmm_dump(p->pmm, &nowhere);
    }
}
