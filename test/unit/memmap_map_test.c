/*
 * The memory map's normaliser: what it promises, case by case, and random maps page by page.
 */
#include "unit/memmap_bed.h"

static const pfn_t no_limit = {UINT64_MAX};

static uint64_t bytes_of(uint64_t pages) { return pages_to_bytes(npages(pages)); }

/* Adds an entry in pages. */
static void add_pages(struct map_bed *bed, uint64_t first, uint64_t pages, uint32_t type)
{
    bed_add(bed, bytes_of(first), bytes_of(pages), type);
}

static bool has_run(const struct map_bed *bed, size_t index, uint64_t first, uint64_t frames)
{
    if (index >= bed->result.runs || bed->runs[index].first.v != first || bed->runs[index].frames.v != frames) {
        test_note("%lu runs; no run %lu: %#lx + %lu", bed->result.runs, index, first, frames);
        return false;
    }
    return true;
}

TEST(memmap, a_pc_map_gives_its_two_runs)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    bed_add(&bed, 0, 0x9FC00, 1);
    bed_add(&bed, 0x9FC00, 0x400, 2);
    bed_add(&bed, 0xF0000, 64 * KIB, 2);
    bed_add(&bed, MIB, 255 * MIB - 128 * KIB, 1);
    bed_add(&bed, 256 * MIB - 128 * KIB, 128 * KIB, 2);
    bed_add(&bed, 0xFFFC0000, 256 * KIB, 2);
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT_EQ(bed.result.runs, 2);
    EXPECT(has_run(&bed, 0, 0, 0x9F) && has_run(&bed, 1, 0x100, 0xFF00 - 32));
    EXPECT_EQ(bed.result.frames.v, 0x9F + 0xFF00 - 32);
    EXPECT(bed_agrees(&bed, no_limit));
}

TEST(memmap, ram_shrinks_to_whole_frames_and_reserved_memory_grows)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    bed_add(&bed, bytes_of(10) + 1, bytes_of(10), 1);      /* loses a frame at each end */
    bed_add(&bed, bytes_of(15) + 100, 1, 2);               /* one byte takes its frame */
    bed_add(&bed, bytes_of(30) + 1, PAGE_BYTES, 1);        /* a page, but not a frame */
    bed_add(&bed, bytes_of(40) - 1, PAGE_BYTES + 1, 1);    /* exactly frame 40 and one byte */
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT_EQ(bed.result.runs, 3);
    EXPECT(has_run(&bed, 0, 11, 4) && has_run(&bed, 1, 16, 4) && has_run(&bed, 2, 40, 1));
}

TEST(memmap, usable_entries_that_meet_inside_a_frame_cover_it_together)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    bed_add(&bed, bytes_of(4), PAGE_BYTES + 7, 1);
    bed_add(&bed, bytes_of(5) + 7, PAGE_BYTES - 7, 1);
    bed_add(&bed, bytes_of(8), 100, 1);
    bed_add(&bed, bytes_of(8) + 101, PAGE_BYTES - 101, 1); /* a byte between the two is nobody's */
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT_EQ(bed.result.runs, 1);
    EXPECT(has_run(&bed, 0, 4, 2));
}

TEST(memmap, where_entries_overlap_the_worse_type_wins_in_any_order)
{
    static const uint32_t worse[] = {2, 3, 4, 5, 0, 6, 7, 20, 4097, UINT32_MAX};
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    for (size_t i = 0; i < ARRAY_LEN(worse); i++) {
        bed.count = 0;
        add_pages(&bed, 50, 100, 1);
        add_pages(&bed, 100, 100, worse[i]);
        REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
        EXPECT(has_run(&bed, 0, 50, 50) && bed.result.runs == 1);
        bed.count = 0;
        add_pages(&bed, 100, 100, worse[i]);
        add_pages(&bed, 50, 200, 1);
        REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
        EXPECT(has_run(&bed, 0, 50, 50) && has_run(&bed, 1, 200, 50) && bed.result.runs == 2);
    }
}

TEST(memmap, acpi_memory_comes_as_its_own_or_joined_with_ram)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    add_pages(&bed, 256, 100, 1);
    add_pages(&bed, 356, 10, 3);
    add_pages(&bed, 360, 100, 4);
    add_pages(&bed, 300, 2, 3); /* inside RAM: worse, so not RAM */
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 256, 44) && has_run(&bed, 1, 302, 54) && bed.result.runs == 2);
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_ACPI, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 300, 2) && has_run(&bed, 1, 356, 4) && bed.result.runs == 2);
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE | MEMMAP_WANT_ACPI, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 256, 104) && bed.result.runs == 1);
    EXPECT(bed_agrees(&bed, no_limit));
}

TEST(memmap, an_entry_past_2_to_the_64_is_cut_there)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    add_pages(&bed, 0, 512, 1);
    bed_add(&bed, 0 - bytes_of(16), UINT64_MAX, 1); /* must not become RAM at 0, and its last frame is never RAM */
    bed_add(&bed, bytes_of(256), UINT64_MAX, 2);
    bed_add(&bed, 0 - bytes_of(8), bytes_of(8), 2);
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 0, 256) && bed.result.runs == 1);
    bed.count = 2;
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 0, 512) && has_run(&bed, 1, bytes_to_pages_down(0 - bytes_of(16)).v, 15));
    EXPECT(bed_agrees(&bed, no_limit));
}

TEST(memmap, entries_of_length_zero_are_nothing)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    add_pages(&bed, 256, 256, 1);
    bed_add(&bed, bytes_of(300), 0, 2);
    bed_add(&bed, bytes_of(300) + 5, 0, 5);
    bed_add(&bed, UINT64_MAX, 0, 1);
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 256, 256) && bed.result.runs == 1);
}

TEST(memmap, frames_at_or_above_the_limit_are_left_out_and_told)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    add_pages(&bed, 256, 100, 1);
    add_pages(&bed, 1000, 100, 1);
    bed_add(&bed, bytes_of(2000) + 1, UINT64_MAX - bytes_of(2000), 2);
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, pfn(1010)) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 256, 100) && has_run(&bed, 1, 1000, 10) && bed.result.runs == 2);
    EXPECT_EQ(bed.result.beyond.v, 90);
    REQUIRE(bed_normalise(&bed, MEMMAP_WANT_USABLE, pfn(1000)) == STATUS_OK);
    EXPECT(has_run(&bed, 0, 256, 100) && bed.result.runs == 1);
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE, pfn(256)) == STATUS_ABSENT);
    EXPECT_EQ(bed.result.beyond.v, 200);
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE, pfn(0)) == STATUS_ABSENT);
}

TEST(memmap, a_map_without_ram_is_absent)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_ABSENT);
    EXPECT_EQ(bed.result.runs, 0);
    add_pages(&bed, 0, 100, 2);
    bed_add(&bed, bytes_of(200) + 1, 2 * PAGE_BYTES - 2, 1);
    EXPECT(bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit) == STATUS_ABSENT);
    EXPECT_EQ(bed.result.runs, 0);
}

TEST(memmap, a_full_scratch_drops_usable_entries_and_never_reserved_ones)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    add_pages(&bed, 0, 100, 1);
    add_pages(&bed, 200, 100, 1);
    add_pages(&bed, 50, 100, 2);
    add_pages(&bed, 210, 10, 3);
    struct memmap_scratch scratch = {bed.edges, 7}; /* three entries and a half */
    EXPECT(memmap_normalise(bed_get, &bed, bed.count, MEMMAP_WANT_USABLE, no_limit, scratch, bed.runs, 8,
                            &bed.result) == STATUS_OK);
    EXPECT_EQ(bed.result.entries_lost, 1);
    EXPECT(has_run(&bed, 0, 0, 50) && bed.result.runs == 1);
    scratch.capacity = 3;
    EXPECT(memmap_normalise(bed_get, &bed, bed.count, MEMMAP_WANT_USABLE, no_limit, scratch, bed.runs, 8,
                            &bed.result) == STATUS_LIMIT);
    EXPECT_EQ(bed.result.runs, 0);
}

TEST(memmap, when_runs_do_not_fit_the_largest_stay)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    for (uint64_t i = 0; i < 100; i++) { /* lengths 1, 2, 3, 1, 2, 3, ... and a gap of one after each */
        add_pages(&bed, 10 * i, 1 + i % 3, 1);
    }
    add_pages(&bed, 5000, 1000, 1);
    struct memmap_scratch scratch = {bed.edges, 2 * bed.count};
    for (size_t room = 0; room <= 101; room++) {
        enum status status = memmap_normalise(bed_get, &bed, bed.count, MEMMAP_WANT_USABLE, no_limit, scratch, bed.runs,
                                              room, &bed.result);
        EXPECT_EQ(status, room > 0 ? STATUS_OK : STATUS_LIMIT);
        EXPECT_EQ(bed.result.runs, room);
        EXPECT_EQ(bed.result.runs_lost, 101 - room);
        size_t threes = room > 1 ? room - 1 : 0;
        threes = threes > 33 ? 33 : threes;
        size_t twos = room > 34 ? room - 34 : 0;
        twos = twos > 33 ? 33 : twos;
        size_t ones = room > 67 ? room - 67 : 0;
        EXPECT_EQ(bed.result.frames.v, (room > 0 ? 1000 : 0) + 3 * threes + 2 * twos + ones);
        for (size_t i = 1; i < room; i++) {
            EXPECT(bed.runs[i].first.v > run_end(bed.runs[i - 1]));
        }
    }
}

/* Ten thousand entries, as a hostile loader may bring them; computed, so that they need no memory. */
static struct memmap_entry hostile_get(const void *ctx, size_t index)
{
    (void)ctx;
    uint64_t place = (index * 7919) % 10000; /* 7919 is prime: a permutation */
    return (struct memmap_entry){bytes_of(2 * place), bytes_of(place == 9999 ? 5000 : 1), 1};
}

TEST(memmap, ten_thousand_entries_out_of_order_are_sorted_and_the_largest_run_stays)
{
    enum { ENTRIES = 10000 };
    struct memmap_scratch scratch = {test_pages(bytes_to_pages_up(2 * ENTRIES * sizeof *scratch.edges).v), 2 * ENTRIES};
    struct frame_run *runs = test_pages(bytes_to_pages_up(ENTRIES * sizeof *runs).v);
    struct memmap_result result;
    REQUIRE(scratch.edges != NULL && runs != NULL);
    REQUIRE(memmap_normalise(hostile_get, NULL, ENTRIES, MEMMAP_WANT_USABLE, no_limit, scratch, runs, ENTRIES,
                             &result) == STATUS_OK);
    EXPECT_EQ(result.runs, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        REQUIRE(runs[i].first.v == 2 * i && runs[i].frames.v == (i == 9999 ? 5000 : 1));
    }
    REQUIRE(memmap_normalise(hostile_get, NULL, ENTRIES, MEMMAP_WANT_USABLE, no_limit, scratch, runs, 100, &result) ==
            STATUS_OK);
    EXPECT_EQ(result.runs, 100);
    EXPECT_EQ(result.runs_lost, ENTRIES - 100);
    EXPECT_EQ(runs[98].first.v, 196);
    EXPECT_EQ(runs[99].frames.v, 5000);
}

TEST(memmap, random_maps_agree_with_the_model)
{
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    struct rng rng = rng_seeded(test_seed());
    for (unsigned round = 0; round < 100 * test_effort(); round++) {
        bed.count = 0;
        for (uint64_t i = 0, entries = 1 + rng_below(&rng, 24); i < entries; i++) {
            uint64_t unit = rng_below(&rng, 3) ? PAGE_BYTES : 1 + rng_below(&rng, 600);
            uint32_t type = rng_below(&rng, 2) ? MEMMAP_USABLE : (uint32_t)rng_below(&rng, 6);
            bed_add(&bed, rng_below(&rng, 200) * unit, rng_below(&rng, 60) * unit, type);
        }
        REQUIRE(bed_agrees(&bed, rng_below(&rng, 2) ? no_limit : pfn(rng_below(&rng, 250))));
        bed_maul(&bed, &rng);
        bed_overlap(&bed, &rng);
        REQUIRE(bed_agrees(&bed, no_limit));
        bed_keep(&bed);
        bed_split(&bed, &rng);
        bed_shuffle(&bed, &rng);
        REQUIRE(bed_same_as_kept(&bed));
    }
}

/* Is every byte of the page usable and nothing else? Entries begin and end at multiples of `grain`. */
static bool page_is_ram(const struct map_bed *bed, uint64_t page, uint64_t grain)
{
    for (uint64_t at = bytes_of(page); at < bytes_of(page + 1); at += grain) {
        bool usable = false;
        for (size_t i = 0; i < bed->count; i++) {
            struct memmap_entry e = bed->entries[i];
            bool covers = at >= e.base && at - e.base < e.length;
            if (covers && e.type != 1) {
                return false;
            }
            usable = usable || covers;
        }
        if (!usable) {
            return false;
        }
    }
    return true;
}

TEST(memmap, small_maps_agree_page_by_page_and_byte_by_byte)
{
    enum { PAGES = 40 };
    struct map_bed bed;
    REQUIRE(bed_init(&bed));
    struct rng rng = rng_seeded(test_seed());
    for (unsigned round = 0; round < 40 * test_effort(); round++) {
        uint64_t grain = round % 16 == 0 ? 1 : 256; /* every byte is slow, a few rounds of it are enough */
        bed.count = 0;
        for (uint64_t i = 0, entries = 1 + rng_below(&rng, 10); i < entries; i++) {
            /* Every third is usable; the others are shorter, or nothing would be left. */
            uint64_t length = rng_below(&rng, bytes_of(PAGES / 2) / grain) / (1 + 3 * (i % 3));
            uint32_t type = i % 3 == 0 ? MEMMAP_USABLE : 1 + (uint32_t)rng_below(&rng, 3);
            bed_add(&bed, rng_below(&rng, bytes_of(PAGES) / grain) * grain, length * grain, type);
        }
        (void)bed_normalise(&bed, MEMMAP_WANT_USABLE, no_limit);
        size_t run = 0;
        for (uint64_t page = 0; page < 2 * PAGES; page++) {
            while (run < bed.result.runs && run_end(bed.runs[run]) <= page) {
                run++;
            }
            REQUIRE(page_is_ram(&bed, page, grain) == (run < bed.result.runs && bed.runs[run].first.v <= page));
        }
    }
}

TEST(memmap, each_type_has_a_name)
{
    EXPECT(strcmp(memmap_type_name(1), "usable") == 0);
    EXPECT(strcmp(memmap_type_name(3), "ACPI reclaimable") == 0);
    EXPECT(strcmp(memmap_type_name(5), "bad") == 0);
    EXPECT(strcmp(memmap_type_name(6), "unknown") == 0 && strcmp(memmap_type_name(UINT32_MAX), "unknown") == 0);
}
