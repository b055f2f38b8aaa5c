/*
 * Stretches of physical memory, the words that boot and PMM share.
 */
#ifndef CAIRN_LIB_RANGE_H
#define CAIRN_LIB_RANGE_H

#include "lib/units.h"

/* A contiguous stretch of RAM in whole frames: [first, first + frames). frames > 0. */
struct frame_run {
    pfn_t first;
    npages_t frames;
};

/* Why frames of a run are not free at hand-over. */
enum hold_kind {
    HOLD_RESERVED, /* never handed out until given back: first page, image, modules, boot information, ACPI */
    HOLD_USED,     /* handed out before the PMM stood (page tables): used once */
    HOLD_METADATA, /* behind the PMM's own arrays, and their tables */
    HOLD_BAD,      /* never used by anybody: badram= */
};

/* A held part of a run: [first, first + frames), wholly inside one run. */
struct frame_hold {
    pfn_t first;
    uint32_t frames; /* > 0; 16 TiB at most in one hold, longer ones are split */
    uint32_t kind;   /* enum hold_kind */
};

static inline uint64_t run_end(struct frame_run r) { return r.first.v + r.frames.v; }
static inline uint64_t hold_end(struct frame_hold h) { return h.first.v + h.frames; }

/* Do [a, a_end) and [b, b_end) share a number? Empty ranges share none. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end && a < a_end && b < b_end;
}

#endif
