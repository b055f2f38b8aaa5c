/*
 * Wrong arguments: flags, owners, promises, ranges. Each is reported and changes nothing, to the byte; what cannot be
 * meant is INVALID, without a report.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 8, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };

/* Blocks [8, 16); [FIRST + 40, FIRST + 50) reserved, FIRST + 30 used. */
static struct pmm_bed *machine(struct snap **snap)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 16, 0);
    if (bed == NULL) {
        return NULL;
    }
    bed_run(bed, FIRST, FRAMES);
    bed_hold(bed, FIRST + 30, 1, HOLD_USED);
    bed_hold(bed, FIRST + 40, 10, HOLD_RESERVED);
    bed_with_owners(bed, 3);
    bed_with_zero_pool(bed, 4);
    if (!starts(bed)) {
        return NULL;
    }
    *snap = snap_new(bed);
    return *snap == NULL ? NULL : bed;
}

TEST(pmm, flags_that_no_call_knows_are_reported)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    pfn_t frame = pfn(77);
    bool is_zero = true;
    for (unsigned bit = 7; bit < PMM_OWNER_SHIFT; bit++) {
        char word[16];
        fmt_text(word, sizeof word, "%#x", 1U << bit);
        EXPECT_MISUSE(snap, bed, pmm_alloc(pmm, 1U << bit, &frame), "pmm_alloc: ", word, "caller");
        EXPECT_MISUSE(snap, bed, pmm_alloc_many(pmm, 1U << bit, &frame, npages(1)), "pmm_alloc_many: ", word);
        EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(pmm, 1U << bit, &frame, &is_zero), "pmm_alloc_zeroed: ", word);
        EXPECT_MISUSE(snap, bed,
                      pmm_alloc_run(pmm, 1U << bit, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &frame),
                      "pmm_alloc_run: ", word, "caller");
    }
    EXPECT_MISUSE(snap, bed, pmm_alloc_run(pmm, PMM_PROMISED, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &frame),
                  "pmm_alloc_run: ");
    EXPECT_EQ(frame.v, 77);
    EXPECT(is_zero);
}

TEST(pmm, requests_for_an_owner_that_is_not_open_are_reported)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    unsigned open, closed;
    REQUIRE(pmm_owner_open(pmm, &open) == STATUS_OK && pmm_owner_open(pmm, &closed) == STATUS_OK);
    REQUIRE(pmm_owner_close(pmm, closed, NULL) == STATUS_OK);
    const unsigned wrong[] = {closed, 3, 4, PMM_OWNERS_MAX, UINT16_MAX};
    pfn_t frame = pfn(77);
    bool is_zero;
    struct pmm_owner_end end;
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        char word[16];
        fmt_text(word, sizeof word, "owner %u", wrong[i]);
        EXPECT_MISUSE(snap, bed, pmm_alloc(pmm, PMM_OWNER(wrong[i]), &frame), "pmm_alloc: ", word, "caller");
        EXPECT_MISUSE(snap, bed, pmm_alloc_many(pmm, PMM_OWNER(wrong[i]), &frame, npages(1)), "pmm_alloc_many: ", word);
        EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(pmm, PMM_OWNER(wrong[i]), &frame, &is_zero),
                      "pmm_alloc_zeroed: ", word);
        EXPECT_MISUSE(snap, bed, pmm_owner_close(pmm, wrong[i], &end), "pmm_owner_close: ", word, "caller");
        EXPECT_MISUSE(snap, bed, pmm_uncharge(pmm, wrong[i], npages(0)), "pmm_uncharge: ", word, "caller");
    }
    EXPECT_MISUSE(snap, bed, pmm_owner_close(pmm, 0, &end), "pmm_owner_close: ");
    EXPECT_MISUSE(snap, bed, pmm_uncharge(pmm, UINT32_MAX, npages(0)), "pmm_uncharge: ");
    EXPECT_MISUSE(snap, bed, pmm_uncharge(pmm, open, npages(1)), "pmm_uncharge: ");
    EXPECT_MISUSE(snap, bed,
                  pmm_alloc_run(pmm, PMM_OWNER(open), npages(1), npages(0), npages(0), PMM_NO_LIMIT, &frame),
                  "pmm_alloc_run: ");
    EXPECT_EQ(frame.v, 77);
}

TEST(pmm, drawing_on_more_than_is_promised_is_reported)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    pfn_t frames[4] = {{77}};
    bool is_zero;
    EXPECT_MISUSE(snap, bed, pmm_alloc(pmm, PMM_PROMISED, frames), "pmm_alloc: ", "promised", "caller");
    EXPECT_MISUSE(snap, bed, pmm_alloc_zeroed(pmm, PMM_PROMISED | PMM_USER, frames, &is_zero), "promised");
    EXPECT_MISUSE(snap, bed, pmm_unpromise(pmm, npages(1)), "pmm_unpromise: 1 frames, but only 0", "caller");
    REQUIRE(pmm_promise(pmm, npages(3)) == STATUS_OK);
    EXPECT_MISUSE(snap, bed, pmm_unpromise(pmm, npages(4)), "pmm_unpromise: 4 frames, but only 3");
    EXPECT_MISUSE(snap, bed, pmm_unpromise(pmm, npages(UINT64_MAX)), "pmm_unpromise: ");
    EXPECT_MISUSE(snap, bed, pmm_alloc_many(pmm, PMM_PROMISED, frames, npages(4)), "pmm_alloc_many: ", "promised");
    EXPECT_EQ(frames[0].v, 77);
    EXPECT_EQ(pmm_alloc_many(pmm, PMM_PROMISED, frames, npages(3)), STATUS_OK);
    EXPECT_EQ(pmm_stats(pmm).promised.v, 0);
    bed_sound(bed);
}

TEST(pmm, ranges_with_one_wrong_frame_are_reported_with_that_one)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    uint64_t at = FIRST + 100;
    REQUIRE(pmm_claim(pmm, pfn(at), npages(20)) == STATUS_OK);
    REQUIRE(pmm_retain(pmm, pfn(at + 11)) == STATUS_OK);
    char shared[32], behind[32];
    fmt_text(shared, sizeof shared, "%#lx:", pfn_to_paddr(pfn(at + 11)).v);
    fmt_text(behind, sizeof behind, "%#lx:", pfn_to_paddr(pfn(at + 20)).v);
    EXPECT_MISUSE(snap, bed, pmm_free_run(pmm, pfn(at), npages(20)), "pmm_free_run: ", shared, "references 2");
    EXPECT_MISUSE(snap, bed, pmm_free_run(pmm, pfn(at + 12), npages(9)), "pmm_free_run: ", behind, "(free,");
    EXPECT_MISUSE(snap, bed, pmm_split_run(pmm, pfn(at), npages(21)), "pmm_split_run: ", behind, "(free,");
    EXPECT_MISUSE(snap, bed, pmm_give_back(pmm, pfn(FIRST + 40), npages(11)), "pmm_give_back: ", "(free,", "caller");
    EXPECT_MISUSE(snap, bed, pmm_give_back(pmm, pfn(FIRST + 29), npages(20)), "pmm_give_back: ");
    /* As n calls of pmm_free: those before the wrong one are freed. */
    const pfn_t many[] = {pfn(at + 3), pfn(at + 2), pfn(at + 11), pfn(at + 1)};
    npages_t done = npages(9);
    EXPECT_EQ(pmm_free_many(pmm, many, npages(4), &done), STATUS_MISUSE);
    EXPECT_EQ(done.v, 2);
    report_has("pmm_free_many: ");
    report_has(shared);
    EXPECT_EQ(state_of(bed, at + 2), PMM_STATE_FREE);
    EXPECT_EQ(state_of(bed, at + 1), PMM_STATE_USED);
    EXPECT_MISUSE(snap, bed, pmm_free_many(pmm, many, npages(4), &done), "pmm_free_many: ", "(free,");
    EXPECT_EQ(done.v, 0);
    bed_sound(bed);
}

TEST(pmm, two_runs_are_not_freed_in_one_call)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    open_all(bed);
    struct pmm *pmm = &bed->pmm;
    pfn_t one, two;
    npages_t n = npages(2 * PMM_BLOCK_FRAMES);
    REQUIRE(pmm_alloc_run(pmm, 0, n, npages(0), npages(0), PMM_NO_LIMIT, &one) == STATUS_OK);
    REQUIRE(pmm_alloc_run(pmm, 0, n, npages(0), npages(0), PMM_NO_LIMIT, &two) == STATUS_OK);
    pfn_t low = one.v < two.v ? one : two, high = one.v < two.v ? two : one;
    char word[32];
    fmt_text(word, sizeof word, "%#lx:", pfn_to_paddr(high).v);
    if (EXPECT_EQ(high.v, low.v + n.v)) {
        EXPECT_MISUSE(snap, bed, pmm_free_run(pmm, low, npages(2 * n.v)), "pmm_free_run: ", word, "another run");
        EXPECT_MISUSE(snap, bed, pmm_free_run(pmm, pfn(high.v - 1), npages(2)), "pmm_free_run: ", word);
    }
    EXPECT_EQ(pmm_free_run(pmm, one, n), STATUS_OK);
    EXPECT_EQ(pmm_free_run(pmm, two, n), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm, the_zero_frame_is_set_once_and_from_a_frame_used_once)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    uint64_t shared = take_one(bed, PMM_KERNEL), once = take_one(bed, PMM_KERNEL);
    REQUIRE(pmm_retain(pmm, pfn(shared)) == STATUS_OK);
    pfn_t zero = pfn(5);
    EXPECT_EQ(pmm_zero_frame(pmm, &zero), STATUS_ABSENT);
    const struct { uint64_t frame; const char *state; } wrong[] = {
        {shared, "(used, references 2"}, {FIRST + 40, "(reserved,"}, {FIRST + 500, "(free,"},
        {FIRST + FRAMES - 1, "(never used,"}, {FIRST + FRAMES, "(outside RAM,"}, {UINT64_MAX, "(outside RAM,"}};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_MISUSE(snap, bed, pmm_zero_frame_set(pmm, pfn(wrong[i].frame)), "pmm_zero_frame_set: ", wrong[i].state,
                      "caller");
    }
    EXPECT_EQ(zero.v, 5);
    EXPECT_EQ(pmm_zero_frame_set(pmm, pfn(once)), STATUS_OK);
    bed_remember(bed);
    EXPECT_EQ(pmm_zero_frame_set(pmm, pfn(once)), STATUS_EXISTS);
    EXPECT_EQ(pmm_zero_frame_set(pmm, pfn(FIRST + 30)), STATUS_EXISTS);
    bed_unchanged(bed);
    EXPECT_EQ(pmm_zero_frame(pmm, &zero), STATUS_OK);
    EXPECT_EQ(zero.v, once);
}

TEST(pmm, what_cannot_be_meant_is_invalid_and_changes_nothing)
{
    struct snap *snap;
    struct pmm_bed *bed = machine(&snap);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    pfn_t first = pfn(77), none = PMM_NO_LIMIT;
    npages_t zero = npages(0), one = npages(1), all = npages(UINT64_MAX);
    snap_take(snap, bed);
    EXPECT_EQ(pmm_claim(pmm, pfn(FIRST), zero), STATUS_INVALID);
    EXPECT_EQ(pmm_claim(pmm, pfn(FIRST), all), STATUS_INVALID);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, zero, zero, zero, none, &first), STATUS_INVALID);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, one, npages(3), zero, none, &first), STATUS_INVALID);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, one, zero, npages(12), none, &first), STATUS_INVALID);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, npages(5), zero, npages(4), none, &first), STATUS_INVALID);
    EXPECT(pmm_alloc_run(pmm, 0, all, zero, zero, none, &first) != STATUS_OK);
    EXPECT_EQ(pmm_free_run(pmm, pfn(FIRST + 30), zero), STATUS_INVALID);
    EXPECT_EQ(pmm_free_run(pmm, pfn(FIRST + 30), all), STATUS_INVALID);
    EXPECT_EQ(pmm_split_run(pmm, pfn(FIRST + 30), zero), STATUS_INVALID);
    EXPECT_EQ(pmm_split_run(pmm, pfn(FIRST + 30), all), STATUS_INVALID);
    EXPECT_EQ(pmm_zone_reserve(pmm, PMM_ZONES, one), STATUS_INVALID);
    EXPECT_EQ(first.v, 77);
    snap_same(snap, bed);
    EXPECT_MISUSE(snap, bed, pmm_give_back(pmm, pfn(FIRST + 40), zero), "pmm_give_back: ", "caller");
    EXPECT_MISUSE(snap, bed, pmm_give_back(pmm, pfn(FIRST + 40), all), "pmm_give_back: ", "caller");
}

TEST(pmm, frame_0_is_never_given_back_even_where_it_is_held)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 2048);
    bed_hold(bed, 0, 16, HOLD_RESERVED);
    REQUIRE(starts(bed));
    struct snap *snap = snap_new(bed);
    REQUIRE(snap != NULL);
    EXPECT_MISUSE(snap, bed, pmm_give_back(&bed->pmm, pfn(0), npages(16)), "frame 0 is never handed out");
    EXPECT_MISUSE(snap, bed, pmm_free(&bed->pmm, pfn(0)), "pmm_free: ", "(reserved,");
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(1), npages(15)), STATUS_OK);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(0), npages(1)), STATUS_EXISTS);
    bed_sound(bed);
}
