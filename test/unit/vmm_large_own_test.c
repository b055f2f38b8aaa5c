/* Large pages with frames of their own: where the frames come from, who holds them, and when they go back. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

static vaddr_t page_at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

static struct vmm_walk walk(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, page_at(page), &w));
    return w;
}

static uint64_t free_frames(struct vmm_bed *bed) { return pmm_stats(bed->vmm->pmm).free.v; }

static bool take_run(struct vmm_bed *bed, uint64_t frames, pfn_t *run)
{
    return EXPECT_OK(pmm_alloc_run(bed->vmm->pmm, PMM_USER, npages(frames), npages(512), npages(0), PMM_NO_LIMIT, run));
}

/* What was there before is not seen, and what is written stays. */
static void use_pages(struct vmm_bed *bed, struct space *space, uint64_t pages)
{
    vmm_bed_switch(bed, space);
    bool ok = true;
    for (uint64_t i = 0; i < pages && ok; i++) {
        ok = EXPECT_EQ(arch_read64(page_at(i)), 0);
        arch_write64(vaddr_add(page_at(i), PAGE_BYTES - 8), i);
        ok = ok && EXPECT_EQ(arch_read64(vaddr_add(page_at(i), PAGE_BYTES - 8)), i);
    }
}

TEST(vmm_large_own, fresh_large_pages_are_zero_and_go_back_whole)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t dirty;
    REQUIRE(take_run(&bed, 1024, &dirty)); /* what comes next is not clean */
    for (uint64_t i = 0; i < 1024; i++) {
        vaddr_t at;
        EXPECT_OK(temp_map(bed.vmm, pfn_add(dirty, i), &at));
        arch_write64(at, 0xBAD);
        EXPECT_OK(temp_unmap(bed.vmm, at));
    }
    EXPECT_OK(pmm_free_run(bed.vmm->pmm, dirty, npages(1024)));
    for (unsigned turn = 0; turn < 2; turn++) {
        struct space *space = turn == 0 ? &bed.a : &bed.b;
        const uint64_t free = free_frames(&bed);
        EXPECT_OK(vmm_map(bed.vmm, space, page_at(0), npages(1024), RW | VMM_2M));
        EXPECT_EQ(walk(&bed, space, 600).level, 2);
        EXPECT_EQ(free_frames(&bed), free - 1024 - 2);
        EXPECT(vmm_bed_check(bed.vmm));
        use_pages(&bed, space, 1024);
        EXPECT_EQ(pmm_query(bed.vmm->pmm, paddr_to_pfn(walk(&bed, space, 0).address)).state, PMM_STATE_RUN);
        vmm_bed_switch(&bed, turn == 0 ? &bed.b : space); /* foreign, then our own */
        EXPECT_OK(vmm_unmap(bed.vmm, space, page_at(0), npages(1024)));
        EXPECT_EQ(free_frames(&bed), free);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_large_own, a_part_goes_back_alone_and_the_rest_later)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static const struct {
        uint64_t first, pages, tables;
    } parts[] = {{0, 1, 1}, {511, 1, 1}, {100, 33, 1}, {1, 511, 1}, {500, 100, 2}};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        const uint64_t free = free_frames(&bed);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1024), RW | VMM_LARGE));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(parts[i].first), npages(parts[i].pages)));
        EXPECT_EQ(free_frames(&bed), free - 1024 - 2 + parts[i].pages - parts[i].tables);
        EXPECT(vmm_bed_check(bed.vmm));
        vmm_bed_switch(&bed, &bed.b);
        EXPECT_OK(space_destroy(bed.vmm, &bed.a));
        EXPECT_OK(space_create(bed.vmm, &bed.a));
        EXPECT_EQ(free_frames(&bed), free);
        vmm_bed_switch(&bed, &bed.a);
    }
    vmm_bed_close(&bed);
}

/* A frame of it that has another user outlives the mapping, alone. */
TEST(vmm_large_own, a_frame_retained_elsewhere_stays)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned dies = 0; dies < 2; dies++) {
        const uint64_t free = free_frames(&bed);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(512), RW | VMM_2M));
        const pfn_t frame = pfn_add(paddr_to_pfn(walk(&bed, &bed.a, 0).address), 77);
        EXPECT_OK(pmm_retain(bed.vmm->pmm, frame));
        EXPECT(vmm_bed_check(bed.vmm));
        if (dies != 0) {
            EXPECT_OK(space_destroy(bed.vmm, &bed.a));
            EXPECT_OK(space_create(bed.vmm, &bed.a));
        } else {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(512)));
        }
        EXPECT_EQ(free_frames(&bed), free - 1);
        EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, 1);
        EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    }
    vmm_bed_close(&bed);
}

TEST(vmm_large_own, given_frames_are_retained_each_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t run;
    REQUIRE(take_run(&bed, 1024, &run));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(0), run, npages(1024), RW | VMM_2M, true));
    EXPECT_EQ(walk(&bed, &bed.a, 1023).level, 2);
    EXPECT(pmm_query(bed.vmm->pmm, run).references == 2 && pmm_query(bed.vmm->pmm, pfn_add(run, 1023)).references == 2);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(1024)));
    EXPECT(pmm_query(bed.vmm->pmm, run).references == 1 && pmm_query(bed.vmm->pmm, pfn_add(run, 1023)).references == 1);
    EXPECT_OK(pmm_free(bed.vmm->pmm, pfn_add(run, 1000)));
    test_expect_reports(1);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page_at(0), run, npages(1024), RW | VMM_2M, true), STATUS_MISUSE);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1 && pmm_query(bed.vmm->pmm, run).references == 1);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    EXPECT_OK(pmm_free_run(bed.vmm->pmm, run, npages(1000)));
    EXPECT_OK(pmm_free_run(bed.vmm->pmm, pfn_add(run, 1001), npages(23)));
    vmm_bed_close(&bed);
}

TEST(vmm_large_own, fresh_large_pages_come_all_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    enum { TABLES = 2, PAGES = 2 * 512 };
    for (uint64_t k = 0; k <= PAGES + TABLES; k = k < 3 || k > PAGES - 3 ? k + 1 : k + 170) {
        const uint64_t free = free_frames(&bed);
        npages_t taken = vmm_bed_limit(&bed, k);
        enum status s = vmm_map(bed.vmm, &bed.a, page_at(0), npages(PAGES), RW | VMM_2M);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(s, k < PAGES + TABLES ? STATUS_NOMEM : STATUS_OK);
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
        EXPECT_EQ(free_frames(&bed), s == STATUS_OK ? free - PAGES - TABLES : free);
        EXPECT_EQ(bed.a.pages.v, s == STATUS_OK ? PAGES : 0U);
        if (s == STATUS_OK) {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(PAGES)));
        }
    }
    vmm_bed_close(&bed);
}

/* Every run is broken by one frame in use: only small pages are to be had. */
static uint64_t break_runs(struct vmm_bed *bed, pfn_t *held, uint64_t room, uint64_t leave)
{
    uint64_t n = 0;
    pfn_t run;
    while (n < room && pmm_alloc_run(bed->vmm->pmm, PMM_USER | PMM_NO_RECLAIM, npages(512), npages(512), npages(0),
                                     PMM_NO_LIMIT, &run) == STATUS_OK) {
        held[n++] = run;
    }
    for (uint64_t i = 0; i < n; i++) {
        EXPECT_OK(pmm_free_run(bed->vmm->pmm, pfn_add(held[i], 1), npages(511)));
    }
    for (uint64_t i = 0; i < leave && n > 0; i++) {
        EXPECT_OK(pmm_free(bed->vmm->pmm, held[--n]));
    }
    return n;
}

TEST_HOST(vmm_large_own, without_a_run_small_pages_will_do_where_they_may)
{
    static pfn_t held[1024];
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t n = break_runs(&bed, held, ARRAY_LEN(held), 1); /* one run is left */
    const uint64_t free = free_frames(&bed);
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1024), RW | VMM_2M), STATUS_NOMEM);
    EXPECT_EQ(free_frames(&bed), free);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1200), RW | VMM_LARGE));
    EXPECT_EQ(walk(&bed, &bed.a, 0).level, 2);
    EXPECT_EQ(walk(&bed, &bed.a, 512).level, 1);
    EXPECT_EQ(walk(&bed, &bed.a, 1199).level, 1);
    EXPECT(vmm_bed_check(bed.vmm));
    use_pages(&bed, &bed.a, 1200);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(1200)));
    EXPECT_EQ(free_frames(&bed), free);
    for (uint64_t i = 0; i < n; i++) {
        EXPECT_OK(pmm_free(bed.vmm->pmm, held[i]));
    }
    vmm_bed_close(&bed);
}

/* ---- Who is asked for memory gives a run back, and edits tables meanwhile ---- */

static struct asked {
    struct vmm_bed *bed;
    pfn_t held[1024];
    uint64_t count;
    unsigned times, left; /* calls; and how many of these give something */
} asked;

static npages_t give_a_run(void *ctx, npages_t wanted)
{
    struct asked *a = ctx;
    (void)wanted;
    a->times++;
    if (a->left == 0 || a->count == 0) {
        return npages(0);
    }
    a->left--;
    EXPECT_OK(pmm_free(a->bed->vmm->pmm, a->held[--a->count]));
    EXPECT_OK(vmm_map_frames(a->bed->vmm, &a->bed->b, page_at(a->times), pfn(0xC000000), npages(1), RW, false));
    return npages(1);
}

TEST_HOST(vmm_large_own, who_can_give_a_run_back_is_asked)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, page_at(4000), npages(1), RW)); /* so that its tables are there */
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, page_at(0), npages(1), RW));
    asked = (struct asked){.bed = &bed};
    asked.count = break_runs(&bed, asked.held, ARRAY_LEN(asked.held), 0);
    struct pmm_low low = {.ctx = &asked, .reclaim = give_a_run};
    EXPECT_OK(pmm_low_add(bed.vmm->pmm, &low));
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1024), RW | VMM_2M), STATUS_NOMEM);
    EXPECT(asked.times > 0 && bed.a.pages.v == 0);
    asked.left = 2;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1024), RW | VMM_2M));
    EXPECT_EQ(asked.left, 0);
    EXPECT_EQ(walk(&bed, &bed.a, 1023).level, 2);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(1024)));
    while (asked.count > 0) {
        EXPECT_OK(pmm_free(bed.vmm->pmm, asked.held[--asked.count]));
    }
    EXPECT_OK(pmm_low_remove(bed.vmm->pmm, &low));
    vmm_bed_close(&bed);
}
