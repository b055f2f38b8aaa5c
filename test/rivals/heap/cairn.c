/* Our heap, over addresses that an arena hands out as it does in the kernel; the memory behind them is the host's. */
#include <stdio.h>
#include <stdlib.h>

#include "heap/guard.h"
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

/* Red zones around each block, as debug=heap has the kernel's; no page is unmapped or protected here. */
static void begin_guarded(size_t largest_bytes)
{
    static struct heap_guard guard;
    const struct heap_guard_config config = {.quarantine_bytes = MIB, .quarantine_count = 1024};
    begin(largest_bytes);
    if (heap_guard_start(&heap, &guard, &config) != STATUS_OK) {
        fprintf(stderr, "heap_cairn: guard mode does not start\n");
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
static struct heap_slab_pages slab_pages(void)
{
    struct heap_slab_pages pages = {0, 0};
    struct heap_class_stats c;
    for (unsigned i = 0; heap_class_stats(&heap, i, &c) || heap_mixed_stats(&heap, i - HEAP_CLASSES, &c); i++) {
        pages.held += c.slabs * c.slab_pages;
        pages.classes += c.most_slabs != 0 ? c.slab_pages : 0;
    }
    return pages;
}

static uint64_t reports(void) { return heap_stats(&heap).misuses; }

#define OURS(name_, begin_)                                                                                            \
    {.name = name_,                                                                                                    \
     .begin = begin_,                                                                                                  \
     .end = end,                                                                                                       \
     .alloc = alloc,                                                                                                   \
     .alloc_aligned = alloc_aligned,                                                                                   \
     .resize = resize,                                                                                                 \
     .release = release,                                                                                               \
     .alloc_array = alloc_array,                                                                                       \
     .usable = usable,                                                                                                 \
     .held_pages = held_pages,                                                                                         \
     .slab_pages = slab_pages,                                                                                         \
     .shrink = shrink,                                                                                                 \
     .reports = reports}

struct heap_rival heap_cairn = OURS("cairn", begin), heap_cairn_guard = OURS("cairn-guard", begin_guarded);
