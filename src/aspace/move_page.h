/* What the mover is made of: a page changes its frame, a block is emptied. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_MOVE_PAGE_H
#define CAIRN_ASPACE_MOVE_PAGE_H

#include "aspace/compact.h"

/* A page that is to move, and what is known of its frame. */
struct moving {
    pfn_t frame, to;
    unsigned references; /* to `frame`; 0: they are asked for where they matter */
    uint64_t word;       /* of the reverse index for `frame`, */
    uint64_t *to_word;   /* and where that for `to` is; null: there is no place yet */
};
/* The reverse index has a place for this frame, and for those of its block. May call callbacks. => OK; NOMEM */
enum status move_prepare(struct aspaces *system, pfn_t to);
/* aspaces_move_page inside of a call, prepared. */
enum aspace_move move_page(struct aspaces *system, const struct moving *m);

/* ---- empty_block.c ---- */

enum { MOVE_BATCH = 64 }; /* frames fetched at a time */

/* A block that is being emptied. */
struct victim {
    struct aspaces *system;
    struct aspace_compaction *out;
    pfn_t first;
    struct pmm_block_frames frames; /* `free`: the mover's; `used`: not moved yet */
    unsigned (*fetch)(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided); /* where pages go */
    pfn_t avoid;
    npages_t avoided;
    pfn_t to[MOVE_BATCH];           /* of these [next, got) are the mover's, for pages that are next */
    unsigned next, got;
    const uint64_t *words;          /* of the reverse index for its frames; null: none of them was noted */
    uint64_t prepared;              /* number of the block that move_prepare was asked about last, */
    uint64_t *to_words;             /* and the words for it; null: none yet */
};
/*
 * The block's pages go, as far as they can; `looks`: none, unless all of them look as if they could. Counted in *out.
 * => MOVED: all, or it could not be drawn empty; else the first that was refused.
 */
enum aspace_move empty_block(struct victim *v, pfn_t first, bool looks);

#endif
