/*
 * Frames that a magazine gave out: their code says so, and takes them back without a look at their block, where this
 * CPU may trust it, and nowhere else.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 200, FIRST = BASE * PMM_BLOCK_FRAMES, BLOCK = PMM_BLOCK_FRAMES };

static struct pmm_bed *machine(size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + BLOCKS, 0);
    if (bed != NULL) {
        bed_run(bed, FIRST, BLOCKS * BLOCK);
        some_cpus(bed, cpus);
        if (!starts(bed)) {
            return NULL;
        }
    }
    return bed;
}

static unsigned code_of(const struct pmm_bed *bed, uint64_t frame) { return bed->states[frame]; }

static bool trusts(const struct pmm_bed *bed, uint64_t frame)
{
    return frame - bed->cpus[0].drawn_first < bed->cpus[0].drawn_count;
}

static void claim_block(struct pmm_bed *bed, uint64_t block)
{
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(FIRST + block * BLOCK), npages(1)), STATUS_OK);
}

TEST(pmm, a_frame_says_of_which_class_the_magazine_was_that_gave_it_and_goes_back_there)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        uint64_t frame = take_one(bed, class);
        EXPECT_EQ(code_of(bed, frame), CODE_DRAWN + class);
        EXPECT(trusts(bed, frame));
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame)).references, 1);
        /* Its block serves the other class by now. */
        struct pmm_block *b = &bed->blocks[block_of(frame)];
        b->lane ^= LANE_CLASS;
        unsigned count = magazine_count(&bed->cpus[0].loaded[class]);
        free_one(bed, frame);
        EXPECT_EQ(magazine_count(&bed->cpus[0].loaded[class]), count + 1);
        EXPECT_EQ(state_of(bed, frame), PMM_STATE_CACHED);
        b->lane ^= LANE_CLASS;
    }
    bed_sound(bed);
}

TEST(pmm, every_call_knows_a_frame_that_a_magazine_gave_as_used_once)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    uint64_t one = take_one(bed, PMM_USER), two = take_one(bed, PMM_USER), zero = take_one(bed, PMM_USER);
    uint64_t bad = take_one(bed, PMM_USER), many = take_one(bed, PMM_USER), run = take_one(bed, PMM_USER);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    bool freed = false;
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(one)), STATUS_OK);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(one)).references, 2);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(one), &freed), STATUS_OK);
    EXPECT(!freed && code_of(bed, one) == CODE_SHARED_ONCE);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(one), &freed), STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(two), &freed), STATUS_OK);
    EXPECT(freed);
    EXPECT_EQ(pmm_zero_frame_set(&bed->pmm, pfn(zero)), STATUS_OK);
    EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(bad)), STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(bad)), STATUS_OK);
    EXPECT_EQ(state_of(bed, bad), PMM_STATE_BAD);
    EXPECT_EQ(pmm_free_many(&bed->pmm, &(pfn_t){many}, npages(1), NULL), STATUS_OK);
    EXPECT_EQ(pmm_split_run(&bed->pmm, pfn(run), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(run), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free + 4);
    bed_sound(bed);
    EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(two)), "pmm_free: ");
    EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(zero)), "pmm_free: ", "the zero frame");
}

TEST(pmm, a_code_in_a_block_never_used_gives_nothing_to_a_magazine)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    claim_block(bed, 9); /* and so the codes of the two blocks right below it are there */
    claim_block(bed, 10);
    free_one(bed, frame);
    for (uint64_t block = 8; block < 12; block++) {
        uint64_t within = FIRST + block * BLOCK + 5;
        EXPECT(!trusts(bed, within) || bed->blocks[block_of(within)].mode == PMM_BLOCK_OPEN);
    }
    uint64_t beside = FIRST + 8 * BLOCK + 5;
    bed->states[beside] = CODE_DRAWN_LAST; /* what was there before the page was theirs */
    EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(beside)), "pmm_free: ", "never used");
}

TEST(pmm, a_cpu_trusts_all_blocks_between_two_gaps_and_with_many_gaps_one_block)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    for (uint64_t gap = 1; gap <= 6; gap++) {
        claim_block(bed, gap * 20);
        claim_block(bed, gap * 20 + 1);
        bed->cpus[0].drawn_count = 0;
        free_one(bed, FIRST + gap * 20 * BLOCK);     /* finds its way through the block, */
        pmm_drain(&bed->pmm);                        /* as does what follows a drain */
        free_one(bed, FIRST + (gap * 20 + 1) * BLOCK);
        bed->cpus[0].known_count = 0;
        EXPECT_EQ(pmm_claim(&bed->pmm, pfn(FIRST + gap * 20 * BLOCK), npages(1)), STATUS_OK);
        free_one(bed, FIRST + gap * 20 * BLOCK);
        EXPECT(trusts(bed, FIRST + gap * 20 * BLOCK));
        EXPECT_EQ(bed->cpus[0].drawn_count, gap <= 2 ? 2 * BLOCK : BLOCK);
        bed_sound(bed);
    }
    free_one(bed, frame);
    bed_sound(bed);
}
