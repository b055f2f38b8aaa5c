/* Files in segments: paged objects that grow in place, and are shared read-only by one store. */
#include "aspace/segment_list.h"
#include "unit/aspace_touch.h"

enum { SEED = 1000, PAGES = 3 };

static struct aspace_bed bed;
static struct test_pager pager;
static struct object *file;

/* A file that the test holds, in a segment of `a`. */
static vaddr_t open_bed(void)
{
    if (!aspace_bed_open(&bed)) {
        return vaddr(0);
    }
    const struct pager p = test_pager(&pager, bed.vmm, SEED);
    if (!EXPECT_OK(object_create_paged(&bed.system, npages(PAGES), &p, &file))) {
        return vaddr(0);
    }
    const struct segment_request r = {.rights = AR, .object = file, .tag = "file"};
    vaddr_t va = {0};
    EXPECT_OK(segment_create(&bed.a, &r, &va));
    return va;
}

TEST(segment_file, it_is_read_by_all_who_have_it_and_each_page_is_filled_once)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), SEED + 1);
    bed.vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(va, 1)), frame_shown(&bed.a, vaddr_add_pages(va, 1)));
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, 1)), SEED + 1);
    EXPECT_EQ(get_word(&bed, &bed.b, va), SEED);
    EXPECT_EQ(pager.filled, 2);
    EXPECT_EQ(touch(&bed.b, va, VMM_WRITE), STATUS_DENIED);
    EXPECT_OK(object_release(file));
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, 2)), SEED + 2); /* the segment holds it */
    aspace_bed_close(&bed);
    EXPECT_EQ(pager.gone, 1);
}

TEST(segment_file, it_grows_in_place_up_to_a_gib_and_shrinks)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR));
    EXPECT_EQ(touch(&bed.b, vaddr_add_pages(va, PAGES), VMM_READ), STATUS_ABSENT);
    for (uint64_t pages = PAGES + 1; pages < SEGMENT_PAGES_MAX; pages *= 3) {
        EXPECT_OK(object_resize(file, npages(pages)));
        EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, pages - 1)), SEED + pages - 1);
        EXPECT_EQ(bed.a.pages.v, pages);
    }
    EXPECT_EQ(object_resize(file, npages(SEGMENT_PAGES_MAX + 1)), STATUS_RANGE);
    EXPECT_OK(object_resize(file, npages(SEGMENT_PAGES_MAX)));
    const uint64_t filled = pager.filled;
    EXPECT_OK(object_resize(file, npages(PAGES))); /* who holds it may: a file that was cut */
    EXPECT_EQ(touch(&bed.b, vaddr_add_pages(va, PAGES), VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(frame_shown(&bed.b, vaddr_add_pages(va, PAGES)), UINT64_MAX);
    EXPECT_OK(object_resize(file, npages(PAGES + 1)));
    EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(va, PAGES)), SEED + PAGES);
    EXPECT_EQ(pager.filled, filled + 1);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(file));
    aspace_bed_close(&bed);
}

TEST(segment_file, it_lies_in_one_segment_and_at_no_other_global_address)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    const struct segment_request r = {.rights = AR, .object = file, .tag = "file"};
    vaddr_t out = {0};
    EXPECT_EQ(segment_create(&bed.b, &r, &out), STATUS_EXISTS);
    const struct aspace_request global = want_object(file, 0, npages(1), AR, ASPACE_GLOBAL);
    EXPECT_EQ(aspace_map(&bed.b, &global, &out), STATUS_EXISTS);
    const vaddr_t at = map_it(&bed.b, want_object(file, 1, npages(1), AR, 0)); /* privately placed it may be */
    EXPECT_EQ(get_word(&bed, &bed.b, at), SEED + 1);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), SEED + 1);
    EXPECT_EQ(frame_shown(&bed.b, at), frame_shown(&bed.a, vaddr_add_pages(va, 1)));
    EXPECT_OK(object_resize(file, npages(1)));
    EXPECT_EQ(touch(&bed.b, at, VMM_READ), STATUS_ABSENT);
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.a));
    EXPECT_OK(object_resize(file, npages(PAGES)));
    EXPECT_EQ(get_word(&bed, &bed.b, at), SEED + 1);
    EXPECT_OK(segment_create(&bed.b, &r, &out)); /* it may have another one now */
    EXPECT_EQ(get_word(&bed, &bed.b, out), SEED);
    EXPECT_OK(object_release(file));
    aspace_bed_close(&bed);
}

TEST(segment_file, a_pager_that_cannot_leaves_the_page_absent_for_all)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    pager.answer = STATUS_NOT_YET;
    EXPECT_EQ(touch(&bed.a, va, VMM_READ), STATUS_NOT_YET);
    pager.answer = STATUS_OK;
    EXPECT_EQ(get_word(&bed, &bed.a, va), SEED);
    EXPECT_OK(object_release(file));
    aspace_bed_close(&bed);
}

TEST(segment_file, what_cannot_lie_in_a_segment_is_refused)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    struct object *device = NULL, *large = NULL, *placed = NULL;
    vaddr_t out = {0};
    EXPECT_OK(object_create_physical(&bed.system, pfn(0x80000000), npages(1), 0, &device));
    EXPECT_OK(object_create_anonymous(&bed.system, npages(SEGMENT_PAGES_MAX + 1), &large));
    EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &placed));
    (void)map_it(&bed.a, want_object(placed, 0, npages(4), ARW, ASPACE_GLOBAL));
    const struct { struct object *object; enum status answer; } cases[] = {
        {device, STATUS_UNSUPPORTED}, {large, STATUS_RANGE}, {placed, STATUS_EXISTS}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct segment_request r = {.rights = AR, .object = cases[i].object, .tag = "test"};
        EXPECT_EQ(segment_create(&bed.a, &r, &out), cases[i].answer);
        EXPECT_OK(object_release(cases[i].object));
    }
    EXPECT_OK(object_release(file));
    aspace_bed_close(&bed);
}
