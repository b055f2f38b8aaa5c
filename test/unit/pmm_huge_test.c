/*
 * 16 TiB of frames, host only: the arrays are 8.25 GiB of addresses that fault unless the PMM had them backed.
 */
#include <sys/mman.h>

#include "unit/pmm_steps.h"

enum { LEVELS = 2, OPEN_UNITS_MAX = 6, REGIONS = 8 };

struct huge {
    struct pmm_bed bed; /* for its account of units; the PMM has a backing of its own */
    uint64_t questions;
    uint64_t frames, room; /* RAM from 0 on; frames that the arrays have addresses for */
    unsigned char *arrays;
};

static npages_t huge_missing(void *ctx, const void *page)
{
    struct huge *h = ctx;
    uint64_t missing = 0;
    for (unsigned level = 0; level <= LEVELS; level++) {
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
    for (unsigned level = 0; level <= LEVELS; level++) {
        bed_set_add(&h->bed.backed, bed_unit(page, level));
    }
    h->bed.frames_taken += n.v;
    return mprotect(vaddr_to_ptr(ptr_to_vaddr(page)), PAGE_BYTES, PROT_READ | PROT_WRITE) == 0 ? STATUS_OK
                                                                                               : STATUS_CORRUPT;
}

static uint64_t states_bytes(const struct huge *h) { return h->room * sizeof(uint16_t); }
static uint64_t blocks_bytes(const struct huge *h) { return h->room / PMM_BLOCK_FRAMES * PMM_BLOCK_BYTES; }

/*
 * Pages and tables behind the first `bytes` at `base`, by looking at each page; `last` carries over what the array
 * before ended with.
 */
static uint64_t units_behind(const unsigned char *base, uint64_t bytes, uint64_t last[LEVELS + 1])
{
    uint64_t count = 0;
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
        for (unsigned level = 0; level <= LEVELS; level++) {
            uint64_t unit = bed_unit(base + at, level);
            count += unit != last[level];
            last[level] = unit;
        }
    }
    return count;
}

/* What the metadata of all its RAM takes. */
static uint64_t units_of(const struct huge *h)
{
    uint64_t last[LEVELS + 1] = {0};
    uint64_t units = units_behind(h->arrays, h->frames * sizeof(uint16_t), last);
    return units + units_behind(h->arrays + states_bytes(h), h->frames / PMM_BLOCK_FRAMES * PMM_BLOCK_BYTES, last);
}

static struct huge *huge_start(uint64_t frames, uint64_t room)
{
    struct huge *h = test_pages(bytes_to_pages_up(sizeof *h).v);
    struct pmm_region *regions = test_pages(1);
    uint64_t *slots = test_pages(bytes_to_pages_up(BED_SET_SLOTS * sizeof(uint64_t)).v);
    if (h == NULL || regions == NULL || slots == NULL) {
        return NULL;
    }
    h->bed.backed.slots = slots;
    h->frames = frames;
    h->room = room;
    h->arrays = mmap(NULL, states_bytes(h) + blocks_bytes(h), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!EXPECT(h->arrays != MAP_FAILED)) {
        return NULL;
    }
    bed_run(&h->bed, 0, frames);
    struct pmm_config config = {
        .runs = h->bed.runs, .run_count = 1, .run_capacity = BED_RUNS_MAX, .holds = h->bed.holds,
        .hold_capacity = BED_HOLDS_MAX, .states = (uint16_t *)(void *)h->arrays,
        .blocks = (struct pmm_block *)(void *)(h->arrays + states_bytes(h)), .regions = regions,
        .region_capacity = REGIONS, .backing = {h, huge_missing, huge_back, LEVELS}};
    return EXPECT_EQ(pmm_init(&h->bed.pmm, &config), STATUS_OK) ? h : NULL;
}

static void huge_end(const struct huge *h)
{
    bed_sound(&h->bed);
    EXPECT_EQ(pmm_stats(&h->bed.pmm).metadata.v, h->bed.frames_taken);
    munmap(h->arrays, states_bytes(h) + blocks_bytes(h));
}

static void run_huge(uint64_t frames, uint64_t *questions, uint64_t *metadata)
{
    struct huge *h = huge_start(frames, frames);
    REQUIRE(h != NULL);
    *questions = h->questions;
    struct pmm *pmm = &h->bed.pmm;
    uint64_t units = units_of(h);
    EXPECT_EQ(pmm_stats(pmm).metadata.v, h->bed.frames_taken); /* of block 0 */
    EXPECT_EQ(pmm_stats(pmm).earmarked.v, units - h->bed.frames_taken);
    EXPECT_EQ(pmm_stats(pmm).free.v, frames - 1 - units);
    EXPECT_EQ(pmm_stats(pmm).regions, 1);
    pfn_t frame = pfn(0);
    for (unsigned i = 0; i < 3000; i++) {
        REQUIRE(pmm_alloc(pmm, i & PMM_USER, &frame) == STATUS_OK);
    }
    *metadata = pmm_stats(pmm).metadata.v;
    EXPECT_EQ(*metadata, h->bed.frames_taken);
    /* The very last frame, and one in the middle: two gaps, a handful of pages more. */
    REQUIRE(pmm_claim(pmm, pfn(frames - 1), npages(1)) == STATUS_OK);
    REQUIRE(pmm_claim(pmm, pfn(frames / 2 + 700), npages(3)) == STATUS_OK);
    EXPECT(pmm_stats(pmm).metadata.v <= *metadata + 2 * OPEN_UNITS_MAX);
    EXPECT_EQ(pmm_stats(pmm).earmarked.v, units - h->bed.frames_taken);
    for (unsigned i = 0; i < 3000; i++) {
        REQUIRE(pmm_alloc(pmm, i & PMM_USER, &frame) == STATUS_OK);
    }
    EXPECT_EQ(pmm_free(pmm, frame), STATUS_OK);
    huge_end(h);
}

TEST_HOST(pmm, sixteen_tib_cost_no_more_to_start_than_64_mib)
{
    uint64_t small_questions = 0, small_metadata = 0, questions = 0, metadata = 0;
    run_huge(bytes_to_pages_down(64 * MIB).v, &small_questions, &small_metadata);
    run_huge(bytes_to_pages_down(16 * TIB).v, &questions, &metadata);
    EXPECT(questions <= small_questions + 2); /* one region more, for 4 GiB lies inside */
    EXPECT(metadata > 0 && metadata <= small_metadata + 4); /* the two arrays do not share tables any more */
}

TEST_HOST(pmm, in_16_tib_frames_at_all_far_ends_can_be_had_for_a_few_pages_each)
{
    uint64_t frames = bytes_to_pages_down(16 * TIB).v;
    struct huge *h = huge_start(frames, frames);
    REQUIRE(h != NULL);
    struct pmm *pmm = &h->bed.pmm;
    static const unsigned flags[] = {PMM_BELOW_1M, PMM_BELOW_16M, PMM_BELOW_4G, PMM_KERNEL, PMM_USER};
    const uint64_t below[] = {bytes_to_pages_down(MIB).v, bytes_to_pages_down(16 * MIB).v,
                              bytes_to_pages_down(4 * GIB).v, frames, frames};
    pfn_t list[ARRAY_LEN(flags)];
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) {
        REQUIRE(pmm_alloc(pmm, flags[i], &list[i]) == STATUS_OK);
        EXPECT(list[i].v < below[i]);
        EXPECT(i < 3 || list[i].v >= below[2]);
        EXPECT_EQ(pmm_retain(pmm, list[i]), STATUS_OK);
    }
    static const uint64_t parts[] = {1, 3, 7, 15};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t at = frames / 16 * parts[i] + 77;
        EXPECT_EQ(pmm_query(pmm, pfn(at)).state, PMM_STATE_UNTOUCHED);
        EXPECT_EQ(pmm_claim(pmm, pfn(at), npages(1)), STATUS_OK);
        EXPECT_EQ(pmm_mark_bad(pmm, pfn(at + 2 * PMM_BLOCK_FRAMES)), STATUS_OK);
        EXPECT_EQ(pmm_free(pmm, pfn(at)), STATUS_OK);
    }
    EXPECT_EQ(pmm_claim(pmm, pfn(frames - 1), npages(2)), STATUS_ABSENT);
    EXPECT_EQ(pmm_claim(pmm, pfn(frames - 1), npages(1)), STATUS_OK);
    EXPECT(h->bed.frames_taken <= (ARRAY_LEN(flags) + 2 * ARRAY_LEN(parts) + 1) * OPEN_UNITS_MAX);
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) {
        EXPECT_EQ(pmm_release(pmm, list[i], NULL), STATUS_OK);
        EXPECT_EQ(pmm_free(pmm, list[i]), STATUS_OK);
    }
    npages_t counts[PMM_STATES];
    uint64_t sum = 0;
    pmm_state_counts(pmm, counts);
    for (unsigned i = 0; i < PMM_STATES; i++) {
        sum += counts[i].v;
    }
    EXPECT_EQ(sum - counts[PMM_STATE_ABSENT].v - counts[PMM_STATE_OUTSIDE].v, frames);
    EXPECT_EQ(counts[PMM_STATE_BAD].v, ARRAY_LEN(parts));
    huge_end(h);
}

TEST_HOST(pmm, in_16_tib_the_longest_run_is_nearly_all_of_it_and_long_runs_can_be_had)
{
    uint64_t frames = bytes_to_pages_down(16 * TIB).v, gib = bytes_to_pages_down(GIB).v;
    struct huge *h = huge_start(frames, frames);
    REQUIRE(h != NULL);
    struct pmm *pmm = &h->bed.pmm;
    uint64_t free = pmm_stats(pmm).free.v, units = pmm_stats(pmm).earmarked.v;
    uint64_t longest = pmm_largest_run(pmm, PMM_NO_LIMIT).v;
    EXPECT(longest <= free);
    EXPECT(longest >= frames - units - 4 * gib - 2 * PMM_BLOCK_FRAMES); /* borders of zones may cut it */
    EXPECT(pmm_largest_run(pmm, pfn(gib)).v <= gib);
    EXPECT(pmm_largest_run(pmm, pfn(gib)).v >= gib / 2);
    pfn_t run = pfn(0), low = pfn(0), again = pfn(0);
    REQUIRE(pmm_alloc_run(pmm, PMM_USER, npages(gib), npages(gib), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    EXPECT_EQ(run.v % gib, 0);
    EXPECT_EQ(pmm_query(pmm, pfn(run.v + gib - 1)).state, PMM_STATE_RUN);
    REQUIRE(pmm_alloc_run(pmm, PMM_BELOW_4G, npages(gib), npages(0), npages(0), PMM_NO_LIMIT, &low) == STATUS_OK);
    EXPECT(low.v + gib <= 4 * gib);
    pfn_t first = pfn(0);
    EXPECT_EQ(pmm_alloc_run(pmm, 0, npages(longest + 1), npages(0), npages(0), PMM_NO_LIMIT, &first), STATUS_NOMEM);
    EXPECT_EQ(first.v, 0);
    bed_sound(&h->bed);
    EXPECT_EQ(pmm_free_run(pmm, run, npages(gib)), STATUS_OK);
    EXPECT_EQ(pmm_free_run(pmm, low, npages(gib)), STATUS_OK);
    /* Opened once, it costs nothing more. */
    uint64_t taken = h->bed.frames_taken;
    REQUIRE(pmm_alloc_run(pmm, PMM_USER, npages(gib), npages(gib), npages(0), pfn(run.v + gib), &again) == STATUS_OK);
    EXPECT(again.v != run.v || h->bed.frames_taken == taken);
    EXPECT_EQ(pmm_free_run(pmm, again, npages(gib)), STATUS_OK);
    EXPECT_EQ(pmm_stats(pmm).free.v, free);
    huge_end(h);
}

TEST_HOST(pmm, a_tib_beside_16_can_come_and_go_untouched)
{
    uint64_t frames = bytes_to_pages_down(16 * TIB).v, more = bytes_to_pages_down(TIB).v;
    struct huge *h = huge_start(frames, frames + 2 * more);
    REQUIRE(h != NULL);
    struct pmm *pmm = &h->bed.pmm;
    pfn_t frame;
    REQUIRE(pmm_alloc(pmm, PMM_KERNEL, &frame) == STATUS_OK);
    struct pmm_stats before = pmm_stats(pmm);
    REQUIRE(pmm_region_add(pmm, pfn(frames + more), npages(more), 0) == STATUS_OK);
    struct pmm_stats now = pmm_stats(pmm);
    EXPECT_EQ(now.ram.v, before.ram.v + more);
    EXPECT_EQ(now.metadata.v, before.metadata.v);
    EXPECT(now.earmarked.v > before.earmarked.v + more / (PAGE_BYTES / sizeof(uint16_t)));
    REQUIRE(pmm_claim(pmm, pfn(frames + 2 * more - 1), npages(1)) == STATUS_OK);
    bed_sound(&h->bed);
    EXPECT_EQ(pmm_region_remove(pmm, pfn(frames + more), npages(more), NULL), STATUS_EXISTS);
    EXPECT_EQ(pmm_free(pmm, pfn(frames + 2 * more - 1)), STATUS_OK);
    EXPECT_EQ(pmm_region_remove(pmm, pfn(frames + more), npages(more), NULL), STATUS_OK);
    now = pmm_stats(pmm);
    EXPECT_EQ(now.ram.v, before.ram.v);
    EXPECT_EQ(now.free.v + now.metadata.v + now.earmarked.v, before.free.v + before.metadata.v + before.earmarked.v);
    huge_end(h);
}

TEST(pmm, a_region_left_out_for_what_it_holds_gives_no_whole_block_either)
{
    enum { BASE = 128, BLOCKS = 2300, WHOLE = BASE + 100, OTHER = BASE + BLOCKS + 10 }; /* 575 pages of states */
    struct pmm_bed *bed = bed_new(NULL, BASE, OTHER + 1, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, BASE * PMM_BLOCK_FRAMES, BLOCKS * PMM_BLOCK_FRAMES);
    bed_run(bed, OTHER * PMM_BLOCK_FRAMES, 60);
    bed_hold(bed, BASE * PMM_BLOCK_FRAMES, (WHOLE - BASE) * PMM_BLOCK_FRAMES, HOLD_RESERVED);
    bed_hold(bed, (WHOLE + 1) * PMM_BLOCK_FRAMES, (BASE + BLOCKS - WHOLE - 1) * PMM_BLOCK_FRAMES, HOLD_RESERVED);
    REQUIRE(starts(bed));
    EXPECT_EQ(pmm_stats(&bed->pmm).reserved.v, BLOCKS * PMM_BLOCK_FRAMES);
    EXPECT_EQ(state_of(bed, WHOLE * PMM_BLOCK_FRAMES), PMM_STATE_RESERVED);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free);
    bed_sound(bed);
}
