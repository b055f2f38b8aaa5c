/*
 * One frame of a block opened for it, in one go: a block that costs no page and whose frames are known without a search
 * is opened, and what was asked for is taken from it. What is rarer goes through metadata.c and opening.c. For take.c.
 *
 * A block is known to be whole by its region (surely_whole), or, where none of it is held, by the hint of where the
 * lists were looked at last. So most first and last blocks of regions are known, too, and those with holes.
 */
#ifndef CAIRN_PMM_OPEN_ONE_H
#define CAIRN_PMM_OPEN_ONE_H

#include "pmm/open.h"
#include "pmm/place.h"

/*
 * The hint's run is the first that ends behind the start of this block of r, and begins in it, and none of the block is
 * held; false: or the hint does not fit.
 */
static inline bool hint_knows(const struct pmm *pmm, const struct pmm_region *r, struct pmm_list_hint hint,
                              uint64_t start)
{
    uint64_t end = start + PMM_BLOCK_FRAMES;
    if (hint.run >= pmm->run_count || hint.hold > pmm->hold_count) {
        return false;
    }
    const struct frame_run *run = &pmm->runs[hint.run];
    if (run_end(*run) <= start || run->first.v >= end) {
        return false;
    }
    if (r->is_one_run) {
        return true;
    }
    if (hint.run > 0 && run_end(run[-1]) > start) {
        return false;
    }
    const struct frame_hold *hold = &pmm->holds[hint.hold];
    return (hint.hold == 0 || hold_end(hold[-1]) <= start) && (hint.hold == pmm->hold_count || hold->first.v >= end);
}

/* Frames before `end` of this run and those behind it. *next becomes the first run that ends behind that. */
static inline uint64_t frames_from(const struct pmm *pmm, uint32_t *next, uint64_t end)
{
    const struct frame_run *run = &pmm->runs[*next], *stop = &pmm->runs[pmm->run_count];
    uint64_t frames = 0, last = 0;
    for (; run < stop && run->first.v < end; run++) {
        frames += run->frames.v;
        last = run_end(*run);
    }
    run -= last > end;
    *next = (uint32_t)(run - pmm->runs);
    return last > end ? frames - (last - end) : frames;
}

/* stack_push_partly of one just opened, all of whose words are written. */
static inline void stack_push_opened(struct pmm *pmm, struct pmm_region *r, struct pmm_block *b, unsigned class)
{
    unsigned to = (b->free - 1U) / STACK_FRAMES;
    uint32_t self = (uint32_t)(b - pmm->blocks), *head = &r->stacks[class][to], next = *head;
    b->stack = (uint8_t)(to & 0xFU);
    *head = self;
    if (next != PMM_NO_BLOCK) {
        b->next = next;
        pmm->blocks[next].prev = self;
        return;
    }
    r->masks[class] = (uint8_t)(r->masks[class] | 1U << to);
    if ((r->listed >> class & 1) == 0) {
        supply_join_inline(pmm, b->region, r, (enum pmm_supply)class);
    }
}

/* What is current for this home and class has been compared with all places, or with some only: see take.c, choose. */
static inline void news_seen(struct pmm *pmm, unsigned zones, unsigned flags, unsigned bit)
{
    if ((zones & ZONES_ABOVE_16M) == ZONES_ABOVE_16M) {
        pmm->news = (uint16_t)(pmm->news & ~bit);
    } else if (takes_any(flags)) {
        pmm->news = (uint16_t)(pmm->news | bit);
    }
}

/*
 * b, lying nowhere, is current where what is so has nothing left; else it lies on its stack, and comes before what is
 * current: the next call finds that out. So no call opens one block and moves another.
 */
static inline void put_opened(struct pmm *pmm, struct pmm_region *r, struct pmm_block *b, unsigned flags,
                              unsigned home, unsigned zones)
{
    unsigned class = flags & PMM_USER, bit = current_bit(home, class);
    struct pmm_block *before = pmm->current[home][class];
    if (!takes_any(flags)) {
        if (b->free > 0) {
            stack_push_opened(pmm, r, b, class);
        }
    } else if (before->free > 0) {
        pmm->news = (uint16_t)(pmm->news | bit);
        if (b->free > 0) {
            stack_push_opened(pmm, r, b, class);
        }
    } else {
        news_seen(pmm, zones, flags, bit);
        before->stack = STACK_NONE; /* it may be `none`, too */
        b->stack = STACK_CURRENT;
        pmm->currents = (uint16_t)(pmm->currents | bit);
        pmm->current[home][class] = b;
    }
}

/*
 * The frames [first, stop) of a block of r that was never used are free now, and `more` behind a hole, but for the
 * first, which is in use.
 */
static inline struct pmm_block *open_but_one(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t first,
                                             uint64_t stop, uint64_t more, unsigned class)
{
    struct pmm_block *b = &pmm->blocks[block];
    unsigned frames = (unsigned)(stop - first + more);
    bool is_late = frames > 1 && stop < block_start(block + 1);
    unsigned carved = frames > 1 ? index_in_block(first) + 1 : (unsigned)PMM_BLOCK_FRAMES;
    block_begin(r, b, class, carved, frames - 1, frames, is_late);
    code_set(pmm, first, 1);
    extent_take(pmm, r, block);
    untouched_sub(pmm, r, frames);
    count_free(pmm, r, -1);
    trace(pmm, PMM_EVENT_OPEN_BLOCK, block_start(block), PMM_BLOCK_FRAMES);
    return b;
}

/*
 * One frame of the next never-used block of r, the first place for such a request: that block is opened. => TAKEN; else
 * it is not so simple, nothing has changed, and this is what opening the lowest block of r costs (cost_now).
 */
#define TAKEN UINT64_MAX
__attribute__((always_inline)) static inline uint64_t open_and_take(struct pmm *pmm, struct pmm_region *r,
                                                                    unsigned flags, unsigned home, unsigned zones,
                                                                    uint64_t *frame)
{
    uint64_t block = extent_bottom(pmm, r), first = block_start(block), stop = first + PMM_BLOCK_FRAMES;
    uint64_t cost = cost_now(pmm, r, block);
    if (block == 0 || cost > 0) {
        return cost;
    }
    bool is_whole = surely_whole(r, block);
    uint64_t more = 0;
    uint32_t run_index = 0;
    if (!is_whole) {
        struct pmm_list_hint *hint = block == r->watermark ? &r->fresh : &r->in_gap;
        if (!hint_knows(pmm, r, *hint, first)) {
            return 0;
        }
        run_index = hint->run;
        const struct frame_run *run = &pmm->runs[run_index];
        uint64_t end = stop;
        first = run->first.v > first ? run->first.v : first;
        stop = run_end(*run) < stop ? run_end(*run) : stop;
        uint32_t next = run_index + (run_end(*run) <= end);
        if (next != run_index && !r->is_one_run) {
            more = frames_from(pmm, &next, end);
        }
        if (stop - first == PMM_BLOCK_FRAMES ? !has_few_blocks(r) : stop - first == 1 && more > 0) {
            return 0; /* it is whole, which is to be remembered; or its mark would lie in the next run */
        }
        hint->run = next;
    }
    struct pmm_block *b = open_but_one(pmm, r, block, first, stop, more, flags & PMM_USER);
    if (is_whole) {
        fresh_whole_remove(pmm, r, block);
    } else if (b->late) {
        code_set(pmm, first + 1, run_index & CODE_RUN_MASK);
    }
    *frame = first;
    put_opened(pmm, r, b, flags, home, zones);
    return TAKEN;
}

#endif
