/* What the mover is made of: a page changes its frame, a block is emptied. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_MOVE_PAGE_H
#define CAIRN_ASPACE_MOVE_PAGE_H

#include "aspace/compact.h"

/* The reverse index has a place for this frame, and for those of its block. May call callbacks. => OK; NOMEM */
enum status move_prepare(struct aspaces *system, pfn_t to);
/* aspaces_move_page inside of a call, prepared. `references`: of the frame; 0: they are asked for where they matter. */
enum aspace_move move_page(struct aspaces *system, pfn_t frame, pfn_t to, unsigned references);

/* ---- empty_block.c ---- */

/* A block that is being emptied. */
struct victim {
    struct aspaces *system;
    struct aspace_compaction *out;
    pfn_t first;
    struct pmm_block_frames frames; /* `free`: the mover's; `used`: not moved yet */
    unsigned (*fetch)(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided); /* where pages go */
    pfn_t avoid;
    npages_t avoided;
    uint64_t prepared;              /* number of the block that move_prepare was asked about last */
};
/*
 * The block's pages go, as far as they can; `looks`: none, unless all of them look as if they could. Counted in *out.
 * => MOVED: all, or it could not be drawn empty; else the first that was refused.
 */
enum aspace_move empty_block(struct victim *v, pfn_t first, bool looks);

#endif
