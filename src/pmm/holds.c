/*
 * What the lists say: which frames are RAM (the runs), and which of them are held. For blocks never used this is all
 * there is; an open block's states say it themselves.
 */
#include "lib/string.h"
#include "pmm/internal.h"

/* Halving: one of the n from `at` on is the last that ends at or before the frame, or none is. */
__attribute__((noinline)) size_t run_at(const struct pmm *pmm, uint64_t frame)
{
    const struct frame_run *at = pmm->runs;
    size_t n = pmm->run_count;
    if (n == 0) {
        return 0;
    }
    for (size_t half = n / 2; half > 0; half = n / 2) {
        at = run_end(at[half - 1]) <= frame ? at + half : at;
        n -= half;
    }
    return (size_t)(at - pmm->runs) + (run_end(*at) <= frame);
}

__attribute__((noinline)) size_t hold_at(const struct pmm *pmm, uint64_t frame)
{
    const struct frame_hold *at = pmm->holds;
    size_t n = pmm->hold_count;
    if (n == 0) {
        return 0;
    }
    for (size_t half = n / 2; half > 0; half = n / 2) {
        at = hold_end(at[half - 1]) <= frame ? at + half : at;
        n -= half;
    }
    return (size_t)(at - pmm->holds) + (hold_end(*at) <= frame);
}

enum { STEPS_NEAR = 3 }; /* entries looked at before all are halved */

static size_t run_near(const struct pmm *pmm, uint64_t frame, size_t hint)
{
    const struct frame_run *runs = pmm->runs;
    size_t at = hint <= pmm->run_count ? hint : 0;
    for (unsigned steps = 0; steps < STEPS_NEAR; steps++) {
        if (at > 0 && run_end(runs[at - 1]) > frame) {
            at--;
        } else if (at < pmm->run_count && run_end(runs[at]) <= frame) {
            at++;
        } else {
            return at;
        }
    }
    return run_at(pmm, frame);
}

static size_t hold_near(const struct pmm *pmm, uint64_t frame, size_t hint)
{
    const struct frame_hold *holds = pmm->holds;
    size_t at = hint <= pmm->hold_count ? hint : 0;
    for (unsigned steps = 0; steps < STEPS_NEAR; steps++) {
        if (at > 0 && hold_end(holds[at - 1]) > frame) {
            at--;
        } else if (at < pmm->hold_count && hold_end(holds[at]) <= frame) {
            at++;
        } else {
            return at;
        }
    }
    return hold_at(pmm, frame);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

struct stretch stretch_near(const struct pmm *pmm, uint64_t from, struct pmm_list_hint hint)
{
    return (struct stretch){from, from, run_near(pmm, from, hint.run), hold_near(pmm, from, hint.hold)};
}

struct stretch stretch_from(const struct pmm *pmm, uint64_t from)
{
    struct stretch s = stretch_near(pmm, from, pmm->looked);
    struct pmm *remembers = (struct pmm *)(uintptr_t)pmm; /* nothing depends on it */
    remembers->looked = stretch_hint(&s);
    return s;
}

bool stretch_next(const struct pmm *pmm, struct stretch *s, uint64_t end)
{
    uint64_t at = s->stop;
    while (at < end) {
        while (s->run < pmm->run_count && run_end(pmm->runs[s->run]) <= at) {
            s->run++;
        }
        if (s->run == pmm->run_count || pmm->runs[s->run].first.v >= end) {
            break;
        }
        at = pmm->runs[s->run].first.v > at ? pmm->runs[s->run].first.v : at;
        while (s->hold < pmm->hold_count && hold_end(pmm->holds[s->hold]) <= at) {
            s->hold++;
        }
        uint64_t hold_first = s->hold < pmm->hold_count ? pmm->holds[s->hold].first.v : FRAME_NONE;
        if (hold_first <= at) {
            at = hold_end(pmm->holds[s->hold]);
        } else if (at == 0) {
            at = 1;
        } else if (at >= pmm->claim_first && at < pmm->claim_end) {
            at = pmm->claim_end;
        } else {
            uint64_t claim = pmm->claim_first > at ? pmm->claim_first : FRAME_NONE;
            s->first = at;
            s->stop = least(least(run_end(pmm->runs[s->run]), hold_first), least(claim, end));
            return true;
        }
    }
    s->stop = at; /* it goes on from here, behind the holds that were passed */
    return false;
}

uint64_t usable_next(const struct pmm *pmm, uint64_t from, uint64_t end, uint64_t *stop)
{
    struct stretch s = stretch_from(pmm, from);
    if (from >= end || !stretch_next(pmm, &s, end)) {
        return end;
    }
    if (stop != NULL) {
        *stop = s.stop;
    }
    return s.first;
}

uint64_t usable_count(const struct pmm *pmm, uint64_t from, uint64_t end)
{
    uint64_t count = 0;
    struct stretch s = stretch_from(pmm, from);
    while (stretch_next(pmm, &s, end)) {
        count += s.stop - s.first;
    }
    return count;
}

enum pmm_state unopened_state(const struct pmm *pmm, uint64_t frame, uint64_t *stop)
{
    size_t run = run_at(pmm, frame);
    if (run == pmm->run_count || pmm->runs[run].first.v > frame) {
        *stop = run == pmm->run_count ? FRAME_NONE : pmm->runs[run].first.v;
        return PMM_STATE_ABSENT;
    }
    *stop = run_end(pmm->runs[run]);
    size_t hold = hold_at(pmm, frame);
    if (hold < pmm->hold_count) {
        bool held = pmm->holds[hold].first.v <= frame;
        *stop = least(*stop, held ? hold_end(pmm->holds[hold]) : pmm->holds[hold].first.v);
        if (held) {
            return pmm->holds[hold].kind == HOLD_BAD ? PMM_STATE_BAD : PMM_STATE_RESERVED;
        }
    }
    if (frame == 0) {
        *stop = 1;
        return PMM_STATE_RESERVED;
    }
    return PMM_STATE_UNTOUCHED;
}

/* Make [at, at + remove) of the list `count` entries of `with`. */
static void splice(struct pmm *pmm, size_t at, size_t remove, const struct frame_hold *with, size_t count)
{
    memmove(&pmm->holds[at + count], &pmm->holds[at + remove], (pmm->hold_count - at - remove) * sizeof *pmm->holds);
    for (size_t i = 0; i < count; i++) {
        pmm->holds[at + i] = with[i];
    }
    pmm->hold_count = pmm->hold_count - remove + count;
}

enum status holds_trim(struct pmm *pmm, uint64_t first, uint64_t end)
{
    size_t at = hold_at(pmm, first);
    size_t remove = 0;
    struct frame_hold left[2];
    size_t count = 0;
    for (; at + remove < pmm->hold_count && pmm->holds[at + remove].first.v < end; remove++) {
        struct frame_hold h = pmm->holds[at + remove];
        if (h.first.v < first) {
            left[count++] = (struct frame_hold){h.first, (uint32_t)(first - h.first.v), h.kind};
        }
        if (hold_end(h) > end) {
            left[count++] = (struct frame_hold){pfn(end), (uint32_t)(hold_end(h) - end), h.kind};
        }
    }
    if (pmm->hold_count - remove + count > pmm->hold_capacity) {
        return STATUS_LIMIT;
    }
    splice(pmm, at, remove, left, count);
    return STATUS_OK;
}
