/*
 * Blocks with holes whose codes come late (docs/design/0023-late-codes.md): what an opening leaves to the runs, and
 * that every call that names a frame there finds it as if it had been written.
 */
#include "lib/string.h"
#include "pmm/internal.h"
#include "unit/pmm_bed.h"

enum { B = 64, F = B * PMM_BLOCK_FRAMES, BLOCKS = 3, PAID = 2 }; /* above 16 MiB: one zone. Two pages are backed */

/* Frames from F on: a block with four runs, a whole one, and one that ends with a hole. */
static const unsigned runs[][2] = {{10, 20},   {100, 50},  {300, 1},   {400, 112 + 512 + 2},
                                  {1029, 40}, {1224, 30}, {1300, 100}};

static bool is_ram(uint64_t frame)
{
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        if (frame - F >= runs[i][0] && frame - F < runs[i][0] + runs[i][1]) {
            return true;
        }
    }
    return false;
}

/* The first block is open, and `late`; one frame of it, *frame, is in use. */
static struct pmm_bed *late_bed(struct bed_arena *arena, size_t cpus, pfn_t *frame)
{
    struct pmm_bed *bed = bed_new(arena, B, B + BLOCKS + 1, 0);
    if (bed == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        bed_run(bed, F + runs[i][0], runs[i][1]);
    }
    bed_with_cpus(bed, cpus);
    if (!bed_starts(bed) || !EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, frame), STATUS_OK)) {
        return NULL;
    }
    return EXPECT(bed->blocks[B].late) && bed_sound(bed) ? bed : NULL;
}

/* Every frame of RAM is in use once, or had now: exactly once. `others` of them are neither. */
static void expect_all_had(struct pmm_bed *bed, uint64_t others)
{
    static bool had[BLOCKS * PMM_BLOCK_FRAMES];
    memset(had, 0, sizeof had);
    uint64_t left = 0, count = 0;
    for (uint64_t f = F; f < F + BLOCKS * PMM_BLOCK_FRAMES; f++) {
        left += pmm_query(&bed->pmm, pfn(f)).state != PMM_STATE_ABSENT;
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(f)).state != PMM_STATE_ABSENT, is_ram(f));
    }
    left -= pmm_stats(&bed->pmm).used.v + others;
    for (pfn_t frame; pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK; count++) {
        REQUIRE(EXPECT(frame.v >= F && is_ram(frame.v)) && EXPECT(!had[frame.v - F]));
        had[frame.v - F] = true;
        REQUIRE(count % 16 != 0 || bed_sound(bed));
    }
    EXPECT_EQ(count, left);
    bed_sound(bed);
}

TEST(pmm_late, an_opening_counts_the_frames_behind_its_first_run_and_writes_no_code_of_them)
{
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    const struct pmm_block *b = &bed->blocks[B];
    EXPECT_EQ(frame.v, F + 10 + PAID);
    EXPECT_EQ(b->carved, 10 + PAID + 1);
    EXPECT_EQ(b->usable, 20 + 50 + 1 + 112);
    EXPECT_EQ(b->free, b->usable - PAID - 1);
    for (unsigned i = b->carved + 1U; i < PMM_BLOCK_FRAMES; i++) {
        EXPECT_EQ(bed->states[F + i], CODE_UNWRITTEN);
    }
}

TEST(pmm_late, an_opening_that_backs_nothing_counts_the_same_and_leaves_its_hints_where_the_next_ones_look)
{
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    const struct pmm_block *b = &bed->blocks[B + 2]; /* its page of codes is there since block B was opened */
    while (b->mode == PMM_BLOCK_NEVER) {
        REQUIRE(EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frame), STATUS_OK));
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).metadata.v, PAID);
    EXPECT_EQ(frame.v, F + 1024);
    EXPECT_EQ(b->carved, 1);
    EXPECT_EQ(b->usable, 2 + 40 + 30 + 100);
    EXPECT_EQ(b->free, b->usable - 1);
    EXPECT(b->late);
    EXPECT_EQ(bed->states[F + 1025], 3);                   /* the run that the mark is in */
    EXPECT_EQ(bed->regions[0].fresh.run, ARRAY_LEN(runs)); /* none ends behind the block */
    for (unsigned i = 1026; i < 3 * PMM_BLOCK_FRAMES; i++) {
        EXPECT_EQ(bed->states[F + i], CODE_UNWRITTEN);
    }
    bed_sound(bed);
}

TEST(pmm_late, all_frames_are_had_once_each_whether_by_alloc_by_many_or_through_a_magazine)
{
    for (size_t cpus = 0; cpus < 2; cpus++) {
        pfn_t frame, many[200];
        struct pmm_bed *bed = late_bed(NULL, cpus, &frame);
        REQUIRE(bed != NULL);
        expect_all_had(bed, PAID);
        bed = late_bed(NULL, cpus, &frame);
        REQUIRE(bed != NULL && pmm_alloc_many(&bed->pmm, PMM_USER, many, npages(200)) == STATUS_OK);
        for (size_t i = 0; i < ARRAY_LEN(many); i++) {
            EXPECT(is_ram(many[i].v));
        }
        bed_sound(bed);
        expect_all_had(bed, PAID);
    }
}

TEST(pmm_late, what_is_freed_comes_before_what_was_never_carved_and_the_holes_stay)
{
    pfn_t frame, again;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < 40; i++) { /* into the second run */
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &again) == STATUS_OK);
    }
    EXPECT(bed->blocks[B].late && again.v > F + 100);
    REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &again) == STATUS_OK);
    EXPECT_EQ(again.v, frame.v);
    bed_sound(bed);
    expect_all_had(bed, PAID);
}

TEST(pmm_late, frames_behind_the_mark_are_free_or_absent_and_to_free_one_is_misuse)
{
    static const unsigned places[] = {14, 29, 30, 99, 120, 150, 299, 300, 301, 399, 400, 511};
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 1, &frame);
    REQUIRE(bed != NULL);
    pmm_drain(&bed->pmm);
    REQUIRE(bed->blocks[B].late);
    test_expect_reports(4 * ARRAY_LEN(places));
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        pfn_t at = pfn(F + places[i]);
        enum pmm_state state = pmm_query(&bed->pmm, at).state;
        EXPECT(is_ram(at.v) ? state == PMM_STATE_FREE : state == PMM_STATE_ABSENT);
        EXPECT_REFUSED(bed, pmm_free(&bed->pmm, at), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_retain(&bed->pmm, at), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_free_run(&bed->pmm, at, npages(2)), STATUS_MISUSE);
        EXPECT_REFUSED(bed, pmm_give_back(&bed->pmm, at, npages(1)), STATUS_MISUSE);
    }
    EXPECT(bed->blocks[B].late);
}

TEST(pmm_late, a_walk_sees_the_runs_behind_the_mark)
{
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    npages_t counts[PMM_STATES];
    pmm_state_counts(&bed->pmm, counts);
    EXPECT_EQ(counts[PMM_STATE_FREE].v, bed->blocks[B].free);
    EXPECT_EQ(counts[PMM_STATE_METADATA].v, PAID);
    EXPECT_EQ(counts[PMM_STATE_USED].v, 1);
    EXPECT_EQ(counts[PMM_STATE_UNTOUCHED].v, 512 + 2 + 40 + 30 + 100);
}

TEST(pmm_late, a_claim_behind_the_mark_is_served_and_one_that_meets_a_hole_changes_nothing)
{
    static const struct {
        unsigned first, frames;
        enum status status;
    } claims[] = {
        {110, 5, STATUS_OK}, {100, 50, STATUS_OK}, {300, 1, STATUS_OK},
        {400, 200, STATUS_OK}, {20, 10, STATUS_OK}, {99, 2, STATUS_ABSENT},
        {149, 2, STATUS_ABSENT}, {299, 3, STATUS_ABSENT}, {200, 1, STATUS_ABSENT},
        {12, 1, STATUS_EXISTS}, {12, 100, STATUS_EXISTS}, {25, 80, STATUS_ABSENT},
        {1224, 30, STATUS_OK}, {1399, 2, STATUS_ABSENT}, {1500, 1, STATUS_ABSENT},
    };
    struct bed_arena arena = bed_arena();
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        pfn_t frame;
        struct pmm_bed *bed = late_bed(&arena, 0, &frame);
        REQUIRE(bed != NULL);
        npages_t n = npages(claims[i].frames);
        bed_remember(bed);
        EXPECT_EQ(pmm_claim(&bed->pmm, pfn(F + claims[i].first), n), claims[i].status);
        EXPECT(claims[i].status == STATUS_OK || bed_unchanged(bed));
        bed_sound(bed);
        expect_all_had(bed, PAID);
    }
}

TEST(pmm_late, a_frame_behind_the_mark_that_goes_bad_is_never_had)
{
    static const unsigned places[] = {15, 29, 100, 149, 300, 511};
    struct bed_arena arena = bed_arena();
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        pfn_t frame;
        struct pmm_bed *bed = late_bed(&arena, 0, &frame);
        REQUIRE(bed != NULL);
        EXPECT_REFUSED(bed, pmm_mark_bad(&bed->pmm, pfn(F + 350)), STATUS_ABSENT);
        bed = late_bed(&arena, 0, &frame);
        REQUIRE(bed != NULL);
        EXPECT_EQ(pmm_mark_bad(&bed->pmm, pfn(F + places[i])), STATUS_OK);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(F + places[i])).state, PMM_STATE_BAD);
        bed_sound(bed);
        expect_all_had(bed, PAID + 1);
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(F + places[i])).state, PMM_STATE_BAD);
    }
}

TEST(pmm_late, a_run_is_found_behind_the_mark_and_lies_in_memory)
{
    static const unsigned lengths[] = {5, 40, 60, 50};
    pfn_t frame, run;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, pfn(F + 512)).v, 112);
    bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        npages_t n = npages(lengths[i]);
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_KERNEL, n, npages(1), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
        for (uint64_t f = run.v; f < run.v + n.v; f++) {
            EXPECT(is_ram(f));
        }
        EXPECT(run.v < F + 512);
        bed_sound(bed);
    }
    expect_all_had(bed, PAID);
}

TEST(pmm_late, a_block_that_is_closed_loses_what_is_free_behind_its_mark_too)
{
    pfn_t frame, again;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL && pmm_alloc(&bed->pmm, PMM_KERNEL, &again) == STATUS_OK);
    REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
    uint64_t lost = bed->blocks[B].free;
    bed->states[frame.v] = CODE_LAST + 1;
    test_expect_reports(1);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &again) == STATUS_OK);
    EXPECT(bed_reported("is closed"));
    EXPECT(again.v >= F + PMM_BLOCK_FRAMES);
    EXPECT_EQ(pmm_stats(&bed->pmm).lost.v, lost);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(F + 120)).state, PMM_STATE_LOST);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(F + 200)).state, PMM_STATE_ABSENT);
    bed_sound(bed);
}

TEST(pmm_late, the_validator_names_a_mark_in_a_hole_and_a_block_that_is_late_without_one)
{
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL);
    struct pmm_block *b = &bed->blocks[B];
    uint16_t carved = b->carved;
    static char text[PAGE_BYTES];
    struct buffer_sink sink;
    for (unsigned i = 0; i < 2; i++) {
        b->carved = i == 0 ? 30 : carved;
        b->late = i == 0;
        buffer_sink_init(&sink, text, sizeof text);
        EXPECT_EQ(pmm_check(&bed->pmm, &sink.sink), STATUS_CORRUPT);
        bool named = false;
        for (const char *at = text; (at = strchr(at, 'P')) != NULL; at++) {
            named = named || strncmp(at, "PMM-I4", 6) == 0;
        }
        EXPECT(named);
    }
    b->late = 1;
    bed_sound(bed);
}

TEST(pmm_late, a_block_with_nothing_in_use_serves_the_other_class_from_its_mark_on)
{
    pfn_t frame;
    struct pmm_bed *bed = late_bed(NULL, 0, &frame);
    REQUIRE(bed != NULL && pmm_free(&bed->pmm, frame) == STATUS_OK);
    bed_sound(bed);
    uint64_t had = 0;
    while (pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK) {
        EXPECT(is_ram(frame.v));
        had++;
    }
    for (uint64_t f = F; f < F + BLOCKS * PMM_BLOCK_FRAMES; f++) {
        if (pmm_query(&bed->pmm, pfn(f)).state == PMM_STATE_USED) {
            REQUIRE(pmm_free(&bed->pmm, pfn(f)) == STATUS_OK);
        }
    }
    bed_sound(bed);
    EXPECT_EQ(bed_take_all(bed, PMM_USER), had);
}
