/*
 * Memory by the byte, in the global part: a pointer may be sent to others, and they may follow it once its pages are
 * shared with them.
 *
 * Small requests are cut from chunks of 1 MiB. What is larger than two pages (MALLOC_SMALL_MAX_BYTES) is taken straight
 * from the kernel, begins with a page, has its pages to itself (so it can be given or lent to others), and is
 * returned at once when it is freed.
 */
#ifndef CAIRN_USER_MALLOC_H
#define CAIRN_USER_MALLOC_H

#include <stddef.h>

#include "lib/units.h"

enum { MALLOC_SMALL_MAX_BYTES = 2 * PAGE_BYTES, MALLOC_CHUNK_BYTES = 1 << 20, MALLOC_ALIGN_BYTES = 16 };

/* Null: there is no more. Of no bytes: a block that is not used by others. Aligned to 16. */
void *malloc(size_t bytes);
/* Zeros; null also where the product is too large for a number. */
void *calloc(size_t count, size_t bytes);
/* Null: there is no more, and the old block stays. From null: malloc. */
void *realloc(void *block, size_t bytes);
/* Null is nothing to free. */
void free(void *block);

/* Chunks held, blocks of either kind in use, bytes taken from the kernel. */
struct malloc_stats {
    size_t chunks, small, large, bytes;
};
struct malloc_stats malloc_stats(void);

/* All of it belongs to somebody else: what a clone begins with. */
void malloc_forget(void);

#endif
