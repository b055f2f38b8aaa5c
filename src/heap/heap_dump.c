/* The heap in text: totals, a row for each class in use, mixed slabs, large blocks. No locks, no allocation. */
#include "heap/heap_internal.h"

static void dump_classes(const struct heap *heap, struct sink *out)
{
    struct heap_class_stats class;
    sink_printf(out, "%6s %8s %8s %8s %12s\n", "class", "slabs", "objects", "used", "held bytes");
    for (unsigned i = 0; heap_class_stats(heap, i, &class); i++) {
        if (class.slabs != 0) {
            sink_printf(out, "%6zu %8lu %8lu %8lu %12lu\n", class.object_bytes, class.slabs, class.objects, class.used,
                        pages_to_bytes(npages(class.slabs)));
        }
    }
}

static void dump_mixed(const struct heap_mixed *mixed, struct sink *out)
{
    if (mixed->slabs != 0) {
        sink_printf(out, "mixed %lu slabs of %u pages, %lu blocks, %lu bytes in granules of %lu\n", mixed->slabs,
                    mixed->pages, heap_mixed_blocks(mixed), heap_mixed_used_bytes(mixed),
                    1UL << mixed->granule_log2);
    }
}

static void dump_leaf(void *ctx, uint64_t number, struct heap_desc *leaf)
{
    struct sink *out = ctx;
    (void)number;
    for (unsigned i = 0; i < HEAP_LEAF_PAGES; i++) {
        const struct heap_desc *desc = &leaf[i];
        if (heap_desc_kind(desc) == HEAP_DESC_LARGE) {
            sink_printf(out, "large %p %lu pages, asked for %zu bytes, aligned to 2^%u\n", (void *)heap_desc_base(desc),
                        desc->large.pages.v, desc->large.asked_bytes, desc->large.align_log2);
        }
    }
}

void heap_dump(const struct heap *heap, struct sink *out)
{
    struct heap_stats stats = heap_stats(heap);
    sink_printf(out, "heap: %lu blocks, %lu bytes used, %lu held, %lu of them metadata, %lu ready\n", stats.blocks,
                stats.used_bytes, stats.held_bytes, stats.metadata_bytes, pages_to_bytes(npages(heap->ready_pages)));
    sink_printf(out, "heap: %lu allocations, %lu frees, %lu misuses\n", stats.allocs, stats.frees, stats.misuses);
    dump_classes(heap, out);
    for (unsigned i = 0; i < HEAP_MIXED_KINDS; i++) {
        dump_mixed(&heap->mixed[i], out);
    }
    const struct heap_visitor visitor = {.leaf = dump_leaf, .ctx = out};
    heap_tree_walk(heap, &visitor);
}
