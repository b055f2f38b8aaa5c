/*
 * What the files of src/pmm/ share. Frame and block numbers are plain uint64_t in here, named so.
 */
#ifndef CAIRN_PMM_INTERNAL_H
#define CAIRN_PMM_INTERNAL_H

#include "lib/macros.h"
#include "lib/report.h"
#include "pmm/pmm.h"

/* ---- Frame codes ---- */
enum pmm_code {
    CODE_NEVER = 0,                      /* never carved: free, if its block is open */
    CODE_COUNT_MAX = PMM_REFERENCES_MAX, /* 1 .. this: references */
    CODE_METADATA = 65001,
    CODE_RESERVED = 65002,
    CODE_ABSENT = 65003,
    CODE_LINK = 0xFE00, /* + i: free; frame i of the block is below it on the stack, or it is i itself: bottom */
};
static_assert(CODE_LINK + PMM_BLOCK_FRAMES == 0x10000, "links are the top of the range");

enum pmm_stack {
    STACK_USER = PMM_STACKS,      /* below: kernel stack i; from here: user stack i - 8 */
    STACK_HOLED = 2 * PMM_STACKS, /* nothing in use, some frames not usable */
    STACK_WHOLE,                  /* nothing in use, 512 usable */
    STACK_NONE,                   /* exhausted, or current */
    STACK_FRAMES = PMM_BLOCK_FRAMES / PMM_STACKS, /* free counts a stack covers */
    RISE_NEVER = UINT16_MAX,
};

#define FRAME_NONE UINT64_MAX

static inline uint64_t frames_below_1m(void) { return bytes_to_pages_down(MIB).v; }
static inline uint64_t block_of(uint64_t frame) { return frame / PMM_BLOCK_FRAMES; }
static inline uint64_t block_start(uint64_t block) { return block * PMM_BLOCK_FRAMES; }
static inline unsigned index_in_block(uint64_t frame) { return (unsigned)(frame % PMM_BLOCK_FRAMES); }
static inline uint64_t region_end(const struct pmm_region *r) { return (uint64_t)r->base + r->blocks; }
static inline unsigned group_of_block(uint64_t block)
{
    return block >= paddr_to_pfn(paddr(4 * GIB)).v / PMM_BLOCK_FRAMES ? PMM_GROUP_HIGH : PMM_GROUP_LOW;
}
static inline unsigned group_of(const struct pmm_region *r) { return group_of_block(r->base); }
static inline bool code_is_link(unsigned code) { return code >= CODE_LINK; }
static inline bool code_is_free(unsigned code) { return code == CODE_NEVER || code_is_link(code); }
static inline bool code_is_count(unsigned code) { return code - 1 < CODE_COUNT_MAX; }
static inline uint64_t pmm_free_frames(const struct pmm *pmm) { return pmm->spare + pmm->promised; }

/* ---- holds.c: runs and holds; what is free in blocks never used ---- */
size_t run_at(const struct pmm *pmm, uint64_t frame);  /* index of the first run that ends behind `frame` */
size_t hold_at(const struct pmm *pmm, uint64_t frame); /* the same of the holds */
/*
 * First frame in [from, end) that is RAM, not held, not claimed, not frame 0, else `end`; *stop (may be null): where
 * such frames stop.
 */
uint64_t usable_next(const struct pmm *pmm, uint64_t from, uint64_t end, uint64_t *stop);
uint64_t usable_count(const struct pmm *pmm, uint64_t from, uint64_t end);
/*
 * State of a frame of RAM or absent in a never-used block: ABSENT, RESERVED or UNTOUCHED; *stop: the state is the same
 * up to there.
 */
enum pmm_state unopened_state(const struct pmm *pmm, uint64_t frame, uint64_t *stop);
/* Take [first, end) out of the holds. => OK; LIMIT: a split has no room, nothing changed. */
enum status holds_trim(struct pmm *pmm, uint64_t first, uint64_t end);

/* ---- region.c: regions, their lists, their never-used extents ---- */
size_t region_find(const struct pmm *pmm, uint64_t block); /* SIZE_MAX: none */
bool block_is_open(const struct pmm *pmm, const struct pmm_region *r, uint64_t block);
/*
 * For a block that is not open: it and the ones up to here were never used. A page of descriptors at a time below the
 * watermark.
 */
uint64_t unopened_end(const struct pmm *pmm, const struct pmm_region *r, uint64_t block);
/* The open block (or `low`) that `frame` is in; null: none. Remembers what it found. */
struct pmm_block *block_find(struct pmm *pmm, uint64_t frame);
void supply_update(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind, bool has);
/* Lowest never-used block of r with a usable frame, in the last extent, else in a gap; FRAME_NONE: there is none. */
uint64_t fresh_block(const struct pmm *pmm, const struct pmm_region *r);
void extent_take(struct pmm *pmm, struct pmm_region *r, uint64_t block); /* its descriptor is backed; it is open now */
/* First usable frame at or behind `from` that is in a never-used block of any region; FRAME_NONE. */
uint64_t unopened_next(const struct pmm *pmm, uint64_t from);
/*
 * Frames of never-used blocks of r leave (or, negative, join) the free ones: `open` says that they stay free in an
 * opened block.
 */
void untouched_sub(struct pmm *pmm, struct pmm_region *r, uint64_t frames, bool stay_free);

/* ---- block.c: one block's stack, and the stack that it is on ---- */
static inline uint64_t block_first(const struct pmm *pmm, const struct pmm_block *b)
{
    return b == &pmm->low ? 0 : block_start((uint64_t)(b - pmm->blocks));
}

/* Frames [start, end) of the block are the descriptor's. */
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

/* Index and state word of the top frame; b->top != 0. The frame's code becomes `code`. */
static inline uint64_t block_pop(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned code)
{
    unsigned top = b->top;
    uint64_t frame = first + top - CODE_LINK;
    unsigned below = pmm->states[frame];
    b->top = (uint16_t)(below == top ? 0 : below);
    b->free--;
    pmm->states[frame] = (uint16_t)code;
    pmm->regions[b->region].free--;
    return frame;
}

/* The next free frame never carved; the stack is empty, b->free > 0. The frame's code becomes `code`. */
static inline uint64_t block_carve(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned code)
{
    unsigned index = b->carved;
    while (pmm->states[first + index] != CODE_NEVER) {
        index++;
        ASSERT(index < part_limit(pmm, b));
    }
    b->carved = (uint16_t)(index + 1);
    b->free--;
    pmm->states[first + index] = (uint16_t)code;
    pmm->regions[b->region].free--;
    return first + index;
}

/* Push a frame; the caller looks at `rise`. */
static inline void block_push(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    unsigned code = CODE_LINK + index_in_block(frame);
    unsigned top = b->top;
    pmm->states[frame] = (uint16_t)(top == 0 ? code : top);
    b->top = (uint16_t)code;
    b->free++;
    pmm->regions[b->region].free++;
}

uint64_t block_take(struct pmm *pmm, struct pmm_block *b, unsigned code); /* any free frame; b->free > 0 */
void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first,
                      uint64_t end);                      /* all free; become used once */
void block_restack(struct pmm *pmm, struct pmm_block *b); /* put it where its counts say */
void block_unstack(struct pmm *pmm, struct pmm_block *b);
/*
 * Write the codes of a block just backed and set its descriptor (and `low`) up; frames in [paid, paid_end) that are
 * usable are metadata.
 */
void block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
                 uint64_t paid_end);
void current_retire(struct pmm *pmm, unsigned class); /* back to its stack */
void current_set(struct pmm *pmm, struct pmm_block *b, unsigned class);

/* ---- metadata.c: opening blocks ---- */
npages_t open_cost(const struct pmm *pmm, uint64_t block); /* frames that opening it takes now */
/* Open this block, or, where it cannot be paid, at least one other. The region is kept. => OK; CORRUPT. */
enum status block_open(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class);
/* An opened block's partly free stacks, or null. */
struct pmm_block *partly_free(struct pmm *pmm, unsigned class);
struct pmm_block *stack_first(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind);

/* ---- earmark.c: what all metadata takes ---- */
struct units { /* distinct pages [0] and tables [1], [2] behind one array, counted in ascending order */
    uint64_t first[PMM_TABLE_LEVELS_MAX + 1], last[PMM_TABLE_LEVELS_MAX + 1], count[PMM_TABLE_LEVELS_MAX + 1];
};
struct unit_counter {
    struct units states, blocks;
    unsigned levels;
};
const void *states_page(const struct pmm *pmm, uint64_t block);
const void *descriptor_page(const struct pmm *pmm, uint64_t block);
void units_add_blocks(const struct pmm *pmm, struct unit_counter *c, uint64_t first, uint64_t end);
void units_add_edge(const struct pmm *pmm, struct unit_counter *c, uint64_t block); /* what exists for it now */
bool kept_edges(const struct pmm *pmm, uint64_t *first,
                uint64_t *last); /* blocks, of the regions not left out; false: all are */
uint64_t units_total(const struct unit_counter *c);
bool arrays_are_apart(const struct pmm *pmm, uint64_t first_block, uint64_t end_block);

/* ---- query.c ---- */
enum pmm_state state_of_code(unsigned code);
enum status pmm_complain(const struct pmm *pmm, const char *call, uint64_t frame, const char *why);

#endif
