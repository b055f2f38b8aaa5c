/*
 * Loose frames: free, carved, and on no stack (docs/design/0013-loose-frames.md). Whatever was taken out of a block's
 * middle, the rest of it is had, each frame once.
 */
#include "pmm/codes.h"
#include "unit/pmm_bed.h"

enum { B = 64, F = B * PMM_BLOCK_FRAMES }; /* above 16 MiB: one zone */

/* One block of which every frame is in use, and the others wholly so; no magazines. */
static struct pmm_bed *all_used(void)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 8, 0);
    pfn_t frame;
    if (bed == NULL) {
        return NULL;
    }
    bed_run(bed, F, 4 * PMM_BLOCK_FRAMES);
    if (!bed_starts(bed)) {
        return NULL;
    }
    while (pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK) {
    }
    return bed;
}

/* Frames of block 3 that are free: each can be had exactly once, and nothing else. */
static bool had_exactly(struct pmm_bed *bed, const bool free[PMM_BLOCK_FRAMES])
{
    bool had[PMM_BLOCK_FRAMES] = {false}, ok = true;
    pfn_t frame;
    while (pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK) {
        uint64_t index = frame.v - (F + 3 * PMM_BLOCK_FRAMES);
        ok = EXPECT(index < PMM_BLOCK_FRAMES) && EXPECT(free[index] && !had[index]) && ok;
        had[index % PMM_BLOCK_FRAMES] = true;
        ok = bed_sound(bed) && ok;
    }
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) {
        ok = EXPECT_EQ(had[i], free[i]) && ok;
    }
    return ok;
}

TEST(pmm_loose, what_a_claim_leaves_of_a_stack_is_had_each_frame_once)
{
    static const unsigned claims[][2] = {{0, 1}, {511, 1}, {63, 2}, {64, 64}, {100, 300}, {1, 510}};
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        struct pmm_bed *bed = all_used();
        REQUIRE(bed != NULL);
        bool free[PMM_BLOCK_FRAMES] = {false};
        uint64_t first = F + 3 * PMM_BLOCK_FRAMES, low = claims[i][0], high = low + claims[i][1];
        for (unsigned k = 0; k < PMM_BLOCK_FRAMES; k++) { /* every frame that is claimed, and a third of the others */
            unsigned index = k * 131 % PMM_BLOCK_FRAMES;
            if (index % 3 == 0 || (index >= low && index < high)) {
                REQUIRE(pmm_free(&bed->pmm, pfn(first + index)) == STATUS_OK);
                free[index] = index < low || index >= high;
            }
        }
        REQUIRE(pmm_claim(&bed->pmm, pfn(first + low), npages(high - low)) == STATUS_OK);
        EXPECT_EQ(bed->blocks[B + 3].top, 0);
        EXPECT(bed_sound(bed));
        EXPECT(had_exactly(bed, free));
    }
}

TEST(pmm_loose, frames_freed_after_a_claim_are_had_before_the_loose_ones_and_all_of_both)
{
    struct pmm_bed *bed = all_used();
    REQUIRE(bed != NULL);
    bool free[PMM_BLOCK_FRAMES] = {false};
    uint64_t first = F + 3 * PMM_BLOCK_FRAMES;
    for (unsigned i = 10; i < 200; i += 7) {
        REQUIRE(pmm_free(&bed->pmm, pfn(first + i)) == STATUS_OK);
        free[i] = true;
    }
    REQUIRE(pmm_claim(&bed->pmm, pfn(first + 17), npages(1)) == STATUS_OK);
    free[17] = false;
    REQUIRE(pmm_free(&bed->pmm, pfn(first + 300)) == STATUS_OK);
    REQUIRE(pmm_free(&bed->pmm, pfn(first + 17)) == STATUS_OK);
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_EQ(frame.v, first + 17);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_EQ(frame.v, first + 300);
    EXPECT(had_exactly(bed, free));
}

TEST(pmm_loose, a_run_finds_loose_frames_and_leaves_the_others_loose)
{
    struct pmm_bed *bed = all_used();
    REQUIRE(bed != NULL);
    bool free[PMM_BLOCK_FRAMES] = {false};
    uint64_t first = F + 3 * PMM_BLOCK_FRAMES;
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) {
        if (i % 2 == 1 || (i >= 200 && i < 300)) {
            REQUIRE(pmm_free(&bed->pmm, pfn(first + i)) == STATUS_OK);
            free[i] = true;
        }
    }
    static const unsigned lengths[] = {70, 25, 2};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        pfn_t run;
        npages_t n = npages(lengths[i]);
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, npages(1), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
        for (uint64_t f = run.v; f < run.v + n.v; f++) {
            REQUIRE(f >= first && EXPECT(free[f - first]));
            free[f - first] = false;
        }
        EXPECT(bed_sound(bed));
    }
    EXPECT(had_exactly(bed, free));
}

TEST(pmm_loose, a_loose_frame_whose_code_was_overwritten_closes_its_block_when_it_is_missed)
{
    struct pmm_bed *bed = all_used();
    REQUIRE(bed != NULL);
    uint64_t first = F + 3 * PMM_BLOCK_FRAMES;
    for (unsigned i = 100; i < 104; i++) {
        REQUIRE(pmm_free(&bed->pmm, pfn(first + i)) == STATUS_OK);
    }
    REQUIRE(pmm_claim(&bed->pmm, pfn(first + 100), npages(1)) == STATUS_OK);
    bed->states[first + 102] = CODE_LAST + 1;
    pfn_t frame;
    unsigned had = 0;
    test_expect_reports(1);
    while (pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK) {
        EXPECT(frame.v == first + 101 || frame.v == first + 103);
        had++;
    }
    EXPECT_EQ(had, 2);
    EXPECT_EQ(bed->blocks[B + 3].mode, PMM_BLOCK_CLOSED);
}

TEST(pmm_loose, frames_with_very_many_references_beside_loose_ones_are_not_taken_for_free)
{
    struct pmm_bed *bed = all_used();
    REQUIRE(bed != NULL);
    bool free[PMM_BLOCK_FRAMES] = {false};
    uint64_t first = F + 3 * PMM_BLOCK_FRAMES;
    static const unsigned many[] = {2, 5, 21, 70, 100, 447}; /* in eighths with a loose frame, and in one without */
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        for (unsigned k = 1; k < CODE_LIKE_FREE + 40; k++) { /* a count that looks like a free code */
            REQUIRE(pmm_retain(&bed->pmm, pfn(first + many[i])) == STATUS_OK);
        }
    }
    static const unsigned loose[] = {1, 3, 22, 63, 64, 130, 446, 511};
    for (size_t i = 0; i < ARRAY_LEN(loose); i++) {
        REQUIRE(pmm_free(&bed->pmm, pfn(first + loose[i])) == STATUS_OK);
        free[loose[i]] = i > 0;
    }
    REQUIRE(pmm_claim(&bed->pmm, pfn(first + loose[0]), npages(1)) == STATUS_OK);
    EXPECT_EQ(bed->blocks[B + 3].top, 0);
    EXPECT(had_exactly(bed, free));
}

TEST(pmm_loose, what_codes_say_behind_the_mark_is_not_taken_for_loose_frames)
{
    static const unsigned gaps[] = {1, 30, 63, 64, 449};
    for (size_t k = 0; k < ARRAY_LEN(gaps); k++) {
        unsigned gap = gaps[k];
        struct pmm_bed *bed = all_used();
        REQUIRE(bed != NULL);
        uint64_t first = F + 3 * PMM_BLOCK_FRAMES;
        for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) { /* all codes are links now, and the mark is 0 */
            REQUIRE(pmm_free(&bed->pmm, pfn(first + i)) == STATUS_OK);
        }
        EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, PMM_BLOCK_FRAMES); /* no block is drawn from any more */
        EXPECT_EQ(bed->blocks[B + 3].carved, 0);
        REQUIRE(pmm_claim(&bed->pmm, pfn(first + gap), npages(1)) == STATUS_OK);
        EXPECT_EQ(bed->blocks[B + 3].carved, gap + 1);
        bool free[PMM_BLOCK_FRAMES];
        for (unsigned i = 0; i < PMM_BLOCK_FRAMES; i++) {
            free[i] = i != gap;
        }
        REQUIRE(EXPECT(had_exactly(bed, free)));
    }
}
