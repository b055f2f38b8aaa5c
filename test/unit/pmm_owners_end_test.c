/*
 * How an owner's blocks end: taken back whole when it goes, kept where a frame in them is somebody's else, or given up
 * when memory is short.
 */
#include "unit/pmm_runs_bed.h"

#include "pmm/pmm_change.h"

enum { FIELD_BLOCKS = 12, BLOCKS = FIELD_BLOCKS + 4, ALL = BLOCKS * BLOCK };

static bool expect_end(struct pmm_bed *bed, unsigned owner, uint64_t blocks, uint64_t frames, uint64_t left)
{
    struct pmm_owner_end end = {npages(77), npages(77), npages(77)};
    if (!EXPECT_EQ(pmm_owner_close(&bed->pmm, owner, &end), STATUS_OK)) {
        return false;
    }
    bool ok = EXPECT_EQ(end.blocks.v, blocks);
    ok = EXPECT_EQ(end.frames.v, frames) && ok;
    ok = EXPECT_EQ(end.left.v, left) && ok;
    struct pmm_owner_stats s;
    return EXPECT(!pmm_owner_stats(&bed->pmm, owner, &s)) && bed_sound(bed) && ok;
}

/* ---- Taken back whole ---- */

TEST(pmm_owners, own_blocks_are_taken_back_whole_without_a_visit_to_a_frame)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, cpus, 0, 0, &owner);
        pfn_t *frames = frames_for(ALL);
        uint16_t *copy = test_pages(bytes_to_pages_up(ALL * 2 * sizeof *copy).v);
        REQUIRE(bed != NULL && frames != NULL && copy != NULL);
        struct pmm_stats at_first = pmm_stats(&bed->pmm);
        uint64_t n = 3 * BLOCK + 100;
        REQUIRE(draw_many(bed, owner, frames, n));
        for (unsigned i = 0; i < 40; i++) { /* one block with holes, two full, one not carved to its end */
            REQUIRE(pmm_free(&bed->pmm, frames[i * 7]) == STATUS_OK);
        }
        expect_books(bed, owner, 4, n - 40, 0);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        uint64_t whole = whole_blocks(bed);
        size_t bytes = (FIELD - SIDE + FIELD_BLOCKS * BLOCK) * sizeof *copy;
        memcpy(copy, &bed->states[SIDE], bytes);
        REQUIRE(expect_end(bed, owner, 4, n - 40, 0));
        EXPECT(memcmp(copy, &bed->states[SIDE], bytes) == 0);
        struct pmm_stats after = pmm_stats(&bed->pmm);
        EXPECT_EQ(after.used.v, before.used.v - (n - 40));
        EXPECT_EQ(after.free.v, before.free.v + (n - 40));
        EXPECT_EQ(whole_blocks(bed), whole + 4);
        EXPECT_EQ(after.free.v, at_first.free.v);
        for (uint64_t i = 0; i < n; i++) {
            REQUIRE(EXPECT_EQ(frame_state(bed, frames[i].v), PMM_STATE_FREE) && owner_of(bed, frames[i]) == 0);
        }
        EXPECT_REFUSED(bed, pmm_free(&bed->pmm, frames[1]), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, frames[n - 1]), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_release(&bed->pmm, frames[1], NULL), STATUS_MISUSE);
        EXPECT_REFUSED(bed, free_run(bed, frames[1].v, 1), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_split_run(&bed->pmm, frames[1], npages(1)), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_free_many(&bed->pmm, &frames[1], npages(1), NULL), STATUS_MISUSE);
        /* Every frame can be had again, once. */
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), after.free.v);
        bed_sound(bed);
    }
    test_expect_reports(12);
}

TEST(pmm_owners, what_was_drawn_from_ordinary_blocks_stays_in_use_when_the_owner_goes)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 1, 150, 0, &owner);
    pfn_t *frames = frames_for(200);
    REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, 200));
    REQUIRE(expect_end(bed, owner, 1, 50, 0));
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 150);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT_EQ(frame_state(bed, frames[i].v), i < 150 ? PMM_STATE_USED : PMM_STATE_FREE);
        EXPECT(i >= 150 || pmm_free(&bed->pmm, frames[i]) == STATUS_OK);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
    bed_sound(bed);
}

TEST(pmm_owners, an_owner_takes_back_its_own_used_frames_and_no_others)
{
    unsigned owner, other;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 5, 0, &owner);
    REQUIRE(bed != NULL && pmm_owner_open(&bed->pmm, &other) == STATUS_OK);
    pfn_t *frames = frames_for(10), frame;
    REQUIRE(frames != NULL && draw_many(bed, owner, frames, 10));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[4]));
    EXPECT(pmm_owner_takes_back(&bed->pmm, owner, frames[5]));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, other, frames[5]));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, 0, frames[5]));
    REQUIRE(pmm_free(&bed->pmm, frames[5]) == STATUS_OK);
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[5]));
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frame));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, 0, frame));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, pfn(0)));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, pfn(FIELD + FIELD_BLOCKS * BLOCK - 1)));
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, pfn(UINT64_MAX)));
    bed_sound(bed);
}

/* ---- Not taken back ---- */

TEST(pmm_owners, a_shared_frame_keeps_its_block_and_the_others_are_taken_back)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
    pfn_t *frames = frames_for(3 * BLOCK);
    REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, 2 * BLOCK + 200));
    pfn_t shared = frames[BLOCK + 5];
    uint64_t its_block = shared.v / BLOCK;
    REQUIRE(pmm_retain(&bed->pmm, shared) == STATUS_OK);
    uint64_t in_block = 0;
    for (uint64_t i = 0; i < 2 * BLOCK + 200; i++) {
        in_block += frames[i].v / BLOCK == its_block;
        EXPECT_EQ(pmm_owner_takes_back(&bed->pmm, owner, frames[i]), frames[i].v / BLOCK != its_block);
    }
    REQUIRE(expect_end(bed, owner, 2, 2 * BLOCK + 200 - in_block, in_block));
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, in_block);
    /* An ordinary block now: released one by one, and free for all in the end. */
    for (uint64_t i = 0; i < 2 * BLOCK + 200; i++) {
        bool is_left = frames[i].v / BLOCK == its_block, freed = false;
        struct pmm_frame q = pmm_query(&bed->pmm, frames[i]);
        EXPECT_EQ(q.owner, 0);
        REQUIRE(EXPECT_EQ(q.state, is_left ? PMM_STATE_USED : PMM_STATE_FREE));
        REQUIRE(!is_left || pmm_release(&bed->pmm, frames[i], &freed) == STATUS_OK);
        EXPECT_EQ(freed, is_left && frames[i].v != shared.v);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 1);
    EXPECT_EQ(pmm_free(&bed->pmm, shared), STATUS_OK);
    bed_sound(bed);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
}

TEST(pmm_owners, a_frame_that_was_shared_keeps_its_block_until_it_is_allocated_anew)
{
    for (unsigned anew = 0; anew <= 1; anew++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
        pfn_t *frames = frames_for(BLOCK);
        REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, 50));
        REQUIRE(pmm_retain(&bed->pmm, frames[20]) == STATUS_OK);
        REQUIRE(pmm_release(&bed->pmm, frames[20], NULL) == STATUS_OK);
        EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[20]));
        if (anew) {
            REQUIRE(pmm_free(&bed->pmm, frames[20]) == STATUS_OK);
            EXPECT_EQ(draw(bed, owner).v, frames[20].v);
            EXPECT(pmm_owner_takes_back(&bed->pmm, owner, frames[20]));
        }
        REQUIRE(expect_end(bed, owner, anew, anew ? 50 : 0, anew ? 0 : 50));
        EXPECT_EQ(frame_state(bed, frames[20].v), anew ? PMM_STATE_FREE : PMM_STATE_USED);
    }
}

TEST(pmm_owners, a_bad_frame_keeps_its_block)
{
    for (unsigned in_use = 0; in_use <= 1; in_use++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
        pfn_t *frames = frames_for(2 * BLOCK);
        REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, BLOCK + 50));
        pfn_t bad = frames[BLOCK + 49];
        REQUIRE(in_use || pmm_free(&bed->pmm, bad) == STATUS_OK);
        REQUIRE(pmm_mark_bad(&bed->pmm, bad) == STATUS_OK);
        EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, bad));
        bed_sound(bed);
        struct pmm_owner_end end;
        REQUIRE(pmm_owner_close(&bed->pmm, owner, &end) == STATUS_OK);
        EXPECT_EQ(end.frames.v + end.left.v, BLOCK + 49 + in_use);
        EXPECT(!in_use || end.left.v == 50);
        EXPECT(end.blocks.v >= 1);
        bed_sound(bed);
        EXPECT_EQ(frame_state(bed, bad.v), in_use ? PMM_STATE_USED : PMM_STATE_BAD);
        for (unsigned i = 0; i < BLOCK + 50; i++) {
            REQUIRE(frame_state(bed, frames[i].v) != PMM_STATE_USED || pmm_free(&bed->pmm, frames[i]) == STATUS_OK);
        }
        EXPECT_EQ(frame_state(bed, bad.v), PMM_STATE_BAD);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
        EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, 1);
        bed_sound(bed);
    }
}

TEST(pmm_owners, a_bad_frame_that_came_back_is_charged_no_more)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 1, 0, 0, &owner);
    pfn_t *frames = frames_for(BLOCK);
    REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, 20));
    REQUIRE(pmm_mark_bad(&bed->pmm, frames[3]) == STATUS_OK && pmm_mark_bad(&bed->pmm, frames[4]) == STATUS_OK);
    expect_books(bed, owner, 1, 20, 0);
    REQUIRE(pmm_free(&bed->pmm, frames[3]) == STATUS_OK);
    REQUIRE(pmm_release(&bed->pmm, frames[4], NULL) == STATUS_OK);
    expect_books(bed, owner, 1, 18, 0);
    bed_sound(bed);
    REQUIRE(expect_end(bed, owner, 1, 18, 0));
    EXPECT_EQ(frame_state(bed, frames[3].v), PMM_STATE_BAD);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, 0);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
}

TEST(pmm_owners, frames_that_others_claimed_or_share_for_good_outlive_the_owner)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
    pfn_t *frames = frames_for(BLOCK);
    REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, 50));
    REQUIRE(pmm_free(&bed->pmm, frames[10]) == STATUS_OK);
    REQUIRE(pmm_claim(&bed->pmm, frames[10], npages(1)) == STATUS_OK);
    bed_sound(bed);
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[10]));
    REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
    EXPECT_EQ(frame_state(bed, frames[10].v), PMM_STATE_USED);
    bed_sound(bed);
    /* The zero frame is one of another owner's. */
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK && draw_many(bed, owner, frames, 50));
    REQUIRE(owner_of(bed, frames[7]) == owner && pmm_zero_frame_set(&bed->pmm, frames[7]) == STATUS_OK);
    EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[7]));
    bed_sound(bed);
    REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
    EXPECT_EQ(frame_state(bed, frames[7].v), PMM_STATE_ZERO);
    bed_sound(bed);
}

/* ---- Memory short ---- */

TEST(pmm_owners, free_frames_of_their_blocks_serve_everybody_when_memory_is_short)
{
    static const unsigned flags[] = {PMM_KERNEL, PMM_USER};
    for (size_t i = 0; i < 2 * ARRAY_LEN(flags); i++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, i / 2, 0, 0, &owner);
        pfn_t *frames = frames_for(2 * BLOCK), frame;
        REQUIRE(bed != NULL && frames != NULL && draw_many(bed, owner, frames, BLOCK + 100));
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        for (uint64_t n = 0; n < free - (BLOCK - 100); n++) { /* all others */
            REQUIRE(pmm_alloc(&bed->pmm, flags[i % 2], &frame) == STATUS_OK);
            REQUIRE(owner_of(bed, frame) == 0);
        }
        bed_sound(bed);
        uint64_t before = pmm_stats(&bed->pmm).free.v;
        EXPECT_EQ(bed_take_all(bed, flags[i % 2]), before);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
        /* Its full block stays its own. */
        expect_books(bed, owner, 1, BLOCK, 100);
        EXPECT_EQ(owner_of(bed, frames[0]), owner);
        EXPECT_EQ(owner_of(bed, frames[BLOCK]), 0);
        EXPECT(!pmm_owner_takes_back(&bed->pmm, owner, frames[BLOCK]));
        REQUIRE(expect_end(bed, owner, 1, BLOCK, 0));
        EXPECT_EQ(frame_state(bed, frames[BLOCK + 99].v), PMM_STATE_USED);
        EXPECT_EQ(pmm_free(&bed->pmm, frames[BLOCK + 99]), STATUS_OK);
        bed_sound(bed);
    }
}

TEST(pmm_owners, an_owner_takes_every_free_frame_those_of_other_owners_too)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        unsigned owner, other;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, cpus, 0, 0, &owner);
        REQUIRE(bed != NULL && pmm_owner_open(&bed->pmm, &other) == STATUS_OK);
        pfn_t frame = draw(bed, other);
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        struct pmm_stats before = pmm_stats(&bed->pmm);
        EXPECT_EQ(bed_take_all(bed, PMM_OWNER(owner)), before.free.v);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
        expect_books(bed, other, 0, 0, 1);
        struct pmm_owner_stats s;
        EXPECT(pmm_owner_stats(&bed->pmm, owner, &s) && s.in_own.v + s.elsewhere.v == before.free.v);
        REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
        bed_sound(bed);
    }
}

TEST(pmm_owners, a_promise_counts_the_free_frames_of_their_blocks)
{
    unsigned owner;
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
    REQUIRE(bed != NULL);
    pfn_t frame = draw(bed, owner), first;
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    REQUIRE(pmm_promise(&bed->pmm, npages(free)) == STATUS_OK);
    for (uint64_t i = 0; i < free; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_PROMISED, &first) == STATUS_OK);
        REQUIRE(first.v != frame.v);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    expect_books(bed, owner, 0, 0, 1);
    bed_sound(bed);
}
