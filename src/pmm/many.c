/*
 * Arrays of frames: many at once, past the magazines, in as few visits to blocks as there are blocks.
 */
#include "pmm/fast.h"

enum {
    FLAGS_MANY = PMM_USER | PMM_PROMISED | PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G | PMM_EMERGENCY | PMM_NO_RECLAIM,
    BATCH = PMM_MAGAZINE_FRAMES, /* frames between two looks at interrupts */
    AHEAD = 8, /* frames that a free looks ahead: in random order each is two places that nobody has looked at */
};

/* Back to their blocks; what they cost goes back to who paid. */
static void undo(struct pmm *pmm, const pfn_t *frames, uint64_t n, uint64_t *account)
{
    for (uint64_t i = 0; i < n; i++) {
        put_frame(pmm, block_find(pmm, frames[i].v), frames[i].v);
        if (account != &pmm->spare && pmm->spare > 0) {
            pmm->spare--;
            ++*account;
        }
    }
    pmm->allocated -= n;
    emergency_top_up(pmm);
}

/* Who pays, when the zones that may serve have so many; else null. */
static uint64_t *account_in_zones(struct pmm *pmm, unsigned flags, uint64_t n)
{
    return zones_hold(pmm, flags) >= n ? account_for(pmm, flags, n) : NULL;
}

static enum status many_from_blocks(struct pmm *pmm, unsigned flags, pfn_t *frames, uint64_t n)
{
    uint64_t *account = account_in_zones(pmm, flags, n);
    if (account == NULL && drain_locked(pmm) > 0) {
        account = account_in_zones(pmm, flags, n);
    }
    if (account == NULL) {
        return STATUS_NOMEM;
    }
    for (uint64_t done = 0; done < n;) {
        uint64_t batch[BATCH];
        unsigned got, want = n - done < BATCH ? (unsigned)(n - done) : (unsigned)BATCH;
        enum status s = take_frames(pmm, flags, batch, want, 1, &got);
        if (s == STATUS_NOMEM && drain_locked(pmm) > 0) {
            continue;
        }
        if (s != STATUS_OK) {
            undo(pmm, frames, done, account);
            return s;
        }
        account_pay(pmm, account, got);
        pmm->allocated += got;
        for (unsigned i = 0; i < got; i++) {
            frames[done + i] = pfn(batch[got - 1 - i]);
        }
        done += got;
    }
    return STATUS_OK;
}

/* An owner's frames come one by one; some of them from blocks of its own. */
static enum status many_for_owner(struct pmm *pmm, unsigned flags, pfn_t *frames, uint64_t n)
{
    unsigned owner = flags >> PMM_OWNER_SHIFT;
    if (account_in_zones(pmm, flags, n) == NULL &&
        (drain_locked(pmm) == 0 || account_in_zones(pmm, flags, n) == NULL)) {
        return STATUS_NOMEM;
    }
    for (uint64_t done = 0; done < n; done++) {
        uint64_t frame;
        enum status s = alloc_locked(pmm, flags, &frame);
        if (s != STATUS_OK) {
            struct pmm_owner *o = owner_find(pmm, owner);
            while (done > 0) {
                struct pmm_block *b = block_find(pmm, frames[--done].v);
                o->elsewhere -= b->owner == 0;
                o->drawn--;
                free_once(pmm, b, frames[done].v, false);
                pmm->freed--;
                pmm->allocated--;
                if ((flags & PMM_PROMISED) != 0 && pmm->spare > 0) {
                    pmm->spare--;
                    pmm->promised++;
                }
            }
            return s;
        }
        frames[done] = pfn(frame);
    }
    return STATUS_OK;
}

enum status pmm_alloc_many(struct pmm *pmm, unsigned flags, pfn_t *frames, npages_t n)
{
    const void *caller = __builtin_return_address(0);
    enum status s = check_flags(pmm, "pmm_alloc_many", flags, FLAGS_MANY, caller);
    if (s != STATUS_OK) {
        return s;
    }
    unsigned rounds = 0;
    do {
        lock_take(&pmm->lock);
        bool promised_less = (flags & PMM_PROMISED) != 0 && n.v > pmm->promised;
        if (promised_less) {
            s = STATUS_MISUSE;
        } else if (flags >> PMM_OWNER_SHIFT != 0) {
            s = many_for_owner(pmm, flags | PMM_USER, frames, n.v);
        } else {
            s = many_from_blocks(pmm, flags, frames, n.v);
        }
        for (uint64_t i = 0; s == STATUS_OK && pmm->trace != NULL && i < n.v; i++) {
            trace(pmm, PMM_EVENT_ALLOC, frames[i].v, 1);
        }
        lock_drop(&pmm->lock);
    } while (s == STATUS_NOMEM && low_reclaim(pmm, flags, n.v, &rounds));
    if (s == STATUS_MISUSE) {
        return pmm_misuse(pmm, "pmm_alloc_many: PMM_PROMISED for %lu frames, but only %lu are promised (caller %p)",
                          n.v, pmm->promised, caller);
    }
    if (s == STATUS_OK) {
        low_look(pmm, flags);
    }
    return s;
}

/*
 * Frames of [at, end) go to their blocks, up to the first that is not as most are: below the mark of an open block that
 * nobody owns, in use once and never more often, and after it the block is neither corrupt nor wholly free. For these
 * it does what free_once would; what is the same for all of a region is done once. => where it stopped.
 */
static const pfn_t *free_usual(struct pmm *pmm, const pfn_t *at, const pfn_t *end, const pfn_t *last)
{
    uint16_t *const codes = pmm->states;
    const uint64_t first = pmm->known_first, known = pmm->known_count;
    struct pmm_block *const blocks = &pmm->blocks[first];
    const pfn_t *from = at;
    for (; at < end; at++) {
        const uint64_t ahead = (last - at > AHEAD ? at + AHEAD : at)->v, frame = at->v, block = block_of(frame) - first;
        /* any number may stand there: no pointer is made of it */
        __builtin_prefetch(vaddr_to_ptr(vaddr_add(ptr_to_vaddr(codes), ahead * sizeof *codes)), 1);
        descriptor_prefetch(pmm, ahead);
        if (block >= known || frame < PMM_BLOCK_FRAMES) {
            break;
        }
        struct pmm_block *b = &blocks[block];
        if (!block_has_stack(b) || b->owner != 0 || index_in_block(frame) >= b->carved ||
            !code_is_unshared(code_get(pmm, frame))) {
            break;
        }
        const unsigned free = block_push_most(codes, b, frame);
        if (free == 0) {
            break;
        }
        if (__builtin_expect(free % STACK_FRAMES == 1, 0)) {
            block_restack(pmm, b);
        }
    }
    if (at > from) {
        count_known(pmm, (uint64_t)(at - from));
        pmm->freed += (uint64_t)(at - from);
        emergency_top_up(pmm);
    }
    return at;
}

enum status pmm_free_many(struct pmm *pmm, const pfn_t *frames, npages_t n, npages_t *done)
{
    const void *caller = __builtin_return_address(0);
    uint64_t i = 0;
    enum status s = STATUS_OK;
    while (i < n.v && s == STATUS_OK) {
        lock_take(&pmm->lock);
        const uint64_t end = n.v - i < BATCH ? n.v : i + BATCH;
        while (i < end && s == STATUS_OK) {
            if (pmm->trace == NULL) {
                i = (uint64_t)(free_usual(pmm, &frames[i], &frames[end], &frames[n.v]) - frames);
            }
            if (i == end) {
                break;
            }
            struct pmm_block *b = block_find(pmm, frames[i].v);
            if (b == NULL || index_in_block(frames[i].v) >= b->carved || !code_is_once(code_get(pmm, frames[i].v))) {
                s = STATUS_MISUSE;
                break;
            }
            free_once(pmm, b, frames[i].v, false);
            trace(pmm, PMM_EVENT_FREE, frames[i].v, 1);
            i++;
        }
        lock_drop(&pmm->lock);
    }
    if (done != NULL) {
        *done = npages(i);
    }
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, "pmm_free_many", frames[i].v, "not a frame in use exactly once", caller);
    }
    return s;
}
