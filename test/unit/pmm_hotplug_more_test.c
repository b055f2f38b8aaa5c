/*
 * Memory that comes and goes: runs in the way, borders of zones and nodes inside it, and what is left must do.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };
enum { AT = 40 * PMM_BLOCK_FRAMES, MORE = 6 * PMM_BLOCK_FRAMES };

static struct pmm_bed *machine(uint64_t end_block)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, end_block, 1);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        bed_with_room(bed, 4);
    }
    return bed;
}

static enum status add(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    return pmm_region_add(&bed->pmm, pfn(first), npages(frames), 0);
}

static enum status take_away(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    return pmm_region_remove(&bed->pmm, pfn(first), npages(frames), NULL);
}

TEST(pmm, a_run_in_the_way_of_removal_counts_all_its_frames)
{
    struct pmm_bed *bed = machine(128);
    REQUIRE(bed != NULL && starts(bed));
    take_one(bed, PMM_KERNEL);
    REQUIRE(add(bed, AT, MORE) == STATUS_OK);
    pfn_t run;
    npages_t n = npages(5 * PMM_BLOCK_FRAMES); /* more than boot memory has */
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, n, npages(0), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    EXPECT(run.v >= AT);
    struct pmm_in_the_way way;
    EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(AT), npages(MORE), &way), STATUS_EXISTS);
    EXPECT_EQ(way.first.v, run.v);
    EXPECT_EQ(way.what.state, PMM_STATE_RUN);
    EXPECT_EQ(way.used.v, n.v);
    REQUIRE(pmm_free_run(&bed->pmm, run, n) == STATUS_OK);
    uint64_t metadata = 0;
    for (uint64_t f = AT; f < AT + MORE; f++) {
        metadata += state_of(bed, f) == PMM_STATE_METADATA;
    }
    EXPECT_EQ(take_away(bed, AT, MORE), metadata > 0 ? STATUS_EXISTS : STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, boot_memory_can_be_taken_away_too)
{
    struct pmm_bed *bed = machine(128);
    REQUIRE(bed != NULL);
    bed_run(bed, AT, MORE);
    bed_run(bed, AT + MORE + 3 * PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES);
    bed_with_room(bed, 2);
    bed_hold(bed, FIRST + 1, 1, HOLD_USED);
    REQUIRE(starts(bed));
    struct pmm_stats before = pmm_stats(&bed->pmm);
    REQUIRE(take_away(bed, AT, MORE) == STATUS_OK);
    bed_sound(bed);
    struct pmm_region_stats r;
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
    EXPECT_EQ(r.base.v, AT + MORE + 3 * PMM_BLOCK_FRAMES);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(r.base.v)).region, 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).ram.v, before.ram.v - MORE);
    REQUIRE(add(bed, AT, MORE) == STATUS_OK);
    struct pmm_stats now = pmm_stats(&bed->pmm);
    now.drains = before.drains;
    EXPECT(memcmp(&now, &before, sizeof now) == 0);
    bed_sound(bed);
}

TEST(pmm, memory_across_16_mib_and_4_gib_comes_and_goes_as_one)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2056, 1);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST + 4 * FRAMES, FRAMES);
    bed_with_room(bed, 2);
    bed->region_capacity = 5;
    REQUIRE(starts(bed));
    take_one(bed, PMM_KERNEL);
    const uint64_t at[] = {bytes_to_pages_down(16 * MIB).v, bytes_to_pages_down(4 * GIB).v};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t first = at[i] - 2 * PMM_BLOCK_FRAMES, frames = 4 * PMM_BLOCK_FRAMES;
        REQUIRE(add(bed, first, frames) == STATUS_OK);
        bed_sound(bed);
        EXPECT_EQ(pmm_stats(&bed->pmm).regions, 2);
        size_t region = pmm_query(&bed->pmm, pfn(first)).region;
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(first + frames - 1)).region, region);
        EXPECT(pmm_query(&bed->pmm, pfn(at[i] - 1)).zone + 1 == pmm_query(&bed->pmm, pfn(at[i])).zone);
        struct pmm_region_stats r;
        REQUIRE(pmm_region_stats(&bed->pmm, region, &r));
        EXPECT_EQ(r.base.v, first);
        EXPECT_EQ(r.frames.v, frames);
        EXPECT_EQ(take_away(bed, first, 2 * PMM_BLOCK_FRAMES), STATUS_ABSENT);
        EXPECT_EQ(take_away(bed, at[i], 2 * PMM_BLOCK_FRAMES), STATUS_ABSENT);
        REQUIRE(pmm_claim(&bed->pmm, pfn(at[i] + 7), npages(2)) == STATUS_OK);
        struct pmm_in_the_way way;
        EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(first), npages(frames), &way), STATUS_EXISTS);
        EXPECT_EQ(way.first.v, at[i] + 7);
        EXPECT_EQ(way.used.v, 2);
        EXPECT_EQ(way.metadata.v, 0);
        REQUIRE(pmm_free_run(&bed->pmm, pfn(at[i] + 7), npages(2)) == STATUS_OK);
        REQUIRE(take_away(bed, first, frames) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).regions, 1);
        bed_sound(bed);
    }
}

TEST(pmm, added_memory_belongs_to_the_node_it_is_said_to)
{
    struct pmm_bed *bed = machine(128);
    REQUIRE(bed != NULL);
    bed_node(bed, FIRST, FRAMES, 1);
    REQUIRE(starts(bed));
    EXPECT_EQ(pmm_region_add(&bed->pmm, pfn(AT), npages(MORE), 2), STATUS_INVALID);
    REQUIRE(pmm_region_add(&bed->pmm, pfn(AT), npages(MORE), 1) == STATUS_OK);
    REQUIRE(add(bed, AT + MORE, PMM_BLOCK_FRAMES) == STATUS_OK);
    struct pmm_region_stats r;
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
    EXPECT_EQ(r.node, 1);
    REQUIRE(pmm_region_stats(&bed->pmm, 2, &r));
    EXPECT_EQ(r.node, 0);
    EXPECT_EQ(r.frames.v, PMM_BLOCK_FRAMES);
    /* This CPU's node has memory now: it serves first. */
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES / 2; i++) {
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(take_one(bed, PMM_KERNEL))).node, 0);
    }
    bed_sound(bed);
}

TEST(pmm, memory_that_promises_and_reserves_need_cannot_be_taken_away)
{
    struct pmm_bed *bed = machine(128);
    REQUIRE(bed != NULL && starts(bed));
    take_one(bed, PMM_KERNEL);
    uint64_t boot = pmm_stats(&bed->pmm).free.v;
    REQUIRE(add(bed, AT, MORE) == STATUS_OK);
    REQUIRE(pmm_promise(&bed->pmm, npages(boot - 50)) == STATUS_OK);
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(51)) == STATUS_OK);
    bed_remember(bed);
    EXPECT_EQ(take_away(bed, AT, MORE), STATUS_NOMEM);
    bed_unchanged(bed);
    REQUIRE(pmm_unpromise(&bed->pmm, npages(1)) == STATUS_OK);
    EXPECT_EQ(take_away(bed, AT, MORE), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, boot);
    bed_sound(bed);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
    for (uint64_t i = 0; i < boot - 51; i++) {
        REQUIRE(take_one(bed, PMM_PROMISED) != 0);
    }
    bed_sound(bed);
}

TEST(pmm, memory_comes_and_goes_at_random_and_the_books_stay_right)
{
    struct rng rng = rng_seeded(test_seed());
    struct pmm_bed *bed = machine(256);
    REQUIRE(bed != NULL);
    bed_with_room(bed, 20);
    bed_with_cpus(bed, 1);
    REQUIRE(starts(bed));
    uint64_t *mine = test_pages(bytes_to_pages_up(256 * PMM_BLOCK_FRAMES * sizeof(uint64_t)).v), count = 0;
    REQUIRE(mine != NULL);
    struct { uint64_t first, frames; } regions[20] = {{0}};
    unsigned removed = 0;
    for (unsigned step = 0; step < 400 * test_effort(); step++) {
        unsigned i = (unsigned)rng_below(&rng, ARRAY_LEN(regions));
        if (regions[i].frames == 0 && rng_below(&rng, 3) == 0) {
            uint64_t first = (16 + rng_below(&rng, 220)) * PMM_BLOCK_FRAMES;
            uint64_t frames = (1 + rng_below(&rng, 6)) * PMM_BLOCK_FRAMES;
            bool fits = true;
            for (unsigned j = 0; j < ARRAY_LEN(regions); j++) {
                fits = fits && !ranges_overlap(first, first + frames, regions[j].first,
                                               regions[j].first + regions[j].frames);
            }
            REQUIRE(add(bed, first, frames) == (fits ? STATUS_OK : STATUS_EXISTS));
            regions[i].first = fits ? first : 0;
            regions[i].frames = fits ? frames : 0;
        } else if (regions[i].frames != 0 && rng_below(&rng, 2) == 0) {
            enum status s = take_away(bed, regions[i].first, regions[i].frames);
            REQUIRE(s == STATUS_OK || s == STATUS_EXISTS || s == STATUS_NOMEM);
            removed += s == STATUS_OK;
            regions[i].frames = s == STATUS_OK ? 0 : regions[i].frames;
        }
        for (uint64_t n = rng_below(&rng, 60); n > 0 && pmm_stats(&bed->pmm).free.v > 0; n--) {
            mine[count++] = take_one(bed, (unsigned)rng_below(&rng, 2));
        }
        for (uint64_t n = rng_below(&rng, 80); n > 0 && count > 0; n--) {
            uint64_t pick = rng_below(&rng, count);
            free_one(bed, mine[pick]);
            mine[pick] = mine[--count];
        }
        if (step % 20 == 19) {
            REQUIRE(bed_sound(bed));
        }
    }
    EXPECT(removed > 5);
    free_list(bed, mine, count);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
    bed_sound(bed);
}

TEST(pmm, added_memory_counts_when_owners_are_given_blocks)
{
    struct pmm_bed *bed = machine(128);
    REQUIRE(bed != NULL);
    bed_with_owners(bed, 1);
    REQUIRE(starts(bed));
    unsigned owner;
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 2}); /* while half of what is free lies in whole ones */
    uint64_t used[3 * PMM_BLOCK_FRAMES];
    for (unsigned i = 0; i < ARRAY_LEN(used); i++) {
        used[i] = take_one(bed, PMM_USER);
    }
    for (unsigned i = 0; i < ARRAY_LEN(used); i += 2) {
        free_one(bed, used[i]);
    }
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(take_one(bed, PMM_OWNER(owner)))).owner, 0);
    REQUIRE(add(bed, AT, MORE) == STATUS_OK);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(take_one(bed, PMM_OWNER(owner)))).owner, owner);
    bed_sound(bed);
}
