/*
 * Frames that broke: marked in every state, they never come back, and the totals say so.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 6, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };

/* Blocks [8, 14); 20 frames reserved in a block never used, 2 in the first, whose frame 0 is used and frame 1 metadata.
 */
static struct pmm_bed *machine(size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 1);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        bed_hold(bed, FIRST, 1, HOLD_USED);
        bed_hold(bed, FIRST + 1, 1, HOLD_METADATA);
        bed_hold(bed, FIRST + 10, 2, HOLD_RESERVED);
        bed_hold(bed, FIRST + 4 * PMM_BLOCK_FRAMES + 100, 20, HOLD_RESERVED);
        some_cpus(bed, cpus);
        bed_with_zero_pool(bed, 20);
        if (!starts(bed)) {
            return NULL;
        }
    }
    return bed;
}

static enum status mark(struct pmm_bed *bed, uint64_t frame) { return pmm_mark_bad(&bed->pmm, pfn(frame)); }

/* It is bad for good: nobody frees it, takes it or gives it back. */
static void expect_bad_for_good(struct pmm_bed *bed, uint64_t frame)
{
    struct pmm_frame q = pmm_query(&bed->pmm, pfn(frame));
    EXPECT_EQ(q.state, PMM_STATE_BAD);
    EXPECT(!q.goes_bad);
    EXPECT_EQ(q.references, 0);
    unsigned reports = test_reports();
    bed_remember(bed);
    EXPECT_EQ(mark(bed, frame), STATUS_EXISTS);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(frame), npages(1)), STATUS_EXISTS);
    EXPECT_EQ(test_reports(), reports);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(frame)), STATUS_MISUSE);
    report_has("(bad");
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(frame), NULL), STATUS_MISUSE);
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(frame)), STATUS_MISUSE);
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(frame), npages(1)), STATUS_MISUSE);
    EXPECT_EQ(test_reports(), reports + 4);
    test_expect_reports(reports + 4);
    bed_unchanged(bed);
}

/* Take all there is: the frame is not among it. */
static void expect_never_served(struct pmm_bed *bed, uint64_t bad)
{
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    uint64_t free = pmm_stats(&bed->pmm).free.v, count = take_list(bed, PMM_KERNEL, list);
    EXPECT_EQ(count, free);
    for (uint64_t i = 0; i < count; i++) {
        EXPECT(list[i] != bad);
    }
    free_list(bed, list, count);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free);
    EXPECT_EQ(state_of(bed, bad), PMM_STATE_BAD);
    bed_sound(bed);
}

/* The frame became bad by a call that answered `s`. */
static void expect_gone(struct pmm_bed *bed, uint64_t frame, enum status s, const struct pmm_stats *before)
{
    EXPECT_EQ(s, STATUS_OK);
    struct pmm_stats now = pmm_stats(&bed->pmm);
    EXPECT_EQ(now.bad.v, before->bad.v + 1);
    EXPECT_EQ(now.ram.v, before->ram.v);
    EXPECT_EQ(now.ram.v, now.free.v + now.used.v + now.metadata.v + now.earmarked.v + now.reserved.v);
    bed_sound(bed);
    expect_bad_for_good(bed, frame);
    expect_never_served(bed, frame);
}

TEST(pmm, a_free_frame_is_bad_at_once)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = machine(cpus);
        REQUIRE(bed != NULL);
        uint64_t frame = FIRST + 300; /* beyond the mark of its block */
        EXPECT_EQ(state_of(bed, frame), PMM_STATE_FREE);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        expect_gone(bed, frame, mark(bed, frame), &before);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 1);
        EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, before.reserved.v + 1);
        /* One in the middle of a stack. */
        uint64_t list[3] = {take_one(bed, PMM_KERNEL), take_one(bed, PMM_KERNEL), take_one(bed, PMM_KERNEL)};
        free_list(bed, list, 3);
        pmm_drain(&bed->pmm);
        before = pmm_stats(&bed->pmm);
        expect_gone(bed, list[1], mark(bed, list[1]), &before);
        EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 2);
    }
}

TEST(pmm, a_frame_of_a_block_never_used_is_bad_and_the_rest_of_it_serves)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t frame = FIRST + 3 * PMM_BLOCK_FRAMES + 77;
    EXPECT_EQ(state_of(bed, frame), PMM_STATE_UNTOUCHED);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    expect_gone(bed, frame, mark(bed, frame), &before);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 1);
    EXPECT_EQ(state_of(bed, FIRST + 2 * PMM_BLOCK_FRAMES), PMM_STATE_FREE);
}

TEST(pmm, a_frame_in_a_magazine_or_in_the_zero_pool_is_bad_at_once)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    free_one(bed, frame);
    EXPECT_EQ(state_of(bed, frame), PMM_STATE_CACHED);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    expect_gone(bed, frame, mark(bed, frame), &before);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 1);
}

static bool nothing_to_zero(void *ctx, pfn_t frame)
{
    *(uint64_t *)ctx = frame.v;
    return true;
}

TEST(pmm, a_frame_in_the_zero_pool_is_bad_at_once)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t frame = 0;
    npages_t filled;
    REQUIRE(pmm_zero_fill(&bed->pmm, PMM_USER, npages(7), nothing_to_zero, &frame, &filled) == STATUS_OK &&
            filled.v == 7);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    expect_gone(bed, frame, mark(bed, frame), &before);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 1);
}

TEST(pmm, a_reserved_frame_is_bad_at_once_and_is_not_given_back)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pmm_bed *bed = machine(0);
        REQUIRE(bed != NULL);
        uint64_t hold = i == 0 ? FIRST + 10 : FIRST + 4 * PMM_BLOCK_FRAMES + 100, frames = i == 0 ? 2 : 20;
        struct pmm_stats before = pmm_stats(&bed->pmm);
        expect_gone(bed, hold + 1, mark(bed, hold + 1), &before);
        EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, before.reserved.v);
        unsigned reports = test_reports();
        bed_remember(bed);
        EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(hold), npages(frames)), STATUS_MISUSE);
        bed_unchanged(bed);
        test_expect_reports(reports + 1);
        EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(hold), npages(1)), STATUS_OK);
        EXPECT_EQ(state_of(bed, hold), PMM_STATE_FREE);
        bed_sound(bed);
    }
}

TEST(pmm, a_used_frame_goes_bad_when_its_user_frees_it)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        for (unsigned by_release = 0; by_release <= 1; by_release++) {
            struct pmm_bed *bed = machine(cpus);
            REQUIRE(bed != NULL);
            uint64_t frame = take_one(bed, PMM_USER);
            struct pmm_stats before = pmm_stats(&bed->pmm);
            EXPECT_EQ(mark(bed, frame), STATUS_OK);
            struct pmm_frame q = pmm_query(&bed->pmm, pfn(frame));
            EXPECT_EQ(q.state, PMM_STATE_USED);
            EXPECT_EQ(q.references, 1);
            EXPECT(q.goes_bad);
            EXPECT_EQ(mark(bed, frame), STATUS_EXISTS);
            EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 0);
            EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
            EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v);
            bed_sound(bed);
            bool freed = by_release == 0;
            enum status s =
                by_release != 0 ? pmm_release(&bed->pmm, pfn(frame), &freed) : pmm_free(&bed->pmm, pfn(frame));
            EXPECT(freed);
            EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v - 1);
            EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
            expect_gone(bed, frame, s, &before);
        }
    }
}

TEST(pmm, a_shared_frame_goes_bad_at_its_last_release)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    REQUIRE(pmm_retain(&bed->pmm, pfn(frame)) == STATUS_OK);
    REQUIRE(pmm_retain(&bed->pmm, pfn(frame)) == STATUS_OK);
    EXPECT_EQ(mark(bed, frame), STATUS_OK);
    EXPECT_EQ(mark(bed, frame), STATUS_EXISTS);
    REQUIRE(pmm_retain(&bed->pmm, pfn(frame)) == STATUS_OK);
    bed_sound(bed);
    for (unsigned left = 4; left > 1; left--) {
        bool freed = true;
        struct pmm_frame q = pmm_query(&bed->pmm, pfn(frame));
        EXPECT_EQ(q.references, left);
        EXPECT(q.goes_bad);
        EXPECT_EQ(pmm_release(&bed->pmm, pfn(frame), &freed), STATUS_OK);
        EXPECT(!freed);
    }
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(frame)), STATUS_OK); /* shared again, after it was down to one */
    EXPECT(pmm_query(&bed->pmm, pfn(frame)).goes_bad);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(frame), NULL), STATUS_OK);
    EXPECT(pmm_query(&bed->pmm, pfn(frame)).goes_bad);
    bed_sound(bed);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    expect_gone(bed, frame, pmm_free(&bed->pmm, pfn(frame)), &before);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
}

TEST(pmm, so_many_shared_frames_can_wait_to_go_bad_and_no_more)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t list[PMM_BAD_SHARED_MAX + 1];
    for (unsigned i = 0; i <= PMM_BAD_SHARED_MAX; i++) {
        list[i] = take_one(bed, PMM_USER);
        REQUIRE(pmm_retain(&bed->pmm, pfn(list[i])) == STATUS_OK);
        if (i < PMM_BAD_SHARED_MAX) {
            EXPECT_EQ(mark(bed, list[i]), STATUS_OK);
        }
    }
    bed_remember(bed);
    EXPECT_EQ(mark(bed, list[PMM_BAD_SHARED_MAX]), STATUS_LIMIT);
    bed_unchanged(bed);
    test_expect_reports(test_reports()); /* it may name the constant */
    EXPECT(!pmm_query(&bed->pmm, pfn(list[PMM_BAD_SHARED_MAX])).goes_bad);
    /* One of them is gone: there is room again. */
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(list[3]), NULL), STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(list[3]), NULL), STATUS_OK);
    EXPECT_EQ(state_of(bed, list[3]), PMM_STATE_BAD);
    EXPECT_EQ(mark(bed, list[PMM_BAD_SHARED_MAX]), STATUS_OK);
    for (unsigned i = 0; i <= PMM_BAD_SHARED_MAX; i++) {
        for (unsigned n = 0; i != 3 && n < 2; n++) {
            EXPECT_EQ(pmm_release(&bed->pmm, pfn(list[i]), NULL), STATUS_OK);
        }
        EXPECT_EQ(state_of(bed, list[i]), PMM_STATE_BAD);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, PMM_BAD_SHARED_MAX + 1);
    bed_sound(bed);
}

TEST(pmm, frames_marked_while_used_once_go_bad_however_many_are_shared_later)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t list[2 * PMM_BAD_SHARED_MAX];
    for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
        list[i] = take_one(bed, PMM_USER);
        EXPECT_EQ(mark(bed, list[i]), STATUS_OK);
    }
    for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
        enum status s = pmm_retain(&bed->pmm, pfn(list[i]));
        EXPECT(s == STATUS_OK || s == STATUS_LIMIT);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(list[i])).references, s == STATUS_OK ? 2 : 1);
        EXPECT(pmm_query(&bed->pmm, pfn(list[i])).goes_bad);
    }
    test_expect_reports(test_reports());
    bed_sound(bed);
    for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
        bool freed = false;
        while (!freed && EXPECT_EQ(pmm_release(&bed->pmm, pfn(list[i]), &freed), STATUS_OK)) {
        }
        EXPECT_EQ(state_of(bed, list[i]), PMM_STATE_BAD);
    }
    bed_sound(bed);
}
