/* What the kernel has for its own heap alone, where it runs on another: guard mode, object caches, their
 * benchmarks. */
#include "heap/cache.h"
#include "kernel/bench.h"
#include "kernel/cmd.h"
#include "kernel/heap_debug.h"
#include "lib/string.h"

void heap_debug_start(void) {}

unsigned heap_debug_cache_flags(const char *name)
{
    (void)name;
    return 0;
}

bool heap_debug_tell(vaddr_t va, const char *prefix)
{
    (void)va;
    (void)prefix;
    return false;
}

bool heap_debug_leaks(bool as_json)
{
    (void)as_json;
    print("heap: this one has no guard mode: callers are not recorded\n");
    return false;
}

static bool run_caches(const struct command_line *line)
{
    (void)line;
    print("heap: this one has no caches\n");
    return false;
}

const struct command cmd_caches[] = {
    {"caches", "", "not of this heap", run_caches},
    {0},
};
const struct bench bench_heap[] = {{.name = NULL}};

/* ---- Object caches: each object is a block of the heap, constructed each time ---- */

enum status heap_cache_create(struct heap *heap, struct heap_cache *cache, const struct heap_cache_type *type)
{
    *cache = (struct heap_cache){.heap = heap, .type = *type};
    return STATUS_OK;
}

void *heap_cache_alloc(struct heap_cache *cache)
{
    const struct heap_cache_type *type = &cache->type;
    void *object = heap_alloc_aligned(cache->heap, type->object_bytes, type->align_bytes);
    if (object != NULL && (type->flags & HEAP_CACHE_ZERO) != 0) {
        memset(object, 0, type->object_bytes);
    }
    if (object != NULL && type->construct != NULL) {
        type->construct(type->ctx, object);
    }
    return object;
}

enum status heap_cache_destroy(struct heap_cache *cache)
{
    (void)cache;
    return STATUS_OK;
}

enum status heap_cache_free(struct heap_cache *cache, void *object) { return heap_free(cache->heap, object); }
