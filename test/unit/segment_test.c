/* Segments by their contract: who may use them, what that costs, and what is left when somebody goes. */
#include "aspace/segment_list.h"
#include "unit/aspace_touch.h"

enum { PAGES = 1000, FAR = 700 }; /* FAR: a page behind another PT */

static struct aspace_bed bed;

static struct segment_request pages_of(uint64_t pages, unsigned rights)
{
    return (struct segment_request){.pages = npages(pages), .rights = rights, .tag = "test"};
}

static vaddr_t create(struct aspace *owner, uint64_t pages, unsigned rights)
{
    const struct segment_request r = pages_of(pages, rights);
    vaddr_t va = {0};
    EXPECT_OK(segment_create(owner, &r, &va));
    return va;
}

/* A segment of `a` with two pages written to. */
static vaddr_t open_bed(void)
{
    if (!aspace_bed_open(&bed)) {
        return vaddr(0);
    }
    const vaddr_t va = create(&bed.a, PAGES, ARW);
    put_word(&bed, &bed.a, va, 1);
    put_word(&bed, &bed.a, vaddr_add_pages(va, FAR), 7);
    return va;
}

static unsigned permissions(vaddr_t va)
{
    struct segment_info info = {0};
    EXPECT(segment_info(&bed.system, va, &info));
    return info.permissions;
}

TEST(segment, a_private_one_is_a_list_of_one_with_a_slot_to_itself)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_EQ(va.v % GIB, 0);
    EXPECT_EQ(permissions(va), 1);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, FAR)), 7);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 5)), 0);
    EXPECT_EQ(touch(&bed.a, vaddr_add_pages(va, PAGES), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(touch(&bed.a, va, VMM_EXECUTE), STATUS_DENIED);
    EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_ABSENT);
    EXPECT(bed.a.ranges == 1 && bed.a.pages.v == PAGES);
    const vaddr_t other = create(&bed.a, 1, AR), range = map_it(&bed.b, want(npages(1), ARW, ASPACE_GLOBAL));
    EXPECT(other.v / GIB != va.v / GIB && range.v / GIB != va.v / GIB && range.v / GIB != other.v / GIB);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(segment, to_share_it_later_is_one_store_and_moves_nothing)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    const vaddr_t near = create(&bed.a, 1, ARW);
    const uint64_t frame = frame_shown(&bed.a, va);
    aspace_bed_switch(&bed, &bed.b);
    EXPECT_OK(segment_grant(&bed.a, near, &bed.b, AR)); /* b has a PDPT there, and the window is open */
    const uint64_t used = pmm_stats(bed.vmm->pmm).used.v;
    bed.vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_EQ(bed.vmm->counters.table_stores, 2); /* the link, and its count */
    EXPECT_EQ(bed.vmm->counters.cr3_loads, 0);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).used.v, used);
    EXPECT_EQ(frame_shown(&bed.b, va), frame);
    EXPECT_EQ(frame_shown(&bed.a, va), frame);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, FAR)), 7);
    put_word(&bed, &bed.b, vaddr_add_pages(va, 3), 30); /* what one brings is there for all */
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, 3)), frame_shown(&bed.b, vaddr_add_pages(va, 3)));
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 3)), 30);
    EXPECT(bed.b.ranges == 2 && bed.b.pages.v == 0);
    aspace_bed_close(&bed);
}

TEST(segment, who_has_fewer_rights_cannot_do_more_whoever_brought_the_page)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(rights_shown(&bed.b, va), AR);
    EXPECT_EQ(rights_shown(&bed.a, va), ARW);
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(touch(&bed.b, vaddr_add_pages(va, 9), VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, 9)), UINT64_MAX);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, 9)), 0);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 9), 4);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, 9)), 4);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(segment, narrowed_rights_hold_at_once_and_are_one_store)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    aspace_bed_switch(&bed, &bed.b);
    put_word(&bed, &bed.b, va, 2);
    const uint64_t stores = bed.vmm->counters.table_stores;
    EXPECT_OK(segment_narrow(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(bed.vmm->counters.table_stores - stores, 1);
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(rights_shown(&bed.b, va), AR);
    EXPECT_EQ(get_word(&bed, &bed.b, va), 2);
    EXPECT_OK(segment_narrow(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(segment_narrow(&bed.a, va, &bed.c, AR), STATUS_ABSENT);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(segment, revoked_it_is_gone_when_the_call_returns_by_one_store_and_its_count)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    const vaddr_t near = create(&bed.a, 1, ARW);
    EXPECT_OK(segment_grant(&bed.a, near, &bed.b, AR));
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_OK(segment_grant(&bed.a, va, &bed.c, AR));
    aspace_bed_switch(&bed, &bed.b);
    put_word(&bed, &bed.b, va, 2);
    const uint64_t stores = bed.vmm->counters.table_stores, flushes = bed.vmm->counters.cr3_loads;
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.b));
    EXPECT_EQ(bed.vmm->counters.table_stores - stores, 2);
    EXPECT_EQ(bed.vmm->counters.cr3_loads - flushes, 1);
    EXPECT_EQ(frame_shown(&bed.b, va), UINT64_MAX);
    EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(get_word(&bed, &bed.c, va), 2);
    EXPECT_EQ(permissions(va), 2);
    EXPECT_EQ(segment_revoke(&bed.a, va, &bed.b), STATUS_ABSENT);
    EXPECT_EQ(segment_revoke(&bed.c, va, &bed.a), STATUS_DENIED);
    EXPECT_OK(segment_revoke(&bed.c, va, &bed.c)); /* who has it may leave */
    EXPECT_EQ(permissions(va), 1);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR)); /* and come again */
    EXPECT_EQ(get_word(&bed, &bed.b, va), 2);
    aspace_bed_close(&bed);
}

TEST(segment, the_owners_own_is_the_end_for_all)
{
    for (unsigned way = 0; way < 2; way++) {
        const vaddr_t va = open_bed();
        REQUIRE(va.v != 0);
        EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
        EXPECT_OK(segment_grant(&bed.a, va, &bed.c, AR));
        aspace_bed_switch(&bed, &bed.b);
        put_word(&bed, &bed.b, va, 3);
        EXPECT_OK(way == 0 ? segment_revoke(&bed.a, va, &bed.a) : aspace_destroy(&bed.a));
        struct segment_info info;
        EXPECT(!segment_info(&bed.system, va, &info));
        EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_ABSENT);
        EXPECT_EQ(frame_shown(&bed.c, va), UINT64_MAX);
        EXPECT(bed.b.ranges == 0 && bed.c.ranges == 0 && bed.system.objects.used == 0);
        EXPECT_EQ(bed.system.global.used.v, 0);
        const vaddr_t again = create(&bed.b, 1, ARW);
        EXPECT_EQ(get_word(&bed, &bed.b, again), 0);
        aspace_bed_close(&bed);
    }
}

TEST(segment, a_sharers_end_leaves_it_to_the_others)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_OK(segment_grant(&bed.a, va, &bed.c, AR));
    put_word(&bed, &bed.b, va, 3);
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT_EQ(permissions(va), 2);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_EQ(get_word(&bed, &bed.c, va), 3);
    aspace_bed_close(&bed);
}

TEST(segment, it_grows_and_shrinks_in_place)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_OK(segment_resize(&bed.a, va, npages(SEGMENT_PAGES_MAX)));
    EXPECT_EQ(bed.a.pages.v, SEGMENT_PAGES_MAX);
    put_word(&bed, &bed.b, vaddr_add_pages(va, SEGMENT_PAGES_MAX - 1), 8);
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.b));
    EXPECT_OK(segment_resize(&bed.a, va, npages(1)));
    EXPECT_EQ(bed.a.pages.v, 1);
    EXPECT_EQ(touch(&bed.a, vaddr_add_pages(va, FAR), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, FAR)), UINT64_MAX);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_OK(segment_resize(&bed.a, va, npages(PAGES)));
    EXPECT_OK(segment_resize(&bed.a, va, npages(PAGES / 2))); /* nothing was there */
    EXPECT_OK(segment_resize(&bed.a, va, npages(PAGES)));
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, FAR)), 0);
    EXPECT_EQ(get_word(&bed, &bed.b, va), 1);
    EXPECT_EQ(segment_resize(&bed.b, va, npages(1)), STATUS_DENIED);
    EXPECT_EQ(segment_resize(&bed.c, va, npages(1)), STATUS_ABSENT);
    EXPECT_EQ(segment_resize(&bed.a, va, npages(0)), STATUS_INVALID);
    EXPECT_EQ(segment_resize(&bed.a, va, npages(SEGMENT_PAGES_MAX + 1)), STATUS_RANGE);
    aspace_bed_close(&bed);
}

TEST(segment, resized_below_what_others_use_it_is_refused_and_nothing_goes)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_OK(segment_resize(&bed.a, va, npages(FAR + 1))); /* nobody has used what is behind */
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(segment_resize(&bed.a, va, npages(FAR)), STATUS_SHARED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, FAR)), 7);
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.b));
    EXPECT_OK(segment_resize(&bed.a, va, npages(FAR)));
    aspace_bed_close(&bed);
}

TEST(segment, limits_count_a_range_for_each_who_has_it_and_the_pages_for_its_owner)
{
    REQUIRE(aspace_bed_open(&bed));
    const struct segment_request r = pages_of(PAGES, ARW);
    vaddr_t va = {0};
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(PAGES - 1)}));
    EXPECT_EQ(segment_create(&bed.a, &r, &va), STATUS_LIMIT);
    EXPECT_EQ(va.v, 0);
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(PAGES), .ranges = 1}));
    EXPECT_OK(segment_create(&bed.a, &r, &va));
    EXPECT_EQ(segment_resize(&bed.a, va, npages(PAGES + 1)), STATUS_LIMIT);
    EXPECT_EQ(segment_create(&bed.a, &r, &va), STATUS_LIMIT);
    EXPECT_OK(aspace_set_limits(&bed.b, (struct aspace_limits){.pages = npages(1), .ranges = 1}));
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    const vaddr_t other = create(&bed.c, 1, AR);
    EXPECT_EQ(segment_grant(&bed.c, other, &bed.b, AR), STATUS_LIMIT);
    EXPECT_OK(segment_revoke(&bed.b, va, &bed.b));
    EXPECT_OK(segment_grant(&bed.c, other, &bed.b, AR));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(segment, granted_twice_it_is_refused_and_the_first_rights_stay)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.b, AR), STATUS_EXISTS);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.b, ARW), STATUS_EXISTS);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.a, ARW), STATUS_EXISTS);
    EXPECT(rights_shown(&bed.b, va) == AR && permissions(va) == 2 && bed.b.ranges == 1);
    aspace_bed_close(&bed);
}

TEST(segment, rights_wider_than_the_owners_are_given_to_nobody)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.b, ARX), STATUS_DENIED);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(segment_narrow(&bed.a, va, &bed.b, ARW), STATUS_DENIED);
    EXPECT_OK(segment_narrow(&bed.a, va, &bed.a, AR)); /* now it has fewer itself */
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.c, ARW), STATUS_DENIED);
    EXPECT(touch(&bed.a, va, VMM_WRITE) == STATUS_DENIED && touch(&bed.b, va, VMM_WRITE) == STATUS_DENIED);
    EXPECT_EQ(touch(&bed.c, va, VMM_READ), STATUS_ABSENT);
    aspace_bed_close(&bed);
}

TEST(segment, it_is_granted_to_no_dead_space)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.b, AR), STATUS_MISUSE);
    EXPECT_EQ(segment_narrow(&bed.a, va, &bed.b, AR), STATUS_MISUSE);
    EXPECT_EQ(segment_revoke(&bed.a, va, &bed.b), STATUS_MISUSE);
    EXPECT_EQ(permissions(va), 1);
    test_expect_reports(3);
    aspace_bed_close(&bed);
}

TEST(segment, what_cannot_be_meant_changes_nothing)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    struct aspace dead = {0};
    vaddr_t out = {0};
    const struct segment_request wrong[] = {pages_of(0, ARW), pages_of(1, 0), pages_of(1, ARW | VMM_EXECUTE),
                                            pages_of(1, VMM_USER), pages_of(1, 1U << 20), {.pages = npages(1)}};
    const uint64_t before = aspace_bed_digest(&bed);
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_EQ(segment_create(&bed.a, &wrong[i], &out), STATUS_INVALID);
    }
    const struct segment_request large = pages_of(SEGMENT_PAGES_MAX + 1, ARW);
    EXPECT_EQ(segment_create(&bed.a, &large, &out), STATUS_RANGE);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.c, 0), STATUS_INVALID);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.c, AR | VMM_USER), STATUS_INVALID);
    EXPECT_EQ(segment_grant(&bed.b, va, &bed.c, AR), STATUS_DENIED); /* not its owner */
    EXPECT_EQ(segment_grant(&bed.c, va, &bed.b, AR), STATUS_ABSENT);
    EXPECT_EQ(segment_grant(&bed.a, vaddr(AT_PRIVATE), &bed.b, AR), STATUS_ABSENT);
    EXPECT_EQ(segment_grant(&bed.a, vaddr(UINT64_MAX), &bed.b, AR), STATUS_ABSENT);
    EXPECT_EQ(segment_grant(&bed.a, va, NULL, AR), STATUS_MISUSE);
    EXPECT_EQ(segment_grant(&bed.a, va, &bed.system.segment_tables, AR), STATUS_MISUSE);
    EXPECT_EQ(segment_revoke(&dead, va, &bed.a), STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    test_expect_reports(3);
    aspace_bed_close(&bed);
}

TEST(segment, calls_about_ranges_find_nothing_mapped_there)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_unmap(&bed.a, va, npages(1)), STATUS_ABSENT);
    EXPECT_EQ(aspace_protect(&bed.a, va, npages(1), AR), STATUS_ABSENT);
    EXPECT_EQ(aspace_seal(&bed.a, va, npages(1)), STATUS_ABSENT);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(0)), STATUS_ABSENT);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(AT_PRIVATE)), STATUS_ABSENT);
    EXPECT_EQ(aspace_transfer(&bed.a, va, npages(1), &bed.b, AR), STATUS_ABSENT);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(1), &bed.b), STATUS_ABSENT);
    struct aspace_request r = want(npages(1), ARW, ASPACE_AT);
    r.va = va;
    vaddr_t out;
    EXPECT_EQ(aspace_map(&bed.b, &r, &out), STATUS_RANGE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

TEST(segment, questions_say_what_the_list_says)
{
    const vaddr_t va = open_bed(), at = vaddr_add_pages(va, FAR);
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(&bed.a, at, &q));
    EXPECT(q.base.v == va.v && q.pages.v == PAGES && q.rights == ARW && q.giver == 0 && q.page == FAR);
    EXPECT_EQ(q.frame.v, frame_shown(&bed.a, at));
    EXPECT_OK(aspace_query(&bed.b, at, &q));
    EXPECT(q.rights == AR && q.giver == bed.a.tables.id && q.sharers == 2);
    EXPECT_EQ(aspace_query(&bed.c, at, &q), STATUS_ABSENT);
    EXPECT_EQ(aspace_query(&bed.a, vaddr_add_pages(va, PAGES), &q), STATUS_ABSENT);
    EXPECT_EQ(segment_permits(&bed.a, at, VMM_WRITE), STATUS_OK);
    EXPECT_EQ(segment_permits(&bed.b, at, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(segment_permits(&bed.b, at, VMM_READ | VMM_USER), STATUS_DENIED);
    EXPECT_EQ(segment_permits(&bed.c, at, VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(segment_permits(&bed.a, vaddr_add_pages(va, PAGES), VMM_READ), STATUS_ABSENT);
    struct aspace_fault why = {0};
    EXPECT_EQ(aspace_fault(&bed.b, at, VMM_WRITE, &why), STATUS_DENIED);
    EXPECT(why.inside && why.base.v == va.v && why.rights == AR && why.pages.v == PAGES);
    aspace_bed_close(&bed);
}

static bool count_user(void *ctx, struct aspace *space, vaddr_t va)
{
    (void)va;
    *(unsigned *)ctx |= space == &bed.a ? 1U : space == &bed.b ? 2U : 4U;
    return true;
}

TEST(segment, who_maps_a_frame_of_it_is_who_is_in_the_list)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    unsigned users = 0;
    EXPECT_OK(aspaces_users(&bed.system, pfn(frame_shown(&bed.a, va)), count_user, &users));
    EXPECT_EQ(users, 3);
    aspace_bed_close(&bed);
}

static unsigned keep(void *ctx, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)va;
    (void)pages;
    return *(unsigned *)ctx & rights;
}

TEST(segment, a_clone_is_in_the_list_where_it_is_to_be)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, ARW));
    EXPECT_OK(aspace_destroy(&bed.c));
    unsigned rights = AR;
    EXPECT_OK(aspace_clone(&bed.b, &bed.c, keep, &rights));
    EXPECT_EQ(permissions(va), 3);
    EXPECT_EQ(get_word(&bed, &bed.c, va), 1);
    EXPECT_EQ(touch(&bed.c, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.c));
    EXPECT_EQ(touch(&bed.c, va, VMM_READ), STATUS_ABSENT);
    EXPECT_OK(aspace_destroy(&bed.c));
    EXPECT_OK(aspace_clone(&bed.b, &bed.c, NULL, NULL));
    EXPECT_EQ(permissions(va), 2);
    aspace_bed_close(&bed);
}
