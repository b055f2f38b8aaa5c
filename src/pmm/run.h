/* What the files of runs share: wishes, and the search for what meets them. Private to src/pmm/. */
#ifndef CAIRN_PMM_RUN_H
#define CAIRN_PMM_RUN_H

#include "pmm/block.h"
#include "pmm/pmm_compact.h"

/* A block that was handed out whole, or cached so, is wholly free: counts region and `spare`. */
void block_make_whole(struct pmm *pmm, struct pmm_block *b);
struct run_wish {
    uint64_t frames, align, boundary, end; /* all in frames; boundary 0: none; all lies below `end` */
};
/* The first frame of a run that meets the wish in [from, stop), all free; FRAME_NONE. */
uint64_t fit_in_stretch(uint64_t from, uint64_t stop, const struct run_wish *wish);
/* First index where the map of a block that starts at `start` has a run that meets the wish; 512: none. */
unsigned map_find(const struct block_map *map, uint64_t start, const struct run_wish *wish);
/* First block of `blocks` wholly free ones in r that meet the wish; FRAME_NONE. Uses and renews the hint. */
uint64_t region_find_blocks(struct pmm *pmm, struct pmm_region *r, uint64_t blocks, const struct run_wish *wish);
/* Frames of the longest stretch of wholly free blocks of r, cut off at `limit`. */
uint64_t region_largest_extent(struct pmm *pmm, struct pmm_region *r, uint64_t limit);

/*
 * ---- compact.c ----
 * No run is free: who moves pages is asked, if enough frames are free, once before the callbacks and once after each of
 * their `rounds`; *asked: 0 at first. Without the lock. => true: there may be one now
 */
bool mover_makes_run(struct pmm *pmm, unsigned flags, const struct pmm_run_wish *wish, unsigned rounds,
                     unsigned *asked);

#endif
