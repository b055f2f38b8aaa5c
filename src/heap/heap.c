/*
 * Heap: the theory, and the calls.
 *
 * 1. Words
 *    object   a piece of a slab, of its class's size; allocated or free
 *    slab     a page or two, cut into objects of one class
 *    class    an object size, 16 to 2048 bytes
 *    large    a block of whole pages: above 2048 bytes, or asked for with the alignment of a page or more
 *    block    what a caller holds: an allocated object or a large block
 *    descriptor  64 bytes that say everything about one slab or one large block; never in the pages it describes
 *    node     a page of 512 words of the heap's own page table
 *    source   where pages come from: the VMM's kernel pages, a static buffer, a test
 *
 * 2. Classes. Steps of 16 bytes to 128, then eight for each doubling: at most an eighth of a block is rounding. The
 * class of a size is arithmetic on its leading bits, no table. A slab is one page unless more than an eighth of it
 * would be left over and two pages leave a smaller share. An aligned request takes the smallest class whose size is a
 * multiple of the alignment.
 *
 * 3. Data. A slab's descriptor has a bit for each object, set while it is free. The bitmap *is* the state: a double
 * free, an interior or an unaligned address cannot be mistaken for a right one, and no byte that a caller can write
 * decides what is given out next. Slabs with a free object are on their class's list; an allocation takes the lowest
 * free object of the first. A slab that gets its first free object back goes in front, since it is nearly full and
 * should fill up again; the one wholly free slab that a class may keep goes last, so that it is used last. Alloc and
 * free of an object: O(1), no search but through the four words of one bitmap.
 *
 * 4. From an address to its descriptor: a table of three levels over the source's 512 GiB span, an entry a page. Lookup
 * is three loads, for any address, and answers no for everything that is not a slab or a large block, the heap's own
 * pages included. Each non-leaf word keeps the number of entries below it in its low bits, so empty nodes are found
 * without a scan of theirs.
 *
 * 5. Memory short in the middle. Opening a slab or a large block takes up to three kinds of pages: one for descriptors,
 * its own, and nodes. All are drawn first, and drawn pages go back to where they came from (pool or source) when one
 * cannot be had; the second half links and cannot fail. So an allocation that fails has changed nothing, and a free
 * only ever gives back: it never needs a page. Single pages come from the pool (heap_prefill) while it has any. A page
 * given back goes to the source, not to the pool. Descriptor pages and nodes that become empty stay until heap_shrink:
 * after everything is freed at most one slab a class is held, the pages that describe it and the nodes that once were
 * needed; after heap_shrink, nothing. The heap changes its own state first and calls pages_put last; it calls pages_get
 * only with its state whole.
 *
 * 6. Wrong calls are reported with address, block, class and reason, counted, answered with MISUSE or null, and change
 * nothing. A large block freed twice, or an object whose slab went back, is found as *not this heap's*, unless its
 * pages serve again: then as a double free or an interior pointer, or, when the new block starts at the same address,
 * not at all: no allocator without a quarantine can see that one.
 *
 * 7. realloc. Same class: in place. A large block stays while it fits and half of its pages are used; what it was last
 * asked for is remembered for heap_free_sized. Else alloc, copy, free. A large block that cannot move to shrink stays;
 * an object that cannot move answers null.
 *
 * 8. Locking and context. None yet: one caller at a time, thread context. The source may not call the heap.
 *
 * 9. Rejected. Headers before blocks: 16 bytes each, and an overrun by one byte destroys the heap. A free list through
 * the objects: faster by a few cycles, but writes after free steer it and double frees are found by luck. Slabs of 64
 * KiB: half of the memory idle on mixed sizes. A hash table for section 4: no bound, and it must grow just when memory
 * is short. Metadata at the head of the slab's page: page-sized objects and powers of two would not fit any more.
 * Letting an object shrink in place: frees memory never, and blinds heap_free_sized. A whole-2-MiB entry in the middle
 * level for large blocks: saves a leaf a 2 MiB, costs a branch in each lookup; open.
 */
#include "heap/heap.h"

#include "heap/guard_internal.h"
#include "heap/heap_internal.h"
#include "lib/string.h"

enum status heap_init(struct heap *heap, struct heap_source source)
{
    uint64_t base = source.span_base.v;
    if (source.pages_get == NULL || source.pages_put == NULL || !is_page_aligned(base) ||
        base > UINT64_MAX - HEAP_SPAN_BYTES + 1) {
        return STATUS_INVALID;
    }
    memset(heap, 0, sizeof *heap);
    heap->source = source;
    heap_classes_init(heap);
    return STATUS_OK;
}

static inline bool is_guarded(const struct heap *heap) { return __builtin_expect(heap->guard != NULL, 0); }

/* Report a size above HEAP_ABSURD_BYTES. => true: it is one. */
static bool is_absurd(struct heap *heap, const char *call, size_t bytes)
{
    if (bytes <= HEAP_ABSURD_BYTES) {
        return false;
    }
    (void)HEAP_MISUSE(heap, "%s: %zu bytes, more than 2^47: an overflow of the caller's?", call, bytes);
    return true;
}

__attribute__((noinline)) static void *alloc_pages(struct heap *heap, size_t bytes)
{
    if (bytes == 0 || is_absurd(heap, "heap_alloc", bytes)) {
        return NULL;
    }
    return heap_large_alloc(heap, bytes, HEAP_PAGE_ALIGN_LOG2, false);
}

void *heap_raw_alloc(struct heap *heap, size_t bytes)
{
    /* 0 wraps and is not small. */
    if (__builtin_expect(bytes - 1 >= HEAP_SMALL_MAX_BYTES, 0)) {
        return alloc_pages(heap, bytes);
    }
    return heap_slab_alloc(heap, heap_class_of(bytes));
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    return is_guarded(heap) ? heap_guard_alloc(heap, bytes, HEAP_ALIGN_BYTES, GUARD_SITE())
                            : heap_raw_alloc(heap, bytes);
}

static void *zeroed(struct heap *heap, size_t bytes, const void *site)
{
    void *block = is_guarded(heap) ? heap_guard_alloc(heap, bytes, HEAP_ALIGN_BYTES, site)
                                   : heap_raw_alloc(heap, bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

void *heap_zalloc(struct heap *heap, size_t bytes)
{
    return zeroed(heap, bytes, GUARD_SITE());
}

void *heap_alloc_array(struct heap *heap, size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        (void)HEAP_MISUSE(heap, "heap_alloc_array: %zu times %zu bytes overflows", count, bytes);
        return NULL;
    }
    return zeroed(heap, product, GUARD_SITE());
}

void *heap_raw_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    if (bytes == 0 || is_absurd(heap, "heap_alloc_aligned", bytes)) {
        return NULL;
    }
    if (align_bytes >= PAGE_BYTES) {
        return heap_large_alloc(heap, bytes, (unsigned)__builtin_ctzl(align_bytes), true);
    }
    if (align_bytes <= HEAP_ALIGN_BYTES || bytes > HEAP_SMALL_MAX_BYTES) {
        return heap_raw_alloc(heap, bytes);
    }
    return heap_slab_alloc(heap, heap_class_of_aligned(bytes, align_bytes));
}

void *heap_raw_alloc_pages(struct heap *heap, size_t bytes, unsigned align_log2)
{
    return heap_large_alloc(heap, bytes, align_log2, true);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    if (align_bytes == 0 || (align_bytes & (align_bytes - 1)) != 0 || align_bytes > HEAP_ALIGN_MAX_BYTES) {
        (void)HEAP_MISUSE(heap, "heap_alloc_aligned: alignment %zu of %zu bytes is not a power of two up to 1 GiB",
                          align_bytes, bytes);
        return NULL;
    }
    return is_guarded(heap) ? heap_guard_alloc(heap, bytes, align_bytes, GUARD_SITE())
                            : heap_raw_alloc_aligned(heap, bytes, align_bytes);
}

/* Inline in heap_free: the way that is measured. */
__attribute__((always_inline)) static inline enum status free_block(struct heap *heap, void *block)
{
    unsigned index = 0;
    struct heap_desc *desc = heap_start_of(heap, block, &index);
    if (__builtin_expect(desc == NULL, 0)) {
        return heap_refuse(heap, "heap_free", block);
    }
    if (desc->kind == HEAP_DESC_LARGE) {
        heap_large_free(heap, desc);
        return STATUS_OK;
    }
    return heap_slab_free(heap, desc, index);
}

enum status heap_raw_free(struct heap *heap, void *block)
{
    return free_block(heap, block);
}

enum status heap_free(struct heap *heap, void *block)
{
    if (block == NULL) {
        return STATUS_OK;
    }
    return is_guarded(heap) ? heap_guard_free(heap, block, NULL, GUARD_SITE()) : free_block(heap, block);
}

/* Could the block have been asked for with this size? An object: of the size's class, or of the class some alignment of
 * it gets. */
static bool size_matches(const struct heap *heap, const struct heap_desc *desc, size_t bytes)
{
    if (bytes == 0 || bytes > heap_desc_usable_bytes(heap, desc)) {
        return false;
    }
    if (desc->kind == HEAP_DESC_LARGE) {
        return bytes_to_pages_up(bytes).v == bytes_to_pages_up(desc->large.asked_bytes).v &&
               (bytes > HEAP_SMALL_MAX_BYTES || desc->large.asked_bytes <= HEAP_SMALL_MAX_BYTES);
    }
    for (size_t align_bytes = HEAP_ALIGN_BYTES; align_bytes <= HEAP_SMALL_MAX_BYTES; align_bytes *= 2) {
        if (heap_class_of_aligned(bytes, align_bytes) == desc->class_index) {
            return true;
        }
    }
    return false;
}

enum status heap_raw_free_sized(struct heap *heap, void *block, size_t bytes)
{
    unsigned index = 0;
    struct heap_desc *desc = heap_start_of(heap, block, &index);
    if (desc == NULL) {
        return heap_refuse(heap, "heap_free_sized", block);
    }
    if (!size_matches(heap, desc, bytes)) {
        return HEAP_MISUSE(
            heap, "heap_free_sized: the block %p of %zu usable bytes was not asked for as %zu: size does not match",
            block, heap_desc_usable_bytes(heap, desc), bytes);
    }
    if (desc->kind == HEAP_DESC_LARGE) {
        heap_large_free(heap, desc);
        return STATUS_OK;
    }
    return heap_slab_free(heap, desc, index);
}

enum status heap_free_sized(struct heap *heap, void *block, size_t bytes)
{
    if (block == NULL) {
        return STATUS_OK;
    }
    return is_guarded(heap) ? heap_guard_free(heap, block, &bytes, GUARD_SITE())
                            : heap_raw_free_sized(heap, block, bytes);
}

npages_t heap_shrink(struct heap *heap)
{
    uint64_t held_before = heap->held_pages;
    if (is_guarded(heap)) {
        heap_guard_shrink(heap);
    }
    heap_slab_shrink(heap);
    heap_pool_empty(heap);
    heap_desc_shrink(heap);
    heap_radix_shrink(heap);
    return npages(held_before - heap->held_pages);
}

struct heap_stats heap_stats(const struct heap *heap)
{
    struct heap_stats stats = {
        .used_bytes = pages_to_bytes(npages(heap->large_pages)),
        .held_bytes = pages_to_bytes(npages(heap->held_pages)),
        .metadata_bytes = pages_to_bytes(npages(heap->desc_page_count + heap->node_count)),
        .blocks = heap->large_blocks,
        .allocs = heap->large_allocs,
        .frees = heap->large_allocs - heap->large_blocks,
        .misuses = heap->misuses,
    };
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &heap->classes[i];
        uint64_t used = class->allocs - class->frees;
        stats.used_bytes += used * class->object_bytes;
        stats.blocks += used;
        stats.allocs += class->allocs;
        stats.frees += class->frees;
    }
    if (is_guarded(heap)) {
        heap_guard_correct_stats(heap, &stats);
    }
    return stats;
}

bool heap_class_stats(const struct heap *heap, unsigned index, struct heap_class_stats *out)
{
    if (index >= HEAP_CLASSES) {
        return false;
    }
    const struct heap_class *class = &heap->classes[index];
    *out = (struct heap_class_stats){
        .object_bytes = class->object_bytes,
        .slabs = class->slabs,
        .objects = class->slabs * class->objects,
        .used = class->allocs - class->frees,
    };
    return true;
}
