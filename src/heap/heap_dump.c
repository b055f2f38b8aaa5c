/* The heap in text: totals, a row for each class in use, the large blocks. No locks, no allocation. */
#include "heap/heap_internal.h"

static void dump_classes(const struct heap *heap, struct sink *out)
{
    sink_printf(out, "%6s %8s %8s %8s %12s\n", "class", "slabs", "objects", "used", "held bytes");
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &heap->classes[i];
        if (class->slabs == 0) {
            continue;
        }
        sink_printf(out, "%6u %8lu %8lu %8lu %12lu\n", class->object_bytes, class->slabs, class->slabs * class->objects,
                    class->allocs - class->frees, pages_to_bytes(npages(class->slabs * class->pages)));
    }
}

static void dump_large(const struct heap *heap, struct sink *out)
{
    struct heap_desc_head *page = heap->desc_pages;
    for (uint64_t n = 0; n < heap->desc_page_count && page != NULL; n++, page = page->next) {
        for (unsigned slot = 1; slot < HEAP_DESC_PAGE_SLOTS; slot++) {
            const struct heap_desc *desc = heap_desc_slot(page, slot);
            if (desc->kind == HEAP_DESC_LARGE) {
                sink_printf(out, "large %p %lu pages, asked for %zu bytes, aligned to 2^%u\n", (void *)desc->base,
                            desc->large.pages.v, desc->large.asked_bytes, desc->large.align_log2);
            }
        }
    }
}

void heap_dump(const struct heap *heap, struct sink *out)
{
    struct heap_stats stats = heap_stats(heap);
    sink_printf(out, "heap: %lu blocks, %lu bytes used, %lu held, %lu of them metadata, %lu ready\n", stats.blocks,
                stats.used_bytes, stats.held_bytes, stats.metadata_bytes, pages_to_bytes(npages(heap->pool_pages)));
    sink_printf(out, "heap: %lu allocations, %lu frees, %lu misuses\n", stats.allocs, stats.frees, stats.misuses);
    dump_classes(heap, out);
    dump_large(heap, out);
}
