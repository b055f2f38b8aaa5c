/* When the kernel moves pages: for runs, in idle time, and by command. */
#ifndef CAIRN_KERNEL_MOVER_H
#define CAIRN_KERNEL_MOVER_H

#include "aspace/compact.h"

/* When idle time is spent on it. */
struct mover_policy {
    npages_t least;     /* frames free in partly free blocks; */
    unsigned share;     /* of all that is free more than 1/this */
};
extern struct mover_policy mover_policy;

/* All that was moved since the start, for whatever reason. */
extern struct aspace_compaction mover_total;

/* From now on pages move before a run is refused. Once, when PMM and spaces stand. */
void mover_init(void);
/* `blocks` at most; *out: what came of it, also counted in the total. => as aspaces_compact */
enum status mover_compact(uint64_t blocks, struct aspace_compaction *out);

/* ---- Regions that go and come ---- */

/* So many regions that went, and may come back, are known at a time. */
enum { MOVER_GONE_MAX = 4 };
/*
 * Region `index` (pmm_region_stats) goes, after its pages; *region: which it was. => as aspaces_remove_region; RANGE:
 * there is none of this number; LIMIT also: MOVER_GONE_MAX.
 */
enum status mover_remove_region(size_t index, struct pmm_region_stats *region, struct pmm_in_the_way *way,
                                struct aspace_compaction *out);
/* May it come back once it went? Whole blocks without holes may. */
bool mover_may_come_back(const struct pmm_region_stats *region);
/*
 * One that went, from `base` on, comes back: nothing else is known to be RAM that nobody has. => as pmm_region_add;
 * ABSENT: none that begins there went.
 */
enum status mover_add_region(pfn_t base);

/* ---- Idle time ---- */

/* Frames free in partly free blocks. */
npages_t mover_scattered(void);
/* A block is won, if more is scattered than the policy allows. What wins nothing is put off until as much was freed. */
void mover_idle_step(void);

#endif
