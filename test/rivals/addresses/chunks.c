/*
 * One bitmap, a bit for each 2 MiB of addresses: 16 MiB for 2^48, and as much again for where ranges end. Everything is
 * a whole number of chunks. First fit from the lowest chunk that may be free, 64 at a time.
 */
#include "rivals/addresses/bits.h"

struct chunks {
    struct addresses head;
    struct bits bits;
    uint64_t low; /* no chunk below it is free */
};

enum { CHUNK_PAGES = PAGES_PER_2M, CHUNK_PAGES_LOG2 = __builtin_ctz(CHUNK_PAGES) };

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0 || pages % CHUNK_PAGES != 0) {
        return STATUS_INVALID;
    }
    struct chunks *c = addresses_open(memory, bytes, sizeof *c, pages);
    if (c == NULL) {
        return STATUS_NOMEM;
    }
    c->bits.units = pages / CHUNK_PAGES;
    c->bits.used = addresses_take(&c->head, bits_words(c->bits.units) * sizeof(uint64_t));
    c->bits.last = addresses_take(&c->head, bits_words(c->bits.units) * sizeof(uint64_t));
    return c->bits.last != NULL ? STATUS_OK : STATUS_NOMEM;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct chunks *c = ADDRESSES_STATE(chunks, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    uint64_t count = (pages - 1) / CHUNK_PAGES + 1, found;
    align_log2 = align_log2 > CHUNK_PAGES_LOG2 ? align_log2 - CHUNK_PAGES_LOG2 : 0;
    if (!bits_search(a, &c->bits, &c->low, count, align_log2, &found)) {
        return STATUS_NOMEM;
    }
    bits_set(a, &c->bits, found, count, true);
    *first = found * CHUNK_PAGES;
    return STATUS_OK;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct chunks *c = ADDRESSES_STATE(chunks, a);
    addresses_begin(a);
    uint64_t chunk = first / CHUNK_PAGES;
    if (first >= a->pages || first % CHUNK_PAGES != 0 || !bits_is_first(&c->bits, chunk)) {
        return STATUS_MISUSE;
    }
    bits_set(a, &c->bits, chunk, bits_length(a, &c->bits, chunk), false);
    c->low = chunk < c->low ? chunk : c->low;
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct chunks *c = ADDRESSES_STATE(chunks, a);
    addresses_begin(a);
    if (page >= a->pages || !bit_of(c->bits.used, page / CHUNK_PAGES)) {
        return false;
    }
    uint64_t first = bits_first(a, &c->bits, page / CHUNK_PAGES);
    *out = (struct addresses_range){first * CHUNK_PAGES, bits_length(a, &c->bits, first) * CHUNK_PAGES};
    return true;
}

const struct addresses_subject ADDRESSES(chunks) = {"chunks", start, alloc, free_range, find};
