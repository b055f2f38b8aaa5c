/*
 * What the benchmarks share: results, with the gates they are held to, printed as tables and written as JSON.
 */
#ifndef CAIRN_TEST_BENCH_BENCH_H
#define CAIRN_TEST_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

struct bench_options {
    bool quick;       /* fewer rounds and calls: to see that it works, not to measure */
    uint64_t seed;
    uint64_t seeds;   /* this one and the next ones: so many, for what is looked for by chance */
    unsigned cpu;     /* that the process is bound to */
    const char *calls; /* file: numbers of the calls whose instructions are counted, from the scout */
    const char *traces; /* folder of allocation traces */
};

/* Names and units are kept, not copied: literals, mostly. */
struct bench_result {
    const char *bench, *subject, *workload;
    double value;
    const char *unit; /* "ratio": to the first subject's value of the same workload, or as a note says */
    double gate;      /* the value may be at most this; 0: there is no gate */
    const char *note; /* for the table; may be null */
};

void bench_add(struct bench_result result);

enum bench_gate {
    BENCH_GATE_IF_SET, /* at most the gate; 0: there is none */
    BENCH_GATE_MOST,   /* at most the gate, 0 as well */
    BENCH_GATE_EXACT,  /* the gate and nothing else */
};
/* bench_add is BENCH_GATE_IF_SET. => is the gate kept? */
bool bench_add_gated(struct bench_result result, enum bench_gate kind);

/* One table a unit "cycles": a line a workload, subjects side by side, with their ratios. */
void bench_print_comparison(const char *bench);
/* All results in per cent: a line a workload, subjects side by side. */
void bench_print_shares(const char *bench);
/* All results in other units, a line each. */
void bench_print_figures(const char *bench);
/* Is every gate but those of ratios kept? Ratios of times depend on the machine's peace. */
bool bench_gates_kept(void);
bool bench_write_json(const char *path);

/* Median of values[0..count), which are sorted by it. */
double bench_median(double *values, unsigned count);

/* ---- The benchmarks ---- */
void bench_pmm(const struct bench_options *options);
void bench_pmm_scout(const struct bench_options *options); /* prints the calls that bench_pmm counts */
void bench_paging(const struct bench_options *options);
void bench_arena(const struct bench_options *options);
void bench_heap(const struct bench_options *options);
void bench_fragmentation(const struct bench_options *options);

#endif
