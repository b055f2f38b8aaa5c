/*
 * Where the PMM's own memory comes from: the earmark, who pays, regions left out, a backing that fails, and
 * configurations that are refused.
 */
#include "unit/pmm_model.h"

/* Blocks [8, 16), all RAM, one region: two pages of states, one of descriptors. */
static struct pmm_bed *eight_blocks(unsigned levels)
{
    struct pmm_bed *bed = bed_new(NULL, 8, 16, levels);
    if (bed != NULL) {
        bed_run(bed, 8 * PMM_BLOCK_FRAMES, 8 * PMM_BLOCK_FRAMES);
    }
    return bed;
}

TEST(pmm, start_touches_nothing_and_earmarks_what_all_blocks_will_need)
{
    struct pmm_bed *bed = eight_blocks(0);
    REQUIRE(bed != NULL && bed_starts(bed));
    EXPECT_EQ(bed->backs, 0);
    EXPECT_EQ(bed->backed.count, 0);
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.earmarked.v, 3);
    EXPECT_EQ(s.metadata.v, 0);
    EXPECT_EQ(s.free.v, 8 * PMM_BLOCK_FRAMES - 3);
    EXPECT_EQ(s.untouched.v, s.free.v);
}

TEST(pmm, opening_blocks_takes_exactly_the_missing_frames_and_the_earmark_ends_at_zero)
{
    for (unsigned levels = 0; levels <= PMM_TABLE_LEVELS_MAX; levels++) {
        struct pmm_bed *bed = eight_blocks(levels);
        REQUIRE(bed != NULL && bed_starts(bed));
        uint64_t all = pmm_stats(&bed->pmm).earmarked.v, free = pmm_stats(&bed->pmm).free.v;
        EXPECT(all >= 3 + levels);
        pfn_t frame;
        for (uint64_t i = 0; i < free; i++) {
            REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
            struct pmm_stats s = pmm_stats(&bed->pmm);
            REQUIRE(s.metadata.v == bed->frames_taken && s.earmarked.v == all - bed->frames_taken);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).earmarked.v, 0);
        EXPECT_EQ(bed->frames_taken, all);
        EXPECT_EQ(bed->backed.count, all);
        bed_sound(bed);
    }
}

TEST(pmm, what_the_boot_has_backed_is_not_earmarked_again)
{
    struct pmm_bed *bed = eight_blocks(2);
    REQUIRE(bed != NULL);
    bed_hold(bed, 12 * PMM_BLOCK_FRAMES + 3, 2, HOLD_USED);
    bed_hold(bed, 12 * PMM_BLOCK_FRAMES + 5, 6, HOLD_METADATA);
    REQUIRE(bed_starts(bed));
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.earmarked.v, 1); /* the other page of states */
    EXPECT_EQ(s.metadata.v, 6);
    EXPECT_EQ(s.used.v, 2);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(12 * PMM_BLOCK_FRAMES + 5)).state, PMM_STATE_METADATA);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(12 * PMM_BLOCK_FRAMES + 3)), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, tables_that_others_have_made_at_the_ends_are_not_earmarked)
{
    struct pmm_bed *bed = eight_blocks(2);
    REQUIRE(bed != NULL && bed_starts(bed));
    uint64_t all = pmm_stats(&bed->pmm).earmarked.v;
    struct pmm_bed *other = eight_blocks(2);
    REQUIRE(other != NULL);
    /*
     * The same machine, but the tables above its first page exist: the number of tables may differ by where the bed's
     * memory lies.
     */
    uint64_t without = 0;
    const void *ends[] = {&other->states[8 * PMM_BLOCK_FRAMES], &other->blocks[8]};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        without += bed_set_add(&other->backed, bed_unit(ends[i], 1));
        without += bed_set_add(&other->backed, bed_unit(ends[i], 2));
    }
    REQUIRE(bed_starts(other));
    struct pmm_model *model = model_new(other);
    REQUIRE(model != NULL);
    EXPECT(without >= 2 && all >= 5);
    model_agrees(model);
}

TEST(pmm, user_blocks_stay_whole_since_kernel_blocks_pay)
{
    struct pmm_bed *bed = eight_blocks(2);
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame;
    for (unsigned i = 0; i < 6 * PMM_BLOCK_FRAMES; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    }
    unsigned with_metadata = 0;
    for (uint64_t block = 8; block < 16; block++) {
        bool found = false;
        for (uint64_t f = block * PMM_BLOCK_FRAMES; f < (block + 1) * PMM_BLOCK_FRAMES; f++) {
            found = found || pmm_query(&bed->pmm, pfn(f)).state == PMM_STATE_METADATA;
        }
        with_metadata += found;
    }
    EXPECT_EQ(with_metadata, 1);
}

TEST(pmm, user_frames_pay_when_no_others_can)
{
    struct pmm_bed *bed = eight_blocks(0);
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t user, frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &user) == STATUS_OK);
    uint64_t user_block = user.v / PMM_BLOCK_FRAMES;
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES - 2; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        REQUIRE(frame.v / PMM_BLOCK_FRAMES != user_block);
    }
    /* All of a block whose page of states is not there: it cannot pay for itself, and no kernel frame is left. */
    uint64_t backs = bed->backs;
    REQUIRE(pmm_claim(&bed->pmm, pfn(14 * PMM_BLOCK_FRAMES), npages(PMM_BLOCK_FRAMES)) == STATUS_OK);
    EXPECT_EQ(bed->backs, backs + 1);
    uint64_t paid = 0;
    for (uint64_t f = user_block * PMM_BLOCK_FRAMES; f < (user_block + 1) * PMM_BLOCK_FRAMES; f++) {
        paid += pmm_query(&bed->pmm, pfn(f)).state == PMM_STATE_METADATA;
    }
    EXPECT_EQ(paid, 1);
    bed_sound(bed);
}

TEST(pmm, blocks_too_poor_to_pay_for_themselves_are_opened_together)
{
    struct pmm_bed *bed = bed_new(NULL, 128, 256, 2);
    REQUIRE(bed != NULL);
    /* 128 blocks with one free frame each: 33 pages, and at least two tables. */
    bed_run(bed, 128 * PMM_BLOCK_FRAMES, 128 * PMM_BLOCK_FRAMES);
    for (uint64_t block = 128; block < 256; block++) {
        bed_hold(bed, block * PMM_BLOCK_FRAMES + 1, PMM_BLOCK_FRAMES - 1, HOLD_RESERVED);
    }
    REQUIRE(bed_starts(bed));
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT(free <= 128 - 33 - 2);
    pfn_t frame;
    for (uint64_t i = 0; i < free; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        REQUIRE(frame.v % PMM_BLOCK_FRAMES == 0);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_stats(&bed->pmm).earmarked.v, 0);
    bed_sound(bed);
}

TEST(pmm, blocks_opened_together_pay_each_for_itself_where_a_run_is_in_two_of_them)
{
    struct pmm_bed *bed = bed_new(NULL, 128, 256, 2);
    REQUIRE(bed != NULL);
    for (uint64_t block = 129; block < 256; block++) { /* the last frame of a block and the first of the next */
        bed_run(bed, block * PMM_BLOCK_FRAMES - 1, 2);
    }
    REQUIRE(bed_starts(bed));
    pfn_t frame;
    for (uint64_t free = pmm_stats(&bed->pmm).free.v; free > 0; free--) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        bed_sound(bed);
    }
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_NOMEM);
    EXPECT_EQ(pmm_stats(&bed->pmm).earmarked.v, 0);
    bed_sound(bed);
}

TEST(pmm, all_that_is_free_can_be_claimed_at_once)
{
    for (unsigned levels = 0; levels <= PMM_TABLE_LEVELS_MAX; levels++) {
        struct pmm_bed *bed = eight_blocks(levels);
        REQUIRE(bed != NULL && bed_starts(bed));
        npages_t free = pmm_stats(&bed->pmm).free;
        EXPECT_EQ(pmm_claim(&bed->pmm, pfn(8 * PMM_BLOCK_FRAMES), npages(free.v + 1)), STATUS_NOMEM);
        EXPECT_EQ(bed->backs, 0);
        REQUIRE(pmm_claim(&bed->pmm, pfn(8 * PMM_BLOCK_FRAMES), free) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        EXPECT_EQ(pmm_stats(&bed->pmm).earmarked.v, 0);
        bed_sound(bed);
    }
}

TEST(pmm, a_region_that_costs_what_it_holds_is_left_out)
{
    struct pmm_bed *bed = eight_blocks(0);
    REQUIRE(bed != NULL);
    bed->end_block = 128;
    bed_run(bed, 40 * PMM_BLOCK_FRAMES + 9, 1); /* one frame, one page of states */
    REQUIRE(bed_starts(bed));
    uint64_t frame = 40 * PMM_BLOCK_FRAMES + 9;
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.regions, 2);
    EXPECT_EQ(s.reserved.v, 1);
    EXPECT_EQ(s.earmarked.v, 3);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame)).state, PMM_STATE_RESERVED);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame + 1)).state, PMM_STATE_ABSENT);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(frame), npages(1)), STATUS_EXISTS);
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(frame), npages(1)), STATUS_NOMEM); /* reserved it is: no misuse */
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(frame + 1), npages(1)), STATUS_MISUSE);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(frame)), STATUS_MISUSE);
    struct pmm_region_stats r;
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
    EXPECT_EQ(r.base.v, frame);
    EXPECT_EQ(r.frames.v, 1);
    EXPECT_EQ(r.free.v, 0);
    EXPECT(!pmm_region_stats(&bed->pmm, 2, &r));
    test_expect_reports(2);
    bed_sound(bed);
}

TEST(pmm, a_tiny_region_is_kept_when_its_pages_are_shared_or_in_use)
{
    struct pmm_bed *bed = eight_blocks(0);
    REQUIRE(bed != NULL);
    bed->runs[0].frames = npages(6 * PMM_BLOCK_FRAMES);
    bed_run(bed, 15 * PMM_BLOCK_FRAMES + 4, 1);  /* shares the page of states of block 12 */
    bed_run(bed, 40 * PMM_BLOCK_FRAMES + 9, 1);  /* costs a page, but is in use */
    bed_hold(bed, 40 * PMM_BLOCK_FRAMES + 9, 1, HOLD_USED);
    REQUIRE(bed_starts(bed));
    EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, 0);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(15 * PMM_BLOCK_FRAMES + 4), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(40 * PMM_BLOCK_FRAMES + 9)), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, held_regions_are_left_out_when_free_memory_cannot_pay_for_them)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 128, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 8 * PMM_BLOCK_FRAMES, 5);
    bed_run(bed, 16 * PMM_BLOCK_FRAMES, 64 * PMM_BLOCK_FRAMES); /* 16 pages of states, all of it held */
    bed_hold(bed, 16 * PMM_BLOCK_FRAMES, 64 * PMM_BLOCK_FRAMES, HOLD_RESERVED);
    REQUIRE(bed_starts(bed));
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 3);
    EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, 64 * PMM_BLOCK_FRAMES);
    /* Nothing free at all: nothing to manage. */
    bed->hold_count = 0;
    bed_hold(bed, 8 * PMM_BLOCK_FRAMES, 5, HOLD_USED);
    bed_hold(bed, 16 * PMM_BLOCK_FRAMES, 1, HOLD_USED);
    bed_hold(bed, 16 * PMM_BLOCK_FRAMES + 1, 64 * PMM_BLOCK_FRAMES - 1, HOLD_RESERVED);
    EXPECT_EQ(bed_start(bed), STATUS_NOMEM);
}

TEST(pmm, a_backing_that_fails_stops_opening_but_not_serving)
{
    struct pmm_bed *bed = eight_blocks(0);
    REQUIRE(bed != NULL);
    bed->fail_at = 3; /* the second page of states */
    REQUIRE(bed_starts(bed));
    pfn_t frame = pfn(0), last = pfn(0);
    uint64_t count = 0;
    enum status s;
    while ((s = pmm_alloc(&bed->pmm, PMM_KERNEL, &frame)) == STATUS_OK) {
        REQUIRE(frame.v < 12 * PMM_BLOCK_FRAMES);
        last = frame;
        count++;
    }
    EXPECT_EQ(s, STATUS_CORRUPT);
    EXPECT(count > 4 * PMM_BLOCK_FRAMES - 4);
    EXPECT_EQ(test_reports(), 1);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_CORRUPT);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(15 * PMM_BLOCK_FRAMES), npages(1)), STATUS_CORRUPT);
    EXPECT_EQ(pmm_free(&bed->pmm, last), STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_OK);
    EXPECT_EQ(frame.v, last.v);
    EXPECT_EQ(pmm_check(&bed->pmm, NULL), STATUS_CORRUPT);
    test_expect_reports(1);
}

TEST(pmm, a_backing_that_asks_for_too_much_is_refused)
{
    struct pmm_bed *bed = eight_blocks(1);
    REQUIRE(bed != NULL && bed_starts(bed));
    bed->lies = true;
    pfn_t frame;
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_CORRUPT);
    EXPECT_EQ(bed->backs, 0);
    test_expect_reports(1);
}

static enum status start_with(struct pmm_bed *bed, void (*change)(struct pmm_bed *bed, struct pmm_config *config))
{
    struct pmm_config config = bed_config(bed);
    change(bed, &config);
    return pmm_init(&bed->pmm, &config);
}

static void no_runs(struct pmm_bed *bed, struct pmm_config *c) { (void)bed, c->run_count = 0; }
static void empty_run(struct pmm_bed *bed, struct pmm_config *c) { (void)c, bed->runs[0].frames = npages(0); }
static void touching_runs(struct pmm_bed *bed, struct pmm_config *c)
{
    bed->runs[0] = (struct frame_run){pfn(8 * PMM_BLOCK_FRAMES), npages(8)};
    bed->runs[1] = (struct frame_run){pfn(8 * PMM_BLOCK_FRAMES + 8), npages(8)};
    c->run_count = 2;
}
static void wrapping_run(struct pmm_bed *bed, struct pmm_config *c)
{
    (void)c, bed->runs[0].frames = npages(UINT64_MAX);
}
static void hold_outside(struct pmm_bed *bed, struct pmm_config *c)
{
    bed->runs[0] = (struct frame_run){pfn(8 * PMM_BLOCK_FRAMES), npages(100)};
    bed->holds[0] = (struct frame_hold){pfn(8 * PMM_BLOCK_FRAMES + 99), 2, HOLD_RESERVED};
    c->run_count = c->hold_count = 1;
}
static void holds_overlap(struct pmm_bed *bed, struct pmm_config *c)
{
    bed->holds[0] = (struct frame_hold){pfn(8 * PMM_BLOCK_FRAMES), 10, HOLD_RESERVED};
    bed->holds[1] = (struct frame_hold){pfn(8 * PMM_BLOCK_FRAMES + 9), 10, HOLD_RESERVED};
    c->hold_count = 2;
}
static void too_many_holds(struct pmm_bed *bed, struct pmm_config *c)
{
    holds_overlap(bed, c);
    c->hold_count = 1;
    c->hold_capacity = 0;
}
static void used_but_not_backed(struct pmm_bed *bed, struct pmm_config *c)
{
    bed->holds[0] = (struct frame_hold){pfn(8 * PMM_BLOCK_FRAMES), 10, HOLD_USED};
    c->hold_count = 1;
}
static void crooked_array(struct pmm_bed *bed, struct pmm_config *c) { c->states = bed->states + 1; }
static void arrays_in_one(struct pmm_bed *bed, struct pmm_config *c)
{
    /* Block 8's descriptor would lie in the first page of states in use. */
    c->blocks = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(&bed->states[8 * PMM_BLOCK_FRAMES])));
}
static void deep_tables(struct pmm_bed *bed, struct pmm_config *c) { (void)bed, c->backing.table_levels = 3; }

TEST(pmm, a_configuration_that_is_not_as_agreed_is_refused)
{
    static void (*const changes[])(struct pmm_bed *, struct pmm_config *) = {
        no_runs,        empty_run,           touching_runs, wrapping_run,  hold_outside, holds_overlap,
        too_many_holds, used_but_not_backed, crooked_array, arrays_in_one, deep_tables};
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct pmm_bed *bed = eight_blocks(0);
        REQUIRE(bed != NULL);
        if (!EXPECT_EQ(start_with(bed, changes[i]), STATUS_INVALID)) {
            test_note("change %zu", i);
        }
    }
}

TEST(pmm, runs_that_touch_one_block_make_one_region)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 16, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 10, 100);
    bed_run(bed, 200, 400); /* into block 1 */
    bed_run(bed, 1023, 1);  /* in block 1 */
    bed_run(bed, 1536, 512); /* block 3: another region */
    bed_run(bed, 2048, 4);  /* block 4: touches no block of block 3's region; but runs must not touch */
    bed->runs[4].first = pfn(2049);
    EXPECT_EQ(pmm_count_regions(bed->runs, bed->run_count), 3);
    EXPECT_EQ(pmm_count_regions(bed->runs, 0), 0);
    bed->region_capacity = 2;
    EXPECT_EQ(bed_start(bed), STATUS_LIMIT);
    bed->region_capacity = 3;
    REQUIRE(bed_starts(bed));
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 3);
}
