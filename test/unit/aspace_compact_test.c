/* Scattered free frames become whole blocks: which are won, at what cost, and what is left where that cannot be. */
#include "arch/arch.h"
#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

enum { BLOCKS = 6, PAGES = BLOCKS * PMM_BLOCK_FRAMES, KEEP_EVERY = 8 };

#define PAGE(i) vaddr_add_pages(vaddr(AT_PRIVATE), (i))

static uint64_t whole_blocks(void)
{
    pmm_drain(bed.vmm->pmm);
    return pmm_stats(bed.vmm->pmm).whole.v / PMM_BLOCK_FRAMES;
}

static bool is_kept(uint64_t i) { return i % KEEP_EVERY == 3; }

/* a has one page of eight left of some blocks; page i says i. */
static bool open_scattered(void)
{
    if (!aspace_bed_open(&bed)) {
        return false;
    }
    (void)map_it(&bed.a, want_at(AT_PRIVATE, npages(PAGES), ARW, ASPACE_POPULATE));
    for (uint64_t i = 0; i < PAGES; i++) {
        if (is_kept(i)) {
            put_word(&bed, &bed.a, PAGE(i), i);
        }
    }
    bool ok = true;
    for (uint64_t i = 0, n; i < PAGES && ok; i += n + 1) {
        for (n = 0; i + n < PAGES && !is_kept(i + n); n++) {
        }
        ok = n == 0 || EXPECT_OK(aspace_unmap(&bed.a, PAGE(i), npages(n)));
    }
    return ok;
}

static void expect_contents(void)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        if (is_kept(i) && !EXPECT_EQ(get_word(&bed, &bed.a, PAGE(i)), i)) {
            return;
        }
    }
    EXPECT(aspace_bed_check(&bed));
}

static struct aspace_compaction compact(uint64_t blocks)
{
    struct aspace_compaction c = {0};
    EXPECT_OK(aspaces_compact(&bed.system, blocks, &c));
    return c;
}

TEST(aspace_compact, scattered_pages_are_moved_together_and_keep_what_they_say)
{
    REQUIRE(open_scattered());
    const uint64_t before = whole_blocks(), used = vmm_bed_frames(bed.vmm);
    const struct aspace_compaction c = compact(UINT64_MAX);
    EXPECT(c.won >= BLOCKS - 2);
    EXPECT_EQ(whole_blocks(), before + c.won);
    EXPECT(c.moved <= PAGES / KEEP_EVERY);
    EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
    expect_contents();
    EXPECT_EQ(compact(UINT64_MAX).won, 0);
    aspace_bed_close(&bed);
}

TEST(aspace_compact, no_more_blocks_are_won_than_were_asked_for)
{
    REQUIRE(open_scattered());
    const uint64_t before = whole_blocks();
    EXPECT_EQ(compact(0).tried, 0);
    for (unsigned i = 1; i <= 2; i++) {
        const struct aspace_compaction c = compact(1);
        EXPECT(c.won == 1 && c.tried == 1);
        EXPECT_EQ(whole_blocks(), before + i);
    }
    expect_contents();
    aspace_bed_close(&bed);
}

/* The reference goes on to name the frame that it was taken for. */
TEST(aspace_compact, a_block_with_a_pinned_page_is_left_alone_and_the_others_are_won)
{
    REQUIRE(open_scattered());
    const pfn_t pinned = pfn(frame_shown(&bed.a, PAGE(PAGES / 2 + 3)));
    EXPECT_OK(pmm_retain(bed.vmm->pmm, pinned));
    const struct aspace_compaction c = compact(UINT64_MAX);
    EXPECT(c.won >= BLOCKS - 3 && c.refused[ASPACE_MOVE_PINNED] + c.refused[ASPACE_MOVE_SHARED] <= 1);
    EXPECT_EQ(frame_shown(&bed.a, PAGE(PAGES / 2 + 3)), pinned.v);
    expect_contents();
    EXPECT_OK(pmm_release(bed.vmm->pmm, pinned, NULL));
    aspace_bed_close(&bed);
}

/* Before, after, and between the blocks of a compaction that is done one block a time. */
TEST(aspace_compact, who_writes_meanwhile_loses_nothing)
{
    REQUIRE(open_scattered());
    uint64_t turn = 0;
    for (; compact(1).won > 0; turn++) {
        for (uint64_t i = 3; i < PAGES; i += KEEP_EVERY) {
            EXPECT_EQ(get_word(&bed, &bed.a, PAGE(i)), i + turn);
            put_word(&bed, &bed.a, PAGE(i), i + turn + 1);
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
        REQUIRE(open_scattered());
        const uint64_t used = vmm_bed_frames(bed.vmm);
        const struct pmm_stats st = pmm_stats(bed.vmm->pmm);
        const npages_t taken = npages(st.free.v - st.promised.v - left[k]);
        EXPECT_OK(pmm_promise(bed.vmm->pmm, taken));
        (void)compact(UINT64_MAX);
        EXPECT_OK(pmm_unpromise(bed.vmm->pmm, taken));
        EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
        expect_contents();
        aspace_bed_close(&bed);
    }
}

/* ---- Runs ---- */

static struct aspace_compaction run_moves;
static unsigned asked;

static bool make_run(void *ctx, const struct pmm_run_wish *wish)
{
    (void)ctx;
    asked++;
    return aspaces_make_run(&bed.system, wish, &run_moves);
}

/* All whole blocks are taken; what is free is scattered. => how many, into runs[] */
enum { RUNS_MAX = 100 };
static pfn_t runs[RUNS_MAX];

static unsigned take_whole(void)
{
    unsigned n = 0;
    pmm_mover_set(bed.vmm->pmm, NULL, NULL);
    while (n < RUNS_MAX && pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(PMM_BLOCK_FRAMES), npages(1), npages(0),
                                         PMM_NO_LIMIT, &runs[n]) == STATUS_OK) {
        n++;
    }
    run_moves = (struct aspace_compaction){0};
    asked = 0;
    pmm_mover_set(bed.vmm->pmm, make_run, NULL);
    return n;
}

static void give_whole(unsigned n)
{
    pmm_mover_set(bed.vmm->pmm, NULL, NULL);
    while (n > 0) {
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, runs[--n], npages(PMM_BLOCK_FRAMES)));
    }
}

TEST_HOST(aspace_compact, a_run_that_is_nowhere_is_made)
{
    static const uint64_t frames[] = {1 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES + 7};
    for (unsigned k = 0; k < ARRAY_LEN(frames); k++) {
        REQUIRE(open_scattered());
        const unsigned n = take_whole();
        pfn_t first = pfn(0);
        EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL | PMM_NO_RECLAIM, npages(frames[k]), npages(1), npages(0),
                                PMM_NO_LIMIT, &first), STATUS_NOMEM);
        EXPECT_EQ(asked, 0);
        EXPECT_OK(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(frames[k]), npages(256), npages(0), PMM_NO_LIMIT,
                                &first));
        EXPECT(asked == 1 && first.v % 256 == 0);
        EXPECT_EQ(run_moves.won, (frames[k] + PMM_BLOCK_FRAMES - 1) / PMM_BLOCK_FRAMES);
        expect_contents();
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, first, npages(frames[k])));
        give_whole(n);
        aspace_bed_close(&bed);
    }
}

TEST_HOST(aspace_compact, a_run_that_cannot_be_made_is_refused_cleanly)
{
    REQUIRE(open_scattered());
    const unsigned n = take_whole();
    const uint64_t used = vmm_bed_frames(bed.vmm);
    pfn_t first = pfn(0);
    /* more than is free; neighbours that are not there; below what there is */
    EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(64 * PMM_BLOCK_FRAMES), npages(1), npages(0), PMM_NO_LIMIT,
                            &first), STATUS_NOMEM);
    EXPECT_EQ(asked, 0);
    EXPECT_EQ(pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, npages(PMM_BLOCK_FRAMES), npages(PMM_BLOCK_FRAMES), npages(0),
                            pfn(2 * PMM_BLOCK_FRAMES), &first), STATUS_NOMEM);
    EXPECT_EQ(asked, 1);
    EXPECT(first.v == 0 && run_moves.won == 0);
    EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
    expect_contents();
    give_whole(n);
    aspace_bed_close(&bed);
}
