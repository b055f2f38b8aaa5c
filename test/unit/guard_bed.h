/* Heaps in guard mode, for its tests: a bed (heap_bed.h) with guard mode on, pages whose protection is a note, and
 * sites as numbers. */
#ifndef CAIRN_TEST_UNIT_GUARD_BED_H
#define CAIRN_TEST_UNIT_GUARD_BED_H

#include "heap/guard.h"
#include "unit/heap_bed.h"

enum guard_way {
    GUARD_ZONES, /* red zones around each block, nothing known of unmapped pages */
    GUARD_EDGE,  /* each block at a page's edge */
    GUARD_WAYS,
};

enum { GUARD_QUARANTINE_BYTES = 64 * 1024, GUARD_QUARANTINE_COUNT = 128 };

struct guard_bed {
    struct heap_bed *bed;
    struct heap *heap;
    struct heap_guard guard;
};

/* What guard_bed_new starts with. */
struct heap_guard_config guard_bed_config(enum guard_way way);
/* Null: no memory for the test. */
struct guard_bed *guard_bed_new(size_t pages, const struct heap_guard_config *config);
/* Everything freed; nothing may be held, nothing protected. */
void guard_bed_end(struct guard_bed *g);

/* Pages protected now, by all beds of the test; and is the address in one (the last 64 calls are remembered)? */
uint64_t guard_bed_protected_pages(void);
bool guard_bed_is_protected(const void *address);

/* Public calls from a place that is known: each does what its name says, and no other call is in it. */
void *guard_bed_alloc(struct heap *heap, size_t bytes);
enum status guard_bed_free(struct heap *heap, void *block);
/* Does the last report name that place as the one of the allocation, of the free, of the call itself? */
bool guard_bed_names_alloc(void);
bool guard_bed_names_free(void);
bool guard_bed_names_now(void);

#endif
