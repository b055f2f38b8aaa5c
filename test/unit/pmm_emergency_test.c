/*
 * Memory runs short: frames kept for those who need one to free others.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4 };

static struct pmm_bed *machine(size_t cpus) { return open_machine(BASE, BLOCKS, cpus); }

static uint64_t free_of(const struct pmm_bed *bed) { return pmm_stats(&bed->pmm).free.v; }
static uint64_t emergency_of(const struct pmm_bed *bed) { return pmm_stats(&bed->pmm).emergency.v; }

TEST(pmm, the_emergency_reserve_is_drawn_by_those_who_ask_only)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = machine(cpus);
        REQUIRE(bed != NULL);
        uint64_t free = free_of(bed);
        REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(40)) == STATUS_OK);
        EXPECT_EQ(emergency_of(bed), 40);
        EXPECT_EQ(free_of(bed), free);
        bed_sound(bed);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free - 40);
        EXPECT_EQ(bed_take_all(bed, PMM_USER), 0);
        pfn_t frames[11] = {{5}}, run;
        EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_USER, frames, npages(1)), STATUS_NOMEM);
        EXPECT_EQ(frames[0].v, 5);
        EXPECT_EQ(pmm_alloc_run(&bed->pmm, 0, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &run), STATUS_NOMEM);
        EXPECT_EQ(pmm_promise(&bed->pmm, npages(1)), STATUS_NOMEM);
        EXPECT_EQ(emergency_of(bed), 40);
        for (unsigned i = 0; i < 30; i++) {
            EXPECT_EQ(emergency_of(bed), 40 - i);
            EXPECT(take_one(bed, PMM_EMERGENCY | (i & PMM_USER)) != 0);
        }
        EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_EMERGENCY, frames, npages(11)), STATUS_NOMEM);
        EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_EMERGENCY, frames, npages(9)), STATUS_OK);
        EXPECT_EQ(pmm_alloc_run(&bed->pmm, PMM_EMERGENCY, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &run),
                  STATUS_OK);
        EXPECT_EQ(emergency_of(bed), 0);
        EXPECT_EQ(free_of(bed), 0);
        EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 0);
        bed_sound(bed);
    }
}

TEST(pmm, what_an_emergency_drew_is_filled_up_from_frames_that_become_free)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(20)) == STATUS_OK);
    take_list(bed, PMM_KERNEL, list);
    EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 20);
    for (unsigned i = 0; i < 20; i++) {
        free_one(bed, list[i]);
        EXPECT_EQ(emergency_of(bed), i + 1);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
    }
    free_one(bed, list[20]);
    EXPECT_EQ(emergency_of(bed), 20);
    EXPECT_EQ(free_of(bed), 21);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 1);
    bed_sound(bed);
}

TEST(pmm, magazines_do_not_keep_freed_frames_from_the_emergency_reserve)
{
    struct pmm_bed *bed = machine(1);
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(20)) == STATUS_OK);
    take_list(bed, PMM_KERNEL, list);
    EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 20);
    free_list(bed, list, 30);
    pmm_drain(&bed->pmm);
    EXPECT_EQ(emergency_of(bed), 20);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 10);
    bed_sound(bed);
}

TEST(pmm, an_emergency_request_takes_ordinary_frames_while_there_are)
{
    struct pmm_bed *bed = machine(0);
    REQUIRE(bed != NULL);
    uint64_t free = free_of(bed);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(20)) == STATUS_OK);
    for (uint64_t i = 20; i < free; i++) {
        REQUIRE(take_one(bed, PMM_EMERGENCY) != 0);
        REQUIRE(emergency_of(bed) == 20);
    }
    EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 20);
}

TEST(pmm, the_emergency_reserve_is_no_greater_than_what_is_free_and_can_be_changed)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = machine(cpus);
        REQUIRE(bed != NULL);
        free_one(bed, take_one(bed, PMM_USER)); /* some are cached where there are magazines: free all the same */
        uint64_t free = free_of(bed);
        REQUIRE(pmm_promise(&bed->pmm, npages(30)) == STATUS_OK);
        bed_remember(bed);
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(free - 29)), STATUS_NOMEM);
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(UINT64_MAX)), STATUS_NOMEM);
        bed_unchanged(bed);
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(free - 30)), STATUS_OK);
        EXPECT_EQ(emergency_of(bed), free - 30);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(50)), STATUS_OK);
        EXPECT_EQ(emergency_of(bed), 50);
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(60)), STATUS_OK);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free - 90);
        for (unsigned i = 0; i < 30; i++) {
            EXPECT(take_one(bed, PMM_PROMISED) != 0);
        }
        EXPECT_EQ(pmm_emergency_reserve(&bed->pmm, npages(0)), STATUS_OK);
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 60);
        bed_sound(bed);
    }
}

TEST(pmm, every_way_in_which_frames_become_free_fills_the_emergency_reserve_up)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, BASE * PMM_BLOCK_FRAMES, BLOCKS * PMM_BLOCK_FRAMES);
    bed_hold(bed, BASE * PMM_BLOCK_FRAMES + 50, 3, HOLD_RESERVED);
    bed_with_room(bed, 1);
    REQUIRE(starts(bed));
    open_all(bed);
    struct pmm *pmm = &bed->pmm;
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    pfn_t run, many[4];
    REQUIRE(pmm_emergency_reserve(pmm, npages(100)) == STATUS_OK);
    REQUIRE(pmm_alloc_run(pmm, 0, npages(8), npages(0), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    REQUIRE(pmm_alloc_many(pmm, PMM_USER, many, npages(4)) == STATUS_OK);
    REQUIRE(pmm_promise(pmm, npages(6)) == STATUS_OK);
    take_list(bed, PMM_KERNEL, list);
    EXPECT_EQ(bed_take_all(bed, PMM_EMERGENCY), 100);
    EXPECT_EQ(pmm_free_run(pmm, run, npages(8)), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 8);
    EXPECT_EQ(pmm_free_many(pmm, many, npages(4), NULL), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 12);
    EXPECT_EQ(pmm_release(pmm, pfn(list[0]), NULL), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 13);
    EXPECT_EQ(pmm_give_back(pmm, pfn(BASE * PMM_BLOCK_FRAMES + 50), npages(3)), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 16);
    EXPECT_EQ(pmm_unpromise(pmm, npages(6)), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 22);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
    EXPECT_EQ(pmm_region_add(pmm, pfn(40 * PMM_BLOCK_FRAMES), npages(2 * PMM_BLOCK_FRAMES), 0), STATUS_OK);
    EXPECT_EQ(emergency_of(bed), 100);
    npages_t block = npages(PMM_BLOCK_FRAMES);
    REQUIRE(pmm_alloc_run(pmm, 0, block, block, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    bed_take_all(bed, PMM_EMERGENCY);
    EXPECT_EQ(emergency_of(bed), 0);
    EXPECT_EQ(pmm_free_run(pmm, run, block), STATUS_OK); /* a whole block, in one */
    EXPECT_EQ(emergency_of(bed), 100);
    bed_sound(bed);
}
