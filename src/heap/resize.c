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
    heap_hold(heap, more);
}

/* More pages, in place. => false: nothing changed. */
static bool grow(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    const struct heap_source *source = &heap->source;
    uint8_t *base = heap_desc_base(large);
    npages_t old = large->large.pages, more = npages(pages.v - old.v);
    uint8_t *end = base + pages_to_bytes(old);
    struct heap_tree_mark before = heap_tree_mark(heap);
    if (source->pages_grow == NULL || !heap_span_holds(heap, base, pages) || !heap_tree_cover(heap, end, more)) {
        return false;
    }
    if (!source->pages_grow(source->ctx, base, old, pages)) {
        heap_tree_uncover(heap, end, more, before);
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

/* Spare pages for all nodes and leaves that a block of `pages` could need, wherever it lies. => false: as it was. */
static bool have_spares(struct heap *heap, npages_t pages)
{
    /* A leaf at either end; nodes on the way there and to what the root led to, and a new root; nodes in between, of
     * all levels together. */
    uint64_t leaves = pages.v / HEAP_LEAF_PAGES, had = heap->spare_pages;
    uint64_t most = 2 + 3UL * HEAP_LEVELS_MAX + leaves / (HEAP_NODE_ENTRIES - 1);
    while (heap->spare_pages < most) {
        if (!heap_tree_spare(heap)) {
            heap_tree_drop_spares(heap, had);
            return false;
        }
    }
    return true;
}

/* More pages, elsewhere: the frames go there. => null: nothing changed. */
static void *resettle(struct heap *heap, struct heap_desc *large, npages_t pages)
{
    const struct heap_source *source = &heap->source;
    npages_t old = large->large.pages;
    uint64_t had = heap->spare_pages;
    void *base = heap_desc_base(large);
    if (source->pages_move == NULL || !have_spares(heap, pages)) {
        return NULL;
    }
    void *to = source->pages_move(source->ctx, base, old, pages, large->large.align_log2);
    /* If the tree cannot lead there: it does not lie as long as nothing else is at the old place. */
    if (to != NULL && !heap_source_is_right(heap, to, pages, large->large.align_log2, "what was moved there is lost")) {
        to = NULL;
    }
    if (to != NULL) {
        struct heap_desc *moved = heap_tree_link(heap, to, pages, HEAP_DESC_LARGE);
        ASSERT(moved != NULL);
        moved->large = large->large;
        heap_tree_unlink(heap, base, old);
        set_pages(heap, moved, pages);
    }
    heap_tree_drop_spares(heap, had);
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
