/* Whose address is this, and what is wrong with it (heap.c, section 6). */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"

/* Field by field, for where code is to be small a whole one is cleared by a string instruction, which takes longer. */
void heap_describe(struct heap_block *out, void *base, size_t usable_bytes, bool allocated, size_t class_bytes)
{
    out->base = base;
    out->usable_bytes = usable_bytes;
    out->allocated = allocated;
    out->large = false;
    out->class_bytes = class_bytes;
    out->cache_name = NULL;
}

bool heap_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    return heap->guard != NULL ? heap_guard_owner_of(heap, address, out)
                               : heap_raw_owner_of(heap, address, out) != NULL;
}

struct heap_desc *heap_raw_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    struct heap_desc *desc = heap_find(heap, address);
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        heap_slab_owner_of(desc, address, out);
        break;
    case HEAP_DESC_MIXED:
        heap_mixed_owner_of(desc, address, out);
        break;
    case HEAP_DESC_CACHE:
        heap_cache_owner_of(desc, address, out);
        break;
    case HEAP_DESC_LARGE:
        heap_describe(out, heap_desc_base(desc), pages_to_bytes(desc->large.pages), true, 0);
        out->large = true;
        break;
    default:
        return NULL;
    }
    return desc;
}

struct heap_desc *heap_start_of(struct heap *heap, const char *call, const void *block, size_t *usable_bytes)
{
    struct heap_block found;
    struct heap_desc *desc = heap_raw_owner_of(heap, block, &found);
    if (desc != NULL && found.allocated && found.base == block && found.cache_name == NULL) {
        *usable_bytes = found.usable_bytes;
        return desc;
    }
    *usable_bytes = 0;
    (void)heap_refuse(heap, call, block);
    return NULL;
}

enum status heap_refuse(struct heap *heap, const char *call, const void *block)
{
    struct heap_block found;
    heap->misuses++;
    if (heap_raw_owner_of(heap, block, &found) == NULL) {
        return misuse("%s: %p is not this heap's: never given out, or given back with its pages (double free); "
                      "span %#lx + 512 GiB",
                      call, block, heap->source.span_base.v);
    }
    char size[64]; /* of an object its class and cache, else its own */
    fmt_text(size, sizeof size,
             found.cache_name != NULL  ? "class %zu of the cache '%s'"
             : found.class_bytes != 0 ? "class %zu"
                                      : "%zu bytes",
             found.class_bytes != 0 ? found.class_bytes : found.usable_bytes, found.cache_name);
    bool is_end = found.usable_bytes == 0;
    bool is_start = found.base == block && !is_end;
    bool is_free = !found.allocated && !is_end && (is_start || found.class_bytes == 0);
    if (is_free || (is_start && found.cache_name != NULL)) {
        return misuse(is_free ? "%s: the block %p of %s is not allocated (double free)"
                              : "%s: %p is an object of the cache '%s', which heap_cache_free takes",
                      call, block, is_free ? size : found.cache_name);
    }
    return misuse(is_end            ? "%s: %p is in the unused end %p of a slab of %s, in no block"
                  : found.large     ? "%s: %p is inside the large block %p of %s, not its start"
                  : found.allocated ? "%s: %p is inside the allocated block %p of %s, not its start"
                                    : "%s: %p is inside the free block %p of %s, not its start",
                  call, block, found.base, size);
}

size_t heap_usable_size(struct heap *heap, const void *block)
{
    return heap->guard != NULL ? heap_guard_usable_size(heap, block, GUARD_SITE()) : heap_raw_usable_size(heap, block);
}

size_t heap_raw_usable_size(struct heap *heap, const void *block)
{
    size_t bytes;
    (void)heap_start_of(heap, "heap_usable_size", block, &bytes);
    return bytes;
}
