/*
 * Pages for a heap out of any stretch of memory: a static array, a loader's gift, what a program has. No paging is
 * needed, no PMM, no VMM; the heap and this use nothing but src/lib.
 *
 *     static uint8_t memory[MIB];
 *     static struct heap_buffer buffer;
 *     static struct heap heap;
 *     struct heap_source source;
 *     if (heap_buffer_init(&buffer, memory, sizeof memory, &source) == STATUS_OK &&
 *         heap_init(&heap, source) == STATUS_OK) {
 *         void *block = heap_alloc(&heap, 100);
 *
 * Nothing faults beside guarded pages: guard mode of such a heap (guard.h) has no guard pages.
 */
#ifndef CAIRN_HEAP_BUFFER_H
#define CAIRN_HEAP_BUFFER_H

#include "heap/heap.h"

struct heap_buffer { /* the caller's, in use as long as the heap is */
    uint64_t *used;  /* a bit a page, in the first pages of the memory */
    uint8_t *base;   /* page-aligned */
    npages_t pages;  /* from the base on, those of `used` included */
    npages_t out;    /* with the heap now */
};

/*
 * All whole pages of [memory, memory + bytes), but what the bits take: one page for 128 MiB. => OK: *source is one for
 * heap_init; INVALID: not even two pages, or more than 512 GiB: nothing was written.
 */
enum status heap_buffer_init(struct heap_buffer *buffer, void *memory, size_t bytes, struct heap_source *source);

#endif
