/*
 * The firmware's memory map made into runs.
 *
 * 1. Words
 *    entry   what the firmware said: base, length, type; in any order, lying in any way
 *    edge    one end of an entry: an address, the entry's rank, +1 where it begins and -1 where it ends
 *    rank    how bad a type is: usable, ACPI reclaimable, all others; where entries overlap the highest rank counts
 *    stretch bytes next to each other whose rank is wanted
 *    run     the whole frames of a stretch
 *
 * 2. What the result means
 *    A byte has the highest rank of the entries that cover it; a byte that none covers has none. A frame is RAM if
 *    each of its bytes has a wanted rank. Everything else follows from that: unaligned RAM shrinks, unaligned
 *    reserved memory takes its frames whole, a map that is shuffled, cut up or says things twice gives the same runs.
 *
 *        entries   |--usable--------------------|   |usable|usable---|
 *                            |--reserved--|
 *        bytes     UUUUUUUUUURRRRRRRRRRRRRUUUUUU....UUUUUUUUUUUUUUUUUU
 *        frames    |     |     |     |     |     |     |     |     |
 *        runs      [=====)                             [===========)
 *
 *    Edges are sorted by byte, not by frame: with edges rounded one by one two usable entries that meet in the
 *    middle of a frame would lose it, although loaders cut entries at any byte (their own image, ACPI tables at the
 *    end of RAM).
 *
 * 3. Algorithm and cost
 *    (a) Each entry is clipped to [0, limit) and becomes two edges in the caller's scratch. An end past 2^64 is
 *    clipped like
 *        any other, so no address below needs 65 bits: the limit is held below the last frame of the address space.
 *    (b) The edges are heap-sorted by address: O(n log n) for any input, in place, no recursion. Quicksort was
 *    rejected: hostile input
 *        makes it quadratic or deep. Insertion sort, which suits the short, nearly sorted maps of real firmware,
 *        makes a hundred million moves of the 10,000 entries a hostile loader may bring.
 *    (c) One sweep. For each rank it counts the entries open at this point. All edges at one address are applied
 *    before the question
 *        "is the highest open rank wanted?" is asked, so the order among them does not matter. A stretch that closes
 *        gives a run if it holds a whole frame. Two stretches are at least a byte apart, and the frame of that byte
 *        belongs to neither: so runs never touch and nothing is left to merge.
 *
 * 4. When room runs out
 *    Scratch: entries that are not usable go in first, for leaving one of them out would hand out memory that is not
 *    ours. Then the usable ones, in their order, until it is full; the rest is counted as lost.
 *    Runs: the largest are kept, or a map of ten thousand single frames would push out the gigabytes behind them.
 *    The least size that still fits is found by bisection, each step one sweep that only counts; ties go to lower
 *    addresses. Keeping a heap of the best was rejected: it needs memory of its own and a second sort.
 *
 * 5. Context
 *    Boot, once or twice, one CPU; no state, no lock, nothing allocated. It is in .init and goes with it.
 */
#include "boot/memmap.h"

#include <assert.h>

#include "lib/macros.h"

/*
 * Three ranks are enough: reserved, NVS, bad and unknown types are never wanted, so which of them wins changes no
 * run.
 */
enum rank { RANK_USABLE, RANK_ACPI, RANK_OTHER, RANKS };

static_assert(MEMMAP_WANT_USABLE == 1 << RANK_USABLE && MEMMAP_WANT_ACPI == 1 << RANK_ACPI, "wants are bits of ranks");
static_assert(sizeof(struct memmap_edge) == 16, "as the header says");

/* The last frame of the address space ends at 2^64, which no uint64_t holds; without it no end does. */
#define LIMIT_MAX_PAGES bytes_to_pages_down(UINT64_MAX)

struct edges {
    struct memmap_edge *at;
    size_t count, capacity;
};

/* A sweep over sorted edges; gives one run after the other. */
struct sweep {
    const struct edges *edges;
    size_t next;              /* edge */
    uint64_t open[RANKS];     /* entries that cover the byte at the edges applied last */
    unsigned want;
    bool inside;              /* of a stretch, ... */
    uint64_t start_bytes;     /* ... which began here */
};

static enum rank rank_of(uint32_t type)
{
    return type == MEMMAP_USABLE ? RANK_USABLE : type == MEMMAP_ACPI_RECLAIMABLE ? RANK_ACPI : RANK_OTHER;
}

static uint64_t entry_end(struct memmap_entry entry)
{
    uint64_t end = entry.base + entry.length;
    return end < entry.base ? UINT64_MAX : end;
}

/* Two edges for the part of the entry below the limit, if there is one. False: no room. */
static bool add_entry(struct edges *edges, struct memmap_entry entry, uint64_t limit_bytes)
{
    uint64_t end = entry_end(entry);
    end = end < limit_bytes ? end : limit_bytes;
    if (entry.base >= end) {
        return true;
    }
    if (edges->capacity - edges->count < 2) {
        return false;
    }
    uint32_t rank = rank_of(entry.type);
    edges->at[edges->count++] = (struct memmap_edge){entry.base, rank, +1};
    edges->at[edges->count++] = (struct memmap_edge){end, rank, -1};
    return true;
}

static npages_t frames_beyond(struct memmap_entry entry, uint64_t limit_bytes)
{
    uint64_t start = entry.base > limit_bytes ? entry.base : limit_bytes;
    uint64_t end = entry_end(entry);
    return end > start ? bytes_to_pages_down(end - start) : npages(0);
}

/* All entries as edges: first those that are never RAM, then what may be. */
static enum status collect(struct edges *edges, memmap_get get, const void *ctx, size_t count, uint64_t limit_bytes,
                           struct memmap_result *result)
{
    for (size_t i = 0; i < count; i++) {
        struct memmap_entry entry = get(ctx, i);
        if (entry.type != MEMMAP_USABLE && !add_entry(edges, entry, limit_bytes)) {
            return STATUS_LIMIT;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct memmap_entry entry = get(ctx, i);
        if (entry.type != MEMMAP_USABLE) {
            continue;
        }
        uint64_t beyond = frames_beyond(entry, limit_bytes).v;
        result->beyond.v = beyond > UINT64_MAX - result->beyond.v ? UINT64_MAX : result->beyond.v + beyond;
        result->entries_lost += !add_entry(edges, entry, limit_bytes);
    }
    return STATUS_OK;
}

/* Restores the heap (the largest on top) below `root`, whose own edge may be too small for its place. */
static void sift_down(struct memmap_edge *at, size_t root, size_t count)
{
    struct memmap_edge moving = at[root];
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && at[child].at_bytes < at[child + 1].at_bytes) {
            child++;
        }
        if (at[child].at_bytes <= moving.at_bytes) {
            break;
        }
        at[root] = at[child];
        root = child;
    }
    at[root] = moving;
}

static void sort_edges(struct edges *edges)
{
    for (size_t root = edges->count / 2; root-- > 0;) {
        sift_down(edges->at, root, edges->count);
    }
    for (size_t end = edges->count; end-- > 1;) {
        struct memmap_edge last = edges->at[end];
        edges->at[end] = edges->at[0];
        edges->at[0] = last;
        sift_down(edges->at, 0, end);
    }
}

static bool is_wanted(const struct sweep *s)
{
    for (unsigned rank = RANKS; rank-- > 0;) {
        if (s->open[rank] > 0) {
            return (s->want & (1U << rank)) != 0;
        }
    }
    return false;
}

/* The next run, in ascending order. False: there is none. */
static bool next_run(struct sweep *s, struct frame_run *run)
{
    while (s->next < s->edges->count) {
        uint64_t here = s->edges->at[s->next].at_bytes;
        for (; s->next < s->edges->count && s->edges->at[s->next].at_bytes == here; s->next++) {
            const struct memmap_edge *edge = &s->edges->at[s->next];
            s->open[edge->rank] += (uint64_t)(int64_t)edge->step;
        }
        bool wanted = is_wanted(s);
        if (wanted == s->inside) {
            continue;
        }
        s->inside = wanted;
        if (wanted) {
            s->start_bytes = here;
            continue;
        }
        uint64_t first = bytes_to_pages_up(s->start_bytes).v;
        uint64_t end = bytes_to_pages_down(here).v;
        if (first < end) {
            *run = (struct frame_run){pfn(first), npages(end - first)};
            return true;
        }
    }
    return false;
}

static size_t count_runs(const struct edges *edges, unsigned want, uint64_t frames_min)
{
    struct sweep s = {.edges = edges, .want = want};
    struct frame_run run;
    size_t count = 0;
    while (next_run(&s, &run)) {
        count += run.frames.v >= frames_min;
    }
    return count;
}

/* The least size such that the runs of at least that many frames are no more than `capacity`. */
static uint64_t least_size_that_fits(const struct edges *edges, unsigned want, size_t capacity)
{
    uint64_t too_small = 0, fits = LIMIT_MAX_PAGES.v + 1; /* no run is as long as that */
    while (fits - too_small > 1) {
        uint64_t middle = too_small + (fits - too_small) / 2;
        if (count_runs(edges, want, middle) <= capacity) {
            fits = middle;
        } else {
            too_small = middle;
        }
    }
    return fits;
}

static void write_runs(const struct edges *edges, unsigned want, struct frame_run *runs, size_t capacity,
                       struct memmap_result *result)
{
    size_t all = count_runs(edges, want, 1);
    uint64_t frames_min = 1;
    size_t spare = 0; /* places for runs just below frames_min */
    if (all > capacity) {
        frames_min = least_size_that_fits(edges, want, capacity);
        spare = capacity - count_runs(edges, want, frames_min);
    }
    struct sweep s = {.edges = edges, .want = want};
    struct frame_run run;
    while (next_run(&s, &run)) {
        bool is_spare = run.frames.v + 1 == frames_min && spare > 0;
        if (run.frames.v >= frames_min || is_spare) {
            spare -= is_spare;
            runs[result->runs++] = run;
            result->frames.v += run.frames.v;
        }
    }
    result->runs_lost = all - result->runs;
}

enum status memmap_normalise(memmap_get get, const void *ctx, size_t count, unsigned want, pfn_t limit,
                             struct memmap_scratch scratch, struct frame_run *runs, size_t run_capacity,
                             struct memmap_result *result)
{
    *result = (struct memmap_result){0};
    uint64_t limit_bytes = pages_to_bytes(limit.v < LIMIT_MAX_PAGES.v ? npages(limit.v) : LIMIT_MAX_PAGES);
    struct edges edges = {.at = scratch.edges, .capacity = scratch.capacity};
    enum status status = collect(&edges, get, ctx, count, limit_bytes, result);
    if (status != STATUS_OK) {
        return status;
    }
    sort_edges(&edges);
    write_runs(&edges, want, runs, run_capacity, result);
    if (result->runs == 0) {
        return result->runs_lost > 0 ? STATUS_LIMIT : STATUS_ABSENT;
    }
    return STATUS_OK;
}

const char *memmap_type_name(uint32_t type)
{
    /* Texts, not pointers to texts: nothing to relocate. */
    static const char names[][20] = {"unknown", "usable", "reserved", "ACPI reclaimable", "ACPI NVS", "bad"};
    return names[type < ARRAY_LEN(names) ? type : 0];
}
