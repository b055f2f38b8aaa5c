/*
 * Looks at the lists of runs and holds at the place where they were looked at last. Private to src/pmm/. All want the
 * lock; O(1), but what says otherwise.
 */
#ifndef CAIRN_PMM_HINTS_H
#define CAIRN_PMM_HINTS_H

#include "pmm/never.h"

/* The hint that goes with the next never-used block of r, if it is `block`. */
static inline struct pmm_list_hint *hint_of(struct pmm_region *r, uint64_t block)
{
    return has_few_blocks(r) || block >= r->watermark ? &r->fresh : &r->in_gap;
}

/* What the descriptor of a never-used block says, if it says something, comes before what its region remembers. */
static inline bool hint_is_said(const struct pmm_block *b) { return __builtin_expect(b->next != 0, 0); }
static inline struct pmm_list_hint hint_said(const struct pmm_block *b)
{
    return (struct pmm_list_hint){b->next - 1, b->prev};
}
/* The same of one that is opened and may not be the next: of few blocks it is handed on to the one above. (region.c) */
void hint_take(struct pmm *pmm, struct pmm_region *r, uint64_t block);

/* This block, not the next of r, was opened: the extents beside it remember where to look at the lists. (region.c) */
void extents_note(struct pmm *pmm, struct pmm_region *r, uint64_t block);
/* A frame of this never-used block of r is not held any more: it is served from, if it was not before. (region.c) */
void extent_usable(struct pmm *pmm, struct pmm_region *r, uint64_t block);

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
