/*
 * Owners' blocks at their ends: the last frame, how it goes, and that the owner is charged no more for what it has not;
 * the last frames above a zone's reserve.
 */
#include "unit/pmm_runs_bed.h"

#include "pmm/pmm_change.h"
#include "pmm/pmm_pressure.h"

enum { FIELD_BLOCKS = 12 };

TEST(pmm_owners, a_run_of_frames_that_empties_its_own_block_is_charged_no_more_whatever_the_last_one_was)
{
    for (unsigned how = 0; how < 3; how++) { /* nothing; shared once; bad */
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
        pfn_t frames[10], other;
        REQUIRE(bed != NULL && draw_many(bed, owner, frames, ARRAY_LEN(frames)));
        pfn_t low = frames[0], high = frames[0];
        for (unsigned i = 1; i < ARRAY_LEN(frames); i++) {
            low = frames[i].v < low.v ? frames[i] : low;
            high = frames[i].v > high.v ? frames[i] : high;
        }
        REQUIRE(high.v - low.v == ARRAY_LEN(frames) - 1);
        if (how == 1) {
            REQUIRE(pmm_retain(&bed->pmm, low) == STATUS_OK && pmm_release(&bed->pmm, low, NULL) == STATUS_OK);
        } else if (how == 2) {
            REQUIRE(pmm_mark_bad(&bed->pmm, low) == STATUS_OK);
        }
        expect_books(bed, owner, 1, ARRAY_LEN(frames), 0);
        EXPECT_EQ(free_run(bed, low.v, ARRAY_LEN(frames)), STATUS_OK);
        expect_books(bed, owner, 0, 0, 0);
        EXPECT(bed_sound(bed));
        other = draw(bed, owner);
        EXPECT(other.v != 0);
        expect_books(bed, owner, 1, 1, 0);
        EXPECT(bed_sound(bed));
    }
}

TEST(pmm_owners, a_block_of_its_own_that_goes_bad_to_the_last_frame_is_its_own_no_more)
{
    for (unsigned how = 0; how < 2; how++) {
        unsigned owner, next;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, 0, 0, 0, &owner);
        REQUIRE(bed != NULL);
        pfn_t frame = draw(bed, owner);
        uint64_t start = frame.v - frame.v % BLOCK;
        for (uint64_t f = start; f < start + BLOCK; f++) {
            if (f != frame.v || how == 0) {
                REQUIRE(pmm_mark_bad(&bed->pmm, pfn(f)) == STATUS_OK);
            }
        }
        if (how == 1) {
            REQUIRE(pmm_mark_bad(&bed->pmm, frame) == STATUS_OK);
        }
        REQUIRE(pmm_free(&bed->pmm, frame) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).bad.v, BLOCK);
        EXPECT_EQ(owner_of(bed, frame), 0);
        expect_books(bed, owner, 0, 0, 0);
        EXPECT(bed_sound(bed));
        REQUIRE(pmm_owner_close(&bed->pmm, owner, NULL) == STATUS_OK);
        REQUIRE(pmm_owner_open(&bed->pmm, &next) == STATUS_OK);
        EXPECT(draw(bed, next).v != 0);
        expect_books(bed, next, 1, 1, 0);
        EXPECT(bed_sound(bed));
    }
}

TEST(pmm_owners, an_owner_leaves_a_zones_reserve_in_its_own_blocks_too)
{
    for (unsigned how = 0; how < 2; how++) { /* an ordinary request; one that may draw on reserves */
        struct pmm_bed *bed = bed_new(NULL, 0, 16, 0);
        uint64_t border = bytes_to_pages_down(16 * MIB).v;
        unsigned owner;
        REQUIRE(bed != NULL);
        bed_run(bed, border - 4 * BLOCK, 8 * BLOCK);
        bed_with_owners(bed, 1);
        REQUIRE(bed_starts(bed) && pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
        pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
        pfn_t frame = draw(bed, owner);
        REQUIRE(owner_of(bed, frame) == owner && frame.v >= border);
        npages_t free = pmm_stats(&bed->pmm).zones[PMM_ZONE_4G].free;
        REQUIRE(pmm_zone_reserve(&bed->pmm, PMM_ZONE_4G, npages(free.v - 10)) == STATUS_OK);
        for (unsigned i = 0; i < 10; i++) {
            EXPECT(draw(bed, owner).v >= border);
        }
        for (unsigned i = 0; i < 10; i++) {
            REQUIRE(pmm_alloc(&bed->pmm, PMM_OWNER(owner) | (how != 0 ? PMM_EMERGENCY : 0), &frame) == STATUS_OK);
            EXPECT_EQ(frame.v >= border, how != 0);
        }
        EXPECT(bed_sound(bed));
    }
}
