/*
 * Frames zeroed ahead of need: two stacks of frames that idle time fills, user frames from the bottom of one array,
 * kernel frames (page tables) from its top, as a kernel frame in a user block would keep that block from ever being
 * whole. They count as free and cached; the PMM touches none of them, the caller's callback does.
 */
#include "pmm/account.h"
#include "pmm/fast.h"
#include "pmm/zero_pool.h"

enum { FREE_SHARE = 16 }; /* the pool takes at most this part of what is free */

void zero_pool_drain(struct pmm *pmm)
{
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        while (pmm->zero_count[class] > 0) {
            uint64_t frame = zero_pool_place(pmm, class, --pmm->zero_count[class])->v;
            put_frame(pmm, block_find(pmm, frame), frame);
        }
    }
}

/* A frame of the pool, when it may serve this request. */
static bool from_pool(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    const unsigned class = flags & PMM_USER;
    bool promised = (flags & PMM_PROMISED) != 0;
    if (pmm->zero_count[class] == 0 || (promised && pmm->promised == 0)) {
        return false;
    }
    *frame = zero_pool_place(pmm, class, --pmm->zero_count[class])->v;
    code_set(pmm, *frame, 1);
    pmm->allocated++;
    if (promised) { /* as with a magazine: another frame is the promise now */
        pmm->promised--;
        pmm->spare++;
    }
    trace(pmm, PMM_EVENT_ALLOC, *frame, 1);
    return true;
}

/*
 * Who wants a zeroed frame is in a hurry, a page fault as a rule, and zeroes this one itself: where the magazines are
 * empty a frame of a block does, and 64 of them are not drawn for those who come later. Else: they serve, or others.
 */
static bool from_block(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    const unsigned class = flags & PMM_USER;
    struct pmm_cpu *cpu = cpu_or_null(pmm);
    if (cpu == NULL || magazine_count(&cpu->loaded[class]) + magazine_count(&cpu->second[class]) > 0 ||
        !cpu_enter(cpu)) {
        return false;
    }
    const enum status s = alloc_locked(pmm, flags, frame); /* as who interrupts this CPU inside: from the blocks */
    cpu_leave(cpu);
    pmm->zero_misses += s == STATUS_OK;
    if (s == STATUS_OK) {
        trace(pmm, PMM_EVENT_ALLOC, *frame, 1);
    }
    return s == STATUS_OK;
}

enum status pmm_alloc_zeroed(struct pmm *pmm, unsigned flags, pfn_t *frame, bool *is_zero)
{
    enum { POOL_FLAGS = PMM_USER | PMM_PROMISED | PMM_EMERGENCY | PMM_NO_RECLAIM };
    const void *caller = __builtin_return_address(0);
    uint64_t taken;
    bool hit = false, had = false;
    if ((flags & ~(unsigned)POOL_FLAGS) == 0) {
        lock_take(&pmm->lock);
        hit = from_pool(pmm, flags, &taken);
        pmm->zero_hits += hit;
        had = hit || from_block(pmm, flags, &taken);
        lock_drop(&pmm->lock);
    }
    if (had) {
        *frame = pfn(taken);
        *is_zero = hit;
        low_look(pmm, flags);
        return STATUS_OK;
    }
    enum status s = alloc_call(pmm, "pmm_alloc_zeroed", flags, frame, caller);
    if (s == STATUS_OK) {
        *is_zero = false;
        lock_take(&pmm->lock);
        pmm->zero_misses++;
        lock_drop(&pmm->lock);
    }
    return s;
}

/* A frame of the class for the pool, code CACHED. It is idle time's, and small. */
__attribute__((cold)) static bool take_for_pool(struct pmm *pmm, unsigned class, uint64_t *frame)
{
    lock_take(&pmm->lock);
    uint64_t free = available(pmm, class);
    unsigned got = 0;
    bool room = zeroed_frames(pmm) < pmm->zero_capacity && free > 0 && zeroed_frames(pmm) < free / FREE_SHARE;
    if (room && take_frames(pmm, class, frame, 1, CODE_CACHED, &got) == STATUS_OK) {
        account_pay(pmm, &pmm->spare, 1);
    }
    lock_drop(&pmm->lock);
    return got > 0;
}

__attribute__((cold)) enum status pmm_zero_fill(struct pmm *pmm, unsigned class, npages_t most,
                                                bool (*zero)(void *ctx, pfn_t frame), void *ctx, npages_t *filled)
{
    uint64_t done = 0;
    bool zeroed = true;
    if (class >= PMM_CLASSES) {
        return pmm_misuse(pmm, "pmm_zero_fill: class %#x, known are PMM_KERNEL and PMM_USER (caller %p)", class,
                          __builtin_return_address(0));
    }
    for (uint64_t frame; pmm->zero_capacity > 0 && done < most.v && zeroed && take_for_pool(pmm, class, &frame);) {
        zeroed = zero(ctx, pfn(frame));
        lock_take(&pmm->lock);
        if (zeroed && zeroed_frames(pmm) < pmm->zero_capacity) {
            *zero_pool_place(pmm, class, pmm->zero_count[class]++) = pfn(frame);
            done++;
        } else {
            put_frame(pmm, block_find(pmm, frame), frame);
        }
        lock_drop(&pmm->lock);
    }
    if (filled != NULL) {
        *filled = npages(done);
    }
    return pmm->zero_capacity > 0 ? STATUS_OK : STATUS_UNSUPPORTED;
}
