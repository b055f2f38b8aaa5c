/*
 * PMM: who owns each frame.
 *
 * Physical memory is a list of regions; a region is whole blocks of 512 frames; a block is a stack of free frames.
 * Each frame has one u16: while it is free it is a link of its block's stack, while it is used it is its reference
 * count. So every operation is O(1), nothing is searched, and the PMM never touches a frame it manages but those
 * behind its own arrays.
 *
 * Memory never used costs nothing: a block is opened the first time one of its frames is wanted, and only then are the
 * pages behind its descriptor and its states backed (section "Backing"). What that will cost for all blocks never used
 * is earmarked from the start, so `free` is exactly what can still be handed out.
 *
 * Invariants, checked by pmm_check() and tested by name in test/unit/:
 *   PMM-I1  ram = free + used + metadata + earmarked + reserved, in total and recounted from states
 *   PMM-I2  a block's stack holds exactly its `free` carved frames, each once, each with a link code
 *   PMM-I3  a block is on the stack that its free count says, and on no other
 *   PMM-I4  no frame of a block beyond its carve mark has a link code or a count
 *   PMM-I5  metadata + earmarked = the pages that all blocks of all regions need, tables included
 *   PMM-I6  every frame that is not RAM is ABSENT in an opened block
 *   PMM-I7  reserved frames are those that the opened blocks' states and the holds of never-used blocks say
 *   PMM-I8  never-used extents and opened blocks together are all blocks of the region, disjoint
 *
 * Context: every call but pmm_init, pmm_check, pmm_walk and pmm_dump may be called from thread and fault-handler
 * context; none from NMI. One CPU and interrupts off until the PMM has its locks; a call never calls back into the
 * PMM, nor may `back`.
 */
#ifndef CAIRN_PMM_PMM_H
#define CAIRN_PMM_PMM_H

#include "lib/fmt.h"
#include "lib/range.h"
#include "lib/status.h"
#include "lib/units.h"

enum {
    PMM_BLOCK_FRAMES = 512,
    PMM_REFERENCES_MAX = 65000,
    PMM_REGIONS_MAX = 65000,
};

/* ---- Backing: how the PMM's arrays get memory ----
 *
 * The arrays lie at computed addresses: states[pfn], blocks[pfn / 512]. The caller reserves the addresses and backs
 * pages of them when asked. Neither function may allocate or call the PMM.
 */
struct pmm_backing {
    void *ctx;
    /*
     * Frames that back() needs for this page now: 0 when it is backed, else 1 + the tables that are missing (<= 1 +
     * table_levels).
     */
    npages_t (*missing)(void *ctx, const void *page);
    /* Back the page with exactly missing() frames; afterwards it reads as zeros. Cannot fail but by STATUS_CORRUPT. */
    enum status (*back)(void *ctx, const void *page, const pfn_t *frames, npages_t n);
    /*
     * Levels of tables made on demand above a page, each of 512 entries: 2 on x86-64 (PT, PD), 0 for plain memory. At
     * most 2.
     */
    unsigned table_levels;
};

/* One block of 512 frames, 32 bytes. Only the PMM writes it; the layout is private to src/pmm/. */
struct pmm_block;
/* One region, at most 128 bytes; private to src/pmm/. */
struct pmm_region;
enum { PMM_BLOCK_BYTES = 32, PMM_REGION_BYTES = 128 };

struct pmm_config {
    const struct frame_run *runs; /* sorted, disjoint, not touching; kept: must live as long as the PMM */
    size_t run_count;
    struct frame_hold *holds;     /* sorted, disjoint, each inside one run; kept and edited by the PMM */
    size_t hold_count;
    size_t hold_capacity;         /* entries at `holds`; give-backs that split a hold need room */
    uint16_t *states;             /* address of states[0], may be far outside backed memory */
    struct pmm_block *blocks;     /* address of blocks[0], likewise */
    struct pmm_region *regions;   /* memory for region_capacity regions, zeroed and writable */
    size_t region_capacity;       /* pmm_count_regions() says how many are needed */
    struct pmm_backing backing;
};

struct pmm_stats { /* frames */
    npages_t ram, free, used, metadata, earmarked, reserved;
    npages_t promised;   /* part of `free` that pmm_promise set aside */
    npages_t untouched;  /* part of `free` in blocks never used */
    size_t regions;
    uint64_t allocated, freed; /* frames handed out and taken back since the start */
};

struct pmm_region_stats {
    pfn_t base;         /* first frame of RAM in it */
    npages_t frames;    /* RAM frames in it */
    npages_t free;      /* of the RAM frames: free, physically */
    npages_t untouched; /* the part of `free` in blocks never used */
    unsigned node;
};

/* The PMM itself: one a machine; the fields are private to src/pmm/. */
#include "pmm/pmm_types.h"

/* ---- Start ---- */

/* Regions that these runs make: runs that touch the same block belong to one. O(runs). */
size_t pmm_count_regions(const struct frame_run *runs, size_t run_count);

/*
 * Bring up `pmm` (any contents before) over config's runs. Blocks with HOLD_USED or HOLD_METADATA frames are opened
 * now; their pages must be backed already (missing() == 0), everything else is left untouched: the cost is O(runs +
 * holds + blocks opened), never O(RAM). A region that holds no more frames than its metadata would take is left out,
 * its frames counted as reserved; frames the states array cannot reach must not be in the runs.
 * Besides the run and hold lists: `states` and `blocks` lie at page boundaries, share no page, and nobody else puts
 * pages or tables between the first and the last page of either (tables shared at the ends are fine). The hold list is
 * edited: what concerns open blocks may leave it at any time.
 * => OK; INVALID when the lists or arrays are not as said (nothing usable in *pmm); LIMIT: more regions than
 *    region_capacity or PMM_REGIONS_MAX; NOMEM: what is free would not pay for the metadata.
 */
enum status pmm_init(struct pmm *pmm, const struct pmm_config *config);

/* ---- Frames ---- */

enum pmm_flags {
    PMM_KERNEL = 0,     /* long-lived kernel frame */
    PMM_USER = 1 << 0,  /* a frame of a space; drawn from other blocks than kernel frames while others are free */
    PMM_PROMISED = 1 << 1, /* draws on an earlier pmm_promise; cannot fail for want of memory */
    PMM_BELOW_1M = 1 << 2, /* only from below 1 MiB */
};

/*
 * One frame, reference count 1, contents arbitrary. Memory above 4 GiB is served first, memory below 1 MiB last; blocks
 * of the other class only when all others are gone. Frame 0 is never served. O(1); opening a block O(log runs + holds).
 * => OK, always, while free > promised or with PMM_PROMISED, but with PMM_BELOW_1M; NOMEM: nothing free (or all of it
 *    promised to others), *frame untouched; MISUSE: unknown flags, PMM_PROMISED with nothing promised; CORRUPT: a block
 *    had to be opened and the backing failed, now or before (reported; opened blocks go on serving).
 */
enum status pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame);

/*
 * Give back a frame that is used exactly once. O(1).
 * => OK; MISUSE, reported with frame, state and block: free already, never allocated, more than one reference,
 * reserved, metadata, absent, outside RAM. Nothing changed.
 */
enum status pmm_free(struct pmm *pmm, pfn_t frame);
/* The same by address; also MISUSE where it is not the start of a frame. */
enum status pmm_free_at(struct pmm *pmm, paddr_t address);

/* One reference more. => OK; LIMIT at PMM_REFERENCES_MAX, MISUSE where the frame is not in use. O(1). */
enum status pmm_retain(struct pmm *pmm, pfn_t frame);
/* One reference less; the last frees the frame (*freed says so; may be null). => OK; MISUSE as for pmm_free. O(1). */
enum status pmm_release(struct pmm *pmm, pfn_t frame, bool *freed);

/*
 * Take exactly these frames, all or nothing: each becomes used once. O(frames + 512 a block
 * touched + gaps of its region).
 * => OK; EXISTS: one of them is not free; ABSENT: one is not RAM; NOMEM: too few would be left for promises and
 * metadata; INVALID: empty or overflowing. Nothing changed but for OK. CORRUPT: the backing failed (frames are lost).
 */
enum status pmm_claim(struct pmm *pmm, pfn_t first, npages_t frames);

/*
 * Reserved frames become free: boot tables, .init, modules after use. All or nothing. O(frames), O(holds) for
 * never-used blocks.
 * => OK; MISUSE (reported): one of them is not reserved RAM, or is frame 0; LIMIT: hold_capacity is too small for a
 * split; NOMEM: one of them is in a region left out, whose metadata would take as much. Nothing changed but for OK.
 */
enum status pmm_give_back(struct pmm *pmm, pfn_t first, npages_t frames);

/*
 * Promise: set `n` free frames aside so that n pmm_alloc with PMM_PROMISED cannot fail. This is how a layer above does
 * a range all or nothing. O(1). => OK; NOMEM, nothing changed.
 */
enum status pmm_promise(struct pmm *pmm, npages_t n);
/* Put back what was promised and not drawn. => OK; MISUSE: more than is promised. O(1). */
enum status pmm_unpromise(struct pmm *pmm, npages_t n);

/* ---- Questions ---- */

enum pmm_state {
    PMM_STATE_OUTSIDE,   /* no region there */
    PMM_STATE_ABSENT,    /* in a region's block, but not RAM */
    PMM_STATE_UNTOUCHED, /* free, in a block never used */
    PMM_STATE_FREE,
    PMM_STATE_USED,
    PMM_STATE_RESERVED,
    PMM_STATE_METADATA,
};

struct pmm_frame {
    enum pmm_state state;
    unsigned references; /* for USED, else 0 */
    size_t region;       /* index, SIZE_MAX for OUTSIDE */
};

/* What is known of a frame; any number is allowed. O(log regions), O(log runs + log holds) in a never-used block. */
struct pmm_frame pmm_query(const struct pmm *pmm, pfn_t frame);
const char *pmm_state_name(enum pmm_state s);

struct pmm_stats pmm_stats(const struct pmm *pmm); /* O(1) but untouched: O(regions) */
bool pmm_region_stats(const struct pmm *pmm, size_t index,
                      struct pmm_region_stats *out); /* false past the last; O(1)+extents */

/*
 * Visit all RAM in ascending order as the longest stretches of one state: visit(ctx, first, frames, state); false
 * stops. Never-used blocks are visited as stretches, so the cost is O(opened frames + runs + holds).
 */
void pmm_walk(const struct pmm *pmm, bool (*visit)(void *ctx, pfn_t first, npages_t frames, enum pmm_state state),
              void *ctx);

/*
 * Compare all independent views (PMM-I1..I8). Says what is wrong to `out` (may be null). => OK; CORRUPT. O(opened
 * frames).
 */
enum status pmm_check(const struct pmm *pmm, struct sink *out);

/* Everything, in text, for the fire; no locks, no allocation. */
void pmm_dump(const struct pmm *pmm, struct sink *out);

#endif
