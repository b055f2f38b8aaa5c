/* The addresses are reserved once; only what is used takes memory, and it stays for the next heap. */
#include "rivals/heap/host_pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/page_pool.h"

enum { SPAN_GIB = 8, NODE_PAGES_MAX = 16384 };

static struct {
    struct arena arena;
    struct page_pool pool; /* single pages */
    vaddr_t base;
    void *node_pages[NODE_PAGES_MAX]; /* the arena's: they serve the next one */
    unsigned node_pages_used;
} now;

static void *must(void *p, const char *what)
{
    if (p == NULL || p == MAP_FAILED) {
        perror(what);
        exit(1);
    }
    return p;
}

static void *node_page(void *ctx)
{
    (void)ctx;
    if (now.node_pages_used == NODE_PAGES_MAX) {
        return NULL;
    }
    void **page = &now.node_pages[now.node_pages_used++];
    if (*page == NULL) {
        *page = memset(must(aligned_alloc(PAGE_BYTES, PAGE_BYTES), "a page of nodes"), 0, PAGE_BYTES);
    }
    return *page;
}

/* Those that served are clean again. Not when one is wanted: no heap's call is longer for it. */
static void clean_node_pages(void)
{
    while (now.node_pages_used > 0) {
        memset(now.node_pages[--now.node_pages_used], 0, PAGE_BYTES);
    }
}

/*
 * As the kernel has them (heap_source.c): single pages and four from a pool, others from the arena, for all heaps
 * alike. Without guards: what an access does there is the kernel's matter, not the benchmark's.
 */
static void *pages_get(void *ctx, npages_t pages, unsigned align_log2, bool guarded)
{
    (void)ctx;
    vaddr_t base;
    const enum page_pool_kind kind = page_pool_kind_for(pages, align_log2, guarded);
    if (kind != PAGE_POOL_KINDS && page_pool_get(&now.pool, kind, &base) == STATUS_OK) {
        return vaddr_to_ptr(base);
    }
    return arena_alloc(&now.arena, pages, align_log2, "heap", &base) == STATUS_OK ? vaddr_to_ptr(base) : NULL;
}

static void pages_put(void *ctx, void *base, npages_t pages)
{
    (void)ctx;
    (void)pages;
    const vaddr_t va = ptr_to_vaddr(base);
    const enum status pooled = page_pool_put(&now.pool, va);
    if ((pooled == STATUS_ABSENT ? arena_free(&now.arena, va) : pooled) != STATUS_OK) {
        fprintf(stderr, "bench: pages at %p go back that were not given\n", base);
        exit(1);
    }
}

/* Aligned to a GiB, as the largest block may have to be. */
static void reserve(void)
{
    const int rights = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(NULL, (SPAN_GIB + 1) * GIB, rights, kind, -1, 0);
    now.base = vaddr((ptr_to_vaddr(must(p, "addresses")).v + GIB - 1) & ~(GIB - 1));
}

struct heap_source host_pages_begin(void)
{
    if (now.base.v == 0) {
        reserve();
    }
    clean_node_pages();
    const vaddr_t end = vaddr(now.base.v + SPAN_GIB * GIB);
    if (arena_init(&now.arena, now.base, end, (struct arena_source){NULL, node_page}) != STATUS_OK) {
        fprintf(stderr, "bench: no addresses\n");
        exit(1);
    }
    page_pool_init(&now.pool, &now.arena, "heap", 0);
    return (struct heap_source){.pages_get = pages_get, .pages_put = pages_put, .span_base = now.base};
}

bool host_pages_all_back(void) { return page_pool_end(&now.pool) == STATUS_OK && now.arena.ranges == 0; }
