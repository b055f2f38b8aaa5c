/* The bits of a span of a page pool (page_pool.h), for page_pool.c and its validator. Private to src/vmm/. */
#ifndef CAIRN_VMM_PAGE_POOL_SPAN_H
#define CAIRN_VMM_PAGE_POOL_SPAN_H

#include "vmm/page_pool.h"

struct page_pool_span {
    uint64_t free[PAGE_POOL_FANOUT];  /* of each chunk the first pages of its free pieces; apart: the middle ones */
    uint64_t room[PAGE_POOL_KINDS];   /* chunks of the kind with a free piece */
    uint64_t idle;                    /* chunks; their words say nothing */
    uint8_t kinds[PAGE_POOL_FANOUT];  /* of the others */
};

/* The free word of a chunk that has nothing in use. */
extern const uint64_t page_pool_all[PAGE_POOL_KINDS];

/* Where an address is: the span's number, its chunk's, the page's in that. */
struct page_pool_place {
    unsigned index, chunk, page;
    struct page_pool_span *span; /* null: it is in none of the pool's */
};
struct page_pool_place page_pool_place_of(const struct page_pool *pool, vaddr_t va);

#endif
