/*
 * The arena and its rivals (test/rivals/addresses/) play the same random histories against a plain list of the ranges
 * in use: what is handed out lies in the range served, aligned, over nothing else; what is refused changes nothing.
 */
#include "rivals/addresses/addresses.h"
#include "unit/test.h"

enum { LIVE_MAX = 300, CALLS = 6000, STATE_BYTES = 16 * 1024 * 1024 };

#define PAGES_IN_GIB (GIB / PAGE_BYTES)

struct record {
    uint64_t first, pages; /* as asked for */
    uint64_t reserved;     /* pages that the subject says it took; those asked for where it cannot say */
};

struct game {
    const struct addresses_subject *subject;
    struct addresses *a;
    struct rng rng;
    struct record live[LIVE_MAX];
    unsigned count;
    unsigned granted, refused;
};

static struct game game;

static bool begin(const struct addresses_subject *s, uint64_t pages)
{
    struct addresses *a = test_pages(bytes_to_pages_up(STATE_BYTES).v);
    game = (struct game){.subject = s, .a = a, .rng = rng_seeded(test_seed())};
    return a != NULL && EXPECT_EQ(s->start(a, STATE_BYTES, pages), STATUS_OK);
}

/* The record that holds the page, or null. */
static const struct record *record_of(uint64_t page)
{
    for (unsigned i = 0; i < game.count; i++) {
        const struct record *r = &game.live[i];
        if (page >= r->first && page - r->first < r->reserved) {
            return r;
        }
    }
    return NULL;
}

static void find_agrees(uint64_t page)
{
    struct addresses_range range;
    if (game.subject->find == NULL) {
        return;
    }
    const struct record *r = record_of(page);
    bool found = game.subject->find(game.a, page, &range);
    EXPECT_EQ(found, r != NULL);
    if (found && r != NULL) {
        EXPECT(range.first == r->first && range.pages == r->reserved);
    }
}

/* A range just handed out is sound; it is recorded. */
static void granted(uint64_t first, uint64_t pages, unsigned align_log2)
{
    struct record r = {first, pages, pages};
    struct addresses_range range = {first, pages};
    if (game.subject->find != NULL) {
        EXPECT(game.subject->find(game.a, first + pages / 2, &range));
        EXPECT(range.first == first && range.pages >= pages);
        r.reserved = range.pages;
    }
    EXPECT_EQ(first & ((1ULL << align_log2) - 1), 0);
    EXPECT(first < game.a->pages && r.reserved <= game.a->pages - first);
    for (unsigned i = 0; i < game.count; i++) {
        const struct record *other = &game.live[i];
        EXPECT(first + r.reserved <= other->first || other->first + other->reserved <= first);
    }
    game.live[game.count++] = r;
    game.granted++;
}

static void ask(uint64_t pages, unsigned align_log2)
{
    const uint64_t untouched = 0x5EED5EED;
    uint64_t first = untouched;
    enum status s = game.subject->alloc(game.a, pages, align_log2, &first);
    if (s == STATUS_OK) {
        granted(first, pages, align_log2);
        return;
    }
    game.refused++;
    EXPECT(s == STATUS_NOMEM && first == untouched);
}

static void give(unsigned which)
{
    EXPECT_EQ(game.subject->free(game.a, game.live[which].first), STATUS_OK);
    game.live[which] = game.live[--game.count];
}

static uint64_t some_pages(void)
{
    enum { MIX = 8, FEW = 5, SOME = 600, MANY = 90000, PIECES = 3000000 };
    switch (rng_below(&game.rng, MIX)) {
    case 0: return 1 + rng_below(&game.rng, SOME);
    case 1: return 1 + rng_below(&game.rng, MANY);
    case 2: return 1 + rng_below(&game.rng, PIECES);
    case 3: return 1ULL << rng_below(&game.rng, 20);
    default: return 1 + rng_below(&game.rng, FEW);
    }
}

static void play(uint64_t pages, unsigned calls)
{
    enum { WAVE = 1500, ALIGNED = 4 };
    for (unsigned i = 0; i < calls; i++) {
        bool grows = i % WAVE < WAVE * 2 / 3; /* more is asked for than given back, then the other way */
        if (game.count < LIVE_MAX && (game.count == 0 || rng_below(&game.rng, 4) < (grows ? 3 : 1))) {
            bool aligned = rng_below(&game.rng, ALIGNED) == 0;
            ask(some_pages(), aligned ? (unsigned)rng_below(&game.rng, ADDRESSES_ALIGN_LOG2_MAX + 1) : 0);
        } else {
            give((unsigned)rng_below(&game.rng, game.count));
        }
        find_agrees(rng_below(&game.rng, pages));
        if (game.count > 0) {
            const struct record *r = &game.live[rng_below(&game.rng, game.count)];
            find_agrees(r->first);
            find_agrees(r->first + r->reserved - 1);
            find_agrees(r->first + r->reserved < pages ? r->first + r->reserved : 0);
        }
    }
}

/* All goes back, and one request gets everything. */
static void all_is_one_again(uint64_t pages)
{
    while (game.count > 0) {
        give(game.count - 1);
    }
    find_agrees(0);
    ask(pages, 0);
    EXPECT_EQ(game.count, 1);
    ask(1, 0);
    EXPECT_EQ(game.count, 1);
    give(0);
}

/* The largest alignment is that of its natural block, and every place is free: nobody may refuse. */
static void what_fits_is_granted_when_all_is_free(uint64_t pages)
{
    for (uint64_t n = 1; n <= pages / 2; n *= 3) {
        ask(n, 0);
        ask(1, ADDRESSES_ALIGN_LOG2_MAX);
        EXPECT_EQ(game.count, 2);
        while (game.count > 0) {
            give(game.count - 1);
        }
    }
}

TEST_HOST(rivals_addresses, each_agrees_with_a_list_of_the_ranges_in_use)
{
    const uint64_t pages = 16 * PAGES_IN_GIB;
    for (unsigned i = 0; i < ADDRESSES_SUBJECTS; i++) {
        if (!begin(ADDRESSES(subjects)[i], pages)) {
            return;
        }
        what_fits_is_granted_when_all_is_free(pages);
        game.granted = game.refused = 0;
        for (unsigned round = 0; round < test_effort(); round++) {
            play(pages, CALLS);
            all_is_one_again(pages);
        }
        bool enough = EXPECT(game.granted > CALLS / 3 * test_effort() && game.refused > CALLS / 100);
        test_note("%s: %u granted, %u refused", game.subject->name, game.granted, game.refused);
        if (!enough) {
            return;
        }
    }
}

static void refused_frees_change_nothing(uint64_t pages)
{
    enum { WRONG = 5 };
    ask(100, 0);
    ask(3, 4);
    ask(PAGES_IN_GIB, 0);
    const struct record *r = game.live;
    REQUIRE(game.count == 3);
    const uint64_t wrong[WRONG] = {r[0].first + 1, r[1].first + 2, r[2].first + PAGES_PER_2M, pages,
                                   bytes_to_pages_down(UINT64_MAX).v};
    for (unsigned i = 0; i < WRONG; i++) {
        EXPECT_EQ(game.subject->free(game.a, wrong[i]), STATUS_MISUSE);
    }
    uint64_t gone = r[1].first;
    give(1);
    EXPECT_EQ(game.subject->free(game.a, gone), STATUS_MISUSE);
    for (unsigned i = 0; i < game.count; i++) {
        find_agrees(r[i].first);
        find_agrees(r[i].first + r[i].pages - 1);
    }
    find_agrees(gone);
    uint64_t first;
    EXPECT_EQ(game.subject->alloc(game.a, 0, 0, &first), STATUS_INVALID);
    EXPECT_EQ(game.subject->alloc(game.a, 1, ADDRESSES_ALIGN_LOG2_MAX + 1, &first), STATUS_INVALID);
    EXPECT_EQ(game.subject->alloc(game.a, pages + 1, 0, &first), STATUS_NOMEM);
    all_is_one_again(pages);
}

TEST_HOST(rivals_addresses, wrong_calls_are_told_and_change_nothing)
{
    enum { REPORTS = 3 * 6 }; /* of the arena in its three forms; the rivals have only their status */
    test_expect_reports(REPORTS);
    for (unsigned i = 0; i < ADDRESSES_SUBJECTS; i++) {
        if (begin(ADDRESSES(subjects)[i], 4 * PAGES_IN_GIB)) {
            refused_frees_change_nothing(4 * PAGES_IN_GIB);
        }
    }
}

static void give_at(uint64_t page)
{
    const struct record *r = record_of(page);
    if (EXPECT(r != NULL)) {
        give((unsigned)(r - game.live));
    }
}

/* Nobody who does not round up to powers of four may remember for longer than it is true that there was no room. */
TEST_HOST(rivals_addresses, what_was_refused_is_granted_when_its_place_is_free)
{
    const uint64_t pages = 4 * PAGES_IN_GIB, quarter = PAGES_IN_GIB / 4;
    for (unsigned i = 0; i < ADDRESSES_SUBJECTS; i++) {
        const struct addresses_subject *s = ADDRESSES(subjects)[i];
        if (s == &ADDRESSES(buddy4) || !begin(s, pages)) {
            continue;
        }
        while (game.refused == 0) {
            ask(quarter, 0);
        }
        EXPECT_EQ(game.count, pages / quarter);
        give_at(0);
        give_at(2 * quarter);
        ask(2 * quarter, 0);
        EXPECT_EQ(game.refused, 2);
        give_at(quarter);
        ask(2 * quarter, 0);
        EXPECT_EQ(game.refused, 2);
        all_is_one_again(pages);
    }
}

/* Bookkeeping memory that runs out is a request refused, and what was handed out before goes back as ever. */
TEST_HOST(rivals_addresses, without_bookkeeping_memory_a_request_is_refused_and_nothing_changes)
{
    enum { MOST = 400 * 1024, STEP = 4 * 1024 };
    const uint64_t pages = 4 * PAGES_IN_GIB;
    struct addresses *a = test_pages(bytes_to_pages_up(MOST).v);
    REQUIRE(a != NULL);
    for (unsigned i = 0; i < ADDRESSES_SUBJECTS; i++) {
        const struct addresses_subject *s = ADDRESSES(subjects)[i];
        unsigned started = 0, refused = 0;
        bool grows = false;
        for (size_t bytes = STEP; bytes <= MOST; bytes += STEP) {
            memset(a, 0, MOST);
            game = (struct game){.subject = s, .a = a, .rng = rng_seeded(bytes)};
            enum status begun = s->start(a, bytes, pages);
            if (begun != STATUS_OK) {
                EXPECT_EQ(begun, STATUS_NOMEM);
                continue;
            }
            started++;
            size_t at_first = addresses_bytes(a);
            while (game.count < LIVE_MAX && game.refused == 0) {
                ask(1 + rng_below(&game.rng, PAGES_IN_GIB / 64), 0);
            }
            refused += game.refused;
            EXPECT(addresses_bytes(a) <= bytes);
            grows = grows || addresses_bytes(a) > at_first;
            while (game.count > 0) {
                give((unsigned)rng_below(&game.rng, game.count));
                find_agrees(rng_below(&game.rng, pages));
            }
        }
        EXPECT(started > 0 && (refused > 0) == grows);
    }
}

/* => the blocks that the request divides. */
static uint64_t splits_of(uint64_t pages)
{
    uint64_t first;
    EXPECT_EQ(game.subject->alloc(game.a, pages, 0, &first), STATUS_OK);
    return game.a->splits;
}

/* 35 splits take a page out of 2^47 bytes by halves; 9 take 16 KiB out of 4 GiB by quarters. */
TEST_HOST(rivals_addresses, buddies_split_as_often_as_their_orders_say)
{
    const uint64_t pages = 128 * TIB / PAGE_BYTES;
    REQUIRE(begin(&ADDRESSES(buddy2), pages));
    EXPECT_EQ(splits_of(1), 35);
    EXPECT_EQ(splits_of(1), 0);
    REQUIRE(begin(&ADDRESSES(buddy4), pages));
    EXPECT_EQ(splits_of(4), 9);
    EXPECT_EQ(splits_of(3), 0);
}
