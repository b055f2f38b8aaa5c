/* Where the heap's pages come from and go to (heap.c, section 5): the source, and the pages held ready. */
#include "heap/heap_internal.h"
#include "lib/string.h"

__attribute__((noinline)) bool heap_span_holds(const struct heap *heap, const void *base, npages_t pages)
{
    return heap_page_number(heap, base) + pages.v <= HEAP_SPAN_BYTES / PAGE_BYTES;
}

bool heap_source_is_right(const struct heap *heap, const void *base, npages_t pages, unsigned align_log2,
                          const char *else_what)
{
    if ((ptr_to_vaddr(base).v & ((1UL << align_log2) - 1)) == 0 && heap_span_holds(heap, base, pages)) {
        return true;
    }
    report(REPORT_CORRUPT, "heap: the page source gave %p for %lu pages aligned to 2^%u, span %#lx + 512 GiB: %s", base,
           pages.v, align_log2, heap->source.span_base.v, else_what);
    return false;
}

__attribute__((noinline)) void heap_hold(struct heap *heap, uint64_t more)
{
    heap->held_pages += more;
    heap_note_most(&heap->most_held_pages, heap->held_pages);
}

void *heap_source_get(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded)
{
    void *base = heap->source.pages_get(heap->source.ctx, pages, align_log2, guarded);
    if (base == NULL) {
        return NULL;
    }
    if (!heap_source_is_right(heap, base, pages, align_log2, "not used")) {
        heap->source.pages_put(heap->source.ctx, base, pages);
        return NULL;
    }
    heap_hold(heap, pages.v);
    return base;
}

void heap_source_put(struct heap *heap, void *base, npages_t pages)
{
    heap_hold(heap, 0 - pages.v);
    heap->source.pages_put(heap->source.ctx, base, pages);
}

/* ---- Pages held ready ---- */

static void ready_push(struct heap *heap, struct heap_desc *desc)
{
    desc->base_and_kind = ptr_to_vaddr(heap_desc_base(desc)).v + HEAP_DESC_READY;
    desc->next = heap->ready;
    heap->ready = desc;
    heap->ready_pages++;
}

__attribute__((noinline)) static struct heap_desc *ready_pop(struct heap *heap)
{
    struct heap_desc *desc = heap->ready;
    heap->ready = desc->next;
    heap->ready_pages--;
    if (UNLIKELY(heap->prefilled_pages > heap->ready_pages)) {
        heap->prefilled_pages = heap->ready_pages;
    }
    return desc;
}

void heap_pages_give_back(struct heap *heap, struct heap_desc *desc, npages_t pages)
{
    void *base = heap_desc_base(desc);
    heap_tree_unlink(heap, base, pages);
    heap_source_put(heap, base, pages);
}

/* So many of them go back, but not more than that `left` stay. */
static void ready_reduce(struct heap *heap, uint64_t pages, uint64_t left)
{
    while (pages-- > 0 && heap->ready_pages > left) {
        heap_pages_give_back(heap, ready_pop(heap), npages(1));
    }
}

bool heap_ready_empty(struct heap *heap)
{
    uint64_t held = heap->held_pages;
    ready_reduce(heap, UINT64_MAX, 0);
    heap_tree_drop_spares(heap, 0);
    return heap->held_pages != held;
}

/* ---- Opening and closing ---- */

static struct heap_desc *open_new(struct heap *heap, enum heap_desc_kind kind, npages_t pages, unsigned align_log2,
                                  bool guarded)
{
    __builtin_prefetch(heap->got); /* heap_tree_make_ready writes to it, and where it lies is far from what is used */
    bool had_spare = heap->spares != NULL;
    void *base = heap_source_get(heap, pages, align_log2, guarded);
    struct heap_desc *desc = NULL;
    if (base != NULL) {
        if (pages.v == 1) {
            heap_tree_make_ready(heap, base);
        }
        desc = heap_tree_link(heap, base, pages, kind);
        if (desc == NULL) {
            heap_source_put(heap, base, pages);
        }
    }
    if (desc == NULL) { /* what lies ready goes for it, unless this was to become such a page */
        bool is_worth_it = kind != HEAP_DESC_READY && heap_ready_empty(heap);
        return is_worth_it ? open_new(heap, kind, pages, align_log2, guarded) : NULL;
    }
    if (pages.v > 1) {
        /* Many pages do not come from those held ready: as many of these are one too many now. */
        ready_reduce(heap, pages.v, heap->prefilled_pages);
        if (had_spare) {
            heap_tree_make_all_ready(heap);
        }
    }
    return desc;
}

struct heap_desc *heap_pages_open(struct heap *heap, enum heap_desc_kind kind, npages_t pages, unsigned align_log2,
                                  bool guarded)
{
    if (pages.v != 1 || align_log2 != HEAP_PAGE_ALIGN_LOG2 || guarded || heap->ready == NULL) {
        return open_new(heap, kind, pages, align_log2, guarded);
    }
    struct heap_desc *desc = ready_pop(heap);
    return heap_desc_begin(desc, ptr_to_vaddr(heap_desc_base(desc)).v + kind);
}

/* Pages that may be held ready: a share of all, so that a heap that shrinks gives back what it once needed. */
__attribute__((noinline)) static uint64_t ready_limit(const struct heap *heap)
{
    uint64_t share = 1 + heap->held_pages / HEAP_READY_SHARE;
    uint64_t limit = share < HEAP_READY_PAGES ? share : HEAP_READY_PAGES;
    return limit > heap->prefilled_pages ? limit : heap->prefilled_pages;
}

void heap_pages_close(struct heap *heap, struct heap_desc *desc, npages_t pages, bool guarded)
{
    /* It stays if there is room, or goes another time if a slab of four pages goes instead: one thing in a call. */
    if (pages.v == 1 && !guarded &&
        (heap->ready_pages < ready_limit(heap) || (heap->turn == 0 && heap_mixed_shrink(heap)))) {
        ready_push(heap, desc);
        return;
    }
    uint64_t leaves = heap->leaf_count;
    heap_pages_give_back(heap, desc, pages);
    heap_tree_drop(heap, pages);
    if (pages.v == 1 && heap->leaf_count != leaves) {
        return; /* that is enough for one call */
    }
    /* The heap becomes smaller, and with it go pages that are too many now: of the tree's, and, once it is small, of
     * those that lie ready, each no more than went already, for no call shall be long; or a slab that nobody asks for.
     * Large blocks come and go, and say little about that. */
    uint64_t limit = ready_limit(heap);
    if (pages.v == 1 && (heap->held_pages >= HEAP_SMALL_PAGES || heap->ready_pages <= limit)) {
        heap_slab_shrink_next(heap);
    } else {
        ready_reduce(heap, pages.v, limit);
    }
}

enum status heap_prefill(struct heap *heap, uint64_t bytes)
{
    npages_t wanted = bytes_to_pages_up(bytes);
    if (wanted.v > HEAP_SPAN_BYTES / PAGE_BYTES) {
        return STATUS_NOMEM;
    }
    uint64_t had = heap->ready_pages;
    struct heap_tree_mark before = heap_tree_mark(heap);
    while (heap->ready_pages < wanted.v) {
        struct heap_desc *desc = open_new(heap, HEAP_DESC_READY, npages(1), HEAP_PAGE_ALIGN_LOG2, false);
        if (desc == NULL) {
            ready_reduce(heap, UINT64_MAX, had);
            heap_tree_uncover(heap, vaddr_to_ptr(heap->source.span_base), npages(0), before); /* no higher either */
            return STATUS_NOMEM;
        }
        ready_push(heap, desc);
    }
    heap->prefilled_pages = wanted.v > heap->prefilled_pages ? wanted.v : heap->prefilled_pages;
    return STATUS_OK;
}
