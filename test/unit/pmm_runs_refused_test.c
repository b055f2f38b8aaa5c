/*
 * Contiguous runs: what pmm_alloc_run refuses.
 */
#include "unit/pmm_runs_bed.h"

#include "pmm/pmm_pressure.h"

enum { FIELD_BLOCKS = 16, ALL_FRAMES = SIDE_FRAMES + FIELD_BLOCKS * BLOCK };

TEST(pmm_runs, arguments_that_cannot_be_meant_are_invalid)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    static const struct { uint64_t n, align, boundary; } asks[] = {
        {0, 0, 0}, {0, 1, 1}, {UINT64_MAX, 0, 0}, {UINT64_MAX, 1, 0}, {1, 3, 0}, {1, 511, 0}, {1, UINT64_MAX, 0},
        {1, 0, 3}, {1, 0, UINT64_MAX}, {65, 0, 64}, {2, 0, 1}, {513, 512, 512}, {5, 6, 8}, {700, 0, 512},
    };
    pfn_t first = pfn(7);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        EXPECT_REFUSED(bed, run_of(bed, asks[i].n, asks[i].align, asks[i].boundary, UINT64_MAX, &first),
                       STATUS_INVALID);
    }
    EXPECT_EQ(first.v, 7);
}

TEST(pmm_runs, flags_that_runs_do_not_know_are_misuse)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    unsigned owner;
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK && pmm_promise(&bed->pmm, npages(10)) == STATUS_OK);
    const unsigned flags[] = {PMM_PROMISED, PMM_OWNER(owner), PMM_OWNER(9) | PMM_USER, 1U << 9, 1U << 15};
    pfn_t first = pfn(7);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        EXPECT_REFUSED(bed, pmm_alloc_run(&bed->pmm, flags[i], npages(2), npages(0), npages(0), PMM_NO_LIMIT, &first),
                       STATUS_MISUSE);
        EXPECT(bed_reported("pmm_alloc_run"));
    }
    EXPECT_EQ(first.v, 7);
    test_expect_reports(ARRAY_LEN(flags));
}

TEST(pmm_runs, more_than_there_is_is_refused_for_any_length)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    static const uint64_t lengths[] = {FIELD_BLOCKS * BLOCK + 1, ALL_FRAMES, 1UL << 32, 1UL << 45, 1UL << 52};
    pfn_t first = pfn(7);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        EXPECT_REFUSED(bed, any_run(bed, lengths[i], &first), STATUS_NOMEM);
    }
    EXPECT_EQ(first.v, 7);
}

TEST(pmm_runs, a_run_leaves_what_is_promised_or_kept_for_emergencies)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    REQUIRE(free_frames(bed, FIELD, 2 * BLOCK));
    pfn_t first, frame;
    REQUIRE(pmm_promise(&bed->pmm, npages(BLOCK)) == STATUS_OK);
    EXPECT_REFUSED(bed, any_run(bed, BLOCK + 1, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, any_run(bed, 2 * BLOCK, &first), STATUS_NOMEM);
    REQUIRE(any_run(bed, BLOCK, &first) == STATUS_OK);
    EXPECT_REFUSED(bed, any_run(bed, 1, &first), STATUS_NOMEM);
    for (unsigned i = 0; i < BLOCK; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_PROMISED, &frame) == STATUS_OK);
    }
    REQUIRE(pmm_free_run(&bed->pmm, first, npages(BLOCK)) == STATUS_OK);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(12)) == STATUS_OK);
    EXPECT_REFUSED(bed, any_run(bed, BLOCK - 11, &first), STATUS_NOMEM);
    REQUIRE(any_run(bed, BLOCK - 12, &first) == STATUS_OK);
    EXPECT_REFUSED(bed, any_run(bed, 1, &first), STATUS_NOMEM);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_EMERGENCY, npages(12), npages(0), npages(0), PMM_NO_LIMIT, &first) ==
            STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    bed_sound(bed);
}

TEST(pmm_runs, a_backing_that_fails_hands_out_nothing)
{
    static const uint64_t lengths[] = {1, 511, 512, 700, 6 * BLOCK};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (unsigned fail_at = 1; fail_at <= 2; fail_at++) {
            struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
            REQUIRE(bed != NULL && bed_starts(bed));
            bed->fail_at = fail_at;
            pfn_t first = pfn(7);
            if (any_run(bed, lengths[i], &first) == STATUS_OK) {
                EXPECT(bed->backs < fail_at);
                EXPECT_EQ(pmm_stats(&bed->pmm).used.v, lengths[i]);
                continue;
            }
            EXPECT_EQ(bed->backs, fail_at);
            EXPECT_EQ(first.v, 7);
            EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
            EXPECT_EQ(any_run(bed, FIELD_BLOCKS / 2 * BLOCK, &first), STATUS_CORRUPT);
            EXPECT_EQ(pmm_check(&bed->pmm, NULL), STATUS_CORRUPT); /* it says that the backing failed */
        }
    }
    test_expect_reports(test_reports());
    EXPECT(test_reports() > 0);
}

TEST(pmm_runs, the_last_block_that_is_whole_is_had_whole_though_it_was_never_used_and_must_be_paid_for)
{
    static const uint64_t lengths[] = {BLOCK, BLOCK - 1, 300};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(lengths); i++) {
        struct pmm_bed *bed = bed_new(NULL, SIDE / BLOCK, SIDE / BLOCK + 8, i % 2);
        pfn_t run;
        uint64_t n = lengths[i / 2];
        REQUIRE(bed != NULL);
        bed_run(bed, SIDE, BLOCK);
        bed_run(bed, SIDE + 2 * BLOCK, 100); /* what pays */
        REQUIRE(bed_starts(bed) && pmm_stats(&bed->pmm).earmarked.v > 0);
        EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, BLOCK);
        REQUIRE(any_run(bed, n, &run) == STATUS_OK);
        EXPECT(run.v >= SIDE && run.v + n <= SIDE + BLOCK);
        EXPECT(bed_sound(bed));
        EXPECT_EQ(free_run(bed, run.v, n), STATUS_OK);
        EXPECT(bed_sound(bed));
    }
}

TEST(pmm_runs, a_second_zero_frame_is_refused_and_splits_no_run)
{
    struct pmm_bed *bed = bed_new(NULL, SIDE / BLOCK, SIDE / BLOCK + 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, SIDE, SIDE_FRAMES);
    REQUIRE(bed_starts(bed));
    pfn_t zero, run;
    npages_t n = npages(BLOCK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &zero) == STATUS_OK);
    REQUIRE(pmm_zero_frame_set(&bed->pmm, zero) == STATUS_OK);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_KERNEL, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, pfn(run.v + 5)), STATUS_EXISTS);
    EXPECT_EQ(pmm_query(&bed->pmm, run).state, PMM_STATE_RUN);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, pfn(1)), STATUS_EXISTS); /* whatever it is */
}
