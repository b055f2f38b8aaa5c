/* What a heap cannot see without guard mode it survives: its own data is out of band, and no block is given out
 * twice. */
#include "unit/heap_bed.h"

enum { BLOCKS = 60, SIZES = 3, STRAY_BYTES = 16 };

enum stray { OVERFLOW_BY_1, OVERFLOW_BY_16, UNDERFLOW, AFTER_FREE, STRAYS };

static const size_t sizes[SIZES] = {48, 512, 2048};

/* One stray write at each block. What lies beyond a slab's pages is the source's matter: those at a page's border do
 * not stray out of it. */
static void write_stray(uint8_t *const *blocks, size_t bytes, enum stray stray)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        bool is_first = is_page_aligned(ptr_to_vaddr(blocks[i]).v);
        bool is_last = is_page_aligned(ptr_to_vaddr(blocks[i] + bytes).v);
        if (stray == AFTER_FREE && i % 2 == 0) {
            memset(blocks[i], 0xFF, bytes);
        } else if (stray == UNDERFLOW && !is_first) {
            memset(blocks[i] - STRAY_BYTES, 0xFF, STRAY_BYTES);
        } else if ((stray == OVERFLOW_BY_1 || stray == OVERFLOW_BY_16) && !is_last) {
            memset(blocks[i] + bytes, 0xFF, stray == OVERFLOW_BY_1 ? 1 : STRAY_BYTES);
        }
    }
}

/* Are two of the blocks the same, or do they overlap? */
static uint64_t overlaps(uint8_t *const *blocks, size_t bytes)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        for (unsigned k = 0; k < i; k++) {
            found += blocks[i] < blocks[k] + bytes && blocks[k] < blocks[i] + bytes;
        }
    }
    return found;
}

TEST(heap, overflow_underflow_and_a_write_after_free_reach_nothing_of_the_heaps_own)
{
    static uint8_t *blocks[BLOCKS];
    for (unsigned test = 0; test < SIZES * STRAYS; test++) {
        size_t bytes = sizes[test / STRAYS];
        enum stray stray = (enum stray)(test % STRAYS);
        struct heap_bed *bed = heap_bed_new(80);
        REQUIRE(bed != NULL);
        for (unsigned i = 0; i < BLOCKS; i++) {
            REQUIRE((blocks[i] = heap_alloc(&bed->heap, bytes)) != NULL);
        }
        struct heap_stats before = heap_stats(&bed->heap);
        for (unsigned i = 0; stray == AFTER_FREE && i < BLOCKS; i += 2) {
            EXPECT_EQ(heap_free(&bed->heap, blocks[i]), STATUS_OK);
        }
        write_stray(blocks, bytes, stray);
        heap_bed_check(bed);
        for (unsigned i = 0; stray == AFTER_FREE && i < BLOCKS; i += 2) {
            REQUIRE((blocks[i] = heap_alloc(&bed->heap, bytes)) != NULL);
        }
        EXPECT_EQ(overlaps(blocks, bytes), 0);
        EXPECT_EQ(heap_stats(&bed->heap).blocks, before.blocks);
        for (unsigned i = 0; i < BLOCKS; i++) {
            EXPECT_EQ(heap_free_sized(&bed->heap, blocks[i], bytes), STATUS_OK);
        }
        heap_bed_end(bed);
    }
}
