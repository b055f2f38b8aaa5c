/* Each invariant broken on purpose: the validator says which, and is content again when it is put right. */
#include "unit/aspace_bed.h"

#include "aspace/mapping.h"

static struct aspace_bed bed;

/* The check names the invariant. */
static void expect_seen(const char *invariant)
{
    static char text[3000];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(aspaces_check(&bed.system, &b.sink), STATUS_CORRUPT);
    bool named = false;
    for (const char *c = text; *c != '\0'; c++) {
        named = named || strncmp(c, invariant, strlen(invariant)) == 0;
    }
    if (!EXPECT(named)) {
        test_note("wanted %s, got: %s", invariant, text);
    }
}

static void expect_content(void) { EXPECT_OK(aspaces_check(&bed.system, NULL)); }

/* Break a word, and put it back. */
#define EXPECT_SEEN_IN(place, broken, invariant)  \
    do {                                          \
        const typeof(place) was_ = (place);       \
        (place) = (broken);                       \
        expect_seen(invariant);                   \
        (place) = was_;                           \
        expect_content();                         \
    } while (0)

struct scene {
    struct mapping *low, *high, *shared, *other; /* two of a private object, neighbours but for rights; two global */
    struct object *object;
};

/* a: private ranges at AT_PRIVATE; global ones in a and b of one object, which nobody holds. */
static bool open(struct scene *s)
{
    if (!aspace_bed_open(&bed)) {
        return false;
    }
    const vaddr_t low = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, ASPACE_POPULATE | ASPACE_GUARD_BELOW));
    struct aspace_request r = want_at(AT_PRIVATE + 4 * PAGE_BYTES, npages(4), AR, ASPACE_POPULATE);
    r.allowed = ARW;
    const vaddr_t high = map_it(&bed.a, r);
    const vaddr_t shared = map_it(&bed.a, want(npages(6), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    s->low = mapping_at(&bed.a, low);
    s->high = mapping_at(&bed.a, high);
    s->shared = mapping_at(&bed.a, shared);
    s->object = s->shared->object;
    const vaddr_t other = map_it(&bed.b, want_object(s->object, 2, npages(2), AR, ASPACE_GLOBAL | ASPACE_POPULATE));
    s->other = mapping_at(&bed.b, other);
    expect_content();
    return true;
}

TEST(aspace_check, sees_ranges_that_are_not_what_the_arenas_say)
{
    struct scene s;
    REQUIRE(open(&s));
    EXPECT_SEEN_IN(s.low->pages, npages(5), "ASPACE-I1");              /* over the next one */
    EXPECT_SEEN_IN(s.high->base, vaddr(AT_PRIVATE + 5 * PAGE_BYTES), "ASPACE-I1");
    EXPECT_SEEN_IN(s.low->base, vaddr(AT_PRIVATE + 1), "ASPACE-I1");
    EXPECT_SEEN_IN(s.low->flags, (uint16_t)(s.low->flags & ~ASPACE_GUARD_BELOW), "ASPACE-I1");
    EXPECT_SEEN_IN(s.high->flags, s.high->flags | ASPACE_GUARD_ABOVE, "ASPACE-I1");
    EXPECT_SEEN_IN(s.object->global, vaddr_add_pages(s.object->global, 1), "ASPACE-I1");
    vaddr_t leaked;
    EXPECT_OK(arena_alloc(bed.a.arena, npages(1), ARENA_ALIGN_PAGE, "leak", &leaked));
    expect_seen("ASPACE-I1");
    EXPECT_OK(arena_free(bed.a.arena, leaked));
    expect_content();
    struct arena_request r = {.pages = npages(1), .align_log2 = ARENA_ALIGN_PAGE, .tag = "leak", .kind = 77};
    EXPECT_OK(arena_request(&bed.system.global, &r, &leaked)); /* nobody's */
    expect_seen("ASPACE-I1");
    EXPECT_OK(arena_free(&bed.system.global, leaked));
    r.kind = s.object->id; /* another's */
    EXPECT_OK(arena_request(&bed.system.global, &r, &leaked));
    expect_seen("ASPACE-I1");
    EXPECT_OK(arena_free(&bed.system.global, leaked));
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_an_address_that_nobody_maps)
{
    struct scene s;
    REQUIRE(open(&s));
    EXPECT_OK(object_hold(s.object));
    EXPECT_OK(aspace_unmap(&bed.a, s.object->global, npages(1)));
    expect_content();
    EXPECT_SEEN_IN(s.object->holders, 0, "ASPACE-I1");
    EXPECT_OK(object_release(s.object));
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_mappings_that_are_not_in_the_trees_that_they_belong_in)
{
    struct scene s;
    REQUIRE(open(&s));
    EXPECT_SEEN_IN(s.high->rights, s.low->rights, "ASPACE-I2"); /* these could be one */
    EXPECT_SEEN_IN(s.shared->reach, 7, "ASPACE-I2");
    EXPECT_SEEN_IN(s.object->mapping_count, 3, "ASPACE-I2");
    EXPECT_SEEN_IN(s.low->object, s.object, "ASPACE-I2");
    avl_remove(&s.object->mappings, &s.other->by_page);
    expect_seen("ASPACE-I2");
    avl_insert(&s.object->mappings, &s.shared->by_page, AVL_RIGHT, &s.other->by_page);
    avl_changed(&s.object->mappings, &s.other->by_page);
    expect_content();
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_leaves_that_the_mappings_do_not_allow)
{
    struct scene s;
    REQUIRE(open(&s));
    const vaddr_t nowhere = vaddr(AT_PRIVATE + 100 * PAGE_BYTES), page = vaddr_add_pages(s.high->base, 1);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a.tables, nowhere, npages(1), AR));
    expect_seen("ASPACE-I3");
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a.tables, nowhere, npages(1)));
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a.tables, page, npages(1), ARW));
    expect_seen("ASPACE-I3");
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a.tables, page, npages(1), AR));
    expect_content();
    /* A page of the object that shows another frame; and frames that are not owned. */
    const vaddr_t shared = s.other->base;
    pfn_t right, wrong;
    EXPECT_OK(object_frame(s.object, 2, &right));
    EXPECT_OK(object_frame(s.object, 3, &wrong));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b.tables, shared, npages(1)));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b.tables, shared, wrong, npages(1), AR, true));
    expect_seen("ASPACE-I3");
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b.tables, shared, npages(1)));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b.tables, shared, right, npages(1), AR, false));
    expect_seen("ASPACE-I3");
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b.tables, shared, npages(1))); /* missing is right */
    expect_content();
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_a_reference_more_and_a_reference_less)
{
    struct scene s;
    REQUIRE(open(&s));
    pfn_t frame;
    EXPECT_OK(object_frame(s.object, 2, &frame));
    EXPECT_OK(pmm_retain(bed.vmm->pmm, frame));
    expect_seen("ASPACE-I4");
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    expect_content();
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    expect_seen("ASPACE-I4");
    EXPECT_OK(pmm_retain(bed.vmm->pmm, frame));
    EXPECT_SEEN_IN(s.object->pages, npages(5), "ASPACE-I4"); /* a page behind the end */
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_what_is_counted_wrong_and_what_is_over_a_limit)
{
    struct scene s;
    REQUIRE(open(&s));
    EXPECT_SEEN_IN(bed.a.pages, npages(bed.a.pages.v + 1), "ASPACE-I5");
    EXPECT_SEEN_IN(bed.a.ranges, bed.a.ranges - 1, "ASPACE-I5");
    EXPECT_SEEN_IN(bed.a.limits.pages, npages(bed.a.pages.v - 1), "ASPACE-I5");
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_a_loan_of_what_the_borrower_does_not_map)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL | ASPACE_POPULATE);
    r.align_log2 = 21;
    const vaddr_t va = map_it(&bed.a, r);
    EXPECT_OK(aspace_share(&bed.a, va, r.pages, &bed.b, AR, vaddr(0)));
    struct vmm_loan *loan = vmm_loan_by_from(bed.a.tables.lent.root);
    REQUIRE(loan != NULL);
    expect_content();
    struct mapping *its = mapping_at(&bed.b, va);
    EXPECT_SEEN_IN(its->base, vaddr_add_pages(va, 1), "ASPACE-I1");
    EXPECT_SEEN_IN(its->flags, its->flags | ASPACE_PRIVATE, "ASPACE-I");
    EXPECT_SEEN_IN(loan->rights, ARW, "ASPACE-I6");
    EXPECT_SEEN_IN(loan->borrower, &bed.c.tables, "ASPACE-I6");
    EXPECT_SEEN_IN(bed.a.tables.lent, (struct avl_tree){0}, "ASPACE-I6");
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_a_frame_that_is_known_as_something_else)
{
    struct scene s;
    REQUIRE(open(&s));
    struct aspace_query private, shared;
    EXPECT_OK(aspace_query(&bed.a, s.low->base, &private));
    EXPECT_OK(aspace_query(&bed.a, s.shared->base, &shared));
    reverse_note_private(&bed.system, private.frame, &bed.a, s.high->base);
    expect_seen("ASPACE-I7");
    reverse_note_private(&bed.system, private.frame, &bed.a, s.low->base);
    expect_content();
    reverse_note_object(&bed.system, shared.frame, s.object, 1);
    expect_seen("ASPACE-I7");
    reverse_note_object(&bed.system, shared.frame, s.object, 0);
    expect_content();
    aspace_bed_close(&bed);
}

TEST(aspace_check, sees_records_pages_and_indexes_that_are_counted_wrong)
{
    struct scene s;
    REQUIRE(open(&s));
    EXPECT_SEEN_IN(bed.a.marks, 1, "ASPACE-I8");
    EXPECT_SEEN_IN(bed.a.next_giver, &bed.b, "ASPACE-I8");
    EXPECT_SEEN_IN(bed.system.stock.count, bed.system.stock.count + 1, "ASPACE-I8");
    EXPECT_SEEN_IN(bed.system.mappings.used, bed.system.mappings.used + 1, "ASPACE-I8");
    EXPECT_SEEN_IN(bed.system.used_for.count, bed.system.used_for.count + 1, "ASPACE-I8");
    EXPECT_SEEN_IN(s.object->frames.count, s.object->frames.count + 1, "ASPACE-I8");
    struct mapping *lost = pool_take(&bed.system.mappings);
    expect_seen("ASPACE-I8");
    EXPECT_OK(pool_put(&bed.system.mappings, lost));
    lost = pool_take(&bed.system.objects);
    expect_seen("ASPACE-I8");
    EXPECT_OK(pool_put(&bed.system.objects, lost));
    expect_content();
    aspace_bed_close(&bed);
}
