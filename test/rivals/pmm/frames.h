/*
 * Ways to keep account of frames, behind one interface: other answers to "who owns each frame?", each in a file of its
 * own with its theory at the top: small, correct, as good as the idea allows. What each is good for stands in
 * README.md.
 *
 * A way serves the same calls under its own name, WAY_alloc and so on:
 *
 *   start        all RAM of the runs (sorted, disjoint, not touching; kept, not copied) is free, but what the way needs
 *                of it itself.
 *                Memory comes from the machine (machine.h) and is its until the next start of any way. => the state;
 *                null: the runs are not for it (an empty list, too many frames)
 *   alloc        one frame. => FRAMES_NONE: nothing is free
 *   free         => OK; MISUSE: this way sees that it is no frame in use, and nothing changed. What it does not see, it
 *                takes (struct frames_way: `sees`)
 *   alloc_block  512 frames, aligned to as many. => FRAMES_NONE: it finds none
 *   free_block   the same as a whole, and only as a whole. => as free
 *
 * Context: one thread, but for `tree`, which takes several.
 */
#ifndef CAIRN_TEST_RIVALS_PMM_FRAMES_H
#define CAIRN_TEST_RIVALS_PMM_FRAMES_H

#include "lib/range.h"
#include "lib/status.h"
#include "lib/units.h"

#define FRAMES_NONE ((pfn_t){UINT64_MAX})
enum { FRAMES_BLOCK = PAGES_PER_2M, FRAMES_CACHED_MAX = 64 };

enum frames_sees {
    FRAMES_SEES_DOUBLE = 1,  /* a frame that is free already */
    FRAMES_SEES_OUTSIDE = 2, /* a frame that is not RAM, whatever its number */
};

struct frames_way {
    const char *name;
    unsigned sees; /* enum frames_sees */
    void *(*start)(const struct frame_run *runs, size_t run_count);
    pfn_t (*alloc)(void *state);
    enum status (*free)(void *state, pfn_t frame);
    /* Null, both: the idea has no answer. */
    pfn_t (*alloc_block)(void *state);
    enum status (*free_block)(void *state, pfn_t first);
    /* For long-lived kernel frames. Null: they are frames like others. */
    pfn_t (*alloc_kernel)(void *state);
    /* Frames of RAM that it uses itself now. Null: none; its memory comes from elsewhere. */
    uint64_t (*own)(const void *state);
    /* Frames that it uses itself when all others are in use: so many can never be handed out. Null: none. */
    uint64_t (*kept)(const void *state);
    bool (*keeps)(const void *state, pfn_t frame); /* Is it one of them? */
    /* Frames that are free, but on a CPU's list: how many, and which. Null: there is no such list. */
    size_t (*cached)(const void *state, pfn_t out[FRAMES_CACHED_MAX]);
};

#define FRAMES_CALLS(way_)                                              \
    void *way_##_start(const struct frame_run *runs, size_t run_count); \
    pfn_t way_##_alloc(void *state);                                    \
    enum status way_##_free(void *state, pfn_t frame)
#define FRAMES_BLOCKS(way_)                  \
    pfn_t way_##_alloc_block(void *state);   \
    enum status way_##_free_block(void *state, pfn_t first)

FRAMES_CALLS(bitmap);
FRAMES_BLOCKS(bitmap);
FRAMES_CALLS(next_fit);
FRAMES_BLOCKS(next_fit);
FRAMES_CALLS(zero_pages);
FRAMES_BLOCKS(zero_pages);
FRAMES_CALLS(inverted);
FRAMES_CALLS(by_region);
FRAMES_BLOCKS(by_region);
FRAMES_CALLS(summary);
FRAMES_BLOCKS(summary);
FRAMES_CALLS(faulted);
FRAMES_BLOCKS(faulted);
FRAMES_CALLS(extent);
FRAMES_BLOCKS(extent);
FRAMES_CALLS(table_list);
FRAMES_CALLS(frame_list);
FRAMES_CALLS(buddy_frames);
FRAMES_BLOCKS(buddy_frames);
FRAMES_CALLS(buddy_cpu);
FRAMES_BLOCKS(buddy_cpu);
FRAMES_CALLS(tree);
FRAMES_BLOCKS(tree);
FRAMES_CALLS(flat);
FRAMES_BLOCKS(flat);
FRAMES_CALLS(raw);
uint64_t zero_pages_own(const void *state);
uint64_t inverted_own(const void *state);
uint64_t faulted_own(const void *state);
uint64_t zero_pages_kept(const void *state);
uint64_t inverted_kept(const void *state);
uint64_t faulted_kept(const void *state);
bool zero_pages_keeps(const void *state, pfn_t frame);
bool inverted_keeps(const void *state, pfn_t frame);
bool faulted_keeps(const void *state, pfn_t frame);
size_t buddy_cpu_cached(const void *state, pfn_t out[FRAMES_CACHED_MAX]);
pfn_t tree_alloc_kernel(void *state);

enum { FRAMES_WAYS = 15 };
extern const struct frames_way frames_ways[FRAMES_WAYS];
/* => null: there is none of this name. */
const struct frames_way *frames_way(const char *name);

/* ---- What single ways can be asked ---- */

struct inverted_stats {
    uint64_t pages;    /* of the bitmap that cover RAM */
    uint64_t won;      /* of these, behind which the zero frame is now */
    uint64_t retired;  /* times that a page became the zero frame */
    uint64_t backed;   /* times that one got a frame of its own again: mapped, and zeroed */
};
struct inverted_stats inverted_stats(const void *state);
uint64_t bitmap_bytes(const void *state);            /* of the one bitmap */
uint64_t faulted_backed(const void *state);          /* pages that came by a fault, those of the zero frame too */
pfn_t faulted_page_frame(const void *state, pfn_t covered); /* behind the page that has this frame's bit */
uint64_t extent_recounts(const void *state);
uint64_t flat_skipped(const void *state);            /* stale entries that pops have passed */

/* The tree's CPUs; tree_alloc and tree_free are those of CPU 0. */
enum { TREE_CPUS = 2 };
pfn_t tree_alloc_on(void *state, unsigned cpu);
enum status tree_free_on(void *state, unsigned cpu, pfn_t frame);

/* ---- For the ways ---- */

/* Aligned, so that a function's speed is not by chance. */
#define FRAMES_HOT __attribute__((aligned(64)))

static inline uint64_t frames_end(const struct frame_run *runs, size_t run_count)
{
    return run_count == 0 ? 0 : run_end(runs[run_count - 1]);
}

/* RAM never handed out so far, from the lowest frame on. */
struct frames_fresh {
    uint64_t next, end; /* of the run at hand; equal: it is used up */
    const struct frame_run *runs, *runs_end; /* those to come */
};

static inline struct frames_fresh frames_fresh(const struct frame_run *runs, size_t run_count)
{
    return (struct frames_fresh){.runs = runs, .runs_end = runs + run_count};
}

/* => FRAMES_NONE: all were. */
static inline pfn_t frames_fresh_take(struct frames_fresh *f)
{
    if (f->next == f->end) {
        if (f->runs == f->runs_end) {
            return FRAMES_NONE;
        }
        f->next = f->runs->first.v;
        f->end = run_end(*f->runs++);
    }
    return pfn(f->next++);
}

#endif
