/*
 * The heap itself, beneath guard mode: what the public calls of heap.h do when guard mode is off, and all that guard
 * mode (guard.c) knows of the heap. Misuse is reported and counted as there.
 */
#ifndef CAIRN_HEAP_RAW_H
#define CAIRN_HEAP_RAW_H

#include "heap/heap.h"

/* As heap_alloc, heap_alloc_aligned (the alignment is a power of two up to 1 GiB), heap_realloc. */
void *heap_raw_alloc(struct heap *heap, size_t bytes);
void *heap_raw_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes);
void *heap_raw_realloc(struct heap *heap, void *old, size_t bytes);
/* Whole pages, `bytes` in [1, 2^47], asked for from the source as guarded ones. align_log2: 12..30. */
void *heap_raw_alloc_pages(struct heap *heap, size_t bytes, unsigned align_log2);
/* `block` is not null. */
enum status heap_raw_free(struct heap *heap, void *block);
/* The same for who knows its descriptor, which is the page's in any case. */
enum status heap_free_found(struct heap *heap, struct heap_desc *desc, void *block);
enum status heap_raw_free_sized(struct heap *heap, void *block, size_t bytes);
size_t heap_raw_usable_size(struct heap *heap, const void *block);
/* => its descriptor; null: it is nobody's. */
struct heap_desc *heap_raw_owner_of(const struct heap *heap, const void *address, struct heap_block *out);

#endif
