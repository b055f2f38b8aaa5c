/*
 * A machine for the benchmarks of the PMM: runs of RAM without RAM behind them, arrays at computed addresses in
 * reserved memory, and a backing that keeps account of pages and of two levels of tables, as x86-64 has them.
 */
#ifndef CAIRN_TEST_BENCH_BED_H
#define CAIRN_TEST_BENCH_BED_H

#include "pmm/pmm.h"
#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

enum { BED_LEVELS = 2, BED_NODE_RANGES_MAX = 64, BED_OWNERS = 8, BED_HOLDS = 64 };

struct bed {
    struct pmm pmm;
    struct frame_run *runs;
    size_t run_count, run_capacity;
    struct frame_hold holds[BED_HOLDS];
    struct pmm_node_range node_ranges[BED_NODE_RANGES_MAX];
    size_t node_range_count;
    unsigned node_count;
    size_t cpu_count; /* 0: no magazines */

    uint64_t frames_end;  /* the arrays reach up to this frame */
    uint16_t *states;     /* both begin at 1 GiB, so that their tables are their own */
    struct pmm_block *blocks;
    uint64_t span_bytes;  /* from states[0] to the end of both */
    uint8_t *backed[BED_LEVELS + 1]; /* [level][number of the page or table behind states[0]]: is there */
    uint64_t units;       /* pages and tables backed since the start */
    struct pmm_region *regions;
    size_t region_capacity;
    struct pmm_cpu *cpus;
    struct pmm_owner *owners;
    size_t owner_capacity; /* BED_OWNERS but for bed_want_owners */
};

/* A bed for frames below `frames_end`, at most `run_capacity` runs. Never null: without memory the program ends. */
struct bed *bed_new(uint64_t frames_end, size_t run_capacity);
void bed_free(struct bed *bed);

/* Memory of zeros that takes room only where it is touched. */
void *bed_reserve(uint64_t bytes);
void bed_unreserve(void *base, uint64_t bytes);

/* Room for more owners; before it starts. */
void bed_want_owners(struct bed *bed, size_t owners);

void bed_run(struct bed *bed, uint64_t first, uint64_t frames); /* ascending, not touching */

/* Nothing backed, pmm_init. bed_start wants it to succeed; the other is for counting its instructions. */
struct pmm_config bed_config(struct bed *bed);
void bed_start(struct bed *bed);
/* Ends the program unless the validator finds all in order. */
void bed_check(const struct bed *bed);

/* Ends the program: the benchmark itself is wrong, or what it measures. */
_Noreturn void bed_fail(const char *what, enum status status);
static inline void bed_must(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        bed_fail(what, status);
    }
}

#endif
