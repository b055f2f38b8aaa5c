/*
 * References: retain, release, pass on, the zero frame.
 *
 * A frame that was shared keeps a code of its own when its count falls to one again (CODE_SHARED_ONCE), and counts in
 * its block's `retained`: who is left may not be who allocated it, so an owner's block with such a frame is not taken
 * back whole.
 */
#include "pmm/block.h"
#include "pmm/pmm_compact.h"

/* The block of a frame that is in use and has a code of its own; a block handed out whole is split. Null: not in use.
 */
static struct pmm_block *used_block(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b != NULL && block_is_run(b)) {
        block_split(pmm, b);
        return b;
    }
    bool below_mark = b != NULL && index_in_block(frame) < b->carved;
    return below_mark && code_is_used(code_get(pmm, frame)) ? b : NULL;
}

static enum status retain_locked(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = used_block(pmm, frame);
    if (b == NULL) {
        return STATUS_MISUSE;
    }
    unsigned code = code_get(pmm, frame);
    if (code == CODE_ZERO) {
        return STATUS_OK;
    }
    if (code == CODE_COUNT_MAX) {
        return STATUS_LIMIT; /* PMM_REFERENCES_MAX */
    }
    if (code == CODE_BAD_ONCE) {
        if (pmm->bad_shared_count == PMM_BAD_SHARED_MAX) {
            return STATUS_LIMIT;
        }
        pmm->bad_shared[pmm->bad_shared_count++] = frame;
    }
    b->retained = (b->retained + (unsigned)code_is_unshared(code)) & PMM_COUNT_MASK;
    code_set(pmm, frame, code_is_count(code) ? code + 1 : 2);
    trace(pmm, PMM_EVENT_RETAIN, frame, 1);
    return STATUS_OK;
}

enum status pmm_retain(struct pmm *pmm, pfn_t frame)
{
    lock_take(&pmm->lock);
    enum status s = retain_locked(pmm, frame.v);
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_retain", frame.v, "not a frame in use", __builtin_return_address(0));
    }
    return s;
}

static enum status release_locked(struct pmm *pmm, uint64_t frame, bool *freed)
{
    struct pmm_block *b = used_block(pmm, frame);
    if (b == NULL) {
        return STATUS_MISUSE;
    }
    unsigned code = code_get(pmm, frame);
    *freed = code_is_once(code);
    if (*freed) {
        free_once(pmm, b, frame, true);
    } else if (code == 2 && bad_is_waiting(pmm, frame)) {
        bad_forget(pmm, frame);
        code_set(pmm, frame, CODE_BAD_ONCE);
    } else if (code != CODE_ZERO) {
        code_set(pmm, frame, code == 2 ? (unsigned)CODE_SHARED_ONCE : code - 1);
    }
    if (code != CODE_ZERO) {
        trace(pmm, *freed ? PMM_EVENT_FREE : PMM_EVENT_RELEASE, frame, 1);
    }
    return STATUS_OK;
}

enum status pmm_release(struct pmm *pmm, pfn_t frame, bool *freed)
{
    bool last = false;
    lock_take(&pmm->lock);
    enum status s = release_locked(pmm, frame.v, &last);
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_release", frame.v, "not a frame in use", __builtin_return_address(0));
    }
    if (freed != NULL) {
        *freed = last;
    }
    return s;
}

/* ---- Passing on ---- */

/* The block of a frame, where it was found before and each of its frames has a code of its own. Else null. */
static inline struct pmm_block *known_block(const struct pmm *pmm, uint64_t frame)
{
    const uint64_t block = block_of(frame);
    const bool is_known = block - pmm->known_first < pmm->known_count && block != 0;
    return is_known && block_has_stack(&pmm->blocks[block]) && index_in_block(frame) < pmm->blocks[block].carved
               ? &pmm->blocks[block]
               : NULL;
}

/* As most frames are: nothing is odd about these, and nobody listens. => it is done */
static bool pass_plainly(struct pmm *pmm, uint64_t from, uint64_t to)
{
    const struct pmm_block *giver = known_block(pmm, from);
    struct pmm_block *taker = known_block(pmm, to);
    if (giver == NULL || taker == NULL || pmm->bad_shared_count > 0 || pmm->trace != NULL) {
        return false;
    }
    const unsigned had = code_get(pmm, from);
    const bool is_plain = had - 2 < CODE_COUNT_MAX - 1 && code_is_unshared(code_get(pmm, to));
    if (is_plain) {
        taker->retained = (taker->retained + 1U) & PMM_COUNT_MASK;
        code_set(pmm, to, had);
        code_set(pmm, from, CODE_SHARED_ONCE);
    }
    return is_plain;
}

/* One after the other; only the first can be refused. */
__attribute__((cold)) static enum status pass_each(struct pmm *pmm, pfn_t from, pfn_t to, const void *caller)
{
    const unsigned had = pmm_query(pmm, from).references;
    if (had == 0 || from.v == to.v || pmm_query(pmm, to).references != 1) {
        return pmm_complain(pmm, "pmm_pass_references", had == 0 ? from.v : to.v,
                            "not from a frame in use to another in use exactly once", caller);
    }
    enum status s = STATUS_OK;
    for (unsigned left = had; left > 1 && s == STATUS_OK; left--) {
        s = pmm_retain(pmm, to);
        s = s == STATUS_OK ? pmm_release(pmm, from, NULL) : s;
    }
    return s;
}

enum status pmm_pass_references(struct pmm *pmm, pfn_t from, pfn_t to)
{
    lock_take(&pmm->lock);
    const bool done = pass_plainly(pmm, from.v, to.v);
    lock_drop(&pmm->lock);
    return done ? STATUS_OK : pass_each(pmm, from, to, __builtin_return_address(0));
}

/* ---- The zero frame ---- */

enum status pmm_zero_frame_set(struct pmm *pmm, pfn_t frame)
{
    const void *caller = __builtin_return_address(0);
    lock_take(&pmm->lock);
    enum status s = STATUS_OK;
    bool is_set = pmm->zero_frame != FRAME_NONE; /* looked at first: the next splits runs */
    struct pmm_block *b = is_set ? NULL : used_block(pmm, frame.v);
    if (is_set) {
        s = STATUS_EXISTS;
    } else if (b == NULL || (!code_is_unshared(code_get(pmm, frame.v)) && code_get(pmm, frame.v) != CODE_SHARED_ONCE)) {
        s = STATUS_MISUSE;
    } else {
        if (b->owner != 0) {
            owner_lose_block(pmm, b); /* it stays for ever */
        }
        b->retained = (b->retained - (unsigned)(code_get(pmm, frame.v) == CODE_SHARED_ONCE)) & PMM_COUNT_MASK;
        code_set(pmm, frame.v, CODE_ZERO);
        pmm->zero_frame = frame.v;
    }
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_zero_frame_set", frame.v, "not a frame in use exactly once", caller);
    }
    return s;
}

enum status pmm_zero_frame(const struct pmm *pmm, pfn_t *frame)
{
    if (pmm->zero_frame == FRAME_NONE) {
        return STATUS_ABSENT;
    }
    *frame = pfn(pmm->zero_frame);
    return STATUS_OK;
}
