/*
 * Frames that broke where more depends on them: in runs and owners' blocks, the last free ones, and those that cannot
 * be done without.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 6, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };

static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 1);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        bed_with_owners(bed, 2);
        if (!starts(bed)) {
            return NULL;
        }
    }
    return bed;
}

static enum status mark(struct pmm_bed *bed, uint64_t frame) { return pmm_mark_bad(&bed->pmm, pfn(frame)); }

TEST(pmm, a_frame_inside_a_run_goes_bad_when_the_run_is_freed)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    open_all(bed);
    pfn_t run;
    npages_t n = npages(2 * PMM_BLOCK_FRAMES);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    uint64_t bad = run.v + PMM_BLOCK_FRAMES + 3;
    EXPECT_EQ(mark(bed, bad), STATUS_OK);
    EXPECT(pmm_query(&bed->pmm, pfn(bad)).goes_bad);
    EXPECT(!pmm_query(&bed->pmm, pfn(bad - 1)).goes_bad);
    EXPECT_EQ(mark(bed, bad), STATUS_EXISTS);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, n.v);
    bed_sound(bed);
    REQUIRE(pmm_free_run(&bed->pmm, run, n) == STATUS_OK);
    EXPECT_EQ(state_of(bed, bad), PMM_STATE_BAD);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free - 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 1);
    bed_sound(bed);
    /* Its block is never handed out whole again. */
    while (pmm_alloc_run(&bed->pmm, PMM_USER, npages(PMM_BLOCK_FRAMES), npages(PMM_BLOCK_FRAMES), npages(0),
                         PMM_NO_LIMIT, &run) == STATUS_OK) {
        EXPECT(bad < run.v || bad >= run.v + PMM_BLOCK_FRAMES);
    }
    uint64_t left = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), left);
    EXPECT(left >= PMM_BLOCK_FRAMES - 1);
    bed_sound(bed);
}

TEST(pmm, a_bad_frame_at_either_end_of_a_run_leaves_the_rest_usable)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    open_all(bed);
    pfn_t run;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_KERNEL, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    EXPECT_EQ(mark(bed, run.v), STATUS_OK);
    EXPECT_EQ(mark(bed, run.v + PMM_BLOCK_FRAMES - 1), STATUS_OK);
    REQUIRE(pmm_split_run(&bed->pmm, run, n) == STATUS_OK);
    for (uint64_t f = run.v; f < run.v + PMM_BLOCK_FRAMES; f++) {
        free_one(bed, f);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 2);
    bed_sound(bed);
    pfn_t again;
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(run.v + 1), npages(PMM_BLOCK_FRAMES - 2)), STATUS_OK);
    EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(run.v + 1), npages(PMM_BLOCK_FRAMES - 2)), STATUS_OK);
    bed_take_all(bed, PMM_USER);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &again), STATUS_NOMEM);
    EXPECT_EQ(state_of(bed, run.v), PMM_STATE_BAD);
    bed_sound(bed);
}

TEST(pmm, an_owners_block_with_a_frame_that_goes_bad_is_not_taken_back_whole)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    open_all(bed);
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    unsigned owner;
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    uint64_t list[10];
    for (unsigned i = 0; i < 10; i++) {
        list[i] = take_one(bed, PMM_OWNER(owner));
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(list[i])).owner, owner);
    }
    EXPECT_EQ(mark(bed, list[4]), STATUS_OK);
    bed_sound(bed);
    struct pmm_owner_end end;
    REQUIRE(pmm_owner_close(&bed->pmm, owner, &end) == STATUS_OK);
    EXPECT_EQ(end.blocks.v, 0);
    EXPECT_EQ(end.left.v, 10);
    free_list(bed, list, 10);
    EXPECT_EQ(state_of(bed, list[4]), PMM_STATE_BAD);
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
    bed_sound(bed);
}

TEST(pmm, an_owners_free_frame_can_be_bad_too)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    unsigned owner;
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    uint64_t one = take_one(bed, PMM_OWNER(owner)), two = take_one(bed, PMM_OWNER(owner));
    free_one(bed, two);
    EXPECT_EQ(mark(bed, two), STATUS_OK);
    EXPECT_EQ(state_of(bed, two), PMM_STATE_BAD);
    bed_sound(bed);
    REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
    EXPECT_EQ(state_of(bed, two), PMM_STATE_BAD);
    if (state_of(bed, one) == PMM_STATE_USED) {
        free_one(bed, one);
    }
    bed_sound(bed);
    bed_take_all(bed, PMM_USER);
    EXPECT_EQ(state_of(bed, two), PMM_STATE_BAD);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v + pmm_stats(&bed->pmm).metadata.v, FRAMES - 1);
}

TEST(pmm, the_last_free_frame_can_be_bad_but_not_one_that_is_kept_for_others)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    open_all(bed);
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    take_list(bed, PMM_KERNEL, list);
    free_list(bed, list, 3);
    REQUIRE(pmm_promise(&bed->pmm, npages(1)) == STATUS_OK);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(1)) == STATUS_OK);
    EXPECT_EQ(mark(bed, list[0]), STATUS_OK);
    bed_remember(bed);
    EXPECT_EQ(mark(bed, list[1]), STATUS_NOMEM);
    EXPECT_EQ(mark(bed, list[2]), STATUS_NOMEM);
    bed_unchanged(bed);
    EXPECT(take_one(bed, PMM_PROMISED) != 0);
    EXPECT(take_one(bed, PMM_EMERGENCY) != 0);
    EXPECT_EQ(mark(bed, list[7]), STATUS_OK); /* in use: nobody loses what is free */
    free_one(bed, list[7]);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 0);
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 2);
    bed_sound(bed);
}

TEST(pmm, frames_can_go_bad_until_only_metadata_is_left_to_pay)
{
    for (unsigned levels = 0; levels <= PMM_TABLE_LEVELS_MAX; levels++) {
        struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, levels);
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, FRAMES);
        REQUIRE(starts(bed));
        /* From above, so that every block is opened by it. */
        uint64_t bad = 0, free = pmm_stats(&bed->pmm).free.v;
        for (uint64_t f = FIRST + FRAMES; f-- > FIRST;) {
            enum status s = mark(bed, f);
            if (s == STATUS_OK) {
                bad++;
            } else if (s == STATUS_MISUSE) {
                EXPECT_EQ(state_of(bed, f), PMM_STATE_METADATA);
            } else {
                EXPECT_EQ(s, STATUS_NOMEM);
                EXPECT_EQ(bad, free);
            }
        }
        EXPECT_EQ(bad, free);
        EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, free);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
        bed_sound(bed);
        test_expect_reports(test_reports());
    }
}

TEST(pmm, what_is_no_ram_cannot_be_bad)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 1);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST + 5, 100);
    bed_run(bed, FIRST + 2 * PMM_BLOCK_FRAMES, 200);
    REQUIRE(starts(bed));
    bed_remember(bed);
    EXPECT_EQ(mark(bed, FIRST), STATUS_ABSENT);
    EXPECT_EQ(mark(bed, FIRST + 105), STATUS_ABSENT);
    EXPECT_EQ(mark(bed, FIRST + PMM_BLOCK_FRAMES), STATUS_ABSENT);
    EXPECT_EQ(mark(bed, 3), STATUS_ABSENT);
    EXPECT_EQ(mark(bed, UINT64_MAX), STATUS_ABSENT);
    EXPECT_EQ(mark(bed, UINT64_MAX / 2), STATUS_ABSENT);
    bed_unchanged(bed);
    EXPECT_EQ(bed->backs, 0);
}

TEST(pmm, metadata_and_the_zero_frame_cannot_be_bad)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t zero = take_one(bed, PMM_KERNEL);
    REQUIRE(pmm_zero_frame_set(&bed->pmm, pfn(zero)) == STATUS_OK);
    uint64_t metadata = 0;
    for (uint64_t block = BASE; metadata == 0 && block < BASE + BLOCKS; block++) {
        metadata = frame_in_state(bed, block, PMM_STATE_METADATA);
    }
    REQUIRE(metadata != 0);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    EXPECT_MISUSE(snap, bed, mark(bed, zero), "pmm_mark_bad: ", "(the zero frame", "block 0x", "caller");
    EXPECT_MISUSE(snap, bed, mark(bed, metadata), "pmm_mark_bad: ", "(metadata", "block 0x", "caller");
}

TEST(pmm, a_block_that_cannot_be_opened_has_no_bad_frames)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    bed->fail_at = 1;
    struct pmm_stats before = pmm_stats(&bed->pmm);
    EXPECT_EQ(mark(bed, FIRST + 7), STATUS_CORRUPT);
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 0);
    EXPECT_EQ(pmm_stats(&bed->pmm).ram.v, before.ram.v);
    test_expect_reports(1);
}
