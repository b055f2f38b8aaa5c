/* Clones: the private part for copy on write, shared objects shared. */
#include "arch/layout.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;
static struct aspace child;

static void close_bed(void)
{
    if (child.system != NULL) {
        EXPECT(aspace_bed_check(&bed));
        EXPECT_OK(aspace_destroy(&child));
    }
    aspace_bed_close(&bed);
}

static bool clone_a(void) { return EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL)); }

static unsigned keep_rights;
static unsigned keeps;
static unsigned keep(void *ctx, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)ctx, (void)va, (void)pages, (void)rights;
    keeps++;
    return keep_rights;
}

TEST(aspace_clone, both_see_what_was_there_and_neither_what_the_other_writes)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(600), ARW, ASPACE_GUARD_BELOW));
    for (uint64_t i = 0; i < 600; i += 7) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 0);
    REQUIRE(clone_a());
    EXPECT_EQ(child.pages.v, 600);
    put_word(&bed, &bed.a, va, 1000);
    put_word(&bed, &child, vaddr_add_pages(va, 7), 2000);
    put_word(&bed, &child, vaddr_add_pages(va, 1), 3000); /* absent, or the zero frame */
    put_word(&bed, &child, vaddr_add_pages(va, 2), 4000);
    for (uint64_t i = 0; i < 600; i++) {
        const vaddr_t at = vaddr_add_pages(va, i);
        const uint64_t was = i % 7 == 0 ? i : 0;
        EXPECT_EQ(get_word(&bed, &bed.a, at), i == 0 ? 1000 : was);
        EXPECT_EQ(get_word(&bed, &child, at), i == 7 ? 2000 : i == 1 ? 3000 : i == 2 ? 4000 : was);
    }
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&child, vaddr(va.v - 8), VMM_READ, &f), STATUS_ABSENT);
    EXPECT(f.in_guard);
    close_bed();
}

TEST(aspace_clone, the_last_owner_writes_in_place)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    const uint64_t frame = frame_shown(&bed.a, va);
    REQUIRE(clone_a());
    put_word(&bed, &child, va, 2);
    EXPECT(frame_shown(&child, va) != frame);
    put_word(&bed, &bed.a, va, 3);
    EXPECT_EQ(frame_shown(&bed.a, va), frame);
    EXPECT_EQ(get_word(&bed, &child, va), 2);
    close_bed();
}

TEST(aspace_clone, a_clone_without_its_parent_is_whole)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    const uint64_t frame = frame_shown(&bed.a, va);
    REQUIRE(clone_a());
    EXPECT_OK(aspace_destroy(&bed.a));
    put_word(&bed, &child, vaddr_add(va, 8), 2);
    EXPECT_EQ(frame_shown(&child, va), frame);
    EXPECT_EQ(get_word(&bed, &child, va), 1);
    close_bed();
}

TEST(aspace_clone, shared_objects_stay_shared_also_beside_private_memory)
{
    REQUIRE(aspace_bed_open(&bed));
    const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */
    struct object *o = NULL, *d = NULL;
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &o)));
    REQUIRE(EXPECT_OK(object_create_physical(&bed.system, device, npages(4), VMM_UNCACHED, &d)));
    const vaddr_t own = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    struct aspace_request r = want_object(o, 0, npages(4), ARW, ASPACE_AT);
    r.va = vaddr_add_pages(own, 4);
    const vaddr_t shared = map_it(&bed.a, r);
    r = want_object(d, 0, npages(4), ARW, ASPACE_AT);
    r.va = vaddr_add_pages(own, 8);
    const vaddr_t io = map_it(&bed.a, r);
    put_word(&bed, &bed.a, own, 1);
    put_word(&bed, &bed.a, shared, 2);
    REQUIRE(clone_a());
    put_word(&bed, &child, shared, 3);
    put_word(&bed, &bed.a, vaddr_add_pages(shared, 1), 4);
    EXPECT_EQ(get_word(&bed, &bed.a, shared), 3);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(shared, 1)), 4);
    EXPECT_EQ(frame_shown(&bed.a, shared), frame_shown(&child, shared));
    EXPECT_EQ(frame_shown(&child, io), device.v);
    EXPECT_OK(touch(&bed.a, io, VMM_WRITE));
    EXPECT_EQ(frame_shown(&bed.a, io), device.v);
    put_word(&bed, &child, own, 5);
    EXPECT_EQ(get_word(&bed, &bed.a, own), 1);
    EXPECT_OK(object_release(o));
    EXPECT_OK(object_release(d));
    close_bed();
}

TEST(aspace_clone, private_pages_of_an_object_are_copied_on_write_in_both)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(4), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_PRIVATE));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 101);
    REQUIRE(clone_a());
    EXPECT_OK(object_release(o));
    put_word(&bed, &child, vaddr_add_pages(va, 1), 2);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 2), 3);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 101);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(va, 2)), 102);
    EXPECT_EQ(get_word(&bed, &child, va), 1);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(va, 3)), 103);
    close_bed();
}

TEST(aspace_clone, ranges_of_the_global_part_are_kept_with_the_rights_named_or_left_out)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, 1);
    const uint64_t before = aspace_bed_digest(&bed);
    keep_rights = ARX;
    EXPECT_EQ(aspace_clone(&bed.a, &child, keep, NULL), STATUS_DENIED);
    keep_rights = 1 << 9;
    EXPECT_EQ(aspace_clone(&bed.a, &child, keep, NULL), STATUS_INVALID);
    EXPECT(child.system == NULL);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    REQUIRE(clone_a());
    EXPECT_EQ(touch(&child, va, VMM_READ), STATUS_ABSENT);
    EXPECT_OK(aspace_destroy(&child));
    keep_rights = AR;
    keeps = 0;
    EXPECT_OK(aspace_clone(&bed.a, &child, keep, NULL));
    EXPECT_EQ(keeps, 1);
    EXPECT_EQ(get_word(&bed, &child, va), 1);
    EXPECT_EQ(touch(&child, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_OK(aspace_withdraw(&bed.a, va, npages(2), &child)); /* the parent gave it */
    EXPECT_EQ(touch(&child, va, VMM_READ), STATUS_ABSENT);
    close_bed();
}

TEST(aspace_clone, limits_seals_and_rights_are_the_parents)
{
    REQUIRE(aspace_bed_open(&bed));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(9), .ranges = 3}));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    const vaddr_t code = map_it(&bed.a, want_at(AT_PRIVATE + MIB, npages(4), ARX, 0));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(1), AR));
    EXPECT_OK(aspace_seal(&bed.a, code, npages(4)));
    REQUIRE(clone_a());
    EXPECT_EQ(child.limits.pages.v, 9);
    EXPECT_EQ(aspace_unmap(&child, code, npages(1)), STATUS_DENIED);
    EXPECT_EQ(touch(&child, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(touch(&child, code, VMM_WRITE), STATUS_DENIED);
    EXPECT_OK(touch(&child, code, VMM_EXECUTE));
    EXPECT_OK(aspace_protect(&child, va, npages(1), ARW));
    put_word(&bed, &child, va, 2);
    EXPECT_EQ(get_word(&bed, &bed.a, va), 1);
    const struct aspace_request r = want(npages(2), ARW, 0);
    vaddr_t more;
    EXPECT_EQ(aspace_map(&child, &r, &more), STATUS_LIMIT);
    close_bed();
}

TEST(aspace_clone, parts_of_a_cloned_range_can_be_unmapped_and_mapped_in_each)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(8), ARW, 0));
    for (uint64_t i = 0; i < 8; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    REQUIRE(clone_a());
    EXPECT_OK(aspace_unmap(&child, vaddr_add_pages(va, 2), npages(2)));
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 5), npages(1)));
    EXPECT_EQ(touch(&child, vaddr_add_pages(va, 2), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 2)), 2);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(va, 5)), 5);
    const vaddr_t again = map_it(&child, want_at(va.v + 2ULL * PAGE_BYTES, npages(2), ARW, 0));
    EXPECT_EQ(get_word(&bed, &child, again), 0);
    close_bed();
}

TEST(aspace_clone, the_first_pages_of_all_are_cloned_too)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(LAYOUT_USER_FIRST, npages(4), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    REQUIRE(clone_a());
    put_word(&bed, &child, va, 2);
    EXPECT_EQ(get_word(&bed, &bed.a, va), 1);
    EXPECT_EQ(get_word(&bed, &child, va), 2);
    close_bed();
}

/* Frames in use that are not bookkeeping. */
static uint64_t frames_used(void)
{
    return pmm_stats(bed.vmm->pmm).used.v - bed.system.stock.count - bed.system.stock.drawn;
}

TEST(aspace_clone, a_clone_costs_tables_and_not_pages)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4 * PAGES_PER_2M), ARW, ASPACE_POPULATE));
    const uint64_t used = frames_used(), stores = bed.vmm->counters.table_stores;
    REQUIRE(clone_a());
    EXPECT(frames_used() - used <= 3); /* PML4, PDPT, PD */
    EXPECT(bed.vmm->counters.table_stores - stores < 200);
    put_word(&bed, &child, va, 1);
    const uint64_t before = frames_used();
    put_word(&bed, &child, vaddr_add_pages(va, PAGES_PER_2M), 1);
    EXPECT(frames_used() - before <= 2); /* a table and a page */
    close_bed();
}

static enum status clone_it(void)
{
    const enum status s = aspace_clone(&bed.a, &child, keep, NULL);
    EXPECT(s == STATUS_OK || child.system == NULL);
    return s;
}

TEST(aspace_clone, without_memory_there_is_no_child_and_the_parent_is_as_it_was)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &o)));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(8), ARW, 0));
    const vaddr_t far = map_it(&bed.a, want_at(AT_PRIVATE + 5 * GIB, npages(8), ARW, 0));
    const vaddr_t shared = map_it(&bed.a, want(npages(8), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, 1);
    put_word(&bed, &bed.a, far, 2);
    put_word(&bed, &bed.a, shared, 3);
    keep_rights = ARW;
    for (uint64_t k = 0;; k++) {
        (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
        const struct pmm_stats st = pmm_stats(bed.vmm->pmm);
        const npages_t taken = npages(st.free.v - st.promised.v - k);
        EXPECT_OK(pmm_promise(bed.vmm->pmm, taken));
        const enum status s = clone_it();
        EXPECT_OK(pmm_unpromise(bed.vmm->pmm, taken));
        if (s != STATUS_NOMEM) {
            EXPECT_EQ(s, STATUS_OK);
            EXPECT(k >= 4); /* its PML4, and tables */
            break;
        }
        EXPECT(aspace_bed_check(&bed));
        EXPECT_EQ(get_word(&bed, &bed.a, va), 1);
        put_word(&bed, &bed.a, far, 2); /* tables that were shared for a while are its own again */
    }
    put_word(&bed, &child, far, 9);
    EXPECT_EQ(get_word(&bed, &bed.a, far), 2);
    EXPECT_EQ(get_word(&bed, &child, shared), 3);
    EXPECT_OK(object_release(o));
    close_bed();
}

TEST(aspace_clone, a_struct_that_is_a_space_is_refused)
{
    REQUIRE(aspace_bed_open(&bed));
    static struct aspace never;
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_clone(&bed.a, &bed.b, NULL, NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_clone(&bed.a, &bed.a, NULL, NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_clone(&bed.a, NULL, NULL, NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_clone(&never, &child, NULL, NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_clone(NULL, &child, NULL, NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    test_expect_reports(5);
    close_bed();
}
