/* Pages for the heap: kernel pages, with guards around large blocks. */
#ifndef CAIRN_KERNEL_HEAP_SOURCE_H
#define CAIRN_KERNEL_HEAP_SOURCE_H

#include "heap/heap.h"
#include "vmm/vmm.h"

struct heap_source heap_source_of(struct vmm *vmm);

/* Is the heap in the middle of a call that asks for pages? Then nothing of it may be called (low_memory.c). */
bool heap_source_is_asking(void);

#endif
