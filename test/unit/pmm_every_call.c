/* Every call of the PMM, on the machine's own memory. */
#include "unit/pmm_every_call.h"

#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

enum { OWN_FRAMES = 700, CLAIMED = 600 };

#define NEED(c)           \
    do {                  \
        if (!EXPECT(c)) { \
            return false; \
        }                 \
    } while (0)
#define NEED_OK(call) NEED((call) == STATUS_OK)

static void shuffle(struct rng *rng, pfn_t *list, uint64_t n)
{
    for (uint64_t i = n; i > 1; i--) {
        uint64_t other = rng_below(rng, i);
        pfn_t kept = list[i - 1];
        list[i - 1] = list[other];
        list[other] = kept;
    }
}

static bool single_frames(struct every_call *c)
{
    static const unsigned limits[] = {0, PMM_BELOW_4G, PMM_BELOW_16M, PMM_BELOW_1M};
    uint64_t n = 0;
    for (; n < EVERY_CALL_FRAMES; n++) {
        unsigned limit = rng_below(&c->rng, 8) == 0 ? limits[rng_below(&c->rng, ARRAY_LEN(limits))] : 0;
        enum status s = pmm_alloc(c->pmm, (unsigned)rng_below(&c->rng, 2) | limit, &c->list[n]);
        if (s == STATUS_NOMEM && limit != 0) {
            s = pmm_alloc(c->pmm, PMM_EMERGENCY | PMM_NO_RECLAIM, &c->list[n]);
        }
        NEED_OK(s);
    }
    NEED(c->look());
    shuffle(&c->rng, c->list, n);
    while (n > 0) {
        pfn_t frame = c->list[--n];
        if (n % 4 == 0) {
            bool freed;
            NEED_OK(pmm_retain(c->pmm, frame));
            NEED_OK(pmm_release(c->pmm, frame, &freed));
            NEED_OK(pmm_release(c->pmm, frame, &freed));
            NEED(freed);
        } else {
            NEED_OK(n % 4 == 1 ? pmm_free_at(c->pmm, pfn_to_paddr(frame)) : pmm_free(c->pmm, frame));
        }
    }
    NEED_OK(pmm_alloc_many(c->pmm, PMM_USER, c->list, npages(EVERY_CALL_FRAMES)));
    shuffle(&c->rng, c->list, EVERY_CALL_FRAMES);
    NEED_OK(pmm_free_many(c->pmm, c->list, npages(EVERY_CALL_FRAMES), NULL));
    pmm_drain(c->pmm);
    return true;
}

static bool runs(struct every_call *c)
{
    static const uint64_t lengths[] = {1, 2, 63, 511, 512, 513, 1500};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        npages_t n = npages(lengths[i]), half = npages((n.v + 1) / 2);
        pfn_t first, limit = i % 2 == 0 ? PMM_NO_LIMIT : pfn(bytes_to_pages_down(4 * GIB).v);
        npages_t align = npages(n.v < PMM_BLOCK_FRAMES ? 1 : PMM_BLOCK_FRAMES);
        npages_t boundary = npages(i % 2 == 0 ? 0 : 4 * PMM_BLOCK_FRAMES);
        enum status s = pmm_alloc_run(c->pmm, i % 3 == 0, n, align, boundary, limit, &first);
        if (s == STATUS_NOMEM && pmm_largest_run(c->pmm, limit).v < n.v + 2 * PMM_BLOCK_FRAMES) {
            continue; /* a small machine: the longest run that there is may lie at the wrong place */
        }
        NEED_OK(s);
        NEED_OK(pmm_retain(c->pmm, first));
        NEED_OK(pmm_release(c->pmm, first, NULL));
        if (i % 2 == 0) {
            NEED_OK(pmm_split_run(c->pmm, first, n));
            NEED_OK(pmm_free(c->pmm, pfn_add(first, n.v - 1)));
            n = npages(n.v - 1);
            half = npages(n.v < half.v ? n.v : half.v);
        }
        if (n.v > half.v) {
            NEED_OK(pmm_free_run(c->pmm, pfn_add(first, half.v), npages(n.v - half.v)));
        }
        if (half.v > 0) {
            NEED_OK(pmm_free_run(c->pmm, first, half));
        }
    }
    return EXPECT(pmm_largest_run(c->pmm, PMM_NO_LIMIT).v > 0);
}

static bool owners(struct every_call *c)
{
    struct pmm_policy policy = pmm_policy(c->pmm);
    unsigned owner;
    enum status s = pmm_owner_open(c->pmm, &owner);
    if (s == STATUS_LIMIT) {
        test_note("this machine's PMM has no owners");
        return true;
    }
    NEED_OK(s);
    pmm_policy_set(c->pmm, (struct pmm_policy){npages(1), 0});
    for (uint64_t i = 0; i < OWN_FRAMES; i++) {
        NEED_OK(pmm_alloc(c->pmm, PMM_OWNER(owner), &c->list[i]));
    }
    NEED_OK(pmm_retain(c->pmm, c->list[OWN_FRAMES - 1])); /* this one's block is not taken back whole */
    struct pmm_owner_stats stats;
    NEED(pmm_owner_stats(c->pmm, owner, &stats) && stats.own_blocks.v > 0);
    uint64_t left = 0;
    for (uint64_t i = 0; i < OWN_FRAMES; i++) {
        if (!pmm_owner_takes_back(c->pmm, owner, c->list[i])) {
            c->list[left++] = c->list[i];
        }
    }
    NEED(c->look());
    struct pmm_owner_end end;
    NEED_OK(pmm_uncharge(c->pmm, owner, npages(0)));
    NEED_OK(pmm_owner_close(c->pmm, owner, &end));
    NEED(end.frames.v == OWN_FRAMES - left && end.blocks.v > 0);
    pmm_policy_set(c->pmm, policy);
    bool freed;
    NEED_OK(pmm_release(c->pmm, c->list[left - 1], &freed));
    NEED(!freed);
    return EXPECT(pmm_free_many(c->pmm, c->list, npages(left), NULL) == STATUS_OK);
}

/* Ranges chosen by the caller, and what is set aside. */
static bool claims_and_reserves(struct every_call *c)
{
    npages_t n = npages(c->free.frames.v < CLAIMED ? c->free.frames.v : CLAIMED);
    pfn_t first = pfn(run_end(c->free) - n.v), frame;
    NEED_OK(pmm_claim(c->pmm, first, n));
    NEED(c->look());
    NEED_OK(pmm_free_run(c->pmm, first, n));

    NEED_OK(pmm_promise(c->pmm, npages(3)));
    NEED_OK(pmm_alloc(c->pmm, PMM_PROMISED, &frame));
    NEED_OK(pmm_unpromise(c->pmm, npages(2)));
    NEED_OK(pmm_free(c->pmm, frame));

    struct pmm_stats before = pmm_stats(c->pmm);
    for (unsigned zone = 0; zone < PMM_ZONE_HIGH; zone++) {
        NEED_OK(pmm_zone_reserve(c->pmm, (enum pmm_zone)zone, npages(1)));
    }
    NEED_OK(pmm_emergency_reserve(c->pmm, npages(before.emergency.v + 1)));
    NEED_OK(pmm_alloc(c->pmm, PMM_EMERGENCY, &frame));
    NEED_OK(pmm_free(c->pmm, frame));
    NEED_OK(pmm_emergency_reserve(c->pmm, before.emergency));
    for (unsigned zone = 0; zone < PMM_ZONE_HIGH; zone++) {
        NEED_OK(pmm_zone_reserve(c->pmm, (enum pmm_zone)zone, before.zones[zone].reserve));
    }
    return true;
}

static npages_t gives_nothing(void *ctx, npages_t wanted)
{
    (void)wanted;
    ++*(unsigned *)ctx;
    return npages(0);
}

static bool pressure(struct every_call *c)
{
    unsigned calls = 0;
    struct pmm_low low = {.threshold = pmm_stats(c->pmm).free, .reclaim = gives_nothing, .ctx = &calls};
    pfn_t frame;
    NEED_OK(pmm_low_add(c->pmm, &low));
    NEED_OK(pmm_alloc(c->pmm, PMM_BELOW_4G, &frame)); /* past the magazine, where that is looked at */
    NEED(calls > 0);
    NEED_OK(pmm_low_remove(c->pmm, &low));
    return EXPECT(pmm_free(c->pmm, frame) == STATUS_OK);
}

/* Says that it did, and did not: the pool is emptied before anybody else draws from it. */
static bool is_called_zero(void *ctx, pfn_t frame)
{
    (void)ctx;
    (void)frame;
    return true;
}

static bool zeroed_frames(struct every_call *c)
{
    npages_t filled = npages(0);
    bool is_zero;
    pfn_t frame;
    pmm_drain(c->pmm);
    enum status s = pmm_zero_fill(c->pmm, PMM_USER, npages(64), is_called_zero, NULL, &filled);
    NEED(s == STATUS_OK || s == STATUS_UNSUPPORTED);
    NEED_OK(pmm_alloc_zeroed(c->pmm, PMM_USER, &frame, &is_zero));
    NEED(is_zero == (s == STATUS_OK && filled.v > 0));
    NEED(c->look());
    NEED_OK(pmm_free(c->pmm, frame));
    pmm_drain(c->pmm);
    if (pmm_zero_frame(c->pmm, &frame) == STATUS_OK) {
        NEED_OK(pmm_retain(c->pmm, frame));
        NEED_OK(pmm_release(c->pmm, frame, NULL));
    }
    return true;
}

/* ---- Memory that breaks, comes and goes ---- */

static uint64_t bad_frames[2];

static bool bad(struct every_call *c)
{
    if (bad_frames[0] != 0) { /* each run of the test would take two more */
        for (size_t i = 0; i < ARRAY_LEN(bad_frames); i++) {
            NEED(pmm_mark_bad(c->pmm, pfn(bad_frames[i])) == STATUS_EXISTS);
        }
        return true;
    }
    pfn_t frame;
    NEED_OK(pmm_alloc(c->pmm, PMM_KERNEL, &frame));
    NEED_OK(pmm_mark_bad(c->pmm, frame));
    NEED(pmm_query(c->pmm, frame).goes_bad);
    bad_frames[0] = c->free.first.v;
    NEED_OK(pmm_mark_bad(c->pmm, pfn(bad_frames[0])));
    NEED_OK(pmm_free(c->pmm, frame));
    NEED(pmm_query(c->pmm, frame).state == PMM_STATE_BAD);
    bad_frames[1] = frame.v;
    return true;
}

static bool is_run_end(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    (void)state;
    *(uint64_t *)ctx = first.v + frames.v;
    return true;
}

/* Memory that is not there, far above all that is: the PMM does not miss it. */
static bool regions(struct every_call *c)
{
    enum { AWAY = 4 * PMM_BLOCK_FRAMES, NEW = 16 * PMM_BLOCK_FRAMES };
    uint64_t end = 0;
    pmm_walk(c->pmm, is_run_end, &end);
    pfn_t first = pfn((end / PMM_BLOCK_FRAMES + 1) * PMM_BLOCK_FRAMES + AWAY);
    unsigned reports = test_reports();
    enum status s = pmm_region_add(c->pmm, first, npages(NEW), 0);
    c->reports += test_reports() - reports; /* LIMIT is reported */
    NEED(s == STATUS_OK || s == STATUS_LIMIT);
    struct pmm_in_the_way way;
    if (s == STATUS_OK) {
        NEED(pmm_query(c->pmm, first).state == PMM_STATE_UNTOUCHED);
        NEED_OK(pmm_region_remove(c->pmm, first, npages(NEW), &way));
    }
    return EXPECT(pmm_region_remove(c->pmm, first, npages(NEW), &way) == STATUS_ABSENT);
}

/* ---- Questions, and what is refused ---- */

static void nowhere(struct sink *self, const char *text, size_t len)
{
    (void)self;
    (void)text;
    (void)len;
}

static void count_event(void *ctx, enum pmm_event event, pfn_t first, npages_t frames)
{
    (void)first;
    *(uint64_t *)ctx += pmm_event_name(event) != NULL ? frames.v : 0;
}

static bool questions(struct every_call *c)
{
    struct sink sink = {nowhere};
    npages_t counts[PMM_STATES];
    struct pmm_region_stats stats;
    uint64_t events = 0;
    pfn_t frame;
    NEED(pmm_region_stats(c->pmm, 0, &stats));
    pmm_state_counts(c->pmm, counts);
    NEED(counts[PMM_STATE_USED].v > 0);
    NEED(pmm_frame_state(c->pmm, paddr(UINT64_MAX)).state == PMM_STATE_OUTSIDE);
    NEED_OK(pmm_check(c->pmm, NULL));
    pmm_dump(c->pmm, &sink);
    pmm_trace(c->pmm, count_event, &events);
    NEED_OK(pmm_alloc(c->pmm, PMM_KERNEL, &frame));
    NEED_OK(pmm_free(c->pmm, frame));
    pmm_trace(c->pmm, NULL, NULL);
    return EXPECT(events >= 2);
}

static bool misuses(struct every_call *c)
{
    pfn_t frame;
    unsigned reports = test_reports();
    NEED_OK(pmm_alloc(c->pmm, PMM_USER, &frame));
    NEED_OK(pmm_free(c->pmm, frame));
    NEED(pmm_free(c->pmm, frame) == STATUS_MISUSE);
    NEED(pmm_retain(c->pmm, frame) == STATUS_MISUSE);
    NEED(pmm_release(c->pmm, frame, NULL) == STATUS_MISUSE);
    NEED(pmm_free(c->pmm, pfn(UINT64_MAX)) == STATUS_MISUSE);
    NEED(pmm_free(c->pmm, pfn(0)) == STATUS_MISUSE);
    NEED(pmm_free_run(c->pmm, frame, npages(2)) == STATUS_MISUSE);
    NEED(pmm_split_run(c->pmm, frame, npages(1)) == STATUS_MISUSE);
    NEED(pmm_give_back(c->pmm, c->free.first, npages(1)) == STATUS_MISUSE);
    NEED(pmm_zero_frame_set(c->pmm, frame) != STATUS_OK);
    c->reports += test_reports() - reports;
    return true;
}

bool every_call(struct every_call *c)
{
    static bool (*const parts[])(struct every_call *c) = {
        single_frames, runs, owners, claims_and_reserves, pressure, zeroed_frames, bad, regions, questions, misuses,
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!parts[i](c) || !c->look()) {
            return false;
        }
    }
    test_expect_reports(c->reports);
    return true;
}
