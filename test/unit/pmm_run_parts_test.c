/*
 * What becomes of a run: freed whole or in parts, and what is refused of that.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_END = FIELD + 8 * BLOCK };

/* Every frame used but blocks [2, 8) of the field. */
static struct pmm_bed *bed_with_6_blocks(void)
{
    struct pmm_bed *bed = runs_bed_full(8, 0);
    return bed != NULL && free_frames(bed, FIELD + 2 * BLOCK, 6 * BLOCK) ? bed : NULL;
}

/* A run of `n` frames whose every frame lies below `limit`. */
static pfn_t take(struct pmm_bed *bed, uint64_t n, uint64_t limit)
{
    pfn_t first = pfn(0);
    EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(n), npages(0), npages(0), pfn(limit), &first), STATUS_OK);
    return first;
}

/* ---- Parts ---- */

TEST(pmm_run_parts, head_middle_and_tail_of_a_block_handed_out_whole_go_by_themselves)
{
    static const struct { uint64_t at, n; } parts[] = {{0, 100}, {200, 50}, {500, 12}, {0, 1}, {511, 1}, {1, 510}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct pmm_bed *bed = bed_with_6_blocks();
        REQUIRE(bed != NULL);
        uint64_t at = parts[i].at, n = parts[i].n;
        struct pmm_stats before = pmm_stats(&bed->pmm);
        uint64_t run = take(bed, BLOCK, UINT64_MAX).v;
        REQUIRE(run != 0 && free_run(bed, run + at, n) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + BLOCK - n);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - BLOCK + n);
        expect_used(bed, run, at);
        expect_free(bed, run + at, n);
        expect_used(bed, run + at + n, BLOCK - at - n);
        bed_sound(bed);
        /* What went is there for others, and what stayed goes frame by frame. */
        EXPECT_REFUSED(bed, free_run(bed, run + at, 1), STATUS_MISUSE);
        expect_report("pmm_free_run", run + at, PMM_STATE_FREE);
        for (uint64_t f = run; f < run + BLOCK; f++) {
            REQUIRE((f >= run + at && f < run + at + n) || pmm_free(&bed->pmm, pfn(f)) == STATUS_OK);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
        bed_sound(bed);
        EXPECT_EQ(take(bed, 6 * BLOCK, UINT64_MAX).v, FIELD + 2 * BLOCK);
    }
    test_expect_reports(ARRAY_LEN(parts));
}

TEST(pmm_run_parts, what_is_left_of_a_run_of_blocks_is_runs_still)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 5 * BLOCK, UINT64_MAX).v, all = pmm_stats(&bed->pmm).free.v + 5 * BLOCK;
    REQUIRE(run != 0 && free_run(bed, run + 2 * BLOCK, BLOCK) == STATUS_OK);
    expect_free(bed, run + 2 * BLOCK, BLOCK);
    bed_sound(bed);
    for (unsigned block = 0; block < 5; block++) {
        EXPECT(block == 2 || frame_state(bed, run + block * BLOCK + 77) == PMM_STATE_RUN);
    }
    /* The two on either side of the hole, in parts of a block that are not whole ones. */
    EXPECT_REFUSED(bed, free_run(bed, run, 3 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 2 * BLOCK, PMM_STATE_FREE);
    REQUIRE(free_run(bed, run + BLOCK - 10, BLOCK + 10) == STATUS_OK);
    expect_used(bed, run, BLOCK - 10);
    expect_free(bed, run + BLOCK - 10, 2 * BLOCK + 10);
    REQUIRE(free_run(bed, run + 3 * BLOCK, BLOCK + 10) == STATUS_OK);
    expect_used(bed, run + 4 * BLOCK + 10, BLOCK - 10);
    bed_sound(bed);
    REQUIRE(free_run(bed, run, BLOCK - 10) == STATUS_OK);
    REQUIRE(free_run(bed, run + 4 * BLOCK + 10, BLOCK - 10) == STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 6 * BLOCK);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm_run_parts, a_run_of_700_frames_goes_whole_or_by_its_frames)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t all = pmm_stats(&bed->pmm).free.v;
    uint64_t run = take(bed, 700, UINT64_MAX).v;
    REQUIRE(run != 0 && free_run(bed, run, 700) == STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    bed_sound(bed);
    REQUIRE((run = take(bed, 700, UINT64_MAX).v) != 0);
    /* The frames of the last block are frames from the start; the rest goes across the border. */
    REQUIRE(pmm_free(&bed->pmm, pfn(run + 699)) == STATUS_OK);
    EXPECT_REFUSED(bed, free_run(bed, run, 700), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 699, PMM_STATE_FREE);
    REQUIRE(free_run(bed, run + 500, 199) == STATUS_OK);
    expect_used(bed, run, 500);
    expect_free(bed, run + 500, 200);
    REQUIRE(free_run(bed, run, 500) == STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm_run_parts, frames_used_once_go_as_a_range_whoever_took_them)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    REQUIRE(pmm_claim(&bed->pmm, pfn(FIELD + 3 * BLOCK - 40), npages(2 * BLOCK + 80)) == STATUS_OK);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    REQUIRE(pmm_retain(&bed->pmm, pfn(FIELD + 4 * BLOCK)) == STATUS_OK);
    EXPECT_REFUSED(bed, free_run(bed, FIELD + 3 * BLOCK - 40, 2 * BLOCK + 80), STATUS_MISUSE);
    expect_report("pmm_free_run", FIELD + 4 * BLOCK, PMM_STATE_USED);
    EXPECT(bed_reported("references 2"));
    REQUIRE(pmm_release(&bed->pmm, pfn(FIELD + 4 * BLOCK), NULL) == STATUS_OK);
    REQUIRE(free_run(bed, FIELD + 3 * BLOCK - 40, 2 * BLOCK + 80) == STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v - 2 * BLOCK - 80);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 6 * BLOCK);
    bed_sound(bed);
    test_expect_reports(1);
}

/* ---- Refused ---- */

TEST(pmm_run_parts, two_runs_in_one_free_are_refused)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t a = take(bed, 2 * BLOCK, FIELD + 4 * BLOCK).v, b = take(bed, 2 * BLOCK, FIELD + 6 * BLOCK).v;
    REQUIRE(a == FIELD + 2 * BLOCK && b == a + 2 * BLOCK);
    EXPECT_REFUSED(bed, free_run(bed, a, 4 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", b, PMM_STATE_RUN);
    EXPECT_REFUSED(bed, free_run(bed, a, 2 * BLOCK + 1), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, a + BLOCK, 2 * BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, b - 1, 2), STATUS_MISUSE);
    expect_report("pmm_free_run", b, PMM_STATE_RUN);
    /* The second block of `b` goes and comes back as a run of its own: `b` is two runs now. */
    REQUIRE(free_run(bed, a, 2 * BLOCK) == STATUS_OK && free_run(bed, b + BLOCK, BLOCK) == STATUS_OK);
    pfn_t c;
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, npages(BLOCK), npages(0), npages(2 * BLOCK), pfn(b + 2 * BLOCK), &c) ==
            STATUS_OK);
    while (c.v != b + BLOCK) {
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, npages(BLOCK), npages(0), npages(0), pfn(b + 2 * BLOCK), &c) ==
                STATUS_OK);
    }
    EXPECT_REFUSED(bed, free_run(bed, b, 2 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", b + BLOCK, PMM_STATE_RUN);
    EXPECT_EQ(free_run(bed, b, BLOCK), STATUS_OK);
    EXPECT_EQ(free_run(bed, b + BLOCK, BLOCK), STATUS_OK);
    bed_sound(bed);
    test_expect_reports(5);
}

TEST(pmm_run_parts, two_runs_of_memory_never_used_before_are_two_as_well)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(8, cpus);
        REQUIRE(bed != NULL && bed_starts(bed));
        pfn_t a, b;
        REQUIRE(any_run(bed, 2 * BLOCK, &a) == STATUS_OK && any_run(bed, 3 * BLOCK, &b) == STATUS_OK);
        REQUIRE(b.v == a.v + 2 * BLOCK); /* else they are no neighbours */
        EXPECT_REFUSED(bed, free_run(bed, a.v, 5 * BLOCK), STATUS_MISUSE);
        expect_report("pmm_free_run", b.v, PMM_STATE_RUN);
        EXPECT_EQ(free_run(bed, b.v, 3 * BLOCK), STATUS_OK);
        EXPECT_EQ(free_run(bed, a.v, 2 * BLOCK), STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
        bed_sound(bed);
    }
    test_expect_reports(2);
}

TEST(pmm_run_parts, a_block_behind_one_freed_and_taken_anew_is_not_part_of_that)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 6 * BLOCK, UINT64_MAX).v;
    REQUIRE(run != 0 && free_run(bed, run + 2 * BLOCK, BLOCK) == STATUS_OK);
    /* The only free block: between what is left of the first run. */
    uint64_t other = take(bed, BLOCK, UINT64_MAX).v;
    REQUIRE(other == run + 2 * BLOCK);
    EXPECT_REFUSED(bed, free_run(bed, run, 3 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", other, PMM_STATE_RUN);
    EXPECT_REFUSED(bed, free_run(bed, other, 2 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", other + BLOCK, PMM_STATE_RUN);
    EXPECT_REFUSED(bed, free_run(bed, run, 6 * BLOCK), STATUS_MISUSE);
    EXPECT_EQ(free_run(bed, other + BLOCK, 3 * BLOCK), STATUS_OK);
    EXPECT_EQ(free_run(bed, other, BLOCK), STATUS_OK);
    EXPECT_EQ(free_run(bed, run, 2 * BLOCK), STATUS_OK);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 6 * BLOCK);
    bed_sound(bed);
    test_expect_reports(3);
}

TEST(pmm_run_parts, a_second_free_of_a_run_or_of_a_part_is_refused)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 3 * BLOCK, UINT64_MAX).v;
    REQUIRE(run != 0 && free_run(bed, run + 100, 30) == STATUS_OK);
    EXPECT_REFUSED(bed, free_run(bed, run + 100, 30), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 100, PMM_STATE_FREE);
    EXPECT_REFUSED(bed, free_run(bed, run + 129, 5), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, run + 90, 11), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 100, PMM_STATE_FREE);
    EXPECT_REFUSED(bed, free_run(bed, run, 3 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 100, PMM_STATE_FREE);
    REQUIRE(free_run(bed, run, 100) == STATUS_OK && free_run(bed, run + 130, 3 * BLOCK - 130) == STATUS_OK);
    EXPECT_REFUSED(bed, free_run(bed, run, 3 * BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, run + BLOCK, BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, run + BLOCK, 1), STATUS_MISUSE);
    test_expect_reports(7);
}

TEST(pmm_run_parts, a_frame_of_a_block_handed_out_whole_is_not_freed_alone)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 2 * BLOCK + 5, UINT64_MAX).v;
    REQUIRE(run != 0);
    static const uint64_t at[] = {0, 1, 77, 511, 512, 1023};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        EXPECT_REFUSED(bed, pmm_free(&bed->pmm, pfn(run + at[i])), STATUS_MISUSE);
        expect_report("pmm_free", run + at[i], PMM_STATE_RUN);
    }
    pfn_t frame = pfn(run + 3);
    npages_t done = npages(9);
    EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &frame, npages(1), &done), STATUS_MISUSE);
    EXPECT_EQ(done.v, 0);
    EXPECT_REFUSED(bed, pmm_free_at(&bed->pmm, pfn_to_paddr(frame)), STATUS_MISUSE);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(run + 2 * BLOCK + 4)), STATUS_OK);
    EXPECT_EQ(free_run(bed, run, 2 * BLOCK + 4), STATUS_OK);
    bed_sound(bed);
    test_expect_reports(ARRAY_LEN(at) + 2);
}

TEST(pmm_run_parts, a_range_with_a_frame_that_is_not_used_once_is_refused_whole)
{
    struct pmm_bed *bed = bed_new(NULL, SIDE / BLOCK, FIELD_END / BLOCK, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, SIDE, BLOCK + 100);
    bed_run(bed, FIELD, 8 * BLOCK);
    bed_hold(bed, SIDE, 20, HOLD_USED);
    bed_hold(bed, SIDE + 20, 1, HOLD_METADATA);
    bed_hold(bed, SIDE + 21, 9, HOLD_USED);
    bed_hold(bed, SIDE + 30, 1, HOLD_RESERVED);
    bed_hold(bed, SIDE + BLOCK + 90, 10, HOLD_USED);
    REQUIRE(bed_starts(bed));
    static const struct { uint64_t first, n, wrong; enum pmm_state state; } asks[] = {
        {SIDE, 21, SIDE + 20, PMM_STATE_METADATA}, {SIDE + 21, 10, SIDE + 30, PMM_STATE_RESERVED},
        {SIDE + BLOCK + 90, 11, SIDE + BLOCK + 100, PMM_STATE_ABSENT}, {FIELD, 1, FIELD, PMM_STATE_UNTOUCHED},
        {FIELD - BLOCK, 2 * BLOCK, FIELD - BLOCK, PMM_STATE_OUTSIDE},
        {UINT64_MAX - 9, 5, UINT64_MAX - 9, PMM_STATE_OUTSIDE},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        EXPECT_REFUSED(bed, free_run(bed, asks[i].first, asks[i].n), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, pfn(asks[i].first), npages(asks[i].n)), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_split_run"));
        EXPECT_EQ(free_run(bed, asks[i].first, asks[i].n), STATUS_MISUSE);
        char named[32];
        fmt_text(named, sizeof named, "(%s,", pmm_state_name(asks[i].state));
        EXPECT(bed_reported(named));
    }
    EXPECT_REFUSED(bed, free_run(bed, SIDE, 0), STATUS_INVALID);
    EXPECT_REFUSED(bed, free_run(bed, SIDE, UINT64_MAX), STATUS_INVALID);
    EXPECT_REFUSED(bed, free_run(bed, UINT64_MAX, 2), STATUS_INVALID);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, pfn(SIDE), npages(0)), STATUS_INVALID);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, pfn(SIDE), npages(UINT64_MAX)), STATUS_INVALID);
    test_expect_reports(3 * ARRAY_LEN(asks));
}

/* ---- Split, retain, release ---- */

TEST(pmm_run_parts, a_split_run_goes_frame_by_frame_and_its_blocks_become_whole_again)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t all = pmm_stats(&bed->pmm).free.v, run = take(bed, 3 * BLOCK, UINT64_MAX).v;
    REQUIRE(run != 0);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    REQUIRE(pmm_split_run(&bed->pmm, pfn(run), npages(3 * BLOCK)) == STATUS_OK);
    struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT_EQ(after.used.v, before.used.v);
    EXPECT_EQ(after.allocated, before.allocated);
    bed_sound(bed);
    expect_used(bed, run, 3 * BLOCK);
    for (uint64_t f = run; f < run + 3 * BLOCK; f++) {
        REQUIRE(frame_state(bed, f) == PMM_STATE_USED);
    }
    for (uint64_t i = 0; i < 3 * BLOCK; i++) { /* 5 has no factor in common with their number */
        REQUIRE(pmm_free(&bed->pmm, pfn(run + i * 5 % (3 * BLOCK))) == STATUS_OK);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    bed_sound(bed);
    EXPECT_EQ(take(bed, 6 * BLOCK, UINT64_MAX).v, FIELD + 2 * BLOCK);
}

TEST(pmm_run_parts, a_split_touches_only_the_blocks_of_its_range)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t all = pmm_stats(&bed->pmm).free.v, run = take(bed, 5 * BLOCK + 9, UINT64_MAX).v;
    REQUIRE(run != 0 && pmm_split_run(&bed->pmm, pfn(run + 2 * BLOCK - 1), npages(2)) == STATUS_OK);
    for (unsigned block = 0; block < 5; block++) {
        bool split = block == 1 || block == 2;
        EXPECT_EQ(frame_state(bed, run + block * BLOCK + 9), split ? PMM_STATE_USED : PMM_STATE_RUN);
    }
    expect_used(bed, run, 5 * BLOCK + 9);
    EXPECT_EQ(pmm_split_run(&bed->pmm, pfn(run + BLOCK), npages(BLOCK)), STATUS_OK); /* frames are frames already */
    EXPECT_REFUSED(bed, pmm_free(&bed->pmm, pfn(run)), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_free(&bed->pmm, pfn(run + 3 * BLOCK)), STATUS_MISUSE);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(run + BLOCK)), STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(run + 3 * BLOCK - 1)), STATUS_OK);
    EXPECT_EQ(free_run(bed, run, BLOCK), STATUS_OK);
    EXPECT_EQ(free_run(bed, run + BLOCK + 1, 2 * BLOCK - 2), STATUS_OK);
    EXPECT_EQ(free_run(bed, run + 3 * BLOCK, 2 * BLOCK + 9), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    bed_sound(bed);
    test_expect_reports(2);
}

TEST(pmm_run_parts, a_split_is_refused_whole_where_a_frame_is_not_in_use)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 2 * BLOCK, FIELD + 4 * BLOCK).v;
    REQUIRE(run == FIELD + 2 * BLOCK);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, pfn(run), npages(2 * BLOCK + 1)), STATUS_MISUSE);
    expect_report("pmm_split_run", run + 2 * BLOCK, PMM_STATE_FREE);
    EXPECT_EQ(frame_state(bed, run), PMM_STATE_RUN);
    REQUIRE(free_run(bed, run + 700, 10) == STATUS_OK);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, pfn(run), npages(2 * BLOCK)), STATUS_MISUSE);
    expect_report("pmm_split_run", run + 700, PMM_STATE_FREE);
    EXPECT_EQ(frame_state(bed, run), PMM_STATE_RUN);
    EXPECT_EQ(pmm_split_run(&bed->pmm, pfn(run), npages(700)), STATUS_OK);
    EXPECT_EQ(frame_state(bed, run), PMM_STATE_USED);
    bed_sound(bed);
    test_expect_reports(2);
}

TEST(pmm_run_parts, a_frame_inside_a_run_is_shared_up_to_65000_times)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t run = take(bed, 3 * BLOCK, UINT64_MAX).v, shared = run + BLOCK + 37;
    REQUIRE(run != 0);
    for (unsigned i = 1; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_retain(&bed->pmm, pfn(shared)) == STATUS_OK);
    }
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(shared)).references, PMM_REFERENCES_MAX);
    EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, pfn(shared)), STATUS_LIMIT);
    expect_used(bed, run, BLOCK + 37);
    expect_used(bed, shared + 1, 2 * BLOCK - 38);
    EXPECT_EQ(frame_state(bed, shared - 1), PMM_STATE_USED);
    EXPECT_EQ(frame_state(bed, run), PMM_STATE_RUN);
    EXPECT_EQ(frame_state(bed, run + 2 * BLOCK), PMM_STATE_RUN);
    EXPECT_REFUSED(bed, free_run(bed, run, 3 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", shared, PMM_STATE_USED);
    bool freed = true;
    for (unsigned i = 1; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_release(&bed->pmm, pfn(shared), &freed) == STATUS_OK && !freed);
    }
    /* It was a run all the time. */
    EXPECT_EQ(free_run(bed, run, 3 * BLOCK), STATUS_OK);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 6 * BLOCK);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm_run_parts, the_release_of_a_frame_inside_a_run_frees_that_frame)
{
    struct pmm_bed *bed = bed_with_6_blocks();
    REQUIRE(bed != NULL);
    uint64_t all = pmm_stats(&bed->pmm).free.v, run = take(bed, 2 * BLOCK, UINT64_MAX).v;
    bool freed = false;
    REQUIRE(run != 0 && pmm_release(&bed->pmm, pfn(run + 5), &freed) == STATUS_OK);
    EXPECT(freed);
    expect_used(bed, run, 5);
    expect_free(bed, run + 5, 1);
    expect_used(bed, run + 6, 2 * BLOCK - 6);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all - 2 * BLOCK + 1);
    bed_sound(bed);
    EXPECT_REFUSED(bed, pmm_release(&bed->pmm, pfn(run + 5), &freed), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, pfn(run + 5)), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, run, 2 * BLOCK), STATUS_MISUSE);
    expect_report("pmm_free_run", run + 5, PMM_STATE_FREE);
    for (uint64_t f = run; f < run + 2 * BLOCK; f++) {
        REQUIRE(f == run + 5 || (pmm_release(&bed->pmm, pfn(f), &freed) == STATUS_OK && freed));
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, all);
    bed_sound(bed);
    test_expect_reports(3);
}
