/* How the heap is filled: sums over its slabs and counters. */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"
#include "lib/bits.h"

static unsigned free_in(const struct heap_desc *slab)
{
    unsigned free = 0;
    for (unsigned word = 0; word < slab->class->words; word++) {
        free += bits_set(slab->free_mask[word]);
    }
    return free;
}

/* Objects that are free in the slabs of a class. O(slabs with room). */
static uint64_t class_free(const struct heap *heap, const struct heap_class *class)
{
    uint64_t free = 0;
    for (const struct heap_desc *slab = class->list; slab != NULL; slab = slab->next) {
        free += free_in(slab);
    }
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_desc *slab = heap->classes[i].current;
        free += slab != NULL && slab->class == class ? free_in(slab) : 0;
    }
    return free;
}

uint64_t heap_mixed_used_bytes(const struct heap_mixed *mixed)
{
    uint64_t used = mixed->slabs * HEAP_WORD_BITS;
    for (const struct heap_link *bin = &mixed->bins[1]; bin <= &mixed->bins[HEAP_WORD_BITS]; bin++) {
        for (const struct heap_link *at = bin->next; at != bin; at = at->next) {
            used -= bits_set(CONTAINER_OF(at, struct heap_desc, link)->mixed.free);
        }
    }
    return used << mixed->granule_log2;
}

uint64_t heap_mixed_blocks(const struct heap_mixed *mixed)
{
    uint64_t blocks = 0;
    for (unsigned n = 1; n < ARRAY_LEN(mixed->lengths); n++) {
        blocks += mixed->lengths[n];
    }
    return blocks;
}

struct heap_stats heap_stats(const struct heap *heap)
{
    const uint64_t metadata = heap->leaf_count + heap->node_count + heap->spare_pages + (heap->got != NULL);
    struct heap_stats stats = {
        .used_bytes = pages_to_bytes(npages(heap->large_pages)),
        .held_bytes = pages_to_bytes(npages(heap->held_pages)),
        .most_held_bytes = pages_to_bytes(npages(heap->most_held_pages)),
        .metadata_bytes = pages_to_bytes(npages(metadata)),
        .ready_bytes = pages_to_bytes(npages(heap->ready_pages)),
        .blocks = heap->large_blocks,
        .allocs = heap->large_allocs,
        .misuses = heap->misuses,
    };
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &heap->classes[i];
        uint64_t used = class->slabs * class->objects - class_free(heap, class);
        stats.used_bytes += used * class->object_bytes;
        stats.blocks += used;
        stats.allocs += class->allocs;
    }
    for (unsigned i = 0; i < HEAP_MIXED_KINDS; i++) {
        const struct heap_mixed *mixed = &heap->mixed[i];
        stats.used_bytes += heap_mixed_used_bytes(mixed);
        stats.blocks += heap_mixed_blocks(mixed);
        stats.allocs += mixed->allocs;
    }
    heap_caches_add_stats(heap, &stats);
    stats.frees = stats.allocs - stats.blocks;
    if (heap->guard != NULL) {
        heap_guard_correct_stats(heap, &stats);
    }
    return stats;
}

bool heap_class_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out)
{
    if (index >= HEAP_CLASSES) {
        return false;
    }
    const struct heap_class *class = &heap->classes[index];
    *out = (struct heap_class_stats){
        .object_bytes = class->object_bytes,
        .slab_pages = 1,
        .slabs = class->slabs,
        .most_slabs = class->most_slabs,
        .objects = class->slabs * class->objects,
        .used = class->slabs * class->objects - class_free(heap, class),
    };
    return true;
}

bool heap_mixed_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out)
{
    if (index >= HEAP_MIXED_KINDS) {
        return false;
    }
    const struct heap_mixed *mixed = &heap->mixed[index];
    *out = (struct heap_class_stats){
        .object_bytes = 1UL << mixed->granule_log2,
        .slab_pages = mixed->pages,
        .slabs = mixed->slabs,
        .most_slabs = mixed->most_slabs,
        .objects = mixed->slabs * HEAP_WORD_BITS,
        .used = heap_mixed_used_bytes(mixed) >> mixed->granule_log2,
    };
    return true;
}
