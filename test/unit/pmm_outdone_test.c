/*
 * Current blocks that a better place outdoes: whatever came in between, who asks for any memory is served from the
 * highest zone that has some, and the nearest node.
 */
#include "pmm/block.h"
#include "unit/pmm_steps.h"

static uint64_t at_16m(void) { return bytes_to_pages_down(16 * MIB).v; }
static uint64_t at_4g(void) { return bytes_to_pages_down(4 * GIB).v; }

enum { EACH = 2 }; /* blocks of each zone from 1 MiB on */

/* Two blocks below 16 MiB, below 4 GiB and above; all open; no magazines. */
static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2056, 0);
    if (bed == NULL) {
        return NULL;
    }
    bed_run(bed, at_16m() - EACH * PMM_BLOCK_FRAMES, 2 * EACH * PMM_BLOCK_FRAMES);
    bed_run(bed, at_4g(), EACH * PMM_BLOCK_FRAMES);
    if (!starts(bed)) {
        return NULL;
    }
    open_all(bed);
    return bed;
}

static enum pmm_zone zone_of(const struct pmm_bed *bed, uint64_t frame)
{
    return pmm_query(&bed->pmm, pfn(frame)).zone;
}

/* Frames of any memory until one is of this zone; *higher: one that was had before. */
static uint64_t take_down_to(struct pmm_bed *bed, unsigned flags, enum pmm_zone zone, uint64_t *higher)
{
    uint64_t frame = take_one(bed, flags);
    while (frame != 0 && zone_of(bed, frame) != zone) {
        *higher = frame;
        frame = take_one(bed, flags);
    }
    return frame;
}

TEST(pmm_outdone, a_limited_request_in_between_does_not_keep_others_in_low_memory)
{
    static const unsigned limits[] = {PMM_BELOW_16M, PMM_BELOW_4G, PMM_BELOW_1M, PMM_NO_RECLAIM};
    for (size_t i = 0; i < 2 * ARRAY_LEN(limits); i++) {
        struct pmm_bed *bed = machine();
        unsigned class = i % 2;
        uint64_t higher = 0;
        REQUIRE(bed != NULL && take_down_to(bed, class, PMM_ZONE_4G, &higher) != 0);
        EXPECT_EQ(zone_of(bed, higher), PMM_ZONE_HIGH);
        uint64_t low = 0;
        REQUIRE(take_down_to(bed, class, PMM_ZONE_16M, &low) != 0);
        free_one(bed, higher);
        pfn_t frame;
        enum status s = pmm_alloc(&bed->pmm, class | limits[i / 2], &frame);
        EXPECT(s == STATUS_OK || limits[i / 2] == PMM_BELOW_1M);
        if (limits[i / 2] != PMM_NO_RECLAIM) {
            EXPECT_EQ(take_one(bed, class), higher);
        } else {
            EXPECT_EQ(frame.v, higher);
        }
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_16M);
        bed_sound(bed);
    }
}

TEST(pmm_outdone, a_zone_that_has_more_than_its_reserve_again_is_served_before_lower_ones)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned class = i % 2;
        struct pmm_bed *bed = machine();
        REQUIRE(bed != NULL);
        REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_4G, npages(100)) == STATUS_OK);
        uint64_t higher = 0, early = take_down_to(bed, class, PMM_ZONE_4G, &higher);
        if (i >= 2) { /* a second block of that zone has some, so that its list is not empty when the first one joins */
            for (unsigned k = 0; k < PMM_BLOCK_FRAMES + 100; k++) {
                take_one(bed, class);
            }
            free_one(bed, early);
        }
        REQUIRE(take_down_to(bed, class, PMM_ZONE_16M, &higher) != 0);
        EXPECT_EQ(zone_of(bed, higher), PMM_ZONE_4G);
        EXPECT_EQ(pmm_stats(&bed->pmm).zones[PMM_ZONE_4G].free.v, 100);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_16M);
        free_one(bed, higher); /* no list of blocks changes by that */
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_4G);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_16M);
        REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_4G, npages(0)) == STATUS_OK);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_4G);
        bed_sound(bed);
    }
}

TEST(pmm_outdone, where_nothing_can_be_opened_any_more_zones_are_served_from_the_highest_down)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2056, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, at_16m() - EACH * PMM_BLOCK_FRAMES, 4 * EACH * PMM_BLOCK_FRAMES);
    bed_run(bed, at_4g(), 4 * EACH * PMM_BLOCK_FRAMES);
    REQUIRE(starts(bed));
    const unsigned flags[] = {PMM_KERNEL, PMM_BELOW_4G, PMM_BELOW_16M};
    uint64_t count[PMM_ZONES] = {0};
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) { /* a block of each is open; all else cannot be any more */
        REQUIRE(zone_of(bed, take_one(bed, flags[i])) == PMM_ZONE_HIGH - i);
    }
    bed->fail_at = bed->backs + 1;
    enum pmm_zone last = PMM_ZONE_HIGH;
    pfn_t frame, high = pfn(0);
    while (pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK) {
        enum pmm_zone zone = zone_of(bed, frame.v);
        REQUIRE(EXPECT(zone <= last));
        high = zone == PMM_ZONE_HIGH ? frame : high;
        last = zone;
        if (++count[zone] == 10 && zone == PMM_ZONE_4G) { /* a better place has something, and nothing again */
            free_one(bed, high.v);
            EXPECT_EQ(take_one(bed, PMM_KERNEL), high.v);
        }
    }
    EXPECT(bed->pmm.broken);
    for (unsigned zone = PMM_ZONE_16M; zone < PMM_ZONES; zone++) {
        EXPECT(count[zone] > PMM_BLOCK_FRAMES / 2);
    }
    test_expect_reports(1);
}

/* ---- One call for one frame moves one block ---- */

TEST(pmm_outdone, the_only_frame_of_a_better_place_is_had_and_the_current_block_stays)
{
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        struct pmm_bed *bed = machine();
        uint64_t higher = 0;
        REQUIRE(bed != NULL && take_down_to(bed, class, PMM_ZONE_4G, &higher) != 0);
        const struct pmm_block *current = bed->pmm.current[0][class];
        free_one(bed, higher);
        EXPECT_EQ(take_one(bed, class), higher);
        EXPECT(bed->pmm.current[0][class] == current);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_4G);
        bed_sound(bed);
    }
}

TEST(pmm_outdone, a_better_place_that_has_more_is_drawn_from_by_the_second_call)
{
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        struct pmm_bed *bed = machine();
        uint64_t higher = 0;
        REQUIRE(bed != NULL && take_down_to(bed, class, PMM_ZONE_4G, &higher) != 0);
        uint64_t below = higher - 1, first = higher - index_in_block(higher);
        REQUIRE(below > first);
        free_one(bed, higher);
        free_one(bed, below);
        free_one(bed, below - 1);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_HIGH);
        EXPECT(bed->pmm.current[0][class] == &bed->pmm.none);
        bed_sound(bed);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_HIGH);
        EXPECT(bed->pmm.current[0][class] == &bed->blocks[block_of(higher)]);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_HIGH);
        EXPECT_EQ(zone_of(bed, take_one(bed, class)), PMM_ZONE_4G);
        bed_sound(bed);
    }
}

TEST(pmm_outdone, who_takes_one_frame_of_what_is_current_for_the_other_class_leaves_it_there)
{
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        struct pmm_bed *bed = machine();
        REQUIRE(bed != NULL);
        while (pmm_stats(&bed->pmm).free.v > 0) {
            take_one(bed, class);
        }
        const struct pmm_block *current = bed->pmm.current[0][class];
        uint64_t first = block_first(&bed->pmm, current);
        free_one(bed, first + 100);
        free_one(bed, first + 200);
        REQUIRE(EXPECT_EQ(current->free, 2));
        EXPECT_EQ(take_one(bed, 1 - class), first + 200);
        EXPECT(bed->pmm.current[0][class] == current && bed->pmm.current[0][1 - class] != current);
        bed_sound(bed);
        EXPECT_EQ(take_one(bed, class), first + 100);
        bed_sound(bed);
    }
}

TEST(pmm_outdone, two_mib_come_from_a_wholly_free_current_block_and_the_others_stay_current)
{
    struct pmm_bed *bed = open_machine(8, 3, 0);
    REQUIRE(bed != NULL);
    pfn_t all;
    uint64_t frames[PMM_CLASSES];
    const npages_t whole = npages(PMM_BLOCK_FRAMES);
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        frames[class] = take_one(bed, class);
    }
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, whole, whole, npages(0), PMM_NO_LIMIT, &all) == STATUS_OK);
    free_one(bed, frames[PMM_USER]);
    struct pmm_block *user = bed->pmm.current[0][PMM_USER], *kernel = bed->pmm.current[0][PMM_KERNEL];
    REQUIRE(user->free == PMM_BLOCK_FRAMES && kernel->free > 0);
    uint64_t first = (uint64_t)(user - bed->blocks) * PMM_BLOCK_FRAMES;
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, whole, whole, npages(0), PMM_NO_LIMIT, &all),
              STATUS_OK);
    EXPECT_EQ(all.v, first);
    EXPECT(bed->pmm.current[0][PMM_USER] == &bed->pmm.none);
    EXPECT(bed->pmm.current[0][PMM_KERNEL] == kernel);
    bed_sound(bed);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, whole, npages(1), npages(0), PMM_NO_LIMIT, &all),
              STATUS_NOMEM);
    EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(first), whole), STATUS_OK);
    EXPECT_EQ(block_of(take_one(bed, PMM_USER)), block_of(first));
    bed_sound(bed);
}

/* The first block of a run is freed frame by frame and served from again: the second one begins a run by then. */
TEST(pmm_outdone, what_lies_above_a_current_block_that_is_handed_out_whole_is_a_run_of_its_own)
{
    struct pmm_bed *bed = open_machine(8, 3, 0);
    REQUIRE(bed != NULL);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    pfn_t run, again;
    const npages_t two = npages(2 * PMM_BLOCK_FRAMES), one = npages(PMM_BLOCK_FRAMES);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, two, one, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    pfn_t rest;
    while (pmm_alloc(&bed->pmm, PMM_USER, &rest) == STATUS_OK) {
    }
    REQUIRE(pmm_free_run(&bed->pmm, run, npages(PMM_BLOCK_FRAMES - 1)) == STATUS_OK);
    uint64_t last = run.v + PMM_BLOCK_FRAMES - 1, taken = take_one(bed, PMM_USER);
    free_one(bed, last);
    free_one(bed, taken);
    struct pmm_block *b = &bed->blocks[block_of(run.v)];
    REQUIRE(b->free == PMM_BLOCK_FRAMES && bed->pmm.current[0][PMM_USER] == b);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, one, one, npages(0), PMM_NO_LIMIT, &again) == STATUS_OK);
    EXPECT_EQ(again.v, run.v);
    EXPECT_MISUSE(snap, bed, pmm_free_run(&bed->pmm, run, two), "pmm_free_run: ", "the beginning of another run");
    EXPECT_EQ(pmm_free_run(&bed->pmm, pfn_add(run, PMM_BLOCK_FRAMES), one), STATUS_OK);
    EXPECT_EQ(pmm_free_run(&bed->pmm, run, one), STATUS_OK);
    bed_sound(bed);
}
