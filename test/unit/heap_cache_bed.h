/* Two caches of 200-byte objects in one heap: what the tests of object caches stand on. */
#ifndef CAIRN_TEST_UNIT_HEAP_CACHE_BED_H
#define CAIRN_TEST_UNIT_HEAP_CACHE_BED_H

#include "heap/cache.h"
#include "unit/heap_bed.h"

enum { OBJECT_BYTES = 200, ARENA_PAGES = 40 };

struct cache_pair {
    struct heap_bed *bed;
    struct heap_cache cache, other;
};

/* A type of such objects. */
struct heap_cache_type cache_type_named(const char *name);

/* Both caches made, over ARENA_PAGES. False: no memory for the test. */
bool cache_pair_begin(struct cache_pair *p);

/* Everything freed: both destroyed, and nothing may be held. Expectations inside. */
void cache_pair_end(struct cache_pair *p);

#endif
