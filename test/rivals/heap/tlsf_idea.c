/*
 * TLSF's idea: a good fit in constant time.
 *
 * Holes are kept on lists by length: each power of two is divided into 32 steps (lengths below 512 into steps of 16),
 * and a bitmap of two levels tells which lists have any. A request is rounded up to the next step, so that the first
 * hole of the first list from there on fits without a look at it: two bit scans, no search. The rounding costs up to a
 * thirty-second of a fit. Blocks, merging, growing: boundary tags (tags.h). Aligned blocks are carved out of longer
 * ones.
 */
#include "rivals/heap/tags.h"

enum {
    STEPS_LOG2 = 5,
    STEPS = 1 << STEPS_LOG2,
    LINEAR_LOG2 = STEPS_LOG2 + 4, /* below it steps are of 16 bytes */
    ROWS = 40 - LINEAR_LOG2 + 1,
};

struct tlsf_idea {
    struct tags tags;
    uint64_t rows;         /* bit r: steps[r] is not 0 */
    uint32_t steps[ROWS];  /* bit s: lists[r][s] is not empty */
    struct tags_block *lists[ROWS][STEPS];
};
_Static_assert(sizeof(struct tlsf_idea) <= WAY_STATE_BYTES, "a state");

struct place {
    unsigned row, step;
};

static inline struct tlsf_idea *of(struct tags *t) { return (struct tlsf_idea *)(void *)t; }

/* The list that holes of this length are on. */
TAGS_INLINE struct place place_of(size_t bytes)
{
    if (bytes < 1UL << LINEAR_LOG2) {
        return (struct place){0, (unsigned)(bytes / HEAP_ALIGN_BYTES)};
    }
    const unsigned log2 = way_log2_down(bytes);
    return (struct place){log2 - LINEAR_LOG2 + 1, (unsigned)(bytes >> (log2 - STEPS_LOG2)) - STEPS};
}

TAGS_INLINE void insert(struct tags *t, struct tags_block *hole)
{
    const struct place p = place_of(tags_bytes(hole));
    struct tags_block **list = &of(t)->lists[p.row][p.step];
    hole->prev = NULL;
    hole->next = *list;
    if (*list != NULL) {
        (*list)->prev = hole;
    }
    *list = hole;
    of(t)->rows |= 1UL << p.row;
    of(t)->steps[p.row] |= 1U << p.step;
}

TAGS_INLINE void remove_hole(struct tags *t, struct tags_block *hole)
{
    if (hole->next != NULL) {
        hole->next->prev = hole->prev;
    }
    if (hole->prev != NULL) {
        hole->prev->next = hole->next;
        return;
    }
    const struct place p = place_of(tags_bytes(hole));
    of(t)->lists[p.row][p.step] = hole->next;
    if (hole->next == NULL) {
        of(t)->steps[p.row] &= ~(1U << p.step);
        of(t)->rows &= ~((uint64_t)(of(t)->steps[p.row] == 0) << p.row);
    }
}

TAGS_INLINE struct tags_block *find(struct tags *t, size_t bytes)
{
    if (bytes >= 1UL << LINEAR_LOG2) {
        bytes += (1UL << (way_log2_down(bytes) - STEPS_LOG2)) - 1;
    }
    struct place p = place_of(bytes);
    uint32_t steps = of(t)->steps[p.row] & ~0U << p.step;
    if (steps == 0) {
        const uint64_t rows = of(t)->rows & ~0UL << p.row << 1;
        if (rows == 0) {
            return NULL;
        }
        p.row = (unsigned)__builtin_ctzl(rows);
        steps = of(t)->steps[p.row];
    }
    return of(t)->lists[p.row][__builtin_ctz(steps)];
}

TAGS_INLINE void end_moved(struct tags *t, struct tags_block *from, struct tags_block *to)
{
    (void)t;
    (void)from;
    (void)to;
}

static const struct tags_index holes = {insert, remove_hole, find, end_moved};

void tlsf_idea_start(void *state, struct heap_source source, size_t slot_bytes)
{
    (void)slot_bytes;
    memset(state, 0, sizeof(struct tlsf_idea));
    ((struct way *)state)->source = source;
}

void *tlsf_idea_alloc(void *state, size_t bytes) { return tags_alloc(&holes, state, bytes); }

void *tlsf_idea_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    return tags_alloc_carved(&holes, state, bytes, align_bytes);
}

void *tlsf_idea_resize(void *state, void *block, size_t bytes) { return tags_resize(&holes, state, block, bytes); }
enum status tlsf_idea_release(void *state, void *block) { return tags_release(&holes, state, block); }

size_t tlsf_idea_usable(void *state, const void *block)
{
    (void)state;
    return tags_bytes(tags_of(block)) - TAGS_HEAD_BYTES;
}

npages_t tlsf_idea_shrink(void *state) { return tags_shrink(&holes, state); }
