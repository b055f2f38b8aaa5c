/*
 * One frame from the blocks: the usual way, inline; the rest is take.c's. All wants the lock.
 */
#ifndef CAIRN_PMM_TAKE_H
#define CAIRN_PMM_TAKE_H

#include "pmm/account.h"

/*
 * The current block, if it may serve such a request and nothing has changed since it was last compared with other
 * places; null: take.c looks what there is. *serving: the block if it may serve, whatever has changed, else null.
 */
__attribute__((always_inline)) static inline struct pmm_block *current_for(struct pmm *pmm, unsigned flags,
                                                                           unsigned *home, unsigned *zones,
                                                                           struct pmm_block **serving)
{
    unsigned class = flags & PMM_USER;
    *home = home_node(pmm);
    *zones = zones_serving(pmm, flags, 1);
    struct pmm_block *b = pmm->current[*home][class];
    bool has_news = (pmm->news & current_bit(*home, class)) != 0;
    *serving = b->free > 0 && (*zones >> pmm->regions[b->region].zone & 1) != 0 ? b : NULL;
    return has_news ? NULL : *serving;
}

/* take_frame, where the current block is not it, though it may serve: `serving`, or null. */
enum status take_frame_slow(struct pmm *pmm, unsigned flags, unsigned zones, unsigned home, uint64_t *frame,
                            struct pmm_block *serving);

/* As take_frames, of one frame, whose code becomes 1. */
__attribute__((always_inline)) static inline enum status take_frame(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    unsigned home, zones, got;
    struct pmm_block *serving, *b = current_for(pmm, flags, &home, &zones, &serving);
    if (b == NULL) {
        return take_frame_slow(pmm, flags, zones, home, frame, serving);
    }
    return block_take_one(pmm, b, frame, 1) > 0 ? STATUS_OK : take_frames(pmm, flags, frame, 1, 1, &got);
}

#endif
