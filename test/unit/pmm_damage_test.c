/*
 * What damaged descriptors and states do to more than their block: the books stay right, nothing is had twice, and no
 * frame of a closed block is taken for what it is not.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { BASE = 64, FIRST = BASE * PMM_BLOCK_FRAMES }; /* above 16 MiB: one zone */

/* ---- Frames had from a block that is closed while they are taken ---- */

/*
 * 64 blocks of which nothing can be had, but whose metadata is earmarked, and 100 frames that are to pay for it: of
 * these 10 can be had.
 */
static struct pmm_bed *nearly_all_earmarked(size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 256, 0);
    if (bed == NULL) {
        return NULL;
    }
    uint64_t held = FIRST + 8 * PMM_BLOCK_FRAMES, frames = 64 * PMM_BLOCK_FRAMES;
    bed_run(bed, FIRST, 100);
    bed_run(bed, held, frames);
    bed_hold(bed, held, frames, HOLD_RESERVED);
    some_cpus(bed, cpus);
    return starts(bed) ? bed : NULL;
}

/* Some frames are on the block's stack; the fifth from the top is overwritten. */
static bool overwrite_fifth(struct pmm_bed *bed)
{
    uint64_t list[32];
    for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
        list[i] = take_one(bed, PMM_KERNEL);
    }
    for (unsigned i = 0; i < ARRAY_LEN(list); i += 2) {
        free_one(bed, list[i]);
    }
    pmm_drain(&bed->pmm);
    uint64_t frame = FIRST + bed->blocks[BASE].top - CODE_LINK;
    for (unsigned i = 0; i < 4; i++) {
        frame = FIRST + bed->states[frame] - CODE_LINK;
    }
    bed->states[frame] = CODE_LAST + 1;
    return EXPECT(frame < FIRST + 100);
}

TEST(pmm_damage, frames_had_from_a_block_that_is_closed_meanwhile_are_paid_for_though_all_else_was_lost)
{
    for (unsigned how = 0; how < 2; how++) { /* an array of frames, which fails then; a refill */
        struct pmm_bed *bed = nearly_all_earmarked(how);
        REQUIRE(bed != NULL && overwrite_fifth(bed));
        struct pmm_stats s = pmm_stats(&bed->pmm);
        REQUIRE(s.free.v >= 8 && s.earmarked.v > 8);
        pfn_t frames[8];
        if (how == 0) {
            EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_KERNEL, frames, npages(8)), STATUS_NOMEM);
        } else {
            EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, frames), STATUS_OK);
            EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 3);
        }
        EXPECT_EQ(bed->blocks[BASE].mode, PMM_BLOCK_CLOSED);
        bed_sound(bed);
        pmm_drain(&bed->pmm); /* what was cached is lost with its block */
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
        test_expect_reports(how + 1);
    }
}

/* ---- Marks ---- */

/* A block of which some frames were carved, and the others never; 0: there is none. */
static uint64_t half_carved(struct pmm_bed *bed, uint64_t *one)
{
    for (unsigned i = 0; i < 2 * PMM_BLOCK_FRAMES; i++) {
        *one = take_one(bed, PMM_KERNEL);
        uint64_t block = *one / PMM_BLOCK_FRAMES;
        if (bed->blocks[block].carved < PMM_BLOCK_FRAMES) {
            return block;
        }
    }
    return 0;
}

TEST(pmm_damage, a_carve_mark_beyond_its_block_closes_the_block_and_no_frame_is_had_twice)
{
    static const uint16_t marks[] = {513, 600, 1024, UINT16_MAX};
    struct bed_arena arena = bed_arena();
    uint64_t list[8 * PMM_BLOCK_FRAMES / 64];
    for (size_t i = 0; i < 3 * ARRAY_LEN(marks); i++) {
        struct pmm_bed *bed = bed_new(&arena, BASE, BASE + 8, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, 8 * PMM_BLOCK_FRAMES);
        REQUIRE(starts(bed));
        open_all(bed);
        unsigned reports = test_reports();
        uint64_t one, block = half_carved(bed, &one), free = pmm_stats(&bed->pmm).free.v, taken = 0;
        REQUIRE(block != 0);
        bed->blocks[block].carved = marks[i / 3];
        pfn_t frame;
        npages_t n = npages(2);
        if (i % 3 == 1) { /* who looks for a run reads the map of its frames */
            EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, n, npages(1), npages(4), PMM_NO_LIMIT, &frame), STATUS_OK);
            taken += 2;
        } else if (i % 3 == 2) {
            bed->blocks[block].top = CODE_LAST;
            free_one(bed, one);
        }
        memset(list, 0, sizeof list);
        while (pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK) {
            uint64_t at = frame.v - FIRST;
            REQUIRE(EXPECT(at < 8 * PMM_BLOCK_FRAMES && (list[at / 64] >> (at % 64) & 1) == 0));
            list[at / 64] |= 1ULL << (at % 64);
            taken++;
        }
        bool is_closed = bed->blocks[block].mode == PMM_BLOCK_CLOSED;
        EXPECT(is_closed || i % 3 == 1); /* a run makes all else loose: then the mark is of no use any more */
        EXPECT_EQ(taken + pmm_stats(&bed->pmm).lost.v, free + (i % 3 == 2));
        EXPECT_EQ(test_reports(), reports + is_closed);
        bed_sound(bed);
        test_expect_reports(test_reports());
    }
}

/*
 * A block with 20 frames in use and the others never carved, whose codes are those of an owner that went: all of them
 * look used. Closed by a push that finds its top wrong. => a frame that is in use in it.
 */
static uint64_t close_block_with_old_codes(struct pmm_bed *bed)
{
    unsigned owner;
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    if (!EXPECT_EQ(pmm_owner_open(&bed->pmm, &owner), STATUS_OK)) {
        return 0;
    }
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) {
        take_one(bed, PMM_OWNER(owner));
    }
    EXPECT_EQ(pmm_owner_close(&bed->pmm, owner, NULL), STATUS_OK);
    uint64_t first = take_one(bed, PMM_USER), last = first;
    for (unsigned i = 1; i < 20; i++) {
        last = take_one(bed, PMM_USER);
    }
    struct pmm_block *b = &bed->blocks[first / PMM_BLOCK_FRAMES];
    EXPECT_EQ(b->carved, 20);
    b->top = 3;
    free_one(bed, last);
    EXPECT_EQ(b->mode, PMM_BLOCK_CLOSED);
    return first;
}

TEST(pmm_damage, frames_of_a_closed_block_that_were_never_carved_are_lost_whatever_their_codes_were)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 4 * PMM_BLOCK_FRAMES);
    bed_with_owners(bed, 1);
    REQUIRE(starts(bed));
    uint64_t first = close_block_with_old_codes(bed);
    uint64_t start = first - first % PMM_BLOCK_FRAMES;
    for (uint64_t f = start; f < start + PMM_BLOCK_FRAMES; f++) {
        REQUIRE(EXPECT_EQ(state_of(bed, f), f - start < 19 ? PMM_STATE_USED : PMM_STATE_LOST));
    }
    struct pmm_stats before = pmm_stats(&bed->pmm);
    npages_t counts[PMM_STATES];
    pmm_state_counts(&bed->pmm, counts);
    EXPECT_EQ(counts[PMM_STATE_USED].v, before.used.v);
    EXPECT_EQ(counts[PMM_STATE_LOST].v, before.lost.v);
    EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(start + 300)), STATUS_OK);
    EXPECT_EQ(state_of(bed, start + 300), PMM_STATE_BAD);
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, before.lost.v - 1);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(start + 301)), STATUS_MISUSE);
    bed_sound(bed);
    test_expect_reports(2);
}

/* ---- Counts ---- */

/* Some frames of one block are in use, some of these were freed; drawn for the owner, where there is one. */
static uint64_t half_used(struct pmm_bed *bed, unsigned flags, uint64_t *some, unsigned n)
{
    for (unsigned i = 0; i < 2 * n; i++) {
        uint64_t frame = take_one(bed, flags);
        some[i / 2] = frame;
        if (frame / PMM_BLOCK_FRAMES != some[0] / PMM_BLOCK_FRAMES) {
            return 0;
        }
    }
    for (unsigned i = 0; i < n / 2; i++) {
        free_one(bed, some[--n]);
    }
    return some[0] / PMM_BLOCK_FRAMES;
}

TEST(pmm_damage, a_block_that_counts_more_free_frames_than_it_can_have_loses_those_that_its_states_say)
{
    static const uint16_t counts[] = {PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES, 3000, UINT16_MAX};
    struct bed_arena arena = bed_arena();
    enum { SOME = 20 };
    for (size_t i = 0; i < 4 * ARRAY_LEN(counts); i++) {
        struct pmm_bed *bed = bed_new(&arena, BASE, BASE + 8, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, 8 * PMM_BLOCK_FRAMES);
        bed_with_owners(bed, 1);
        REQUIRE(starts(bed));
        open_all(bed);
        unsigned owner, reports = test_reports();
        pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
        REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
        unsigned flags = i % 2 != 0 ? PMM_OWNER(owner) : PMM_USER;
        uint64_t some[SOME], block = half_used(bed, flags, some, SOME), free = pmm_stats(&bed->pmm).free.v, taken = 0;
        REQUIRE(block != 0);
        uint64_t used = pmm_stats(&bed->pmm).used.v, had = bed->blocks[block].free;
        bed->blocks[block].free = counts[i / 4];
        pfn_t frame;
        bool by_push = i / 2 % 2 == 0 || i < 4; /* what pops meet is too much by more than a block */
        if (by_push) {
            free_one(bed, some[0]);
            EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, had + 1);
            EXPECT_EQ(pmm_stats(&bed->pmm).used.v, used - 1);
            REQUIRE(bed_sound(bed));
        }
        while (pmm_alloc(&bed->pmm, flags, &frame) == STATUS_OK) {
            REQUIRE(++taken <= free);
        }
        EXPECT_EQ(bed->blocks[block].mode, PMM_BLOCK_CLOSED);
        EXPECT_EQ(taken + pmm_stats(&bed->pmm).lost.v, free + by_push);
        EXPECT_EQ(test_reports(), reports + 1);
        REQUIRE(bed_sound(bed));
        EXPECT_EQ(pmm_owner_close(&bed->pmm, owner, NULL), STATUS_OK);
        bed_sound(bed);
        test_expect_reports(test_reports());
    }
}

TEST(pmm_damage, an_owners_block_found_damaged_when_the_owner_goes_is_left_as_it_is_used)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 8 * PMM_BLOCK_FRAMES);
    bed_with_owners(bed, 1);
    REQUIRE(starts(bed));
    unsigned owner;
    enum { SOME = 20 };
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    uint64_t some[SOME], block = half_used(bed, PMM_OWNER(owner), some, SOME);
    REQUIRE(block != 0 && pmm_mark_bad(&bed->pmm, pfn((block + 1) * PMM_BLOCK_FRAMES - 1)) == STATUS_OK);
    uint64_t used = pmm_stats(&bed->pmm).used.v;
    bed->blocks[block].top = 3;
    struct pmm_owner_end end;
    REQUIRE(pmm_owner_close(&bed->pmm, owner, &end) == STATUS_OK);
    EXPECT_EQ(end.blocks.v + end.frames.v, 0);
    EXPECT_EQ(end.left.v, used);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, used);
    EXPECT_EQ(state_of(bed, some[0]), PMM_STATE_USED);
    bed_sound(bed);
    free_one(bed, some[0]);
    bed_sound(bed);
    test_expect_reports(1);
}

/* ---- A whole block that is ready for a CPU ---- */

TEST(pmm_damage, a_frame_of_a_whole_block_that_stands_ready_cannot_be_marked_bad_by_who_interrupts)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 8 * PMM_BLOCK_FRAMES);
    some_cpus(bed, 1);
    REQUIRE(starts(bed));
    npages_t n = npages(PMM_BLOCK_FRAMES);
    pfn_t run, again;
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
        REQUIRE(pmm_split_run(&bed->pmm, run, npages(1)) == STATUS_OK); /* so that codes of ones are left behind */
        REQUIRE(pmm_free_run(&bed->pmm, run, n) == STATUS_OK);
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
        REQUIRE(pmm_free_run(&bed->pmm, run, n) == STATUS_OK);
    }
    REQUIRE(bed->cpus[0].whole_count == 1);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    bed->cpus[0].inside = 1; /* it was interrupted in its magazine */
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i += 73) {
        EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(run.v + i)), STATUS_LIMIT);
    }
    bed->cpus[0].inside = 0;
    bed_sound(bed);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &again) == STATUS_OK);
    EXPECT_EQ(again.v, run.v);
    EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(run.v + 73)), STATUS_OK);
    bed_sound(bed);
}

/* ---- The first MiB, when the backing fails ---- */

TEST(pmm_damage, a_backing_that_fails_below_1_mib_leaves_the_figures_of_the_zones_possible)
{
    for (unsigned how = 0; how < 3; how++) {
        struct pmm_bed *bed = bed_new(NULL, 0, 4, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, 1, 159); /* and nothing else */
        REQUIRE(starts(bed));
        bed->fail_at = 1;
        pfn_t run;
        npages_t n = npages(100);
        enum status s = how == 0   ? pmm_claim(&bed->pmm, pfn(8), n)
                        : how == 1 ? pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, n, n, npages(0), PMM_NO_LIMIT, &run)
                                   : pmm_alloc(&bed->pmm, PMM_KERNEL, &run);
        EXPECT_EQ(s, how == 1 ? STATUS_INVALID : STATUS_CORRUPT);
        struct pmm_stats stats = pmm_stats(&bed->pmm);
        EXPECT(stats.zones[PMM_ZONE_16M].free.v == 0);
        EXPECT(stats.zones[PMM_ZONE_1M].free.v <= 159);
        test_expect_reports(test_reports());
    }
}
