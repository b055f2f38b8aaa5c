/*
 * Owners: what they are charged, when they get blocks of their own, and what happens to these when the owner goes or
 * memory is short.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 12, BLOCKS = FIELD_BLOCKS + 4, ALL = BLOCKS * BLOCK };

/* ---- Open, close, numbers ---- */

TEST(pmm_owners, owners_are_opened_up_to_the_capacity_and_places_are_used_again)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    unsigned owners[RUNS_BED_OWNERS], another = 77;
    EXPECT_EQ(pmm_stats(&bed->pmm).owners, 0);
    for (unsigned i = 0; i < RUNS_BED_OWNERS; i++) {
        REQUIRE(pmm_owner_open(&bed->pmm, &owners[i]) == STATUS_OK);
        EXPECT(owners[i] > 0);
        for (unsigned k = 0; k < i; k++) {
            EXPECT(owners[k] != owners[i]);
        }
        expect_books(bed, owners[i], 0, 0, 0);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).owners, RUNS_BED_OWNERS);
    EXPECT_REFUSED(bed, pmm_owner_open(&bed->pmm, &another), STATUS_LIMIT);
    EXPECT_EQ(another, 77);
    REQUIRE(pmm_owner_close(&bed->pmm, owners[2], NULL) == STATUS_OK);
    EXPECT(!pmm_owner_stats(&bed->pmm, owners[2], &(struct pmm_owner_stats){}));
    EXPECT_EQ(pmm_stats(&bed->pmm).owners, RUNS_BED_OWNERS - 1);
    REQUIRE(pmm_owner_open(&bed->pmm, &another) == STATUS_OK);
    EXPECT_EQ(another, owners[2]);
    EXPECT_REFUSED(bed, pmm_owner_open(&bed->pmm, &another), STATUS_LIMIT);
    test_expect_reports(test_reports()); /* the limit may be said */
}

TEST(pmm_owners, no_such_owner_is_misuse_everywhere)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 1, 10, 0, &owner);
    REQUIRE(bed != NULL && pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
    const unsigned wrong[] = {owner, 0, RUNS_BED_OWNERS, RUNS_BED_OWNERS + 1, UINT16_MAX, 1U << 16 | owner, UINT32_MAX};
    struct pmm_owner_end end;
    struct pmm_owner_stats stats;
    pfn_t frame = pfn(7);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_REFUSED(bed, pmm_owner_close(&bed->pmm, wrong[i], &end), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_owner_close"));
        EXPECT_REFUSED(bed, pmm_uncharge(&bed->pmm, wrong[i], npages(1)), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_uncharge"));
        EXPECT(!pmm_owner_stats(&bed->pmm, wrong[i], &stats));
        EXPECT(!pmm_owner_takes_back(&bed->pmm, wrong[i], pfn(FIELD)));
    }
    EXPECT_REFUSED(bed, pmm_alloc(&bed->pmm, PMM_OWNER(owner), &frame), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_alloc(&bed->pmm, PMM_OWNER(RUNS_BED_OWNERS + 1), &frame), STATUS_MISUSE);
    EXPECT_REFUSED(bed, pmm_alloc(&bed->pmm, PMM_OWNER(UINT16_MAX), &frame), STATUS_MISUSE);
    EXPECT_EQ(frame.v, 7);
    test_expect_reports(2 * ARRAY_LEN(wrong) + 3);
}

/* ---- When blocks of its own ---- */

TEST(pmm_owners, from_the_threshold_on_frames_come_from_blocks_of_its_own)
{
    static const uint64_t thresholds[] = {0, 1, 100, 700};
    for (size_t i = 0; i < 2 * ARRAY_LEN(thresholds); i++) {
        unsigned owner;
        uint64_t threshold = thresholds[i / 2];
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, i % 2, threshold, 0, &owner);
        REQUIRE(bed != NULL);
        EXPECT_EQ(pmm_policy(&bed->pmm).owner_threshold.v, threshold);
        EXPECT_EQ(pmm_policy(&bed->pmm).owner_guard, 0);
        for (uint64_t n = 0; n < threshold + 600; n++) {
            pfn_t frame = draw(bed, owner);
            REQUIRE(frame.v != 0);
            REQUIRE(EXPECT_EQ(owner_of(bed, frame), n < threshold ? 0 : owner));
            EXPECT_EQ(pmm_owner_takes_back(&bed->pmm, owner, frame), n >= threshold);
        }
        expect_books(bed, owner, 2, 600, threshold);
        struct pmm_owner_stats s;
        EXPECT(pmm_owner_stats(&bed->pmm, owner, &s) && s.drawn == threshold + 600);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, threshold + 600);
        bed_sound(bed);
    }
}

TEST(pmm_owners, frames_freed_or_uncharged_count_no_more_towards_the_threshold)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 10, 0, &owner);
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < 40; i++) {
        pfn_t frame = draw(bed, owner);
        REQUIRE(owner_of(bed, frame) == 0);
        REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK && pmm_uncharge(&bed->pmm, owner, npages(1)) == STATUS_OK);
    }
    expect_books(bed, owner, 0, 0, 0);
    for (unsigned i = 0; i < 11; i++) {
        EXPECT_EQ(owner_of(bed, draw(bed, owner)), i < 10 ? 0 : owner);
    }
    expect_books(bed, owner, 1, 1, 10);
    EXPECT_REFUSED(bed, pmm_uncharge(&bed->pmm, owner, npages(11)), STATUS_MISUSE);
    EXPECT(bed_reported("pmm_uncharge"));
    EXPECT_EQ(pmm_uncharge(&bed->pmm, owner, npages(10)), STATUS_OK);
    expect_books(bed, owner, 1, 1, 0);
    EXPECT_REFUSED(bed, pmm_uncharge(&bed->pmm, owner, npages(1)), STATUS_MISUSE);
    EXPECT_EQ(pmm_uncharge(&bed->pmm, owner, npages(0)), STATUS_OK);
    /* Those in its own blocks count as well: when the first is full, there is a second. */
    for (unsigned i = 0; i < 600; i++) {
        REQUIRE(owner_of(bed, draw(bed, owner)) == owner);
    }
    expect_books(bed, owner, 2, 601, 0);
    bed_sound(bed);
    test_expect_reports(2);
}

/* Four blocks with every other frame free. */
static bool scatter(struct pmm_bed *bed)
{
    pfn_t *frames = frames_for(4 * BLOCK);
    bool ok = frames != NULL;
    for (unsigned i = 0; ok && i < 4 * BLOCK; i++) {
        ok = pmm_alloc(&bed->pmm, PMM_USER, &frames[i]) == STATUS_OK;
    }
    for (unsigned i = 0; ok && i < 4 * BLOCK; i += 2) {
        ok = pmm_free(&bed->pmm, frames[i]) == STATUS_OK;
    }
    return ok;
}

TEST(pmm_owners, the_guard_gives_whole_blocks_while_most_of_what_is_free_lies_in_such)
{
    static const unsigned guards[] = {1, 2, 4, 8, 0};
    for (size_t g = 0; g < ARRAY_LEN(guards); g++) {
        unsigned owner, guard = guards[g], own_blocks = 0, denied = 0;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, guard, &owner);
        REQUIRE(bed != NULL && scatter(bed));
        struct pmm_owner_stats before, after;
        for (uint64_t left = pmm_stats(&bed->pmm).free.v; left > 0; left--) {
            uint64_t whole = whole_blocks(bed), free = pmm_stats(&bed->pmm).free.v;
            REQUIRE(pmm_owner_stats(&bed->pmm, owner, &before));
            pfn_t frame = draw(bed, owner);
            REQUIRE(frame.v != 0 && pmm_owner_stats(&bed->pmm, owner, &after));
            bool more = after.own_blocks.v > before.own_blocks.v;
            bool had_own = before.in_own.v < before.own_blocks.v * BLOCK;
            bool allowed = whole > 0 && (guard == 0 || whole * BLOCK >= free - free / guard);
            own_blocks += more;
            denied += whole > 0 && !had_own && !more;
            REQUIRE(EXPECT_EQ(more, !had_own && allowed));
            REQUIRE(EXPECT_EQ(owner_of(bed, frame) == owner, had_own || allowed));
        }
        EXPECT(own_blocks > 0);
        EXPECT_EQ(denied > 0, guard > 1);
        bed_sound(bed);
    }
}

TEST(pmm_owners, nobody_else_is_in_an_owners_blocks)
{
    struct rng rng = rng_seeded(test_seed());
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        unsigned owners[3] = {0, 0, 0}; /* the first is nobody */
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, cpus, 20, 0, &owners[1]);
        uint8_t *taken_by = test_pages(1); /* [block]: who drew from it, + 1 */
        REQUIRE(bed != NULL && taken_by != NULL && pmm_owner_open(&bed->pmm, &owners[2]) == STATUS_OK);
        for (unsigned i = 0; i < ALL / 2; i++) {
            unsigned who = (unsigned)rng_below(&rng, 4), owner = who < 3 ? owners[who] : 0;
            pfn_t frame = pfn(0);
            REQUIRE(pmm_alloc(&bed->pmm, PMM_OWNER(owner) | (who == 3 ? PMM_USER : 0), &frame) == STATUS_OK);
            unsigned of = owner_of(bed, frame);
            REQUIRE(of == 0 || of == owner);
            uint8_t *seen = &taken_by[frame.v / BLOCK - SIDE / BLOCK];
            EXPECT(*seen == 0 || *seen == of + 1 || of == 0); /* it may become everybody's, and never another's */
            *seen = (uint8_t)(of + 1);
        }
        bed_sound(bed);
    }
}

TEST(pmm_owners, frames_of_own_blocks_go_past_the_magazines)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 1, 0, 0, &owner);
    REQUIRE(bed != NULL);
    pfn_t *frames = frames_for(300);
    REQUIRE(frames != NULL && draw_many(bed, owner, frames, 300));
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    for (unsigned i = 0; i < 299; i++) {
        REQUIRE(pmm_free(&bed->pmm, frames[i]) == STATUS_OK);
        EXPECT_EQ(frame_state(bed, frames[i].v), PMM_STATE_FREE);
        EXPECT_EQ(owner_of(bed, frames[i]), owner);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    expect_books(bed, owner, 1, 1, 0);
    /* They are its own still: nobody else gets one, it does. */
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_EQ(owner_of(bed, frame), 0);
    EXPECT_EQ(owner_of(bed, draw(bed, owner)), owner);
    REQUIRE(pmm_free(&bed->pmm, frames[299]) == STATUS_OK);
    bed_sound(bed);
    EXPECT_REFUSED(bed, pmm_free(&bed->pmm, frames[299]), STATUS_MISUSE);
    char named[32];
    fmt_text(named, sizeof named, "owner %u", owner);
    EXPECT(bed_reported(named));
    test_expect_reports(1);
}

TEST(pmm_owners, many_frames_of_an_owner_are_charged_and_all_or_nothing)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, cpus, 100, 0, &owner);
        pfn_t *frames = frames_for(ALL);
        REQUIRE(bed != NULL && frames != NULL);
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        EXPECT_REFUSED(bed, pmm_alloc_many(&bed->pmm, PMM_OWNER(owner), frames, npages(free + 1)), STATUS_NOMEM);
        expect_books(bed, owner, 0, 0, 0);
        REQUIRE(pmm_alloc_many(&bed->pmm, PMM_OWNER(owner), frames, npages(1000)) == STATUS_OK);
        expect_books(bed, owner, 2, 900, 100);
        for (unsigned i = 0; i < 1000; i++) {
            EXPECT_EQ(owner_of(bed, frames[i]), i < 100 ? 0 : owner);
        }
        bed_sound(bed);
        REQUIRE(pmm_free_many(&bed->pmm, frames + 100, npages(900), NULL) == STATUS_OK);
        struct pmm_owner_stats s;
        EXPECT(pmm_owner_stats(&bed->pmm, owner, &s) && s.in_own.v == 0 && s.elsewhere.v == 100 && s.drawn == 1000);
        bed_sound(bed);
        REQUIRE(pmm_alloc_many(&bed->pmm, PMM_OWNER(owner), frames + 100, npages(free - 100)) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
    }
}
