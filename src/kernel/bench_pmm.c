/*
 * The PMM's benchmarks: what goes through the magazines, sharing, and runs, on the machine's own PMM; the others are in
 * bench_own.c. An operation that can be repeated is timed BENCH_LOOPS times in one loop; one that has to be prepared
 * each time is timed alone, BENCH_ROUNDS times.
 *
 * Pairs of alloc and free are to be exact: from their loop a twin of it is taken off, with arguments and answers but
 * without the calls. So what is left is everything from each call to its return.
 */
#include "kernel/bench.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

enum { HELD = 3 * PMM_MAGAZINE_FRAMES }; /* more than the magazines of a CPU hold */

/* ---- Bodies ---- */

/* Answers are only collected: nothing can fail here that did not fail the first time, which is not measured. */
enum status bench_frame_pairs(struct bench_work *w, uint64_t ops)
{
    unsigned wrong = 0;
    pfn_t frame = pfn(0);
    for (uint64_t i = 0; i < ops; i++) {
        wrong |= (unsigned)pmm_alloc(w->pmm, w->flags, &frame);
        wrong |= (unsigned)pmm_free(w->pmm, frame);
    }
    return wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

/* Here a call would be: its arguments are in place, what it may change counts as changed, an answer stands there. */
#define NO_CALL(answer, ...) \
    __asm__ volatile("" : "=a"(answer), __VA_ARGS__ : : "memory", "rcx", "r8", "r9", "r10", "r11")

enum status bench_no_frame_pairs(struct bench_work *w, uint64_t ops)
{
    unsigned any = 0;
    pfn_t frame = pfn(0);
    for (uint64_t i = 0; i < ops; i++) {
        unsigned answer;
        uint64_t first = ptr_to_vaddr(w->pmm).v, second = w->flags, third = ptr_to_vaddr(&frame).v;
        NO_CALL(answer, "+D"(first), "+S"(second), "+d"(third));
        any |= answer;
        first = ptr_to_vaddr(w->pmm).v, second = frame.v;
        NO_CALL(answer, "+D"(first), "+S"(second), "=d"(third));
        any |= answer;
    }
    __asm__ volatile("" : : "r"(any));
    return STATUS_OK;
}

static enum status run_pairs(struct bench_work *w, uint64_t ops)
{
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < ops && s == STATUS_OK; i++) {
        pfn_t first;
        s = pmm_alloc_run(w->pmm, w->flags, w->n, w->n, npages(0), PMM_NO_LIMIT, &first);
        if (s == STATUS_OK) {
            s = pmm_free_run(w->pmm, first, w->n);
        }
    }
    return s;
}

static enum status reference_pairs(struct bench_work *w, uint64_t ops)
{
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < ops && s == STATUS_OK; i++) {
        s = pmm_retain(w->pmm, w->frame);
        if (s == STATUS_OK) {
            s = pmm_release(w->pmm, w->frame, NULL);
        }
    }
    return s;
}

static enum status alloc_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return pmm_alloc(w->pmm, w->flags, &w->frame);
}

enum status bench_free_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return pmm_free(w->pmm, w->frame);
}

/* ---- On the machine's own PMM ---- */

static enum status bench_frames(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.pmm = &machine.pmm, .flags = bench->flags};
    enum status s = bench_frame_pairs(&w, 1); /* first the magazine is filled, or a block is opened */
    if (s == STATUS_OK) {
        s = bench_add(result, bench_frame_pairs, bench_no_frame_pairs, &w, BENCH_LOOPS);
    }
    pmm_drain(&machine.pmm);
    return s;
}

static enum status bench_runs(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.pmm = &machine.pmm, .flags = bench->flags, .n = npages(bench->frames)};
    enum status s = run_pairs(&w, 1);
    if (s == STATUS_OK) {
        s = bench_add(result, run_pairs, bench_nothing, &w, BENCH_LOOPS);
    }
    return s;
}

static enum status bench_references(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.pmm = &machine.pmm, .flags = bench->flags};
    enum status s = alloc_one(&w, 1);
    if (s == STATUS_OK) {
        s = bench_add(result, reference_pairs, bench_nothing, &w, BENCH_LOOPS);
        enum status freed = bench_free_one(&w, 1);
        s = s == STATUS_OK ? freed : s;
    }
    pmm_drain(&machine.pmm);
    return s;
}

/* The magazines are empty: the alloc fills one, and takes from it. */
static enum status refill_once(struct bench_work *w, struct bench_result *result)
{
    pmm_drain(w->pmm);
    uint64_t before = pmm_stats(w->pmm).refills;
    enum status s = bench_add(result, alloc_one, bench_nothing, w, 1);
    if (s != STATUS_OK) {
        return s;
    }
    bool refilled = pmm_stats(w->pmm).refills == before + 1;
    s = bench_free_one(w, 1);
    return s == STATUS_OK && !refilled ? STATUS_UNSUPPORTED : s;
}

static enum status bench_refill(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.pmm = &machine.pmm, .flags = bench->flags};
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = refill_once(&w, result);
    }
    pmm_drain(&machine.pmm);
    return s;
}

/* Frees one frame after the other; the one for which a full magazine is emptied counts. */
static enum status flush_once(struct bench_work *w, struct bench_result *result)
{
    pfn_t frames[HELD];
    enum status s = pmm_alloc_many(w->pmm, w->flags, frames, npages(HELD));
    if (s != STATUS_OK) {
        return s;
    }
    pmm_drain(w->pmm);
    uint64_t before = pmm_stats(w->pmm).flushes, flushed = 0;
    for (uint64_t i = 0; i < HELD && s == STATUS_OK; i++) {
        struct bench_result one = {0};
        w->frame = frames[i];
        s = bench_add(&one, bench_free_one, bench_nothing, w, 1);
        if (flushed == 0 && pmm_stats(w->pmm).flushes != before) {
            flushed = 1;
            result->ops++;
            result->ticks += one.ticks;
        }
    }
    return s == STATUS_OK && flushed == 0 ? STATUS_UNSUPPORTED : s;
}

static enum status bench_flush(const struct bench *bench, struct bench_result *result)
{
    struct bench_work w = {.pmm = &machine.pmm, .flags = bench->flags};
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = flush_once(&w, result);
    }
    pmm_drain(&machine.pmm);
    return s;
}

const struct bench bench_pmm[] = {
    {"pmm_pair", "alloc and free, kernel frame, through the magazine", bench_frames, PMM_KERNEL, 0},
    {"pmm_pair_user", "the same, user frame", bench_frames, PMM_USER, 0},
    {"pmm_refill", "alloc that fills the empty magazine with 64", bench_refill, PMM_KERNEL, 0},
    {"pmm_flush", "free that empties a full magazine of 64", bench_flush, PMM_KERNEL, 0},
    {"pmm_alloc_free_blocks", "alloc and free past the magazines", bench_blocks, PMM_KERNEL, 0},
    {"pmm_retain_release", "one reference more and less", bench_references, PMM_KERNEL, 0},
    {"pmm_pair_2m", "run of 512 aligned frames, and back", bench_runs, PMM_KERNEL, PMM_BLOCK_FRAMES},
    {"pmm_run_64", "run of 64 aligned frames, and back", bench_runs, PMM_KERNEL, PMM_MAGAZINE_FRAMES},
    {"pmm_claim", "claim of the frame deepest on its block's stack", bench_claim, PMM_KERNEL, 0},
    {"pmm_mark_bad", "the same frame goes bad", bench_mark, PMM_KERNEL, 0},
    {"pmm_init_64m", "bring-up of 64 MiB", bench_init, 0, 64 * MIB / PAGE_BYTES},
    {"pmm_init_16t", "bring-up of 16 TiB", bench_init, 0, 16 * TIB / PAGE_BYTES},
    {0},
};
