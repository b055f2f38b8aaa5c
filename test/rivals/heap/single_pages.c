/*
 * Single pages only: what a kernel has before it has a heap. Every block is a page, whatever is asked for; longer ones
 * there are none. Free pages are on a list through their first words until a shrink gives them back. Nothing is kept of
 * a page in use, so nothing wrong is seen but an address that begins no page.
 */
#include "rivals/heap/way.h"

struct page {
    struct page *next;
};

struct single_pages {
    struct way way;
    struct page *free;
};

void single_pages_start(void *state, struct heap_source source, size_t slot_bytes)
{
    (void)slot_bytes;
    memset(state, 0, sizeof(struct single_pages));
    ((struct way *)state)->source = source;
}

void *single_pages_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    struct single_pages *s = state;
    struct page *page = s->free;
    if (bytes > PAGE_BYTES || align_bytes > PAGE_BYTES) {
        return NULL;
    }
    if (page != NULL) {
        s->free = page->next;
    } else {
        page = way_get(&s->way, npages(1), WAY_PAGE_LOG2);
    }
    if (page != NULL) {
        s->way.allocs++;
        s->way.used_bytes += PAGE_BYTES;
    }
    return page;
}

void *single_pages_alloc(void *state, size_t bytes) { return single_pages_alloc_aligned(state, bytes, 1); }

void *single_pages_resize(void *state, void *block, size_t bytes)
{
    (void)state;
    return bytes > PAGE_BYTES ? NULL : block;
}

enum status single_pages_release(void *state, void *block)
{
    struct single_pages *s = state;
    if (!is_page_aligned(ptr_to_vaddr(block).v)) {
        return STATUS_MISUSE;
    }
    *(struct page *)block = (struct page){s->free};
    s->free = block;
    s->way.frees++;
    s->way.used_bytes -= PAGE_BYTES;
    return STATUS_OK;
}

size_t single_pages_usable(void *state, const void *block)
{
    (void)state;
    (void)block;
    return PAGE_BYTES;
}

npages_t single_pages_shrink(void *state)
{
    struct single_pages *s = state;
    uint64_t gone = 0;
    for (; s->free != NULL; gone++) {
        struct page *page = s->free;
        s->free = page->next;
        way_put(&s->way, page, npages(1));
    }
    return npages(gone);
}
