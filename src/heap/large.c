/* Large blocks (heap.c, section 3): whole pages, returned at once. */
#include "heap/heap_internal.h"

void *heap_large_alloc(struct heap *heap, size_t bytes, unsigned align_log2, unsigned flags)
{
    npages_t pages = bytes_to_pages_up(bytes);
    bool guarded = pages.v > 1 || (flags & HEAP_LARGE_GUARDED) != 0;
    if (bytes > HEAP_SPAN_BYTES) {
        return NULL;
    }
    struct heap_desc *large = heap_pages_open(heap, HEAP_DESC_LARGE, pages, align_log2, guarded);
    if (large == NULL) {
        return NULL;
    }
    large->large.pages = pages;
    large->large.asked_bytes = bytes;
    large->large.align_log2 = align_log2;
    large->large.is_aligned = (flags & HEAP_LARGE_ALIGNED) != 0;
    large->large.is_guarded = guarded;
    heap->large_blocks++;
    heap->large_pages += pages.v;
    heap->large_allocs++;
    return heap_desc_base(large);
}

void heap_large_free(struct heap *heap, struct heap_desc *large)
{
    npages_t pages = large->large.pages;
    heap->large_blocks--;
    heap->large_pages -= pages.v;
    heap_pages_close(heap, large, pages, large->large.is_guarded);
}
