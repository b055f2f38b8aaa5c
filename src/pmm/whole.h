/*
 * A whole block: the usual way, inline; the rest is take.c's. All wants the lock.
 */
#ifndef CAIRN_PMM_WHOLE_H
#define CAIRN_PMM_WHOLE_H

#include "pmm/open.h"
#include "pmm/place.h"

#define KINDS_WHOLE (KIND(PMM_SUPPLY_WHOLE) | KIND(PMM_SUPPLY_FRESH_WHOLE))

/*
 * As take_whole_block, where the first place has never-used ones, and this one of r is the next: it costs more than
 * nothing, or is not known well enough.
 */
struct pmm_block *open_whole(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t cost, unsigned zones,
                             unsigned home, enum status *s, uint64_t *last);
/* A current block that is wholly free, and current no more: the last that a request for whole blocks takes. */
struct pmm_block *take_whole_current(struct pmm *pmm, unsigned zones, unsigned home);

/* take_whole_block. */
__attribute__((always_inline)) static inline struct pmm_block *take_whole(struct pmm *pmm, unsigned flags,
                                                                          enum status *s, uint64_t *last)
{
    unsigned zones = zones_serving(pmm, flags, PMM_BLOCK_FRAMES), home = home_node(pmm);
    struct place place = place_find(pmm, zones, home, KINDS_WHOLE & pmm->kinds_given, NO_PLACE);
    *s = STATUS_OK;
    *last = FRAME_NONE;
    if (place.zone == PMM_ZONE_1M) {
        return take_whole_current(pmm, zones, home);
    }
    struct pmm_region *r = place_region(pmm, place);
    if (place.kind == PMM_SUPPLY_WHOLE) {
        return stack_pop(pmm, r, PMM_SUPPLY_WHOLE);
    }
    uint64_t block = fresh_whole_block(pmm, r), cost = block == FRAME_NONE ? 0 : cost_now(pmm, r, block);
    return block != FRAME_NONE && cost == 0 && surely_whole(r, block)
               ? open_plain(pmm, r, block)
               : open_whole(pmm, r, block, cost, zones, home, s, last);
}

/* May such a request have a whole block of a zone above 16 MiB? */
static inline bool has_whole_above_16m(const struct pmm *pmm, unsigned flags, uint64_t frames)
{
    const uint64_t kinds = KINDS_WHOLE & pmm->kinds_given;
    unsigned zones = zones_serving(pmm, flags, frames);
    return (zone_giving(pmm, PMM_ZONE_HIGH, zones, kinds) | zone_giving(pmm, PMM_ZONE_4G, zones, kinds)) != 0;
}

/* b, wholly free and on no stack, belongs to a run. */
static inline void hand_out_whole(struct pmm *pmm, struct pmm_block *b, enum pmm_mode mode)
{
    count_free_in(pmm, b, -(int64_t)b->free);
    b->free = b->top = 0;
    carved_set(b, 0);
    b->mode = (uint8_t)mode & 0xFU;
    b->next = PMM_NO_BLOCK;
}

#endif
