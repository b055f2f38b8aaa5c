/*
 * One frame of a block opened for it, in one go: a block that costs no page and whose frames are known without a search
 * is opened, and what was asked for is taken from it. What is rarer goes through metadata.c and opening.c. For take.c.
 *
 * A block is known to be whole by its region (surely_whole), or, where all its frames are of one run and none is held,
 * by the hint of where the lists were looked at last. So most first and last blocks of regions are known, too.
 */
#ifndef CAIRN_PMM_OPEN_ONE_H
#define CAIRN_PMM_OPEN_ONE_H

#include "pmm/open.h"

/* All RAM of this block of r is of the hint's run, and none is held; false: or the hint does not fit. */
static inline bool has_one_run(const struct pmm *pmm, const struct pmm_region *r, struct pmm_list_hint hint,
                               uint64_t start)
{
    uint64_t end = start + PMM_BLOCK_FRAMES;
    if (hint.run >= pmm->run_count || hint.hold > pmm->hold_count) {
        return false;
    }
    const struct frame_run *run = &pmm->runs[hint.run];
    uint64_t stop = run_end(*run);
    if (r->is_one_run) {
        return stop > start && run->first.v < end;
    }
    if (stop <= start || run->first.v >= end || (hint.run > 0 && run_end(run[-1]) > start)
        || (stop < end && hint.run + 1 < pmm->run_count && run[1].first.v < end)) {
        return false;
    }
    const struct frame_hold *hold = &pmm->holds[hint.hold];
    return (hint.hold == 0 || hold_end(hold[-1]) <= start) && (hint.hold == pmm->hold_count || hold->first.v >= end);
}

/* stack_push_partly of one just opened. */
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

/*
 * b, lying nowhere, is current where what is so has nothing left; else it lies on its stack, and comes before what is
 * current: the next call finds that out. So no call opens one block and moves another.
 */
static inline void put_opened(struct pmm *pmm, struct pmm_region *r, struct pmm_block *b, unsigned flags,
                              unsigned home)
{
    unsigned class = flags & PMM_USER, bit = current_bit(home, class);
    struct pmm_block *before = pmm->current[home][class];
    if (takes_any(flags) && before->free == 0) {
        before->stack = STACK_NONE; /* it may be `none`, too */
        b->stack = STACK_CURRENT;
        pmm->currents = (uint16_t)(pmm->currents | bit);
        pmm->current[home][class] = b;
        return;
    }
    if (b->free > 0) {
        stack_push_opened(pmm, r, b, class);
    }
    if (takes_any(flags)) {
        pmm->news = (uint16_t)(pmm->news | bit);
    }
}

/* The frames [first, stop) of a block of r that was never used are free now, but for the first. */
static inline struct pmm_block *open_but_one(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t first,
                                             uint64_t stop, unsigned class)
{
    struct pmm_block *b = &pmm->blocks[block];
    uint64_t frames = stop - first;
    bool is_late = frames > 1 && stop < block_start(block + 1);
    block_begin(pmm, r, b, class);
    b->free = (uint16_t)(frames - 1);
    b->usable = frames & PMM_COUNT_MASK;
    b->late = is_late;
    carved_set(b, frames > 1 ? index_in_block(first) + 1 : PMM_BLOCK_FRAMES);
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
                                                                    unsigned flags, unsigned home, uint64_t *frame,
                                                                    unsigned code)
{
    uint64_t block = extent_bottom(pmm, r), first = block_start(block), stop = first + PMM_BLOCK_FRAMES;
    uint64_t cost = cost_now(pmm, r, block);
    if (block == 0 || cost > 0) {
        return cost;
    }
    bool is_whole = surely_whole(r, block);
    uint32_t run_index = 0;
    if (!is_whole) {
        struct pmm_list_hint *hint = block == r->watermark ? &r->fresh : &r->in_gap;
        if (!has_one_run(pmm, r, *hint, first)) {
            return 0;
        }
        const struct frame_run *run = &pmm->runs[hint->run];
        if (!has_few_blocks(r) && run->first.v <= first && run_end(*run) >= stop) {
            return 0; /* it is whole, and this is to be remembered */
        }
        run_index = hint->run;
        hint->run += run_end(*run) <= stop;
        first = run->first.v > first ? run->first.v : first;
        stop = run_end(*run) < stop ? run_end(*run) : stop;
    }
    struct pmm_block *b = open_but_one(pmm, r, block, first, stop, flags & PMM_USER);
    if (is_whole) {
        fresh_whole_remove(pmm, r, block);
    } else if (b->late) {
        code_set(pmm, first + 1, run_index & CODE_RUN_MASK);
    }
    code_set(pmm, first, code);
    *frame = first;
    put_opened(pmm, r, b, flags, home);
    return TAKEN;
}

#endif
