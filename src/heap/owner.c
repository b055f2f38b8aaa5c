/* Whose address is this, and what is wrong with it (heap.c, section 6). */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"

bool heap_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    return heap->guard != NULL ? heap_guard_owner_of(heap, address, out) : heap_raw_owner_of(heap, address, out);
}

bool heap_raw_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    struct heap_desc *desc = heap_lookup(heap, address);
    if (desc == NULL) {
        return false;
    }
    if (desc->kind == HEAP_DESC_LARGE) {
        *out = (struct heap_block){
            .base = desc->base, .usable_bytes = pages_to_bytes(desc->large.pages), .allocated = true, .large = true};
        return true;
    }
    const struct heap_class *class = &heap->classes[desc->class_index];
    uint64_t offset = (uint64_t)((const uint8_t *)address - desc->base);
    unsigned index = (unsigned)(offset / class->object_bytes);
    bool is_object = index < class->objects;
    uint64_t mask = is_object ? desc->free_mask[index / HEAP_MASK_BITS] : 0;
    *out = (struct heap_block){
        .base = desc->base + (size_t)index * class->object_bytes,
        .usable_bytes = is_object ? class->object_bytes : 0,
        .allocated = is_object && (mask >> index % HEAP_MASK_BITS & 1) == 0,
        .class_bytes = class->object_bytes,
    };
    return true;
}

enum status heap_refuse(struct heap *heap, const char *call, const void *block)
{
    struct heap_block found;
    if (!heap_raw_owner_of(heap, block, &found)) {
        return HEAP_MISUSE(heap,
                           "%s: %p is not this heap's: never given out, or given back with its pages (double free); "
                           "span %#lx + 512 GiB",
                           call, block, heap->source.span_base.v);
    }
    if (found.large) {
        return HEAP_MISUSE(heap, "%s: %p is inside the large block %p of %zu bytes, not its start", call, block,
                           found.base, found.usable_bytes);
    }
    if (found.usable_bytes == 0) {
        return HEAP_MISUSE(heap, "%s: %p is in the unused end %p of a slab of class %zu, in no block", call, block,
                           found.base, found.class_bytes);
    }
    const char *state = found.allocated ? "allocated" : "free";
    if (found.base != block) {
        return HEAP_MISUSE(heap, "%s: %p is inside the %s block %p of class %zu, not its start", call, block, state,
                           found.base, found.class_bytes);
    }
    return HEAP_MISUSE(heap, "%s: the block %p of class %zu is not allocated (double free)", call, block,
                       found.class_bytes);
}

size_t heap_usable_size(struct heap *heap, const void *block)
{
    return heap->guard != NULL ? heap_guard_usable_size(heap, block, GUARD_SITE()) : heap_raw_usable_size(heap, block);
}

size_t heap_raw_usable_size(struct heap *heap, const void *block)
{
    unsigned index;
    const struct heap_desc *desc = heap_start_of(heap, block, &index);
    if (desc == NULL) {
        (void)heap_refuse(heap, "heap_usable_size", block);
        return 0;
    }
    return heap_desc_usable_bytes(heap, desc);
}
