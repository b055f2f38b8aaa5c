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
 * The rooms: this header has the start, single frames and questions; pmm_runs.h arrays and contiguous runs;
 * pmm_owners.h owners with blocks of their own; pmm_pressure.h what happens when memory is short, and zeroed frames;
 * pmm_change.h memory that comes, goes or breaks; pmm_compact.h scattered free frames that become whole blocks.
 *
 * Invariants, checked by pmm_check() and tested by name in test/unit/:
 *   PMM-I1  ram = free + used + metadata + earmarked + reserved, in total and recounted from states
 *   PMM-I2  a block's free frames are those on its stack, each once, those carved that are loose, in the eighths that
 *           its descriptor names, and those never carved; the codes of the former two are links
 *   PMM-I3  a block is on the stack that its free count says, and on no other
 *   PMM-I4  from a block's carve mark on all its frames are RAM that is free (codes there mean nothing); of a block
 *           that is `late`, all that are RAM, of which the first is at the mark and a hole behind it
 *   PMM-I5  metadata + earmarked = the pages that all blocks of all regions need, tables included
 *   PMM-I6  every frame that is not RAM is ABSENT in an opened block
 *   PMM-I7  reserved frames are those that the opened blocks' states and the holds of never-used blocks say
 *   PMM-I8  never-used extents and opened blocks together are all blocks of the region, disjoint
 *   PMM-I9  the frames in magazines and in the zero pool are exactly those whose code is CACHED, each once; the blocks
 *           that CPUs have ready exactly those whose mode is
 *   PMM-I10 an owner's blocks are on its lists, and the frames in use in them are what it is charged for them
 *   PMM-I11 a code that says that a magazine gave the frame out stands only where codes mean something and no owner has
 *           the block; the blocks whose codes a CPU trusts are open, and its magazines serve them
 *
 * A call that fails may have opened blocks: frames never used are free then, and metadata is paid that was earmarked.
 *
 * Context. "any": thread, interrupt and fault-handler context. No call may be made from NMI or machine check, from
 * `back`, or from a trace function. The calls lock themselves (interrupts off for at most the cost given) except the
 * pair pmm_alloc/pmm_free through a magazine, which keeps interrupts on: an interrupt that lands inside it is served
 * from the blocks. pmm_init, pmm_check, pmm_walk and pmm_dump want the PMM to themselves: no other call while they run.
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
    PMM_NODES_MAX = 8,
    PMM_MAGAZINE_FRAMES = 64,
    PMM_OWNERS_MAX = 65534,
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
/* One region; private to src/pmm/. */
struct pmm_region;
/* One CPU's magazines; private to src/pmm/. */
struct pmm_cpu;
/* One owner's books; private to src/pmm/. */
struct pmm_owner;
enum { PMM_BLOCK_BYTES = 32, PMM_REGION_BYTES = 200 };

/* Frames [first, first + frames) lie in this node. A block belongs to the node of its first frame. */
struct pmm_node_range {
    pfn_t first;
    npages_t frames;
    unsigned node; /* < node_count */
};

struct pmm_config {
    struct frame_run *runs;       /* sorted, disjoint, not touching; kept, and edited by pmm_region_add and _remove */
    size_t run_count;
    size_t run_capacity;          /* entries at `runs`; 0 means run_count: nothing can be added */
    struct frame_hold *holds;     /* sorted, disjoint, each inside one run; kept and edited by the PMM */
    size_t hold_count;
    size_t hold_capacity;         /* entries at `holds`; give-backs that split a hold need room */
    uint16_t *states;             /* address of states[0], may be far outside backed memory */
    struct pmm_block *blocks;     /* address of blocks[0], likewise */
    struct pmm_region *regions;   /* memory for region_capacity regions, zeroed and writable */
    size_t region_capacity;       /* pmm_count_descriptors() says how many are needed */
    struct pmm_backing backing;

    /* All below may be zero. */
    struct pmm_cpu *cpus;         /* memory for cpu_count, zeroed; null: no magazines, all goes through the blocks */
    size_t cpu_count;             /* CPUs; arch_cpu() (arch.h) says which one runs, and is asked only where > 1 */
    const uint8_t *cpu_nodes;     /* the node of each CPU; null: all in node 0. Read by pmm_init only */
    struct pmm_owner *owners;     /* memory for owner_capacity owners */
    size_t owner_capacity;        /* at most PMM_OWNERS_MAX */
    pfn_t *zero_pool;             /* memory for the frames zeroed ahead (pmm_pressure.h) */
    size_t zero_capacity;
    const struct pmm_node_range *node_ranges; /* sorted, disjoint; RAM in none is node 0's. Read by pmm_init only */
    size_t node_range_count;
    unsigned node_count;          /* <= PMM_NODES_MAX; 0 means 1 */
    const uint8_t *node_distance; /* [from * node_count + to], as SLIT has it (10 is local); null: all equally far */
};

/*
 * Memory for those who ask. A frame is in the lowest zone that holds it; unlimited requests are served from the highest
 * zone first, and 1M last of all.
 */
enum pmm_zone {
    PMM_ZONE_1M,  /* below 1 MiB: real-mode code, BIOS calls */
    PMM_ZONE_16M, /* below 16 MiB: ISA DMA */
    PMM_ZONE_4G,  /* below 4 GiB: 32-bit devices */
    PMM_ZONE_HIGH,
    PMM_ZONES,
};

struct pmm_zone_stats { /* frames */
    npages_t free;    /* physically free in it, what metadata will need and what is cached not looked at */
    npages_t reserve; /* that ordinary requests leave there (pmm_zone_reserve) */
};

struct pmm_stats { /* frames */
    npages_t ram, free, used, metadata, earmarked, reserved;
    npages_t promised;   /* part of `free` that pmm_promise set aside */
    npages_t emergency;  /* part of `free` that only PMM_EMERGENCY draws on */
    npages_t cached;     /* part of `free` in magazines, caches of whole blocks, and the zero pool */
    npages_t zeroed;     /* part of `cached` in the zero pool */
    npages_t zeroed_kernel; /* of these, of the class PMM_KERNEL */
    npages_t untouched;  /* part of `free` in blocks never used; what metadata will take is paid from others first */
    npages_t bad;        /* part of `reserved` that pmm_mark_bad took */
    npages_t lost;       /* part of `reserved` in blocks closed as corrupt */
    npages_t whole;      /* part of `free` in opened blocks that are wholly free */
    size_t regions, owners;
    uint64_t allocated, freed;      /* frames handed out and taken back since the start */
    uint64_t zero_hits, zero_misses; /* pmm_alloc_zeroed: from the pool; left to the caller to zero */
    uint64_t refills, flushes, drains; /* of magazines */
    uint64_t reclaims;                /* calls of low-memory callbacks */
    uint64_t misuses;                 /* wrong calls reported */
    struct pmm_zone_stats zones[PMM_ZONES];
};

struct pmm_region_stats {
    pfn_t base;         /* first frame of RAM in it */
    npages_t frames;    /* RAM frames in it */
    npages_t span;      /* from the first of them to the last, holes included */
    npages_t free;      /* of the RAM frames: free, physically, cached ones not counted */
    npages_t untouched; /* the part of `free` in blocks never used */
    unsigned node;      /* of its first block */
};

/* What pmm_trace tells of. */
enum pmm_event {
    PMM_EVENT_ALLOC, PMM_EVENT_FREE, PMM_EVENT_RETAIN, PMM_EVENT_RELEASE, PMM_EVENT_CLAIM, PMM_EVENT_GIVE_BACK,
    PMM_EVENT_OPEN_BLOCK, PMM_EVENT_CLOSE_BLOCK, PMM_EVENT_BAD, PMM_EVENT_REGION_ADD, PMM_EVENT_REGION_REMOVE,
    PMM_EVENT_OWNER_OPEN, PMM_EVENT_OWNER_CLOSE, PMM_EVENT_RECLAIM,
};
typedef void pmm_trace_fn(void *ctx, enum pmm_event event, pfn_t first, npages_t frames);

/* The PMM itself: one a machine; the fields are private to src/pmm/. */
#include "pmm/pmm_types.h"

/* ---- Start ---- */

/* Regions that these runs make: runs that touch the same block belong to one. O(runs). */
size_t pmm_count_regions(const struct frame_run *runs, size_t run_count);
/*
 * Descriptors that they take: one for each region, and one more where a region crosses 16 MiB or 4 GiB. A border
 * between nodes inside a region takes one more as well: add 2 * node_range_count to be safe. O(runs).
 */
size_t pmm_count_descriptors(const struct frame_run *runs, size_t run_count);

/*
 * Bring up `pmm` (any contents before) over config's runs. Blocks with HOLD_USED or HOLD_METADATA frames are opened
 * now; their pages must be backed already (missing() == 0; zeros). So is block 0, if it has RAM; pages that it lacks
 * are backed, with frames of it from 1 MiB on. All else is left untouched: the cost is O(runs + holds + blocks
 * opened), never O(RAM). A region that holds no more frames than its metadata would take is left out,
 * its frames counted as reserved; frames the states array cannot reach must not be in the runs.
 * Besides the run and hold lists: `states` and `blocks` lie at page boundaries, share no page, and nobody else puts
 * pages or tables between the first and the last page of either (tables shared at the ends are fine). The hold list is
 * edited: what concerns open blocks may leave it at any time.
 * => OK; INVALID when the lists or arrays are not as said (nothing usable in *pmm); LIMIT: more descriptors than
 *    region_capacity or PMM_REGIONS_MAX; NOMEM: what is free would not pay for the metadata; CORRUPT: the
 *    backing failed.
 */
enum status pmm_init(struct pmm *pmm, const struct pmm_config *config);

/* ---- Frames ---- */

enum pmm_flags {
    PMM_KERNEL = 0,        /* long-lived kernel frame */
    PMM_USER = 1 << 0,     /* a frame of a space; drawn from other blocks than kernel frames while others are free */
    PMM_PROMISED = 1 << 1, /* draws on an earlier pmm_promise; cannot fail for want of memory */
    PMM_BELOW_1M = 1 << 2, /* only from below 1 MiB; */
    PMM_BELOW_16M = 1 << 3, /* below 16 MiB; */
    PMM_BELOW_4G = 1 << 4,  /* below 4 GiB. May draw on the reserve of the zone asked for. */
    PMM_EMERGENCY = 1 << 5, /* may draw on all reserves (pmm_pressure.h): who needs a frame to free frames */
    PMM_NO_RECLAIM = 1 << 6, /* calls no low-memory callback: interrupt handlers, and who holds what these need */
    PMM_OWNER_SHIFT = 16,   /* an owner in bits 16-31 (pmm_owners.h); 0: nobody */
};
#define PMM_OWNER(owner) ((unsigned)(owner) << PMM_OWNER_SHIFT)

/*
 * One frame, reference count 1, contents arbitrary. From blocks of its class, or that nobody uses: those above 16 MiB
 * of the nearest node first, of these the ones above 4 GiB; then those below 16 MiB. When all these are gone, from
 * blocks of owners and of the other class; from below 1 MiB last. Frame 0 is never served.
 * Through a magazine some 25 instructions; else O(1); opening a block O(log runs + holds). Context: any; with
 * PMM_NO_RECLAIM from interrupts.
 * => OK, always, while free exceeds what is promised and reserved, or with PMM_PROMISED, but with PMM_BELOW_*; NOMEM:
 *    nothing free (or all of it kept for others, or in the magazine that this call interrupts), *frame untouched;
 *    MISUSE: unknown flags, no such owner, PMM_PROMISED with nothing promised; CORRUPT: a block had to be opened and
 *    the backing failed, now or before (reported; opened blocks go on serving).
 */
enum status pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame);

/*
 * Give back a frame that is used exactly once. O(1). Context: any.
 * => OK; MISUSE, reported with frame, state, references, region, block, owner and caller: free already, never
 * allocated, more than one reference, part of a run, the zero frame, reserved, bad, metadata, absent, outside RAM.
 * Nothing changed.
 */
enum status pmm_free(struct pmm *pmm, pfn_t frame);
/* The same by address; also MISUSE where it is not the start of a frame. */
enum status pmm_free_at(struct pmm *pmm, paddr_t address);

/*
 * One reference more. => OK; LIMIT at PMM_REFERENCES_MAX, and where the frame goes bad and PMM_BAD_SHARED_MAX of these
 * are shared already; MISUSE where the frame is not in use. O(1); in a run the
 * block's frames get counts of their own first. Context: any. The zero frame has no count: OK, nothing changes.
 */
enum status pmm_retain(struct pmm *pmm, pfn_t frame);
/* One reference less; the last frees the frame (*freed says so; may be null). => OK; MISUSE as for pmm_free. As retain.
 */
enum status pmm_release(struct pmm *pmm, pfn_t frame, bool *freed);

/*
 * The one zero frame, that all share: `frame`, used once, its contents zero by the caller's doing, becomes it for
 * good. => OK; EXISTS: there is one; MISUSE: not used once.
 */
enum status pmm_zero_frame_set(struct pmm *pmm, pfn_t frame);
/* => OK; ABSENT: none was set. */
enum status pmm_zero_frame(const struct pmm *pmm, pfn_t *frame);

/*
 * Take exactly these frames, all or nothing: each becomes used once. Drains the magazines. O(frames + 512 a block
 * touched + gaps of its region).
 * => OK; EXISTS: one of them is not free; ABSENT: one is not RAM; NOMEM: too few would be left for promises, reserves
 * and metadata; INVALID: empty or overflowing. Nothing changed but for OK. CORRUPT: the backing failed (frames are
 * lost).
 */
enum status pmm_claim(struct pmm *pmm, pfn_t first, npages_t frames);

/*
 * Reserved frames become free: boot tables, .init, modules after use. All or nothing. O(frames), O(holds) for
 * never-used blocks.
 * => OK; MISUSE (reported): one of them is not reserved RAM, or is frame 0, or bad; LIMIT: hold_capacity is too small
 * for a split; NOMEM: one of them is in a region left out, whose metadata would take as much. Nothing changed but for
 * OK.
 */
enum status pmm_give_back(struct pmm *pmm, pfn_t first, npages_t frames);

/*
 * Promise: set `n` free frames aside so that n pmm_alloc with PMM_PROMISED cannot fail. This is how a layer above does
 * a range all or nothing. O(1). => OK; NOMEM, nothing changed (magazines were drained, callbacks called).
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
    PMM_STATE_CACHED,    /* free, in a magazine, in a CPU's cache of whole blocks, or in the zero pool */
    PMM_STATE_USED,
    PMM_STATE_RUN,       /* used, in a block handed out whole */
    PMM_STATE_ZERO,      /* the zero frame */
    PMM_STATE_RESERVED,
    PMM_STATE_BAD,
    PMM_STATE_LOST,      /* in a block closed as corrupt */
    PMM_STATE_METADATA,
    PMM_STATES,
};

struct pmm_frame {
    enum pmm_state state;
    unsigned references; /* for USED and RUN, else 0 */
    size_t region;       /* index for pmm_region_stats, SIZE_MAX for OUTSIDE */
    unsigned owner;      /* whose own block it is in; 0: nobody's */
    enum pmm_zone zone;
    unsigned node;
    bool goes_bad;       /* in use and marked bad: it will not come back */
};

/* What is known of a frame; any number is allowed. O(log regions), O(log runs + log holds) in a never-used block. */
struct pmm_frame pmm_query(const struct pmm *pmm, pfn_t frame);
/* Does pmm_query say PMM_STATE_USED? O(1). */
bool pmm_is_used(struct pmm *pmm, pfn_t frame);
/* No frame of RAM has this number or a higher one, unless memory is added. O(1). */
pfn_t pmm_frames_end(const struct pmm *pmm);
/* How many of [first, first + frames) are RAM, whatever their state: in one of the runs. O(log runs + runs in it). */
npages_t pmm_count_ram(const struct pmm *pmm, pfn_t first, npages_t frames);
/* The same for any physical address, whole frames or not. */
struct pmm_frame pmm_frame_state(const struct pmm *pmm, paddr_t address);
const char *pmm_state_name(enum pmm_state s);
const char *pmm_zone_name(enum pmm_zone z);

struct pmm_stats pmm_stats(const struct pmm *pmm); /* O(CPUs) */
bool pmm_region_stats(const struct pmm *pmm, size_t index,
                      struct pmm_region_stats *out); /* false past the last; O(log regions + node borders) */

/* Frames in each state, counted over all of memory. O(opened frames + runs + holds). */
void pmm_state_counts(const struct pmm *pmm, npages_t counts[PMM_STATES]);

/*
 * Visit all RAM in ascending order as the longest stretches of one state: visit(ctx, first, frames, state); false
 * stops. Never-used blocks are visited as stretches, so the cost is O(opened frames + runs + holds).
 */
void pmm_walk(const struct pmm *pmm, bool (*visit)(void *ctx, pfn_t first, npages_t frames, enum pmm_state state),
              void *ctx);

/*
 * Compare all independent views (PMM-I1..I10). Says what is wrong to `out` (may be null). => OK; CORRUPT. O(opened
 * frames). Blocks closed as corrupt are accounted for (`lost`) and no error.
 */
enum status pmm_check(const struct pmm *pmm, struct sink *out);

/* Everything, in text, for the fire; no locks, no allocation. */
void pmm_dump(const struct pmm *pmm, struct sink *out);

/* ---- Trace ---- */

const char *pmm_event_name(enum pmm_event e);

/*
 * Call fn for each thing done, with the frames it was done to (`first` is frame 0 where there are none); null: no more.
 * While there is one, magazines stand empty and every call takes the lock, under which fn is called: it must not call
 * the PMM.
 */
void pmm_trace(struct pmm *pmm, pmm_trace_fn *fn, void *ctx);

#endif
