/*
 * Hostile boot information on the host: each block at the very end of its own allocation, so that the sanitizer sees a
 * single byte read too far.
 */
#include <stdlib.h>

#include "unit/mb2_bed.h"
#include "unit/test.h"

enum { ROOM = 1 << 18 };

/* Parses a copy of `size` bytes in an allocation of just that size; as little as 0. */
static bool parse_exact(const uint8_t *bytes, size_t size, struct mb2_info *info)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, bytes, size);
    enum status status = mb2_parse(copy, size, info, NULL, NULL);
    bool ok = (status == STATUS_OK || status == STATUS_CORRUPT) && block_answer_is_inside(info, copy, size);
    ok = ok && (status == STATUS_OK || (info->problems > 0 && info->map_count == 0 && info->module_count == 0));
    free(copy);
    return ok;
}

TEST_HOST(mb2_hostile, every_block_cut_at_every_byte_is_read_inside_its_bounds)
{
    struct mb2_info info;
    struct block b;
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    REQUIRE(memory != NULL);
    block_of_everything(&b, memory, ROOM);
    for (uint32_t size = 0; size <= b.size; size++) {
        block_patch(&b, 0, b.size);
        REQUIRE(parse_exact(b.bytes, size, &info)); /* the block says more than there is */
        EXPECT_EQ(info.total_bytes, size < 38 ? 0 : size); /* before its first tag is whole it is no block */
        EXPECT((info.problems == 0) == (size == b.size));
        block_patch(&b, 0, size);
        REQUIRE(parse_exact(b.bytes, size, &info)); /* it says what there is */
        REQUIRE(parse_exact(b.bytes, b.size, &info)); /* it says less */
    }
}

TEST_HOST(mb2_hostile, every_field_at_every_awkward_value_is_read_inside_its_bounds)
{
    static const uint32_t values[] = {0,  1,   7,    8,         9,          19,             20,        40, 63,
                                      64, 255, 5000, INT32_MAX, 0x80000000, UINT32_MAX - 7, UINT32_MAX};
    struct mb2_info info;
    struct block b;
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    REQUIRE(memory != NULL);
    block_of_everything(&b, memory, ROOM);
    for (uint32_t offset = 0; offset + 4 <= b.size; offset += 2) {
        uint32_t kept;
        memcpy(&kept, b.bytes + offset, sizeof kept);
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
            block_patch(&b, offset, values[i]);
            REQUIRE(parse_exact(b.bytes, b.size, &info));
        }
        for (uint32_t type = 0; type < 32; type++) {
            block_patch(&b, offset, type); /* another tag's meaning, where a type stands */
            REQUIRE(parse_exact(b.bytes, b.size, &info));
        }
        block_patch(&b, offset, kept);
    }
}

TEST_HOST(mb2_hostile, random_bytes_and_random_changes_are_read_inside_their_bounds)
{
    struct mb2_info info;
    struct block b;
    uint8_t *memory = test_pages(bytes_to_pages_up(ROOM).v);
    REQUIRE(memory != NULL);
    struct rng rng = rng_seeded(test_seed());
    size_t sound = 0;
    for (unsigned round = 0; round < 3000 * test_effort(); round++) {
        block_of_everything(&b, memory, ROOM);
        for (uint64_t changes = 1 + rng_below(&rng, 12); changes > 0; changes--) {
            uint32_t at = (uint32_t)rng_below(&rng, b.size);
            uint8_t flip = (uint8_t)(1U << rng_below(&rng, 8));
            b.bytes[at] ^= rng_below(&rng, 2) ? flip : (uint8_t)rng_next(&rng);
        }
        REQUIRE(parse_exact(b.bytes, rng_below(&rng, 4) ? b.size : rng_below(&rng, b.size), &info));
        sound += info.map_count > 0;
    }
    EXPECT(sound > 100); /* or the changes would test nothing but the first check */
    for (unsigned round = 0; round < 200 * test_effort(); round++) {
        for (uint32_t i = 0; i < 512; i += 4) {
            block_patch(&b, i, rng_below(&rng, 3) ? (uint32_t)rng_below(&rng, 40) : (uint32_t)rng_next(&rng));
        }
        REQUIRE(parse_exact(b.bytes, 512, &info));
    }
}

TEST_HOST(mb2_hostile, ten_thousand_entries_are_all_read)
{
    enum { ENTRIES = 10000 };
    struct mb2_info info;
    struct block b;
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_map(&b, ENTRIES);
    block_end(&b);
    REQUIRE(parse_exact(b.bytes, b.size, &info));
    EXPECT_EQ(info.map_count, ENTRIES);
    EXPECT_EQ(info.problems, 0);
}

TEST_HOST(mb2_hostile, a_block_full_of_bad_tags_tells_a_few_and_counts_all)
{
    struct mb2_info info;
    struct block b;
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    while (b.size < ROOM - 64) {
        block_tag(&b, 6, NULL, 0);
    }
    block_end(&b);
    REQUIRE(parse_exact(b.bytes, b.size, &info));
    EXPECT_EQ(info.problems, b.size / 8 - 2);
}
