/*
 * Who may have how many frames: what is seldom asked (see pmm.c, section 11).
 */
#include "pmm/account.h"

uint64_t zones_hold(const struct pmm *pmm, unsigned flags)
{
    uint64_t held = 0;
    for (enum pmm_zone zone = PMM_ZONE_1M; zone <= zone_limit(flags); zone++) {
        uint64_t free = zone_free(pmm, zone);
        bool all = zone_leaves(pmm, zone, flags, free);
        held += all ? free : free > pmm->zone_reserve[zone] ? free - pmm->zone_reserve[zone] : 0;
    }
    return held;
}

static inline uint64_t pay_part(uint64_t *account, uint64_t n) /* => what is left to pay */
{
    uint64_t part = n < *account ? n : *account;
    *account -= part;
    return n - part;
}

void account_pay_more(struct pmm *pmm, uint64_t n)
{
    n = pay_part(&pmm->spare, n);
    n = pay_part(&pmm->emergency, n);
    n = pay_part(&pmm->promised, n);
    pmm->debt += n; /* the frames are had: those that are left to pay for metadata are fewer */
}
