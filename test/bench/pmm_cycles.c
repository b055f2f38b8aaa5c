/* Cycles an operation of the PMM and of a raw stack, and what measures them. */
#include "bench/pmm_cycles.h"

#include <x86intrin.h>

enum { ROUNDS_QUICK = 3, PAIRS = 1 << 20, WARM_UP_2M = 4 };

const char *const cycles_workloads[WORKLOADS] = {
    [PAIR] = "pair", [BULK_ALLOC] = "bulk_alloc", [BULK_FREE] = "bulk_free",
    [BULK_ALLOC_AGAIN] = "bulk_alloc_again", /* from blocks that random frees left */
    [FREE_ARRAY] = "free_array", [CHURN] = "churn", [PAIR_2M] = "pair_2m",
};
/* Of the ratio to the raw stack; PAIR_2M: to the PMM's own pair. */
static const double gates[WORKLOADS] = {
    [PAIR] = 2, [BULK_ALLOC] = 7, [BULK_FREE] = 5, [FREE_ARRAY] = 5, [CHURN] = 3, [PAIR_2M] = 2,
};

enum subject { RAW_STACK, CAIRN };

static uint64_t now(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

void cycles_timed(struct cycles *c, unsigned subject, enum workload workload, uint32_t ops, piece_fn *piece)
{
    enum status bad = STATUS_OK;
    c->ops[workload] = ops;
    for (uint64_t i = 0; i < CYCLES_PIECES; i++) {
        uint32_t from = (uint32_t)(i * ops / CYCLES_PIECES), end = (uint32_t)((i + 1) * ops / CYCLES_PIECES);
        uint64_t start = now();
        bad |= piece(c, from, end);
        c->ticks[subject][workload][i][c->round] = (double)(now() - start);
    }
    bed_must(bad, cycles_workloads[workload]);
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

/* The second half of the victims, a piece a call. */
static enum status cairn_free_array(struct cycles *c, uint32_t from, uint32_t end)
{
    return pmm_free_many(c->pmm, &c->victims[c->frames / 2 + from], npages(end - from), NULL);
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

static enum status raw_free_array(struct cycles *c, uint32_t from, uint32_t end)
{
    const uint32_t half = c->frames / 2;
    return raw_free(c, half + from, half + end);
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

/* ---- Rounds ---- */

piece_fn *const cycles_raw_pieces[WORKLOADS] = {
    [PAIR] = raw_pair, [BULK_ALLOC] = raw_alloc, [BULK_FREE] = raw_free,
    [FREE_ARRAY] = raw_free_array, [CHURN] = raw_churn};
piece_fn *const cycles_cairn_pieces[WORKLOADS] = {
    [PAIR] = cairn_pair, [BULK_ALLOC] = cairn_alloc, [BULK_FREE] = cairn_free,
    [FREE_ARRAY] = cairn_free_array, [CHURN] = cairn_churn};

static void line_up(struct cycles *c)
{
    for (uint32_t i = 0; i < c->frames; i++) {
        c->victims[i] = c->held[c->order[i]];
    }
}

void cycles_run(struct cycles *c, unsigned subject, piece_fn *const *piece)
{
    uint32_t half = c->frames / 2;
    cycles_timed(c, subject, BULK_ALLOC, c->frames, piece[BULK_ALLOC]);
    line_up(c);
    cycles_timed(c, subject, BULK_FREE, c->frames, piece[BULK_FREE]);
    cycles_timed(c, subject, BULK_ALLOC_AGAIN, c->frames, piece[BULK_ALLOC]);
    line_up(c);
    if (piece[FREE_ARRAY] != NULL) {
        cycles_timed(c, subject, FREE_ARRAY, c->frames - half, piece[FREE_ARRAY]);
    } else {
        bed_must(piece[BULK_FREE](c, half, c->frames), "to half full");
    }
    cycles_timed(c, subject, CHURN, half, piece[CHURN]);
    cycles_timed(c, subject, PAIR, c->pairs, piece[PAIR]);
}

void cycles_run_raw(struct cycles *c, unsigned subject)
{
    /* The lowest frame on top. */
    c->raw.top = 0;
    for (uint32_t i = c->frames; i-- > 0;) {
        raw_stack_free(&c->raw, (uint32_t)(c->base + i));
    }
    cycles_run(c, subject, cycles_raw_pieces);
}

void cycles_run_cairn(struct cycles *c, unsigned subject)
{
    bed_start(c->bed);
    cycles_run(c, subject, cycles_cairn_pieces);
    bed_check(c->bed);
    /* Of a machine where blocks are whole. The first calls open the block that all others take. */
    bed_start(c->bed);
    bed_must(cairn_pair_2m(c, 0, WARM_UP_2M), "the first 2 MiB");
    cycles_timed(c, subject, PAIR_2M, c->pairs, cairn_pair_2m);
}

void cycles_prepare(struct cycles *c, uint64_t seed, uint64_t total)
{
    struct rng rng = rng_seeded(seed);
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
    c->pairs = total < PAIRS ? (uint32_t)total : PAIRS;
    pmm_bench_shuffle(c->order, c->frames, &rng);
}

void cycles_end(struct cycles *c)
{
    uint64_t total = c->bed->frames_end - c->base;
    bed_unreserve(c->raw.frames, total * sizeof *c->raw.frames);
    bed_unreserve(c->held, total * sizeof *c->held);
    bed_unreserve(c->victims, total * sizeof *c->victims);
    bed_unreserve(c->order, total * sizeof *c->order);
    bed_free(c->bed);
}

double cycles_of(struct cycles *c, unsigned subject, enum workload workload, unsigned rounds)
{
    double sum = 0;
    for (unsigned i = 0; i < CYCLES_PIECES; i++) {
        sum += bench_median(c->ticks[subject][workload][i], rounds);
    }
    return sum / (double)c->ops[workload];
}

static void put(const char *subject, enum workload workload, double value, const char *unit, double gate)
{
    bench_add((struct bench_result){"pmm", subject, cycles_workloads[workload], value, unit, gate, NULL});
}

void pmm_bench_cycles(const struct bench_options *options)
{
    static struct cycles cycles;
    struct cycles *c = &cycles;
    unsigned rounds = options->quick ? ROUNDS_QUICK : CYCLES_ROUNDS_MAX;
    cycles_prepare(c, options->seed, bytes_to_pages_down(4 * GIB).v);
    /* One round before the first that counts: memory is touched, the clock speeds up. */
    for (unsigned i = 0; i <= rounds; i++) {
        c->round = i == 0 ? 0 : i - 1;
        cycles_run_raw(c, RAW_STACK);
        cycles_run_cairn(c, CAIRN);
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
        put("cairn", w, cairn / base, "ratio", gates[w]);
    }
    cycles_end(c);
}
