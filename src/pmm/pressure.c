/*
 * Memory runs short: who is asked for some, and what is kept for whom (pmm_pressure.h); promises.
 */
#include "pmm/account.h"

#define COLD __attribute__((cold)) /* for when memory is short, and for the start: small, and not fast */

enum { ROUNDS_MAX = 16 }; /* of callbacks for one request: who frees and allocates by turns must not keep it for ever */

/* ---- Callbacks ---- */

COLD enum status pmm_low_add(struct pmm *pmm, struct pmm_low *low)
{
    lock_take(&pmm->lock);
    struct pmm_low **at = &pmm->low_first;
    bool there = false;
    for (struct pmm_low *l = pmm->low_first; l != NULL; l = l->next) {
        there = there || l == low;
    }
    while (!there && *at != NULL && (*at)->cost <= low->cost) {
        at = &(*at)->next;
    }
    if (!there) {
        low->told = false;
        low->next = *at;
        *at = low;
    }
    lock_drop(&pmm->lock);
    return there ? STATUS_EXISTS : STATUS_OK;
}

COLD enum status pmm_low_remove(struct pmm *pmm, struct pmm_low *low)
{
    lock_take(&pmm->lock);
    struct pmm_low **at = &pmm->low_first;
    while (*at != NULL && *at != low) {
        at = &(*at)->next;
    }
    bool there = *at != NULL;
    if (there) {
        *at = low->next;
    }
    lock_drop(&pmm->lock);
    return there ? STATUS_OK : STATUS_ABSENT;
}

/* No callback runs inside another: false when one does. */
static bool begin(struct pmm *pmm, unsigned flags)
{
    if (pmm->low_first == NULL || (flags & PMM_NO_RECLAIM) != 0) {
        return false;
    }
    lock_take(&pmm->lock);
    bool first = !pmm->reclaiming;
    pmm->reclaiming = true;
    lock_drop(&pmm->lock);
    return first;
}

static void end(struct pmm *pmm)
{
    lock_take(&pmm->lock);
    pmm->reclaiming = false;
    lock_drop(&pmm->lock);
}

COLD static npages_t call(struct pmm *pmm, const struct pmm_low *low, uint64_t wanted)
{
    lock_take(&pmm->lock);
    pmm->reclaims++;
    trace(pmm, PMM_EVENT_RECLAIM, 0, wanted);
    lock_drop(&pmm->lock);
    return low->reclaim(low->ctx, npages(wanted));
}

static uint64_t reach(struct pmm *pmm, unsigned flags)
{
    lock_take(&pmm->lock);
    uint64_t frames = available(pmm, flags), held = zones_hold(pmm, flags);
    frames = (held < frames ? held : frames) + cached_frames(pmm);
    lock_drop(&pmm->lock);
    return frames;
}

COLD bool low_reclaim(struct pmm *pmm, unsigned flags, uint64_t wanted, unsigned *rounds)
{
    if (++*rounds > ROUNDS_MAX || !begin(pmm, flags)) {
        return false;
    }
    uint64_t freed = pmm_stats(pmm).freed;
    for (struct pmm_low *l = pmm->low_first; l != NULL; l = l->next) {
        uint64_t have = reach(pmm, flags);
        if (*rounds == 1 && have >= wanted && pmm_stats(pmm).freed > freed) {
            break; /* that may do; if it does not, all are asked */
        }
        call(pmm, l, have < wanted ? wanted - have : wanted);
    }
    bool gave = pmm_stats(pmm).freed > freed; /* not more than before, perhaps, but others */
    end(pmm);
    return gave;
}

void low_look(struct pmm *pmm, unsigned flags)
{
    if (__builtin_expect(pmm->low_first == NULL, 1) || !begin(pmm, flags)) {
        return;
    }
    for (struct pmm_low *l = pmm->low_first; l != NULL; l = l->next) {
        uint64_t have = reach(pmm, PMM_KERNEL);
        bool is_low = have < l->threshold.v;
        if (is_low && !l->told) {
            l->told = true;
            call(pmm, l, l->threshold.v - have);
            is_low = reach(pmm, PMM_KERNEL) < l->threshold.v;
        }
        l->told = is_low;
    }
    end(pmm);
}

/* ---- Reserves ---- */

COLD enum status pmm_emergency_reserve(struct pmm *pmm, npages_t n)
{
    lock_take(&pmm->lock);
    enum status s = STATUS_OK;
    uint64_t more = n.v > pmm->emergency ? n.v - pmm->emergency : 0;
    if (more > available(pmm, PMM_KERNEL) && drain_locked(pmm) > 0) {
        more = n.v > pmm->emergency ? n.v - pmm->emergency : 0;
    }
    if (more > available(pmm, PMM_KERNEL)) {
        s = STATUS_NOMEM;
    } else {
        pmm->spare += pmm->emergency;
        pmm->spare -= n.v;
        pmm->emergency = pmm->emergency_wanted = n.v;
    }
    lock_drop(&pmm->lock);
    return s;
}

COLD enum status pmm_zone_reserve(struct pmm *pmm, enum pmm_zone zone, npages_t n)
{
    if (zone >= PMM_ZONE_HIGH) {
        return STATUS_INVALID; /* nothing lies above it: there is nobody to keep it from */
    }
    lock_take(&pmm->lock);
    pmm->zone_reserve[zone] = n.v;
    uint64_t sum = 0;
    for (unsigned z = 0; z < PMM_ZONES; z++) {
        pmm->reserves_below[z] = sum; /* as much as can be counted: then every request takes the long way */
        sum = sum + pmm->zone_reserve[z] < sum ? UINT64_MAX : sum + pmm->zone_reserve[z];
    }
    pmm->zones_reserve = sum > 0;
    lock_drop(&pmm->lock);
    return STATUS_OK;
}

/* ---- Promises ---- */

enum status pmm_promise(struct pmm *pmm, npages_t n)
{
    bool enough;
    unsigned rounds = 0;
    do {
        lock_take(&pmm->lock);
        enough = n.v <= available(pmm, PMM_KERNEL) || (drain_locked(pmm) > 0 && n.v <= available(pmm, PMM_KERNEL));
        if (enough) {
            pmm->spare -= n.v;
            pmm->promised += n.v;
        }
        lock_drop(&pmm->lock);
    } while (!enough && low_reclaim(pmm, PMM_KERNEL, n.v, &rounds));
    return enough ? STATUS_OK : STATUS_NOMEM;
}

enum status pmm_unpromise(struct pmm *pmm, npages_t n)
{
    lock_take(&pmm->lock);
    uint64_t promised = pmm->promised;
    if (n.v <= promised) {
        pmm->promised -= n.v;
        pmm->spare += n.v;
        emergency_top_up(pmm);
    }
    lock_drop(&pmm->lock);
    if (n.v > promised) {
        return pmm_misuse(pmm, "pmm_unpromise: %lu frames, but only %lu are promised (caller %p)", n.v, promised,
                          __builtin_return_address(0));
    }
    return STATUS_OK;
}
