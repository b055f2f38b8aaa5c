/* A page that is apart is the middle of three of its chunk: what lies beside the span makes no difference. */
#include "vmm/page_pool_span.h"

#include "lib/report.h"

enum { SPANS_PER_PAGE = PAGE_BYTES / sizeof(struct page_pool_span) };

/* A piece takes `step` bits of its chunk: from bit `lead` of these on `pages` are used. Chunks: from the first one. */
static const struct shape {
    uint8_t step, lead, pages, first_chunk;
} shapes[PAGE_POOL_KINDS] = {
    [PAGE_POOL_ONE] = {1, 0, 1, 0},
    [PAGE_POOL_APART] = {3, 1, 1, PAGE_POOL_FANOUT / 2},
    [PAGE_POOL_FOUR] = {4, 0, 4, PAGE_POOL_FANOUT / 4 * 3},
};

const uint64_t page_pool_all[PAGE_POOL_KINDS] = {
    [PAGE_POOL_ONE] = UINT64_MAX,
    [PAGE_POOL_APART] = UINT64_MAX / 7, /* bits 1, 4, 7 .. 61 */
    [PAGE_POOL_FOUR] = UINT64_MAX / 15, /* bits 0, 4, 8 .. 60 */
};

struct page_pool_place page_pool_place_of(const struct page_pool *pool, vaddr_t va)
{
    const uint64_t number = vaddr_page_number(va);
    struct page_pool_place at = {
        .chunk = number / PAGE_POOL_FANOUT % PAGE_POOL_FANOUT,
        .page = number % PAGE_POOL_FANOUT,
    };
    const uint64_t base = va.v >> PAGE_POOL_SPAN_ALIGN_LOG2 << PAGE_POOL_SPAN_ALIGN_LOG2;
    while (at.index < pool->span_count && pool->bases[at.index].v != base) {
        at.index++;
    }
    at.span = at.index < pool->span_count ? pool->spans[at.index] : NULL;
    return at;
}

/* Does a piece in use begin there? */
static bool is_used(const struct page_pool_place *at)
{
    const struct page_pool_span *span = at->span;
    if (span == NULL || (span->idle >> at->chunk & 1) != 0) {
        return false;
    }
    return ((page_pool_all[span->kinds[at->chunk]] & ~span->free[at->chunk]) >> at->page & 1) != 0;
}

/* ---- Room ---- */

static void set_room(struct page_pool *pool, const struct page_pool_place *at, enum page_pool_kind kind)
{
    at->span->room[kind] |= 1UL << at->chunk;
    pool->room[kind] |= 1UL << at->index;
}

static void clear_room(struct page_pool *pool, const struct page_pool_place *at, enum page_pool_kind kind)
{
    at->span->room[kind] &= ~(1UL << at->chunk);
    if (at->span->room[kind] == 0) {
        pool->room[kind] &= ~(1UL << at->index);
    }
}

/* Memory for the bits of one more span. => null: there is none. */
static struct page_pool_span *span_memory(struct page_pool *pool)
{
    if (pool->fresh == pool->fresh_end) {
        const struct arena_source *source = &pool->arena->reserve->source;
        struct page_pool_span *page = source->more(source->ctx);
        if (page == NULL) {
            return NULL;
        }
        pool->fresh = page;
        pool->fresh_end = page + SPANS_PER_PAGE;
    }
    return pool->fresh++;
}

/* => false: no addresses or no memory. */
static bool add_span(struct page_pool *pool)
{
    if (pool->span_count == PAGE_POOL_FANOUT) {
        return false;
    }
    if (pool->spans[pool->span_count] == NULL) {
        struct page_pool_span *memory = span_memory(pool);
        if (memory == NULL) {
            return false;
        }
        pool->spans[pool->span_count] = memory;
    }
    const struct arena_request request = {
        .pages = npages(PAGE_POOL_SPAN_PAGES),
        .align_log2 = PAGE_POOL_SPAN_ALIGN_LOG2,
        .tag = pool->tag,
        .kind = pool->kind,
        .low_end = true,
    };
    vaddr_t base;
    if (arena_request(pool->arena, &request, &base) != STATUS_OK) {
        return false;
    }
    *pool->spans[pool->span_count] = (struct page_pool_span){.idle = UINT64_MAX};
    pool->bases[pool->span_count] = base;
    pool->idle |= 1UL << pool->span_count++;
    return true;
}

/*
 * An idle chunk becomes one of this kind: each kind has a part of the span where it begins, so that pieces that come
 * one after the other lie so too: leaves of page tables, and what the CPU fetches ahead, serve several. => false: no
 * addresses or no memory.
 */
static bool open_chunk(struct page_pool *pool, enum page_pool_kind kind)
{
    if (pool->idle == 0 && !add_span(pool)) {
        return false;
    }
    struct page_pool_place at = {.index = (unsigned)__builtin_ctzl(pool->idle)};
    struct page_pool_span *span = at.span = pool->spans[at.index];
    const uint64_t own = span->idle & UINT64_MAX << shapes[kind].first_chunk;
    at.chunk = (unsigned)__builtin_ctzl(own != 0 ? own : span->idle);
    span->idle &= ~(1UL << at.chunk);
    if (span->idle == 0) {
        pool->idle &= pool->idle - 1;
    }
    span->kinds[at.chunk] = (uint8_t)kind;
    span->free[at.chunk] = page_pool_all[kind];
    set_room(pool, &at, kind);
    return true;
}

/* ---- The calls ---- */

enum page_pool_kind page_pool_kind_for(npages_t pages, unsigned align_log2, bool apart)
{
    enum page_pool_kind kind = align_log2 == ARENA_ALIGN_PAGE ? 0 : PAGE_POOL_KINDS;
    while (kind < PAGE_POOL_KINDS && (shapes[kind].pages != pages.v || (shapes[kind].lead != 0) != apart)) {
        kind++;
    }
    return kind;
}

void page_pool_init(struct page_pool *pool, struct arena *arena, const char *tag, unsigned kind)
{
    *pool = (struct page_pool){.arena = arena, .tag = tag, .kind = kind};
}

enum status page_pool_get(struct page_pool *pool, enum page_pool_kind kind, vaddr_t *page)
{
    if (pool->room[kind] == 0 && !open_chunk(pool, kind)) {
        return STATUS_NOMEM;
    }
    struct page_pool_place at = {.index = (unsigned)__builtin_ctzl(pool->room[kind])};
    at.span = pool->spans[at.index];
    at.chunk = (unsigned)__builtin_ctzl(at.span->room[kind]);
    const uint64_t free = at.span->free[at.chunk];
    at.page = (unsigned)__builtin_ctzl(free);
    at.span->free[at.chunk] = free & (free - 1);
    if ((free & (free - 1)) == 0) {
        clear_room(pool, &at, kind);
    }
    pool->used++;
    *page = vaddr_add_pages(pool->bases[at.index], at.chunk * (uint64_t)PAGE_POOL_FANOUT + at.page);
    return STATUS_OK;
}

enum status page_pool_put(struct page_pool *pool, vaddr_t page)
{
    const struct page_pool_place at = page_pool_place_of(pool, page);
    if (at.span == NULL) {
        return STATUS_ABSENT;
    }
    if (!is_page_aligned(page.v) || !is_used(&at)) {
        return misuse("page_pool_put: %#lx is the first page of no piece in use of the pool '%s'", page.v, pool->tag);
    }
    const enum page_pool_kind kind = at.span->kinds[at.chunk];
    const uint64_t free = at.span->free[at.chunk] |= 1UL << at.page;
    pool->used--;
    if (free != page_pool_all[kind]) {
        set_room(pool, &at, kind);
        return STATUS_OK;
    }
    clear_room(pool, &at, kind);
    at.span->idle |= 1UL << at.chunk;
    pool->idle |= 1UL << at.index;
    return STATUS_OK;
}

enum status page_pool_end(struct page_pool *pool)
{
    if (pool->used != 0) {
        return misuse("page_pool_end: %lu pieces of the pool '%s' are in use", pool->used, pool->tag);
    }
    enum status s = STATUS_OK;
    while (pool->span_count > 0 && s == STATUS_OK) {
        s = arena_free(pool->arena, pool->bases[--pool->span_count]);
    }
    pool->idle = 0;
    return s;
}

bool page_pool_find(const struct page_pool *pool, vaddr_t va, struct page_pool_piece *out)
{
    struct page_pool_place at = page_pool_place_of(pool, va);
    if (at.span == NULL) {
        return false;
    }
    const struct shape shape = shapes[at.span->kinds[at.chunk]];
    const unsigned first = at.page / shape.step * shape.step + shape.lead;
    *out = (struct page_pool_piece){
        .base = vaddr(vaddr_page(va).v + PAGE_BYTES * ((uint64_t)first - at.page)),
        .pages = npages(shape.pages),
        .apart = shape.lead != 0,
    };
    at.page = first;
    return first < PAGE_POOL_FANOUT && is_used(&at);
}
