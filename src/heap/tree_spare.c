/*
 * Pages for the nodes and leaves of the heap's tree (tree.c).
 *
 * A leaf must be clean before anything looks into it: 64 cache lines. The call that needs one would be by far the
 * longest of all, so it finds a spare page that calls before it made ready: one got it, one wrote to it first, which
 * waits for cold page tables, and the others cleaned a part each. A leaf that is empty is clean, as a leaf, and becomes
 * such a page itself.
 */
#include "heap/tree.h"
#include "lib/string.h"

/* For so many leaves one spare page may stay: the next is soon wanted. */
enum { KEPT_SHARE = 4 };

enum {
    CLEANED_BYTES = PAGE_BYTES / 8, /* at a time; half as much in a heap that always has a spare page: there is time */
    STEPS = 2 + PAGE_BYTES / CLEANED_BYTES,
    /* Of the addresses of a leaf: from there on a small heap makes the next one ready, and a node. Both may lie between
     * guards. A larger heap has a spare page always, for whatever comes. */
    READY_AT_PAGE = HEAP_LEAF_PAGES - 2 * (STEPS + 2) - 2,
};

static void add(struct heap *heap, void *base, size_t dirty_bytes, bool was_leaf)
{
    struct heap_spare *page = base;
    *page = (struct heap_spare){heap->spares, dirty_bytes, was_leaf};
    heap->spares = page;
    heap->spare_pages++;
}

/* What was got ahead of need is one of them from now on, if there is such a page. */
static bool add_got(struct heap *heap)
{
    bool is_there = heap->got != NULL;
    if (is_there) {
        add(heap, heap->got, PAGE_BYTES, false);
        heap->got = NULL;
    }
    return is_there;
}

static struct heap_spare *take(struct heap *heap)
{
    struct heap_spare *page = heap->spares;
    heap->spares = page->next;
    heap->spare_pages--;
    return page;
}

static void get(struct heap *heap)
{
    heap->got = heap_source_get(heap, npages(1), HEAP_PAGE_ALIGN_LOG2, true);
}

bool heap_tree_spare(struct heap *heap)
{
    if (heap->got == NULL) {
        get(heap);
    }
    return add_got(heap);
}

void heap_tree_drop_spares(struct heap *heap, uint64_t pages)
{
    (void)add_got(heap);
    while (heap->spare_pages > pages) {
        heap_source_put(heap, take(heap), npages(1));
    }
}

uint64_t heap_tree_new_page(struct heap *heap, bool is_leaf)
{
    if (heap->spares == NULL && !heap_tree_spare(heap)) {
        return 0;
    }
    heap->tree_pages[is_leaf]++;
    struct heap_spare *page = take(heap);
    /* What was a leaf is clean as one, and as a node it is dirty all over. */
    return ptr_to_vaddr(memset(page, 0, page->was_leaf > is_leaf ? PAGE_BYTES : page->dirty_bytes)).v;
}

void heap_tree_retire(struct heap *heap, uint64_t word, bool is_leaf)
{
    heap->tree_pages[is_leaf]--;
    add(heap, node_of(word), is_leaf ? sizeof(struct heap_spare) : PAGE_BYTES, is_leaf);
}

void heap_tree_drop(struct heap *heap, npages_t pages)
{
    uint64_t kept = (heap->leaf_count + KEPT_SHARE - 1) / KEPT_SHARE, spares = heap->spare_pages;
    uint64_t left = spares > pages.v ? spares - pages.v : 0;
    heap_tree_drop_spares(heap, left > kept ? left : kept);
}

__attribute__((noinline)) static void clean(struct heap_spare *page, size_t bytes)
{
    size_t dirty_bytes = page->dirty_bytes > bytes + sizeof *page ? page->dirty_bytes - bytes : sizeof *page;
    memset((uint8_t *)page + dirty_bytes, 0, page->dirty_bytes - dirty_bytes);
    page->dirty_bytes = dirty_bytes;
}

void heap_tree_make_all_ready(struct heap *heap)
{
    if (heap->spares != NULL || heap_tree_spare(heap)) {
        clean(heap->spares, PAGE_BYTES);
    }
}

void heap_tree_make_ready(struct heap *heap, const void *base)
{
    uint64_t page = heap_page_number(heap, base), number = page / HEAP_LEAF_PAGES;
    bool is_small = heap->held_pages < HEAP_SMALL_PAGES;
    if ((page % HEAP_LEAF_PAGES < READY_AT_PAGE && is_small) ||
        heap_recent_word(heap, number++) == NULL) {
        return; /* it is not yet time; or the leaf is new, which is enough for one call */
    }
    struct heap_spare *first = heap->spares;
    if (first == NULL) {
        if (!add_got(heap)) {
            get(heap); /* nothing more: the first look at it takes as long */
        }
    } else if (first->dirty_bytes > sizeof *first) {
        clean(first, CLEANED_BYTES >> !is_small);
    } else {
        (void)!heap_tree_grow_to(heap, number); /* if it is for that, what was made ready becomes the node */
    }
}
