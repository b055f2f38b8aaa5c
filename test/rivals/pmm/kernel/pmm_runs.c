/* The kernel on a way: many frames at once, and frames by their number. */
#include "pmm/pmm_runs.h"

#include "pmm/pmm_change.h"
#include "rivals/pmm/kernel/side.h"

/* ---- Arrays ---- */

enum status pmm_free_many(struct pmm *pmm, const pfn_t *frames, npages_t n, npages_t *done)
{
    uint64_t i = 0;
    enum status s = STATUS_OK;
    for (; i < n.v && s == STATUS_OK; i += s == STATUS_OK) {
        s = pmm_free(pmm, frames[i]);
    }
    if (done != NULL) {
        *done = npages(i);
    }
    return s;
}

enum status pmm_alloc_many(struct pmm *pmm, unsigned flags, pfn_t *frames, npages_t n)
{
    const uint64_t promised = pmm->promised;
    enum status s = STATUS_OK;
    uint64_t i = 0;
    for (; i < n.v && s == STATUS_OK; i += s == STATUS_OK) {
        s = pmm_alloc(pmm, flags, &frames[i]);
    }
    if (s != STATUS_OK) {
        (void)pmm_free_many(pmm, frames, npages(i), NULL);
        pmm->promised = promised;
    }
    return s;
}

/* ---- Runs ---- */

static bool is_power(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* The first frames of a block; the others wait. */
static enum status take_run(struct pmm *pmm, unsigned flags, uint64_t n, uint64_t limit, pfn_t *first)
{
    if (side_available(pmm, flags) < n) {
        return STATUS_NOMEM;
    }
    const pfn_t block = side_way->alloc_block(pmm->way);
    if (block.v == FRAMES_NONE.v) {
        return STATUS_NOMEM;
    }
    if (block.v + n > limit) {
        return side_way->free_block(pmm->way, block) == STATUS_OK ? STATUS_NOMEM : STATUS_CORRUPT;
    }
    pmm->out += PMM_BLOCK_FRAMES;
    pmm->allocated += n;
    pmm->taken[block.v / PMM_BLOCK_FRAMES] = 1;
    for (uint64_t i = 0; i < n; i++) {
        pmm->states[block.v + i] = 1;
    }
    for (uint64_t i = n; i < PMM_BLOCK_FRAMES; i++) {
        side_wait(pmm, block.v + i);
    }
    side_trace(pmm, PMM_EVENT_ALLOC, block.v, n);
    *first = block;
    return STATUS_OK;
}

enum status pmm_alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align, npages_t boundary, pfn_t limit,
                          pfn_t *first)
{
    align.v = align.v == 0 ? 1 : align.v;
    if (n.v == 0 || !is_power(align.v) || (boundary.v != 0 && (!is_power(boundary.v) || boundary.v < n.v))) {
        return STATUS_INVALID;
    }
    if (n.v == 1 && align.v == 1 && limit.v == PMM_NO_LIMIT.v) {
        return pmm_alloc(pmm, flags, first);
    }
    if (n.v > PMM_BLOCK_FRAMES || align.v > PMM_BLOCK_FRAMES || side_way->alloc_block == NULL) {
        return STATUS_NOMEM;
    }
    unsigned rounds = 0;
    enum status s;
    do {
        lock_take(&pmm->lock);
        s = take_run(pmm, flags, n.v, limit.v, first);
        lock_drop(&pmm->lock);
    } while (s == STATUS_NOMEM && side_reclaim(pmm, flags, n.v, &rounds));
    return s;
}

enum status pmm_free_run(struct pmm *pmm, pfn_t first, npages_t n)
{
    if (n.v == 0 || first.v + n.v < first.v) {
        return STATUS_INVALID;
    }
    for (uint64_t i = 0; i < n.v; i++) {
        if (side_of(pmm, first.v + i) != 1) {
            return pmm_free(pmm, pfn_add(first, i)); /* which says what is wrong */
        }
    }
    for (uint64_t i = 0; i < n.v; i++) {
        (void)pmm_free(pmm, pfn_add(first, i));
    }
    return STATUS_OK;
}

enum status pmm_split_run(struct pmm *pmm, pfn_t first, npages_t n)
{
    for (uint64_t i = 0; i < n.v; i++) {
        if (!side_is_used(side_of(pmm, first.v + i))) {
            return MISUSE(pmm, "pmm_split_run: frame %#lx is not in use", first.v + i);
        }
    }
    return n.v == 0 ? STATUS_INVALID : STATUS_OK;
}

npages_t pmm_largest_run(struct pmm *pmm, pfn_t limit)
{
    (void)limit;
    lock_take(&pmm->lock);
    uint64_t n = side_free(pmm) > 0;
    const pfn_t block = side_way->alloc_block == NULL ? FRAMES_NONE : side_way->alloc_block(pmm->way);
    if (block.v != FRAMES_NONE.v) {
        (void)side_way->free_block(pmm->way, block);
        n = PMM_BLOCK_FRAMES;
    }
    lock_drop(&pmm->lock);
    return npages(n);
}

/* ---- By number ---- */

/* All that a claim took aside goes back. */
static void put_aside_back(struct pmm *pmm)
{
    for (size_t i = 0; i < pmm->given_count; i++) {
        for (uint64_t f = pmm->given[i].first.v; f < run_end(pmm->given[i]); f++) {
            if (pmm->states[f] == SIDE_ASIDE) {
                pmm->states[f] = SIDE_WAY;
                pmm->out--;
                (void)side_way->free(pmm->way, pfn(f));
            }
        }
    }
}

/* How many of these frames are neither waiting nor aside. */
static uint64_t count_missing(const struct pmm *pmm, uint64_t first, uint64_t n)
{
    uint64_t missing = 0;
    for (uint64_t f = first; f < first + n; f++) {
        missing += pmm->states[f] == SIDE_WAY;
    }
    return missing;
}

/* A way has no call for a frame that is named. So all is taken that comes before the last of them. */
static enum status claim_locked(struct pmm *pmm, uint64_t first, uint64_t n)
{
    for (uint64_t missing = count_missing(pmm, first, n); missing > 0;) {
        const pfn_t frame = side_way->alloc(pmm->way);
        if (frame.v == FRAMES_NONE.v) {
            put_aside_back(pmm);
            return STATUS_EXISTS; /* it is the way's own */
        }
        pmm->out++;
        pmm->states[frame.v] = SIDE_ASIDE;
        missing -= frame.v >= first && frame.v < first + n;
    }
    for (uint64_t f = first; f < first + n; f++) {
        if (pmm->states[f] == SIDE_WAITS) {
            pmm->waiting--;
            pmm->taken[f / PMM_BLOCK_FRAMES] -= pmm->taken[f / PMM_BLOCK_FRAMES] != 0;
        }
        pmm->states[f] = 1;
    }
    put_aside_back(pmm);
    pmm->allocated += n;
    side_trace(pmm, PMM_EVENT_CLAIM, first, n);
    return STATUS_OK;
}

enum status pmm_claim(struct pmm *pmm, pfn_t first, npages_t frames)
{
    if (frames.v == 0 || first.v + frames.v < first.v) {
        return STATUS_INVALID;
    }
    for (uint64_t f = first.v; f < first.v + frames.v; f++) {
        if (side_run(pmm->runs, pmm->run_count, f) == pmm->run_count) {
            return STATUS_ABSENT;
        }
        if (pmm->states[f] != SIDE_WAY && pmm->states[f] != SIDE_WAITS) {
            return STATUS_EXISTS;
        }
    }
    lock_take(&pmm->lock);
    enum status s = side_available(pmm, PMM_KERNEL) < frames.v ? STATUS_NOMEM
                                                               : claim_locked(pmm, first.v, frames.v);
    lock_drop(&pmm->lock);
    return s;
}

enum status pmm_give_back(struct pmm *pmm, pfn_t first, npages_t frames)
{
    for (uint64_t i = 0; i < frames.v; i++) {
        if (first.v == 0 || side_run(pmm->runs, pmm->run_count, first.v + i) == pmm->run_count ||
            pmm->states[first.v + i] != SIDE_RESERVED) {
            return MISUSE(pmm, "pmm_give_back: frame %#lx is not reserved RAM", first.v + i);
        }
    }
    for (uint64_t i = 0; i < frames.v; i++) {
        side_wait(pmm, first.v + i);
    }
    pmm->reserved -= frames.v;
    side_trace(pmm, PMM_EVENT_GIVE_BACK, first.v, frames.v);
    return STATUS_OK;
}

enum status pmm_mark_bad(struct pmm *pmm, pfn_t frame)
{
    if (side_run(pmm->runs, pmm->run_count, frame.v) == pmm->run_count) {
        return STATUS_ABSENT;
    }
    const unsigned side = pmm->states[frame.v];
    if (side == SIDE_BAD) {
        return STATUS_EXISTS;
    }
    if (side != SIDE_RESERVED) {
        return STATUS_UNSUPPORTED;
    }
    pmm->states[frame.v] = SIDE_BAD;
    pmm->bad++;
    return STATUS_OK;
}
