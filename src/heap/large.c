/* Large blocks (heap.c, section 3): whole pages, returned at once. */
#include "heap/heap_internal.h"

void *heap_large_alloc(struct heap *heap, size_t bytes, unsigned align_log2, bool is_aligned)
{
    npages_t pages = bytes_to_pages_up(bytes);
    if (bytes > HEAP_SPAN_BYTES) {
        return NULL;
    }
    struct heap_desc *large = heap_block_open(heap, HEAP_DESC_LARGE, pages, align_log2, true);
    if (large == NULL) {
        return NULL;
    }
    large->large.pages = pages;
    large->large.asked_bytes = bytes;
    large->large.align_log2 = align_log2;
    large->large.is_aligned = is_aligned;
    heap->large_blocks++;
    heap->large_pages += pages.v;
    heap->large_allocs++;
    return large->base;
}

void heap_large_free(struct heap *heap, struct heap_desc *large)
{
    heap->large_blocks--;
    heap->large_pages -= large->large.pages.v;
    heap_block_close(heap, large, large->large.pages);
}
