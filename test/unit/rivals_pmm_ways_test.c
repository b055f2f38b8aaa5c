/* What single ways of test/rivals/pmm/ are there for comes out as it is said. */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"
#include "unit/test.h"

enum { PAGE_FRAMES = BITS_PAGE_FRAMES };

TEST_HOST(rivals_pmm, one_bitmap_over_a_machine_that_ends_at_0x280000000_takes_320_kib)
{
    const struct frame_run runs[] = {
        {{0}, {0x9F}}, {{0x100}, {0x80000 - 0x100}}, {{0x100000}, {paddr_to_pfn(paddr(0x280000000)).v - 0x100000}}};
    const void *state = bitmap_start(runs, 3);
    REQUIRE(state != NULL);
    EXPECT_EQ(bitmap_bytes(state), 320 * KIB);
}

/* One history with each of these, null behind the last: they hand out the same frames. */
static void same_frames(const char *const *names)
{
    enum { CALLS = 20000, LIVE = 3000 };
    static const struct frame_run runs[] = {{{7}, {1000}}, {{2048}, {900}}, {{70000}, {1500}}};
    uint64_t *first = test_pages(bytes_to_pages_up(CALLS * sizeof *first).v);
    REQUIRE(first != NULL);
    for (unsigned i = 0; names[i] != NULL; i++) {
        const struct frames_way *way = frames_way(names[i]);
        void *state = way->start(runs, 3);
        struct rng rng = rng_seeded(test_seed());
        pfn_t live[LIVE];
        unsigned count = 0;
        for (unsigned k = 0; k < CALLS; k++) {
            if (count < LIVE && rng_below(&rng, 100) < 55) {
                pfn_t frame = way->alloc(state);
                first[k] = i == 0 ? frame.v : first[k];
                REQUIRE(frame.v == first[k] && frame.v != FRAMES_NONE.v);
                live[count++] = frame;
            } else if (count > 0) {
                unsigned at = (unsigned)rng_below(&rng, count);
                REQUIRE(way->free(state, live[at]) == STATUS_OK);
                live[at] = live[--count];
            }
        }
    }
}

TEST_HOST(rivals_pmm, bitmaps_that_fit_lowest_hand_out_the_same_frames_whatever_they_are_made_of)
{
    same_frames((const char *const[]){"bitmap", "by-region", "summary", "extent", NULL});
}

TEST_HOST(rivals_pmm, stacks_and_lists_hand_out_the_same_frames_whatever_they_are_made_of)
{
    same_frames((const char *const[]){"raw-stack", "flat-stack", "table-list", "frame-list", NULL});
}

TEST_HOST(rivals_pmm, pages_of_never_ram_share_one_zero_frame)
{
    /* 1 GiB of RAM in three pieces over 1 TiB: 8192 pages would be one bitmap over all. */
    const struct frame_run runs[] = {
        {{0}, {PAGE_FRAMES}}, {{1000 * PAGE_FRAMES}, {3 * PAGE_FRAMES}}, {{8188 * PAGE_FRAMES}, {4 * PAGE_FRAMES}}};
    void *state = zero_pages_start(runs, 3);
    REQUIRE(state != NULL);
    EXPECT_EQ(zero_pages_own(state), 8 + 1 + 1); /* the zero frame, and the word that ends searches */
    uint64_t frames = 0;
    while (zero_pages_alloc(state).v != FRAMES_NONE.v) {
        frames++;
    }
    EXPECT_EQ(frames, 8 * PAGE_FRAMES - 10);
}

TEST_HOST(rivals_pmm, the_inverted_bitmap_wins_each_of_its_pages_when_all_is_in_use_and_has_them_again_after)
{
    enum { PAGES = 8, FRAMES = PAGES * PAGE_FRAMES };
    const struct frame_run runs[] = {{{PAGE_FRAMES}, {FRAMES}}};
    void *state = inverted_start(runs, 1);
    pfn_t *held = test_pages(bytes_to_pages_up(FRAMES * sizeof *held).v);
    REQUIRE(state != NULL && held != NULL);
    for (unsigned round = 0; round < 2; round++) {
        uint64_t count = 0;
        for (pfn_t frame; (frame = inverted_alloc(state)).v != FRAMES_NONE.v; count++) {
            held[count] = frame;
        }
        struct inverted_stats stats = inverted_stats(state);
        EXPECT_EQ(stats.pages, PAGES);
        EXPECT_EQ(stats.won, PAGES); /* 0.003 % of RAM */
        EXPECT_EQ(count, FRAMES - 2); /* the zero frame, and the word that ends searches */
        while (count > 0) {
            REQUIRE(inverted_free(state, held[--count]) == STATUS_OK);
        }
        stats = inverted_stats(state);
        EXPECT_EQ(stats.won, 0);
        EXPECT_EQ(stats.retired, stats.backed);
    }
}

TEST_HOST(rivals_pmm, a_fault_backed_bitmap_is_there_where_it_was_touched_and_each_page_describes_itself)
{
    const struct frame_run runs[] = {
        {{3}, {100}}, {{2 * PAGE_FRAMES - 50}, {200}}, {{500 * PAGE_FRAMES}, {64 * PAGE_FRAMES}}};
    void *state = faulted_start(runs, 3);
    REQUIRE(state != NULL);
    EXPECT_EQ(faulted_backed(state), 1); /* whatever memory there is */
    for (unsigned i = 0; i < 100 - 3; i++) {
        EXPECT(faulted_alloc(state).v < 103);
    }
    EXPECT_EQ(faulted_backed(state), 1);
    /* The next one lies behind: its page comes, and backs itself with the lowest frame that it covers. */
    const pfn_t self = faulted_page_frame(state, pfn(2 * PAGE_FRAMES - 1)), next = faulted_alloc(state);
    EXPECT_EQ(faulted_backed(state), 2);
    EXPECT_EQ(self.v, 2 * PAGE_FRAMES - 50);
    EXPECT_EQ(next.v, self.v + 1);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT(faulted_alloc(state).v != self.v);
    }
    /* 498 pages of nothing on the way to the last run, all of them the zero frame. */
    EXPECT_EQ(faulted_backed(state), 502 - 1);
    EXPECT_EQ(faulted_own(state), 4 + 2);
    EXPECT_EQ(faulted_free(state, next), STATUS_OK);
    EXPECT_EQ(faulted_alloc(state).v, next.v);
}

TEST_HOST(rivals_pmm, the_greatest_extent_is_counted_anew_only_when_it_does_not_serve)
{
    enum { BLOCKS = 64 };
    const struct frame_run runs[] = {{{0}, {BLOCKS * FRAMES_BLOCK}}};
    void *state = extent_start(runs, 1);
    REQUIRE(state != NULL);
    pfn_t blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = extent_alloc_block(state);
        EXPECT_EQ(blocks[i].v, (BLOCKS - 1 - i) * FRAMES_BLOCK);
    }
    EXPECT_EQ(extent_recounts(state), 1); /* at the start */
    EXPECT_EQ(extent_alloc_block(state).v, FRAMES_NONE.v);
    EXPECT_EQ(extent_recounts(state), 2);
    EXPECT_EQ(extent_alloc_block(state).v, FRAMES_NONE.v); /* nothing came back meanwhile */
    EXPECT_EQ(extent_recounts(state), 2);
    EXPECT_EQ(extent_free_block(state, blocks[5]), STATUS_OK);
    EXPECT_EQ(extent_free_block(state, blocks[9]), STATUS_OK);
    EXPECT_EQ(extent_alloc_block(state).v, blocks[9].v);
    EXPECT_EQ(extent_alloc_block(state).v, blocks[5].v);
    EXPECT_EQ(extent_recounts(state), 4);
}

TEST_HOST(rivals_pmm, stale_entries_of_a_flat_stack_are_skipped_and_a_frame_has_one_at_most)
{
    enum { BLOCKS = 32, FRAMES = BLOCKS * FRAMES_BLOCK };
    const struct frame_run runs[] = {{{0}, {FRAMES}}};
    void *state = flat_start(runs, 1);
    REQUIRE(state != NULL);
    for (unsigned i = 0; i < FRAMES; i++) {
        REQUIRE(flat_alloc(state).v == i);
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        REQUIRE(flat_free(state, pfn(i)) == STATUS_OK);
    }
    for (unsigned i = 0; i < BLOCKS - 1; i++) {
        REQUIRE(flat_alloc_block(state).v == i * FRAMES_BLOCK);
    }
    for (unsigned i = FRAMES; i-- > FRAMES - FRAMES_BLOCK;) { /* the last block lies on top */
        EXPECT_EQ(flat_alloc(state).v, i);
    }
    EXPECT_EQ(flat_skipped(state), 0);
    EXPECT_EQ(flat_free_block(state, pfn(0)), STATUS_OK);
    EXPECT_EQ(flat_alloc(state).v, FRAMES_BLOCK - 1); /* below all that is stale */
    EXPECT_EQ(flat_skipped(state), FRAMES - 2 * FRAMES_BLOCK);
    EXPECT_EQ(flat_alloc_block(state).v, FRAMES_NONE.v);
    for (unsigned i = FRAMES_BLOCK - 1; i-- > 0;) {
        EXPECT_EQ(flat_free(state, pfn(FRAMES_BLOCK + i)), STATUS_OK); /* without an entry now: they get one */
        EXPECT_EQ(flat_alloc(state).v, FRAMES_BLOCK + i);
    }
    EXPECT_EQ(flat_free(state, pfn(FRAMES_BLOCK - 1)), STATUS_OK);
    EXPECT_EQ(flat_alloc_block(state).v, 0);
    EXPECT_EQ(flat_free(state, pfn(7)), STATUS_OK); /* its entry is in the middle of the stack: it stays there */
    EXPECT_EQ(flat_free(state, pfn(300)), STATUS_OK);
    EXPECT_EQ(flat_alloc(state).v, 300);
    EXPECT_EQ(flat_alloc(state).v, 7);
}
