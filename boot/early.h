/*
 * The watermark allocator: frames before the PMM stands.
 *
 * It knows the runs and what is in use inside them (the holds), and cuts frames off the front of a run, never one in
 * use; a run used up leaves its list. Nothing is freed. What it handed out is remembered as holds, so at hand-over
 * the PMM gets exactly the runs, what was in use before, and what was handed out since. It lives in .init: nothing
 * of it stays.
 *
 *   early_init, early_hold ... (carve-outs), early_alloc ..., early_handover
 */
#ifndef CAIRN_BOOT_EARLY_H
#define CAIRN_BOOT_EARLY_H

#include "lib/range.h"
#include "lib/status.h"

enum { EARLY_RUNS_MAX = 2048, EARLY_HOLDS_MAX = 8192 }; /* holds: so many for the sake of bad memory */

struct early {
    const struct frame_run *runs;         /* as normalised: sorted, disjoint, not touching */
    size_t run_count;
    /* What is not yet served of each run, used-up ones removed; sorted; never frame 0. A run across 1 MiB is two here,
       hence one more. */
    struct frame_run left[EARLY_RUNS_MAX + 1];
    size_t left_count;
    uint64_t across_end;                  /* where the run across 1 MiB ends, a frame number; 0: there is none */
    struct frame_hold holds[EARLY_HOLDS_MAX]; /* sorted, disjoint, inside runs; kinds as given */
    size_t hold_count;
    npages_t served;
    bool serving; /* early_alloc was called: no more holds from outside */
};

/*
 * `runs` is kept: it must live until early_handover. O(runs).
 * => OK; INVALID: a run is empty or wraps, or they are not sorted and apart (memmap_normalise makes them so); LIMIT:
 * more than EARLY_RUNS_MAX. Unless OK, it serves nothing.
 */
enum status early_init(struct early *e, const struct frame_run *runs, size_t count);

/*
 * These bytes are in use (rounded outward to frames; what lies outside the runs is ignored; overlaps with earlier
 * holds are joined, the kind of the earlier one wins; an empty range holds nothing; end < start or a wrap is INVALID
 * and ignored). Only before the first early_alloc.
 * => OK; INVALID: also an unknown kind, or after early_alloc; LIMIT: EARLY_HOLDS_MAX could be passed. Nothing
 * changed but for OK. O(runs + holds).
 */
enum status early_hold(struct early *e, uint64_t start_bytes, uint64_t end_bytes, enum hold_kind kind);

/*
 * One frame, contents arbitrary, from the lowest run that begins at or above 1 MiB, else from the part of a run
 * above 1 MiB, last from below 1 MiB; never frame 0. It becomes a hold of `kind` (HOLD_USED or HOLD_METADATA, else
 * INVALID); neighbours of the same kind are joined. O(runs + holds), moving on O(1).
 * => OK; NOMEM; INVALID; LIMIT: no room for the hold (EARLY_HOLDS_MAX). Nothing handed out but for OK, *frame
 * untouched.
 */
enum status early_alloc(struct early *e, enum hold_kind kind, pfn_t *frame);

/* Frames it can still serve: so many early_allocs succeed, if there is room for their holds. O(runs + holds). */
npages_t early_free(const struct early *e);

/*
 * Copies the holds, sorted and disjoint, for the PMM: the runs less the holds are what is free (frame 0 too, if
 * nobody held it).
 * => OK: the allocator serves nothing more; LIMIT: `capacity` is too small, *count says what is needed, nothing
 * changed.
 */
enum status early_handover(struct early *e, struct frame_hold *holds, size_t capacity, size_t *count);

/*
 * The carve-outs that every PC needs, told to early_hold: the first page, the BDA's EBDA pointer (`ebda_segment`,
 * the word at 0x40E) only when it is sane (from 0x80000 to below 0xA0000; else only the first page) and the map is
 * not EFI's. The EBDA is taken to end at 640 KiB. => as early_hold.
 */
enum status early_hold_pc(struct early *e, uint16_t ebda_segment, bool efi);

#endif
