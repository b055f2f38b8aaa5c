/*
 * Who may have how many frames (see pmm.c, section 11): zones and what is kept there, `spare`, promises, the emergency
 * reserve. Small and inline: every request passes here. All want the lock.
 */
#ifndef CAIRN_PMM_ACCOUNT_H
#define CAIRN_PMM_ACCOUNT_H

#include "pmm/block.h"

static inline enum pmm_zone zone_limit(unsigned flags) /* the highest zone that may serve it: the lowest it names */
{
    static_assert(PMM_BELOW_16M == PMM_BELOW_1M << 1 && PMM_BELOW_4G == PMM_BELOW_1M << 2, "three bits");
    static_assert(PMM_ZONE_1M == 0 && PMM_ZONE_16M == 1 && PMM_ZONE_4G == 2 && PMM_ZONE_HIGH == 3, "in their order");
    return (enum pmm_zone)__builtin_ctz(flags / PMM_BELOW_1M | 1U << PMM_ZONE_HIGH);
}
/* It may be served from any zone. */
static inline bool takes_any(unsigned flags) { return (flags & (PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G)) == 0; }

static inline uint64_t zone_free(const struct pmm *pmm, enum pmm_zone zone) /* frames in exactly this zone */
{
    if (zone >= PMM_ZONE_4G) {
        return pmm->zone_free[zone];
    }
    uint64_t low = pmm->low.mode != PMM_BLOCK_NEVER ? pmm->low.free : pmm->low_untouched;
    return zone == PMM_ZONE_1M ? low : pmm->zone_free[PMM_ZONE_16M] - low;
}

/* After n frames less, does this zone have what is kept there for others? */
static inline bool zone_keeps_enough(const struct pmm *pmm, enum pmm_zone zone, uint64_t n)
{
    uint64_t kept = pmm->zone_reserve[zone];
    if (kept == 0) {
        return true;
    }
    uint64_t free = zone_free(pmm, zone);
    return free >= n && free - n >= kept;
}

/* May a request with these flags take n frames of this zone, and leave there what is kept for others? */
static inline bool zone_leaves(const struct pmm *pmm, enum pmm_zone zone, unsigned flags, uint64_t n)
{
    enum pmm_zone limit = zone_limit(flags);
    if (zone >= limit || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0) {
        return zone <= limit;
    }
    return zone_keeps_enough(pmm, zone, n);
}

/* Bit per zone above 1 MiB that may serve such a request for n frames: as zone_leaves has it. */
static inline unsigned zones_serving(const struct pmm *pmm, unsigned flags, uint64_t n)
{
    enum pmm_zone limit = zone_limit(flags);
    unsigned zones = (2U << limit) - (1U << PMM_ZONE_16M); /* none of them for PMM_BELOW_1M */
    if (!pmm->zones_reserve || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0) {
        return zones;
    }
    if (limit > PMM_ZONE_16M && !zone_keeps_enough(pmm, PMM_ZONE_16M, n)) {
        zones &= ~(1U << PMM_ZONE_16M);
    }
    if (limit > PMM_ZONE_4G && !zone_keeps_enough(pmm, PMM_ZONE_4G, n)) {
        zones &= ~(1U << PMM_ZONE_4G);
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
    if (__builtin_expect(*account >= n, 1)) {
        *account -= n;
        return;
    }
    n -= *account;
    *account = 0;
    account_pay_more(pmm, n);
}

/* The emergency reserve is filled up from `spare`. */
static inline void emergency_top_up(struct pmm *pmm)
{
    if (__builtin_expect(pmm->emergency == pmm->emergency_wanted, 1)) {
        return;
    }
    uint64_t lack = pmm->emergency_wanted - pmm->emergency;
    uint64_t part = lack < pmm->spare ? lack : pmm->spare;
    pmm->emergency += part;
    pmm->spare -= part;
}

/* ---- hotplug.c ---- */
uint64_t ram_first(const struct pmm *pmm, uint64_t from); /* first frame of RAM from here on; there is one */
uint64_t ram_end(const struct pmm *pmm, uint64_t before); /* behind the last one before this; there is one */

#endif
