/*
 * A state that no correct code wrote, met by a pop or a push: its block is closed and reported, the rest goes on, and
 * the totals say what is lost.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 6, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };
enum { VICTIM = BASE + 3, AT = VICTIM * PMM_BLOCK_FRAMES, FREED = 20 };

/*
 * Blocks [8, 14), all open; of the victim 20 frames are free, the others used: AT + 100 + 3 * i was freed as the i-th,
 * so the stack has AT + 157 on top and AT + 100 at the bottom.
 */
static struct pmm_bed *machine(struct bed_arena *arena, size_t cpus)
{
    struct pmm_bed *bed = bed_new(arena, BASE, BASE + BLOCKS, 1);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        some_cpus(bed, cpus);
        bed_with_owners(bed, 2);
        if (!starts(bed)) {
            return NULL;
        }
        open_all(bed);
        EXPECT_EQ(pmm_claim(&bed->pmm, pfn(AT), npages(PMM_BLOCK_FRAMES)), STATUS_OK);
        for (unsigned i = 0; i < FREED; i++) {
            free_one(bed, AT + 100 + 3 * i);
        }
        pmm_drain(&bed->pmm);
        EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, 0);
    }
    return bed;
}

static uint64_t nth(unsigned i) { return AT + 100 + 3 * i; }

/* What is written where; frames below it on the stack and itself cannot be had any more. */
struct damage {
    unsigned nth;      /* whose state; FREED: the top */
    unsigned code;
};

static void do_damage(struct pmm_bed *bed, struct damage d)
{
    if (d.nth == FREED) {
        bed->blocks[VICTIM].top = (uint16_t)d.code;
    } else {
        bed->states[nth(d.nth)] = (uint16_t)d.code;
    }
}

static const struct damage damages[] = {
    {FREED - 1, CODE_ABSENT},   {FREED - 1, CODE_METADATA}, {FREED - 1, CODE_LAST + 1}, {FREED - 1, CODE_LINK - 1},
    {FREED - 1, CODE_UNWRITTEN},    {FREED - 1, CODE_CACHED},   {10, CODE_RESERVED},        {10, CODE_UNWRITTEN},
    {0, CODE_ABSENT},           {0, CODE_LAST + 9},         {FREED, 7},                 {FREED, CODE_LINK - 1},
    {FREED, CODE_LINK + 99},    {10, CODE_LINK + 500},      {FREED - 1, 1},             {5, 3},
};

static bool closed(const struct pmm_bed *bed)
{
    return bed->blocks[VICTIM].mode == PMM_BLOCK_CLOSED && EXPECT_EQ(test_reports(), 1) && report_has("0xb");
}

/* Take all there is; everything that was free is either served once or lost. */
static uint64_t take_the_rest(struct pmm_bed *bed, uint64_t *list, uint8_t *seen, uint64_t free)
{
    memset(seen, 0, FRAMES);
    uint64_t count = take_list(bed, PMM_KERNEL, list);
    for (uint64_t i = 0; i < count; i++) {
        EXPECT_EQ(seen[list[i] - FIRST]++, 0);
        EXPECT_EQ(state_of(bed, list[i]), PMM_STATE_USED);
    }
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT(s.lost.v > 0 && s.lost.v <= FREED);
    EXPECT_EQ(count + s.lost.v, free);
    EXPECT_EQ(s.free.v, 0);
    EXPECT_EQ(s.reserved.v, s.lost.v);
    return count;
}

TEST(pmm, a_wrong_state_met_by_a_pop_closes_its_block_and_the_rest_is_served)
{
    struct bed_arena arena = bed_arena();
    uint8_t *seen = test_pages(bytes_to_pages_up(FRAMES).v);
    uint64_t *list = test_pages(bytes_to_pages_up(FRAMES * sizeof *list).v);
    REQUIRE(seen != NULL && list != NULL);
    for (size_t i = 0; i < 2 * ARRAY_LEN(damages); i++) {
        struct pmm_bed *bed = machine(&arena, i % 2);
        REQUIRE(bed != NULL);
        struct damage d = damages[i / 2];
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        unsigned reports = test_reports();
        do_damage(bed, d);
        uint64_t count = take_the_rest(bed, list, seen, free);
        EXPECT_EQ(test_reports(), reports + 1);
        EXPECT_EQ(bed->blocks[VICTIM].mode, PMM_BLOCK_CLOSED);
        report_has("0xb");
        bool ok = bed_sound(bed);
        /* All that was handed out can be given back; what the block gets is lost. */
        uint64_t lost = pmm_stats(&bed->pmm).lost.v;
        for (uint64_t n = 0; n < count; n++) {
            lost += list[n] / PMM_BLOCK_FRAMES == VICTIM;
            free_one(bed, list[n]);
        }
        EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, lost);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, free - lost);
        if (!(bed_sound(bed) && ok)) {
            test_note("frame %u of the stack, code %#x, cpus %zu", d.nth, d.code, i % 2);
        }
        test_expect_reports(test_reports());
    }
}

TEST(pmm, a_wrong_top_met_by_a_push_closes_its_block_and_the_frame_is_lost)
{
    struct pmm_bed *bed = machine(NULL, 0);
    REQUIRE(bed != NULL);
    struct pmm_stats before = pmm_stats(&bed->pmm);
    bed->blocks[VICTIM].top = CODE_LAST;
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(AT)), STATUS_OK); /* its caller did nothing wrong */
    EXPECT(closed(bed));
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.lost.v, FREED + 1);
    EXPECT_EQ(s.free.v, before.free.v - FREED);
    EXPECT_EQ(s.used.v, before.used.v - 1);
    EXPECT_EQ(state_of(bed, AT), PMM_STATE_LOST);
    EXPECT_EQ(state_of(bed, nth(3)), PMM_STATE_LOST);
    EXPECT_EQ(state_of(bed, AT + 1), PMM_STATE_USED);
    bed_sound(bed);
    for (uint64_t f = AT + 1; f < AT + PMM_BLOCK_FRAMES; f++) {
        if (state_of(bed, f) == PMM_STATE_USED) {
            free_one(bed, f);
        }
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, PMM_BLOCK_FRAMES);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v - (PMM_BLOCK_FRAMES - FREED));
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm, nothing_is_taken_from_a_closed_block_by_any_call)
{
    struct pmm_bed *bed = machine(NULL, 0);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    bed->blocks[VICTIM].top = 1;
    free_one(bed, AT);
    EXPECT(closed(bed));
    bed_remember(bed);
    EXPECT_EQ(pmm_claim(pmm, pfn(nth(2)), npages(1)), STATUS_EXISTS);
    EXPECT_EQ(pmm_claim(pmm, pfn(AT), npages(1)), STATUS_EXISTS);
    EXPECT_EQ(pmm_claim(pmm, pfn(AT + 1), npages(1)), STATUS_EXISTS);
    EXPECT_EQ(pmm_free(pmm, pfn(nth(2))), STATUS_MISUSE);
    EXPECT_EQ(pmm_retain(pmm, pfn(AT)), STATUS_MISUSE);
    EXPECT_EQ(pmm_give_back(pmm, pfn(AT), npages(1)), STATUS_MISUSE);
    EXPECT_EQ(pmm_region_remove(pmm, pfn(FIRST), npages(FRAMES), NULL), STATUS_EXISTS);
    bed_unchanged(bed);
    /* Counts go on working for those who have frames in it. */
    EXPECT_EQ(pmm_retain(pmm, pfn(AT + 1)), STATUS_OK);
    EXPECT_EQ(pmm_mark_bad(pmm, pfn(AT + 2)), STATUS_OK);
    bed_sound(bed);
    EXPECT_EQ(pmm_release(pmm, pfn(AT + 1), NULL), STATUS_OK);
    EXPECT_EQ(pmm_release(pmm, pfn(AT + 1), NULL), STATUS_OK);
    EXPECT_EQ(pmm_free_run(pmm, pfn(AT + 2), npages(5)), STATUS_OK);
    bed_sound(bed);
    pfn_t run;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    while (pmm_alloc_run(pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK) {
        EXPECT(run.v != AT);
    }
    while (pmm_alloc_run(pmm, PMM_USER, npages(2), n, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK) {
        EXPECT(run.v / PMM_BLOCK_FRAMES != VICTIM);
    }
    bed_sound(bed);
    test_expect_reports(4);
}

TEST(pmm, lost_frames_can_be_marked_bad_and_the_totals_stay_right)
{
    struct pmm_bed *bed = machine(NULL, 0);
    REQUIRE(bed != NULL);
    bed->blocks[VICTIM].top = 1;
    free_one(bed, AT);
    EXPECT(closed(bed));
    struct pmm_stats before = pmm_stats(&bed->pmm);
    const uint64_t lost[] = {AT, nth(2)};
    for (unsigned i = 0; i < ARRAY_LEN(lost); i++) {
        EXPECT_EQ(state_of(bed, lost[i]), PMM_STATE_LOST);
        EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(lost[i])), STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, before.reserved.v);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v);
        bed_sound(bed);
    }
    test_expect_reports(1);
}

TEST(pmm, the_current_block_can_be_closed_too)
{
    for (unsigned class = PMM_KERNEL; class <= PMM_USER; class++) {
        struct pmm_bed *bed = machine(NULL, 0);
        REQUIRE(bed != NULL);
        unsigned reports = test_reports();
        uint64_t list[10];
        for (unsigned i = 0; i < 10; i++) {
            list[i] = take_one(bed, class);
        }
        uint64_t block = list[9] / PMM_BLOCK_FRAMES;
        free_one(bed, list[9]);
        bed->blocks[block].top = 3;
        uint64_t frame = take_one(bed, class);
        EXPECT(frame / PMM_BLOCK_FRAMES != block);
        EXPECT_EQ(bed->blocks[block].mode, PMM_BLOCK_CLOSED);
        EXPECT_EQ(test_reports(), reports + 1);
        bed_sound(bed);
        test_expect_reports(reports + 1);
    }
}

TEST(pmm, an_owners_block_can_be_closed_and_the_owner_goes_all_the_same)
{
    struct pmm_bed *bed = machine(NULL, 0);
    REQUIRE(bed != NULL);
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    unsigned owner;
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    uint64_t list[10];
    for (unsigned i = 0; i < 10; i++) {
        list[i] = take_one(bed, PMM_OWNER(owner));
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(list[i])).owner, owner);
    }
    free_one(bed, list[9]);
    bed->blocks[list[9] / PMM_BLOCK_FRAMES].top = 3;
    uint64_t other = take_one(bed, PMM_OWNER(owner));
    EXPECT(other / PMM_BLOCK_FRAMES != list[9] / PMM_BLOCK_FRAMES);
    EXPECT_EQ(test_reports(), 1);
    bed_sound(bed);
    struct pmm_owner_stats stats;
    REQUIRE(pmm_owner_stats(&bed->pmm, owner, &stats));
    EXPECT_EQ(stats.in_own.v + stats.elsewhere.v, 10);
    struct pmm_owner_end end;
    REQUIRE(pmm_owner_close(&bed->pmm, owner, &end) == STATUS_OK);
    bed_sound(bed);
    free_list(bed, list, 9); /* they are used still: their block is nobody's */
    EXPECT_EQ(end.frames.v, 1);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm, the_first_mib_can_be_closed)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 160);
    bed_run(bed, 256, 3 * PMM_BLOCK_FRAMES);
    REQUIRE(starts(bed));
    uint64_t one = take_one(bed, PMM_BELOW_1M), two = take_one(bed, PMM_BELOW_1M);
    free_one(bed, one);
    bed->states[one] = CODE_LAST + 1;
    pfn_t frame = pfn(5);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame), STATUS_NOMEM);
    EXPECT_EQ(frame.v, 5);
    EXPECT_EQ(test_reports(), 1);
    EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, 158);
    EXPECT_EQ(pmm_stats(&bed->pmm).zones[PMM_ZONE_1M].free.v, 0);
    bed_sound(bed);
    free_one(bed, two);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm, promises_and_reserves_that_lost_their_frames_shrink_and_the_rest_can_be_drawn)
{
    struct pmm_bed *bed = machine(NULL, 0);
    REQUIRE(bed != NULL);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    REQUIRE(pmm_emergency_reserve(&bed->pmm, npages(5)) == STATUS_OK);
    REQUIRE(pmm_promise(&bed->pmm, npages(free - 8)) == STATUS_OK);
    bed->blocks[VICTIM].top = 1;
    free_one(bed, AT);
    struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(s.lost.v, FREED + 1);
    EXPECT_EQ(s.free.v, free - FREED);
    EXPECT(s.promised.v + s.emergency.v <= s.free.v);
    EXPECT(s.promised.v >= free - FREED - 3 - 5);
    bed_sound(bed);
    for (uint64_t i = 0; i < s.promised.v; i++) {
        REQUIRE(take_one(bed, PMM_PROMISED) != 0);
    }
    bed_take_all(bed, PMM_EMERGENCY);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm, a_closed_block_that_was_to_pay_for_metadata_leaves_the_books_right)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 128, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, FIRST, 100);
    bed_run(bed, 16 * PMM_BLOCK_FRAMES, 64 * PMM_BLOCK_FRAMES); /* 16 pages of states, all of it held */
    bed_hold(bed, 16 * PMM_BLOCK_FRAMES, 64 * PMM_BLOCK_FRAMES, HOLD_RESERVED);
    REQUIRE(starts(bed));
    EXPECT(pmm_stats(&bed->pmm).earmarked.v >= 16);
    uint64_t one = take_one(bed, PMM_KERNEL), two = take_one(bed, PMM_KERNEL);
    free_one(bed, one);
    bed->blocks[BASE].top = 1;
    free_one(bed, two);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    bed_sound(bed);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), 0);
    enum status s = pmm_give_back(&bed->pmm, pfn(16 * PMM_BLOCK_FRAMES), npages(64 * PMM_BLOCK_FRAMES));
    EXPECT(s == STATUS_OK || s == STATUS_NOMEM);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_USER), free);
    bed_sound(bed);
    test_expect_reports(1);
}

TEST(pmm, neighbours_on_a_stack_are_claimed_whatever_the_order_they_were_freed_in)
{
    static const uint8_t orders[][4] = {{1, 0, 2, 3}, {0, 1, 2, 3}, {3, 1, 0, 2},
                                        {2, 1, 3, 0}, {3, 2, 1, 0}, {1, 3, 0, 2}};
    struct bed_arena arena = bed_arena();
    for (size_t i = 0; i < ARRAY_LEN(orders) * 3; i++) {
        struct pmm_bed *bed = machine(&arena, 0);
        REQUIRE(bed != NULL);
        for (unsigned k = 0; k < 4; k++) {
            free_one(bed, AT + 300 + orders[i / 3][k]);
        }
        uint64_t low = AT + 300 + i % 3;
        EXPECT_EQ(pmm_claim(&bed->pmm, pfn(low), npages(2)), STATUS_OK);
        if (!bed_sound(bed)) {
            test_note("order %zu, from the %zu", i / 3, i % 3);
        }
        EXPECT_EQ(pmm_free_run(&bed->pmm, pfn(low), npages(2)), STATUS_OK);
        bed_sound(bed);
    }
}

TEST(pmm, a_wrong_state_of_a_frame_in_a_magazine_is_met_before_it_is_handed_out)
{
    static const unsigned codes[] = {CODE_ABSENT, 1, CODE_UNWRITTEN, CODE_LAST + 1, CODE_LINK + 3};
    struct bed_arena arena = bed_arena();
    for (unsigned i = 0; i < 2 * ARRAY_LEN(codes); i++) {
        struct pmm_bed *bed = machine(&arena, 1);
        REQUIRE(bed != NULL);
        uint64_t used = pmm_stats(&bed->pmm).used.v;
        uint64_t one = take_one(bed, PMM_USER), two = take_one(bed, PMM_USER), three = take_one(bed, PMM_USER);
        free_one(bed, one);
        free_one(bed, two);
        unsigned reports = test_reports();
        bed->states[i % 2 != 0 ? one : two] = (uint16_t)codes[i / 2];
        for (unsigned n = 0; n < 500; n++) {
            uint64_t frame = take_one(bed, PMM_USER);
            REQUIRE(frame != (i % 2 != 0 ? one : two));
        }
        EXPECT_EQ(test_reports(), reports + 1);
        test_expect_reports(reports + 1);
        EXPECT(pmm_stats(&bed->pmm).lost.v >= 1);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, used + 501);
        free_one(bed, three);
        if (!bed_sound(bed)) {
            test_note("code %#x", codes[i / 2]);
        }
    }
}
