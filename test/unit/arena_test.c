/* The arena against a record of pages, and case by case. */
#include "unit/test.h"
#include "vmm/arena_node.h"

enum { ARENA_PAGES = 256, SOURCE_PAGES = 8 };
#define ARENA_BASE 0xFFFF900000000000

struct source {
    unsigned left;   /* pages it still gives */
    unsigned given;
};

static void *more(void *ctx)
{
    struct source *s = ctx;
    if (s->left == 0) {
        return NULL;
    }
    s->left--;
    s->given++;
    return test_pages(1);
}

static bool start(struct arena *a, struct source *s, unsigned pages)
{
    *s = (struct source){.left = pages};
    vaddr_t base = vaddr(ARENA_BASE);
    return EXPECT_EQ(arena_init(a, base, vaddr_add_pages(base, ARENA_PAGES), (struct arena_source){s, more}),
                     STATUS_OK);
}

static vaddr_t page_at(uint64_t i) { return vaddr_add_pages(vaddr(ARENA_BASE), i); }

TEST(arena, wrong_arguments_change_nothing)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    vaddr_t base = vaddr(1);
    EXPECT_EQ(arena_alloc(&a, npages(0), ARENA_ALIGN_PAGE, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(&a, npages(1), ARENA_ALIGN_PAGE - 1, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(&a, npages(1), ARENA_ALIGN_MAX + 1, "t", &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(&a, npages(1), ARENA_ALIGN_PAGE, NULL, &base), STATUS_INVALID);
    EXPECT_EQ(arena_alloc(&a, npages(ARENA_PAGES + 1), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    EXPECT_EQ(arena_alloc(&a, npages(UINT64_MAX), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    EXPECT_EQ(base.v, 1);
    EXPECT_EQ(arena_alloc_at(&a, vaddr(ARENA_BASE + 1), npages(1), "t"), STATUS_INVALID);
    EXPECT_EQ(arena_alloc_at(&a, page_at(0), npages(0), "t"), STATUS_INVALID);
    EXPECT_EQ(arena_alloc_at(&a, page_at(ARENA_PAGES), npages(1), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(&a, page_at(ARENA_PAGES - 1), npages(2), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(&a, page_at(1), npages(UINT64_MAX), "t"), STATUS_RANGE);
    struct arena_source none = {0};
    struct arena other;
    EXPECT_EQ(arena_init(&other, page_at(1), page_at(1), a.source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, page_at(2), page_at(1), a.source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, vaddr(ARENA_BASE + 8), page_at(1), a.source), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, page_at(0), page_at(1), none), STATUS_INVALID);
    EXPECT_EQ(arena_init(&other, page_at(0), page_at(1), (struct arena_source){&(struct source){0}, more}),
              STATUS_NOMEM);
    EXPECT(a.used.v == 0 && a.ranges == 0);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
}

TEST(arena, wrong_frees_are_reported_and_change_nothing)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    EXPECT_EQ(arena_alloc_at(&a, page_at(10), npages(4), "t"), STATUS_OK);
    test_expect_reports(4);
    EXPECT_EQ(arena_free(&a, page_at(9)), STATUS_MISUSE);
    EXPECT_EQ(arena_free(&a, page_at(11)), STATUS_MISUSE);
    EXPECT_EQ(arena_free(&a, page_at(ARENA_PAGES)), STATUS_MISUSE);
    EXPECT_EQ(arena_free(&a, page_at(10)), STATUS_OK);
    EXPECT_EQ(arena_free(&a, page_at(10)), STATUS_MISUSE);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
}

TEST(arena, ranges_are_found_by_any_address_inside)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    struct arena_request request = {
        .pages = npages(6), .align_log2 = ARENA_ALIGN_PAGE + 3, .lead = npages(1), .tag = "led", .kind = 7};
    vaddr_t base;
    EXPECT_EQ(arena_request(&a, &request, &base), STATUS_OK);
    EXPECT_EQ(base.v, page_at(7).v); /* the page after the first one is at a multiple of 8 */
    struct arena_range r;
    EXPECT(arena_find(&a, vaddr(page_at(13).v - 1), &r) && r.base.v == base.v && r.pages.v == 6 && r.kind == 7);
    EXPECT(strcmp(r.tag, "led") == 0);
    EXPECT(arena_find(&a, page_at(13), &r) && r.tag == NULL);
    EXPECT(arena_find(&a, page_at(0), &r) && r.tag == NULL && r.pages.v == 7);
    EXPECT(!arena_find(&a, page_at(ARENA_PAGES), &r) && !arena_find(&a, vaddr(ARENA_BASE - 1), &r));
}

TEST(arena, running_out_of_nodes_fails_the_allocation_and_never_a_free)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    uint64_t got = 0;
    while (arena_alloc_at(&a, page_at(2 * got), npages(1), "t") == STATUS_OK) {
        got++;
    }
    REQUIRE(got > 10 && 2 * got < ARENA_PAGES);
    EXPECT_EQ(a.ranges, got);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    EXPECT_EQ(arena_alloc_at(&a, page_at(2 * got), npages(1), "t"), STATUS_NOMEM);
    s.left = 1;
    EXPECT_EQ(arena_alloc_at(&a, page_at(2 * got), npages(1), "t"), STATUS_OK);
    for (uint64_t i = 0; i <= got; i += 2) {
        EXPECT_EQ(arena_free(&a, page_at(2 * i)), STATUS_OK);
    }
    for (uint64_t i = 1; i <= got; i += 2) {
        EXPECT_EQ(arena_free(&a, page_at(2 * i)), STATUS_OK);
    }
    EXPECT(a.used.v == 0 && a.ranges == 0 && s.given == 2);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    vaddr_t all;
    EXPECT_EQ(arena_alloc(&a, npages(ARENA_PAGES), ARENA_ALIGN_PAGE, "all", &all), STATUS_OK); /* merged into one */
}

/* The record: for each page the number of the range that has it, 0: free. */
struct record {
    unsigned owner[ARENA_PAGES];
};

static bool record_is_free(const struct record *r, uint64_t first, uint64_t pages)
{
    for (uint64_t i = first; i < first + pages; i++) {
        if (r->owner[i] != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t record_first_fit(const struct record *r, uint64_t pages, uint64_t align, uint64_t lead)
{
    for (uint64_t i = 0; i + pages <= ARENA_PAGES; i++) {
        if ((i + lead) % align == 0 && record_is_free(r, i, pages)) {
            return i;
        }
    }
    return ARENA_PAGES;
}

static void record_set(struct record *r, uint64_t first, uint64_t pages, unsigned owner)
{
    for (uint64_t i = first; i < first + pages; i++) {
        r->owner[i] = owner;
    }
}

static void random_alloc(struct arena *a, struct record *r, struct rng *rng, unsigned number)
{
    uint64_t pages = 1 + rng_below(rng, 20), at = rng_below(rng, ARENA_PAGES);
    if (rng_below(rng, 4) == 0) {
        bool inside = at + pages <= ARENA_PAGES;
        bool is_free = inside && record_is_free(r, at, pages);
        EXPECT_EQ(arena_alloc_at(a, page_at(at), npages(pages), "at"), is_free  ? STATUS_OK
                                                                       : inside ? STATUS_EXISTS
                                                                                : STATUS_RANGE);
        if (is_free) {
            record_set(r, at, pages, number);
        }
        return;
    }
    unsigned align_log2 = (unsigned)rng_below(rng, 5);
    uint64_t lead = rng_below(rng, pages < 3 ? pages : 3);
    struct arena_request q = {
        .pages = npages(pages), .align_log2 = ARENA_ALIGN_PAGE + align_log2, .lead = npages(lead), .tag = "random"};
    uint64_t expected = record_first_fit(r, pages, 1ULL << align_log2, lead);
    vaddr_t base = vaddr(0);
    EXPECT_EQ(arena_request(a, &q, &base), expected < ARENA_PAGES ? STATUS_OK : STATUS_NOMEM);
    if (expected < ARENA_PAGES) {
        EXPECT_EQ(base.v, page_at(expected).v);
        record_set(r, expected, pages, number);
    }
}

static void random_free(struct arena *a, struct record *r, struct rng *rng)
{
    uint64_t at = rng_below(rng, ARENA_PAGES);
    unsigned owner = r->owner[at];
    if (owner == 0) {
        return;
    }
    while (at > 0 && r->owner[at - 1] == owner) {
        at--;
    }
    EXPECT_EQ(arena_free(a, page_at(at)), STATUS_OK);
    for (; at < ARENA_PAGES && r->owner[at] == owner; at++) {
        r->owner[at] = 0;
    }
}

TEST(arena, random_requests_agree_with_a_record_of_pages)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, SOURCE_PAGES));
    static struct record r;
    r = (struct record){0};
    struct rng rng = rng_seeded(test_seed());
    for (unsigned i = 1; i <= 2000 * test_effort(); i++) {
        if (rng_below(&rng, 5) < 3) {
            random_alloc(&a, &r, &rng, i);
        } else {
            random_free(&a, &r, &rng);
        }
        if (i % 16 == 0) {
            REQUIRE(arena_check(&a, NULL) == STATUS_OK);
        }
    }
    uint64_t used = 0;
    for (unsigned i = 0; i < ARENA_PAGES; i++) {
        used += r.owner[i] != 0;
    }
    EXPECT_EQ(a.used.v, used);
}

static bool count_two(void *ctx, const struct arena_range *range)
{
    unsigned *count = ctx;
    return range->tag != NULL && ++*count < 2;
}

TEST(arena, visit_shows_used_ranges_until_told_to_stop)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(arena_alloc_at(&a, page_at(5 * i), npages(2), "t"), STATUS_OK);
    }
    unsigned count = 0;
    arena_visit(&a, count_two, &count);
    EXPECT_EQ(count, 2);
}

/* The validator: each invariant broken once, by overlaying two arenas or a counter. */
TEST(arena, the_check_sees_each_invariant_broken)
{
    struct arena a;
    struct source s;
    REQUIRE(start(&a, &s, 1));
    EXPECT_EQ(arena_alloc_at(&a, page_at(5), npages(2), "t"), STATUS_OK);
    static char text[256];
    struct buffer_sink b;
    struct arena broken = a; /* ARENA-I1: the nodes no longer reach the end */
    broken.end = vaddr_add_pages(broken.end, 1);
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(arena_check(&broken, &b.sink), STATUS_CORRUPT);
    EXPECT(strncmp(text, "ARENA-I1", 8) == 0);
    broken = a; /* ARENA-I3 */
    broken.used.v++;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(arena_check(&broken, &b.sink), STATUS_CORRUPT);
    EXPECT(strncmp(text, "ARENA-I3", 8) == 0);
    broken = a;
    broken.unused_count--;
    EXPECT_EQ(arena_check(&broken, NULL), STATUS_CORRUPT);
    /* ARENA-I2: the used range becomes free in place, as a lost merge would leave it. */
    a.first->next->tag = NULL;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(arena_check(&a, &b.sink), STATUS_CORRUPT);
    EXPECT(strncmp(text, "ARENA-I2", 8) == 0);
}
