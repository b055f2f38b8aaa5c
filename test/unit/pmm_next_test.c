/*
 * The block that is opened next: whatever was opened before it, by whom ever, its runs are known without a search, so
 * that one frame of it costs the same in any state (docs/design/0025-openings-in-one-go.md).
 */
#include "pmm/open_one.h"
#include "unit/pmm_bed.h"

enum { B = 2048, ROUNDS = 12, STEPS = 150, HELD_MAX = 64 }; /* from 4 GiB on: one zone */

/* Blocks with holes, some whole ones, many single frames; `held`: one frame in some of them. */
static struct pmm_bed *holes_machine(struct bed_arena *arena, struct rng *rng, uint64_t blocks, unsigned held)
{
    struct pmm_bed *bed = bed_new(arena, B, B + blocks + 1, 0);
    uint64_t at = (uint64_t)B * PMM_BLOCK_FRAMES + rng_below(rng, 200), end = (B + blocks) * (uint64_t)PMM_BLOCK_FRAMES;
    uint64_t most = blocks <= PMM_REGION_BITS ? 1400 : 4000; /* so that there is room for the runs */
    while (bed != NULL && at < end && bed->run_count < BED_RUNS_MAX) {
        uint64_t frames = rng_below(rng, 3) == 0 ? 1 : 1 + rng_below(rng, most);
        frames = frames < end - at ? frames : end - at;
        bed_run(bed, at, frames);
        if (frames > 2 && rng_below(rng, 100) < held) {
            bed_hold(bed, at + rng_below(rng, frames - 1), 1, HOLD_RESERVED);
        }
        at += frames + 1 + rng_below(rng, 60);
    }
    return bed;
}

/* The next block costs nothing: then its frames are known, unless some are held. */
static void expect_next_known(struct pmm_bed *bed)
{
    struct pmm *pmm = &bed->pmm;
    for (size_t i = 0; i < pmm->region_count; i++) {
        struct pmm_region copy = pmm->regions[i], *r = &copy;
        uint64_t block = extent_bottom(pmm, r), start = block_start(block);
        if (r->untouched == 0 || r->left_out || block >= region_end(r) || open_cost(pmm, block).v > 0
            || surely_whole(r, block)) {
            continue;
        }
        size_t hold = hold_at(pmm, start);
        if (hold < pmm->hold_count && pmm->holds[hold].first.v < block_start(block + 1)) {
            continue;
        }
        const struct pmm_block *b = &pmm->blocks[block];
        struct pmm_list_hint said = hint_is_said(b) ? hint_said(b) : *hint_of(r, block), *hint = &said;
        EXPECT(hint_knows(pmm, r, hint, start));
        EXPECT_EQ(hint->run, run_at(pmm, start));
    }
}

/* One call that may open a block: of one frame, of 2 MiB, of a frame anywhere. */
static void step(struct pmm_bed *bed, struct rng *rng)
{
    pfn_t frame;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    struct frame_run run = bed->runs[rng_below(rng, bed->run_count)];
    switch (rng_below(rng, 4)) {
        case 0: (void)pmm_alloc_run(&bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &frame); break;
        case 1: (void)pmm_claim(&bed->pmm, pfn_add(run.first, rng_below(rng, run.frames.v)), npages(1)); break;
        default:
            for (uint64_t i = rng_below(rng, 300); i > 0; i--) {
                (void)pmm_alloc(&bed->pmm, PMM_USER, &frame);
            }
    }
}

static void play(const uint64_t *sizes, size_t count, unsigned held)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pmm_bed *bed = holes_machine(&arena, &rng, sizes[round % count], held);
        REQUIRE(bed != NULL && bed_starts(bed));
        for (unsigned i = 0; i < STEPS; i++) {
            step(bed, &rng);
            expect_next_known(bed);
            REQUIRE(i % 16 != 0 || bed_sound(bed));
        }
    }
}

TEST(pmm_next, the_runs_of_the_next_block_are_known_whatever_was_opened_before)
{
    static const uint64_t sizes[] = {3, 17, 40, 63, 64};
    play(sizes, ARRAY_LEN(sizes), 0);
}

TEST(pmm_next, in_a_region_of_many_blocks_too)
{
    static const uint64_t sizes[] = {66, 130, 200};
    play(sizes, ARRAY_LEN(sizes), 0);
}

TEST(pmm_next, a_block_that_is_held_is_passed_and_comes_first_again_when_it_is_given_back)
{
    enum { BLOCKS = 5, HELD = 1, AT = 200, HOLE = 8 }; /* the second one; each has a hole */
    struct pmm_bed *bed = bed_new(NULL, B, B + BLOCKS, 0);
    REQUIRE(bed != NULL);
    const uint64_t first = block_start(B), held = block_start(B + HELD);
    bed_run(bed, first, AT);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        uint64_t frames = block + 1 < BLOCKS ? PMM_BLOCK_FRAMES : PMM_BLOCK_FRAMES - AT;
        bed_run(bed, first + block_start(block) + AT + HOLE, frames - HOLE);
    }
    bed_hold(bed, held, AT, HOLD_RESERVED);
    bed_hold(bed, held + AT + HOLE, PMM_BLOCK_FRAMES - AT - HOLE, HOLD_RESERVED);
    REQUIRE(bed_starts(bed));
    struct pmm_region *r = &bed->pmm.regions[0];
    pfn_t frame;
    uint64_t had = 0;
    for (; had < 2 * PMM_BLOCK_FRAMES - 20; had++) { /* into the third */
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK && block_of(frame.v) != B + HELD);
    }
    EXPECT_EQ(r->skipped, 1U << HELD);
    EXPECT_EQ(extent_bottom(&bed->pmm, r), B + 3);
    expect_next_known(bed);
    REQUIRE(pmm_give_back(&bed->pmm, pfn(held + 100), npages(50)) == STATUS_OK && bed_sound(bed));
    EXPECT_EQ(r->skipped, 0);
    EXPECT_EQ(extent_bottom(&bed->pmm, r), B + HELD);
    while (pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK) {
        had++;
        expect_next_known(bed);
    }
    EXPECT_EQ(had + pmm_stats(&bed->pmm).metadata.v, (BLOCKS - 1) * (PMM_BLOCK_FRAMES - HOLE) + 50);
    bed_sound(bed);
}
