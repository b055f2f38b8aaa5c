/* Who maps this frame; and what is given back when memory is short. */
#include "aspace/mapping.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;
static struct aspace child;

struct seen {
    unsigned count;
    struct aspace *space[8];
    uint64_t va[8];
};

static bool see(void *ctx, struct aspace *space, vaddr_t va)
{
    struct seen *s = ctx;
    if (s->count < ARRAY_LEN(s->space)) {
        s->space[s->count] = space;
        s->va[s->count] = va.v;
    }
    s->count++;
    return true;
}

/* Exactly these: `n` of them, each a space and an address. */
static bool users_are(uint64_t frame, unsigned n, struct aspace *const *spaces, const vaddr_t *at)
{
    struct seen s = {0};
    bool ok = EXPECT_EQ(aspaces_users(&bed.system, pfn(frame), see, &s), n > 0 ? STATUS_OK : STATUS_ABSENT);
    ok = EXPECT_EQ(s.count, n) && ok;
    for (unsigned i = 0; i < n && ok; i++) {
        bool found = false;
        for (unsigned k = 0; k < s.count; k++) {
            found = found || (s.space[k] == spaces[i] && s.va[k] == at[i].v);
        }
        ok = EXPECT(found);
    }
    return ok;
}

TEST(aspace_users, a_private_page_has_its_space_and_after_a_clone_both)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    const uint64_t frame = frame_shown(&bed.a, va);
    struct aspace *const both[] = {&bed.a, &child};
    const vaddr_t at[] = {va, va};
    EXPECT(users_are(frame, 1, both, at));
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    EXPECT(users_are(frame, 2, both, at));
    put_word(&bed, &child, va, 2); /* a copy: each has its own */
    EXPECT(users_are(frame, 1, both, at));
    EXPECT(users_are(frame_shown(&child, va), 1, both + 1, at));
    static struct aspace second;
    EXPECT_OK(aspace_clone(&bed.a, &second, NULL, NULL));
    struct aspace *const others[] = {&bed.a, &second};
    EXPECT(users_are(frame, 2, others, at));
    EXPECT_OK(aspace_destroy(&child));
    EXPECT_OK(aspace_destroy(&second));
    EXPECT(users_are(frame, 1, both, at));
    aspace_bed_close(&bed);
}

TEST(aspace_users, a_page_of_an_object_has_all_that_map_it)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL)), to = vaddr(AT_PRIVATE);
    put_word(&bed, &bed.a, va, 1);
    put_word(&bed, &bed.a, vaddr_add_pages(va, 1), 1);
    const uint64_t frame = frame_shown(&bed.a, va);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.c, AR, to));
    struct aspace *const all[] = {&bed.a, &bed.b, &bed.c};
    const vaddr_t at[] = {va, va, to};
    EXPECT(users_are(frame, 3, all, at));
    EXPECT_EQ(aspace_transfer(&bed.a, va, npages(1), &child, AR), STATUS_MISUSE); /* no space */
    test_expect_reports(1);
    EXPECT_OK(aspace_withdraw(&bed.a, va, npages(1), &bed.b));
    EXPECT_OK(aspace_transfer(&bed.a, va, npages(1), &bed.b, AR));
    struct aspace *const left[] = {&bed.b, &bed.c};
    EXPECT(users_are(frame, 2, left, at + 1));
    aspace_bed_close(&bed);
}

TEST(aspace_users, private_memory_that_became_an_object_is_found_as_that)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0)), to = vaddr(AT_PRIVATE + GIB);
    put_word(&bed, &bed.a, va, 1);
    const uint64_t frame = frame_shown(&bed.a, va);
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, AR, to));
    struct aspace *const all[] = {&bed.a, &bed.b};
    const vaddr_t at[] = {va, to};
    EXPECT(users_are(frame, 2, all, at));
    aspace_bed_close(&bed);
}

TEST(aspace_users, an_old_word_leads_nowhere)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    const vaddr_t shared = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, 1);
    put_word(&bed, &bed.a, shared, 1);
    const uint64_t own = frame_shown(&bed.a, va), object = frame_shown(&bed.a, shared);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(4)));
    EXPECT_OK(aspace_unmap(&bed.a, shared, npages(4)));
    EXPECT(users_are(own, 0, NULL, NULL));
    EXPECT(users_are(object, 0, NULL, NULL));
    EXPECT(users_are(bed.system.zero.v, 0, NULL, NULL));
    EXPECT(users_are(UINT64_MAX, 0, NULL, NULL));
    aspace_bed_close(&bed);
}

TEST(aspace_users, a_frame_that_an_object_had_for_a_page_is_not_the_one_it_has_now)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    pfn_t old, taken, now;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(1), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(1), AR, 0));
    EXPECT_OK(object_populate(o, 0, npages(1)));
    EXPECT_OK(object_frame(o, 0, &old));
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &taken)); /* else it would be the same one again */
    EXPECT_EQ(get_word(&bed, &bed.a, va), 100);
    EXPECT_OK(object_frame(o, 0, &now));
    EXPECT(now.v != old.v);
    EXPECT(users_are(old.v, 0, NULL, NULL));
    EXPECT_OK(pmm_free(bed.vmm->pmm, taken));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_users, a_frame_of_a_device_has_those_that_map_it)
{
    REQUIRE(aspace_bed_open(&bed));
    const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_physical(&bed.system, device, npages(4), VMM_UNCACHED, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, 0));
    struct aspace *const all[] = {&bed.a};
    const vaddr_t at[] = {vaddr_add_pages(va, 2)};
    EXPECT(users_are(device.v + 2, 1, all, at));
    EXPECT(users_are(device.v + 4, 0, NULL, NULL));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

static bool stop(void *ctx, struct aspace *space, vaddr_t va)
{
    (void)space, (void)va;
    ++*(unsigned *)ctx;
    return false;
}

TEST(aspace_users, who_has_seen_enough_is_asked_no_more)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(1), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(0)));
    unsigned asked = 0;
    EXPECT_OK(aspaces_users(&bed.system, pfn(frame_shown(&bed.a, va)), stop, &asked));
    EXPECT_EQ(asked, 1);
    aspace_bed_close(&bed);
}

/* ---- Memory is short ---- */

TEST(aspace_low, clean_pages_that_nobody_maps_go_and_come_back_from_the_pager)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL, *anonymous = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(8), &anonymous)));
    EXPECT_OK(object_populate(o, 0, npages(8)));
    EXPECT_OK(object_populate(anonymous, 0, npages(8)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(8), AR, 0));
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 3)), 103);
    const uint64_t used = pmm_stats(bed.vmm->pmm).used.v;
    EXPECT(aspaces_reclaim(&bed.system, npages(UINT64_MAX)).v >= 7);
    EXPECT_EQ(object_info(o).resident.v, 1); /* the page that is mapped */
    EXPECT_EQ(object_info(anonymous).resident.v, 8);
    EXPECT(used - pmm_stats(bed.vmm->pmm).used.v >= 7);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 4)), 104);
    EXPECT_EQ(p.filled, 9);
    EXPECT_OK(object_release(o));
    EXPECT_OK(object_release(anonymous));
    aspace_bed_close(&bed);
}

TEST(aspace_low, pages_that_may_have_been_written_to_stay)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o)));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(8), ARW, 0));
    put_word(&bed, &bed.a, va, 5);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(8)));
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    const vaddr_t again = map_it(&bed.b, want_object(o, 0, npages(8), AR, 0));
    EXPECT_EQ(get_word(&bed, &bed.b, again), 5);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

static npages_t reclaim(void *ctx, npages_t wanted) { return aspaces_reclaim(ctx, wanted); }

TEST(aspace_low, a_fault_that_finds_no_memory_takes_what_can_be_had_again)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 100);
    struct object *o = NULL;
    struct pmm_low low = {.reclaim = reclaim, .ctx = &bed.system};
    REQUIRE(EXPECT_OK(object_create_paged(&bed.system, npages(64), &pager, &o)));
    EXPECT_OK(object_populate(o, 0, npages(64)));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(32), ARW, 0));
    const vaddr_t file = map_it(&bed.b, want_object(o, 0, npages(64), AR, 0));
    EXPECT_OK(pmm_low_add(bed.vmm->pmm, &low));
    const struct pmm_stats st = pmm_stats(bed.vmm->pmm);
    const npages_t taken = npages(st.free.v - st.promised.v);
    EXPECT_OK(pmm_promise(bed.vmm->pmm, taken));
    for (uint64_t i = 0; i < 32; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i);
    }
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(file, 5)), 105); /* a page that went for it, maybe */
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(pmm_unpromise(bed.vmm->pmm, taken));
    EXPECT_OK(pmm_low_remove(bed.vmm->pmm, &low));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}
