/*
 * Heap: the theory, and the calls.
 *
 * 1. Words
 *    object   a piece of a slab, of its class's size; allocated or free
 *    slab     a page cut into objects of one class
 *    class    an object size, 16 to 384 bytes in steps of 16
 *    mixed slab  one page or four, in which blocks of all sizes lie, in granules of a 64th of it
 *    large    a block of whole pages: a multiple of a page, above 15 KiB, or asked for with the alignment of a page
 *    block    what a caller holds
 *    descriptor  64 bytes that say everything about one page; never in the page it describes
 *    leaf     a page of 64 descriptors, for 64 pages in a row
 *    source   where pages come from: the VMM's kernel pages, a static buffer, a test
 *
 * 2. Who serves what. Up to 384 bytes: a slab of the class; but objects of a class that was asked for 256 times at most
 * lie in mixed slabs while they are few, and so do all whose alignment their class cannot give. To 2 KiB: mixed slabs
 * of one page. To 15 KiB: mixed slabs of four, but for sizes that lose at most a sixteenth as whole pages. Everything
 * else: pages.
 *
 * 3. Data. Slab: a bit for each object, set while it is free. Mixed slab: a bit for each granule that is free, and one
 * for each at which a block begins. The bitmap *is* the state: a double free, an interior or an unaligned address
 * cannot be mistaken for a right one, and no byte that a caller can write decides what is given out next. A class takes
 * from one word of one slab's mask, its current one, lowest bit first, until that is empty; then from the slab with
 * room that had none for the longest time, for it has most by now; then from a slab of a class that is up to 64 bytes
 * larger (borrowing); then from a new one. Mixed slabs are found by their greatest hole, the least that is enough
 * (mixed.c). A slab that becomes wholly free goes, unless its class takes from it at the time; but each time pages go
 * back to the source, the next class in turn, or slabs of four pages, keep such a one no longer. Alloc and free of an
 * object: O(1), no search but through the four words of one bitmap.
 *
 * 4. From an address to its descriptor: a tree over the source's 512 GiB span (tree.c), no higher than it must be, and
 * before it a table of the leaves found of late, which needs no tag: a descriptor names its page, so a wrong one shows.
 * For a free that is two loads, mostly; other calls walk the tree. For any address; and it answers no for everything
 * that is not a page of a block, the heap's own pages included. Of a large block only the two ends take leaves.
 *
 * 5. Memory short in the middle. A page needs a descriptor, so perhaps a leaf and nodes. They are there before it is
 * used, and go back if they are not wanted; then the second half links and cannot fail. So an allocation that fails has
 * changed nothing, and a free only ever gives back: it never needs a page. A page that becomes free is held ready for
 * the next slab: one in eight of all that are held, 64 at most (65 where a slab of four went instead of a page); the
 * others go back. What lies ready when the heap becomes smaller stays until it holds less than HEAP_SMALL_PAGES. Before
 * an allocation fails all that lie ready have gone back, and it was tried again. The page for the next leaf is got and
 * cleaned in steps before it is needed (tree_spare.c). Leaves and nodes that become empty wait for that too: one for
 * each four that are in use; the others go back one by one, with the pages that go, so that no call is long. An empty
 * heap that is shrunken holds nothing. The heap changes its own state first and calls pages_put then: a page that is to
 * lie ready may be in no list yet. It calls pages_get where a page that was just got may have no owner yet. A shrink in
 * the midst of either does no harm.
 *
 * 6. Wrong calls are reported with address, block, size and reason, counted, answered with MISUSE or null, and change
 * nothing. A large block freed twice, or an object whose slab went back, is found as *not this heap's*, unless its
 * pages serve again: then as a double free or an interior pointer, or, when the new block starts at the same address,
 * not at all: no allocator without a quarantine can see that one. Guard mode (guard.c) has one.
 *
 * 7. realloc. What fits its object, or its granules with those behind it, stays where it is. A large block grows, moves
 * and shrinks without a copy where the source can (resize.c). Else alloc, copy, free.
 *
 * 8. Locking and context. None yet: one caller at a time, thread context. The source may not call the heap.
 *
 * 9. Rejected. Headers before blocks: 16 bytes each, and an overrun by one byte destroys the heap. A free list through
 * the objects: faster by a few cycles, but writes after free steer it and double frees are found by luck. Slabs of 64
 * KiB: half of the memory idle on mixed sizes. Slabs for sizes above 384: what survives in them at random keeps whole
 * pages from all other sizes. Magazines: the word that a class takes from is one already. Figures: docs/design/0030.
 */
#include "heap/heap.h"

#include "heap/guard_internal.h"
#include "heap/heap_internal.h"
#include "lib/string.h"

static void heap_parts_init(struct heap *heap)
{
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        heap_class_init(heap, &heap->classes[i], heap_class_bytes(i));
    }
    heap_mixed_init(heap);
    heap_forget_all(heap);
}

HEAP_RARE enum status heap_init(struct heap *heap, struct heap_source source)
{
    uint64_t base = source.span_base.v;
    if (source.pages_get == NULL || source.pages_put == NULL || !is_page_aligned(base) ||
        base > UINT64_MAX - HEAP_SPAN_BYTES + 1) {
        return STATUS_INVALID;
    }
    memset(heap, 0, sizeof *heap);
    heap->source = source;
    heap_parts_init(heap);
    return STATUS_OK;
}

static inline bool is_guarded(const struct heap *heap)
{
    return UNLIKELY(heap->guards_blocks);
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    if (is_guarded(heap)) {
        return heap_guard_alloc(heap, bytes, HEAP_ALIGN_BYTES, GUARD_SITE());
    }
    /* 0 wraps and is not small. */
    if (LIKELY(bytes - 1 < HEAP_SLAB_MAX_BYTES)) {
        struct heap_class *class = &heap->classes[heap_class_of(bytes)];
        __asm__("" : "+r"(class)); /* one address, and not each field's from the heap's on */
        return heap_slab_alloc(heap, class);
    }
    if (LIKELY(bytes - 1 < HEAP_SMALL_MAX_BYTES)) {
        return heap_mixed_alloc(heap, &heap->mixed[0], bytes);
    }
    return heap_raw_alloc(heap, bytes);
}

HEAP_RARE static void *zeroed(struct heap *heap, size_t bytes, const void *site)
{
    void *block =
        is_guarded(heap) ? heap_guard_alloc(heap, bytes, HEAP_ALIGN_BYTES, site) : heap_raw_alloc(heap, bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

void *heap_zalloc(struct heap *heap, size_t bytes)
{
    return zeroed(heap, bytes, GUARD_SITE());
}

HEAP_RARE void *heap_alloc_array(struct heap *heap, size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        (void)HEAP_MISUSE(heap, "heap_alloc_array: %zu times %zu bytes overflows", count, bytes);
        return NULL;
    }
    return zeroed(heap, product, GUARD_SITE());
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    if (align_bytes - 1 >= HEAP_ALIGN_MAX_BYTES || (align_bytes & (align_bytes - 1)) != 0) { /* 0 wraps */
        (void)HEAP_MISUSE(heap, "heap_alloc_aligned: alignment %zu of %zu bytes is not a power of two up to 1 GiB",
                          align_bytes, bytes);
        return NULL;
    }
    return is_guarded(heap) ? heap_guard_alloc(heap, bytes, align_bytes, GUARD_SITE())
                            : heap_raw_alloc_aligned(heap, bytes, align_bytes);
}

enum status heap_free(struct heap *heap, void *block)
{
    if (is_guarded(heap)) {
        return block == NULL ? STATUS_OK : heap_guard_free(heap, block, NULL, GUARD_SITE());
    }
    struct heap_desc *desc = heap_find_recent(heap, block);
    if (LIKELY(heap_desc_kind(desc) == HEAP_DESC_SLAB)) {
        if (LIKELY(heap_slab_free(heap, desc, block))) {
            return STATUS_OK;
        }
    } else {
        if (heap_desc_kind(desc) == HEAP_DESC_TAIL) {
            desc = heap_find_recent(heap, heap_desc_base(desc)); /* if of another block, none is found to begin here */
        }
        if (heap_desc_kind(desc) == HEAP_DESC_MIXED) {
            if (LIKELY(heap_mixed_free(heap, desc, block))) {
                return STATUS_OK;
            }
        } else if (heap_desc_kind(desc) == HEAP_DESC_LARGE && heap_desc_base(desc) == block && heap->guard == NULL) {
            heap_large_free(heap, desc);
            return STATUS_OK;
        }
    }
    if (block == NULL) {
        return STATUS_OK;
    }
    /* A guarded object of a cache begins where no block does, but for one of whole pages. */
    return heap->guard != NULL ? heap_guard_free(heap, block, NULL, GUARD_SITE()) : heap_raw_free(heap, block);
}

enum status heap_free_sized(struct heap *heap, void *block, size_t bytes)
{
    if (block == NULL) {
        return STATUS_OK;
    }
    return heap->guard != NULL ? heap_guard_free(heap, block, &bytes, GUARD_SITE())
                               : heap_raw_free_sized(heap, block, bytes);
}

HEAP_RARE npages_t heap_shrink(struct heap *heap)
{
    uint64_t held_before = heap->held_pages;
    if (heap->guard != NULL) {
        heap_guard_shrink(heap);
    }
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        heap_slab_shrink_next(heap);
    }
    (void)heap_mixed_shrink(heap);
    heap_caches_shrink(heap);
    (void)heap_ready_empty(heap);
    heap_tree_shrink(heap);
    return npages(held_before - heap->held_pages);
}
