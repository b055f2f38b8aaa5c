/* Pages for the heaps of this folder, on the host: addresses from an arena as in the kernel, memory from the system. */
#ifndef CAIRN_RIVALS_HEAP_HOST_PAGES_H
#define CAIRN_RIVALS_HEAP_HOST_PAGES_H

#include "heap/heap.h"

/* An empty source; there is one. What the last one gave is nobody's. */
struct heap_source host_pages_begin(void);
/* Is everything given back? */
bool host_pages_all_back(void);

#endif
