/*
 * The heaps of the C library and of two packages, found at run time: loaded beside each other, each with its names to
 * itself. None gives pages back to the system while it is measured (scripts/bench sets what they read at their start).
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

#include "rivals/heap/heaps.h"

static bool find_glibc(struct heap_rival *rival)
{
    (void)rival;
    return mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1 && mallopt(M_MMAP_MAX, 0) == 1;
}

struct heap_rival heap_glibc = {.name = "glibc",
                                .find = find_glibc,
                                .alloc = malloc,
                                .alloc_aligned = memalign,
                                .resize = realloc,
                                .release = free,
                                .alloc_array = calloc,
                                .usable = malloc_usable_size};

/* A function by its name; ISO C knows no other way from the one kind of pointer to the other. */
#define FIND(library, name, function) (*(void **)&(function) = dlsym((library), (name)))

static bool find_in(struct heap_rival *rival, const char *file, const char *const names[6])
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    return library != NULL && FIND(library, names[0], rival->alloc) != NULL &&
           FIND(library, names[1], rival->alloc_aligned) != NULL && FIND(library, names[2], rival->resize) != NULL &&
           FIND(library, names[3], rival->release) != NULL && FIND(library, names[4], rival->alloc_array) != NULL &&
           FIND(library, names[5], rival->usable) != NULL;
}

static bool find_mimalloc(struct heap_rival *rival)
{
    static const char *const names[] = {"mi_malloc", "mi_memalign", "mi_realloc",
                                        "mi_free",   "mi_calloc",   "mi_usable_size"};
    return find_in(rival, "libmimalloc.so.2", names);
}

static bool find_jemalloc(struct heap_rival *rival)
{
    static const char *const names[] = {"malloc", "memalign", "realloc", "free", "calloc", "malloc_usable_size"};
    return find_in(rival, "libjemalloc.so.2", names);
}

struct heap_rival heap_mimalloc = {.name = "mimalloc", .find = find_mimalloc};
struct heap_rival heap_jemalloc = {.name = "jemalloc", .find = find_jemalloc};
