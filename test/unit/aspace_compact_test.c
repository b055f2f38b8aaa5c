/* Scattered free frames become whole blocks: which are won, at what cost, and what is left where that cannot be. */
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/aspace_scatter.h"

static struct aspace_bed bed;

TEST(aspace_compact, scattered_pages_are_moved_together_and_keep_what_they_say)
{
    REQUIRE(scatter_open(&bed));
    const uint64_t before = scatter_whole_blocks(&bed), used = vmm_bed_frames(bed.vmm);
    const struct aspace_compaction c = scatter_compact(&bed, UINT64_MAX);
    EXPECT(c.won >= SCATTER_BLOCKS - 2);
    EXPECT_EQ(scatter_whole_blocks(&bed), before + c.won);
    EXPECT(c.moved <= SCATTER_PAGES / SCATTER_EVERY);
    EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
    scatter_expect_contents(&bed);
    EXPECT_EQ(scatter_compact(&bed, UINT64_MAX).won, 0);
    aspace_bed_close(&bed);
}

TEST(aspace_compact, no_more_blocks_are_won_than_were_asked_for)
{
    REQUIRE(scatter_open(&bed));
    const uint64_t before = scatter_whole_blocks(&bed);
    EXPECT_EQ(scatter_compact(&bed, 0).tried, 0);
    for (unsigned i = 1; i <= 2; i++) {
        const struct aspace_compaction c = scatter_compact(&bed, 1);
        EXPECT(c.won == 1 && c.tried == 1);
        EXPECT_EQ(scatter_whole_blocks(&bed), before + i);
    }
    scatter_expect_contents(&bed);
    aspace_bed_close(&bed);
}

/* The reference goes on to name the frame that it was taken for. */
TEST(aspace_compact, a_block_with_a_pinned_page_is_left_alone_and_the_others_are_won)
{
    REQUIRE(scatter_open(&bed));
    const pfn_t pinned = pfn(frame_shown(&bed.a, scatter_page(SCATTER_PAGES / 2 + 3)));
    EXPECT_OK(pmm_retain(bed.vmm->pmm, pinned));
    const struct aspace_compaction c = scatter_compact(&bed, UINT64_MAX);
    EXPECT(c.won >= SCATTER_BLOCKS - 3 && c.refused[ASPACE_MOVE_PINNED] + c.refused[ASPACE_MOVE_SHARED] <= 1);
    EXPECT_EQ(frame_shown(&bed.a, scatter_page(SCATTER_PAGES / 2 + 3)), pinned.v);
    scatter_expect_contents(&bed);
    EXPECT_OK(pmm_release(bed.vmm->pmm, pinned, NULL));
    aspace_bed_close(&bed);
}

/* Before, after, and between the blocks of a compaction that is done one block a time. */
TEST(aspace_compact, who_writes_meanwhile_loses_nothing)
{
    REQUIRE(scatter_open(&bed));
    uint64_t turn = 0;
    for (; scatter_compact(&bed, 1).won > 0; turn++) {
        for (uint64_t i = SCATTER_FIRST; i < SCATTER_PAGES; i += SCATTER_EVERY) {
            EXPECT_EQ(get_word(&bed, &bed.a, scatter_page(i)), i + turn);
            put_word(&bed, &bed.a, scatter_page(i), i + turn + 1);
        }
    }
    EXPECT(turn > 2);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

/* Promises leave so many frames: too few to draw a block empty, to move all of it, to note where pages are. */
TEST(aspace_compact, whatever_memory_is_missing_nothing_is_lost)
{
    static const uint64_t left[] = {0, 1, 2, 5, 40, 300, 440, 448, 449, 460, 500, 511, 512, 600, 900};
    for (unsigned k = 0; k < ARRAY_LEN(left); k++) {
        REQUIRE(scatter_open(&bed));
        const uint64_t used = vmm_bed_frames(bed.vmm);
        const struct pmm_stats st = pmm_stats(bed.vmm->pmm);
        const npages_t taken = npages(st.free.v - st.promised.v - left[k]);
        EXPECT_OK(pmm_promise(bed.vmm->pmm, taken));
        (void)scatter_compact(&bed, UINT64_MAX);
        EXPECT_OK(pmm_unpromise(bed.vmm->pmm, taken));
        EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
        scatter_expect_contents(&bed);
        aspace_bed_close(&bed);
    }
}

/* ---- Runs ---- */

TEST_HOST(aspace_compact, a_run_that_is_nowhere_is_made)
{
    static const uint64_t frames[] = {1 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES + 7};
    for (unsigned k = 0; k < ARRAY_LEN(frames); k++) {
        REQUIRE(scatter_open(&bed));
        scatter_take_whole(&bed);
        pfn_t first = pfn(0);
        EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL | PMM_NO_RECLAIM, npages(frames[k]), npages(1), npages(0),
                                PMM_NO_LIMIT, &first), STATUS_NOMEM);
        EXPECT_EQ(scatter_asked, 0);
        EXPECT_OK(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(frames[k]), npages(256), npages(0), PMM_NO_LIMIT,
                                &first));
        EXPECT(scatter_asked == 1 && first.v % 256 == 0);
        EXPECT_EQ(scatter_run_moves.won, (frames[k] + PMM_BLOCK_FRAMES - 1) / PMM_BLOCK_FRAMES);
        scatter_expect_contents(&bed);
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, first, npages(frames[k])));
        scatter_give_whole(&bed);
        aspace_bed_close(&bed);
    }
}

TEST_HOST(aspace_compact, a_run_that_cannot_be_made_is_refused_cleanly)
{
    REQUIRE(scatter_open(&bed));
    scatter_take_whole(&bed);
    const uint64_t used = vmm_bed_frames(bed.vmm);
    pfn_t first = pfn(0);
    /* more than is free; neighbours that are not there; below what there is */
    EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(64 * PMM_BLOCK_FRAMES), npages(1), npages(0), PMM_NO_LIMIT,
                            &first), STATUS_NOMEM);
    EXPECT_EQ(scatter_asked, 0);
    EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(PMM_BLOCK_FRAMES), npages(PMM_BLOCK_FRAMES), npages(0),
                            pfn(2 * PMM_BLOCK_FRAMES), &first), STATUS_NOMEM);
    EXPECT_EQ(scatter_asked, 1);
    EXPECT(first.v == 0 && scatter_run_moves.won == 0);
    EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
    scatter_expect_contents(&bed);
    scatter_give_whole(&bed);
    aspace_bed_close(&bed);
}
