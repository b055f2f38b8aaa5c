/*
 * PMM: many frames in one call: arrays of any frames, and contiguous runs.
 *
 * A run of up to 511 frames lies inside one block and is frames from the start: each may be freed, retained or released
 * by itself. A longer one is whole blocks and, where its length is no multiple of 512, the first frames of one more
 * that is wholly free so far: a block handed out whole is one thing, in O(1), no frame's state is visited; it becomes
 * 512 frames with counts of their own when one of them is retained, released or split off.
 */
#ifndef CAIRN_PMM_RUNS_H
#define CAIRN_PMM_RUNS_H

#include "pmm/pmm.h"

/*
 * `n` frames, in no order, all or nothing, as n calls of pmm_alloc would give them. O(n).
 * => as pmm_alloc; frames[0..n) means something only for OK.
 */
enum status pmm_alloc_many(struct pmm *pmm, unsigned flags, pfn_t *frames, npages_t n);

/*
 * Free frames[0..n), in order, as n calls of pmm_free would. Stops at the first that is wrong. *done (may be null):
 * how many were freed. => OK; MISUSE as pmm_free.
 */
enum status pmm_free_many(struct pmm *pmm, const pfn_t *frames, npages_t n, npages_t *done);

#define PMM_NO_LIMIT ((pfn_t){UINT64_MAX})

/*
 * `n` contiguous frames, each used once. `align`: the first frame's number is a multiple of it, a power of two (0 is
 * 1). `boundary`: no multiple of it lies inside the run, a power of two (0: none), >= n. `limit`: all frames lie below
 * it (PMM_NO_LIMIT: none). Flags as pmm_alloc, PMM_PROMISED and owners excepted; the PMM_BELOW_* are limits as well.
 * 512 frames aligned to as many or fewer: O(1). Less than a block: O(512) for each block looked into, at most a few
 * (PMM_RUN_BLOCKS_TRIED) while memory is plenty. Longer: O(blocks of the run) where the region's hint of its greatest
 * free extent still holds, else the region's blocks are looked through, as they are before NOMEM. Magazines are drained
 * and free frames of owners' blocks taken back before NOMEM; then pages are moved (pmm_compact.h), and callbacks
 * called.
 * => OK; NOMEM: no such run is free (pmm_largest_run says what is), or too little would be left for promises, reserves
 *    and metadata; INVALID: n is 0 or overflows, align or boundary is no power of two, boundary < n; MISUSE: flags;
 *    CORRUPT: the backing failed.
 */
enum status pmm_alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align, npages_t boundary, pfn_t limit,
                          pfn_t *first);
enum { PMM_RUN_BLOCKS_TRIED = 8 };

/*
 * Free [first, first + n): a run, a part of one, or frames that are used exactly once; all or nothing. A part of a
 * block handed out whole may be freed, the rest stays used; two runs may not be freed in one call.
 * O(blocks handed out whole + other frames). => OK; MISUSE, reported with the first frame that is wrong: not in use
 * exactly once, the beginning of another run; INVALID: empty or overflowing.
 */
enum status pmm_free_run(struct pmm *pmm, pfn_t first, npages_t n);

/*
 * Make the blocks handed out whole that [first, first + n) touches frames with counts of their own, so that pmm_free
 * takes them one by one. Frames that are that already stay as they are. O(512) a block.
 * => OK; MISUSE: one of them is not in use; INVALID.
 */
enum status pmm_split_run(struct pmm *pmm, pfn_t first, npages_t n);

/*
 * Frames of the longest run that pmm_alloc_run can find now below `limit`. O(opened blocks + runs + holds); O(512) a
 * block where no block is wholly free.
 */
npages_t pmm_largest_run(struct pmm *pmm, pfn_t limit);

#endif
