/* Two caches in one heap (heap_cache_bed.h). */
#include "unit/heap_cache_bed.h"

struct heap_cache_type cache_type_named(const char *name)
{
    return (struct heap_cache_type){.name = name, .object_bytes = OBJECT_BYTES, .align_bytes = 8};
}

bool cache_pair_begin(struct cache_pair *p)
{
    struct heap_cache_type first = cache_type_named("first"), second = cache_type_named("second");
    p->bed = heap_bed_new(ARENA_PAGES);
    return p->bed != NULL && EXPECT_EQ(heap_cache_create(&p->bed->heap, &p->cache, &first), STATUS_OK) &&
           EXPECT_EQ(heap_cache_create(&p->bed->heap, &p->other, &second), STATUS_OK);
}

void cache_pair_end(struct cache_pair *p)
{
    EXPECT_EQ(heap_caches_check(&p->bed->heap, NULL), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(&p->cache), STATUS_OK);
    EXPECT_EQ(heap_cache_destroy(&p->other), STATUS_OK);
    heap_bed_end(p->bed);
}
