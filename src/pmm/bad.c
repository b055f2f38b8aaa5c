/*
 * Frames that are broken (pmm_change.h). A free one leaves its block at once; one in use gets a code that sends it away
 * when it is freed; one with several users keeps its count, and waits in a short list.
 */
#include "pmm/account.h"

bool bad_is_waiting(const struct pmm *pmm, uint64_t frame)
{
    for (size_t i = 0; i < pmm->bad_shared_count; i++) {
        if (pmm->bad_shared[i] == frame) {
            return true;
        }
    }
    return false;
}

void bad_forget(struct pmm *pmm, uint64_t frame)
{
    for (size_t i = 0; i < pmm->bad_shared_count; i++) {
        if (pmm->bad_shared[i] == frame) {
            pmm->bad_shared[i] = pmm->bad_shared[--pmm->bad_shared_count];
            return;
        }
    }
}

static enum status free_frame_goes_bad(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    if (available(pmm, PMM_KERNEL) == 0) {
        return STATUS_NOMEM;
    }
    pmm->spare--;
    block_take_range(pmm, b, frame, frame + 1, NULL);
    code_set(pmm, frame, CODE_BAD);
    b->usable--;
    pmm->reserved++;
    pmm->bad++;
    block_restack(pmm, b);
    return STATUS_OK;
}

static enum status used_frame_goes_bad(struct pmm *pmm, struct pmm_block *b, uint64_t frame, unsigned code)
{
    if (code_is_once(code)) {
        if (code == CODE_BAD_ONCE) {
            return STATUS_EXISTS;
        }
        b->retained = (b->retained + (unsigned)code_is_unshared(code)) & PMM_COUNT_MASK;
        code_set(pmm, frame, CODE_BAD_ONCE);
        return STATUS_OK;
    }
    if (bad_is_waiting(pmm, frame)) {
        return STATUS_EXISTS;
    }
    if (pmm->bad_shared_count == PMM_BAD_SHARED_MAX) {
        return STATUS_LIMIT;
    }
    pmm->bad_shared[pmm->bad_shared_count++] = frame;
    return STATUS_OK;
}

static enum status open_frame_goes_bad(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    if (b->mode == PMM_BLOCK_CACHED) {
        return STATUS_LIMIT; /* no code means anything: its CPU, which this call interrupts, can drain it */
    }
    if (block_is_run(b)) {
        block_split(pmm, b);
    }
    block_be_written(pmm, b);
    bool beyond = b->mode == PMM_BLOCK_OPEN && index_in_block(frame) >= b->carved;
    unsigned code = beyond ? (unsigned)CODE_FREE : code_get(pmm, frame);
    if (code_is_link(code) && b->mode != PMM_BLOCK_CLOSED) {
        return free_frame_goes_bad(pmm, b, frame);
    }
    if (code_is_used(code) && code != CODE_ZERO) {
        return used_frame_goes_bad(pmm, b, frame, code);
    }
    if (code == CODE_RESERVED || code == CODE_LOST || code_is_link(code)) { /* it is counted as reserved already */
        code_set(pmm, frame, CODE_BAD);
        pmm->bad++;
        pmm->lost -= code != CODE_RESERVED;
        return STATUS_OK;
    }
    if (code == CODE_CACHED) {
        return STATUS_LIMIT; /* in a magazine that this CPU cannot drain */
    }
    return code == CODE_BAD ? STATUS_EXISTS : code_is_absent(code) ? STATUS_ABSENT : STATUS_MISUSE;
}

static enum status mark_bad_locked(struct pmm *pmm, uint64_t frame)
{
    struct pmm_region *r = region_find(pmm, block_of(frame));
    if (r == NULL) {
        return STATUS_ABSENT;
    }
    drain_locked(pmm);
    while (!block_is_open(pmm, r, block_of(frame))) {
        uint64_t stop;
        enum pmm_state state = unopened_state(pmm, frame, &stop);
        if (state == PMM_STATE_ABSENT || state == PMM_STATE_BAD) {
            return state == PMM_STATE_ABSENT ? STATUS_ABSENT : STATUS_EXISTS;
        }
        if (r->left_out) {
            return STATUS_OK; /* nothing of it is ever handed out */
        }
        if (state == PMM_STATE_UNTOUCHED && available(pmm, PMM_KERNEL) == 0) {
            return STATUS_NOMEM;
        }
        enum status s = block_open(pmm, r, block_of(frame), 0);
        if (s != STATUS_OK) {
            return s;
        }
    }
    struct pmm_block *b = block_find(pmm, frame);
    enum status s = open_frame_goes_bad(pmm, b, frame);
    if (s == STATUS_OK) {
        trace(pmm, PMM_EVENT_BAD, frame, 1);
    }
    return s;
}

enum status pmm_mark_bad(struct pmm *pmm, pfn_t frame)
{
    lock_take(&pmm->lock);
    enum status s = mark_bad_locked(pmm, frame.v);
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_mark_bad", frame.v, "it cannot be done without", __builtin_return_address(0));
    }
    return s;
}
