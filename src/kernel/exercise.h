/*
 * The exercise: the main job's workload over every layer, against a record of its own. exercise.c tells the theory; the
 * parts are exercise_frames.c, exercise_spaces.c and exercise_heap.c; all calls that change something go through
 * exercise_port.h.
 *
 * Invariants of the exercise, each named in the failure that it gives:
 *   EX-1  a frame that was handed out is RAM, in use once, and was not handed out before
 *   EX-2  what was written into a frame is there until it is given back
 *   EX-3  exactly the free frames can be had, and not one more
 *   EX-4  a space maps what the record says, with these rights, on these frames, seen from outside and from inside
 *   EX-5  what was put into a page is found there, from outside and from inside
 *   EX-6  a refused change changes nothing
 *   EX-7  a heap block holds what was written, is aligned, is found by its addresses
 *   EX-8  every count ends where it began
 *   EX-9  a space with mappings answers each call as the record says
 *   EX-10 user mode finds in each page what was written there, and goes no further than its rights
 */
#ifndef CAIRN_KERNEL_EXERCISE_H
#define CAIRN_KERNEL_EXERCISE_H

#include "kernel/machine.h"
#include "lib/rng.h"

enum {
    EXERCISE_TEXT_BYTES = 192,
    EXERCISE_ROUNDS_DEFAULT = 2,
    EXERCISE_SEED_DEFAULT = 1,
    EXERCISE_FRAMES_MAX = 65536,      /* taken in a round on machines with more RAM than the next line says */
    EXERCISE_PROGRESS_FRAMES = 16384, /* a dot of progress for each so many */
};
/* Up to here every free frame is taken: GIB of RAM. */
#define EXERCISE_ALL_FRAMES_BYTES GIB

/* Every count that must end where it began. Frames, unless said otherwise. */
struct exercise_counts {
    uint64_t ram, free, used, reserved, promised;
    uint64_t metadata_and_earmarked; /* one moves to the other as blocks are opened; the sum stays */
    uint64_t arena_ranges, arena_pages;
    uint64_t spaces;
    uint64_t heap_blocks, heap_used_bytes, heap_held_bytes;
};

struct exercise {
    uint64_t seed;
    unsigned rounds, round; /* round counts from 1 */
    bool quiet;             /* no progress: -j */
    bool in_dots;           /* the line on the console is one of dots */
    bool pause;             /* stop once in the middle of the first round */
    struct rng rng;
    uint64_t salt; /* of this round's patterns */
    uint64_t frames_touched, foreign_edits, bytes_verified;
    char failure[EXERCISE_TEXT_BYTES]; /* "" as long as all is well */
    vaddr_t record;                    /* of the part that runs: kernel pages */
};

/* Runs all rounds. false: ex->failure says what broke first; everything is left as it was found then, so that it can be
 * looked at. */
bool exercise_run(struct exercise *ex);

/* The parts, a round of each. false: failed. */
bool exercise_frames(struct exercise *ex);
bool exercise_spaces(struct exercise *ex);
bool exercise_shared(struct exercise *ex);
bool exercise_heap(struct exercise *ex);

/* Notes the failure (the first one stays) and answers false: `return exercise_failed(ex, "EX-1: ...")`. */
__attribute__((format(printf, 2, 3))) bool exercise_failed(struct exercise *ex, const char *format, ...);
/* A line of progress, and a dot of it; nothing when quiet. */
__attribute__((format(printf, 2, 3))) void exercise_note(struct exercise *ex, const char *format, ...);
void exercise_dot(struct exercise *ex);

/* Memory for a part's record, zeroed, between guards, in kernel pages; null: failed. One at a time. */
void *exercise_record(struct exercise *ex, uint64_t bytes, const char *what);
bool exercise_record_free(struct exercise *ex);

/* All of a random order: swaps the items of a list of numbers. */
void exercise_shuffle(struct exercise *ex, uint64_t *items, uint64_t count);
/* Ascending, in place, O(n log n), no recursion. */
void exercise_sort(uint64_t *items, uint64_t count);

/* Word `index` of the pattern that `key` gets in this round. */
static inline uint64_t exercise_word(const struct exercise *ex, uint64_t key, uint64_t index)
{
    uint64_t x = (key ^ ex->salt) * 0x9E3779B97F4A7C15;
    x ^= x >> 29;
    return x + index * 0xD1342543DE82EF95;
}

#endif
