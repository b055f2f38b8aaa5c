/*
 * Owners: who may have frames of blocks of its own. All wants the lock.
 */
#ifndef CAIRN_PMM_OWNER_H
#define CAIRN_PMM_OWNER_H

#include "pmm/account.h"
#include "pmm/place.h"

bool owners_may_have_more(const struct pmm *pmm); /* does enough of what is free lie in whole blocks? */

/* Does the policy give this owner a block of its own now, and is there one at all? */
static inline bool owner_deserves_block(const struct pmm *pmm, const struct pmm_owner *o)
{
    return o->in_own + o->elsewhere >= pmm->owner_threshold
           && any_giving(pmm, KIND(PMM_SUPPLY_WHOLE) | KIND(PMM_SUPPLY_FRESH_WHOLE))
           && (pmm->owner_guard == 0 || owners_may_have_more(pmm));
}

/* Has it a block of its own with a free frame, or gets it one, for a request with these flags? */
static inline bool owner_may_take(const struct pmm *pmm, const struct pmm_owner *o, unsigned flags)
{
    return takes_any(flags) && (o->partly != PMM_NO_BLOCK || owner_deserves_block(pmm, o));
}

/*
 * A frame of a block of its own for this owner, which may take one: of the one it has, or gets. => OK; ABSENT: it has
 * and gets none; CORRUPT.
 */
enum status owner_take(struct pmm *pmm, struct pmm_owner *o, unsigned flags, uint64_t *frame);
/*
 * A frame of b, which has some, for this owner; counted, but for where it lies. => OK; NOMEM: it may have none of this
 * zone, and nothing has changed; CORRUPT: b is closed now.
 */
enum status owner_draw(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b, unsigned flags, uint64_t *frame);

/* ---- near.c ---- */
/* Of what it ever drew it has half still: its frames will go together. Others' come and go one by one. */
static inline bool keeps_its_frames(const struct pmm_owner *o) { return o->drawn <= 2 * (o->in_own + o->elsewhere); }
/* Owners' blocks with free frames: are there such, and all in this zone? Which lie in others is not looked for. */
static inline bool tails_lie_in(const struct pmm *pmm, enum pmm_zone zone) { return pmm->owned_zones == 1U << zone; }
/*
 * Can there be a block near this owner? In few steps: where there is none, what comes next may be the longest of all
 * allocs. Blocks that nobody uses come before those of a lower zone.
 */
static inline bool near_may_take(const struct pmm *pmm, const struct pmm_owner *o, unsigned flags)
{
    const uint64_t high = pmm->nodes_with[PMM_ZONE_HIGH], lower = pmm->nodes_with[PMM_ZONE_4G];
    if (!takes_any(flags)) {
        return false;
    }
    if (pmm->node_count > 1) { /* tails are left where they are, of whatever node */
        const unsigned home = home_node(pmm);
        const uint64_t user = KIND(PMM_SUPPLY_USER) & OF_ONE_NODE, idle = KINDS_IDLE & OF_ONE_NODE;
        return ((high >> home & user) != 0 || ((high >> home & idle) == 0 && (lower >> home & user) != 0))
               && keeps_its_frames(o);
    }
    if ((high & KIND(PMM_SUPPLY_USER)) != 0 || tails_lie_in(pmm, PMM_ZONE_HIGH)) {
        return keeps_its_frames(o);
    }
    return (high & KINDS_IDLE) == 0
           && ((lower & KIND(PMM_SUPPLY_USER)) != 0 || tails_lie_in(pmm, PMM_ZONE_4G)) && keeps_its_frames(o);
}
/* A frame of the ordinary block near it, for a request that may take one. => OK; ABSENT: there is none. */
enum status near_take(struct pmm *pmm, struct pmm_owner *o, unsigned flags, uint64_t *frame);
void near_leave(struct pmm *pmm, struct pmm_owner *o); /* it draws from there no more */

#endif
