/* The parts of the benchmark of heaps: what each measures, and what they share. */
#ifndef CAIRN_TEST_BENCH_HEAP_BENCH_H
#define CAIRN_TEST_BENCH_HEAP_BENCH_H

#include "bench/bench.h"
#include "bench/heap_trace.h"

enum { HEAP_RIVALS = 11, HEAP_TRACES = 14, HEAP_FAMILIES = 2, HEAP_ROUNDS = 11, HEAP_ROUNDS_QUICK = 3 };

/* All of them. The first is what times are compared with, the second the product; the last the same in guard mode. */
enum { HEAP_BASE, HEAP_CAIRN, HEAP_TLSF = 4, HEAP_GUARD = HEAP_RIVALS - 1 };
extern struct heap_rival *const heap_rivals[HEAP_RIVALS];
extern const char *const heap_trace_names[HEAP_TRACES]; /* the first letter tells the family */

static inline void heap_begin(const struct heap_rival *rival, size_t largest_bytes)
{
    if (rival->begin != NULL) {
        rival->begin(largest_bytes);
    }
}
static inline void heap_end(const struct heap_rival *rival)
{
    if (rival->end != NULL) {
        rival->end();
    }
}
static inline bool heap_can(const struct heap_rival *rival, size_t largest_bytes)
{
    return rival->most_bytes == 0 || largest_bytes <= rival->most_bytes;
}

/* Ends the program if there is no memory. */
void *heap_must(void *p);

/* ---- heap_time.c ---- */

struct heap_times {
    double mean, worst; /* cycles: of an operation; of the longest one on a small block */
};
/* Subject by subject in turn; those that are not wanted are left as they are. */
void heap_measure_times(const struct heap_trace *t, unsigned rounds, const bool wanted[HEAP_RIVALS],
                        struct heap_times times[HEAP_RIVALS]);
/* Serialised. */
uint64_t heap_clock(void);

/* ---- heap_frames.c ---- */

struct heap_frames {
    uint64_t most;            /* pages held at once */
    uint64_t freed, shrunken; /* held when all blocks are released; and when the heap has shrunk besides. Ours only */
    struct heap_slab_pages slabs; /* when all blocks are released */
};
/* In a process of its own, so that each begins with nothing. */
struct heap_frames heap_measure_frames(const struct heap_trace *t, const struct heap_rival *rival);
/*
 * Run it in a process of its own, which writes `bytes` at `out` for this one. What goes wrong there ends the program,
 * which then names `what`.
 */
void heap_in_child(void (*run)(const void *ctx, void *out), const void *ctx, void *out, size_t bytes, const char *what);

/* ---- heap_holes.c ---- */

/* Page-aligned blocks of one to four pages come and go. Free its ops. */
struct heap_trace heap_storm(uint64_t seed);
/* Cycles of a pair of alloc and free of any small size among so many holes of any smaller size. */
double heap_measure_holes(const struct heap_rival *rival, unsigned holes);

/* ---- heap_misuse.c ---- */

enum heap_verdict {
    HEAP_CRASHED,  /* the process died or hung, later on or at once without a word */
    HEAP_TAKEN,    /* nothing was said, and later a block was given out twice, or somebody's bytes changed */
    HEAP_SURVIVED, /* nothing was said, nothing happened */
    HEAP_LATER,    /* told in what came after, which was in order or was stopped with a message */
    HEAP_REPORTED, /* told at once, and what came after was in order or the program stopped with a message */
    HEAP_CANNOT,   /* no such call: its blocks are not that long */
    HEAP_VERDICTS,
};
enum { HEAP_MISUSES = 12 };
extern const char *const heap_misuse_names[HEAP_MISUSES];
extern const char *const heap_verdict_names[HEAP_VERDICTS];
enum heap_verdict heap_measure_misuse(const struct heap_rival *rival, unsigned kind);

/* ---- heap_report.c ---- */

enum heap_figure { HEAP_TIME, HEAP_WORST, HEAP_FRAMES_USED, HEAP_FIGURES };
enum heap_other { HEAP_STORM, HEAP_FREED, HEAP_SLABS, HEAP_TO_CLASSES, HEAP_SHRUNKEN, HEAP_HOLES, HEAP_OTHERS };

/* All that was measured. */
struct heap_table {
    bool found[HEAP_RIVALS];
    double measured[HEAP_FIGURES][HEAP_RIVALS][HEAP_TRACES + HEAP_FAMILIES]; /* and means; 0: not measured */
    double others[HEAP_OTHERS][HEAP_RIVALS];                                 /* below 0: not measured */
    enum heap_verdict verdicts[HEAP_RIVALS][HEAP_MISUSES];
};
/* Adds the means, then the results with their gates, and prints the tables. */
void heap_report(struct heap_table *table);

#endif
