/*
 * What the PMM remembers to be quick, and what makes it stale: the blocks last looked up, where a whole block never
 * used may be, which class a block serves, what is free below 1 MiB.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { BLOCK = PMM_BLOCK_FRAMES, BASE = 64, FIRST = BASE * BLOCK }; /* above 16 MiB: one zone */

static enum status whole_run(struct pmm_bed *bed, pfn_t *run)
{
    npages_t n = npages(BLOCK);
    return pmm_alloc_run(&bed->pmm, PMM_KERNEL, n, n, npages(0), PMM_NO_LIMIT, run);
}

/* ---- Which descriptors can be read ---- */

/* Each call that takes a frame in use refuses this one. */
static void expect_unknown(struct pmm_bed *bed, uint64_t frame)
{
    pfn_t f = pfn(frame);
    EXPECT_REFUSED(bed, pmm_free(&bed->pmm, f), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, f), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_release(&bed->pmm, f, NULL), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_free_run(&bed->pmm, f, npages(3)), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, f, npages(1)), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &f, npages(1), NULL), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, f), STATUS_MISUSE);
    test_expect_reports(test_reports());
}

TEST(pmm_stale, frames_of_blocks_never_used_are_not_in_use_though_their_neighbours_were_just_looked_up)
{
    enum { BLOCKS = 300 }; /* descriptors on three pages, of which the first is backed */
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = bed_new(NULL, 128, 128 + BLOCKS, 1);
        REQUIRE(bed != NULL);
        bed_run(bed, 128 * BLOCK, BLOCKS * BLOCK);
        some_cpus(bed, cpus);
        REQUIRE(starts(bed));
        uint64_t frame = take_one(bed, PMM_KERNEL);
        pfn_t far = pfn((128 + 130) * BLOCK + 7);
        free_one(bed, frame);
        expect_unknown(bed, frame - frame % BLOCK + 200 * BLOCK);
        expect_unknown(bed, frame - frame % BLOCK + 3 * BLOCK + 9);
        REQUIRE(pmm_claim(&bed->pmm, far, npages(1)) == STATUS_OK); /* now there is a gap below it */
        REQUIRE(pmm_free(&bed->pmm, far) == STATUS_OK);
        expect_unknown(bed, far.v - BLOCK);
        expect_unknown(bed, far.v - 100 * BLOCK);
        expect_unknown(bed, far.v + BLOCK);
    }
}

TEST(pmm_stale, what_lies_beyond_all_regions_is_no_descriptor_though_it_can_be_read)
{
    enum { START = 39 * 128, END = START + 128 }; /* in front of the first descriptor lie the codes of the last block */
    struct pmm_bed *bed = bed_new(NULL, START, END, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, START * BLOCK, BLOCK);
    bed_run(bed, (END - 1) * BLOCK, BLOCK);
    REQUIRE(starts(bed));
    open_all(bed);
    REQUIRE(pmm_claim(&bed->pmm, pfn((END - 1) * BLOCK), npages(400)) == STATUS_OK);
    for (uint64_t f = END * BLOCK - 16; f < END * BLOCK; f++) { /* they read as an open descriptor, all carved */
        bed->states[f] = CODE_LINK + 0x111;
    }
    unsigned char *descriptor = (unsigned char *)&bed->blocks[START - 1];
    REQUIRE((uint16_t *)(void *)descriptor == &bed->states[END * BLOCK - 16]);
    const uint64_t frames[] = {START * BLOCK - 1, START * BLOCK - BLOCK, END * BLOCK, END * BLOCK + 5, 1, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        EXPECT_EQ(pmm_free(&bed->pmm, pfn(frames[i])), STATUS_MISUSE);
        EXPECT_EQ(pmm_retain(&bed->pmm, pfn(frames[i])), STATUS_MISUSE);
        EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(frames[i]), npages(1)),
                  frames[i] == UINT64_MAX ? STATUS_INVALID : STATUS_MISUSE);
        EXPECT_EQ(state_of(bed, frames[i]), PMM_STATE_OUTSIDE);
    }
    test_expect_reports(test_reports());
}

TEST(pmm_stale, memory_that_comes_back_in_another_place_of_the_list_is_counted_there)
{
    enum { EACH = 4 };
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 32, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, EACH * BLOCK);
        bed_with_room(bed, 4);
        some_cpus(bed, cpus);
        REQUIRE(starts(bed));
        const pfn_t a = pfn(FIRST + 8 * BLOCK), b = pfn(FIRST + 16 * BLOCK);
        const npages_t n = npages(EACH * BLOCK);
        open_all(bed);
        const pfn_t orders[][2] = {{a, b}, {b, a}, {a, b}};
        for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
            REQUIRE(pmm_region_add(&bed->pmm, orders[i][0], n, 0) == STATUS_OK);
            REQUIRE(pmm_region_add(&bed->pmm, orders[i][1], n, 0) == STATUS_OK);
            REQUIRE(pmm_claim(&bed->pmm, pfn(a.v + 100), npages(50)) == STATUS_OK);
            for (uint64_t f = a.v + 100; f < a.v + 150; f++) {
                free_one(bed, f);
            }
            bed_sound(bed);
            pmm_drain(&bed->pmm);
            REQUIRE(bed_sound(bed));
            struct pmm_in_the_way way = {.first = pfn(0)};
            EXPECT_EQ(pmm_region_remove(&bed->pmm, a, n, &way), STATUS_OK);
            EXPECT_EQ(pmm_region_remove(&bed->pmm, b, n, &way), STATUS_OK);
            REQUIRE(bed_sound(bed));
        }
    }
}

/* ---- Where whole blocks never used are ---- */

TEST(pmm_stale, whole_blocks_that_are_given_back_are_found_after_it_was_seen_that_there_are_none)
{
    enum { BLOCKS = 8 };
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, BLOCKS * BLOCK);
    bed_hold(bed, FIRST + 5 * BLOCK, 2 * BLOCK, HOLD_RESERVED);
    bed_hold(bed, FIRST + 7 * BLOCK + 9, 1, HOLD_RESERVED);
    REQUIRE(starts(bed));
    pfn_t run;
    uint64_t runs = 0;
    while (whole_run(bed, &run) == STATUS_OK) {
        runs++;
        REQUIRE(bed_sound(bed));
    }
    EXPECT(runs >= 4);
    REQUIRE(pmm_give_back(&bed->pmm, pfn(FIRST + 6 * BLOCK), npages(BLOCK)) == STATUS_OK);
    REQUIRE(whole_run(bed, &run) == STATUS_OK);
    EXPECT_EQ(run.v, FIRST + 6 * BLOCK);
    EXPECT_EQ(whole_run(bed, &run), STATUS_NOMEM);
    REQUIRE(pmm_give_back(&bed->pmm, pfn(FIRST + 5 * BLOCK), npages(BLOCK)) == STATUS_OK); /* in a gap by now */
    REQUIRE(whole_run(bed, &run) == STATUS_OK);
    EXPECT_EQ(run.v, FIRST + 5 * BLOCK);
    bed_sound(bed);
}

TEST(pmm_stale, whole_blocks_that_are_given_back_behind_all_that_was_used_are_found_though_a_gap_had_the_last_ones)
{
    enum { BLOCKS = 8 };
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, BLOCKS * BLOCK);
    bed_hold(bed, FIRST + 6 * BLOCK, 2 * BLOCK, HOLD_RESERVED);
    REQUIRE(starts(bed));
    REQUIRE(pmm_claim(&bed->pmm, pfn(FIRST + 5 * BLOCK), npages(1)) == STATUS_OK);
    pfn_t run;
    uint64_t runs = 0;
    for (; whole_run(bed, &run) == STATUS_OK; runs++) {
        EXPECT(run.v < FIRST + 5 * BLOCK); /* in the gap */
    }
    EXPECT_EQ(runs, 5);
    REQUIRE(pmm_give_back(&bed->pmm, pfn(FIRST + 6 * BLOCK), npages(2 * BLOCK)) == STATUS_OK);
    REQUIRE(bed_sound(bed));
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(whole_run(bed, &run) == STATUS_OK);
        EXPECT(run.v >= FIRST + 6 * BLOCK);
    }
    bed_sound(bed);
}

/* ---- Classes ---- */

TEST(pmm_stale, who_asks_for_low_memory_makes_an_idle_block_one_of_its_class)
{
    for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
        struct pmm_bed *bed = bed_new(NULL, 0, 2056, 0);
        uint64_t at_4g = bytes_to_pages_down(4 * GIB).v;
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, 4 * BLOCK);
        bed_run(bed, at_4g, 4 * BLOCK);
        REQUIRE(starts(bed));
        open_all(bed); /* all are of the kernel class, and nothing is in use in most */
        uint64_t other[4], mine[4];
        for (unsigned i = 0; i < ARRAY_LEN(mine); i++) {
            other[i] = take_one(bed, PMM_BELOW_4G | (1 - class));
            mine[i] = take_one(bed, PMM_BELOW_4G | class);
        }
        for (unsigned i = 0; i < ARRAY_LEN(mine); i++) {
            EXPECT(mine[i] < at_4g && other[i] < at_4g);
            EXPECT_EQ(mine[i] / BLOCK, mine[0] / BLOCK);
            EXPECT_EQ(other[i] / BLOCK, other[0] / BLOCK);
            EXPECT_EQ(bed->blocks[mine[i] / BLOCK].lane & LANE_CLASS, class);
        }
        EXPECT(mine[0] / BLOCK != other[0] / BLOCK);
        bed_sound(bed);
    }
}

TEST(pmm_stale, frames_of_a_block_that_was_an_owners_are_cached_again)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 8 * BLOCK);
    bed_with_owners(bed, 1);
    some_cpus(bed, 1);
    REQUIRE(starts(bed));
    unsigned owner;
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    uint64_t one = take_one(bed, PMM_OWNER(owner)), two = take_one(bed, PMM_OWNER(owner));
    REQUIRE(pmm_retain(&bed->pmm, pfn(one)) == STATUS_OK); /* so that its block is not taken back */
    free_one(bed, two);
    EXPECT_EQ(state_of(bed, two), PMM_STATE_FREE);
    REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(one), NULL), STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(one), NULL), STATUS_OK);
    EXPECT_EQ(state_of(bed, one), PMM_STATE_CACHED);
    bed_sound(bed);
}

/* ---- Below 1 MiB ---- */

TEST(pmm_stale, nothing_is_free_below_1_mib_where_its_region_was_taken_away)
{
    for (unsigned how = 0; how < 2; how++) { /* nothing was ever used there; something was */
        struct pmm_bed *bed = bed_new(NULL, 0, 64, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, 1, 2 * BLOCK - 1);
        bed_run(bed, 32 * BLOCK, 4 * BLOCK);
        bed_hold(bed, 32 * BLOCK, 1, HOLD_USED); /* its block pays for block 0 */
        bed_with_room(bed, 1);
        REQUIRE(starts(bed));
        pfn_t frame = pfn(40);
        REQUIRE(how == 0 || (pmm_claim(&bed->pmm, frame, npages(1)) == STATUS_OK
                             && pmm_free(&bed->pmm, frame) == STATUS_OK));
        EXPECT(pmm_stats(&bed->pmm).zones[PMM_ZONE_1M].free.v > 200);
        struct pmm_in_the_way way = {.first = pfn(0)};
        REQUIRE(EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(1), npages(2 * BLOCK - 1), &way), STATUS_OK));
        for (enum pmm_zone zone = PMM_ZONE_1M; zone <= PMM_ZONE_16M; zone++) {
            EXPECT_EQ(pmm_stats(&bed->pmm).zones[zone].free.v, 0);
        }
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame), STATUS_NOMEM);
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_16M, &frame), STATUS_NOMEM);
        bed_sound(bed);
    }
}

TEST(pmm_stale, what_codes_said_in_former_times_is_not_given_back)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 8 * BLOCK);
    REQUIRE(starts(bed));
    pfn_t run;
    REQUIRE(whole_run(bed, &run) == STATUS_OK);
    bed->pmm.states[run.v + 9] = CODE_RESERVED; /* of a block handed out whole nobody reads them */
    EXPECT_REFUSED(bed, pmm_give_back(&bed->pmm, pfn(run.v + 9), npages(1)), STATUS_MISUSE);
    const uint64_t frame = take_one(bed, PMM_KERNEL), last = frame - frame % BLOCK + BLOCK - 1;
    bed->pmm.states[last] = CODE_RESERVED; /* behind the mark */
    EXPECT_REFUSED(bed, pmm_give_back(&bed->pmm, pfn(last), npages(1)), STATUS_MISUSE);
    test_expect_reports(test_reports());
    free_one(bed, frame);
    REQUIRE(pmm_free_run(&bed->pmm, run, npages(BLOCK)) == STATUS_OK);
    bed_sound(bed);
}
