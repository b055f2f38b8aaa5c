/*
 * A flat stack of frame numbers, for all of memory.
 *
 * `raw` is no more than that: it is filled at the start, and believes everything.
 *
 * `flat` adds what a kernel needs: a state a frame, so that wrong frees are seen; a count of free frames a block, so
 * that a block can be handed out whole; memory never used, so that the start costs nothing. A block that is taken out
 * of the middle of the stack stays on it: its entries are stale, and are skipped when they come to the top (lazy
 * invalidation). A frame has one entry at most: one freed while its stale entry is there is only marked free. So blocks
 * come and go, and later one pop may pass as many stale entries as there are frames: that is the price, and it grows
 * with memory.
 *
 * 4 bytes a frame, and 4.25 with states: 0.1 %. A state is two bits: frees in random order touch the table of states
 * at random, and the 256 KiB that 4 GiB take then stay in a second-level cache; with a byte each they are 1 MiB, and do
 * not. A state with a count of references would make it 6.
 */
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"

/* ---- With states ---- */

/* A frame's state; 0: never used, or no RAM. Alloc and free of what has its entry turn both bits over. */
enum { IS_USED = 1, IS_ON_STACK = 2, STATE_MASK = IS_USED | IS_ON_STACK, STATE_BITS = 2, STATES_A_BYTE = 4 };

struct flat {
    uint32_t *entries;
    uint64_t top;      /* entries */
    uint8_t *states;   /* four frames each, the lowest in the lowest bits */
    uint16_t *in_block; /* frames that are free and not fresh */
    uint64_t frames;
    struct frames_fresh fresh;
    uint64_t whole_from; /* no block below is wholly free */
    uint64_t skipped;
};

void *flat_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0 || frames > UINT32_MAX) {
        return NULL;
    }
    machine_begin(frames);
    struct flat *f = machine_memory(sizeof *f);
    f->entries = machine_memory(frames * sizeof *f->entries);
    f->states = machine_memory(frames / STATES_A_BYTE + 1);
    f->in_block = machine_memory((frames / FRAMES_BLOCK + 1) * sizeof *f->in_block);
    f->frames = frames;
    f->fresh = frames_fresh(runs, run_count);
    f->whole_from = frames / FRAMES_BLOCK + 1;
    return f;
}

static inline unsigned state_shift(uint64_t frame) { return (unsigned)(frame % STATES_A_BYTE * STATE_BITS); }
static inline unsigned state_of(const struct flat *f, uint64_t frame)
{
    return (unsigned)f->states[frame / STATES_A_BYTE] >> state_shift(frame) & STATE_MASK;
}
static inline void state_flip(struct flat *f, uint64_t frame, unsigned bits)
{
    f->states[frame / STATES_A_BYTE] ^= (uint8_t)(bits << state_shift(frame));
}

/* The top entry was stale, or there is none. */
static __attribute__((noinline)) pfn_t take_further(struct flat *f)
{
    while (f->top > 0) {
        uint32_t frame = f->entries[--f->top];
        unsigned state = state_of(f, frame);
        state_flip(f, frame, state ^ IS_USED);
        if (state == IS_ON_STACK) {
            f->in_block[frame / FRAMES_BLOCK]--;
            return pfn(frame);
        }
        f->skipped++;
    }
    pfn_t frame = frames_fresh_take(&f->fresh);
    if (frame.v != FRAMES_NONE.v) {
        state_flip(f, frame.v, IS_USED);
    }
    return frame;
}

FRAMES_HOT pfn_t flat_alloc(void *state)
{
    struct flat *f = state;
    if (__builtin_expect(f->top == 0, 0)) {
        return take_further(f);
    }
    uint32_t frame = f->entries[f->top - 1];
    if (__builtin_expect(state_of(f, frame) != IS_ON_STACK, 0)) {
        return take_further(f);
    }
    f->top--;
    state_flip(f, frame, STATE_MASK);
    f->in_block[frame / FRAMES_BLOCK]--;
    return pfn(frame);
}

static inline void came_back(struct flat *f, uint64_t block)
{
    if (__builtin_expect(++f->in_block[block] == FRAMES_BLOCK, 0) && block < f->whole_from) {
        f->whole_from = block;
    }
}

/* Not just in use: free, or its stale entry is on the stack. */
static __attribute__((noinline)) enum status free_stale(struct flat *f, uint64_t frame, unsigned was)
{
    if ((was & IS_USED) == 0) {
        return STATUS_MISUSE;
    }
    state_flip(f, frame, IS_USED);
    came_back(f, frame / FRAMES_BLOCK);
    return STATUS_OK;
}

FRAMES_HOT enum status flat_free(void *state, pfn_t frame)
{
    struct flat *f = state;
    if (__builtin_expect(frame.v >= f->frames, 0)) {
        return STATUS_MISUSE;
    }
    unsigned was = state_of(f, frame.v);
    if (__builtin_expect(was != IS_USED, 0)) {
        return free_stale(f, frame.v, was);
    }
    state_flip(f, frame.v, STATE_MASK);
    f->entries[f->top++] = (uint32_t)frame.v;
    came_back(f, frame.v / FRAMES_BLOCK);
    return STATUS_OK;
}

/* A block's states, 32 in a word. */
enum { STATE_WORDS = FRAMES_BLOCK / STATES_A_BYTE / sizeof(uint64_t) };
#define ALL(bits_) (0x5555555555555555UL * (bits_))
static inline uint64_t *states_of(const struct flat *f, uint64_t first)
{
    return (uint64_t *)(void *)&f->states[first / STATES_A_BYTE];
}

/* Off the run at hand or the next ones, past what is not aligned, which goes onto the stack. */
static pfn_t fresh_block(struct flat *f)
{
    struct frames_fresh *fresh = &f->fresh;
    for (pfn_t at = frames_fresh_take(fresh); at.v != FRAMES_NONE.v; at = frames_fresh_take(fresh)) {
        if (at.v % FRAMES_BLOCK == 0 && fresh->end - at.v >= FRAMES_BLOCK) {
            fresh->next = at.v + FRAMES_BLOCK;
            return at;
        }
        state_flip(f, at.v, IS_ON_STACK);
        f->entries[f->top++] = (uint32_t)at.v;
        came_back(f, at.v / FRAMES_BLOCK);
    }
    return FRAMES_NONE;
}

pfn_t flat_alloc_block(void *state)
{
    struct flat *f = state;
    uint64_t blocks = f->frames / FRAMES_BLOCK, block = f->whole_from;
    while (block < blocks && f->in_block[block] != FRAMES_BLOCK) {
        block++;
    }
    f->whole_from = block < blocks ? block + 1 : blocks + 1;
    pfn_t first = block < blocks ? pfn(block * FRAMES_BLOCK) : fresh_block(f);
    if (first.v == FRAMES_NONE.v) {
        return first;
    }
    uint64_t *states = states_of(f, first.v);
    for (unsigned i = 0; i < STATE_WORDS; i++) {
        states[i] |= ALL(IS_USED); /* with IS_ON_STACK: the entry is stale */
    }
    f->in_block[first.v / FRAMES_BLOCK] = 0;
    return first;
}

enum status flat_free_block(void *state, pfn_t first)
{
    struct flat *f = state;
    uint64_t all = ALL(IS_USED | IS_ON_STACK);
    if (first.v % FRAMES_BLOCK != 0 || first.v + FRAMES_BLOCK > f->frames) {
        return STATUS_MISUSE;
    }
    uint64_t *states = states_of(f, first.v);
    for (unsigned i = 0; i < STATE_WORDS; i++) {
        all &= states[i];
    }
    if ((all & ALL(IS_USED)) != ALL(IS_USED)) {
        return STATUS_MISUSE;
    }
    if (all == ALL(IS_USED | IS_ON_STACK)) { /* all entries are there still */
        for (unsigned i = 0; i < STATE_WORDS; i++) {
            states[i] = ALL(IS_ON_STACK);
        }
        f->in_block[first.v / FRAMES_BLOCK] = FRAMES_BLOCK - 1;
        came_back(f, first.v / FRAMES_BLOCK);
        return STATUS_OK;
    }
    for (uint64_t i = FRAMES_BLOCK; i-- > 0;) { /* the lowest on top */
        (void)flat_free(f, pfn_add(first, i));
    }
    return STATUS_OK;
}

uint64_t flat_skipped(const void *state) { return ((const struct flat *)state)->skipped; }

/* ---- Without ---- */

struct raw {
    uint32_t *entries;
    uint64_t top, frames;
};

void *raw_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count), ram = 0;
    for (size_t i = 0; i < run_count; i++) {
        ram += runs[i].frames.v;
    }
    if (frames == 0 || frames > UINT32_MAX) {
        return NULL;
    }
    machine_begin(frames);
    struct raw *r = machine_memory(sizeof *r);
    *r = (struct raw){machine_memory(ram * sizeof *r->entries), 0, ram};
    for (size_t i = run_count; i-- > 0;) { /* the lowest on top */
        for (uint64_t frame = run_end(runs[i]); frame-- > runs[i].first.v;) {
            r->entries[r->top++] = (uint32_t)frame;
        }
    }
    return r;
}

pfn_t raw_alloc(void *state)
{
    struct raw *r = state;
    return r->top == 0 ? FRAMES_NONE : pfn(r->entries[--r->top]);
}

enum status raw_free(void *state, pfn_t frame)
{
    struct raw *r = state;
    if (r->top == r->frames) {
        return STATUS_MISUSE;
    }
    r->entries[r->top++] = (uint32_t)frame.v;
    return STATUS_OK;
}
