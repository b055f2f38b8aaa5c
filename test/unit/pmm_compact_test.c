/* Blocks from the mover's side: looked at, drawn empty, given back whole, and frames for pages that move. */
#include "pmm/pmm_change.h"
#include "pmm/pmm_compact.h"
#include "pmm/pmm_pressure.h"
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 8, PAGES = 3 * BLOCK };

static pfn_t pages[PAGES];

/* Three blocks of user frames; of each all go but the i-th ones that `stays` says. */
static struct pmm_bed *scattered(bool (*stays)(uint64_t frame))
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    if (bed == NULL || !bed_starts(bed)) {
        return NULL;
    }
    bool ok = EXPECT_EQ(pmm_alloc_many(&bed->pmm, PMM_USER, pages, npages(PAGES)), STATUS_OK);
    for (unsigned i = 0; i < PAGES && ok; i++) {
        ok = stays(pages[i].v) || EXPECT_EQ(pmm_free(&bed->pmm, pages[i]), STATUS_OK);
    }
    pmm_drain(&bed->pmm);
    return ok ? bed : NULL;
}

static bool is_tenth(uint64_t frame) { return frame % 10 == 0; }

/* The first that can be won. */
static struct pmm_block_info a_block(struct pmm_bed *bed)
{
    struct pmm_block_info b = {.first = pfn(0)};
    pfn_t at = pfn(0);
    while (pmm_block_next(&bed->pmm, at, &b) && !(b.is_movable && b.used > 0 && b.used < BLOCK / 2)) {
        at = pfn_add(b.first, BLOCK);
    }
    EXPECT(b.is_movable && b.gives && b.used + b.free == BLOCK);
    return b;
}

TEST(pmm_compact, blocks_are_told_in_order_with_what_is_in_them)
{
    struct pmm_bed *bed = scattered(is_tenth);
    REQUIRE(bed != NULL);
    struct pmm_block_info b = {.first = pfn(0)};
    uint64_t free = 0, last = 0;
    for (pfn_t at = pfn(0); pmm_block_next(&bed->pmm, at, &b); at = pfn_add(b.first, BLOCK)) {
        EXPECT(b.first.v > last && b.first.v % BLOCK == 0);
        last = b.first.v;
        free += b.free;
    }
    const struct pmm_stats s = pmm_stats(&bed->pmm);
    EXPECT_EQ(free + s.untouched.v, s.free.v + s.earmarked.v);
    EXPECT(!pmm_block_next(&bed->pmm, pfn(last + 1), &b));
    bed_sound(bed);
}

TEST(pmm_compact, a_block_drawn_empty_is_given_back_whole)
{
    struct pmm_bed *bed = scattered(is_tenth);
    REQUIRE(bed != NULL);
    const struct pmm_block_info b = a_block(bed);
    const struct pmm_stats before = pmm_stats(&bed->pmm);
    struct pmm_block_frames f;
    const uint64_t shared = (b.first.v + 9) / 10 * 10, thrice = shared + 10;
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(shared)), STATUS_OK);
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(thrice)), STATUS_OK);
    EXPECT_EQ(pmm_retain(&bed->pmm, pfn(thrice)), STATUS_OK);
    EXPECT_EQ(pmm_block_take(&bed->pmm, b.first, &f), STATUS_OK);
    for (uint64_t i = 0; i < BLOCK; i++) {
        const uint64_t frame = b.first.v + i, w = i / 64, bit = i % 64;
        EXPECT_EQ(f.free[w] >> bit & 1, !is_tenth(frame));
        EXPECT_EQ(f.used[w] >> bit & 1, is_tenth(frame));
        EXPECT_EQ(f.once[w] >> bit & 1, is_tenth(frame) && frame != shared && frame != thrice);
        EXPECT_EQ(f.twice[w] >> bit & 1, frame == shared);
    }
    bed_sound(bed);
    EXPECT_EQ(pmm_block_give(&bed->pmm, b.first), STATUS_MISUSE); /* two are shared */
    test_expect_reports(1);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(shared), NULL), STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(thrice), NULL), STATUS_OK);
    EXPECT_EQ(pmm_release(&bed->pmm, pfn(thrice), NULL), STATUS_OK);
    EXPECT_EQ(pmm_block_give(&bed->pmm, b.first), STATUS_OK);
    const struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT_EQ(after.whole.v, before.whole.v + BLOCK);
    EXPECT_EQ(after.free.v, before.free.v + b.used);
    EXPECT_EQ(pmm_block_give(&bed->pmm, b.first), STATUS_MISUSE); /* it is free */
    test_expect_reports(2);
    bed_sound(bed);
}

TEST(pmm_compact, frames_for_pages_come_from_the_fullest_and_open_nothing)
{
    struct pmm_bed *bed = scattered(is_tenth);
    REQUIRE(bed != NULL);
    static pfn_t frames[PAGES];
    const struct pmm_stats before = pmm_stats(&bed->pmm);
    struct pmm_block_info b = {.first = pfn(0)};
    uint64_t scattered_frames = 0;
    for (pfn_t at = pfn(0); pmm_block_next(&bed->pmm, at, &b); at = pfn_add(b.first, BLOCK)) {
        scattered_frames += b.gives ? b.free : 0;
    }
    const unsigned got = pmm_alloc_partly(&bed->pmm, frames, PAGES, pfn(0), npages(0));
    const struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT(got >= scattered_frames && got < PAGES); /* block 0 gives too */
    EXPECT(after.whole.v == before.whole.v && after.untouched.v == before.untouched.v);
    EXPECT_EQ(after.free.v, before.free.v - got);
    bed_sound(bed);
    /* Elsewhere there is more, but not in the region itself. */
    EXPECT_EQ(pmm_alloc_elsewhere(&bed->pmm, frames + got, 1, pfn(0), npages(UINT32_MAX)), 0);
    EXPECT_EQ(pmm_alloc_elsewhere(&bed->pmm, frames + got, 1, pfn(0), npages(0)), 1);
    for (unsigned i = 0; i <= got; i++) {
        EXPECT_EQ(pmm_free(&bed->pmm, frames[i]), STATUS_OK);
    }
    bed_sound(bed);
}

TEST(pmm_compact, what_is_no_open_block_or_too_much_is_not_drawn)
{
    struct pmm_bed *bed = scattered(is_tenth);
    REQUIRE(bed != NULL);
    struct pmm_block_frames f;
    pfn_t run;
    const struct pmm_block_info b = a_block(bed);
    EXPECT_EQ(any_run(bed, BLOCK, &run), STATUS_OK);
    EXPECT_EQ(pmm_block_take(&bed->pmm, run, &f), STATUS_ABSENT);
    EXPECT_EQ(pmm_block_take(&bed->pmm, pfn_add(b.first, 1), &f), STATUS_ABSENT);
    EXPECT_EQ(pmm_block_take(&bed->pmm, pfn(0), &f), STATUS_ABSENT);
    EXPECT_EQ(pmm_block_take(&bed->pmm, pfn(UINT32_MAX), &f), STATUS_ABSENT);
    const npages_t all = npages(pmm_stats(&bed->pmm).free.v - b.free + 1);
    EXPECT_EQ(pmm_promise(&bed->pmm, all), STATUS_OK);
    EXPECT_EQ(pmm_block_take(&bed->pmm, b.first, &f), STATUS_NOMEM);
    EXPECT_EQ(pmm_unpromise(&bed->pmm, all), STATUS_OK);
    EXPECT_EQ(pmm_block_take(&bed->pmm, b.first, &f), STATUS_OK);
    bed_sound(bed);
}

/* ---- References that pass to another frame ---- */

/* Two frames, the first with so many references. */
static bool with_references(struct pmm_bed *bed, unsigned references, pfn_t frames[static 2])
{
    bool ok = EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frames[0]), STATUS_OK) &&
              EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_USER, &frames[1]), STATUS_OK);
    while (ok && --references > 0) {
        ok = EXPECT_EQ(pmm_retain(&bed->pmm, frames[0]), STATUS_OK);
    }
    return ok;
}

static void expect_references(struct pmm_bed *bed, const pfn_t frames[static 2], unsigned first, unsigned second)
{
    EXPECT_EQ(pmm_query(&bed->pmm, frames[0]).references, first);
    EXPECT_EQ(pmm_query(&bed->pmm, frames[1]).references, second);
    bed_sound(bed);
}

static void drop(struct pmm_bed *bed, pfn_t frame, unsigned references)
{
    for (bool freed = false; references > 0; references--) {
        EXPECT_EQ(pmm_release(&bed->pmm, frame, &freed), STATUS_OK);
        EXPECT_EQ(freed, references == 1);
    }
}

TEST(pmm_compact, references_but_one_pass_to_a_frame_that_is_used_once)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, cpus);
        pfn_t frames[2];
        REQUIRE(bed != NULL && bed_starts(bed));
        for (unsigned had = 1; had <= 4; had++) {
            REQUIRE(with_references(bed, had, frames));
            EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[0], frames[1]), STATUS_OK);
            expect_references(bed, frames, 1, had);
            EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[1], frames[0]), STATUS_OK);
            expect_references(bed, frames, had, 1);
            EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[0], frames[1]), STATUS_OK);
            drop(bed, frames[1], had);
            EXPECT_EQ(pmm_free(&bed->pmm, frames[0]), STATUS_OK);
            bed_sound(bed);
        }
    }
}

TEST(pmm_compact, references_do_not_pass_where_that_would_make_no_sense)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    pfn_t frames[2], zero, gone;
    REQUIRE(bed != NULL && bed_starts(bed) && with_references(bed, 2, frames));
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &zero) == STATUS_OK &&
            pmm_zero_frame_set(&bed->pmm, zero) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &gone) == STATUS_OK && pmm_free(&bed->pmm, gone) == STATUS_OK);
    const pfn_t none = pfn(UINT32_MAX);
    const struct { pfn_t from, to; } wrong[] = {
        {frames[0], frames[0]}, {frames[1], frames[1]}, {frames[1], frames[0]}, {frames[0], gone}, {gone, frames[1]},
        {frames[0], zero}, {zero, frames[1]}, {frames[0], none}, {none, frames[1]},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_REFUSED(bed, pmm_pass_references(&bed->pmm, wrong[i].from, wrong[i].to), STATUS_MISUSE);
        EXPECT(bed_reported("pmm_pass_references: "));
    }
    test_expect_reports(ARRAY_LEN(wrong));
}

/* It is the frame that is bad, and not what is in it. */
TEST(pmm_compact, a_frame_whose_references_passed_goes_bad_alone)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    pfn_t frames[2];
    REQUIRE(bed != NULL && bed_starts(bed) && with_references(bed, 3, frames));
    EXPECT_EQ(pmm_mark_bad(&bed->pmm, frames[0]), STATUS_OK);
    EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[0], frames[1]), STATUS_OK);
    expect_references(bed, frames, 1, 3);
    EXPECT(pmm_query(&bed->pmm, frames[0]).goes_bad && !pmm_query(&bed->pmm, frames[1]).goes_bad);
    EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[1], frames[0]), STATUS_OK);
    expect_references(bed, frames, 3, 1);
    EXPECT(pmm_query(&bed->pmm, frames[0]).goes_bad && !pmm_query(&bed->pmm, frames[1]).goes_bad);
    drop(bed, frames[0], 3);
    EXPECT_EQ(pmm_query(&bed->pmm, frames[0]).state, PMM_STATE_BAD);
    EXPECT_EQ(pmm_free(&bed->pmm, frames[1]), STATUS_OK);
    bed_sound(bed);
}

/* Told as what it is to each frame. */
static uint64_t told[2];
static void listen(void *ctx, enum pmm_event event, pfn_t first, npages_t frames)
{
    const pfn_t *two = ctx;
    told[0] += event == PMM_EVENT_RELEASE && first.v == two[0].v && frames.v == 1;
    told[1] += event == PMM_EVENT_RETAIN && first.v == two[1].v && frames.v == 1;
}

TEST(pmm_compact, each_reference_that_passes_is_traced)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    pfn_t frames[2];
    REQUIRE(bed != NULL && bed_starts(bed) && with_references(bed, 4, frames));
    told[0] = told[1] = 0;
    pmm_trace(&bed->pmm, listen, frames);
    EXPECT_EQ(pmm_pass_references(&bed->pmm, frames[0], frames[1]), STATUS_OK);
    pmm_trace(&bed->pmm, NULL, NULL);
    EXPECT(told[0] == 3 && told[1] == 3);
}
