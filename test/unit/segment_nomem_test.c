/* Memory runs out in calls about segments: NOMEM, and nothing is changed or lost, until there is enough. */
#include "aspace/segment_list.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

enum { PAGES = 600, EXTRA = SEGMENT_FEW };

static struct aspace_bed bed;
static struct aspace extra[EXTRA];
static vaddr_t va, made;

static struct segment_request wanted(void)
{
    return (struct segment_request){.pages = npages(PAGES), .rights = ARW, .tag = "test"};
}

static bool open_bed(void)
{
    const struct segment_request r = wanted();
    return aspace_bed_open(&bed) && EXPECT_OK(segment_create(&bed.a, &r, &va));
}

static enum status create_one(void)
{
    const struct segment_request r = wanted();
    return segment_create(&bed.b, &r, &made);
}

static enum status grant_b(void) { return segment_grant(&bed.a, va, &bed.b, ARW); }
static enum status grant_last(void) { return segment_grant(&bed.a, va, &extra[EXTRA - 1], AR); }
static enum status write_far(void) { return touch(&bed.b, vaddr_add_pages(va, PAGES - 1), VMM_WRITE); }

TEST(segment_nomem, a_segment_is_made_whole_or_not_at_all)
{
    REQUIRE(open_bed());
    EXPECT(with_every_number_of_frames(&bed, create_one) >= 3); /* b's PDPT, the PD, the PT for a moment */
    put_word(&bed, &bed.b, made, 1);
    aspace_bed_close(&bed);
}

TEST(segment_nomem, a_grant_is_made_whole_or_not_at_all)
{
    REQUIRE(open_bed());
    EXPECT(with_every_number_of_frames(&bed, grant_b) >= 1); /* b's PDPT */
    EXPECT_EQ(with_every_number_of_frames(&bed, write_far) >= 2, true); /* a PT, and the page */
    EXPECT(frame_shown(&bed.a, vaddr_add_pages(va, PAGES - 1)) != UINT64_MAX);
    aspace_bed_close(&bed);
}

TEST(segment_nomem, the_ninth_of_a_list_is_there_or_not_and_the_others_stay)
{
    REQUIRE(open_bed());
    for (unsigned i = 0; i < EXTRA; i++) {
        EXPECT_OK(aspace_create(&bed.system, &extra[i], (struct aspace_limits){0}));
        if (i + 1 < EXTRA) {
            EXPECT_OK(segment_grant(&bed.a, va, &extra[i], AR));
        }
    }
    EXPECT(segment_at(&bed.system, va)->hashed == NULL);
    EXPECT(with_every_number_of_frames(&bed, grant_last) > 1);
    EXPECT(segment_at(&bed.system, va)->hashed != NULL);
    for (unsigned i = 0; i < EXTRA; i++) {
        EXPECT_EQ(segment_permits(&extra[i], va, VMM_READ), STATUS_OK);
        EXPECT_OK(aspace_destroy(&extra[i]));
        EXPECT(aspace_bed_check(&bed));
    }
    EXPECT(segment_at(&bed.system, va)->hashed == NULL); /* they came back into the record */
    aspace_bed_close(&bed);
}

TEST(segment_nomem, what_takes_away_takes_no_memory)
{
    REQUIRE(open_bed());
    EXPECT_OK(grant_b());
    EXPECT_OK(segment_grant(&bed.a, va, &bed.c, ARW));
    put_word(&bed, &bed.b, vaddr_add_pages(va, PAGES - 1), 5);
    (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
    const struct pmm_stats st = pmm_stats(bed.vmm->pmm);
    const npages_t all = npages(st.free.v - st.promised.v);
    EXPECT_OK(pmm_promise(bed.vmm->pmm, all));
    EXPECT_OK(segment_narrow(&bed.a, va, &bed.b, AR));
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.b));
    EXPECT_OK(aspace_destroy(&bed.c));
    EXPECT_OK(segment_resize(&bed.a, va, npages(1)));
    EXPECT_OK(segment_resize(&bed.a, va, npages(PAGES)));
    EXPECT_OK(segment_revoke(&bed.a, va, &bed.a));
    EXPECT_OK(pmm_unpromise(bed.vmm->pmm, all));
    aspace_bed_close(&bed);
}
