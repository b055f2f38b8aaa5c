/* The parts of the benchmark `pmm`. */
#ifndef CAIRN_TEST_BENCH_PMM_BENCH_H
#define CAIRN_TEST_BENCH_PMM_BENCH_H

#include "bench/bed.h"
#include "bench/bench.h"
#include "lib/rng.h"

void pmm_bench_cycles(const struct bench_options *options);   /* against the raw stack, by time */
void pmm_bench_steps(const struct bench_options *options);    /* instructions of single calls in known states */
void pmm_bench_longest(const struct bench_options *options);  /* the most that was seen, in any state */
void pmm_bench_scout(const struct bench_options *options);    /* which calls these are */
void pmm_bench_metadata(const struct bench_options *options); /* what the arrays take */

void pmm_bench_ways(const struct bench_options *options);     /* the other ways, by time and memory */

void pmm_bench_figure(const char *workload, double value, const char *unit, double gate, const char *note);

/* Is what was counted last the most so far? Then *most is that. */
bool pmm_bench_is_most(const char *workload, uint64_t *most);

/* A random order of [0, n): order[i] of them. */
static inline void pmm_bench_shuffle(uint32_t *order, uint32_t n, struct rng *rng)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = (uint32_t)rng_below(rng, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}

#endif
