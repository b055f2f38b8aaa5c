/* The page source and the helpers of the heap's tests. */
#include "unit/heap_bed.h"

enum page_state {
    PAGE_IDLE,
    PAGE_FRONT_GUARD,
    PAGE_BACK_GUARD,
    PAGE_HEAD, /* first of a stretch given out */
    PAGE_BODY,
};

enum {
    FRESH_BYTE = 0xA5,
    GUARD_BYTE = 0xC9,
    STALE_BYTE = 0xDD,
    PAGES_BEFORE_BORDER = 3,
    TABLE_ENTRIES = 512,
};

static uint8_t *page_at(const struct heap_bed *bed, size_t page)
{
    return bed->arena + pages_to_bytes(npages(page));
}

static bool is_byte(const uint8_t *page, uint8_t byte)
{
    for (size_t i = 0; i < PAGE_BYTES; i++) {
        if (page[i] != byte) {
            return false;
        }
    }
    return true;
}

/* First stretch of `pages` idle pages, with one more on both sides when guarded, whose first page has the alignment. */
static bool find(const struct heap_bed *bed, size_t pages, unsigned align_log2, bool guarded, size_t *first)
{
    size_t margin = guarded ? 1 : 0;
    for (size_t i = margin; i + pages + margin <= bed->pages; i++) {
        size_t n = 0;
        while (n < pages + 2 * margin && bed->state[i - margin + n] == PAGE_IDLE) {
            n++;
        }
        if (n == pages + 2 * margin && (ptr_to_vaddr(page_at(bed, i)).v & ((1UL << align_log2) - 1)) == 0) {
            *first = i;
            return true;
        }
    }
    return false;
}

static void guard(struct heap_bed *bed, size_t page, enum page_state state)
{
    bed->state[page] = (uint8_t)state;
    memset(page_at(bed, page), GUARD_BYTE, PAGE_BYTES);
}

static bool refuses(struct heap_bed *bed)
{
    bed->wrong += bed->forbids_gets;
    return bed->fail_at > 0 && --bed->fail_at == 0;
}

static void *fabricate(struct heap_bed *bed, npages_t pages, unsigned align_log2)
{
    uint64_t mask = (1UL << align_log2) - 1;
    uint64_t base = (bed->fabricated + mask) & ~mask;
    bed->fabricated = base + pages_to_bytes(pages);
    return vaddr_to_ptr(vaddr(base));
}

static void *bed_get(void *ctx, npages_t pages, unsigned align_log2, bool guarded)
{
    struct heap_bed *bed = ctx;
    bed->guards_fresh = guarded;
    bed->align_log2 = align_log2;
    if (refuses(bed)) {
        return NULL;
    }
    size_t first;
    if (bed->is_fabricating && (pages.v > 1 || (1UL << align_log2) > PAGE_BYTES)) {
        bed->gets++;
        bed->pages_out += pages.v;
        return fabricate(bed, pages, align_log2);
    }
    if (pages.v == 0 || pages.v > bed->pages || !find(bed, pages.v, align_log2, guarded, &first)) {
        bed->wrong += pages.v == 0;
        return NULL;
    }
    bed->gets++;
    bed->pages_out += pages.v;
    if (guarded) {
        guard(bed, first - 1, PAGE_FRONT_GUARD);
        guard(bed, first + pages.v, PAGE_BACK_GUARD);
    }
    memset(&bed->state[first], PAGE_BODY, pages.v);
    bed->state[first] = PAGE_HEAD;
    return memset(page_at(bed, first), FRESH_BYTE, pages_to_bytes(pages));
}

static void unguard(struct heap_bed *bed, size_t page)
{
    bed->wrong += !is_byte(page_at(bed, page), GUARD_BYTE);
    bed->state[page] = PAGE_IDLE;
}

static void bed_put(void *ctx, void *base, npages_t pages)
{
    struct heap_bed *bed = ctx;
    bed->puts++;
    bed->pages_out -= pages.v;
    uint64_t offset = ptr_to_vaddr(base).v - ptr_to_vaddr(bed->arena).v;
    if (offset >= pages_to_bytes(npages(bed->pages))) {
        bed->wrong += !bed->is_fabricating;
        return;
    }
    size_t first = bytes_to_pages_down(offset).v;
    size_t length = 1;
    while (first + length < bed->pages && bed->state[first + length] == PAGE_BODY) {
        length++;
    }
    if (!is_page_aligned(offset) || bed->state[first] != PAGE_HEAD || length != pages.v) {
        bed->wrong++;
        return;
    }
    if (first > 0 && bed->state[first - 1] == PAGE_FRONT_GUARD) {
        unguard(bed, first - 1);
        unguard(bed, first + length);
    }
    memset(&bed->state[first], PAGE_IDLE, length);
    memset(base, STALE_BYTE, pages_to_bytes(pages));
}

struct heap_bed *heap_bed_new(size_t pages)
{
    struct heap_bed *bed = test_pages(bytes_to_pages_up(sizeof *bed + pages).v);
    uint8_t *arena = test_pages(pages);
    if (bed == NULL || arena == NULL) {
        return NULL;
    }
    bed->state = (uint8_t *)(bed + 1);
    bed->arena = arena;
    bed->pages = pages;
    uint64_t before = pages_to_bytes(npages(TABLE_ENTRIES * TABLE_ENTRIES - PAGES_BEFORE_BORDER));
    bed->fabricated = ptr_to_vaddr(arena).v + pages_to_bytes(npages(pages));
    struct heap_source source = {
        .ctx = bed,
        .pages_get = bed_get,
        .pages_put = bed_put,
        .span_base = vaddr(ptr_to_vaddr(arena).v - before),
    };
    EXPECT_EQ(heap_init(&bed->heap, source), STATUS_OK);
    return bed;
}

void heap_bed_check(struct heap_bed *bed)
{
    char text[REPORT_TEXT_BYTES];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    if (!EXPECT_EQ(heap_check(&bed->heap, &buffer.sink), STATUS_OK)) {
        test_note("%s", text);
    }
    EXPECT_EQ(bed->wrong, 0);
    EXPECT_EQ(heap_stats(&bed->heap).held_bytes, pages_to_bytes(npages(bed->pages_out)));
    uint64_t broken = 0;
    for (size_t i = 0; i < bed->pages; i++) {
        bool is_guard = bed->state[i] == PAGE_FRONT_GUARD || bed->state[i] == PAGE_BACK_GUARD;
        broken += is_guard && !is_byte(page_at(bed, i), GUARD_BYTE);
    }
    EXPECT_EQ(broken, 0);
}

void heap_bed_end(struct heap_bed *bed)
{
    bed->forbids_gets = true;
    heap_bed_check(bed);
    uint64_t out = bed->pages_out;
    EXPECT_EQ(heap_stats(&bed->heap).blocks, 0);
    EXPECT_EQ(heap_stats(&bed->heap).used_bytes, 0);
    EXPECT_EQ(heap_shrink(&bed->heap).v, out);
    EXPECT_EQ(bed->pages_out, 0);
    EXPECT_EQ(bed->gets, bed->puts);
    EXPECT_EQ(heap_shrink(&bed->heap).v, 0);
    heap_bed_check(bed);
    bed->forbids_gets = false;
}

static uint8_t pattern(uint64_t seed, size_t i)
{
    return (uint8_t)(seed * 37 + i * 11 + i / 256);
}

void heap_bed_fill(void *block, size_t bytes, uint64_t seed)
{
    uint8_t *byte = block;
    for (size_t i = 0; i < bytes; i++) {
        byte[i] = pattern(seed, i);
    }
}

bool heap_bed_filled(const void *block, size_t bytes, uint64_t seed)
{
    const uint8_t *byte = block;
    for (size_t i = 0; i < bytes; i++) {
        if (byte[i] != pattern(seed, i)) {
            return false;
        }
    }
    return true;
}

bool heap_bed_contains(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text != '\0'; text++) {
        if (strncmp(text, part, length) == 0) {
            return true;
        }
    }
    return false;
}

bool heap_bed_reported(const char *text)
{
    bool found = heap_bed_contains(test_last_report(), text);
    if (!found) {
        test_note("wanted \"%s\" in \"%s\"", text, test_last_report());
    }
    return found;
}

bool heap_bed_check_says(struct heap_bed *bed, const char *text)
{
    static char said[2048];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, said, sizeof said);
    bool found = heap_check(&bed->heap, &buffer.sink) == STATUS_CORRUPT && heap_bed_contains(said, text);
    if (!found) {
        test_note("wanted \"%s\" in \"%s\"", text, said);
    }
    return found && heap_check(&bed->heap, NULL) == STATUS_CORRUPT;
}

bool heap_bed_same(struct heap_stats a, struct heap_stats b)
{
    b.most_held_bytes = a.most_held_bytes; /* what was held for a moment, and given back, was held */
    return memcmp(&a, &b, sizeof a) == 0;
}
