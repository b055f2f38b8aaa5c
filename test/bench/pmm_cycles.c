/*
 * Cycles an operation: the PMM and a raw stack, in one process, turn by turn, over the same orders.
 *
 * Each round does the same work again, cut into pieces. A piece counts with the median of all rounds, so that what else
 * the machine does falls out; a workload is the sum of its pieces.
 */
#include <x86intrin.h>

#include "bench/pmm_bench.h"
#include "bench/raw_stack.h"

enum { ROUNDS = 15, ROUNDS_QUICK = 3, PIECES = 64, PAIRS = 1 << 20, WARM_UP_2M = 4 };

enum workload { PAIR, BULK_ALLOC, BULK_FREE, BULK_ALLOC_AGAIN, CHURN, PAIR_2M, WORKLOADS };
static const struct {
    const char *name;
    double gate; /* of the ratio to the raw stack; PAIR_2M: to the PMM's own pair */
} workloads[WORKLOADS] = {
    [PAIR] = {"pair", 2},   [BULK_ALLOC] = {"bulk_alloc", 7}, [BULK_FREE] = {"bulk_free", 5},
    [BULK_ALLOC_AGAIN] = {"bulk_alloc_again", 0}, /* from blocks that random frees left */
    [CHURN] = {"churn", 3}, [PAIR_2M] = {"pair_2m", 2},
};

enum subject { RAW_STACK, CAIRN, SUBJECTS };

struct cycles {
    struct bed *bed;
    struct pmm *pmm;
    struct raw_stack raw;
    uint64_t base;
    uint32_t frames;  /* that the PMM can hand out; the raw stack gets as many */
    pfn_t *held;      /* frames in use, as they came */
    pfn_t *victims;   /* the same in the order of freeing */
    uint32_t *order;  /* a random order of all, one for both */
    unsigned round;
    uint64_t ops[WORKLOADS];
    double ticks[SUBJECTS][WORKLOADS][PIECES][ROUNDS];
};

/* Operations [from, end) of a workload. */
typedef enum status piece_fn(struct cycles *c, uint32_t from, uint32_t end);

static uint64_t now(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static void timed(struct cycles *c, enum subject subject, enum workload workload, uint32_t ops, piece_fn *piece)
{
    enum status bad = STATUS_OK;
    c->ops[workload] = ops;
    for (uint64_t i = 0; i < PIECES; i++) {
        uint32_t from = (uint32_t)(i * ops / PIECES), end = (uint32_t)((i + 1) * ops / PIECES);
        uint64_t start = now();
        bad |= piece(c, from, end);
        c->ticks[subject][workload][i][c->round] = (double)(now() - start);
    }
    bed_must(bad, workloads[workload].name);
}

/* ---- The PMM ---- */

static enum status cairn_alloc(struct cycles *c, uint32_t from, uint32_t end)
{
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        bad |= pmm_alloc(c->pmm, PMM_USER, &c->held[i]);
    }
    return bad;
}

static enum status cairn_free(struct cycles *c, uint32_t from, uint32_t end)
{
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        bad |= pmm_free(c->pmm, c->victims[i]);
    }
    return bad;
}

static enum status cairn_churn(struct cycles *c, uint32_t from, uint32_t end)
{
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        bad |= pmm_free(c->pmm, c->victims[i]);
        bad |= pmm_alloc(c->pmm, PMM_USER, &c->victims[i]);
    }
    return bad;
}

static enum status cairn_pair(struct cycles *c, uint32_t from, uint32_t end)
{
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        pfn_t frame;
        bad |= pmm_alloc(c->pmm, PMM_USER, &frame);
        bad |= pmm_free(c->pmm, frame);
    }
    return bad;
}

static enum status cairn_pair_2m(struct cycles *c, uint32_t from, uint32_t end)
{
    const npages_t n = npages(PMM_BLOCK_FRAMES);
    enum status bad = STATUS_OK;
    for (uint32_t i = from; i < end; i++) {
        pfn_t first;
        bad |= pmm_alloc_run(c->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &first);
        bad |= pmm_free_run(c->pmm, first, n);
    }
    return bad;
}

/* ---- The raw stack ---- */

static enum status raw_alloc(struct cycles *c, uint32_t from, uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        c->held[i] = pfn(raw_stack_alloc(&c->raw));
    }
    return STATUS_OK;
}

static enum status raw_free(struct cycles *c, uint32_t from, uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        raw_stack_free(&c->raw, (uint32_t)c->victims[i].v);
    }
    return STATUS_OK;
}

static enum status raw_churn(struct cycles *c, uint32_t from, uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        raw_stack_free(&c->raw, (uint32_t)c->victims[i].v);
        c->victims[i] = pfn(raw_stack_alloc(&c->raw));
    }
    return STATUS_OK;
}

static enum status raw_pair(struct cycles *c, uint32_t from, uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        raw_stack_free(&c->raw, raw_stack_alloc(&c->raw));
    }
    return STATUS_OK;
}

/* ---- Both ---- */

static piece_fn *const pieces[SUBJECTS][WORKLOADS] = {
    [RAW_STACK] = {[PAIR] = raw_pair, [BULK_ALLOC] = raw_alloc, [BULK_FREE] = raw_free, [CHURN] = raw_churn},
    [CAIRN] = {[PAIR] = cairn_pair, [BULK_ALLOC] = cairn_alloc, [BULK_FREE] = cairn_free, [CHURN] = cairn_churn},
};

static void line_up(struct cycles *c)
{
    for (uint32_t i = 0; i < c->frames; i++) {
        c->victims[i] = c->held[c->order[i]];
    }
}

static void run_round(struct cycles *c, enum subject subject)
{
    piece_fn *const *piece = pieces[subject];
    uint32_t half = c->frames / 2;
    timed(c, subject, BULK_ALLOC, c->frames, piece[BULK_ALLOC]);
    line_up(c);
    timed(c, subject, BULK_FREE, c->frames, piece[BULK_FREE]);
    timed(c, subject, BULK_ALLOC_AGAIN, c->frames, piece[BULK_ALLOC]);
    line_up(c);
    bed_must(piece[BULK_FREE](c, half, c->frames), "to half full");
    timed(c, subject, CHURN, half, piece[CHURN]);
    timed(c, subject, PAIR, PAIRS, piece[PAIR]);
}

static void run_raw(struct cycles *c)
{
    /* The lowest frame on top. */
    c->raw.top = 0;
    for (uint32_t i = c->frames; i-- > 0;) {
        raw_stack_free(&c->raw, (uint32_t)(c->base + i));
    }
    run_round(c, RAW_STACK);
}

static void run_cairn(struct cycles *c)
{
    bed_start(c->bed);
    run_round(c, CAIRN);
    bed_check(c->bed);
    /* Of a machine where blocks are whole. The first calls open the block that all others take. */
    bed_start(c->bed);
    bed_must(cairn_pair_2m(c, 0, WARM_UP_2M), "the first 2 MiB");
    timed(c, CAIRN, PAIR_2M, PAIRS, cairn_pair_2m);
}

static void prepare(struct cycles *c, const struct bench_options *options)
{
    struct rng rng = rng_seeded(options->seed);
    uint64_t total = bytes_to_pages_down(4 * GIB).v;
    c->base = paddr_to_pfn(paddr(4 * GIB)).v;
    c->bed = bed_new(c->base + total, 1);
    c->pmm = &c->bed->pmm;
    c->bed->cpu_count = 1;
    bed_run(c->bed, c->base, total);
    bed_start(c->bed);
    c->frames = (uint32_t)pmm_stats(c->pmm).free.v;
    c->raw.frames = bed_reserve(total * sizeof *c->raw.frames);
    c->held = bed_reserve(total * sizeof *c->held);
    c->victims = bed_reserve(total * sizeof *c->victims);
    c->order = bed_reserve(total * sizeof *c->order);
    pmm_bench_shuffle(c->order, c->frames, &rng);
}

static double cycles_of(struct cycles *c, enum subject subject, enum workload workload, unsigned rounds)
{
    double sum = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        sum += bench_median(c->ticks[subject][workload][i], rounds);
    }
    return sum / (double)c->ops[workload];
}

static void put(const char *subject, enum workload workload, double value, const char *unit, double gate)
{
    bench_add((struct bench_result){"pmm", subject, workloads[workload].name, value, unit, gate, NULL});
}

void pmm_bench_cycles(const struct bench_options *options)
{
    static struct cycles cycles;
    struct cycles *c = &cycles;
    unsigned rounds = options->quick ? ROUNDS_QUICK : ROUNDS;
    prepare(c, options);
    /* One round before the first that counts: memory is touched, the clock speeds up. */
    for (unsigned i = 0; i <= rounds; i++) {
        c->round = i == 0 ? 0 : i - 1;
        run_raw(c);
        run_cairn(c);
    }
    double pair = cycles_of(c, CAIRN, PAIR, rounds);
    for (enum workload w = 0; w < WORKLOADS; w++) {
        double cairn = cycles_of(c, CAIRN, w, rounds), base = pair;
        if (w != PAIR_2M) {
            base = cycles_of(c, RAW_STACK, w, rounds);
            put("raw-stack", w, base, "cycles", 0);
            put("raw-stack", w, 1, "ratio", 0);
        }
        put("cairn", w, cairn, "cycles", 0);
        put("cairn", w, cairn / base, "ratio", workloads[w].gate);
    }
    bed_free(c->bed);
}
