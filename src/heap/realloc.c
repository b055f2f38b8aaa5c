/* Blocks that grow and shrink (heap.c, section 7). */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"
#include "lib/string.h"

/* What the block may be replaced by. A block that was asked for page-aligned stays so, whatever its size becomes. */
static void *replacement(struct heap *heap, const struct heap_desc *old, size_t bytes)
{
    if (old->kind == HEAP_DESC_LARGE && old->large.is_aligned) {
        return heap_large_alloc(heap, bytes, old->large.align_log2, true);
    }
    return heap_raw_alloc(heap, bytes);
}

/* => the new block, the old one is gone; null: memory is short, nothing changed. */
static void *move(struct heap *heap, struct heap_desc *old, unsigned index, size_t bytes)
{
    void *to = replacement(heap, old, bytes);
    if (to == NULL) {
        return NULL;
    }
    size_t old_bytes = heap_desc_usable_bytes(heap, old);
    const uint8_t *from = old->base + (old->kind == HEAP_DESC_LARGE ? 0 : index * old_bytes);
    memcpy(to, from, old_bytes < bytes ? old_bytes : bytes);
    if (old->kind == HEAP_DESC_LARGE) {
        heap_large_free(heap, old);
    } else if (heap_slab_free(heap, old, index) != STATUS_OK) {
        /* Its slab is broken and has been reported: the old object is lost, the caller's bytes are not. */
    }
    return to;
}

/* In place whenever it fits and at most half of its pages would be idle: a copy costs more than those pages are worth.
 */
static void *realloc_large(struct heap *heap, struct heap_desc *old, size_t bytes)
{
    npages_t pages = bytes_to_pages_up(bytes);
    bool fits = pages.v <= old->large.pages.v;
    bool is_worth_moving =
        !fits || pages.v * 2 < old->large.pages.v || (bytes <= HEAP_SMALL_MAX_BYTES && !old->large.is_aligned);
    if (is_worth_moving) {
        void *to = move(heap, old, 0, bytes);
        if (to != NULL || !fits) {
            return to;
        }
    }
    old->large.asked_bytes = bytes;
    return old->base;
}

void *heap_realloc(struct heap *heap, void *old, size_t bytes)
{
    return heap->guard != NULL ? heap_guard_realloc(heap, old, bytes, GUARD_SITE())
                               : heap_raw_realloc(heap, old, bytes);
}

void *heap_raw_realloc(struct heap *heap, void *old, size_t bytes)
{
    if (old == NULL) {
        return heap_raw_alloc(heap, bytes);
    }
    unsigned index = 0;
    struct heap_desc *desc = heap_start_of(heap, old, &index);
    if (desc == NULL) {
        (void)heap_refuse(heap, "heap_realloc", old);
        return NULL;
    }
    if (bytes == 0 || bytes > HEAP_ABSURD_BYTES) {
        (void)HEAP_MISUSE(heap, "heap_realloc: %p of %zu bytes to %zu bytes, a size that cannot be meant", old,
                          heap_desc_usable_bytes(heap, desc), bytes);
        return NULL;
    }
    if (desc->kind == HEAP_DESC_LARGE) {
        return realloc_large(heap, desc, bytes);
    }
    /* Only the same class is in place: a block left in a larger one would waste, and free_sized could not tell it from
     * a wrong size. */
    if (bytes <= HEAP_SMALL_MAX_BYTES && heap_class_of(bytes) == desc->class_index) {
        return old;
    }
    return move(heap, desc, index, bytes);
}
