/*
 * PMM: what it takes to make whole blocks of scattered free frames. The PMM knows which blocks are worth it, and hands
 * out their free frames and others; whose pages are in the way, and how they move, is known above.
 */
#ifndef CAIRN_PMM_COMPACT_H
#define CAIRN_PMM_COMPACT_H

#include "pmm/pmm.h"

struct pmm_block_info {
    pfn_t first;         /* of its 512 frames */
    unsigned free, used; /* frames; used: of RAM, neither free nor reserved. What is cached counts as used */
    bool is_movable;     /* of the user class, nobody's own, all 512 usable: nothing but what is in use is in the way */
    bool gives;          /* pmm_alloc_partly takes from it */
};
/*
 * The first block at or behind frame `from` that was opened (block 0 left out). O(1) where that is open, else
 * O(log regions + gaps). => false: there is none. Context: any.
 */
bool pmm_block_next(struct pmm *pmm, pfn_t from, struct pmm_block_info *out);

/* Frames of a block, a bit each. */
struct pmm_block_frames {
    uint64_t free[PMM_BLOCK_FRAMES / 64]; /* were free: they are used once now, by the caller */
    uint64_t used[PMM_BLOCK_FRAMES / 64]; /* are used by others */
    uint64_t once[PMM_BLOCK_FRAMES / 64]; /* of these: with one reference, */
    uint64_t twice[PMM_BLOCK_FRAMES / 64]; /* with two */
};
/*
 * All free frames of the block that begins with `first`, at once: nobody draws from it from now on. Drains the
 * magazines. O(512).
 * => OK; ABSENT: not a block that is open, an owner's, or handed out whole; NOMEM as pmm_claim. Nothing changed but for
 * OK.
 */
enum status pmm_block_take(struct pmm *pmm, pfn_t first, struct pmm_block_frames *out);
/*
 * All 512 frames of the block, each used once by the caller, are free: a whole block. As pmm_free_run, which goes frame
 * by frame. O(512). => OK; MISUSE (reported): one of them is not so, or the block is an owner's, or handed out whole.
 */
enum status pmm_block_give(struct pmm *pmm, pfn_t first);

/* By so many free frames pmm_alloc_partly tells blocks apart. */
enum { PMM_FULLNESS_STEP = PMM_BLOCK_FRAMES / PMM_STACKS };
/*
 * Up to `n` frames for pages that move, each used once: from partly free blocks of the user class, the fullest first,
 * so that no block is opened, or whole no more, for them. The range is not looked at. O(n + regions). => how many: all
 * that there are, at most n.
 */
unsigned pmm_alloc_partly(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided);
/* The same, and then from blocks that nobody uses; none from regions that begin in [avoid, avoid + avoided). */
unsigned pmm_alloc_elsewhere(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided);

/*
 * What is in `from` is in `to` from now on, for all who have a reference but the caller, who has one to each: all
 * references to `from` but one become references to `to`, which was used once. O(1), but where a frame goes bad or each
 * is traced. Nobody else changes references to the two meanwhile. Context: any.
 * => OK; LIMIT: `to` goes bad, and PMM_BAD_SHARED_MAX such frames are shared already; MISUSE (reported): `from` is not
 * in use, `to` not exactly once, the zero frame, one frame twice. Nothing changed but for OK.
 */
enum status pmm_pass_references(struct pmm *pmm, pfn_t from, pfn_t to);

/* ---- Who moves ---- */

struct pmm_run_wish { /* as pmm_alloc_run's arguments, the PMM_BELOW_* being part of the limit; align not 0 */
    uint64_t frames, align, boundary;
    pfn_t limit;
};
/*
 * A pmm_mover_fn(ctx, wish) is called by pmm_alloc_run, without any PMM lock, when no run is free though enough frames
 * are: before the low-memory callbacks, and again after each round of these that gave something. Not for
 * PMM_NO_RECLAIM. => true: there may be one now. It may call everything of the PMM but pmm_alloc_run. Null: none.
 */
void pmm_mover_set(struct pmm *pmm, pmm_mover_fn *mover, void *ctx);

#endif
