/*
 * Benchmarks inside the kernel: how many instructions (under an emulator's instruction clock) or ticks a call takes.
 *
 * What is measured is the call, from the call to its return; a handful of instructions for its arguments may be in it.
 * The loop around it, and reading the clock, are measured with nothing inside and taken off. Interrupts are off.
 */
#ifndef CAIRN_KERNEL_BENCH_H
#define CAIRN_KERNEL_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/machine.h"
#include "lib/status.h"

struct bench_result {
    uint64_t ops;   /* times that the thing was done */
    uint64_t ticks; /* of all of them */
    uint64_t most;  /* of the longest one, where each was timed alone; else 0 */
};

struct bench;
/* Leaves everything as it was. => OK; NOMEM; UNSUPPORTED: what was to be measured did not happen. */
typedef enum status bench_fn(const struct bench *bench, struct bench_result *result);

struct bench {
    const char *name;    /* SUITE_WORKLOAD */
    const char *summary; /* what one operation is */
    bench_fn *run;
    unsigned flags;      /* of pmm_alloc; pages of a range; for the VMM, its suite's own */
    uint64_t frames;     /* of the memory, the run or the range that it is about; ranges of the arena */
};

/* Each ended by a null name, in bench_NAME.c; those of users belong to the suite of spaces. */
extern const struct bench bench_arena[], bench_heap[], bench_pmm[], bench_segments[], bench_spaces[], bench_tasks[],
    bench_user[], bench_vmm[];
/* A build may bring one more. */
#ifdef CAIRN_BENCH_MORE
extern const struct bench CAIRN_BENCH_MORE[];
#endif

/* ---- bench.c: the clock ---- */

/* Is it an instruction clock: one tick, one instruction? */
bool bench_counts_instructions(void);

/* What a body works on. */
struct bench_work {
    struct pmm *pmm;
    unsigned flags;
    npages_t n;
    pfn_t frame;
    const struct pmm_config *config;
    struct space *space, *other;
    vaddr_t va;
    struct bench_ranges *ranges; /* bench_arena.c */
    struct bench_space *own_space; /* bench_spaces.h */
    void **slot; /* bench_heap.c */
    size_t bytes;
};
/* Does its operation `ops` times, in a loop. */
typedef enum status bench_body(struct bench_work *w, uint64_t ops);

/* The loop of a body, empty. */
bench_body bench_nothing;
/* A body that calls something once, without the call. */
bench_body bench_no_call;
/*
 * Time `body` once, take off what `empty` takes, and add that to the result. => what the body answers; the result is
 * untouched but for OK.
 */
enum status bench_add(struct bench_result *result, bench_body *body, bench_body *empty, struct bench_work *w,
                      uint64_t ops);

/* ---- bench_pmm.c, bench_own.c ---- */

enum { BENCH_LOOPS = 1000, BENCH_ROUNDS = 50 };

bench_body bench_frame_pairs, bench_no_frame_pairs; /* pmm_alloc and pmm_free; the same without the calls */
bench_body bench_free_one;                          /* w->frame */
bench_fn bench_blocks, bench_claim, bench_mark, bench_init;
/* The backing of arrays that are there whole: nothing is missing, and to back a page is CORRUPT. */
npages_t bench_missing_none(void *ctx, const void *page);
enum status bench_back_never(void *ctx, const void *page, const pfn_t *frames, npages_t n);

/* ---- bench_large.c ---- */

enum {
    BENCH_LARGE_MAP = 1 << 0, /* one of these is timed */
    BENCH_LARGE_UNMAP = 1 << 1,
    BENCH_LARGE_DEMOTE = 1 << 2,
    BENCH_LARGE_PROMOTE = 1 << 3,
    BENCH_LARGE_FRESH = 1 << 4, /* zeroed frames of the mapping's own */
    BENCH_LARGE_FOREIGN = 1 << 5, /* in another space; the window stays open */
};
bench_fn bench_large_pages;

/* ---- bench_page.c ---- */

enum {
    BENCH_PAGE_MAP = 1 << 0, /* one of these is timed */
    BENCH_PAGE_LEAF = 1 << 1,
    BENCH_PAGE_ZERO = 1 << 2, /* the zero frame, for copy on write */
    BENCH_PAGE_OWN = 1 << 3,
    BENCH_PAGE_UNMAP = 1 << 4,
    BENCH_PAGE_FOREIGN = 1 << 5, /* in another space; the window stays open */
};
bench_fn bench_page;

#endif
