/*
 * An arena that imports its addresses in spans (theory: arena.c).
 *
 * A span begins with a mark, a node of no pages, in the list of all nodes. It has neighbours of its own kind only: so
 * free ranges merge up to the ends of their span, as they do up to the ends of an arena, and a span is seen to be free
 * when one free range is all between two marks. What is not imported has no nodes.
 *
 * A span that has become free goes back, but for one of the least size, so that a range that comes and goes does not
 * move a span each time. What is cached keeps its span: it is freed in earnest before a span is imported, and by
 * arena_trim. As one span at most is wholly free, between two neighbours in the index there are never more than two
 * marks and three free ranges: look-ups take no more steps than without spans but for these.
 */
#include "lib/report.h"
#include "vmm/arena_node.h"

npages_t arena_span_pages(const struct arena *a, const struct arena_node *mark)
{
    return npages(mark->kind * a->spans.pages.v);
}

static bool is_mark(const struct arena_node *n) { return n != NULL && n->state == ARENA_SPAN; }

/* The last node that begins below `base`, where no range is; null: there is none. */
static struct arena_node *find_before(const struct arena *a, vaddr_t base)
{
    struct arena_node *n = arena_index_find_below(a, base);
    if (n == NULL) {
        n = a->first;
        if (n == NULL || n->base.v >= base.v) {
            return NULL;
        }
    }
    while (n->next != NULL && n->next->base.v < base.v) {
        n = n->next; /* two marks and three free ranges at most */
    }
    return n;
}

/* Pages to ask for, so that the request has a place in them. */
static npages_t pages_for(const struct arena *a, const struct arena_request *r)
{
    const uint64_t span = a->spans.pages.v, align = bytes_to_pages_down(1ULL << r->align_log2).v;
    const uint64_t slack = r->lead.v == 0 && align <= span ? 0 : align - 1;
    return npages((r->pages.v + slack + span - 1) & ~(span - 1));
}

/* Is this a span that the arena can take? */
static bool is_sound(const struct arena *a, vaddr_t base, npages_t pages)
{
    if ((vaddr_page_number(base) & (a->spans.pages.v - 1)) != 0 || !is_page_aligned(base.v) || base.v < a->base.v ||
        base.v >= a->end.v || pages.v > bytes_to_pages_down(a->end.v - base.v).v) {
        return false;
    }
    const struct arena_node *before = find_before(a, base);
    const struct arena_node *next = before != NULL ? before->next : a->first;
    return (before == NULL || node_end(before) <= base.v) &&
           (next == NULL || next->base.v >= vaddr_add_pages(base, pages.v).v);
}

/* => its free range. */
static struct arena_node *link_span(struct arena *a, vaddr_t base, npages_t pages)
{
    struct arena_node *before = find_before(a, base);
    struct arena_node *next = before != NULL ? before->next : a->first;
    struct arena_node *mark = arena_insert_between(a, before, next, base, 0);
    mark->state = ARENA_SPAN;
    mark->kind = (unsigned)(pages.v / a->spans.pages.v);
    struct arena_node *n = arena_insert_between(a, mark, next, base, pages.v);
    arena_add_free(a, n);
    return n;
}

struct arena_node *arena_import(struct arena *a, const struct arena_request *r, vaddr_t *place)
{
    const npages_t pages = pages_for(a, r);
    vaddr_t base;
    enum status s = a->spans.get(a->spans.ctx, pages, &base);
    if (s != STATUS_OK && a->kept != NULL) {
        arena_give_up_kept(a); /* which is too small, and may lie in the way */
        s = a->spans.get(a->spans.ctx, pages, &base);
    }
    if (s != STATUS_OK) {
        return NULL;
    }
    /* Who gives spans may have used the same reserve. */
    if (!arena_refill(a->reserve, ARENA_IMPORT_NODES + ARENA_CUT_NODES, a->index_below)) {
        a->spans.put(a->spans.ctx, base, pages);
        return NULL;
    }
    if (!is_sound(a, base, pages)) {
        report(REPORT_MISUSE, "arena: a span of %lu pages at %#lx does not fit into [%#lx, %#lx), or is there already",
               pages.v, base.v, a->base.v, a->end.v);
        return NULL;
    }
    struct arena_node *n = link_span(a, base, pages);
    return arena_fits(n, r, place) ? n : NULL;
}

/* The span of mark and free range `n` leaves the arena. */
static void give_back(struct arena *a, struct arena_node *mark, struct arena_node *n)
{
    const vaddr_t base = mark->base;
    const npages_t pages = arena_span_pages(a, mark);
    arena_unlist(a, n);
    arena_drop(a, n);
    arena_drop(a, mark);
    a->spans.put(a->spans.ctx, base, pages);
}

void arena_retire(struct arena *a, struct arena_node *n)
{
    struct arena_node *mark = n->prev;
    if (!is_mark(mark) || (n->next != NULL && !is_mark(n->next))) {
        return;
    }
    if (a->kept == NULL && n->pages.v == a->spans.pages.v) {
        a->kept = mark;
        return;
    }
    if (a->kept != mark) {
        give_back(a, mark, n);
    }
}

void arena_give_up_kept(struct arena *a)
{
    struct arena_node *mark = a->kept;
    a->kept = NULL;
    give_back(a, mark, mark->next);
}
