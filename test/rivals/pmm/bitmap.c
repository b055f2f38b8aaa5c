/*
 * One bitmap over all memory, from frame 0 to the top: a bit a frame, 0.003 %.
 *
 * `bitmap` is lowest fit: it begins at the lowest word that may have a free frame, and goes up 64 frames at a time. A
 * free below moves the begin down; up to where all is known to be full is a second mark, so that the search after it
 * goes on from there (bits.h). What is handed out lies as low as can be.
 *
 * `next_fit` goes on where it was, and round: a search passes each full word once in a whole round. It spreads what is
 * in use over all of memory.
 *
 * Holes cost as much as RAM: a machine whose memory ends at 0x280000000 has 320 KiB of bitmap, whatever it has below.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

static struct bits *open_bitmap(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct bits *b = machine_memory(sizeof *b);
    bits_open(b, machine_memory(bits_bytes(frames)), frames);
    for (size_t i = 0; i < run_count; i++) {
        bits_add(b->words, runs[i].first.v, run_end(runs[i]));
    }
    return b;
}

uint64_t bitmap_bytes(const void *state) { return ((const struct bits *)state)->count * sizeof(uint64_t); }

/* ---- Lowest fit ---- */

void *bitmap_start(const struct frame_run *runs, size_t run_count) { return open_bitmap(runs, run_count); }
FRAMES_HOT pfn_t bitmap_alloc(void *state) { return bits_take_lowest(state); }
FRAMES_HOT enum status bitmap_free(void *state, pfn_t frame) { return bits_give_lowest(state, frame.v); }

pfn_t bitmap_alloc_block(void *state)
{
    struct bits *b = state;
    return bits_take_block(b, b->at);
}
enum status bitmap_free_block(void *state, pfn_t first) { return bits_give_block_lowest(state, first.v); }

/* ---- Next fit ---- */

void *next_fit_start(const struct frame_run *runs, size_t run_count) { return open_bitmap(runs, run_count); }

/* The next word round from the one that served last, which is used up. => its number; b->count: all are. */
static __attribute__((noinline)) uint64_t next_word(struct bits *b)
{
    uint64_t at = bits_search(b, b->at);
    if (at == b->count) {
        at = bits_search(b, 0);
    }
    if (at != b->count) {
        b->at = at;
    }
    return at;
}

FRAMES_HOT pfn_t next_fit_alloc(void *state)
{
    struct bits *b = state;
    uint64_t at = b->at, word = b->words[at];
    if (__builtin_expect(word == 0, 0)) {
        at = next_word(b);
        if (at == b->count) {
            return FRAMES_NONE;
        }
        word = b->words[at];
    }
    return bits_take_from(b, at, word);
}

FRAMES_HOT enum status next_fit_free(void *state, pfn_t frame) { return bits_give(state, frame.v); }

pfn_t next_fit_alloc_block(void *state)
{
    struct bits *b = state;
    pfn_t first = bits_take_block(b, b->at);
    return first.v == FRAMES_NONE.v ? bits_take_block(b, 0) : first;
}
enum status next_fit_free_block(void *state, pfn_t first) { return bits_give_block(state, first.v); }
