/*
 * Zones: which memory is served first, what asks for low memory gets, and what is kept for those who ask.
 */
#include "unit/pmm_steps.h"

static uint64_t at_1m(void) { return bytes_to_pages_down(MIB).v; }
static uint64_t at_16m(void) { return bytes_to_pages_down(16 * MIB).v; }
static uint64_t at_4g(void) { return bytes_to_pages_down(4 * GIB).v; }

enum { IN_1M = 159, IN_16M = 1792, IN_4G = 2048, IN_HIGH = 1024 }; /* frames that can be had */

/* 8 MiB with a hole below 1 MiB, 4 MiB from 16 MiB on, and 8 MiB around 4 GiB. */
static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2056, 1);
    if (bed != NULL) {
        bed_run(bed, 0, 160);
        bed_run(bed, at_1m(), 4 * PMM_BLOCK_FRAMES - at_1m());
        bed_run(bed, at_16m(), 2 * PMM_BLOCK_FRAMES);
        bed_run(bed, at_4g() - 2 * PMM_BLOCK_FRAMES, 4 * PMM_BLOCK_FRAMES);
    }
    return bed;
}

static enum pmm_zone zone_of(uint64_t frame)
{
    if (frame < at_1m()) {
        return PMM_ZONE_1M;
    }
    return frame < at_16m() ? PMM_ZONE_16M : frame < at_4g() ? PMM_ZONE_4G : PMM_ZONE_HIGH;
}

/* Frames physically free in all zones are those that `free` says, and what metadata will need; cached ones not. */
static void expect_zones_add_up(const struct pmm_bed *bed)
{
    struct pmm_stats s = pmm_stats(&bed->pmm);
    uint64_t sum = s.cached.v;
    for (size_t i = 0; i < PMM_ZONES; i++) {
        sum += s.zones[i].free.v;
    }
    EXPECT_EQ(sum, s.free.v + s.earmarked.v);
}

static npages_t zone_free(const struct pmm_bed *bed, enum pmm_zone zone)
{
    return pmm_stats(&bed->pmm).zones[zone].free;
}

/*
 * Nothing is physically free above a zone that serves, but in blocks of the other class: those of the kernel that hold
 * metadata. The first MiB is last of all.
 */
static void expect_highest_first(struct pmm_bed *bed, unsigned flags, enum pmm_zone from)
{
    uint64_t count[PMM_ZONES] = {0}, after_1m = 0;
    enum pmm_zone last = from;
    pfn_t frame;
    while (pmm_alloc(&bed->pmm, flags, &frame) == STATUS_OK) {
        enum pmm_zone zone = zone_of(frame.v);
        REQUIRE(frame.v != 0 && zone <= from);
        after_1m += last == PMM_ZONE_1M && zone != PMM_ZONE_1M;
        bool is_kernels = frame_in_state(bed, frame.v / PMM_BLOCK_FRAMES, PMM_STATE_METADATA) != 0;
        uint64_t above = 0;
        for (unsigned z = zone + 1U; z <= from && last != zone; z++) {
            above += zone_free(bed, (enum pmm_zone)z).v;
        }
        EXPECT(above <= ((flags & PMM_USER) != 0 ? PMM_BLOCK_FRAMES : 0));
        last = is_kernels && zone > PMM_ZONE_1M ? last : zone;
        count[zone]++;
    }
    EXPECT_EQ(count[PMM_ZONE_1M], IN_1M);
    EXPECT(after_1m <= bed->cpu_count * PMM_MAGAZINE_FRAMES); /* of a batch the last is served first */
    for (unsigned z = 0; z < PMM_ZONES; z++) {
        EXPECT((count[z] > 0) == (z <= from));
        EXPECT(z > from || zone_free(bed, (enum pmm_zone)z).v == 0);
    }
    expect_zones_add_up(bed);
    bed_sound(bed);
}

TEST(pmm, zones_are_served_from_the_highest_down_and_the_first_mib_last)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
            struct pmm_bed *bed = machine();
            REQUIRE(bed != NULL);
            some_cpus(bed, cpus);
            REQUIRE(starts(bed));
            expect_zones_add_up(bed);
            expect_highest_first(bed, class, PMM_ZONE_HIGH);
            EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        }
    }
}

TEST(pmm, a_request_with_a_limit_gets_frames_below_it_only_from_the_highest_zone_down)
{
    static const unsigned flags[] = {PMM_BELOW_1M, PMM_BELOW_16M, PMM_BELOW_4G};
    for (unsigned zone = PMM_ZONE_1M; zone <= PMM_ZONE_4G; zone++) {
        for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
            struct pmm_bed *bed = machine();
            REQUIRE(bed != NULL);
            some_cpus(bed, class);
            REQUIRE(starts(bed));
            expect_highest_first(bed, class | flags[zone], (enum pmm_zone)zone);
            /* Others are served on. */
            uint64_t frame = take_one(bed, PMM_KERNEL);
            EXPECT(zone_of(frame) > (enum pmm_zone)zone);
        }
    }
}

TEST(pmm, a_frame_freed_in_a_higher_zone_is_served_before_lower_ones)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && starts(bed));
    static const enum pmm_zone zones[] = {PMM_ZONE_HIGH, PMM_ZONE_4G, PMM_ZONE_16M};
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        uint64_t last = 0, frame = take_one(bed, PMM_KERNEL);
        for (; zone_of(frame) >= zones[i]; frame = take_one(bed, PMM_KERNEL)) {
            last = frame;
        }
        EXPECT_EQ(zone_of(last), zones[i]);
        free_one(bed, last);
        EXPECT_EQ(take_one(bed, PMM_KERNEL), last);
        EXPECT(zone_of(take_one(bed, PMM_KERNEL)) < zones[i]);
    }
    bed_sound(bed);
}

TEST(pmm, a_limited_request_does_not_draw_others_into_low_memory)
{
    static const unsigned flags[] = {PMM_BELOW_16M, PMM_BELOW_4G, PMM_BELOW_1M};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
            struct pmm_bed *bed = machine();
            REQUIRE(bed != NULL && starts(bed));
            take_one(bed, class | flags[i]);
            EXPECT_EQ(zone_of(take_one(bed, class)), PMM_ZONE_HIGH);
            take_one(bed, class | flags[i]);
            EXPECT_EQ(zone_of(take_one(bed, class)), PMM_ZONE_HIGH);
            bed_sound(bed);
        }
    }
}

TEST(pmm, the_zone_of_a_frame_ends_at_1_mib_16_mib_and_4_gib)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2056, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 10 * PMM_BLOCK_FRAMES); /* across 1 MiB and 16 MiB */
    bed_run(bed, at_4g() - 100, 300);
    EXPECT_EQ(pmm_count_descriptors(bed->runs, bed->run_count), 4);
    bed->region_capacity = 3;
    EXPECT_EQ(bed_start(bed), STATUS_LIMIT);
    bed->region_capacity = 4;
    REQUIRE(starts(bed));
    const uint64_t borders[] = {at_1m(), at_16m(), at_4g()};
    for (unsigned i = 0; i < ARRAY_LEN(borders); i++) {
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(borders[i] - 1)).zone, i);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(borders[i])).zone, i + 1);
    }
    /* Who looks at regions sees the two there are, borders or not. */
    struct pmm_region_stats r;
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 2);
    REQUIRE(pmm_region_stats(&bed->pmm, 0, &r));
    EXPECT_EQ(r.frames.v, 10 * PMM_BLOCK_FRAMES);
    EXPECT_EQ(r.free.v, 10 * PMM_BLOCK_FRAMES - 1 - pmm_stats(&bed->pmm).metadata.v); /* of block 0 */
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(at_16m())).region, 0);
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
    EXPECT_EQ(r.base.v, at_4g() - 100);
    EXPECT_EQ(r.frames.v, 300);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(at_4g())).region, 1);
    EXPECT(!pmm_region_stats(&bed->pmm, 2, &r));
    for (unsigned z = 0; z < PMM_ZONES; z++) {
        EXPECT(strlen(pmm_zone_name((enum pmm_zone)z)) > 0);
        EXPECT(z == 0 || strcmp(pmm_zone_name((enum pmm_zone)z), pmm_zone_name((enum pmm_zone)(z - 1))) != 0);
    }
}

TEST(pmm, holds_that_touch_each_other_across_a_border_of_zones_are_held_on_both_sides_of_it)
{
    for (unsigned i = 0; i < 3; i++) { /* two of them, the border in the second or between them; three */
        struct pmm_bed *bed = bed_new(NULL, 0, 2056, 1);
        REQUIRE(bed != NULL);
        bed_run(bed, at_16m() - 2 * PMM_BLOCK_FRAMES, 4 * PMM_BLOCK_FRAMES);
        bed_hold(bed, at_16m() - 100, 45, HOLD_RESERVED);
        bed_hold(bed, at_16m() - 55, i == 0 ? 70 : 55, HOLD_BAD);
        if (i == 2) {
            bed_hold(bed, at_16m(), 15, HOLD_RESERVED);
        }
        REQUIRE(starts(bed));
        EXPECT_EQ(zone_free(bed, PMM_ZONE_16M).v, 2 * PMM_BLOCK_FRAMES - 100);
        EXPECT_EQ(zone_free(bed, PMM_ZONE_4G).v, 2 * PMM_BLOCK_FRAMES - (i == 1 ? 0 : 15));
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
        bed_sound(bed);
    }
}

TEST(pmm, zone_figures_count_what_is_physically_free)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    bed_with_cpus(bed, 1);
    REQUIRE(starts(bed));
    static const uint64_t frames[] = {IN_1M, IN_16M, IN_4G, IN_HIGH};
    for (unsigned z = 0; z < PMM_ZONES; z++) {
        uint64_t paid = z == PMM_ZONE_16M ? pmm_stats(&bed->pmm).metadata.v : 0; /* block 0 is open */
        EXPECT_EQ(zone_free(bed, (enum pmm_zone)z).v, frames[z] - paid);
        EXPECT_EQ(pmm_stats(&bed->pmm).zones[z].reserve.v, 0);
    }
    open_all(bed);
    npages_t before = zone_free(bed, PMM_ZONE_16M);
    uint64_t frame = take_one(bed, PMM_BELOW_16M);
    EXPECT_EQ(zone_of(frame), PMM_ZONE_16M);
    EXPECT_EQ(zone_free(bed, PMM_ZONE_16M).v, before.v - 1);
    REQUIRE(pmm_claim(&bed->pmm, pfn(20), npages(7)) == STATUS_OK);
    EXPECT_EQ(zone_free(bed, PMM_ZONE_1M).v, IN_1M - 7);
    free_one(bed, frame);
    free_one(bed, take_one(bed, PMM_KERNEL)); /* some are cached now */
    EXPECT(pmm_stats(&bed->pmm).cached.v > 0);
    expect_zones_add_up(bed);
    pmm_drain(&bed->pmm);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    EXPECT_EQ(zone_free(bed, PMM_ZONE_16M).v, before.v);
    expect_zones_add_up(bed);
    bed_sound(bed);
}

TEST(pmm, ordinary_requests_leave_a_zones_reserve_and_those_who_ask_get_it)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = machine();
        REQUIRE(bed != NULL);
        some_cpus(bed, cpus);
        REQUIRE(starts(bed));
        open_all(bed);
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_16M, npages(100)) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).zones[PMM_ZONE_16M].reserve.v, 100);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free);
        EXPECT_EQ(bed_take_all(bed, cpus != 0 ? PMM_USER : PMM_KERNEL), free - 100);
        pfn_t frame;
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_4G, &frame), STATUS_NOMEM); /* asks for a higher zone */
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 100);
        for (unsigned i = 0; i < 60; i++) {
            REQUIRE(zone_of(take_one(bed, PMM_BELOW_16M | (i & PMM_USER))) <= PMM_ZONE_16M);
        }
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
        EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 40);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_16M, &frame), STATUS_NOMEM);
        bed_sound(bed);
    }
}

TEST(pmm, who_asks_for_16_mib_leaves_the_reserve_of_the_first_mib)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && starts(bed));
    open_all(bed);
    REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_1M, npages(150)) == STATUS_OK);
    uint64_t taken = bed_take_all(bed, PMM_BELOW_16M);
    EXPECT_EQ(zone_free(bed, PMM_ZONE_16M).v, 0);
    EXPECT_EQ(zone_free(bed, PMM_ZONE_1M).v, 150);
    EXPECT(taken >= IN_1M - 150);
    EXPECT_EQ(bed_take_all(bed, PMM_BELOW_1M), 150);
    bed_sound(bed);
}

TEST(pmm, a_reserve_greater_than_its_zone_closes_it_to_ordinary_requests_until_it_is_lowered)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && starts(bed));
    open_all(bed);
    uint64_t free = pmm_stats(&bed->pmm).free.v, kept = zone_free(bed, PMM_ZONE_4G).v;
    REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_4G, npages(UINT64_MAX)) == STATUS_OK);
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free - kept);
    pfn_t frame = pfn(7);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(frame.v, 7);
    EXPECT_EQ(zone_of(take_one(bed, PMM_EMERGENCY)), PMM_ZONE_4G);
    EXPECT_EQ(zone_of(take_one(bed, PMM_BELOW_4G)), PMM_ZONE_4G);
    REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_4G, npages(0)) == STATUS_OK);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), kept - 2);
    EXPECT_EQ(pmm_zone_reserve(&bed->pmm, PMM_ZONES, npages(1)), STATUS_INVALID);
    EXPECT_EQ(pmm_zone_reserve(&bed->pmm, (enum pmm_zone)77, npages(1)), STATUS_INVALID);
    bed_sound(bed);
}

TEST(pmm, arrays_runs_and_claims_leave_reserves_too)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && starts(bed));
    open_all(bed);
    pfn_t *frames = test_pages(bytes_to_pages_up(6000 * sizeof(pfn_t)).v);
    REQUIRE(frames != NULL);
    for (unsigned z = 0; z < PMM_ZONE_HIGH; z++) {
        REQUIRE(pmm_zone_reserve(&bed->pmm, (enum pmm_zone)z, npages(UINT64_MAX)) == STATUS_OK);
    }
    pfn_t first;
    bed_take_all(bed, PMM_KERNEL);
    bed_remember(bed);
    EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_USER, frames, npages(2)), STATUS_NOMEM);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(3), npages(0), npages(0), PMM_NO_LIMIT, &first),
              STATUS_NOMEM);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(frame_in_state(bed, 2047, PMM_STATE_FREE)), npages(1)), STATUS_NOMEM);
    bed_unchanged(bed);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_EMERGENCY, npages(3), npages(0), npages(0), PMM_NO_LIMIT, &first),
              STATUS_OK);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_BELOW_16M, npages(3), npages(0), npages(0), PMM_NO_LIMIT, &first),
              STATUS_OK);
    EXPECT_EQ(zone_of(first.v), PMM_ZONE_16M);
    EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_EMERGENCY, frames, npages(3000)), STATUS_OK);
    REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_16M, npages(0)) == STATUS_OK);
    EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_BELOW_16M, frames, zone_free(bed, PMM_ZONE_16M)), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, what_is_promised_can_be_drawn_whatever_zones_keep)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    for (unsigned round = 0; round < 5 * test_effort(); round++) {
        struct pmm_bed *bed = bed_new(&arena, 0, 128, round % 3);
        REQUIRE(bed != NULL);
        bed_run(bed, 0, 2 * PMM_BLOCK_FRAMES);
        bed_run(bed, at_16m(), 3 * PMM_BLOCK_FRAMES);
        REQUIRE(starts(bed));
        for (unsigned z = 0; z < PMM_ZONE_HIGH; z++) {
            uint64_t n = rng_below(&rng, 2 * PMM_BLOCK_FRAMES);
            REQUIRE(pmm_zone_reserve(&bed->pmm, (enum pmm_zone)z, npages(n)) == STATUS_OK);
        }
        uint64_t promised = 0, step = 1 + rng_below(&rng, 200);
        while (pmm_promise(&bed->pmm, npages(step)) == STATUS_OK) {
            promised += step;
        }
        bed_take_all(bed, (unsigned)rng_below(&rng, 2));
        for (uint64_t i = 0; i < promised; i++) {
            REQUIRE(take_one(bed, PMM_PROMISED | (unsigned)rng_below(&rng, 2)) != 0);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).promised.v, 0);
        REQUIRE(bed_sound(bed));
    }
}
