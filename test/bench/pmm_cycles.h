/*
 * Cycles an operation: subjects in one process, turn by turn, over the same orders.
 *
 * Each round does the same work again, cut into pieces. A piece counts with the median of all rounds, so that what else
 * the machine does falls out; a workload is the sum of its pieces.
 */
#ifndef CAIRN_TEST_BENCH_PMM_CYCLES_H
#define CAIRN_TEST_BENCH_PMM_CYCLES_H

#include "bench/pmm_bench.h"
#include "bench/raw_stack.h"

enum { CYCLES_ROUNDS_MAX = 15, CYCLES_PIECES = 64, CYCLES_SUBJECTS_MAX = 17 };

/* BULK_FREE: frame by frame; FREE_ARRAY: as arrays, by those that have a call for it. Both in random order. */
enum workload { PAIR, BULK_ALLOC, BULK_FREE, BULK_ALLOC_AGAIN, FREE_ARRAY, CHURN, PAIR_2M, WORKLOADS };

struct cycles {
    struct bed *bed;
    struct pmm *pmm;
    struct raw_stack raw;
    void *way;        /* the state of one of test/rivals/pmm/ */
    uint64_t base;
    uint32_t frames;  /* that the PMM can hand out; the others get as many */
    uint32_t pairs;
    pfn_t *held;      /* frames in use, as they came */
    pfn_t *victims;   /* the same in the order of freeing */
    uint32_t *order;  /* a random order of all, one for all */
    unsigned round;
    uint64_t ops[WORKLOADS];
    double ticks[CYCLES_SUBJECTS_MAX][WORKLOADS][CYCLES_PIECES][CYCLES_ROUNDS_MAX];
};

/* Operations [from, end) of a workload. */
typedef enum status piece_fn(struct cycles *c, uint32_t from, uint32_t end);

extern piece_fn *const cycles_raw_pieces[WORKLOADS], *const cycles_cairn_pieces[WORKLOADS];
extern const char *const cycles_workloads[WORKLOADS];

/* A machine of so many frames from 4 GiB on, less what the PMM needs. */
void cycles_prepare(struct cycles *c, uint64_t seed, uint64_t frames);
void cycles_end(struct cycles *c);
/* One round of a subject from its start on; the number says where its times go. A way starts by itself before. */
void cycles_run_raw(struct cycles *c, unsigned subject);
void cycles_run_cairn(struct cycles *c, unsigned subject);
void cycles_run(struct cycles *c, unsigned subject, piece_fn *const *pieces);
void cycles_timed(struct cycles *c, unsigned subject, enum workload workload, uint32_t ops, piece_fn *piece);
/* An operation of the workload. */
double cycles_of(struct cycles *c, unsigned subject, enum workload workload, unsigned rounds);

#endif
