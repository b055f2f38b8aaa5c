/* A region is removed while spaces have pages in it. Host only: a model machine whose RAM is two regions. */
#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "model/model.h"
#include "model/overheard.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/aspace_touch.h"

enum { RAM_MIB = 64, SECOND_MIB = 48, PAGES = 20 * PMM_BLOCK_FRAMES / 4, KEEP_EVERY = 3 };

static struct aspace_bed bed;
static struct vmm vmm;
static struct pmm_region_stats goes;

#define PAGE(i) vaddr_add_pages(vaddr(AT_PRIVATE), (i))

static pfn_t second(void) { return paddr_to_pfn(paddr(SECOND_MIB * MIB)); }
static bool is_in_second(uint64_t frame) { return frame != UINT64_MAX && frame >= second().v; }

/* a has pages everywhere, of which each third stays. => pages in what is to go */
static uint64_t open_with_pages(void)
{
    memset(&bed, 0, sizeof bed);
    struct model *m = model_start_in_two(RAM_MIB * MIB, second());
    bed.vmm = &vmm;
    const npages_t frames = npages(m->ram.v - second().v);
    EXPECT_OK(pmm_claim(&m->pmm, second(), frames)); /* tables and bookkeeping come from below */
    if (!EXPECT_OK(vmm_init_with(&vmm, &m->pmm, model_pointer, model_address)) ||
        !EXPECT_OK(aspaces_init(&bed.system, &vmm))) {
        return 0;
    }
    EXPECT_OK(aspace_create(&bed.system, &bed.a, (struct aspace_limits){0}));
    EXPECT_OK(aspace_create(&bed.system, &bed.b, (struct aspace_limits){0}));
    bed.home = vmm.current;
    put_word(&bed, &bed.b, map_it(&bed.b, want_at(AT_PRIVATE, npages(1), ARW, 0)), 1);
    EXPECT_OK(pmm_free_run(&m->pmm, second(), frames));
    (void)map_it(&bed.a, want_at(AT_PRIVATE, npages(PAGES), ARW, ASPACE_POPULATE));
    uint64_t count = 0;
    for (uint64_t i = 0; i < PAGES; i++) {
        if (i % KEEP_EVERY == 0) {
            put_word(&bed, &bed.a, PAGE(i), i);
            count += is_in_second(frame_shown(&bed.a, PAGE(i)));
        } else {
            EXPECT_OK(aspace_unmap(&bed.a, PAGE(i), npages(1)));
        }
    }
    for (size_t i = 0; pmm_region_stats(vmm.pmm, i, &goes) && goes.base.v < second().v; i++) {
    }
    return count;
}

static void close_with_pages(void)
{
    for (uint64_t i = 0; i < PAGES; i += KEEP_EVERY) {
        EXPECT_EQ(get_word(&bed, &bed.a, PAGE(i)), i);
    }
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(pmm_check(vmm.pmm, NULL));
    EXPECT_OK(aspace_destroy(&bed.a));
    EXPECT_OK(aspace_destroy(&bed.b));
    EXPECT_OK(aspaces_end(&bed.system));
}

TEST_HOST(aspace_region, a_region_goes_after_its_pages_have_moved)
{
    const uint64_t pages = open_with_pages(), regions = pmm_stats(vmm.pmm).regions;
    struct pmm_in_the_way way;
    struct aspace_compaction c = {0};
    REQUIRE(pages > 0);
    EXPECT_EQ(aspaces_remove_region(&bed.system, pfn_add(goes.base, 1), goes.frames, &way, &c), STATUS_ABSENT);
    EXPECT_EQ(c.tried, 0);
    if (!EXPECT_OK(aspaces_remove_region(&bed.system, goes.base, goes.frames, &way, &c))) {
        test_note("in the way: %#lx, %s; %lu used, %lu reserved, %lu metadata", way.first.v,
                  pmm_state_name(way.what.state), way.used.v, way.reserved.v, way.metadata.v);
    }
    EXPECT_EQ(c.moved, pages);
    EXPECT_EQ(pmm_stats(vmm.pmm).regions, regions - 1);
    for (uint64_t i = 0; i < PAGES; i += KEEP_EVERY) {
        EXPECT(!is_in_second(frame_shown(&bed.a, PAGE(i))));
    }
    close_with_pages();
}

TEST_HOST(aspace_region, what_cannot_be_moved_is_said_and_the_region_stays)
{
    REQUIRE(open_with_pages() > 0);
    const uint64_t regions = pmm_stats(vmm.pmm).regions;
    struct pmm_in_the_way way = {.used = {0}};
    struct aspace_compaction c = {0};
    pfn_t pinned = pfn(UINT64_MAX);
    for (uint64_t i = 0; !is_in_second(pinned.v); i += KEEP_EVERY) {
        pinned = pfn(frame_shown(&bed.a, PAGE(i)));
    }
    EXPECT_OK(pmm_retain(vmm.pmm, pinned));
    EXPECT_EQ(aspaces_remove_region(&bed.system, goes.base, goes.frames, &way, &c), STATUS_EXISTS);
    EXPECT(is_in_second(way.first.v) && way.used.v > 0 && c.refused[ASPACE_MOVE_PINNED] == 1);
    EXPECT_EQ(pmm_stats(vmm.pmm).regions, regions);
    EXPECT_OK(pmm_release(vmm.pmm, pinned, NULL));
    close_with_pages();
}

/* The first request for memory is refused, then the second alone, and so on; then the region goes all the same. */
TEST_HOST(aspace_region, any_request_of_its_pages_moves_may_be_refused)
{
    bool was_refused = true;
    uint64_t n = 1;
    for (; was_refused; n++) {
        const uint64_t pages = open_with_pages();
        struct pmm_in_the_way way;
        struct aspace_compaction c = {0};
        REQUIRE(pages > 0);
        (void)aspaces_reclaim(&bed.system, npages(UINT64_MAX));
        const uint64_t used = aspace_bed_frames(&bed);
        model_refuse_request(n);
        const enum status s = aspaces_remove_region(&bed.system, goes.base, goes.frames, &way, &c);
        was_refused = model_was_refused();
        model_refuse_request(0);
        EXPECT(s == STATUS_OK || (s == STATUS_EXISTS && was_refused));
        EXPECT_EQ(aspace_bed_frames(&bed), used);
        EXPECT(aspace_bed_check(&bed));
        if (s == STATUS_EXISTS) {
            EXPECT(is_in_second(way.first.v) && way.used.v == pages - c.moved);
            EXPECT_OK(aspaces_remove_region(&bed.system, goes.base, goes.frames, &way, &c));
        }
        if (!EXPECT_EQ(c.moved, pages)) {
            test_note("request %lu", n);
        }
        close_with_pages();
    }
    EXPECT(n > 10);
}
