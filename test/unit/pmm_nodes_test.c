/*
 * Nodes: the nearest one serves first, by the distances given; which node a block belongs to.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, NODE_BLOCKS = 4, FRAMES = NODE_BLOCKS * PMM_BLOCK_FRAMES };

/* From node 0, node 2 is nearer than node 1. */
static const uint8_t distance[] = {
    10, 30, 20, /* from 0 */
    30, 10, 40, /* from 1 */
    20, 40, 10, /* from 2 */
};
static const unsigned rank[] = {0, 2, 1};

/* One run, 4 blocks of node 0, 4 of node 1, 4 of node 2. */
static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 3 * NODE_BLOCKS, 1);
    if (bed != NULL) {
        bed_run(bed, BASE * PMM_BLOCK_FRAMES, 3 * FRAMES);
        for (unsigned node = 0; node < 3; node++) {
            bed_node(bed, BASE * PMM_BLOCK_FRAMES + node * FRAMES, FRAMES, node);
        }
        bed->node_distance = distance;
    }
    return bed;
}

static unsigned node_of_frame(uint64_t frame) { return (unsigned)((frame - BASE * PMM_BLOCK_FRAMES) / FRAMES); }

TEST(pmm, the_own_node_serves_first_then_the_others_by_distance)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
            struct pmm_bed *bed = machine();
            REQUIRE(bed != NULL);
            some_cpus(bed, cpus);
            REQUIRE(starts(bed));
            uint64_t free = pmm_stats(&bed->pmm).free.v, count[3] = {0}, late = 0;
            unsigned last = 0;
            for (uint64_t i = 0; i < free; i++) {
                uint64_t frame = take_one(bed, class);
                REQUIRE(frame != 0);
                unsigned node = node_of_frame(frame);
                late += rank[node] < last;
                last = rank[node] > last ? rank[node] : last;
                count[node]++;
                EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame)).node, node);
            }
            /* Of a batch in a magazine the last is served first; blocks with metadata are the kernel's. */
            uint64_t most = cpus * 2 * PMM_MAGAZINE_FRAMES + class * PMM_BLOCK_FRAMES;
            EXPECT(late <= most);
            EXPECT(count[0] > FRAMES - 20 && count[1] > FRAMES - 20 && count[2] > FRAMES - 20);
            EXPECT_EQ(bed_take_all(bed, class), 0);
            bed_sound(bed);
        }
    }
}

TEST(pmm, a_frame_freed_in_a_nearer_node_is_served_before_farther_ones)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && starts(bed));
    uint64_t nearest = 0, near = 0, frame = take_one(bed, PMM_KERNEL);
    for (; frame != 0 && node_of_frame(frame) != 1; frame = take_one(bed, PMM_KERNEL)) {
        *(node_of_frame(frame) == 0 ? &nearest : &near) = frame;
    }
    free_one(bed, frame);
    free_one(bed, near);
    free_one(bed, nearest);
    EXPECT_EQ(take_one(bed, PMM_KERNEL), nearest);
    EXPECT_EQ(take_one(bed, PMM_KERNEL), near);
    EXPECT_EQ(node_of_frame(take_one(bed, PMM_KERNEL)), 1);
    bed_sound(bed);
}

TEST(pmm, a_frame_of_a_far_node_that_is_freed_does_not_come_before_near_ones_through_a_magazine)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    bed_with_cpus(bed, 1);
    REQUIRE(starts(bed));
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    uint64_t count = take_list(bed, PMM_KERNEL, list);
    uint64_t near = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (node_of_frame(list[i]) == 0 && near < 30) {
            free_one(bed, list[i]);
            near++;
        }
    }
    for (uint64_t i = 0, far = 0; i < count && far < 30; i++) {
        if (node_of_frame(list[i]) == 1) {
            free_one(bed, list[i]);
            far++;
        }
    }
    for (uint64_t i = 0; i < near; i++) {
        EXPECT_EQ(node_of_frame(take_one(bed, PMM_KERNEL)), 0);
    }
    bed_sound(bed);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 30);
}

TEST(pmm, without_distances_every_node_serves_to_the_last_frame)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    bed->node_distance = NULL;
    REQUIRE(starts(bed));
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(node_of_frame(take_one(bed, PMM_KERNEL)), 0);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free - 1);
    bed_sound(bed);
}

TEST(pmm, a_block_belongs_to_the_node_of_its_first_frame_and_a_region_stays_one)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 12, 0);
    REQUIRE(bed != NULL);
    uint64_t first = BASE * PMM_BLOCK_FRAMES;
    bed_run(bed, first + 5, 12 * PMM_BLOCK_FRAMES - 5);
    bed_node(bed, first + 2 * PMM_BLOCK_FRAMES + 100, 300, 3); /* the first frame of no block */
    bed_node(bed, first + 4 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES + 1, 1); /* of three */
    bed_node(bed, first + 9 * PMM_BLOCK_FRAMES - 1, 2 * PMM_BLOCK_FRAMES, 2);
    bed->region_capacity = pmm_count_descriptors(bed->runs, 1) + 2 * bed->node_range_count;
    REQUIRE(starts(bed));
    static const uint8_t expected[] = {0, 0, 0, 0, 1, 1, 1, 0, 0, 2, 2, 0};
    for (unsigned block = 0; block < ARRAY_LEN(expected); block++) {
        uint64_t frame = first + block * PMM_BLOCK_FRAMES;
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame + 200)).node, expected[block]);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame + PMM_BLOCK_FRAMES - 1)).node, expected[block]);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(frame + 200)).region, 0);
    }
    struct pmm_region_stats r;
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 1);
    REQUIRE(pmm_region_stats(&bed->pmm, 0, &r));
    EXPECT_EQ(r.base.v, first + 5);
    EXPECT_EQ(r.frames.v, 12 * PMM_BLOCK_FRAMES - 5);
    EXPECT_EQ(r.node, 0);
    EXPECT(!pmm_region_stats(&bed->pmm, 1, &r));
    /* A run goes across the borders. */
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(first + 3 * PMM_BLOCK_FRAMES), npages(7 * PMM_BLOCK_FRAMES)), STATUS_OK);
    EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(first + 3 * PMM_BLOCK_FRAMES), npages(7 * PMM_BLOCK_FRAMES)), STATUS_OK);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
    bed_sound(bed);
}

TEST(pmm, the_node_of_a_region_is_that_of_its_first_block)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, BASE + 16, 0);
    REQUIRE(bed != NULL);
    uint64_t first = BASE * PMM_BLOCK_FRAMES;
    bed_run(bed, first, 2 * PMM_BLOCK_FRAMES);
    bed_run(bed, first + 4 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES);
    bed_run(bed, first + 8 * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES);
    bed_node(bed, first, PMM_BLOCK_FRAMES, 1);
    bed_node(bed, first + 4 * PMM_BLOCK_FRAMES, 6 * PMM_BLOCK_FRAMES, 7);
    EXPECT_EQ(bed->node_count, PMM_NODES_MAX);
    REQUIRE(starts(bed));
    static const unsigned expected[] = {1, 7, 7};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        struct pmm_region_stats r;
        REQUIRE(pmm_region_stats(&bed->pmm, i, &r));
        EXPECT_EQ(r.node, expected[i]);
        EXPECT_EQ(r.frames.v, 2 * PMM_BLOCK_FRAMES);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 3);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(take_one(bed, PMM_KERNEL))).node, 0);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free - 1);
    bed_sound(bed);
}

static enum status start_with_ranges(size_t count, const struct pmm_node_range *ranges, unsigned node_count)
{
    struct pmm_bed *bed = machine();
    if (bed == NULL) {
        return STATUS_NOMEM;
    }
    memcpy(bed->node_ranges, ranges, count * sizeof *ranges);
    bed->node_range_count = count;
    bed->node_count = node_count;
    bed->node_distance = NULL;
    return bed_start(bed);
}

TEST(pmm, node_ranges_that_are_not_as_agreed_are_refused)
{
    static const struct pmm_node_range good[] = {{{100}, {5000}, 0}, {{5100}, {10}, 1}};
    static const struct pmm_node_range overlap[] = {{{100}, {5000}, 0}, {{5099}, {10}, 1}};
    static const struct pmm_node_range descending[] = {{{5100}, {10}, 1}, {{100}, {5000}, 0}};
    static const struct pmm_node_range wraps[] = {{{100}, {UINT64_MAX - 50}, 0}};
    EXPECT_EQ(start_with_ranges(2, good, 2), STATUS_OK);
    EXPECT_EQ(start_with_ranges(2, good, 0), STATUS_INVALID); /* 0 means 1, and node 1 is beyond */
    EXPECT_EQ(start_with_ranges(2, good, PMM_NODES_MAX), STATUS_OK);
    EXPECT_EQ(start_with_ranges(2, good, PMM_NODES_MAX + 1), STATUS_INVALID);
    EXPECT_EQ(start_with_ranges(2, overlap, 2), STATUS_INVALID);
    EXPECT_EQ(start_with_ranges(2, descending, 2), STATUS_INVALID);
    EXPECT_EQ(start_with_ranges(1, wraps, 1), STATUS_INVALID);
}

TEST(pmm, a_node_without_memory_of_its_own_borrows_from_the_nearest)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    bed->node_range_count = 0;
    bed_node(bed, BASE * PMM_BLOCK_FRAMES, FRAMES, 1);
    bed_node(bed, BASE * PMM_BLOCK_FRAMES + FRAMES, 2 * FRAMES, 2);
    REQUIRE(starts(bed));
    for (unsigned i = 0; i < 2 * FRAMES - 20; i++) {
        uint64_t frame = take_one(bed, i & 1);
        REQUIRE(frame >= BASE * PMM_BLOCK_FRAMES + FRAMES); /* node 2 is nearer */
    }
    bed_sound(bed);
}
