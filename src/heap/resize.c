/*
 * Large blocks that become longer or shorter and are not copied (heap.c, section 7).
 *
 * Longer: in place when the source has the addresses behind it, else its frames move to where there is room. Shorter:
 * in place, and what is behind goes back at once. So memory for two blocks is never needed. Only blocks between guards,
 * which came from the source as they are.
 *
 * What the tree will need is there before the source is asked: for a block that moves as much as any place could need,
 * since only the source's answer says where that is. So the half that follows cannot fail.
 */
#include "heap/heap_internal.h"

/* It has so many pages from now on, and the source knows it. */
static void set_pages(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    uint64_t more = pages.v - large->large.pages.v;
    large->large.pages = pages;
    heap->large_pages += more;
    heap->held_pages += more;
    heap_note_most(&heap->most_held_pages, heap->held_pages);
}

static bool is_in_span(const struct heap *heap, const void *base, npages_t pages)
{
    uint64_t first = heap_page_number(heap, base), limit = HEAP_SPAN_BYTES / PAGE_BYTES;
    return first < limit && pages.v <= limit - first;
}

/* More pages, in place. => false: nothing changed. */
static bool grow(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    const struct heap_source *source = &heap->source;
    uint8_t *base = heap_desc_base(large);
    npages_t old = large->large.pages, more = npages(pages.v - old.v);
    uint8_t *end = base + pages_to_bytes(old);
    if (source->pages_grow == NULL || !is_in_span(heap, base, pages) || !heap_tree_cover(heap, end, more)) {
        return false;
    }
    if (!source->pages_grow(source->ctx, base, old, pages)) {
        heap_tree_uncover(heap, end, more);
        return false;
    }
    heap_tree_extend(heap, large, old, pages);
    set_pages(heap, large, pages);
    return true;
}

/* Fewer pages, in place. => false: nothing changed, but perhaps a leaf more. */
static bool trim(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    const struct heap_source *source = &heap->source;
    npages_t old = large->large.pages;
    uint8_t *base = heap_desc_base(large);
    if (source->pages_trim == NULL || !heap_tree_split_at(heap, large, pages) ||
        !source->pages_trim(source->ctx, base, old, pages)) {
        return false;
    }
    heap_tree_unlink(heap, base + pages_to_bytes(pages), npages(old.v - pages.v));
    set_pages(heap, large, pages);
    return true;
}

static void drop_put_by(struct heap *heap)
{
    while (heap->put_by != NULL) {
        void *page = heap->put_by;
        heap->put_by = *(void **)page;
        heap_source_put(heap, page, npages(1));
    }
}

/* Pages for all nodes and leaves that a block of `pages` could need, wherever it lies. => false: as it was. */
static bool put_by(struct heap *heap, npages_t pages)
{
    /* A leaf at either end, the nodes above them, those in between, and new ones above the root. */
    uint64_t most = 2 + 3UL * HEAP_LEVELS_MAX + pages.v / ((uint64_t)HEAP_LEAF_PAGES * HEAP_NODE_ENTRIES);
    for (uint64_t i = 0; i < most; i++) {
        void **page = heap_source_get(heap, npages(1), HEAP_PAGE_ALIGN_LOG2, true);
        if (page == NULL) {
            drop_put_by(heap);
            return false;
        }
        *page = heap->put_by;
        heap->put_by = page;
    }
    return true;
}

/* The source's answer, if it can be used. */
static void *acceptable(const struct heap *heap, const struct heap_desc *large, void *to, npages_t pages)
{
    unsigned align_log2 = large->large.align_log2;
    if (to == NULL || (is_in_span(heap, to, pages) && (ptr_to_vaddr(to).v & ((1UL << align_log2) - 1)) == 0)) {
        return to;
    }
    /* The tree cannot lead there; it does not lie as long as nothing else is at the old place. */
    report(REPORT_CORRUPT,
           "heap: the page source moved %lu pages at %p to %p, aligned to 2^%u, span %#lx + 512 GiB: what they held is "
           "lost",
           large->large.pages.v, (void *)heap_desc_base(large), to, align_log2, heap->source.span_base.v);
    return NULL;
}

/* More pages, elsewhere: the frames go there. => null: nothing changed. */
static void *resettle(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    const struct heap_source *source = &heap->source;
    npages_t old = large->large.pages;
    void *base = heap_desc_base(large);
    if (source->pages_move == NULL || !put_by(heap, pages)) {
        return NULL;
    }
    void *to = source->pages_move(source->ctx, base, old, pages, large->large.align_log2);
    to = acceptable(heap, large, to, pages);
    if (to != NULL) {
        bool is_covered = heap_tree_cover(heap, to, pages);
        ASSERT(is_covered);
        struct heap_desc *moved = heap_tree_link(heap, to, pages, HEAP_DESC_LARGE);
        moved->large = large->large;
        heap_tree_unlink(heap, base, old);
        set_pages(heap, moved, pages);
    }
    drop_put_by(heap);
    return to;
}

void *heap_large_resize(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    if (!large->large.is_guarded || pages.v > HEAP_SPAN_BYTES / PAGE_BYTES) {
        return NULL;
    }
    if (pages.v < large->large.pages.v) {
        return trim(heap, large, pages) ? heap_desc_base(large) : NULL;
    }
    return grow(heap, large, pages) ? heap_desc_base(large) : resettle(heap, large, pages);
}
