/*
 * What is shared and what is not: references, the zero frame, and blocks, which kernel and user frames never share
 * while others are free.
 */
#include "unit/pmm_runs_bed.h"

#include "pmm/pmm_pressure.h"

enum { FIELD_BLOCKS = 12, BLOCKS = FIELD_BLOCKS + 4, ALL = BLOCKS * BLOCK };

static struct pmm_bed *started(size_t cpus)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
    return bed != NULL && bed_starts(bed) ? bed : NULL;
}

/* ---- References ---- */

TEST(pmm_share, a_shared_frame_is_freed_by_its_last_release_only)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = started(cpus);
        pfn_t frame;
        REQUIRE(bed != NULL && pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        for (unsigned sharers = 2; sharers <= 5; sharers++) {
            REQUIRE(pmm_retain(&bed->pmm, frame) == STATUS_OK);
            EXPECT_EQ(pmm_query(&bed->pmm, frame).references, sharers);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v);
        EXPECT_REFUSED(bed, pmm_free(&bed->pmm, frame), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &frame, npages(1), NULL), STATUS_MISUSE);
        EXPECT_REFUSED(bed, free_run(bed, frame.v, 1), STATUS_MISUSE);
        bool freed = true;
        for (unsigned sharers = 4; sharers >= 1; sharers--) {
            REQUIRE(pmm_release(&bed->pmm, frame, sharers % 2 == 0 ? &freed : NULL) == STATUS_OK);
            EXPECT(sharers % 2 != 0 || !freed);
            EXPECT_EQ(pmm_query(&bed->pmm, frame).references, sharers);
        }
        freed = false;
        REQUIRE(pmm_release(&bed->pmm, frame, &freed) == STATUS_OK && freed);
        expect_free(bed, frame.v, 1);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v - 1);
        freed = false;
        EXPECT_REFUSED(bed, pmm_release(&bed->pmm, frame, &freed), STATUS_MISUSE);
        EXPECT(!freed);
        EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, frame), STATUS_MISUSE);
    }
    test_expect_reports(10);
}

TEST(pmm_share, any_kind_of_used_frame_can_be_shared)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 1);
    REQUIRE(bed != NULL);
    bed_hold(bed, SIDE + 9, 1, HOLD_USED);
    REQUIRE(bed_starts(bed));
    unsigned owner;
    pmm_policy_set(&bed->pmm, (struct pmm_policy){.owner_threshold = npages(1), .owner_guard = 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    pfn_t frames[7] = {pfn(SIDE + 9), pfn(SIDE + BLOCK)}, whole;
    REQUIRE(pmm_claim(&bed->pmm, frames[1], npages(1)) == STATUS_OK);
    REQUIRE(any_run(bed, 30, &frames[2]) == STATUS_OK && any_run(bed, 2 * BLOCK, &whole) == STATUS_OK);
    frames[3] = pfn_add(whole, BLOCK + 1);
    REQUIRE((frames[4] = draw(bed, owner)).v != 0 && (frames[5] = draw(bed, owner)).v != 0);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frames[6]) == STATUS_OK);
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        bool freed = true;
        REQUIRE(pmm_retain(&bed->pmm, frames[i]) == STATUS_OK);
        EXPECT_EQ(pmm_query(&bed->pmm, frames[i]).references, 2);
        bed_sound(bed);
        REQUIRE(pmm_release(&bed->pmm, frames[i], &freed) == STATUS_OK && !freed);
        REQUIRE(pmm_release(&bed->pmm, frames[i], &freed) == STATUS_OK && freed);
        expect_free(bed, frames[i].v, 1);
        bed_sound(bed);
    }
}

/* ---- The zero frame ---- */

TEST(pmm_share, the_zero_frame_is_set_once_from_a_frame_used_once)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 1);
    REQUIRE(bed != NULL);
    bed_hold(bed, SIDE, 2, HOLD_RESERVED);
    bed_hold(bed, SIDE + 2, 1, HOLD_METADATA);
    REQUIRE(bed_starts(bed));
    pfn_t zero = pfn(7), shared, other;
    EXPECT_EQ(pmm_zero_frame(&bed->pmm, &zero), STATUS_ABSENT);
    EXPECT_EQ(zero.v, 7);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &shared) == STATUS_OK && pmm_retain(&bed->pmm, shared) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &zero) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &other) == STATUS_OK && pmm_free(&bed->pmm, other) == STATUS_OK);
    const pfn_t wrong[] = {shared, other, pfn(SIDE), pfn(SIDE + 2), pfn(FIELD), pfn(SIDE - 1), pfn(UINT64_MAX)};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, wrong[i]), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_zero_frame_set"));
    }
    EXPECT_EQ(pmm_zero_frame(&bed->pmm, &other), STATUS_ABSENT);
    REQUIRE(pmm_zero_frame_set(&bed->pmm, zero) == STATUS_OK);
    EXPECT_EQ(pmm_zero_frame(&bed->pmm, &other), STATUS_OK);
    EXPECT_EQ(other.v, zero.v);
    EXPECT_EQ(frame_state(bed, zero.v), PMM_STATE_ZERO);
    EXPECT_EQ(pmm_query(&bed->pmm, zero).references, 0);
    bed_sound(bed);
    REQUIRE(pmm_release(&bed->pmm, shared, NULL) == STATUS_OK);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, shared), STATUS_EXISTS);
    EXPECT_REFUSED(bed, pmm_zero_frame_set(&bed->pmm, zero), STATUS_EXISTS);
    test_expect_reports(ARRAY_LEN(wrong));
}

TEST(pmm_share, the_zero_frame_is_shared_without_end_and_never_freed)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = started(cpus);
        pfn_t zero;
        REQUIRE(bed != NULL && pmm_alloc(&bed->pmm, PMM_KERNEL, &zero) == STATUS_OK);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        REQUIRE(pmm_zero_frame_set(&bed->pmm, zero) == STATUS_OK);
        struct pmm_stats after = pmm_stats(&bed->pmm);
        EXPECT_EQ(after.free.v, before.free.v);
        EXPECT_EQ(after.used.v + after.reserved.v, before.used.v + before.reserved.v);
        bed_remember(bed);
        for (unsigned i = 0; i < PMM_REFERENCES_MAX + 10; i++) {
            REQUIRE(pmm_retain(&bed->pmm, zero) == STATUS_OK);
        }
        for (unsigned i = 0; i < 2 * PMM_REFERENCES_MAX; i++) {
            bool freed = true;
            REQUIRE(pmm_release(&bed->pmm, zero, &freed) == STATUS_OK && !freed);
        }
        bed_unchanged(bed);
        EXPECT_REFUSED(bed, pmm_free(&bed->pmm, zero), STATUS_MISUSE);
        expect_report("pmm_free", zero.v, PMM_STATE_ZERO);
        EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &zero, npages(1), NULL), STATUS_MISUSE);
        EXPECT_REFUSED(bed, free_run(bed, zero.v, 1), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_give_back(&bed->pmm, zero, npages(1)), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_claim(&bed->pmm, zero, npages(1)), STATUS_EXISTS);
        bed_take_all(bed, PMM_KERNEL);
        EXPECT_EQ(frame_state(bed, zero.v), PMM_STATE_ZERO);
        bed_sound(bed);
    }
    test_expect_reports(8);
}

/* ---- Classes ---- */

struct crowd {
    struct pmm_bed *bed;
    uint8_t *class_of;                 /* [frame - SIDE]: class + 1 of a frame in use, else 0 */
    uint16_t (*in_use)[2];             /* [block - SIDE / BLOCK][class] */
    pfn_t *frames;                     /* in use, but runs */
    uint64_t count, alone;             /* frames in use; those drawn so far while whole blocks were free */
};

static void note_use(struct crowd *c, uint64_t frame, unsigned class)
{
    c->class_of[frame - SIDE] = (uint8_t)(class + 1);
    c->in_use[(frame - SIDE) / BLOCK][class]++;
}

static bool crowd_free(struct crowd *c, uint64_t at)
{
    pfn_t frame = c->frames[at];
    c->frames[at] = c->frames[--c->count];
    c->in_use[(frame.v - SIDE) / BLOCK][c->class_of[frame.v - SIDE] - 1]--;
    c->class_of[frame.v - SIDE] = 0;
    return EXPECT_EQ(pmm_free(&c->bed->pmm, frame), STATUS_OK);
}

/* One frame, several, or a short run of this class; no block has both classes while whole ones are free. */
static bool crowd_alloc(struct crowd *c, struct rng *rng, unsigned class)
{
    bool whole = whole_blocks(c->bed) >= 2;
    uint64_t kind = rng_below(rng, 8), n = kind < 5 ? 1 : 1 + rng_below(rng, kind < 7 ? 100 : 200);
    pfn_t *frames = &c->frames[c->count];
    struct pmm *pmm = &c->bed->pmm;
    enum status s = kind < 5   ? pmm_alloc(pmm, class, frames)
                    : kind < 7 ? pmm_alloc_many(pmm, class, frames, npages(n))
                               : pmm_alloc_run(pmm, class, npages(n), npages(0), npages(0), PMM_NO_LIMIT, frames);
    if (s == STATUS_NOMEM) {
        return EXPECT(!whole);
    }
    for (uint64_t i = 1; kind == 7 && i < n; i++) {
        frames[i] = pfn_add(frames[0], i);
    }
    bool ok = EXPECT_EQ(s, STATUS_OK);
    for (uint64_t i = 0; ok && i < n; i++) {
        uint16_t others = c->in_use[(frames[i].v - SIDE) / BLOCK][!class];
        note_use(c, frames[i].v, class);
        ok = EXPECT(!whole || others == 0);
        c->alone += whole;
    }
    c->count += n;
    return ok;
}

TEST(pmm_share, kernel_and_user_frames_never_share_a_block_while_whole_ones_are_free)
{
    struct rng rng = rng_seeded(test_seed());
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct crowd c = {.bed = started(cpus)};
        enum { REACH = FIELD - SIDE + FIELD_BLOCKS * BLOCK };
        c.class_of = test_pages(bytes_to_pages_up(REACH).v);
        c.in_use = test_pages(1);
        c.frames = frames_for(ALL + BLOCK);
        REQUIRE(c.bed != NULL && c.class_of != NULL && c.in_use != NULL && c.frames != NULL);
        for (unsigned i = 0; i < 500 * test_effort(); i++) {
            /* Up to two thirds and down again. Classes that once had to mix stay mixed: then all of it goes. */
            uint64_t high = whole_blocks(c.bed) < 2 ? 0 : ALL * 2 / 3;
            while (c.count > 0 && (c.count > high || rng_below(&rng, 8) == 0)) {
                for (uint64_t n = 1 + rng_below(&rng, 400); n > 0 && c.count > 0; n--) {
                    REQUIRE(crowd_free(&c, rng_below(&rng, c.count)));
                }
            }
            if (c.count == 0) {
                pmm_drain(&c.bed->pmm);
            }
            REQUIRE(crowd_alloc(&c, &rng, rng_below(&rng, 3) == 0 ? PMM_KERNEL : PMM_USER));
            REQUIRE(i % 16 != 0 || bed_sound(c.bed));
        }
        EXPECT(c.alone > 5000);
        bed_sound(c.bed);
    }
}

TEST(pmm_share, a_block_whose_frames_all_came_back_serves_the_other_class)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = started(cpus);
        pfn_t *frames = frames_for(ALL);
        REQUIRE(bed != NULL && frames != NULL);
        uint64_t n = pmm_stats(&bed->pmm).free.v;
        for (unsigned round = 0; round < 4; round++) {
            REQUIRE(pmm_alloc_many(&bed->pmm, round % 2, frames, npages(n)) == STATUS_OK);
            EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
            REQUIRE(pmm_free_many(&bed->pmm, frames, npages(n), NULL) == STATUS_OK);
            EXPECT_EQ(pmm_stats(&bed->pmm).free.v, n);
            bed_sound(bed);
        }
    }
}
