/*
 * Memory runs short: who can give some back is asked to, in order of cost.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4, GIFTS = 80, LOGGED = 128 };

static struct pmm_bed *machine(size_t cpus) { return open_machine(BASE, BLOCKS, cpus); }

static uint64_t free_of(const struct pmm_bed *bed) { return pmm_stats(&bed->pmm).free.v; }

struct log {
    unsigned calls, depth, deepest;
    unsigned who[LOGGED];
    uint64_t wanted[LOGGED];
};

struct giver {
    struct pmm_low low;
    struct pmm_bed *bed;
    struct log *log;
    unsigned id, calls;
    uint64_t gifts[GIFTS], count, each; /* frees so many a call */
    unsigned lies;                      /* calls in which it says one more than it gave */
    bool allocates;                     /* tries to, before it gives */
};

static npages_t give(void *ctx, npages_t wanted)
{
    struct giver *g = ctx;
    struct log *log = g->log;
    if (log->calls < LOGGED) {
        log->who[log->calls] = g->id;
        log->wanted[log->calls] = wanted.v;
    }
    EXPECT_EQ(g->bed->pmm.lock.taken, 0);
    log->calls++;
    log->depth++;
    log->deepest = log->depth > log->deepest ? log->depth : log->deepest;
    if (g->allocates) {
        pfn_t frame;
        EXPECT_EQ(pmm_alloc(&g->bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
        EXPECT_EQ(pmm_alloc_many(&g->bed->pmm, PMM_USER, &frame, npages(1)), STATUS_NOMEM);
        if (EXPECT_EQ(pmm_alloc(&g->bed->pmm, PMM_EMERGENCY, &frame), STATUS_OK)) {
            free_one(g->bed, frame.v);
        }
    }
    uint64_t given = 0;
    while (given < g->each && g->count > 0) {
        free_one(g->bed, g->gifts[--g->count]);
        given++;
    }
    log->depth--;
    return npages(given + (g->calls++ < g->lies));
}

static struct giver *givers(struct pmm_bed *bed, size_t n)
{
    struct giver *all = test_pages(bytes_to_pages_up(n * sizeof *all).v);
    struct log *log = test_pages(bytes_to_pages_up(sizeof *log).v);
    for (size_t i = 0; all != NULL && i < n; i++) {
        all[i] = (struct giver){.low = {.cost = 10, .reclaim = give, .ctx = &all[i]}, .bed = bed, .log = log,
                                .id = (unsigned)i, .each = GIFTS};
    }
    return log == NULL ? NULL : all;
}

static void endow(struct giver *g, uint64_t **list, uint64_t frames)
{
    while (frames-- > 0) {
        g->gifts[g->count++] = *(*list)++;
    }
}

TEST(pmm, a_callback_is_told_once_each_time_that_its_threshold_is_crossed)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 1);
    REQUIRE(g != NULL);
    uint64_t free = free_of(bed), list[70];
    g->low.threshold = npages(free - 30);
    REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 30; i++) {
            list[i] = take_one(bed, PMM_USER);
        }
        EXPECT_EQ(g->log->calls, round - 1); /* as many as the threshold are left */
        list[30] = take_one(bed, PMM_KERNEL);
        EXPECT_EQ(g->log->calls, round);
        EXPECT_EQ(g->log->wanted[round - 1], 1);
        for (unsigned i = 31; i < 70; i++) {
            list[i] = take_one(bed, PMM_KERNEL);
        }
        EXPECT_EQ(g->log->calls, round);
        free_list(bed, list, 70);
        EXPECT_EQ(g->log->calls, round);
        free_one(bed, take_one(bed, PMM_KERNEL));
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).reclaims, 3);
    bed_sound(bed);
}

TEST(pmm, frames_promised_or_kept_are_not_free_for_all_when_thresholds_are_looked_at)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 1);
    REQUIRE(g != NULL);
    uint64_t free = free_of(bed);
    g->low.threshold = npages(100);
    REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
    REQUIRE(pmm_promise(&bed->pmm, npages(free - 250)) == STATUS_OK);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(140)) == STATUS_OK);
    for (unsigned i = 0; i < 10; i++) {
        take_one(bed, PMM_KERNEL);
    }
    EXPECT_EQ(g->log->calls, 0);
    take_one(bed, PMM_PROMISED); /* leaves what is free for all as it is */
    EXPECT_EQ(g->log->calls, 0);
    take_one(bed, PMM_KERNEL);
    EXPECT_EQ(g->log->calls, 1);
    bed_sound(bed);
}

TEST(pmm, with_magazines_a_threshold_is_noticed_at_a_refill)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 1);
    REQUIRE(g != NULL);
    g->low.threshold = npages(1000);
    REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
    while (g->log->calls == 0 && free_of(bed) > 500) {
        REQUIRE(take_one(bed, PMM_KERNEL) != 0);
    }
    uint64_t free = free_of(bed);
    EXPECT(free >= 1000 - PMM_MAGAZINE_FRAMES && free <= 1000 + PMM_MAGAZINE_FRAMES);
    bed_take_all(bed, PMM_USER | PMM_NO_RECLAIM);
    EXPECT_EQ(g->log->calls, 1);
    bed_sound(bed);
}

static void ask_in_order(struct pmm_bed *bed)
{
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    struct giver *g = givers(bed, 5);
    REQUIRE(list != NULL && g != NULL);
    uint64_t taken = take_list(bed, PMM_USER, list);
    static const unsigned costs[] = {7, 2, 7, 5, 100};
    for (unsigned i = 0; i < 5; i++) {
        g[i].low.cost = costs[i];
        endow(&g[i], &list, 10);
        REQUIRE(pmm_low_add(&bed->pmm, &g[i].low) == STATUS_OK);
    }
    pfn_t frames[36];
    /* 5 frames are free: 31 are missing. */
    free_list(bed, list, 5);
    EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_KERNEL, frames, npages(36)), STATUS_OK);
    static const unsigned who[] = {1, 3, 0, 2}, wanted[] = {31, 21, 11, 1};
    EXPECT_EQ(g->log->calls, 4);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(g->log->who[i], who[i]);
        EXPECT_EQ(g->log->wanted[i], wanted[i]);
    }
    EXPECT_EQ(free_of(bed), 9);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, taken - 9);
    EXPECT_EQ(pmm_stats(&bed->pmm).reclaims, 4);
    bed_sound(bed);
}

TEST(pmm, a_request_that_would_fail_asks_in_order_of_cost_until_it_can_be_met)
{
    ask_in_order(machine(0));
    ask_in_order(machine(1)); /* what is given goes through a magazine, and counts at once */
}

TEST(pmm, every_call_that_wants_frames_asks_before_it_fails)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    struct giver *g = givers(bed, 1);
    REQUIRE(list != NULL && g != NULL);
    take_list(bed, PMM_KERNEL, list);
    g->each = 2;
    endow(g, &list, 10);
    REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
    pfn_t frame, two[2];
    bool is_zero;
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_OK);
    EXPECT_EQ(g->log->calls, 1);
    EXPECT_EQ(g->log->wanted[0], 1);
    EXPECT_EQ(pmm_promise(&bed->pmm, npages(3)), STATUS_OK);
    EXPECT_EQ(g->log->calls, 2);
    EXPECT_EQ(g->log->wanted[1], 2);
    EXPECT_EQ(pmm_alloc_zeroed(&bed->pmm, PMM_KERNEL, &frame, &is_zero), STATUS_OK);
    EXPECT_EQ(g->log->calls, 3);
    EXPECT(take_one(bed, PMM_KERNEL) != 0);
    EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_USER, two, npages(2)), STATUS_OK);
    EXPECT_EQ(g->log->calls, 4);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &frame), STATUS_OK);
    EXPECT_EQ(g->log->calls, 5);
    EXPECT(take_one(bed, PMM_PROMISED) != 0); /* cannot fail: asks nobody */
    EXPECT_EQ(g->log->calls, 5);
    bed_sound(bed);
}

TEST(pmm, a_limited_request_asks_on_until_a_frame_below_its_limit_is_free)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 12, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 160);
    bed_run(bed, BASE * PMM_BLOCK_FRAMES, BLOCKS * PMM_BLOCK_FRAMES);
    REQUIRE(starts(bed));
    struct giver *g = givers(bed, 3);
    REQUIRE(g != NULL);
    g[0].gifts[g[0].count++] = take_one(bed, PMM_KERNEL); /* of no use */
    g[1].gifts[g[1].count++] = take_one(bed, PMM_BELOW_1M);
    g[2].gifts[g[2].count++] = take_one(bed, PMM_BELOW_1M);
    bed_take_all(bed, PMM_BELOW_1M);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(pmm_low_add(&bed->pmm, &g[i].low) == STATUS_OK);
    }
    EXPECT_EQ(take_one(bed, PMM_BELOW_1M), g[1].gifts[0]);
    EXPECT_EQ(g[1].count, 0);
    EXPECT_EQ(g[2].count, 1); /* it was not needed */
    bed_sound(bed);
}

TEST(pmm, a_request_that_nobody_can_help_fails_after_each_was_asked)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 3);
    REQUIRE(g != NULL);
    bed_take_all(bed, PMM_KERNEL);
    for (unsigned i = 0; i < 3; i++) {
        g[i].low.cost = 3 - i;
        REQUIRE(pmm_low_add(&bed->pmm, &g[i].low) == STATUS_OK);
    }
    pfn_t frame = pfn(9);
    bed_remember(bed);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(frame.v, 9);
    EXPECT_EQ(g->log->calls, 3);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(g->log->who[i], 2 - i);
        EXPECT_EQ(g->log->wanted[i], 1);
    }
    EXPECT_EQ(pmm_promise(&bed->pmm, npages(4)), STATUS_NOMEM);
    EXPECT_EQ(g->log->calls, 6);
    EXPECT_EQ(g->log->wanted[5], 4);
    bed_unchanged(bed);
}

TEST(pmm, a_callback_that_promises_and_gives_nothing_is_not_asked_for_ever)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 1);
    REQUIRE(g != NULL);
    bed_take_all(bed, PMM_KERNEL);
    g->lies = 1000; /* so that a failure ends */
    REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
    pfn_t frame;
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_NOMEM);
    EXPECT(g->log->calls >= 1 && g->log->calls < 100);
    bed_sound(bed);
}

TEST(pmm, no_reclaim_calls_nobody_when_short_nor_when_low)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = machine(cpus);
        REQUIRE(bed != NULL);
        struct giver *g = givers(bed, 1);
        REQUIRE(g != NULL);
        g->gifts[g->count++] = take_one(bed, PMM_KERNEL);
        g->low.threshold = npages(500);
        REQUIRE(pmm_low_add(&bed->pmm, &g->low) == STATUS_OK);
        bed_take_all(bed, PMM_USER | PMM_NO_RECLAIM);
        pfn_t two[2];
        EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_NO_RECLAIM, two, npages(2)), STATUS_NOMEM);
        EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_NO_RECLAIM, npages(1), npages(0), npages(0), PMM_NO_LIMIT, two),
                  STATUS_NOMEM);
        EXPECT_EQ(g->log->calls, 0);
        EXPECT_EQ(g->count, 1);
        EXPECT(take_one(bed, PMM_KERNEL) != 0);
        EXPECT(g->log->calls > 0);
        bed_sound(bed);
    }
}

TEST(pmm, what_a_callback_allocates_calls_no_callback)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    struct giver *g = givers(bed, 2);
    REQUIRE(list != NULL && g != NULL);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(1)) == STATUS_OK);
    take_list(bed, PMM_KERNEL, list);
    for (unsigned i = 0; i < 2; i++) {
        g[i].allocates = i == 0; /* asked first: with nothing free */
        endow(&g[i], &list, 1);
        REQUIRE(pmm_low_add(&bed->pmm, &g[i].low) == STATUS_OK);
    }
    EXPECT(take_one(bed, PMM_KERNEL) != 0);
    EXPECT_EQ(g->log->calls, 1);
    EXPECT_EQ(g->log->deepest, 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).emergency.v, 1);
    EXPECT_EQ(free_of(bed), 1);
    EXPECT(take_one(bed, PMM_KERNEL) != 0); /* called again afterwards: the first has nothing, the second has */
    EXPECT_EQ(g->log->calls, 3);
    EXPECT_EQ(g->log->deepest, 1);
    bed_sound(bed);
}

TEST(pmm, a_callback_is_added_once_and_once_removed_not_called)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 3);
    REQUIRE(g != NULL);
    bed_take_all(bed, PMM_KERNEL);
    EXPECT_EQ(pmm_low_remove(&bed->pmm, &g->low), STATUS_ABSENT);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(pmm_low_add(&bed->pmm, &g[i].low), STATUS_OK);
        EXPECT_EQ(pmm_low_add(&bed->pmm, &g[i].low), STATUS_EXISTS);
    }
    EXPECT_EQ(pmm_low_add(&bed->pmm, &g[0].low), STATUS_EXISTS);
    EXPECT_EQ(pmm_low_remove(&bed->pmm, &g[1].low), STATUS_OK);
    EXPECT_EQ(pmm_low_remove(&bed->pmm, &g[1].low), STATUS_ABSENT);
    pfn_t frame;
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(g->log->calls, 2);
    EXPECT_EQ(g->log->who[0], 0);
    EXPECT_EQ(g->log->who[1], 2);
    EXPECT_EQ(pmm_low_add(&bed->pmm, &g[1].low), STATUS_OK); /* behind those that cost as much */
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(g->log->who[4], 1);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(pmm_low_remove(&bed->pmm, &g[i].low), STATUS_OK);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(g->log->calls, 5);
}

TEST(pmm, the_cheapest_is_told_first_when_several_thresholds_are_crossed)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    struct giver *g = givers(bed, 3);
    REQUIRE(g != NULL);
    uint64_t free = free_of(bed);
    static const unsigned costs[] = {9, 1, 5}, thresholds[] = {2, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        g[i].low.cost = costs[i];
        g[i].low.threshold = npages(free - 10 + thresholds[i]);
        REQUIRE(pmm_low_add(&bed->pmm, &g[i].low) == STATUS_OK);
    }
    pfn_t frames[12];
    REQUIRE(pmm_alloc_many(&bed->pmm, PMM_KERNEL, frames, npages(12)) == STATUS_OK);
    EXPECT_EQ(g->log->calls, 3);
    static const unsigned who[] = {1, 2, 0};
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(g->log->who[i], who[i]);
        EXPECT_EQ(g->log->wanted[i], 2 + thresholds[who[i]]);
    }
    bed_sound(bed);
}
