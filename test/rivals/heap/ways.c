/* The ways of this folder over the host's pages. A call goes straight to the way's own, as it does for the product. */
#include <stdio.h>
#include <stdlib.h>

#include "rivals/heap/heaps.h"
#include "rivals/heap/host_pages.h"
#include "rivals/heap/way.h"

static struct {
    _Alignas(64) uint8_t bytes[WAY_STATE_BYTES];
    uint64_t reports;
} state;

static void *zeroed_array(void *(*alloc)(size_t), size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        state.reports++;
        return NULL;
    }
    void *block = alloc(product);
    return block == NULL ? NULL : memset(block, 0, product);
}

static void all_back(const char *way)
{
    if (((struct way *)(void *)state.bytes)->held_pages != 0 || !host_pages_all_back()) {
        fprintf(stderr, "%s: pages are held though nothing is in use\n", way);
        exit(1);
    }
}

static uint64_t held_pages(void) { return ((struct way *)(void *)state.bytes)->held_pages; }
static uint64_t reports(void) { return state.reports; }

#define RIVAL(way_, name_, most_bytes_, limit_)                                                               \
    static void way_##_begin(size_t largest_bytes)                                                            \
    {                                                                                                         \
        state.reports = 0;                                                                                    \
        way_##_start(state.bytes, host_pages_begin(), largest_bytes);                                         \
    }                                                                                                         \
    static void way_##_end(void)                                                                              \
    {                                                                                                         \
        way_##_shrink(state.bytes);                                                                           \
        all_back(name_);                                                                                      \
    }                                                                                                         \
    static void *way_##_get(size_t bytes) { return way_##_alloc(state.bytes, bytes); }                        \
    static void *way_##_get_aligned(size_t align, size_t bytes)                                               \
    {                                                                                                         \
        return way_##_alloc_aligned(state.bytes, bytes, align);                                               \
    }                                                                                                         \
    static void *way_##_change(void *block, size_t bytes) { return way_##_resize(state.bytes, block, bytes); } \
    static void way_##_put(void *block)                                                                       \
    {                                                                                                         \
        state.reports += way_##_release(state.bytes, block) != STATUS_OK;                                     \
    }                                                                                                         \
    static void *way_##_array(size_t count, size_t bytes) { return zeroed_array(way_##_get, count, bytes); }  \
    static size_t way_##_holds(void *block) { return way_##_usable(state.bytes, block); }                     \
    static void way_##_give_back(void) { way_##_shrink(state.bytes); }                                        \
    struct heap_rival heap_##way_ = {.name = name_,                                                           \
                                     .begin = way_##_begin,                                                   \
                                     .end = way_##_end,                                                       \
                                     .alloc = way_##_get,                                                     \
                                     .alloc_aligned = way_##_get_aligned,                                     \
                                     .resize = way_##_change,                                                 \
                                     .release = way_##_put,                                                   \
                                     .alloc_array = way_##_array,                                             \
                                     .held_pages = held_pages,                                                \
                                     .shrink = way_##_give_back,                                              \
                                     .reports = reports,                                                      \
                                     .most_bytes = most_bytes_,                                               \
                                     .limit = limit_,                                                         \
                                     .usable = way_##_holds}

RIVAL(tlsf_idea, "tlsf-idea", 0, NULL);
RIVAL(first_fit, "first-fit", 0, NULL);
RIVAL(carving, "carving", 0, NULL);
RIVAL(buddy, "buddy", 0, NULL);
RIVAL(single_pages, "pages", PAGE_BYTES, "no block is longer than a page");
RIVAL(one_size, "one-size", 0, NULL);
