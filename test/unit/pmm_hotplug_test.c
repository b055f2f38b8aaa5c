/*
 * Memory that comes and goes at run time: what it costs, what is refused, and what is in the way.
 */
#include "unit/pmm_steps.h"

/* Boot memory is blocks [8, 12); the window for more ends at block 128. */
enum { BASE = 8, BLOCKS = 4, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES, NEW = 40 };
enum { AT = NEW * PMM_BLOCK_FRAMES, MORE = 6 * PMM_BLOCK_FRAMES };

static uint64_t *slots; /* of a set, for units_missing */

static struct pmm_bed *machine(unsigned levels, size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, levels);
    slots = bed_pages(NULL, BED_SET_SLOTS * sizeof *slots);
    if (bed != NULL && slots != NULL) {
        bed_run(bed, FIRST, FRAMES);
        bed_with_room(bed, 4);
        some_cpus(bed, cpus);
        if (!starts(bed)) {
            return NULL;
        }
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

/* Pages and tables behind the arrays of all RAM that are not there yet, by looking at each block. */
static uint64_t units_missing(const struct pmm_bed *bed)
{
    struct bed_set seen = {slots, 0};
    memset(slots, 0, BED_SET_SLOTS * sizeof *slots);
    for (size_t i = 0; i < bed->pmm.run_count; i++) {
        uint64_t end = run_end(bed->pmm.runs[i]);
        for (uint64_t b = bed->pmm.runs[i].first.v / PMM_BLOCK_FRAMES; b * PMM_BLOCK_FRAMES < end; b++) {
            const void *places[] = {&bed->states[b * PMM_BLOCK_FRAMES], &bed->blocks[b]};
            for (unsigned place = 0; place < 2; place++) {
                for (unsigned level = 0; level <= bed->levels; level++) {
                    uint64_t unit = bed_unit(places[place], level);
                    if (!bed_set_has(&bed->backed, unit)) {
                        bed_set_add(&seen, unit);
                    }
                }
            }
        }
    }
    return seen.count;
}

static void expect_exact(const struct pmm_bed *bed)
{
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.earmarked.v, units_missing(bed));
    EXPECT_EQ(s.metadata.v, bed->frames_taken);
    EXPECT_EQ(s.ram.v, s.free.v + s.used.v + s.metadata.v + s.earmarked.v + s.reserved.v);
    bed_sound(bed);
}

TEST(pmm, added_memory_is_a_region_never_used_and_serves_to_the_last_frame)
{
    for (unsigned levels = 0; levels <= PMM_TABLE_LEVELS_MAX; levels++) {
        struct pmm_bed *bed = machine(levels, levels == 1);
        REQUIRE(bed != NULL);
        take_one(bed, PMM_KERNEL);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        uint64_t backs = bed->backs;
        REQUIRE(add(bed, AT, MORE) == STATUS_OK);
        EXPECT_EQ(bed->backs, backs);
        expect_exact(bed);
        struct pmm_stats now = pmm_stats(&bed->pmm);
        EXPECT_EQ(now.ram.v, before.ram.v + MORE);
        EXPECT_EQ(now.regions, before.regions + 1);
        EXPECT_EQ(now.free.v + now.earmarked.v, before.free.v + before.earmarked.v + MORE);
        EXPECT_EQ(now.used.v, before.used.v);
        EXPECT_EQ(state_of(bed, AT), PMM_STATE_UNTOUCHED);
        EXPECT_EQ(state_of(bed, AT + MORE - 1), PMM_STATE_UNTOUCHED);
        EXPECT_EQ(state_of(bed, AT - 1), PMM_STATE_OUTSIDE);
        EXPECT_EQ(state_of(bed, AT + MORE), PMM_STATE_OUTSIDE);
        struct pmm_region_stats r;
        REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
        EXPECT_EQ(r.base.v, AT);
        EXPECT_EQ(r.frames.v, MORE);
        EXPECT_EQ(r.free.v, MORE);
        EXPECT_EQ(r.untouched.v, MORE);
        EXPECT(!pmm_region_stats(&bed->pmm, 2, &r));
        EXPECT_EQ(bed_take_all(bed, PMM_USER), now.free.v);
        expect_exact(bed);
    }
}

TEST(pmm, memory_that_touches_a_region_becomes_one_of_its_own)
{
    struct pmm_bed *bed = machine(1, 0);
    REQUIRE(bed != NULL);
    REQUIRE(add(bed, FIRST + FRAMES, PMM_BLOCK_FRAMES) == STATUS_OK);
    expect_exact(bed);
    REQUIRE(add(bed, FIRST + FRAMES + PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES) == STATUS_OK);
    expect_exact(bed);
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 3);
    struct pmm_region_stats r;
    REQUIRE(pmm_region_stats(&bed->pmm, 1, &r));
    EXPECT_EQ(r.base.v, FIRST + FRAMES);
    EXPECT_EQ(r.frames.v, PMM_BLOCK_FRAMES);
    EXPECT_EQ(take_away(bed, FIRST, FRAMES + PMM_BLOCK_FRAMES), STATUS_ABSENT);
    EXPECT_EQ(take_away(bed, FIRST + FRAMES, 3 * PMM_BLOCK_FRAMES), STATUS_ABSENT);
    EXPECT_EQ(take_away(bed, FIRST + FRAMES, PMM_BLOCK_FRAMES), STATUS_OK);
    expect_exact(bed);
    EXPECT_EQ(state_of(bed, FIRST + FRAMES - 1), PMM_STATE_UNTOUCHED);
    EXPECT_EQ(state_of(bed, FIRST + FRAMES), PMM_STATE_OUTSIDE);
    EXPECT_EQ(state_of(bed, FIRST + FRAMES + PMM_BLOCK_FRAMES), PMM_STATE_UNTOUCHED);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free);
    expect_exact(bed);
}

TEST(pmm, what_cannot_be_a_region_is_refused)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 1);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST + 9, FRAMES - 20); /* its first and last block have frames that are no RAM */
    bed_with_room(bed, 4);
    REQUIRE(starts(bed));
    bed_remember(bed);
    EXPECT_EQ(add(bed, AT, 0), STATUS_INVALID);
    EXPECT_EQ(add(bed, AT, 1), STATUS_INVALID);
    EXPECT_EQ(add(bed, AT, PMM_BLOCK_FRAMES + 1), STATUS_INVALID);
    EXPECT_EQ(add(bed, AT + 1, PMM_BLOCK_FRAMES), STATUS_INVALID);
    EXPECT_EQ(add(bed, UINT64_MAX - PMM_BLOCK_FRAMES + 1, PMM_BLOCK_FRAMES), STATUS_INVALID);
    EXPECT_EQ(add(bed, AT, UINT64_MAX - PMM_BLOCK_FRAMES + 1), STATUS_INVALID);
    EXPECT_EQ(add(bed, (uint64_t)PMM_NO_BLOCK * PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES), STATUS_INVALID);
    EXPECT_EQ(pmm_region_add(&bed->pmm, pfn(AT), npages(MORE), 1), STATUS_INVALID); /* there is node 0 only */
    EXPECT_EQ(add(bed, FIRST, PMM_BLOCK_FRAMES), STATUS_EXISTS);
    EXPECT_EQ(add(bed, FIRST + FRAMES - PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES), STATUS_EXISTS);
    EXPECT_EQ(add(bed, FIRST - PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES), STATUS_EXISTS);
    EXPECT_EQ(add(bed, FIRST + PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES), STATUS_EXISTS);
    EXPECT_EQ(add(bed, FIRST - PMM_BLOCK_FRAMES, FRAMES + 2 * PMM_BLOCK_FRAMES), STATUS_EXISTS);
    bed_unchanged(bed);
    EXPECT_EQ(pmm_stats(&bed->pmm).regions, 1);
}

TEST(pmm, memory_is_added_only_where_the_lists_have_room_for_it)
{
    for (unsigned full = 0; full < 2; full++) {
        struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
        REQUIRE(bed != NULL);
        bed_run(bed, FIRST, FRAMES);
        bed_with_room(bed, full == 0 ? 0 : 2); /* runs */
        bed->region_capacity = full == 0 ? 3 : 1;
        REQUIRE(starts(bed));
        bed_remember(bed);
        EXPECT_EQ(add(bed, AT, MORE), STATUS_LIMIT);
        bed_unchanged(bed);
    }
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, FRAMES);
    bed_with_room(bed, 1);
    bed->region_capacity = 2;
    REQUIRE(starts(bed));
    for (unsigned i = 0; i < 5; i++) {
        REQUIRE(add(bed, AT, MORE) == STATUS_OK);
        EXPECT_EQ(add(bed, AT + 2 * MORE, MORE), STATUS_LIMIT);
        REQUIRE(take_away(bed, AT, MORE) == STATUS_OK); /* a whole run goes: no room is needed for it */
    }
    bed_sound(bed);
}

TEST(pmm, what_was_added_can_be_taken_away_and_added_again_any_number_of_times)
{
    for (unsigned levels = 0; levels <= PMM_TABLE_LEVELS_MAX; levels++) {
        struct pmm_bed *bed = machine(levels, levels == 2);
        REQUIRE(bed != NULL);
        uint64_t mine = take_one(bed, PMM_KERNEL); /* boot memory pays for metadata */
        struct pmm_stats before = pmm_stats(&bed->pmm);
        for (unsigned round = 0; round < 20; round++) {
            REQUIRE(add(bed, AT, MORE) == STATUS_OK);
            expect_exact(bed);
            /* Open a block, and in later rounds more: their pages stay, and are found again. */
            uint64_t frame = AT + (round % 6) * PMM_BLOCK_FRAMES + round;
            REQUIRE(pmm_claim(&bed->pmm, pfn(frame), npages(3)) == STATUS_OK);
            expect_exact(bed);
            EXPECT_EQ(take_away(bed, AT, MORE), STATUS_EXISTS);
            REQUIRE(pmm_free_run(&bed->pmm, pfn(frame), npages(3)) == STATUS_OK);
            REQUIRE(take_away(bed, AT, MORE) == STATUS_OK);
            struct pmm_stats now = pmm_stats(&bed->pmm);
            EXPECT_EQ(now.ram.v, before.ram.v);
            EXPECT_EQ(now.regions, before.regions);
            EXPECT_EQ(now.used.v, before.used.v);
            EXPECT_EQ(now.reserved.v, before.reserved.v);
            EXPECT_EQ(now.free.v + now.metadata.v + now.earmarked.v,
                      before.free.v + before.metadata.v + before.earmarked.v);
            EXPECT_EQ(state_of(bed, frame), PMM_STATE_OUTSIDE);
            expect_exact(bed);
        }
        free_one(bed, mine);
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free);
        expect_exact(bed);
    }
}

TEST(pmm, memory_taken_away_is_outside_ram_for_everybody)
{
    struct pmm_bed *bed = machine(0, 1);
    REQUIRE(bed != NULL);
    take_one(bed, PMM_KERNEL);
    REQUIRE(add(bed, AT, MORE) == STATUS_OK);
    REQUIRE(pmm_claim(&bed->pmm, pfn(AT), npages(5)) == STATUS_OK);
    for (unsigned i = 0; i < 5; i++) {
        free_one(bed, AT + i); /* into the magazine: that holds nobody up */
    }
    REQUIRE(take_away(bed, AT, MORE) == STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(AT)), STATUS_MISUSE);
    report_has("outside RAM");
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(AT + 4)), STATUS_MISUSE);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(AT), npages(1)), STATUS_ABSENT);
    EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(AT)), STATUS_ABSENT);
    EXPECT_EQ(take_away(bed, AT, MORE), STATUS_ABSENT);
    npages_t counts[PMM_STATES];
    pmm_state_counts(&bed->pmm, counts);
    uint64_t ram = 0;
    for (unsigned i = 0; i < PMM_STATES; i++) {
        ram += i == PMM_STATE_OUTSIDE || i == PMM_STATE_ABSENT ? 0 : counts[i].v;
    }
    EXPECT_EQ(ram, FRAMES);
    uint64_t *list = frame_list(bed), count = take_list(bed, PMM_USER, list);
    for (uint64_t i = 0; i < count; i++) {
        EXPECT(list[i] < FIRST + FRAMES);
    }
    test_expect_reports(2);
    expect_exact(bed);
}

TEST(pmm, what_is_in_the_way_of_removal_is_told_by_kind_and_nothing_changes)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, FRAMES);
    bed_run(bed, AT, MORE);
    bed_hold(bed, FIRST, 5, HOLD_USED);
    bed_hold(bed, AT + 3 * PMM_BLOCK_FRAMES, 7, HOLD_RESERVED);
    bed_hold(bed, AT + 4 * PMM_BLOCK_FRAMES, 2, HOLD_USED);
    bed_hold(bed, AT + 4 * PMM_BLOCK_FRAMES + 2, 4, HOLD_METADATA);
    REQUIRE(starts(bed));
    REQUIRE(pmm_claim(&bed->pmm, pfn(AT + 100), npages(9)) == STATUS_OK);
    REQUIRE(pmm_retain(&bed->pmm, pfn(AT + 101)) == STATUS_OK);
    REQUIRE(pmm_mark_bad(&bed->pmm, pfn(AT + 400)) == STATUS_OK);
    struct pmm_in_the_way way = {.used = npages(77)};
    bed_remember(bed);
    EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(AT), npages(MORE), &way), STATUS_EXISTS);
    EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(AT), npages(MORE), NULL), STATUS_EXISTS);
    bed_unchanged(bed);
    uint64_t metadata = 0;
    for (uint64_t f = AT; f < AT + MORE; f++) {
        metadata += state_of(bed, f) == PMM_STATE_METADATA;
    }
    EXPECT(metadata >= 4);
    EXPECT_EQ(way.first.v, AT + 100);
    EXPECT_EQ(way.what.state, PMM_STATE_USED);
    EXPECT_EQ(way.what.references, 1);
    EXPECT_EQ(way.what.region, 1);
    EXPECT_EQ(way.used.v, 9 + 2);
    EXPECT_EQ(way.reserved.v, 7 + 1);
    EXPECT_EQ(way.metadata.v, metadata);
    /* One kind after the other goes. */
    REQUIRE(pmm_release(&bed->pmm, pfn(AT + 101), NULL) == STATUS_OK);
    REQUIRE(pmm_free_run(&bed->pmm, pfn(AT + 100), npages(9)) == STATUS_OK);
    REQUIRE(pmm_free_run(&bed->pmm, pfn(AT + 4 * PMM_BLOCK_FRAMES), npages(2)) == STATUS_OK);
    EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(AT), npages(MORE), &way), STATUS_EXISTS);
    EXPECT_EQ(way.first.v, AT + 400);
    EXPECT_EQ(way.what.state, PMM_STATE_BAD);
    EXPECT_EQ(way.used.v, 0);
    REQUIRE(pmm_give_back(&bed->pmm, pfn(AT + 3 * PMM_BLOCK_FRAMES), npages(7)) == STATUS_OK);
    EXPECT_EQ(pmm_region_remove(&bed->pmm, pfn(AT), npages(MORE), &way), STATUS_EXISTS);
    EXPECT_EQ(way.reserved.v, 1);
    EXPECT_EQ(way.metadata.v, metadata);
    bed_sound(bed);
}
