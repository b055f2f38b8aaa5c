/*
 * Bad memory: what the patterns match, how it is told to the watermark allocator, and what happens when it is more than
 * can be told. Against a model that asks the definition for each frame.
 */
#include "unit/boot_again.h"

#include "boot/bad_holds.h"
#include "unit/test.h"

static struct badram_list list_of(size_t count, const uint64_t (*pairs)[2])
{
    struct badram_list list = {.count = count};
    for (size_t i = 0; i < count; i++) {
        list.at[i] = badram_pattern(pairs[i][0], pairs[i][1]);
    }
    return list;
}

/* The definition, by addresses. */
static bool is_bad(size_t count, const uint64_t (*pairs)[2], uint64_t frame)
{
    uint64_t address = pfn_to_paddr(pfn(frame)).v;
    for (size_t i = 0; i < count; i++) {
        uint64_t mask = pfn_to_paddr(paddr_to_pfn(paddr(pairs[i][1]))).v; /* whole frames */
        if ((address & mask) == (pairs[i][0] & mask)) {
            return true;
        }
    }
    return false;
}

/* Random numbers with few bits are those whose patterns are interesting. */
static uint64_t random_mask(struct rng *rng)
{
    uint64_t mask = rng_next(rng) & (rng_below(rng, 3) == 0 ? UINT64_MAX : rng_next(rng));
    return rng_below(rng, 2) == 0 ? mask : mask | ~pages_to_bytes(npages((1ULL << rng_below(rng, 12)) - 1));
}

#define NONE (1ULL << 52) /* frame numbers end here */

static bool is_next(const struct badram_list *list, uint64_t from, uint64_t expected)
{
    uint64_t next = badram_next(list, from, NONE);
    if (next != expected) {
        test_note("next of %#lx is %#lx, not %#lx", from, next, expected);
    }
    return next == expected;
}

TEST(badram, a_pair_means_the_frames_that_agree_in_all_bits_of_the_mask)
{
    static const uint64_t one[][2] = {{0x12345678, ~(uint64_t)(PAGE_BYTES - 1)}};
    struct badram_list list = list_of(1, one);
    EXPECT(is_next(&list, 0, 0x12345) && is_next(&list, 0x12345, 0x12345) && is_next(&list, 0x12346, NONE));
    EXPECT_EQ(badram_bad_until(&list, 0x12345, NONE), 0x12346);
    EXPECT_EQ(badram_bad_until(&list, 0x12344, NONE), 0x12344);

    static const uint64_t word[][2] = {{0x7ddf0, 0xfffffffc}}; /* a tester's: one word, 32 bits of mask */
    list = list_of(1, word);
    EXPECT(is_next(&list, 0, 0x7d) && is_next(&list, 0x7e, 0x10007d) && is_next(&list, 0x10007e, 0x20007d));

    static const uint64_t outside[][2] = {{0xABCDF000, 0x3000}}; /* address bits that the mask has not mean nothing */
    list = list_of(1, outside);
    EXPECT(is_next(&list, 0, 3) && is_next(&list, 4, 7) && is_next(&list, 8, 11));
}

TEST(badram, bits_below_the_page_size_mean_nothing)
{
    static const uint64_t pairs[][2] = {{0x5ABC, 0xFABC}};
    struct badram_list list = list_of(1, pairs);
    EXPECT(is_next(&list, 0, 5) && is_next(&list, 6, 0x15));
    static const uint64_t none[][2] = {{0x123, PAGE_BYTES - 1}}; /* no bit left: every frame */
    list = list_of(1, none);
    EXPECT(is_next(&list, 0, 0) && is_next(&list, 0x123456789, 0x123456789));
    EXPECT_EQ(badram_bad_until(&list, 0, NONE), NONE);
}

TEST(badram, stretches_are_as_long_as_the_low_bits_that_do_not_count)
{
    static const uint64_t pairs[][2] = {{0x40000, 0xF0000}};
    struct badram_list list = list_of(1, pairs);
    EXPECT(is_next(&list, 0, 0x40) && is_next(&list, 0x47, 0x47) && is_next(&list, 0x50, 0x140));
    EXPECT_EQ(badram_bad_until(&list, 0x40, NONE), 0x50);
    EXPECT_EQ(badram_bad_until(&list, 0x4F, NONE), 0x50);
    EXPECT_EQ(badram_bad_until(&list, 0x40, 0x48), 0x48);
    EXPECT_EQ(badram_next(&list, 0, 0x40), 0x40); /* the end: there is none */
    EXPECT_EQ(badram_next(&list, 0x50, 0x40), 0x40);
}

TEST(badram, an_empty_list_matches_nothing)
{
    static const struct badram_list none;
    EXPECT(is_next(&none, 0, NONE));
    EXPECT_EQ(badram_bad_until(&none, 7, NONE), 7);
}

TEST(badram, the_highest_numbers_end_the_search)
{
    static const uint64_t pairs[][2] = {{0, 1ULL << 63}, {UINT64_MAX, UINT64_MAX}};
    struct badram_list list = list_of(1, pairs);
    EXPECT(is_next(&list, 1ULL << 50, 1ULL << 50) && is_next(&list, 1ULL << 51, NONE));
    list = list_of(1, pairs + 1);
    EXPECT(is_next(&list, 0, NONE - 1));
    EXPECT_EQ(badram_next(&list, NONE, NONE + 1), NONE + 1);
}

TEST(badram, random_patterns_match_what_the_definition_says_frame_by_frame)
{
    enum { FRAMES = 2000, PAIRS = 4 };
    struct rng rng = rng_seeded(test_seed());
    for (unsigned round = 0; round < 40 * test_effort(); round++) {
        uint64_t pairs[PAIRS][2];
        size_t count = 1 + rng_below(&rng, PAIRS);
        uint64_t base = rng_below(&rng, 2) == 0 ? 0 : rng_below(&rng, 1ULL << 40);
        for (size_t i = 0; i < count; i++) { /* near the base, or nothing would match */
            pairs[i][0] = pfn_to_paddr(pfn(base + rng_below(&rng, FRAMES))).v + rng_below(&rng, PAGE_BYTES);
            pairs[i][1] = random_mask(&rng);
        }
        struct badram_list list = list_of(count, pairs);
        uint64_t next = badram_next(&list, base, base + FRAMES), until = base;
        for (uint64_t frame = base; frame < base + FRAMES; frame++) {
            bool bad = is_bad(count, pairs, frame);
            REQUIRE((next == frame) == bad);
            REQUIRE((badram_bad_until(&list, frame, base + FRAMES) > frame) == bad);
            until = bad && until <= frame ? badram_bad_until(&list, frame, base + FRAMES) : until;
            REQUIRE(until <= frame || bad); /* all of [frame, until) is bad */
            next = badram_next(&list, frame + 1, base + FRAMES);
        }
    }
}

/* ---- Holds ---- */

static struct early *early_new(void) { return test_pages(bytes_to_pages_up(sizeof(struct early)).v); }

static uint64_t bytes_of(uint64_t frames) { return pages_to_bytes(npages(frames)); }

/* Is exactly what is bad held as bad, but for [used, used_end)? */
static bool holds_are(const struct early *e, size_t count, const uint64_t (*pairs)[2], uint64_t used, uint64_t used_end)
{
    for (size_t i = 0, hold = 0; i < e->run_count; i++) {
        for (uint64_t f = e->runs[i].first.v; f < run_end(e->runs[i]); f++) {
            for (; hold < e->hold_count && hold_end(e->holds[hold]) <= f; hold++) {
            }
            bool held = hold < e->hold_count && e->holds[hold].first.v <= f && e->holds[hold].kind == HOLD_BAD;
            bool is_used = f >= used && f < used_end;
            if (held != (!is_used && is_bad(count, pairs, f))) {
                test_note("frame %#lx is %sheld as bad", f, held ? "" : "not ");
                return false;
            }
        }
    }
    return true;
}

TEST(badram, bad_frames_are_held_exactly_and_what_is_in_use_stays_as_it_is)
{
    static const struct frame_run runs[] = {{{0}, {159}}, {{256}, {3840}}, {{5000}, {100}}};
    static const uint64_t pairs[][2] = {{0x103000, 0x1FF000}, {0x40000, ~0x1FFFFULL}, {0x140000, ~0x3FFFFULL}};
    struct badram_list list = list_of(3, pairs);
    struct early *e = early_new();
    REQUIRE(e != NULL);
    struct bad_plan plan = bad_holds_plan(&list, runs, 3);
    EXPECT(plan.group_log2 == 0 && plan.end == UINT64_MAX);
    EXPECT_EQ(plan.good.v + plan.bad.v, 159 + 3840 + 100);
    REQUIRE(early_init(e, runs, 3) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(0x150), bytes_of(0x160), HOLD_RESERVED) == STATUS_OK);
    REQUIRE(bad_holds_add(&list, &plan, e) == STATUS_OK);
    EXPECT(holds_are(e, 3, pairs, 0x150, 0x160));
    EXPECT_EQ(early_free(e).v, plan.good.v - 1); /* frame 0 */
    for (uint64_t left = early_free(e).v; left > 0; left--) {
        pfn_t frame;
        REQUIRE(early_alloc(e, HOLD_USED, &frame) == STATUS_OK);
        REQUIRE(!is_bad(3, pairs, frame.v));
    }
}

TEST(badram, the_first_bad_frame_of_what_is_in_use_is_found)
{
    static const struct frame_run runs[] = {{{0}, {159}}, {{256}, {3840}}};
    static const uint64_t pairs[][2] = {{0x3000, 0xF000}};
    struct badram_list list = list_of(1, pairs);
    pfn_t first = {77};
    EXPECT(!bad_holds_find(&list, runs, 2, 0, 0x3000, &first));
    EXPECT(!bad_holds_find(&list, runs, 2, 0x4000, 0x12FFF, &first));
    EXPECT(!bad_holds_find(&list, runs, 2, 0xA0000, 0x100000, &first)); /* no RAM */
    EXPECT(!bad_holds_find(&list, runs, 2, 0x5000, 0x5000, &first));
    EXPECT_EQ(first.v, 77);
    EXPECT(bad_holds_find(&list, runs, 2, 0x4001, 0x13001, &first) && first.v == 0x13);
    EXPECT(bad_holds_find(&list, runs, 2, 0x3FFF, 0x4000, &first) && first.v == 3);
    EXPECT(bad_holds_find(&list, runs, 2, 0x94000, UINT64_MAX, &first) && first.v == 0x103);
}

/* The plan's promise: within the limit, no bad frame is left, and its counts are what is there. */
static bool plan_holds(const struct badram_list *list, size_t pairs_count, const uint64_t (*pairs)[2],
                       struct frame_run *runs, size_t count, struct bad_plan plan)
{
    struct early *e = early_new();
    npages_t left_out;
    uint64_t all = 0, kept = 0, bad = 0;
    for (size_t i = 0; i < count; i++) {
        all += runs[i].frames.v;
    }
    count = bad_holds_cut(&plan, runs, count, &left_out);
    if (e == NULL || early_init(e, runs, count) != STATUS_OK || bad_holds_add(list, &plan, e) != STATUS_OK) {
        return false;
    }
    for (size_t i = 0; i < e->hold_count; i++) {
        bad += e->holds[i].frames;
    }
    for (size_t i = 0, hold = 0; i < count; i++) {
        kept += runs[i].frames.v;
        for (uint64_t f = runs[i].first.v; f < run_end(runs[i]); f++) {
            for (; hold < e->hold_count && hold_end(e->holds[hold]) <= f; hold++) {
            }
            bool held = hold < e->hold_count && e->holds[hold].first.v <= f;
            if (!held && is_bad(pairs_count, pairs, f)) {
                test_note("frame %#lx is bad and free", f);
                return false;
            }
        }
    }
    EXPECT_EQ(kept + left_out.v, all);
    EXPECT_EQ(bad, plan.bad.v);
    EXPECT_EQ(kept - bad, plan.good.v);
    EXPECT(plan.stretches <= BAD_STRETCHES_MAX && plan.stretches == e->hold_count);
    return plan.stretches == e->hold_count && bad == plan.bad.v;
}

TEST(badram, every_second_frame_is_left_out_as_far_as_the_holds_reach_and_no_memory_is_used_behind)
{
    static const uint64_t pairs[][2] = {{PAGE_BYTES, PAGE_BYTES}};
    struct badram_list list = list_of(1, pairs);
    struct frame_run few[] = {{{256}, {2 * BAD_STRETCHES_MAX}}};
    struct bad_plan plan = bad_holds_plan(&list, few, 1);
    EXPECT(plan.end == UINT64_MAX && plan.group_log2 == 0 && plan.stretches == BAD_STRETCHES_MAX);
    EXPECT_EQ(plan.good.v, BAD_STRETCHES_MAX);

    struct frame_run many[] = {{{256}, {2 * BAD_STRETCHES_MAX + 1}}, {{1 << 20}, {1ULL << 32}}, {{1ULL << 33}, {9}}};
    plan = bad_holds_plan(&list, many, ARRAY_LEN(many));
    EXPECT_EQ(plan.end, (1 << 20) + 1); /* the good frame behind the last hold is kept, and the one behind the hole */
    EXPECT(plan.group_log2 == 0 && plan.stretches == BAD_STRETCHES_MAX);
    EXPECT_EQ(plan.good.v, BAD_STRETCHES_MAX + 2);
    EXPECT(plan_holds(&list, 1, pairs, many, ARRAY_LEN(many), plan));
}

TEST(badram, dense_patterns_in_few_places_are_left_out_by_groups)
{
    /* Each second frame in the first 16 MiB of each 4 GiB: of 16 TiB all but 1/256 can be used. */
    static const uint64_t pairs[][2] = {{0, 0xFF001000}};
    struct badram_list list = list_of(1, pairs);
    struct frame_run runs[] = {{{256}, {1ULL << 32}}};
    struct bad_plan plan = bad_holds_plan(&list, runs, 1);
    EXPECT(plan.group_log2 == 1 && plan.end == UINT64_MAX);
    EXPECT_EQ(plan.good.v, (1ULL << 32) / 256 * 255);
    EXPECT_EQ(plan.stretches, 16 * TIB / (4 * GIB) + 1);
}

TEST(badram, groups_and_an_end_together_where_that_leaves_most)
{
    /* Each second frame of 32, in each 64: 2^15 dense places in 8 GiB. Joined, they reach as far as the holds do. */
    static const uint64_t pairs[][2] = {{0, 0x21000}};
    struct badram_list list = list_of(1, pairs);
    struct frame_run runs[] = {{{0}, {1ULL << 21}}};
    struct bad_plan plan = bad_holds_plan(&list, runs, 1);
    EXPECT_EQ(plan.group_log2, 1);
    EXPECT_EQ(plan.end, 64 * (uint64_t)BAD_STRETCHES_MAX);
    EXPECT_EQ(plan.good.v, 32 * (uint64_t)BAD_STRETCHES_MAX);
    EXPECT(plan_holds(&list, 1, pairs, runs, 1, plan));
}

TEST(badram, patterns_that_match_everything_leave_nothing_whatever_they_are)
{
    static const uint64_t all[][2] = {{0, 0}};
    static const uint64_t halves[][2] = {{0, PAGE_BYTES}, {PAGE_BYTES, PAGE_BYTES}};
    static const uint64_t quarters[][2] = {{0, 0x801000}, {PAGE_BYTES, PAGE_BYTES}, {0x800000, 0x800000}};
    struct frame_run runs[] = {{{1}, {100}}, {{256}, {1ULL << 40}}};
    struct badram_list list = list_of(1, all);
    struct bad_plan plan = bad_holds_plan(&list, runs, 2);
    EXPECT(plan.good.v == 0 && plan.end == UINT64_MAX && plan.stretches == 2);
    list = list_of(2, halves);
    EXPECT_EQ(bad_holds_plan(&list, runs, 2).good.v, 0);
    list = list_of(3, quarters);
    EXPECT_EQ(bad_holds_plan(&list, runs, 2).good.v, 0);
    EXPECT_EQ(bad_holds_plan(&list, NULL, 0).good.v, 0);
}

TEST(badram, as_many_patterns_as_there_can_be_end_soon_in_any_memory)
{
    struct badram_list list = {.count = BADRAM_PATTERNS_MAX};
    for (size_t i = 0; i < BADRAM_PATTERNS_MAX; i++) { /* each 64th frame, from another one on: all of them */
        list.at[i] = badram_pattern(bytes_of(i), bytes_of(BADRAM_PATTERNS_MAX - 1));
    }
    struct frame_run runs[] = {{{256}, {1ULL << 40}}};
    EXPECT_EQ(bad_holds_plan(&list, runs, 1).good.v, 0);
    list.count--; /* all but one in 64 */
    struct bad_plan plan = bad_holds_plan(&list, runs, 1);
    EXPECT(plan.group_log2 == 0 && plan.stretches == BAD_STEPS_MAX / (BADRAM_PATTERNS_MAX - 1));
    EXPECT_EQ(plan.good.v, plan.stretches);
}

TEST(badram, random_plans_leave_no_bad_frame_and_count_right)
{
    struct rng rng = rng_seeded(test_seed());
    struct frame_run *runs = test_pages(1);
    REQUIRE(runs != NULL);
    for (unsigned round = 0; round < 2 + 8 * (test_effort() - 1); round++) {
        uint64_t pairs[3][2];
        size_t pairs_count = 1 + rng_below(&rng, 3), count = 1 + rng_below(&rng, 5);
        for (size_t i = 0; i < pairs_count; i++) {
            pairs[i][0] = rng_next(&rng);
            pairs[i][1] = bytes_of(rng_below(&rng, 1 << 16) & (rng_next(&rng) | 0xFF00));
        }
        for (uint64_t i = 0, at = rng_below(&rng, 300); i < count; i++) {
            runs[i] = (struct frame_run){pfn(at), npages(1 + rng_below(&rng, 1 << 14))};
            at = run_end(runs[i]) + 1 + rng_below(&rng, 1000);
        }
        struct badram_list list = list_of(pairs_count, pairs);
        REQUIRE(plan_holds(&list, pairs_count, pairs, runs, count, bad_holds_plan(&list, runs, count)));
    }
}
