/*
 * A bitmap per region: each run of RAM has its own, so holes cost nothing at all. Lowest fit within a region, and the
 * lowest region that has something first.
 *
 * A free must find the region: the one that was found last, else by halves. So it knows what is not RAM.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

struct region {
    struct bits bits;
    uint64_t base;       /* of bit 0, a multiple of the block */
    uint64_t first, end; /* the run */
};

struct by_region {
    struct region *regions;
    size_t count;
    struct region *serving; /* no lower one has a free frame */
    struct region *found;   /* by the last free */
};

static uint64_t base_of(struct frame_run run) { return run.first.v / FRAMES_BLOCK * FRAMES_BLOCK; }

void *by_region_start(const struct frame_run *runs, size_t run_count)
{
    if (run_count == 0) {
        return NULL;
    }
    machine_begin(frames_end(runs, run_count));
    struct by_region *s = machine_memory(sizeof *s);
    uint64_t words = 0;
    for (size_t i = 0; i < run_count; i++) {
        words += bits_bytes(run_end(runs[i]) - base_of(runs[i])) / sizeof(uint64_t);
    }
    s->regions = machine_memory(run_count * sizeof *s->regions);
    s->count = run_count;
    uint64_t *next = machine_memory(words * sizeof *next);
    for (size_t i = 0; i < run_count; i++) {
        uint64_t base = base_of(runs[i]), frames = run_end(runs[i]) - base;
        struct region *r = &s->regions[i];
        bits_open(&r->bits, next, frames);
        r->base = base;
        r->first = runs[i].first.v;
        r->end = run_end(runs[i]);
        bits_add(next, runs[i].first.v - base, frames);
        next += bits_bytes(frames) / sizeof(uint64_t);
    }
    s->serving = s->found = s->regions;
    return s;
}

/* The region at hand is used up. */
static __attribute__((noinline)) pfn_t take_above(struct by_region *s)
{
    for (struct region *r = s->serving + 1; r < s->regions + s->count; r++) {
        pfn_t frame = bits_take_lowest(&r->bits);
        if (frame.v != FRAMES_NONE.v) {
            s->serving = r;
            return pfn_add(frame, r->base);
        }
    }
    return FRAMES_NONE;
}

FRAMES_HOT pfn_t by_region_alloc(void *state)
{
    struct by_region *s = state;
    struct region *r = s->serving;
    pfn_t frame = bits_take_lowest(&r->bits);
    return frame.v == FRAMES_NONE.v ? take_above(s) : pfn_add(frame, r->base);
}

/* => null: it is no RAM. */
static __attribute__((noinline)) struct region *find(struct by_region *s, uint64_t frame)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->regions[middle].end <= frame) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == s->count || frame < s->regions[low].first) {
        return NULL;
    }
    return s->found = &s->regions[low];
}

static inline struct region *region_of(struct by_region *s, uint64_t frame)
{
    struct region *r = s->found;
    return frame - r->first < r->end - r->first ? r : find(s, frame);
}

FRAMES_HOT enum status by_region_free(void *state, pfn_t frame)
{
    struct by_region *s = state;
    struct region *r = region_of(s, frame.v);
    if (__builtin_expect(r == NULL, 0)) {
        return STATUS_MISUSE;
    }
    enum status status = bits_give_lowest(&r->bits, frame.v - r->base);
    if (r < s->serving && status == STATUS_OK) {
        s->serving = r;
    }
    return status;
}

pfn_t by_region_alloc_block(void *state)
{
    struct by_region *s = state;
    for (struct region *r = s->serving; r < s->regions + s->count; r++) {
        pfn_t first = bits_take_block(&r->bits, r->bits.at);
        if (first.v != FRAMES_NONE.v) {
            return pfn_add(first, r->base);
        }
    }
    return FRAMES_NONE;
}

enum status by_region_free_block(void *state, pfn_t first)
{
    struct by_region *s = state;
    struct region *r = region_of(s, first.v);
    if (r == NULL || r->end - first.v < FRAMES_BLOCK) {
        return STATUS_MISUSE;
    }
    enum status status = bits_give_block_lowest(&r->bits, first.v - r->base);
    if (r < s->serving && status == STATUS_OK) {
        s->serving = r;
    }
    return status;
}
