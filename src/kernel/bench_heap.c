/*
 * The heap's benchmarks, on the kernel's own heap: pairs of an allocation and a free, and the longest of random ones
 * that take and give no page. Nothing is in use afterwards that was not before.
 */
#include "kernel/bench.h"
#include "lib/rng.h"

enum { SLOTS = 512, STEPS = 6000 };

static enum status pairs(struct bench_work *w, uint64_t ops)
{
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < ops && s == STATUS_OK; i++) {
        void *block = heap_alloc(&machine.heap, w->bytes);
        s = block == NULL ? STATUS_NOMEM : heap_free(&machine.heap, block);
    }
    return s;
}

static enum status pair(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.bytes = bench->frames};
    void *neighbour = heap_alloc(&machine.heap, w.bytes); /* its page stays */
    enum status s = neighbour == NULL ? STATUS_NOMEM : pairs(&w, BENCH_LOOPS); /* it is asked for often, from now on */
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = bench_add(result, pairs, bench_nothing, &w, BENCH_LOOPS);
    }
    enum status freed = heap_free(&machine.heap, neighbour);
    return s == STATUS_OK ? freed : s;
}

static enum status alloc_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    *w->slot = heap_alloc(&machine.heap, w->bytes);
    return *w->slot == NULL ? STATUS_NOMEM : STATUS_OK;
}

static enum status free_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return heap_free(&machine.heap, *w->slot);
}

/* One call, timed alone; it counts if the heap holds as many pages afterwards. */
static enum status step(struct bench_work *w, struct bench_result *result)
{
    struct bench_result one = {0};
    uint64_t held = machine.heap.held_pages;
    bool is_free = *w->slot != NULL;
    enum status s = bench_add(&one, is_free ? free_one : alloc_one, bench_no_call, w, 1);
    *w->slot = is_free && s == STATUS_OK ? NULL : *w->slot;
    if (machine.heap.held_pages == held) {
        result->ops += one.ops;
        result->ticks += one.ticks;
        result->most = one.ticks > result->most ? one.ticks : result->most;
    }
    return s;
}

static enum status longest(const struct bench *bench, struct bench_result *result)
{
    (void)bench;
    struct rng rng = rng_seeded(1);
    void **slots = heap_alloc_array(&machine.heap, SLOTS, sizeof *slots);
    enum status s = slots == NULL ? STATUS_NOMEM : STATUS_OK;
    for (unsigned i = 0; i < STEPS && s == STATUS_OK; i++) {
        const uint64_t most = rng_below(&rng, 4) == 0 ? HEAP_SMALL_MAX_BYTES : 300;
        struct bench_work w = {.slot = &slots[rng_below(&rng, SLOTS)], .bytes = 1 + rng_below(&rng, most)};
        s = step(&w, result);
    }
    for (unsigned i = 0; slots != NULL && i < SLOTS; i++) {
        enum status freed = heap_free(&machine.heap, slots[i]);
        s = s == STATUS_OK ? freed : s;
    }
    enum status freed = heap_free(&machine.heap, slots);
    return s == STATUS_OK ? freed : s;
}

const struct bench bench_heap[] = {
    {"heap_pair", "heap_alloc of 64 bytes, heap_free", pair, 0, 64},
    {"heap_pair_mixed", "the same of 600 bytes", pair, 0, 600},
    {"heap_pair_page", "the same of a page", pair, 0, PAGE_BYTES},
    {"heap_longest", "alloc or free of up to 2 KiB, at random; the longest", longest, 0, 0},
    {.name = NULL},
};
