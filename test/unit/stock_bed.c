/* What the tests of stock, pools and page indexes share. */
#include "unit/stock_bed.h"

bool stock_bed_open(struct stock_bed *bed)
{
    if (!vmm_bed_open(&bed->vmm)) {
        return false;
    }
    stock_init(&bed->stock, bed->vmm.vmm);
    return true;
}

void stock_bed_close(struct stock_bed *bed)
{
    EXPECT_EQ(bed->stock.drawn, 0);
    stock_bed_fill(bed, 0);
    vmm_bed_close(&bed->vmm);
}

void stock_bed_fill(struct stock_bed *bed, size_t pages)
{
    EXPECT_OK(stock_ensure(&bed->stock, pages));
    const size_t more = bed->stock.count - pages;
    EXPECT_EQ(stock_trim(&bed->stock, pages), more);
    EXPECT_EQ(bed->stock.count, pages);
}

static bool is_sound(enum status found, const char *text)
{
    const bool sound = EXPECT_EQ(found, STATUS_OK);
    if (!sound) {
        test_note("%s", text);
    }
    return sound;
}

bool stock_bed_pool_is_sound(const struct pool *pool)
{
    static char text[256];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    return is_sound(pool_check(pool, &b.sink), text);
}

bool stock_bed_index_is_sound(const struct page_index *index)
{
    static char text[256];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    return is_sound(page_index_check(index, &b.sink), text);
}
