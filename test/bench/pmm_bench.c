/* `pmm`: what a frame costs, in cycles against a stack without checks, in instructions, and in memory. */
#include "bench/pmm_bench.h"

#include <stdio.h>

#include "bench/steps.h"

void pmm_bench_figure(const char *workload, double value, const char *unit, double gate, const char *note)
{
    bench_add((struct bench_result){"pmm", "cairn", workload, value, unit, gate, note});
}

bool pmm_bench_is_most(const char *workload, uint64_t *most)
{
    uint64_t steps = steps_counted();
    if (steps <= *most) {
        return false;
    }
    *most = steps;
    steps_explain(workload);
    return true;
}

void pmm_bench_metadata(const struct bench_options *options)
{
    (void)options;
    uint64_t base = paddr_to_pfn(paddr(4 * GIB)).v, frames = bytes_to_pages_down(16 * GIB).v;
    struct bed *bed = bed_new(base + frames, 1);
    bed_run(bed, base, frames);
    bed_start(bed);
    pmm_bench_figure("metadata_at_start", (double)pmm_stats(&bed->pmm).metadata.v, "pages", 6, NULL);
    pfn_t frame;
    bed_must(pmm_alloc(&bed->pmm, PMM_USER, &frame), "pmm_alloc");
    pmm_bench_figure("metadata_of_first_frame", (double)pmm_stats(&bed->pmm).metadata.v, "pages", 6, NULL);
    while (pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK) {
    }
    struct pmm_stats stats = pmm_stats(&bed->pmm);
    pmm_bench_figure("metadata_all_used", (double)pages_to_bytes(stats.metadata) / (double)stats.used.v, "bytes/frame",
                     2.1, NULL);
    bed_check(bed);
    bed_free(bed);
}

void bench_pmm(const struct bench_options *options)
{
    printf("pmm: cycles (rdtsc) on CPU %u, 4 GiB of frames, median of the rounds; pair_2m is rated by cairn's pair\n",
           options->cpu);
    pmm_bench_cycles(options);
    bench_print_comparison("pmm");
    printf("Ratios of times need a quiet machine; a MISSED one is no failure.\n\n");
    printf("pmm: instructions of calls, one by one (%d: or more), and memory; the gates bind\n", STEPS_MAX);
    fflush(stdout);
    if (!steps_begin()) {
        bed_fail("single steps are not delivered here (under a debugger?)", STATUS_UNSUPPORTED);
    }
    pmm_bench_steps(options);
    pmm_bench_longest(options);
    pmm_bench_metadata(options);
    bench_print_figures("pmm");
#ifndef BENCH_SCOUT /* which has the PMM alone */
    pmm_bench_ways(options);
#endif
}

void bench_pmm_scout(const struct bench_options *options) { pmm_bench_scout(options); }
