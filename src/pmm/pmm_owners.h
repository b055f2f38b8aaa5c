/*
 * PMM: owners. An owner (a space) is who allocations are charged to. A large one draws from blocks of its own, which
 * nobody else uses, past the magazines: they are taken back whole when it goes.
 *
 * PMM_OWNER(owner) in the flags of pmm_alloc and pmm_alloc_many draws for it; user class is implied. From
 * policy.owner_threshold frames held on, and while at most 1/policy.owner_guard of what is free lies outside whole
 * blocks, its frames come from blocks of its own. Before that they come from ordinary blocks: it goes on with the same
 * one, a partly free one that no other owner goes on with, if there is one. An owner that holds less than half of what
 * it ever drew draws where everybody does instead. Where no ordinary block is partly free, that block of its own which
 * an owner has left with free frames for longest becomes an ordinary user block, before a whole one is broken; when
 * memory is short, all of them do: their free frames serve everybody. Why: docs/design/0041-owner-policy.md.
 */
#ifndef CAIRN_PMM_OWNERS_H
#define CAIRN_PMM_OWNERS_H

#include "pmm/pmm.h"

struct pmm_policy {
    npages_t owner_threshold; /* frames an owner holds before it gets blocks of its own */
    unsigned owner_guard;     /* new own blocks while at most 1/this of what is free is not in whole ones; 0: always */
};
struct pmm_policy pmm_policy(const struct pmm *pmm);
void pmm_policy_set(struct pmm *pmm, struct pmm_policy policy);

/* A new owner, that holds nothing. *owner > 0. O(1). => OK; LIMIT: owner_capacity of them are open. */
enum status pmm_owner_open(struct pmm *pmm, unsigned *owner);

/* Will pmm_owner_close take this frame back (it is used, in the owner's own block, none of which is shared)? O(1). */
bool pmm_owner_takes_back(const struct pmm *pmm, unsigned owner, pfn_t frame);

struct pmm_owner_end {
    npages_t blocks; /* taken back whole */
    npages_t frames; /* in use in them until now: nobody may use or free these any more */
    npages_t left;   /* frames in use in own blocks that became ordinary, since a frame in them is shared or bad */
};

/*
 * The owner goes. Its own blocks are taken back whole, without visiting a frame, where no frame in them was retained
 * since it was allocated; the others become ordinary user blocks, whose frames are released one by one as ever, as are
 * the frames that it drew from ordinary blocks. O(its own blocks). *end may be null.
 * => OK; MISUSE: no such owner.
 */
enum status pmm_owner_close(struct pmm *pmm, unsigned owner, struct pmm_owner_end *end);

/* `n` frames that it drew outside its own blocks are freed or no longer its. O(1). => OK; MISUSE: no such owner, or
 * more than it holds there. */
enum status pmm_uncharge(struct pmm *pmm, unsigned owner, npages_t n);

struct pmm_owner_stats {
    npages_t own_blocks; /* blocks */
    npages_t in_own;     /* frames in use in them */
    npages_t elsewhere;  /* frames drawn from ordinary blocks and not uncharged; those in blocks it lost included */
    uint64_t drawn;      /* frames since it was opened */
};
bool pmm_owner_stats(const struct pmm *pmm, unsigned owner, struct pmm_owner_stats *out); /* false: no such owner */

#endif
