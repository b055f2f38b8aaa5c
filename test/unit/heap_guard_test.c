/* Guard mode: each kind of misuse is reported with the block, its size, and the sites; nothing else is hurt. */
#include "heap/guard_internal.h"
#include "unit/guard_bed.h"

/* One test for both ways. */
#define EACH_WAY(g, pages)                                                                                             \
    for (unsigned way_ = 0; way_ < GUARD_WAYS; way_++)                                                                 \
        for (struct guard_bed *g = bed_of(way_, pages); g != NULL; g = NULL)

static struct guard_bed *bed_of(unsigned way, size_t pages)
{
    struct heap_guard_config config = guard_bed_config((enum guard_way)way);
    struct guard_bed *g = guard_bed_new(pages, &config);
    EXPECT(g != NULL);
    return g;
}

/* The last report is about this block, and names both sites. */
static bool tells(const void *block, size_t bytes, const char *what)
{
    char text[64];
    fmt_text(text, sizeof text, ": block %p of %zu bytes (", block, bytes);
    return heap_bed_reported(text) && heap_bed_reported(what) && guard_bed_names_alloc();
}

TEST(heap_guard, a_block_is_as_long_as_it_was_asked_for_and_keeps_its_alignment)
{
    static const size_t sizes[] = {1, 16, 100, 1000, 2048, PAGE_BYTES, 5000, 12288};
    EACH_WAY(g, 256)
    {
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            for (size_t align = 1; align <= 4UL * PAGE_BYTES; align *= 2) {
                uint8_t *block = heap_alloc_aligned(g->heap, sizes[i], align);
                REQUIRE(block != NULL);
                EXPECT_EQ(ptr_to_vaddr(block).v % (align > HEAP_ALIGN_BYTES ? align : HEAP_ALIGN_BYTES), 0);
                EXPECT_EQ(heap_usable_size(g->heap, block), sizes[i]);
                struct heap_block owner;
                EXPECT(heap_owner_of(g->heap, block + sizes[i] - 1, &owner));
                EXPECT(owner.base == block && owner.allocated && owner.usable_bytes == sizes[i]);
                heap_bed_fill(block, sizes[i], align);
                heap_bed_check(g->bed);
                EXPECT(heap_bed_filled(block, sizes[i], align));
                EXPECT_EQ(heap_free_sized(g->heap, block, sizes[i]), STATUS_OK);
            }
        }
        guard_bed_end(g);
    }
}

TEST(heap_guard, an_overflow_by_one_and_by_sixteen_and_an_underflow_are_reported_at_the_free)
{
    static const struct {
        long at;
        const char *what;
    } writes[] = {
        {100, "overflow: byte 0 behind its end has become 0"},
        {115, "overflow: byte 15 behind its end has become 0"},
        {-1, "underflow: byte 1 before it has become 0"},
        {-16, "underflow: byte 16 before it has become 0"},
    };
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    for (unsigned i = 0; i < ARRAY_LEN(writes); i++) {
        uint8_t *block = guard_bed_alloc(g->heap, 100);
        REQUIRE(block != NULL);
        block[writes[i].at] = 0;
        EXPECT(heap_bed_check_says(g->bed, "GUARD-I2"));
        EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_MISUSE);
        EXPECT(tells(block, 100, writes[i].what));
        EXPECT(heap_bed_reported("(class 1")); /* 100 bytes and two zones */
        EXPECT(guard_bed_names_now());
        heap_bed_check(g->bed);
        EXPECT_EQ(heap_stats(g->heap).blocks, 0);
    }
    test_expect_reports(ARRAY_LEN(writes));
    EXPECT_EQ(heap_stats(g->heap).misuses, ARRAY_LEN(writes));
    guard_bed_end(g);
}

TEST(heap_guard, where_nothing_faults_beside_pages_they_end_with_a_red_zone)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    uint8_t *blocks[] = {heap_alloc(g->heap, 3UL * PAGE_BYTES), heap_alloc_aligned(g->heap, PAGE_BYTES, PAGE_BYTES)};
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        blocks[i][heap_usable_size(g->heap, blocks[i])] = 0;
        EXPECT_EQ(heap_free(g->heap, blocks[i]), STATUS_MISUSE);
        EXPECT(heap_bed_reported("overflow: byte 0 behind its end has become 0"));
    }
    test_expect_reports(ARRAY_LEN(blocks));
    guard_bed_end(g);
}

TEST(heap_guard, at_a_pages_edge_the_byte_behind_is_in_the_next_page_but_for_alignment)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    static const size_t whole[] = {16, 112, 2048, PAGE_BYTES, 10000, 3 * PAGE_BYTES};
    for (unsigned i = 0; i < ARRAY_LEN(whole); i++) {
        uint8_t *block = heap_alloc(g->heap, whole[i]);
        EXPECT(g->bed->guards_fresh);
        EXPECT(is_page_aligned(ptr_to_vaddr(block + whole[i]).v));
        EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
    }
    uint8_t *odd = guard_bed_alloc(g->heap, 100);
    EXPECT_EQ(page_offset_bytes(ptr_to_vaddr(odd).v), PAGE_BYTES - 112);
    odd[100] = 1;
    EXPECT_EQ(guard_bed_free(g->heap, odd), STATUS_MISUSE);
    EXPECT(tells(odd, 100, "overflow: byte 0 behind its end has become 0x1"));
    EXPECT(heap_bed_reported("(large)"));
    odd = guard_bed_alloc(g->heap, 100);
    odd[-3000] = 1;
    EXPECT_EQ(guard_bed_free(g->heap, odd), STATUS_MISUSE);
    EXPECT(tells(odd, 100, "underflow: byte 3000 before it has become 0x1"));
    test_expect_reports(2);
    guard_bed_end(g);
}

static void freed_twice(struct guard_bed *g, void *block, size_t bytes)
{
    struct heap_stats before = heap_stats(g->heap);
    EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_MISUSE);
    EXPECT(tells(block, bytes, "not allocated (double free)"));
    EXPECT(guard_bed_names_free());
    EXPECT(guard_bed_names_now());
    EXPECT_EQ(heap_free_sized(g->heap, block, bytes), STATUS_MISUSE);
    EXPECT(heap_realloc(g->heap, block, 10) == NULL);
    EXPECT(heap_bed_reported("heap_realloc: "));
    EXPECT_EQ(heap_usable_size(g->heap, block), 0);
    before.misuses += 4;
    EXPECT(heap_bed_same(heap_stats(g->heap), before));
}

TEST(heap_guard, a_double_free_is_reported_at_once_and_after_1_and_40_others_with_both_sites)
{
    static const size_t sizes[] = {90, 2048, 10000};
    unsigned reports = 0;
    EACH_WAY(g, 512)
    {
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            g->guard.config.quarantine_count = 64;
            g->guard.config.quarantine_bytes = MIB;
            void *block = guard_bed_alloc(g->heap, sizes[i]);
            EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_OK);
            freed_twice(g, block, sizes[i]);
            for (unsigned others = 1; others <= 40; others++) {
                EXPECT_EQ(heap_free(g->heap, heap_alloc(g->heap, sizes[i])), STATUS_OK);
                if (others == 1 || others == 40) {
                    freed_twice(g, block, sizes[i]);
                }
            }
            heap_bed_check(g->bed);
            reports += 3 * 4;
            (void)heap_shrink(g->heap);
        }
        guard_bed_end(g);
    }
    test_expect_reports(reports);
}

TEST(heap_guard, a_block_larger_than_the_quarantine_goes_at_once_and_its_double_free_is_still_known)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(128, &config);
    REQUIRE(g != NULL);
    const size_t bytes = GUARD_QUARANTINE_BYTES + 1;
    uint64_t out = g->bed->pages_out;
    void *block = guard_bed_alloc(g->heap, bytes);
    EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_OK);
    EXPECT(g->bed->pages_out <= out + 8);
    freed_twice(g, block, bytes);
    struct heap_guard_block found;
    EXPECT(heap_guard_find(g->heap, block, &found));
    EXPECT(found.base == block && found.state == HEAP_GUARD_GONE);
    /* The same pages again: a block that is in use. */
    void *again = guard_bed_alloc(g->heap, bytes);
    EXPECT(again == block);
    EXPECT(heap_guard_find(g->heap, block, &found) && found.state == HEAP_GUARD_LIVE);
    EXPECT_EQ(heap_usable_size(g->heap, again), bytes);
    EXPECT_EQ(guard_bed_free(g->heap, again), STATUS_OK);
    test_expect_reports(4);
    guard_bed_end(g);
}

TEST(heap_guard, interior_and_foreign_addresses_are_refused)
{
    unsigned reports = 0;
    EACH_WAY(g, 64)
    {
        uint8_t *block = guard_bed_alloc(g->heap, 200);
        uint64_t on_stack[2] = {0};
        EXPECT_EQ(guard_bed_free(g->heap, block + 16), STATUS_MISUSE);
        EXPECT(tells(block, 200, "is byte 16 of it, not its start"));
        EXPECT_EQ(guard_bed_free(g->heap, block - 16), STATUS_MISUSE);
        EXPECT(tells(block, 200, "is byte -16 of it, not its start"));
        EXPECT_EQ(heap_free(g->heap, on_stack), STATUS_MISUSE);
        EXPECT(heap_bed_reported("is not this heap's"));
        EXPECT_EQ(heap_free(g->heap, g->guard.buckets), STATUS_MISUSE);
        EXPECT(heap_bed_reported("in a page of guard mode's records"));
        EXPECT_EQ(heap_free(g->heap, guard_record_of(g->heap, block)), STATUS_MISUSE);
        EXPECT(heap_bed_reported("in a page of guard mode's records"));
        struct heap_block owner;
        EXPECT(!heap_owner_of(g->heap, g->guard.buckets, &owner));
        EXPECT(heap_owner_of(g->heap, block - 1, &owner));
        EXPECT(!owner.allocated && owner.usable_bytes == 0);
        EXPECT_EQ(heap_free_sized(g->heap, block, 199), STATUS_MISUSE);
        EXPECT(tells(block, 200, "was not asked for as 199"));
        reports += 6;
        EXPECT_EQ(heap_free_sized(g->heap, block, 200), STATUS_OK);
        guard_bed_end(g);
    }
    test_expect_reports(reports);
}

TEST(heap_guard, sizes_that_overflow_are_refused_and_realloc_keeps_the_block)
{
    unsigned reports = 0;
    EACH_WAY(g, 64)
    {
        uint8_t *block = guard_bed_alloc(g->heap, 300);
        heap_bed_fill(block, 300, 5);
        EXPECT(heap_alloc_array(g->heap, SIZE_MAX / 2, 4) == NULL);
        EXPECT(heap_bed_reported("heap_alloc_array"));
        EXPECT(heap_alloc(g->heap, SIZE_MAX - 10) == NULL);
        EXPECT(heap_bed_reported("heap_alloc: 18446744073709551605 bytes"));
        EXPECT(heap_realloc(g->heap, block, SIZE_MAX - 100) == NULL);
        EXPECT(tells(block, 300, "to 18446744073709551515 bytes, a size that cannot be meant"));
        EXPECT(heap_realloc(g->heap, block, 0) == NULL);
        EXPECT(heap_alloc(g->heap, 0) == NULL);
        EXPECT(heap_bed_filled(block, 300, 5));
        reports += 4;
        EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
        guard_bed_end(g);
    }
    test_expect_reports(reports);
}

TEST(heap_guard, a_write_after_free_is_seen_by_check_and_when_the_block_leaves_the_quarantine)
{
    unsigned reports = 0;
    EACH_WAY(g, 64)
    {
        uint8_t *block = guard_bed_alloc(g->heap, 100);
        EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_OK);
        block[42] = 7;
        EXPECT(heap_bed_check_says(g->bed, "GUARD-I3: write after free: byte 42 has become 0x7"));
        struct heap_stats before = heap_stats(g->heap);
        (void)heap_shrink(g->heap);
        EXPECT(tells(block, 100, "write after free: byte 42 of it has become 0x7"));
        EXPECT(guard_bed_names_free());
        EXPECT_EQ(heap_stats(g->heap).misuses, before.misuses + 1);
        reports++;
        guard_bed_end(g);
    }
    test_expect_reports(reports);
}

TEST(heap_guard, realloc_keeps_contents_and_page_alignment_and_sees_broken_zones)
{
    EACH_WAY(g, 128)
    {
        uint8_t *block = heap_alloc_aligned(g->heap, 100, PAGE_BYTES);
        heap_bed_fill(block, 100, 3);
        uint8_t *moved = heap_realloc(g->heap, block, 5000);
        EXPECT(moved != NULL && moved != block);
        EXPECT(heap_bed_filled(moved, 100, 3));
        EXPECT(is_page_aligned(ptr_to_vaddr(moved).v));
        EXPECT_EQ(heap_usable_size(g->heap, moved), 5000);
        EXPECT_EQ(heap_free_sized(g->heap, moved, 5000), STATUS_OK);
        block = heap_realloc(g->heap, NULL, 40);
        EXPECT_EQ(heap_usable_size(g->heap, block), 40);
        moved = heap_realloc(g->heap, block, 30);
        g->bed->fail_at = 1;
        EXPECT_EQ(heap_usable_size(g->heap, moved), 30);
        EXPECT_EQ(heap_free(g->heap, moved), STATUS_OK);
        g->bed->fail_at = 0;
        guard_bed_end(g);
    }
    struct guard_bed *g = bed_of(GUARD_ZONES, 64);
    uint8_t *block = guard_bed_alloc(g->heap, 40);
    block[40] = 0;
    block = heap_realloc(g->heap, block, 50);
    EXPECT(heap_bed_reported("heap_realloc: ") && heap_bed_reported("overflow: byte 0 behind its end"));
    EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
    test_expect_reports(1);
    guard_bed_end(g);
}
