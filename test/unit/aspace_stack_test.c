/* Stacks: ranges that grow down into their room, and no further. */
#include "arch/layout.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

enum { ROOM = 6, TOP_PAGES = 2 };

static struct aspace_request stack_request(void)
{
    struct aspace_request r = want_at(AT_PRIVATE, npages(TOP_PAGES), ARW, ASPACE_STACK);
    r.room = npages(ROOM);
    return r;
}

/* A stack of two pages at AT_PRIVATE with room for six more, in `a`. */
static vaddr_t open_bed(void)
{
    return aspace_bed_open(&bed) ? map_it(&bed.a, stack_request()) : vaddr(0);
}

static vaddr_t below(vaddr_t va, uint64_t pages) { return vaddr(va.v - pages_to_bytes(npages(pages))); }

/* Base, pages and room as one number each; all 0: no mapping there. */
static bool is_range(struct aspace *space, vaddr_t at, vaddr_t base, uint64_t pages, unsigned room)
{
    struct aspace_query q = {0};
    return aspace_query(space, at, &q) == STATUS_OK && q.base.v == base.v && q.pages.v == pages &&
           q.room_pages == room;
}

TEST(aspace_stack, a_touch_of_the_room_makes_the_range_begin_there)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT(is_range(&bed.a, va, va, TOP_PAGES, ROOM));
    EXPECT_EQ(bed.a.pages.v, TOP_PAGES);
    put_word(&bed, &bed.a, below(va, 1), 7);
    EXPECT(is_range(&bed.a, va, below(va, 1), 3, ROOM - 1) && bed.a.pages.v == 3 && bed.a.ranges == 1);
    EXPECT_EQ(get_word(&bed, &bed.a, below(va, 4)), 0); /* a read, and pages between */
    EXPECT(is_range(&bed.a, va, below(va, 4), 6, ROOM - 4) && bed.a.ranges == 1);
    EXPECT_EQ(pages_shown(&bed.a), 2); /* those touched */
    put_word(&bed, &bed.a, below(va, ROOM), 9);
    EXPECT(is_range(&bed.a, va, below(va, ROOM), TOP_PAGES + ROOM, 0));
    EXPECT_EQ(get_word(&bed, &bed.a, below(va, 1)), 7);
    aspace_bed_close(&bed);
}

TEST(aspace_stack, below_the_room_is_the_guard_and_below_that_nothing)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    struct aspace_fault f;
    for (unsigned round = 0; round < 2; round++) { /* as long as there is room, and when there is none */
        const uint64_t before = aspace_bed_digest(&bed);
        EXPECT_EQ(aspace_fault(&bed.a, vaddr(below(va, ROOM).v - 1), VMM_WRITE, &f), STATUS_ABSENT);
        EXPECT(f.in_guard && !f.inside && strcmp(f.why, "the stack is full: its guard page") == 0);
        EXPECT_EQ(aspace_fault(&bed.a, below(va, ROOM + 1), VMM_WRITE, &f), STATUS_ABSENT);
        EXPECT(f.in_guard);
        EXPECT_EQ(aspace_fault(&bed.a, vaddr(below(va, ROOM + 1).v - 1), VMM_WRITE, &f), STATUS_ABSENT);
        EXPECT(!f.in_guard && f.pages.v == (round == 0 ? TOP_PAGES : TOP_PAGES + ROOM));
        EXPECT_EQ(aspace_bed_digest(&bed), before);
        put_word(&bed, &bed.a, below(va, ROOM), 1);
    }
    aspace_bed_close(&bed);
}

TEST(aspace_stack, the_room_is_nobody_elses)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    struct aspace_request r = want_at(below(va, ROOM).v, npages(1), ARW, 0);
    vaddr_t at;
    for (uint64_t i = 0; i <= ROOM; i++) {
        r.va = below(va, i + 1);
        EXPECT_EQ(aspace_map(&bed.a, &r, &at), STATUS_EXISTS);
    }
    const vaddr_t shared = map_it(&bed.b, want(npages(1), ARW, ASPACE_GLOBAL));
    EXPECT_EQ(aspace_share(&bed.b, shared, npages(1), &bed.a, AR, below(va, 3)), STATUS_EXISTS);
    r.va = below(va, ROOM + 2);
    EXPECT_OK(aspace_map(&bed.a, &r, &at));
    EXPECT_EQ(aspace_unmap(&bed.a, below(va, 1), npages(2)), STATUS_ABSENT); /* no page of a mapping yet */
    aspace_bed_close(&bed);
}

TEST(aspace_stack, what_it_gains_is_counted_and_limited)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(TOP_PAGES + 2), .ranges = 1}));
    struct aspace_fault f;
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_fault(&bed.a, below(va, 3), VMM_WRITE, &f), STATUS_LIMIT);
    EXPECT(f.base.v == va.v && !f.in_guard && !f.inside);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    put_word(&bed, &bed.a, below(va, 2), 1);
    EXPECT_EQ(touch(&bed.a, below(va, 3), VMM_READ), STATUS_LIMIT);
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){0}));
    EXPECT_OK(touch(&bed.a, below(va, 3), VMM_READ));
    aspace_bed_close(&bed);
}

TEST(aspace_stack, it_grows_with_the_rights_and_the_seal_of_its_lowest_page)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    EXPECT_EQ(touch(&bed.a, below(va, 1), VMM_EXECUTE), STATUS_DENIED);
    EXPECT_EQ(touch(&bed.a, below(va, 1), VMM_WRITE | VMM_USER), STATUS_DENIED);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(1), AR));
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(touch(&bed.a, below(va, 1), VMM_WRITE), STATUS_DENIED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(touch(&bed.a, below(va, 1), VMM_READ));
    EXPECT(is_range(&bed.a, va, below(va, 1), 2, ROOM - 1));
    EXPECT_OK(aspace_seal(&bed.a, below(va, 1), npages(1)));
    EXPECT_OK(touch(&bed.a, below(va, 2), VMM_READ));
    EXPECT_EQ(aspace_unmap(&bed.a, below(va, 2), npages(1)), STATUS_DENIED);
    aspace_bed_close(&bed);
}

TEST(aspace_stack, who_unmaps_its_lowest_page_ends_the_growth)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    put_word(&bed, &bed.a, below(va, 1), 1);
    const uint64_t used = bed.a.arena->used.v;
    EXPECT_OK(aspace_unmap(&bed.a, below(va, 1), npages(1)));
    EXPECT_EQ(used - bed.a.arena->used.v, 1 + (ROOM - 1) + 1); /* page, room, guard */
    EXPECT_EQ(touch(&bed.a, below(va, 1), VMM_WRITE), STATUS_ABSENT);
    EXPECT(is_range(&bed.a, va, va, TOP_PAGES, 0));
    aspace_bed_close(&bed);
}

TEST(aspace_stack, a_part_of_it_that_is_shared_does_not_end_the_growth)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    put_word(&bed, &bed.a, va, 5);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, AR, va));
    EXPECT(is_range(&bed.a, va, va, 1, ROOM) && is_range(&bed.b, va, va, 1, 0));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.ranges = 2}));
    EXPECT_EQ(touch(&bed.a, below(va, 1), VMM_WRITE), STATUS_LIMIT); /* it would be a third */
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){0}));
    put_word(&bed, &bed.a, below(va, 2), 6);
    EXPECT(is_range(&bed.a, below(va, 1), below(va, 2), 2, ROOM - 2) && is_range(&bed.a, va, va, 1, 0));
    EXPECT_EQ(bed.a.ranges, 3);
    EXPECT_EQ(get_word(&bed, &bed.b, va), 5);
    EXPECT_EQ(touch(&bed.b, below(va, 1), VMM_READ), STATUS_ABSENT);
    aspace_bed_close(&bed);
}

TEST(aspace_stack, a_clone_has_room_of_its_own)
{
    const vaddr_t va = open_bed();
    REQUIRE(va.v != 0);
    static struct aspace child;
    put_word(&bed, &bed.a, below(va, 1), 5);
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    EXPECT(is_range(&child, va, below(va, 1), 3, ROOM - 1));
    put_word(&bed, &child, below(va, 2), 6);
    put_word(&bed, &bed.a, below(va, 2), 7);
    EXPECT_EQ(get_word(&bed, &child, below(va, 2)), 6);
    EXPECT_EQ(get_word(&bed, &child, below(va, 1)), 5);
    EXPECT_OK(aspace_destroy(&child));
    aspace_bed_close(&bed);
}

static enum status write_low(void) { return touch(&bed.a, below(vaddr(AT_PRIVATE), ROOM), VMM_WRITE); }

TEST(aspace_stack, without_memory_it_has_not_grown)
{
    REQUIRE(open_bed().v != 0);
    EXPECT(with_every_number_of_frames(&bed, write_low) > 0);
    EXPECT_EQ(bed.a.pages.v, TOP_PAGES + ROOM);
    aspace_bed_close(&bed);
}

TEST(aspace_stack, room_that_makes_no_sense_is_refused)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    REQUIRE(EXPECT_OK(object_create_anonymous(&bed.system, npages(4), &object)));
    const uint64_t before = aspace_bed_digest(&bed);
    vaddr_t va;
    struct aspace_request r = stack_request();
    r.flags = ASPACE_AT | ASPACE_GUARD_BELOW;
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID); /* no stack */
    r = want(npages(2), ARW, ASPACE_STACK | ASPACE_GLOBAL);
    r.room = npages(1);
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    r = want_object(object, 0, npages(2), ARW, ASPACE_STACK);
    r.room = npages(1);
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    r = stack_request();
    r.room = npages(1ULL << 32);
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    r.room = npages(UINT64_MAX);
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    r.room = npages(ROOM);
    r.va = vaddr_add_pages(vaddr(LAYOUT_USER_FIRST), ROOM); /* the guard would lie too low */
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_RANGE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    r.va = vaddr_add_pages(vaddr(LAYOUT_USER_FIRST), ROOM + 1);
    EXPECT_OK(aspace_map(&bed.a, &r, &va));
    EXPECT_OK(touch(&bed.a, vaddr_add_pages(vaddr(LAYOUT_USER_FIRST), 1), VMM_WRITE));
    r = want(npages(1), ARW, ASPACE_STACK); /* anywhere */
    r.room = npages(ROOM);
    va = map_it(&bed.a, r);
    EXPECT_OK(touch(&bed.a, below(va, ROOM), VMM_WRITE));
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}
