/*
 * Magazines: refilled, swapped, flushed and drained, with the totals exact all the while.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 6, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };
enum { MAG = PMM_MAGAZINE_FRAMES, CACHED_MAX = PMM_CLASSES * 2 * MAG };

static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, BASE + BLOCKS, 1);
    if (bed != NULL) {
        bed_run(bed, 0, 160);
        bed_run(bed, FIRST, FRAMES);
        bed_with_cpus(bed, 1);
        if (!starts(bed)) {
            return NULL;
        }
    }
    return bed;
}

static uint64_t trips(const struct pmm_bed *bed)
{
    struct pmm_stats s = pmm_stats(&bed->pmm);
    return s.refills + s.flushes;
}

/* The totals are those of `start` with `out` frames used more, and the states of all frames say so too. */
static bool totals_are(const struct pmm_bed *bed, const struct pmm_stats *start, uint64_t out)
{
    struct pmm_stats s = pmm_stats(&bed->pmm);
    bool ok = EXPECT_EQ(s.free.v, start->free.v - out);
    ok &= EXPECT_EQ(s.used.v, start->used.v + out);
    ok &= EXPECT_EQ(s.allocated - s.freed, start->allocated - start->freed + out);
    npages_t counts[PMM_STATES];
    pmm_state_counts(&bed->pmm, counts);
    ok &= EXPECT_EQ(counts[PMM_STATE_CACHED].v, s.cached.v);
    ok &= EXPECT_EQ(counts[PMM_STATE_USED].v, s.used.v);
    ok &= EXPECT(s.cached.v <= CACHED_MAX);
    return bed_sound(bed) && ok;
}

TEST(pmm, frames_in_magazines_are_free_in_every_total)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    struct pmm_stats start = pmm_stats(&bed->pmm);
    uint64_t list[300];
    for (unsigned i = 0; i < 300; i++) {
        list[i] = take_one(bed, i % 3 == 0 ? PMM_USER : PMM_KERNEL);
        EXPECT_EQ(state_of(bed, list[i]), PMM_STATE_USED);
        REQUIRE(i % 7 != 0 || totals_are(bed, &start, i + 1));
    }
    EXPECT(pmm_stats(&bed->pmm).cached.v > 0);
    for (unsigned i = 0; i < 300; i++) {
        free_one(bed, list[i]);
        enum pmm_state state = state_of(bed, list[i]);
        EXPECT(state == PMM_STATE_CACHED || state == PMM_STATE_FREE);
        REQUIRE(i % 7 != 0 || totals_are(bed, &start, 299 - i));
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).allocated, start.allocated + 300);
    EXPECT_EQ(pmm_stats(&bed->pmm).freed, start.freed + 300);
    pmm_drain(&bed->pmm);
    totals_are(bed, &start, 0);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
}

TEST(pmm, an_empty_magazine_is_refilled_once_for_many_frames)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
        pmm_drain(&bed->pmm);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        take_one(bed, class);
        struct pmm_stats s = pmm_stats(&bed->pmm);
        EXPECT_EQ(s.refills, before.refills + 1);
        EXPECT(s.cached.v >= MAG / 2 && s.cached.v < 2 * MAG);
        for (uint64_t i = s.cached.v; i > 0; i--) {
            take_one(bed, class);
            EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, i - 1);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).refills, before.refills + 1);
        take_one(bed, class);
        EXPECT_EQ(pmm_stats(&bed->pmm).refills, before.refills + 2);
    }
    bed_sound(bed);
}

TEST(pmm, full_magazines_are_flushed_and_never_hold_more_than_they_can)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    struct pmm_stats start = pmm_stats(&bed->pmm);
    uint64_t count = take_list(bed, PMM_KERNEL, list), seen = 0;
    struct pmm_stats full = pmm_stats(&bed->pmm);
    for (uint64_t i = 0; i < count; i++) {
        free_one(bed, list[i]);
        uint64_t cached = pmm_stats(&bed->pmm).cached.v;
        REQUIRE(cached <= CACHED_MAX);
        seen = cached > seen ? cached : seen;
    }
    EXPECT(seen >= MAG);
    uint64_t flushes = pmm_stats(&bed->pmm).flushes - full.flushes;
    EXPECT(flushes > 0 && flushes <= count / (MAG / 2));
    totals_are(bed, &start, 0);
}

TEST(pmm, going_to_and_fro_over_the_end_of_a_magazine_needs_no_trip_to_the_blocks)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t list[MAG];
    for (unsigned offset = 0; offset < 3 * MAG; offset += 5) {
        for (unsigned i = 0; i < 5; i++) {
            take_one(bed, PMM_KERNEL);
        }
        for (unsigned depth = 1; depth <= MAG; depth = 2 * depth + 1) {
            uint64_t before = trips(bed);
            for (unsigned round = 0; round < 10; round++) {
                for (unsigned i = 0; i < depth; i++) {
                    list[i] = take_one(bed, PMM_KERNEL);
                }
                free_list(bed, list, depth);
            }
            EXPECT(trips(bed) <= before + 2); /* ten rounds: the first may need one */
        }
    }
    bed_sound(bed);
}

TEST(pmm, what_was_freed_last_is_served_first)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t list[20];
    for (unsigned i = 0; i < 20; i++) {
        list[i] = take_one(bed, PMM_USER);
    }
    uint64_t before = trips(bed);
    free_list(bed, list, 20);
    for (unsigned i = 20; i-- > 0;) {
        EXPECT_EQ(take_one(bed, PMM_USER), list[i]);
    }
    EXPECT_EQ(trips(bed), before);
}

TEST(pmm, with_magazines_memory_is_served_to_the_last_frame_and_back)
{
    struct rng rng = rng_seeded(test_seed());
    for (unsigned round = 0; round < 6; round++) {
        struct pmm_bed *bed = machine();
        REQUIRE(bed != NULL);
        uint64_t *list = frame_list(bed);
        REQUIRE(list != NULL);
        struct pmm_stats start = pmm_stats(&bed->pmm);
        uint64_t count = 0, free = start.free.v;
        pfn_t frame;
        while (pmm_alloc(&bed->pmm, round < 2 ? round : (unsigned)rng_below(&rng, 2), &frame) == STATUS_OK) {
            list[count++] = frame.v;
        }
        EXPECT_EQ(count, free); /* out of memory is said when nothing is left, not earlier */
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
        totals_are(bed, &start, count);
        for (uint64_t n = count; n > 0; n--) {
            uint64_t pick = rng_below(&rng, n);
            free_one(bed, list[pick]);
            list[pick] = list[n - 1];
        }
        totals_are(bed, &start, 0);
        EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
    }
}

TEST(pmm, frames_in_the_magazine_of_the_other_class_serve_before_out_of_memory)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
        uint64_t count = take_list(bed, class, list);
        free_list(bed, &list[200], 3);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 3);
        EXPECT_EQ(bed_take_all(bed, class ^ PMM_USER), 3);
        free_list(bed, list, count);
        bed_sound(bed);
    }
}

TEST(pmm, whole_requests_reach_into_magazines)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    uint64_t *list = frame_list(bed);
    REQUIRE(list != NULL);
    uint64_t count = take_list(bed, PMM_KERNEL, list), cached;
    /* One block's frames, some of them cached: the run needs them all. */
    uint64_t block = list[0] / PMM_BLOCK_FRAMES, freed = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (list[i] / PMM_BLOCK_FRAMES == block) {
            free_one(bed, list[i]);
            freed++;
        }
    }
    cached = pmm_stats(pmm).cached.v;
    EXPECT(cached > 0);
    pfn_t run;
    bed_remember(bed);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, npages(PMM_BLOCK_FRAMES + 1), npages(0), npages(0), PMM_NO_LIMIT, &run),
              STATUS_NOMEM);
    bed_unchanged(bed);
    if (freed == PMM_BLOCK_FRAMES) {
        npages_t n = npages(PMM_BLOCK_FRAMES);
        EXPECT_EQ(pmm_alloc_run(pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &run), STATUS_OK);
        EXPECT_EQ(run.v, block * PMM_BLOCK_FRAMES);
        EXPECT_EQ(pmm_free_run(pmm, run, n), STATUS_OK);
    }
    free_one(bed, take_one(bed, PMM_KERNEL));
    EXPECT(pmm_stats(pmm).cached.v > 0);
    EXPECT_EQ(pmm_promise(pmm, npages(freed + 1)), STATUS_NOMEM);
    EXPECT_EQ(pmm_promise(pmm, npages(freed)), STATUS_OK);
    EXPECT_EQ(bed_take_all(bed, PMM_USER), 0);
    for (uint64_t i = 0; i < freed; i++) {
        EXPECT(take_one(bed, PMM_PROMISED | (i & PMM_USER)) != 0);
    }
    bed_sound(bed);
}

TEST(pmm, a_frame_in_a_magazine_can_be_claimed)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    free_one(bed, frame);
    EXPECT_EQ(state_of(bed, frame), PMM_STATE_CACHED);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(frame), npages(1)), STATUS_OK);
    EXPECT_EQ(state_of(bed, frame), PMM_STATE_USED);
    for (unsigned i = 0; i < 300; i++) {
        EXPECT(take_one(bed, PMM_USER) != frame);
    }
    bed_sound(bed);
}

TEST(pmm, a_frame_in_a_magazine_is_free_for_those_who_would_free_it_again)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    uint64_t frame = take_one(bed, PMM_USER), other = take_one(bed, PMM_USER);
    free_one(bed, frame);
    free_one(bed, other);
    for (unsigned i = 0; i < 2; i++, frame = other) {
        EXPECT_EQ(state_of(bed, frame), PMM_STATE_CACHED);
        EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(frame)), "pmm_free: ", "block 0x");
        EXPECT_MISUSE(snap, bed, pmm_release(&bed->pmm, pfn(frame), NULL), "pmm_release: ");
        EXPECT_MISUSE(snap, bed, pmm_retain(&bed->pmm, pfn(frame)), "pmm_retain: ");
        EXPECT_MISUSE(snap, bed, pmm_free_run(&bed->pmm, pfn(frame), npages(1)), "pmm_free_run: ");
    }
}

TEST(pmm, a_call_that_interrupts_a_magazine_is_served_from_the_blocks)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    take_one(bed, PMM_KERNEL);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    uint64_t inside = before.cached.v;
    EXPECT(inside > 0);
    bed->cpus[0].inside = 1; /* as if an interrupt landed in the middle of pmm_alloc */
    uint64_t list[100];
    for (unsigned i = 0; i < 100; i++) {
        list[i] = take_one(bed, PMM_NO_RECLAIM | (i & PMM_USER));
        EXPECT_EQ(state_of(bed, list[i]), PMM_STATE_USED);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, inside);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - 100);
    free_list(bed, list, 100);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, inside);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
    /* To the end: what is in the magazine is out of reach, and nothing breaks. */
    EXPECT_EQ(bed_take_all(bed, PMM_NO_RECLAIM), before.free.v - inside);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, inside);
    bed->cpus[0].inside = 0;
    bed_sound(bed);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), inside);
    bed_sound(bed);
}

TEST(pmm, frames_below_1_mib_go_past_the_magazines)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    uint64_t frame = take_one(bed, PMM_BELOW_1M);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    free_one(bed, frame);
    EXPECT_EQ(state_of(bed, frame), PMM_STATE_FREE);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    EXPECT(take_one(bed, PMM_KERNEL) >= FIRST);
    bed_sound(bed);
}

TEST(pmm, a_code_beyond_the_carve_mark_means_nothing_to_a_magazine)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    uint64_t frame = take_one(bed, PMM_USER);
    free_one(bed, take_one(bed, PMM_USER)); /* this CPU knows the block now */
    uint64_t beyond = frame - frame % PMM_BLOCK_FRAMES + PMM_BLOCK_FRAMES - 1;
    EXPECT_EQ(state_of(bed, beyond), PMM_STATE_FREE);
    REQUIRE(bed->blocks[frame / PMM_BLOCK_FRAMES].mode == PMM_BLOCK_OPEN);
    bed->states[beyond] = 1; /* left there by who had the whole block */
    EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(beyond)), "pmm_free: ", "(free,");
}
