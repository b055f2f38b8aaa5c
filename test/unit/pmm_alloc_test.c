/*
 * What the PMM promises of each call, one sentence a test. The machine: 8 MiB from 0 with a hole at 640 KiB, and 4 MiB
 * around 4 GiB.
 */
#include "unit/pmm_bed.h"

static uint64_t below_1m(void) { return bytes_to_pages_down(MIB).v; }
static uint64_t at_4g(void) { return bytes_to_pages_down(4 * GIB).v; }

/* [1, 160) and [256, 2048): blocks 0 to 3; nothing held. */
static struct pmm_bed *low_machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 4, 0);
    if (bed != NULL) {
        bed_run(bed, 0, 160);
        bed_run(bed, 256, 4 * PMM_BLOCK_FRAMES - 256);
    }
    return bed;
}

/* A region of 8 blocks below 4 GiB, a hole, one of 8 above. */
static struct pmm_bed *machine_around_4g(void)
{
    struct pmm_bed *bed = bed_new(NULL, 2032, 2064, 0);
    if (bed != NULL) {
        bed_run(bed, at_4g() - 16 * PMM_BLOCK_FRAMES, 8 * PMM_BLOCK_FRAMES);
        bed_run(bed, at_4g(), 8 * PMM_BLOCK_FRAMES);
    }
    return bed;
}

TEST(pmm, a_fresh_frame_is_used_once_and_counted)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    struct pmm_stats before = pmm_stats(&bed->pmm);
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    struct pmm_frame q = pmm_query(&bed->pmm, frame);
    EXPECT_EQ(q.state, PMM_STATE_USED);
    EXPECT_EQ(q.references, 1);
    EXPECT_EQ(q.region, 0);
    struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT_EQ(after.free.v, before.free.v - 1);
    EXPECT_EQ(after.used.v, before.used.v + 1);
    EXPECT_EQ(after.allocated, 1);
    REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
    after = pmm_stats(&bed->pmm);
    EXPECT_EQ(after.free.v, before.free.v);
    EXPECT_EQ(after.freed, 1);
    EXPECT_EQ(pmm_query(&bed->pmm, frame).state, PMM_STATE_FREE);
    bed_sound(bed);
}

TEST(pmm, memory_above_4_gib_is_served_first_and_again_once_it_is_free)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL && bed_starts(bed));
    struct pmm_region_stats high;
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &high));
    pfn_t frame = pfn(0), last_high = pfn(0);
    uint64_t count = 0;
    while (pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK && frame.v >= at_4g()) {
        last_high = frame;
        count++;
    }
    EXPECT(frame.v < at_4g());
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &high));
    EXPECT_EQ(high.free.v, 0);
    EXPECT(count > 7 * PMM_BLOCK_FRAMES);
    /* The current block is below now and has frames; a free above must still come first. */
    REQUIRE(pmm_free(&bed->pmm, last_high) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    EXPECT_EQ(frame.v, last_high.v);
    bed_sound(bed);
}

TEST(pmm, memory_below_1_mib_is_served_last_and_frame_0_never)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    uint64_t low = 0;
    pfn_t frame;
    for (uint64_t i = 0; i < free; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
        EXPECT(frame.v != 0);
        low += frame.v < below_1m();
        EXPECT(low == 0 || frame.v < below_1m());
    }
    EXPECT_EQ(low, 159);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(0)).state, PMM_STATE_RESERVED);
    bed_sound(bed);
}

TEST(pmm, below_1_mib_can_be_asked_for_and_ends)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame;
    for (unsigned i = 0; i < 159; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame) == STATUS_OK);
        EXPECT(frame.v > 0 && frame.v < 160);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_free(&bed->pmm, frame), STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M | PMM_USER, &frame), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, kernel_and_user_frames_come_from_different_blocks_while_there_are_others)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL && bed_starts(bed));
    uint8_t *class_of = test_pages(1);
    REQUIRE(class_of != NULL);
    struct rng rng = rng_seeded(test_seed());
    for (unsigned i = 0; i < 10 * PMM_BLOCK_FRAMES; i++) {
        pfn_t frame;
        unsigned class = rng_below(&rng, 3) == 0;
        REQUIRE(pmm_alloc(&bed->pmm, class, &frame) == STATUS_OK);
        uint8_t *seen = &class_of[frame.v / PMM_BLOCK_FRAMES - bed->first_block];
        EXPECT(*seen == 0 || *seen == class + 1);
        *seen = (uint8_t)(class + 1);
    }
    /* Metadata went to kernel blocks only: user blocks are whole. */
    for (uint64_t f = at_4g(); f < at_4g() + 8 * PMM_BLOCK_FRAMES; f++) {
        bool user = class_of[f / PMM_BLOCK_FRAMES - bed->first_block] == PMM_USER + 1;
        EXPECT(!user || pmm_query(&bed->pmm, pfn(f)).state != PMM_STATE_METADATA);
    }
    bed_sound(bed);
}

TEST(pmm, a_class_takes_from_the_other_before_it_fails)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    pfn_t user, frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &user) == STATUS_OK);
    for (uint64_t i = 1; i < free; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_free(&bed->pmm, user), STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, blocks_are_drawn_from_fullest_first)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL && bed_starts(bed));
    REQUIRE(pmm_claim(&bed->pmm, pfn(at_4g()), npages(8 * PMM_BLOCK_FRAMES)) == STATUS_OK);
    /* Block 2 with 300 free, block 5 with 10, block 6 with 100: 5, then 6, then 2. */
    static const unsigned blocks[] = {2, 5, 6}, counts[] = {300, 10, 100}, order[] = {5, 6, 2};
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        for (unsigned n = 0; n < counts[i]; n++) {
            REQUIRE(pmm_free(&bed->pmm, pfn(at_4g() + blocks[i] * PMM_BLOCK_FRAMES + n)) == STATUS_OK);
        }
    }
    bed_sound(bed);
    uint64_t last = UINT64_MAX;
    size_t next = 0;
    for (unsigned i = 0; i < 410; i++) {
        pfn_t frame;
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        uint64_t block = (frame.v - at_4g()) / PMM_BLOCK_FRAMES;
        if (block != last) {
            REQUIRE(next < ARRAY_LEN(order));
            EXPECT_EQ(block, order[next]);
            next++;
            last = block;
        }
    }
    bed_sound(bed);
}

TEST(pmm, references_are_counted_and_the_last_release_frees)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    for (unsigned i = 1; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_retain(&bed->pmm, frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_retain(&bed->pmm, frame), STATUS_LIMIT);
    EXPECT_EQ(pmm_query(&bed->pmm, frame).references, PMM_REFERENCES_MAX);
    bed_sound(bed);
    bool freed = true;
    for (unsigned i = 1; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_release(&bed->pmm, frame, &freed) == STATUS_OK);
        REQUIRE(!freed);
    }
    EXPECT_EQ(pmm_release(&bed->pmm, frame, &freed), STATUS_OK);
    EXPECT(freed);
    EXPECT_EQ(pmm_query(&bed->pmm, frame).state, PMM_STATE_FREE);
    bed_sound(bed);
}

TEST(pmm, a_promise_is_kept_when_everything_else_is_gone)
{
    struct pmm_bed *bed = low_machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(pmm_promise(&bed->pmm, npages(free + 1)), STATUS_NOMEM);
    REQUIRE(pmm_promise(&bed->pmm, npages(10)) == STATUS_OK);
    pfn_t frame;
    for (uint64_t i = 10; i < free; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(159), npages(1)), STATUS_NOMEM);
    EXPECT_EQ(pmm_stats(&bed->pmm).promised.v, 10);
    for (unsigned i = 0; i < 9; i++) {
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_PROMISED | PMM_USER, &frame), STATUS_OK);
    }
    EXPECT_EQ(pmm_unpromise(&bed->pmm, npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    bed_sound(bed);
}

TEST(pmm, a_claim_takes_exactly_its_frames_and_leaves_one_extent)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL && bed_starts(bed));
    uint64_t first = at_4g() + 4 * PMM_BLOCK_FRAMES + 100;
    struct pmm_stats before = pmm_stats(&bed->pmm);
    REQUIRE(pmm_claim(&bed->pmm, pfn(first), npages(700)) == STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + 700);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 700);
    for (uint64_t f = first - 3; f < first + 703; f++) {
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(f)).state == PMM_STATE_USED, f >= first && f < first + 700);
    }
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(at_4g() + PMM_BLOCK_FRAMES)).state, PMM_STATE_UNTOUCHED);
    bed_sound(bed);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(first - 1), npages(2)), STATUS_EXISTS);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(at_4g() + 8 * PMM_BLOCK_FRAMES - 1), npages(2)), STATUS_ABSENT);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(first), npages(0)), STATUS_INVALID);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(5), npages(UINT64_MAX)), STATUS_INVALID);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + 700);
    /* Everything else is still there to be had, the skipped blocks too. */
    pfn_t frame;
    for (uint64_t i = 700; i < before.free.v; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
        REQUIRE(frame.v < first || frame.v >= first + 700);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_NOMEM);
    bed_sound(bed);
}

TEST(pmm, reserved_frames_can_be_given_back_used_blocks_or_not)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL);
    uint64_t low = at_4g() - 16 * PMM_BLOCK_FRAMES, high = at_4g() + 3 * PMM_BLOCK_FRAMES;
    bed_hold(bed, low, 5, HOLD_USED);
    bed_hold(bed, low + 5, 5, HOLD_RESERVED);
    bed_hold(bed, high, 600, HOLD_RESERVED);
    bed->hold_capacity = 3;
    REQUIRE(bed_starts(bed));
    struct pmm_stats before = pmm_stats(&bed->pmm);
    EXPECT_EQ(before.reserved.v, 605);
    EXPECT_EQ(before.used.v, 5);
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(low + 5), npages(5)), STATUS_OK);
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(high + 510), npages(10)), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v + 15);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(high + 509)).state, PMM_STATE_RESERVED);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(high + 510)).state, PMM_STATE_UNTOUCHED);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(low + 7)).state, PMM_STATE_FREE);
    bed_sound(bed);
    /* Two holds are left and room for three: one more split, then the limit. */
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(high + 100), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(high + 50), npages(1)), STATUS_LIMIT);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(high + 50)).state, PMM_STATE_RESERVED);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(high + 100), npages(1)), STATUS_OK);
    /* Its block is open now: no list is needed any more. */
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(high + 50), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, before.reserved.v - 17);
    bed_sound(bed);
}

TEST(pmm, a_pair_of_alloc_and_free_moves_no_block_at_any_count)
{
    struct pmm_bed *bed = machine_around_4g();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame, keep;
    for (unsigned i = 0; i < 2 * PMM_BLOCK_FRAMES - 3; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &keep) == STATUS_OK);
        EXPECT_EQ(keep.v, frame.v);
    }
    bed_sound(bed);
}
