/* Where the arena's ranges lie: fixed places, alignments, fits, and what the cache does to them. */
#include "unit/arena_bed.h"

enum { NODE_PAGES = 16 };

static bool is_taken(const struct arena_bed *bed, uint64_t page, uint64_t first, uint64_t pages)
{
    struct arena_range r;
    return arena_find(&bed->arena, arena_bed_page(bed, page), &r) && r.tag != NULL &&
           r.base.v == arena_bed_page(bed, first).v && r.pages.v == pages;
}

static bool is_free(const struct arena_bed *bed, uint64_t page, uint64_t first, uint64_t pages)
{
    struct arena_range r;
    return arena_find(&bed->arena, arena_bed_page(bed, page), &r) && r.tag == NULL &&
           r.base.v == arena_bed_page(bed, first).v && r.pages.v == pages;
}

TEST(arena, the_whole_arena_can_be_one_range)
{
    static const uint64_t sizes[] = {1, 2, 16, 64, 65, 511, 512, 513, 1ULL << 27, 1ULL << ARENA_PAGES_LOG2_MAX};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        struct arena_bed bed;
        uint64_t all = sizes[i];
        REQUIRE(arena_bed_open_at(&bed, vaddr(PAGE_BYTES), all, NODE_PAGES));
        for (unsigned round = 0; round < 2; round++) {
            EXPECT_EQ(arena_bed_take(&bed, all), 0);
            EXPECT(is_taken(&bed, 0, 0, all) && is_taken(&bed, all - 1, 0, all));
            EXPECT_EQ(bed.arena.used.v, all);
            vaddr_t none;
            EXPECT_EQ(arena_alloc(&bed.arena, npages(1), ARENA_ALIGN_PAGE, "none", &none), STATUS_NOMEM);
            EXPECT_EQ(arena_alloc_at(&bed.arena, arena_bed_page(&bed, all - 1), npages(1), "none"), STATUS_EXISTS);
            arena_bed_give(&bed, 0);
            arena_bed_take_at(&bed, 0, all);
            arena_bed_give(&bed, 0);
            arena_bed_take_at(&bed, all - 1, 1); /* the last page, and what is before it */
            EXPECT_EQ(bed.arena.ranges, 1);
            if (all > 1) {
                EXPECT(is_free(&bed, 0, 0, all - 1));
            }
            arena_bed_give(&bed, all - 1);
            arena_bed_is_sound(&bed);
        }
    }
}

TEST(arena, a_range_is_had_at_every_place)
{
    enum { PAGES = 70 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open_at(&bed, vaddr_add_pages(vaddr(ARENA_BED_BASE), 33), PAGES, NODE_PAGES));
    for (uint64_t at = 0; at < PAGES; at++) {
        for (uint64_t pages = 1; at + pages <= PAGES; pages++) {
            arena_bed_take_at(&bed, at, pages);
            EXPECT(is_taken(&bed, at, at, pages) && is_taken(&bed, at + pages - 1, at, pages));
            EXPECT(at == 0 || is_free(&bed, at - 1, 0, at));
            EXPECT(at + pages == PAGES || is_free(&bed, at + pages, at + pages, PAGES - at - pages));
            arena_bed_give(&bed, at);
        }
        REQUIRE(arena_bed_is_sound(&bed));
    }
}

TEST(arena, a_fixed_range_over_anything_used_is_refused)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 100, NODE_PAGES));
    arena_bed_take_at(&bed, 40, 3);
    arena_bed_take_at(&bed, 43, 2);
    arena_bed_take_at(&bed, 50, 4);
    arena_bed_give(&bed, 43); /* cached, between a used one and a free one */
    for (uint64_t at = 30; at < 60; at++) {
        for (uint64_t pages = 1; pages < 30; pages++) {
            bool meets = (at < 43 && at + pages > 40) || (at < 54 && at + pages > 50);
            if (!meets) {
                continue;
            }
            EXPECT_EQ(arena_alloc_at(&bed.arena, arena_bed_page(&bed, at), npages(pages), "over"), STATUS_EXISTS);
        }
    }
    EXPECT(bed.arena.ranges == 2 && arena_bed_cached(&bed, 2) == 1); /* a refusal takes nothing from the cache */
    arena_bed_is_sound(&bed);
    arena_bed_take_at(&bed, 44, 6);
    EXPECT(is_taken(&bed, 49, 44, 6) && is_free(&bed, 43, 43, 1));
    arena_bed_is_sound(&bed);
}

TEST(arena, a_fixed_range_takes_in_everything_cached)
{
    enum { RANGES = 90, SIZES = 3 };
    struct arena_bed bed;
    uint64_t all = RANGES / SIZES * (1 + 2 + 3), base[RANGES];
    REQUIRE(arena_bed_open(&bed, all, NODE_PAGES));
    for (unsigned i = 0; i < RANGES; i++) {
        base[i] = arena_bed_take(&bed, 1 + i % SIZES); /* one behind the other */
    }
    for (unsigned i = 0; i < RANGES; i++) {
        arena_bed_give(&bed, base[i * 7 % RANGES]);
    }
    for (unsigned size = 1; size <= SIZES; size++) {
        EXPECT_EQ(arena_bed_cached(&bed, size), ARENA_CACHED_EACH);
    }
    EXPECT(is_free(&bed, all / 2, 0, all));
    arena_bed_is_sound(&bed);
    arena_bed_take_at(&bed, 1, all - 2);
    EXPECT(is_free(&bed, 0, 0, 1) && is_free(&bed, all - 1, all - 1, 1));
    arena_bed_is_sound(&bed);
}

/* ---- Alignment ---- */

static void align_one(struct arena_bed *bed, uint64_t pages, unsigned align_log2, uint64_t lead)
{
    struct arena_request r = {.pages = npages(pages), .align_log2 = align_log2, .lead = npages(lead), .tag = "t"};
    vaddr_t base;
    REQUIRE(EXPECT_EQ(arena_request(&bed->arena, &r, &base), STATUS_OK));
    EXPECT(base.v >= bed->base.v && base.v + pages_to_bytes(r.pages) <= bed->arena.end.v);
    EXPECT_EQ(vaddr_add_pages(base, lead).v & ((1ULL << align_log2) - 1), 0);
    arena_bed_is_sound(bed);
}

/* From a page to a PML4 slot, small and large, with and without a page before the aligned one. */
TEST(arena, every_alignment_is_kept)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open_at(&bed, vaddr(16 * TIB + PAGE_BYTES), bytes_to_pages_down(64 * TIB).v, 60));
    for (unsigned log2 = ARENA_ALIGN_PAGE; log2 <= ARENA_ALIGN_MAX; log2++) {
        align_one(&bed, 1, log2, 0);
        align_one(&bed, 1, log2, 0);
        align_one(&bed, 3, log2, 1);
        align_one(&bed, 600, log2, 0);
        align_one(&bed, 600, log2, 599);
        align_one(&bed, bytes_to_pages_down(GIB).v + 1, log2, 1);
    }
}

/* The only free range that is large enough has one aligned place, or none. */
TEST(arena, an_aligned_place_is_found_when_it_is_the_only_one)
{
    static const uint64_t sizes[] = {5, 700}; /* cut at the low end, at the high one */
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t pages = sizes[i], align = 1024, free = pages + 300;
        for (uint64_t before = 0; before <= 3; before++) {
            struct arena_bed bed;
            vaddr_t at = vaddr_add_pages(vaddr(ARENA_BED_BASE), align - before);
            REQUIRE(arena_bed_open_at(&bed, at, free, NODE_PAGES));
            align_one(&bed, pages, ARENA_ALIGN_PAGE + 10, before);
            EXPECT(is_taken(&bed, 0, 0, pages));
            arena_bed_give(&bed, 0);
            struct arena_request r = {
                .pages = npages(pages), .align_log2 = ARENA_ALIGN_PAGE + 10, .lead = npages(before + 1), .tag = "t"};
            vaddr_t base = bed.base;
            EXPECT_EQ(arena_request(&bed.arena, &r, &base), STATUS_NOMEM);
            arena_bed_is_sound(&bed);
        }
    }
}

/* Free ranges of 4 pages; all but the first, which was there first and is looked at last, are off by one. */
static void holes(unsigned count, enum status expected)
{
    enum { STRIDE = 8, HOLE = 4 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, (uint64_t)STRIDE * count + 1, 100));
    arena_bed_take_at(&bed, HOLE, STRIDE + 1 - HOLE);
    for (unsigned i = 1; i < count; i++) {
        arena_bed_take_at(&bed, (uint64_t)STRIDE * i + 1 + HOLE, STRIDE - HOLE);
    }
    struct arena_request r = {.pages = npages(HOLE), .align_log2 = ARENA_ALIGN_PAGE + 2, .tag = "t"};
    vaddr_t base = vaddr(0);
    EXPECT_EQ(arena_request(&bed.arena, &r, &base), expected);
    EXPECT_EQ(base.v, expected == STATUS_OK ? bed.base.v : 0);
    arena_bed_is_sound(&bed);
}

TEST(arena, an_aligned_request_looks_at_many_free_ranges_and_then_gives_up)
{
    holes(1, STATUS_OK);
    holes(ARENA_LOOKS, STATUS_OK);
    holes(ARENA_LOOKS + 1, STATUS_OK);
    holes(ARENA_LOOKS_MAX, STATUS_OK);
    holes(ARENA_LOOKS_MAX + 1, STATUS_NOMEM);
}

/* ---- Fit ---- */

TEST(arena, small_ranges_lie_low_and_large_ones_high)
{
    enum { PAGES = 10 * ARENA_LARGE_PAGES };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, NODE_PAGES));
    EXPECT_EQ(arena_bed_take(&bed, 1), 0);
    EXPECT_EQ(arena_bed_take(&bed, ARENA_LARGE_PAGES), PAGES - ARENA_LARGE_PAGES);
    EXPECT_EQ(arena_bed_take(&bed, ARENA_LARGE_PAGES - 1), 1);
    EXPECT_EQ(arena_bed_take(&bed, ARENA_LARGE_PAGES + 1), PAGES - 2 * ARENA_LARGE_PAGES - 1);
    arena_bed_is_sound(&bed);
}

/* The free range that is just large enough is taken, wherever it lies. */
TEST(arena, a_close_fit_is_taken_before_a_large_free_range)
{
    static const uint64_t sizes[] = {1, 2, 7, 15, 16, 17, 100, 260, 511};
    enum { PAGES = 5000 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, NODE_PAGES));
    uint64_t at = 0, place[ARRAY_LEN(sizes)];
    for (unsigned i = ARRAY_LEN(sizes); i-- > 0;) {
        place[i] = at;
        arena_bed_take_at(&bed, at + sizes[i], 1); /* behind a free range of this size */
        at += sizes[i] + 1;
    }
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        EXPECT_EQ(arena_bed_take(&bed, sizes[i]), place[i]);
    }
    arena_bed_is_sound(&bed);
}

/* => the first page; the test fails where none is found. */
static uint64_t take_best(struct arena_bed *bed, uint64_t pages, unsigned align_log2)
{
    const struct arena_request r = {
        .pages = npages(pages), .align_log2 = ARENA_ALIGN_PAGE + align_log2, .tag = "best", .best_fit = true};
    vaddr_t base = bed->base;
    EXPECT_EQ(arena_request(&bed->arena, &r, &base), STATUS_OK);
    EXPECT_EQ(vaddr_page_number(base) % (1ULL << align_log2), 0);
    return bytes_to_pages_down(base.v - bed->base.v).v;
}

/* Many free ranges of one class: a plain request looks at a few, the best fit at all of them. */
TEST(arena, the_best_fit_is_the_smallest_of_all_and_the_lowest_of_two)
{
    enum { CLASS = 256, STEPS = 32, EACH = 5, PAGES = 400 * 1000 }; /* 256 to 287 pages are a class */
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, PAGES, 40));
    static uint64_t place[STEPS][EACH];
    uint64_t at = 0;
    for (uint64_t i = 0; i < STEPS * EACH; i++) {
        const uint64_t step = i * 7 % STEPS;
        place[step][i / STEPS] = at;
        arena_bed_take_at(&bed, at + CLASS + step, 1);
        at += CLASS + step + 1;
    }
    for (uint64_t i = 0; i < EACH; i++) {
        for (uint64_t step = 0; step < STEPS; step++) {
            EXPECT_EQ(take_best(&bed, CLASS + step, 0), place[step][i]);
        }
        REQUIRE(arena_bed_is_sound(&bed));
    }
    EXPECT(take_best(&bed, CLASS, 0) >= at); /* none is left */
}

TEST(arena, the_best_fit_looks_past_the_smallest_that_do_not_fit)
{
    enum { ALL = 4000 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, ALL, NODE_PAGES));
    arena_bed_take_at(&bed, 0, 1);     /* behind it 20 pages: 64 is not among them */
    arena_bed_take_at(&bed, 21, 33);   /* behind it 30: 64 to 83 are */
    arena_bed_take_at(&bed, 84, ALL - 84 - 40);
    EXPECT_EQ(take_best(&bed, 20, 6), 64);
    EXPECT_EQ(take_best(&bed, 20, 0), 1);
    EXPECT_EQ(take_best(&bed, 10, 0), 54);
    EXPECT_EQ(take_best(&bed, 40, 0), ALL - 40);
    arena_bed_give(&bed, 1); /* cached: it is no candidate, but */
    EXPECT_EQ(take_best(&bed, 20, 0), 1); /* before it fails all is free */
    arena_bed_is_sound(&bed);
}

/* ---- The cache ---- */

TEST(arena, of_large_ranges_few_are_cached_and_of_the_largest_none)
{
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1ULL << 30, NODE_PAGES));
    static const struct {
        uint64_t pages, most;
    } sizes[] = {{ARENA_LARGE_PAGES - 1, ARENA_CACHED_EACH},        {ARENA_LARGE_PAGES, ARENA_CACHED_LARGE_EACH},
                 {ARENA_CACHED_PAGES, ARENA_CACHED_LARGE_EACH},     {ARENA_CACHED_PAGES + 1, 0},
                 {2 * ARENA_CACHED_PAGES, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t at[ARENA_CACHED_EACH + 2];
        for (unsigned k = 0; k < ARRAY_LEN(at); k++) {
            at[k] = arena_bed_take(&bed, sizes[i].pages);
        }
        for (unsigned k = 0; k < ARRAY_LEN(at); k++) {
            arena_bed_give(&bed, at[k]);
            EXPECT_EQ(arena_bed_cached(&bed, sizes[i].pages), k < sizes[i].most ? k + 1 : sizes[i].most);
        }
        arena_bed_is_sound(&bed);
    }
    arena_trim(&bed.arena);
    EXPECT(is_free(&bed, 0, 0, 1ULL << 30));
}

/* An aligned request, with a page in front of it or not, takes what is cached when it lies right. */
TEST(arena, what_is_cached_serves_an_aligned_request_when_it_is_aligned)
{
    enum { ALIGN_LOG2 = 9 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 64 * ARENA_LARGE_PAGES, NODE_PAGES));
    for (unsigned lead = 0; lead < 2; lead++) {
        const struct arena_request r = {.pages = npages(ARENA_LARGE_PAGES + lead),
                                        .align_log2 = ARENA_ALIGN_PAGE + ALIGN_LOG2,
                                        .lead = npages(lead),
                                        .tag = "t"};
        vaddr_t first, second;
        EXPECT_EQ(arena_request(&bed.arena, &r, &first), STATUS_OK);
        EXPECT_EQ(arena_free(&bed.arena, first), STATUS_OK);
        const uint64_t below = arena_bed_take(&bed, 1); /* the lowest place is gone */
        EXPECT_EQ(arena_request(&bed.arena, &r, &second), STATUS_OK);
        EXPECT(second.v == first.v && arena_bed_cached(&bed, r.pages.v) == 0);
        const uint64_t crooked = bytes_to_pages_down(second.v - bed.base.v).v - 3 - r.pages.v;
        arena_bed_take_at(&bed, crooked, r.pages.v);
        arena_bed_give(&bed, crooked);
        EXPECT_EQ(arena_request(&bed.arena, &r, &first), STATUS_OK); /* right size, wrong place */
        EXPECT_EQ((vaddr_page_number(first) + lead) % (1ULL << ALIGN_LOG2), 0);
        EXPECT_EQ(arena_bed_cached(&bed, r.pages.v), 1);
        EXPECT_EQ(arena_free(&bed.arena, first), STATUS_OK);
        EXPECT_EQ(arena_free(&bed.arena, second), STATUS_OK);
        arena_bed_give(&bed, below);
        arena_trim(&bed.arena);
        arena_bed_is_sound(&bed);
    }
}

TEST(arena, what_was_freed_last_is_handed_out_first_to_its_size)
{
    static const uint64_t sizes[] = {1, 15, 16, 300, ARENA_LARGE_PAGES - 1};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        struct arena_bed bed;
        REQUIRE(arena_bed_open(&bed, 8 * ARENA_CACHED_PAGES, NODE_PAGES));
        uint64_t first = arena_bed_take(&bed, sizes[i]), second = arena_bed_take(&bed, sizes[i]);
        arena_bed_take(&bed, sizes[i]);
        arena_bed_give(&bed, first);
        arena_bed_give(&bed, second);
        uint64_t other = arena_bed_take(&bed, 2 * sizes[i]);
        EXPECT(other != first && other != second);
        bed.left = 0; /* no node is needed */
        struct arena_reserve whole = arena_bed_hide_nodes(&bed.arena);
        EXPECT_EQ(arena_bed_take(&bed, sizes[i]), second);
        EXPECT_EQ(arena_bed_take(&bed, sizes[i]), first);
        arena_bed_give(&bed, second);
        *bed.arena.reserve = whole;
        arena_bed_is_sound(&bed);
    }
}

TEST(arena, a_stack_holds_so_many_and_the_rest_is_merged)
{
    enum { TAKEN = 3 * ARENA_CACHED_EACH };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 1000, NODE_PAGES));
    for (uint64_t i = 0; i < TAKEN; i++) {
        EXPECT_EQ(arena_bed_take(&bed, 2), 2 * i);
    }
    for (uint64_t i = 0; i < TAKEN; i++) {
        arena_bed_give(&bed, 2 * i);
    }
    EXPECT_EQ(arena_bed_cached(&bed, 2), ARENA_CACHED_EACH);
    EXPECT(bed.arena.used.v == 0 && is_free(&bed, 5, 0, 1000));
    arena_bed_is_sound(&bed);
    EXPECT_EQ(arena_bed_take(&bed, 1000), 0); /* what is cached is in the way of nobody */
    arena_bed_is_sound(&bed);
}

/* Sizes that share a stack: the one that is used now drives the other out. */
TEST(arena, a_size_that_is_no_longer_used_leaves_the_cache)
{
    enum { OLD = 288, NEW = 300 };
    struct arena_bed bed;
    REQUIRE(arena_bed_open(&bed, 100000, NODE_PAGES));
    EXPECT_EQ(arena_size_class(OLD), arena_size_class(NEW));
    struct arena_node **cache = &bed.arena.cache[arena_size_class(OLD)];
    uint64_t at[ARENA_CACHED_EACH];
    for (unsigned i = 0; i < ARENA_CACHED_EACH; i++) {
        at[i] = arena_bed_take(&bed, OLD);
    }
    for (unsigned i = 0; i < ARENA_CACHED_EACH; i++) {
        arena_bed_give(&bed, at[i]);
    }
    EXPECT_EQ(arena_bed_cached(&bed, OLD), ARENA_CACHED_EACH);
    for (unsigned i = 0; i < 2 * ARENA_CACHED_EACH; i++) {
        at[0] = arena_bed_take(&bed, NEW);
        at[1] = arena_bed_take(&bed, NEW);
        arena_bed_give(&bed, at[0]);
        arena_bed_give(&bed, at[1]);
        arena_bed_is_sound(&bed);
    }
    for (struct arena_node *n = *cache; n != NULL; n = n->peer) {
        EXPECT(n->pages.v == NEW || arena_bed_cached(&bed, OLD) > 2);
    }
    EXPECT((*cache)->pages.v == NEW && (*cache)->peer->pages.v == NEW);
}
