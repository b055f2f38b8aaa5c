/*
 * Bad memory (badram=) told to the watermark allocator.
 *
 * 1. Words
 *    stretch  bad frames next to each other, in one run: one hold
 *    step     a part of a stretch that one pattern gives; a stretch where patterns meet takes several
 *    group    2^n frames, aligned, that are all left unused when one of them is bad; n = 0 is the exact way
 *
 * 2. Too many stretches
 *    One pattern may match each second frame: 2^31 stretches in 16 TiB. Then there are two ways to need fewer:
 *    (a) Groups: the low n bits of the masks are not looked at. Stretches near to each other become one, with the
 *        good frames between them lost. Best for patterns that are dense in few places.
 *    (b) An end: memory from the first stretch that has no place on is left out as if mem= had said so. Best for
 *        patterns that are as dense everywhere: no choice of places for the holds would leave more.
 *    For each n the survey below says how much good memory there is up to the end that it needs; the best wins, of
 *    equal ones the exacter. Larger n than the first that needs no end only lose more.
 *    Such memory leaves the runs, since held memory costs metadata as free memory does: 4 TiB of it, held, would take
 *    more than all that is good.
 *
 * 3. Cost
 *    A survey takes at most BAD_STEPS_MAX steps of O(patterns): numbers are computed, no frame is looked at. There are
 *    at most as many surveys as a frame number has bits.
 *
 * 4. Rejected
 *    A bitmap of bad frames: its size depends on RAM. Keeping the largest good stretches, as the memory map keeps the
 *    largest runs: a count of all stretches by size is needed first, and there may be 2^31 of them. Asking the
 *    patterns at each allocation: the PMM's pair would pay for it on every machine.
 *
 * 5. Context
 *    Boot, once, one CPU; no state, no lock. It is in .init and goes with it.
 */
#include "boot/bad_holds.h"

enum { FRAME_NUMBER_BITS = 52 };

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The patterns with the low bits left open. */
static struct badram_list in_groups(const struct badram_list *list, unsigned group_log2)
{
    struct badram_list wide = *list;
    uint64_t kept = ~((1ULL << group_log2) - 1);
    for (size_t i = 0; i < wide.count; i++) {
        wide.at[i].number &= kept;
        wide.at[i].mask &= kept;
    }
    return wide;
}

static bool has_mask_bit(const struct badram_list *list, unsigned bit)
{
    for (size_t i = 0; i < list->count; i++) {
        if ((list->at[i].mask >> bit & 1) != 0) {
            return true;
        }
    }
    return false;
}

/* Where the stretch that begins at `from` ends. `from` itself: *steps_left has run out. */
static uint64_t stretch_end(const struct badram_list *list, uint64_t from, uint64_t end, size_t *steps_left)
{
    for (uint64_t at = from; *steps_left > 0; (*steps_left)--) {
        uint64_t until = badram_bad_until(list, at, end);
        if (until == at || until == end) {
            return until;
        }
        at = until;
    }
    return from;
}

/* What the patterns leave of the runs up to where they need too many stretches or steps. */
static struct bad_plan survey(const struct badram_list *list, unsigned group_log2, const struct frame_run *runs,
                              size_t count)
{
    struct badram_list wide = in_groups(list, group_log2);
    struct bad_plan plan = {.group_log2 = group_log2, .end = UINT64_MAX};
    size_t steps_left = BAD_STEPS_MAX;
    for (size_t i = 0; i < count; i++) {
        for (uint64_t at = runs[i].first.v, end = run_end(runs[i]); at < end;) {
            uint64_t bad = badram_next(&wide, at, end);
            plan.good.v += bad - at;
            if (bad == end) {
                break;
            }
            at = plan.stretches < BAD_STRETCHES_MAX ? stretch_end(&wide, bad, end, &steps_left) : bad;
            if (at == bad) {
                plan.end = bad;
                return plan;
            }
            plan.bad.v += at - bad;
            plan.stretches++;
        }
    }
    return plan;
}

struct bad_plan bad_holds_plan(const struct badram_list *list, const struct frame_run *runs, size_t count)
{
    struct bad_plan best = survey(list, 0, runs, count), plan = best;
    for (unsigned n = 1; n <= FRAME_NUMBER_BITS && plan.end != UINT64_MAX; n++) {
        if (!has_mask_bit(list, n - 1)) {
            continue; /* open already */
        }
        plan = survey(list, n, runs, count);
        if (plan.good.v > best.good.v) {
            best = plan;
        }
    }
    return best;
}

size_t bad_holds_cut(const struct bad_plan *plan, struct frame_run *runs, size_t count, npages_t *left_out)
{
    size_t kept = 0;
    *left_out = npages(0);
    for (size_t i = 0; i < count; i++) {
        uint64_t end = sooner(run_end(runs[i]), later(plan->end, runs[i].first.v));
        left_out->v += run_end(runs[i]) - end;
        if (end > runs[i].first.v) {
            runs[kept++] = (struct frame_run){runs[i].first, npages(end - runs[i].first.v)};
        }
    }
    return kept;
}

enum status bad_holds_add(const struct badram_list *list, const struct bad_plan *plan, struct early *e)
{
    struct badram_list wide = in_groups(list, plan->group_log2);
    for (size_t i = 0; i < e->run_count; i++) {
        uint64_t end = run_end(e->runs[i]);
        for (uint64_t at = badram_next(&wide, e->runs[i].first.v, end), until; at < end;
             at = badram_next(&wide, until, end)) {
            size_t steps = BAD_STEPS_MAX; /* the plan has counted them */
            until = stretch_end(&wide, at, end, &steps);
            enum status s = early_hold(e, pfn_to_paddr(pfn(at)).v, pfn_to_paddr(pfn(until)).v, HOLD_BAD);
            if (s != STATUS_OK) {
                return s;
            }
        }
    }
    return STATUS_OK;
}

bool bad_holds_find(const struct badram_list *list, const struct frame_run *runs, size_t count, uint64_t start_bytes,
                    uint64_t end_bytes, pfn_t *first)
{
    uint64_t start = bytes_to_pages_down(start_bytes).v, end = bytes_to_pages_up(end_bytes).v;
    for (size_t i = 0; i < count; i++) {
        uint64_t run_stop = sooner(run_end(runs[i]), end);
        uint64_t bad = badram_next(list, later(runs[i].first.v, start), run_stop);
        if (bad < run_stop) {
            *first = pfn(bad);
            return true;
        }
    }
    return false;
}
