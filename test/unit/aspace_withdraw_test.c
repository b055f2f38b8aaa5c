/* Withdrawal: what was given is taken back, also from those to whom it was given on. */
#include "aspace/mapping.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;
static struct aspace d;

/* A range of `a`, its pages numbered. */
static vaddr_t open_bed(uint64_t pages)
{
    if (!aspace_bed_open(&bed) || !EXPECT_OK(aspace_create(&bed.system, &d, (struct aspace_limits){0}))) {
        return vaddr(0);
    }
    const vaddr_t va = map_it(&bed.a, want(npages(pages), ARW, ASPACE_GLOBAL));
    for (uint64_t i = 0; i < pages; i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, i), 100 + i);
    }
    return va;
}

static void close_bed(void)
{
    EXPECT_OK(aspace_destroy(&d));
    aspace_bed_close(&bed);
}

static bool has(struct aspace *space, vaddr_t va)
{
    struct aspace_query q;
    const bool is_there = aspace_query(space, va, &q) == STATUS_OK;
    EXPECT_EQ(touch(space, va, VMM_READ), is_there ? STATUS_OK : STATUS_ABSENT);
    EXPECT(is_there || frame_shown(space, va) == UINT64_MAX);
    return is_there;
}

static void give(struct aspace *from, vaddr_t va, struct aspace *to)
{
    EXPECT_OK(aspace_share(from, va, npages(1), to, AR, vaddr(0)));
}
static void give_at(struct aspace *from, vaddr_t va, struct aspace *to, vaddr_t at)
{
    EXPECT_OK(aspace_share(from, va, npages(1), to, AR, at));
}
static void take(struct aspace *from, vaddr_t va, struct aspace *to)
{
    EXPECT_OK(aspace_withdraw(from, va, npages(1), to));
}

TEST(aspace_withdraw, reserves_for_those_too_who_lost_a_page_before)
{
    static void *records[64];
    unsigned taken = 0;
    const vaddr_t va = open_bed(3), middle = vaddr_add_pages(va, 1);
    REQUIRE(va.v != 0);
    give(&bed.a, va, &bed.b);
    give(&bed.b, va, &bed.c);
    take(&bed.a, va, &bed.b); /* c has given nothing so far */
    EXPECT_EQ(bed.c.marks, 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, va, npages(3), &bed.c, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.c, va, npages(3), &d, AR, vaddr(0)));
    while (bed.system.mappings.free > 2 && taken < ARRAY_LEN(records)) {
        records[taken++] = pool_take(&bed.system.mappings);
    }
    (void)stock_trim(&bed.system.stock, 0);
    take(&bed.a, middle, &bed.b); /* three cuts */
    EXPECT(!has(&bed.b, middle) && !has(&bed.c, middle) && !has(&d, middle));
    while (taken > 0) {
        EXPECT_OK(pool_put(&bed.system.mappings, records[--taken]));
    }
    close_bed();
}

TEST(aspace_withdraw, what_was_given_is_gone_when_the_call_returns)
{
    const vaddr_t va = open_bed(4), middle = vaddr_add_pages(va, 1);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(4), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_withdraw(&bed.a, middle, npages(2), &bed.b));
    EXPECT(has(&bed.b, va) && !has(&bed.b, middle) && !has(&bed.b, vaddr_add_pages(va, 2)) &&
           has(&bed.b, vaddr_add_pages(va, 3)));
    EXPECT_EQ(bed.b.pages.v, 2);
    EXPECT_EQ(get_word(&bed, &bed.a, middle), 101);
    EXPECT_EQ(aspace_withdraw(&bed.a, middle, npages(2), &bed.b), STATUS_ABSENT);
    EXPECT_EQ(aspace_withdraw(&bed.b, va, npages(1), &bed.a), STATUS_ABSENT);
    EXPECT_OK(aspace_withdraw(&bed.a, va, npages(4), &bed.b));
    EXPECT_EQ(bed.b.ranges, 0);
    close_bed();
}

TEST(aspace_withdraw, it_reaches_those_to_whom_it_was_given_on)
{
    const vaddr_t va = open_bed(2);
    REQUIRE(va.v != 0);
    give(&bed.a, va, &bed.b);
    give(&bed.b, va, &bed.c);
    give_at(&bed.c, va, &d, vaddr(AT_PRIVATE));
    EXPECT(has(&d, vaddr(AT_PRIVATE)));
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(1), &bed.c), STATUS_ABSENT); /* b gave it */
    take(&bed.a, va, &bed.b);
    EXPECT(!has(&bed.b, va) && !has(&bed.c, va) && !has(&d, vaddr(AT_PRIVATE)) && has(&bed.a, va));
    vaddr_t again;
    const struct aspace_request r = want_at(AT_PRIVATE, npages(1), ARW, 0);
    EXPECT_OK(aspace_map(&d, &r, &again)); /* the address is free again */
    close_bed();
}

TEST(aspace_withdraw, who_has_the_page_from_another_too_keeps_that_and_what_it_gave_on)
{
    const vaddr_t va = open_bed(2), at = vaddr(AT_PRIVATE);
    REQUIRE(va.v != 0);
    give(&bed.a, va, &bed.b);
    give(&bed.a, va, &bed.c);
    give_at(&bed.b, va, &bed.c, at);
    give(&bed.c, va, &d);
    take(&bed.a, va, &bed.b);
    EXPECT(!has(&bed.b, va) && !has(&bed.c, at));
    EXPECT(has(&bed.c, va) && has(&d, va));
    take(&bed.a, va, &bed.c);
    EXPECT(!has(&bed.c, va) && !has(&d, va));
    close_bed();
}

TEST(aspace_withdraw, two_who_gave_it_to_each_other_both_lose_it)
{
    const vaddr_t va = open_bed(2), at = vaddr(AT_PRIVATE);
    REQUIRE(va.v != 0);
    give(&bed.a, va, &bed.b);
    give(&bed.b, va, &bed.c);
    give_at(&bed.c, va, &bed.b, at);
    give_at(&bed.b, va, &bed.a, at); /* back to the giver: that goes, what it has itself stays */
    take(&bed.a, va, &bed.b);
    EXPECT(!has(&bed.b, va) && !has(&bed.b, at) && !has(&bed.c, va) && !has(&bed.a, at) && has(&bed.a, va));
    close_bed();
}

TEST(aspace_withdraw, who_gives_the_page_up_leaves_its_gifts_to_its_giver)
{
    const vaddr_t va = open_bed(5), middle = vaddr_add_pages(va, 2);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(5), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.b, va, npages(5), &bed.c, ARW, vaddr(0)));
    EXPECT_OK(aspace_unmap(&bed.b, middle, npages(1)));
    EXPECT_EQ(bed.c.ranges, 3); /* the middle is the first giver's gift now */
    EXPECT(has(&bed.c, middle));
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(2), &bed.c), STATUS_ABSENT);
    take(&bed.a, middle, &bed.c);
    EXPECT(!has(&bed.c, middle) && has(&bed.c, va));
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT_OK(aspace_withdraw(&bed.a, va, npages(5), &bed.c));
    EXPECT_EQ(bed.c.ranges, 0);
    close_bed();
}

TEST(aspace_withdraw, the_receiver_of_a_transfer_stands_where_the_giver_stood)
{
    const vaddr_t va = open_bed(2);
    REQUIRE(va.v != 0);
    give(&bed.a, va, &bed.b);
    give(&bed.b, va, &bed.c);
    EXPECT_OK(aspace_transfer(&bed.b, va, npages(1), &d, AR));
    EXPECT_EQ(aspace_withdraw(&bed.b, va, npages(1), &d), STATUS_ABSENT); /* for good */
    take(&d, va, &bed.c);
    EXPECT(!has(&bed.c, va));
    give(&d, va, &bed.c);
    take(&bed.a, va, &d);
    EXPECT(!has(&d, va) && !has(&bed.c, va));
    close_bed();
}

TEST(aspace_withdraw, a_seal_does_not_hold_against_the_giver)
{
    const vaddr_t va = open_bed(3);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_seal(&bed.b, va, npages(3)));
    EXPECT_EQ(aspace_unmap(&bed.b, va, npages(1)), STATUS_DENIED);
    take(&bed.a, vaddr_add_pages(va, 1), &bed.b);
    EXPECT(!has(&bed.b, vaddr_add_pages(va, 1)) && has(&bed.b, va));
    close_bed();
}

TEST(aspace_withdraw, the_first_owner_who_gives_a_page_up_leaves_it_to_the_receiver)
{
    const vaddr_t va = open_bed(3);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, vaddr(0)));
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(3)));
    EXPECT_EQ(get_word(&bed, &bed.b, va), 100); /* it is b's, as what nobody gave */
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(3), &bed.b), STATUS_ABSENT);
    close_bed();
}

TEST(aspace_withdraw, wrong_arguments_are_refused)
{
    const vaddr_t va = open_bed(3);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(3), &bed.b, ARW, vaddr(0)));
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_withdraw(&bed.a, vaddr(va.v + 1), npages(1), &bed.b), STATUS_INVALID);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(0), &bed.b), STATUS_INVALID);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(1), &bed.a), STATUS_INVALID);
    EXPECT_EQ(aspace_withdraw(&bed.a, vaddr(PAGE_BYTES), npages(1), &bed.b), STATUS_RANGE);
    EXPECT_EQ(aspace_withdraw(&bed.a, vaddr(AT_PRIVATE), npages(1), &bed.b), STATUS_ABSENT);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(1), &bed.c), STATUS_ABSENT);
    EXPECT_EQ(aspace_withdraw(&bed.a, va, npages(1), NULL), STATUS_MISUSE);
    EXPECT_EQ(aspace_withdraw(NULL, va, npages(1), &bed.b), STATUS_MISUSE);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    test_expect_reports(2);
    close_bed();
}

static vaddr_t part;
static enum status withdraw_part(void) { return aspace_withdraw(&bed.a, part, npages(1), &bed.b); }

TEST(aspace_withdraw, without_memory_for_a_part_in_the_middle_nothing_has_changed)
{
    const vaddr_t va = open_bed(200);
    REQUIRE(va.v != 0);
    EXPECT_OK(aspace_share(&bed.a, va, npages(200), &bed.b, ARW, vaddr(0)));
    bool failed = false;
    for (uint64_t i = 1; i < 199; i += 2) { /* until the records of a page are used up */
        part = vaddr_add_pages(va, i);
        failed = with_every_number_of_frames(&bed, withdraw_part) > 0 || failed;
    }
    EXPECT(failed);
    EXPECT_EQ(bed.b.pages.v, 101);
    close_bed();
}

/* A random net of gifts of one page, against what the rule says: a page is held by who has a chain of gifts to it. */
enum { NODES = 4 };
static bool edge[NODES][NODES]; /* [from][to]; at an address of its own for each */

static vaddr_t address_of(unsigned from, unsigned to) { return vaddr(AT_PRIVATE + (from * NODES + to) * MIB); }

static bool holds(unsigned node)
{
    for (unsigned from = 0; from < NODES; from++) {
        if (edge[from][node]) {
            return true;
        }
    }
    return node == 0;
}

static vaddr_t some_address(unsigned node, vaddr_t root)
{
    for (unsigned from = 0; from < NODES; from++) {
        if (edge[from][node]) {
            return address_of(from, node);
        }
    }
    return root;
}

/* What the withdrawal leaves: edges reached from `to` go, but for those that a chain from 0 round it leads to. */
static void plain_withdraw(unsigned from, unsigned to)
{
    bool reached[NODES] = {false}, supported[NODES] = {false};
    edge[from][to] = false;
    reached[to] = true;
    for (unsigned round = 0; round < NODES; round++) {
        for (unsigned x = 0; x < NODES; x++) {
            for (unsigned y = 0; y < NODES; y++) {
                reached[y] = reached[y] || (reached[x] && edge[x][y] && y != from);
            }
        }
    }
    for (unsigned round = 0; round <= NODES; round++) {
        for (unsigned x = 0; x < NODES; x++) {
            for (unsigned y = 0; y < NODES; y++) {
                supported[y] = supported[y] || y == 0 || (edge[x][y] && (!reached[x] || supported[x]));
            }
        }
    }
    for (unsigned x = 0; x < NODES; x++) {
        for (unsigned y = 0; y < NODES && reached[x] && !supported[x]; y++) {
            edge[x][y] = false;
        }
    }
}

TEST(aspace_withdraw, a_net_of_gifts_is_what_a_plain_model_says)
{
    REQUIRE(open_bed(1).v != 0);
    struct aspace *const all[NODES] = {&bed.a, &bed.b, &bed.c, &d};
    const vaddr_t root = map_it(&bed.a, want(npages(1), ARW, ASPACE_GLOBAL));
    struct rng rng = rng_seeded(test_seed());
    unsigned gone = 0;
    memset(edge, 0, sizeof edge);
    for (unsigned i = 0; i < 300 * test_effort(); i++) {
        const unsigned x = (unsigned)rng_below(&rng, NODES), y = (unsigned)rng_below(&rng, NODES);
        if (x == y || !holds(x)) {
            continue;
        }
        const vaddr_t from = some_address(x, root);
        if (rng_below(&rng, 3) > 0) {
            EXPECT_EQ(aspace_share(all[x], from, npages(1), all[y], AR, address_of(x, y)),
                      edge[x][y] ? STATUS_EXISTS : STATUS_OK);
            edge[x][y] = true;
        } else {
            EXPECT_EQ(aspace_withdraw(all[x], from, npages(1), all[y]), edge[x][y] ? STATUS_OK : STATUS_ABSENT);
            gone += edge[x][y];
            if (edge[x][y]) {
                plain_withdraw(x, y);
            }
        }
        for (unsigned k = 0; k < NODES * NODES; k++) {
            struct aspace_query q;
            if (!EXPECT_EQ(aspace_query(all[k % NODES], address_of(k / NODES, k % NODES), &q) == STATUS_OK,
                           edge[k / NODES][k % NODES])) {
                test_note("step %u: %u and %u; gift of %u to %u", i, x, y, k / NODES, k % NODES);
                i = UINT32_MAX - 1;
                break;
            }
        }
    }
    EXPECT(gone > 10);
    close_bed();
}
