/* The pool of frames zeroed ahead: two stacks in one array, and how many frames are in it. Private to src/pmm/. */
#ifndef CAIRN_PMM_ZERO_POOL_H
#define CAIRN_PMM_ZERO_POOL_H

#include "pmm/pmm.h"

/* All of them go to their blocks. With the lock. */
void zero_pool_drain(struct pmm *pmm);

/* Where the class's n-th frame stands: the two stacks grow towards each other. */
static inline pfn_t *zero_pool_place(const struct pmm *pmm, unsigned class, size_t n)
{
    return &pmm->zero_pool[class == PMM_USER ? n : pmm->zero_capacity - 1 - n];
}

static inline uint64_t zeroed_frames(const struct pmm *pmm)
{
    return pmm->zero_count[PMM_KERNEL] + pmm->zero_count[PMM_USER];
}

#endif
