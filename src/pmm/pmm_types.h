/*
 * What a PMM is made of. Included by pmm.h only; the fields are private to src/pmm/ (and to tests that corrupt them).
 *
 * Numbers of blocks are uint32_t (a block is 512 frames: 2^32 blocks are 8 EiB), numbers of regions uint16_t; all ones
 * is "none".
 */
#ifndef CAIRN_PMM_TYPES_H
#define CAIRN_PMM_TYPES_H

#define PMM_NO_BLOCK UINT32_MAX
#define PMM_NO_REGION UINT16_MAX

enum { PMM_CLASSES = 2, PMM_STACKS = 8, PMM_TABLE_LEVELS_MAX = 2 };

/* What a region can give; each kind has a list of the regions that have it. The first two are the classes. */
enum pmm_supply {
    PMM_SUPPLY_KERNEL, /* partly free blocks of the kernel class */
    PMM_SUPPLY_USER,   /* the same of the user class */
    PMM_SUPPLY_IDLE,   /* opened blocks with nothing in use */
    PMM_SUPPLY_FRESH,  /* free frames in blocks never used */
    PMM_SUPPLIES,
};

/* Regions based at or above 4 GiB are one group, served first, the others the second. */
enum pmm_group { PMM_GROUP_HIGH, PMM_GROUP_LOW, PMM_GROUPS };

enum pmm_mode {
    PMM_BLOCK_NEVER = 0, /* so that a zeroed descriptor is a block never used */
    PMM_BLOCK_OPEN = 1,
};

/*
 * A block. Frames [carved, 512) were never on the stack: there a code 0 is a free frame. Frames below 1 MiB are not
 * part of block 0's descriptor (whose `carved` starts behind them) but of struct pmm's `low`.
 */
struct pmm_block {
    uint16_t top;      /* link code of the stack's top frame; 0: the stack is empty */
    uint16_t free;     /* frames: on the stack, and never carved */
    uint16_t carved;   /* index of the first frame never carved */
    uint16_t usable;   /* frames of RAM that are not reserved; nothing is in use when free == usable */
    uint16_t rise;     /* the value of `free` at which the block must change stack */
    uint16_t region;   /* index */
    uint8_t mode;      /* enum pmm_mode */
    uint8_t class;     /* 0 kernel, 1 user */
    uint8_t stack;     /* enum pmm_stack: where it lies */
    uint8_t unused;
    uint32_t next, prev;  /* on its stack; prev of the first is PMM_NO_BLOCK */
    uint32_t gap_blocks;  /* never-used blocks right below this one that the watermark has passed */
    uint32_t gap_next;    /* next block of the region with a gap below; valid while in that list */
};
static_assert(sizeof(struct pmm_block) == PMM_BLOCK_BYTES, "128 descriptors a page");

struct pmm_region {
    uint32_t base, blocks; /* blocks [base, base + blocks) */
    uint32_t watermark;    /* blocks from here on were never used: the last extent */
    uint32_t gaps;         /* first block of the list of those with a gap below */
    uint32_t absent;       /* frames that are not RAM; at most 1022 a run */
    uint32_t stacks[PMM_CLASSES][PMM_STACKS]; /* [class][i]: blocks with i * 64 + 1 .. i * 64 + 64 free frames */
    uint8_t masks[PMM_CLASSES]; /* bit i: stacks[class][i] is not empty */
    uint8_t listed;        /* bit per enum pmm_supply: on that list */
    uint8_t left_out;      /* 1: costs more than it holds, nothing is ever handed out */
    uint32_t holed, whole; /* stacks of blocks with nothing in use: fewer than 512 frames usable, and all 512 */
    struct { uint16_t next, prev; } links[PMM_SUPPLIES];
    uint64_t free;         /* frames, physically free */
    uint64_t untouched;    /* the part of `free` in blocks never used */
};
static_assert(sizeof(struct pmm_region) <= PMM_REGION_BYTES, "the contract of pmm.h");

/* Blocks whose descriptors are known to be backed (backing is never taken away): [first, first + count). */
struct pmm_known {
    uint64_t first, count;
};

struct pmm {
    /* The fast paths need only these. */
    struct pmm_block *current[PMM_CLASSES];  /* drawn from now; &none when there is none */
    uint64_t current_first[PMM_CLASSES];     /* its first frame */
    uint64_t spare;                          /* frames: free and not promised */
    uint64_t allocated, freed;               /* frames, since the start */
    uint16_t *states;
    struct pmm_block *blocks;
    struct pmm_region *regions;
    struct pmm_known known[PMM_GROUPS];

    struct pmm_block low;  /* the frames below 1 MiB, once block 0 is open */
    struct pmm_block none; /* always empty */
    uint16_t supply[PMM_SUPPLIES][PMM_GROUPS]; /* first region of each list */
    size_t region_count;
    uint64_t ram, reserved, metadata, earmarked, promised; /* frames */
    uint64_t used_at_start;  /* frames of HOLD_USED */
    uint64_t untouched;      /* frames: the sum over the regions */
    uint64_t units; /* pages and tables behind all descriptors and states of the regions that are not left out */
    int64_t metadata_fixed;  /* HOLD_METADATA frames less the units that were backed at the start */
    uint64_t claim_first, claim_end; /* frames that a claim in progress has taken already; else empty */
    bool broken;             /* back() failed: nothing is opened any more */

    const struct frame_run *runs;
    size_t run_count;
    struct frame_hold *holds; /* RESERVED ones; what they say of opened blocks is history */
    size_t hold_count, hold_capacity;
    struct pmm_backing backing;
};

#endif
