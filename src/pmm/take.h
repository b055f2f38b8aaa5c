/*
 * One frame from the blocks: the usual way, inline; the rest is take.c's. All wants the lock.
 */
#ifndef CAIRN_PMM_TAKE_H
#define CAIRN_PMM_TAKE_H

#include "pmm/account.h"

/*
 * The current block, if it may serve such a request and nothing has changed since it was last compared with other
 * places; null: take.c looks what there is.
 */
__attribute__((always_inline)) static inline struct pmm_block *current_for(struct pmm *pmm, unsigned flags,
                                                                           unsigned *home, unsigned *zones)
{
    unsigned class = flags & PMM_USER;
    *home = home_node(pmm);
    *zones = zones_serving(pmm, flags, 1);
    struct pmm_block *b = pmm->current[*home][class];
    bool has_news = (pmm->news & current_bit(*home, class)) != 0;
    return !has_news && b->free > 0 && (*zones >> pmm->regions[b->region].zone & 1) != 0 ? b : NULL;
}

/* take_frame, where the current block is not it. */
enum status take_frame_slow(struct pmm *pmm, unsigned flags, unsigned zones, unsigned home, uint64_t *frame,
                            unsigned code);

/* As take_frames, of one frame. */
__attribute__((always_inline)) static inline enum status take_frame(struct pmm *pmm, unsigned flags, uint64_t *frame,
                                                                    unsigned code)
{
    unsigned home, zones;
    struct pmm_block *b = current_for(pmm, flags, &home, &zones);
    if (b != NULL && block_take_one(pmm, b, frame, code) > 0) {
        return STATUS_OK;
    }
    return take_frame_slow(pmm, flags, b == NULL ? zones : zones_serving(pmm, flags, 1), home, frame, code);
}

#endif
