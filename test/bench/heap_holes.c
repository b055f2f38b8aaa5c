/* What holes cost, in frames and in cycles. */
#include <stdlib.h>

#include "bench/heap_bench.h"
#include "lib/rng.h"
#include "lib/units.h"

enum {
    STORM_LIVE = 1000,
    STORM_CHANGES = 20000,
    STORM_PAGES_MOST = 4,
    HOLE_BYTES_MOST = 512,
    PAIR_BYTES_MOST = 2048,
    PAIRS = 128,
    ROUNDS = 5,
};

static struct heap_op storm_alloc(struct rng *rng, uint32_t block)
{
    const npages_t pages = npages(1 + rng_below(rng, STORM_PAGES_MOST));
    return (struct heap_op){block, (uint32_t)pages_to_bytes(pages), HEAP_OP_ALIGNED,
                            (uint8_t)__builtin_ctz(PAGE_BYTES)};
}

struct heap_trace heap_storm(uint64_t seed)
{
    struct rng rng = rng_seeded(seed);
    struct heap_trace t = {.name = "storm", .block_count = STORM_LIVE + STORM_CHANGES};
    uint32_t live[STORM_LIVE];
    t.ops = heap_must(calloc(2UL * t.block_count, sizeof *t.ops));
    for (uint32_t block = 0; block < t.block_count; block++) {
        const uint32_t at = block < STORM_LIVE ? block : (uint32_t)rng_below(&rng, STORM_LIVE);
        if (block >= STORM_LIVE) {
            t.ops[t.op_count++] = (struct heap_op){.block = live[at], .kind = HEAP_OP_FREE};
        }
        live[at] = block;
        t.ops[t.op_count++] = storm_alloc(&rng, block);
    }
    for (uint32_t at = 0; at < STORM_LIVE; at++) {
        t.ops[t.op_count++] = (struct heap_op){.block = live[at], .kind = HEAP_OP_FREE};
    }
    heap_trace_measure(&t);
    return t;
}

struct holes_job {
    const struct heap_rival *rival;
    unsigned holes;
};

static void *get(const struct heap_rival *rival, size_t bytes) { return heap_must(rival->alloc(bytes)); }

/* The least of several rounds over the same sizes. */
static double pairs_cost(const struct heap_rival *rival, struct rng *rng)
{
    size_t sizes[PAIRS];
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < PAIRS; i++) {
        sizes[i] = 1 + rng_below(rng, PAIR_BYTES_MOST);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t start = heap_clock();
        for (unsigned i = 0; i < PAIRS; i++) {
            rival->release(get(rival, sizes[i]));
        }
        const uint64_t took = heap_clock() - start;
        least = took < least ? took : least;
    }
    return (double)least / PAIRS;
}

/* Blocks side by side, and every second one goes, the last first. */
static void play_holes(const void *ctx, void *out)
{
    const struct holes_job *job = ctx;
    struct rng rng = rng_seeded(1);
    void **blocks = heap_must(calloc(2UL * job->holes, sizeof *blocks));
    heap_begin(job->rival, PAIR_BYTES_MOST);
    for (unsigned i = 0; i < 2 * job->holes; i++) {
        blocks[i] = get(job->rival, 1 + rng_below(&rng, HOLE_BYTES_MOST));
    }
    for (unsigned i = job->holes; i-- > 0;) {
        job->rival->release(blocks[2UL * i]);
    }
    *(double *)out = pairs_cost(job->rival, &rng);
}

double heap_measure_holes(const struct heap_rival *rival, unsigned holes)
{
    const struct holes_job job = {rival, holes};
    double cycles;
    heap_in_child(play_holes, &job, &cycles, sizeof cycles, rival->name);
    return cycles;
}
