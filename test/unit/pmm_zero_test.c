/*
 * Frames zeroed ahead of need: filled when idle, served first, given up when memory is short.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES, POOL = 100 };

/* What the one that zeroes knows. */
struct zeroer {
    struct pmm_bed *bed;
    bool zero[FRAMES]; /* [frame - FIRST]: nobody had it since it was zeroed */
    uint64_t calls, fail_at;
    bool allocates;
};

static bool zero_frame(void *ctx, pfn_t frame)
{
    struct zeroer *z = ctx;
    z->calls++;
    EXPECT_EQ(z->bed->pmm.lock.taken, 0);
    enum pmm_state state = state_of(z->bed, frame.v);
    EXPECT(state != PMM_STATE_FREE && state != PMM_STATE_UNTOUCHED && state != PMM_STATE_RESERVED);
    if (z->allocates) {
        uint64_t other = take_one(z->bed, PMM_KERNEL);
        if (EXPECT(other != 0 && other != frame.v)) {
            z->zero[other - FIRST] = false;
            free_one(z->bed, other);
        }
    }
    z->zero[frame.v - FIRST] = z->calls != z->fail_at;
    return z->calls != z->fail_at;
}

/* Blocks [8, 12), all open. */
static struct pmm_bed *machine(size_t pool, size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 0);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        some_cpus(bed, cpus);
        if (pool > 0) {
            bed_with_zero_pool(bed, pool);
        }
        if (!starts(bed)) {
            return NULL;
        }
        open_all(bed);
    }
    return bed;
}

static struct zeroer *zeroer_of(struct pmm_bed *bed)
{
    struct zeroer *z = bed == NULL ? NULL : test_pages(bytes_to_pages_up(sizeof *z).v);
    if (z != NULL) {
        z->bed = bed;
    }
    return z;
}

static uint64_t fill_class(struct zeroer *z, unsigned class, uint64_t most)
{
    npages_t filled = npages(77777);
    EXPECT_EQ(pmm_zero_fill(&z->bed->pmm, class, npages(most), zero_frame, z, &filled), STATUS_OK);
    return filled.v;
}

static uint64_t fill(struct zeroer *z, uint64_t most) { return fill_class(z, PMM_USER, most); }

/* A frame by pmm_alloc_zeroed, which must be had; it is what *is_zero says. */
static uint64_t take_zeroed(struct zeroer *z, unsigned flags, bool *is_zero)
{
    pfn_t frame = pfn(FIRST);
    EXPECT_EQ(pmm_alloc_zeroed(&z->bed->pmm, flags, &frame, is_zero), STATUS_OK);
    EXPECT(!*is_zero || z->zero[frame.v - FIRST]);
    z->zero[frame.v - FIRST] = false;
    return frame.v;
}

TEST(pmm, the_pool_of_zeroed_frames_is_filled_and_counted_as_free)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        struct pmm_stats before = pmm_stats(&z->bed->pmm);
        EXPECT_EQ(before.zeroed.v, 0);
        EXPECT_EQ(fill(z, 0), 0);
        EXPECT_EQ(fill(z, 30), 30);
        EXPECT_EQ(z->calls, 30);
        struct pmm_stats s = pmm_stats(&z->bed->pmm);
        EXPECT_EQ(s.zeroed.v, 30);
        EXPECT(s.cached.v >= 30);
        EXPECT_EQ(s.free.v, before.free.v);
        EXPECT_EQ(s.used.v, before.used.v);
        uint64_t cached = 0;
        for (uint64_t f = FIRST; f < FIRST + FRAMES; f++) {
            enum pmm_state state = state_of(z->bed, f);
            EXPECT(!z->zero[f - FIRST] || state == PMM_STATE_CACHED);
            cached += state == PMM_STATE_CACHED;
        }
        EXPECT_EQ(cached, s.cached.v);
        bed_sound(z->bed);
        EXPECT_EQ(fill(z, 1000), POOL - 30); /* as many as there is room for */
        EXPECT_EQ(fill(z, 1000), 0);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, POOL);
        bed_sound(z->bed);
    }
}

TEST(pmm, a_zeroed_request_is_a_hit_while_the_pool_has_frames_and_then_a_miss)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        EXPECT_EQ(fill(z, 5), 5);
        bool is_zero = true;
        free_one(z->bed, take_zeroed(z, PMM_KERNEL, &is_zero)); /* the pool is for user frames */
        EXPECT(!is_zero);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 5);
        uint64_t free = pmm_stats(&z->bed->pmm).free.v;
        for (unsigned i = 0; i < 9; i++) {
            is_zero = i >= 5;
            uint64_t frame = take_zeroed(z, PMM_USER, &is_zero);
            EXPECT_EQ(is_zero, i < 5);
            EXPECT_EQ(state_of(z->bed, frame), PMM_STATE_USED);
            EXPECT_EQ(pmm_query(&z->bed->pmm, pfn(frame)).references, 1);
        }
        struct pmm_stats s = pmm_stats(&z->bed->pmm);
        EXPECT_EQ(s.zero_hits, 5);
        EXPECT_EQ(s.zero_misses, 5);
        EXPECT_EQ(s.zeroed.v, 0);
        EXPECT_EQ(s.free.v, free - 9);
        bed_sound(z->bed);
    }
}

TEST(pmm, each_class_has_its_zeroed_frames_and_both_share_the_room)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        struct pmm *pmm = &z->bed->pmm;
        EXPECT_EQ(fill_class(z, PMM_KERNEL, 10), 10);
        EXPECT_EQ(fill_class(z, PMM_USER, 1000), POOL - 10);
        EXPECT_EQ(fill_class(z, PMM_KERNEL, 1000), 0);
        EXPECT_EQ(pmm_stats(pmm).zeroed.v, POOL);
        EXPECT_EQ(pmm_stats(pmm).zeroed_kernel.v, 10);
        bed_sound(z->bed);
        bool is_zero;
        for (unsigned i = 0; i < 11; i++) {
            uint64_t frame = take_zeroed(z, PMM_KERNEL, &is_zero);
            EXPECT_EQ(is_zero, i < 10);
            EXPECT_EQ(z->bed->blocks[frame / PMM_BLOCK_FRAMES].lane & LANE_CLASS, PMM_KERNEL);
        }
        uint64_t frame = take_zeroed(z, PMM_USER, &is_zero);
        EXPECT(is_zero && (z->bed->blocks[frame / PMM_BLOCK_FRAMES].lane & LANE_CLASS) == PMM_USER);
        EXPECT_EQ(fill_class(z, PMM_KERNEL, 1000), 11); /* the room that both have left */
        bed_sound(z->bed);
        pmm_drain(pmm);
        EXPECT_EQ(pmm_stats(pmm).zeroed.v, 0);
        bed_sound(z->bed);
    }
}

TEST(pmm, a_promise_is_kept_with_a_zeroed_frame_and_the_one_promised_is_free_for_all)
{
    struct zeroer *z = zeroer_of(machine(POOL, 0));
    REQUIRE(z != NULL);
    struct pmm *pmm = &z->bed->pmm;
    EXPECT_EQ(fill_class(z, PMM_KERNEL, 2), 2);
    uint64_t free = pmm_stats(pmm).free.v;
    EXPECT_EQ(pmm_promise(pmm, npages(free)), STATUS_OK);
    EXPECT_EQ(bed_take_all(z->bed, PMM_KERNEL), 0);
    bool is_zero;
    take_zeroed(z, PMM_KERNEL | PMM_PROMISED, &is_zero);
    EXPECT_EQ(pmm_stats(pmm).promised.v, free - 1);
    EXPECT_EQ(bed_take_all(z->bed, PMM_KERNEL), 0);
    EXPECT_EQ(pmm_unpromise(pmm, npages(free - 1)), STATUS_OK);
    EXPECT_EQ(bed_take_all(z->bed, PMM_KERNEL), free - 1);
    bed_sound(z->bed);
}

TEST(pmm, without_a_pool_every_zeroed_request_is_a_miss)
{
    struct zeroer *z = zeroer_of(machine(0, 0));
    REQUIRE(z != NULL);
    npages_t filled;
    EXPECT_EQ(pmm_zero_fill(&z->bed->pmm, PMM_USER, npages(3), zero_frame, z, &filled), STATUS_UNSUPPORTED);
    EXPECT_EQ(z->calls, 0);
    bool is_zero = true;
    take_zeroed(z, PMM_USER, &is_zero);
    EXPECT(!is_zero);
    EXPECT_EQ(pmm_stats(&z->bed->pmm).zero_misses, 1);
    EXPECT_EQ(pmm_stats(&z->bed->pmm).zero_hits, 0);
    bed_sound(z->bed);
}

TEST(pmm, a_frame_that_could_not_be_zeroed_ends_the_filling_and_is_free_again)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        uint64_t free = pmm_stats(&z->bed->pmm).free.v;
        z->fail_at = 4;
        EXPECT_EQ(fill(z, 10), 3);
        EXPECT_EQ(z->calls, 4);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 3);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).free.v, free);
        bed_sound(z->bed);
        z->fail_at = 5;
        EXPECT_EQ(fill(z, 10), 0);
        EXPECT_EQ(bed_take_all(z->bed, PMM_KERNEL), free);
        bed_sound(z->bed);
    }
}

TEST(pmm, the_one_that_zeroes_may_allocate_and_free)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        uint64_t free = pmm_stats(&z->bed->pmm).free.v;
        z->allocates = true;
        EXPECT_EQ(fill(z, 70), 70);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 70);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).free.v, free);
        bed_sound(z->bed);
        for (unsigned i = 0; i < 70; i++) {
            bool is_zero = false;
            take_zeroed(z, PMM_USER, &is_zero);
            EXPECT(is_zero);
        }
    }
}

TEST(pmm, filling_leaves_a_sixteenth_of_what_is_free)
{
    struct zeroer *z = zeroer_of(machine(FRAMES, 0));
    REQUIRE(z != NULL);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t free = pmm_stats(&z->bed->pmm).free.v;
        fill(z, FRAMES);
        uint64_t zeroed = pmm_stats(&z->bed->pmm).zeroed.v;
        EXPECT(zeroed > 0);
        EXPECT(free - zeroed >= free / 16);
        EXPECT_EQ(fill(z, FRAMES), 0);
        bed_sound(z->bed);
        pmm_drain(&z->bed->pmm);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 0);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).free.v, free);
        bed_sound(z->bed);
        for (unsigned i = 0; i < 500; i++) {
            REQUIRE(take_one(z->bed, PMM_KERNEL) != 0);
        }
    }
    /* Nothing free: nothing to fill with. */
    bed_take_all(z->bed, PMM_USER);
    EXPECT_EQ(fill(z, 5), 0);
    bed_sound(z->bed);
}

TEST(pmm, a_request_that_finds_nothing_else_gets_what_the_pool_has)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        uint64_t free = pmm_stats(&z->bed->pmm).free.v;
        EXPECT_EQ(fill(z, POOL), POOL);
        EXPECT_EQ(bed_take_all(z->bed, cpus), free);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 0);
        EXPECT_EQ(pmm_stats(&z->bed->pmm).free.v, 0);
        bed_sound(z->bed);
    }
}

TEST(pmm, promises_reserves_claims_and_runs_reach_into_the_pool)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct zeroer *z = zeroer_of(machine(POOL, cpus));
        REQUIRE(z != NULL);
        struct pmm *pmm = &z->bed->pmm;
        uint64_t free = pmm_stats(pmm).free.v;
        EXPECT_EQ(fill(z, POOL), POOL);
        EXPECT_EQ(pmm_promise(pmm, npages(free - 20)), STATUS_OK);
        EXPECT_EQ(pmm_emergency_reserve(pmm, npages(20)), STATUS_OK);
        EXPECT_EQ(bed_take_all(z->bed, PMM_KERNEL), 0);
        for (uint64_t i = 20; i < free; i++) {
            REQUIRE(take_one(z->bed, PMM_PROMISED) != 0);
        }
        EXPECT_EQ(bed_take_all(z->bed, PMM_EMERGENCY), 20);
        bed_sound(z->bed);
    }
    struct zeroer *z = zeroer_of(machine(POOL, 0));
    REQUIRE(z != NULL);
    EXPECT_EQ(fill(z, 1), 1);
    uint64_t frame = 0;
    for (uint64_t f = FIRST; f < FIRST + FRAMES; f++) {
        frame = z->zero[f - FIRST] ? f : frame;
    }
    EXPECT_EQ(pmm_claim(&z->bed->pmm, pfn(frame), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_stats(&z->bed->pmm).zeroed.v, 0);
    bed_sound(z->bed);
}

TEST(pmm, a_frame_in_the_pool_is_free_for_those_who_would_free_it_again)
{
    struct zeroer *z = zeroer_of(machine(POOL, 0));
    REQUIRE(z != NULL);
    struct snap *snap = snap_new(z->bed);
    REQUIRE(snap != NULL);
    EXPECT_EQ(fill(z, 1), 1);
    uint64_t frame = 0;
    for (uint64_t f = FIRST; f < FIRST + FRAMES; f++) {
        frame = z->zero[f - FIRST] ? f : frame;
    }
    EXPECT_MISUSE(snap, z->bed, pmm_free(&z->bed->pmm, pfn(frame)), "pmm_free: ");
    EXPECT_MISUSE(snap, z->bed, pmm_zero_fill(&z->bed->pmm, PMM_CLASSES, npages(1), zero_frame, z, NULL),
                  "pmm_zero_fill: ", "class 0x2");
    EXPECT_MISUSE(snap, z->bed, pmm_retain(&z->bed->pmm, pfn(frame)), "pmm_retain: ");
    EXPECT_MISUSE(snap, z->bed, pmm_release(&z->bed->pmm, pfn(frame), NULL), "pmm_release: ");
}

TEST(pmm, a_zeroed_request_keeps_its_limit_and_its_flags_are_checked)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 16, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 160);
    bed_run(bed, FIRST, FRAMES);
    bed_with_zero_pool(bed, POOL);
    REQUIRE(starts(bed));
    struct zeroer *z = zeroer_of(bed);
    struct snap *snap = snap_new(bed);
    REQUIRE(z != NULL && snap != NULL);
    EXPECT_EQ(fill(z, 20), 20);
    pfn_t frame = pfn(5);
    bool is_zero = true;
    EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(&bed->pmm, 1U << 15, &frame, &is_zero), "pmm_alloc_zeroed: ", "0x8000",
                  "caller");
    EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(&bed->pmm, PMM_PROMISED, &frame, &is_zero), "nothing is promised");
    EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(&bed->pmm, PMM_OWNER(1), &frame, &is_zero), "owner");
    EXPECT_EQ(frame.v, 5);
    EXPECT_EQ(pmm_alloc_zeroed(&bed->pmm, PMM_BELOW_1M, &frame, &is_zero), STATUS_OK);
    EXPECT(frame.v > 0 && frame.v < 160);
    EXPECT(!is_zero);
    bed_take_all(bed, PMM_BELOW_1M);
    frame = pfn(5);
    EXPECT_EQ(pmm_alloc_zeroed(&bed->pmm, PMM_BELOW_1M, &frame, &is_zero), STATUS_NOMEM);
    EXPECT_EQ(frame.v, 5);
    bed_sound(bed);
}

TEST(pmm, no_frame_is_called_zero_that_somebody_had)
{
    struct zeroer *z = zeroer_of(machine(POOL, 1));
    REQUIRE(z != NULL);
    uint64_t *mine = frame_list(z->bed), count = 0;
    REQUIRE(mine != NULL);
    struct rng rng = rng_seeded(test_seed());
    for (unsigned step = 0; step < 3000 * test_effort(); step++) {
        uint64_t dice = rng_below(&rng, 100);
        bool is_zero;
        if (dice < 2) {
            z->fail_at = z->calls + 1 + rng_below(&rng, 50);
            fill(z, rng_below(&rng, 40));
        } else if (dice < 3) {
            pmm_drain(&z->bed->pmm);
        } else if (dice < 35 && pmm_stats(&z->bed->pmm).free.v > 0) {
            mine[count++] = take_zeroed(z, rng_below(&rng, 8) == 0 ? PMM_KERNEL : PMM_USER, &is_zero);
        } else if (dice < 55 && pmm_stats(&z->bed->pmm).free.v > 0) {
            mine[count++] = take_one(z->bed, rng_below(&rng, 2) & PMM_USER);
            z->zero[mine[count - 1] - FIRST] = false;
        } else if (count > 0) {
            uint64_t i = rng_below(&rng, count);
            free_one(z->bed, mine[i]);
            mine[i] = mine[--count];
        }
        if (step % 500 == 499) {
            REQUIRE(bed_sound(z->bed));
        }
    }
    EXPECT(pmm_stats(&z->bed->pmm).zero_hits > 100);
    EXPECT(pmm_stats(&z->bed->pmm).zero_misses > 100);
    EXPECT_EQ(pmm_stats(&z->bed->pmm).used.v, count);
}
