/*
 * The greatest-extent marker: where the longest stretch of free frames begins, and how long it is, so that who asks for
 * contiguous frames gets them without a search. It is kept lazily: single frames that come and go do not look at it; a
 * request that it does not serve counts anew, over the whole bitmap below. So a run costs O(1) while the greatest
 * extent lasts, and memory / 64 when it does not: seldom where memory is whole, for each run where it is not.
 *
 * Single frames come from the lowest words of the bitmap, away from the marker; where they run into it, the marker is
 * stale, and a run looks at the bits it is about to take before it does. Blocks are taken off the extent's end.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

struct extent {
    struct bits bits;
    uint64_t first, frames; /* the marker; 0 frames: none was found when last counted */
    bool none;              /* nothing was freed since a count found no block */
    uint64_t recounts;
};

/* From `at`, a free frame or not, how many frames in a row are free, up to `end`. */
static uint64_t free_from(const struct bits *b, uint64_t at, uint64_t end)
{
    uint64_t from = at;
    while (at < end) {
        uint64_t used = ~b->words[at / BITS_WORD] >> at % BITS_WORD;
        if (used != 0) {
            at += (unsigned)__builtin_ctzll(used);
            return (at < end ? at : end) - from;
        }
        at = (at / BITS_WORD + 1) * BITS_WORD;
    }
    return end - from;
}

static void recount(struct extent *e)
{
    uint64_t end = e->bits.count * BITS_WORD;
    e->first = e->frames = 0;
    e->recounts++;
    for (uint64_t at = 0; at < end;) {
        uint64_t word = e->bits.words[at / BITS_WORD] >> at % BITS_WORD;
        if (word == 0) {
            at = (at / BITS_WORD + 1) * BITS_WORD;
            continue;
        }
        at += (unsigned)__builtin_ctzll(word);
        uint64_t frames = free_from(&e->bits, at, end);
        if (frames > e->frames) {
            e->first = at;
            e->frames = frames;
        }
        at += frames;
    }
}

void *extent_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct extent *e = machine_memory(sizeof *e);
    bits_open(&e->bits, machine_memory(bits_bytes(frames)), frames);
    for (size_t i = 0; i < run_count; i++) {
        bits_add(e->bits.words, runs[i].first.v, run_end(runs[i]));
    }
    recount(e);
    return e;
}

FRAMES_HOT pfn_t extent_alloc(void *state) { return bits_take_lowest(&((struct extent *)state)->bits); }

FRAMES_HOT enum status extent_free(void *state, pfn_t frame)
{
    struct extent *e = state;
    e->none = false;
    return bits_give_lowest(&e->bits, frame.v);
}

/* The last aligned block of the extent. => FRAMES_NONE: it has none, or not all of it is free any more. */
static pfn_t cut(struct extent *e)
{
    uint64_t end = (e->first + e->frames) / FRAMES_BLOCK * FRAMES_BLOCK, at = end - FRAMES_BLOCK;
    if (end < e->first + FRAMES_BLOCK || free_from(&e->bits, at, end) < FRAMES_BLOCK) {
        return FRAMES_NONE;
    }
    e->frames = at - e->first;
    bits_fill_block(&e->bits, at / BITS_WORD, 0);
    return pfn(at);
}

pfn_t extent_alloc_block(void *state)
{
    struct extent *e = state;
    pfn_t first = cut(e);
    if (first.v != FRAMES_NONE.v) {
        return first;
    }
    if (e->none) {
        return FRAMES_NONE;
    }
    recount(e);
    first = cut(e);
    if (first.v == FRAMES_NONE.v) { /* the longest stretch may hold no aligned block where a shorter one does */
        first = bits_take_block(&e->bits, e->bits.at);
    }
    e->none = first.v == FRAMES_NONE.v;
    return first;
}

enum status extent_free_block(void *state, pfn_t first)
{
    struct extent *e = state;
    enum status s = bits_give_block_lowest(&e->bits, first.v);
    if (s == STATUS_OK) {
        e->frames += first.v == e->first + e->frames ? (uint64_t)FRAMES_BLOCK : 0;
        e->none = false;
    }
    return s;
}

uint64_t extent_recounts(const void *state) { return ((const struct extent *)state)->recounts; }
