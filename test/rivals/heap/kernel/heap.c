/*
 * The calls of heap.h over one of the ways beside it, CAIRN_HEAP_WAY, so that the kernel can run on it. What the ways
 * cannot do is answered so:
 *
 *   heap_owner_of      nobody is known: none of them keeps what it would need
 *   heap_class_stats   there are no classes; nor object caches, nor guard mode (without.c)
 *   heap_check         nothing can be checked, and it says so
 *   heap_realloc       alignment above HEAP_ALIGN_BYTES is kept only where the block stays
 *   heap_free, heap_usable_size of what is no block: what the way does not see, it takes
 *
 * Guards are not asked for: blocks of a way have neighbours.
 */
#include "heap/heap.h"

#include "lib/report.h"
#include "rivals/heap/way.h"

#define PASTE(way_, call_) way_##_##call_
#define EXPAND(way_, call_) PASTE(way_, call_)
#define WAY(call_) EXPAND(CAIRN_HEAP_WAY, call_)
#define TEXT(way_) #way_
#define NAME(way_) TEXT(way_)

#define ABSURD_BYTES (1UL << 47)
#define MISUSE(heap, ...) ((heap)->misuses++, misuse(__VA_ARGS__))

_Static_assert(sizeof(struct heap) > WAY_STATE_BYTES, "it has room for any");

static const struct way *way_of(const struct heap *heap) { return (const struct way *)(const void *)heap->state; }

enum status heap_init(struct heap *heap, struct heap_source source)
{
    if (source.pages_get == NULL || source.pages_put == NULL || !is_page_aligned(source.span_base.v)) {
        return STATUS_INVALID;
    }
    memset(heap, 0, sizeof *heap);
    WAY(start)(heap->state, source, PAGE_BYTES);
    return STATUS_OK;
}

/* No way gives pages back before a shrink. */
enum status heap_prefill(struct heap *heap, uint64_t bytes)
{
    void *block = bytes == 0 || bytes > ABSURD_BYTES ? NULL : WAY(alloc)(heap->state, bytes);
    return bytes == 0 ? STATUS_OK : block == NULL ? STATUS_NOMEM : WAY(release)(heap->state, block);
}

static bool is_absurd(struct heap *heap, const char *call, size_t bytes)
{
    if (bytes <= ABSURD_BYTES) {
        return false;
    }
    (void)MISUSE(heap, "%s: %zu bytes, more than 2^47: an overflow of the caller's?", call, bytes);
    return true;
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    return bytes == 0 || is_absurd(heap, "heap_alloc", bytes) ? NULL : WAY(alloc)(heap->state, bytes);
}

void *heap_zalloc(struct heap *heap, size_t bytes)
{
    void *block = heap_alloc(heap, bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

void *heap_alloc_array(struct heap *heap, size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        (void)MISUSE(heap, "heap_alloc_array: %zu times %zu bytes overflows", count, bytes);
        return NULL;
    }
    return heap_zalloc(heap, product);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    if (align_bytes == 0 || (align_bytes & (align_bytes - 1)) != 0 || align_bytes > GIB) {
        (void)MISUSE(heap, "heap_alloc_aligned: an alignment of %zu bytes", align_bytes);
        return NULL;
    }
    return bytes == 0 || is_absurd(heap, "heap_alloc_aligned", bytes)
               ? NULL
               : WAY(alloc_aligned)(heap->state, bytes, align_bytes);
}

void *heap_realloc(struct heap *heap, void *old, size_t bytes)
{
    if (old == NULL) {
        return heap_alloc(heap, bytes);
    }
    if (bytes == 0) {
        (void)MISUSE(heap, "heap_realloc: %p to 0 bytes", old);
        return NULL;
    }
    return is_absurd(heap, "heap_realloc", bytes) ? NULL : WAY(resize)(heap->state, old, bytes);
}

enum status heap_free(struct heap *heap, void *block)
{
    if (block == NULL || WAY(release)(heap->state, block) == STATUS_OK) {
        return STATUS_OK;
    }
    return MISUSE(heap, "heap_free: %p is no block in use", block);
}

enum status heap_free_sized(struct heap *heap, void *block, size_t bytes)
{
    if (block != NULL && WAY(usable)(heap->state, block) < bytes) {
        return MISUSE(heap, "heap_free_sized: %p is less than %zu bytes long", block, bytes);
    }
    return heap_free(heap, block);
}

size_t heap_usable_size(struct heap *heap, const void *block) { return WAY(usable)(heap->state, block); }

bool heap_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    (void)heap;
    (void)address;
    (void)out;
    return false;
}

npages_t heap_shrink(struct heap *heap) { return WAY(shrink)(heap->state); }

struct heap_stats heap_stats(const struct heap *heap)
{
    const struct way *w = way_of(heap);
    return (struct heap_stats){
        .used_bytes = w->used_bytes,
        .held_bytes = pages_to_bytes(npages(w->held_pages)),
        .most_held_bytes = pages_to_bytes(npages(w->most_held_pages)),
        .blocks = w->allocs - w->frees,
        .allocs = w->allocs,
        .frees = w->frees,
        .misuses = heap->misuses,
    };
}

bool heap_class_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out)
{
    (void)heap;
    (void)index;
    (void)out;
    return false;
}

bool heap_mixed_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out)
{
    return heap_class_stats(heap, index, out);
}

enum status heap_check(const struct heap *heap, struct sink *out)
{
    (void)heap;
    if (out != NULL) {
        sink_printf(out, "heap: nothing of %s can be checked\n", NAME(CAIRN_HEAP_WAY));
    }
    return STATUS_OK;
}

void heap_dump(const struct heap *heap, struct sink *out)
{
    const struct heap_stats stats = heap_stats(heap);
    sink_printf(out, "heap: %s: %lu blocks, %lu bytes used, %lu held\n", NAME(CAIRN_HEAP_WAY), stats.blocks,
                stats.used_bytes, stats.held_bytes);
    sink_printf(out, "heap: %lu allocations, %lu frees, %lu misuses\n", stats.allocs, stats.frees, stats.misuses);
}
