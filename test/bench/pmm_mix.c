/* The mix of calls over one machine, in states that one call after another leads to. */
#include "bench/pmm_longest.h"
#include "bench/steps.h"
#include "lib/rng.h"

enum { HELD_MAX = 300000, RUNS_MAX = 64, REFERENCES_MAX = 5, GO_TO_REFUSED_MAX = 500, CALLS = 5000,
       SPARSE = 16, SPARSE_CALLS = 100 };

struct held {
    pfn_t frame;
    unsigned references;
};

struct mix {
    struct bed *bed;
    struct longest *seen;
    struct rng rng;
    struct held *held;
    size_t count;
    pfn_t runs[RUNS_MAX];
    size_t run_count;
    unsigned owners[BED_OWNERS];
    bool is_counted; /* the call at hand */
};

/* The status of a call that is counted when its turn is there. */
#define WATCHED(m, call)                                                                                               \
    ({                                                                                                                 \
        enum status watched_status;                                                                                    \
        (m)->is_counted = longest_watch((m)->seen);                                                                    \
        if ((m)->is_counted) {                                                                                         \
            steps_start();                                                                                             \
            watched_status = (call);                                                                                   \
            steps_stop();                                                                                              \
        } else {                                                                                                       \
            watched_status = (call);                                                                                   \
        }                                                                                                              \
        watched_status;                                                                                                \
    })

static void seen(struct mix *m, enum kind kind)
{
    if (m->is_counted) {
        longest_seen(m->seen, kind);
    }
}

/* ---- Operations ---- */

static unsigned random_flags(struct mix *m)
{
    static const unsigned flags[] = {PMM_KERNEL, PMM_KERNEL, PMM_USER, PMM_USER, PMM_USER, PMM_BELOW_4G,
                                     PMM_USER | PMM_BELOW_16M, PMM_BELOW_1M, PMM_EMERGENCY};
    uint64_t at = rng_below(&m->rng, sizeof flags / sizeof flags[0] + 2);
    if (at < sizeof flags / sizeof flags[0]) {
        return flags[at];
    }
    return PMM_OWNER(m->owners[rng_below(&m->rng, BED_OWNERS)]);
}

static void op_alloc(struct mix *m)
{
    pfn_t frame;
    unsigned flags = random_flags(m);
    if (m->count == HELD_MAX) {
        return;
    }
    enum status status = WATCHED(m, pmm_alloc(&m->bed->pmm, flags, &frame));
    seen(m, status == STATUS_OK ? ALLOC : ALLOC_REFUSED);
    if (status == STATUS_OK) {
        m->held[m->count++] = (struct held){frame, 1};
    } else if (status != STATUS_NOMEM) {
        bed_fail("pmm_alloc", status);
    }
}

static void op_free(struct mix *m)
{
    if (m->count == 0) {
        return;
    }
    struct held *h = &m->held[rng_below(&m->rng, m->count)];
    bool is_last = h->references == 1, use_free = is_last && rng_below(&m->rng, 4) != 0;
    if (use_free) {
        bed_must(WATCHED(m, pmm_free(&m->bed->pmm, h->frame)), "pmm_free");
    } else {
        bed_must(WATCHED(m, pmm_release(&m->bed->pmm, h->frame, NULL)), "pmm_release");
    }
    seen(m, use_free ? FREE : RELEASE);
    if (--h->references == 0) {
        *h = m->held[--m->count];
    }
}

static void op_retain(struct mix *m)
{
    struct held *h = m->count == 0 ? NULL : &m->held[rng_below(&m->rng, m->count)];
    if (h == NULL || h->references == REFERENCES_MAX) {
        return;
    }
    bed_must(WATCHED(m, pmm_retain(&m->bed->pmm, h->frame)), "pmm_retain");
    seen(m, RETAIN);
    h->references++;
}

static enum status block_alloc(struct mix *m, pfn_t *first)
{
    npages_t n = npages(PMM_BLOCK_FRAMES);
    return pmm_alloc_run(&m->bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, first);
}

static void op_pair_2m(struct mix *m)
{
    pfn_t first;
    enum status status = WATCHED(m, block_alloc(m, &first));
    if (status == STATUS_NOMEM) {
        seen(m, REFUSED_2M);
        return;
    }
    bed_must(status, "pmm_alloc_run");
    if (m->is_counted) {
        steps_continue();
        status = pmm_free_run(&m->bed->pmm, first, npages(PMM_BLOCK_FRAMES));
        steps_stop();
    } else {
        status = pmm_free_run(&m->bed->pmm, first, npages(PMM_BLOCK_FRAMES));
    }
    bed_must(status, "pmm_free_run");
    seen(m, PAIR_2M);
}

/* One frame of a block handed out whole gets a user more, or loses its only one. */
static void op_in_run(struct mix *m)
{
    pfn_t first;
    if (block_alloc(m, &first) != STATUS_OK) {
        return;
    }
    struct pmm *pmm = &m->bed->pmm;
    bool retain = rng_below(&m->rng, 2) == 0;
    uint64_t at = rng_below(&m->rng, PMM_BLOCK_FRAMES);
    pfn_t frame = pfn_add(first, at);
    if (retain) {
        bed_must(WATCHED(m, pmm_retain(pmm, frame)), "pmm_retain");
    } else {
        bed_must(WATCHED(m, pmm_release(pmm, frame, NULL)), "pmm_release");
    }
    seen(m, retain ? RETAIN_IN_RUN : RELEASE_IN_RUN);
    if (retain) {
        bed_must(pmm_release(pmm, frame, NULL), "pmm_release");
        bed_must(pmm_free_run(pmm, first, npages(PMM_BLOCK_FRAMES)), "pmm_free_run");
        return;
    }
    if (at > 0) {
        bed_must(pmm_free_run(pmm, first, npages(at)), "pmm_free_run");
    }
    if (at < PMM_BLOCK_FRAMES - 1) {
        bed_must(pmm_free_run(pmm, pfn_add(frame, 1), npages(PMM_BLOCK_FRAMES - 1 - at)), "pmm_free_run");
    }
}

/* ---- Changes of state that are not counted ---- */

/* Any frame at all: opens blocks far beyond the watermark. */
static void claim_anywhere(struct mix *m)
{
    struct frame_run run = m->bed->runs[rng_below(&m->rng, m->bed->run_count)];
    pfn_t frame = pfn_add(run.first, rng_below(&m->rng, run.frames.v));
    if (frame.v != 0 && m->count < HELD_MAX && pmm_claim(&m->bed->pmm, frame, npages(1)) == STATUS_OK) {
        m->held[m->count++] = (struct held){frame, 1};
    }
}

static void hold_or_free_block(struct mix *m)
{
    if (m->run_count < RUNS_MAX && rng_below(&m->rng, 2) == 0) {
        m->run_count += block_alloc(m, &m->runs[m->run_count]) == STATUS_OK;
    } else if (m->run_count > 0) {
        size_t at = rng_below(&m->rng, m->run_count);
        bed_must(pmm_free_run(&m->bed->pmm, m->runs[at], npages(PMM_BLOCK_FRAMES)), "pmm_free_run");
        m->runs[at] = m->runs[--m->run_count];
    }
}

/* To so many frames in use, as far as can be. */
static void go_to(struct mix *m, uint64_t count)
{
    for (unsigned refused = 0; m->count < count && m->count < HELD_MAX && refused < GO_TO_REFUSED_MAX;) {
        size_t before = m->count;
        op_alloc(m);
        refused += m->count == before;
    }
    while (m->count > count) {
        op_free(m);
    }
}

/* Stretches that mostly take and stretches that mostly give: blocks fill and empty. */
static void mix_calls(struct mix *m, unsigned calls, uint64_t claims)
{
    unsigned left = 0;
    uint64_t takes = 0;
    for (unsigned i = 0; i < calls; i++, left--) {
        if (left == 0) {
            left = 16 + (unsigned)rng_below(&m->rng, 300);
            takes = 10 + rng_below(&m->rng, 50);
        }
        uint64_t die = rng_below(&m->rng, 100);
        if (die < takes) {
            op_alloc(m);
        } else if (die < 70) {
            op_free(m);
        } else if (die < 80) {
            op_retain(m);
        } else if (die < 90) {
            op_pair_2m(m);
        } else if (die < 94) {
            op_in_run(m);
        } else if (die < 100 - claims) {
            hold_or_free_block(m);
        } else {
            claim_anywhere(m);
        }
    }
}

void longest_mix(struct longest *seen_by, struct bed *bed, uint64_t seed)
{
    struct mix m = {.bed = bed, .seen = seen_by, .rng = rng_seeded(seed)};
    bed_start(bed);
    m.held = bed_reserve(HELD_MAX * sizeof *m.held);
    for (unsigned i = 0; i < BED_OWNERS; i++) {
        bed_must(pmm_owner_open(&bed->pmm, &m.owners[i]), "pmm_owner_open");
    }
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(64), 0});
    bed_must(pmm_zone_reserve(&bed->pmm, PMM_ZONE_16M, npages(40)), "pmm_zone_reserve");
    uint64_t total = pmm_stats(&bed->pmm).free.v;
    (void)pmm_emergency_reserve(&bed->pmm, npages(total / 64 < 32 ? total / 64 : 32));
    for (unsigned i = 0; i < SPARSE; i++) {
        mix_calls(&m, SPARSE_CALLS, i % 2);
        go_to(&m, total * i / SPARSE);
    }
    static const unsigned percent[] = {0, 50, 100, 97, 20, 100, 80, 3, 99, 60};
    for (unsigned i = 0; i < sizeof percent / sizeof percent[0]; i++) {
        go_to(&m, total * percent[i] / 100);
        mix_calls(&m, CALLS, 3);
    }
    bed_check(bed);
    bed_unreserve(m.held, HELD_MAX * sizeof *m.held);
}
