/* When the kernel moves pages in idle time: in the kernel, with its own spaces. */
#include "kernel/idle.h"
#include "kernel/machine.h"
#include "kernel/mover.h"
#include "pmm/pmm_pressure.h"
#include "unit/test.h"

enum { BLOCKS = 12, SPARED = 3, STEPS = 4 * BLOCKS, PLACE_GIB = 600 };

static struct aspace space;

/* Each second page of so many blocks is left, wherever they lie: what is free between them is scattered. */
static bool open_scattered(void)
{
    const vaddr_t at = vaddr(PLACE_GIB * GIB);
    const struct aspace_request r = {.pages = npages(BLOCKS * PMM_BLOCK_FRAMES), .rights = VMM_READ | VMM_WRITE,
                                     .flags = ASPACE_AT | ASPACE_POPULATE, .va = at, .tag = "test"};
    vaddr_t va;
    bool ok = EXPECT_EQ(aspace_create(&machine.aspaces, &space, (struct aspace_limits){0}), STATUS_OK) &&
              EXPECT_EQ(aspace_map(&space, &r, &va), STATUS_OK);
    for (uint64_t i = 0; i < r.pages.v && ok; i += 2) {
        ok = EXPECT_EQ(aspace_unmap(&space, vaddr_add_pages(at, i), npages(1)), STATUS_OK);
    }
    return ok;
}

/* A block that is drawn empty drains the pool of zeroed frames, and that is filled first. */
static void fill_zero_pool(void)
{
    while (pmm_stats(&machine.pmm).zeroed.v < MACHINE_ZERO_FRAMES) {
        idle_step();
    }
}

/* A step that won nothing before this test has put the next one off until so many were freed. */
static bool free_frames(uint64_t n)
{
    bool ok = true;
    for (uint64_t i = 0; i < n && ok; i++) {
        pfn_t frame;
        ok = EXPECT_EQ(pmm_alloc(&machine.pmm, PMM_USER, &frame), STATUS_OK)
             && EXPECT_EQ(pmm_free(&machine.pmm, frame), STATUS_OK);
    }
    return ok;
}

/* => blocks won by so many steps of idle time, none of which wins more than one. */
static uint64_t blocks_won_by(unsigned steps)
{
    uint64_t won = 0;
    for (unsigned i = 0; i < steps; i++) {
        const uint64_t before = mover_total.won;
        fill_zero_pool();
        EXPECT_EQ(mover_total.won, before);
        idle_step();
        EXPECT(mover_total.won - before <= 1);
        won += mover_total.won - before;
    }
    return won;
}

TEST(mover, idle_time_wins_blocks_one_a_step_while_more_is_scattered_than_the_policy_allows)
{
    const struct mover_policy before = mover_policy;
    REQUIRE(free_frames(before.least.v));
    mover_policy = (struct mover_policy){.least = pmm_stats(&machine.pmm).ram, .share = UINT32_MAX};
    const uint64_t won = mover_total.won;
    REQUIRE(open_scattered());
    EXPECT_EQ(mover_total.won, won); /* calls alone move nothing */
    EXPECT_EQ(blocks_won_by(STEPS), 0); /* less is scattered than `least` */
    mover_policy.least = npages(0);
    mover_policy.share = 1;
    EXPECT_EQ(blocks_won_by(STEPS), 0); /* what is scattered is not all that is free */
    mover_policy.share = UINT32_MAX;
    const uint64_t some = SPARED * PMM_BLOCK_FRAMES;
    mover_policy.least = npages(mover_scattered().v - some);
    EXPECT_EQ(blocks_won_by(1), 1);
    EXPECT(blocks_won_by(STEPS) <= SPARED);
    EXPECT(mover_scattered().v < mover_policy.least.v);
    mover_policy.least = npages(0);
    EXPECT(blocks_won_by(STEPS) > 0); /* there was more to be won */
    EXPECT_EQ(aspaces_check(&machine.aspaces, NULL), STATUS_OK);
    EXPECT_EQ(aspace_destroy(&space), STATUS_OK);
    mover_policy = before;
}
