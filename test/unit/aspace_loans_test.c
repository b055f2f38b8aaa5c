/* Tables that spaces lend each other: a cache, which nobody sees but by the cost. */
#include "aspace/mapping.h"
#include "unit/aspace_touch.h"

enum { PARTS = 3 };

static struct aspace_bed bed;
static struct object *o;

/* Three parts of 2 MiB of an object in `a`, the first page of each and some more resident. */
static vaddr_t open_bed(unsigned rights)
{
    if (!aspace_bed_open(&bed) ||
        !EXPECT_OK(object_create_anonymous(&bed.system, npages(PARTS * PAGES_PER_2M), &o))) {
        return vaddr(0);
    }
    struct aspace_request r = want_object(o, 0, npages(PARTS * PAGES_PER_2M), rights, ASPACE_GLOBAL);
    r.align_log2 = 21;
    const vaddr_t va = map_it(&bed.a, r);
    for (uint64_t i = 0; i < PARTS * PAGES_PER_2M; i += 128) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    return va;
}

static void close_bed(void)
{
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

static unsigned loans(const struct aspace *space)
{
    unsigned n = 0;
    for (const struct avl_node *b = avl_first(&space->tables.borrowed); b != NULL; b = avl_next(b)) {
        n++;
    }
    return n;
}

TEST(aspace_loans, whole_parts_with_tables_are_borrowed_by_one_store_each)
{
    const vaddr_t va = open_bed(ARW);
    REQUIRE(va.v != 0);
    aspace_bed_switch(&bed, &bed.a);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, ARW, vaddr(AT_PRIVATE))); /* the window is open */
    const uint64_t stores = bed.vmm->counters.table_stores;
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT_EQ(loans(&bed.b), PARTS);
    EXPECT_EQ(pages_shown(&bed.b), 1);
    EXPECT(bed.vmm->counters.table_stores - stores < 32);
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(va, 640)), frame_shown(&bed.a, vaddr_add_pages(va, 640)));
    close_bed();
}

TEST(aspace_loans, a_page_touched_in_a_borrowed_part_is_brought_for_both)
{
    const vaddr_t va = open_bed(ARW), at = vaddr_add_pages(va, 7);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    put_word(&bed, &bed.b, at, 70);
    EXPECT_EQ(loans(&bed.b), PARTS);
    EXPECT_EQ(frame_shown(&bed.a, at), frame_shown(&bed.b, at));
    EXPECT_EQ(get_word(&bed, &bed.a, at), 70);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 9), 90);
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, 9)), frame_shown(&bed.b, vaddr_add_pages(va, 9)));
    close_bed();
}

TEST(aspace_loans, a_borrower_with_fewer_rights_cannot_write)
{
    const vaddr_t va = open_bed(ARW);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, AR, vaddr(0)));
    EXPECT_EQ(loans(&bed.b), PARTS);
    EXPECT_EQ(rights_shown(&bed.b, va), AR);
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(rights_shown(&bed.a, va), ARW);
    close_bed();
}

TEST(aspace_loans, a_part_is_not_lent_where_only_the_lender_is_open_to_user_mode)
{
    const vaddr_t va = open_bed(ARW | VMM_USER);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT_EQ(loans(&bed.b), 0);
    EXPECT_EQ(rights_shown(&bed.b, va), ARW);
    EXPECT_EQ(touch(&bed.b, va, VMM_READ | VMM_USER), STATUS_DENIED);
    close_bed();
}

TEST(aspace_loans, whoever_gives_a_page_of_a_part_up_ends_the_loan_and_nothing_is_lost)
{
    for (unsigned side = 0; side < 2; side++) {
        const vaddr_t va = open_bed(ARW);
        REQUIRE(va.v != 0);
        struct aspace *goes = side == 0 ? &bed.a : &bed.b, *stays = side == 0 ? &bed.b : &bed.a;
        EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
        EXPECT_OK(aspace_unmap(goes, vaddr_add_pages(va, 128), npages(1)));
        EXPECT_EQ(loans(&bed.b), PARTS - 1);
        EXPECT_EQ(touch(goes, vaddr_add_pages(va, 128), VMM_READ), STATUS_ABSENT);
        EXPECT_EQ(get_word(&bed, stays, vaddr_add_pages(va, 128)), 128);
        EXPECT_EQ(get_word(&bed, goes, vaddr_add_pages(va, 256)), 256);
        EXPECT_OK(aspace_protect(goes, vaddr_add_pages(va, 512), npages(1), AR));
        EXPECT_EQ(loans(&bed.b), PARTS - 2);
        EXPECT_EQ(touch(goes, vaddr_add_pages(va, 512), VMM_WRITE), STATUS_DENIED);
        put_word(&bed, stays, vaddr_add_pages(va, 512), 5);
        EXPECT_EQ(get_word(&bed, goes, vaddr_add_pages(va, 512)), 5);
        close_bed();
    }
}

TEST(aspace_loans, what_is_borrowed_is_lent_on_by_its_lender_and_all_end_by_withdrawal)
{
    const vaddr_t va = open_bed(ARW);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, va, npages(PARTS * PAGES_PER_2M), &bed.c, AR, vaddr(AT_PRIVATE)));
    EXPECT_EQ(loans(&bed.c), PARTS);
    put_word(&bed, &bed.b, vaddr_add_pages(va, 3), 33);
    EXPECT_EQ(get_word(&bed, &bed.c, vaddr(AT_PRIVATE + 3ULL * PAGE_BYTES)), 33);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_withdraw(&bed.a, vaddr_add_pages(va, 512), npages(512), &bed.b));
    EXPECT_EQ(loans(&bed.b), PARTS - 1);
    EXPECT_EQ(loans(&bed.c), PARTS - 1);
    EXPECT_EQ(touch(&bed.c, vaddr(AT_PRIVATE + 512ULL * PAGE_BYTES), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 512)), 512);
    close_bed();
}

TEST(aspace_loans, a_lender_and_a_borrower_can_be_destroyed)
{
    for (unsigned side = 0; side < 2; side++) {
        const vaddr_t va = open_bed(ARW);
        REQUIRE(va.v != 0);
        EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
        struct aspace *stays = side == 0 ? &bed.b : &bed.a;
        EXPECT_OK(aspace_destroy(side == 0 ? &bed.a : &bed.b));
        EXPECT_EQ(get_word(&bed, stays, vaddr_add_pages(va, 128)), 128);
        EXPECT_EQ(loans(stays), 0);
        close_bed();
    }
}

TEST(aspace_loans, transfer_and_shrinking_and_cloning_find_what_is_lent)
{
    static struct aspace child;
    const vaddr_t va = open_bed(ARW);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PARTS * PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    EXPECT_EQ(aspace_clone(&bed.b, &child, NULL, NULL), STATUS_MISUSE); /* it is a space */
    test_expect_reports(1);
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(512), &bed.c, ARW));
    EXPECT_EQ(get_word(&bed, &bed.c, vaddr_add_pages(va, 128)), 128);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, 128)), 128);
    EXPECT_EQ(touch(&bed.a, va, VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(loans(&bed.b), PARTS - 1);
    EXPECT_OK(aspace_destroy(&child));
    close_bed();
}
