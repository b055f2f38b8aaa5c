/* Cycles of each heap over a trace. */
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "bench/heap_bench.h"

enum {
    PIECES = 64,
    SMALL_BYTES = 2048,
    WARM_UP_BLOCKS = 8, /* of 16 bytes to 2 KiB */
    /* Rounds of calls timed one by one, for each of whole pieces: of a hundred thousand calls some are disturbed in
     * each of eleven rounds where others use the machine too. */
    SINGLY_TIMES = 5,
};
#define SLOW_CYCLES 1e8 /* a round; then a quarter of them is enough, and as many of single calls */

struct play {
    const struct heap_trace *trace;
    void **blocks;
    uint32_t *least; /* of each operation, cycles */
    unsigned rounds, rounds_singly, played, played_singly;
    double ticks[PIECES][HEAP_ROUNDS];
};

uint64_t heap_clock(void)
{
    _mm_lfence();
    const uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static void time_round(struct play *p, const struct heap_rival *rival)
{
    const struct heap_op *ops = p->trace->ops;
    double all = 0;
    heap_begin(rival, p->trace->largest_bytes);
    for (uint64_t i = 0; i < PIECES; i++) {
        const uint64_t from = i * p->trace->op_count / PIECES, stop = (i + 1) * p->trace->op_count / PIECES;
        const uint64_t start = heap_clock();
        for (uint64_t k = from; k < stop; k++) {
            heap_op_play(rival, &ops[k], p->blocks);
        }
        all += p->ticks[i][p->played] = (double)(heap_clock() - start);
    }
    heap_end(rival);
    if (all > SLOW_CYCLES && p->played == 0) {
        p->rounds = p->rounds_singly = (p->rounds + 3) / 4;
    }
    p->played++;
}

static double cycles_an_operation(struct play *p)
{
    double sum = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        sum += bench_median(p->ticks[i], p->played);
    }
    return sum / p->trace->op_count;
}

/*
 * What the first calls take is mostly what has become of the code since another subject was played, and what a heap
 * sets up at its first call and not at its beginning.
 */
static void warm_up(const struct heap_rival *rival, size_t largest_bytes)
{
    void *blocks[WARM_UP_BLOCKS];
    for (unsigned i = 0; i < WARM_UP_BLOCKS; i++) {
        const size_t bytes = 16UL << i;
        blocks[i] = rival->alloc(bytes < largest_bytes ? bytes : largest_bytes);
    }
    for (unsigned i = 0; i < WARM_UP_BLOCKS; i++) {
        rival->release(blocks[i]);
    }
}

/*
 * Of each call by itself. Which one it is and with which block is read before the clock starts, and the clock waits for
 * it: that the trace's own arrays are out of the caches is nothing that a heap takes. It learns the address no sooner.
 */
static void worst_round(struct play *p, const struct heap_rival *rival)
{
    heap_begin(rival, p->trace->largest_bytes);
    warm_up(rival, p->trace->largest_bytes);
    for (uint32_t k = 0; k < p->trace->op_count; k++) {
        const struct heap_op op = p->trace->ops[k];
        void *block = p->blocks[op.block];
        const uint64_t start = heap_clock();
        heap_op_call(rival, &op, &block);
        const uint64_t took = heap_clock() - start;
        p->blocks[op.block] = block;
        p->least[k] = took < p->least[k] ? (uint32_t)took : p->least[k];
    }
    heap_end(rival);
    p->played_singly++;
}

/* What two readings of the clock take by themselves. */
static uint32_t clock_cost(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < 1000; i++) {
        const uint64_t start = heap_clock(), took = heap_clock() - start;
        least = took < least ? took : least;
    }
    return (uint32_t)least;
}

/* Of allocations and frees of small blocks. */
static double longest(const struct play *p, uint32_t *sizes)
{
    const struct heap_trace *t = p->trace;
    uint32_t most = 0;
    for (uint32_t k = 0; k < t->op_count; k++) {
        const struct heap_op *op = &t->ops[k];
        const uint32_t bytes = op->kind == HEAP_OP_FREE ? sizes[op->block] : op->bytes;
        sizes[op->block] = op->bytes;
        if (op->kind != HEAP_OP_RESIZE && bytes <= SMALL_BYTES) {
            most = p->least[k] > most ? p->least[k] : most;
        }
    }
    const uint32_t cost = clock_cost();
    return most > cost ? most - cost : 0;
}

static double worst(const struct play *p)
{
    uint32_t *sizes = heap_must(calloc(p->trace->block_count, sizeof *sizes));
    const double most = longest(p, sizes);
    free(sizes);
    return most;
}

static void play_rounds(struct play *plays, const bool wanted[HEAP_RIVALS], unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            if (wanted[i] && plays[i].played < plays[i].rounds) {
                time_round(&plays[i], heap_rivals[i]);
            }
        }
    }
    for (unsigned round = 0; round < rounds * SINGLY_TIMES; round++) {
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            if (wanted[i] && plays[i].played_singly < plays[i].rounds_singly) {
                worst_round(&plays[i], heap_rivals[i]);
            }
        }
    }
}

void heap_measure_times(const struct heap_trace *t, unsigned rounds, const bool wanted[HEAP_RIVALS],
                        struct heap_times times[HEAP_RIVALS])
{
    const size_t least_bytes = t->op_count * sizeof(uint32_t);
    struct play *plays = heap_must(calloc(HEAP_RIVALS, sizeof *plays));
    void **blocks = heap_must(calloc(t->block_count, sizeof *blocks));
    uint32_t *least = heap_must(malloc(HEAP_RIVALS * least_bytes));
    memset(least, 0xFF, HEAP_RIVALS * least_bytes);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        plays[i] = (struct play){.trace = t, .blocks = blocks, .least = &least[i * t->op_count], .rounds = rounds,
                                 .rounds_singly = rounds * SINGLY_TIMES};
    }
    play_rounds(plays, wanted, rounds);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (wanted[i]) {
            times[i] = (struct heap_times){cycles_an_operation(&plays[i]), worst(&plays[i])};
        }
    }
    free(least);
    free(blocks);
    free(plays);
}
