/* Objects: how long they live, what their pages are, other sizes, pagers, devices. */
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

static uint64_t word_at(struct aspace *space, vaddr_t va)
{
    uint64_t word = UINT64_MAX;
    EXPECT_OK(space_peek(bed.vmm, &space->tables, va, &word, sizeof word));
    return word;
}

static pfn_t frame_at(struct aspace *space, vaddr_t va)
{
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(space, va, &q));
    return q.frame;
}

static struct object *held(npages_t pages)
{
    struct object *o = NULL;
    EXPECT_OK(object_create_anonymous(&bed.system, pages, &o));
    return o;
}

TEST(object, lives_as_long_as_somebody_holds_it)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(7));
    const struct object_info i = object_info(o);
    EXPECT(i.id > 0 && i.kind == OBJECT_ANONYMOUS && i.pages.v == 7 && i.resident.v == 0 && i.holders == 1);
    EXPECT(i.mappings == 0 && i.global.v == 0 && i.name == NULL);
    EXPECT_OK(object_hold(o));
    EXPECT_OK(object_populate(o, 2, npages(3)));
    EXPECT_EQ(object_info(o).resident.v, 3);
    pfn_t frame;
    EXPECT_OK(object_frame(o, 2, &frame));
    EXPECT_EQ(object_frame(o, 1, &frame), STATUS_ABSENT);
    EXPECT_EQ(object_frame(o, 7, &frame), STATUS_RANGE);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(o));
    EXPECT_EQ(object_info(o).resident.v, 3);
    EXPECT_OK(object_release(o));
    EXPECT(pmm_query(bed.vmm->pmm, frame).state != PMM_STATE_USED);
    EXPECT_EQ(bed.system.objects.used, 0);
    aspace_bed_close(&bed);
}

TEST(object, keeps_pages_and_addresses_while_it_is_held)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(4));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    const pfn_t frame = frame_at(&bed.a, va);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(4)));
    EXPECT_EQ(object_info(o).resident.v, 4);
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 1);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_EQ(map_it(&bed.b, want_object(o, 0, npages(4), ARW, ASPACE_GLOBAL)).v, va.v);
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(va, 1), npages(3)));
    EXPECT_OK(object_release(o)); /* what nobody maps goes now */
    EXPECT_EQ(object_info(o).resident.v, 1);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(object, is_mapped_at_private_addresses_too)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(4));
    EXPECT_OK(object_populate(o, 0, npages(4)));
    (void)map_it(&bed.a, want_object(o, 1, npages(3), ARW, ASPACE_POPULATE));
    struct aspace_request r = want_object(o, 0, npages(4), AR, ASPACE_AT | ASPACE_POPULATE);
    r.va = vaddr(AT_PRIVATE);
    (void)map_it(&bed.b, r);
    pfn_t frame;
    EXPECT_OK(object_frame(o, 3, &frame));
    EXPECT_EQ(frame_at(&bed.b, vaddr(AT_PRIVATE + 3 * PAGE_BYTES)).v, frame.v);
    EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 3);
    EXPECT(object_info(o).mappings == 2 && object_info(o).global.v == 0);
    EXPECT_OK(object_release(o));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

struct visits {
    unsigned count;
    uint64_t pages;
    vaddr_t va;
};

static bool see(void *ctx, struct aspace *space, vaddr_t va, npages_t pages, unsigned rights)
{
    struct visits *v = ctx;
    v->count++;
    v->pages += pages.v;
    v->va = va;
    EXPECT(space != NULL && (rights & VMM_READ) != 0);
    return true;
}

TEST(object, tells_who_maps_which_of_its_pages)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(1000));
    struct rng rng = rng_seeded(test_seed());
    uint64_t covered[1000] = {0};
    for (unsigned i = 0; i < 60; i++) {
        const uint64_t first = rng_below(&rng, 990), pages = 1 + rng_below(&rng, 10);
        (void)map_it(i % 2 == 0 ? &bed.a : &bed.b, want_object(o, first, npages(pages), AR, 0));
        for (uint64_t p = first; p < first + pages; p++) {
            covered[p]++;
        }
    }
    EXPECT_EQ(object_info(o).mappings, bed.a.ranges + bed.b.ranges);
    for (uint64_t p = 0; p < 1000; p++) {
        struct visits v = {0};
        object_visit(o, p, npages(1), see, &v);
        EXPECT_EQ(v.pages, covered[p]);
    }
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(object, pages_that_others_still_map_stay_when_one_space_goes)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(100));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(100), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    for (uint64_t p = 0; p < 100; p += 10) {
        (void)map_it(&bed.b, want_object(o, p, npages(2), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    }
    EXPECT_OK(object_release(o));
    EXPECT_EQ(object_info(o).resident.v, 100);
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_EQ(object_info(o).resident.v, 20);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(va, 51), npages(1)));
    EXPECT_EQ(object_info(o).resident.v, 19);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(object, of_a_pager_has_what_the_pager_says)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, 1000);
    struct object *o;
    EXPECT_OK(object_create_paged(&bed.system, npages(8), &pager, &o));
    const vaddr_t va = map_it(&bed.a, want_object(o, 2, npages(3), AR, ASPACE_POPULATE));
    EXPECT_EQ(p.filled, 3);
    EXPECT_EQ(word_at(&bed.a, vaddr_add_pages(va, 1)), 1003);
    (void)map_it(&bed.b, want_object(o, 2, npages(3), AR, ASPACE_POPULATE));
    EXPECT_EQ(p.filled, 3); /* they are there */
    p.answer = STATUS_CORRUPT;
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace_request r = want_object(o, 3, npages(4), AR, ASPACE_POPULATE);
    vaddr_t other;
    EXPECT_EQ(aspace_map(&bed.c, &r, &other), STATUS_CORRUPT);
    EXPECT_EQ(object_populate(o, 0, npages(1)), STATUS_CORRUPT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT(aspace_bed_check(&bed));
    EXPECT(object_info(o).name == pager.name && p.gone == 0);
    EXPECT_OK(object_release(o));
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_EQ(p.gone, 0);
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT_EQ(p.gone, 1);
    aspace_bed_close(&bed);
}

TEST(object, begins_as_another_one_and_has_pages_of_its_own)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager source;
    const struct pager pager = test_pager(&source, bed.vmm, 50);
    struct object *first = NULL, *copy = NULL, *none = held(npages(1));
    EXPECT_OK(object_create_paged(&bed.system, npages(4), &pager, &first));
    const vaddr_t va = map_it(&bed.a, want_object(first, 0, npages(4), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, 7);
    EXPECT_OK(object_create_copy(first, &copy));
    EXPECT(object_info(copy).pages.v == 4 && object_info(copy).resident.v == 0 && object_info(copy).holders == 1);
    const vaddr_t at = map_it(&bed.b, want_object(copy, 0, npages(4), ARW, ASPACE_GLOBAL));
    EXPECT_EQ(get_word(&bed, &bed.b, at), 50); /* as the pager says, not as `first` is */
    put_word(&bed, &bed.b, vaddr_add_pages(at, 1), 8);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 51);
    EXPECT_EQ(get_word(&bed, &bed.a, va), 7);
    EXPECT_OK(aspace_unmap(&bed.b, at, npages(4)));
    EXPECT_OK(object_release(copy));
    EXPECT_EQ(source.gone, 0); /* the pager has `first` still */
    EXPECT_EQ(object_create_copy(none, &copy), STATUS_UNSUPPORTED);
    EXPECT_EQ(object_create_copy(NULL, &copy), STATUS_INVALID);
    EXPECT_EQ(object_create_copy(first, NULL), STATUS_INVALID);
    EXPECT_OK(object_release(none));
    EXPECT_OK(object_release(first));
    aspace_bed_close(&bed);
    EXPECT_EQ(source.gone, 1);
}

TEST(object, mapped_privately_is_shown_for_copy_on_write)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, 5);
    struct object *o;
    EXPECT_OK(object_create_paged(&bed.system, npages(2), &pager, &o));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(2), ARW, ASPACE_PRIVATE | ASPACE_POPULATE));
    pfn_t frame;
    EXPECT_OK(object_frame(o, 0, &frame));
    EXPECT_EQ(frame_at(&bed.a, va).v, frame.v);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a.tables, va, &w));
    EXPECT((w.rights & VMM_WRITE) == 0);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
    EXPECT_EQ(p.gone, 1);
}

TEST(object, shrinks_and_grows)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, 5);
    struct object *o;
    EXPECT_OK(object_create_paged(&bed.system, npages(10), &pager, &o));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(10), AR, ASPACE_POPULATE));
    (void)map_it(&bed.b, want_object(o, 4, npages(6), ARW, ASPACE_PRIVATE | ASPACE_POPULATE));
    const pfn_t last = frame_at(&bed.a, vaddr_add_pages(va, 9));
    EXPECT_OK(object_resize(o, npages(6)));
    EXPECT(object_info(o).pages.v == 6 && object_info(o).resident.v == 6);
    EXPECT(pmm_query(bed.vmm->pmm, last).state != PMM_STATE_USED);
    EXPECT(bed.a.pages.v == 10 && bed.a.tables.pages.v == 6 && bed.b.tables.pages.v == 2);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_resize(o, npages(12)));
    EXPECT(object_info(o).pages.v == 12 && object_info(o).resident.v == 6);
    (void)map_it(&bed.c, want_object(o, 10, npages(2), AR, ASPACE_POPULATE));
    EXPECT(aspace_bed_check(&bed));
    EXPECT_EQ(object_resize(o, npages(0)), STATUS_INVALID);
    EXPECT_EQ(object_resize(o, npages(ASPACE_PAGES_MAX + 1)), STATUS_INVALID);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(object, does_not_shrink_into_its_global_addresses)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o = held(npages(4));
    (void)map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_GLOBAL));
    EXPECT_OK(object_resize(o, npages(9)));
    EXPECT_OK(object_resize(o, npages(4)));
    EXPECT_EQ(object_resize(o, npages(3)), STATUS_SHARED);
    struct aspace_request r = want_object(o, 3, npages(2), AR, ASPACE_GLOBAL);
    vaddr_t va;
    EXPECT_OK(object_resize(o, npages(9)));
    EXPECT_EQ(aspace_map(&bed.b, &r, &va), STATUS_RANGE); /* page 4 never had an address */
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(object, of_a_device_is_mapped_whole_and_at_once)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o;
    const pfn_t device = pfn(bed.vmm->frames_end.v - 64);
    EXPECT_OK(object_create_physical(&bed.system, device, npages(16), VMM_UNCACHED, &o));
    const vaddr_t va = map_it(&bed.a, want_object(o, 4, npages(8), ARW, 0));
    EXPECT(bed.a.tables.pages.v == 8 && frame_at(&bed.a, va).v == device.v + 4);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a.tables, va, &w));
    EXPECT(w.present && w.address.v == pfn_to_paddr(pfn_add(device, 4)).v && (w.entry[1].v & PTE_OWNED) == 0);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 2), npages(3)));
    EXPECT_EQ(bed.a.tables.pages.v, 5);
    EXPECT_EQ(object_resize(o, npages(4)), STATUS_UNSUPPORTED);
    struct aspace_request r = want_object(o, 0, npages(1), AR, ASPACE_PRIVATE);
    vaddr_t other;
    EXPECT_EQ(aspace_map(&bed.a, &r, &other), STATUS_UNSUPPORTED);
    EXPECT(object_info(o).resident.v == 16 && object_info(o).first.v == device.v);
    EXPECT_OK(object_release(o));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(object, of_another_cache_type_for_the_same_frames_is_not_mapped)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *x, *y;
    const pfn_t device = pfn(bed.vmm->frames_end.v - 64);
    EXPECT_OK(object_create_physical(&bed.system, device, npages(2), VMM_UNCACHED, &x));
    EXPECT_OK(object_create_physical(&bed.system, device, npages(2), VMM_WRITE_COMBINING, &y));
    (void)map_it(&bed.a, want_object(x, 0, npages(2), ARW, 0));
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace_request r = want_object(y, 0, npages(2), ARW, ASPACE_GLOBAL);
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.b, &r, &va), STATUS_CONFLICT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(object_release(x));
    EXPECT_OK(object_release(y));
    aspace_bed_close(&bed);
}

static struct object *shrinks;
static enum status shrink_it(void) { return object_resize(shrinks, npages(2)); }

/* Written pages of a private mapping lie in a table that a clone shares: it is copied before the first page goes. */
TEST(object, shrinks_whole_or_not_at_all_where_a_clone_has_copies)
{
    REQUIRE(aspace_bed_open(&bed));
    static struct aspace child;
    shrinks = held(npages(4));
    const vaddr_t va = map_it(&bed.a, want_object(shrinks, 0, npages(4), ARW, ASPACE_PRIVATE));
    for (uint64_t i = 0; i < 4; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), i + 1);
    }
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    EXPECT(with_every_number_of_frames(&bed, shrink_it) > 0);
    EXPECT_EQ(object_info(shrinks).pages.v, 2);
    EXPECT_EQ(get_word(&bed, &child, vaddr_add_pages(va, 1)), 2);
    EXPECT_EQ(touch(&child, vaddr_add_pages(va, 2), VMM_READ), STATUS_ABSENT);
    EXPECT_OK(aspace_destroy(&child));
    EXPECT_OK(object_release(shrinks));
    aspace_bed_close(&bed);
}
