/* Our heap, over addresses that an arena hands out as it does in the kernel; the memory behind them is the host's. */
#include <stdio.h>
#include <stdlib.h>

#include "heap/heap.h"
#include "rivals/heap/heaps.h"
#include "rivals/heap/host_pages.h"

static struct heap heap;

static void begin(size_t largest_bytes)
{
    (void)largest_bytes;
    if (heap_init(&heap, host_pages_begin()) != STATUS_OK) {
        fprintf(stderr, "heap_cairn: cannot begin\n");
        exit(1);
    }
}

static void end(void)
{
    heap_shrink(&heap);
    if (heap_stats(&heap).held_bytes != 0 || !host_pages_all_back()) {
        fprintf(stderr, "heap_cairn: pages are held though nothing is in use\n");
        exit(1);
    }
}

static void *alloc(size_t bytes) { return heap_alloc(&heap, bytes); }
static void *alloc_aligned(size_t align, size_t bytes) { return heap_alloc_aligned(&heap, bytes, align); }
static void *resize(void *block, size_t bytes) { return heap_realloc(&heap, block, bytes); }
static void release(void *block) { (void)!heap_free(&heap, block); }
static void *alloc_array(size_t count, size_t bytes) { return heap_alloc_array(&heap, count, bytes); }
static size_t usable(void *block) { return heap_usable_size(&heap, block); }
static uint64_t held_pages(void) { return heap_stats(&heap).held_bytes / PAGE_BYTES; }
static void shrink(void) { heap_shrink(&heap); }
static uint64_t reports(void) { return heap_stats(&heap).misuses; }

struct heap_rival heap_cairn = {.name = "cairn",
                                .begin = begin,
                                .end = end,
                                .alloc = alloc,
                                .alloc_aligned = alloc_aligned,
                                .resize = resize,
                                .release = release,
                                .alloc_array = alloc_array,
                                .usable = usable,
                                .held_pages = held_pages,
                                .shrink = shrink,
                                .reports = reports};
