/*
 * Bad memory (badram=) told to the watermark allocator, before it serves its first frame.
 *
 *   bad_holds_plan, bad_holds_cut on the runs; early_init and all other carve-outs; bad_holds_add
 *
 * A few patterns can match billions of frames. Each stretch of bad frames takes a hold, and holds are limited: what
 * happens beyond the limit is decided by bad_holds_plan, so that no bad frame is ever used and as much memory as
 * possible is.
 */
#ifndef CAIRN_BOOT_BAD_HOLDS_H
#define CAIRN_BOOT_BAD_HOLDS_H

#include "boot/early.h"
#include "lib/badram.h"

enum {
    BAD_STRETCHES_MAX = EARLY_HOLDS_MAX - 1024, /* the rest is for what is in use, and cuts stretches in two */
    BAD_STEPS_MAX = 4 * BAD_STRETCHES_MAX,      /* parts of stretches, where several patterns make one */
};

struct bad_plan {
    unsigned group_log2; /* 0: exactly the bad frames; n: groups of 2^n frames, aligned, with a bad one among them */
    uint64_t end;        /* memory from this frame on is left out; UINT64_MAX: none is */
    npages_t good, bad;  /* frames of the runs below `end` */
    size_t stretches;    /* of bad ones, at most BAD_STRETCHES_MAX */
};

/*
 * How to leave out all bad frames of `runs` (as early_init wants them) with at most BAD_STRETCHES_MAX holds: exactly if
 * that can be; else by groups, or only memory up to some frame, or both, whichever leaves most. O(BAD_STEPS_MAX *
 * patterns) at most, times the bits of a frame number where there is no exact way; whatever the size of memory.
 */
struct bad_plan bad_holds_plan(const struct badram_list *list, const struct frame_run *runs, size_t count);

/* Cut the runs off at plan->end. Returns how many are left; *left_out says how many frames were lost. */
size_t bad_holds_cut(const struct bad_plan *plan, struct frame_run *runs, size_t count, npages_t *left_out);

/*
 * Hold what the plan says as HOLD_BAD; frames held before stay as they are. After all other carve-outs.
 * => as early_hold: OK, or LIMIT, with a part of the holds there. O(stretches * (runs + holds)).
 */
enum status bad_holds_add(const struct badram_list *list, const struct bad_plan *plan, struct early *e);

/* The first bad frame of the bytes [start, end), rounded outward, that is RAM. false: there is none. O(runs). */
bool bad_holds_find(const struct badram_list *list, const struct frame_run *runs, size_t count, uint64_t start_bytes,
                    uint64_t end_bytes, pfn_t *first);

#endif
