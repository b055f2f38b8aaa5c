/*
 * 16 TiB of frames, host only: the arrays are 8.25 GiB of addresses that fault unless the PMM had them backed.
 */
#include <sys/mman.h>

#include "unit/pmm_bed.h"

struct huge {
    struct pmm_bed bed; /* for its account of units; the PMM has a backing of its own */
    uint64_t questions;
};

static npages_t huge_missing(void *ctx, const void *page)
{
    struct huge *h = ctx;
    uint64_t missing = 0;
    for (unsigned level = 0; level <= 2; level++) {
        missing += !bed_set_has(&h->bed.backed, bed_unit(page, level));
    }
    h->questions++;
    return npages(missing);
}

static enum status huge_back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    struct huge *h = ctx;
    (void)frames;
    EXPECT_EQ(n.v, huge_missing(h, page).v);
    for (unsigned level = 0; level <= 2; level++) {
        bed_set_add(&h->bed.backed, bed_unit(page, level));
    }
    h->bed.frames_taken += n.v;
    return mprotect(vaddr_to_ptr(ptr_to_vaddr(page)), PAGE_BYTES, PROT_READ | PROT_WRITE) == 0 ? STATUS_OK
                                                                                               : STATUS_CORRUPT;
}

/*
 * Pages and tables behind [base, base + bytes), by looking at each page; `last` carries over what the array before
 * ended with.
 */
static uint64_t units_behind(uintptr_t base, uint64_t bytes, uint64_t last[3])
{
    uint64_t count = 0;
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
        for (unsigned level = 0; level < 3; level++) {
            uint64_t unit = bed_unit((const void *)(base + at), level);
            count += unit != last[level];
            last[level] = unit;
        }
    }
    return count;
}

static void run_huge(uint64_t frames, uint64_t *questions, uint64_t *metadata)
{
    uint64_t states_bytes = frames * sizeof(uint16_t), blocks_bytes = frames / PMM_BLOCK_FRAMES * PMM_BLOCK_BYTES;
    void *arrays =
        mmap(NULL, states_bytes + blocks_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(arrays != MAP_FAILED);
    struct huge *h = test_pages(bytes_to_pages_up(sizeof *h).v);
    struct pmm_region *region = test_pages(1);
    h->bed.backed.slots = test_pages(bytes_to_pages_up(BED_SET_SLOTS * sizeof(uint64_t)).v);
    h->bed.runs[0] = (struct frame_run){pfn(0), npages(frames)};
    struct pmm_config config = {
        .runs = h->bed.runs, .run_count = 1, .holds = h->bed.holds, .hold_capacity = BED_HOLDS_MAX, .states = arrays,
        .blocks = (struct pmm_block *)((uintptr_t)arrays + states_bytes), .regions = region, .region_capacity = 1,
        .backing = {h, huge_missing, huge_back, 2}};
    REQUIRE(pmm_init(&h->bed.pmm, &config) == STATUS_OK);
    *questions = h->questions;
    uint64_t last[3] = {0};
    uint64_t units = units_behind((uintptr_t)arrays, states_bytes, last);
    units += units_behind((uintptr_t)arrays + states_bytes, blocks_bytes, last);
    EXPECT_EQ(pmm_stats(&h->bed.pmm).earmarked.v, units);
    EXPECT_EQ(pmm_stats(&h->bed.pmm).free.v, frames - 1 - units);
    pfn_t frame;
    for (unsigned i = 0; i < 3000; i++) {
        REQUIRE(pmm_alloc(&h->bed.pmm, i & 1, &frame) == STATUS_OK);
    }
    *metadata = pmm_stats(&h->bed.pmm).metadata.v;
    EXPECT_EQ(*metadata, h->bed.frames_taken);
    /* The very last frame, and one in the middle: two gaps, a handful of pages more. */
    REQUIRE(pmm_claim(&h->bed.pmm, pfn(frames - 1), npages(1)) == STATUS_OK);
    REQUIRE(pmm_claim(&h->bed.pmm, pfn(frames / 2 + 700), npages(3)) == STATUS_OK);
    EXPECT(pmm_stats(&h->bed.pmm).metadata.v <= *metadata + 12);
    EXPECT_EQ(pmm_stats(&h->bed.pmm).earmarked.v, units - h->bed.frames_taken);
    for (unsigned i = 0; i < 3000; i++) {
        REQUIRE(pmm_alloc(&h->bed.pmm, i & 1, &frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_free(&h->bed.pmm, frame), STATUS_OK);
    bed_sound(&h->bed);
    munmap(arrays, states_bytes + blocks_bytes);
}

TEST_HOST(pmm, sixteen_tib_cost_no_more_to_start_than_64_mib)
{
    uint64_t small_questions = 0, small_metadata = 0, questions = 0, metadata = 0;
    run_huge(bytes_to_pages_down(64 * MIB).v, &small_questions, &small_metadata);
    run_huge(bytes_to_pages_down(16 * TIB).v, &questions, &metadata);
    EXPECT_EQ(questions, small_questions);
    EXPECT(metadata > 0 && metadata <= small_metadata + 4); /* the two arrays do not share tables any more */
}
