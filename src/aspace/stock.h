/*
 * Bookkeeping memory of the spaces: whole kernel pages in stock, so that a call looks first whether it has what it will
 * need, and then cannot fail for want of it. From the VMM (kpages), never from the heap above.
 *
 * Pools cut pages into records of one size; the page index uses them whole. Both say beforehand how many pages they
 * may need.
 */
#ifndef CAIRN_ASPACE_STOCK_H
#define CAIRN_ASPACE_STOCK_H

#include "vmm/vmm.h"

/* Kernel pages, mapped, not in use. */
struct stock {
    struct vmm *vmm;
    void *pages;     /* the first one; each begins with the address of the next */
    size_t count;
    size_t drawn;    /* pages given to pools and indexes */
    bool is_filling; /* stock_ensure runs: who is asked for memory meanwhile must not take it from here */
};

void stock_init(struct stock *stock, struct vmm *vmm);
/*
 * At least `pages` in stock. May call low-memory callbacks: what was looked at before may have changed.
 * => OK; NOMEM (what could be had stays in stock).
 */
enum status stock_ensure(struct stock *stock, size_t pages);
/* One page, zeroed, page-aligned as the host's pointers are. There is one: stock_ensure said so. */
void *stock_take(struct stock *stock);
/* A page is no longer needed; its contents are lost. */
void stock_put(struct stock *stock, void *page);
/*
 * Give back to the VMM what is in stock beyond `keep`. Needs no memory. => how many pages went; 0 also from a
 * low-memory callback of stock_ensure, which would ask for them at once again.
 */
size_t stock_trim(struct stock *stock, size_t keep);

/* ---- Records of one size ---- */

/*
 * A page begins with a struct pool_page, then records. A record is found free or in use in O(1); a page whose records
 * are all free goes back to the stock, but for one.
 */
enum { POOL_RECORD_LEAST = 16, POOL_RECORD_MOST = 1024 };

struct pool_page;
struct pool {
    struct stock *stock;
    const char *name;
    size_t bytes;             /* of a record: a multiple of 8, POOL_RECORD_LEAST..MOST */
    size_t each;              /* records of a page */
    struct pool_page *partly; /* pages with free records and used ones, */
    struct pool_page *full;   /* without free ones, */
    struct pool_page *empty;  /* without used ones; at most this one. null: none */
    size_t used, free;        /* records */
};

void pool_init(struct pool *pool, struct stock *stock, const char *name, size_t bytes);
/* Pages of stock that `records` more take at most. O(1). */
size_t pool_missing(const struct pool *pool, size_t records);
/* A record, all zero. The stock has what pool_missing(pool, 1) said. O(1). */
void *pool_take(struct pool *pool);
/*
 * => OK; MISUSE (reported): it is no record in use of this pool. The page that `record` points into must be readable.
 * O(1).
 */
enum status pool_put(struct pool *pool, void *record);
/* The empty page goes back to the stock. What pool_missing said before is no longer so. => there was one. */
bool pool_trim(struct pool *pool);
/* Compare counts, lists, marks. => OK; CORRUPT, said to `out` (may be null). */
enum status pool_check(const struct pool *pool, struct sink *out);

#endif
