/* Whose address is this, and what is wrong with it (heap.c, section 6). */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"

bool heap_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    return heap->guard != NULL ? heap_guard_owner_of(heap, address, out) : heap_raw_owner_of(heap, address, out);
}

bool heap_raw_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    const struct heap_desc *desc = heap_find(heap, address);
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        heap_slab_owner_of(desc, address, out);
        return true;
    case HEAP_DESC_MIXED:
        heap_mixed_owner_of(desc, address, out);
        return true;
    case HEAP_DESC_CACHE:
        heap_cache_owner_of(desc, address, out);
        return true;
    case HEAP_DESC_LARGE:
        *out = (struct heap_block){.base = heap_desc_base(desc),
                                   .usable_bytes = pages_to_bytes(desc->large.pages),
                                   .allocated = true,
                                   .large = true};
        return true;
    default:
        return false;
    }
}

struct heap_desc *heap_start_of(const struct heap *heap, const void *block)
{
    struct heap_block found;
    bool is_start = heap_raw_owner_of(heap, block, &found) && found.allocated && found.base == block;
    return is_start && found.cache_name == NULL ? heap_find(heap, block) : NULL;
}

size_t heap_usable_at(const struct heap_desc *desc, const void *block)
{
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        return desc->class->object_bytes;
    case HEAP_DESC_MIXED:
        return heap_mixed_usable(desc, block);
    default:
        return pages_to_bytes(desc->large.pages);
    }
}

bool heap_raw_is_in_slab(const struct heap *heap, const void *address)
{
    enum heap_desc_kind kind = heap_desc_kind(heap_find(heap, address));
    return kind == HEAP_DESC_SLAB || kind == HEAP_DESC_MIXED;
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
    char size[64]; /* of an object its class and cache, else its own */
    if (found.cache_name != NULL) {
        fmt_text(size, sizeof size, "class %zu of the cache '%s'", found.class_bytes, found.cache_name);
    } else {
        fmt_text(size, sizeof size, found.class_bytes != 0 ? "class %zu" : "%zu bytes",
                 found.class_bytes != 0 ? found.class_bytes : found.usable_bytes);
    }
    if (!found.allocated && (found.base == block || found.class_bytes == 0)) {
        return HEAP_MISUSE(heap, "%s: the block %p of %s is not allocated (double free)", call, block, size);
    }
    if (found.cache_name != NULL && found.base == block) {
        return HEAP_MISUSE(heap, "%s: %p is an object of the cache '%s', which heap_cache_free takes", call, block,
                           found.cache_name);
    }
    return HEAP_MISUSE(heap, "%s: %p is inside the %s block %p of %s, not its start", call, block,
                       found.allocated ? "allocated" : "free", found.base, size);
}

size_t heap_usable_size(struct heap *heap, const void *block)
{
    return heap->guard != NULL ? heap_guard_usable_size(heap, block, GUARD_SITE()) : heap_raw_usable_size(heap, block);
}

size_t heap_raw_usable_size(struct heap *heap, const void *block)
{
    const struct heap_desc *desc = heap_start_of(heap, block);
    if (desc == NULL) {
        (void)heap_refuse(heap, "heap_usable_size", block);
        return 0;
    }
    return heap_usable_at(desc, block);
}
