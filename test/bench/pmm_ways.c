/* The other ways to keep account of frames (test/rivals/pmm/): cycles beside the raw stack, and memory. */
#include <stdio.h>
#include <unistd.h>

#include "bench/pmm_cycles.h"
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"

enum { ROUNDS = 7, ROUNDS_QUICK = 1, RAW = FRAMES_WAYS, CAIRN, SUBJECTS, WARM_UP = 4, TIMES = 4 };
static_assert((unsigned)SUBJECTS <= (unsigned)CYCLES_SUBJECTS_MAX);
static const enum workload times[TIMES] = {PAIR, BULK_ALLOC, BULK_FREE, CHURN};

/* ---- Loops: a call goes straight to the way's own, as it does for the raw stack ---- */

#define LOOPS(way_)                                                                     \
    static enum status way_##_bulk_alloc(struct cycles *c, uint32_t from, uint32_t end) \
    {                                                                                   \
        uint64_t none = 0;                                                              \
        for (uint32_t i = from; i < end; i++) {                                         \
            c->held[i] = way_##_alloc(c->way);                                          \
            none |= c->held[i].v == FRAMES_NONE.v;                                      \
        }                                                                               \
        return none == 0 ? STATUS_OK : STATUS_NOMEM;                                    \
    }                                                                                   \
    static enum status way_##_bulk_free(struct cycles *c, uint32_t from, uint32_t end)  \
    {                                                                                   \
        enum status bad = STATUS_OK;                                                    \
        for (uint32_t i = from; i < end; i++) {                                         \
            bad |= way_##_free(c->way, c->victims[i]);                                  \
        }                                                                               \
        return bad;                                                                     \
    }                                                                                   \
    static enum status way_##_churn(struct cycles *c, uint32_t from, uint32_t end)      \
    {                                                                                   \
        enum status bad = STATUS_OK;                                                    \
        for (uint32_t i = from; i < end; i++) {                                         \
            bad |= way_##_free(c->way, c->victims[i]);                                  \
            c->victims[i] = way_##_alloc(c->way);                                       \
        }                                                                               \
        return bad;                                                                     \
    }                                                                                   \
    static enum status way_##_pair(struct cycles *c, uint32_t from, uint32_t end)       \
    {                                                                                   \
        enum status bad = STATUS_OK;                                                    \
        for (uint32_t i = from; i < end; i++) {                                         \
            bad |= way_##_free(c->way, way_##_alloc(c->way));                           \
        }                                                                               \
        return bad;                                                                     \
    }                                                                                   \
    static piece_fn *const way_##_pieces[WORKLOADS] = {                                 \
        [PAIR] = way_##_pair, [BULK_ALLOC] = way_##_bulk_alloc, [BULK_FREE] = way_##_bulk_free, [CHURN] = way_##_churn}

LOOPS(raw);
LOOPS(flat);
LOOPS(table_list);
LOOPS(frame_list);
LOOPS(bitmap);
LOOPS(next_fit);
LOOPS(zero_pages);
LOOPS(inverted);
LOOPS(by_region);
LOOPS(summary);
LOOPS(faulted);
LOOPS(extent);
LOOPS(buddy_frames);
LOOPS(buddy_cpu);
LOOPS(tree);

/* In the order of frames_ways. Most of the ratio to the raw stack, as `times`: a quarter above published figures. */
static const struct {
    piece_fn *const *pieces;
    double gates[TIMES];
} timed[FRAMES_WAYS] = {
    {raw_pieces, {0}},
    {flat_pieces, {1.59, 3.17, 2.40, 3.38}},
    {table_list_pieces, {0}},
    {frame_list_pieces, {0}},
    {bitmap_pieces, {1.42, 1.54, 1.78, 89.9}},
    {next_fit_pieces, {1.27, 1.44, 1.44, 1.78}},
    {zero_pages_pieces, {0}},
    {inverted_pieces, {0}},
    {by_region_pieces, {0}},
    {summary_pieces, {0}},
    {faulted_pieces, {0}},
    {extent_pieces, {0}},
    {buddy_frames_pieces, {13.0, 6.49, 36.5, 39.0}},
    {buddy_cpu_pieces, {1.32, 8.65, 43.3, 15.8}},
    {tree_pieces, {0}},
};

/* ---- Times ---- */

static const struct frames_way *now_playing;

static enum status block_pairs(struct cycles *c, uint32_t from, uint32_t end)
{
    const struct frames_way *way = now_playing;
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        bad |= way->free_block(c->way, way->alloc_block(c->way));
    }
    return bad;
}

static void start(struct cycles *c, const struct frames_way *way)
{
    static struct frame_run run; /* kept by the way */
    run = (struct frame_run){pfn(0), npages(c->bed->frames_end - c->base)};
    c->way = way->start(&run, 1);
    bed_must(c->way == NULL ? STATUS_NOMEM : STATUS_OK, way->name);
}

/* A list through the frames touches each of them. */
static bool is_played(const struct cycles *c, unsigned subject)
{
    npages_t room = npages((uint64_t)sysconf(_SC_AVPHYS_PAGES));
    return subject >= FRAMES_WAYS || frames_ways[subject].start != frame_list_start ||
           room.v > 2ULL * (c->bed->frames_end - c->base);
}

static void play(struct cycles *c, unsigned subject)
{
    if (subject == RAW) {
        cycles_run_raw(c, subject);
    } else if (subject == CAIRN) {
        cycles_run_cairn(c, subject);
    } else {
        now_playing = &frames_ways[subject];
        start(c, now_playing);
        cycles_run(c, subject, timed[subject].pieces);
        if (now_playing->alloc_block != NULL) {
            start(c, now_playing);
            bed_must(block_pairs(c, 0, WARM_UP), "the first blocks");
            cycles_timed(c, subject, PAIR_2M, c->pairs, block_pairs);
        }
    }
}

static void put(unsigned subject, const char *workload, double value, const char *unit, double gate)
{
    bench_add((struct bench_result){"pmm", frames_ways[subject].name, workload, value, unit, gate, NULL});
}

static void print_times(struct cycles *c, unsigned subject, unsigned rounds)
{
    printf("%-12s", subject == RAW ? "(no checks)" : subject == CAIRN ? "cairn" : frames_ways[subject].name);
    for (unsigned i = 0; i < TIMES; i++) {
        double cycles = cycles_of(c, subject, times[i], rounds), ratio = cycles / cycles_of(c, RAW, times[i], rounds);
        double gate = subject < FRAMES_WAYS ? timed[subject].gates[i] : 0;
        printf("  %9.1f %7.2f%c", cycles, ratio, gate > 0 && ratio > gate ? '!' : ' ');
        if (subject < FRAMES_WAYS && frames_ways[subject].start != raw_start) {
            put(subject, cycles_workloads[times[i]], cycles, "cycles", 0);
            put(subject, cycles_workloads[times[i]], ratio, "ratio", gate);
        }
    }
    if (subject == RAW || (subject < FRAMES_WAYS && frames_ways[subject].alloc_block == NULL)) {
        printf("  %9s", "-");
        return;
    }
    double cycles = cycles_of(c, subject, PAIR_2M, rounds);
    printf("  %9.1f", cycles);
    if (subject < FRAMES_WAYS) {
        put(subject, cycles_workloads[PAIR_2M], cycles, "cycles", 0);
    }
}

/* ---- Memory ---- */

struct memory {
    double bytes_a_frame;
    uint64_t at_start; /* pages touched, over much memory */
};

static struct memory memory_of(const struct frames_way *way, uint64_t frames, uint64_t much, pfn_t *held)
{
    struct memory m;
    machine_forget();
    const struct frame_run run = {pfn(0), npages(frames)}, large = {pfn(0), npages(much)};
    void *state = way->start(&run, 1);
    uint64_t count = 0;
    while (state != NULL && (held[count] = way->alloc(state)).v != FRAMES_NONE.v) {
        count++;
    }
    while (count > 0) {
        bed_must(way->free(state, held[--count]), way->name);
    }
    npages_t pages = npages(machine_touched().v + (way->own == NULL ? 0 : way->own(state)));
    m.bytes_a_frame = (double)pages_to_bytes(pages) / (double)frames;
    machine_forget();
    state = way->start(&large, 1);
    m.at_start = state == NULL ? 0 : machine_touched().v + (way->own == NULL ? 0 : way->own(state));
    machine_forget();
    return m;
}

static void tell_memory(struct cycles *c, unsigned subject, uint64_t much)
{
    const struct frames_way *way = &frames_ways[subject];
    struct memory m = memory_of(way, c->bed->frames_end - c->base, much, c->held);
    printf("  %8.3f  %9lu\n", m.bytes_a_frame, m.at_start);
    put(subject, "metadata", m.bytes_a_frame, "bytes/frame", 0);
    put(subject, "start", (double)m.at_start, "pages", 0);
}

/* What the inverted bitmap is for: frames that are won while all is in use, and what a call then costs. */
static void tell_inverted(struct cycles *c)
{
    enum { PAIRS = 1000 };
    unsigned subject = (unsigned)(frames_way("inverted") - frames_ways);
    start(c, &frames_ways[subject]);
    uint32_t count = 0;
    while ((c->held[count] = inverted_alloc(c->way)).v != FRAMES_NONE.v) {
        count++;
    }
    struct inverted_stats full = inverted_stats(c->way);
    double ram = (double)(c->bed->frames_end - c->base);
    for (uint32_t i = 0; i < PAIRS; i++) {
        pfn_t *frame = &c->held[c->order[i] % count];
        bed_must(inverted_free(c->way, *frame), "inverted");
        *frame = inverted_alloc(c->way);
    }
    struct inverted_stats after = inverted_stats(c->way);
    double changes = (double)(after.retired + after.backed - full.retired - full.backed) / PAIRS;
    put(subject, "won", 100.0 * (double)full.won / ram, "% of RAM", 0);
    put(subject, "changes", changes, "mappings", 0);
    printf("inverted: all in use, %lu frames won, %.4f %% of RAM; then a free and an alloc change %.2f mappings\n",
           full.won, 100.0 * (double)full.won / ram, changes);
}

void pmm_bench_ways(const struct bench_options *options)
{
    static struct cycles cycles;
    struct cycles *c = &cycles;
    const uint64_t frames = bytes_to_pages_down(options->quick ? 256 * MIB : 4 * GIB).v;
    const uint64_t much = bytes_to_pages_down(options->quick ? 64 * GIB : TIB).v;
    unsigned rounds = options->quick ? ROUNDS_QUICK : ROUNDS;
    bool played[SUBJECTS];
    cycles_prepare(c, options->seed, frames);
    for (unsigned i = 0; i < SUBJECTS; i++) {
        played[i] = is_played(c, i);
    }
    for (unsigned i = 0; i <= rounds; i++) {
        c->round = i == 0 ? 0 : i - 1;
        for (unsigned subject = 0; subject < SUBJECTS; subject++) {
            if (played[subject]) {
                play(c, subject);
            }
        }
    }
    printf("\npmm: other ways (test/rivals/pmm/): cycles and ratio to a stack without checks (!: above its gate),"
           "\nbytes of memory a frame, pages touched by the start over %lu GiB\n",
           much / bytes_to_pages_down(GIB).v);
    printf("%-12s  %18s  %18s  %18s  %18s  %9s  %8s  %9s\n", "", "pair ", "bulk alloc ", "bulk free ", "churn ",
           "2M pair", "bytes", "start");
    print_times(c, RAW, rounds);
    printf("\n");
    print_times(c, CAIRN, rounds);
    printf("\n");
    for (unsigned subject = 0; subject < FRAMES_WAYS; subject++) {
        if (played[subject]) {
            print_times(c, subject, rounds);
            tell_memory(c, subject, much);
        } else {
            printf("%-12s  not played: it touches each frame, and there is too little memory\n",
                   frames_ways[subject].name);
        }
    }
    tell_inverted(c);
    machine_end();
    cycles_end(c);
}
