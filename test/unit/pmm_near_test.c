/*
 * Owners that have no block to themselves: which of the partly free blocks each draws from, and what becomes of others'
 * blocks with free frames.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 20, PARTLY_MOST = 12, NEVER_OWN = 1 << 20 };

/* The frames of partly free blocks of the user class, block by block. */
struct partly {
    struct pmm_bed *bed;
    unsigned owners[RUNS_BED_OWNERS];
    uint64_t blocks[PARTLY_MOST], common;
    pfn_t *used;
};

/*
 * So many blocks with so many free frames each, and one more that all others draw from; all owners are open, and get
 * no block of their own.
 */
static bool partly_begin(struct partly *p, const unsigned *free, unsigned blocks)
{
    p->bed = owner_bed(FIELD_BLOCKS, 0, NEVER_OWN, 0, &p->owners[0]);
    p->used = frames_for((uint64_t)blocks * BLOCK);
    bool ok = p->bed != NULL && p->used != NULL;
    for (unsigned i = 1; ok && i < RUNS_BED_OWNERS; i++) {
        ok = pmm_owner_open(&p->bed->pmm, &p->owners[i]) == STATUS_OK;
    }
    for (uint64_t i = 0; ok && i < (uint64_t)blocks * BLOCK; i++) {
        ok = pmm_alloc(&p->bed->pmm, PMM_USER, &p->used[i]) == STATUS_OK;
        ok = ok && p->used[i].v / BLOCK == p->used[i / BLOCK * BLOCK].v / BLOCK;
    }
    pfn_t common;
    ok = ok && pmm_alloc(&p->bed->pmm, PMM_USER, &common) == STATUS_OK;
    p->common = common.v / BLOCK;
    for (unsigned b = 0; ok && b < blocks; b++) {
        p->blocks[b] = p->used[b * BLOCK].v / BLOCK;
        for (unsigned i = 0; ok && i < free[b]; i++) {
            ok = pmm_free(&p->bed->pmm, p->used[b * BLOCK + i]) == STATUS_OK;
        }
    }
    return ok && bed_sound(p->bed);
}

TEST(pmm_near, an_owner_that_has_no_block_goes_on_with_one_and_the_next_owner_with_another)
{
    static const unsigned free[] = {100, 100, 100, 100, 100};
    struct partly p;
    REQUIRE(partly_begin(&p, free, ARRAY_LEN(free)));
    uint64_t at[2];
    for (unsigned i = 0; i < 100 * ARRAY_LEN(at); i++) {
        unsigned who = i % ARRAY_LEN(at);
        pfn_t frame = draw(p.bed, p.owners[who]);
        at[who] = i < ARRAY_LEN(at) ? frame.v / BLOCK : at[who];
        REQUIRE(EXPECT_EQ(frame.v / BLOCK, at[who]));
        REQUIRE(EXPECT_EQ(owner_of(p.bed, frame), 0));
    }
    EXPECT(at[0] != at[1]);
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        expect_books(p.bed, p.owners[i], 0, 0, 100);
    }
    bed_sound(p.bed);
}

/* It draws all that is free in these blocks, one after the other, and opens none. */
static bool draws_in_order(struct partly *p, const unsigned *free, const unsigned *order, unsigned blocks)
{
    const uint64_t whole = whole_blocks(p->bed);
    for (unsigned i = 0; i < blocks; i++) {
        for (unsigned n = 0; n < free[order[i]]; n++) {
            if (!EXPECT_EQ(draw(p->bed, p->owners[0]).v / BLOCK, p->blocks[order[i]])) {
                return false;
            }
        }
    }
    return EXPECT_EQ(whole_blocks(p->bed), whole);
}

TEST(pmm_near, an_owner_that_holds_much_draws_from_the_emptiest_block_and_then_from_the_next)
{
    static const unsigned none[4], free[] = {70, 500, 200, 330}, order[] = {1, 3, 2, 0};
    struct partly p;
    REQUIRE(partly_begin(&p, none, ARRAY_LEN(none)));
    for (unsigned i = 0; i < 2 * BLOCK; i++) {
        REQUIRE(draw(p.bed, p.owners[0]).v != 0);
    }
    for (unsigned b = 0; b < ARRAY_LEN(free); b++) {
        for (unsigned i = 0; i < free[b]; i++) {
            REQUIRE(pmm_free(&p.bed->pmm, p.used[b * BLOCK + i]) == STATUS_OK);
        }
    }
    REQUIRE(draws_in_order(&p, free, order, ARRAY_LEN(order)));
    EXPECT(draw(p.bed, p.owners[0]).v != 0); /* and then what everybody has */
    bed_sound(p.bed);
}

TEST(pmm_near, the_less_an_owner_holds_the_fuller_is_the_block_it_draws_from)
{
    /* With up to 255 frames 65 to 192 free, with up to 511 129 to 256, then 193 to 320, then 257 to 384. */
    static const unsigned free[] = {500, 180, 40, 384, 250, 320, 60}, order[] = {1, 0, 5, 3, 4, 6, 2};
    struct partly p;
    REQUIRE(partly_begin(&p, free, ARRAY_LEN(free)) && draws_in_order(&p, free, order, 1));
    /* 180 frames, and none is left that fits so few: the emptiest. 680: what fits; so do those after it. */
    REQUIRE(draws_in_order(&p, free, order + 1, 3));
    REQUIRE(draws_in_order(&p, free, order + 4, 3)); /* 1,384, and from here on the emptiest */
    bed_sound(p.bed);
}

TEST(pmm_near, an_owner_that_keeps_little_of_what_it_draws_draws_where_everybody_does)
{
    static const unsigned free[] = {40, 500};
    struct partly p;
    REQUIRE(partly_begin(&p, free, ARRAY_LEN(free)));
    for (unsigned i = 0; i < 20; i++) {
        pfn_t frame = draw(p.bed, p.owners[0]);
        EXPECT_EQ(frame.v / BLOCK, i == 0 ? p.blocks[1] : p.common); /* at first it may keep all that it will draw */
        REQUIRE(pmm_free(&p.bed->pmm, frame) == STATUS_OK);
        REQUIRE(pmm_uncharge(&p.bed->pmm, p.owners[0], npages(1)) == STATUS_OK);
    }
    EXPECT_EQ(draw(p.bed, p.owners[1]).v / BLOCK, p.blocks[0]); /* another one keeps its own; [1] is the first one's */
    bed_sound(p.bed);
}

TEST(pmm_near, where_all_blocks_are_near_somebody_who_grew_long_ago_they_are_given_again)
{
    unsigned free[PARTLY_MOST], last = 0;
    for (unsigned i = 0; i < PARTLY_MOST; i++) {
        free[i] = 300;
    }
    struct partly p;
    REQUIRE(partly_begin(&p, free, PARTLY_MOST));
    for (unsigned i = 0; i < 4 * PARTLY_MOST; i++) { /* none of these closes, and each takes one frame */
        unsigned owner = p.owners[i % RUNS_BED_OWNERS];
        last = (unsigned)(draw(p.bed, owner).v / BLOCK);
        EXPECT(last != 0);
        if (i >= RUNS_BED_OWNERS) {
            REQUIRE(pmm_owner_close(&p.bed->pmm, owner, NULL) == STATUS_OK);
            REQUIRE(pmm_owner_open(&p.bed->pmm, &p.owners[i % RUNS_BED_OWNERS]) == STATUS_OK);
        }
    }
    bed_sound(p.bed);
}

TEST(pmm_near, others_draw_from_the_oldest_block_an_owner_did_not_fill_before_a_whole_one_is_broken)
{
    unsigned owners[3];
    struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owners[0]);
    REQUIRE(bed != NULL);
    pfn_t own[2];
    for (unsigned i = 0; i < ARRAY_LEN(own); i++) {
        REQUIRE(i == 0 || pmm_owner_open(&bed->pmm, &owners[i]) == STATUS_OK);
        own[i] = draw(bed, owners[i]);
        REQUIRE(owner_of(bed, own[i]) == owners[i]);
    }
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(NEVER_OWN), 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owners[2]) == STATUS_OK);
    uint64_t whole = whole_blocks(bed);
    for (unsigned i = 0; i < ARRAY_LEN(own); i++) { /* in the order in which they came */
        for (unsigned n = 1; n < BLOCK; n++) {
            REQUIRE(EXPECT_EQ(draw(bed, owners[2]).v / BLOCK, own[i].v / BLOCK));
        }
        EXPECT_EQ(owner_of(bed, own[i]), 0);
        expect_books(bed, owners[i], 0, 0, 1);
        EXPECT_EQ(owner_of(bed, own[1]), i == 0 ? owners[1] : 0);
    }
    EXPECT_EQ(whole_blocks(bed), whole);
    expect_books(bed, owners[2], 0, 0, 2 * (BLOCK - 1));
    bed_sound(bed);
}

TEST(pmm_near, a_block_that_goes_away_or_is_handed_out_is_near_nobody_any_more)
{
    static const unsigned free[] = {400, 300};
    struct partly p;
    REQUIRE(partly_begin(&p, free, ARRAY_LEN(free)));
    REQUIRE(EXPECT_EQ(draw(p.bed, p.owners[0]).v / BLOCK, p.blocks[0]));
    /* All of it becomes free, and is somebody's as a whole. */
    uint64_t first = p.blocks[0] * BLOCK;
    for (uint64_t f = first; f < first + BLOCK; f++) {
        if (frame_state(p.bed, f) == PMM_STATE_USED) {
            REQUIRE(pmm_free(&p.bed->pmm, pfn(f)) == STATUS_OK);
        }
    }
    REQUIRE(pmm_claim(&p.bed->pmm, pfn(first), npages(BLOCK)) == STATUS_OK);
    EXPECT_EQ(draw(p.bed, p.owners[0]).v / BLOCK, p.blocks[1]);
    bed_sound(p.bed);
}
