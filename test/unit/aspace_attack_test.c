/* Where two promises meet: memory that one call reserves and another takes, numbers at their end, who is called. */
#include "aspace/mapping.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

enum { RECORDS_MAX = 64 };

/* All records of a pool that are free. */
struct taken {
    struct pool *pool;
    void *records[RECORDS_MAX];
    unsigned count;
};

static void take_all(struct taken *t, struct pool *pool)
{
    *t = (struct taken){.pool = pool};
    while (pool->free > 0 && t->count < RECORDS_MAX) {
        t->records[t->count++] = pool_take(pool);
    }
}

static void give_back(struct taken *t)
{
    while (t->count > 0) {
        EXPECT_OK(pool_put(t->pool, t->records[--t->count]));
    }
}

/* ---- Reserved, and still there ---- */

TEST(aspace_attack, a_loan_takes_no_page_that_the_share_relies_on)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL);
    r.align_log2 = 21;
    const vaddr_t va = map_it(&bed.a, r);
    put_word(&bed, &bed.a, va, 7);
    struct taken mappings, loans;
    take_all(&mappings, &bed.system.mappings);
    take_all(&loans, &bed.system.loans);
    (void)stock_trim(&bed.system.stock, 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT(frame_shown(&bed.b, va) == frame_shown(&bed.a, va) && pages_shown(&bed.b) == 0); /* by a loan */
    EXPECT_EQ(get_word(&bed, &bed.b, va), 7);
    give_back(&mappings);
    give_back(&loans);
    aspace_bed_close(&bed);
}

enum { OBJECTS = 2, OBJECT_PAGES = 5, PART_PAGES = 3 };

/* Pages 1 to 3 of an object in `a`, at a private address; `b` has the first and the last at global ones. */
static void map_the_middle(vaddr_t va)
{
    struct object *o;
    const struct aspace_request whole = want(npages(OBJECT_PAGES), ARW, ASPACE_GLOBAL);
    const vaddr_t global = map_it(&bed.b, whole);
    struct aspace_query q;
    EXPECT_OK(aspace_query(&bed.b, global, &q));
    o = q.object;
    struct aspace_request part = want_at(va.v, npages(PART_PAGES), ARW, 0);
    part.object = o;
    part.first = 1;
    (void)map_it(&bed.a, part);
    EXPECT_OK(aspace_unmap(&bed.b, vaddr_add_pages(global, 1), npages(PART_PAGES)));
}

/* So many nodes of arenas stay free. */
static void leave_nodes(size_t nodes)
{
    while (bed.system.nodes.node_count > nodes) {
        (void)map_it(&bed.c, want(npages(1), ARW, 0));
    }
}

TEST(aspace_attack, addresses_of_objects_that_go_take_no_node_that_the_unmap_relies_on)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = vaddr(AT_PRIVATE), first = vaddr_add_pages(va, PART_PAGES),
                  last = vaddr_add_pages(first, OBJECTS * PART_PAGES);
    (void)map_it(&bed.a, want_at(va.v, npages(PART_PAGES), ARW, 0));
    (void)map_it(&bed.a, want_at(last.v, npages(PART_PAGES), ARW, 0));
    for (uint64_t i = 0; i < OBJECTS; i++) {
        map_the_middle(vaddr_add_pages(first, i * PART_PAGES));
    }
    EXPECT_OK(arena_reserve_for(bed.a.arena, 4));
    leave_nodes(4); /* for two cuts: of the first range and of the last one */
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    pmm_drain(bed.vmm->pmm);
    const npages_t taken = vmm_bed_limit(&(struct vmm_bed){.vmm = bed.vmm}, 0);
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 2), npages(2 + OBJECTS * PART_PAGES)));
    vmm_bed_unlimit(&(struct vmm_bed){.vmm = bed.vmm}, taken);
    EXPECT_EQ(bed.a.pages.v, 4);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_EQ(bed.a.arena->used.v, 4);
    aspace_bed_close(&bed);
}

/* ---- Numbers that come to their end ---- */

static bool count_user(void *ctx, struct aspace *space, vaddr_t va)
{
    (void)space;
    (void)va;
    ++*(unsigned *)ctx;
    return true;
}

/* As many as the index says of the frame behind `va`. */
static unsigned users_known(struct aspace *space, vaddr_t va)
{
    unsigned n = 0;
    EXPECT_OK(aspaces_users(&bed.system, pfn(frame_shown(space, va)), count_user, &n));
    return n;
}

TEST(aspace_attack, objects_are_known_by_their_frames_when_their_numbers_begin_anew)
{
    REQUIRE(aspace_bed_open(&bed));
    bed.system.next_object = (1U << 28) - 1;
    for (unsigned i = 0; i < 4; i++) {
        const vaddr_t va = map_it(&bed.a, want(npages(10), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
        EXPECT_OK(aspace_share(&bed.a, va, npages(10), &bed.b, AR, vaddr(0)));
        EXPECT_EQ(users_known(&bed.a, vaddr_add_pages(va, 9)), 2);
        EXPECT(aspace_bed_check(&bed));
    }
    aspace_bed_close(&bed);
}

TEST(aspace_attack, private_pages_are_known_when_the_numbers_of_families_begin_anew)
{
    static struct aspace more[3];
    REQUIRE(aspace_bed_open(&bed));
    bed.system.next_family = (1U << 28) - 1;
    for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
        EXPECT_OK(aspace_create(&bed.system, &more[i], (struct aspace_limits){0}));
        const vaddr_t va = map_it(&more[i], want(npages(2), ARW, ASPACE_POPULATE));
        EXPECT_EQ(users_known(&more[i], va), 1);
        EXPECT(aspace_bed_check(&bed));
    }
    for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
        EXPECT_OK(aspace_destroy(&more[i]));
    }
    aspace_bed_close(&bed);
}

TEST(aspace_attack, clean_pages_go_whatever_the_number_of_their_object)
{
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, 5);
    struct object *high, *low;
    bed.system.next_object = (1U << 28) - 1;
    EXPECT_OK(object_create_paged(&bed.system, npages(3), &pager, &high));
    EXPECT_OK(object_create_anonymous(&bed.system, npages(3), &low));
    EXPECT_OK(object_populate(high, 0, npages(3)));
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    EXPECT_EQ(object_info(high).resident.v, 0);
    EXPECT_OK(object_release(high));
    EXPECT_OK(object_release(low));
    aspace_bed_close(&bed);
}

/* ---- Who is called back ---- */

static enum status inner;

static bool unmap_it(void *ctx, struct aspace *space, vaddr_t va)
{
    (void)ctx;
    inner = aspace_unmap(space, va, npages(1));
    return true;
}

static bool unmap_them(void *ctx, struct aspace *space, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)ctx;
    (void)rights;
    inner = aspace_unmap(space, va, pages);
    return true;
}

TEST(aspace_attack, who_is_told_of_users_may_not_take_them_away_meanwhile)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_query q;
    const vaddr_t va = map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    const uint64_t before = aspace_bed_digest(&bed);
    test_expect_reports(4);
    EXPECT_OK(aspaces_users(&bed.system, q.frame, unmap_it, NULL));
    EXPECT_EQ(inner, STATUS_MISUSE);
    object_visit(q.object, 0, npages(2), unmap_them, NULL);
    EXPECT_EQ(inner, STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    aspace_bed_close(&bed);
}

/* As a low-memory callback would, where a visitor asks for memory. */
static bool reclaim(void *ctx, const struct vmm_mapping *m)
{
    (void)m;
    ++*(unsigned *)ctx;
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    return true;
}

TEST(aspace_attack, memory_that_is_asked_for_by_a_visitor_loses_no_page_of_stock)
{
    REQUIRE(aspace_bed_open(&bed));
    unsigned visits = 0;
    const vaddr_t va = map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
    EXPECT_OK(stock_ensure(&bed.system.stock, 3));
    vmm_visit(bed.vmm, &bed.a.tables, va, vaddr_add_pages(va, 2), reclaim, &visits);
    EXPECT(visits > 0);
    EXPECT(bed.system.stock.count >= 3);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_attack, a_system_that_is_no_more_has_nothing_to_give_back)
{
    static struct aspaces system;
    REQUIRE(aspace_bed_open(&bed));
    EXPECT_EQ(aspaces_reclaim(&system, npages(1)).v, 0);
    EXPECT_OK(aspaces_init(&system, bed.vmm));
    EXPECT_OK(aspaces_end(&system));
    EXPECT_EQ(aspaces_reclaim(&system, npages(1)).v, 0);
    aspace_bed_close(&bed);
}

/* Some of these mean something to the fault handler, when page tables answer so. */
TEST(aspace_attack, what_a_pager_says_is_the_answer_whatever_it_is)
{
    static const enum status answers[] = {STATUS_EXISTS, STATUS_SHARED, STATUS_ABSENT, STATUS_LIMIT, STATUS_NOT_YET};
    REQUIRE(aspace_bed_open(&bed));
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, 5);
    struct object *o;
    EXPECT_OK(object_create_paged(&bed.system, npages(4), &pager, &o));
    const vaddr_t va = map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_GLOBAL)),
                  own = map_it(&bed.a, want_object(o, 0, npages(4), ARW, ASPACE_PRIVATE));
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        p.answer = answers[i];
        EXPECT_EQ(touch(&bed.a, va, VMM_READ), answers[i]);
        EXPECT_EQ(touch(&bed.a, own, VMM_READ), answers[i]);
        EXPECT_EQ(touch(&bed.a, own, VMM_WRITE), answers[i]);
        EXPECT_EQ(frame_shown(&bed.a, va), UINT64_MAX);
    }
    p.answer = STATUS_OK;
    EXPECT_OK(touch(&bed.a, own, VMM_WRITE));
    p.answer = STATUS_EXISTS;
    EXPECT_OK(touch(&bed.a, own, VMM_WRITE)); /* it has its own by now */
    EXPECT_OK(object_release(o));
    aspace_bed_close(&bed);
}

/* ---- Objects that are nobody's to fill ---- */

TEST(aspace_attack, an_object_that_nobody_holds_gets_no_page_that_nobody_could_touch)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_query q;
    const vaddr_t va = map_it(&bed.a, want(npages(12), ARW, ASPACE_GLOBAL));
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    EXPECT_OK(aspace_unmap(&bed.a, vaddr_add_pages(va, 4), npages(8)));
    EXPECT_OK(object_populate(q.object, 2, npages(10)));
    EXPECT_EQ(object_info(q.object).resident.v, 2);
    test_expect_reports(1);
    EXPECT_EQ(object_populate(NULL, 0, npages(1)), STATUS_MISUSE);
    aspace_bed_close(&bed);
}
