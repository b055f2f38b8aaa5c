/*
 * The watermark allocator: frames before the PMM stands.
 *
 * 1. Words
 *    run     a stretch of RAM in whole frames, as normalised
 *    hold    a part of a run that is in use or bad, and why: carved out before the start (image, modules, badram=),
 *            or handed out by early_alloc
 *    left    what is not yet served of a run: its front is the watermark, which only moves up
 *
 *        run    [===========================================)
 *        holds   HHHHHH     HHHH        hhhh
 *        left                               [===============)
 *                           carved out  handed out          what the next frames come from
 *
 * 2. Which frame is next
 *    Above 1 MiB before below, because memory below 1 MiB is what start-up code of other CPUs and ISA devices need.
 *    A run that lies across 1 MiB is two here; its upper part comes after the runs that begin above, so that such a
 *    run, which firmware gives only where no hole is known, is touched last. Within a run the front is cut off, held
 *    frames are stepped over. Frame 0 is never left: no caller has to tell an address of 0 from a failure.
 *
 * 3. Holds
 *    Sorted, disjoint, inside runs, in one array with binary search; insertion moves the tail. A hold from outside
 *    only fills what earlier ones leave, gap by gap, so the earlier kind wins and nothing is counted twice.
 *    Neighbours of one kind are joined: a thousand page tables are one hold. A hold counts 2^32 - 1 frames at most;
 *    longer ones are split.
 *
 * 4. Cost
 *    early_hold: O(runs + holds). early_alloc: binary search among the holds, and a step over the runs below 1 MiB.
 *    The count of what is free is not kept but computed: runs less holds. So it cannot drift from them, and the
 *    test compares it with what is really served.
 *
 * 5. When it runs out
 *    Of frames: NOMEM. Of holds: LIMIT, before anything changed. early_hold first counts how many entries it needs
 *    at worst, then inserts: all or nothing, since half a hold would hand out the other half.
 *
 * 6. Rejected
 *    A bitmap: its size depends on RAM. Cutting frames off the end of the highest run: on 4 TiB that opens metadata
 *    far away from what the boot tables map. Freeing: nobody before the PMM gives anything back.
 *
 * 7. Context
 *    Boot, one CPU, no lock; all state in struct early. It is in .init and goes with it.
 */
#include "boot/early.h"

#include "lib/string.h"

enum { EBDA_LOW_KIB = 512, EBDA_END_KIB = 640, SEGMENT_BYTES = 16 };

/* A stretch of frames [first, end); empty when first == end. */
struct stretch {
    uint64_t first, end;
};

static uint64_t first_mib(void)
{
    return bytes_to_pages_down(MIB).v;
}

/* The first hold that ends above `frame`; hold_count when there is none. */
static size_t hold_at_or_above(const struct early *e, uint64_t frame)
{
    size_t low = 0, high = e->hold_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (hold_end(e->holds[middle]) > frame) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void keep_left(struct early *e, uint64_t first, uint64_t end)
{
    if (first < end) {
        e->left[e->left_count++] = (struct frame_run){pfn(first), npages(end - first)};
    }
}

enum status early_init(struct early *e, const struct frame_run *runs, size_t count)
{
    /* Field by field: the arrays are 160 KiB, and their counts say what of them is there. */
    e->runs = runs;
    e->run_count = e->left_count = e->hold_count = 0;
    e->across_end = 0;
    e->served = npages(0);
    e->serving = false;
    if (count > EARLY_RUNS_MAX) {
        return STATUS_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t first = runs[i].first.v, end = run_end(runs[i]);
        if (end <= first || (i > 0 && first <= run_end(runs[i - 1]))) {
            e->left_count = 0;
            return STATUS_INVALID;
        }
        uint64_t start = first == 0 ? 1 : first;
        if (first < first_mib() && end > first_mib()) {
            e->across_end = end;
            keep_left(e, start, first_mib());
            start = first_mib();
        }
        keep_left(e, start, end);
    }
    e->run_count = count;
    return STATUS_OK;
}

/*
 * The lowest stretch of [from, end) that is in a run and in no hold; empty at `end` when there is none. `*run` only
 * moves up.
 */
static struct stretch next_gap(const struct early *e, uint64_t from, uint64_t end, size_t *run)
{
    while (from < end && *run < e->run_count) {
        struct frame_run r = e->runs[*run];
        if (run_end(r) <= from) {
            (*run)++;
            continue;
        }
        from = from > r.first.v ? from : r.first.v;
        if (from >= end) {
            break;
        }
        uint64_t gap_end = end < run_end(r) ? end : run_end(r);
        size_t hold = hold_at_or_above(e, from);
        if (hold == e->hold_count || e->holds[hold].first.v >= gap_end) {
            return (struct stretch){from, gap_end};
        }
        if (e->holds[hold].first.v > from) {
            return (struct stretch){from, e->holds[hold].first.v};
        }
        from = hold_end(e->holds[hold]);
    }
    return (struct stretch){end, end};
}

/* Runs do not touch, so holds that touch are in one run. */
static bool is_joinable(struct frame_hold low, struct frame_hold high)
{
    return hold_end(low) == high.first.v && low.kind == high.kind && low.frames <= UINT32_MAX - high.frames;
}

/* Adds a hold that overlaps no other and joins it to its neighbours. LIMIT: there is no room, nothing changed. */
static enum status insert_hold(struct early *e, struct frame_hold hold)
{
    size_t at = hold_at_or_above(e, hold.first.v);
    bool joins_low = at > 0 && is_joinable(e->holds[at - 1], hold);
    struct frame_hold grown = hold;
    if (joins_low) {
        grown = e->holds[at - 1];
        grown.frames += hold.frames;
    }
    bool joins_high = at < e->hold_count && is_joinable(grown, e->holds[at]);
    if (joins_high) {
        grown.frames += e->holds[at].frames;
    }
    struct frame_hold *place = &e->holds[joins_low ? at - 1 : at];
    size_t behind = e->hold_count - at;
    if (joins_low && joins_high) {
        memmove(&e->holds[at], &e->holds[at + 1], (behind - 1) * sizeof *place);
        e->hold_count--;
    } else if (!joins_low && !joins_high) {
        if (e->hold_count == EARLY_HOLDS_MAX) {
            return STATUS_LIMIT;
        }
        memmove(place + 1, place, behind * sizeof *place);
        e->hold_count++;
    }
    *place = grown;
    return STATUS_OK;
}

static enum status insert_stretch(struct early *e, struct stretch s, uint32_t kind)
{
    while (s.first < s.end) {
        uint64_t frames = s.end - s.first < UINT32_MAX ? s.end - s.first : UINT32_MAX;
        enum status status = insert_hold(e, (struct frame_hold){pfn(s.first), (uint32_t)frames, kind});
        if (status != STATUS_OK) {
            return status;
        }
        s.first += frames;
    }
    return STATUS_OK;
}

enum status early_hold(struct early *e, uint64_t start_bytes, uint64_t end_bytes, enum hold_kind kind)
{
    if (end_bytes < start_bytes || kind > HOLD_BAD || e->serving) {
        return STATUS_INVALID;
    }
    if (end_bytes == start_bytes) {
        return STATUS_OK;
    }
    uint64_t first = bytes_to_pages_down(start_bytes).v, end = bytes_to_pages_up(end_bytes).v;
    uint64_t needed = 0; /* entries, if none can be joined */
    size_t run = 0;
    for (struct stretch gap = next_gap(e, first, end, &run); gap.first < gap.end;
         gap = next_gap(e, gap.end, end, &run)) {
        needed += 1 + (gap.end - gap.first - 1) / UINT32_MAX;
    }
    if (needed > EARLY_HOLDS_MAX - e->hold_count) {
        return STATUS_LIMIT;
    }
    run = 0;
    for (struct stretch gap = next_gap(e, first, end, &run); gap.first < gap.end;
         gap = next_gap(e, gap.end, end, &run)) {
        enum status status = insert_stretch(e, gap, kind);
        if (status != STATUS_OK) {
            return status; /* cannot be: counted above */
        }
    }
    return STATUS_OK;
}

/* Where the next frame is cut off: an index into left[], left_count when there is nothing. */
static size_t choose_left(const struct early *e)
{
    size_t above = 0;
    while (above < e->left_count && e->left[above].first.v < first_mib()) {
        above++;
    }
    if (above == e->left_count) {
        return above > 0 ? 0 : e->left_count; /* only memory below 1 MiB is left, or none at all */
    }
    bool is_across = e->left[above].first.v < e->across_end;
    return is_across && above + 1 < e->left_count ? above + 1 : above;
}

/* Moves the front of left[index] up to `first`; used up, it leaves the list. */
static void cut_left(struct early *e, size_t index, uint64_t first)
{
    struct frame_run *left = &e->left[index];
    uint64_t end = run_end(*left);
    if (first >= end) {
        memmove(left, left + 1, (e->left_count - index - 1) * sizeof *left);
        e->left_count--;
        return;
    }
    *left = (struct frame_run){pfn(first), npages(end - first)};
}

enum status early_alloc(struct early *e, enum hold_kind kind, pfn_t *frame)
{
    if (kind != HOLD_USED && kind != HOLD_METADATA) {
        return STATUS_INVALID;
    }
    e->serving = true;
    for (size_t index = choose_left(e); index < e->left_count; index = choose_left(e)) {
        uint64_t front = e->left[index].first.v;
        size_t hold = hold_at_or_above(e, front);
        if (hold < e->hold_count && e->holds[hold].first.v <= front) {
            cut_left(e, index, hold_end(e->holds[hold]));
            continue;
        }
        enum status status = insert_hold(e, (struct frame_hold){pfn(front), 1, kind});
        if (status != STATUS_OK) {
            return status;
        }
        cut_left(e, index, front + 1);
        e->served.v++;
        *frame = pfn(front);
        return STATUS_OK;
    }
    return STATUS_NOMEM;
}

npages_t early_free(const struct early *e)
{
    if (e->left_count == 0) {
        return npages(0); /* handed over, or nothing is left indeed */
    }
    uint64_t free = 0;
    for (size_t i = 0; i < e->run_count; i++) {
        free += e->runs[i].frames.v;
    }
    for (size_t i = 0; i < e->hold_count; i++) {
        free -= e->holds[i].frames;
    }
    bool has_frame_0 = e->runs[0].first.v == 0;
    bool is_frame_0_held = e->hold_count > 0 && e->holds[0].first.v == 0;
    return npages(free - (has_frame_0 && !is_frame_0_held));
}

enum status early_handover(struct early *e, struct frame_hold *holds, size_t capacity, size_t *count)
{
    *count = e->hold_count;
    if (e->hold_count > capacity) {
        return STATUS_LIMIT;
    }
    for (size_t i = 0; i < e->hold_count; i++) {
        holds[i] = e->holds[i];
    }
    e->left_count = 0;
    e->serving = true;
    return STATUS_OK;
}

enum status early_hold_pc(struct early *e, uint16_t ebda_segment, bool efi)
{
    enum status status = early_hold(e, 0, PAGE_BYTES, HOLD_RESERVED);
    uint64_t ebda = (uint64_t)ebda_segment * SEGMENT_BYTES;
    if (status != STATUS_OK || efi || ebda < EBDA_LOW_KIB * KIB || ebda >= EBDA_END_KIB * KIB) {
        return status;
    }
    return early_hold(e, ebda, EBDA_END_KIB * KIB, HOLD_RESERVED);
}
