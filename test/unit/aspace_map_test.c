/* Mapping and unmapping: addresses, splits, merges, what is counted. */
#include "unit/aspace_bed.h"

#include "arch/layout.h"

static struct aspace_bed bed;

static struct aspace_query query_of(struct aspace *space, vaddr_t va)
{
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(space, va, &q));
    return q;
}

TEST(aspace, a_new_space_has_nothing)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_query q;
    vaddr_t base;
    npages_t pages;
    EXPECT_EQ(aspace_query(&bed.a, vaddr(AT_PRIVATE), &q), STATUS_ABSENT);
    EXPECT(!aspace_find(&bed.a, vaddr(0), &base, &pages));
    EXPECT(bed.a.pages.v == 0 && bed.a.ranges == 0 && bed.a.tables.tables.v == 1 && bed.a.arena == NULL);
    aspace_bed_close(&bed);
}

TEST(aspace, a_private_range_is_where_it_was_asked_for)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(10), ARW, 0));
    EXPECT_EQ(va.v, AT_PRIVATE);
    const struct aspace_query q = query_of(&bed.a, vaddr(AT_PRIVATE + 5 * PAGE_BYTES + 7));
    EXPECT(q.base.v == AT_PRIVATE && q.pages.v == 10 && q.rights == ARW && q.allowed == ARW && !q.sealed);
    EXPECT(q.object == NULL && q.frame.v == 0 && q.sharers == 0);
    EXPECT_EQ(bed.a.tables.pages.v, 0); /* nothing is there until it is touched */
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(10)));
    aspace_bed_close(&bed);
}

TEST(aspace, ranges_go_where_there_is_room)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t x = map_it(&bed.a, want(npages(3), ARW, 0)), y = map_it(&bed.a, want(npages(3), AR, 0));
    EXPECT(x.v != y.v && x.v >= LAYOUT_USER_FIRST && y.v < LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL));
    struct aspace_request r = want(npages(1), ARW, 0);
    r.align_log2 = 30;
    EXPECT_EQ(map_it(&bed.a, r).v & (GIB - 1), 0);
    r.flags = ASPACE_BEST_FIT;
    r.align_log2 = 0;
    (void)map_it(&bed.a, r);
    EXPECT_EQ(bed.a.pages.v, 8);
    aspace_bed_close(&bed);
}

TEST(aspace, a_part_in_the_middle_goes_and_what_is_mapped_again_is_one)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(10), ARW, ASPACE_POPULATE));
    EXPECT_EQ(bed.a.tables.pages.v, 10);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 3), npages(4)));
    EXPECT(bed.a.ranges == 2 && bed.a.pages.v == 6 && bed.a.tables.pages.v == 6);
    struct aspace_query q;
    EXPECT_EQ(aspace_query(&bed.a, vaddr_add_pages(va, 3), &q), STATUS_ABSENT);
    EXPECT_EQ(aspace_query(&bed.a, vaddr_add_pages(va, 6), &q), STATUS_ABSENT);
    EXPECT_EQ(query_of(&bed.a, vaddr_add_pages(va, 7)).base.v, vaddr_add_pages(va, 7).v);
    EXPECT(aspace_bed_check(&bed));
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 3 * PAGE_BYTES, npages(4), ARW, 0));
    EXPECT(bed.a.ranges == 1 && bed.a.pages.v == 10);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(2)));                      /* the head */
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 8), npages(2)));  /* the tail */
    EXPECT(bed.a.ranges == 1 && bed.a.pages.v == 6);
    aspace_bed_close(&bed);
}

TEST(aspace, unmapping_over_several_ranges_needs_all_of_them)
{
    REQUIRE(aspace_bed_open(&bed));
    (void)map_it(&bed.a, want_at(AT_PRIVATE, npages(2), ARW, ASPACE_POPULATE));
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 2 * PAGE_BYTES, npages(2), AR, ASPACE_POPULATE));
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 5 * PAGE_BYTES, npages(2), AR, 0));
    EXPECT_EQ(bed.a.ranges, 3);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_unmap(&bed.a, vaddr(AT_PRIVATE), npages(7)), STATUS_ABSENT);
    EXPECT_EQ(aspace_unmap(&bed.a, vaddr(AT_PRIVATE + 4 * PAGE_BYTES), npages(2)), STATUS_ABSENT);
    EXPECT_EQ(aspace_unmap(&bed.a, vaddr(AT_PRIVATE - PAGE_BYTES), npages(2)), STATUS_ABSENT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr(AT_PRIVATE + PAGE_BYTES), npages(2)));
    EXPECT(bed.a.ranges == 3 && bed.a.pages.v == 4 && bed.a.tables.pages.v == 2);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace, guards_are_never_given_out_and_go_with_the_page_beside_them)
{
    REQUIRE(aspace_bed_open(&bed));
    const unsigned guards = ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE;
    (void)map_it(&bed.a, want_at(AT_PRIVATE, npages(3), ARW, guards));
    struct aspace_request below = want_at(AT_PRIVATE - PAGE_BYTES, npages(1), ARW, 0),
                          above = want_at(AT_PRIVATE + 3 * PAGE_BYTES, npages(1), ARW, 0);
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.a, &below, &va), STATUS_EXISTS);
    EXPECT_EQ(aspace_map(&bed.a, &above, &va), STATUS_EXISTS);
    EXPECT_EQ(bed.a.pages.v, 3);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr(AT_PRIVATE), npages(1)));
    EXPECT_OK(aspace_map(&bed.a, &below, &va));
    EXPECT_EQ(aspace_map(&bed.a, &above, &va), STATUS_EXISTS);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr(AT_PRIVATE + PAGE_BYTES), npages(2)));
    EXPECT_OK(aspace_map(&bed.a, &above, &va));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace, a_stack_has_a_guard_below)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(16), ARW, ASPACE_STACK));
    EXPECT((query_of(&bed.a, va).flags & (ASPACE_STACK | ASPACE_GUARD_BELOW)) == (ASPACE_STACK | ASPACE_GUARD_BELOW));
    struct aspace_request r = want_at(va.v - PAGE_BYTES, npages(1), ARW, 0);
    vaddr_t at;
    EXPECT_EQ(aspace_map(&bed.a, &r, &at), STATUS_EXISTS);
    aspace_bed_close(&bed);
}

TEST(aspace, guards_of_global_ranges_are_the_objects_and_go_with_its_first_and_last_page)
{
    REQUIRE(aspace_bed_open(&bed));
    const unsigned guards = ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE;
    const vaddr_t va = map_it(&bed.a, want(npages(3), ARW, ASPACE_GLOBAL | guards));
    struct object *o = query_of(&bed.a, va).object;
    EXPECT_EQ(bed.system.global.used.v, 5);
    EXPECT_EQ(map_it(&bed.b, want_object(o, 0, npages(1), ARW, ASPACE_GLOBAL | ASPACE_GUARD_BELOW)).v, va.v);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(3)));
    EXPECT_EQ(bed.system.global.used.v, 2); /* the first page and the guard below are b's still */
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_unmap(&bed.b, va, npages(1)));
    EXPECT_EQ(bed.system.global.used.v, 0);
    aspace_bed_close(&bed);
}

TEST(aspace, neighbours_of_different_owners_stay_apart)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_request r = want_at(AT_PRIVATE, npages(2), ARW, 0);
    (void)map_it(&bed.a, r);
    r.va = vaddr(AT_PRIVATE + 2 * PAGE_BYTES);
    r.tag = "another";
    (void)map_it(&bed.a, r);
    EXPECT_EQ(bed.a.ranges, 2);
    r.va = vaddr(AT_PRIVATE + 4 * PAGE_BYTES);
    r.flags |= ASPACE_FAULT_AROUND;
    (void)map_it(&bed.a, r);
    r.va = vaddr(AT_PRIVATE + 6 * PAGE_BYTES);
    r.allowed = ARW | VMM_EXECUTE;
    (void)map_it(&bed.a, r);
    EXPECT_EQ(bed.a.ranges, 4);
    EXPECT(query_of(&bed.a, r.va).tag == r.tag && query_of(&bed.a, vaddr(AT_PRIVATE)).tag != r.tag);
    aspace_bed_close(&bed);
}

TEST(aspace, a_global_address_is_given_to_nobody_else_until_it_is_free_in_every_space)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL));
    EXPECT(va.v >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) && va.v < LAYOUT_USER_END);
    struct object *o = query_of(&bed.a, va).object;
    REQUIRE(o != NULL);
    EXPECT_EQ(map_it(&bed.b, want_object(o, 1, npages(2), AR, ASPACE_GLOBAL)).v, vaddr_add_pages(va, 1).v);
    for (unsigned i = 0; i < 40; i++) {
        const vaddr_t other = map_it(&bed.c, want(npages(1), ARW, ASPACE_GLOBAL));
        EXPECT(other.v < va.v || other.v >= vaddr_add_pages(va, 4).v);
    }
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(4))); /* 0 and 3 are free now, 1 and 2 are not */
    EXPECT_EQ(object_info(o).mappings, 1);
    EXPECT(aspace_bed_check(&bed));
    bool again[4] = {0};
    for (unsigned i = 0; i < 100; i++) {
        const vaddr_t other = map_it(&bed.c, want(npages(1), ARW, ASPACE_GLOBAL));
        for (unsigned page = 0; page < 4; page++) {
            again[page] = again[page] || other.v == vaddr_add_pages(va, page).v;
        }
    }
    EXPECT(!again[1] && !again[2]);
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(va, 1), npages(2)));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace, a_page_of_a_shared_range_returns_when_its_last_user_leaves)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(5), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    struct object *o = query_of(&bed.a, va).object;
    REQUIRE(o != NULL);
    (void)map_it(&bed.b, want_object(o, 0, npages(5), AR, ASPACE_GLOBAL | ASPACE_POPULATE));
    EXPECT_EQ(object_info(o).resident.v, 5);
    const pfn_t frame = query_of(&bed.a, vaddr_add_pages(va, 2)).frame;
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 3);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 2), npages(1)));
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 2);
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(va, 2), npages(1)));
    EXPECT(pmm_query(bed.vmm->pmm, frame).state != PMM_STATE_USED);
    EXPECT_EQ(object_info(o).resident.v, 4);
    EXPECT(aspace_bed_check(&bed));
    /* The address too: who asks for one page gets it, sooner or later; who asks for its object's, does not. */
    struct aspace_request r = want_object(o, 2, npages(1), AR, ASPACE_GLOBAL);
    vaddr_t other;
    EXPECT_EQ(aspace_map(&bed.a, &r, &other), STATUS_ABSENT);
    bool found = false;
    for (unsigned i = 0; i < 100 && !found; i++) {
        found = map_it(&bed.c, want(npages(1), ARW, ASPACE_GLOBAL)).v == vaddr_add_pages(va, 2).v;
    }
    EXPECT(found);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}
