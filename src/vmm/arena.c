/*
 * The arena: theory.
 *
 * 1. Words. A *range* is a stretch of pages with one node: *used*; *free*; or *cached*, which is given back and not
 *    yet merged. The *reserve* is the nodes not in use. *Large*: ARENA_LARGE_PAGES or more, 2 MiB.
 *
 * 2. Data. All nodes are on one list in address order and tile [base, end): a node's neighbours are its neighbours in
 *    the address space, which is all that merging needs. Two free neighbours are always merged. Free ranges are on
 *    lists by size class (section 3), cached ones on a stack for each class up to 32 MiB, used and cached ones in the
 *    index (section 4).
 *
 * 3. Allocation. A plain request takes the top of the stack of its class, if that has its size (and, where it asks for
 *    one, its alignment). Else a free range is chosen and cut. Sizes below 16 pages have a class each, above there are
 *    eight classes a power of two; a bit for each class, and one for each word of these, name the lists that are not
 *    empty. From a class on (`sure`) every range has a place for the request, whatever its address. Of those below,
 *    ARENA_LOOKS are looked at for a closer fit; then the first one from `sure` on is taken; then up to ARENA_LOOKS_MAX
 *    of those below are looked at. If nothing fits, what is cached is freed in earnest, and all is tried once more;
 *    then it is NOMEM. A best fit, where it is asked for, is the smallest range that fits of the first ARENA_LOOKS_MAX
 *    in order of class.
 *    Ranges are cut off the low end of a free one, large ones off the high end: the two kinds keep apart, so that
 *    small ranges that stay do not lie in the way of large ones. What is left keeps its node, and mostly its class.
 *    Freeing: the index leads to the node. If its stack has room it goes there; index and neighbours stay as they are.
 *    Else it leaves the index and is merged. A stack whose top has another size than the request (a class from 16
 *    pages on has several) loses it: so a size that is no longer used leaves the cache. Of large ranges up to
 *    32 MiB one a class is cached, enough for one that comes and goes: what is cached lies in the way of other sizes
 *    until it is drained.
 *
 * 4. Look-up. The index is a trie over page numbers, six bits a level, at most six levels, with a bit for each word
 *    that is not 0. A word leads to the range itself as soon as only one is left below it, so few ranges make few
 *    nodes. The last range at or below an address is found on the way down, and at most once down again along the
 *    highest bits. Free ranges are not in the index (each lies behind one that is), cached ones stay in it: a cut
 *    inserts one key, a merge removes one.
 *
 * 5. Memory. What each operation takes at most:
 *
 *                                     nodes  index nodes
 *      allocation from the cache          0  0
 *      cut of a free range                2  index_below   the range, and what is free behind it if it is so before it
 *      the same in a new span             4  index_below   its mark and its free range, then the cut
 *      free                               0  0
 *      free of the low end of a range     1  index_below   the free part; what stays moves to a base of its own
 *      of its high end                    1  0             the free part
 *      of its middle                      2  index_below   the free part, and the used one above it
 *
 *    Inserting one key takes at most an index node for each level below the root. So whatever cuts first sees to it
 *    that the reserve has ARENA_CUT_NODES nodes and `index_below` index nodes (5 at most), asking `more` for one page
 *    of each kind at most; from there on it cannot fail. Who must not fail later asks beforehand for the most that so
 *    many operations can take (arena_reserve_for). Arenas may share a reserve. In all: at most 2 nodes of 64
 *    bytes for each range used or cached, and one; at most index_below index nodes of 536 bytes a range, but ranges
 *    that lie close share them: all that begin within 64 pages have the last one in common (measured: 83 bytes of
 *    index a range among 100,000). Pages are never given back to `more`.
 *
 * 6. When memory runs out: the cut is not made. The arena is as it was but for cached ranges, which are free now; the
 *    caller gets NOMEM.
 *
 * 7. What bounds each call: 6 levels; 5 words of class bits; ARENA_LOOKS. Where a request would fail without:
 *    ARENA_LOOKS_MAX, and the merging of what is cached, at most ARENA_CACHED_EACH ranges of 88 classes, each freed by
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

static inline struct arena_node *pop(struct arena *a, unsigned stack)
{
    struct arena_node *n = a->cache[stack];
    a->cache[stack] = n->peer;
    a->room[stack]++;
    return n;
}

/* => a range that answers such a request as it is; null: none. */
static inline struct arena_node *take_cached(struct arena *a, uint64_t pages, unsigned align_log2)
{
    if (pages - 1 >= ARENA_CACHED_PAGES || align_log2 != ARENA_ALIGN_PAGE) {
        return NULL;
    }
    unsigned stack = arena_size_class(pages);
    return a->cache[stack] != NULL && a->cache[stack]->pages.v == pages ? pop(a, stack) : NULL;
}

/* A range of the index, on no stack, is free; spans go back. */
static inline void give(struct arena *a, struct arena_node *n)
{
    n = arena_merge(a, n);
    if (a->spans.get != NULL) {
        arena_retire(a, n);
    }
}

/*
 * The size that is asked for now is the one that will be freed and asked for again: another one on top of its stack is
 * in the way.
 */
static void drop_other_size(struct arena *a, uint64_t pages)
{
    unsigned stack = arena_stack(pages);
    if (a->cache[stack] != NULL && a->cache[stack]->pages.v != pages) {
        give(a, pop(a, stack));
    }
}

/* Everything that is cached becomes free. => there was something. */
static bool drain(struct arena *a)
{
    bool any = false;
    for (unsigned stack = 1; stack < ARENA_CACHED_CLASSES; stack++) {
        for (; a->cache[stack] != NULL; any = true) {
            give(a, pop(a, stack));
        }
    }
    return any;
}

/* From `more`, else from what is cached. => false: memory is short. */
static bool get_reserve_for(struct arena *a, size_t operations, size_t nodes)
{
    nodes *= operations;
    const size_t indexes = operations * a->index_below;
    return arena_refill(a->reserve, nodes, indexes) || (drain(a) && arena_refill(a->reserve, nodes, indexes));
}

static bool get_reserve(struct arena *a) { return get_reserve_for(a, 1, ARENA_CUT_NODES); }

enum status arena_reserve_for(struct arena *a, unsigned operations)
{
    const size_t nodes = a->spans.get == NULL ? ARENA_CUT_NODES : ARENA_IMPORT_NODES + ARENA_CUT_NODES;
    return get_reserve_for(a, operations, nodes) ? STATUS_OK : STATUS_NOMEM;
}

void arena_trim(struct arena *a)
{
    (void)drain(a);
    if (a->kept != NULL) {
        arena_give_up_kept(a);
    }
}

/* One range that is cached becomes free; its span stays. */
static void uncache(struct arena *a, struct arena_node *n)
{
    struct arena_node **link = &a->cache[n->stack];
    while (*link != n) {
        link = &(*link)->peer;
    }
    *link = n->peer;
    a->room[n->stack]++;
    (void)arena_merge(a, n);
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

/* The top of its stack, when it has the size and happens to be aligned; null: not so. */
static struct arena_node *take_aligned(struct arena *a, const struct arena_request *r)
{
    const unsigned stack = arena_stack(r->pages.v);
    const struct arena_node *n = a->cache[stack];
    if (n == NULL || r->best_fit || n->pages.v != r->pages.v ||
        (vaddr_add_pages(n->base, r->lead.v).v & ((1ULL << r->align_log2) - 1)) != 0) {
        return NULL;
    }
    return pop(a, stack);
}

/* A valid request that take_cached does not answer. */
__attribute__((noinline)) static enum status request_cut(struct arena *a, const struct arena_request *r, vaddr_t *base)
{
    if (r->pages.v > bytes_to_pages_down(a->end.v - a->base.v).v) {
        return STATUS_NOMEM;
    }
    struct arena_node *n = take_aligned(a, r);
    if (n != NULL) {
        hand_out(a, n, r->tag, r->kind);
        *base = n->base;
        return STATUS_OK;
    }
    if (!arena_has_reserve(a) && !get_reserve(a)) {
        return STATUS_NOMEM;
    }
    drop_other_size(a, r->pages.v);
    vaddr_t place;
    n = arena_choose(a, r, &place);
    if (n == NULL && drain(a)) {
        n = arena_choose(a, r, &place);
    }
    if (n == NULL && a->spans.get != NULL) {
        n = arena_import(a, r, &place);
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
    struct arena_node *n = r->best_fit ? NULL : take_cached(a, r->pages.v, r->align_log2);
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

/* May [n's base, end) be handed out? => OK; EXISTS; RANGE: it reaches over the end of a span. */
static enum status look_at(const struct arena_node *n, uint64_t end)
{
    uint64_t at = n->base.v;
    while (n != NULL && n->state != ARENA_USED && n->state != ARENA_SPAN && at < end) {
        at = node_end(n);
        n = n->next;
    }
    if (at >= end) {
        return STATUS_OK;
    }
    return n != NULL && n->state == ARENA_USED ? STATUS_EXISTS : STATUS_RANGE;
}

enum status arena_alloc_at(struct arena *a, vaddr_t base, npages_t pages, const char *tag)
{
    if (!is_page_aligned(base.v) || pages.v == 0 || tag == NULL) {
        return STATUS_INVALID;
    }
    struct arena_node *n = arena_node_at(a, base);
    if (n == NULL || pages.v > bytes_to_pages_down(a->end.v - base.v).v) {
        return STATUS_RANGE;
    }
    uint64_t end = vaddr_add_pages(base, pages.v).v;
    enum status s = look_at(n, end);
    if (s == STATUS_OK && !arena_has_reserve(a)) {
        if (!get_reserve(a)) {
            return STATUS_NOMEM;
        }
        n = arena_node_at(a, base); /* the span may have gone */
        s = n == NULL ? STATUS_RANGE : look_at(n, end);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* Only free and cached ranges are there: cached ones are freed until all is one free range. */
    while ((n = arena_node_at(a, base))->state == ARENA_CACHED || node_end(n) < end) {
        uncache(a, n->state == ARENA_CACHED ? n : n->next);
    }
    hand_out(a, arena_cut(a, n, base, pages), tag, 0);
    return STATUS_OK;
}

__attribute__((noinline)) static enum status wrong_free(const struct arena *a, vaddr_t base)
{
    const struct arena_node *n = arena_node_at(a, base);
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
    if (a->room[n->stack] == 0) {
        give(a, n);
        return STATUS_OK;
    }
    n->state = ARENA_CACHED;
    n->peer = a->cache[n->stack];
    a->cache[n->stack] = n;
    a->room[n->stack]--;
    return STATUS_OK;
}

static bool is_part(const struct arena_node *n, npages_t pages) { return n != NULL && pages.v < n->pages.v; }

enum status arena_free_part(struct arena *a, vaddr_t base, npages_t pages)
{
    if (!is_page_aligned(base.v) || pages.v == 0) {
        return STATUS_INVALID;
    }
    struct arena_node *n = arena_used_at(a, base, pages);
    if (is_part(n, pages) && !arena_has_reserve(a)) {
        if (!get_reserve(a)) {
            return STATUS_NOMEM;
        }
        n = arena_used_at(a, base, pages);
    }
    if (n == NULL) {
        return misuse("arena_free_part: the %lu pages at %#lx are not all in one used range", pages.v, base.v);
    }
    if (!is_part(n, pages)) {
        return arena_free(a, base);
    }
    a->used.v -= pages.v;
    a->ranges += base.v > n->base.v && vaddr_add_pages(base, pages.v).v < node_end(n);
    n = arena_cut_out(a, n, base, pages);
    if (a->spans.get != NULL) {
        arena_retire(a, n);
    }
    return STATUS_OK;
}

enum status arena_join(struct arena *a, vaddr_t base)
{
    struct arena_node *n = arena_index_find(a, base);
    struct arena_node *behind = n != NULL ? n->next : NULL;
    if (behind == NULL || n->state != ARENA_USED || behind->state != ARENA_USED) {
        return misuse("arena_join: no two used ranges lie at %#lx and right behind it", base.v);
    }
    arena_index_remove(a, behind);
    n->pages.v += behind->pages.v;
    n->stack = (uint8_t)arena_stack(n->pages.v);
    arena_drop(a, behind);
    a->ranges--;
    return STATUS_OK;
}
