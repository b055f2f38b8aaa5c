/*
 * The binary buddy, out of band: blocks of 1 to 1,024 frames, free ones on a list by order; an alloc takes the smallest
 * that is large enough and halves it; a free merges with its buddy as long as that is free and whole. A byte a
 * frame says what it is, 8 bytes are the links: 9 together, 0.2 %. The bytes lie apart, so that a free finds its own
 * and its buddy's in one cache line; the links are read where something is taken off a list, wherever that lies: that
 * is what random frees cost. Blocks of any power of two are there for the asking, and a wrong free is seen.
 *
 * `buddy_cpu` is the same behind a CPU's list of 64 frames, last in, first out, filled and emptied by halves: what most
 * kernels do. Frames on the list are free to no buddy, so they keep blocks apart.
 */
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"

enum { ORDERS = 11, BLOCK_ORDER = 9, LIST = FRAMES_CACHED_MAX, HALF = LIST / 2 };
enum state { INSIDE, FREE, USED, LISTED, ORDER = 4 }; /* INSIDE: of a longer block, or no RAM; else + order * ORDER */
static_assert(1U << BLOCK_ORDER == FRAMES_BLOCK);
#define NOBODY UINT32_MAX

/* Of a free block's first frame: the list of its order. */
struct links {
    uint32_t next, back;
};

struct buddy {
    struct links *links;
    uint8_t *states;
    uint64_t end;
    uint32_t free[ORDERS];
    uint32_t orders; /* bit k: free[k] is not empty */
    /* Of the CPU: */
    uint32_t listed;
    uint32_t list[LIST];
};

static inline uint8_t state_of(enum state state, unsigned order) { return (uint8_t)(state + order * ORDER); }

static inline void push(struct buddy *b, uint32_t first, unsigned order)
{
    uint32_t head = b->free[order];
    b->links[first] = (struct links){head, NOBODY};
    b->states[first] = state_of(FREE, order);
    if (head != NOBODY) {
        b->links[head].back = first;
    }
    b->free[order] = first;
    b->orders |= 1U << order;
}

static inline void unlist(struct buddy *b, uint32_t first, unsigned order)
{
    struct links l = b->links[first];
    b->states[first] = INSIDE;
    if (l.next != NOBODY) {
        b->links[l.next].back = l.back;
    }
    if (l.back != NOBODY) {
        b->links[l.back].next = l.next;
        return;
    }
    b->free[order] = l.next;
    if (l.next == NOBODY) {
        b->orders &= ~(1U << order);
    }
}

static void *open_buddy(const struct frame_run *runs, size_t run_count)
{
    uint64_t end = frames_end(runs, run_count);
    if (end == 0 || end >= NOBODY) {
        return NULL;
    }
    machine_begin(end);
    struct buddy *b = machine_memory(sizeof *b);
    b->links = machine_memory(end * sizeof *b->links);
    b->states = machine_memory(end);
    b->end = end;
    for (unsigned order = 0; order < ORDERS; order++) {
        b->free[order] = NOBODY;
    }
    for (size_t i = run_count; i-- > 0;) { /* the lowest on top */
        for (uint64_t at = run_end(runs[i]); at > runs[i].first.v;) {
            unsigned order = (unsigned)__builtin_ctzll(at | 1ULL << (ORDERS - 1));
            while (at - runs[i].first.v < 1ULL << order) {
                order--;
            }
            at -= 1ULL << order;
            push(b, (uint32_t)at, order);
        }
    }
    return b;
}

/* => NOBODY: no block is so long. */
static inline uint32_t take(struct buddy *b, unsigned wanted)
{
    uint32_t longer = b->orders >> wanted;
    if (longer == 0) {
        return NOBODY;
    }
    unsigned order = wanted + (unsigned)__builtin_ctz(longer);
    uint32_t first = b->free[order];
    unlist(b, first, order);
    while (order > wanted) {
        order--;
        push(b, first + (1U << order), order);
    }
    b->states[first] = state_of(USED, wanted);
    return first;
}

static inline void give(struct buddy *b, uint32_t first, unsigned order)
{
    b->states[first] = INSIDE;
    while (order < ORDERS - 1) {
        uint32_t other = first ^ 1U << order;
        if (other >= b->end || b->states[other] != state_of(FREE, order)) {
            break;
        }
        unlist(b, other, order);
        first &= ~(1U << order);
        order++;
    }
    push(b, first, order);
}

static inline bool is_used(const struct buddy *b, pfn_t first, unsigned order)
{
    return first.v < b->end && b->states[first.v] == state_of(USED, order);
}

static inline pfn_t answer(uint32_t first) { return first == NOBODY ? FRAMES_NONE : pfn(first); }

/* ---- By itself ---- */

void *buddy_frames_start(const struct frame_run *runs, size_t run_count) { return open_buddy(runs, run_count); }
FRAMES_HOT pfn_t buddy_frames_alloc(void *state) { return answer(take(state, 0)); }
pfn_t buddy_frames_alloc_block(void *state) { return answer(take(state, BLOCK_ORDER)); }

FRAMES_HOT enum status buddy_frames_free(void *state, pfn_t frame)
{
    struct buddy *b = state;
    if (__builtin_expect(!is_used(b, frame, 0), 0)) {
        return STATUS_MISUSE;
    }
    give(b, (uint32_t)frame.v, 0);
    return STATUS_OK;
}

enum status buddy_frames_free_block(void *state, pfn_t first)
{
    struct buddy *b = state;
    if (!is_used(b, first, BLOCK_ORDER)) {
        return STATUS_MISUSE;
    }
    give(b, (uint32_t)first.v, BLOCK_ORDER);
    return STATUS_OK;
}

/* ---- Behind a CPU's list ---- */

void *buddy_cpu_start(const struct frame_run *runs, size_t run_count) { return open_buddy(runs, run_count); }
enum status buddy_cpu_free_block(void *state, pfn_t first) { return buddy_frames_free_block(state, first); }

static __attribute__((noinline)) bool fill(struct buddy *b)
{
    uint32_t got[HALF], count = 0;
    while (count < HALF && (got[count] = take(b, 0)) != NOBODY) {
        b->states[got[count++]] = LISTED;
    }
    for (uint32_t i = count; i-- > 0;) { /* the first that came is the first to go */
        b->list[b->listed++] = got[i];
    }
    return count > 0;
}

/* Those that lie longest, down to `left`. */
static __attribute__((noinline)) void empty(struct buddy *b, uint32_t left)
{
    uint32_t count = b->listed - left;
    for (uint32_t i = 0; i < count; i++) {
        give(b, b->list[i], 0);
    }
    for (uint32_t i = 0; i < left; i++) {
        b->list[i] = b->list[count + i];
    }
    b->listed = left;
}

FRAMES_HOT pfn_t buddy_cpu_alloc(void *state)
{
    struct buddy *b = state;
    if (__builtin_expect(b->listed == 0, 0) && !fill(b)) {
        return FRAMES_NONE;
    }
    uint32_t frame = b->list[--b->listed];
    b->states[frame] = USED;
    return pfn(frame);
}

FRAMES_HOT enum status buddy_cpu_free(void *state, pfn_t frame)
{
    struct buddy *b = state;
    if (__builtin_expect(!is_used(b, frame, 0), 0)) {
        return STATUS_MISUSE;
    }
    if (__builtin_expect(b->listed == LIST, 0)) {
        empty(b, HALF);
    }
    b->states[frame.v] = LISTED;
    b->list[b->listed++] = (uint32_t)frame.v;
    return STATUS_OK;
}

pfn_t buddy_cpu_alloc_block(void *state)
{
    struct buddy *b = state;
    uint32_t first = take(b, BLOCK_ORDER);
    if (first == NOBODY) {
        empty(b, 0);
        first = take(b, BLOCK_ORDER);
    }
    return answer(first);
}

size_t buddy_cpu_cached(const void *state, pfn_t out[FRAMES_CACHED_MAX])
{
    const struct buddy *b = state;
    for (uint32_t i = 0; i < b->listed; i++) {
        out[i] = pfn(b->list[i]);
    }
    return b->listed;
}
