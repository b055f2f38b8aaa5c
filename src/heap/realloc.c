/* Blocks that grow and shrink (heap.c, section 7). */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"
#include "lib/string.h"

/* What the block may be replaced by. A block that was asked for page-aligned stays so, whatever its size becomes. */
static void *replacement(struct heap *heap, const struct heap_desc *old, size_t bytes)
{
    if (heap_desc_kind(old) == HEAP_DESC_LARGE && old->large.is_aligned) {
        return heap_large_alloc(heap, bytes, old->large.align_log2, HEAP_LARGE_ALIGNED);
    }
    return heap_raw_alloc(heap, bytes);
}

/* => the new block, the old one is gone; null: memory is short, nothing changed. */
static void *move(struct heap *heap, struct heap_desc *desc, void *old, size_t old_bytes, size_t bytes)
{
    void *to = replacement(heap, desc, bytes);
    if (to == NULL) {
        return NULL;
    }
    memcpy(to, old, old_bytes < bytes ? old_bytes : bytes);
    (void)!heap_free_found(heap, desc, old);
    return to;
}

/* As many pages as are asked for, without a copy if the source can. A copy costs more than idle pages are worth, up to
 * half of the block. */
static void *realloc_large(struct heap *heap, struct heap_desc *desc, void *old, size_t bytes)
{
    npages_t pages = bytes_to_pages_up(bytes), had = desc->large.pages;
    bool leaves = !desc->large.is_aligned && !heap_takes_pages(heap, bytes);
    /* A source that cannot move a block to where it fits has no memory for a copy either. */
    bool could_move = desc->large.is_guarded && heap->source.pages_move != NULL;
    bool is_copied = leaves || (pages.v > had.v && !could_move) || pages.v * 2 < had.v;
    void *to = leaves || pages.v == had.v ? NULL : heap_large_resize(heap, desc, pages);
    if (to == NULL && is_copied) {
        to = move(heap, desc, old, pages_to_bytes(had), bytes);
        if (to != NULL) {
            return to;
        }
        if (pages.v < had.v) {
            (void)heap_large_resize(heap, desc, pages);
        }
    }
    if (to == NULL && pages.v > had.v) {
        return heap_ready_empty(heap) ? realloc_large(heap, desc, old, bytes) : NULL;
    }
    to = to != NULL ? to : old;
    heap_find(heap, to)->large.asked_bytes = bytes;
    return to;
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
    size_t usable;
    struct heap_desc *desc = heap_start_of(heap, "heap_realloc", old, &usable);
    if (desc == NULL) {
        return NULL;
    }
    if (bytes == 0 || bytes > HEAP_ABSURD_BYTES) {
        (void)HEAP_MISUSE(heap, "heap_realloc: %p of %zu bytes to %zu bytes, a size that cannot be meant", old,
                          usable, bytes);
        return NULL;
    }
    bool stays;
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_LARGE:
        return realloc_large(heap, desc, old, bytes);
    case HEAP_DESC_MIXED:
        stays = heap_mixed_resize(heap, desc, old, bytes);
        break;
    default:
        /* As much as alloc could have given, and not below zero: to the size that it has a block never moves. */
        stays = usable - heap_round_up(bytes, HEAP_ALIGN_BYTES) <= HEAP_BORROW_BYTES;
    }
    return stays ? old : move(heap, desc, old, usable, bytes);
}
