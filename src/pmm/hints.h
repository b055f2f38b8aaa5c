/*
 * Looks at the lists of runs and holds at the place where they were looked at last. Private to src/pmm/. All want the
 * lock; O(1).
 */
#ifndef CAIRN_PMM_HINTS_H
#define CAIRN_PMM_HINTS_H

#include "pmm/internal.h"

/* Is the hint's hold the first that ends behind this frame? */
static inline bool hold_fits(const struct pmm *pmm, struct pmm_list_hint hint, uint64_t frame)
{
    return hint.hold <= pmm->hold_count && (hint.hold == 0 || hold_end(pmm->holds[hint.hold - 1]) <= frame)
           && (hint.hold == pmm->hold_count || hold_end(pmm->holds[hint.hold]) > frame);
}

/* The same of run and hold. */
static inline bool hint_fits(const struct pmm *pmm, struct pmm_list_hint hint, uint64_t frame)
{
    return hint.run < pmm->run_count && run_end(pmm->runs[hint.run]) > frame
           && (hint.run == 0 || run_end(pmm->runs[hint.run - 1]) <= frame) && hold_fits(pmm, hint, frame);
}

/* By a hint that fits: is all of this block RAM, and none held, and not frame 0? */
static inline bool is_whole_at(const struct pmm *pmm, struct pmm_list_hint hint, uint64_t block)
{
    uint64_t start = block_start(block), end = start + PMM_BLOCK_FRAMES;
    return hint.run < pmm->run_count && pmm->runs[hint.run].first.v <= start && run_end(pmm->runs[hint.run]) >= end
           && (hint.hold == pmm->hold_count || pmm->holds[hint.hold].first.v >= end) && block != 0;
}

/* No frame of this never-used block of a region is held, so that it has usable ones. false: or nobody knows. */
static inline bool surely_usable(const struct pmm *pmm, struct pmm_list_hint hint, uint64_t block)
{
    uint64_t start = block_start(block);
    return hold_fits(pmm, hint, start)
           && (hint.hold == pmm->hold_count || pmm->holds[hint.hold].first.v >= start + PMM_BLOCK_FRAMES)
           && (block != 0 || pmm->runs[0].first.v != 0 || pmm->runs[0].frames.v > 1);
}

#endif
