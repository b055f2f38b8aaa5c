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
 * held; false: or the hint does not fit. Of those opened since it was made, only whole ones did not move it: they lie
 * in its run, so it is one behind at most.
 */
static inline bool hint_knows(const struct pmm *pmm, const struct pmm_region *r, struct pmm_list_hint *hint,
                              uint64_t start)
{
    uint64_t end = start + PMM_BLOCK_FRAMES;
    if (hint->run >= pmm->run_count || hint->hold > pmm->hold_count) {
        return false;
    }
    const struct frame_run *run = &pmm->runs[hint->run];
    if (run_end(*run) <= start) {
        if (++hint->run == pmm->run_count || run_end(*++run) <= start) {
            return false;
        }
    } else if (!r->is_one_run && hint->run > 0 && run_end(run[-1]) > start) {
        return false;
    }
    if (run->first.v >= end || r->is_one_run) {
        return run->first.v < end;
    }
    const struct frame_hold *hold = &pmm->holds[hint->hold];
    return (hint->hold == 0 || hold_end(hold[-1]) <= start) && (hint->hold == pmm->hold_count || hold->first.v >= end);
}

/* Frames of the runs from *next on that begin before `end`. *next becomes the first run that ends behind that. */
static inline uint64_t frames_from(const struct pmm *pmm, uint32_t *next, uint64_t end)
{
    const struct frame_run *run = &pmm->runs[*next], *stop = &pmm->runs[pmm->run_count];
    uint64_t frames = 0;
    for (; run < stop && run->first.v < end; run++) {
        frames += run->frames.v;
    }
    uint64_t last = run_end(run[-1]); /* of the one before *next, if of none */
    run -= last > end;
    *next = (uint32_t)(run - pmm->runs);
    return last > end ? frames - (last - end) : frames;
}

/* Of a never-used block: its free frames. */
struct fresh_frames {
    uint64_t first, mark; /* the first, and the one behind it, maybe behind a hole; or where the block ends */
    unsigned count;
    uint32_t run;         /* that the mark is in */
    bool is_late;         /* there is a hole behind the mark */
};

/* By a hint that knows this block, which is not whole, and now is the next block's. */
static inline struct fresh_frames frames_of_runs(const struct pmm *pmm, const struct pmm_region *r,
                                                 struct pmm_list_hint *hint, uint64_t start)
{
    const struct frame_run *run = &pmm->runs[hint->run];
    uint64_t end = start + PMM_BLOCK_FRAMES, stop = run_end(*run);
    struct fresh_frames f = {.first = run->first.v > start ? run->first.v : start, .run = hint->run};
    f.mark = f.first + 1;
    if (stop >= end) {
        hint->run += stop == end;
        f.count = (unsigned)(end - f.first);
        return f;
    }
    hint->run++;
    uint64_t more = r->is_one_run ? 0 : frames_from(pmm, &hint->run, end);
    f.count = (unsigned)(stop - f.first + more);
    f.is_late = true;
    if (f.mark == stop) {
        f.run++;
        f.mark = more > 0 ? run[1].first.v : end;
        f.is_late = more > 0 && run_end(run[1]) < end;
    }
    return f;
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

/* A block of r that was never used is open now, and the first of these frames of it is in use. */
static inline struct pmm_block *open_but_one(struct pmm *pmm, struct pmm_region *r, uint64_t block,
                                             struct fresh_frames f, unsigned class)
{
    struct pmm_block *b = &pmm->blocks[block];
    block_begin(r, b, class, (unsigned)(f.mark - block_start(block)), f.count - 1, f.count, f.is_late);
    code_set(pmm, f.first, 1);
    if (f.is_late) {
        code_set(pmm, f.mark, f.run & CODE_RUN_MASK);
    }
    extent_take(pmm, r, block);
    untouched_sub(pmm, r, f.count);
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
    uint64_t block = extent_bottom(pmm, r), start = block_start(block);
    uint64_t cost = cost_now(pmm, r, block);
    if (block == 0 || cost > 0) {
        return cost;
    }
    struct fresh_frames f = {.first = start, .mark = start + 1, .count = PMM_BLOCK_FRAMES};
    struct pmm_list_hint *hint = hint_of(r, block);
    if (hint_is_said(&pmm->blocks[block])) {
        *hint = hint_said(&pmm->blocks[block]);
    }
    bool is_whole = surely_whole(r, block);
    if (!is_whole) {
        if (!hint_knows(pmm, r, hint, start)) {
            return 0;
        }
        struct pmm_list_hint at = *hint;
        f = frames_of_runs(pmm, r, hint, start);
        is_whole = f.count == PMM_BLOCK_FRAMES; /* is to be remembered */
        if (is_whole) {
            plain_learn(pmm, r, at);
        }
    }
    struct pmm_block *b = open_but_one(pmm, r, block, f, flags & PMM_USER);
    if (is_whole) {
        fresh_whole_remove(pmm, r, block);
    }
    *frame = f.first;
    put_opened(pmm, r, b, flags, home, zones);
    return TAKEN;
}

#endif
