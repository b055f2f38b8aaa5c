/*
 * The arena: theory.
 *
 * 1. Words. A *range* is a stretch of pages, used or free, with one node. The *reserve* is the list of nodes not in
 *    use.
 *
 * 2. Data. All nodes are on one list in address order and tile [base, end). A free node has a null tag. Two free
 *    neighbours are always merged, so the number of nodes is at most twice the ranges handed out plus one.
 *
 * 3. Algorithm and cost. First fit: the first free range that holds the request at its alignment is cut into up to
 *    three: what lies before the aligned place, the range itself, and the rest. O(ranges). Freeing finds the node
 *    by its base and merges it with its free neighbours. O(ranges) for the search, O(1) for the rest.
 *
 * 4. Memory. Only a cut needs nodes, two at most; they are taken from the reserve before anything is changed, and
 *    the reserve asks `more` for a page when it is short. A free returns one or two nodes and needs none: so it
 *    cannot fail. Node pages are never given back.
 *
 * 5. When memory runs out: the cut is not made, the arena is as it was, the caller gets NOMEM.
 *
 * 6. Context. Thread only; `more` may allocate frames and map them, but may not call the arena.
 *
 * 7. Rejected for now. Segregated lists with a bitmap (O(1), what this becomes), a binary buddy (rounds every range
 *    up to a power of two), a bitmap of pages (16 MiB for 512 GiB). Nodes inside the free ranges themselves: these
 *    are addresses without memory behind them.
 */
#include "vmm/arena_node.h"

#include "lib/report.h"

enum {
    NODES_PER_PAGE = PAGE_BYTES / sizeof(struct arena_node),
};

/* At least `n` nodes in the reserve, n at most NODES_PER_PAGE. */
static bool reserve(struct arena *a, size_t n)
{
    if (a->unused_count >= n) {
        return true;
    }
    struct arena_node *nodes = a->source.more(a->source.ctx);
    if (nodes == NULL) {
        return false;
    }
    for (size_t i = 0; i < NODES_PER_PAGE; i++) {
        nodes[i].next = a->unused;
        a->unused = &nodes[i];
    }
    a->unused_count += NODES_PER_PAGE;
    return true;
}

static struct arena_node *take_unused(struct arena *a)
{
    struct arena_node *n = a->unused;
    a->unused = n->next;
    a->unused_count--;
    return n;
}

/* A node for [base, base + pages) right behind `before`. */
static struct arena_node *insert_after(struct arena *a, struct arena_node *before, vaddr_t base, npages_t pages)
{
    struct arena_node *n = take_unused(a);
    *n = (struct arena_node){.base = base, .pages = pages, .prev = before, .next = before->next};
    if (n->next != NULL) {
        n->next->prev = n;
    }
    before->next = n;
    return n;
}

/* `n` takes in its next neighbour. */
static void absorb_next(struct arena *a, struct arena_node *n)
{
    struct arena_node *gone = n->next;
    n->pages.v += gone->pages.v;
    n->next = gone->next;
    if (n->next != NULL) {
        n->next->prev = n;
    }
    gone->next = a->unused;
    a->unused = gone;
    a->unused_count++;
}

enum status arena_init(struct arena *a, vaddr_t base, vaddr_t end, struct arena_source source)
{
    if (!is_page_aligned(base.v) || !is_page_aligned(end.v) || base.v >= end.v || source.more == NULL) {
        return STATUS_INVALID;
    }
    *a = (struct arena){.source = source, .base = base, .end = end};
    if (!reserve(a, 1)) {
        return STATUS_NOMEM;
    }
    a->first = take_unused(a);
    *a->first = (struct arena_node){.base = base, .pages = bytes_to_pages_down(end.v - base.v)};
    return STATUS_OK;
}

/* The place for the request in free node `n`. */
static bool fits(const struct arena_node *n, const struct arena_request *r, vaddr_t *base)
{
    if (n->tag != NULL || n->pages.v < r->pages.v) {
        return false;
    }
    uint64_t align_pages = bytes_to_pages_down(1ULL << r->align_log2).v;
    uint64_t aligned = vaddr_page_number(n->base) + r->lead.v;
    uint64_t skip = (align_pages - (aligned & (align_pages - 1))) & (align_pages - 1);
    if (skip > n->pages.v - r->pages.v) {
        return false;
    }
    *base = vaddr_add_pages(n->base, skip);
    return true;
}

/* Cut [base, base + pages) out of free node `n`, which holds it. => OK; NOMEM. */
static enum status cut(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages, const char *tag,
                       unsigned kind)
{
    uint64_t before = bytes_to_pages_down(base.v - n->base.v).v;
    uint64_t behind = n->pages.v - before - pages.v;
    size_t needed = (before > 0 ? 1U : 0U) + (behind > 0 ? 1U : 0U);
    if (!reserve(a, needed)) {
        return STATUS_NOMEM;
    }
    if (behind > 0) {
        insert_after(a, n, vaddr_add_pages(base, pages.v), npages(behind));
    }
    if (before > 0) {
        n->pages.v = before;
        n = insert_after(a, n, base, pages);
    }
    n->pages = pages;
    n->tag = tag;
    n->kind = kind;
    a->used.v += pages.v;
    a->ranges++;
    return STATUS_OK;
}

enum status arena_request(struct arena *a, const struct arena_request *r, vaddr_t *base)
{
    if (r->pages.v == 0 || r->lead.v >= r->pages.v || r->tag == NULL || r->align_log2 < ARENA_ALIGN_PAGE ||
        r->align_log2 > ARENA_ALIGN_MAX) {
        return STATUS_INVALID;
    }
    for (struct arena_node *n = a->first; n != NULL; n = n->next) {
        vaddr_t place;
        if (fits(n, r, &place)) {
            enum status s = cut(a, n, place, r->pages, r->tag, r->kind);
            if (s == STATUS_OK) {
                *base = place;
            }
            return s;
        }
    }
    return STATUS_NOMEM;
}

enum status arena_alloc(struct arena *a, npages_t pages, unsigned align_log2, const char *tag, vaddr_t *base)
{
    struct arena_request r = {.pages = pages, .align_log2 = align_log2, .tag = tag};
    return arena_request(a, &r, base);
}

static struct arena_node *find(const struct arena *a, vaddr_t va)
{
    if (va.v < a->base.v || va.v >= a->end.v) {
        return NULL;
    }
    struct arena_node *n = a->first;
    while (node_end(n) <= va.v) {
        n = n->next;
    }
    return n;
}

enum status arena_alloc_at(struct arena *a, vaddr_t base, npages_t pages, const char *tag)
{
    if (!is_page_aligned(base.v) || pages.v == 0 || tag == NULL) {
        return STATUS_INVALID;
    }
    struct arena_node *n = find(a, base);
    if (n == NULL || pages.v > bytes_to_pages_down(a->end.v - base.v).v) {
        return STATUS_RANGE;
    }
    if (n->tag != NULL || pages.v > bytes_to_pages_down(node_end(n) - base.v).v) {
        return STATUS_EXISTS; /* free neighbours are one node: what does not fit runs into a used range */
    }
    return cut(a, n, base, pages, tag, 0);
}

enum status arena_free(struct arena *a, vaddr_t base)
{
    struct arena_node *n = find(a, base);
    if (n == NULL || n->tag == NULL || n->base.v != base.v) {
        return misuse("arena_free: no used range starts at %#lx%s%s", base.v,
                      n != NULL && n->tag != NULL ? ", it is inside one of " : "",
                      n != NULL && n->tag != NULL ? n->tag : "");
    }
    a->used.v -= n->pages.v;
    a->ranges--;
    n->tag = NULL;
    n->kind = 0;
    if (n->next != NULL && n->next->tag == NULL) {
        absorb_next(a, n);
    }
    if (n->prev != NULL && n->prev->tag == NULL) {
        absorb_next(a, n->prev);
    }
    return STATUS_OK;
}

static struct arena_range range_of(const struct arena_node *n)
{
    return (struct arena_range){.base = n->base, .pages = n->pages, .tag = n->tag, .kind = n->kind};
}

bool arena_find(const struct arena *a, vaddr_t va, struct arena_range *out)
{
    const struct arena_node *n = find(a, va);
    if (n != NULL) {
        *out = range_of(n);
    }
    return n != NULL;
}

void arena_visit(const struct arena *a, bool (*visit)(void *ctx, const struct arena_range *range), void *ctx)
{
    for (const struct arena_node *n = a->first; n != NULL; n = n->next) {
        struct arena_range range = range_of(n);
        if (n->tag != NULL && !visit(ctx, &range)) {
            return;
        }
    }
}
