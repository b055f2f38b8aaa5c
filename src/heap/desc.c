/* Descriptors, and stretches of pages with a descriptor (heap.c, section 5). */
#include "heap/heap_internal.h"
#include "lib/string.h"

static struct heap_desc_head *page_of(struct heap_desc *desc)
{
    return vaddr_to_ptr(vaddr_page(ptr_to_vaddr(desc)));
}

static void unlink_page(struct heap *heap, struct heap_desc_head *page)
{
    if (heap->desc_pages == page) {
        heap->desc_pages = page->next == page ? NULL : page->next;
    }
    page->prev->next = page->next;
    page->next->prev = page->prev;
}

/* Last in the circle; with `in_front` also its new beginning. */
static void link_page(struct heap *heap, struct heap_desc_head *page, bool in_front)
{
    struct heap_desc_head *first = heap->desc_pages;
    if (first == NULL) {
        page->next = page->prev = heap->desc_pages = page;
        return;
    }
    page->next = first;
    page->prev = first->prev;
    first->prev->next = page;
    first->prev = page;
    if (in_front) {
        heap->desc_pages = page;
    }
}

static bool has_free_slot(const struct heap *heap)
{
    return heap->desc_pages != NULL && heap->desc_pages->free_mask != 0;
}

static void add_page(struct heap *heap, struct heap_desc_head *page)
{
    memset(page, 0, PAGE_BYTES);
    page->free_mask = ~1UL; /* all but the head's own */
    link_page(heap, page, true);
    heap->desc_page_count++;
}

/* Cannot fail: has_free_slot. */
static struct heap_desc *take_slot(struct heap *heap)
{
    struct heap_desc_head *page = heap->desc_pages;
    unsigned slot = (unsigned)__builtin_ctzl(page->free_mask);
    page->free_mask &= page->free_mask - 1;
    if (page->free_mask == 0) {
        heap->desc_pages = page->next; /* the circle turned: it is the last now */
    }
    struct heap_desc *desc = heap_desc_slot(page, slot);
    memset(desc, 0, sizeof *desc);
    return desc;
}

static void give_slot(struct heap *heap, struct heap_desc *desc)
{
    struct heap_desc_head *page = page_of(desc);
    bool was_full = page->free_mask == 0;
    desc->kind = HEAP_DESC_UNUSED;
    page->free_mask |= 1UL << (desc - heap_desc_slot(page, 0));
    if (was_full) {
        unlink_page(heap, page);
        link_page(heap, page, true);
    }
}

void heap_desc_shrink(struct heap *heap)
{
    struct heap_desc_head *page = heap->desc_pages;
    while (heap->desc_pages != NULL && page->free_mask != 0) {
        struct heap_desc_head *next = page->next;
        bool was_last = next == heap->desc_pages;
        if (page->free_mask == ~1UL) {
            unlink_page(heap, page);
            heap->desc_page_count--;
            heap_source_put(heap, page, npages(1));
        }
        if (was_last) {
            break;
        }
        page = next;
    }
}

/* What opening takes beside the descriptor's slot. */
struct opening {
    void *base;
    bool base_is_pooled;
    struct heap_idle_page *desc_page; /* a chain of one, or none when a slot is free */
    struct heap_idle_page *nodes;
};

static bool draw_base(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded, struct opening *o)
{
    if (pages.v == 1 && align_log2 == HEAP_PAGE_ALIGN_LOG2) {
        o->base = heap_page_draw(heap, guarded, &o->base_is_pooled);
    } else {
        o->base = heap_source_get(heap, pages, align_log2, guarded);
        o->base_is_pooled = false;
    }
    return o->base != NULL;
}

static void undraw_base(struct heap *heap, npages_t pages, const struct opening *o)
{
    if (pages.v == 1) {
        heap_page_undraw(heap, o->base, o->base_is_pooled);
    } else {
        heap_source_put(heap, o->base, pages);
    }
}

/* All that can fail. In reverse order given back when it does. */
static bool reserve(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded, struct opening *o)
{
    if (!heap_chain_draw(heap, has_free_slot(heap) ? 0 : 1, &o->desc_page)) {
        return false;
    }
    if (draw_base(heap, pages, align_log2, guarded, o)) {
        if (heap_chain_draw(heap, heap_radix_missing(heap, o->base, pages), &o->nodes)) {
            return true;
        }
        undraw_base(heap, pages, o);
    }
    heap_chain_undraw(heap, &o->desc_page);
    return false;
}

struct heap_desc *heap_block_open(struct heap *heap, enum heap_desc_kind kind, npages_t pages, unsigned align_log2,
                                  bool guarded)
{
    struct opening o;
    if (!reserve(heap, pages, align_log2, guarded, &o)) {
        return NULL;
    }
    if (o.desc_page != NULL) {
        add_page(heap, heap_chain_take(&o.desc_page));
    }
    struct heap_desc *desc = take_slot(heap);
    desc->kind = (uint8_t)kind;
    desc->base = o.base;
    heap_radix_link(heap, desc, pages, &o.nodes);
    return desc;
}

void heap_block_close(struct heap *heap, struct heap_desc *desc, npages_t pages)
{
    void *base = desc->base;
    heap_radix_unlink(heap, base, pages);
    give_slot(heap, desc);
    heap_source_put(heap, base, pages); /* last: the heap is whole again when the source runs */
}
