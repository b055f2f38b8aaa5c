/* `arena`: the same traces of requests for addresses played to the arena and to its rivals. */
#include <stdio.h>

#include "bench/arena_play.h"
#include "bench/arena_spaces.h"
#include "bench/bed.h"
#include "bench/bench.h"
#include "vmm/arena_node.h"

enum { WORKLOADS = 10, QUICK_PART = 10 };

#define WIDE_PAGES (128 * TIB / PAGE_BYTES)
#define TIGHT_PAGES (64 * GIB / PAGE_BYTES)

static const struct workload {
    struct trace_shape shape;
    bool is_quick; /* part of --quick */
} workloads[WORKLOADS] = {
    {{"wide_1k", "2^47 bytes, 1,000 ranges that stay", WIDE_PAGES, 1000, 0, false, 20000, 50000}, true},
    {{"wide_10k", "2^47 bytes, 10,000 ranges that stay", WIDE_PAGES, 10000, 0, false, 200000, 50000}, false},
    {{"wide_10k_any", "the same, the largest of any size", WIDE_PAGES, 10000, 0, true, 200000, 50000}, false},
    {{"tight_50", "64 GiB, 50 % in use", TIGHT_PAGES, 0, 50, false, 100000, 200000}, true},
    {{"tight_70", "64 GiB, 70 % in use", TIGHT_PAGES, 0, 70, false, 100000, 200000}, false},
    {{"tight_80", "64 GiB, 80 % in use", TIGHT_PAGES, 0, 80, false, 100000, 200000}, true},
    {{"tight_90", "64 GiB, 90 % in use", TIGHT_PAGES, 0, 90, false, 100000, 200000}, false},
    {{"tight_70_any", "64 GiB, 70 % in use, the largest of any size", TIGHT_PAGES, 0, 70, true, 100000, 200000}, false},
    {{"tight_80_any", "64 GiB, 80 % in use, the largest of any size", TIGHT_PAGES, 0, 80, true, 100000, 200000}, true},
    {{"tight_90_any", "64 GiB, 90 % in use, the largest of any size", TIGHT_PAGES, 0, 90, true, 100000, 200000}, false},
};

/* Gates: the most that one call of the arena may touch, from what its sources say (arena.c, section 7). */
enum {
    LEVELS = (ARENA_PAGES_LOG2_MAX + INDEX_DIGIT - 1) / INDEX_DIGIT,
    LIST = 3,  /* into or out of the list of a class: the head, and the nodes on both sides */
    WORDS = 3, /* of the class maps that two lists have, and the one over them */
    /* A page of index nodes with the nodes in its rest, and one of nodes, which stays as it is but for the last. */
    PAGES = PAGE_BYTES / sizeof(struct arena_index) +
            PAGE_BYTES % sizeof(struct arena_index) / sizeof(struct arena_node) + 2 + LEVELS,
    MERGE = LEVELS + 3 + 3 * LIST + WORDS, /* out of the index; the range and its neighbours, out of and into lists */
    CHOOSE = 2 * (ARENA_LOOKS + 1) + ARENA_CLASS_WORDS + 1,
    CUT = 2 * LEVELS + 4 + 3 * LIST + WORDS,
    STEPS_STEADY = 1 + MERGE + CHOOSE + CUT,
    STEPS_ALLOC = STEPS_STEADY + PAGES,
    STEPS_FREE = 1 + MERGE,
    STEPS_FIND = 2 * LEVELS + 2,
    /* All that is cached merged, and the looks before that and after it. */
    SMALL_CLASSES = (ARENA_LARGE_PAGES_LOG2 - ARENA_STEPS_LOG2 + 1) << ARENA_STEPS_LOG2,
    CACHED = SMALL_CLASSES * ARENA_CACHED_EACH + (ARENA_CACHED_CLASSES - SMALL_CLASSES) * ARENA_CACHED_LARGE_EACH,
    STEPS_LAST_RESORT = STEPS_ALLOC + ARENA_CACHED_CLASSES + CACHED * MERGE + 2 * ARENA_LOOKS_MAX,
};

static bool add(const char *subject, const char *workload, const char *unit, double value, uint64_t gate)
{
    struct bench_result result = {"arena", subject, workload, value, unit, (double)gate, NULL};
    return bench_add_gated(result, BENCH_GATE_IF_SET);
}

static double percent(uint64_t part, uint64_t whole) { return 100 * (double)part / (double)whole; }

/* => the gates are kept, of a subject that has any. */
static bool add_outcome(const char *name, const char *workload, const struct arena_outcome *o, bool is_ours)
{
    uint64_t last_resort = is_ours ? STEPS_LAST_RESORT : 0;
    bool is_roomy = workload[0] == 'w'; /* wide: nothing is refused, so nothing comes to the last resort */
    bool kept = add(name, workload, "alloc_steps", (double)o->steps.alloc,
                    is_ours && is_roomy ? STEPS_ALLOC : last_resort);
    kept = add(name, workload, "steady_steps", (double)o->steps.steady,
               is_ours && is_roomy ? STEPS_STEADY : last_resort) && kept;
    kept = add(name, workload, "refused_steps", (double)o->steps.refused, last_resort) && kept;
    kept = add(name, workload, "free_steps", (double)o->steps.free, is_ours ? STEPS_FREE : 0) && kept;
    kept = add(name, workload, "find_steps", (double)o->steps.find, is_ours ? STEPS_FIND : 0) && kept;
    add(name, workload, "splits", (double)o->steps.splits, 0);
    add(name, workload, "lines_most", (double)o->steps.lines, 0);
    add(name, workload, "lines_mean", o->lines, 0);
    add(name, workload, "requests", (double)o->asked, 0);
    add(name, workload, "refused", (double)o->refused, 0);
    add(name, workload, "refused_pages_percent", percent(o->refused_pages, o->asked_pages), 0);
    add(name, workload, "largest_percent", percent(o->largest, o->free), 0);
    add(name, workload, "ranges", (double)o->ranges, 0);
    add(name, workload, "bytes_a_range", (double)o->bytes / (double)o->ranges, 0);
    return kept;
}

static void print_heading(const struct trace_shape *shape, const struct trace *trace)
{
    printf("\n%s: %s; %u ranges that stay freed before the measured part (aged)\n", shape->name, shape->title,
           trace->aged);
    printf("%-9s %18s %7s | %-39s %6s | %12s | %17s | %7s %7s\n", "", "cycles", "", "most steps of one call", "most",
           "lines a call", "refused", "largest", "bytes");
    printf("%-9s %9s %8s %7s | %7s %7s %7s %7s %7s %6s | %5s %6s | %8s %8s | %7s %7s\n", "subject", "a call", "ratio",
           "find", "alloc", "steady", "refused", "free", "find", "splits", "most", "mean", "requests", "% pages",
           "% free", "a range");
}

static void print_line(const char *name, const struct arena_outcome *o, double cycles, double ratio, double find_cycles,
                       const char *verdict)
{
    printf("%-9s %9.1f %8.2f ", name, cycles, ratio);
    if (find_cycles > 0) {
        printf("%7.0f", find_cycles);
    } else {
        printf("%7s", "-");
    }
    printf(" | %7lu %7lu %7lu %7lu %7lu %6lu | %5lu %6.1f", o->steps.alloc, o->steps.steady, o->steps.refused,
           o->steps.free, o->steps.find, o->steps.splits, o->steps.lines, o->lines);
    printf(" | %8lu %8.2f | %7.1f %7.0f%s\n", o->refused, percent(o->refused_pages, o->asked_pages),
           percent(o->largest, o->free), (double)o->bytes / (double)o->ranges, verdict);
}

static void run_subject(const struct workload *w, const struct trace *trace, unsigned i,
                        const struct arena_outcome *nobody, double *cairn_cycles)
{
    const char *name = addresses_subjects[i]->name, *workload = w->shape.name;
    bool is_ours = addresses_subjects[i] == &addresses_cairn;
    struct arena_outcome timed = arena_play_timed(addresses_subjects[i], trace, w->shape.space_pages);
    struct arena_outcome o = arena_play_counted(addresses_counted_subjects[i], trace, w->shape.space_pages);
    bed_must(timed.refused_pages == o.refused_pages ? STATUS_OK : STATUS_CORRUPT, name);
    double cycles = timed.cycles - nobody->cycles, find_cycles = timed.find_cycles - nobody->find_cycles;
    *cairn_cycles = is_ours ? cycles : *cairn_cycles;
    add(name, workload, "cycles", cycles, 0);
    add(name, workload, "ratio", cycles / *cairn_cycles, 0);
    if (timed.find_cycles > 0) {
        add(name, workload, "find_cycles", find_cycles, 0);
    }
    bool kept = add_outcome(name, workload, &o, is_ours);
    print_line(name, &o, cycles, cycles / *cairn_cycles, find_cycles, !is_ours ? "" : kept ? "  ok" : "  MISSED");
    fflush(stdout);
}

static void run_workload(const struct workload *w, const struct bench_options *options)
{
    struct trace_shape shape = w->shape;
    if (options->quick) {
        shape.aging /= QUICK_PART;
        shape.messages /= QUICK_PART;
    }
    struct trace trace = trace_make(&shape, options->seed);
    struct arena_outcome nobody = arena_play_timed(&arena_nobody, &trace, shape.space_pages);
    double cairn_cycles = 0;
    print_heading(&shape, &trace);
    for (unsigned i = 0; i < ADDRESSES_SUBJECTS; i++) {
        run_subject(w, &trace, i, &nobody, &cairn_cycles);
    }
    trace_free(&trace);
}

void bench_arena(const struct bench_options *options)
{
    printf("arena: the same requests for addresses played to the arena and to other ways to hand them out\n"
           "Of 100 messages 90 have a range of 1 to 4 pages that goes with the next one, 9 have 1 MiB, one has 1 MiB\n"
           "to 1 GiB; these stay until a random one must go. Cycles: a call, alloc or free, the median of batches.\n"
           "Steps: nodes, list entries, bitmap words, levels of a tree; of the arena all things of it touched. Lines:\n"
           "64 bytes of bookkeeping touched. Largest: the largest request granted at the end, of all that is free.\n"
           "Bytes: bookkeeping for each range in use. Steady: an alloc that needs no new memory for it. Gates of the\n"
           "arena, the most steps: %u for an alloc, %u for a steady one, %u for one that comes to the last resort, %u\n"
           "for a free, %u for a look-up.\n",
           STEPS_ALLOC, STEPS_STEADY, STEPS_LAST_RESORT, STEPS_FREE, STEPS_FIND);
    for (unsigned i = 0; i < WORKLOADS; i++) {
        if (workloads[i].is_quick || !options->quick) {
            run_workload(&workloads[i], options);
        }
    }
    arena_spaces(options);
}
