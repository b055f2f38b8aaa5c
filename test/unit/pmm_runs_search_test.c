/*
 * Where the search for a run looks: the hint of the greatest extent and its recount, what is cached, what owners keep,
 * and everything compared with a search by hand.
 */
#include "unit/pmm_runs_bed.h"
#include "pmm/pmm_pressure.h"

enum { FIELD_BLOCKS = 32, FIELD_FRAMES = FIELD_BLOCKS * BLOCK, FIELD_END = FIELD + FIELD_FRAMES };

static uint64_t largest(struct pmm_bed *bed) { return pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v; }

TEST(pmm_runs, the_recount_finds_the_hole_behind_when_the_run_into_the_end_fails)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    /* All free but two frames: 10 blocks, 9, 11 up to the end. */
    uint64_t second = FIELD + 10 * BLOCK, third = FIELD + 20 * BLOCK + 100;
    for (uint64_t f = FIELD; f < FIELD_END; f++) {
        REQUIRE(f == second || f == third || pmm_free(&bed->pmm, pfn(f)) == STATUS_OK);
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, FIELD_FRAMES - 2);
    bed_sound(bed);
    pfn_t first, ends[11];
    EXPECT_EQ(largest(bed), 11 * BLOCK);
    EXPECT_REFUSED(bed, any_run(bed, 11 * BLOCK + 1, &first), STATUS_NOMEM);
    for (unsigned i = 0; i < 11; i++) { /* a block at a time into the end, wherever it begins */
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(BLOCK), npages(0), npages(0), PMM_NO_LIMIT, &ends[i]) ==
                STATUS_OK);
    }
    for (unsigned i = 0; i < 11; i++) {
        REQUIRE(pmm_free_run(&bed->pmm, ends[i], npages(BLOCK)) == STATUS_OK);
    }
    REQUIRE(any_run(bed, 11 * BLOCK, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD + 21 * BLOCK);
    EXPECT_EQ(largest(bed), 10 * BLOCK);
    EXPECT_REFUSED(bed, any_run(bed, 10 * BLOCK + 1, &first), STATUS_NOMEM);
    REQUIRE(any_run(bed, 10 * BLOCK, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD);
    bed_sound(bed);
    EXPECT_EQ(largest(bed), 9 * BLOCK);
    EXPECT_REFUSED(bed, any_run(bed, 9 * BLOCK + 1, &first), STATUS_NOMEM);
    REQUIRE(any_run(bed, 9 * BLOCK, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD + 11 * BLOCK);
    /* Left: 511 in the block of the one frame, 100 and 411 in that of the other. */
    static const uint64_t left[] = {511, 411, 100};
    const uint64_t at[] = {second + 1, third + 1, third - 100};
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        EXPECT_EQ(largest(bed), left[i]);
        REQUIRE(any_run(bed, left[i], &first) == STATUS_OK);
        EXPECT_EQ(first.v, at[i]);
    }
    EXPECT_EQ(largest(bed), 0);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    EXPECT_REFUSED(bed, any_run(bed, 1, &first), STATUS_NOMEM);
}

TEST(pmm_runs, what_largest_run_says_can_be_had_and_one_frame_more_cannot)
{
    for (unsigned levels = 0; levels <= 2; levels++) {
        struct pmm_bed *bed = bed_new(NULL, FIELD / BLOCK, FIELD_END / BLOCK, levels);
        REQUIRE(bed != NULL);
        bed_run(bed, FIELD + 17, FIELD_FRAMES - 17);
        REQUIRE(bed_starts(bed));
        struct rng rng = rng_seeded(test_seed());
        for (unsigned i = 0; i < 40 && pmm_stats(&bed->pmm).free.v > 0; i++) {
            uint64_t most = largest(bed);
            pfn_t first, frame;
            REQUIRE(most > 0 && most <= pmm_stats(&bed->pmm).free.v);
            EXPECT_REFUSED(bed, any_run(bed, most + 1, &first), STATUS_NOMEM);
            if (!EXPECT_EQ(any_run(bed, most, &first), STATUS_OK)) {
                test_note("%lu frames at step %u, levels %u", most, i, levels);
                return;
            }
            bed_sound(bed);
            if (i % 2 == 0) { /* in the way of the next: one frame of it */
                uint64_t keep = rng_below(&rng, most);
                REQUIRE(keep == 0 || pmm_free_run(&bed->pmm, first, npages(keep)) == STATUS_OK);
                REQUIRE(keep + 1 == most ||
                        pmm_free_run(&bed->pmm, pfn_add(first, keep + 1), npages(most - keep - 1)) == STATUS_OK);
            }
            (void)pmm_alloc(&bed->pmm, PMM_USER, &frame);
        }
        bed_sound(bed);
    }
}

TEST(pmm_runs, largest_run_heeds_the_limit)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    REQUIRE(free_frames(bed, FIELD + 2 * BLOCK, 3 * BLOCK + 40) && free_frames(bed, FIELD + 9 * BLOCK + 5, 60));
    static const struct { uint64_t limit, longest; } asks[] = {
        {0, 0}, {FIELD, 0}, {FIELD + 2 * BLOCK, 0}, {FIELD + 2 * BLOCK + 1, 1}, {FIELD + 3 * BLOCK - 1, BLOCK - 1},
        {FIELD + 3 * BLOCK, BLOCK}, {FIELD + 4 * BLOCK + 7, 2 * BLOCK + 7}, {FIELD + 5 * BLOCK - 1, 3 * BLOCK - 1},
        {FIELD + 5 * BLOCK, 3 * BLOCK}, {FIELD + 5 * BLOCK + 39, 3 * BLOCK}, {UINT64_MAX, 3 * BLOCK},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        EXPECT_EQ(pmm_largest_run(&bed->pmm, pfn(asks[i].limit)).v, asks[i].longest);
    }
    bed_sound(bed);
}

TEST(pmm_runs, largest_run_leaves_what_is_kept_for_others)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && free_frames(bed, FIELD + 2 * BLOCK, 2 * BLOCK));
    REQUIRE(pmm_promise(&bed->pmm, npages(100)) == STATUS_OK);
    EXPECT_EQ(largest(bed), 2 * BLOCK - 100);
    pfn_t first;
    EXPECT_REFUSED(bed, any_run(bed, 2 * BLOCK - 99, &first), STATUS_NOMEM);
    REQUIRE(any_run(bed, 2 * BLOCK - 100, &first) == STATUS_OK);
    EXPECT_EQ(largest(bed), 0);
    bed_sound(bed);
}

TEST(pmm_runs, a_run_is_found_and_unlinked_whatever_the_order_its_frames_came_back_in)
{
    enum { FRAMES = 12 };
    struct rng rng = rng_seeded(test_seed());
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    for (unsigned round = 0; round < 60 * test_effort(); round++) {
        uint64_t n = 1 + round % 5, at = FIELD + round % FIELD_BLOCKS * BLOCK + 100, order[FRAMES];
        /* n neighbours from `at` on, the others each by itself; freed in any order. */
        for (uint64_t i = 0; i < FRAMES; i++) {
            uint64_t k = rng_below(&rng, i + 1);
            order[i] = order[k];
            order[k] = i < n ? at + i : at + 2 * i + 10;
        }
        for (unsigned i = 0; i < FRAMES; i++) {
            REQUIRE(pmm_free(&bed->pmm, pfn(order[i])) == STATUS_OK);
        }
        pfn_t first = pfn(0);
        REQUIRE(any_run(bed, n, &first) == STATUS_OK);
        EXPECT(n == 1 || first.v == at);
        REQUIRE(bed_sound(bed));
        EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), FRAMES - n);
    }
    bed_sound(bed);
}

TEST(pmm_runs, runs_that_the_fullest_blocks_have_no_room_for_break_one_whole_block_and_fill_it)
{
    enum { SPOILT = PMM_RUN_BLOCKS_TRIED + 4, RUN = 16 };
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && free_frames(bed, FIELD, FIELD_FRAMES));
    pfn_t *used = frames_for(SPOILT * BLOCK), first;
    REQUIRE(used != NULL);
    for (unsigned i = 0; i < SPOILT * BLOCK; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &used[i]) == STATUS_OK);
    }
    for (unsigned i = 0; i < SPOILT * BLOCK; i += 2) { /* no two neighbours are free */
        REQUIRE(pmm_free(&bed->pmm, used[i]) == STATUS_OK);
    }
    pmm_drain(&bed->pmm);
    const uint64_t whole = whole_blocks(bed);
    for (unsigned i = 1; i <= 3 * BLOCK / RUN; i++) {
        REQUIRE(any_run(bed, RUN, &first) == STATUS_OK);
        REQUIRE(EXPECT_EQ(whole_blocks(bed), whole - (i * RUN + BLOCK - 1) / BLOCK));
    }
    bed_sound(bed);
}

TEST(pmm_runs, magazines_are_drained_before_a_run_is_refused)
{
    static const uint64_t lengths[] = {BLOCK, 500, 64, 2 * BLOCK};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 1);
        REQUIRE(bed != NULL);
        uint64_t at = FIELD + 4 * BLOCK;
        REQUIRE(free_frames(bed, at, lengths[i]));
        struct pmm_stats before = pmm_stats(&bed->pmm);
        EXPECT(before.cached.v > 0); /* the frames freed last */
        EXPECT_EQ(before.free.v, lengths[i]);
        bed_sound(bed);
        EXPECT_EQ(largest(bed), lengths[i]);
        pfn_t first;
        REQUIRE(any_run(bed, lengths[i], &first) == STATUS_OK);
        EXPECT_EQ(first.v, at);
        EXPECT(pmm_stats(&bed->pmm).drains > before.drains);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
        bed_sound(bed);
        EXPECT_REFUSED(bed, any_run(bed, 1, &first), STATUS_NOMEM);
    }
}

TEST(pmm_runs, free_frames_of_owners_blocks_are_taken_back_before_a_run_is_refused)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && free_frames(bed, FIELD, BLOCK));
    unsigned owner;
    pmm_policy_set(&bed->pmm, (struct pmm_policy){.owner_threshold = npages(0), .owner_guard = 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    pfn_t frame, first;
    for (unsigned i = 0; i < 12; i++) {
        REQUIRE(pmm_alloc(&bed->pmm, PMM_OWNER(owner), &frame) == STATUS_OK);
        EXPECT_EQ(pmm_query(&bed->pmm, frame).owner, owner);
    }
    bed_sound(bed);
    REQUIRE(any_run(bed, BLOCK - 12, &first) == STATUS_OK);
    EXPECT_EQ(first.v / BLOCK, FIELD / BLOCK);
    EXPECT_EQ(pmm_query(&bed->pmm, frame).owner, 0);
    struct pmm_owner_stats stats;
    REQUIRE(pmm_owner_stats(&bed->pmm, owner, &stats));
    EXPECT_EQ(stats.own_blocks.v, 0);
    EXPECT_EQ(stats.in_own.v, 0);
    EXPECT_EQ(stats.elsewhere.v, 12);
    bed_sound(bed);
}

TEST(pmm_runs, every_release_of_a_run_leaves_memory_as_it_was)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 1);
    REQUIRE(bed != NULL && bed_starts(bed));
    static const uint64_t lengths[] = {1, 63, 511, 512, 700, 4 * BLOCK, 20 * BLOCK + 3};
    pfn_t first, frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct pmm_stats before = pmm_stats(&bed->pmm);
            REQUIRE(any_run(bed, lengths[i], &first) == STATUS_OK);
            REQUIRE(pmm_free_run(&bed->pmm, first, npages(lengths[i])) == STATUS_OK);
            struct pmm_stats after = pmm_stats(&bed->pmm);
            EXPECT_EQ(after.used.v, before.used.v);
            EXPECT_EQ(after.free.v, before.free.v);
            EXPECT_EQ(after.allocated - before.allocated, lengths[i]);
            EXPECT_EQ(after.freed - before.freed, lengths[i]);
            bed_sound(bed);
        }
    }
}

/* ---- A search by hand ---- */

/* Free frames from each frame of the field on; [FIELD_FRAMES] stays 0. */
static void measure(struct pmm_bed *bed, uint32_t *free_from)
{
    free_from[FIELD_FRAMES] = 0;
    for (uint64_t i = FIELD_FRAMES; i-- > 0;) {
        enum pmm_state s = pmm_query(&bed->pmm, pfn(FIELD + i)).state;
        bool is_free = s == PMM_STATE_FREE || s == PMM_STATE_CACHED || s == PMM_STATE_UNTOUCHED;
        free_from[i] = is_free ? free_from[i + 1] + 1 : 0;
    }
}

struct ask { uint64_t n, align, boundary, limit; };

static bool fits(const struct ask *a, uint64_t first, uint64_t free)
{
    bool inside = a->n < BLOCK ? first / BLOCK == (first + a->n - 1) / BLOCK : first % BLOCK == 0;
    uint64_t need = a->n < BLOCK ? a->n : (a->n + BLOCK - 1) / BLOCK * BLOCK; /* longer ones: of wholly free blocks */
    return inside && free >= need && (a->align == 0 || first % a->align == 0) && first + a->n <= a->limit &&
           (a->boundary == 0 || first / a->boundary == (first + a->n - 1) / a->boundary);
}

static bool is_possible(const struct ask *a, const uint32_t *free_from)
{
    for (uint64_t i = 0; i < FIELD_FRAMES; i++) {
        if (fits(a, FIELD + i, free_from[i])) {
            return true;
        }
    }
    return false;
}

static struct ask random_ask(struct rng *rng)
{
    struct ask a = {0, 0, 0, UINT64_MAX};
    static const uint64_t scales[] = {4, 60, 511, 2 * BLOCK, 8 * BLOCK};
    a.n = 1 + rng_below(rng, scales[rng_below(rng, ARRAY_LEN(scales))]);
    a.n = rng_below(rng, 5) == 0 ? (1 + rng_below(rng, 3)) * BLOCK : a.n;
    a.align = rng_below(rng, 3) == 0 ? 1UL << rng_below(rng, 12) : 0;
    if (rng_below(rng, 3) == 0) {
        for (a.boundary = 1; a.boundary < a.n;) {
            a.boundary *= 2;
        }
        a.boundary <<= rng_below(rng, 3);
    }
    a.limit = rng_below(rng, 3) == 0 ? FIELD + rng_below(rng, FIELD_FRAMES + 2) : a.limit;
    return a;
}

/* Free random stretches of the field and take random runs of it, some of them kept. */
static bool search_round(struct pmm_bed *bed, struct rng *rng, uint32_t *free_from, unsigned *found)
{
    uint64_t frees = 1 + rng_below(rng, rng_below(rng, 4) == 0 ? 3 * BLOCK : 90);
    uint64_t at = FIELD + rng_below(rng, FIELD_FRAMES);
    for (uint64_t f = at; f < at + frees && f < FIELD_END; f++) {
        struct pmm_frame q = pmm_query(&bed->pmm, pfn(f));
        if (q.state == PMM_STATE_USED && !EXPECT_EQ(pmm_free(&bed->pmm, pfn(f)), STATUS_OK)) {
            return false;
        }
    }
    struct ask a = random_ask(rng);
    measure(bed, free_from);
    bool possible = is_possible(&a, free_from);
    pfn_t first = pfn(0);
    unsigned flags = rng_below(rng, 2) == 0 ? PMM_KERNEL : PMM_USER;
    enum status s =
        pmm_alloc_run(&bed->pmm, flags, npages(a.n), npages(a.align), npages(a.boundary), pfn(a.limit), &first);
    bool ok = EXPECT_EQ(s, possible ? STATUS_OK : STATUS_NOMEM);
    if (ok && s == STATUS_OK) {
        ok = EXPECT(first.v >= FIELD && first.v < FIELD_END && fits(&a, first.v, free_from[first.v - FIELD]));
        *found += 1;
        if (ok && (a.n >= BLOCK || rng_below(rng, 2) == 0)) {
            ok = EXPECT_EQ(pmm_free_run(&bed->pmm, first, npages(a.n)), STATUS_OK);
        }
    }
    if (!ok) {
        test_note("n %lu, align %lu, boundary %lu, limit %#lx: %s at %#lx", a.n, a.align, a.boundary, a.limit,
                  status_name(s), first.v);
    }
    return ok && bed_sound(bed);
}

TEST(pmm_runs, a_run_is_found_exactly_where_a_search_by_hand_finds_one)
{
    struct rng rng = rng_seeded(test_seed());
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, cpus);
        uint32_t *free_from = test_pages(bytes_to_pages_up((FIELD_FRAMES + 1) * sizeof *free_from).v);
        REQUIRE(bed != NULL && free_from != NULL);
        unsigned rounds = 60 * test_effort(), found = 0;
        for (unsigned i = 0; i < rounds; i++) {
            REQUIRE(search_round(bed, &rng, free_from, &found));
            if (pmm_stats(&bed->pmm).free.v > FIELD_FRAMES / 2) { /* full again, in one go for each class */
                bed_take_all(bed, PMM_USER);
            }
        }
        EXPECT(found > rounds / 5 && found < rounds);
    }
}
