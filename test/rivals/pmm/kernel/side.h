/*
 * The kernel on a way (-DCAIRN_PMM): pmm.h over frames.h, and the table that keeps beside it what a way does not: how
 * often a frame is used, and what else it is. Private to kernel/pmm*.c; the theory is in pmm.c.
 */
#ifndef CAIRN_TEST_RIVALS_PMM_KERNEL_SIDE_H
#define CAIRN_TEST_RIVALS_PMM_KERNEL_SIDE_H

#include "lib/report.h"
#include "pmm/pmm.h"
#include "pmm/pmm_pressure.h"
#include "rivals/pmm/frames.h"

/* Of a frame of RAM. From 1 to PMM_REFERENCES_MAX: in use so often. */
enum pmm_side {
    SIDE_WAY = 0, /* the way's: free, or its own */
    SIDE_WAITS = PMM_REFERENCES_MAX + 1, /* free, and not the way's */
    SIDE_RESERVED,
    SIDE_METADATA,
    SIDE_BAD,
    SIDE_ZERO,  /* the zero frame */
    SIDE_ASIDE, /* taken from the way by a claim that wants another one */
};

#define MISUSE(pmm, ...) ((pmm)->misuses++, misuse(__VA_ARGS__))

extern const struct frames_way *side_way; /* the one that the kernel runs on */

static inline bool side_is_used(unsigned side) { return side >= 1 && side <= PMM_REFERENCES_MAX; }

/* The index of the run that has the frame; `count`: none has. */
size_t side_run(const struct frame_run *runs, size_t count, uint64_t frame);
/* What is said of it; of what is no RAM SIDE_RESERVED. */
unsigned side_of(const struct pmm *pmm, uint64_t frame);

/* Frames that the way has for itself when all others are in use. */
uint64_t side_kept(const struct pmm *pmm);
/* All that can be handed out; without what is promised and kept for emergencies, where the flags do not draw on it. */
uint64_t side_free(const struct pmm *pmm);
uint64_t side_available(const struct pmm *pmm, unsigned flags);

/* Under the lock: a frame that is free, in use once now; one in use, free now. */
enum status side_take(struct pmm *pmm, unsigned flags, uint64_t *frame);
void side_put(struct pmm *pmm, uint64_t frame);
/* A frame that is the caller's, and not the way's, waits. */
void side_wait(struct pmm *pmm, uint64_t frame);
void side_trace(struct pmm *pmm, enum pmm_event event, uint64_t first, uint64_t frames);

/* Without the lock: somebody gave frames back, `rounds` being counted for the request. */
bool side_reclaim(struct pmm *pmm, unsigned flags, uint64_t wanted, unsigned *rounds);

#endif
