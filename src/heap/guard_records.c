/* Records of guarded blocks, and the table from memory to record (guard.c, section 3). */
#include "heap/guard_internal.h"
#include "lib/string.h"

enum { BUCKETS_FIRST = PAGE_BYTES / (int)sizeof(void *), LOAD_MAX = 2 };

static const uint64_t ALL_FREE = (1UL << GUARD_PAGE_RECORDS) - 1;

static struct heap_guard_record *record_at(struct heap_guard_page *page, unsigned i)
{
    return (struct heap_guard_record *)(void *)(page + 1) + i;
}

/* ---- Memory of its own ---- */

static void *own_get(struct heap *heap, size_t bytes)
{
    void *pages = heap_raw_alloc_pages(heap, bytes, HEAP_PAGE_ALIGN_LOG2);
    if (pages != NULL) {
        heap->guard->own_blocks++;
        heap->guard->own_allocs++;
        heap->guard->own_bytes += bytes;
    }
    return pages;
}

static void own_put(struct heap *heap, void *pages, size_t bytes)
{
    heap->guard->own_blocks--;
    heap->guard->own_bytes -= bytes;
    if (heap_raw_free(heap, pages) != STATUS_OK) {
        /* Reported there; its pages are lost, nobody else's. */
    }
}

static void page_link(struct heap_guard *guard, struct heap_guard_page *page)
{
    struct heap_guard_page *first = guard->roomy;
    page->next = first == NULL ? page : first;
    page->prev = first == NULL ? page : first->prev;
    page->prev->next = page->next->prev = page;
    guard->roomy = page;
}

static void page_unlink(struct heap_guard *guard, struct heap_guard_page *page)
{
    guard->roomy = page->next == page ? NULL : page->next;
    page->prev->next = page->next;
    page->next->prev = page->prev;
}

static void page_end(struct heap *heap, struct heap_guard_page *page)
{
    page_unlink(heap->guard, page);
    page->self = NULL;
    own_put(heap, page, PAGE_BYTES);
}

bool guard_is_own(const struct heap *heap, const void *address)
{
    const struct heap_guard *guard = heap->guard;
    uint64_t offset = ptr_to_vaddr(address).v - ptr_to_vaddr(guard->buckets).v;
    if (guard->buckets != NULL && offset < guard->bucket_count * sizeof *guard->buckets) {
        return true;
    }
    struct heap_block owner;
    if (heap_raw_owner_of(heap, address, &owner) == NULL || !owner.large || owner.usable_bytes != PAGE_BYTES) {
        return false;
    }
    const struct heap_guard_page *page = owner.base;
    return page->self == page && page->guard == guard;
}

/* ---- The table ---- */

static uint64_t bucket_of(const struct heap_guard *guard, const void *memory)
{
    const uint64_t golden = 0x9E3779B97F4A7C15;
    return (ptr_to_vaddr(memory).v / HEAP_ALIGN_BYTES * golden) >> 32 & (guard->bucket_count - 1);
}

void guard_record_add(struct heap_guard *guard, struct heap_guard_record *r)
{
    struct heap_guard_record **bucket = &guard->buckets[bucket_of(guard, r->memory)];
    r->next = *bucket;
    *bucket = r;
}

/* A table twice as large, or the first one. => false: memory is short, the old one stays. */
static bool table_grow(struct heap *heap)
{
    struct heap_guard *guard = heap->guard;
    uint64_t count = guard->bucket_count, grown = count == 0 ? BUCKETS_FIRST : 2 * count;
    struct heap_guard_record **old = guard->buckets, **buckets = own_get(heap, grown * sizeof *buckets);
    if (buckets == NULL) {
        return false;
    }
    memset(buckets, 0, grown * sizeof *buckets);
    guard->buckets = buckets;
    guard->bucket_count = grown;
    for (uint64_t i = 0; i < count; i++) {
        /* Older ones first, so that younger ones are in front again. */
        struct heap_guard_record *turned = NULL, *next;
        for (struct heap_guard_record *r = old[i]; r != NULL; r = next) {
            next = r->next;
            r->next = turned;
            turned = r;
        }
        for (struct heap_guard_record *r = turned; r != NULL; r = next) {
            next = r->next;
            guard_record_add(guard, r);
        }
    }
    if (old != NULL) {
        own_put(heap, old, count * sizeof *old);
    }
    return true;
}

/* ---- Records ---- */

static uint64_t records_in_use(const struct heap_guard *guard)
{
    return guard->live_blocks + guard->kept_count;
}

struct heap_guard_record *guard_record_draw(struct heap *heap)
{
    struct heap_guard *guard = heap->guard;
    if (records_in_use(guard) >= guard->bucket_count * LOAD_MAX && !table_grow(heap) && guard->buckets == NULL) {
        return NULL;
    }
    struct heap_guard_page *page = guard->roomy;
    if (page == NULL) {
        page = own_get(heap, PAGE_BYTES);
        if (page == NULL) {
            return NULL;
        }
        *page = (struct heap_guard_page){.self = page, .guard = guard, .free_mask = ALL_FREE};
        page_link(guard, page);
    }
    unsigned i = (unsigned)__builtin_ctzl(page->free_mask);
    page->free_mask &= page->free_mask - 1;
    if (page->free_mask == 0) {
        page_unlink(guard, page);
    }
    return record_at(page, i);
}

void guard_record_undraw(struct heap *heap, struct heap_guard_record *r)
{
    struct heap_guard *guard = heap->guard;
    struct heap_guard_page *page = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(r)));
    if (page->free_mask == 0) {
        page_link(guard, page);
    }
    page->free_mask |= 1UL << (r - record_at(page, 0));
    if (page->free_mask == ALL_FREE && page->next != page) {
        page_end(heap, page); /* one spare stays */
    }
}

void guard_record_remove(struct heap *heap, struct heap_guard_record *r)
{
    struct heap_guard_record **link = &heap->guard->buckets[bucket_of(heap->guard, r->memory)];
    while (*link != r) {
        link = &(*link)->next;
    }
    *link = r->next;
    guard_record_undraw(heap, r);
}

struct heap_guard_record *guard_record_of(const struct heap *heap, const void *address)
{
    const struct heap_guard *guard = heap->guard;
    struct heap_block owner;
    /* A block whose pages are given back began in the page that the address is in, or it is not known any more. */
    bool is_held = heap_raw_owner_of(heap, address, &owner) != NULL;
    const void *memory = is_held ? owner.base : vaddr_to_ptr(vaddr_page(ptr_to_vaddr(address)));
    if (guard->buckets == NULL) {
        return NULL;
    }
    struct heap_guard_record *r = guard->buckets[bucket_of(guard, memory)];
    while (r != NULL && (r->memory != memory || is_held == (r->state == HEAP_GUARD_GONE))) {
        r = r->next;
    }
    return r;
}

bool guard_record_is_sound(const struct heap *heap, const struct heap_guard_record *r)
{
    struct heap_block owner;
    uint64_t before = (uint64_t)(r->block - r->memory);
    if (r->state > HEAP_GUARD_GONE || before > r->memory_bytes || r->bytes > r->memory_bytes - before) {
        return false;
    }
    return r->state == HEAP_GUARD_GONE || (heap_raw_owner_of(heap, r->memory, &owner) != NULL && owner.allocated &&
                                           owner.base == r->memory && owner.usable_bytes == r->memory_bytes);
}

void guard_records_shrink(struct heap *heap)
{
    struct heap_guard *guard = heap->guard;
    struct heap_guard_page *page = guard->roomy;
    /* At most one is without any record: it was the only roomy one when its last record went. */
    while (page != NULL && page->free_mask != ALL_FREE) {
        page = page->next == guard->roomy ? NULL : page->next;
    }
    if (page != NULL) {
        page_end(heap, page);
    }
    if (records_in_use(guard) == 0 && guard->buckets != NULL) {
        own_put(heap, guard->buckets, guard->bucket_count * sizeof(struct heap_guard_record *));
        guard->buckets = NULL;
        guard->bucket_count = 0;
    }
}

const struct heap_guard_record *guard_walk_next(struct guard_walk *walk)
{
    const struct heap_guard *guard = walk->guard;
    if (guard == NULL || walk->taken++ > records_in_use(guard)) { /* one more than should be: check sees that */
        return NULL;
    }
    walk->at = walk->at == NULL ? NULL : walk->at->next;
    while (walk->at == NULL && walk->bucket < guard->bucket_count) {
        walk->at = guard->buckets[walk->bucket++];
    }
    return walk->at;
}
