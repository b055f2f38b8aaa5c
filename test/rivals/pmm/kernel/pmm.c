/*
 * The calls of pmm.h over one of the ways beside the PMM, CAIRN_PMM_WAY, so that the kernel can run on it.
 *
 * The way owns the frames that are free and hands them out. All else that pmm.h says of a frame stands in a table
 * beside it, a u16 a frame at the PMM's own addresses, which is there whole from the start: reference counts, what is
 * reserved, the zero frame. Promises, reserves and statistics are counters. So what is tried is who hands out frames;
 * that no frame is handed out twice is seen at once, whatever the way sees.
 *
 * The way gets the RAM that nobody has at the start. Frames that come later (boot memory given back, first tables,
 * rests of a block, what was kept for arrays and not needed) were never its, so they wait, and are handed out when it
 * has none: found by a search. Arrays come out of a reserve, cut off the end of the longest run before the way starts.
 *
 * What no way has is answered so:
 *
 *   PMM_BELOW_*           UNSUPPORTED: no way knows zones; nodes and classes are not looked at, but by the tree
 *   pmm_alloc_run         512 frames and less out of a block, if the way has blocks; NOMEM else
 *   pmm_claim             the way is emptied until the frames come: O(frames)
 *   pmm_mark_bad          what is not the way's; UNSUPPORTED else
 *   pmm_region_*          UNSUPPORTED
 *   pmm_owner_open        LIMIT: none
 *   pmm_block_*, movers   nothing can be moved to any purpose: no block is known (without.c)
 *   pmm_alloc_zeroed      never zeroed
 *   pmm_check             the table is compared with the counters; nothing of the way can be checked, and it says so
 */
#include "rivals/pmm/kernel/side.h"

#include "lib/string.h"

enum { ROUNDS_MAX = 16 }; /* of callbacks for one request */

/* ---- What is free ---- */

uint64_t side_kept(const struct pmm *pmm)
{
    return side_way->kept == NULL ? 0 : side_way->kept(pmm->way);
}

uint64_t side_free(const struct pmm *pmm) { return pmm->given_frames - side_kept(pmm) - pmm->out + pmm->waiting; }

uint64_t side_available(const struct pmm *pmm, unsigned flags)
{
    uint64_t kept = (flags & PMM_PROMISED) != 0 ? 0 : pmm->promised;
    kept += (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0 ? 0 : pmm->emergency;
    const uint64_t free = side_free(pmm);
    return free > kept ? free - kept : 0;
}

void side_trace(struct pmm *pmm, enum pmm_event event, uint64_t first, uint64_t frames)
{
    if (pmm->trace != NULL) {
        pmm->trace(pmm->trace_ctx, event, pfn(first), npages(frames));
    }
}

size_t side_run(const struct frame_run *runs, size_t count, uint64_t frame)
{
    size_t i = 0;
    while (i < count && (frame < runs[i].first.v || frame >= run_end(runs[i]))) {
        i++;
    }
    return i;
}

unsigned side_of(const struct pmm *pmm, uint64_t frame)
{
    const bool is_ram = side_run(pmm->runs, pmm->run_count, frame) < pmm->run_count;
    return is_ram ? pmm->states[frame] : (unsigned)SIDE_RESERVED;
}

/* ---- One frame ---- */

/* The first that waits. There is one. */
static uint64_t take_waiting(struct pmm *pmm)
{
    for (size_t i = 0; i < pmm->run_count; i++) {
        uint64_t from = pmm->runs[i].first.v > pmm->waiting_from ? pmm->runs[i].first.v : pmm->waiting_from;
        for (uint64_t frame = from; frame < run_end(pmm->runs[i]); frame++) {
            if (pmm->states[frame] == SIDE_WAITS) {
                pmm->waiting_from = frame;
                pmm->waiting--;
                pmm->taken[frame / PMM_BLOCK_FRAMES] -= pmm->taken[frame / PMM_BLOCK_FRAMES] != 0;
                return frame;
            }
        }
    }
    arch_fatal("a frame is said to wait, and none does");
}

enum status side_take(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    if (side_available(pmm, flags) == 0) {
        return STATUS_NOMEM;
    }
    const bool kernel = (flags & PMM_USER) == 0 && side_way->alloc_kernel != NULL;
    pfn_t got = (kernel ? side_way->alloc_kernel : side_way->alloc)(pmm->way);
    if (got.v == FRAMES_NONE.v) {
        got = pfn(take_waiting(pmm));
    } else if (side_run(pmm->given, pmm->given_count, got.v) == pmm->given_count || pmm->states[got.v] != SIDE_WAY) {
        report(REPORT_CORRUPT, "pmm: %s hands out frame %#lx, which is not free", side_way->name, got.v);
        return STATUS_CORRUPT;
    } else {
        pmm->out++;
    }
    pmm->states[got.v] = 1;
    pmm->promised -= (flags & PMM_PROMISED) != 0;
    pmm->allocated++;
    *frame = got.v;
    side_trace(pmm, PMM_EVENT_ALLOC, got.v, 1);
    return STATUS_OK;
}

/* All frames of a block that was taken as a whole wait: it goes back as one. */
static void put_block(struct pmm *pmm, uint64_t first)
{
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) {
        pmm->states[first + i] = SIDE_WAY;
    }
    pmm->waiting -= PMM_BLOCK_FRAMES;
    pmm->out -= PMM_BLOCK_FRAMES;
    pmm->taken[first / PMM_BLOCK_FRAMES] = 0;
    if (side_way->free_block(pmm->way, pfn(first)) != STATUS_OK) {
        report(REPORT_CORRUPT, "pmm: %s does not take block %#lx back", side_way->name, first);
    }
}

void side_wait(struct pmm *pmm, uint64_t frame)
{
    const uint64_t block = frame / PMM_BLOCK_FRAMES;
    pmm->states[frame] = SIDE_WAITS;
    pmm->waiting++;
    pmm->waiting_from = frame < pmm->waiting_from ? frame : pmm->waiting_from;
    if (pmm->taken[block] != 0 && ++pmm->taken[block] == 1 + PMM_BLOCK_FRAMES) {
        put_block(pmm, block * PMM_BLOCK_FRAMES);
    }
}

void side_put(struct pmm *pmm, uint64_t frame)
{
    pmm->freed++;
    if (pmm->taken[frame / PMM_BLOCK_FRAMES] != 0 ||
        side_run(pmm->given, pmm->given_count, frame) == pmm->given_count) {
        side_wait(pmm, frame);
    } else {
        pmm->states[frame] = SIDE_WAY;
        pmm->out--;
        if (side_way->free(pmm->way, pfn(frame)) != STATUS_OK) {
            report(REPORT_CORRUPT, "pmm: %s does not take frame %#lx back", side_way->name, frame);
        }
    }
    side_trace(pmm, PMM_EVENT_FREE, frame, 1);
}

/* ---- Memory short ---- */

enum status pmm_low_add(struct pmm *pmm, struct pmm_low *low)
{
    struct pmm_low **at = &pmm->low_first;
    while (*at != NULL && *at != low && (*at)->cost <= low->cost) {
        at = &(*at)->next;
    }
    if (*at == low) {
        return STATUS_EXISTS;
    }
    low->next = *at;
    *at = low;
    return STATUS_OK;
}

enum status pmm_low_remove(struct pmm *pmm, struct pmm_low *low)
{
    struct pmm_low **at = &pmm->low_first;
    while (*at != NULL && *at != low) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        return STATUS_ABSENT;
    }
    *at = low->next;
    return STATUS_OK;
}

/* Thresholds are not looked at: who is to be asked before a request fails is asked when one would. */
bool side_reclaim(struct pmm *pmm, unsigned flags, uint64_t wanted, unsigned *rounds)
{
    if (pmm->reclaiming || (flags & PMM_NO_RECLAIM) != 0 || ++*rounds > ROUNDS_MAX) {
        return false;
    }
    const uint64_t freed = pmm->freed;
    pmm->reclaiming = true;
    for (struct pmm_low *low = pmm->low_first; low != NULL; low = low->next) {
        pmm->reclaims++;
        (void)low->reclaim(low->ctx, npages(wanted));
    }
    pmm->reclaiming = false;
    return pmm->freed > freed;
}

enum status pmm_promise(struct pmm *pmm, npages_t n)
{
    unsigned rounds = 0;
    do {
        lock_take(&pmm->lock);
        const bool enough = n.v <= side_available(pmm, PMM_KERNEL);
        pmm->promised += enough ? n.v : 0;
        lock_drop(&pmm->lock);
        if (enough) {
            return STATUS_OK;
        }
    } while (side_reclaim(pmm, PMM_KERNEL, n.v, &rounds));
    return STATUS_NOMEM;
}

enum status pmm_unpromise(struct pmm *pmm, npages_t n)
{
    if (n.v > pmm->promised) {
        return MISUSE(pmm, "pmm_unpromise: %lu frames, but only %lu are promised", n.v, pmm->promised);
    }
    pmm->promised -= n.v;
    return STATUS_OK;
}

enum status pmm_emergency_reserve(struct pmm *pmm, npages_t n)
{
    if (n.v > pmm->emergency && n.v - pmm->emergency > side_available(pmm, PMM_KERNEL)) {
        return STATUS_NOMEM;
    }
    pmm->emergency = n.v;
    return STATUS_OK;
}

/* ---- Frames ---- */

enum status pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame)
{
    enum { BELOW = PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G };
    const unsigned known = PMM_USER | PMM_PROMISED | PMM_EMERGENCY | PMM_NO_RECLAIM | BELOW;
    if ((flags & ~known) != 0 || ((flags & PMM_PROMISED) != 0 && pmm->promised == 0)) {
        return MISUSE(pmm, "pmm_alloc: flags %#x, %lu frames are promised", flags, pmm->promised);
    }
    if ((flags & BELOW) != 0) {
        return STATUS_UNSUPPORTED;
    }
    uint64_t got = 0;
    unsigned rounds = 0;
    enum status s;
    do {
        lock_take(&pmm->lock);
        s = side_take(pmm, flags, &got);
        lock_drop(&pmm->lock);
    } while (s == STATUS_NOMEM && side_reclaim(pmm, flags, 1, &rounds));
    if (s == STATUS_OK) {
        *frame = pfn(got);
    }
    return s;
}

enum status pmm_alloc_zeroed(struct pmm *pmm, unsigned flags, pfn_t *frame, bool *is_zero)
{
    *is_zero = false;
    return pmm_alloc(pmm, flags, frame);
}

static enum status complain(struct pmm *pmm, const char *call, uint64_t frame)
{
    return MISUSE(pmm, "%s: frame at %#lx: it is %s, with %u references", call, pfn_to_paddr(pfn(frame)).v,
                  pmm_state_name(pmm_query(pmm, pfn(frame)).state), pmm_query(pmm, pfn(frame)).references);
}

enum status pmm_free(struct pmm *pmm, pfn_t frame)
{
    lock_take(&pmm->lock);
    const bool once = side_of(pmm, frame.v) == 1;
    if (once) {
        side_put(pmm, frame.v);
    }
    lock_drop(&pmm->lock);
    return once ? STATUS_OK : complain(pmm, "pmm_free", frame.v);
}

enum status pmm_free_at(struct pmm *pmm, paddr_t address)
{
    if (!is_page_aligned(address.v)) {
        return MISUSE(pmm, "pmm_free_at: %#lx is not the start of a frame", address.v);
    }
    return pmm_free(pmm, paddr_to_pfn(address));
}

enum status pmm_retain(struct pmm *pmm, pfn_t frame)
{
    lock_take(&pmm->lock);
    const unsigned side = side_of(pmm, frame.v);
    if (side_is_used(side) && side < PMM_REFERENCES_MAX) {
        pmm->states[frame.v]++;
        side_trace(pmm, PMM_EVENT_RETAIN, frame.v, 1);
    }
    lock_drop(&pmm->lock);
    if (side == SIDE_ZERO || side_is_used(side)) {
        return side == PMM_REFERENCES_MAX ? STATUS_LIMIT : STATUS_OK;
    }
    return complain(pmm, "pmm_retain", frame.v);
}

enum status pmm_release(struct pmm *pmm, pfn_t frame, bool *freed)
{
    lock_take(&pmm->lock);
    const unsigned side = side_of(pmm, frame.v);
    if (side == 1) {
        side_put(pmm, frame.v);
    } else if (side_is_used(side)) {
        pmm->states[frame.v]--;
        side_trace(pmm, PMM_EVENT_RELEASE, frame.v, 1);
    }
    lock_drop(&pmm->lock);
    if (side != SIDE_ZERO && !side_is_used(side)) {
        return complain(pmm, "pmm_release", frame.v);
    }
    if (freed != NULL) {
        *freed = side == 1;
    }
    return STATUS_OK;
}

enum status pmm_zero_frame_set(struct pmm *pmm, pfn_t frame)
{
    if (pmm->zero_frame != FRAMES_NONE.v) {
        return STATUS_EXISTS;
    }
    if (side_of(pmm, frame.v) != 1) {
        return complain(pmm, "pmm_zero_frame_set", frame.v);
    }
    pmm->states[frame.v] = SIDE_ZERO;
    pmm->zero_frame = frame.v;
    return STATUS_OK;
}

enum status pmm_zero_frame(const struct pmm *pmm, pfn_t *frame)
{
    if (pmm->zero_frame == FRAMES_NONE.v) {
        return STATUS_ABSENT;
    }
    *frame = pfn(pmm->zero_frame);
    return STATUS_OK;
}
