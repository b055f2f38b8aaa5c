/* The kernel's heap in guard mode (debug=heap). */
#ifndef CAIRN_KERNEL_HEAP_DEBUG_H
#define CAIRN_KERNEL_HEAP_DEBUG_H

#include <stdbool.h>

#include "lib/units.h"

/* As the options say; before the first allocation. */
void heap_debug_start(void);
/* What debug=heap:cache=GLOB adds to the flags of a cache of this name: HEAP_CACHE_GUARD or nothing. */
unsigned heap_debug_cache_flags(const char *name);
/* The guarded block at or beside the address, in lines that begin with `prefix`. false: there is none. */
bool heap_debug_tell(vaddr_t va, const char *prefix);
/* `heap leaks`. => false: guard mode is off, which was said. */
bool heap_debug_leaks(bool as_json);

#endif
