/*
 * First fit (first_fit.c) that wastes nothing on alignment: for an aligned block one is found that is longer by the
 * alignment, a page for a page, and what lies before and behind the aligned place becomes holes again, for others to
 * use. The head in front of each block still costs a page-aligned one of whole pages a hole of its own: its neighbour
 * of the same kind cannot follow at once.
 */
#include "rivals/heap/address_list.h"

void carving_start(void *state, struct heap_source source, size_t slot_bytes)
{
    (void)slot_bytes;
    address_list_start(state, source);
}

void *carving_alloc(void *state, size_t bytes) { return tags_alloc(&address_list_index, state, bytes); }

void *carving_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    return tags_alloc_carved(&address_list_index, state, bytes, align_bytes);
}

void *carving_resize(void *state, void *block, size_t bytes)
{
    return tags_resize(&address_list_index, state, block, bytes);
}

enum status carving_release(void *state, void *block) { return tags_release(&address_list_index, state, block); }

size_t carving_usable(void *state, const void *block)
{
    (void)state;
    return tags_bytes(tags_of(block)) - TAGS_HEAD_BYTES;
}

npages_t carving_shrink(void *state) { return tags_shrink(&address_list_index, state); }
