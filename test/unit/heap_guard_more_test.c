/* Guard mode: quarantine, samples, memory that runs short, records that were damaged. */
#include "heap/guard_internal.h"
#include "unit/guard_bed.h"

TEST(heap_guard, the_quarantine_keeps_to_its_bounds_and_lets_the_oldest_go)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(256, &config);
    REQUIRE(g != NULL);
    void *first = heap_alloc(g->heap, 100);
    EXPECT_EQ(heap_free(g->heap, first), STATUS_OK);
    for (unsigned i = 0; i < GUARD_QUARANTINE_COUNT; i++) {
        EXPECT_EQ(g->guard.kept_count, i + 1);
        EXPECT(g->guard.oldest->block == first);
        EXPECT_EQ(heap_free(g->heap, heap_alloc(g->heap, 100)), STATUS_OK);
    }
    EXPECT_EQ(g->guard.kept_count, GUARD_QUARANTINE_COUNT);
    EXPECT(g->guard.oldest->block != first);
    for (unsigned i = 0; i < 40; i++) {
        EXPECT_EQ(heap_free(g->heap, heap_alloc(g->heap, 10000)), STATUS_OK);
        EXPECT(g->guard.kept_bytes <= GUARD_QUARANTINE_BYTES);
        EXPECT(g->guard.kept_bytes > GUARD_QUARANTINE_BYTES / 2 || i < 4);
        heap_bed_check(g->bed);
    }
    guard_bed_end(g);
}

TEST(heap_guard, a_freed_block_is_not_handed_out_again_while_it_is_quarantined)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    uint8_t *freed = heap_alloc(g->heap, 64);
    EXPECT_EQ(guard_first_other(freed, 64, GUARD_ALLOC_BYTE), 64);
    EXPECT_EQ(heap_free(g->heap, freed), STATUS_OK);
    EXPECT_EQ(guard_first_other(freed, 64, GUARD_FREE_BYTE), 64);
    struct heap_block owner;
    EXPECT(heap_owner_of(g->heap, freed + 63, &owner) && owner.base == freed && !owner.allocated);
    for (unsigned i = 1; i < GUARD_QUARANTINE_COUNT; i++) {
        void *other = heap_alloc(g->heap, 64);
        EXPECT(other != freed);
        EXPECT_EQ(heap_free(g->heap, other), STATUS_OK);
    }
    guard_bed_end(g);
}

TEST(heap_guard, freed_blocks_at_a_pages_edge_are_protected_until_they_leave_the_quarantine)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    config.quarantine_count = 4;
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    void *freed[6];
    for (unsigned i = 0; i < ARRAY_LEN(freed); i++) {
        freed[i] = heap_alloc(g->heap, 100);
        EXPECT(!guard_bed_is_protected(freed[i]));
        EXPECT_EQ(heap_free(g->heap, freed[i]), STATUS_OK);
        EXPECT(guard_bed_is_protected(freed[i]));
    }
    EXPECT_EQ(guard_bed_protected_pages(), 4);
    EXPECT(!guard_bed_is_protected(freed[1]));
    guard_bed_end(g);
}

TEST(heap_guard, the_quarantine_is_given_up_before_an_allocation_fails)
{
    for (unsigned way = 0; way < GUARD_WAYS; way++) {
        struct heap_guard_config config = guard_bed_config((enum guard_way)way);
        struct guard_bed *g = guard_bed_new(48, &config);
        REQUIRE(g != NULL);
        /* More in turns than there are pages: each is served, from what was kept back if need be. */
        for (unsigned i = 0; i < 100; i++) {
            void *block = heap_alloc(g->heap, 3 * PAGE_BYTES);
            EXPECT(block != NULL);
            EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
        }
        EXPECT(heap_alloc(g->heap, 100UL * PAGE_BYTES) == NULL);
        heap_bed_check(g->bed);
        guard_bed_end(g);
    }
}

/* With nothing quarantined: the same figures, the same pages. */
TEST(heap_guard, a_page_refused_changes_nothing)
{
    static const size_t sizes[] = {1, 100, 2000, PAGE_BYTES, 10000};
    for (unsigned way = 0; way < GUARD_WAYS; way++) {
        for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
            unsigned refused = 0;
            void *block = NULL;
            struct heap_guard_config config = guard_bed_config((enum guard_way)way);
            struct guard_bed *g = guard_bed_new(64, &config);
            REQUIRE(g != NULL);
            for (uint64_t k = 1; block == NULL && k < 20; k++) {
                struct heap_stats before = heap_stats(g->heap);
                g->bed->fail_at = k;
                block = heap_alloc(g->heap, sizes[i]);
                g->bed->fail_at = 0;
                if (block == NULL) {
                    refused++;
                    EXPECT_EQ(g->guard.own_bytes, 0); /* no page of its own is left */
                    (void)heap_shrink(g->heap);
                    EXPECT(heap_bed_same(heap_stats(g->heap), before));
                    heap_bed_check(g->bed);
                }
            }
            EXPECT(refused >= 3);
            REQUIRE(block != NULL);
            heap_bed_fill(block, sizes[i], i);
            g->bed->fail_at = 1;
            void *grown = heap_realloc(g->heap, block, 8UL * PAGE_BYTES);
            g->bed->fail_at = 0;
            EXPECT(grown == NULL);
            EXPECT(heap_bed_filled(block, sizes[i], i));
            EXPECT_EQ(heap_free_sized(g->heap, block, sizes[i]), STATUS_OK);
            guard_bed_end(g);
        }
    }
}

TEST(heap_guard, a_block_that_cannot_move_to_shrink_stays)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    uint8_t *block = heap_alloc(g->heap, 9000);
    heap_bed_fill(block, 9000, 1);
    g->bed->fail_at = 1;
    EXPECT(heap_realloc(g->heap, block, 5000) == block);
    g->bed->fail_at = 0;
    EXPECT(heap_bed_filled(block, 5000, 1));
    EXPECT_EQ(heap_usable_size(g->heap, block), 5000);
    heap_bed_check(g->bed);
    block[5000] = 1;
    EXPECT(heap_bed_check_says(g->bed, "GUARD-I2: overflow: byte 0 behind its end"));
    block[5000] = GUARD_ZONE_BYTE;
    EXPECT_EQ(heap_free_sized(g->heap, block, 5000), STATUS_OK);
    guard_bed_end(g);
}

TEST(heap_guard, one_block_of_n_is_a_sample_and_all_others_go_the_fast_way)
{
    enum { BLOCKS = 600, EVERY = 10 };
    static void *blocks[BLOCKS];
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    config.sample_every = EVERY;
    struct guard_bed *g = guard_bed_new(512, &config);
    REQUIRE(g != NULL);
    unsigned samples = 0;
    uint64_t used = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = heap_alloc(g->heap, 100);
        REQUIRE(blocks[i] != NULL);
        size_t usable = heap_usable_size(g->heap, blocks[i]);
        EXPECT(usable == 100 || usable == 112 || usable == 128);
        used += usable;
        samples += usable == 100;
        heap_bed_fill(blocks[i], 100, i);
    }
    test_note("%u samples", samples);
    EXPECT(samples > BLOCKS / EVERY / 2 && samples < BLOCKS / EVERY * 2);
    EXPECT_EQ(heap_stats(g->heap).blocks, BLOCKS);
    EXPECT_EQ(heap_stats(g->heap).used_bytes, used);
    heap_bed_check(g->bed);
    for (unsigned i = 0; i < BLOCKS; i++) {
        EXPECT(heap_bed_filled(blocks[i], 100, i));
        bool is_sample = heap_usable_size(g->heap, blocks[i]) == 100;
        EXPECT_EQ(heap_free_sized(g->heap, blocks[i], 100), STATUS_OK);
        EXPECT_EQ(heap_free(g->heap, blocks[i]), STATUS_MISUSE);
        EXPECT(heap_bed_reported(is_sample ? "100 bytes (large): not allocated (double free)" : "double free"));
    }
    test_expect_reports(BLOCKS);
    guard_bed_end(g);
}

TEST(heap_guard, a_sample_for_which_there_is_no_page_goes_the_fast_way)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    config.sample_every = 2;
    struct guard_bed *g = guard_bed_new(36, &config);
    REQUIRE(g != NULL);
    EXPECT_EQ(heap_prefill(g->heap, 4UL * PAGE_BYTES), STATUS_OK); /* for the others */
    void *blocks[200];
    for (unsigned i = 0; i < 200; i++) {
        blocks[i] = heap_alloc(g->heap, 16);
        REQUIRE(blocks[i] != NULL);
    }
    EXPECT(g->guard.live_blocks > 0 && g->guard.live_blocks < 20);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT_EQ(heap_free(g->heap, blocks[i]), STATUS_OK);
    }
    guard_bed_end(g);
}

TEST(heap_guard, more_blocks_than_its_table_has_room_for_are_all_known)
{
    enum { BLOCKS = 2200 };
    static uint8_t *blocks[BLOCKS];
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(400, &config);
    REQUIRE(g != NULL);
    uint64_t first_buckets = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        g->bed->fail_at = i > 0 && i == 2 * first_buckets ? 1 : 0; /* once it cannot grow: it stays as it is */
        blocks[i] = heap_alloc(g->heap, 24);
        REQUIRE(blocks[i] != NULL);
        first_buckets = i == 0 ? g->guard.bucket_count : first_buckets;
    }
    g->bed->fail_at = 0;
    EXPECT(g->guard.bucket_count > first_buckets);
    heap_bed_check(g->bed);
    for (unsigned i = 0; i < BLOCKS; i++) {
        EXPECT_EQ(heap_usable_size(g->heap, blocks[i]), 24);
        EXPECT_EQ(heap_free(g->heap, blocks[i]), STATUS_OK);
    }
    guard_bed_end(g);
}

/* The same address again and again, each time gone: the youngest record is the one that counts, also in a new table. */
TEST(heap_guard, of_blocks_gone_from_one_address_the_last_is_named)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    config.quarantine_bytes = 0;
    config.quarantine_count = 3000;
    struct guard_bed *g = guard_bed_new(200, &config);
    REQUIRE(g != NULL);
    size_t bytes = 0;
    uint8_t *block = NULL;
    void *hole = heap_alloc(g->heap, 8UL * PAGE_BYTES);
    uint64_t buckets = 0;
    for (unsigned i = 0; i < 2500 && (buckets == 0 || g->guard.kept_count + 1 < 2 * buckets); i++) {
        bytes = 3UL * PAGE_BYTES + i; /* three or four pages */
        block = guard_bed_alloc(g->heap, bytes);
        REQUIRE(block != NULL);
        EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_OK);
        buckets = g->guard.bucket_count;
    }
    EXPECT_EQ(heap_free(g->heap, hole), STATUS_OK); /* for the new table, so that it is not where the block was */
    EXPECT_EQ(heap_free(g->heap, heap_alloc(g->heap, 24)), STATUS_OK);
    EXPECT(g->guard.bucket_count > buckets);
    EXPECT_EQ(guard_bed_free(g->heap, block), STATUS_MISUSE);
    char text[64];
    fmt_text(text, sizeof text, "block %p of %zu bytes (large): not allocated", (void *)block, bytes);
    EXPECT(heap_bed_reported(text));
    test_expect_reports(1);
    guard_bed_end(g);
}

TEST(heap_guard, an_unguarded_block_at_the_address_of_one_that_is_gone_is_its_owners)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    config.quarantine_bytes = 0;
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    void *gone = heap_alloc(g->heap, 3UL * PAGE_BYTES);
    EXPECT_EQ(heap_free(g->heap, gone), STATUS_OK);
    g->guard.config.sample_every = HEAP_GUARD_SAMPLE_MAX;
    g->guard.until_sample = 100;
    void *block = heap_alloc(g->heap, 3UL * PAGE_BYTES);
    EXPECT(block == gone);
    EXPECT_EQ(heap_usable_size(g->heap, block), 3UL * PAGE_BYTES);
    EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
    EXPECT_EQ(heap_free(g->heap, block), STATUS_MISUSE);
    test_expect_reports(1);
    guard_bed_end(g);
}

TEST(heap_guard, blocks_in_use_are_summed_by_site)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    struct heap_guard_site site;
    EXPECT(!heap_guard_site_next(g->heap, NULL, &site));
    void *here[3] = {guard_bed_alloc(g->heap, 10), guard_bed_alloc(g->heap, 20), guard_bed_alloc(g->heap, 30)};
    void *there = heap_zalloc(g->heap, 1000);
    EXPECT_EQ(guard_bed_free(g->heap, here[1]), STATUS_OK);
    uint64_t sites = 0, blocks = 0, bytes = 0, of_two = 0;
    for (const void *at = NULL; heap_guard_site_next(g->heap, at, &site); at = site.site) {
        EXPECT(ptr_to_vaddr(site.site).v > ptr_to_vaddr(at).v);
        sites++;
        blocks += site.blocks;
        bytes += site.bytes;
        of_two += site.blocks == 2 && site.bytes == 40;
    }
    EXPECT_EQ(sites, 2);
    EXPECT_EQ(blocks, 3);
    EXPECT_EQ(bytes, 1040);
    EXPECT_EQ(of_two, 1);
    EXPECT_EQ(heap_stats(g->heap).used_bytes, 1040);
    EXPECT_EQ(heap_stats(g->heap).allocs, 4);
    EXPECT_EQ(heap_stats(g->heap).frees, 1);
    g->heap->guard = NULL;
    struct heap_stats beneath = heap_stats(g->heap);
    g->heap->guard = &g->guard;
    EXPECT_EQ(heap_stats(g->heap).metadata_bytes, beneath.metadata_bytes + g->guard.own_bytes);
    EXPECT_EQ(heap_stats(g->heap).held_bytes, beneath.held_bytes);
    EXPECT_EQ(heap_free(g->heap, here[0]), STATUS_OK);
    EXPECT_EQ(heap_free(g->heap, here[2]), STATUS_OK);
    EXPECT_EQ(heap_free(g->heap, there), STATUS_OK);
    guard_bed_end(g);
}

TEST(heap_guard, the_block_beside_an_address_is_found_over_its_guard_pages)
{
    struct heap_guard_config config = guard_bed_config(GUARD_EDGE);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    struct heap_guard_block found;
    uint8_t *a = guard_bed_alloc(g->heap, 128), *b = guard_bed_alloc(g->heap, 128);
    EXPECT(heap_guard_find(g->heap, a + 128, &found) && found.base == a && found.bytes == 128);
    EXPECT(heap_guard_find(g->heap, a + 128 + PAGE_BYTES - 1, &found) && found.base == a);
    EXPECT(heap_guard_find(g->heap, b + 128 - 2 * PAGE_BYTES, &found) && found.base == b);
    EXPECT(found.state == HEAP_GUARD_LIVE && found.alloc_site != NULL && found.free_site == NULL);
    EXPECT_EQ(guard_bed_free(g->heap, a), STATUS_OK);
    EXPECT(heap_guard_find(g->heap, a, &found) && found.state == HEAP_GUARD_QUARANTINED && found.free_site != NULL);
    EXPECT(!heap_guard_find(g->heap, &found, &found));
    EXPECT_EQ(guard_bed_free(g->heap, b), STATUS_OK);
    guard_bed_end(g);
}

TEST(heap_guard, a_damaged_record_is_reported_and_its_block_left_alone)
{
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES);
    struct guard_bed *g = guard_bed_new(64, &config);
    REQUIRE(g != NULL);
    void *block = heap_alloc(g->heap, 100);
    struct heap_guard_record *r = guard_record_of(g->heap, block), whole = *r;
    const size_t lies[] = {r->memory_bytes, SIZE_MAX, SIZE_MAX - 31};
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        r->bytes = lies[i];
        EXPECT(heap_bed_check_says(g->bed, "GUARD-I1"));
        EXPECT_EQ(heap_free(g->heap, block), STATUS_CORRUPT);
        EXPECT(heap_realloc(g->heap, block, 10) == NULL);
        EXPECT_EQ(heap_usable_size(g->heap, block), 0);
        *r = whole;
    }
    r->memory_bytes += 16;
    EXPECT(heap_bed_check_says(g->bed, "GUARD-I1"));
    *r = whole;
    r->bytes--;
    EXPECT(heap_bed_check_says(g->bed, "GUARD-I4"));
    *r = whole;
    r->next = r; /* a circle: every walk ends all the same */
    EXPECT(heap_bed_check_says(g->bed, "GUARD-I4"));
    struct heap_guard_site site;
    EXPECT(heap_guard_site_next(g->heap, NULL, &site));
    struct heap_guard_block beside;
    EXPECT(!heap_guard_find(g->heap, &beside, &beside));
    *r = whole;
    uint64_t *const counters[] = {&g->guard.kept_count, &g->guard.kept_blocks, &g->guard.kept_bytes,
                                  &g->guard.live_blocks, &g->guard.live_bytes, &g->guard.zone_bytes};
    for (unsigned i = 0; i < ARRAY_LEN(counters); i++) {
        ++*counters[i];
        EXPECT(heap_bed_check_says(g->bed, "GUARD-I4"));
        --*counters[i];
    }
    test_expect_reports(9);
    EXPECT_EQ(heap_free(g->heap, block), STATUS_OK);
    guard_bed_end(g);
}

TEST(heap_guard, blocks_from_before_it_was_on_are_as_they_were)
{
    struct heap_bed *bed = heap_bed_new(64);
    struct heap_guard *guard = test_pages(1);
    REQUIRE(bed != NULL && guard != NULL);
    void *small = heap_alloc(&bed->heap, 100), *large = heap_alloc(&bed->heap, 5000);
    struct heap_guard_config config = guard_bed_config(GUARD_ZONES), wrong = config;
    wrong.sample_every = HEAP_GUARD_SAMPLE_MAX + 1;
    EXPECT_EQ(heap_guard_start(&bed->heap, guard, &wrong), STATUS_INVALID);
    wrong = config;
    wrong.quarantine_count = 0;
    EXPECT_EQ(heap_guard_start(&bed->heap, guard, &wrong), STATUS_INVALID);
    EXPECT_EQ(heap_guard_start(&bed->heap, guard, &config), STATUS_OK);
    EXPECT_EQ(heap_guard_start(&bed->heap, guard, &config), STATUS_INVALID);
    EXPECT_EQ(heap_usable_size(&bed->heap, small), 128);
    struct heap_block owner;
    EXPECT(heap_owner_of(&bed->heap, (uint8_t *)large + 4999, &owner) && owner.base == large && owner.allocated);
    small = heap_realloc(&bed->heap, small, 200);
    EXPECT_EQ(heap_usable_size(&bed->heap, small), 256);
    EXPECT_EQ(heap_free_sized(&bed->heap, small, 200), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, large), STATUS_MISUSE);
    test_expect_reports(1);
    heap_bed_end(bed);
}
