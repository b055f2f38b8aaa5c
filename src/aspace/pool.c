/*
 * Records of one size in pages of the stock (stock.h).
 *
 * A page knows its pool and has a bit for each record in use. So a record's place, and whether it is in use, are found
 * from its address: a pointer from elsewhere, into the middle of a record or to one that is free already is seen before
 * anything changes. Pages are on the list of the full ones or of those that are partly used; one empty page stays,
 * so that a record that comes and goes does not move a page each time. Partly used pages serve first.
 */
#include "aspace/stock.h"

#include "lib/macros.h"
#include "lib/report.h"
#include "lib/string.h"

enum {
    WORD_BITS = 8 * sizeof(uint64_t),
    POOL_EACH_MOST = PAGE_BYTES / POOL_RECORD_LEAST,
    POOL_WORDS = POOL_EACH_MOST / WORD_BITS,
};

struct pool_page {
    struct pool *pool; /* null: in stock */
    struct pool_page *next, *prev;
    size_t used;
    uint64_t used_map[POOL_WORDS]; /* bit i: record i is in use */
};
static_assert(sizeof(struct pool_page) % 16 == 0, "records are aligned");

void pool_init(struct pool *pool, struct stock *stock, const char *name, size_t bytes)
{
    ASSERT(bytes >= POOL_RECORD_LEAST && bytes <= POOL_RECORD_MOST && bytes % sizeof(uint64_t) == 0);
    *pool = (struct pool){.stock = stock, .name = name, .bytes = bytes};
    pool->each = (PAGE_BYTES - sizeof(struct pool_page)) / bytes;
}

size_t pool_missing(const struct pool *pool, size_t records)
{
    return records <= pool->free ? 0 : (records - pool->free - 1) / pool->each + 1;
}

/* ---- Pages ---- */

static void link_in(struct pool_page **list, struct pool_page *page)
{
    page->next = *list;
    page->prev = NULL;
    if (page->next != NULL) {
        page->next->prev = page;
    }
    *list = page;
}

static void link_out(struct pool_page **list, struct pool_page *page)
{
    *(page->prev != NULL ? &page->prev->next : list) = page->next;
    if (page->next != NULL) {
        page->next->prev = page->prev;
    }
}

static void *record_at(const struct pool *pool, struct pool_page *page, size_t i)
{
    return (uint8_t *)(page + 1) + i * pool->bytes;
}

/* A page with free records, on `partly`. The empty one, or a new one. */
static struct pool_page *more(struct pool *pool)
{
    struct pool_page *page = pool->empty;
    pool->empty = NULL;
    if (page == NULL) {
        page = stock_take(pool->stock);
        page->pool = pool;
        pool->free += pool->each;
    }
    link_in(&pool->partly, page);
    return page;
}

static size_t first_free(const struct pool_page *page)
{
    size_t word = 0;
    while (~page->used_map[word] == 0) {
        word++;
    }
    return word * WORD_BITS + (size_t)__builtin_ctzll(~page->used_map[word]);
}

void *pool_take(struct pool *pool)
{
    struct pool_page *page = pool->partly != NULL ? pool->partly : more(pool);
    size_t i = first_free(page);
    page->used_map[i / WORD_BITS] |= 1ULL << i % WORD_BITS;
    pool->used++;
    pool->free--;
    if (++page->used == pool->each) {
        link_out(&pool->partly, page);
        link_in(&pool->full, page);
    }
    return memset(record_at(pool, page, i), 0, pool->bytes);
}

/* ---- Back ---- */

static void give_back(struct pool *pool, struct pool_page *page)
{
    pool->free -= pool->each;
    page->pool = NULL;
    stock_put(pool->stock, page);
}

bool pool_trim(struct pool *pool)
{
    struct pool_page *page = pool->empty;
    pool->empty = NULL;
    if (page != NULL) {
        give_back(pool, page);
    }
    return page != NULL;
}

/* A page has become empty: it stays for the next record, unless another one does. */
static void retire(struct pool *pool, struct pool_page *page)
{
    link_out(&pool->partly, page);
    if (pool->empty != NULL) {
        give_back(pool, page);
    } else {
        pool->empty = page;
    }
}

enum status pool_put(struct pool *pool, void *record)
{
    const size_t at = page_offset_bytes(ptr_to_vaddr(record).v);
    struct pool_page *page = record == NULL ? NULL : (void *)((uint8_t *)record - at);
    if (page == NULL || page->pool != pool) {
        return misuse("pool_put: %#lx is in no page of %s", ptr_to_vaddr(record).v, pool->name);
    }
    const size_t i = (at - sizeof *page) / pool->bytes; /* in front of the first record: far too large */
    if (i >= pool->each || record_at(pool, page, i) != record) {
        return misuse("pool_put: %#lx is not the start of a record of %s", ptr_to_vaddr(record).v, pool->name);
    }
    if ((page->used_map[i / WORD_BITS] >> i % WORD_BITS & 1) == 0) {
        return misuse("pool_put: %#lx, record %lu of its page of %s, is free", ptr_to_vaddr(record).v, i, pool->name);
    }
    page->used_map[i / WORD_BITS] &= ~(1ULL << i % WORD_BITS);
    pool->used--;
    pool->free++;
    if (page->used-- == pool->each) {
        link_out(&pool->full, page);
        link_in(&pool->partly, page);
    }
    if (page->used == 0) {
        retire(pool, page);
    }
    return STATUS_OK;
}

/* ---- Validation ---- */

static enum status corrupt(const struct pool *pool, struct sink *out, const char *what, uint64_t found,
                           uint64_t expected)
{
    if (out != NULL) {
        sink_printf(out, "pool %s: %s: %lu where %lu is expected\n", pool->name, what, found, expected);
    }
    return STATUS_CORRUPT;
}

/* A list's pages: [least, most] records of each are in use. *used and *pages: counted. */
static enum status check_list(const struct pool *pool, const struct pool_page *page, size_t least, size_t most,
                              struct sink *out, size_t *used, size_t *pages)
{
    for (const struct pool_page *prev = NULL; page != NULL; prev = page, page = page->next) {
        if (++*pages * pool->each > pool->used + pool->free) {
            return corrupt(pool, out, "records of all pages", *pages * pool->each, pool->used + pool->free);
        }
        if (page->pool != pool || page->prev != prev) {
            return corrupt(pool, out, "a page's pool, and its place in its list", ptr_to_vaddr(page->prev).v,
                           ptr_to_vaddr(prev).v);
        }
        size_t bits = 0;
        for (unsigned i = 0; i < POOL_WORDS; i++) {
            for (uint64_t map = page->used_map[i]; map != 0; map &= map - 1) {
                bits++; /* no builtin: without the instruction it is a call into the compiler's library */
            }
        }
        const size_t last = pool->each % WORD_BITS, word = pool->each / WORD_BITS;
        const uint64_t beyond = word < POOL_WORDS ? page->used_map[word] >> last : 0;
        if (bits != page->used || beyond != 0) {
            return corrupt(pool, out, "marks of a page", bits, page->used);
        }
        if (bits < least || bits > most) {
            return corrupt(pool, out, "used records of a page of this list", bits, least);
        }
        *used += bits;
    }
    return STATUS_OK;
}

enum status pool_check(const struct pool *pool, struct sink *out)
{
    size_t used = 0, pages = 0;
    enum status s = check_list(pool, pool->partly, 1, pool->each - 1, out, &used, &pages);
    if (s == STATUS_OK) {
        s = check_list(pool, pool->full, pool->each, pool->each, out, &used, &pages);
    }
    if (s != STATUS_OK) {
        return s;
    }
    pages += pool->empty != NULL;
    if (pool->empty != NULL && (pool->empty->pool != pool || pool->empty->used != 0)) {
        return corrupt(pool, out, "used records of the empty page", pool->empty->used, 0);
    }
    if (used != pool->used) {
        return corrupt(pool, out, "records in use", used, pool->used);
    }
    const size_t all = pages * pool->each;
    return all == used + pool->free ? STATUS_OK : corrupt(pool, out, "free records", all - used, pool->free);
}
