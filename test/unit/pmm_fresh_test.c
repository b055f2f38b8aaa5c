/*
 * Blocks never used whose frames are all usable: each is found, and no other, in regions of few blocks and of many,
 * below and above the watermark.
 */
#include "pmm/block.h"
#include "unit/pmm_bed.h"

enum { B = 64, HOLE = 300 }; /* above 16 MiB: one zone. Blocks that are not whole lack this frame */

struct fresh {
    struct pmm_bed *bed;
    uint64_t whole[8]; /* a bit each */
    unsigned blocks, count;
};

static bool is_whole(const struct fresh *m, uint64_t block) { return (m->whole[block / 64] >> (block % 64) & 1) != 0; }

/* Block 0 is not whole, and pays: some frames of it are free for that, the others in use. */
static bool fresh_start(struct fresh *m, struct bed_arena *arena, unsigned blocks, unsigned percent, struct rng *rng)
{
    *m = (struct fresh){.bed = bed_new(arena, B, B + blocks + 1, 0), .blocks = blocks};
    if (m->bed == NULL) {
        return false;
    }
    uint64_t from = (uint64_t)B * PMM_BLOCK_FRAMES, at = from;
    for (uint64_t block = 0; block < blocks; block++) {
        if (block > 0 && rng_below(rng, 100) < percent) {
            m->whole[block / 64] |= 1ULL << (block % 64);
            m->count++;
            continue;
        }
        at = (B + block) * PMM_BLOCK_FRAMES + HOLE;
        bed_run(m->bed, from, at - from);
        from = at + 1;
    }
    bed_run(m->bed, from, (uint64_t)(B + blocks) * PMM_BLOCK_FRAMES - from);
    pfn_t frame;
    return bed_starts(m->bed) && EXPECT_EQ(pmm_alloc(&m->bed->pmm, PMM_KERNEL, &frame), STATUS_OK);
}

/* A run of a block, which is one of the whole ones, and none any more; false: refused. */
static bool take_one(struct fresh *m)
{
    pfn_t first;
    npages_t n = npages(PMM_BLOCK_FRAMES);
    if (pmm_alloc_run(&m->bed->pmm, PMM_USER, n, n, npages(0), PMM_NO_LIMIT, &first) != STATUS_OK) {
        return false;
    }
    uint64_t block = block_of(first.v) - B;
    if (EXPECT(block < m->blocks && is_whole(m, block))) {
        m->whole[block / 64] &= ~(1ULL << (block % 64));
        m->count--;
    }
    return bed_sound(m->bed);
}

TEST(pmm_fresh, all_whole_blocks_are_found_and_no_other_whatever_was_claimed_before)
{
    static const unsigned sizes[] = {2, 31, 63, 64, 65, 110, 129, 200};
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    for (unsigned i = 0; i < ARRAY_LEN(sizes) * 3; i++) {
        struct fresh m;
        unsigned blocks = sizes[i % ARRAY_LEN(sizes)];
        REQUIRE(fresh_start(&m, &arena, blocks, blocks > 120 ? 60 : 20 + i, &rng));
        for (unsigned k = 0; k < i % 4 * 3; k++) {
            uint64_t frame = rng_below(&rng, (uint64_t)m.blocks * PMM_BLOCK_FRAMES), block = frame / PMM_BLOCK_FRAMES;
            if (pmm_claim(&m.bed->pmm, pfn((uint64_t)B * PMM_BLOCK_FRAMES + frame), npages(1)) == STATUS_OK
                && is_whole(&m, block)) {
                m.whole[block / 64] &= ~(1ULL << (block % 64));
                m.count--;
            }
            bed_sound(m.bed);
        }
        while (take_one(&m)) {
        }
        EXPECT_EQ(m.count, 0);
    }
}

TEST(pmm_fresh, a_block_whose_last_reserved_frame_is_given_back_is_found)
{
    static const unsigned sizes[] = {40, 90};
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct fresh m;
        REQUIRE(fresh_start(&m, &arena, sizes[i], 0, &rng));
        EXPECT(!take_one(&m));
        struct pmm_bed *bed = bed_new(&arena, B, B + sizes[i] + 1, 0);
        REQUIRE(bed != NULL);
        uint64_t first = (uint64_t)B * PMM_BLOCK_FRAMES;
        bed_run(bed, first, sizes[i] * (uint64_t)PMM_BLOCK_FRAMES);
        for (unsigned block = 0; block < sizes[i]; block++) {
            bed_hold(bed, first + block * (uint64_t)PMM_BLOCK_FRAMES + HOLE, 1, HOLD_RESERVED);
        }
        pfn_t frame;
        REQUIRE(bed_starts(bed) && pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
        m.bed = bed;
        EXPECT(!take_one(&m));
        for (unsigned block = sizes[i] - 1; block > 0; block -= 13) {
            frame = pfn(first + block * (uint64_t)PMM_BLOCK_FRAMES + HOLE);
            REQUIRE(pmm_give_back(&bed->pmm, frame, npages(1)) == STATUS_OK && bed_sound(bed));
            m.whole[block / 64] |= 1ULL << (block % 64);
            m.count++;
            EXPECT(take_one(&m));
            EXPECT_EQ(m.count, 0);
            if (block < 13) {
                break;
            }
        }
    }
}

TEST(pmm_fresh, the_validator_names_a_bit_that_is_wrong)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    struct fresh m;
    REQUIRE(fresh_start(&m, &arena, 40, 50, &rng));
    uint64_t *bits = &m.bed->pmm.regions[0].whole_bits, kept = *bits;
    *bits &= *bits - 1; /* a block that no search would find */
    EXPECT_EQ(pmm_check(&m.bed->pmm, NULL), STATUS_CORRUPT);
    *bits = kept | 1;
    EXPECT_EQ(pmm_check(&m.bed->pmm, NULL), STATUS_CORRUPT);
    *bits = kept;
    bed_sound(m.bed);
}

TEST(pmm_fresh, a_large_region_remembers_which_blocks_are_whole_and_the_validator_names_one_that_is_not)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    struct fresh m;
    REQUIRE(fresh_start(&m, &arena, 150, 50, &rng) && take_one(&m));
    struct pmm_region *r = &m.bed->pmm.regions[0];
    EXPECT(r->plain > B && r->plain < r->plain_end);
    r->plain--; /* block 0 is none, and what ends the plain ones is none */
    EXPECT_EQ(pmm_check(&m.bed->pmm, NULL), STATUS_CORRUPT);
    r->plain++;
    r->plain_end = B + 151;
    EXPECT_EQ(pmm_check(&m.bed->pmm, NULL), STATUS_CORRUPT);
    r->plain = r->plain_end = 0;
    bed_sound(m.bed);
}

/* ---- Block 0 ---- */

enum { LOW = 256 }; /* frames below 1 MiB */

TEST(pmm_fresh, block_0_is_open_from_the_start_and_what_lies_from_1_mib_on_pays_for_it)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 4 * PMM_BLOCK_FRAMES);
    REQUIRE(bed_starts(bed));
    uint64_t paid = pmm_stats(&bed->pmm).metadata.v;
    EXPECT(paid >= 2);
    EXPECT_EQ(paid, bed->frames_taken);
    EXPECT_EQ(pmm_stats(&bed->pmm).zones[PMM_ZONE_1M].free.v, LOW - 1);
    for (uint64_t at = 1; at < 2 * PMM_BLOCK_FRAMES; at++) {
        enum pmm_state expected = at >= LOW && at < LOW + paid ? PMM_STATE_METADATA
                                  : at < PMM_BLOCK_FRAMES      ? PMM_STATE_FREE
                                                               : PMM_STATE_UNTOUCHED;
        EXPECT_EQ(pmm_query(&bed->pmm, pfn(at)).state, expected);
    }
    uint64_t backs = bed->backs;
    pfn_t frame;
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame), STATUS_OK);
    EXPECT(frame.v < LOW);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_16M, &frame), STATUS_OK);
    EXPECT(frame.v >= LOW + paid && frame.v < PMM_BLOCK_FRAMES);
    EXPECT_EQ(bed->backs, backs);
}

TEST(pmm_fresh, block_0_stays_as_it_is_where_memory_below_1_mib_had_to_pay)
{
    struct pmm_bed *bed = bed_new(NULL, 0, B + 4, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 1, LOW - 1);
    bed_run(bed, (uint64_t)B * PMM_BLOCK_FRAMES, 2 * PMM_BLOCK_FRAMES);
    REQUIRE(bed_starts(bed));
    EXPECT_EQ(pmm_stats(&bed->pmm).metadata.v, 0);
    EXPECT_EQ(pmm_query(&bed->pmm, pfn(1)).state, PMM_STATE_UNTOUCHED);
    pfn_t frame;
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_BELOW_1M, &frame), STATUS_OK);
    EXPECT_EQ(pmm_stats(&bed->pmm).zones[PMM_ZONE_1M].free.v, LOW - 2);
}

TEST(pmm_fresh, a_backing_that_fails_at_the_start_is_said)
{
    struct pmm_bed *bed = bed_new(NULL, 0, 8, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, 0, 4 * PMM_BLOCK_FRAMES);
    bed->fail_at = 1;
    EXPECT_EQ(bed_start(bed), STATUS_CORRUPT);
    test_expect_reports(1);
}

/* Where one run ends inside a block and nothing else is there, the block is opened in one go. */
TEST(pmm_fresh, one_frame_after_the_other_all_of_short_regions_are_had)
{
    struct rng rng = rng_seeded(test_seed());
    struct bed_arena arena = bed_arena();
    for (unsigned round = 0; round < 20; round++) {
        struct pmm_bed *bed = bed_new(&arena, B, B + 16, 0);
        REQUIRE(bed != NULL);
        uint64_t frames = 0, at = (uint64_t)B * PMM_BLOCK_FRAMES;
        for (unsigned i = 0; i < 3; i++) {
            uint64_t first = at + rng_below(&rng, PMM_BLOCK_FRAMES), count = 30 + rng_below(&rng, 700);
            bed_run(bed, first, count);
            frames += count;
            at = (first + count + 2 * PMM_BLOCK_FRAMES) / PMM_BLOCK_FRAMES * PMM_BLOCK_FRAMES;
        }
        REQUIRE(bed_starts(bed));
        uint64_t can = pmm_stats(&bed->pmm).free.v, had = 0;
        pfn_t frame;
        while (pmm_alloc(&bed->pmm, had % 3 == 0 ? PMM_KERNEL : PMM_USER, &frame) == STATUS_OK) {
            had++;
            if (had % 16 == 1) {
                EXPECT(bed_sound(bed));
            }
        }
        EXPECT_EQ(had, can);
        EXPECT_EQ(had + pmm_stats(&bed->pmm).metadata.v, frames);
        bed_sound(bed);
    }
}
