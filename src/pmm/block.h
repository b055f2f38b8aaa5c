/*
 * Blocks: the frames of one, and the stacks that blocks lie on. Everything in here wants the
 * lock.
 */
#ifndef CAIRN_PMM_BLOCK_H
#define CAIRN_PMM_BLOCK_H

#include "pmm/internal.h"

/* ---- block.c: one block's frames ---- */
static inline uint64_t block_first(const struct pmm *pmm, const struct pmm_block *b)
{
    return b == &pmm->low ? 0 : block_start((uint64_t)(b - pmm->blocks));
}

/* The frames of its block up to this one are the descriptor's: all 512, or those below 1 MiB. */
static inline unsigned part_limit(const struct pmm *pmm, const struct pmm_block *b)
{
    return b == &pmm->low ? (unsigned)frames_below_1m() : PMM_BLOCK_FRAMES;
}

/* The end of the part (a block, or its frames below 1 MiB) that `frame` is in, at most `end`. */
static inline uint64_t part_end(uint64_t frame, uint64_t end)
{
    uint64_t stop = frame < frames_below_1m() ? frames_below_1m() : block_start(block_of(frame) + 1);
    return stop < end ? stop : end;
}

/*
 * Frames leave the block's stack, then come from its loose ones, then from its carve mark on; their codes become
 * `code`. At most n, into frames[]: the last written is the lowest where they were carved. Counts block and region,
 * neither `spare` nor stacks. => how many: 0 when the block has none, or was found corrupt and is closed now.
 */
unsigned block_take(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code);
/*
 * What is free in it is lost; nothing comes from it any more. Reported with `why` and `value`. `suspect`: a frame of
 * its stack whose code is no link, or FRAME_NONE.
 */
void block_close(struct pmm *pmm, struct pmm_block *b, const char *why, uint64_t value, uint64_t suspect);
/* Push a frame whose code says that it is nobody's. Counts the block only. false: the block is corrupt, closed now. */
static inline bool block_push(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    unsigned code = link_to(frame), top = b->top;
    if (__builtin_expect((uint16_t)(top - 1) < CODE_LINK - 1 || b->free >= b->usable, 0)) { /* 0 wraps: it is sound */
        block_close(pmm, b, top != 0 && !code_is_link(top) ? "the top of its stack is no link" : "it is full already",
                    top, FRAME_NONE);
        return false;
    }
    code_set(pmm, frame, top == 0 ? code : top);
    b->top = (uint16_t)code;
    b->free++;
    return true;
}
/*
 * Frames [first, end), all free, become used once. What else is free below the mark is loose from then on. `map`: of
 * the frames free before, or null.
 */
void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end, const struct block_map *map);
/* Eighths, of those in `among`, with a frame whose code is a free one's: what is loose while the stack is empty. */
unsigned block_free_eighths(const struct pmm *pmm, const struct pmm_block *b, unsigned among);
/* First frame of [first, end), in one part, that is not free; `end`: all are. */
uint64_t block_first_not_free(const struct pmm *pmm, const struct pmm_block *b, uint64_t first, uint64_t end);
/* A block handed out whole becomes frames used once each. It still is a part of its run, until all of it is free. */
void block_split(struct pmm *pmm, struct pmm_block *b);
/* A frame of a closed block is freed: it is lost. */
void block_lose_frame(struct pmm *pmm, uint64_t frame);
struct block_map block_free_map(const struct pmm *pmm, const struct pmm_block *b); /* bit i: frame i is free */

/* ---- stack.c: the stacks that blocks lie on ---- */
void block_restack(struct pmm *pmm, struct pmm_block *b); /* put it where its counts say */
void block_unstack(struct pmm *pmm, struct pmm_block *b);
/* After a push: the counts at which a block must move. */
static inline bool block_must_move(const struct pmm_block *b)
{
    return (b->free - 1U) % STACK_FRAMES == 0 || b->free == b->usable;
}
enum { CURRENTS_OF_CLASS = 0x5555 }; /* bits of class 0; shifted, of class 1 */
static inline unsigned current_bit(unsigned node, unsigned class) { return 1U << (node * PMM_CLASSES + class); }
void current_retire(struct pmm *pmm, unsigned node, unsigned class); /* back to its stack */
void currents_retire(struct pmm *pmm);                               /* all of them */
/* b, where ever it lay, be it somebody else's current one; the one before it goes to its stack. */
void current_set(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class);
struct pmm_block *stack_first(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind);

#endif
