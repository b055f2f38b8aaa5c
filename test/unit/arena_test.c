/* The arena's contract, case by case. */
#include "lib/glob.h"
#include "unit/arena_bed.h"

enum { ARENA_PAGES = 256 };

TEST(arena, wrong_arguments_change_nothing)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ARENA_PAGES, 1));
    struct arena *a = &bed.arena;
    vaddr_t base = vaddr(1);
    EXPECT_EQ(arena_alloc(a, npages(0), ARENA_ALIGN_PAGE, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(a, npages(1), ARENA_ALIGN_PAGE - 1, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(a, npages(1), ARENA_ALIGN_MAX + 1, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(a, npages(1), UINT32_MAX, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(a, npages(1), ARENA_ALIGN_PAGE, NULL, &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(a, npages(ARENA_PAGES + 1), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    EXPECT_EQ(arena_alloc(a, npages(UINT64_MAX), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    struct arena_request r = {.pages = npages(2), .align_log2 = ARENA_ALIGN_PAGE, .lead = npages(2), .tag = "t"};
    EXPECT_EQ(arena_request(a, &r, &base), STATUS_INVALID);
    r.lead.v = UINT64_MAX;
    EXPECT_EQ(arena_request(a, &r, &base), STATUS_INVALID);
    EXPECT_EQ(base.v, 1);
    EXPECT_EQ(arena_alloc_at(a, vaddr(bed.base.v + 1), npages(1), "t"), STATUS_INVALID);
    EXPECT_EQ(arena_alloc_at(a, bed.base, npages(0), "t"), STATUS_INVALID);
    EXPECT_EQ(arena_alloc_at(a, bed.base, npages(1), NULL), STATUS_INVALID);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&bed, ARENA_PAGES), npages(1), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&bed, UINT64_MAX), npages(2), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&bed, ARENA_PAGES - 1), npages(2), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&bed, 1), npages(UINT64_MAX), "t"), STATUS_RANGE);
    EXPECT(a->used.v == 0 && a->ranges == 0);
    arena_bed_is_sound(&bed);
}

TEST(arena, wrong_bounds_and_a_dry_source_make_no_arena)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ARENA_PAGES, 1));
    struct arena_source source = bed.arena.reserve->source, none = {0};
    struct arena other;
    vaddr_t one = arena_bed_page(&bed, 1), two = arena_bed_page(&bed, 2);
    EXPECT_EQ(arena_init(&other, one, one, source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, two, one, source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, vaddr(one.v + 8), two, source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, one, vaddr(two.v + 8), source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, one, two, none), STATUS_INVALID);
    uint64_t most = 1ULL << ARENA_PAGES_LOG2_MAX;
    EXPECT_EQ(arena_init(&other, one, vaddr_add_pages(one, most + 1), source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, one, two, source), STATUS_NOMEM);
    EXPECT_EQ(bed.given, 1);
}

TEST(arena, wrong_frees_are_reported_and_change_nothing)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ARENA_PAGES, 1));
    struct arena *a = &bed.arena;
    arena_bed_take_at(&bed, 10, 4);
    test_expect_reports(8);
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, 9)), STATUS_MISUSE);
    EXPECT(glob_match("*it is free", test_last_report()));
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, 11)), STATUS_MISUSE);
    EXPECT(glob_match("*0xffff90000000b000*inside there, 4 pages at 0xffff90000000a000", test_last_report()));
    EXPECT_EQ(arena_free(a, vaddr(arena_bed_page(&bed, 10).v + 1)), STATUS_MISUSE);
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, ARENA_PAGES)), STATUS_MISUSE);
    EXPECT(glob_match("*not in the arena", test_last_report()));
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, UINT64_MAX)), STATUS_MISUSE);
    EXPECT_EQ(arena_free(a, vaddr(0)), STATUS_MISUSE);
    EXPECT(a->ranges == 1 && a->used.v == 4);
    arena_bed_give(&bed, 10);
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, 10)), STATUS_MISUSE); /* cached */
    arena_bed_take_at(&bed, 0, ARENA_PAGES);
    arena_bed_give(&bed, 0);
    EXPECT_EQ(arena_free(a, arena_bed_page(&bed, 10)), STATUS_MISUSE); /* merged */
    EXPECT(a->ranges == 0 && a->used.v == 0);
    arena_bed_is_sound(&bed);
}

TEST(arena, ranges_are_found_by_any_address_inside)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ARENA_PAGES, 1));
    const struct arena *a = &bed.arena;
    struct arena_request request = {
        .pages = npages(6), .align_log2 = ARENA_ALIGN_PAGE + 3, .lead = npages(1), .tag = "led", .kind = 7};
    vaddr_t base;
    EXPECT_EQ(arena_request(&bed.arena, &request, &base), STATUS_OK);
    EXPECT_EQ(base.v, arena_bed_page(&bed, 7).v); /* the page after the first one is at a multiple of 8 */
    struct arena_range r;
    for (uint64_t at = base.v; at < arena_bed_page(&bed, 13).v; at += 511) {
        EXPECT(arena_find(a, vaddr(at), &r) && r.base.v == base.v && r.pages.v == 6 && r.kind == 7);
    }
    EXPECT(strcmp(r.tag, "led") == 0);
    EXPECT(arena_find(a, arena_bed_page(&bed, 13), &r) && r.tag == NULL && r.pages.v == ARENA_PAGES - 13);
    EXPECT(arena_find(a, vaddr(base.v - 1), &r) && r.tag == NULL && r.base.v == bed.base.v && r.pages.v == 7);
    EXPECT(!arena_find(a, arena_bed_page(&bed, ARENA_PAGES), &r) && !arena_find(a, vaddr(bed.base.v - 1), &r));
    EXPECT(!arena_find(a, vaddr(0), &r) && !arena_find(a, vaddr(UINT64_MAX), &r));
    arena_bed_give(&bed, 7); /* cached, and yet free like what is around it */
    EXPECT(arena_find(a, arena_bed_page(&bed, 9), &r) && r.tag == NULL && r.kind == 0);
    EXPECT(r.base.v == bed.base.v && r.pages.v == ARENA_PAGES);
}

/* Large ranges lie at the high end, but for those that are asked to lie at the low one: also where they are aligned. */
TEST(arena, a_large_range_lies_low_where_it_is_asked_to)
{
    enum { PAGES = 8 * ARENA_LARGE_PAGES };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, 2));
    struct arena_request request = {
        .pages = npages(ARENA_LARGE_PAGES + 1), .align_log2 = ARENA_ALIGN_PAGE, .tag = "large", .low_end = true};
    vaddr_t base;
    EXPECT_EQ(arena_request(&bed.arena, &request, &base), STATUS_OK);
    EXPECT_EQ(base.v, bed.base.v);
    request.align_log2 += 8;
    request.pages.v++; /* another size than what may be cached */
    EXPECT_EQ(arena_request(&bed.arena, &request, &base), STATUS_OK);
    EXPECT_EQ(base.v, arena_bed_page(&bed, ARENA_LARGE_PAGES + (1 << 8)).v);
    request.low_end = false;
    request.pages.v++;
    EXPECT_EQ(arena_request(&bed.arena, &request, &base), STATUS_OK);
    EXPECT_EQ(base.v, arena_bed_page(&bed, PAGES - ARENA_LARGE_PAGES - (1 << 8)).v);
    arena_bed_is_sound(&bed);
}

static bool count_two(void *ctx, const struct arena_range *range)
{
    unsigned *count = ctx;
    return range->tag != NULL && ++*count < 2;
}

TEST(arena, visit_shows_used_ranges_until_told_to_stop)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ARENA_PAGES, 2));
    for (uint64_t i = 0; i < 4; i++) {
        arena_bed_take_at(&bed, 5 * i, 2);
    }
    arena_bed_give(&bed, 0); /* cached: not shown */
    unsigned count = 0;
    arena_visit(&bed.arena, count_two, &count);
    EXPECT_EQ(count, 2);
    arena_bed_give(&bed, 10);
    arena_bed_give(&bed, 15);
    count = 0;
    arena_visit(&bed.arena, count_two, &count);
    EXPECT_EQ(count, 1);
}
