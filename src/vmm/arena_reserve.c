/* The reserve of nodes (arena.c, section 5), and an arena's first and last ones. */
#include "vmm/arena_node.h"

enum {
    NODES_PER_PAGE = PAGE_BYTES / sizeof(struct arena_node),
    /* A page of index nodes has room for a few nodes too: the first page that an arena gets serves for a while. */
    INDEXES_PER_PAGE = PAGE_BYTES / sizeof(struct arena_index),
    NODES_BESIDE = (PAGE_BYTES - INDEXES_PER_PAGE * sizeof(struct arena_index)) / sizeof(struct arena_node),

    /* What the first page has to hold: the root and the free range, and what the first allocation needs. */
    INDEXES_AT_START = (ARENA_PAGES_LOG2_MAX + INDEX_DIGIT - 1) / INDEX_DIGIT,
    NODES_AT_START = 1 + ARENA_CUT_NODES,
};
static_assert(INDEXES_PER_PAGE >= INDEXES_AT_START && NODES_BESIDE >= NODES_AT_START, "one page starts an arena");

void arena_reserve_init(struct arena_reserve *reserve, struct arena_source source)
{
    *reserve = (struct arena_reserve){.source = source};
}

static bool get_index_page(struct arena_reserve *r)
{
    struct arena_node *page = r->source.more(r->source.ctx);
    if (page == NULL) {
        return false;
    }
    for (size_t i = NODES_BESIDE; i > 0; i--) {
        arena_spare_node(r, &page[i - 1]); /* the first one is taken first */
    }
    struct arena_index *indexes = (void *)&page[NODES_BESIDE];
    for (size_t i = 0; i < INDEXES_PER_PAGE; i++) {
        arena_spare_index(r, &indexes[i]);
    }
    return true;
}

/* A page of nodes stays as it is, until each is taken: only what is left of the one before it is put on the list. */
static bool get_node_page(struct arena_reserve *r)
{
    struct arena_node *page = r->source.more(r->source.ctx);
    if (page == NULL) {
        return false;
    }
    for (; r->fresh != r->fresh_end; r->fresh++) {
        r->node_count--;
        arena_spare_node(r, r->fresh);
    }
    r->fresh = page;
    r->fresh_end = page + NODES_PER_PAGE;
    r->node_count += NODES_PER_PAGE;
    return true;
}

/* `more` may have used the arena, and what was in the reserve: both kinds are counted anew after each page. */
bool arena_refill(struct arena_reserve *r, size_t nodes, size_t indexes)
{
    bool got = true;
    while (got && (r->index_count < indexes || r->node_count < nodes)) {
        got = r->index_count < indexes ? get_index_page(r) : get_node_page(r);
    }
    return got;
}

/* All but where the nodes come from, and what is free. => OK; INVALID. */
static enum status begin(struct arena *a, vaddr_t base, vaddr_t end)
{
    if (!is_page_aligned(base.v) || !is_page_aligned(end.v) || base.v >= end.v) {
        return STATUS_INVALID;
    }
    npages_t pages = bytes_to_pages_down(end.v - base.v);
    if (pages.v > 1ULL << ARENA_PAGES_LOG2_MAX) {
        return STATUS_INVALID;
    }
    *a = (struct arena){.base = base, .end = end};
    unsigned levels = 1;
    while ((pages.v - 1) >> levels * INDEX_DIGIT != 0) {
        levels++;
    }
    for (unsigned stack = 0; stack < ARENA_CACHED_CLASSES; stack++) {
        a->room[stack] = (uint8_t)arena_stack_room(stack);
    }
    a->index_below = levels - 1;
    a->key_shift = 64 - levels * INDEX_DIGIT;
    return STATUS_OK;
}

/* The root of the index, and nothing free. `nodes` are left in the reserve. */
static enum status begin_index(struct arena *a, struct arena_reserve *reserve, size_t nodes)
{
    a->reserve = reserve;
    if (!arena_refill(reserve, nodes, 1)) {
        return STATUS_NOMEM;
    }
    a->index = arena_take_index(reserve);
    a->index->parent = NULL;
    a->index->depth = 0;
    return STATUS_OK;
}

static enum status begin_free(struct arena *a, struct arena_reserve *reserve)
{
    enum status s = begin_index(a, reserve, 1);
    if (s == STATUS_OK) {
        a->first = arena_take_node(reserve);
        *a->first = (struct arena_node){.base = a->base, .pages = bytes_to_pages_down(a->end.v - a->base.v)};
        arena_add_free(a, a->first);
    }
    return s;
}

enum status arena_init(struct arena *a, vaddr_t base, vaddr_t end, struct arena_source source)
{
    enum status s = source.more == NULL ? STATUS_INVALID : begin(a, base, end);
    if (s != STATUS_OK) {
        return s;
    }
    arena_reserve_init(&a->own, source);
    return begin_free(a, &a->own);
}

enum status arena_init_shared(struct arena *a, vaddr_t base, vaddr_t end, struct arena_reserve *reserve)
{
    enum status s = begin(a, base, end);
    return s == STATUS_OK ? begin_free(a, reserve) : s;
}

enum status arena_init_spans(struct arena *a, vaddr_t base, vaddr_t end, struct arena_reserve *reserve,
                             struct arena_spans spans)
{
    const bool is_power = (spans.pages.v & (spans.pages.v - 1)) == 0;
    if (!is_power || spans.pages.v < ARENA_SPAN_PAGES_LEAST || spans.get == NULL || spans.put == NULL) {
        return STATUS_INVALID;
    }
    enum status s = begin(a, base, end);
    if (s == STATUS_OK) {
        s = begin_index(a, reserve, 0);
    }
    if (s == STATUS_OK) {
        a->spans = spans;
    }
    return s;
}

void arena_end(struct arena *a)
{
    struct arena_node *n = a->first, *next;
    for (; n != NULL; n = next) {
        next = n->next;
        if (n->state == ARENA_SPAN) {
            a->spans.put(a->spans.ctx, n->base, arena_span_pages(a, n));
        } else if (n->state != ARENA_FREE) {
            arena_index_remove(a, n);
        }
        arena_spare_node(a->reserve, n);
    }
    arena_spare_index(a->reserve, a->index);
    *a = (struct arena){0};
}
