/*
 * What a PMM is made of. Included by pmm.h only; the fields are private to src/pmm/ (and to tests that corrupt them).
 *
 * Numbers of blocks are uint32_t (a block is 512 frames: 2^32 blocks are 8 EiB), numbers of regions uint16_t; all ones
 * is "none". Frames below 1 MiB have a block descriptor of their own, so that they can be served apart.
 */
#ifndef CAIRN_PMM_TYPES_H
#define CAIRN_PMM_TYPES_H

#include "arch/lock.h"

#define PMM_NO_BLOCK UINT32_MAX
#define PMM_NO_REGION UINT16_MAX

enum { PMM_CLASSES = 2, PMM_STACKS = 8, PMM_TABLE_LEVELS_MAX = 2, PMM_BAD_SHARED_MAX = 16, PMM_WHOLE_CACHED = 2,
       PMM_REGION_BITS = 64 };

/* What a region can give; each kind has lists of the regions that have it. The first two are the classes. */
enum pmm_supply {
    PMM_SUPPLY_KERNEL, /* partly free blocks of the kernel class */
    PMM_SUPPLY_USER,   /* the same of the user class */
    PMM_SUPPLY_HOLED,  /* opened blocks with nothing in use, but fewer than 512 frames */
    PMM_SUPPLY_WHOLE,  /* opened blocks with all 512 frames free */
    PMM_SUPPLY_FRESH,  /* free frames in blocks never used */
    PMM_SUPPLY_FRESH_WHOLE, /* such blocks with 512 of them */
    PMM_SUPPLIES,
};

enum pmm_mode {
    PMM_BLOCK_NEVER = 0, /* so that a zeroed descriptor is a block never used */
    PMM_BLOCK_OPEN,      /* a code means something below the carve mark only; from there on all RAM is free */
    PMM_BLOCK_RUN_HEAD,  /* handed out whole; no code means anything */
    PMM_BLOCK_RUN_PART,  /* the same, and the block below belongs to the same run */
    PMM_BLOCK_CACHED,      /* wholly free, ready for one CPU; no code means anything */
    PMM_BLOCK_CLOSED,    /* corrupt: nothing comes from it any more; counts still mean something, the mark is its end */
};

/*
 * A block. In a fast path that holds no lock only `lane` and `carved` are read: they say whether a code may be trusted
 * and which magazine serves it. All is written under the lock.
 */
struct pmm_block {
    union {
        struct {
            uint16_t top;    /* link code of the stack's top frame; 0: the stack is empty */
            uint16_t free;   /* frames: on the stack, loose, and never carved */
            uint16_t carved; /* index of the first frame never carved */
            uint16_t owner;  /* whose own block it is; 0: nobody's */
        };
        uint64_t counts; /* all of these */
    };
    union {
        struct {
            uint16_t region;   /* slot */
            uint8_t lane;      /* bit 0: class (0 kernel, 1 user); bits 1-3: node; bit 7: past the magazines */
            uint8_t mode : 4;  /* enum pmm_mode */
            uint8_t stack : 4; /* enum pmm_stack: where it lies */
            uint32_t usable : 11;   /* frames of RAM, not reserved, not bad; none is in use when free == usable */
            uint32_t late : 1;      /* from the mark on not all is RAM: the runs say what is, until it is carved */
            uint32_t retained : 11; /* frames that are or were shared since allocated, or go bad when freed */
            uint32_t is_near : 1;   /* an owner that has none of its own goes on drawing from it, when last looked */
            uint32_t loose : 8;     /* bit per eighth: carved frames of it are free and not on the stack */
        };
        uint64_t kind; /* all of these */
    };
    /*
     * On its stack; prev of the first is PMM_NO_BLOCK. Of a block never used, the lowest of an extent: where the lists
     * are to be looked at for it, the run + 1 and the hold of a pmm_list_hint; 0: nobody said.
     */
    uint32_t next, prev;
    uint32_t gap_blocks;  /* never-used blocks right below this one that the watermark has passed */
    uint32_t gap_next;    /* next block of the region with a gap below; valid while in that list */
};
static_assert(sizeof(struct pmm_block) == PMM_BLOCK_BYTES, "128 descriptors a page");
enum { PMM_COUNT_MASK = 2 * PMM_BLOCK_FRAMES - 1 }; /* what `usable` and `retained` can hold */

struct pmm_link {
    uint16_t next, prev;
};

/* Indices of a run and a hold: the first that end behind some frame, when last looked. */
struct pmm_list_hint {
    uint32_t run, hold;
};

/* Descriptors lie in slots that do not move; their order by address is that of the places. */
struct pmm_region {
    uint32_t base, blocks; /* blocks [base, base + blocks) */
    uint32_t watermark;    /* blocks from here on were never used: the last extent */
    uint32_t gaps;         /* first block of the list of those with a gap below; of few blocks: the base, if any has */
    uint32_t absent;       /* frames that are not RAM; at most 1022 a run */
    uint32_t stacks[PMM_CLASSES][PMM_STACKS]; /* [class][i]: blocks with i * 64 + 1 .. i * 64 + 64 free frames */
    uint32_t holed, whole; /* stacks of blocks with nothing in use: fewer than 512 frames usable, and all 512 */
    uint32_t fresh_whole;  /* blocks never used that are RAM and not held, all 512 frames */
    uint32_t fresh_whole_from; /* of the last extent: none of them lies below this block */
    uint32_t hint, hint_blocks; /* wholly free blocks [hint, hint + hint_blocks), when last looked */
    struct pmm_link links[PMM_SUPPLIES];
    uint8_t masks[PMM_CLASSES]; /* bit i: stacks[class][i] is not empty */
    uint8_t listed;        /* bit per enum pmm_supply: on that list */
    uint8_t left_out;      /* 1: costs more than it holds, nothing is ever handed out */
    uint8_t zone, node;    /* enum pmm_zone of its blocks (16M also for block 0) */
    uint8_t joined;        /* 1: users see it and the one before as one region */
    uint8_t is_one_run;    /* 1: all its RAM is one run, and nothing was held at the start */
    uint32_t new_kind;     /* low half of `kind` of a block just opened, but for its class */
    uint64_t free;         /* frames, physically free, not cached */
    uint64_t untouched;    /* the part of `free` in blocks never used */
    struct pmm_list_hint fresh; /* the last extent's begin; where there are 64 blocks at most: the first extent's */
    union {
        uint64_t skipped;      /* of 64 blocks at most, a bit each: never used, and nothing in it is usable */
        struct pmm_list_hint in_gap; /* of more: the first gap's begin */
    };
    union {
        uint64_t never;        /* where there are 64 blocks at most, a bit each: it was never used */
        struct pmm_list_hint fresh_whole_at; /* of more: the first whole block of the last extent */
    };
    union {
        uint64_t whole_bits;   /* where there are 64 blocks at most, a bit each: it is one of `fresh_whole` */
        struct {
            uint32_t plain, plain_end; /* of more: [plain, plain_end) are RAM and not held, opened or not */
        };
    };
};

/* The i-th region by address: what a search looks at, close together. They lie behind the descriptors. */
struct pmm_place {
    uint32_t end;   /* first block behind it */
    uint16_t slot;  /* of its descriptor */
    uint16_t
        shown; /* index of the region that users see; borders of zones and nodes cut one into several descriptors */
};
static_assert(sizeof(struct pmm_region) + sizeof(struct pmm_place) == PMM_REGION_BYTES, "the contract of pmm.h");

/* Frames ready for one CPU; their code is CACHED. */
struct pmm_magazine {
    /*
     * Low byte: how many these are. Above: frames that pmm_free put here since the last flush. One word, so that
     * a free counts itself and what it puts in one store.
     */
    uint64_t tally;
    uint64_t *frames; /* room for PMM_MAGAZINE_FRAMES; the last is taken first */
};

/* Written by its own CPU only, `wants_drain` excepted. */
struct pmm_cpu {
    uint8_t inside;       /* 1: this CPU is in a magazine; who interrupts it goes to the blocks. 2: kept shut (trace) */
    uint8_t wants_drain;  /* another CPU asks for it; done at the next refill or flush */
    uint32_t lane;        /* of its node, class 0 */
    uint64_t drawn_first, drawn_count; /* frames [first, first + count) have codes, and where one is DRAWN, this CPU's
                                          magazines take the frame without a look at its block */
    struct pmm_magazine loaded[PMM_CLASSES]; /* up to here: what the fast paths use, close together */
    struct pmm_magazine second[PMM_CLASSES];
    uint64_t known_first, known_count; /* blocks [first, first + count) have descriptors and are RAM's or never used */
    uint64_t freed; /* frames, to the magazines and whole blocks here, but those that the magazines' tallies have */
    uint64_t moved; /* frames that came from the blocks, less those that went there: the others were allocated */
    uint32_t whole_count;
    uint64_t whole[PMM_WHOLE_CACHED];  /* blocks, ready to be handed out whole */
    uint64_t rooms[PMM_CLASSES][2][PMM_MAGAZINE_FRAMES]; /* of the four magazines */
};

/* 0 `listed` is a place that is free; then `next_free` is the next of them. */
struct pmm_owner {
    uint32_t partly, full;  /* its blocks with and without free frames: lists through next and prev */
    uint32_t blocks;        /* both together */
    uint32_t is_open;       /* 0: the place is free */
    uint32_t near;          /* the ordinary block that it drew from last; PMM_NO_BLOCK: none */
    uint64_t in_own;        /* frames in use in them */
    uint64_t elsewhere;     /* frames drawn from ordinary blocks and not uncharged */
    uint64_t drawn;
    uint32_t next_open;     /* place + 1 in the list of those with a partly free block, oldest first; 0: end */
    uint32_t prev_open;
};

struct pmm_low;
struct pmm_run_wish;
typedef bool pmm_mover_fn(void *ctx, const struct pmm_run_wish *wish);

struct pmm {
    struct pmm_block *current[PMM_NODES_MAX][PMM_CLASSES]; /* drawn from now; &none when there is none */

    /*
     * What the fast paths read. Not at the beginning: where this and the CPU's structure each begin a page, what both
     * have there would share sets of the cache and the low bits by which a load is told apart from earlier stores.
     */
    uint16_t *states;
    struct pmm_block *blocks;
    struct pmm_cpu *only_cpu; /* the one there is; with none or many: one that is always busy */

    struct pmm_cpu *cpus;
    size_t cpu_count;
    struct lock lock; /* of all else, and of all blocks, regions and owners */
    uint16_t currents;                                     /* bit node * 2 + class: it has a current block */
    uint16_t news;  /* bit home * 2 + class: a better place than its current block's may have something now */
    uint64_t spare; /* frames: free in the blocks (never-used ones too), not promised, not kept for emergencies */
    uint64_t promised, emergency, emergency_wanted; /* frames */
    uint64_t cached;           /* frames in the zero pool (those in magazines: their counts) */
    uint64_t allocated, freed; /* frames, past the magazines */
    struct pmm_region *regions;
    struct pmm_place *places;
    uint64_t known_first, known_count; /* as a CPU's; all in one region, in this slot: */
    uint16_t known_region;

    struct pmm_block low;  /* the frames below 1 MiB, once block 0 is open */
    struct pmm_block none; /* always empty */
    uint16_t supply[PMM_SUPPLIES][PMM_ZONES][PMM_NODES_MAX]; /* first region of each list */
    uint64_t nodes_with[PMM_ZONES]; /* byte per kind of supply, in it a bit per node: that list is not empty */
    uint64_t kinds_given;  /* all ones, but the bytes of never-used blocks are 0 once nothing can be opened any more */
    size_t region_count, region_capacity, shown_count;
    uint64_t first_block, end_block; /* of all regions */
    uint64_t ram, reserved, metadata, earmarked; /* frames */
    uint64_t debt;             /* frames that a closed block took from those that were to pay the earmark */
    uint64_t bad, lost;        /* frames, parts of reserved */
    uint64_t used_at_start;    /* frames of HOLD_USED */
    uint64_t untouched;        /* frames: the sum over the regions */
    uint64_t zone_free[PMM_ZONES]; /* frames: the sum over the regions of the zone; 1M is part of 16M here */
    uint64_t zone_reserve[PMM_ZONES];
    uint64_t reserves_below[PMM_ZONES]; /* the sum of those of the zones below */
    bool zones_reserve;        /* one of them is not 0 */
    uint64_t low_untouched;    /* usable frames below 1 MiB, while block 0 was never used */
    uint64_t whole_blocks;     /* on stacks of wholly free blocks */
    uint64_t whole_total;      /* blocks of the regions not left out */
    uint64_t units; /* pages and tables behind all descriptors and states of the regions that are not left out */
    int64_t metadata_fixed;    /* what metadata + earmarked is more than `units` */
    uint64_t claim_first, claim_end; /* frames that a claim in progress has taken already; else empty */
    bool claim_whole;          /* that claim is a run: blocks wholly inside it are handed out whole */
    bool has_closed;           /* a block is closed: magazines look at the descriptor of each frame */
    bool broken;               /* back() failed: nothing is opened any more */
    uint8_t cache_zone;        /* frames of lower zones go past the magazines */

    struct pmm_list_hint looked; /* where the lists were looked at last */
    struct frame_run *runs;
    size_t run_count, run_capacity;
    struct frame_hold *holds; /* RESERVED ones; what they say of opened blocks is history */
    size_t hold_count, hold_capacity;
    struct pmm_backing backing;

    struct pmm_owner *owners; /* owner n is owners[n - 1] */
    size_t owner_capacity, owner_count;
    uint32_t owned_partly[PMM_ZONES]; /* owners' blocks with free frames */
    unsigned owned_zones;     /* a bit each: there are such */
    uint32_t owners_partly;   /* first and last owner of the list of those with a partly free block; 0: none */
    uint32_t owners_partly_last;
    uint64_t owner_threshold; /* policy */
    unsigned owner_guard;

    pfn_t *zero_pool;
    size_t zero_capacity, zero_count[PMM_CLASSES];
    uint64_t zero_hits, zero_misses;
    uint64_t zero_frame;      /* FRAME_NONE: there is none */

    uint64_t bad_shared[PMM_BAD_SHARED_MAX]; /* frames with more than one reference that are to go bad */
    size_t bad_shared_count;

    const struct pmm_node_range *node_ranges; /* during pmm_init only */
    size_t node_range_count;
    unsigned node_count;
    uint8_t node_order[PMM_NODES_MAX][PMM_NODES_MAX]; /* [from][i]: nodes by distance */
    uint64_t node_bits[PMM_NODES_MAX];                /* [from]: byte i is the bit of node_order[from][i] */

    struct pmm_low *low_first; /* by cost */
    bool reclaiming;           /* callbacks are being called */
    pmm_mover_fn *mover;       /* null: nobody moves pages */
    void *mover_ctx;
    uint64_t refills, flushes, drains, reclaims, misuses;
    pmm_trace_fn *trace;
    void *trace_ctx;
};

#endif
