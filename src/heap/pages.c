/* Where the heap's pages come from and go to (heap.c, section 5): the source, and the pool of pages held ready. */
#include "heap/heap_internal.h"

/* A source that answers outside the span or against the alignment would make the table lie: its pages are not used. */
static bool is_acceptable(const struct heap *heap, const void *base, npages_t pages, unsigned align_log2)
{
    uint64_t first = heap_page_number(heap, base);
    uint64_t limit = HEAP_SPAN_BYTES / PAGE_BYTES;
    return (ptr_to_vaddr(base).v & ((1UL << align_log2) - 1)) == 0 && first < limit && pages.v <= limit - first;
}

void *heap_source_get(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded)
{
    void *base = heap->source.pages_get(heap->source.ctx, pages, align_log2, guarded);
    if (base == NULL) {
        return NULL;
    }
    if (!is_acceptable(heap, base, pages, align_log2)) {
        report(REPORT_CORRUPT,
               "heap: the page source gave %p for %lu pages aligned to 2^%u, span %#lx + 512 GiB: not used", base,
               pages.v, align_log2, heap->source.span_base.v);
        heap->source.pages_put(heap->source.ctx, base, pages);
        return NULL;
    }
    heap->held_pages += pages.v;
    return base;
}

void heap_source_put(struct heap *heap, void *base, npages_t pages)
{
    heap->held_pages -= pages.v;
    heap->source.pages_put(heap->source.ctx, base, pages);
}

void *heap_page_draw(struct heap *heap, bool guarded, bool *is_pooled)
{
    struct heap_idle_page *page = heap->pool;
    *is_pooled = page != NULL;
    if (page == NULL) {
        return heap_source_get(heap, npages(1), HEAP_PAGE_ALIGN_LOG2, guarded);
    }
    heap->pool = page->next;
    heap->pool_pages--;
    return page;
}

void heap_page_undraw(struct heap *heap, void *page, bool is_pooled)
{
    if (!is_pooled) {
        heap_source_put(heap, page, npages(1));
        return;
    }
    struct heap_idle_page *idle = page;
    idle->next = heap->pool;
    heap->pool = idle;
    heap->pool_pages++;
}

void *heap_chain_take(struct heap_idle_page **chain)
{
    struct heap_idle_page *page = *chain;
    ASSERT(page != NULL);
    *chain = page->next;
    return page;
}

void heap_chain_undraw(struct heap *heap, struct heap_idle_page **chain)
{
    while (*chain != NULL) {
        struct heap_idle_page *page = heap_chain_take(chain);
        heap_page_undraw(heap, page, page->is_pooled);
    }
}

bool heap_chain_draw(struct heap *heap, uint64_t count, struct heap_idle_page **chain)
{
    *chain = NULL;
    for (uint64_t i = 0; i < count; i++) {
        bool is_pooled;
        struct heap_idle_page *page = heap_page_draw(heap, false, &is_pooled);
        if (page == NULL) {
            heap_chain_undraw(heap, chain);
            return false;
        }
        *page = (struct heap_idle_page){.next = *chain, .is_pooled = is_pooled};
        *chain = page;
    }
    return true;
}

void heap_pool_empty(struct heap *heap)
{
    while (heap->pool != NULL) {
        struct heap_idle_page *page = heap_chain_take(&heap->pool);
        heap->pool_pages--;
        heap_source_put(heap, page, npages(1));
    }
}

enum status heap_prefill(struct heap *heap, uint64_t bytes)
{
    npages_t wanted = bytes_to_pages_up(bytes);
    if (wanted.v > HEAP_SPAN_BYTES / PAGE_BYTES) {
        return STATUS_NOMEM;
    }
    /* Guarded, so that page requests served from here have their guards too. */
    struct heap_idle_page *fresh = NULL;
    for (uint64_t have = heap->pool_pages; have < wanted.v; have++) {
        struct heap_idle_page *page = heap_source_get(heap, npages(1), HEAP_PAGE_ALIGN_LOG2, true);
        if (page == NULL) {
            heap_chain_undraw(heap, &fresh);
            return STATUS_NOMEM;
        }
        *page = (struct heap_idle_page){.next = fresh, .is_pooled = false};
        fresh = page;
    }
    while (fresh != NULL) {
        heap_page_undraw(heap, heap_chain_take(&fresh), true);
    }
    return STATUS_OK;
}
