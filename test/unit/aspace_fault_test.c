/* Faults: what is brought, what is not, and what is said of it. */
#include "arch/layout.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

TEST(aspace_fault, a_read_of_fresh_memory_shows_the_zero_frame_and_takes_none)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    EXPECT_OK(touch(&bed.a, vaddr_add_pages(va, 1), VMM_READ)); /* tables */
    const uint64_t used = pmm_stats(bed.vmm->pmm).used.v;
    EXPECT_EQ(get_word(&bed, &bed.a, va), 0);
    EXPECT_EQ(frame_shown(&bed.a, va), bed.system.zero.v);
    EXPECT_EQ(rights_shown(&bed.a, va), VMM_READ);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).used.v, used);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, the_first_write_takes_a_zeroed_frame_also_after_a_read)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0)), next = vaddr_add_pages(va, 1);
    put_word(&bed, &bed.a, va, 7);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add(va, 8)), 0);
    EXPECT_EQ(get_word(&bed, &bed.a, next), 0);
    EXPECT_EQ(frame_shown(&bed.a, next), bed.system.zero.v);
    put_word(&bed, &bed.a, vaddr_add(next, 16), 9);
    EXPECT(frame_shown(&bed.a, next) != bed.system.zero.v);
    EXPECT_EQ(get_word(&bed, &bed.a, next), 0);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add(next, 16)), 9);
    EXPECT_EQ(get_word(&bed, &bed.a, va), 7);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, a_fault_that_is_over_by_now_changes_nothing)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), ARW, 0));
    put_word(&bed, &bed.a, va, 7);
    const uint64_t before = aspace_bed_digest(&bed);
    aspace_bed_switch(&bed, &bed.a);
    const uint64_t stores = bed.vmm->counters.table_stores;
    EXPECT_OK(touch(&bed.a, va, VMM_WRITE));
    EXPECT_OK(touch(&bed.a, va, VMM_READ));
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, what_the_rights_forbid_is_denied_in_words)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), AR, 0));
    const vaddr_t none = map_it(&bed.a, want_at(AT_PRIVATE + MIB, npages(2), 0, 0));
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&bed.a, va, VMM_WRITE, &f), STATUS_DENIED);
    EXPECT(strcmp(f.why, "the range is read-only") == 0 && f.inside && f.base.v == va.v && f.pages.v == 2);
    EXPECT_EQ(aspace_fault(&bed.a, va, VMM_EXECUTE, &f), STATUS_DENIED);
    EXPECT(strcmp(f.why, "the range is not executable") == 0);
    EXPECT_EQ(aspace_fault(&bed.a, va, VMM_READ | VMM_USER, &f), STATUS_DENIED);
    EXPECT(strcmp(f.why, "the range is the kernel's alone") == 0);
    EXPECT_EQ(aspace_fault(&bed.a, none, VMM_READ, &f), STATUS_DENIED);
    EXPECT(strcmp(f.why, "the range may not be touched") == 0);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, an_address_of_nobody_names_the_nearest_range)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(AT_PRIVATE), VMM_READ, &f), STATUS_ABSENT);
    EXPECT_EQ(f.pages.v, 0);
    const vaddr_t low = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), ARW, 0));
    const vaddr_t high = map_it(&bed.a, want_at(AT_PRIVATE + 100ULL * PAGE_BYTES, npages(3), AR, 0));
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(low, 5), VMM_READ, &f), STATUS_ABSENT);
    EXPECT(f.base.v == low.v && f.pages.v == 2 && f.rights == ARW && !f.inside && !f.in_guard);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(high, -5ULL), VMM_READ, &f), STATUS_ABSENT);
    EXPECT(f.base.v == high.v && f.pages.v == 3);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(high, 1000), VMM_READ, &f), STATUS_ABSENT);
    EXPECT(f.base.v == high.v && strcmp(f.tag, "test") == 0);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(LAYOUT_KERNEL_BASE), VMM_READ, &f), STATUS_RANGE);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(PAGE_BYTES), VMM_READ, &f), STATUS_RANGE);
    EXPECT_EQ(aspace_fault(&bed.a, low, VMM_READ | VMM_WRITE, &f), STATUS_INVALID);
    EXPECT_EQ(aspace_fault(&bed.a, low, VMM_USER, &f), STATUS_INVALID);
    EXPECT_EQ(aspace_fault(NULL, low, VMM_READ, &f), STATUS_MISUSE);
    test_expect_reports(1);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, a_stack_comes_page_by_page_down_to_its_guard)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, ASPACE_STACK | ASPACE_GUARD_ABOVE));
    for (uint64_t i = 4; i > 0; i--) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i - 1), i);
        EXPECT_EQ(pages_shown(&bed.a), 5 - i);
    }
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(va.v - 8), VMM_WRITE, &f), STATUS_ABSENT);
    EXPECT(f.in_guard && f.base.v == va.v && strcmp(f.why, "the stack is full: its guard page") == 0);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(va, 4), VMM_WRITE, &f), STATUS_ABSENT);
    EXPECT(f.in_guard && f.base.v == va.v && strcmp(f.why, "a guard page") == 0);
    EXPECT_EQ(aspace_fault(&bed.a, vaddr(va.v - PAGE_BYTES - 8), VMM_WRITE, &f), STATUS_ABSENT);
    EXPECT(!f.in_guard && f.base.v == va.v);
    aspace_bed_close(&bed);
}

TEST(aspace_fault, a_private_page_of_an_object_is_the_objects_until_it_is_written_to)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(8), ARW, ASPACE_PRIVATE));
    const vaddr_t other = map_it(&bed.b, want_object(o, 0, npages(8), AR, 0));
    EXPECT_EQ(get_word(&bed, &bed.a, va), 100);
    EXPECT_EQ(get_word(&bed, &bed.b, other), 100);
    EXPECT_EQ(p.filled, 1);
    EXPECT_EQ(frame_shown(&bed.a, va), frame_shown(&bed.b, other));
    put_word(&bed, &bed.a, va, 5);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 1), 6); /* at once */
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add(va, 8)), 100);
    EXPECT_EQ(get_word(&bed, &bed.b, other), 100);
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(other, 1)), 101);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add(vaddr_add_pages(va, 1), 8)), 101);
    EXPECT_EQ(p.filled, 2);
    EXPECT_OK(touch(&bed.a, va, VMM_WRITE)); /* a copy of its own needs the pager no more */
    EXPECT_EQ(p.filled, 2);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, a_shared_page_is_one_frame_for_all)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(8), &o)));
    const vaddr_t a = map_it(&bed.a, want_object(o, 0, npages(8), ARW, 0));
    const vaddr_t b = map_it(&bed.b, want_object(o, 4, npages(4), AR, 0));
    EXPECT_EQ(get_word(&bed, &bed.b, b), 0);
    put_word(&bed, &bed.a, vaddr_add_pages(a, 4), 77);
    EXPECT_EQ(get_word(&bed, &bed.b, b), 77);
    EXPECT_EQ(touch(&bed.b, b, VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(object_info(o).resident.v, 1);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, what_is_behind_the_end_of_the_object_is_absent)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(8), &o)));
    const vaddr_t a = map_it(&bed.a, want_object(o, 0, npages(8), ARW, 0));
    put_word(&bed, &bed.a, vaddr_add_pages(a, 5), 77);
    EXPECT_OK(object_resize(o, npages(3)));
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&bed.a, vaddr_add_pages(a, 5), VMM_READ, &f), STATUS_ABSENT);
    EXPECT(f.inside && strcmp(f.why, "it is behind the end of the object") == 0);
    EXPECT_OK(object_resize(o, npages(8)));
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(a, 5)), 0);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, what_the_pager_says_is_the_answer_and_nothing_has_changed)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(8), ARW, ASPACE_PRIVATE));
    const uint64_t before = aspace_bed_digest(&bed);
    p.answer = STATUS_CONFLICT;
    struct aspace_fault f;
    EXPECT_EQ(aspace_fault(&bed.a, va, VMM_WRITE, &f), STATUS_CONFLICT);
    EXPECT(strcmp(f.why, "the pager cannot bring the page") == 0);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    p.answer = STATUS_OK;
    EXPECT_EQ(get_word(&bed, &bed.a, va), 100);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, fault_around_maps_resident_neighbours_and_brings_none)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(64), &pager, &o)));
    EXPECT_OK(object_populate(o, 0, npages(10)));
    struct aspace_request r = want_object(o, 0, npages(64), AR, ASPACE_FAULT_AROUND | ASPACE_AT);
    r.va = vaddr(AT_PRIVATE + 4ULL * PAGE_BYTES);
    const vaddr_t va = map_it(&bed.a, r);
    EXPECT_OK(touch(&bed.a, vaddr_add_pages(va, 2), VMM_READ));
    EXPECT_EQ(p.filled, 10);
    EXPECT_EQ(pages_shown(&bed.a), 10); /* of the window of 16 pages, 12 are in the range, of these 10 resident */
    EXPECT_OK(touch(&bed.a, vaddr_add_pages(va, 11), VMM_READ));
    EXPECT_EQ(pages_shown(&bed.a), 11);
    EXPECT_EQ(p.filled, 11);
    const vaddr_t plain = map_it(&bed.b, want_object(o, 0, npages(64), AR, 0));
    EXPECT_OK(touch(&bed.b, plain, VMM_READ));
    EXPECT_EQ(pages_shown(&bed.b), 1);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, a_device_page_that_was_dropped_comes_back)
{
    REQUIRE(aspace_bed_open(&bed));
    const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_physical(&bed.system, device, npages(4), VMM_UNCACHED, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, 0));
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, 3)), device.v + 3);
    EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a.tables, va, npages(4)));
    EXPECT_OK(touch(&bed.a, vaddr_add_pages(va, 3), VMM_WRITE));
    EXPECT_EQ(frame_shown(&bed.a, vaddr_add_pages(va, 3)), device.v + 3);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

static vaddr_t wanted;
static unsigned wanted_access;
static enum status touch_wanted(void) { return touch(&bed.a, wanted, wanted_access); }

static uint64_t expect_all_or_nothing(vaddr_t va, unsigned access)
{
    wanted = va;
    wanted_access = access;
    return with_every_number_of_frames(&bed, touch_wanted);
}

TEST(aspace_fault, without_memory_nothing_has_changed)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    const vaddr_t a = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    const vaddr_t copy = map_it(&bed.a, want_object(o, 0, npages(8), ARW, ASPACE_PRIVATE));
    const vaddr_t shared = map_it(&bed.a, want_object(o, 0, npages(8), AR, ASPACE_GLOBAL));
    EXPECT(expect_all_or_nothing(a, VMM_READ) >= 3);
    EXPECT(expect_all_or_nothing(a, VMM_WRITE) >= 1);
    EXPECT(expect_all_or_nothing(copy, VMM_READ) >= 2);
    EXPECT(expect_all_or_nothing(copy, VMM_WRITE) >= 1);
    EXPECT(expect_all_or_nothing(shared, VMM_READ) >= 3);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_fault, what_is_no_access_at_all_is_said_so_also_without_memory)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), AR, 0));
    EXPECT_OK(touch(&bed.a, va, VMM_READ));
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    pmm_drain(bed.vmm->pmm);
    const npages_t taken = vmm_bed_limit(&(struct vmm_bed){.vmm = bed.vmm}, 0);
    EXPECT_EQ(touch(&bed.a, vaddr_add_pages(va, 9), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(touch(&bed.a, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_OK(touch(&bed.a, va, VMM_READ));
    EXPECT_EQ(touch(&bed.a, vaddr_add_pages(va, 1), VMM_READ), STATUS_NOMEM);
    vmm_bed_unlimit(&(struct vmm_bed){.vmm = bed.vmm}, taken);
    aspace_bed_close(&bed);
}
