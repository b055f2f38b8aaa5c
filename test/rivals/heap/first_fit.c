/*
 * First fit with headers and coalescing, as most kernels begin: one list of holes in address order (address_list.h),
 * the lowest that is long enough is cut, neighbours are merged on free (tags.h).
 *
 * An aligned block is one that is longer by the alignment, all of it kept: the aligned address lies somewhere inside,
 * and the word in front of it says how far back the true head is. A page-aligned page so takes two.
 */
#include "rivals/heap/address_list.h"

void first_fit_start(void *state, struct heap_source source, size_t slot_bytes)
{
    (void)slot_bytes;
    address_list_start(state, source);
}

void *first_fit_alloc(void *state, size_t bytes) { return tags_alloc(&address_list_index, state, bytes); }

void *first_fit_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    if (align_bytes <= HEAP_ALIGN_BYTES) {
        return first_fit_alloc(state, bytes);
    }
    void *body = bytes > TAGS_MOST_BYTES ? NULL : first_fit_alloc(state, bytes + align_bytes - HEAP_ALIGN_BYTES);
    const size_t before = -(uintptr_t)body & (align_bytes - 1);
    if (body == NULL || before == 0) {
        return body;
    }
    struct tags_block *inside = tags_at(tags_of(body), before);
    inside->head = before | TAGS_INSIDE;
    return tags_body(inside);
}

/* What the block lies in: itself, but for aligned ones. */
static void *whole_of(const void *block)
{
    const struct tags_block *b = tags_of(block);
    return (b->head & TAGS_INSIDE) == 0 ? tags_body(b) : tags_body(tags_at(b, -tags_bytes(b)));
}

size_t first_fit_usable(void *state, const void *block)
{
    (void)state;
    const void *whole = whole_of(block);
    return tags_bytes(tags_of(whole)) - TAGS_HEAD_BYTES - ((uintptr_t)block - (uintptr_t)whole);
}

void *first_fit_resize(void *state, void *block, size_t bytes)
{
    if (whole_of(block) == block) {
        return tags_resize(&address_list_index, state, block, bytes);
    }
    const size_t usable = first_fit_usable(state, block);
    if (bytes <= usable) {
        return block;
    }
    void *moved = first_fit_alloc(state, bytes);
    if (moved != NULL) {
        memcpy(moved, block, usable);
        (void)!first_fit_release(state, block);
    }
    return moved;
}

enum status first_fit_release(void *state, void *block)
{
    return tags_release(&address_list_index, state, whole_of(block));
}

npages_t first_fit_shrink(void *state) { return tags_shrink(&address_list_index, state); }
