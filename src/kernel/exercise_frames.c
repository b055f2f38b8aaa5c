/*
 * The exercise's first part: frames.
 *
 * The record is a list of frame numbers. It is filled in the order of being handed out, sorted to see that no number is
 * in it twice and that all are RAM, shuffled, and emptied in that random order. Each frame is verified before it goes
 * back: by then all others have been written, so two numbers that reach the same memory would have spoilt each other.
 *
 * While the list is filled, every so often one frame in it is verified and given back, so that the PMM's blocks see
 * both directions.
 */
#include "kernel/console.h"
#include "kernel/exercise.h"
#include "kernel/exercise_port.h"

enum {
    RETURN_ONE_IN = 16, /* while taking, one in so many takes is followed by giving one back */
    FRAME_WORDS = PAGE_BYTES / sizeof(uint64_t),
    PAUSE_FRAMES = 10,
};

struct taking {
    struct exercise *ex;
    uint64_t *list;
    uint64_t count, capacity;
    bool all;      /* every free frame, until none is left */
    size_t region; /* of the stretch seen last, while the last free frame of each region is looked for */
};

/* ---- One frame ---- */

static bool fill_frame(struct exercise *ex, uint64_t frame)
{
    vaddr_t page;
    enum status s = temp_map(&machine.vmm, pfn(frame), &page);
    if (s != STATUS_OK) {
        return exercise_failed(ex, "temporary mapping of frame %#lx: %s", frame, status_name(s));
    }
    uint64_t *words = vaddr_to_ptr(page);
    uint64_t first = exercise_word(ex, frame, 0), step = exercise_word(ex, frame, 1) - first;
    for (uint64_t i = 0; i < FRAME_WORDS; i++) {
        words[i] = first + i * step;
    }
    s = temp_unmap(&machine.vmm, page);
    ex->frames_touched++;
    return s == STATUS_OK ||
           exercise_failed(ex, "undoing the temporary mapping of frame %#lx: %s", frame, status_name(s));
}

static bool verify_frame(struct exercise *ex, uint64_t frame)
{
    vaddr_t page;
    enum status s = temp_map(&machine.vmm, pfn(frame), &page);
    if (s != STATUS_OK) {
        return exercise_failed(ex, "temporary mapping of frame %#lx: %s", frame, status_name(s));
    }
    const uint64_t *words = vaddr_to_ptr(page);
    uint64_t first = exercise_word(ex, frame, 0), step = exercise_word(ex, frame, 1) - first, difference = 0;
    for (uint64_t i = 0; i < FRAME_WORDS; i++) {
        difference |= words[i] ^ (first + i * step);
    }
    for (uint64_t i = 0; difference != 0 && i < FRAME_WORDS; i++) {
        if (words[i] != first + i * step) {
            return exercise_failed(ex, "EX-2: frame %#lx, word %lu: %#lx was written, %#lx is there", frame, i,
                                   first + i * step, words[i]);
        }
    }
    s = temp_unmap(&machine.vmm, page);
    ex->bytes_verified += PAGE_BYTES;
    return s == STATUS_OK ||
           exercise_failed(ex, "undoing the temporary mapping of frame %#lx: %s", frame, status_name(s));
}

static bool give_back(struct exercise *ex, uint64_t frame)
{
    if (!verify_frame(ex, frame)) {
        return false;
    }
    enum status s = pmm_free(&machine.pmm, pfn(frame));
    return s == STATUS_OK ||
           exercise_failed(ex, "EX-1: frame %#lx, handed out before, does not go back: %s", frame, status_name(s));
}

/* ---- Taking ---- */

/* The list sorted: no number twice, all in RAM, all in use once. */
static bool check_taken(struct taking *t)
{
    struct exercise *ex = t->ex;
    exercise_sort(t->list, t->count);
    size_t run = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        uint64_t frame = t->list[i];
        if (i > 0 && frame == t->list[i - 1]) {
            return exercise_failed(ex, "EX-1: frame %#lx was handed out twice", frame);
        }
        while (run < machine.pmm.run_count && run_end(machine.pmm.runs[run]) <= frame) {
            run++;
        }
        if (run == machine.pmm.run_count || frame < machine.pmm.runs[run].first.v) {
            return exercise_failed(ex, "EX-1: frame %#lx was handed out and is no RAM", frame);
        }
        struct pmm_frame f = pmm_query(&machine.pmm, pfn(frame));
        if (f.state != PMM_STATE_USED || f.references != 1) {
            return exercise_failed(ex, "EX-1: frame %#lx was handed out and is said to be %s with %u references", frame,
                                   pmm_state_name(f.state), f.references);
        }
    }
    return true;
}

static bool take(struct taking *t, pfn_t frame)
{
    if (t->count == t->capacity) {
        /* One too many: most likely some frame is in the list already. */
        return check_taken(t) &&
               exercise_failed(t->ex, "EX-3: more than the %lu frames that were free are handed out: %#lx", t->capacity,
                               frame.v);
    }
    t->list[t->count++] = frame.v;
    if (t->count % EXERCISE_PROGRESS_FRAMES == 0) {
        exercise_dot(t->ex);
    }
    return fill_frame(t->ex, frame.v);
}

static bool claim(struct taking *t, uint64_t frame)
{
    enum status s = pmm_claim(&machine.pmm, pfn(frame), npages(1));
    if (s != STATUS_OK) {
        return exercise_failed(t->ex, "EX-3: frame %#lx, the last free one of its region, cannot be claimed: %s", frame,
                               status_name(s));
    }
    return take(t, pfn(frame));
}

/* Remembers in the list, beyond `count`, the last free frame of each region: the walk may not change what it walks
 * over. */
static bool note_last(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    struct taking *t = ctx;
    if (state != PMM_STATE_FREE && state != PMM_STATE_UNTOUCHED) {
        return true;
    }
    /* A stretch of one state may run over the border of two regions: each has its own last frame. */
    uint64_t end = first.v + frames.v;
    for (uint64_t at = first.v; at < end;) {
        struct pmm_frame here = pmm_query(&machine.pmm, pfn(at));
        struct pmm_region_stats next;
        uint64_t stop = end;
        if (pmm_region_stats(&machine.pmm, here.region + 1, &next) && next.base.v < end) {
            stop = next.base.v;
        }
        if (here.region != t->region && t->region != SIZE_MAX) {
            t->count++;
        }
        t->region = here.region;
        if (t->count < t->capacity) {
            t->list[t->count] = stop - 1;
        }
        at = stop;
    }
    return true;
}

/* The last free frame of each region, by claim. */
static bool take_last_ones(struct taking *t)
{
    t->region = SIZE_MAX;
    pmm_walk(&machine.pmm, note_last, t);
    uint64_t found = t->region == SIZE_MAX ? 0 : t->count + 1;
    t->count = 0;
    if (found > t->capacity) {
        return exercise_failed(t->ex, "the record has room for %lu frames, not for one of each region", t->capacity);
    }
    for (uint64_t i = 0; i < found; i++) {
        if (!claim(t, t->list[i])) {
            return false;
        }
    }
    exercise_note(t->ex, "the last free frame of each of %lu regions is claimed", found);
    return true;
}

/* Verify and give back one that was taken, chosen at random. */
static bool return_one(struct taking *t)
{
    uint64_t i = rng_below(&t->ex->rng, t->count), frame = t->list[i];
    t->list[i] = t->list[--t->count];
    return give_back(t->ex, frame);
}

static bool take_frames(struct taking *t)
{
    enum status s;
    for (;;) {
        if (!t->all && t->count == t->capacity) {
            return true;
        }
        /* Kernel and user frames come from different blocks while there are others: use both. */
        unsigned flags = rng_below(&t->ex->rng, 4) == 0 ? PMM_KERNEL : PMM_USER;
        pfn_t frame;
        s = exercise_port_alloc(flags, &frame);
        if (s != STATUS_OK) {
            break;
        }
        bool one_back = rng_below(&t->ex->rng, RETURN_ONE_IN) == 0;
        if (!take(t, frame) || (one_back && !return_one(t))) {
            return false;
        }
    }
    if (s != STATUS_NOMEM || !t->all) {
        return exercise_failed(t->ex, "pmm_alloc after %lu frames: %s", t->count, status_name(s));
    }
    return true;
}

/* ---- Nothing is left ---- */

/* Everything free is taken: whoever wants memory now must be told so, and nothing may change by that. */
static bool check_exhausted(struct taking *t, uint64_t free_before)
{
    struct exercise *ex = t->ex;
    struct pmm_stats before = pmm_stats(&machine.pmm);
    if (t->count != free_before || before.free.v != 0) {
        return exercise_failed(ex, "EX-3: %lu frames were free, %lu could be had, %lu are said to be left", free_before,
                               t->count, before.free.v);
    }
    struct space space;
    enum status s = space_create(&machine.vmm, &space);
    if (s != STATUS_NOMEM) {
        return exercise_failed(ex, "EX-3: space_create without memory: %s", status_name(s));
    }
    vaddr_t base;
    s = kpages_alloc(&machine.vmm, npages(1), __builtin_ctz(PAGE_BYTES), 0, "exercise", &base);
    if (s != STATUS_NOMEM) {
        return exercise_failed(ex, "EX-3: kpages_alloc without memory: %s", status_name(s));
    }
    struct pmm_stats after = pmm_stats(&machine.pmm);
    if (after.free.v != 0 || after.used.v != before.used.v || after.promised.v != before.promised.v) {
        return exercise_failed(
            ex, "EX-6: refused for want of memory, yet used frames went from %lu to %lu, free from 0 to %lu",
            before.used.v, after.used.v, after.free.v);
    }
    return true;
}

/* ---- Back again ---- */

static bool give_all_back(struct taking *t)
{
    while (t->count > 0) {
        if (!give_back(t->ex, t->list[t->count - 1])) {
            return false;
        }
        t->count--;
        if (t->count % EXERCISE_PROGRESS_FRAMES == 0) {
            exercise_dot(t->ex);
        }
    }
    return true;
}

/* Stop with everything taken, so that someone can look at the frames from outside the machine. */
static bool pause(struct taking *t)
{
    struct exercise *ex = t->ex;
    ex->pause = false;
    for (uint64_t i = 0; i < PAUSE_FRAMES && i < t->count; i++) {
        uint64_t frame = t->list[i * (t->count / PAUSE_FRAMES)];
        print("pattern %#lx %#lx\n", pfn_to_paddr(pfn(frame)).v, exercise_word(ex, frame, 0));
    }
    print("exercise: paused\n");
    (void)console_key(NULL);
    return true;
}

bool exercise_frames(struct exercise *ex)
{
    struct pmm_stats before = pmm_stats(&machine.pmm);
    struct taking t = {.ex = ex, .all = pages_to_bytes(before.ram) <= EXERCISE_ALL_FRAMES_BYTES};
    t.capacity = t.all || before.free.v < EXERCISE_FRAMES_MAX ? before.free.v : EXERCISE_FRAMES_MAX;
    t.list = exercise_record(ex, t.capacity * sizeof t.list[0], "exercise: frames");
    if (t.list == NULL) {
        return false;
    }
    uint64_t free_frames = pmm_stats(&machine.pmm).free.v;
    if (!take_last_ones(&t) || !take_frames(&t) || (t.all && !check_exhausted(&t, free_frames))) {
        return false;
    }
    exercise_note(ex, "%lu frames taken and filled, %s", t.count, t.all ? "all there were" : "part of what there is");
    if (!check_taken(&t) || (ex->pause && ex->round == 1 && !pause(&t))) {
        return false;
    }
    uint64_t count = t.count;
    exercise_shuffle(ex, t.list, t.count);
    if (!give_all_back(&t)) {
        return false;
    }
    exercise_note(ex, "%lu frames verified and given back in random order", count);
    uint64_t left = pmm_stats(&machine.pmm).free.v;
    if (left != free_frames) {
        return exercise_failed(ex, "EX-8: %lu frames were free, after all went back there are %lu", free_frames, left);
    }
    return exercise_record_free(ex);
}
