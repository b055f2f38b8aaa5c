/* The sparse array by page number. */
#include "unit/stock_bed.h"

/* Small and large numbers, neighbours and strangers: the digits are drawn one by one, mostly from few values. */
static uint64_t random_number(struct rng *rng, unsigned levels)
{
    static const unsigned digits[] = {0, 0, 1, 2, 255, 511};
    uint64_t number = 0;
    for (unsigned level = 1 + (unsigned)rng_below(rng, levels); level > 0; level--) {
        number = number << PAGE_INDEX_DIGIT | digits[rng_below(rng, ARRAY_LEN(digits))];
    }
    return number;
}

TEST(page_index, a_word_is_found_at_its_number_only_at_every_height)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    for (unsigned levels = 1; levels <= PAGE_INDEX_LEVELS_MAX; levels++) {
        struct page_index index = {0};
        const uint64_t numbers = 1ULL << levels * PAGE_INDEX_DIGIT;
        const uint64_t at[] = {numbers - 1, numbers / PAGE_INDEX_WORDS, numbers / 2 + 3};
        for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
            EXPECT_EQ(page_index_get(&index, at[i]), 0);
            const size_t missing = page_index_missing(&index, at[i], 1);
            EXPECT(i > 0 || missing == levels);
            stock_bed_fill(&bed, missing);
            page_index_set(&index, &bed.stock, at[i], 1000 + i);
            EXPECT_EQ(bed.stock.count, 0);
            EXPECT_EQ(index.levels, levels);
        }
        EXPECT(stock_bed_index_is_sound(&index) && index.count == ARRAY_LEN(at));
        for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
            EXPECT_EQ(page_index_get(&index, at[i]), 1000 + i);
            EXPECT_EQ(*page_index_look(&index, at[i]), 1000 + i);
            EXPECT_EQ(page_index_get(&index, at[i] - 1), 0);
            EXPECT_EQ(page_index_get(&index, at[i] + numbers), 0); /* the same digits, and more */
            EXPECT_EQ(page_index_get(&index, at[i] | 1ULL << 63), 0);
            EXPECT(page_index_look(&index, at[i] | 1ULL << 45) == NULL);
            EXPECT(!page_index_replace(&index, at[i] - 1, 1) && page_index_replace(&index, at[i], 1000 + i));
        }
        for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
            page_index_set(&index, &bed.stock, at[i], 0);
            page_index_set(&index, &bed.stock, at[i], 0); /* and again: nothing is there */
            EXPECT(stock_bed_index_is_sound(&index));
        }
        EXPECT(index.levels == 0 && index.top == 0 && index.count == 0 && bed.stock.drawn == 0);
    }
    stock_bed_close(&bed);
}

TEST(page_index, growing_keeps_what_is_there)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct page_index index = {0};
    for (unsigned level = 0; level < PAGE_INDEX_LEVELS_MAX; level++) {
        const uint64_t number = 3ULL << level * PAGE_INDEX_DIGIT;
        const size_t missing = page_index_missing(&index, number, 1);
        EXPECT_EQ(missing, level + 1); /* a root above the old one, and a way down */
        stock_bed_fill(&bed, missing);
        page_index_set(&index, &bed.stock, number, level + 1);
        EXPECT(bed.stock.count == 0 && index.levels == level + 1);
        for (unsigned i = 0; i <= level; i++) {
            EXPECT_EQ(page_index_get(&index, 3ULL << i * PAGE_INDEX_DIGIT), i + 1);
        }
        EXPECT(stock_bed_index_is_sound(&index));
    }
    page_index_clear(&index, &bed.stock);
    EXPECT(index.count == 0 && index.levels == 0 && page_index_get(&index, 3) == 0);
    stock_bed_close(&bed);
}

/*
 * Against a list of numbers. Each step has in stock exactly what missing() said: too little would stop the test, too
 * much is seen.
 */
enum { MOST = 400 };

struct record {
    uint64_t number[MOST], word[MOST];
    unsigned count;
};

static unsigned record_find(const struct record *r, uint64_t number)
{
    unsigned i = 0;
    while (i < r->count && r->number[i] != number) {
        i++;
    }
    return i;
}

static void record_set(struct record *r, uint64_t number, uint64_t word)
{
    unsigned i = record_find(r, number);
    r->number[i] = number;
    r->word[i] = word;
    r->count += i == r->count;
    if (word == 0) {
        r->count--;
        r->number[i] = r->number[r->count];
        r->word[i] = r->word[r->count];
    }
}

static uint64_t record_next(const struct record *r, uint64_t from, uint64_t end)
{
    uint64_t next = end;
    for (unsigned i = 0; i < r->count; i++) {
        next = r->number[i] >= from && r->number[i] < next ? r->number[i] : next;
    }
    return next;
}

static void agrees(const struct page_index *index, const struct record *r, struct rng *rng, unsigned levels)
{
    EXPECT_EQ(index->count, r->count);
    uint64_t number = random_number(rng, levels);
    unsigned i = record_find(r, number);
    EXPECT_EQ(page_index_get(index, number), i < r->count ? r->word[i] : 0);
    uint64_t end = random_number(rng, levels);
    EXPECT_EQ(page_index_next(index, number, end), number < end ? record_next(r, number, end) : end);
    EXPECT_EQ(page_index_next(index, number, UINT64_MAX), record_next(r, number, UINT64_MAX));
}

/* [first, first + count), in a random order. */
static void set_all(struct stock_bed *bed, struct page_index *index, struct record *r, struct rng *rng, uint64_t first,
                    uint64_t count)
{
    stock_bed_fill(bed, page_index_missing(index, first, count));
    const uint64_t step = count == 1 ? 1 : 1 + 2 * rng_below(rng, count); /* odd: all are met */
    for (uint64_t i = 0, at = rng_below(rng, count); i < count; i++, at = (at + step) % count) {
        page_index_set(index, &bed->stock, first + at, 1 + rng_next(rng) % 1000);
        record_set(r, first + at, page_index_get(index, first + at));
    }
    EXPECT_EQ(bed->stock.count, 0); /* none too many */
}

static void play(struct stock_bed *bed, struct rng *rng, unsigned levels)
{
    struct page_index index = {0};
    static struct record r;
    r.count = 0;
    for (unsigned round = 0; round < 150 * test_effort(); round++) {
        const uint64_t first = random_number(rng, levels), count = 1ULL << rng_below(rng, 5);
        const bool grows = (round / 60) % 2 == 0;
        if (r.count + count <= MOST && rng_below(rng, 8) < (grows ? 6 : 1) &&
            page_index_missing(&index, first, count) != SIZE_MAX) {
            set_all(bed, &index, &r, rng, first, count);
        } else if (r.count > 0) {
            const uint64_t number = r.number[rng_below(rng, r.count)];
            page_index_set(&index, &bed->stock, number, 0);
            record_set(&r, number, 0);
        }
        agrees(&index, &r, rng, levels);
        REQUIRE(round % 8 != 0 || stock_bed_index_is_sound(&index));
    }
    page_index_clear(&index, &bed->stock);
    EXPECT_EQ(bed->stock.drawn, 0);
}

TEST(page_index, random_changes_agree_with_a_list)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct rng rng = rng_seeded(test_seed());
    for (unsigned levels = 1; levels <= PAGE_INDEX_LEVELS_MAX; levels++) {
        play(&bed, &rng, levels);
    }
    stock_bed_close(&bed);
}

TEST(page_index, missing_counts_whole_ranges_and_refuses_what_is_too_large)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct page_index index = {0};
    const uint64_t all = 1ULL << PAGE_INDEX_LEVELS_MAX * PAGE_INDEX_DIGIT;
    EXPECT_EQ(page_index_missing(&index, 0, 0), 0);
    EXPECT_EQ(page_index_missing(&index, all, 0), 0);
    EXPECT_EQ(page_index_missing(&index, all - 1, 1), 5);
    EXPECT_EQ(page_index_missing(&index, all, 1), SIZE_MAX);
    EXPECT_EQ(page_index_missing(&index, all - 1, 2), SIZE_MAX);
    EXPECT_EQ(page_index_missing(&index, 1, UINT64_MAX), SIZE_MAX);
    EXPECT_EQ(page_index_missing(&index, UINT64_MAX, 1), SIZE_MAX);
    EXPECT_EQ(page_index_missing(&index, 0, 512), 1);
    EXPECT_EQ(page_index_missing(&index, 511, 2), 3);
    EXPECT_EQ(page_index_missing(&index, 0, 512 * 512), 513);
    EXPECT_EQ(page_index_missing(&index, 0, all), 1 + 512ULL + (1ULL << 18) + (1ULL << 27) + (1ULL << 36));
    stock_bed_fill(&bed, 1);
    page_index_set(&index, &bed.stock, 7, 7);
    EXPECT_EQ(page_index_missing(&index, 0, 512), 0);
    EXPECT_EQ(page_index_missing(&index, 0, 513), 2);
    EXPECT_EQ(page_index_missing(&index, 512 * 512, 1), 4);
    page_index_clear(&index, &bed.stock);
    stock_bed_close(&bed);
}

TEST(page_index, an_index_that_was_broken_is_seen)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct page_index index = {0};
    stock_bed_fill(&bed, 5);
    page_index_set(&index, &bed.stock, 5, 1);
    page_index_set(&index, &bed.stock, 1000000, 1);
    EXPECT_EQ(index.levels, 3);
    index.count++;
    EXPECT_EQ(page_index_check(&index, NULL), STATUS_CORRUPT);
    index.count--;
    index.top++;
    EXPECT_EQ(page_index_check(&index, NULL), STATUS_CORRUPT);
    index.top--;
    uint64_t *root = page_index_node(index.top), was = root[0];
    root[0] = was + 1;
    EXPECT_EQ(page_index_check(&index, NULL), STATUS_CORRUPT);
    root[0] = was;
    uint64_t *low = page_index_node(page_index_node(root[0])[0]);
    low[5] = 0;
    EXPECT_EQ(page_index_check(&index, NULL), STATUS_CORRUPT);
    low[5] = 1;
    index.levels = 0;
    EXPECT_EQ(page_index_check(&index, NULL), STATUS_CORRUPT);
    index.levels = 3;
    EXPECT(stock_bed_index_is_sound(&index));
    page_index_clear(&index, &bed.stock);
    stock_bed_close(&bed);
}
