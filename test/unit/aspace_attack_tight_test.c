/*
 * Each call with no record, node or page to spare but those that it reserves: what one step of a call takes of what
 * another relies on is missing then, at once. Frames there are enough; so each call must be OK.
 */
#include "aspace/mapping.h"
#include "unit/aspace_touch.h"
#include "vmm/arena_node.h"

static struct aspace_bed bed;
static struct aspace child;
static vaddr_t at, beside;
static struct object *object;

enum { PAGES = 12, POOLS = 4, RECORDS_MAX = 256, NODES_MAX = 256, SPARE_MAX = 2, NODES_SPARE_MAX = 4 };

/* ---- Nothing to spare ---- */

static struct {
    struct pool *pool;
    void *record[RECORDS_MAX];
    unsigned count;
} taken[POOLS];
static struct arena_node *nodes[NODES_MAX];
static struct arena_index *indexes[NODES_MAX];
static unsigned node_count, index_count;

/* All records but `spare` of each kind, all nodes but these; and no page in stock. */
static void tighten(size_t spare, size_t spare_nodes)
{
    struct pool *const pools[POOLS] = {&bed.system.mappings, &bed.system.objects, &bed.system.loans,
                                       &bed.system.families};
    struct arena_reserve *r = &bed.system.nodes;
    for (unsigned i = 0; i < POOLS; i++) {
        taken[i].pool = pools[i];
        for (taken[i].count = 0; pools[i]->free > spare && taken[i].count < RECORDS_MAX;) {
            taken[i].record[taken[i].count++] = pool_take(pools[i]);
        }
        (void)pool_trim(pools[i]);
    }
    for (node_count = 0; r->node_count > spare_nodes && node_count < NODES_MAX;) {
        nodes[node_count++] = arena_take_node(r);
    }
    for (index_count = 0; r->index_count > spare_nodes && index_count < NODES_MAX;) {
        indexes[index_count++] = arena_take_index(r);
    }
    (void)stock_trim(&bed.system.stock, 0);
}

static void loosen(void)
{
    for (unsigned i = 0; i < POOLS; i++) {
        while (taken[i].count > 0) {
            EXPECT_OK(pool_put(taken[i].pool, taken[i].record[--taken[i].count]));
        }
    }
    while (node_count > 0) {
        arena_spare_node(&bed.system.nodes, nodes[--node_count]);
    }
    while (index_count > 0) {
        arena_spare_index(&bed.system.nodes, indexes[--index_count]);
    }
}

/* ---- What there is before ---- */

static void private_pages(void)
{
    at = map_it(&bed.a, want_at(AT_PRIVATE, npages(PAGES), ARW, ASPACE_POPULATE));
}

static void global_pages(void) { at = map_it(&bed.a, want(npages(PAGES), ARW, ASPACE_GLOBAL | ASPACE_POPULATE)); }

/* Given from a to b, and from there on. */
static void given_pages(void)
{
    global_pages();
    EXPECT_OK(aspace_share(&bed.a, at, npages(PAGES), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, at, npages(PAGES), &bed.c, ARW, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, at, npages(PAGES), &bed.c, AR, vaddr(AT_PRIVATE)));
}

static void large_part(void)
{
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL);
    r.align_log2 = 21;
    at = map_it(&bed.a, r);
    put_word(&bed, &bed.a, at, 1);
}

static void lent_part(void)
{
    large_part();
    EXPECT_OK(aspace_share(&bed.a, at, npages(PAGES_PER_2M), &bed.b, ARW, vaddr(0)));
    EXPECT(frame_shown(&bed.b, at) == frame_shown(&bed.a, at) && pages_shown(&bed.b) == 0); /* by a loan */
}

/* Two private ranges side by side, and a clone. */
static void cloned_pages(void)
{
    private_pages();
    beside = map_it(&bed.a, want_at(vaddr_add_pages(at, PAGES).v, npages(PAGES), AR, ASPACE_POPULATE));
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
}

static void empty_object(void) { EXPECT_OK(object_create_anonymous(&bed.system, npages(PAGES_PER_2M), &object)); }

/* ---- Calls ---- */

static vaddr_t middle(void) { return vaddr_add_pages(at, 5); }

static enum status map_private(void)
{
    const struct aspace_request r = want(npages(PAGES), ARW, ASPACE_POPULATE);
    return aspace_map(&bed.a, &r, &at);
}
static enum status map_global(void)
{
    const struct aspace_request r = want(npages(PAGES), ARW, ASPACE_GLOBAL | ASPACE_POPULATE | ASPACE_GUARD_BELOW);
    return aspace_map(&bed.a, &r, &at);
}
static enum status unmap_middle(void) { return aspace_unmap(&bed.a, middle(), npages(2)); }
static enum status unmap_given(void) { return aspace_unmap(&bed.b, middle(), npages(2)); }
static enum status protect_middle(void) { return aspace_protect(&bed.a, middle(), npages(2), AR); }
static enum status seal_middle(void) { return aspace_seal(&bed.a, middle(), npages(2)); }
static enum status share_part(void)
{
    return aspace_share(&bed.a, at, npages(PAGES_PER_2M), &bed.b, ARW, vaddr(0));
}
static enum status share_borrowed(void)
{
    return aspace_share(&bed.b, at, npages(PAGES_PER_2M), &bed.c, ARW, vaddr(AT_PRIVATE & ~(GIB - 1)));
}
static enum status share_private(void)
{
    return aspace_share(&bed.a, middle(), npages(PAGES), &bed.b, AR, vaddr(AT_PRIVATE));
}
static enum status transfer_middle(void) { return aspace_transfer(&bed.a, middle(), npages(2), &bed.b, AR); }
static enum status transfer_given(void)
{
    EXPECT_OK(aspace_unmap(&bed.c, middle(), npages(2))); /* what is there would be in the way */
    return aspace_transfer(&bed.b, middle(), npages(2), &bed.c, AR);
}
static enum status withdraw_middle(void) { return aspace_withdraw(&bed.a, middle(), npages(2), &bed.b); }
static enum status clone_it(void) { return aspace_clone(&bed.a, &child, NULL, NULL); }
static enum status destroy_given(void) { return aspace_destroy(&bed.b); }
static enum status write_cloned(void) { return touch(&child, middle(), VMM_WRITE); }
static enum status populate(void) { return object_populate(object, PAGES_PER_2M - 1, npages(1)); }

static const struct attempt {
    const char *what;
    void (*prepare)(void); /* null: nothing */
    enum status (*act)(void);
} attempts[] = {
    {"map", NULL, map_private},
    {"map global pages", NULL, map_global},
    {"unmap the middle", private_pages, unmap_middle},
    {"unmap the middle of global pages", global_pages, unmap_middle},
    {"unmap what was given on", given_pages, unmap_given},
    {"unmap in a cloned range", cloned_pages, unmap_middle},
    {"protect the middle", private_pages, protect_middle},
    {"protect in a part that is lent", lent_part, protect_middle},
    {"seal the middle", global_pages, seal_middle},
    {"share a part", large_part, share_part},
    {"share what is borrowed", lent_part, share_borrowed},
    {"share of two private ranges", cloned_pages, share_private},
    {"transfer the middle", global_pages, transfer_middle},
    {"transfer what was given on", given_pages, transfer_given},
    {"withdraw the middle", given_pages, withdraw_middle},
    {"withdraw of a part that is lent", lent_part, withdraw_middle},
    {"clone", private_pages, clone_it},
    {"destroy who gave on", given_pages, destroy_given},
    {"write to a cloned page", cloned_pages, write_cloned},
    {"a page of an object", empty_object, populate},
};

static bool try_it(const struct attempt *a, size_t spare, size_t spare_nodes)
{
    object = NULL;
    child.system = NULL;
    if (!aspace_bed_open(&bed)) {
        return false;
    }
    if (a->prepare != NULL) {
        a->prepare();
    }
    tighten(spare, spare_nodes);
    const enum status s = a->act();
    loosen();
    bool ok = EXPECT_EQ(s, STATUS_OK);
    ok = EXPECT(aspace_bed_check(&bed)) && ok;
    if (!ok) {
        test_note("%s, %lu records and %lu nodes to spare", a->what, spare, spare_nodes);
    }
    if (child.system != NULL) {
        EXPECT_OK(aspace_destroy(&child));
    }
    if (object != NULL) {
        EXPECT_OK(object_release(object));
    }
    aspace_bed_close(&bed);
    return ok;
}

TEST_HOST(aspace_attack, no_step_of_a_call_takes_what_another_step_has_reserved)
{
    bool ok = true;
    for (unsigned i = 0; i < ARRAY_LEN(attempts) && ok; i++) {
        for (size_t spare = 0; spare <= SPARE_MAX && ok; spare++) {
            for (size_t spare_nodes = 0; spare_nodes <= NODES_SPARE_MAX && ok; spare_nodes += 2) {
                ok = try_it(&attempts[i], spare, spare_nodes);
            }
        }
    }
}
