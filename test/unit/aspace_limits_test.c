/*
 * No call takes long, however pages were given: how often a space maps a page, and looks that are counted (gifts.c,
 * section 6).
 */
#include "arch/layout.h"
#include "aspace/mapping.h"
#include "unit/aspace_bed.h"

static struct aspace_bed bed;

static struct object *make_object(uint64_t pages)
{
    struct object *object = NULL;
    EXPECT_OK(object_create_anonymous(&bed.system, npages(pages), &object));
    return object;
}

static enum status map_pages(struct aspace *space, struct object *object, uint64_t first, uint64_t pages)
{
    const struct aspace_request r = want_object(object, first, npages(pages), AR, 0);
    vaddr_t va;
    return aspace_map(space, &r, &va);
}

TEST(aspace_limits, a_page_is_in_the_private_part_so_often_and_no_more)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object = make_object(64);
    REQUIRE(object != NULL);
    const vaddr_t va = map_it(&bed.a, want_object(object, 0, npages(64), AR, ASPACE_GLOBAL));
    for (unsigned i = 0; i < 64; i += 2) { /* side by side they are no more than one */
        EXPECT_OK(map_pages(&bed.b, object, i, 1));
    }
    for (unsigned i = 1; i < ASPACE_TIMES; i++) {
        EXPECT_OK(map_pages(&bed.b, object, 4 + i, 20));
    }
    EXPECT_EQ(map_pages(&bed.b, object, 0, 64), STATUS_LIMIT);
    EXPECT_EQ(map_pages(&bed.b, object, 12, 1), STATUS_LIMIT);
    EXPECT_EQ(aspace_share(&bed.a, vaddr_add_pages(va, 12), npages(1), &bed.b, AR, vaddr(AT_PRIVATE)), STATUS_LIMIT);
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 12), npages(1), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 13), npages(1), &bed.b, AR, vaddr(AT_PRIVATE)));
    EXPECT_EQ(map_pages(&bed.b, object, 13, 1), STATUS_LIMIT);
    EXPECT_OK(map_pages(&bed.b, object, 40, 24));
    (void)map_it(&bed.b, want_object(object, 12, npages(1), AR, ASPACE_PRIVATE)); /* a copy is none of it */
    EXPECT_OK(aspace_unmap(&bed.b, vaddr(AT_PRIVATE), npages(1)));
    EXPECT_OK(map_pages(&bed.b, object, 13, 1));
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

TEST(aspace_limits, what_comes_in_one_share_counts_together)
{
    enum { HALF = ASPACE_TIMES / 2 };
    REQUIRE(aspace_bed_open(&bed));
    struct object *object = make_object(2);
    REQUIRE(object != NULL);
    for (unsigned i = 0; i <= HALF; i++) { /* beside each other, all the same page */
        struct aspace_request r = want_at(AT_PRIVATE + i * PAGE_BYTES, npages(1), AR, 0);
        r.object = object;
        (void)map_it(&bed.a, r);
    }
    for (unsigned i = 0; i < HALF; i++) {
        EXPECT_OK(map_pages(&bed.b, object, 0, 2));
    }
    const vaddr_t to = vaddr(AT_PRIVATE);
    EXPECT_EQ(aspace_share(&bed.a, vaddr(AT_PRIVATE), npages(HALF + 1), &bed.b, AR, to), STATUS_LIMIT);
    EXPECT_OK(aspace_share(&bed.a, vaddr(AT_PRIVATE), npages(HALF), &bed.b, AR, to));
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

/*
 * The worst there is: `a` has pages and gave them to `b`, which has them twice (so each stretch has to be looked at),
 * and gave them to many others, to each as often as may be, so that each begins and ends where no other does.
 */
enum { OTHERS = 40, PAGES = 2 * OTHERS * ASPACE_TIMES + 2 };
static struct aspace others[OTHERS];

static vaddr_t worst_case(vaddr_t *twice)
{
    const vaddr_t va = map_it(&bed.a, want(npages(PAGES), AR, ASPACE_GLOBAL));
    *twice = vaddr(AT_PRIVATE);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PAGES), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(PAGES), &bed.b, AR, *twice));
    for (unsigned i = 0, cut = 1; i < OTHERS; i++) {
        EXPECT_OK(aspace_create(&bed.system, &others[i], (struct aspace_limits){0}));
        for (unsigned k = 0; k < ASPACE_TIMES; k++, cut++) {
            EXPECT_OK(aspace_share(&bed.b, vaddr_add_pages(va, cut), npages(PAGES - 2 * cut), &others[i], AR,
                                   vaddr(AT_PRIVATE + k * 16 * MIB)));
        }
    }
    return va;
}

static void end_others(void)
{
    for (unsigned i = 0; i < OTHERS; i++) {
        EXPECT_OK(aspace_destroy(&others[i]));
    }
}

static uint64_t looks_of(vaddr_t va, uint64_t pages, uint64_t most)
{
    struct giving_up up = {.since = va, .end = vaddr_add_pages(va, pages), .most = most};
    const struct mapping *m = mapping_at(&bed.b, va);
    (void)gifts_pass_missing(m, mapping_page(m, va), npages(pages), &up);
    return up.looks;
}

TEST(aspace_limits, who_gives_up_too_much_at_once_is_refused_and_can_do_it_by_parts)
{
    enum { PARTS = 21 };
    vaddr_t twice;
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = worst_case(&twice);
    EXPECT(looks_of(va, PAGES, UINT64_MAX) > 4 * ASPACE_LOOKS / 3);
    EXPECT(looks_of(va, PAGES, ASPACE_LOOKS) < ASPACE_LOOKS + 4 * OTHERS * ASPACE_TIMES);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_unmap(&bed.b, va, npages(PAGES)), STATUS_LIMIT);
    EXPECT_EQ(aspace_transfer(&bed.b, va, npages(PAGES), &bed.c, AR), STATUS_LIMIT);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(PAGES), &bed.b), STATUS_LIMIT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    for (uint64_t at = 0; at < PAGES; at += PARTS) {
        const uint64_t n = PAGES - at < PARTS ? PAGES - at : PARTS;
        EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(va, at), npages(n)));
    }
    EXPECT(mapping_at(&others[3], vaddr(AT_PRIVATE))->giver == bed.b.tables.id); /* it has them twice */
    for (uint64_t at = 0; at < PAGES; at += PARTS) {
        const uint64_t n = PAGES - at < PARTS ? PAGES - at : PARTS;
        for (uint64_t i = 0; aspace_withdraw(&bed.a, vaddr_add_pages(va, at), npages(n), &bed.b) == STATUS_LIMIT; i++) {
            EXPECT_OK(aspace_withdraw(&bed.a, vaddr_add_pages(va, at + i), npages(1), &bed.b)); /* that always goes */
        }
    }
    EXPECT(bed.b.ranges == 0 && others[3].ranges == 0 && bed.a.pages.v == PAGES);
    end_others();
    aspace_bed_close(&bed);
}

TEST(aspace_limits, the_end_of_a_space_looks_so_often_and_then_passes_all_at_once)
{
    vaddr_t twice;
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = worst_case(&twice);
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT(mapping_at(&others[0], twice)->object->passed_by != 0);
    for (unsigned i = 0; i < OTHERS; i++) {
        for (unsigned k = 0; k < ASPACE_TIMES; k++) {
            const struct mapping *m = mapping_at(&others[i], vaddr(AT_PRIVATE + k * 16 * MIB));
            EXPECT(m != NULL && m->giver == bed.a.tables.id && !m->is_anyones);
        }
        EXPECT_OK(aspace_withdraw(&bed.a, vaddr_add_pages(va, PAGES / 2), npages(1), &others[i]));
    }
    end_others();
    aspace_bed_close(&bed);
}

/* B has every second page from C too, who has no others, and so is counted as the giver of pages that it has not. */
TEST(aspace_limits, what_could_not_be_kept_apart_can_be_taken_back_by_all_who_have_it)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(PAGES), AR, ASPACE_GLOBAL)), even = vaddr_add_pages(va, PAGES - 2),
                  odd = vaddr_add_pages(va, PAGES - 1);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PAGES), &bed.b, AR, vaddr(0)));
    for (unsigned i = 0; i < PAGES; i += 2) {
        const vaddr_t at = vaddr_add_pages(va, i);
        EXPECT_OK(aspace_share(&bed.a, at, npages(1), &bed.c, AR, vaddr(0)));
        EXPECT_OK(aspace_share(&bed.c, at, npages(1), &bed.b, AR, vaddr(AT_PRIVATE + i * PAGE_BYTES)));
    }
    for (unsigned i = 0; i < OTHERS; i++) {
        EXPECT_OK(aspace_create(&bed.system, &others[i], (struct aspace_limits){0}));
        EXPECT_OK(aspace_share(&bed.b, va, npages(PAGES), &others[i], AR, vaddr(0)));
    }
    EXPECT_OK(aspace_destroy(&bed.b));
    const struct mapping *m = mapping_at(&others[1], odd);
    EXPECT(m->is_anyones && m->giver == bed.c.tables.id && m->object->passed_by != 0);
    EXPECT_OK(aspace_withdraw(&bed.a, odd, npages(1), &others[1]));
    EXPECT_OK(aspace_withdraw(&bed.a, even, npages(1), &bed.c));
    for (unsigned i = 2; i < OTHERS; i++) {
        EXPECT(mapping_at(&others[i], odd) == NULL); /* nobody stands behind it */
        EXPECT(mapping_at(&others[i], even) == NULL && mapping_at(&others[i], vaddr(even.v - 1)) != NULL);
    }
    end_others();
    aspace_bed_close(&bed);
}
