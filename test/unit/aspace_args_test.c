/* Each call with each wrong argument: the status that says what is wrong, and nothing changed. */
#include "unit/aspace_bed.h"

#include "arch/layout.h"

static struct aspace_bed bed;

#define GUARD_BYTES ((uint64_t)PAGE_BYTES)
#define PRIVATE_END LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)

/* ---- Ranges: unmap, protect, seal ---- */

struct bad_range {
    uint64_t va, pages;
    enum status expected;
};

static const struct bad_range bad_ranges[] = {
    {AT_PRIVATE + 1, 1, STATUS_INVALID},
    {AT_PRIVATE + ENTRY_BYTES, 1, STATUS_INVALID},
    {AT_PRIVATE, 0, STATUS_INVALID},
    {AT_PRIVATE, UINT64_MAX, STATUS_INVALID},
    {AT_PRIVATE, UINT64_MAX / PAGE_BYTES, STATUS_INVALID},
    {UINT64_MAX - PAGE_BYTES + 1, 2, STATUS_INVALID}, /* wraps */
    {UINT64_MAX - PAGE_BYTES + 1, 1, STATUS_RANGE},
    {0, 1, STATUS_RANGE},                             /* the first 64 KiB */
    {LAYOUT_USER_FIRST - PAGE_BYTES, 2, STATUS_RANGE},
    {LAYOUT_USER_END, 1, STATUS_RANGE},
    {LAYOUT_USER_END - PAGE_BYTES, 2, STATUS_RANGE},
    {PRIVATE_END - PAGE_BYTES, 2, STATUS_RANGE},      /* half private, half global */
    {0x0000800000000000, 1, STATUS_RANGE},            /* in the hole */
    {0xFFFF7FFFFFFFF000, 1, STATUS_RANGE},
    {LAYOUT_ARENA_BASE, 1, STATUS_RANGE},
    {LAYOUT_PMM_STATES, 1, STATUS_RANGE},
    {LAYOUT_TEMP_BASE, 1, STATUS_RANGE},
    {LAYOUT_IMAGE_BASE, 1, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN), 1, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 1, STATUS_RANGE},
    {AT_PRIVATE, 9, STATUS_ABSENT},                   /* one more than there are */
    {AT_PRIVATE - PAGE_BYTES, 2, STATUS_ABSENT},
    {LAYOUT_USER_FIRST, 1, STATUS_ABSENT},
    {PRIVATE_END - PAGE_BYTES, 1, STATUS_ABSENT},
    {LAYOUT_USER_END - PAGE_BYTES, 1, STATUS_ABSENT},
};

static bool open(void)
{
    return aspace_bed_open(&bed) && map_it(&bed.a, want_at(AT_PRIVATE, npages(8), ARW, ASPACE_POPULATE)).v != 0 &&
           map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL)).v != 0;
}

TEST(aspace_args, bad_ranges_are_refused)
{
    REQUIRE(open());
    const uint64_t before = aspace_bed_digest(&bed);
    for (unsigned i = 0; i < ARRAY_LEN(bad_ranges); i++) {
        const struct bad_range *r = &bad_ranges[i];
        EXPECT_EQ(aspace_unmap(&bed.a, vaddr(r->va), npages(r->pages)), r->expected);
        EXPECT_EQ(aspace_protect(&bed.a, vaddr(r->va), npages(r->pages), AR), r->expected);
        EXPECT_EQ(aspace_seal(&bed.a, vaddr(r->va), npages(r->pages)), r->expected);
    }
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

TEST(aspace_args, bad_rights_are_refused)
{
    REQUIRE(open());
    static const unsigned bad[] = {VMM_USER, 1 << 4, ARW | 1U << 31, ARW | VMM_LARGE, ARW | VMM_COPY,
                                   ARW | VMM_EXECUTE, ARW | VMM_WRITE_EXECUTE};
    const uint64_t before = aspace_bed_digest(&bed);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct aspace_request r = want(npages(1), bad[i], 0), allowed = want(npages(1), AR, 0);
        r.allowed = AR | VMM_WRITE | VMM_EXECUTE | VMM_USER;
        allowed.allowed = bad[i];
        vaddr_t va;
        EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
        EXPECT_EQ(aspace_map(&bed.a, &allowed, &va),
                  (bad[i] & ~(unsigned)(ARW | VMM_EXECUTE)) != 0 ? STATUS_INVALID : STATUS_OK);
        EXPECT(aspace_protect(&bed.a, vaddr(AT_PRIVATE), npages(1), bad[i]) != STATUS_OK);
    }
    EXPECT(aspace_bed_digest(&bed) != before); /* write and execute may both be allowed */
    struct aspace_request narrow = want(npages(1), ARW, 0);
    vaddr_t va;
    narrow.allowed = AR;
    EXPECT_EQ(aspace_map(&bed.a, &narrow, &va), STATUS_INVALID);
    aspace_bed_close(&bed);
}

/* ---- Requests ---- */

struct bad_request {
    uint64_t va, pages, first;
    unsigned flags, align_log2;
    enum { NO_OBJECT, HAS_OBJECT } object; /* of 4 pages */
    enum status expected;
};

static const struct bad_request bad_requests[] = {
    {0, 0, 0, 0, 0, NO_OBJECT, STATUS_INVALID},
    {0, ASPACE_PAGES_MAX + 1, 0, 0, 0, NO_OBJECT, STATUS_INVALID},
    {0, UINT64_MAX, 0, 0, 0, NO_OBJECT, STATUS_INVALID},
    {0, ASPACE_PAGES_MAX, 0, ASPACE_GLOBAL, 0, NO_OBJECT, STATUS_NOMEM}, /* no such stretch of addresses */
    {0, ASPACE_PAGES_MAX, 0, 0, 0, NO_OBJECT, STATUS_NOMEM},
    {0, 1, 0, 1 << 10, 0, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, 1U << 31, 0, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, 0, 11, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, 0, 40, NO_OBJECT, STATUS_INVALID},
    {0, 1, 1, 0, 0, NO_OBJECT, STATUS_INVALID}, /* a page of nothing */
    {0, 1, 0, ASPACE_PRIVATE, 0, NO_OBJECT, STATUS_INVALID},
    {AT_PRIVATE + 64 * MIB, 1, 0, ASPACE_AT | ASPACE_GLOBAL, 0, NO_OBJECT, STATUS_INVALID},
    {AT_PRIVATE + 64 * MIB, 1, 0, ASPACE_AT | ASPACE_BEST_FIT, 0, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, ASPACE_GLOBAL | ASPACE_WRITE_EXECUTE, 0, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, ASPACE_GLOBAL | ASPACE_PRIVATE, 0, HAS_OBJECT, STATUS_INVALID},
    {AT_PRIVATE + 1, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_INVALID},
    {AT_PRIVATE + 64 * MIB + PAGE_BYTES, 1, 0, ASPACE_AT, 21, NO_OBJECT, STATUS_INVALID},
    {UINT64_MAX - PAGE_BYTES + 1, 2, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_INVALID},
    {0, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_USER_FIRST - PAGE_BYTES, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_USER_FIRST, 1, 0, ASPACE_AT | ASPACE_GUARD_BELOW, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_USER_FIRST, 1, 0, ASPACE_AT | ASPACE_STACK, 0, NO_OBJECT, STATUS_RANGE},
    {PRIVATE_END - PAGE_BYTES, 1, 0, ASPACE_AT | ASPACE_GUARD_ABOVE, 0, NO_OBJECT, STATUS_RANGE},
    {PRIVATE_END - PAGE_BYTES, 2, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {PRIVATE_END, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_USER_END, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_ARENA_BASE, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_RANGE},
    {AT_PRIVATE + 7 * PAGE_BYTES, 1, 0, ASPACE_AT, 0, NO_OBJECT, STATUS_EXISTS},
    {AT_PRIVATE - PAGE_BYTES, 10, 0, ASPACE_AT | ASPACE_POPULATE, 0, NO_OBJECT, STATUS_EXISTS},
    {AT_PRIVATE + 8 * PAGE_BYTES, 1, 0, ASPACE_AT | ASPACE_GUARD_BELOW, 0, NO_OBJECT, STATUS_EXISTS},
    {0, 5, 0, 0, 0, HAS_OBJECT, STATUS_RANGE}, /* behind the object's end */
    {0, 1, 4, ASPACE_GLOBAL, 0, HAS_OBJECT, STATUS_RANGE},
    {0, 2, UINT64_MAX, 0, 0, HAS_OBJECT, STATUS_INVALID},
    {0, 1, UINT64_MAX - 1, 0, 0, HAS_OBJECT, STATUS_RANGE},
};

TEST(aspace_args, bad_requests_are_refused)
{
    REQUIRE(open());
    struct object *o;
    EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &o));
    const uint64_t before = aspace_bed_digest(&bed);
    for (unsigned i = 0; i < ARRAY_LEN(bad_requests); i++) {
        const struct bad_request *b = &bad_requests[i];
        struct aspace_request r = want(npages(b->pages), AR, b->flags);
        vaddr_t va = vaddr(7);
        r.va = vaddr(b->va);
        r.first = b->first;
        r.align_log2 = b->align_log2;
        r.object = b->object == HAS_OBJECT ? o : NULL;
        if (!EXPECT_EQ(aspace_map(&bed.a, &r, &va), b->expected) || !EXPECT_EQ(va.v, 7)) {
            test_note("request %u", i);
        }
    }
    struct aspace_request r = want(npages(1), AR, 0);
    vaddr_t va;
    r.tag = NULL;
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    EXPECT_EQ(aspace_map(&bed.a, NULL, &va), STATUS_INVALID);
    r.tag = "test";
    EXPECT_EQ(aspace_map(&bed.a, &r, NULL), STATUS_INVALID);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

TEST(aspace_args, a_placed_object_is_mapped_where_it_is_or_not_at_all)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *o;
    EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &o));
    const vaddr_t at = map_it(&bed.a, want_object(o, 0, npages(2), ARW, ASPACE_GLOBAL));
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace_request r = want_object(o, 1, npages(1), AR, ASPACE_GLOBAL);
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_EXISTS);
    r = want_object(o, 0, npages(1), AR, ASPACE_GLOBAL | ASPACE_GUARD_BELOW); /* it was placed without */
    EXPECT_EQ(aspace_map(&bed.b, &r, &va), STATUS_INVALID);
    r = want_object(o, 1, npages(1), AR, ASPACE_GLOBAL);
    r.align_log2 = ARENA_ALIGN_MAX;
    EXPECT_EQ(aspace_map(&bed.b, &r, &va), STATUS_INVALID);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_EQ(map_it(&bed.a, want_object(o, 2, npages(2), ARW, ASPACE_GLOBAL)).v, vaddr_add_pages(at, 2).v);
    EXPECT_EQ(bed.a.ranges, 1);
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

/* ---- Spaces and objects that are none ---- */

TEST(aspace_args, what_is_no_space_is_reported)
{
    REQUIRE(open());
    static struct aspace gone;
    EXPECT_OK(aspace_create(&bed.system, &gone, (struct aspace_limits){0}));
    EXPECT_OK(aspace_destroy(&gone));
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace *const none[] = {NULL, &gone};
    struct aspace_request r = want(npages(1), AR, 0);
    struct aspace_query q;
    vaddr_t va = vaddr(AT_PRIVATE);
    npages_t pages;
    test_expect_reports(2 * 7 + 6);
    for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
        EXPECT_EQ(aspace_map(none[i], &r, &va), STATUS_MISUSE);
        EXPECT_EQ(aspace_unmap(none[i], va, npages(1)), STATUS_MISUSE);
        EXPECT_EQ(aspace_protect(none[i], va, npages(1), AR), STATUS_MISUSE);
        EXPECT_EQ(aspace_seal(none[i], va, npages(1)), STATUS_MISUSE);
        EXPECT_EQ(aspace_set_limits(none[i], (struct aspace_limits){0}), STATUS_MISUSE);
        EXPECT_EQ(aspace_query(none[i], va, &q), STATUS_MISUSE);
        EXPECT_EQ(aspace_destroy(none[i]), STATUS_MISUSE);
        EXPECT(!aspace_find(none[i], va, &va, &pages));
    }
    EXPECT_EQ(aspace_create(&bed.system, NULL, (struct aspace_limits){0}), STATUS_MISUSE);
    EXPECT_EQ(aspace_create(NULL, &gone, (struct aspace_limits){0}), STATUS_MISUSE);
    EXPECT_EQ(aspace_create(&bed.system, &bed.a, (struct aspace_limits){0}), STATUS_MISUSE); /* it lives */
    aspace_bed_switch(&bed, &bed.a);
    EXPECT_EQ(aspace_destroy(&bed.a), STATUS_MISUSE); /* current */
    EXPECT_OK(space_switch(bed.vmm, bed.home));
    EXPECT_EQ(aspaces_end(&bed.system), STATUS_MISUSE);
    EXPECT_EQ(aspaces_end(NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

TEST(aspace_args, addresses_that_are_no_users_are_not_asked_about)
{
    REQUIRE(open());
    static const uint64_t bad[] = {0, LAYOUT_USER_FIRST - 1, LAYOUT_USER_END, 0x0000800000000000, LAYOUT_ARENA_BASE,
                                   LAYOUT_IMAGE_BASE, LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), UINT64_MAX};
    struct aspace_query q;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(aspace_query(&bed.a, vaddr(bad[i]), &q), STATUS_RANGE);
    }
    EXPECT_EQ(aspace_query(&bed.a, vaddr(LAYOUT_USER_FIRST), &q), STATUS_ABSENT);
    EXPECT_EQ(aspace_query(&bed.a, vaddr(LAYOUT_USER_END - 1), &q), STATUS_ABSENT);
    EXPECT_EQ(aspace_query(&bed.b, vaddr(AT_PRIVATE), &q), STATUS_ABSENT);
    aspace_bed_close(&bed);
}

TEST(aspace_args, objects_that_cannot_be_are_refused)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    struct pager pager = test_pager(&p, bed.vmm, 0), empty = {0};
    struct object *o = NULL;
    const uint64_t end = bed.vmm->frames_end.v, before = aspace_bed_digest(&bed);
    struct aspaces *system = &bed.system;
    EXPECT_EQ(object_create_anonymous(system, npages(0), &o), STATUS_INVALID);
    EXPECT_EQ(object_create_anonymous(system, npages(ASPACE_PAGES_MAX + 1), &o), STATUS_INVALID);
    EXPECT_EQ(object_create_anonymous(system, npages(1), NULL), STATUS_INVALID);
    EXPECT_EQ(object_create_paged(system, npages(0), &pager, &o), STATUS_INVALID);
    EXPECT_EQ(object_create_paged(system, npages(1), &empty, &o), STATUS_INVALID);
    EXPECT_EQ(object_create_paged(system, npages(1), NULL, &o), STATUS_INVALID);
    EXPECT_EQ(object_create_physical(system, pfn(end - 1), npages(0), 0, &o), STATUS_INVALID);
    EXPECT_EQ(object_create_physical(system, pfn(end - 1), npages(1), VMM_LARGE, &o), STATUS_INVALID);
    EXPECT_EQ(object_create_physical(system, pfn(end - 1), npages(1), VMM_UNCACHED | VMM_WRITE_COMBINING, &o),
              STATUS_INVALID);
    EXPECT_EQ(object_create_physical(system, pfn(end - 1), npages(2), 0, &o), STATUS_RANGE);
    EXPECT_EQ(object_create_physical(system, pfn(end), npages(1), 0, &o), STATUS_RANGE);
    EXPECT_EQ(object_create_physical(system, pfn(UINT64_MAX), npages(2), 0, &o), STATUS_RANGE);
    test_expect_reports(6);
    EXPECT_EQ(object_create_physical(system, bed.system.zero, npages(1), 0, &o), STATUS_MISUSE);
    EXPECT_EQ(object_create_physical(system, pfn(0), npages(MIB / PAGE_BYTES), 0, &o), STATUS_MISUSE);
    EXPECT_EQ(object_create_anonymous(NULL, npages(1), &o), STATUS_MISUSE);
    EXPECT_EQ(object_hold(NULL), STATUS_MISUSE);
    EXPECT_EQ(object_release(NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    const vaddr_t va = map_it(&bed.a, want(npages(1), AR, ASPACE_GLOBAL));
    struct aspace_query q;
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    EXPECT_EQ(object_release(q.object), STATUS_MISUSE); /* mapped, and held by nobody */
    EXPECT_EQ(object_populate(q.object, 0, npages(2)), STATUS_RANGE);
    EXPECT_EQ(object_populate(q.object, 0, npages(0)), STATUS_INVALID);
    EXPECT_EQ(object_populate(q.object, UINT64_MAX, npages(2)), STATUS_INVALID);
    aspace_bed_close(&bed);
}

/* ---- Calls inside calls ---- */

static enum status inner[8];

static bool try_all(void *ctx, const struct aspace_query *m)
{
    struct aspace *space = ctx;
    struct aspace_request r = want(npages(1), AR, 0);
    vaddr_t va;
    static struct aspace other;
    struct aspace_query q;
    inner[0] = aspace_map(space, &r, &va);
    inner[1] = aspace_unmap(space, m->base, m->pages);
    inner[2] = aspace_protect(space, m->base, m->pages, AR);
    inner[3] = aspace_seal(space, m->base, m->pages);
    inner[4] = aspace_create(space->system, &other, (struct aspace_limits){0});
    inner[5] = aspace_destroy(space);
    EXPECT_OK(aspace_query(space, m->base, &q)); /* questions are fine */
    return false;
}

TEST(aspace_args, a_visitor_may_ask_but_not_change)
{
    REQUIRE(open());
    const uint64_t before = aspace_bed_digest(&bed);
    test_expect_reports(6);
    aspace_visit(&bed.a, try_all, &bed.a);
    for (unsigned i = 0; i < 6; i++) {
        EXPECT_EQ(inner[i], STATUS_MISUSE);
    }
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}
