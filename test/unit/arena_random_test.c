/* The arena under random requests, against a record of pages. */
#include "unit/arena_bed.h"

enum { RECORD_PAGES = 1500 };

/* For each page the number of the range that has it, 0: free. */
struct record {
    uint64_t pages;
    unsigned owner[RECORD_PAGES];
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

/* Pages of the free range that holds page `at`. */
static uint64_t record_free_around(const struct record *r, uint64_t at)
{
    uint64_t first = at, end = at;
    for (; first > 0 && r->owner[first - 1] == 0; first--) {
    }
    for (; end < r->pages && r->owner[end] == 0; end++) {
    }
    return end - first;
}

/*
 * The smallest free range that has a place; 0: none has. `first`: the number of the arena's first page, by which
 * alignment goes.
 */
static uint64_t record_find_room(const struct record *r, uint64_t first, uint64_t pages, uint64_t align, uint64_t lead)
{
    uint64_t run = 0, least = 0; /* free pages that end with page i */
    for (uint64_t i = 0; i < r->pages; i++) {
        run = r->owner[i] == 0 ? run + 1 : 0;
        if (run >= pages && (first + i + 1 - pages + lead) % align == 0) {
            const uint64_t around = record_free_around(r, i);
            least = least == 0 || around < least ? around : least;
        }
    }
    return least;
}

static void record_set(struct record *r, uint64_t first, uint64_t pages, unsigned owner)
{
    for (uint64_t i = first; i < first + pages; i++) {
        r->owner[i] = owner;
    }
}

/* The arena finds at this page what the record has there. */
static void record_agrees(const struct arena_bed *bed, const struct record *r, uint64_t at)
{
    uint64_t first = at, end = at + 1;
    for (; first > 0 && r->owner[first - 1] == r->owner[at]; first--) {
    }
    for (; end < r->pages && r->owner[end] == r->owner[at]; end++) {
    }
    struct arena_range range;
    EXPECT(arena_find(&bed->arena, vaddr_add(arena_bed_page(bed, at), 123), &range));
    EXPECT_EQ(range.base.v, arena_bed_page(bed, first).v);
    EXPECT_EQ(range.pages.v, end - first);
    EXPECT_EQ(range.tag != NULL, r->owner[at] != 0);
}

static uint64_t random_size(struct rng *rng)
{
    return rng_below(rng, 8) != 0 ? 1 + rng_below(rng, 20) : 1 + rng_below(rng, 700);
}

static void random_alloc_at(struct arena_bed *bed, struct record *r, struct rng *rng, unsigned number)
{
    uint64_t pages = random_size(rng), at = rng_below(rng, r->pages);
    bool inside = at + pages <= r->pages;
    bool is_free = inside && record_is_free(r, at, pages);
    enum status expected = is_free ? STATUS_OK : inside ? STATUS_EXISTS : STATUS_RANGE;
    EXPECT_EQ(arena_alloc_at(&bed->arena, arena_bed_page(bed, at), npages(pages), "at"), expected);
    if (is_free) {
        record_set(r, at, pages, number);
    }
}

static void random_alloc(struct arena_bed *bed, struct record *r, struct rng *rng, unsigned number)
{
    uint64_t pages = random_size(rng), lead = rng_below(rng, pages < 3 ? pages : 3);
    unsigned align_log2 = rng_below(rng, 2) == 0 ? 0 : (unsigned)rng_below(rng, 7);
    struct arena_request q = {
        .pages = npages(pages), .align_log2 = ARENA_ALIGN_PAGE + align_log2, .lead = npages(lead), .tag = "random",
        .low_end = rng_below(rng, 2) == 0, .best_fit = rng_below(rng, 4) == 0};
    if (q.best_fit) {
        arena_trim(&bed->arena); /* nothing is cached: free ranges are as long as the record says */
    }
    vaddr_t base = vaddr(0);
    enum status s = arena_request(&bed->arena, &q, &base);
    const uint64_t least = record_find_room(r, vaddr_page_number(bed->base), pages, 1ULL << align_log2, lead);
    EXPECT_EQ(s, least != 0 ? STATUS_OK : STATUS_NOMEM);
    if (s != STATUS_OK) {
        EXPECT_EQ(base.v, 0);
        return;
    }
    uint64_t first = bytes_to_pages_down(base.v - bed->base.v).v;
    EXPECT(!q.best_fit || record_free_around(r, first) == least);
    EXPECT(base.v >= bed->base.v && first + pages <= r->pages && record_is_free(r, first, pages));
    EXPECT_EQ((vaddr_page_number(base) + lead) % (1ULL << align_log2), 0);
    if (first + pages <= r->pages) {
        record_set(r, first, pages, number);
    }
}

static void random_free(struct arena_bed *bed, struct record *r, struct rng *rng)
{
    uint64_t at = rng_below(rng, r->pages);
    unsigned owner = r->owner[at];
    if (owner == 0) {
        return;
    }
    while (at > 0 && r->owner[at - 1] == owner) {
        at--;
    }
    arena_bed_give(bed, at);
    for (; at < r->pages && r->owner[at] == owner; at++) {
        r->owner[at] = 0;
    }
}

/* A part of a range: what is left above it is a range of its own. */
static void random_free_part(struct arena_bed *bed, struct record *r, struct rng *rng, unsigned number)
{
    uint64_t at = rng_below(rng, r->pages), end = at + 1;
    const unsigned owner = r->owner[at];
    if (owner == 0) {
        return;
    }
    while (end < r->pages && r->owner[end] == owner) {
        end++;
    }
    const uint64_t pages = 1 + rng_below(rng, end - at);
    EXPECT_EQ(arena_free_part(&bed->arena, arena_bed_page(bed, at), npages(pages)), STATUS_OK);
    record_set(r, at, pages, 0);
    record_set(r, at + pages, end - at - pages, number);
}

static void play(uint64_t pages, struct rng *rng)
{
    enum { NODE_PAGES = 64, CHECK_EACH = 16 };
    struct arena_bed bed;
    static struct record r;
    r = (struct record){.pages = pages};
    REQUIRE(arena_bed_open_at(&bed, vaddr_add_pages(vaddr(ARENA_BED_BASE), rng_below(rng, 600)), pages, NODE_PAGES));
    for (unsigned i = 1; i <= 1000 * test_effort(); i++) {
        uint64_t what = rng_below(rng, 23);
        if (what < 8) {
            random_alloc(&bed, &r, rng, i);
        } else if (what < 11) {
            random_alloc_at(&bed, &r, rng, i);
        } else if (what < 20) {
            random_free(&bed, &r, rng);
        } else {
            random_free_part(&bed, &r, rng, i);
        }
        record_agrees(&bed, &r, rng_below(rng, pages));
        if (i % CHECK_EACH == 0) {
            REQUIRE(arena_bed_is_sound(&bed));
        }
    }
    uint64_t used = 0;
    for (unsigned i = 0; i < pages; i++) {
        used += r.owner[i] != 0;
    }
    EXPECT_EQ(bed.arena.used.v, used);
}

TEST(arena, random_requests_agree_with_a_record_of_pages)
{
    static const uint64_t sizes[] = {1, 2, 63, 64, 65, 200, RECORD_PAGES}; /* one, two and three digits of the index */
    struct rng rng = rng_seeded(test_seed());
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        play(sizes[i], &rng);
    }
}
