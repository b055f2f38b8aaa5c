/*
 * Arrays of frames in one call: the same as so many single calls, all or nothing one way, up to the first wrong frame
 * the other.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 8, ALL = (FIELD_BLOCKS + 4) * BLOCK, UNTOUCHED = 0xDEAD };

static pfn_t *untouched_frames(uint64_t n)
{
    pfn_t *frames = frames_for(n);
    for (uint64_t i = 0; frames != NULL && i < n; i++) {
        frames[i] = pfn(UNTOUCHED);
    }
    return frames;
}

static bool all_untouched(const pfn_t *frames, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && frames[i].v == UNTOUCHED) {
        i++;
    }
    return EXPECT_EQ(i, n);
}

static enum status many(struct pmm_bed *bed, unsigned flags, pfn_t *frames, uint64_t n)
{
    return pmm_alloc_many(&bed->pmm, flags, frames, npages(n));
}

/* Each used once, none twice: the second of two would be found free already. */
static bool free_each(struct pmm_bed *bed, const pfn_t *frames, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct pmm_frame q = pmm_query(&bed->pmm, frames[i]);
        if (!EXPECT_EQ(q.state, PMM_STATE_USED) || !EXPECT_EQ(q.references, 1) ||
            !EXPECT_EQ(pmm_free(&bed->pmm, frames[i]), STATUS_OK)) {
            return false;
        }
    }
    return true;
}

TEST(pmm_many, many_frames_are_all_different_and_used_once)
{
    static const uint64_t counts[] = {1, 2, 63, 64, 65, 127, 129, 511, 512, 513, 1500, ALL / 2};
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
        pfn_t *frames = untouched_frames(ALL);
        REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            uint64_t n = counts[i];
            struct pmm_stats before = pmm_stats(&bed->pmm);
            REQUIRE(many(bed, i % 2 == 0 ? PMM_KERNEL : PMM_USER, frames, n) == STATUS_OK);
            struct pmm_stats during = pmm_stats(&bed->pmm);
            EXPECT_EQ(during.used.v, before.used.v + n);
            EXPECT_EQ(during.free.v, before.free.v - n);
            EXPECT_EQ(during.allocated, before.allocated + n);
            EXPECT(all_untouched(frames + n, ALL - n)); /* the counts only grow */
            bed_sound(bed);
            if (i % 3 == 0) {
                REQUIRE(free_each(bed, frames, n));
            } else {
                npages_t done = npages(0);
                REQUIRE(pmm_free_many(&bed->pmm, frames, npages(n), i % 3 == 1 ? &done : NULL) == STATUS_OK);
                EXPECT_EQ(done.v, i % 3 == 1 ? n : 0);
            }
            struct pmm_stats after = pmm_stats(&bed->pmm);
            EXPECT_EQ(after.used.v, before.used.v);
            EXPECT_EQ(after.free.v, before.free.v);
            EXPECT_EQ(after.freed, before.freed + n);
            bed_sound(bed);
        }
    }
}

TEST(pmm_many, too_many_frames_are_refused_and_as_many_as_are_free_are_not)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
        pfn_t *frames = frames_for(ALL + 1), frame, other;
        REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
        REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &other) == STATUS_OK); /* and 63 in either magazine */
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        EXPECT_REFUSED(bed, many(bed, PMM_KERNEL, frames, free + 1), STATUS_NOMEM);
        EXPECT_REFUSED(bed, many(bed, PMM_USER, frames, ALL + 1), STATUS_NOMEM);
        REQUIRE(many(bed, PMM_KERNEL, frames, free) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
        EXPECT_REFUSED(bed, pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_NOMEM);
        EXPECT_REFUSED(bed, many(bed, PMM_KERNEL, frames, 1), STATUS_NOMEM);
        REQUIRE(pmm_free_many(&bed->pmm, frames, npages(free), NULL) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free);
        bed_sound(bed);
    }
}

TEST(pmm_many, no_frames_are_had_and_freed_at_any_time)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 1);
    REQUIRE(bed != NULL);
    npages_t done = npages(9);
    pfn_t frame = pfn(UNTOUCHED);
    EXPECT_REFUSED(bed, many(bed, PMM_KERNEL, &frame, 0), STATUS_OK);
    EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &frame, npages(0), &done), STATUS_OK);
    EXPECT_EQ(done.v, 0);
    EXPECT_EQ(frame.v, UNTOUCHED);
}

TEST(pmm_many, a_free_of_many_stops_at_the_first_wrong_frame)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
        pfn_t *frames = frames_for(300);
        REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
        REQUIRE(many(bed, PMM_USER, frames, 300) == STATUS_OK);
        pfn_t right = frames[200];
        frames[200] = frames[130]; /* freed 70 before */
        npages_t done = npages(0);
        EXPECT_EQ(pmm_free_many(&bed->pmm, frames, npages(300), &done), STATUS_MISUSE);
        EXPECT_EQ(done.v, 200);
        EXPECT(bed_reported("pmm_free_many"));
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 100);
        for (unsigned i = 0; i < 300; i++) {
            EXPECT_EQ(frame_state(bed, frames[i].v) == PMM_STATE_USED, i > 200);
        }
        EXPECT_EQ(frame_state(bed, right.v), PMM_STATE_USED);
        bed_sound(bed);
        EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, frames + 200, npages(100), &done), STATUS_MISUSE);
        EXPECT_EQ(done.v, 0);
        frames[200] = right;
        REQUIRE(pmm_retain(&bed->pmm, frames[299]) == STATUS_OK);
        EXPECT_EQ(pmm_free_many(&bed->pmm, frames + 200, npages(100), NULL), STATUS_MISUSE);
        EXPECT(bed_reported("references 2"));
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 1);
        bed_sound(bed);
    }
    test_expect_reports(6);
}

TEST(pmm_many, many_frames_below_a_limit_are_all_or_nothing)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = bed_new(NULL, 0, 12, 0);
        pfn_t *frames = frames_for(ALL);
        REQUIRE(bed != NULL && frames != NULL);
        bed_run(bed, 0, 160);
        bed_run(bed, 256, 12 * BLOCK - 256);
        bed_with_cpus(bed, cpus);
        REQUIRE(bed_starts(bed));
        EXPECT_REFUSED(bed, many(bed, PMM_BELOW_1M, frames, 160), STATUS_NOMEM);
        REQUIRE(many(bed, PMM_BELOW_1M, frames, 159) == STATUS_OK);
        for (unsigned i = 0; i < 159; i++) {
            EXPECT(frames[i].v > 0 && frames[i].v < 160);
        }
        EXPECT_REFUSED(bed, many(bed, PMM_BELOW_1M, frames, 1), STATUS_NOMEM);
        REQUIRE(free_each(bed, frames, 159));
        uint64_t low = bytes_to_pages_down(16 * MIB).v, n = 6 * BLOCK;
        REQUIRE(many(bed, PMM_BELOW_16M | PMM_USER, frames, n) == STATUS_OK);
        for (uint64_t i = 0; i < n; i++) {
            REQUIRE(frames[i].v < low);
        }
        EXPECT_REFUSED(bed, many(bed, PMM_BELOW_16M | PMM_USER, frames + n, 3 * BLOCK), STATUS_NOMEM);
        REQUIRE(free_each(bed, frames, n));
        bed_sound(bed);
    }
}

TEST(pmm_many, many_frames_draw_on_a_promise_and_no_more_than_that)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
        pfn_t *frames = frames_for(ALL);
        REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        REQUIRE(pmm_promise(&bed->pmm, npages(100)) == STATUS_OK);
        EXPECT_REFUSED(bed, many(bed, PMM_KERNEL, frames, free - 99), STATUS_NOMEM);
        EXPECT_REFUSED(bed, many(bed, PMM_PROMISED, frames, 101), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_alloc_many"));
        REQUIRE(many(bed, PMM_KERNEL, frames, free - 100) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).promised.v, 100);
        REQUIRE(many(bed, PMM_PROMISED | PMM_USER, frames + free - 100, 60) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).promised.v, 40);
        REQUIRE(many(bed, PMM_PROMISED, frames + free - 40, 40) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        REQUIRE(free_each(bed, frames, free));
        bed_sound(bed);
    }
    test_expect_reports(2);
}

TEST(pmm_many, unknown_flags_and_owners_are_misuse_whatever_the_count)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 1);
    pfn_t *frames = frames_for(200);
    REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
    static const unsigned flags[] = {1U << 9, 1U << 15, PMM_OWNER(1), PMM_OWNER(RUNS_BED_OWNERS + 1), PMM_PROMISED};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        EXPECT_REFUSED(bed, many(bed, flags[i], frames, 200), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_alloc_many"));
    }
    test_expect_reports(ARRAY_LEN(flags));
}

TEST(pmm_many, a_backing_that_fails_in_the_middle_leaves_nothing_taken)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        for (unsigned fail_at = 1; fail_at <= 3; fail_at++) {
            struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
            pfn_t *frames = frames_for(ALL);
            REQUIRE(bed != NULL && frames != NULL && bed_starts(bed));
            bed->fail_at = fail_at;
            uint64_t free = pmm_stats(&bed->pmm).free.v;
            /* The first block takes a page of descriptors and one of states. */
            EXPECT_EQ(many(bed, PMM_USER, frames, free), STATUS_CORRUPT);
            EXPECT_EQ(bed->backs, fail_at);
            EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
            EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, frames), fail_at <= 2 ? STATUS_CORRUPT : STATUS_OK);
            EXPECT_EQ(pmm_check(&bed->pmm, NULL), STATUS_CORRUPT); /* it says that the backing failed */
        }
    }
    test_expect_reports(test_reports());
    EXPECT(test_reports() >= 6);
}
