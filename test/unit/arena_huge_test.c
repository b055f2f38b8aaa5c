/* A hundred thousand ranges in the 64 TiB of the global part. */
#include <stdlib.h>

#include "unit/arena_bed.h"

enum { RANGES = 100000 };

struct taken {
    vaddr_t base;
    uint64_t pages;
};

/* 90 of 100 of a few pages, 9 of 256, 1 of 1 MiB to 1 GiB. */
static uint64_t mixed(struct rng *rng)
{
    uint64_t what = rng_below(rng, 100);
    if (what < 90) {
        return 1 + rng_below(rng, 4);
    }
    return what < 99 ? 256 : 256ULL << rng_below(rng, 11);
}

static void *pages_for_nodes(void *ctx)
{
    uint8_t **next = ctx;
    *next += PAGE_BYTES;
    return *next - PAGE_BYTES;
}

static void shuffle(struct taken *t, unsigned count, struct rng *rng)
{
    for (unsigned i = count; i > 1; i--) {
        uint64_t j = rng_below(rng, i);
        struct taken other = t[j];
        t[j] = t[i - 1];
        t[i - 1] = other;
    }
}

static void each_is_found(const struct arena *a, const struct taken *t, unsigned count, struct rng *rng)
{
    unsigned wrong = 0;
    for (unsigned i = 0; i < count; i++) {
        struct arena_range r;
        uint64_t inside = rng_below(rng, pages_to_bytes(npages(t[i].pages)));
        bool found = arena_find(a, vaddr_add(t[i].base, inside), &r);
        wrong += !found || r.tag == NULL || r.base.v != t[i].base.v || r.pages.v != t[i].pages;
    }
    EXPECT_EQ(wrong, 0);
}

TEST_HOST(arena, a_hundred_thousand_ranges_come_and_go)
{
    struct arena a;
    uint8_t *next = test_pages(4 * (size_t)RANGES * 2 / 7);
    struct taken *t = calloc((size_t)RANGES * 2, sizeof *t);
    REQUIRE(next != NULL && t != NULL);
    const uint8_t *first = next;
    vaddr_t base = vaddr(64 * TIB);
    EXPECT_EQ(arena_init(&a, base, vaddr(128 * TIB - PAGE_BYTES), (struct arena_source){&next, pages_for_nodes}),
              STATUS_OK);
    struct rng rng = rng_seeded(test_seed());
    uint64_t used = 0;
    unsigned wrong = 0;
    for (unsigned i = 0; i < 2 * RANGES; i++) {
        t[i].pages = mixed(&rng);
        wrong += arena_alloc(&a, npages(t[i].pages), ARENA_ALIGN_PAGE, "t", &t[i].base) != STATUS_OK;
        used += t[i].pages;
    }
    EXPECT(a.ranges == 2 * RANGES && a.used.v == used);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    shuffle(t, 2 * RANGES, &rng);
    for (unsigned i = RANGES; i < 2 * RANGES; i++) {
        wrong += arena_free(&a, t[i].base) != STATUS_OK;
    }
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    each_is_found(&a, t, RANGES, &rng);
    for (unsigned i = 0; i < RANGES; i++) { /* the space ages */
        wrong += arena_free(&a, t[i].base) != STATUS_OK;
        t[i].pages = mixed(&rng);
        wrong += arena_alloc(&a, npages(t[i].pages), ARENA_ALIGN_PAGE, "t", &t[i].base) != STATUS_OK;
    }
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    each_is_found(&a, t, RANGES, &rng);
    for (unsigned i = 0; i < RANGES; i++) {
        wrong += arena_free(&a, t[i].base) != STATUS_OK;
    }
    EXPECT(wrong == 0 && a.ranges == 0 && a.used.v == 0);
    test_note("%lu pages of nodes", (uint64_t)(next - first) / PAGE_BYTES);
    vaddr_t all;
    npages_t whole = bytes_to_pages_down(a.end.v - a.base.v);
    EXPECT_EQ(arena_alloc(&a, whole, ARENA_ALIGN_PAGE, "all", &all), STATUS_OK);
    EXPECT_EQ(arena_check(&a, NULL), STATUS_OK);
    free(t);
}
