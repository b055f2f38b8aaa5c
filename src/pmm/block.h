/*
 * Blocks: the frames of one, and the stacks that blocks lie on. Everything in here wants the
 * lock.
 */
#ifndef CAIRN_PMM_BLOCK_H
#define CAIRN_PMM_BLOCK_H

#include "pmm/internal.h"

/* The owner of its own block: it is open, or it would have no blocks. */
static inline struct pmm_owner *owner_of(const struct pmm *pmm, const struct pmm_block *b)
{
    return &pmm->owners[b->owner - 1];
}

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

/* block_find, short where the block was found before. */
static inline struct pmm_block *block_find_again(struct pmm *pmm, uint64_t block)
{
    bool is_known = block - pmm->known_first < pmm->known_count && pmm->blocks[block].mode != PMM_BLOCK_NEVER;
    return is_known && block != 0 ? &pmm->blocks[block] : block_find(pmm, block_start(block));
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
/* The same of one frame, where the stack is empty and some are loose; `first` is the block's. */
unsigned block_take_loose(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t *frame, unsigned code);
/* The same of one frame, in all cases that block_take_one does not know. */
unsigned block_take_oddly(struct pmm *pmm, struct pmm_block *b, uint64_t *frame, unsigned code);
/* The same of one frame. */
static inline unsigned block_take_one(struct pmm *pmm, struct pmm_block *b, uint64_t *frame, unsigned code)
{
    uint64_t first = block_first(pmm, b);
    unsigned index = b->carved;
    if (b->top != 0) {
        index = b->top - (unsigned)CODE_LINK;
        unsigned below = index < b->carved ? code_get(pmm, first + index) : 0;
        if (!code_is_link(below) || b->free == 0) {
            return block_take_oddly(pmm, b, frame, code);
        }
        b->top = below == b->top ? 0 : (uint16_t)below;
    } else if (b->loose != 0) {
        return block_take_loose(pmm, b, first, frame, code);
    } else if (b->free > 0 && index < part_limit(pmm, b) && !b->late) {
        carved_set(b, index + 1);
    } else {
        return block_take_oddly(pmm, b, frame, code);
    }
    code_set(pmm, first + index, code);
    b->free--;
    count_free_in(pmm, b, -1);
    *frame = first + index;
    return 1;
}
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
 * The same, where the block is neither corrupt nor wholly free afterwards. => its free frames then, the caller puts it
 * on its stack anew where that takes it; 0: it would be, and nothing has changed.
 */
static inline unsigned block_push_most(uint16_t *codes, struct pmm_block *b, uint64_t frame)
{
    unsigned top = b->top, free = b->free + 1U, below = top;
    if (__builtin_expect(!code_is_link(top), 0)) {
        below = top == 0 ? link_to(frame) : 0;
    }
    if (__builtin_expect(below == 0 || free >= b->usable, 0)) {
        return 0;
    }
    __atomic_store_n(&codes[frame], (uint16_t)below, __ATOMIC_RELAXED);
    b->top = (uint16_t)link_to(frame);
    b->free = (uint16_t)free;
    return free;
}
/* So many frames were pushed to blocks of the region that is known. */
static inline void count_known(struct pmm *pmm, uint64_t frames)
{
    if (frames > 0) {
        count_free(pmm, &pmm->regions[pmm->known_region], (int64_t)frames);
        pmm->spare += frames;
    }
}
struct block_map { uint64_t word[PMM_BLOCK_FRAMES / 64]; }; /* a bit a frame */
/*
 * Frames [first, end), all free, become used once. What else is free below the mark is loose from then on. `map`: of
 * the frames free before, or null.
 */
void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end, const struct block_map *map);
/*
 * Where an eighth has loose frames no code in it from the mark on is a free one's, so that who looks for loose frames
 * need not look at the mark, which stays where it is until the last of them is taken. To be called when bits are set.
 */
void block_hide_mark(const struct pmm *pmm, const struct pmm_block *b);
/* Eighths, of those in `among`, with a frame whose code is a free one's: what is loose while the stack is empty. */
unsigned block_free_eighths(const struct pmm *pmm, const struct pmm_block *b, unsigned among);
/* First frame of [first, end), in one part of a block that is written, that is not free; `end`: all are. */
uint64_t block_first_not_free(const struct pmm *pmm, const struct pmm_block *b, uint64_t first, uint64_t end);
/* A block handed out whole becomes frames used once each. It still is a part of its run, until all of it is free. */
void block_split(struct pmm *pmm, struct pmm_block *b);
/* A frame of a closed block is freed: it is lost. */
void block_lose_frame(struct pmm *pmm, uint64_t frame);
struct block_map block_free_map(const struct pmm *pmm, const struct pmm_block *b); /* bit i: frame i is free */

/* ---- opening.c: a block's first codes ---- */
/*
 * Write the codes of a block just backed and set its descriptor (and `low`) up; frames in [paid, paid_end) that are
 * usable are metadata. => frames of it that are free now.
 */
unsigned block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
                     uint64_t paid_end);
/* The frames that a descriptor has: a block's, or those below 1 MiB, or those of block 0 that are not. */
struct part {
    uint64_t start, end; /* of its block, and of these frames */
};
static inline struct part block_part(const struct pmm *pmm, const struct pmm_block *b)
{
    uint64_t start = block_first(pmm, b);
    return (struct part){start, start + part_limit(pmm, b)};
}
/*
 * The mark of a block with holes, at frame `at` or, where that is no RAM, the next that is. `run`: the first one that
 * ends behind it. Where a hole is left the code at the mark says which run that is: one that is no magazine's.
 */
static inline void block_mark_set(struct pmm *pmm, struct pmm_block *b, struct part part, uint64_t at,
                                  const struct frame_run *run)
{
    static_assert(CODE_RUN_MASK < CODE_COUNT_MAX, "no code of a frame that a magazine gave out");
    if (run < &pmm->runs[pmm->run_count] && run->first.v < part.end) {
        at = run->first.v > at ? run->first.v : at;
        b->late = run_end(*run) < part.end;
        if (b->late) {
            code_set(pmm, at, (unsigned)(run - pmm->runs) & CODE_RUN_MASK);
        }
    } else {
        at = part.end;
        b->late = 0;
    }
    carved_set(b, (unsigned)(at - part.start));
}
/* The codes of a block that is `late` are written: what is free from its mark on is loose, or behind all holes. */
void block_write_rest(struct pmm *pmm, struct pmm_block *b);
static inline void block_be_written(struct pmm *pmm, struct pmm_block *b)
{
    if (__builtin_expect(b->late, 0)) {
        block_write_rest(pmm, b);
    }
}

/* ---- stack.c: the stacks that blocks lie on ---- */
void block_restack(struct pmm *pmm, struct pmm_block *b); /* put it where its counts say */
void block_unstack(struct pmm *pmm, struct pmm_block *b);
void block_place(struct pmm *pmm, struct pmm_block *b); /* block_restack of one that lies nowhere */
/* The same of one that was just opened, and is nobody's run. */
void block_place_opened(struct pmm *pmm, struct pmm_block *b);
/* What begins right above a block that is wholly free now is no run's continuation. No run leaves its region. */
void above_becomes_head(struct pmm *pmm, const struct pmm_block *b);
/* block_place of one of r that was handed out whole, its mark 0. */
static inline void block_place_whole(struct pmm *pmm, struct pmm_region *r, struct pmm_block *b)
{
    if (b->next != RUN_OF_ONE_BLOCK) {
        above_becomes_head(pmm, b);
    }
    uint32_t self = (uint32_t)(b - pmm->blocks), next = r->whole;
    b->stack = STACK_WHOLE;
    b->next = next;
    b->prev = PMM_NO_BLOCK;
    r->whole = self;
    pmm->whole_blocks++;
    if (next != PMM_NO_BLOCK) {
        pmm->blocks[next].prev = self;
    } else if ((r->listed >> PMM_SUPPLY_WHOLE & 1) == 0) {
        supply_join(pmm, b->region, PMM_SUPPLY_WHOLE);
    }
}
/* It lies on none, and some of it is free, but not all: to the stack where it belongs. */
static inline void stack_push_partly(struct pmm *pmm, struct pmm_block *b)
{
    struct pmm_region *r = &pmm->regions[b->region];
    unsigned class = class_of(b), to = (b->free - 1U) / STACK_FRAMES;
    uint32_t self = (uint32_t)(b - pmm->blocks), *head = &r->stacks[class][to], next = *head;
    b->stack = (uint8_t)(to & 0xFU);
    b->next = next;
    b->prev = PMM_NO_BLOCK;
    *head = self;
    if (next != PMM_NO_BLOCK) {
        pmm->blocks[next].prev = self;
        return;
    }
    r->masks[class] = (uint8_t)(r->masks[class] | 1U << to);
    if ((r->listed >> class & 1) == 0) {
        supply_join(pmm, b->region, (enum pmm_supply)class);
    }
}
/* It lies on a stack of partly free blocks, and not all of it is free: to the stack where it belongs, or to none. */
static inline void stack_move(struct pmm *pmm, struct pmm_block *b)
{
    struct pmm_region *r = &pmm->regions[b->region];
    unsigned class = class_of(b), stack = b->stack, mask = r->masks[class];
    uint32_t *heads = r->stacks[class], next = b->next;
    if (next != PMM_NO_BLOCK) {
        pmm->blocks[next].prev = b->prev;
    }
    if (b->prev != PMM_NO_BLOCK) {
        pmm->blocks[b->prev].next = next;
    } else {
        heads[stack] = next;
        mask &= next == PMM_NO_BLOCK ? ~(1U << stack) : ~0U;
    }
    b->stack = STACK_NONE;
    if (b->free > 0) {
        unsigned to = (b->free - 1U) / STACK_FRAMES;
        uint32_t self = (uint32_t)(b - pmm->blocks);
        b->stack = (uint8_t)(to & 0xFU);
        b->next = heads[to];
        b->prev = PMM_NO_BLOCK;
        if (b->next != PMM_NO_BLOCK) {
            pmm->blocks[b->next].prev = self;
        }
        heads[to] = self;
        mask |= 1U << to;
    }
    r->masks[class] = (uint8_t)mask;
    if (mask == 0) {
        supply_leave(pmm, r, (enum pmm_supply)class);
    }
}
/* After a push: the counts at which a block must move. */
static inline bool block_must_move(const struct pmm_block *b)
{
    return (b->free - 1U) % STACK_FRAMES == 0 || b->free == b->usable;
}
enum { CURRENTS_OF_CLASS = 0x5555 }; /* bits of class 0; shifted, of class 1 */
static inline unsigned current_bit(unsigned node, unsigned class) { return 1U << (node * PMM_CLASSES + class); }
void current_retire(struct pmm *pmm, unsigned node, unsigned class); /* back to its stack */
void currents_retire(struct pmm *pmm);                               /* all of them */
static inline struct pmm_block *current_of_bit(const struct pmm *pmm, unsigned bits) /* of the lowest */
{
    unsigned bit = (unsigned)__builtin_ctz(bits);
    return pmm->current[bit / PMM_CLASSES][bit % PMM_CLASSES];
}
/* The current block of this bit, all of whose 512 frames are free, is nobody's, as if it came off its stack. */
struct pmm_block *current_take_whole(struct pmm *pmm, unsigned bit);
/* b, where ever it lay, be it somebody else's current one; the one before it goes to its stack. */
void current_set(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class);
/* b, which lies nowhere; the one before it goes to its stack. */
static inline void current_put(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class)
{
    struct pmm_block *before = pmm->current[node][class];
    if (before->free > 0) {
        current_retire(pmm, node, class);
    } else {
        before->stack = STACK_NONE; /* it may be `none`, too */
    }
    b->stack = STACK_CURRENT;
    pmm->currents = (uint16_t)(pmm->currents | current_bit(node, class));
    lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    pmm->current[node][class] = b;
}
/* The fullest of the partly free blocks of this class that the region has, and the emptiest: it has some. */
static inline struct pmm_block *stack_fullest(struct pmm *pmm, const struct pmm_region *r, unsigned class)
{
    return &pmm->blocks[r->stacks[class][__builtin_ctz(r->masks[class])]];
}
static inline struct pmm_block *stack_emptiest(struct pmm *pmm, const struct pmm_region *r, unsigned class)
{
    return &pmm->blocks[r->stacks[class][31 - (unsigned)__builtin_clz(r->masks[class])]];
}
/* The block that comes first of a kind that the region gives, but never-used ones: the fullest. */
struct pmm_block *stack_first(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind);
/* The same, off its stack. */
static inline struct pmm_block *stack_pop(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind)
{
    unsigned stack = kind == PMM_SUPPLY_HOLED ? STACK_HOLED : STACK_WHOLE;
    uint32_t *head = kind == PMM_SUPPLY_HOLED ? &r->holed : &r->whole;
    if (kind <= PMM_SUPPLY_USER) {
        stack = (unsigned)__builtin_ctz(r->masks[kind]);
        head = &r->stacks[kind][stack];
    }
    struct pmm_block *b = &pmm->blocks[*head];
    b->stack = STACK_NONE;
    pmm->whole_blocks -= stack == STACK_WHOLE;
    *head = b->next;
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = PMM_NO_BLOCK;
        return b;
    }
    if (kind > PMM_SUPPLY_USER || (r->masks[kind] &= (uint8_t)~(1U << stack)) == 0) {
        supply_leave(pmm, r, kind);
    }
    return b;
}

#endif
