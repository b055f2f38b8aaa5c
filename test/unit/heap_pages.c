#include "unit/heap_pages.h"

static struct {
    uint8_t *base;
    size_t pages;
    uint16_t *grants; /* one a page; 0: idle; else 1 + pages from the grant's first */
    uint64_t out, gets;
    uint64_t refuse_at; /* this many requests from now, one is refused; 0: none */
} source;

static uint8_t *page_at(size_t page) { return source.base + pages_to_bytes(npages(page)); }

/* The first idle stretch at or behind `from`; as many as there are: none. */
static size_t find(size_t from, npages_t pages, unsigned align_log2)
{
    for (size_t first = from; first + pages.v <= source.pages; first++) {
        size_t idle = 0;
        while (idle < pages.v && source.grants[first + idle] == 0) {
            idle++;
        }
        if (idle == pages.v && (ptr_to_vaddr(page_at(first)).v & ((1UL << align_log2) - 1)) == 0) {
            return first;
        }
    }
    return source.pages;
}

static void *pages_get(void *ctx, npages_t pages, unsigned align_log2, bool guarded)
{
    (void)ctx;
    (void)guarded;
    source.gets++;
    if (source.refuse_at > 0 && --source.refuse_at == 0) {
        return NULL;
    }
    size_t first = find(source.gets % 3 == 0 ? source.gets * 131 % source.pages : 0, pages, align_log2);
    first = first < source.pages ? first : find(0, pages, align_log2);
    if (first == source.pages) {
        return NULL;
    }
    for (size_t i = 0; i < pages.v; i++) {
        source.grants[first + i] = (uint16_t)(1 + i);
    }
    source.out += pages.v;
    return memset(page_at(first), 0xA5, pages_to_bytes(pages));
}

static void pages_put(void *ctx, void *base, npages_t pages)
{
    (void)ctx;
    const uint64_t first = bytes_to_pages_down(ptr_to_vaddr(base).v - ptr_to_vaddr(source.base).v).v;
    bool is_one = first + pages.v <= source.pages && is_page_aligned(ptr_to_vaddr(base).v);
    for (size_t i = 0; is_one && i < pages.v; i++) {
        is_one = source.grants[first + i] == 1 + i;
        source.grants[first + i] = 0;
    }
    EXPECT(is_one && (first + pages.v == source.pages || source.grants[first + pages.v] < 2));
    source.out -= pages.v;
    memset(base, 0xDD, pages_to_bytes(pages));
}

struct heap_source heap_pages_begin(size_t pages)
{
    uint8_t *base = test_pages(pages);
    uint16_t *grants = test_pages(bytes_to_pages_up(pages * sizeof *grants).v);
    memset(&source, 0, sizeof source);
    source.base = base;
    source.pages = pages;
    source.grants = grants;
    const bool is_there = base != NULL && grants != NULL;
    struct heap_source it = {.pages_get = pages_get, .pages_put = pages_put, .span_base = ptr_to_vaddr(base)};
    return is_there ? it : (struct heap_source){.pages_get = NULL};
}

uint64_t heap_pages_out(void) { return source.out; }
void heap_pages_refuse_at(uint64_t requests) { source.refuse_at = requests; }

static uint8_t pattern(const struct pattern_block *b, size_t i) { return (uint8_t)(b->seed * 37 + i * 11 + i / 251); }

void pattern_fill(struct pattern_block *b, uint64_t seed)
{
    b->seed = seed;
    for (size_t i = 0; i < b->bytes; i++) {
        b->at[i] = pattern(b, i);
    }
}

bool pattern_is_kept(const struct pattern_block *b, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && b->at[i] == pattern(b, i)) {
        i++;
    }
    return i == bytes;
}
