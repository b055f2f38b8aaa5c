/*
 * The arena: theory.
 *
 * 1. Words. A *range* is a stretch of pages with one node: *used*; *free*; or *cached*, which is given back and not
 *    yet merged. The *reserve* is the nodes not in use. *Large*: ARENA_LARGE_PAGES or more, 2 MiB.
 *
 * 2. Data. All nodes are on one list in address order and tile [base, end): a node's neighbours are its neighbours in
 *    the address space, which is all that merging needs. Two free neighbours are always merged. Free ranges are on
 *    lists by size class (section 3), cached ones on a stack for each class that is not large, used and cached ones in
 *    the index (section 4).
 *
 * 3. Allocation. A plain request that is not large takes the top of the stack of its class, if that has its size. Else
 *    a free range is chosen and cut. Sizes below 16 pages have a class each, above there are eight classes a power of
 *    two; a bit for each class, and one for each word of these, name the lists that are not empty. From a class on
 *    (`sure`) every range has a place for the request, whatever its address. Of those below, ARENA_LOOKS are looked at
 *    for a closer fit; then the first one from `sure` on is taken; then up to ARENA_LOOKS_MAX of those below are looked
 *    at. If nothing fits, what is cached is freed in earnest, and all is tried once more; then it is NOMEM.
 *    Ranges are cut off the low end of a free one, large ones off the high end: the two kinds keep apart, so that
 *    small ranges that stay do not lie in the way of large ones. What is left keeps its node, and mostly its class.
 *    Freeing: the index leads to the node. If its stack has room it goes there; index and neighbours stay as they are.
 *    Else it leaves the index and is merged. A stack whose top has another size than the request (a class from 16
 *    pages on has several) loses it: so a size that is no longer used leaves the cache.
 *
 * 4. Look-up. The index is a trie over page numbers, six bits a level, at most six levels, with a bit for each word
 *    that is not 0. A word leads to the range itself as soon as only one is left below it, so few ranges make few
 *    nodes. The last range at or below an address is found on the way down, and at most once down again along the
 *    highest bits. Free ranges are not in the index (each lies behind one that is), cached ones stay in it: a cut
 *    inserts one key, a merge removes one.
 *
 * 5. Memory. A cut takes two nodes at most (for the range, and for what lies behind it when something lies before it as
 *    well), and inserting one key takes at most one index node for each level below the root. So an allocation that
 *    cuts first sees to it that the reserve has 2 nodes and `index_below` index nodes (5 at most), asking `more` for
 *    one page of each kind at most; from there on it cannot fail, and neither can what its caller does next for want
 *    of a node of the arena. What is cached needs nothing. A free only gives nodes back. In all: at most 2 nodes of 64
 *    bytes for each range used or cached, and one; at most index_below index nodes of 536 bytes a range, but ranges
 *    that lie close share them: all that begin within 64 pages have the last one in common (measured: 83 bytes of
 *    index a range among 100,000). Pages are never given back to `more`.
 *
 * 6. When memory runs out: the cut is not made. The arena is as it was but for cached ranges, which are free now; the
 *    caller gets NOMEM.
 *
 * 7. What bounds each call: 6 levels; 5 words of class bits; ARENA_LOOKS. Where a request would fail without:
 *    ARENA_LOOKS_MAX, and the merging of what is cached, at most ARENA_CACHED_EACH ranges of 55 classes, each freed by
 *    an earlier call. No step depends on the number of ranges.
 *
 * 8. Context. Thread only. `more` may allocate frames and map them; who is asked for memory then may hand ranges back,
 *    and out. So it is called before a range is chosen, and what is in the reserve is looked at after it returns.
 *
 * 9. Rejected (figures: docs/design/0012-arena.md). First fit over one list: O(ranges). Balanced trees: thrice the
 *    steps. A hash of the bases: no look-up by an address inside, and it must grow. Free ranges by exact size in a trie
 *    of their own: a free would need nodes. No cache: four times the steps a pair. A binary buddy: rounds every range
 *    up to a power of two. A bitmap of pages: 16 MiB for 512 GiB. Nodes inside the free ranges themselves: these are
 *    addresses without memory behind them.
 */
#include "vmm/arena_node.h"

#include "lib/report.h"

/* ---- The cache ---- */

static inline struct arena_node *pop(struct arena_cache *cache)
{
    struct arena_node *n = cache->top;
    cache->top = n->peer;
    cache->count--;
    return n;
}

/* => a range that answers such a request as it is; null: none. */
static inline struct arena_node *take_cached(struct arena *a, uint64_t pages, unsigned align_log2)
{
    if (pages - 1 >= ARENA_LARGE_PAGES - 1 || align_log2 != ARENA_ALIGN_PAGE) {
        return NULL;
    }
    struct arena_cache *cache = &a->cache[arena_size_class(pages)];
    return cache->top != NULL && cache->top->pages.v == pages ? pop(cache) : NULL;
}

/*
 * The size that is asked for now is the one that will be freed and asked for again: another one on top of its stack is
 * in the way.
 */
static void drop_other_size(struct arena *a, uint64_t pages)
{
    struct arena_cache *cache = &a->cache[arena_stack(pages)];
    if (cache->top != NULL && cache->top->pages.v != pages) {
        arena_merge(a, pop(cache));
    }
}

/* Everything that is cached becomes free. => there was something. */
static bool drain(struct arena *a)
{
    bool any = false;
    for (unsigned class = 1; class < ARENA_CACHED_CLASSES; class++) {
        for (; a->cache[class].top != NULL; any = true) {
            arena_merge(a, pop(&a->cache[class]));
        }
    }
    return any;
}

/* From `more`, else from what is cached. => false: memory is short. */
static bool get_reserve(struct arena *a) { return arena_refill(a) || (drain(a) && arena_refill(a)); }

/* One range that is cached becomes free. */
static void uncache(struct arena *a, struct arena_node *n)
{
    struct arena_cache *cache = &a->cache[n->stack];
    struct arena_node **link = &cache->top;
    while (*link != n) {
        link = &(*link)->peer;
    }
    *link = n->peer;
    cache->count--;
    arena_merge(a, n);
}

/* ---- Requests ---- */

static inline void hand_out(struct arena *a, struct arena_node *n, const char *tag, unsigned kind)
{
    n->tag = tag;
    n->kind = kind;
    n->state = ARENA_USED;
    a->used.v += n->pages.v;
    a->ranges++;
}

static bool is_valid(const struct arena_request *r)
{
    return r->lead.v < r->pages.v && r->tag != NULL && r->align_log2 >= ARENA_ALIGN_PAGE &&
           r->align_log2 <= ARENA_ALIGN_MAX;
}

/* A valid request that the cache does not answer. */
__attribute__((noinline)) static enum status request_cut(struct arena *a, const struct arena_request *r, vaddr_t *base)
{
    if (r->pages.v > bytes_to_pages_down(a->end.v - a->base.v).v) {
        return STATUS_NOMEM;
    }
    if (!arena_has_reserve(a) && !get_reserve(a)) {
        return STATUS_NOMEM;
    }
    drop_other_size(a, r->pages.v);
    vaddr_t place;
    struct arena_node *n = arena_choose(a, r, &place);
    if (n == NULL && drain(a)) {
        n = arena_choose(a, r, &place);
    }
    if (n == NULL) {
        return STATUS_NOMEM;
    }
    hand_out(a, arena_cut(a, n, place, r->pages), r->tag, r->kind);
    *base = place;
    return STATUS_OK;
}

enum status arena_request(struct arena *a, const struct arena_request *r, vaddr_t *base)
{
    if (!is_valid(r)) {
        return STATUS_INVALID;
    }
    struct arena_node *n = take_cached(a, r->pages.v, r->align_log2);
    if (n == NULL) {
        return request_cut(a, r, base);
    }
    hand_out(a, n, r->tag, r->kind);
    *base = n->base;
    return STATUS_OK;
}

__attribute__((noinline)) static enum status alloc_cut(struct arena *a, npages_t pages, unsigned align_log2,
                                                       const char *tag, vaddr_t *base)
{
    struct arena_request r = {.pages = pages, .align_log2 = align_log2, .tag = tag};
    return is_valid(&r) ? request_cut(a, &r, base) : STATUS_INVALID;
}

enum status arena_alloc(struct arena *a, npages_t pages, unsigned align_log2, const char *tag, vaddr_t *base)
{
    struct arena_node *n = tag != NULL ? take_cached(a, pages.v, align_log2) : NULL;
    if (n == NULL) {
        return alloc_cut(a, pages, align_log2, tag, base);
    }
    hand_out(a, n, tag, 0);
    *base = n->base;
    return STATUS_OK;
}

/* The range of any state that holds `va`; null: it is outside. */
static struct arena_node *find(const struct arena *a, vaddr_t va)
{
    if (va.v < a->base.v || va.v >= a->end.v) {
        return NULL;
    }
    struct arena_node *n = arena_index_find_below(a, va);
    if (n == NULL) {
        return a->first;
    }
    return va.v < node_end(n) ? n : n->next; /* behind it, up to the next one in the index, is one free range */
}

/* Is anything in use from `n` on, below `end`? */
static bool is_used(const struct arena_node *n, uint64_t end)
{
    while (n != NULL && n->base.v < end && n->state != ARENA_USED) {
        n = n->next;
    }
    return n != NULL && n->base.v < end;
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
    uint64_t end = vaddr_add_pages(base, pages.v).v;
    if (is_used(n, end)) {
        return STATUS_EXISTS;
    }
    if (!arena_has_reserve(a) && !get_reserve(a)) {
        return STATUS_NOMEM;
    }
    if (is_used(find(a, base), end)) {
        return STATUS_EXISTS;
    }
    /* Only free and cached ranges are there: cached ones are freed until all is one free range. */
    while ((n = find(a, base))->state == ARENA_CACHED || node_end(n) < end) {
        uncache(a, n->state == ARENA_CACHED ? n : n->next);
    }
    hand_out(a, arena_cut(a, n, base, pages), tag, 0);
    return STATUS_OK;
}

__attribute__((noinline)) static enum status wrong_free(const struct arena *a, vaddr_t base)
{
    const struct arena_node *n = find(a, base);
    bool inside = n != NULL && n->state == ARENA_USED;
    if (inside) {
        return misuse("arena_free: no used range starts at %#lx, it is inside %s, %lu pages at %#lx", base.v, n->tag,
                      n->pages.v, n->base.v);
    }
    return misuse("arena_free: no used range starts at %#lx, it is %s", base.v,
                  n != NULL ? "free" : "not in the arena");
}

enum status arena_free(struct arena *a, vaddr_t base)
{
    struct arena_node *n = arena_index_find(a, base);
    if (n == NULL || n->state != ARENA_USED) {
        return wrong_free(a, base);
    }
    a->used.v -= n->pages.v;
    a->ranges--;
    struct arena_cache *cache = &a->cache[n->stack];
    if (cache->count == ARENA_CACHED_EACH) {
        arena_merge(a, n);
        return STATUS_OK;
    }
    n->state = ARENA_CACHED;
    n->peer = cache->top;
    cache->top = n;
    cache->count++;
    return STATUS_OK;
}

bool arena_find(const struct arena *a, vaddr_t va, struct arena_range *out)
{
    const struct arena_node *n = find(a, va);
    if (n == NULL) {
        return false;
    }
    *out = (struct arena_range){.base = n->base, .pages = n->pages};
    if (n->state == ARENA_USED) {
        out->tag = n->tag;
        out->kind = n->kind;
        return true;
    }
    for (const struct arena_node *p = n->prev; p != NULL && p->state != ARENA_USED; p = p->prev) {
        out->base = p->base;
        out->pages.v += p->pages.v;
    }
    for (n = n->next; n != NULL && n->state != ARENA_USED; n = n->next) {
        out->pages.v += n->pages.v;
    }
    return true;
}

void arena_visit(const struct arena *a, bool (*visit)(void *ctx, const struct arena_range *range), void *ctx)
{
    for (const struct arena_node *n = a->first; n != NULL; n = n->next) {
        struct arena_range range = {.base = n->base, .pages = n->pages, .tag = n->tag, .kind = n->kind};
        if (n->state == ARENA_USED && !visit(ctx, &range)) {
            return;
        }
    }
}
