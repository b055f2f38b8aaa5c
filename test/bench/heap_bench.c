/*
 * The heap beside those that programs use, over the same traces, in one process on one CPU.
 *
 *   time         cycles an operation. Every trace is played several times, subject by subject in turn, cut into
 *                pieces; a piece counts with the median of its rounds. Blocks are not written.
 *   worst        the longest operation on a small block, in cycles: of each operation the least of several rounds
 *                counts, so that what else the machine did falls out.
 *   frames_used  of the frames held when most is held, how much is what was asked for when most was, in per cent. Ours
 *                are counted; the others' are what a process of their own has touched, every block written whole.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench/bench.h"
#include "bench/heap_trace.h"
#include "lib/units.h"

enum { ROUNDS = 11, ROUNDS_QUICK = 3, PIECES = 64, SMALL_BYTES = 2048, NAME_BYTES = 32 };

static const char *const trace_names[] = {"k-churn", "k-fork", "k-net", "k-dcache",
                                          "k-page",  "k-tiny", "k-vec", "k-uniform"};
enum { TRACES = sizeof trace_names / sizeof trace_names[0] };

/* The first is what the others are compared with. */
static struct heap_rival *const rivals[] = {&heap_mimalloc, &heap_cairn, &heap_glibc, &heap_jemalloc};
enum { RIVALS = sizeof rivals / sizeof rivals[0] };

struct play {
    const struct heap_trace *trace;
    void **blocks;
    uint32_t *least; /* of each operation, cycles */
    unsigned rounds;
    double ticks[PIECES][ROUNDS];
};

static uint64_t now(void)
{
    _mm_lfence();
    const uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static void begin(const struct heap_rival *rival)
{
    if (rival->begin != NULL) {
        rival->begin();
    }
}
static void end(const struct heap_rival *rival)
{
    if (rival->end != NULL) {
        rival->end();
    }
}

static void *must(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "bench: no memory\n");
        exit(1);
    }
    return p;
}

/* ---- Time ---- */

static void time_round(struct play *p, const struct heap_rival *rival, unsigned round)
{
    const struct heap_op *ops = p->trace->ops;
    begin(rival);
    for (uint64_t i = 0; i < PIECES; i++) {
        const uint64_t from = i * p->trace->op_count / PIECES, stop = (i + 1) * p->trace->op_count / PIECES;
        const uint64_t start = now();
        for (uint64_t k = from; k < stop; k++) {
            heap_op_play(rival, &ops[k], p->blocks);
        }
        p->ticks[i][round] = (double)(now() - start);
    }
    end(rival);
}

static double cycles_an_operation(struct play *p)
{
    double sum = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        sum += bench_median(p->ticks[i], p->rounds);
    }
    return sum / p->trace->op_count;
}

/* ---- Worst ---- */

static void worst_round(struct play *p, const struct heap_rival *rival)
{
    const struct heap_op *ops = p->trace->ops;
    begin(rival);
    for (uint32_t k = 0; k < p->trace->op_count; k++) {
        const uint64_t start = now();
        heap_op_play(rival, &ops[k], p->blocks);
        const uint64_t took = now() - start;
        p->least[k] = took < p->least[k] ? (uint32_t)took : p->least[k];
    }
    end(rival);
}

/* What two readings of the clock take by themselves. */
static uint32_t clock_cost(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < 1000; i++) {
        const uint64_t start = now(), took = now() - start;
        least = took < least ? took : least;
    }
    return (uint32_t)least;
}

/* Of allocations and frees of small blocks. */
static double longest(const struct play *p, uint32_t *sizes)
{
    const struct heap_trace *t = p->trace;
    uint32_t most = 0;
    for (uint32_t k = 0; k < t->op_count; k++) {
        const struct heap_op *op = &t->ops[k];
        const uint32_t bytes = op->kind == HEAP_OP_FREE ? sizes[op->block] : op->bytes;
        sizes[op->block] = op->bytes;
        if (op->kind != HEAP_OP_RESIZE && bytes <= SMALL_BYTES) {
            most = p->least[k] > most ? p->least[k] : most;
        }
    }
    const uint32_t cost = clock_cost();
    return most > cost ? most - cost : 0;
}

static double worst(struct play *p, const struct heap_rival *rival)
{
    uint32_t *sizes = must(calloc(p->trace->block_count, sizeof *sizes));
    memset(p->least, 0xFF, p->trace->op_count * sizeof *p->least);
    for (unsigned round = 0; round < p->rounds; round++) {
        worst_round(p, rival);
    }
    const double most = longest(p, sizes);
    free(sizes);
    return most;
}

/* ---- Frames ---- */

static uint64_t resident_pages(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    unsigned long kib = 0;
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL) {
        (void)!sscanf(line, "Rss: %lu", &kib);
    }
    if (kib == 0) {
        fprintf(stderr, "bench: /proc/self/smaps_rollup says nothing\n");
        exit(1);
    }
    fclose(file);
    return kib * KIB / PAGE_BYTES;
}

/* Most pages that are held at once; all blocks are written. */
static uint64_t held_at_most(const struct heap_trace *t, const struct heap_rival *rival, void **blocks)
{
    malloc_trim(0); /* the C library's heap has been in use: all that is free there goes back to the system */
    begin(rival);
    const uint64_t before = rival->held_pages == NULL ? resident_pages() : 0;
    uint64_t most = 0;
    for (uint32_t k = 0; k < t->op_count; k++) {
        const struct heap_op *op = &t->ops[k];
        heap_op_play(rival, op, blocks);
        if (rival->held_pages == NULL && op->bytes != 0) {
            memset(blocks[op->block], 1, op->bytes);
        }
        const uint64_t held = rival->held_pages == NULL ? 0 : rival->held_pages();
        most = held > most ? held : most;
    }
    return rival->held_pages == NULL ? resident_pages() - before : most; /* nothing goes back to the system */
}

/* In a process of its own, so that each begins with nothing. */
static double frames_used(const struct heap_trace *t, const struct heap_rival *rival, void **blocks)
{
    int ends[2], status;
    uint64_t pages = 0;
    fflush(NULL);
    const bool is_open = pipe(ends) == 0;
    const pid_t child = is_open ? fork() : -1;
    if (child == 0) {
        memset(blocks, 0, t->block_count * sizeof *blocks); /* touched before it is counted */
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        pages = held_at_most(t, rival, blocks);
        _exit(write(ends[1], &pages, sizeof pages) == sizeof pages ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0 ||
        read(ends[0], &pages, sizeof pages) != sizeof pages) {
        fprintf(stderr, "bench: frames of %s under %s are not known\n", t->name, rival->name);
        exit(1);
    }
    close(ends[0]);
    close(ends[1]);
    return 100.0 * (double)t->peak_bytes / (double)(pages * PAGE_BYTES);
}

/* ---- All ---- */

enum figure { TIME, WORST, FRAMES_USED, FIGURES };
static const char *const figure_names[FIGURES] = {"time", "worst", "frames_used"};
static const char *const units[FIGURES] = {"cycles", "cycles", "%"};

static double measured[FIGURES][RIVALS][TRACES];
static char names[FIGURES][TRACES + 1][NAME_BYTES];

/* Before anything else: what a heap has from earlier work, its children would have too. */
static void measure_frames(unsigned trace, const char *folder, const bool found[RIVALS])
{
    struct heap_trace t = heap_trace_read(folder, trace_names[trace]);
    void **blocks = must(calloc(t.block_count, sizeof *blocks));
    for (unsigned i = 0; i < RIVALS; i++) {
        measured[FRAMES_USED][i][trace] = found[i] ? frames_used(&t, rivals[i], blocks) : 0;
    }
    free(blocks);
    free(t.ops);
}

static void measure_cycles(unsigned trace, const char *folder, unsigned rounds, const bool found[RIVALS])
{
    struct heap_trace t = heap_trace_read(folder, trace_names[trace]);
    struct play *plays = must(calloc(RIVALS, sizeof *plays));
    void **blocks = must(calloc(t.block_count, sizeof *blocks));
    uint32_t *least = must(calloc(t.op_count, sizeof *least));
    for (unsigned i = 0; i < RIVALS; i++) {
        plays[i] = (struct play){.trace = &t, .blocks = blocks, .least = least, .rounds = rounds};
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < RIVALS; i++) {
            if (found[i]) {
                time_round(&plays[i], rivals[i], round);
            }
        }
    }
    for (unsigned i = 0; i < RIVALS; i++) {
        if (found[i]) {
            measured[TIME][i][trace] = cycles_an_operation(&plays[i]);
            measured[WORST][i][trace] = worst(&plays[i], rivals[i]);
        }
    }
    free(least);
    free(blocks);
    free(plays);
    free(t.ops);
}

static double geometric_mean(const double values[TRACES])
{
    double sum = 0;
    for (unsigned i = 0; i < TRACES; i++) {
        sum += log(values[i]);
    }
    return exp(sum / TRACES);
}

static void tell(enum figure figure, unsigned rival, unsigned trace, double value, double base)
{
    struct bench_result r = {.bench = "heap", .subject = rivals[rival]->name, .workload = names[figure][trace],
                             .value = value, .unit = units[figure]};
    bench_add(r);
    if (figure != FRAMES_USED && base > 0) {
        r.unit = "ratio";
        r.value = value / base;
        bench_add(r);
    }
}

static void tell_all(const bool found[RIVALS])
{
    for (unsigned f = 0; f < FIGURES; f++) {
        for (unsigned t = 0; t <= TRACES; t++) {
            snprintf(names[f][t], NAME_BYTES, "%s:%s", figure_names[f], t < TRACES ? trace_names[t] : "geomean");
            for (unsigned i = 0; i < RIVALS; i++) {
                const double base = !found[0] ? 0 : t < TRACES ? measured[f][0][t] : geometric_mean(measured[f][0]);
                if (found[i]) {
                    tell((enum figure)f, i, t, t < TRACES ? measured[f][i][t] : geometric_mean(measured[f][i]), base);
                }
            }
        }
    }
}

void bench_heap(const struct bench_options *options)
{
    bool found[RIVALS];
    for (unsigned i = 0; i < RIVALS; i++) {
        found[i] = rivals[i]->find == NULL || rivals[i]->find(rivals[i]);
        if (!found[i]) {
            fprintf(stderr, "bench: %s is not on this machine\n", rivals[i]->name);
        }
    }
    if (options->traces == NULL) {
        fprintf(stderr, "bench: heap plays traces: --traces FOLDER\n");
        exit(2);
    }
    for (unsigned t = 0; t < TRACES; t++) {
        measure_frames(t, options->traces, found);
    }
    for (unsigned t = 0; t < TRACES; t++) {
        measure_cycles(t, options->traces, options->quick ? ROUNDS_QUICK : ROUNDS, found);
    }
    tell_all(found);
    printf("\nheap: cycles an operation, its worst, beside %s; frames used, %%\n", rivals[0]->name);
    bench_print_comparison("heap");
    bench_print_shares("heap");
}
