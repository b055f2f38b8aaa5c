/*
 * Instructions of single calls in known states: through a magazine, refill and flush, whole blocks, claims inside a
 * block, bring-up.
 */
#include <string.h>

#include "bench/pmm_bench.h"
#include "bench/steps.h"

enum { GATE_PAIR = 80, GATE_MANY = 3000, GATE_GROWTH_PERCENT = 2, TRIES = 18, TRIES_QUICK = 6 };

#define STEPS(call)                                                                                                    \
    ({                                                                                                                 \
        steps_start();                                                                                                 \
        enum status steps_status = (call);                                                                             \
        steps_stop();                                                                                                  \
        steps_status;                                                                                                  \
    })

static uint64_t high(void) { return paddr_to_pfn(paddr(4 * GIB)).v; }

static void counted(const char *workload, uint64_t steps, double gate)
{
    pmm_bench_figure(workload, (double)steps, "instructions", gate, NULL);
}

static struct bed *one_region(uint64_t bytes, size_t cpu_count)
{
    uint64_t frames = bytes_to_pages_down(bytes).v;
    struct bed *bed = bed_new(high() + frames, 1);
    bed->cpu_count = cpu_count;
    bed_run(bed, high(), frames);
    bed_start(bed);
    return bed;
}

static uint64_t frame_pair(struct bed *bed, const char *workload)
{
    pfn_t frame;
    uint64_t steps = 0;
    steps_start();
    enum status status = pmm_alloc(&bed->pmm, PMM_KERNEL, &frame);
    steps_stop();
    bed_must(status, "pmm_alloc");
    steps_continue();
    status = pmm_free(&bed->pmm, frame);
    steps_stop();
    bed_must(status, "pmm_free");
    (void)pmm_bench_is_most(workload, &steps);
    return steps;
}

static uint64_t run_pair(struct bed *bed)
{
    pfn_t first;
    uint64_t steps = 0;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    steps_start();
    enum status status = pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &first);
    steps_stop();
    bed_must(status, "pmm_alloc_run");
    steps_continue();
    status = pmm_free_run(&bed->pmm, first, n);
    steps_stop();
    bed_must(status, "pmm_free_run");
    (void)pmm_bench_is_most("pair_2m", &steps);
    return steps;
}

/* The first of each refills, opens, drains. */
static void pairs(void)
{
    uint64_t magazine = 0, whole = 0, blocks = 0;
    struct bed *bed = one_region(64 * MIB, 1);
    for (unsigned i = 0; i < 3; i++) {
        whole = run_pair(bed);
    }
    for (unsigned i = 0; i < 3; i++) {
        magazine = frame_pair(bed, "pair_magazine");
    }
    bed_free(bed);
    bed = one_region(64 * MIB, 0);
    for (unsigned i = 0; i < 3; i++) {
        blocks = frame_pair(bed, "pair_blocks");
    }
    bed_free(bed);
    counted("pair_magazine", magazine, GATE_PAIR);
    counted("pair_blocks", blocks, 0);
    counted("pair_2m", whole, 0);
}

/* ---- 64 MiB, all opened, half of it in use at random ---- */

struct half {
    struct bed *bed;
    pfn_t *in_use;
    uint32_t count;
    struct rng rng;
};

static struct half half_used(size_t cpu_count, uint64_t seed)
{
    struct half h = {.bed = one_region(64 * MIB, cpu_count), .rng = rng_seeded(seed)};
    uint64_t frames = bytes_to_pages_down(64 * MIB).v;
    h.in_use = bed_reserve(frames * sizeof *h.in_use);
    while (pmm_alloc(&h.bed->pmm, PMM_USER, &h.in_use[h.count]) == STATUS_OK) {
        h.count++;
    }
    for (uint32_t half = h.count / 2; h.count > half;) {
        uint64_t at = rng_below(&h.rng, h.count);
        bed_must(pmm_free(&h.bed->pmm, h.in_use[at]), "pmm_free");
        h.in_use[at] = h.in_use[--h.count];
    }
    return h;
}

static void half_free(struct half *h)
{
    bed_check(h->bed);
    bed_free(h->bed);
    bed_unreserve(h->in_use, bytes_to_pages_down(64 * MIB).v * sizeof *h->in_use);
}

static void refill_and_flush(unsigned tries, uint64_t seed)
{
    struct half h = half_used(1, seed);
    struct pmm *pmm = &h.bed->pmm;
    uint64_t refill = 0, flush = 0;
    for (unsigned i = 0; i < tries; i++) {
        for (uint64_t before = pmm_stats(pmm).refills; pmm_stats(pmm).refills == before; h.count++) {
            bed_must(STEPS(pmm_alloc(pmm, PMM_USER, &h.in_use[h.count])), "pmm_alloc");
        }
        (void)pmm_bench_is_most("refill_64", &refill);
        for (uint64_t before = pmm_stats(pmm).flushes; pmm_stats(pmm).flushes == before;) {
            uint64_t at = rng_below(&h.rng, h.count);
            bed_must(STEPS(pmm_free(pmm, h.in_use[at])), "pmm_free");
            h.in_use[at] = h.in_use[--h.count];
        }
        (void)pmm_bench_is_most("flush_64", &flush);
    }
    counted("refill_64", refill, GATE_MANY);
    counted("flush_64", flush, GATE_MANY);
    half_free(&h);
}

/* ---- Inside one block: every frame of it in an order of chance, all others in use ---- */

struct inside {
    struct bed *bed;
    uint64_t first; /* frame of the block */
    struct rng rng;
    uint32_t order[PMM_BLOCK_FRAMES];
    bool is_used[PMM_BLOCK_FRAMES];
};

static void one_inside(struct inside *in, size_t cpu_count, uint64_t seed)
{
    *in = (struct inside){.bed = one_region(64 * MIB, cpu_count), .rng = rng_seeded(seed)};
    pfn_t frame;
    while (pmm_alloc(&in->bed->pmm, PMM_USER, &frame) == STATUS_OK) {
    }
    in->first = high() + (uint64_t)5 * PMM_BLOCK_FRAMES; /* behind those that hold metadata */
    memset(in->is_used, true, sizeof in->is_used);
    pmm_bench_shuffle(in->order, PMM_BLOCK_FRAMES, &in->rng);
}

static void set_use(struct inside *in, uint32_t index, bool use)
{
    pfn_t frame = pfn(in->first + index);
    if (use != in->is_used[index]) {
        bed_must(use ? pmm_claim(&in->bed->pmm, frame, npages(1)) : pmm_free(&in->bed->pmm, frame), "one frame");
        in->is_used[index] = use;
    }
}

/* [from, from + n) free, and of the others half, nine in ten, or all but one. */
static void shuffle_around(struct inside *in, uint32_t from, uint32_t n, unsigned try)
{
    static const uint64_t used_of_1000[] = {500, 100, 0};
    for (uint32_t i = 0; i < PMM_BLOCK_FRAMES; i++) {
        set_use(in, in->order[i], true);
    }
    pmm_bench_shuffle(in->order, PMM_BLOCK_FRAMES, &in->rng);
    uint32_t kept = from > 0 ? from - 1 : n; /* a block with nothing in use forgets its order */
    for (uint32_t i = 0; i < PMM_BLOCK_FRAMES; i++) {
        uint32_t at = in->order[i];
        bool is_inside = at >= from && at < from + n;
        bool use = at == kept || rng_below(&in->rng, 1000) < used_of_1000[try % 3];
        set_use(in, at, use && !is_inside);
    }
}

static uint64_t longest_claim(const char *name, uint32_t n, unsigned tries, uint64_t seed)
{
    struct inside in;
    one_inside(&in, 0, seed);
    uint64_t most = 0;
    for (unsigned i = 0; i < tries; i++) {
        uint32_t from = (uint32_t)rng_below(&in.rng, PMM_BLOCK_FRAMES - n + 1);
        shuffle_around(&in, from, n, i);
        bed_must(STEPS(pmm_claim(&in.bed->pmm, pfn(in.first + from), npages(n))), "pmm_claim");
        (void)pmm_bench_is_most(name, &most);
        memset(in.is_used + from, true, n);
    }
    bed_check(in.bed);
    bed_free(in.bed);
    return most;
}

static uint64_t longest_mark(bool use, unsigned tries, uint64_t seed)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < tries; i++) {
        struct inside in;
        one_inside(&in, 0, seed + i);
        uint32_t at = (uint32_t)rng_below(&in.rng, PMM_BLOCK_FRAMES);
        shuffle_around(&in, at, 1, i);
        set_use(&in, at, use);
        bed_must(STEPS(pmm_mark_bad(&in.bed->pmm, pfn(in.first + at))), "pmm_mark_bad");
        (void)pmm_bench_is_most(use ? "mark_bad_used" : "mark_bad_free", &most);
        bed_check(in.bed);
        bed_free(in.bed);
    }
    return most;
}

/* Runs of any length that may not pass a limit inside the only block with free frames. */
static uint64_t longest_run_with_limit(unsigned tries, uint64_t seed)
{
    struct inside in;
    one_inside(&in, 0, seed);
    uint64_t most = 0;
    for (unsigned i = 0; i < tries; i++) {
        uint32_t n = 1 + (uint32_t)rng_below(&in.rng, PMM_BLOCK_FRAMES - 1);
        uint32_t from = (uint32_t)rng_below(&in.rng, PMM_BLOCK_FRAMES - n + 1);
        shuffle_around(&in, from, n, i);
        pfn_t limit = pfn(in.first + from + n), first = pfn(0);
        bed_must(STEPS(pmm_alloc_run(&in.bed->pmm, PMM_USER, npages(n), npages(1), npages(0), limit, &first)),
                 "pmm_alloc_run with a limit");
        (void)pmm_bench_is_most("run_with_limit", &most);
        memset(in.is_used + (first.v - in.first), true, n);
    }
    bed_check(in.bed);
    bed_free(in.bed);
    return most;
}

static uint64_t init_steps(uint64_t base, uint64_t bytes)
{
    uint64_t frames = bytes_to_pages_down(bytes).v;
    struct bed *bed = bed_new(base + frames, 1);
    bed->cpu_count = 1;
    bed_run(bed, base, frames);
    struct pmm_config config = bed_config(bed);
    bed_must(STEPS(pmm_init(&bed->pmm, &config)), "pmm_init");
    uint64_t steps = 0;
    (void)pmm_bench_is_most("init", &steps);
    bed_free(bed);
    return steps;
}

static void bring_up(void)
{
    double small = (double)init_steps(high(), 64 * MIB), large = (double)init_steps(high(), 16 * TIB);
    pmm_bench_figure("init_64m", small, "instructions", 0, NULL);
    pmm_bench_figure("init_16t", large, "instructions", 0, NULL);
    double growth = 100 * (large > small ? large - small : small - large) / small;
    pmm_bench_figure("init_growth", growth, "percent", GATE_GROWTH_PERCENT, NULL);
    /* From address 0 the larger one has two borders of zones to cut at, the smaller one. */
    counted("init_64m_from_0", init_steps(0, 64 * MIB), 0);
    counted("init_16t_from_0", init_steps(0, 16 * TIB), 0);
}

void pmm_bench_steps(const struct bench_options *options)
{
    unsigned tries = options->quick ? TRIES_QUICK : TRIES;
    uint64_t seed = options->seed;
    pairs();
    refill_and_flush(tries, seed);
    counted("claim_1", longest_claim("claim_1", 1, tries, seed), GATE_MANY);
    counted("claim_64", longest_claim("claim_64", 64, tries, seed), GATE_MANY);
    counted("claim_511", longest_claim("claim_511", 511, tries, seed), GATE_MANY);
    counted("mark_bad_free", longest_mark(false, tries, seed), GATE_MANY);
    counted("mark_bad_used", longest_mark(true, tries, seed), GATE_MANY);
    counted("run_with_limit", longest_run_with_limit(tries, seed), GATE_MANY);
    bring_up();
}
