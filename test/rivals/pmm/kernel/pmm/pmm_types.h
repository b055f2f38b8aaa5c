/*
 * The kernel's PMM where it is one of the ways (-DCAIRN_PMM): found before src/pmm/pmm_types.h. What pmm.h promises
 * beyond handing out frames is kept by a plain table beside the way (kernel/pmm.c).
 */
#ifndef CAIRN_RIVALS_PMM_KERNEL_PMM_TYPES_H
#define CAIRN_RIVALS_PMM_KERNEL_PMM_TYPES_H

#include "arch/lock.h"

enum { PMM_STACKS = 8, PMM_BAD_SHARED_MAX = 0 };

struct pmm_cpu {
    uint8_t nothing; /* no magazines */
};
struct pmm_owner {
    uint8_t nothing;
};
struct pmm_low;
struct pmm_run_wish;
typedef bool pmm_mover_fn(void *ctx, const struct pmm_run_wish *wish);

struct pmm {
    struct lock lock;
    void *way;        /* its state */
    uint16_t *states; /* of each frame of RAM: enum pmm_side */
    uint32_t *taken;  /* of each block: 0, or, if it came from the way as a whole, 1 + the frames of it that wait */
    struct pmm_backing backing;
    const struct frame_run *runs;
    size_t run_count;
    struct frame_run *given; /* what the way got: runs without holds and without `reserve` */
    size_t given_count;
    struct frame_run reserve; /* for the way's arrays and the table; those that are left wait */
    uint64_t reserve_used;
    uint64_t ram, given_frames;
    uint64_t out;      /* frames that the way has handed out */
    uint64_t waiting;  /* free, but not the way's: they are handed out when it has none */
    uint64_t waiting_from; /* no frame below waits */
    uint64_t metadata, reserved, bad; /* frames; without what the way took of its own */
    uint64_t promised, emergency;
    uint64_t zero_frame; /* UINT64_MAX: none */
    uint64_t used_at_start, allocated, freed, reclaims, misuses;
    size_t hold_count;
    struct pmm_low *low_first; /* by cost */
    bool reclaiming;
    pmm_trace_fn *trace;
    void *trace_ctx;
};

#endif
