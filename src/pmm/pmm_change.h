/*
 * PMM: memory that comes, goes or breaks at run time.
 */
#ifndef CAIRN_PMM_CHANGE_H
#define CAIRN_PMM_CHANGE_H

#include "pmm/pmm.h"

/*
 * This frame is never handed out again: at once where it is free (or reserved), else when its last user frees it
 * (pmm_query's goes_bad until then). O(512); a block never used is opened. Drains the magazines.
 * => OK (of a region left out, where nothing is ever handed out: nothing changes); EXISTS: it is bad already; ABSENT:
 * it is no RAM; LIMIT: PMM_BAD_SHARED_MAX shared frames wait for it already, or it stands in a magazine (or a whole
 *    block) ready for another CPU, or for this one that the call interrupts: it was asked to drain, try again;
 *    NOMEM: what is left would not cover promises, reserves and metadata; MISUSE: metadata or the zero frame, which
 *    cannot be done without; CORRUPT: the backing failed.
 */
enum status pmm_mark_bad(struct pmm *pmm, pfn_t frame);

/*
 * New memory: whole blocks that no region touches become a region of their own, never used. O(regions + runs + pages of
 * its metadata).
 * => OK; INVALID: not whole blocks, empty, block 0, beyond what the arrays reach, node >= node count; EXISTS: overlaps
 * memory there is; LIMIT: run_capacity, region_capacity, hold_capacity or PMM_REGIONS_MAX (reported by name); NOMEM:
 * its metadata would take as much as it brings.
 */
enum status pmm_region_add(struct pmm *pmm, pfn_t first, npages_t frames, unsigned node);

struct pmm_in_the_way {
    pfn_t first;           /* the first frame that is */
    struct pmm_frame what; /* and what it is */
    npages_t used, reserved, metadata; /* how many there are of each kind: used ones include shared and runs */
};

/*
 * Take away exactly the region (or all of it that was added in one call) that is [first, first + frames), where nothing
 * in it is used, reserved or metadata: from its first to its last frame of RAM. Drains the magazines. O(its opened
 * blocks, frames and metadata pages + regions).
 * => OK; EXISTS: *way (may be null) says what is in the way (what another CPU caches counts: that one was asked to
 *    drain), nothing changed; ABSENT: no region has these bounds;
 *    LIMIT: run_capacity or hold_capacity is too small for a split; NOMEM: what is left would not cover promises,
 * reserves and metadata.
 */
enum status pmm_region_remove(struct pmm *pmm, pfn_t first, npages_t frames, struct pmm_in_the_way *way);

#endif
