/*
 * Owners: who may have frames of blocks of its own. All wants the lock.
 */
#ifndef CAIRN_PMM_OWNER_H
#define CAIRN_PMM_OWNER_H

#include "pmm/account.h"
#include "pmm/place.h"

bool owners_may_have_more(const struct pmm *pmm); /* are so many blocks whole? */

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

#endif
