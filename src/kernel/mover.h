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
/* A block is won, if more is scattered than the policy allows. What wins nothing is put off until as much was freed. */
void mover_idle_step(void);

#endif
