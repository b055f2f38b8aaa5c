/* Sharing: pages of one space become usable in another. */
#include "arch/layout.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

static vaddr_t global_range(uint64_t pages, unsigned rights)
{
    return map_it(&bed.a, want(npages(pages), rights, ASPACE_GLOBAL));
}

TEST(aspace_share, a_shared_page_is_at_one_address_and_in_one_frame)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(3, ARW);
    put_word(&bed, &bed.a, va, 11);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, vaddr(0)));
    EXPECT_EQ(frame_shown(&bed.b, va), frame_shown(&bed.a, va)); /* without a fault: it was resident */
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(va, 1)), UINT64_MAX);
    EXPECT_EQ(get_word(&bed, &bed.b, va), 11);
    put_word(&bed, &bed.b, vaddr_add_pages(va, 2), 12);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 2)), 12);
    EXPECT_EQ(bed.b.pages.v, 3);
    EXPECT_EQ(bed.b.ranges, 1);
    aspace_bed_close(&bed);
}

TEST(aspace_share, rights_are_by_the_page_and_no_more_than_the_givers)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(4, ARW);
    put_word(&bed, &bed.a, va, 11);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 1), npages(2), &bed.b, ARW, vaddr(0)));
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    put_word(&bed, &bed.b, vaddr_add_pages(va, 1), 5);
    EXPECT_EQ(touch(&bed.b, vaddr_add_pages(va, 3), VMM_READ), STATUS_ABSENT);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_share(&bed.b, va, npages(1), &bed.c, ARW, vaddr(0)), STATUS_DENIED);
    EXPECT_EQ(aspace_share(&bed.a, vaddr_add_pages(va, 3), npages(1), &bed.c, ARX, vaddr(0)), STATUS_DENIED);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(1), &bed.c, AR | VMM_USER, vaddr(0)), STATUS_DENIED);
    EXPECT_EQ(aspace_protect(&bed.b, va, npages(1), ARW), STATUS_DENIED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_share(&bed.b, va, npages(1), &bed.c, AR, vaddr(0)));
    EXPECT_EQ(get_word(&bed, &bed.c, va), 11);
    aspace_bed_close(&bed);
}

struct bad {
    struct aspace *from;
    uint64_t va, pages;
    struct aspace *to;
    unsigned rights;
    uint64_t to_va;
    enum status share, transfer; /* transfer: without to_va */
};

TEST(aspace_share, wrong_arguments_are_refused_and_change_nothing)
{
    static struct aspace never;
    REQUIRE(aspace_bed_open(&bed));
    struct aspace *a = &bed.a, *b = &bed.b;
    const uint64_t g = global_range(4, ARW).v, own = map_it(a, want_at(AT_PRIVATE, npages(4), ARW, 0)).v;
    const uint64_t there = map_it(b, want_at(AT_PRIVATE, npages(4), ARW, 0)).v, page = PAGE_BYTES;
    EXPECT_OK(aspace_share(a, vaddr(g + 3 * page), npages(1), b, AR, vaddr(0)));
    const struct bad cases[] = {
        {a, g + 1, 1, b, AR, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 0, b, AR, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, UINT64_MAX, b, AR, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, b, 0, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, b, VMM_USER, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, b, 1 << 8 | AR, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, b, ARW | VMM_EXECUTE, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, a, AR, 0, STATUS_INVALID, STATUS_INVALID},
        {a, g, 1, b, AR, own + 1, STATUS_INVALID, STATUS_OK},
        {a, g, 1, b, AR, g, STATUS_INVALID, STATUS_OK},
        {a, g, 1, b, AR, page, STATUS_RANGE, STATUS_OK},
        {a, LAYOUT_KERNEL_BASE, 1, b, AR, 0, STATUS_RANGE, STATUS_RANGE},
        {a, 0x7000, 1, b, AR, 0, STATUS_RANGE, STATUS_RANGE},
        {a, own, 1, b, AR, 0, STATUS_NOT_GLOBAL, STATUS_NOT_GLOBAL},
        {a, g + 4 * page, 1, b, AR, 0, STATUS_ABSENT, STATUS_ABSENT},
        {a, g + 2 * page, 3, b, AR, 0, STATUS_ABSENT, STATUS_ABSENT},
        {a, g, 1, b, ARX, 0, STATUS_DENIED, STATUS_DENIED},
        {a, g + 2 * page, 2, b, AR, 0, STATUS_EXISTS, STATUS_EXISTS},
        {a, g, 2, b, AR, there + 3 * page, STATUS_EXISTS, STATUS_OK},
        {b, g, 1, a, AR, 0, STATUS_ABSENT, STATUS_ABSENT},
        {NULL, g, 1, b, AR, 0, STATUS_MISUSE, STATUS_MISUSE},
        {a, g, 1, NULL, AR, 0, STATUS_MISUSE, STATUS_MISUSE},
        {a, g, 1, &never, AR, 0, STATUS_MISUSE, STATUS_MISUSE},
        {&never, g, 1, b, AR, 0, STATUS_MISUSE, STATUS_MISUSE},
    };
    unsigned reports = 0;
    const uint64_t before = aspace_bed_digest(&bed);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct bad *c = &cases[i];
        bool ok = EXPECT_EQ(aspace_share(c->from, vaddr(c->va), npages(c->pages), c->to, c->rights, vaddr(c->to_va)),
                            c->share);
        reports += c->share == STATUS_MISUSE;
        if (c->transfer != STATUS_OK) {
            ok = EXPECT_EQ(aspace_transfer(c->from, vaddr(c->va), npages(c->pages), c->to, c->rights), c->transfer) &&
                 ok;
            reports += c->transfer == STATUS_MISUSE;
        }
        if (!EXPECT_EQ(aspace_bed_digest(&bed), before) || !ok) {
            test_note("in case %u", i);
        }
    }
    test_expect_reports(reports);
    aspace_bed_close(&bed);
}

TEST(aspace_share, a_target_address_takes_a_range_of_the_receivers_private_part)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(3, ARW), to = vaddr(AT_PRIVATE + MIB);
    put_word(&bed, &bed.a, va, 11);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, to));
    EXPECT_EQ(get_word(&bed, &bed.b, to), 11);
    struct aspace_request r = want_at(to.v, npages(1), ARW, 0);
    vaddr_t other;
    EXPECT_EQ(aspace_map(&bed.b, &r, &other), STATUS_EXISTS);
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(to, 1), npages(1)));
    r.va = vaddr_add_pages(to, 1);
    EXPECT_OK(aspace_map(&bed.b, &r, &other));
    EXPECT_EQ(get_word(&bed, &bed.b, other), 0);
    aspace_bed_close(&bed);
}

TEST(aspace_share, private_memory_that_is_shared_becomes_an_object_without_a_copy)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(8), ARW, 0)), to = vaddr(AT_PRIVATE + GIB);
    for (uint64_t i = 0; i < 6; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), 50 + i);
    }
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 6)), 0); /* the zero frame */
    const uint64_t frame = frame_shown(&bed.a, vaddr_add_pages(va, 2));
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 1), npages(6), &bed.b, ARW, to));
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(to, 1)), frame);
    for (uint64_t i = 0; i < 6; i++) {
        EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, i)), 50 + i);
    }
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(to, 5)), 0);
    put_word(&bed, &bed.b, vaddr_add_pages(to, 5), 99);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 6)), 99);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 1), 98);
    EXPECT_EQ(get_word(&bed, &bed.b, to), 98);
    struct aspace_query q;
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    EXPECT(q.object == NULL && q.pages.v == 1); /* what was not shared is private still */
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(8)));
    EXPECT_EQ(get_word(&bed, &bed.b, to), 98);
    aspace_bed_close(&bed);
}

TEST(aspace_share, copies_of_a_private_object_mapping_are_shared_as_they_are)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(4), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_PRIVATE)), to = vaddr(AT_PRIVATE);
    const vaddr_t plain = map_it(&bed.c, want_object(o, 0, npages(4), AR, 0));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 101);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, to));
    EXPECT_EQ(get_word(&bed, &bed.b, to), 1);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add(to, 8)), 100);
    put_word(&bed, &bed.b, vaddr_add_pages(to, 1), 7);
    put_word(&bed, &bed.b, vaddr_add_pages(to, 2), 8);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 7);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 2)), 8);
    EXPECT_EQ(get_word(&bed, &bed.c, plain), 100); /* the object has none of it */
    EXPECT_EQ(get_word(&bed, &bed.c, vaddr_add_pages(plain, 2)), 102);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_share, pages_come_without_a_fault_up_to_a_number)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(40, ARW);
    for (uint64_t i = 0; i < 40; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    EXPECT_OK(aspace_share(&bed.a, va, npages(40), &bed.b, ARW, vaddr(0)));
    EXPECT_EQ(pages_shown(&bed.b), ASPACE_SHARE_PAGES);
    for (uint64_t i = 0; i < 40; i++) {
        EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, i)), i);
    }
    aspace_bed_close(&bed);
}

TEST(aspace_share, a_device_is_shared_whole_at_once)
{
    REQUIRE(aspace_bed_open(&bed));
    const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_physical(&bed.system, device, npages(64), VMM_UNCACHED, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(64), ARW, ASPACE_GLOBAL));
    EXPECT_OK(aspace_share(&bed.a, va, npages(64), &bed.b, AR, vaddr(0)));
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(va, 63)), device.v + 63);
    EXPECT_EQ(rights_shown(&bed.b, va), AR);
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(64), &bed.c, ARW));
    EXPECT_EQ(frame_shown(&bed.a, va), UINT64_MAX);
    EXPECT_EQ(frame_shown(&bed.c, vaddr_add_pages(va, 63)), device.v + 63);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_share, limits_of_the_receiver_hold_exactly)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(8, ARW);
    const struct aspace_limits limits = {.pages = npages(4), .ranges = 1};
    EXPECT_OK(aspace_set_limits(&bed.b, limits));
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(5), &bed.b, AR, vaddr(0)), STATUS_LIMIT);
    EXPECT_EQ(aspace_transfer(&bed.a, va, npages(5), &bed.b, AR), STATUS_LIMIT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(0)));
    EXPECT_EQ(aspace_share(&bed.a, vaddr_add_pages(va, 4), npages(1), &bed.b, AR, vaddr(0)), STATUS_LIMIT);
    EXPECT_EQ(aspace_share(&bed.a, vaddr_add_pages(va, 2), npages(1), &bed.b, ARW, vaddr(0)), STATUS_LIMIT);
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 2), npages(2), &bed.b, AR, vaddr(0))); /* one with it */
    EXPECT_EQ(bed.b.ranges, 1);
    EXPECT_EQ(aspace_share(&bed.a, vaddr_add_pages(va, 4), npages(1), &bed.b, AR, vaddr(0)), STATUS_LIMIT);
    aspace_bed_close(&bed);
}

/* ---- Transfer ---- */

TEST(aspace_share, a_transferred_page_is_the_same_frame_and_no_longer_the_givers)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(3, ARW), middle = vaddr_add_pages(va, 1);
    put_word(&bed, &bed.a, middle, 11);
    const uint64_t frame = frame_shown(&bed.a, middle), used = pmm_stats(bed.vmm->pmm).used.v;
    EXPECT_OK(aspace_transfer(&bed.a, middle, npages(1), &bed.b, ARW));
    EXPECT_EQ(frame_shown(&bed.a, middle), UINT64_MAX);
    EXPECT_EQ(frame_shown(&bed.b, middle), frame);
    EXPECT_EQ(touch(&bed.a, middle, VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(get_word(&bed, &bed.b, middle), 11);
    EXPECT(bed.a.pages.v == 2 && bed.a.ranges == 2 && bed.b.pages.v == 1);
    EXPECT(pmm_stats(bed.vmm->pmm).used.v <= used + 3); /* tables of the receiver */
    EXPECT_OK(aspace_transfer(&bed.b, middle, npages(1), &bed.a, ARW));
    EXPECT_EQ(get_word(&bed, &bed.a, middle), 11);
    EXPECT_EQ(bed.a.ranges, 1);
    aspace_bed_close(&bed);
}

TEST(aspace_share, what_is_sealed_is_not_transferred)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(3, ARW);
    EXPECT_OK(aspace_seal(&bed.a, va, npages(3)));
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_transfer(&bed.a, va, npages(1), &bed.b, ARW), STATUS_DENIED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, ARW, vaddr(0)));
    aspace_bed_close(&bed);
}

TEST(aspace_share, a_transfer_fails_no_one_else_who_has_the_page)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(2, ARW);
    put_word(&bed, &bed.a, va, 11);
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.c, ARW, vaddr(0)));
    EXPECT_EQ(aspace_transfer(&bed.a, va, npages(2), &bed.c, ARW), STATUS_EXISTS);
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(2), &bed.b, AR));
    EXPECT_EQ(get_word(&bed, &bed.c, va), 11);
    put_word(&bed, &bed.c, va, 12);
    EXPECT_EQ(get_word(&bed, &bed.b, va), 12);
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    aspace_bed_close(&bed);
}

/* ---- Cost ---- */

TEST(aspace_share, a_message_of_one_page_is_one_entry_on_each_side_at_most)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(8, ARW);
    for (uint64_t i = 0; i < 8; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    aspace_bed_switch(&bed, &bed.a);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, ARW, vaddr(0))); /* tables; the foreign window is open now */
    struct vmm_counters *n = &bed.vmm->counters;
    uint64_t stores = n->table_stores;
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 2), npages(1), &bed.b, ARW, vaddr(0)));
    EXPECT(n->table_stores - stores <= 2); /* the entry, and its table's count */
    stores = n->table_stores;
    uint64_t invlpg = n->invlpg;
    const uint64_t cr3 = n->cr3_loads;
    EXPECT_OK(aspace_transfer(&bed.a, vaddr_add_pages(va, 4), npages(1), &bed.b, ARW));
    EXPECT(n->table_stores - stores <= 4); /* the same on both sides */
    EXPECT_EQ(n->invlpg - invlpg, 1);      /* where it was */
    EXPECT_EQ(n->cr3_loads, cr3);
    stores = n->table_stores;
    invlpg = n->invlpg;
    EXPECT_OK(aspace_withdraw(&bed.a, vaddr_add_pages(va, 2), npages(1), &bed.b));
    EXPECT(n->table_stores - stores <= 2);
    EXPECT_EQ(n->invlpg, invlpg); /* it runs nowhere */
    aspace_bed_close(&bed);
}

/* ---- Out of memory ---- */

static vaddr_t given, given_to;
static npages_t given_pages;
static enum status share_given(void) { return aspace_share(&bed.a, given, given_pages, &bed.b, ARW, given_to); }
static enum status transfer_given(void) { return aspace_transfer(&bed.a, given, given_pages, &bed.b, ARW); }

TEST(aspace_share, without_memory_nothing_has_changed)
{
    REQUIRE(aspace_bed_open(&bed));
    given_pages = npages(600);
    given = global_range(600, ARW);
    for (uint64_t i = 0; i < 600; i += 97) {
        put_word(&bed, &bed.a, vaddr_add_pages(given, i), i);
    }
    (void)with_every_number_of_frames(&bed, share_given);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(given, 97)), 97);
    EXPECT_OK(aspace_withdraw(&bed.a, given, given_pages, &bed.b));
    given_pages = npages(99);
    (void)with_every_number_of_frames(&bed, transfer_given);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(given, 97)), 97);
    aspace_bed_close(&bed);
}

TEST(aspace_share, private_memory_becomes_an_object_or_stays_as_it_was)
{
    REQUIRE(aspace_bed_open(&bed));
    given_pages = npages(40);
    given_to = vaddr(AT_PRIVATE + GIB);
    given = vaddr_add_pages(map_it(&bed.a, want_at(AT_PRIVATE, npages(48), ARW, 0)), 4);
    for (uint64_t i = 0; i < 40; i += 3) {
        put_word(&bed, &bed.a, vaddr_add_pages(given, i), i);
    }
    static struct aspace child;
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    EXPECT(with_every_number_of_frames(&bed, share_given) > 14); /* copies: the child has them too */
    given_to = vaddr(0);
    put_word(&bed, &bed.a, vaddr_add_pages(given, 3), 1000);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(given, 3)), 3);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr(AT_PRIVATE + GIB + 3ULL * PAGE_BYTES)), 1000);
    EXPECT_OK(aspace_destroy(&child));
    aspace_bed_close(&bed);
}

TEST(aspace_share, of_a_private_mapping_that_nobody_may_write_by_nothing_is_copied)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(8), ARX, ASPACE_PRIVATE)), at = vaddr_add_pages(va, 2);
    EXPECT_EQ(get_word(&bed, &bed.a, at), 102);
    EXPECT_OK(aspace_share(&bed.a, at, npages(4), &bed.b, AR, at));
    EXPECT(p.filled == 1 && object_info(o).resident.v == 1 && bed.system.objects.used == 1);
    EXPECT(frame_shown(&bed.b, at) != UINT64_MAX); /* as what is resident always is */
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(at, 3)), 105);
    EXPECT(get_word(&bed, &bed.a, va) == 100 && get_word(&bed, &bed.a, at) == 102);
    EXPECT(bed.a.ranges == 3 && p.filled == 3);
    EXPECT_OK(aspace_share(&bed.a, va, npages(8), &bed.c, AR, va));
    EXPECT_EQ(bed.a.ranges, 1);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_share, a_frame_with_all_the_users_that_can_be_counted_has_no_more)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = global_range(2, ARW);
    put_word(&bed, &bed.a, va, 1);
    const pfn_t frame = pfn(frame_shown(&bed.a, va));
    uint64_t held = 0;
    while (pmm_retain(bed.vmm->pmm, frame) == STATUS_OK) {
        held++;
    }
    EXPECT_EQ(held, PMM_REFERENCES_MAX - 2);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(0)), STATUS_LIMIT);
    EXPECT_EQ(aspace_share(&bed.a, va, npages(2), &bed.b, AR, vaddr(AT_PRIVATE)), STATUS_LIMIT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(2), &bed.b, ARW)); /* the giver's reference is free by then */
    EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_OK);
    EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.b.tables, va, npages(1)));
    EXPECT_OK(pmm_retain(bed.vmm->pmm, frame));
    EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_LIMIT);
    for (held++; held > 0; held--) {
        EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    }
    EXPECT_EQ(get_word(&bed, &bed.b, va), 1);
    aspace_bed_close(&bed);
}
