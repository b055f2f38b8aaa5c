/*
 * The firmware's memory map, in any order and any state, made into a sorted list of runs.
 *
 * What it means, to the byte: each byte of the address space has the worst type of the entries that cover it, and a
 * frame is RAM if all its bytes are usable. So RAM shrinks to whole frames and everything else grows; overlaps go to
 * the worse type; and cutting an entry in two anywhere, repeating it or reordering the map changes nothing (two
 * usable entries that meet inside a frame cover it together).
 *
 * Zero lengths are dropped; an entry that wraps past 2^64 is cut there. Unknown types count as reserved. Runs never
 * touch or overlap. O(n log n), no recursion, no allocation: the caller brings the scratch memory.
 */
#ifndef CAIRN_BOOT_MEMMAP_H
#define CAIRN_BOOT_MEMMAP_H

#include "lib/range.h"
#include "lib/status.h"

struct memmap_entry {
    uint64_t base, length; /* bytes */
    uint32_t type;         /* 1 usable, 2 reserved, 3 ACPI reclaimable, 4 ACPI NVS, 5 bad, others reserved */
};

enum memmap_type {
    MEMMAP_USABLE = 1,
    MEMMAP_RESERVED = 2,
    MEMMAP_ACPI_RECLAIMABLE = 3,
    MEMMAP_ACPI_NVS = 4,
    MEMMAP_BAD = 5,
};

/* One end of an entry, for the sweep. 16 bytes. */
struct memmap_edge {
    uint64_t at_bytes;
    uint32_t rank;  /* of the entry's type; higher is worse */
    int32_t step;   /* +1 begins, -1 ends */
};

struct memmap_scratch {
    struct memmap_edge *edges;
    size_t capacity;  /* edges; two an entry */
};

/* Which types make runs: a set of bits. ACPI-reclaimable memory can be had as runs of its own. */
enum memmap_want {
    MEMMAP_WANT_USABLE = 1 << 0,
    MEMMAP_WANT_ACPI = 1 << 1, /* runs of types 1 and 3 together when both are wanted, merged where they touch */
};

/* Gives entry `index`, the same each time it is asked; so the map can stay where the loader put it. */
typedef struct memmap_entry (*memmap_get)(const void *ctx, size_t index);

struct memmap_result {
    size_t runs;           /* written */
    npages_t frames;       /* sum over the runs */
    npages_t beyond;       /* frames of usable entries at or above `limit`, left out; overlaps count twice, saturates */
    size_t entries_lost;   /* usable entries dropped since the scratch was full */
    size_t runs_lost;      /* runs dropped since `runs` was full: the smallest, of equal ones the highest */
};

/*
 * Normalise `count` entries into `runs` (room for `run_capacity`). Frames at or above `limit` are left out (mem=;
 * the PMM's reach); the last frame below 2^64 always is. When the scratch cannot hold all entries, usable ones are
 * dropped, never the others.
 * => OK; ABSENT: no RAM in it (result->runs is 0); LIMIT: the entries that are not usable alone overflow the
 * scratch, or run_capacity is 0. *result is filled in each case. O(n log n); when runs are lost, 50 sweeps of O(n)
 * more.
 */
enum status memmap_normalise(memmap_get get, const void *ctx, size_t count, unsigned want, pfn_t limit,
                             struct memmap_scratch scratch, struct frame_run *runs, size_t run_capacity,
                             struct memmap_result *result);

const char *memmap_type_name(uint32_t type);

#endif
