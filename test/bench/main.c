/*
 * Benchmarks as a host program: bench NAME... [--quick] [--seed N] [--seeds N] [--json FILE]
 * [--explain WORKLOAD FILE] --calls FILE --traces FOLDER, and its scout, which prints what --calls wants:
 * bench_scout NAME... [--quick] [--seed N] [--seeds N]. scripts/bench builds and calls them, and makes the traces.
 * --explain: the addresses of the longest call of a workload that counts instructions.
 *
 * Status 0; 1 where a gate that does not depend on the machine is missed (instructions, pages, accesses) or the file
 * cannot be written; 2 wrong use.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/steps.h"

/* The scout's program holds what is scouted, and no more. */
#ifdef BENCH_SCOUT
#define BENCH_RUN(run, scout) scout
static void nothing(const struct bench_options *options) { (void)options; }
#else
#define BENCH_RUN(run, scout) run
#endif

static const struct {
    const char *name;
    void (*run)(const struct bench_options *options);
} benches[] = {
    {"pmm", BENCH_RUN(bench_pmm, bench_pmm_scout)},
    {"paging", BENCH_RUN(bench_paging, nothing)},
    {"arena", BENCH_RUN(bench_arena, nothing)},
    {"heap", BENCH_RUN(bench_heap, nothing)},
    {"fragmentation", BENCH_RUN(bench_fragmentation, nothing)},
};
enum { BENCHES = sizeof benches / sizeof benches[0] };

/* To the last CPU that it may use: the first one has the most interrupts. False: left as it is. */
static bool bind_to_one_cpu(unsigned *cpu)
{
    cpu_set_t may, one;
    if (sched_getaffinity(0, sizeof may, &may) != 0) {
        return false;
    }
    for (unsigned i = CPU_SETSIZE; i-- > 0;) {
        if (CPU_ISSET(i, &may)) {
            *cpu = i;
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            return sched_setaffinity(0, sizeof one, &one) == 0;
        }
    }
    return false;
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s NAME... [--quick] [--seed N] [--seeds N] [--json FILE] [--explain WORKLOAD FILE] "
                    "[--calls FILE] [--traces FOLDER]\n", program);
    return 2;
}

/* => false: there is no such benchmark. */
static bool want(const char *name, bool wanted[BENCHES])
{
    for (unsigned i = 0; i < BENCHES; i++) {
        if (strcmp(name, benches[i].name) == 0) {
            wanted[i] = true;
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct bench_options options = {.seed = 1, .seeds = 6};
    const char *json = NULL, *explained = NULL;
    bool wanted[BENCHES] = {false}, any = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            options.quick = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            options.seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            options.seeds = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            json = argv[++i];
        } else if (strcmp(argv[i], "--calls") == 0 && i + 1 < argc) {
            options.calls = argv[++i];
        } else if (strcmp(argv[i], "--traces") == 0 && i + 1 < argc) {
            options.traces = argv[++i];
        } else if (strcmp(argv[i], "--explain") == 0 && i + 2 < argc) {
            steps_want_explained(argv[++i]);
            explained = argv[++i];
        } else if (want(argv[i], wanted)) {
            any = true;
        } else {
            return usage(argv[0]);
        }
    }
    if (!any) {
        return usage(argv[0]);
    }
    if (json != NULL && !bench_write_json(json)) { /* now, rather than after minutes */
        fprintf(stderr, "bench: cannot write %s\n", json);
        return 1;
    }
    if (!bind_to_one_cpu(&options.cpu)) {
        fprintf(stderr, "bench: cannot bind to one CPU; figures will jump\n");
    }
    for (unsigned i = 0; i < BENCHES; i++) {
        if (wanted[i]) {
            benches[i].run(&options);
        }
    }
    if (json != NULL && !bench_write_json(json)) {
        fprintf(stderr, "bench: cannot write %s\n", json);
        return 1;
    }
    if (explained != NULL && !steps_write_explained(explained)) {
        fprintf(stderr, "bench: cannot write %s\n", explained);
        return 1;
    }
    return bench_gates_kept() ? 0 : 1;
}
