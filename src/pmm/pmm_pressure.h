/*
 * PMM: memory runs short, and frames zeroed ahead of need.
 */
#ifndef CAIRN_PMM_PRESSURE_H
#define CAIRN_PMM_PRESSURE_H

#include "pmm/pmm.h"

/*
 * Who can give memory back. Called in order of cost (equal: the one added first), without any PMM lock, in the context
 * of the call that needs memory: it may call everything of the PMM but pmm_low_add, pmm_low_remove; what it allocates
 * calls no callback again, nor does what another CPU wants
 * meanwhile. Called
 *   - when the frames free for all fall below `threshold`: once, with the difference; again only after they have been
 * at or above it. This is looked at when a magazine is refilled, and in each call that takes the lock to allocate;
 *   - when a request would fail for want of frames, with what is missing, until the request can be met.
 */
struct pmm_low {
    npages_t threshold;
    unsigned cost;                                   /* any scale: cheap ones first */
    npages_t (*reclaim)(void *ctx, npages_t wanted); /* frames it gave back, or will soon have */
    void *ctx;
    struct pmm_low *next; /* the PMM's */
    bool told;            /* the PMM's */
};
enum status pmm_low_add(struct pmm *pmm, struct pmm_low *low); /* => OK; EXISTS. O(callbacks) */
enum status pmm_low_remove(struct pmm *pmm, struct pmm_low *low); /* => OK; ABSENT. O(callbacks) */

/*
 * Keep `n` frames for requests with PMM_EMERGENCY. What they draw is filled up again from frames that become free.
 * => OK; NOMEM: so many are not free; nothing changed. O(1).
 */
enum status pmm_emergency_reserve(struct pmm *pmm, npages_t n);

/*
 * Requests that do not ask for this zone or a lower one (PMM_BELOW_*) leave `n` frames free in it; with PMM_EMERGENCY
 * or PMM_PROMISED they may take them. Takes effect for frames allocated from now on. => OK; INVALID: no such zone, or
 * PMM_ZONE_HIGH, which nobody asks for. O(1).
 */
enum status pmm_zone_reserve(struct pmm *pmm, enum pmm_zone zone, npages_t n);

/*
 * A frame, preferably one from the pool of zeroed ones: *is_zero says whether its contents are zero; where not, it is
 * the caller's to zero, and counted as a miss. The pool serves requests without a zone or an owner. As pmm_alloc else.
 */
enum status pmm_alloc_zeroed(struct pmm *pmm, unsigned flags, pfn_t *frame, bool *is_zero);

/*
 * For idle time: fill the pool by at most `most` frames of `class` (PMM_KERNEL: page tables; PMM_USER). zero(ctx,
 * frame) zeroes one, called without any PMM lock; false: it could not, and filling ends. *filled: how many. The classes
 * share the room of the pool, which leaves a sixteenth of what is free alone. Not from interrupts.
 * => OK; UNSUPPORTED: the PMM was given no memory for a pool; MISUSE: no class.
 */
enum status pmm_zero_fill(struct pmm *pmm, unsigned class, npages_t most, bool (*zero)(void *ctx, pfn_t frame),
                          void *ctx, npages_t *filled);

/* Empty the magazines of this CPU and the zero pool into the blocks; other CPUs do it at their next refill or flush. */
void pmm_drain(struct pmm *pmm);

#endif
