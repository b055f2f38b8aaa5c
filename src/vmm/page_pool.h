/*
 * Page pool: addresses of single pages and of four, a bit each, in front of an arena.
 *
 * An arena keeps a node for each range, on lists and in an index: a free touches one cold cache line behind the other.
 * Here three words, of the pool, of a span and of a chunk, lead to the lowest piece that is free; get and put touch
 * three lines and search nothing. A span is 64 chunks of 64 pages: 16 MiB of addresses, which come from the arena when
 * the ones before are used up, and stay until page_pool_end. A pool has up to 64 spans, 1 GiB.
 *
 * What a chunk is cut into is of one kind as long as any of it is in use: a page; a page *apart*, so that the addresses
 * right below and above it are nobody's; or four pages. A *piece* is one of these. Each kind begins in a part of the
 * span of its own and goes up from there: single pages from chunk 0 on, pages apart from 32 on, four from 48 on.
 *
 * Invariants: POOL-I1 each span is a used range of the arena; POOL-I2 the words of pool and spans say which
 * of those below them have room, and chunks without any piece in use are idle; POOL-I3 `used` is the number of
 * pieces in use. page_pool_check() compares.
 *
 * Context: thread. The arena's `more`, which gives memory for the bits of six spans at a time, may not use the pool.
 */
#ifndef CAIRN_VMM_PAGE_POOL_H
#define CAIRN_VMM_PAGE_POOL_H

#include "vmm/arena.h"

enum {
    PAGE_POOL_FANOUT = 64, /* spans of a pool, chunks of a span, pages of a chunk: bits of a word */
    PAGE_POOL_SPAN_PAGES = PAGE_POOL_FANOUT * PAGE_POOL_FANOUT,
    PAGE_POOL_SPAN_ALIGN_LOG2 = ARENA_ALIGN_PAGE + __builtin_ctz(PAGE_POOL_SPAN_PAGES),
};

enum page_pool_kind { PAGE_POOL_ONE, PAGE_POOL_APART, PAGE_POOL_FOUR, PAGE_POOL_KINDS };

/* Private to page_pool.c. */
struct page_pool_span;

struct page_pool {
    uint64_t room[PAGE_POOL_KINDS]; /* bit s: span s has a chunk of this kind that has a free piece */
    uint64_t idle;                  /* bit s: span s has an idle chunk */
    struct arena *arena;
    const char *tag;                /* of the spans, which are ranges of the arena */
    unsigned kind;                  /* theirs, too */
    unsigned span_count;
    uint64_t used;                  /* pieces */
    struct page_pool_span *fresh, *fresh_end; /* never used: the rest of a page */
    vaddr_t bases[PAGE_POOL_FANOUT];
    struct page_pool_span *spans[PAGE_POOL_FANOUT];
};

/* Takes nothing yet. `tag` lives for ever; `kind` is the owner's number for the spans in the arena (arena_range). */
void page_pool_init(struct page_pool *pool, struct arena *arena, const char *tag, unsigned kind);
/* Which kind serves so many pages, aligned to 1 << align_log2 bytes; PAGE_POOL_KINDS: none does. */
enum page_pool_kind page_pool_kind_for(npages_t pages, unsigned align_log2, bool apart);
/*
 * The first page of the lowest free piece, of the first span that has one. O(1). => OK; NOMEM: no addresses or no
 * memory for a span; *page is untouched then.
 */
enum status page_pool_get(struct page_pool *pool, enum page_pool_kind kind, vaddr_t *page);
/*
 * The piece that begins there. O(1) but for a look at 64 bases. => OK; ABSENT: the address is in no span of the pool;
 * MISUSE (reported): no piece that is in use begins there.
 */
enum status page_pool_put(struct page_pool *pool, vaddr_t page);
/* The spans go back to the arena; the memory for their bits stays for those to come. => OK; MISUSE (reported): a piece
 * is in use: nothing changed. */
enum status page_pool_end(struct page_pool *pool);

struct page_pool_piece {
    vaddr_t base;
    npages_t pages;
    bool apart;
};
/* The piece in use that holds `va`, or lies apart beside it. O(1) as put. => false: none. */
bool page_pool_find(const struct page_pool *pool, vaddr_t va, struct page_pool_piece *out);
/* Compare the views (POOL-I1..I3); what is wrong is said to `out`, which may be null. => OK; CORRUPT. O(chunks) */
enum status page_pool_check(const struct page_pool *pool, struct sink *out);

#endif
