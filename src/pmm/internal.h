/*
 * What the files of src/pmm/ share. Frame and block numbers are plain uint64_t in here, named so. Everything in here
 * wants the lock, but what says otherwise.
 */
#ifndef CAIRN_PMM_INTERNAL_H
#define CAIRN_PMM_INTERNAL_H

#include "lib/macros.h"
#include "lib/report.h"
#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

/* ---- Frame codes ---- */
enum pmm_code {
    CODE_UNWRITTEN = 0,                  /* what fresh memory says; below a mark: of a frame that is not RAM */
    CODE_COUNT_MAX = PMM_REFERENCES_MAX, /* 1 .. this: references */
    CODE_METADATA,
    CODE_RESERVED,
    CODE_ABSENT,
    CODE_CACHED,      /* in a magazine or in the zero pool */
    /* + class: one reference, and never more; came out of a magazine of that class. Is written there only, and is true
     * wherever it stands: no block forgets the code of a frame in use. */
    CODE_DRAWN,
    CODE_DRAWN_LAST = CODE_DRAWN + PMM_CLASSES - 1,
    CODE_SHARED_ONCE, /* one reference, and there were more: its owner may not be the one that allocated it */
    CODE_BAD,
    CODE_BAD_ONCE,    /* one reference; goes bad when freed */
    CODE_ZERO,        /* the zero frame */
    CODE_LOST,        /* freed into a closed block */
    CODE_LAST = CODE_LOST,
    CODE_RUN_MASK = 0x7FFF, /* what the code at the mark of a block that is `late` can say of the run that it is in */
    CODE_LINK = 0xFE00, /* + i: free; frame i of the block is below it on the stack, or it is i itself: bottom */
    CODE_FREE = 0xFFFF, /* free, and loose; so is any link of a frame that is not on the stack */
};
static_assert(CODE_LINK + PMM_BLOCK_FRAMES == 0x10000, "links are the top of the range");
static_assert((int)CODE_LAST < (int)CODE_LINK, "no code is a link");

/* Where a block lies. 0-7: on the region's stack of its class with that level. */
enum pmm_stack {
    STACK_HOLED = PMM_STACKS, /* nothing in use, some frames not usable */
    STACK_WHOLE,              /* nothing in use, 512 usable */
    STACK_OWNER_PARTLY,       /* on its owner's list of blocks with free frames */
    STACK_OWNER_FULL,         /* on its owner's list of the others */
    STACK_CURRENT,            /* on none: frames are drawn from it now */
    STACK_NONE,               /* exhausted, handed out whole, or closed */
    STACK_FRAMES = PMM_BLOCK_FRAMES / PMM_STACKS, /* free counts a stack covers */
};

enum { LANE_CLASS = 1, LANE_NODE_SHIFT = 1, LANE_DIRECT = 0x80 };

/* `next` of the first block of a run: it is the only one. */
#define RUN_OF_ONE_BLOCK (PMM_NO_BLOCK - 1)

#define FRAME_NONE UINT64_MAX

static inline uint64_t frames_below_1m(void) { return bytes_to_pages_down(MIB).v; }
static inline uint64_t block_of(uint64_t frame) { return frame / PMM_BLOCK_FRAMES; }
static inline uint64_t block_start(uint64_t block) { return block * PMM_BLOCK_FRAMES; }
static inline unsigned index_in_block(uint64_t frame) { return (unsigned)(frame % PMM_BLOCK_FRAMES); }
static inline uint64_t region_end(const struct pmm_region *r) { return (uint64_t)r->base + r->blocks; }
static inline uint64_t pmm_free_frames(const struct pmm *pmm) /* in blocks, and not the earmark's */
{
    return pmm->spare + pmm->promised + pmm->emergency;
}
static inline unsigned link_to(uint64_t frame) /* CODE_LINK + its index: the bits above that are ones */
{
    static_assert((CODE_LINK & (PMM_BLOCK_FRAMES - 1)) == 0, "or is plus");
    return (uint16_t)(frame | (unsigned)CODE_LINK);
}
static inline bool code_is_link(unsigned code) { return code >= CODE_LINK; }
static inline bool code_is_absent(unsigned code) { return code == CODE_ABSENT || code == CODE_UNWRITTEN; }
static inline bool code_is_count(unsigned code) { return code - 1 < CODE_COUNT_MAX; }
static inline bool code_is_drawn(unsigned code) { return code - CODE_DRAWN < PMM_CLASSES; }
/* In use once, and never more often. */
static inline bool code_is_unshared(unsigned code) { return code == 1 || code_is_drawn(code); }
static inline bool code_is_used(unsigned code)
{
    return code_is_count(code) || code_is_drawn(code) || code == CODE_SHARED_ONCE || code == CODE_BAD_ONCE ||
           code == CODE_ZERO;
}
/* In use exactly once. */
static inline bool code_is_once(unsigned code)
{
    return code_is_unshared(code) || code == CODE_SHARED_ONCE || code == CODE_BAD_ONCE;
}

/* Other CPUs read and write codes of frames that are theirs without the lock: each access is one, relaxed. */
static inline unsigned code_get(const struct pmm *pmm, uint64_t frame)
{
    return __atomic_load_n(&pmm->states[frame], __ATOMIC_RELAXED);
}
static inline void code_set(struct pmm *pmm, uint64_t frame, unsigned code)
{
    __atomic_store_n(&pmm->states[frame], (uint16_t)code, __ATOMIC_RELAXED);
}
static inline unsigned carved_get(const struct pmm_block *b) { return __atomic_load_n(&b->carved, __ATOMIC_RELAXED); }
static inline void carved_set(struct pmm_block *b, unsigned index)
{
    __atomic_store_n(&b->carved, (uint16_t)index, __ATOMIC_RELAXED);
}

static inline unsigned lane_get(const struct pmm_block *b) { return __atomic_load_n(&b->lane, __ATOMIC_RELAXED); }
static inline void lane_set(struct pmm_block *b, unsigned lane)
{
    __atomic_store_n(&b->lane, (uint8_t)lane, __ATOMIC_RELAXED);
}

static inline unsigned class_of(const struct pmm_block *b) { return b->lane & LANE_CLASS; }
static inline unsigned node_of(const struct pmm_block *b) { return (b->lane >> LANE_NODE_SHIFT) % PMM_NODES_MAX; }
static inline bool block_is_run(const struct pmm_block *b)
{
    return b->mode == PMM_BLOCK_RUN_HEAD || b->mode == PMM_BLOCK_RUN_PART;
}
static inline bool block_has_stack(const struct pmm_block *b)
{
    return b->mode == PMM_BLOCK_OPEN;
}

/* ---- regions_start.c ---- */
/* Regions from the runs, every block never used, on no list. Counts their frames. => OK; LIMIT. */
enum status make_regions(struct pmm *pmm);
/* `shown` of all places anew, from `joined`. O(regions). */
void regions_renumber(struct pmm *pmm);
void region_init(struct pmm_region *r, uint64_t base, uint64_t blocks, unsigned node);
/* From now on its blocks can be opened. After choose_cache_zone. */
void region_ready(const struct pmm *pmm, struct pmm_region *r);

/* ---- holds.c: runs and holds; what is free in blocks never used ---- */
size_t run_at(const struct pmm *pmm, uint64_t frame);  /* index of the first run that ends behind `frame` */
size_t hold_at(const struct pmm *pmm, uint64_t frame); /* the same of the holds */
/*
 * First frame in [from, end) that is RAM, not held, not claimed, not frame 0, else `end`; *stop (may be null): where
 * such frames stop.
 */
uint64_t usable_next(const struct pmm *pmm, uint64_t from, uint64_t end, uint64_t *stop);
uint64_t usable_count(const struct pmm *pmm, uint64_t from, uint64_t end);
/* The same, one after the other: [first, stop) is one of them. O(1) each, O(log runs + log holds) for the first. */
struct stretch {
    uint64_t first, stop;
    size_t run, hold; /* indices, of those that end behind it */
};
struct stretch stretch_from(const struct pmm *pmm, uint64_t from);
/* The same, O(1) where the hint is about right. */
struct stretch stretch_near(const struct pmm *pmm, uint64_t from, struct pmm_list_hint hint);
static inline struct pmm_list_hint stretch_hint(const struct stretch *s)
{
    return (struct pmm_list_hint){(uint32_t)s->run, (uint32_t)s->hold};
}
bool stretch_next(const struct pmm *pmm, struct stretch *s, uint64_t end); /* false: none before `end` */
/* First block that lies wholly in the stretch, and the one behind the last such; first >= end: there is none. */
static inline uint64_t whole_first(const struct stretch *s) { return block_of(s->first + PMM_BLOCK_FRAMES - 1); }
static inline uint64_t whole_end(const struct stretch *s) { return block_of(s->stop); }
static inline uint64_t whole_blocks(const struct stretch *s) /* such */
{
    return whole_first(s) < whole_end(s) ? whole_end(s) - whole_first(s) : 0;
}
/*
 * State of a frame of RAM or absent in a never-used block: ABSENT, RESERVED, BAD or UNTOUCHED; *stop: the state is the
 * same up to there.
 */
enum pmm_state unopened_state(const struct pmm *pmm, uint64_t frame, uint64_t *stop);
/* Take [first, end) out of the holds. => OK; LIMIT: a split has no room, nothing changed. */
enum status holds_trim(struct pmm *pmm, uint64_t first, uint64_t end);

/* ---- region.c: regions, their lists, their never-used extents ---- */
/* The region at this place by address. */
static inline struct pmm_region *region_at(const struct pmm *pmm, size_t place)
{
    return &pmm->regions[pmm->places[place].slot];
}
struct pmm_region *region_find(const struct pmm *pmm, uint64_t block); /* null: none */
enum pmm_zone zone_of_block(uint64_t block);
uint64_t zone_end(uint64_t block); /* first block that is not of the zone of this one */
bool block_is_open(const struct pmm *pmm, const struct pmm_region *r, uint64_t block);
/*
 * For a block that is not open: it and the ones up to here were never used. A page of descriptors at a time below the
 * watermark.
 */
uint64_t unopened_end(const struct pmm *pmm, const struct pmm_region *r, uint64_t block);
/* The open block (or `low`) that `frame` is in; null: none. Remembers what it found. */
struct pmm_block *block_find(struct pmm *pmm, uint64_t frame);
/*
 * From now on the codes around this frame of an open block say all that this CPU's magazines must know, if they serve
 * its block: it is of the same node, and in no zone that goes past them. Up to the next blocks never used.
 */
void cpu_trusts_codes(const struct pmm *pmm, struct pmm_cpu *cpu, uint64_t frame);
void cpus_distrust_codes(struct pmm *pmm); /* for good: a block is closed, and what is freed into it is lost */
static inline unsigned nodes_with(const struct pmm *pmm, unsigned zone, unsigned kind) /* a bit each */
{
    return (uint8_t)(pmm->nodes_with[zone] >> (kind * 8));
}
/* The region has blocks of this kind, and is not on the list of its place; it is, and has none any more. */
void supply_join(struct pmm *pmm, uint16_t slot, enum pmm_supply kind);
void supply_leave(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind);
static inline void supply_update(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind, bool has)
{
    if ((r->listed >> kind & 1) == has) {
        return;
    }
    if (has) {
        supply_join(pmm, (uint16_t)(r - pmm->regions), kind);
    } else {
        supply_leave(pmm, r, kind);
    }
}
/*
 * A never-used block of r whose 512 frames are all usable; FRAME_NONE. In a region of up to 64 blocks the lowest, O(1);
 * else the lowest of the last extent, else of a gap, O(stretches between it and the one found before).
 */
uint64_t fresh_whole_block(const struct pmm *pmm, struct pmm_region *r);
/* The bits of these blocks of r, where it has so few that each has one; else none. */
uint64_t whole_bits_of(const struct pmm_region *r, uint64_t first, uint64_t end);
/* Blocks [first, first + blocks) are never used and can be used wholly, as it was not so before. */
void fresh_whole_add(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t blocks);
uint64_t whole_count(const struct pmm *pmm, uint64_t first_block, uint64_t end_block); /* such, by the lists alone */
/* The next never-used block of r with a usable frame: `next`, its extent_bottom, or another; FRAME_NONE: none. */
uint64_t fresh_block(const struct pmm *pmm, struct pmm_region *r, uint64_t next);
/* Its descriptor is backed; it is open now. It is not the one at the watermark (see extent_take). */
void extent_take_off(struct pmm *pmm, struct pmm_region *r, uint64_t block);
/* First usable frame at or behind `from` that is in a never-used block of any region; FRAME_NONE. */
uint64_t unopened_next(const struct pmm *pmm, uint64_t from);
/* [first, first + frames), usable, in one part of a never-used block of r, stop being free. */
void untouched_taken(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t frames);
/* Frames of never-used blocks of r become free: they were held. */
void untouched_add(struct pmm *pmm, struct pmm_region *r, uint64_t frames);
/* Frames of r became free (or, negative, stopped being so); `spare` is the caller's. */
static inline void count_free(struct pmm *pmm, struct pmm_region *r, int64_t frames)
{
    r->free += (uint64_t)frames;
    pmm->zone_free[r->zone] += (uint64_t)frames;
}
static inline void count_free_in(struct pmm *pmm, const struct pmm_block *b, int64_t frames)
{
    count_free(pmm, &pmm->regions[b->region], frames);
}

/* ---- metadata.c: opening blocks ---- */
npages_t open_cost(const struct pmm *pmm, uint64_t block); /* frames that opening it takes now */
/* Open this block, or, where it cannot be paid, at least one other. The region is kept. => OK; CORRUPT. */
enum status block_open(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class);
/* The same; *opened: this block, which lies on no stack yet; null: others were opened, or none. */
enum status block_open_off_stack(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class,
                                 struct pmm_block **opened);
/* The same of a block whose cost is known. */
enum status block_open_costing(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t cost,
                               struct pmm_block **opened);
/* A current or stacked block of this class with a free frame, or null. */
struct pmm_block *partly_free(struct pmm *pmm, unsigned class);

/* ---- earmark.c: what all metadata takes ---- */
struct units { /* distinct pages [0] and tables [1], [2] behind one array, counted in ascending order */
    uint64_t first[PMM_TABLE_LEVELS_MAX + 1], last[PMM_TABLE_LEVELS_MAX + 1], count[PMM_TABLE_LEVELS_MAX + 1];
};
struct unit_counter {
    struct units states, blocks;
    unsigned levels;
};
static inline const void *states_page(const struct pmm *pmm, uint64_t block)
{
    return vaddr_to_ptr(vaddr_page(ptr_to_vaddr(&pmm->states[block_start(block)])));
}
static inline const void *descriptor_page(const struct pmm *pmm, uint64_t block)
{
    return vaddr_to_ptr(vaddr_page(ptr_to_vaddr(&pmm->blocks[block])));
}
void units_add_blocks(const struct pmm *pmm, struct unit_counter *c, uint64_t first, uint64_t end);
void units_add_edge(const struct pmm *pmm, struct unit_counter *c, uint64_t block); /* what exists for it now */
bool kept_edges(const struct pmm *pmm, uint64_t *first,
                uint64_t *last); /* blocks, of the regions not left out; false: all are */
uint64_t units_total(const struct unit_counter *c);
/* Units behind the regions not left out that exist, whoever made them. O(backed pages and tables + regions). */
uint64_t units_backed(const struct pmm *pmm);
/* All units behind the regions not left out. O(regions). */
uint64_t units_of_regions(const struct pmm *pmm);
bool hold_is_live(struct frame_hold h); /* its blocks are in use already, and must be opened at once */
uint64_t region_frames(const struct pmm_region *r); /* of RAM */
/* Count the units of all regions worth having; leave the others out. `strict`: held frames do not count as brought. */
void count_units(struct pmm *pmm, bool strict);
bool arrays_are_apart(const struct pmm *pmm, uint64_t first_block, uint64_t end_block);

/* ---- take.c: which block serves a request ---- */
/* Frames free in the zones that may serve a request with these flags, without what is kept there for others. */
uint64_t zones_hold(const struct pmm *pmm, unsigned flags);
/* The frames below 1 MiB can be looked into afterwards. => OK; NOMEM: none is free there; CORRUPT. */
enum status open_below_1m(struct pmm *pmm);
/*
 * Up to `n` frames of one block for a request with these flags, from the zone and node that come first; opens blocks.
 * Counts blocks and regions, not `spare`. *got > 0 for OK. => OK; NOMEM: nothing that may serve it; CORRUPT.
 */
enum status take_frames(struct pmm *pmm, unsigned flags, uint64_t *frames, unsigned n, unsigned code, unsigned *got);
/* Are there blocks of this class, or of none, beside the current ones? */
bool class_has_more(const struct pmm *pmm, unsigned class);
/* Give frames that nobody uses back to their blocks, whatever their code was. Counts regions and `spare`. */
void put_frame(struct pmm *pmm, struct pmm_block *b, uint64_t frame);
static inline unsigned home_node(const struct pmm *pmm)
{
    if (pmm->node_count == 1) {
        return 0;
    }
    size_t cpu = pmm->cpu_count > 1 ? arch_cpu() : 0;
    return cpu < pmm->cpu_count ? pmm->cpus[cpu].lane >> LANE_NODE_SHIFT : 0;
}
/*
 * A wholly free block for a request with these flags, on no stack; opens one. Null: none, or (*s) the backing failed,
 * or the only one there is was never used and would have to pay for itself: it is *last, else FRAME_NONE.
 */
struct pmm_block *take_whole_block(struct pmm *pmm, unsigned flags, enum status *s, uint64_t *last);

/* ---- magazine.c ---- */
enum { TALLY_FREED_SHIFT = 8, TALLY_FREE = (1 << TALLY_FREED_SHIFT) + 1 }; /* what a free adds */
static_assert(PMM_MAGAZINE_FRAMES < 1 << TALLY_FREED_SHIFT, "a byte counts them");
/* Other CPUs look at a tally while its own one writes it: no access is torn, and no order is needed. */
static inline uint64_t tally_get(const struct pmm_magazine *m) { return __atomic_load_n(&m->tally, __ATOMIC_RELAXED); }
static inline void tally_set(struct pmm_magazine *m, uint64_t tally)
{
    __atomic_store_n(&m->tally, tally, __ATOMIC_RELAXED);
}
static inline unsigned magazine_count(const struct pmm_magazine *m) /* frames in it */
{
    return (uint8_t)tally_get(m);
}
static inline struct pmm_magazine *magazine_of(const struct pmm_cpu *cpu, unsigned i) /* of all: [0, PMM_CLASSES * 2) */
{
    const struct pmm_magazine *m = i < PMM_CLASSES ? &cpu->loaded[i] : &cpu->second[i - PMM_CLASSES];
    return (struct pmm_magazine *)(uintptr_t)m;
}
static inline uint64_t magazine_freed(const struct pmm_magazine *m) { return tally_get(m) >> TALLY_FREED_SHIFT; }
/* A frame from this CPU's magazine, refilled where need be. Code 1. => OK; NOMEM, CORRUPT: try the blocks. */
enum status magazine_take(struct pmm *pmm, struct pmm_cpu *cpu, unsigned flags, uint64_t *frame);
/* Room for a frame of this class: afterwards loaded[class] is not full. */
void magazine_make_room(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class);
/* Everything cached that this CPU can reach goes to the blocks. Returns how many frames that were. */
uint64_t drain_locked(struct pmm *pmm);
uint64_t cached_frames(const struct pmm *pmm);

/* ---- alloc.c ---- */
enum { FLAGS_MASK = (1 << PMM_OWNER_SHIFT) - 1 };
enum status alloc_call(struct pmm *pmm, const char *call, unsigned flags, pfn_t *frame, const void *caller);
enum status alloc_locked(struct pmm *pmm, unsigned flags, uint64_t *frame);
enum status check_flags(struct pmm *pmm, const char *call, unsigned flags, unsigned allowed, const void *caller);

/* ---- free.c ---- */
/* The frame's last user is gone: to its block, or where its code sends it. The code says "once", the block is open. */
void free_once(struct pmm *pmm, struct pmm_block *b, uint64_t frame, bool may_cache);

/* ---- owner.c ---- */
static inline struct pmm_owner *owner_find(const struct pmm *pmm, unsigned owner) /* null: no such owner is open */
{
    bool exists = owner - 1 < pmm->owner_capacity && pmm->owners[owner - 1].is_open != 0;
    return exists ? &pmm->owners[owner - 1] : NULL;
}
/* Its own block leaves its lists for good, and is an ordinary one of the user class; the second: on no stack yet. */
void owner_lose_block(struct pmm *pmm, struct pmm_block *b);
void owner_disown(struct pmm *pmm, struct pmm_block *b);
/* Make one block of some owner that has free frames ordinary. false: there is none. */
bool owners_give_block(struct pmm *pmm);
/* The same; the block lies on no stack yet. Null: there is none. */
struct pmm_block *owners_yield_block(struct pmm *pmm);
void owner_list_add(struct pmm *pmm, struct pmm_block *b, unsigned stack);
void owner_list_remove(struct pmm *pmm, struct pmm_block *b);

/* ---- claim.c ---- */
/* Open the blocks of [first, first + frames), whose never-used frames are no longer free; they become used once. */
enum status open_claimed(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t frames, unsigned class);
/* The first frames of this never-used block become used once, or all of it is handed out: others pay for that. */
enum status open_last(struct pmm *pmm, uint64_t block, uint64_t frames, unsigned class, uint64_t *first);

/* ---- pressure.c ---- */
/*
 * `rounds`: of this request, 0 at first; some dozen of them, and it is refused. Call who can give memory back until
 * `wanted` frames are available for these flags. Without the lock. false: nobody gave anything. */
bool low_reclaim(struct pmm *pmm, unsigned flags, uint64_t wanted, unsigned *rounds);
void low_look(struct pmm *pmm, unsigned flags); /* without the lock: tell those whose threshold was crossed */

/* ---- bad.c ---- */
bool bad_is_waiting(const struct pmm *pmm, uint64_t frame); /* in the list of shared frames that go bad */
void bad_forget(struct pmm *pmm, uint64_t frame);

/* ---- query.c, stats.c, trace.c ---- */
/* The lock of a PMM that is only looked at. */
static inline struct lock *lock_of(const struct pmm *pmm) { return (struct lock *)(uintptr_t)&pmm->lock; }
struct pmm_frame query_locked(const struct pmm *pmm, uint64_t frame);
struct pmm_stats stats_locked(const struct pmm *pmm);
/* State of a frame in a region, and up to where (at most) it is the same for sure. */
enum pmm_state state_at(const struct pmm *pmm, const struct pmm_region *r, uint64_t frame, uint64_t *stop);
size_t region_place(const struct pmm *pmm, const struct pmm_region *r); /* its place by address */
enum pmm_state state_of_code(unsigned code);
/* Without the lock. Reports the misuse with all that is known of the frame. */
enum status pmm_complain(struct pmm *pmm, const char *call, uint64_t frame, const char *why, const void *caller);
__attribute__((format(printf, 2, 3))) enum status pmm_misuse(struct pmm *pmm, const char *format, ...);
static inline void trace(const struct pmm *pmm, enum pmm_event event, uint64_t first, uint64_t frames)
{
    if (__builtin_expect(pmm->trace != NULL, 0)) {
        pmm->trace(pmm->trace_ctx, event, pfn(first), npages(frames));
    }
}

#endif
