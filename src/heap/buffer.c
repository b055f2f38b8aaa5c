/*
 * A page source over a stretch of memory: first fit over a bit a page, O(pages) a request. The heap asks seldom, since
 * it holds pages ready, so nothing better is worth its code. What a caller writes cannot reach the bits but by an
 * overrun of all that lies between.
 */
#include "heap/buffer.h"

#include "lib/string.h"

enum { WORD_PAGES = 64 };

static bool is_used(const struct heap_buffer *b, uint64_t page)
{
    return (b->used[page / WORD_PAGES] >> page % WORD_PAGES & 1) != 0;
}

static void set_used(struct heap_buffer *b, uint64_t page, uint64_t pages, bool used)
{
    for (uint64_t i = page; i < page + pages; i++) {
        uint64_t bit = 1UL << i % WORD_PAGES;
        b->used[i / WORD_PAGES] = (b->used[i / WORD_PAGES] & ~bit) | (used ? bit : 0);
    }
}

static vaddr_t address_of(const struct heap_buffer *b, uint64_t page)
{
    return vaddr_add_pages(ptr_to_vaddr(b->base), page);
}

/* The lowest page from `page` on whose address has the alignment. */
static uint64_t aligned(const struct heap_buffer *b, uint64_t page, unsigned align_log2)
{
    uint64_t past = address_of(b, page).v & ((1UL << align_log2) - 1);
    return past == 0 ? page : page + bytes_to_pages_down((1UL << align_log2) - past).v;
}

static void *pages_get(void *ctx, npages_t pages, unsigned align_log2, bool guarded)
{
    struct heap_buffer *b = ctx;
    (void)guarded;
    uint64_t first = aligned(b, 0, align_log2), idle = 0;
    while (idle < pages.v) {
        if (pages.v > b->pages.v || first > b->pages.v - pages.v) {
            return NULL;
        }
        if (!is_used(b, first + idle)) {
            idle++;
        } else {
            first = aligned(b, first + idle + 1, align_log2);
            idle = 0;
        }
    }
    set_used(b, first, pages.v, true);
    b->out.v += pages.v;
    return vaddr_to_ptr(address_of(b, first));
}

static void pages_put(void *ctx, void *base, npages_t pages)
{
    struct heap_buffer *b = ctx;
    set_used(b, bytes_to_pages_down(ptr_to_vaddr(base).v - ptr_to_vaddr(b->base).v).v, pages.v, false);
    b->out.v -= pages.v;
}

enum status heap_buffer_init(struct heap_buffer *buffer, void *memory, size_t bytes, struct heap_source *source)
{
    const uint64_t at = ptr_to_vaddr(memory).v, cut = -at & (PAGE_BYTES - 1);
    const npages_t pages = bytes_to_pages_down(bytes < cut ? 0 : bytes - cut);
    if (pages.v < 2 || pages_to_bytes(pages) > 512 * GIB) {
        return STATUS_INVALID;
    }
    const size_t bits_bytes = (pages.v + WORD_PAGES - 1) / WORD_PAGES * sizeof *buffer->used;
    *buffer = (struct heap_buffer){
        .base = (uint8_t *)memory + cut,
        .used = (uint64_t *)(void *)((uint8_t *)memory + cut),
        .pages = pages,
    };
    memset(buffer->used, 0, bits_bytes);
    set_used(buffer, 0, bytes_to_pages_up(bits_bytes).v, true);
    *source = (struct heap_source){
        .ctx = buffer,
        .pages_get = pages_get,
        .pages_put = pages_put,
        .span_base = ptr_to_vaddr(buffer->base),
    };
    return STATUS_OK;
}
