/*
 * Whole blocks and one CPU: what was freed a block at a time is ready for the next who wants a block, and is free for
 * everybody else all the same.
 */
#include "unit/pmm_runs_bed.h"

#include "pmm/pmm_pressure.h"

enum { FIELD_BLOCKS = 8, PAIRS = 5 };

/* Blocks [0, PAIRS) of the field are runs of one block each, all other frames are used. */
static struct pmm_bed *bed_with_runs(uint64_t runs[PAIRS])
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 1);
    if (bed == NULL || !EXPECT_EQ(free_run(bed, FIELD, PAIRS * BLOCK), STATUS_OK)) {
        return NULL;
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        pfn_t first = pfn(0);
        if (!EXPECT_EQ(any_run(bed, BLOCK, &first), STATUS_OK)) {
            return NULL;
        }
        runs[i] = first.v;
    }
    return EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0) && bed_sound(bed) ? bed : NULL;
}

TEST(pmm_run_cache, pairs_of_whole_blocks_keep_every_total)
{
    uint64_t runs[PAIRS];
    struct pmm_bed *bed = bed_with_runs(runs);
    REQUIRE(bed != NULL);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 1; n <= PAIRS; n++) {
            for (unsigned i = 0; i < n; i++) {
                REQUIRE(free_run(bed, runs[i], BLOCK) == STATUS_OK && expect_free(bed, runs[i], BLOCK));
                EXPECT_EQ(pmm_stats(&bed->pmm).free.v, (i + 1) * BLOCK);
                EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v - (i + 1) * BLOCK);
                REQUIRE(bed_sound(bed));
            }
            for (unsigned i = 0; i < n; i++) {
                pfn_t first;
                REQUIRE(pmm_alloc_run(&bed->pmm, i % 2, npages(BLOCK), npages(BLOCK), npages(0), PMM_NO_LIMIT,
                                      &first) == STATUS_OK);
                REQUIRE(expect_used(bed, first.v, BLOCK) && frame_state(bed, first.v + 9) == PMM_STATE_RUN);
                runs[i] = first.v;
                REQUIRE(bed_sound(bed));
            }
            pfn_t none;
            EXPECT_REFUSED(bed, any_run(bed, BLOCK, &none), STATUS_NOMEM);
        }
    }
    struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT_EQ(after.used.v, before.used.v);
    EXPECT_EQ(after.allocated - before.allocated, after.freed - before.freed);
}

TEST(pmm_run_cache, a_block_that_came_back_is_nobodys)
{
    uint64_t runs[PAIRS];
    struct pmm_bed *bed = bed_with_runs(runs);
    REQUIRE(bed != NULL && free_run(bed, runs[2], BLOCK) == STATUS_OK);
    uint64_t frame = runs[2] + 100;
    pfn_t one = pfn(frame);
    EXPECT_REFUSED(bed, free_run(bed, runs[2], BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, frame, 1), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, runs[2], 10), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_free(&bed->pmm, one), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &one, npages(1), NULL), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, one), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_release(&bed->pmm, one, NULL), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, one, npages(1)), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, one), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_give_back(&bed->pmm, one, npages(1)), STATUS_MISUSE);
    test_expect_reports(10);
}

TEST(pmm_run_cache, a_range_that_is_no_block_is_not_taken_for_one)
{
    uint64_t runs[PAIRS];
    struct pmm_bed *bed = bed_with_runs(runs);
    REQUIRE(bed != NULL);
    EXPECT_REFUSED(bed, free_run(bed, FIELD + 10, BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, FIELD + BLOCK - 1, BLOCK), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, FIELD, BLOCK + 1), STATUS_MISUSE);
    EXPECT_REFUSED(bed, free_run(bed, FIELD, 2 * BLOCK), STATUS_MISUSE);
    REQUIRE(free_run(bed, FIELD + BLOCK, BLOCK - 1) == STATUS_OK);
    EXPECT_REFUSED(bed, free_run(bed, FIELD + BLOCK, BLOCK), STATUS_MISUSE);
    expect_used(bed, FIELD, BLOCK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(FIELD + 2 * BLOCK - 1)), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, BLOCK);
    bed_sound(bed);
    test_expect_reports(5);
}

TEST(pmm_run_cache, the_first_block_of_a_longer_run_leaves_a_run_behind)
{
    uint64_t runs[PAIRS];
    struct pmm_bed *bed = bed_with_runs(runs);
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < PAIRS; i++) {
        REQUIRE(free_run(bed, FIELD + i * BLOCK, BLOCK) == STATUS_OK);
    }
    pfn_t run, again, none;
    REQUIRE(any_run(bed, PAIRS * BLOCK, &run) == STATUS_OK && run.v == FIELD);
    for (unsigned i = 0; i < PAIRS - 1; i++) { /* block by block, each taken anew before the next goes */
        REQUIRE(free_run(bed, FIELD + i * BLOCK, BLOCK) == STATUS_OK && bed_sound(bed));
        REQUIRE(any_run(bed, BLOCK, &again) == STATUS_OK && again.v == FIELD + i * BLOCK);
        EXPECT_REFUSED(bed, free_run(bed, again.v, 2 * BLOCK), STATUS_MISUSE);
        expect_report("pmm_free_run", again.v + BLOCK, PMM_STATE_RUN);
    }
    EXPECT_REFUSED(bed, any_run(bed, BLOCK, &none), STATUS_NOMEM);
    for (unsigned i = 0; i < PAIRS; i++) {
        EXPECT_EQ(free_run(bed, FIELD + i * BLOCK, BLOCK), STATUS_OK);
    }
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, PAIRS * BLOCK);
    bed_sound(bed);
    test_expect_reports(PAIRS - 1);
}

TEST(pmm_run_cache, blocks_that_came_back_serve_everybody)
{
    enum { WAYS = 8 };
    for (unsigned way = 0; way < WAYS; way++) {
        uint64_t runs[PAIRS];
        struct pmm_bed *bed = bed_with_runs(runs);
        pfn_t *frames = frames_for(2 * BLOCK), first;
        REQUIRE(bed != NULL && frames != NULL);
        REQUIRE(free_run(bed, FIELD, BLOCK) == STATUS_OK && free_run(bed, FIELD + BLOCK, BLOCK) == STATUS_OK);
        unsigned owner;
        REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
        switch (way) {
        case 0: EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 2 * BLOCK); break;
        case 1: EXPECT_EQ(bed_take_all(bed, PMM_USER), 2 * BLOCK); break;
        case 2: EXPECT_EQ(bed_take_all(bed, PMM_OWNER(owner)), 2 * BLOCK); break;
        case 3: EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_USER, frames, npages(2 * BLOCK)), STATUS_OK); break;
        case 4: EXPECT(any_run(bed, 2 * BLOCK, &first) == STATUS_OK && first.v == FIELD); break;
        case 5: EXPECT_EQ(pmm_claim(&bed->pmm, pfn(FIELD), npages(2 * BLOCK)), STATUS_OK); break;
        case 6:
            EXPECT_EQ(pmm_promise(&bed->pmm, npages(2 * BLOCK)), STATUS_OK);
            EXPECT_REFUSED(bed, any_run(bed, BLOCK, &first), STATUS_NOMEM);
            EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
            EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_PROMISED, frames, npages(2 * BLOCK)), STATUS_OK);
            break;
        default:
            pmm_drain(&bed->pmm);
            EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
            EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 2 * BLOCK);
            EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 2 * BLOCK);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
    }
}

TEST(pmm_run_cache, a_promise_outlives_pairs_of_whole_blocks)
{
    uint64_t runs[PAIRS];
    struct pmm_bed *bed = bed_with_runs(runs);
    pfn_t first, frame;
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(free_run(bed, runs[i], BLOCK) == STATUS_OK);
    }
    REQUIRE(pmm_promise(&bed->pmm, npages(2 * BLOCK)) == STATUS_OK);
    for (unsigned i = 0; i < 4; i++) { /* one block is free for all */
        REQUIRE(any_run(bed, BLOCK, &first) == STATUS_OK);
        EXPECT_REFUSED(bed, any_run(bed, BLOCK, &first), STATUS_NOMEM);
        REQUIRE(free_run(bed, first.v, BLOCK) == STATUS_OK);
    }
    REQUIRE(any_run(bed, BLOCK, &first) == STATUS_OK);
    for (unsigned i = 0; i < 2 * BLOCK; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_PROMISED, &frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    bed_sound(bed);
}
