/*
 * Pages for the nodes and leaves of the heap's tree (tree.c).
 *
 * A leaf must be clean before anything looks into it: 64 cache lines. The call that needs one would be by far the
 * longest of all, so it finds a spare page that calls before it got and cleaned, each a quarter. A leaf that is empty
 * is clean, as a leaf, and becomes such a page itself.
 */
#include "heap/tree.h"
#include "lib/string.h"

/* Of leaves one in so many may stay when it is empty: the next is soon wanted. And the next leaf and node, if ready. */
enum { KEPT_SHARE = 4, MADE_READY = 2 };

enum {
    CLEANED_BYTES = PAGE_BYTES / 4, /* at a time */
    STEPS = 1 + PAGE_BYTES / CLEANED_BYTES,
    /* Of the addresses of a leaf: from there on the next one is made ready, and a node. Both may lie between guards. */
    READY_AT_PAGE = HEAP_LEAF_PAGES - 2 * (STEPS + 3) - 2,
    READY_FROM_PAGES = 256, /* held: from then on there is a spare page for whatever comes */
};

static void add(struct heap *heap, void *base, bool was_leaf)
{
    struct heap_spare *page = base;
    *page = (struct heap_spare){heap->spares, PAGE_BYTES, was_leaf};
    heap->spares = page;
    heap->spare_pages++;
}

static struct heap_spare *take(struct heap *heap)
{
    struct heap_spare *page = heap->spares;
    heap->spares = page->next;
    heap->spare_pages--;
    return page;
}

bool heap_tree_spare(struct heap *heap)
{
    void *page = heap_source_get(heap, npages(1), HEAP_PAGE_ALIGN_LOG2, true);
    if (page != NULL) {
        add(heap, page, false);
    }
    return page != NULL;
}

void heap_tree_drop_spares(struct heap *heap, uint64_t pages)
{
    while (heap->spare_pages > pages) {
        heap_source_put(heap, take(heap), npages(1));
    }
}

uint64_t heap_tree_new_page(struct heap *heap, bool is_leaf)
{
    if (heap->spares == NULL && !heap_tree_spare(heap)) {
        return 0;
    }
    heap->leaf_count += is_leaf;
    heap->node_count += !is_leaf;
    struct heap_spare *page = take(heap);
    return ptr_to_vaddr(memset(page, 0, page->was_leaf && is_leaf ? sizeof *page : page->dirty_bytes)).v;
}

void heap_tree_retire(struct heap *heap, uint64_t word, bool is_leaf)
{
    heap->leaf_count -= is_leaf;
    heap->node_count -= !is_leaf;
    add(heap, node_of(word), is_leaf);
}

bool heap_tree_drop(struct heap *heap, npages_t pages)
{
    uint64_t kept = heap->root == 0 ? 0 : heap->leaf_count / KEPT_SHARE + MADE_READY;
    bool are_too_many = heap->spare_pages > kept;
    if (are_too_many) {
        heap_tree_drop_spares(heap, heap->spare_pages - kept > pages.v ? heap->spare_pages - pages.v : kept);
    }
    return are_too_many;
}

void heap_tree_make_ready(struct heap *heap, const void *base)
{
    struct heap_path path;
    uint64_t page = heap_page_number(heap, base), number = page / HEAP_LEAF_PAGES;
    if ((page % HEAP_LEAF_PAGES < READY_AT_PAGE && heap->held_pages < READY_FROM_PAGES) ||
        heap_recent_word(heap, number++) == NULL) {
        return; /* it is not yet time; or the leaf is new, which is enough for one call */
    }
    bool is_below = heap_is_below_root(heap, number);
    (void)heap_path_to(heap, number, &path);
    uint64_t wanted = 1;
    if (!is_below || *path.words[path.last] == 0) {
        wanted = heap->height - path.last + 1 + !is_below;
    }
    struct heap_spare *first = heap->spares;
    if (first != NULL && first->dirty_bytes > sizeof *first) {
        size_t dirty_bytes = first->dirty_bytes > CLEANED_BYTES ? first->dirty_bytes - CLEANED_BYTES : sizeof *first;
        memset((uint8_t *)first + dirty_bytes, 0, first->dirty_bytes - dirty_bytes);
        first->dirty_bytes = dirty_bytes;
    } else if (heap->spare_pages < wanted) {
        (void)!heap_tree_spare(heap);
    }
}
