/*
 * Who may have how many frames (see pmm.c, section 11): zones and what is kept there, `spare`, promises, the emergency
 * reserve. Small and inline: every request passes here. All want the lock.
 */
#ifndef CAIRN_PMM_ACCOUNT_H
#define CAIRN_PMM_ACCOUNT_H

#include "pmm/block.h"

static inline enum pmm_zone zone_limit(unsigned flags) /* the highest zone that may serve it */
{
    static const uint8_t limits[] = {PMM_ZONE_HIGH, PMM_ZONE_1M, PMM_ZONE_16M, PMM_ZONE_1M,
                                     PMM_ZONE_4G,   PMM_ZONE_1M, PMM_ZONE_16M, PMM_ZONE_1M};
    static_assert(PMM_BELOW_16M == PMM_BELOW_1M << 1 && PMM_BELOW_4G == PMM_BELOW_1M << 2, "three bits");
    return (enum pmm_zone)limits[flags / PMM_BELOW_1M % ARRAY_LEN(limits)];
}

static inline uint64_t zone_free(const struct pmm *pmm, enum pmm_zone zone) /* frames in exactly this zone */
{
    if (zone >= PMM_ZONE_4G) {
        return pmm->zone_free[zone];
    }
    uint64_t low = pmm->low.mode != PMM_BLOCK_NEVER ? pmm->low.free : pmm->low_untouched;
    return zone == PMM_ZONE_1M ? low : pmm->zone_free[PMM_ZONE_16M] - low;
}

/* May a request with these flags take n frames of this zone, and leave there what is kept for others? */
static inline bool zone_leaves(const struct pmm *pmm, enum pmm_zone zone, unsigned flags, uint64_t n)
{
    enum pmm_zone limit = zone_limit(flags);
    if (zone >= limit || pmm->zone_reserve[zone] == 0 || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0) {
        return zone <= limit;
    }
    uint64_t free = zone_free(pmm, zone);
    return free >= n && free - n >= pmm->zone_reserve[zone];
}

/* Bit per zone above 1 MiB that may serve such a request for n frames. */
static inline unsigned zones_serving(const struct pmm *pmm, unsigned flags, uint64_t n)
{
    unsigned zones = (2U << zone_limit(flags)) - (1U << PMM_ZONE_16M); /* none of them for PMM_BELOW_1M */
    if (pmm->zones_reserve) {
        zones &= ~((unsigned)!zone_leaves(pmm, PMM_ZONE_16M, flags, n) << PMM_ZONE_16M);
        zones &= ~((unsigned)!zone_leaves(pmm, PMM_ZONE_4G, flags, n) << PMM_ZONE_4G);
    }
    return zones;
}

/* Of a zone's free frames, those that are kept for others than a request of these flags. */
static inline uint64_t zones_keep(const struct pmm *pmm, unsigned flags)
{
    uint64_t kept = 0;
    for (enum pmm_zone z = PMM_ZONE_1M; z < zone_limit(flags); z++) {
        uint64_t free = pmm->zone_reserve[z] == 0 ? 0 : zone_free(pmm, z);
        kept += free < pmm->zone_reserve[z] ? free : pmm->zone_reserve[z];
    }
    return kept;
}

/* Frames that a request of these flags may take of `spare`: less than all of it where zones keep reserves. */
static inline uint64_t available(const struct pmm *pmm, unsigned flags)
{
    bool is_emergency = (flags & PMM_EMERGENCY) != 0;
    uint64_t all = pmm->spare + (is_emergency ? pmm->emergency : 0);
    uint64_t kept = pmm->debt + (pmm->zones_reserve && !is_emergency ? zones_keep(pmm, flags) : 0);
    return all > kept ? all - kept : 0;
}

/* What may pay for `n` frames of a request with these flags: a counter that is at least n, or null. For an emergency
 * account_pay goes on to the reserve. */
static inline uint64_t *account_for(struct pmm *pmm, unsigned flags, uint64_t n)
{
    if ((flags & PMM_PROMISED) != 0) {
        return pmm->promised >= n ? &pmm->promised : NULL;
    }
    /* Usually there is enough even if all zones keep all that they may. */
    if (pmm->debt == 0 && pmm->spare >= n && pmm->spare - n >= pmm->reserves_below[zone_limit(flags)]) {
        return &pmm->spare;
    }
    return available(pmm, flags) >= n ? &pmm->spare : NULL;
}

void account_pay_more(struct pmm *pmm, uint64_t n);
/* The account pays for n frames; where a block was closed meanwhile, what else there is. */
static inline void account_pay(struct pmm *pmm, uint64_t *account, uint64_t n)
{
    uint64_t part = n < *account ? n : *account;
    *account -= part;
    if (__builtin_expect(part < n, 0)) {
        account_pay_more(pmm, n - part);
    }
}

/* The emergency reserve is filled up from `spare`. */
static inline void emergency_top_up(struct pmm *pmm)
{
    uint64_t lack = pmm->emergency_wanted - pmm->emergency;
    uint64_t part = lack < pmm->spare ? lack : pmm->spare;
    pmm->emergency += part;
    pmm->spare -= part;
}

#endif
