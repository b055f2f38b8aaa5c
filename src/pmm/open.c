/*
 * The usual openings, each in one go: a block that costs no page and whose frames are known without a search is opened,
 * and what was asked for is taken from it. What is rarer goes through metadata.c and opening.c.
 *
 * A block is known to be whole by its region (surely_whole), or, where all its frames are of one run and none is held,
 * by the hint of where the lists were looked at last. So most first and last blocks of regions are known, too.
 */
#include "pmm/hints.h"
#include "pmm/open.h"

/* By a hint that fits: all RAM of this block is of the hint's run, and none is held. */
static inline bool has_one_run(const struct pmm *pmm, struct pmm_list_hint hint, uint64_t start)
{
    uint64_t end = start + PMM_BLOCK_FRAMES;
    return hint_fits(pmm, hint, start) && pmm->runs[hint.run].first.v < end
           && (run_end(pmm->runs[hint.run]) >= end || hint.run + 1 == pmm->run_count
               || pmm->runs[hint.run + 1].first.v >= end)
           && (hint.hold == pmm->hold_count || pmm->holds[hint.hold].first.v >= end);
}

/*
 * b, lying nowhere, is current where what is so has nothing left; else it lies on its stack, and comes before what is
 * current: the next call finds that out. So no call opens one block and moves another.
 */
static inline void put_opened(struct pmm *pmm, struct pmm_block *b, unsigned flags, unsigned home)
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
        stack_push_partly(pmm, b);
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

uint64_t open_and_take_one(struct pmm *pmm, struct pmm_region *r, unsigned flags, unsigned home, uint64_t *frame,
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
        if (!has_one_run(pmm, *hint, first) || is_whole_at(pmm, *hint, block)) {
            return 0;
        }
        const struct frame_run *run = &pmm->runs[hint->run];
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
    put_opened(pmm, b, flags, home);
    return TAKEN;
}

/* Who gives it back will look for it. */
static inline void know_opened(struct pmm *pmm, const struct pmm_region *r, const struct pmm_block *b, uint64_t block)
{
    if (block - pmm->known_first < pmm->known_count) {
        return;
    }
    bool has_gaps = r->gaps != PMM_NO_BLOCK;
    pmm->known_first = has_gaps ? block : r->base + (r->base == 0);
    pmm->known_count = has_gaps ? 1 : r->watermark - pmm->known_first;
    pmm->known_region = b->region;
}

struct pmm_block *open_plain(struct pmm *pmm, struct pmm_region *r, uint64_t block)
{
    ASSERT(pmm->claim_first == pmm->claim_end && !pmm->broken);
    struct pmm_block *b = &pmm->blocks[block];
    block_begin(pmm, r, b, 0);
    trace(pmm, PMM_EVENT_OPEN_BLOCK, block_start(block), PMM_BLOCK_FRAMES);
    fresh_whole_remove(pmm, r, block);
    extent_take(pmm, r, block);
    untouched_sub(pmm, r, PMM_BLOCK_FRAMES);
    know_opened(pmm, r, b, block);
    return b;
}
