/*
 * Contiguous runs: what pmm_alloc_run hands out, and where.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 16 };

/* Used once each; those of whole blocks say so. */
static void expect_run(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    uint64_t whole_end = frames < BLOCK ? first : first + frames - frames % BLOCK;
    for (uint64_t f = first; f < first + frames; f++) {
        struct pmm_frame q = pmm_query(&bed->pmm, pfn(f));
        if (!EXPECT_EQ(q.state, f < whole_end ? PMM_STATE_RUN : PMM_STATE_USED) || !EXPECT_EQ(q.references, 1)) {
            test_note("frame %#lx of the run at %#lx of %lu", f, first, frames);
            return;
        }
    }
}

/* ---- Lengths ---- */

TEST(pmm_runs, a_run_shorter_than_a_block_lies_inside_one_and_is_frames_from_the_start)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    static const uint64_t lengths[] = {1, 2, 3, 64, 65, 300, 510, 511};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pmm_stats before = pmm_stats(&bed->pmm);
        pfn_t first;
        REQUIRE(any_run(bed, lengths[i], &first) == STATUS_OK);
        EXPECT_EQ(first.v / BLOCK, (first.v + lengths[i] - 1) / BLOCK);
        expect_run(bed, first.v, lengths[i]);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + lengths[i]);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - lengths[i]);
        EXPECT_EQ(pmm_stats(&bed->pmm).allocated, before.allocated + lengths[i]);
        bed_sound(bed);
        REQUIRE(pmm_free(&bed->pmm, pfn_add(first, lengths[i] - 1)) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + lengths[i] - 1);
    }
    bed_sound(bed);
}

TEST(pmm_runs, a_run_of_a_block_is_one_thing_and_no_state_of_it_is_visited)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    struct pmm_stats before = pmm_stats(&bed->pmm);
    pfn_t first;
    REQUIRE(any_run(bed, BLOCK, &first) == STATUS_OK);
    EXPECT_EQ(first.v % BLOCK, 0);
    expect_run(bed, first.v, BLOCK);
    EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + BLOCK);
    bed_sound(bed);
    uint16_t *states = &bed->states[first.v];
    uint16_t *copy = test_pages(1);
    REQUIRE(copy != NULL);
    memcpy(copy, states, BLOCK * sizeof *copy);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(pmm_free_run(&bed->pmm, first, npages(BLOCK)) == STATUS_OK);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v);
        bed_sound(bed);
        pfn_t again;
        REQUIRE(any_run(bed, BLOCK, &again) == STATUS_OK);
        REQUIRE(again.v == first.v);
        EXPECT(memcmp(copy, states, BLOCK * sizeof *copy) == 0);
    }
    bed_sound(bed);
}

TEST(pmm_runs, longer_runs_are_whole_blocks_and_the_first_frames_of_one_more)
{
    static const uint64_t lengths[] = {700, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK, 5 * BLOCK - 1, BLOCK + 1};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
        REQUIRE(bed != NULL && bed_starts(bed));
        struct pmm_stats before = pmm_stats(&bed->pmm);
        pfn_t first, frame;
        REQUIRE(any_run(bed, lengths[i], &first) == STATUS_OK);
        EXPECT_EQ(first.v % BLOCK, 0);
        expect_run(bed, first.v, lengths[i]);
        EXPECT_EQ(pmm_stats(&bed->pmm).used.v, before.used.v + lengths[i]);
        EXPECT_EQ(pmm_stats(&bed->pmm).free.v, before.free.v - lengths[i]);
        bed_sound(bed);
        /* The rest of its last block serves others, and nothing of the run is handed out again. */
        for (uint64_t left = pmm_stats(&bed->pmm).free.v; left > 0; left--) {
            REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
            REQUIRE(frame.v < first.v || frame.v >= first.v + lengths[i]);
        }
        bed_sound(bed);
    }
}

TEST(pmm_runs, a_run_takes_neither_absent_nor_reserved_frames)
{
    struct pmm_bed *bed = bed_new(NULL, SIDE / BLOCK, FIELD / BLOCK + 3, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, SIDE, SIDE_FRAMES);
    bed_hold(bed, SIDE, 1, HOLD_USED); /* its block pays for all others */
    bed_run(bed, FIELD, 200);
    bed_run(bed, FIELD + 300, 2 * BLOCK - 300);
    bed_hold(bed, FIELD + BLOCK + 100, 5, HOLD_RESERVED);
    REQUIRE(bed_starts(bed) && pmm_claim(&bed->pmm, pfn(FIELD), npages(200)) == STATUS_OK);
    REQUIRE(pmm_claim(&bed->pmm, pfn(FIELD + 300), npages(BLOCK - 200)) == STATUS_OK);
    REQUIRE(bed_fill(bed, FIELD + BLOCK + 105, BLOCK - 105));
    REQUIRE(free_frames(bed, FIELD, 200) && free_frames(bed, FIELD + 300, BLOCK - 200));
    REQUIRE(free_frames(bed, FIELD + BLOCK + 105, BLOCK - 105));
    /* Free now: 200, 212 in the first block, 100, 407 in the second. */
    pfn_t first;
    EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, 407);
    EXPECT_REFUSED(bed, any_run(bed, 408, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, any_run(bed, BLOCK, &first), STATUS_NOMEM);
    static const struct { uint64_t n, at; } fits[] = {
        {407, FIELD + BLOCK + 105}, {212, FIELD + 300}, {200, FIELD}, {100, FIELD + BLOCK},
    };
    for (size_t i = 0; i < ARRAY_LEN(fits); i++) {
        REQUIRE(any_run(bed, fits[i].n, &first) == STATUS_OK);
        EXPECT_EQ(first.v, fits[i].at);
        EXPECT_EQ(pmm_largest_run(&bed->pmm, PMM_NO_LIMIT).v, i + 1 < ARRAY_LEN(fits) ? fits[i + 1].n : 0);
        bed_sound(bed);
    }
}

/* ---- Where: align, boundary, limit ---- */

TEST(pmm_runs, the_first_frame_is_aligned_as_asked)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t first, odd;
    static const struct { uint64_t n, align; } asks[] = {
        {5, 64}, {5, 512}, {1, 1024}, {7, 2048}, {512, 1}, {512, 512}, {512, 1024}, {700, 1024}, {300, 256}, {1, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        REQUIRE(any_run(bed, 3, &odd) == STATUS_OK);
        REQUIRE(run_of(bed, asks[i].n, asks[i].align, 0, UINT64_MAX, &first) == STATUS_OK);
        EXPECT_EQ(first.v % asks[i].align, 0);
        expect_run(bed, first.v, asks[i].n);
        bed_sound(bed);
    }
    EXPECT_REFUSED(bed, run_of(bed, 1, 1UL << 40, 0, UINT64_MAX, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 1, 1UL << 63, 0, UINT64_MAX, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, BLOCK, 1UL << 63, 0, UINT64_MAX, &first), STATUS_NOMEM);
    /* Blocks that were passed over are not lost. */
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free);
    bed_sound(bed);
}

TEST(pmm_runs, no_multiple_of_the_boundary_lies_inside)
{
    struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t first, odd;
    static const struct { uint64_t n, boundary; } asks[] = {
        {100, 128}, {128, 128}, {1, 1}, {3, 4}, {511, 512}, {512, 512}, {700, 1024}, {1024, 1024}, {65, 128}, {2, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        REQUIRE(any_run(bed, 27, &odd) == STATUS_OK);
        REQUIRE(run_of(bed, asks[i].n, 0, asks[i].boundary, UINT64_MAX, &first) == STATUS_OK);
        EXPECT_EQ(first.v / asks[i].boundary, (first.v + asks[i].n - 1) / asks[i].boundary);
        expect_run(bed, first.v, asks[i].n);
        bed_sound(bed);
    }
}

TEST(pmm_runs, where_only_a_run_across_the_boundary_is_free_it_is_refused)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    REQUIRE(free_frames(bed, FIELD + BLOCK + 100, 56) && free_frames(bed, FIELD + 3 * BLOCK, 2 * BLOCK));
    pfn_t first;
    /* Blocks 3 and 4 of the field, which begins at a multiple of 8 blocks. */
    EXPECT_REFUSED(bed, run_of(bed, 2 * BLOCK, 2 * BLOCK, 0, UINT64_MAX, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 2 * BLOCK, 0, 2 * BLOCK, UINT64_MAX, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 2 * BLOCK, 0, 4 * BLOCK, UINT64_MAX, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, BLOCK + 1, 0, 2 * BLOCK, UINT64_MAX, &first), STATUS_NOMEM);
    REQUIRE(run_of(bed, 2 * BLOCK, 0, 8 * BLOCK, UINT64_MAX, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD + 3 * BLOCK);
    /* [100, 156) of block 1: 28 frames on each side of 128. */
    EXPECT_REFUSED(bed, run_of(bed, 29, 0, 128, UINT64_MAX, &first), STATUS_NOMEM);
    REQUIRE(run_of(bed, 28, 0, 128, UINT64_MAX, &first) == STATUS_OK);
    REQUIRE(run_of(bed, 28, 0, 128, UINT64_MAX, &first) == STATUS_OK);
    EXPECT_REFUSED(bed, run_of(bed, 1, 0, 0, UINT64_MAX, &first), STATUS_NOMEM);
}

TEST(pmm_runs, all_frames_lie_below_the_limit)
{
    struct pmm_bed *bed = runs_bed_full(FIELD_BLOCKS, 0);
    REQUIRE(bed != NULL);
    REQUIRE(free_frames(bed, FIELD + 2 * BLOCK + 100, 4 * BLOCK - 100));
    /* Free: the block at 2 from its frame 100 on, and those at 3, 4, 5. */
    pfn_t first;
    EXPECT_REFUSED(bed, run_of(bed, 1, 0, 0, 0, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 1, 0, 0, FIELD, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 1, 0, 0, FIELD + 2 * BLOCK + 100, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 11, 0, 0, FIELD + 2 * BLOCK + 110, &first), STATUS_NOMEM);
    REQUIRE(run_of(bed, 10, 0, 0, FIELD + 2 * BLOCK + 110, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD + 2 * BLOCK + 100);
    EXPECT_REFUSED(bed, run_of(bed, BLOCK, 0, 0, FIELD + 4 * BLOCK - 1, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 2 * BLOCK, 0, 0, FIELD + 5 * BLOCK - 1, &first), STATUS_NOMEM);
    EXPECT_REFUSED(bed, run_of(bed, 2 * BLOCK + 50, 0, 0, FIELD + 5 * BLOCK + 49, &first), STATUS_NOMEM);
    REQUIRE(run_of(bed, 2 * BLOCK + 50, 0, 0, FIELD + 5 * BLOCK + 50, &first) == STATUS_OK);
    EXPECT_EQ(first.v, FIELD + 3 * BLOCK);
    expect_run(bed, first.v, 2 * BLOCK + 50);
    bed_sound(bed);
}

TEST(pmm_runs, metadata_does_not_spoil_the_only_place_of_a_run_in_memory_never_used)
{
    static const struct { uint64_t n, align, limit, at; } asks[] = {
        {1, 0, SIDE + 1, SIDE}, {511, 0, SIDE + 511, SIDE}, {BLOCK, 0, SIDE + BLOCK, SIDE},
        {700, 0, SIDE + 700, SIDE}, {SIDE_FRAMES, 0, UINT64_MAX / 2, UINT64_MAX}, {SIDE_FRAMES, 0, FIELD, SIDE},
        {FIELD_BLOCKS * BLOCK, 0, UINT64_MAX, FIELD},
        {3, 1024 * BLOCK, UINT64_MAX, SIDE}, {BLOCK, 1024 * BLOCK, UINT64_MAX, SIDE},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct pmm_bed *bed = runs_bed(FIELD_BLOCKS, i % 2);
        REQUIRE(bed != NULL && bed_starts(bed));
        pfn_t first = pfn(0);
        uint64_t free = pmm_stats(&bed->pmm).free.v;
        REQUIRE(EXPECT_EQ(run_of(bed, asks[i].n, asks[i].align, 0, asks[i].limit, &first), STATUS_OK));
        EXPECT(asks[i].at == UINT64_MAX || first.v == asks[i].at);
        expect_run(bed, first.v, asks[i].n);
        EXPECT_EQ(bed_take_all(bed, PMM_USER), free - asks[i].n);
        bed_sound(bed);
    }
}

TEST(pmm_runs, the_first_run_or_frame_of_all_costs_one_block_for_metadata_and_no_more)
{
    enum { KINDS = 6 };
    for (unsigned kind = 0; kind < KINDS; kind++) {
        unsigned owner;
        struct pmm_bed *bed = owner_bed(FIELD_BLOCKS, kind % 2, 0, 0, &owner);
        REQUIRE(bed != NULL);
        uint64_t whole = whole_blocks(bed), taken = kind < 3 ? kind + 1 : 1;
        pfn_t frame;
        enum status s = kind < 3    ? any_run(bed, taken * BLOCK, &frame)
                        : kind == 3 ? pmm_alloc(&bed->pmm, PMM_USER, &frame)
                        : kind == 4 ? pmm_alloc(&bed->pmm, PMM_OWNER(owner), &frame)
                                    : pmm_alloc_run(&bed->pmm, PMM_USER, npages(100), npages(0), npages(0),
                                                    PMM_NO_LIMIT, &frame);
        EXPECT_EQ(s, STATUS_OK);
        if (!EXPECT(whole_blocks(bed) + taken + 1 >= whole)) {
            test_note("kind %u: %lu whole blocks became %lu", kind, whole, whole_blocks(bed));
        }
        bed_sound(bed);
    }
}

/* ---- Zones ---- */

static uint64_t below_1m(void) { return bytes_to_pages_down(MIB).v; }
static uint64_t below_16m(void) { return bytes_to_pages_down(16 * MIB).v; }
static uint64_t below_4g(void) { return bytes_to_pages_down(4 * GIB).v; }

/* [0, 160) and [256, 24 MiB), and 4 blocks on either side of 4 GiB. */
static struct pmm_bed *zones(void)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 2052, 0);
    if (bed != NULL) {
        bed_run(bed, 0, 160);
        bed_run(bed, 256, 12 * BLOCK - 256);
        bed_run(bed, below_4g() - 4 * BLOCK, 8 * BLOCK);
    }
    return bed;
}

TEST(pmm_runs, a_run_below_1_16_mib_or_4_gib_can_be_asked_for)
{
    struct pmm_bed *bed = zones();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t first;
    static const uint64_t lengths[] = {1, 100, 160, 512, 700};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        uint64_t n = lengths[i];
        if (n < 160) {
            REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(n), npages(0), npages(0), PMM_NO_LIMIT, &first) ==
                    STATUS_OK);
            EXPECT(first.v > 0 && first.v + n <= 160);
            REQUIRE(pmm_free_run(&bed->pmm, first, npages(n)) == STATUS_OK);
        }
        /* Blocks that others draw from now are above. */
        REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &first) == STATUS_OK && first.v >= below_4g());
        REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &first) == STATUS_OK && first.v >= below_4g());
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_16M | PMM_USER, npages(n), npages(0), npages(0), PMM_NO_LIMIT,
                              &first) == STATUS_OK);
        EXPECT(first.v + n <= below_16m());
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_4G, npages(n), npages(0), npages(0), PMM_NO_LIMIT, &first) ==
                STATUS_OK);
        EXPECT(first.v + n <= below_4g());
        bed_sound(bed);
    }
    /* Limit and flag: the tighter one holds. */
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_4G, npages(30), npages(0), npages(0), pfn(below_1m()), &first) ==
            STATUS_OK);
    EXPECT(first.v + 30 <= 160);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(30), npages(0), npages(0), pfn(below_4g()), &first) ==
            STATUS_OK);
    EXPECT(first.v + 30 <= 160);
    bed_sound(bed);
}

TEST(pmm_runs, below_1_mib_all_but_frame_0_is_one_run_and_no_more)
{
    struct pmm_bed *bed = zones();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t first = pfn(7);
    EXPECT_REFUSED(bed, pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(160), npages(0), npages(0), PMM_NO_LIMIT, &first),
                   STATUS_NOMEM);
    EXPECT_REFUSED(bed, pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(1), npages(256), npages(0), PMM_NO_LIMIT, &first),
                   STATUS_NOMEM);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, pfn(below_1m())).v, 159);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(159), npages(0), npages(0), PMM_NO_LIMIT, &first) ==
            STATUS_OK);
    EXPECT_EQ(first.v, 1);
    EXPECT_EQ(pmm_largest_run(&bed->pmm, pfn(below_1m())).v, 0);
    EXPECT_REFUSED(bed, pmm_alloc_run(&bed->pmm, PMM_BELOW_1M, npages(1), npages(0), npages(0), PMM_NO_LIMIT, &first),
                   STATUS_NOMEM);
    EXPECT_EQ(pmm_free_run(&bed->pmm, first, npages(159)), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm_runs, what_is_free_below_1_mib_is_not_taken_for_the_rest_of_its_block)
{
    struct pmm_bed *bed = zones();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t low, first;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &low) == STATUS_OK);
    REQUIRE(pmm_claim(&bed->pmm, pfn(300), npages(1)) == STATUS_OK);
    REQUIRE(pmm_free(&bed->pmm, low) == STATUS_OK);
    for (uint64_t n = 1; n <= 150; n += 7) {
        REQUIRE(pmm_alloc_run(&bed->pmm, PMM_BELOW_16M, npages(n), npages(0), npages(0), pfn(2 * BLOCK), &first) ==
                STATUS_OK);
        EXPECT(first.v >= 256);
        REQUIRE(bed_sound(bed) && pmm_free_run(&bed->pmm, first, npages(n)) == STATUS_OK);
    }
    bed_sound(bed);
}

TEST(pmm_runs, runs_without_a_limit_come_from_the_highest_zone_and_below_1_mib_last_of_all)
{
    struct pmm_bed *bed = zones();
    REQUIRE(bed != NULL && bed_starts(bed));
    pfn_t first;
    unsigned in_zone[PMM_ZONES] = {0};
    /* 100 fit five times into a block, once below 1 MiB. Blocks that were begun may be passed over at first. */
    while (any_run(bed, 100, &first) == STATUS_OK) {
        enum pmm_zone zone = pmm_query(&bed->pmm, first).zone;
        EXPECT_EQ(pmm_query(&bed->pmm, pfn_add(first, 99)).zone, zone);
        EXPECT(zone >= PMM_ZONE_4G || in_zone[PMM_ZONE_4G] >= 3 * 5);
        EXPECT(zone == PMM_ZONE_HIGH || in_zone[PMM_ZONE_HIGH] >= 3 * 5);
        EXPECT_EQ(in_zone[PMM_ZONE_1M], 0); /* nothing comes after it */
        in_zone[zone]++;
    }
    EXPECT_EQ(in_zone[PMM_ZONE_1M], 1);
    EXPECT(in_zone[PMM_ZONE_16M] >= 7 * 5);
    bed_sound(bed);
}
