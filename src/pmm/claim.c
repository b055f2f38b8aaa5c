/*
 * Given frames: claim them, or give back reserved ones. Both look at everything first and then do what cannot fail.
 */
#include "pmm/account.h"
#include "pmm/hints.h"

/* The region whose frames can be handed out that `frame` is in, or null. */
static struct pmm_region *region_of(struct pmm *pmm, uint64_t frame)
{
    return region_find(pmm, block_of(frame));
}

/* What [first, end) of a never-used or left-out part is, from the start up to *stop. */
static enum pmm_state outer_state(const struct pmm *pmm, const struct pmm_region *r, uint64_t first, uint64_t end,
                                  uint64_t *stop)
{
    enum pmm_state state = unopened_state(pmm, first, stop);
    *stop = *stop < end ? *stop : end;
    return r->left_out && state == PMM_STATE_UNTOUCHED ? PMM_STATE_RESERVED : state;
}

/* Can [first, end) be claimed? Counts the frames in never-used blocks. */
static enum status claim_look(struct pmm *pmm, uint64_t first, uint64_t end, uint64_t *in_unopened)
{
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_region *r = region_of(pmm, at);
        if (r == NULL) {
            return STATUS_ABSENT;
        }
        stop = part_end(at, end);
        if (!block_is_open(pmm, r, block_of(at))) {
            enum pmm_state state = outer_state(pmm, r, at, stop, &stop);
            if (state != PMM_STATE_UNTOUCHED) {
                return state == PMM_STATE_ABSENT ? STATUS_ABSENT : STATUS_EXISTS;
            }
            *in_unopened += stop - at;
            continue;
        }
        struct pmm_block *b = block_find(pmm, at);
        if (!block_has_stack(b)) {
            return STATUS_EXISTS;
        }
        block_be_written(pmm, b);
        uint64_t other = block_first_not_free(pmm, b, at, stop);
        if (other < stop) {
            return code_is_absent(code_get(pmm, other)) ? STATUS_ABSENT : STATUS_EXISTS;
        }
    }
    return STATUS_OK;
}

/* Take the frames of open blocks; those of never-used blocks stop being free. */
static void claim_take(struct pmm *pmm, uint64_t first, uint64_t end)
{
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_region *r = region_of(pmm, at);
        stop = part_end(at, end);
        if (block_is_open(pmm, r, block_of(at))) {
            struct pmm_block *b = block_find(pmm, at);
            if (b->owner != 0) {
                owner_lose_block(pmm, b); /* not all that is in use in it is its owner's from now on */
            }
            block_take_range(pmm, b, at, stop, NULL);
        } else {
            untouched_taken(pmm, r, at, stop - at);
        }
    }
}

static enum status claim_locked(struct pmm *pmm, uint64_t first, uint64_t end)
{
    drain_locked(pmm);
    uint64_t in_unopened = 0;
    enum status s = claim_look(pmm, first, end, &in_unopened);
    if (s != STATUS_OK) {
        return s;
    }
    if (end - first > available(pmm, PMM_KERNEL)) {
        return STATUS_NOMEM;
    }
    if (in_unopened > 0 && pmm->broken) {
        return STATUS_CORRUPT;
    }
    pmm->spare -= end - first;
    pmm->allocated += end - first;
    claim_take(pmm, first, end);
    pmm->claim_first = first;
    pmm->claim_end = end;
    for (uint64_t at = first; in_unopened > 0 && at < end && s == STATUS_OK; at = part_end(at, end)) {
        struct pmm_region *r = region_of(pmm, at);
        while (s == STATUS_OK && !block_is_open(pmm, r, block_of(at))) {
            s = block_open(pmm, r, block_of(at), 0); /* this block, or others that have to pay for it */
        }
    }
    pmm->claim_first = pmm->claim_end = 0;
    trace(pmm, PMM_EVENT_CLAIM, first, end - first);
    return s;
}

enum status pmm_claim(struct pmm *pmm, pfn_t first, npages_t frames)
{
    uint64_t end = first.v + frames.v;
    if (frames.v == 0 || end < first.v) {
        return STATUS_INVALID;
    }
    lock_take(&pmm->lock);
    enum status s = claim_locked(pmm, first.v, end);
    lock_drop(&pmm->lock);
    return s;
}

/* ---- For runs ---- */

enum status open_claimed(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t frames, unsigned class)
{
    enum status s = STATUS_OK;
    uint64_t end = first + frames;
    pmm->claim_first = first;
    pmm->claim_end = end;
    for (uint64_t block = block_of(first); block_start(block) < end && s == STATUS_OK; block++) {
        while (s == STATUS_OK && !block_is_open(pmm, r, block)) {
            s = block_open(pmm, r, block, class);
        }
    }
    pmm->claim_first = pmm->claim_end = 0;
    return s;
}

enum status open_last(struct pmm *pmm, uint64_t block, uint64_t frames, unsigned class, uint64_t *first)
{
    struct pmm_region *r = region_find(pmm, block);
    *first = block_start(block);
    untouched_taken(pmm, r, *first, frames);
    pmm->claim_whole = true; /* where it is all of it */
    enum status s = open_claimed(pmm, r, *first, frames, class);
    pmm->claim_whole = false;
    return s;
}

/* ---- Give back ---- */

/* In a block handed out whole, and behind a mark, codes are those of former times. */
static bool has_code(const struct pmm_block *b, uint64_t frame)
{
    return b->mode == PMM_BLOCK_CLOSED || (b->mode == PMM_BLOCK_OPEN && index_in_block(frame) < b->carved);
}

/* First frame of [first, end) that is not reserved, or `end`. Counts the frames in never-used blocks. */
static uint64_t give_look(struct pmm *pmm, uint64_t first, uint64_t end, uint64_t *in_unopened)
{
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_region *r = region_of(pmm, at);
        if (r == NULL || r->left_out || at == 0) {
            return at;
        }
        stop = part_end(at, end);
        if (!block_is_open(pmm, r, block_of(at))) {
            if (outer_state(pmm, r, at, stop, &stop) != PMM_STATE_RESERVED) {
                return at;
            }
            *in_unopened += stop - at;
            continue;
        }
        const struct pmm_block *b = block_find(pmm, at);
        for (uint64_t f = at; f < stop; f++) {
            if (!has_code(b, f) || code_get(pmm, f) != CODE_RESERVED) {
                return f;
            }
        }
    }
    return end;
}

/* RAM of a region left out: reserved for good, by nobody's mistake. */
static bool is_left_out(struct pmm *pmm, uint64_t frame)
{
    const struct pmm_region *r = region_of(pmm, frame);
    return r != NULL && r->left_out && query_locked(pmm, frame).state == PMM_STATE_RESERVED;
}

/* [first, end), all reserved, in one part of an open block. */
static void give_in_block(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end)
{
    for (uint64_t f = first; f < end; f++) {
        b->usable = (b->usable + (unsigned)(b->mode != PMM_BLOCK_CLOSED)) & PMM_COUNT_MASK;
        if (b->mode == PMM_BLOCK_CLOSED || !block_push(pmm, b, f)) {
            code_set(pmm, f, CODE_LOST);
        }
    }
    if (b->mode == PMM_BLOCK_CLOSED) {
        pmm->lost += end - first;
        return;
    }
    count_free_in(pmm, b, (int64_t)(end - first));
    pmm->reserved -= end - first;
    pmm->spare += end - first;
    block_restack(pmm, b);
}

/* => OK; LIMIT; NOMEM; MISUSE with *wrong the frame that is. */
static enum status give_locked(struct pmm *pmm, uint64_t first, uint64_t end, uint64_t *wrong)
{
    uint64_t in_unopened = 0;
    *wrong = give_look(pmm, first, end, &in_unopened);
    if (*wrong < end) {
        return *wrong != 0 && is_left_out(pmm, *wrong) ? STATUS_NOMEM : STATUS_MISUSE;
    }
    /* Where all is in open blocks the list is history, and a split that has no room does not matter. */
    if (holds_trim(pmm, first, end) != STATUS_OK && in_unopened > 0) {
        return STATUS_LIMIT;
    }
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_region *r = region_of(pmm, at);
        stop = part_end(at, end);
        if (block_is_open(pmm, r, block_of(at))) {
            give_in_block(pmm, block_find(pmm, at), at, stop);
        } else {
            untouched_add(pmm, r, stop - at);
            extent_usable(pmm, r, block_of(at));
            pmm->low_untouched += at < frames_below_1m() ? stop - at : 0;
            fresh_whole_add(pmm, r, block_of(at), whole_count(pmm, block_of(at), block_of(at) + 1));
            pmm->reserved -= stop - at;
            pmm->spare += stop - at;
        }
    }
    emergency_top_up(pmm);
    trace(pmm, PMM_EVENT_GIVE_BACK, first, end - first);
    return STATUS_OK;
}

enum status pmm_give_back(struct pmm *pmm, pfn_t first, npages_t frames)
{
    const void *caller = __builtin_return_address(0);
    uint64_t end = first.v + frames.v, wrong;
    if (frames.v == 0 || end < first.v) {
        return pmm_misuse(pmm, "pmm_give_back: %lu frames at %#lx are no range (caller %p)", frames.v,
                          pfn_to_paddr(first).v, caller);
    }
    lock_take(&pmm->lock);
    enum status s = give_locked(pmm, first.v, end, &wrong);
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_give_back", wrong,
                            wrong == 0 ? "frame 0 is never handed out" : "not a reserved frame that can be given back",
                            caller);
    }
    return s;
}
