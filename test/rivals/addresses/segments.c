/*
 * Segments of 1 GiB, a bit each: 32 KiB for 2^48 (and as much for where ranges end). Ranges below 1 GiB lie in *open*
 * segments, which have a bitmap of pages of their own, twice 32 KiB, while anything in them is used.
 *
 * A small request goes through the list of open segments, the last opened first, and takes the lowest fit in the first
 * one that has it; where none has, a segment is opened. A segment remembers the least request that it refused since
 * something in it was freed, so a full one is passed by in a step. 1 GiB and more: neighbouring whole segments.
 */
#include "rivals/addresses/bits.h"

#define SEGMENT_PAGES (GIB / PAGE_BYTES)

struct open {
    struct open *next, *back;
    uint64_t segment;
    struct bits pages;
    uint64_t used;    /* pages */
    uint64_t low;     /* no page below it is free */
    uint64_t refused; /* no range of so many pages is free */
    uint64_t words[2 * SEGMENT_PAGES / BITS_WORD]; /* all 0 when it is not open */
};

struct segments {
    struct addresses head;
    struct bits bits;
    uint64_t low;             /* no segment below it is free */
    struct open *list;
    struct addresses_pool pool;
    struct open **open; /* of each segment; null: it is not open */
};

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0 || pages % SEGMENT_PAGES != 0) {
        return STATUS_INVALID;
    }
    struct segments *s = addresses_open(memory, bytes, sizeof *s, pages);
    if (s == NULL) {
        return STATUS_NOMEM;
    }
    s->bits.units = pages / SEGMENT_PAGES;
    s->bits.used = addresses_take(&s->head, bits_words(s->bits.units) * sizeof(uint64_t));
    s->bits.last = addresses_take(&s->head, bits_words(s->bits.units) * sizeof(uint64_t));
    s->open = addresses_take(&s->head, s->bits.units * sizeof *s->open);
    s->pool.node_bytes = sizeof(struct open);
    return s->open != NULL ? STATUS_OK : STATUS_NOMEM;
}

static struct open *open_segment(struct segments *s)
{
    uint64_t segment;
    if (!addresses_pool_has(&s->head, &s->pool, 1) || !bits_search(&s->head, &s->bits, &s->low, 1, 0, &segment)) {
        return NULL;
    }
    bits_set(&s->head, &s->bits, segment, 1, true);
    struct open *o = addresses_pool_take(&s->head, &s->pool);
    o->segment = segment;
    o->pages = (struct bits){SEGMENT_PAGES, o->words, &o->words[SEGMENT_PAGES / BITS_WORD]};
    o->used = o->low = 0;
    o->refused = UINT64_MAX;
    o->back = NULL;
    o->next = s->list;
    if (s->list != NULL) {
        s->list->back = o;
    }
    s->list = o;
    s->open[segment] = o;
    return o;
}

static void close_segment(struct segments *s, struct open *o)
{
    bits_set(&s->head, &s->bits, o->segment, 1, false);
    s->low = o->segment < s->low ? o->segment : s->low;
    s->open[o->segment] = NULL;
    if (o->next != NULL) {
        o->next->back = o->back;
    }
    *(o->back != NULL ? &o->back->next : &s->list) = o->next;
    addresses_pool_give(&s->pool, o);
}

static bool alloc_in(struct segments *s, struct open *o, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    addresses_step(&s->head);
    uint64_t found;
    if (pages >= o->refused || pages > SEGMENT_PAGES - o->used) {
        return false;
    }
    if (!bits_search(&s->head, &o->pages, &o->low, pages, align_log2, &found)) {
        o->refused = align_log2 == 0 ? pages : o->refused;
        return false;
    }
    bits_set(&s->head, &o->pages, found, pages, true);
    o->used += pages;
    *first = o->segment * SEGMENT_PAGES + found;
    return true;
}

static enum status alloc_whole(struct segments *s, uint64_t pages, uint64_t *first)
{
    uint64_t count = (pages - 1) / SEGMENT_PAGES + 1, found;
    if (!bits_search(&s->head, &s->bits, &s->low, count, 0, &found)) {
        return STATUS_NOMEM;
    }
    bits_set(&s->head, &s->bits, found, count, true);
    *first = found * SEGMENT_PAGES;
    return STATUS_OK;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    static_assert(1UL << ADDRESSES_ALIGN_LOG2_MAX <= SEGMENT_PAGES, "whole segments are aligned");
    struct segments *s = ADDRESSES_STATE(segments, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    if (pages >= SEGMENT_PAGES) {
        return alloc_whole(s, pages, first);
    }
    for (struct open *o = s->list; o != NULL; o = o->next) {
        if (alloc_in(s, o, pages, align_log2, first)) {
            return STATUS_OK;
        }
    }
    struct open *o = open_segment(s);
    return o != NULL && alloc_in(s, o, pages, align_log2, first) ? STATUS_OK : STATUS_NOMEM;
}

static enum status free_in(struct segments *s, struct open *o, uint64_t page)
{
    if (!bits_is_first(&o->pages, page)) {
        return STATUS_MISUSE;
    }
    uint64_t pages = bits_length(&s->head, &o->pages, page);
    bits_set(&s->head, &o->pages, page, pages, false);
    o->used -= pages;
    o->low = page < o->low ? page : o->low;
    o->refused = UINT64_MAX;
    if (o->used == 0) {
        close_segment(s, o);
    }
    return STATUS_OK;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct segments *s = ADDRESSES_STATE(segments, a);
    addresses_begin(a);
    uint64_t segment = first / SEGMENT_PAGES;
    if (first >= a->pages) {
        return STATUS_MISUSE;
    }
    addresses_step(a);
    if (s->open[segment] != NULL) {
        return free_in(s, s->open[segment], first % SEGMENT_PAGES);
    }
    if (first % SEGMENT_PAGES != 0 || !bits_is_first(&s->bits, segment)) {
        return STATUS_MISUSE;
    }
    bits_set(a, &s->bits, segment, bits_length(a, &s->bits, segment), false);
    s->low = segment < s->low ? segment : s->low;
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct segments *s = ADDRESSES_STATE(segments, a);
    addresses_begin(a);
    if (page >= a->pages) {
        return false;
    }
    struct open *o = s->open[page / SEGMENT_PAGES];
    const struct bits *bits = o != NULL ? &o->pages : &s->bits;
    uint64_t unit_pages = o != NULL ? 1 : SEGMENT_PAGES, base = o != NULL ? o->segment * SEGMENT_PAGES : 0;
    uint64_t unit = (page - base) / unit_pages;
    addresses_step(a);
    if (!bit_of(bits->used, unit)) {
        return false;
    }
    unit = bits_first(a, bits, unit);
    *out = (struct addresses_range){base + unit * unit_pages, bits_length(a, bits, unit) * unit_pages};
    return true;
}

const struct addresses_subject ADDRESSES(segments) = {"segments", start, alloc, free_range, find};
