/* The heap beneath guard mode (heap.c): each request to who serves it, each block back to whose it is. */
#include "heap/raw.h"

#include "heap/heap_internal.h"

/* Nothing is that small or large; the latter is reported. */
static bool is_no_size(struct heap *heap, const char *call, size_t bytes)
{
    if (bytes - 1 < HEAP_ABSURD_BYTES) {
        return false;
    }
    if (bytes != 0) {
        (void)HEAP_MISUSE(heap, "%s: %zu bytes, more than 2^47: an overflow of the caller's?", call, bytes);
    }
    return true;
}

void *heap_raw_alloc(struct heap *heap, size_t bytes)
{
    if (is_no_size(heap, "heap_alloc", bytes)) {
        return NULL;
    }
    if (bytes <= HEAP_SLAB_MAX_BYTES) {
        return heap_slab_take(heap, &heap->classes[heap_class_of(bytes)]);
    }
    struct heap_mixed *mixed = heap_mixed_for(heap, bytes);
    return mixed != NULL ? heap_mixed_alloc(heap, mixed, bytes)
                         : heap_large_alloc(heap, bytes, HEAP_PAGE_ALIGN_LOG2, HEAP_LARGE_PLAIN);
}

void *heap_raw_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    if (is_no_size(heap, "heap_alloc_aligned", bytes)) {
        return NULL;
    }
    if (align_bytes >= PAGE_BYTES) {
        return heap_large_alloc(heap, bytes, (unsigned)__builtin_ctzl(align_bytes), HEAP_LARGE_ALIGNED);
    }
    if (align_bytes <= HEAP_ALIGN_BYTES) {
        return heap_raw_alloc(heap, bytes);
    }
    void *object = heap_slab_alloc_aligned(heap, bytes, align_bytes);
    if (object != NULL) {
        return object;
    }
    struct heap_mixed *mixed = heap_mixed_for(heap, bytes);
    return mixed != NULL ? heap_mixed_alloc_aligned(heap, mixed, bytes, align_bytes) : heap_raw_alloc(heap, bytes);
}

void *heap_raw_alloc_pages(struct heap *heap, size_t bytes, unsigned align_log2)
{
    return heap_large_alloc(heap, bytes, align_log2, HEAP_LARGE_ALIGNED | HEAP_LARGE_GUARDED);
}

enum status heap_raw_free(struct heap *heap, void *block)
{
    heap_remember(heap, heap_page_number(heap, block) / HEAP_LEAF_PAGES);
    return heap_free_found(heap, heap_find(heap, block), block);
}

enum status heap_free_found(struct heap *heap, struct heap_desc *desc, void *block)
{
    bool is_freed = false;
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        is_freed = heap_slab_free(heap, desc, block);
        break;
    case HEAP_DESC_MIXED:
        is_freed = heap_mixed_free(heap, desc, block);
        break;
    case HEAP_DESC_LARGE:
        is_freed = heap_desc_base(desc) == block;
        if (is_freed) {
            heap_large_free(heap, desc);
        }
        break;
    default:
        break;
    }
    return is_freed ? STATUS_OK : heap_refuse(heap, "heap_free", block);
}

bool heap_takes_pages(struct heap *heap, size_t bytes)
{
    return bytes > HEAP_SLAB_MAX_BYTES && heap_mixed_for(heap, bytes) == NULL;
}

/* Could an object of this size have been given for the request? With as much alignment as it has, or borrowed. */
static bool object_matches(size_t object_bytes, size_t bytes)
{
    return object_bytes - heap_round_up(bytes, object_bytes & -object_bytes) <= HEAP_BORROW_BYTES;
}

/* Could the block have been asked for with this size? */
static bool size_matches(struct heap *heap, const struct heap_desc *desc, size_t usable, size_t bytes)
{
    if (bytes == 0 || bytes > usable) {
        return false;
    }
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_LARGE:
        return bytes == desc->large.asked_bytes ||
               (bytes_to_pages_up(bytes).v == bytes_to_pages_up(desc->large.asked_bytes).v &&
                (desc->large.is_aligned || heap_takes_pages(heap, bytes)));
    case HEAP_DESC_MIXED:
        return usable - bytes < 1UL << desc->owner->granule_log2;
    default:
        return object_matches(usable, bytes);
    }
}

enum status heap_raw_free_sized(struct heap *heap, void *block, size_t bytes)
{
    size_t usable;
    struct heap_desc *desc = heap_start_of(heap, "heap_free_sized", block, &usable);
    if (desc == NULL) {
        return STATUS_MISUSE;
    }
    if (!size_matches(heap, desc, usable, bytes)) {
        return HEAP_MISUSE(
            heap, "heap_free_sized: the block %p of %zu usable bytes was not asked for as %zu: size does not match",
            block, usable, bytes);
    }
    return heap_free_found(heap, desc, block);
}
