/*
 * The heap beside those that programs use, and beside other ways to make one (test/rivals/heap/), over the same traces,
 * in one process on one CPU.
 *
 *   time         cycles an operation. Every trace is played several times, subject by subject in turn, cut into
 *                pieces; a piece counts with the median of its rounds. Blocks are not written.
 *   worst        the longest operation on a small block, in cycles, without the clock's own: of each operation the
 *                least of several rounds counts (five times as many as for time), subject by subject in turn, so that
 *                what else the machine did falls out; behind a few calls that do not count, so that what the subject
 *                before it left of the caches does too. The trace's own arrays are read before the clock starts.
 *   frames_used  of the frames held when most is held, how much is what was asked for when most was, in per cent. Ours
 *                are counted; the libraries' are what a process of their own has touched, every block written whole.
 *   geomean      over the first family of traces, k-*, on which heaps are tuned; h-geomean over the second, on which
 *                they are not (test/data/traces/make_traces.py).
 *   storm        frames held at most for those that are needed, where page-aligned blocks of 1 to 4 pages come and go
 *   freed        frames still held when all blocks of a trace are released, the most of all traces; slabs: those in
 *                slabs beyond one for each class that served; to-classes: all of them, descriptors and pages held ready
 *                too, to one slab for each class; shrunken: when the heap was asked to give back what holds nothing
 *   holes        cycles of a pair among 100,000 holes for those among 100
 *   misuse       heap_misuse.c
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/heap_bench.h"
#include "lib/units.h"

struct heap_rival *const heap_rivals[HEAP_RIVALS] = {
    [HEAP_BASE] = &heap_mimalloc, [HEAP_CAIRN] = &heap_cairn, &heap_glibc, &heap_jemalloc,
    [HEAP_TLSF] = &heap_tlsf_idea, &heap_first_fit, &heap_carving, &heap_buddy, &heap_single_pages, &heap_one_size,
    [HEAP_GUARD] = &heap_cairn_guard,
};

const char *const heap_trace_names[HEAP_TRACES] = {
    "k-churn", "k-fork",    "k-net",  "k-dcache", "k-page",   "k-tiny",  "k-vec",
    "k-uniform", "h-web", "h-compile", "h-interp", "h-data", "h-guests", "h-files",
};

enum {
    FEW_HOLES = 100,
    MANY_HOLES = 100 * 1000,
    MANY_HOLES_QUICK = 20 * 1000,
};

static struct heap_table table;

void *heap_must(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "bench: no memory\n");
        exit(1);
    }
    return p;
}

/* ---- Measuring ---- */

/* Before anything else: what a heap has from earlier work, its children would have too. */
static void measure_frames(unsigned trace, const char *folder)
{
    struct heap_trace t = heap_trace_read(folder, heap_trace_names[trace]);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (!table.found[i] || !heap_can(heap_rivals[i], t.largest_bytes)) {
            continue;
        }
        const struct heap_frames f = heap_measure_frames(&t, heap_rivals[i]);
        const double held_bytes = (double)pages_to_bytes(npages(f.most));
        table.measured[HEAP_FRAMES_USED][i][trace] = 100.0 * (double)t.peak_bytes / held_bytes;
        if (heap_rivals[i]->held_pages != NULL) {
            table.others[HEAP_FREED][i] = fmax(table.others[HEAP_FREED][i], (double)f.freed);
            if (f.slabs.classes != 0) {
                const double held = (double)f.slabs.held, classes = (double)f.slabs.classes;
                table.others[HEAP_SLABS][i] = fmax(table.others[HEAP_SLABS][i], fmax(held - classes, 0));
                table.others[HEAP_TO_CLASSES][i] = fmax(table.others[HEAP_TO_CLASSES][i], (double)f.freed / classes);
            }
            table.others[HEAP_SHRUNKEN][i] = fmax(table.others[HEAP_SHRUNKEN][i], (double)f.shrunken);
        }
    }
    free(t.ops);
}

static void measure_times(unsigned trace, const char *folder, unsigned rounds)
{
    struct heap_trace t = heap_trace_read(folder, heap_trace_names[trace]);
    struct heap_times times[HEAP_RIVALS] = {0};
    bool wanted[HEAP_RIVALS];
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        wanted[i] = table.found[i] && heap_can(heap_rivals[i], t.largest_bytes);
    }
    heap_measure_times(&t, rounds, wanted, times);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        table.measured[HEAP_TIME][i][trace] = times[i].mean;
        table.measured[HEAP_WORST][i][trace] = times[i].worst;
    }
    free(t.ops);
}

static void measure_storm(uint64_t seed)
{
    struct heap_trace t = heap_storm(seed);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (table.found[i] && heap_can(heap_rivals[i], t.largest_bytes)) {
            const struct heap_frames f = heap_measure_frames(&t, heap_rivals[i]);
            table.others[HEAP_STORM][i] = (double)pages_to_bytes(npages(f.most)) / (double)t.peak_bytes;
        }
    }
    free(t.ops);
}

static void measure_holes(bool quick)
{
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (table.found[i]) {
            const double few = heap_measure_holes(heap_rivals[i], FEW_HOLES);
            const double many = heap_measure_holes(heap_rivals[i], quick ? MANY_HOLES_QUICK : MANY_HOLES);
            table.others[HEAP_HOLES][i] = many / few;
        }
    }
}

static void measure_misuse(void)
{
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        for (unsigned kind = 0; kind < HEAP_MISUSES && table.found[i]; kind++) {
            table.verdicts[i][kind] = heap_measure_misuse(heap_rivals[i], kind);
        }
    }
}

static void find_rivals(void)
{
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        table.found[i] = heap_rivals[i]->find == NULL || heap_rivals[i]->find(heap_rivals[i]);
        if (!table.found[i]) {
            fprintf(stderr, "bench: %s is not on this machine\n", heap_rivals[i]->name);
        }
        for (unsigned o = 0; o < HEAP_OTHERS; o++) {
            table.others[o][i] = -1;
        }
    }
}

void bench_heap(const struct bench_options *options)
{
    if (options->traces == NULL) {
        fprintf(stderr, "bench: heap plays traces: --traces FOLDER\n");
        exit(2);
    }
    find_rivals();
    for (unsigned t = 0; t < HEAP_TRACES; t++) {
        measure_frames(t, options->traces);
    }
    measure_storm(options->seed);
    measure_misuse();
    measure_holes(options->quick);
    for (unsigned t = 0; t < HEAP_TRACES; t++) {
        measure_times(t, options->traces, options->quick ? HEAP_ROUNDS_QUICK : HEAP_ROUNDS);
    }
    heap_report(&table);
}
