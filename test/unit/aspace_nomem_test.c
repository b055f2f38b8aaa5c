/*
 * Memory runs out: with every number of frames that is too few each call answers NOMEM and nothing is changed, with the
 * one that is enough it works. What is in stock is given back before each attempt, so that every record has to be asked
 * for.
 */
#include "unit/aspace_bed.h"

#include "aspace/mapping.h"
#include "pmm/pmm_pressure.h"

static struct aspace_bed bed;

enum {
    FRAMES_MAX = 64, /* that any of these calls takes */
    INDEX_NODES = 3, /* of the reverse index, that it may take more or fewer: by where the frames lie that come */
};

struct attempt {
    const char *what;
    enum status (*prepare)(void); /* may be null */
    enum status (*act)(void);
    bool never; /* it needs no memory at all */
};

static vaddr_t at;
static struct object *object;

/* Records of a pool that are taken so that none is free. */
enum { RECORDS_MAX = 64 };
struct taken {
    struct pool *pool;
    void *records[RECORDS_MAX];
    unsigned count;
};
static struct taken taken_of[2];

/* All but so many that are still free. */
static void take_all(struct taken *t, struct pool *pool, size_t spare)
{
    *t = (struct taken){.pool = pool};
    while (pool->free > spare && t->count < RECORDS_MAX) {
        t->records[t->count++] = pool_take(pool);
    }
}

static void give_back(struct taken *t)
{
    while (t->count > 0) {
        EXPECT_OK(pool_put(t->pool, t->records[--t->count]));
    }
}

/* Nothing in stock, no mapping or so many, no object free. */
static void use_up_stock(size_t spare)
{
    take_all(&taken_of[0], &bed.system.mappings, spare);
    take_all(&taken_of[1], &bed.system.objects, 0);
    struct pool *pools[] = {&bed.system.mappings, &bed.system.objects, &bed.system.families, &bed.system.loans};
    for (unsigned i = 0; i < ARRAY_LEN(pools); i++) {
        (void)pool_trim(pools[i]);
    }
    (void)stock_trim(&bed.system.stock, 0);
    pmm_drain(bed.vmm->pmm);
}

static enum status do_map(struct aspace_request r)
{
    return aspace_map(&bed.a, &r, &at);
}

static enum status map_private(void) { return do_map(want(npages(1), ARW, 0)); }
static enum status map_there(void) { return do_map(want_at(AT_PRIVATE, npages(12), ARW, 0)); }
static enum status map_global(void) { return do_map(want(npages(12), ARW, ASPACE_GLOBAL)); }
static enum status map_resident(void) { return do_map(want_at(AT_PRIVATE, npages(5), ARW, ASPACE_POPULATE)); }
static enum status map_global_resident(void) { return do_map(want(npages(5), ARW, ASPACE_GLOBAL | ASPACE_POPULATE)); }
static enum status unmap_all(void) { return aspace_unmap(&bed.a, at, npages(12)); }
static enum status unmap_head(void) { return aspace_unmap(&bed.a, at, npages(3)); }
static enum status unmap_middle(void) { return aspace_unmap(&bed.a, vaddr_add_pages(at, 3), npages(3)); }
static enum status protect_middle(void) { return aspace_protect(&bed.a, vaddr_add_pages(at, 3), npages(3), AR); }
static enum status seal_middle(void) { return aspace_seal(&bed.a, vaddr_add_pages(at, 3), npages(3)); }
static enum status make_object(void) { return object_create_anonymous(&bed.system, npages(12), &object); }
static enum status fill_object(void) { return object_populate(object, 11, npages(1)); }
static enum status map_object(void) { return do_map(want_object(object, 2, npages(4), ARW, ASPACE_POPULATE)); }
static enum status release_object(void)
{
    const enum status s = object_release(object);
    object = s == STATUS_OK ? NULL : object;
    return s;
}
static enum status map_object_global(void)
{
    const enum status s = make_object();
    return s == STATUS_OK ? do_map(want_object(object, 2, npages(4), ARW, ASPACE_GLOBAL | ASPACE_POPULATE)) : s;
}
static enum status shrink_object(void) { return object_resize(object, npages(3)); }
static enum status map_object_privately(void)
{
    const enum status s = make_object();
    return s == STATUS_OK ? do_map(want_object(object, 0, npages(12), ARW, ASPACE_PRIVATE | ASPACE_POPULATE)) : s;
}
static enum status destroy_b(void) { return aspace_destroy(&bed.b); }
static enum status create_b(void) { return aspace_create(&bed.system, &bed.b, (struct aspace_limits){0}); }

static const struct attempt attempts[] = {
    {"map a page", NULL, map_private, false},
    {"map at an address", NULL, map_there, false},
    {"map global pages", NULL, map_global, false},
    {"map pages at once", NULL, map_resident, false},
    {"map global pages at once", NULL, map_global_resident, false},
    {"unmap all of a range", map_there, unmap_all, true},
    {"unmap the middle", map_there, unmap_middle, false},
    {"unmap the middle of a global range", map_global, unmap_middle, false},
    {"unmap all of a global range", map_global, unmap_all, true},
    {"protect the middle", map_there, protect_middle, false},
    {"seal the middle", map_there, seal_middle, false},
    {"make an object", NULL, make_object, false},
    {"fill a page", make_object, fill_object, false},
    {"map an object", make_object, map_object, false},
    {"release an object that is partly mapped", map_object_global, release_object, true},
    {"shrink an object", map_object_privately, shrink_object, true},
    {"destroy a space", NULL, destroy_b, true},
    {"create a space", destroy_b, create_b, false},
    {"unmap the head of a global range", map_global, unmap_head, true},
};

/* With `frames` to be had. => it worked */
static bool try_with(const struct attempt *a, uint64_t frames, size_t spare)
{
    object = NULL;
    if (!aspace_bed_open(&bed)) {
        return true;
    }
    EXPECT_OK(a->prepare == NULL ? STATUS_OK : a->prepare());
    use_up_stock(spare);
    const uint64_t before = aspace_bed_digest(&bed);
    const npages_t taken = vmm_bed_limit(&(struct vmm_bed){.vmm = bed.vmm}, frames);
    const enum status s = a->act();
    const bool same = aspace_bed_digest(&bed) == before;
    vmm_bed_unlimit(&(struct vmm_bed){.vmm = bed.vmm}, taken);
    give_back(&taken_of[0]);
    give_back(&taken_of[1]);
    if (!EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && !a->never && same))) {
        test_note("%s with %lu frames: %s", a->what, frames, status_name(s));
    }
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    if (object != NULL) {
        EXPECT_OK(object_release(object));
    }
    aspace_bed_close(&bed);
    return s == STATUS_OK;
}

TEST(aspace_nomem, each_call_takes_all_that_it_needs_or_nothing)
{
    for (unsigned i = 0; i < ARRAY_LEN(attempts); i++) {
        uint64_t frames = 0;
        while (frames < FRAMES_MAX && !try_with(&attempts[i], frames, 0)) {
            frames++;
        }
        EXPECT(frames < FRAMES_MAX);
        uint64_t spare = frames; /* and with one record to spare */
        while (spare < FRAMES_MAX && !try_with(&attempts[i], spare, 1)) {
            spare++;
        }
        EXPECT(spare <= frames + INDEX_NODES);
        EXPECT(attempts[i].never == (frames == 0));
        if (attempts[i].never != (frames == 0)) {
            test_note("%s: %lu frames", attempts[i].what, frames);
        }
    }
}

TEST(aspace_nomem, what_was_reserved_before_in_the_call_is_still_there)
{
    REQUIRE(aspace_bed_open(&bed));
    const struct aspace_needs three = {.stock = 3}, two = {.stock = 2};
    EXPECT_OK(aspaces_begin(&bed.system, "test"));
    EXPECT_OK(aspaces_reserve(&bed.system, &three));
    EXPECT_OK(aspaces_reserve(&bed.system, &two));
    EXPECT_EQ(bed.system.reserved, 5);
    EXPECT(bed.system.stock.count >= 5);
    (void)aspaces_reclaim(&bed.system, npages(FRAMES_MAX));
    EXPECT(bed.system.stock.count >= 5); /* the rest may go, in the middle of a call */
    aspaces_done(&bed.system);
    (void)aspaces_reclaim(&bed.system, npages(FRAMES_MAX));
    EXPECT_EQ(bed.system.stock.count, 0);
    aspace_bed_close(&bed);
}

/* Who is asked for memory gives back what the spaces have to spare, and may not change them. */
static unsigned asked;
static npages_t give_all(void *ctx, npages_t wanted)
{
    (void)ctx;
    asked++;
    EXPECT_EQ(aspace_unmap(&bed.a, at, npages(1)), STATUS_MISUSE);
    return aspaces_reclaim(&bed.system, wanted);
}

TEST(aspace_nomem, who_is_asked_for_memory_may_give_back_stock_in_the_middle_of_a_call)
{
    REQUIRE(aspace_bed_open(&bed));
    struct pmm_low low = {.reclaim = give_all};
    at = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    asked = 0;
    unsigned mapped = 0; /* once enough frames are there: a few times more */
    EXPECT_OK(pmm_low_add(bed.vmm->pmm, &low));
    for (uint64_t frames = 0; frames < FRAMES_MAX && mapped < 4; frames++) {
        const npages_t taken = vmm_bed_limit(&(struct vmm_bed){.vmm = bed.vmm}, frames);
        struct aspace_request r = want(npages(3), ARW, ASPACE_GLOBAL | ASPACE_POPULATE);
        vaddr_t va;
        const enum status s = aspace_map(&bed.b, &r, &va);
        vmm_bed_unlimit(&(struct vmm_bed){.vmm = bed.vmm}, taken);
        EXPECT(s == STATUS_NOMEM || s == STATUS_OK);
        if (s == STATUS_OK) {
            EXPECT_OK(aspace_unmap(&bed.b, va, npages(3)));
            mapped++;
        }
        EXPECT(aspace_bed_check(&bed));
    }
    EXPECT(asked > 0 && mapped == 4);
    test_expect_reports(asked);
    EXPECT_OK(pmm_low_remove(bed.vmm->pmm, &low));
    aspace_bed_close(&bed);
}
