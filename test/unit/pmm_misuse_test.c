/*
 * Wrong calls: each is reported with its values and changes nothing.
 */
#include "unit/pmm_bed.h"

enum { HIGH = 8 * PMM_BLOCK_FRAMES }; /* the second region of the machine */

static bool contains(const char *text, const char *part)
{
    for (size_t i = 0, len = strlen(part); strlen(text + i) >= len; i++) {
        if (memcmp(text + i, part, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The call was a misuse, the report has the words, the totals are what they were, and all is sound. */
static void expect_misuse(struct pmm_bed *bed, enum status s, const struct pmm_stats *before, const char *const words[],
                          size_t count)
{
    EXPECT_EQ(s, STATUS_MISUSE);
    for (size_t i = 0; i < count; i++) {
        if (!EXPECT(contains(test_last_report(), words[i]))) {
            test_note("\"%s\" has no \"%s\"", test_last_report(), words[i]);
        }
    }
    struct pmm_stats after = pmm_stats(&bed->pmm);
    EXPECT(memcmp(before, &after, sizeof after) == 0);
    bed_sound(bed);
}

#define EXPECT_MISUSE(call, ...)                                                   \
    do {                                                                           \
        struct pmm_stats before_ = pmm_stats(&bed->pmm);                           \
        const char *const words_[] = {__VA_ARGS__};                                \
        expect_misuse(bed, (call), &before_, words_, ARRAY_LEN(words_));           \
    } while (0)

/*
 * Two regions: blocks 2 and 3 with a hole [1100, 1200), and block 8 never used; [1040, 1050) reserved, 1030 used, 1031
 * metadata.
 */
static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 16, 0);
    if (bed != NULL) {
        bed_run(bed, 1024, 76);
        bed_run(bed, 1200, 336);
        bed_run(bed, HIGH, PMM_BLOCK_FRAMES);
        bed_hold(bed, 1030, 1, HOLD_USED);
        bed_hold(bed, 1031, 1, HOLD_METADATA);
        bed_hold(bed, 1040, 10, HOLD_RESERVED);
        bed_hold(bed, HIGH, 1, HOLD_RESERVED);
    }
    return bed;
}

TEST(pmm, free_of_a_free_frame_is_reported_and_changes_nothing)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
    char address[32];
    fmt_text(address, sizeof address, "%#lx:", pfn_to_paddr(frame).v);
    EXPECT_MISUSE(pmm_free(&bed->pmm, frame), "pmm_free: ", address, "(free,", "references 0", "region 0", "block 0x2");
    EXPECT_MISUSE(pmm_release(&bed->pmm, frame, NULL), "pmm_release: ", address, "(free,");
    EXPECT_MISUSE(pmm_retain(&bed->pmm, frame), "pmm_retain: ", address, "(free,");
    test_expect_reports(3);
}

TEST(pmm, free_of_a_frame_never_allocated_is_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(1060)), "at 0x424000", "(free,");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(4200)), "at 0x1068000", "(never used,", "region 1", "block 0x8");
    EXPECT_MISUSE(pmm_release(&bed->pmm, pfn(4200), NULL), "(never used,");
    test_expect_reports(3);
}

TEST(pmm, free_of_a_reserved_or_metadata_frame_is_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(1045)), "(reserved,");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(HIGH)), "(reserved,");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(1031)), "(metadata,");
    EXPECT_MISUSE(pmm_release(&bed->pmm, pfn(1031), NULL), "(metadata,");
    test_expect_reports(4);
}

TEST(pmm, free_of_an_absent_frame_or_one_outside_ram_is_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(1150)), "at 0x47e000", "(absent,", "region 0");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(2048)), "(outside RAM,", "no region");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(0)), "(outside RAM,");
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(UINT64_MAX)), "(outside RAM,");
    EXPECT_MISUSE(pmm_retain(&bed->pmm, pfn(UINT64_MAX / 2)), "(outside RAM,");
    test_expect_reports(5);
}

TEST(pmm, free_of_a_frame_with_more_references_is_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    REQUIRE(pmm_retain(&bed->pmm, pfn(1030)) == STATUS_OK);
    EXPECT_MISUSE(pmm_free(&bed->pmm, pfn(1030)), "(used, references 2");
    REQUIRE(pmm_release(&bed->pmm, pfn(1030), NULL) == STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(1030)), STATUS_OK);
    test_expect_reports(1);
}

TEST(pmm, free_at_an_address_that_is_not_aligned_is_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    EXPECT_MISUSE(pmm_free_at(&bed->pmm, paddr(pfn_to_paddr(pfn(1030)).v + 8)), "pmm_free: ", "0x406008",
                  "0x406000 is used");
    EXPECT_EQ(pmm_free_at(&bed->pmm, pfn_to_paddr(pfn(1030))), STATUS_OK);
    test_expect_reports(1);
}

TEST(pmm, wrong_flags_promises_and_give_backs_are_reported)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t frame = pfn(77);
    EXPECT_MISUSE(pmm_alloc(&bed->pmm, 1U << 9, &frame), "pmm_alloc: ", "0x200");
    EXPECT_MISUSE(pmm_alloc(&bed->pmm, PMM_PROMISED, &frame), "nothing is promised");
    EXPECT_EQ(frame.v, 77);
    EXPECT_MISUSE(pmm_unpromise(&bed->pmm, npages(1)), "pmm_unpromise: 1 frames, but only 0");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(1040), npages(11)), "pmm_give_back: ", "at 0x41a000", "(free,");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(HIGH), npages(2)), "at 0x1001000", "(never used,");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(1030), npages(1)), "(used,");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(1040), npages(0)), "no range");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(1040), npages(UINT64_MAX)), "no range");
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(1200000), npages(1)), "(outside RAM,");
    test_expect_reports(9);
}

TEST(pmm, frame_0_is_never_given_back_even_where_it_is_held)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 2048);
    bed_hold(bed, 0, 16, HOLD_RESERVED);
    REQUIRE(bed_starts(bed));
    EXPECT_MISUSE(pmm_give_back(&bed->pmm, pfn(0), npages(16)), "frame 0 is never handed out");
    EXPECT_EQ(pmm_give_back(&bed->pmm, pfn(1), npages(15)), STATUS_OK);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(0), npages(1)), STATUS_EXISTS);
    bed_sound(bed);
    test_expect_reports(1);
}
