/* Who counts as giver when a space that gave something on gives up its own; and other corners that random calls met. */
#include "arch/layout.h"
#include "aspace/mapping.h"
#include "unit/aspace_bed.h"

static struct aspace_bed bed;

static uint32_t giver_of(const struct aspace *space, vaddr_t va)
{
    const struct mapping *m = mapping_at(space, va);
    return EXPECT(m != NULL) ? m->giver : UINT32_MAX;
}

static const uint64_t there = AT_PRIVATE, elsewhere = AT_PRIVATE + 64ULL * PAGE_BYTES;

TEST(aspace_gifts, what_a_space_was_given_at_two_addresses_both_counts_as_given_by_another)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), ARW, 0)), second = vaddr_add_pages(va, 1);
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, ARW, vaddr(elsewhere)));
    EXPECT_OK(aspace_unmap(&bed.a, second, npages(1)));
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(there), 1)), 0);
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(elsewhere), 1)), 0);
    EXPECT_EQ(giver_of(&bed.b, vaddr(elsewhere)), bed.a.tables.id);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, only_pages_that_a_space_still_has_stay_its_gifts)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    REQUIRE(object_create_anonymous(&bed.system, npages(4), &object) == STATUS_OK);
    const vaddr_t va = map_it(&bed.a, want_object(object, 0, npages(4), ARW, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, va, npages(4), &bed.c, AR, vaddr(0)));
    (void)map_it(&bed.b, want_object(object, 3, npages(1), ARW, 0));
    EXPECT_OK(aspace_unmap(&bed.b, va, npages(4)));
    EXPECT_EQ(giver_of(&bed.c, va), bed.a.tables.id);
    EXPECT_EQ(giver_of(&bed.c, vaddr_add_pages(va, 2)), bed.a.tables.id);
    EXPECT_EQ(giver_of(&bed.c, vaddr_add_pages(va, 3)), bed.b.tables.id);
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_space_that_ends_gives_no_more_even_what_it_had_twice)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(4), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.b, vaddr(there), npages(4), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), 0);
    aspace_bed_close(&bed);
}

/* A gives to B, B gives it back: that is no reason why A should stay the giver of what it transfers to C. */
TEST(aspace_gifts, a_circle_does_not_stand_for_itself_after_a_transfer)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(4), AR, ASPACE_GLOBAL)), last = vaddr_add_pages(va, 3);
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.b, vaddr_add_pages(vaddr(there), 3), npages(1), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(4), &bed.c, AR));
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(there), 3)), bed.c.tables.id);
    EXPECT_OK(aspace_withdraw(&bed.c, va, npages(4), &bed.b));
    EXPECT(mapping_at(&bed.b, vaddr(there)) == NULL && mapping_at(&bed.c, last) != NULL);
    EXPECT(bed.b.ranges == 0 && bed.a.ranges == 0);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_circle_does_not_stand_for_itself_after_an_unmap)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.c, want(npages(4), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.c, va, npages(4), &bed.a, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.b, vaddr_add_pages(vaddr(there), 1), npages(2), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(4)));
    EXPECT_EQ(bed.b.ranges, 1); /* all of it is c's gift now */
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), bed.c.tables.id);
    EXPECT_EQ(giver_of(&bed.a, vaddr(elsewhere)), bed.b.tables.id);
    EXPECT_OK(aspace_withdraw(&bed.c, va, npages(4), &bed.b));
    EXPECT(bed.b.ranges == 0 && bed.a.ranges == 0);
    aspace_bed_close(&bed);
}

/* C stands behind B by itself: what B gives A is no gift of A's that came back. */
TEST(aspace_gifts, who_has_a_page_from_one_who_has_it_from_others_stays_its_giver)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.c, want(npages(4), AR, ASPACE_GLOBAL)), second = vaddr_add_pages(va, 1);
    EXPECT_OK(aspace_share(&bed.c, va, npages(4), &bed.a, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.c, second, npages(2), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, vaddr(there), npages(4), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(4)));
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), bed.c.tables.id);
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(there), 1)), bed.a.tables.id);
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(there), 2)), bed.a.tables.id);
    EXPECT_EQ(giver_of(&bed.b, vaddr_add_pages(vaddr(there), 3)), bed.c.tables.id);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, what_a_transfer_brings_back_to_its_giver_does_not_become_its_own)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.c, want(npages(2), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.c, va, npages(2), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.c, va, npages(2), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.b, va, npages(2), &bed.a, AR, vaddr(0)));
    EXPECT_OK(aspace_unmap(&bed.b, va, npages(2))); /* has it there still, and stays a's giver */
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(2), &bed.b, AR));
    EXPECT_EQ(giver_of(&bed.b, va), bed.b.tables.id);
    EXPECT_OK(aspace_withdraw(&bed.c, va, npages(2), &bed.b));
    EXPECT_EQ(bed.b.ranges, 0);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_space_that_ends_leaves_its_gifts_to_who_gave_it_the_last)
{
    REQUIRE(aspace_bed_open(&bed));
    static struct aspace d;
    REQUIRE(EXPECT_OK(aspace_create(&bed.system, &d, (struct aspace_limits){0})));
    const vaddr_t va = map_it(&d, want(npages(2), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&d, va, npages(2), &bed.c, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&d, va, npages(2), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_share(&bed.c, va, npages(2), &bed.a, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), bed.c.tables.id);
    EXPECT_OK(aspace_destroy(&d));
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_space_that_ends_leaves_no_circle_behind)
{
    REQUIRE(aspace_bed_open(&bed));
    static struct aspace d;
    REQUIRE(EXPECT_OK(aspace_create(&bed.system, &d, (struct aspace_limits){0})));
    const vaddr_t va = map_it(&d, want(npages(2), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&d, va, npages(2), &bed.a, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(there)));
    EXPECT_OK(aspace_share(&bed.b, vaddr(there), npages(2), &bed.a, AR, vaddr(elsewhere)));
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), d.tables.id);
    EXPECT_OK(aspace_destroy(&d));
    EXPECT_EQ(giver_of(&bed.b, vaddr(there)), 0);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_private_mapping_of_the_object_keeps_no_gift_alive)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    REQUIRE(object_create_anonymous(&bed.system, npages(2), &object) == STATUS_OK);
    const vaddr_t va = map_it(&bed.a, want_object(object, 0, npages(2), ARW, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(0)));
    (void)map_it(&bed.b, want_object(object, 0, npages(2), AR, ASPACE_PRIVATE));
    EXPECT_OK(aspace_share(&bed.b, va, npages(2), &bed.c, AR, vaddr(0)));
    EXPECT_OK(aspace_withdraw(&bed.a, va, npages(2), &bed.b));
    EXPECT(mapping_at(&bed.b, va) == NULL && mapping_at(&bed.c, va) == NULL);
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, a_transfer_from_the_middle_keeps_to_the_limit_of_who_gives)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(5), AR, ASPACE_GLOBAL));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.ranges = 1}));
    EXPECT_EQ(aspace_transfer(&bed.a, vaddr_add_pages(va, 2), npages(1), &bed.b, AR), STATUS_LIMIT);
    EXPECT_OK(aspace_transfer(&bed.a, vaddr_add_pages(va, 2), npages(3), &bed.b, AR));
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, an_object_that_nobody_holds_gets_no_addresses_for_pages_that_nobody_has)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    REQUIRE(object_create_anonymous(&bed.system, npages(8), &object) == STATUS_OK);
    (void)map_it(&bed.a, want_object(object, 5, npages(3), AR, 0));
    EXPECT_OK(object_release(object));
    (void)map_it(&bed.b, want_object(object, 6, npages(1), AR, ASPACE_GLOBAL));
    EXPECT_EQ(bed.system.global.used.v, 3);
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, what_begins_in_the_middle_of_an_object_is_aligned_or_refused)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    REQUIRE(object_create_anonymous(&bed.system, npages(8), &object) == STATUS_OK);
    struct aspace_request r = want_object(object, 3, npages(1), AR, ASPACE_GLOBAL);
    r.align_log2 = 21;
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    r.align_log2 = 0;
    (void)map_it(&bed.a, r);
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

TEST(aspace_gifts, the_upper_part_of_a_stack_that_was_cut_has_no_guard)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(8), ARW, ASPACE_STACK));
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 3), npages(2)));
    struct aspace_fault out;
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(va, 4), VMM_READ, &out), STATUS_ABSENT);
    EXPECT(!out.in_guard && !out.inside);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(va.v - 1), VMM_READ, &out), STATUS_ABSENT);
    EXPECT(out.in_guard);
    aspace_bed_close(&bed);
}
