/* Pages for the heap: kernel pages, with guards around large blocks. */
#ifndef CAIRN_KERNEL_HEAP_SOURCE_H
#define CAIRN_KERNEL_HEAP_SOURCE_H

#include "heap/heap.h"
#include "vmm/vmm.h"

struct heap_source heap_source_of(struct vmm *vmm);

/* Writes to pages of the heap fault, or do not any more (heap/guard.h). `ctx` is the source's. => false: as before. */
bool heap_source_protect(void *ctx, void *base, npages_t pages, bool is_writable);

/* Is the heap in the middle of a call that asks for pages? Then nothing of it may be called (low_memory.c). */
bool heap_source_is_asking(void);

#endif
