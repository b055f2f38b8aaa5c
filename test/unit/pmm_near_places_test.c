/*
 * Owners that have no block to themselves, where memory is not all alike: zones, what is kept in them, nodes.
 */
#include "unit/pmm_runs_bed.h"
#include "unit/pmm_steps.h"

enum {
    LOW = 4, MID = 2044, HIGH = 2048, PART_BLOCKS = 4, /* below 16 MiB, below 4 GiB, above */
    HOME = 8, NEAR = HOME + PART_BLOCKS, FAR = NEAR + PART_BLOCKS, /* blocks of nodes */
    OWNERS = 3, NEVER_OWN = 1 << 20,
};

struct scene {
    struct pmm_bed *bed;
    unsigned owners[OWNERS];
};

/* All of it is open and in use, and owners get no block of their own. */
static bool fill(struct scene *s)
{
    bool ok = s->bed != NULL;
    if (ok) {
        bed_with_owners(s->bed, OWNERS);
        ok = bed_starts(s->bed);
    }
    for (unsigned i = 0; ok && i < OWNERS; i++) {
        ok = pmm_owner_open(&s->bed->pmm, &s->owners[i]) == STATUS_OK;
    }
    if (ok) {
        open_all(s->bed);
        pmm_policy_set(&s->bed->pmm, (struct pmm_policy){npages(NEVER_OWN), 0});
        ok = bed_take_all(s->bed, PMM_USER) > 0;
    }
    return ok;
}

static bool zones_begin(struct scene *s)
{
    s->bed = bed_new(NULL, LOW, HIGH + PART_BLOCKS, 0);
    if (s->bed != NULL) {
        bed_run(s->bed, LOW * BLOCK, PART_BLOCKS * BLOCK);
        bed_run(s->bed, MID * BLOCK, 2 * PART_BLOCKS * BLOCK);
    }
    return fill(s);
}

static bool nodes_begin(struct scene *s)
{
    static const uint8_t distance[] = {10, 20, 30, 20, 10, 30, 30, 30, 10};
    s->bed = bed_new(NULL, HOME, FAR + PART_BLOCKS, 0);
    if (s->bed != NULL) {
        bed_run(s->bed, HOME * BLOCK, 3 * PART_BLOCKS * BLOCK);
        bed_node(s->bed, HOME * BLOCK, PART_BLOCKS * BLOCK, 0);
        bed_node(s->bed, NEAR * BLOCK, PART_BLOCKS * BLOCK, 1);
        bed_node(s->bed, FAR * BLOCK, PART_BLOCKS * BLOCK, 2);
        s->bed->node_distance = distance;
    }
    return fill(s);
}

/* So many frames of the block are free from now on. */
static bool release(struct scene *s, uint64_t block, unsigned n)
{
    for (uint64_t f = block * BLOCK; f < (block + 1) * BLOCK && n > 0; f++) {
        if (frame_state(s->bed, f) == PMM_STATE_USED) {
            n -= pmm_free(&s->bed->pmm, pfn(f)) == STATUS_OK;
        }
    }
    return EXPECT_EQ(n, 0);
}

/* All that it draws next, n frames, lies in this block. */
static bool draws_from(struct scene *s, unsigned who, uint64_t block, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!EXPECT_EQ(draw(s->bed, s->owners[who]).v / BLOCK, block)) {
            test_note("frame %u of %u", i, n);
            return false;
        }
    }
    return true;
}

/* The block is wholly free, and becomes this owner's own: all of it but a frame is a tail. */
static bool tail(struct scene *s, unsigned who, uint64_t block)
{
    pmm_policy_set(&s->bed->pmm, (struct pmm_policy){npages(0), 0});
    const bool ok = release(s, block, BLOCK) && draws_from(s, who, block, 1)
                    && EXPECT_EQ(owner_of(s->bed, pfn(block * BLOCK)), s->owners[who]);
    pmm_policy_set(&s->bed->pmm, (struct pmm_policy){npages(NEVER_OWN), 0});
    return ok;
}
static bool is_tail(const struct scene *s, unsigned who, uint64_t block)
{
    return EXPECT_EQ(owner_of(s->bed, pfn(block * BLOCK)), s->owners[who]);
}

/* ---- Zones ---- */

TEST(pmm_near, partly_free_blocks_above_4_gib_come_before_those_below)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && release(&s, MID + 1, 400) && release(&s, HIGH + 1, 100));
    REQUIRE(draws_from(&s, 0, HIGH + 1, 100) && draws_from(&s, 0, MID + 1, 400));
    bed_sound(s.bed);
}

TEST(pmm_near, a_block_that_nobody_uses_comes_before_one_of_a_lower_zone)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && release(&s, MID + 1, 400) && release(&s, HIGH + 1, BLOCK));
    REQUIRE(draws_from(&s, 0, HIGH + 1, 1));
    bed_sound(s.bed);
}

TEST(pmm_near, an_owner_goes_on_with_its_block_where_a_higher_zone_has_one_by_now)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && release(&s, MID + 1, 400) && draws_from(&s, 0, MID + 1, 10));
    REQUIRE(release(&s, HIGH + 1, 100));
    REQUIRE(draws_from(&s, 0, MID + 1, 10) && draws_from(&s, 1, HIGH + 1, 100));
    bed_sound(s.bed);
}

TEST(pmm_near, below_16_mib_owners_draw_where_everybody_does)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && release(&s, LOW + 1, 100) && release(&s, LOW + 2, 200));
    for (unsigned i = 0; i < 300; i++) { /* the fullest first, and both from the same */
        REQUIRE(draws_from(&s, i % 2, i < 100 ? LOW + 1 : LOW + 2, 1));
    }
    bed_sound(s.bed);
}

TEST(pmm_near, what_a_zone_keeps_for_others_no_owner_draws_and_it_goes_on_elsewhere)
{
    enum { FREE = 100, KEPT = 40, ELSEWHERE = 10 };
    struct scene s;
    pfn_t frame;
    REQUIRE(zones_begin(&s) && pmm_zone_reserve(&s.bed->pmm, PMM_ZONE_4G, npages(KEPT)) == STATUS_OK);
    REQUIRE(release(&s, MID + 1, FREE) && release(&s, LOW + 1, ELSEWHERE));
    REQUIRE(draws_from(&s, 0, MID + 1, FREE - KEPT) && draws_from(&s, 0, LOW + 1, ELSEWHERE));
    EXPECT_REFUSED(s.bed, pmm_alloc(&s.bed->pmm, PMM_OWNER(s.owners[0]), &frame), STATUS_NOMEM);
    EXPECT_REFUSED(s.bed, pmm_alloc(&s.bed->pmm, PMM_OWNER(s.owners[1]), &frame), STATUS_NOMEM);
    expect_books(s.bed, s.owners[0], 0, 0, FREE - KEPT + ELSEWHERE);
    expect_books(s.bed, s.owners[1], 0, 0, 0);
    REQUIRE(release(&s, HIGH + 1, ELSEWHERE) && draws_from(&s, 0, HIGH + 1, ELSEWHERE));
    /* Who asks for it has it; and so has the owner when nothing is kept any more. */
    REQUIRE(pmm_alloc(&s.bed->pmm, PMM_OWNER(s.owners[0]) | PMM_BELOW_4G, &frame) == STATUS_OK);
    EXPECT_EQ(frame.v / BLOCK, MID + 1);
    REQUIRE(pmm_zone_reserve(&s.bed->pmm, PMM_ZONE_4G, npages(0)) == STATUS_OK);
    REQUIRE(draws_from(&s, 0, MID + 1, KEPT - 1));
    bed_sound(s.bed);
}

/* ---- Owners' blocks with free frames ---- */

TEST(pmm_near, a_tail_comes_before_a_whole_block_of_its_zone_and_before_a_lower_zone)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && tail(&s, 0, HIGH + 1) && release(&s, HIGH + 2, BLOCK) && release(&s, MID + 1, 300));
    REQUIRE(draws_from(&s, 1, HIGH + 1, BLOCK - 1));
    EXPECT_EQ(owner_of(s.bed, pfn((HIGH + 1) * BLOCK)), 0);
    REQUIRE(draws_from(&s, 1, HIGH + 2, 1));
    bed_sound(s.bed);
}

TEST(pmm_near, a_tail_of_a_lower_zone_comes_after_whole_blocks_above)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && tail(&s, 0, MID + 1) && release(&s, HIGH + 1, BLOCK));
    REQUIRE(draws_from(&s, 1, HIGH + 1, 1) && is_tail(&s, 0, MID + 1));
    bed_sound(s.bed);
}

TEST(pmm_near, a_tail_is_what_comes_where_the_lower_zone_has_nothing_else)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && tail(&s, 0, MID + 1) && release(&s, MID + 2, BLOCK));
    REQUIRE(draws_from(&s, 1, MID + 1, BLOCK - 1) && draws_from(&s, 1, MID + 2, 1));
    bed_sound(s.bed);
}

TEST(pmm_near, tails_in_two_zones_stay_while_a_block_is_whole)
{
    struct scene s;
    REQUIRE(zones_begin(&s) && tail(&s, 0, HIGH + 1) && tail(&s, 1, MID + 1) && release(&s, HIGH + 2, BLOCK));
    REQUIRE(draws_from(&s, 2, HIGH + 2, 1));
    EXPECT(is_tail(&s, 0, HIGH + 1) && is_tail(&s, 1, MID + 1));
    bed_sound(s.bed);
}

/* ---- Nodes ---- */

TEST(pmm_near, owners_of_a_node_have_a_block_each_there_and_share_what_other_nodes_have)
{
    struct scene s;
    REQUIRE(nodes_begin(&s) && release(&s, HOME + 1, 100) && release(&s, HOME + 2, 100));
    REQUIRE(release(&s, NEAR + 1, 300) && release(&s, NEAR + 2, 500) && release(&s, FAR + 1, 500));
    const uint64_t at = draw(s.bed, s.owners[0]).v / BLOCK, other = draw(s.bed, s.owners[1]).v / BLOCK;
    EXPECT(at != other && at + other == 2 * HOME + 3);
    REQUIRE(draws_from(&s, 0, at, 99) && draws_from(&s, 1, other, 99));
    for (unsigned i = 0; i < 300; i++) { /* the fullest of the nearest */
        REQUIRE(draws_from(&s, i % 2, NEAR + 1, 1));
    }
    REQUIRE(draws_from(&s, 0, NEAR + 2, 500) && draws_from(&s, 1, FAR + 1, 500));
    bed_sound(s.bed);
}

TEST(pmm_near, tails_stay_where_there_are_several_nodes_while_a_block_is_whole)
{
    struct scene s;
    REQUIRE(nodes_begin(&s) && tail(&s, 0, HOME + 1) && release(&s, HOME + 2, BLOCK));
    REQUIRE(draws_from(&s, 1, HOME + 2, 1) && is_tail(&s, 0, HOME + 1));
    bed_sound(s.bed);
}
