/* The arena's reserve of nodes (arena.c, section 5), and its first ones. */
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

static void spare_nodes(struct arena *a, struct arena_node *nodes, size_t count)
{
    while (count > 0) {
        arena_spare_node(a, &nodes[--count]); /* the first one is taken first */
    }
}

static bool get_index_page(struct arena *a)
{
    struct arena_node *page = a->source.more(a->source.ctx);
    if (page == NULL) {
        return false;
    }
    spare_nodes(a, page, NODES_BESIDE);
    struct arena_index *indexes = (void *)&page[NODES_BESIDE];
    for (size_t i = 0; i < INDEXES_PER_PAGE; i++) {
        arena_spare_index(a, &indexes[i]);
    }
    return true;
}

static bool get_node_page(struct arena *a)
{
    struct arena_node *page = a->source.more(a->source.ctx);
    if (page == NULL) {
        return false;
    }
    spare_nodes(a, page, NODES_PER_PAGE);
    return true;
}

/* `more` may have used the arena, and what was in the reserve: both kinds are counted anew after each page. */
bool arena_refill(struct arena *a)
{
    bool got = true;
    while (got && !arena_has_reserve(a)) {
        got = a->spare_index_count < a->index_below ? get_index_page(a) : get_node_page(a);
    }
    return got;
}

enum status arena_init(struct arena *a, vaddr_t base, vaddr_t end, struct arena_source source)
{
    if (!is_page_aligned(base.v) || !is_page_aligned(end.v) || base.v >= end.v || source.more == NULL) {
        return STATUS_INVALID;
    }
    npages_t pages = bytes_to_pages_down(end.v - base.v);
    if (pages.v > 1ULL << ARENA_PAGES_LOG2_MAX) {
        return STATUS_INVALID;
    }
    *a = (struct arena){.source = source, .base = base, .end = end};
    unsigned levels = 1;
    while ((pages.v - 1) >> levels * INDEX_DIGIT != 0) {
        levels++;
    }
    a->cache[0].count = ARENA_CACHED_EACH; /* full for ever: what is large finds no room there */
    a->index_below = levels - 1;
    a->key_shift = 64 - levels * INDEX_DIGIT;
    if (!get_index_page(a)) {
        return STATUS_NOMEM;
    }
    a->index = arena_take_index(a);
    a->index->parent = NULL;
    a->first = arena_take_node(a);
    *a->first = (struct arena_node){.base = base, .pages = pages};
    arena_add_free(a, a->first);
    return STATUS_OK;
}
