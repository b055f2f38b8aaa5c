/*
 * A fake machine for the PMM's tests: runs and holds in a window of frame numbers, arrays at computed addresses, and a
 * backing that keeps account of pages and tables, poisons what is not backed, and demands exactly the frames that are
 * missing.
 */
#ifndef CAIRN_TEST_UNIT_PMM_BED_H
#define CAIRN_TEST_UNIT_PMM_BED_H

#include "pmm/pmm.h"
#include "unit/test.h"

enum {
    BED_RUNS_MAX = 128,
    BED_HOLDS_MAX = 256,
    BED_REGIONS_MAX = BED_RUNS_MAX + 32, /* zones and nodes cut a run into more of them */
    BED_NODE_RANGES_MAX = 16,
    BED_SET_SLOTS = 8192,
    BED_UNIT_LEVEL_SHIFT = 56,
};

/* Memory of a test that makes many beds: taken once, begun anew for each. */
struct bed_arena {
    unsigned char *base;
    size_t size, used; /* bytes */
};

enum { BED_ARENA_PAGES = 448 }; /* enough for a bed and a model of any window in these tests */

struct bed_arena bed_arena(void);
void *bed_pages(struct bed_arena *arena, size_t bytes); /* zeroed; from test_pages where arena is null */

/* A set of numbers, open addressing; 0 marks a free slot. */
struct bed_set {
    uint64_t *slots;
    size_t count;
};

struct pmm_model;

struct pmm_bed {
    struct pmm pmm;
    struct bed_arena *arena; /* may be null */
    struct frame_run runs[BED_RUNS_MAX];
    struct frame_hold holds[BED_HOLDS_MAX], given_holds[BED_HOLDS_MAX]; /* the PMM's, and what it was given */
    size_t run_count, hold_count, hold_capacity;
    uint64_t first_block, end_block; /* the window */
    uint16_t *states;                /* address of states[0] */
    struct pmm_block *blocks;
    struct pmm_region *regions;
    size_t region_capacity;
    unsigned levels;
    struct bed_set backed;  /* pages and tables that exist, as bed_unit numbers */
    uint64_t backs;         /* calls of back() */
    uint64_t frames_taken;  /* by back() */
    uint64_t fail_at;       /* this call of back() and all later ones fail; 0: none */
    bool lies;              /* missing() asks for more than there can be */
    struct pmm_model *model; /* told of each frame that back() gets; may be null */

    /* All below is zero after bed_new: no magazines, owners, zero pool, nodes, nor room for more runs. */
    struct pmm_cpu *cpus;
    struct pmm_owner *owners;
    pfn_t *zero_pool;
    size_t cpu_count, owner_capacity, zero_capacity, run_capacity;
    struct pmm_node_range node_ranges[BED_NODE_RANGES_MAX];
    size_t node_range_count;
    unsigned node_count;
    const uint8_t *node_distance;   /* the test's own; null: all equally far */

    struct pmm_stats seen_stats;    /* of bed_remember */
    uint64_t *seen;
    size_t seen_frames;
};

bool bed_set_add(struct bed_set *set, uint64_t number); /* false: it was there */
bool bed_set_has(const struct bed_set *set, uint64_t number);

/* A bed for blocks [first_block, end_block); null when there is no memory. What was in the arena is gone. */
struct pmm_bed *bed_new(struct bed_arena *arena, uint64_t first_block, uint64_t end_block, unsigned levels);
void bed_run(struct pmm_bed *bed, uint64_t first, uint64_t frames);
void bed_hold(struct pmm_bed *bed, uint64_t first, uint64_t frames, enum hold_kind kind);
/* What else the PMM gets; before bed_start. More than one CPU: only host tests can say which one runs (model/cpu.h). */
void bed_with_cpus(struct pmm_bed *bed, size_t cpus);
void bed_with_owners(struct pmm_bed *bed, size_t owners);
void bed_with_zero_pool(struct pmm_bed *bed, size_t frames);
void bed_node(struct pmm_bed *bed, uint64_t first, uint64_t frames, unsigned node); /* ascending, as bed_run */
void bed_with_room(struct pmm_bed *bed, size_t runs); /* for pmm_region_add: so many runs more */
struct pmm_config bed_config(struct pmm_bed *bed);
/* Poison, back what is in use, pmm_init. */
enum status bed_start(struct pmm_bed *bed);
/* The same with the check that it went well and is sound. */
bool bed_starts(struct pmm_bed *bed);

/* Number of the page (level 0) or table (1, 2) that serves this address. */
uint64_t bed_unit(const void *address, unsigned level);
void bed_back_block(struct pmm_bed *bed, uint64_t block); /* as the boot does it: no frames */

/* pmm_check, with its words as notes when something is wrong. */
bool bed_sound(const struct pmm_bed *bed);

/*
 * Around a call that must change nothing: bed_remember before it, bed_unchanged after it, which expects that every
 * frame of RAM and every total is what it was, and that all is sound. Free and cached is the same here, and misuses,
 * drains, refills, flushes and reclaims are not looked at, since a call may drain before it fails.
 */
void bed_remember(struct pmm_bed *bed);
bool bed_unchanged(struct pmm_bed *bed);
#define EXPECT_REFUSED(bed, call, status)  \
    do {                                   \
        bed_remember(bed);                 \
        EXPECT_EQ((call), (status));       \
        bed_unchanged(bed);                \
    } while (0)

bool bed_reported(const char *words); /* the last report has these words */

/* pmm_alloc until it says NOMEM. => frames taken. */
uint64_t bed_take_all(struct pmm_bed *bed, unsigned flags);
/* Claim [first, first + frames), which is never used, and take all others: then the test frees what is to be free. */
bool bed_fill(struct pmm_bed *bed, uint64_t first, uint64_t frames);

/* Random runs and holds in the window, `style` says how odd. */
enum { BED_STYLES = 8 };
void bed_random_map(struct pmm_bed *bed, struct rng *rng, unsigned style);

#endif
