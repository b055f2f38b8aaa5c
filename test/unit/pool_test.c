/* Stock and pools: pages kept for later, and records in them. */
#include "pmm/pmm_pressure.h"
#include "unit/stock_bed.h"

enum { SIZES = 6 };
static const size_t sizes[SIZES] = {16, 24, 64, 160, 1000, 1024};

TEST(stock, pages_are_zeroed_when_taken_and_all_go_back)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    stock_bed_fill(&bed, 3);
    uint64_t *pages[3];
    for (unsigned i = 0; i < 3; i++) {
        pages[i] = stock_take(&bed.stock);
        EXPECT(is_page_aligned(ptr_to_vaddr(pages[i]).v));
        EXPECT(pages[i][0] == 0 && pages[i][PAGE_BYTES / sizeof(uint64_t) - 1] == 0);
        memset(pages[i], 0x5A, PAGE_BYTES);
    }
    EXPECT(bed.stock.count == 0 && bed.stock.drawn == 3);
    for (unsigned i = 0; i < 3; i++) {
        stock_put(&bed.stock, pages[i]);
    }
    EXPECT(bed.stock.count == 3 && bed.stock.drawn == 0);
    EXPECT_EQ(stock_trim(&bed.stock, 4), 0);
    EXPECT_EQ(stock_trim(&bed.stock, 1), 2);
    const uint64_t *page = stock_take(&bed.stock);
    EXPECT(page[0] == 0 && page[17] == 0);
    stock_put(&bed.stock, vaddr_to_ptr(ptr_to_vaddr(page)));
    EXPECT_EQ(stock_trim(&bed.stock, 0), 1);
    stock_bed_close(&bed);
}

TEST(stock, what_could_be_had_stays_when_memory_is_short)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    stock_bed_fill(&bed, 2);
    stock_bed_fill(&bed, 0); /* the tables for such pages are there now */
    npages_t taken = vmm_bed_limit(&bed.vmm, 6);
    EXPECT_EQ(stock_ensure(&bed.stock, 100), STATUS_NOMEM);
    EXPECT(bed.stock.count > 0 && bed.stock.count <= 6);
    const size_t count = bed.stock.count;
    EXPECT_OK(stock_ensure(&bed.stock, count));
    EXPECT_EQ(bed.stock.count, count);
    EXPECT(!bed.stock.is_filling);
    vmm_bed_unlimit(&bed.vmm, taken);
    stock_bed_close(&bed);
}

/* Low memory, while the stock is filled: what is in stock is not given away to fill it. */
static unsigned asked;

static npages_t trim(void *ctx, npages_t wanted)
{
    struct stock_bed *bed = ctx;
    (void)wanted;
    asked++;
    return npages(stock_trim(&bed->stock, 0));
}

TEST(stock, who_is_asked_for_memory_to_fill_it_cannot_take_it_from_there)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    stock_bed_fill(&bed, 1);
    struct pmm_low low = {.reclaim = trim, .ctx = &bed};
    EXPECT_OK(pmm_low_add(bed.vmm.vmm->pmm, &low));
    asked = 0;
    npages_t taken = vmm_bed_limit(&bed.vmm, 3);
    EXPECT_EQ(stock_ensure(&bed.stock, 100), STATUS_NOMEM);
    EXPECT(asked > 0 && bed.stock.count > 1);
    const size_t count = bed.stock.count;
    EXPECT_EQ(trim(&bed, npages(1)).v, count); /* but else */
    vmm_bed_unlimit(&bed.vmm, taken);
    EXPECT_OK(pmm_low_remove(bed.vmm.vmm->pmm, &low));
    stock_bed_close(&bed);
}

/* ---- Pools ---- */

TEST(pool, records_are_zero_apart_and_as_many_as_a_page_holds)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    for (unsigned s = 0; s < SIZES; s++) {
        struct pool pool;
        pool_init(&pool, &bed.stock, "test", sizes[s]);
        stock_bed_fill(&bed, 2);
        const size_t each = pool.each;
        EXPECT(each * sizes[s] <= PAGE_BYTES - 64 && (each + 1) * sizes[s] > PAGE_BYTES - 64);
        uint8_t *records[2 * PAGE_BYTES / 16];
        for (size_t i = 0; i < 2 * each; i++) {
            records[i] = pool_take(&pool);
            for (size_t k = 0; k < sizes[s]; k++) {
                REQUIRE(records[i][k] == 0);
            }
            memset(records[i], 1 + (int)i % 255, sizes[s]);
        }
        EXPECT(bed.stock.count == 0 && pool.used == 2 * each && pool.free == 0);
        EXPECT(stock_bed_pool_is_sound(&pool));
        for (size_t i = 0; i < 2 * each; i++) {
            EXPECT(records[i][0] == 1 + i % 255 && records[i][sizes[s] - 1] == 1 + i % 255);
        }
        for (size_t i = 0; i < 2 * each; i++) {
            EXPECT_OK(pool_put(&pool, records[i]));
        }
        EXPECT(stock_bed_pool_is_sound(&pool));
        EXPECT(pool.used == 0 && pool.free == each && bed.stock.count == 1);
        memset(records[0], 0x77, sizes[s]); /* in the page that stays: the next one is zero all the same */
        uint8_t *again = pool_take(&pool);
        EXPECT(again[0] == 0 && again[sizes[s] - 1] == 0);
        EXPECT_OK(pool_put(&pool, again));
        EXPECT(pool_trim(&pool));
    }
    stock_bed_close(&bed);
}

/* missing() says what is enough: the stock has exactly that, and runs empty in the middle when it was too little. */
TEST(pool, what_is_missing_is_enough_and_not_a_page_more)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct rng rng = rng_seeded(test_seed());
    for (unsigned s = 0; s < SIZES; s++) {
        struct pool pool;
        pool_init(&pool, &bed.stock, "test", sizes[s]);
        static void *records[2000];
        size_t count = 0;
        for (unsigned round = 0; round < 60; round++) {
            size_t more = rng_below(&rng, 2 * pool.each + 2);
            more = count + more <= ARRAY_LEN(records) ? more : 0;
            const size_t missing = pool_missing(&pool, more);
            stock_bed_fill(&bed, missing);
            EXPECT(missing == 0 || pool.free + (missing - 1) * pool.each < more);
            for (; more > 0; more--) {
                records[count++] = pool_take(&pool);
            }
            EXPECT_EQ(bed.stock.count, 0);
            for (size_t less = rng_below(&rng, count + 1); less > 0; less--) {
                const size_t i = rng_below(&rng, count);
                EXPECT_OK(pool_put(&pool, records[i]));
                records[i] = records[--count];
            }
            EXPECT_EQ(pool.used, count);
            REQUIRE(stock_bed_pool_is_sound(&pool));
        }
        while (count > 0) {
            EXPECT_OK(pool_put(&pool, records[--count]));
        }
        EXPECT(pool_trim(&pool));
    }
    stock_bed_close(&bed);
}

TEST(pool, a_record_that_comes_and_goes_does_not_move_a_page)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct pool pool;
    pool_init(&pool, &bed.stock, "test", 64);
    stock_bed_fill(&bed, 1);
    for (unsigned i = 0; i < 3; i++) {
        void *record = pool_take(&pool);
        EXPECT_EQ(bed.stock.count, 0);
        EXPECT_OK(pool_put(&pool, record));
        EXPECT_EQ(bed.stock.count, 0);
        EXPECT_EQ(pool_missing(&pool, pool.each), 0);
    }
    EXPECT(pool_trim(&pool));
    stock_bed_close(&bed);
}

TEST(pool, what_is_no_record_in_use_is_refused)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct pool pool, other;
    pool_init(&pool, &bed.stock, "mine", 48);
    pool_init(&other, &bed.stock, "other", 48);
    stock_bed_fill(&bed, 3);
    uint8_t *a = pool_take(&pool), *b = pool_take(&pool), *foreign = pool_take(&other), *loose = stock_take(&bed.stock);
    EXPECT_OK(pool_put(&pool, b));
    uint8_t *head = a - page_offset_bytes(ptr_to_vaddr(a).v), *end = head + PAGE_BYTES;
    uint8_t *behind = a + 48 * (size_t)pool.each; /* the last record: the page may end there */
    uint8_t *const wrong[] = {NULL, foreign, loose + 64, b,       a + 1,    a + 8, a + 47,
                              head, head + 8,    end - 1,   end - 16, behind < end ? behind : end - 1};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        test_expect_reports(i + 1);
        EXPECT_EQ(pool_put(&pool, wrong[i]), STATUS_MISUSE);
        EXPECT(pool.used == 1 && pool.free == pool.each - 1);
        EXPECT(stock_bed_pool_is_sound(&pool) && stock_bed_pool_is_sound(&other));
    }
    EXPECT_OK(pool_put(&pool, a));
    EXPECT_OK(pool_put(&other, foreign));
    stock_put(&bed.stock, loose);
    EXPECT(pool_trim(&pool));
    EXPECT(pool_trim(&other));
    stock_bed_close(&bed);
}

TEST(pool, counts_and_marks_that_were_broken_are_seen)
{
    struct stock_bed bed;
    REQUIRE(stock_bed_open(&bed));
    struct pool pool;
    pool_init(&pool, &bed.stock, "test", 64);
    stock_bed_fill(&bed, 2);
    void *records[64];
    for (size_t i = 0; i < pool.each + 1; i++) {
        records[i] = pool_take(&pool);
    }
    static const int by[] = {1, -1};
    for (unsigned i = 0; i < 2; i++) {
        pool.used += (size_t)by[i];
        EXPECT_EQ(pool_check(&pool, NULL), STATUS_CORRUPT);
        pool.used -= (size_t)by[i];
        pool.free += (size_t)by[i];
        EXPECT_EQ(pool_check(&pool, NULL), STATUS_CORRUPT);
        pool.free -= (size_t)by[i];
    }
    struct pool_page *full = pool.full;
    pool.full = NULL;
    EXPECT_EQ(pool_check(&pool, NULL), STATUS_CORRUPT);
    pool.full = full;
    uint64_t *marks = (void *)((uint8_t *)full + 32); /* behind pool, next, prev, used */
    for (unsigned bit = 0; bit < 64; bit += 63) {
        *marks ^= 1ULL << bit;
        EXPECT_EQ(pool_check(&pool, NULL), STATUS_CORRUPT);
        *marks ^= 1ULL << bit;
    }
    EXPECT(stock_bed_pool_is_sound(&pool));
    for (size_t i = 0; i < pool.each + 1; i++) {
        EXPECT_OK(pool_put(&pool, records[i]));
    }
    EXPECT(pool_trim(&pool));
    stock_bed_close(&bed);
}
