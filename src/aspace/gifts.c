/*
 * Who gave what to whom: theory.
 *
 * 1. Each mapping says who gave its pages to its space: `giver`, 0 for those that the space has of its own. So over the
 *    mappings of one page there is a graph, an edge from giver to receiver for each mapping.
 *
 * 2. aspace_withdraw(from, ..., to) takes away the edges from -> to; then all that `to` gave on: an edge X -> Y goes
 *    when X was reached from `to` and has no *support* left: no mapping of its own, and no chain of edges from a space
 *    that was not reached. A space that was reached and is supported by others keeps what these gave it, and what it
 *    gave on; it loses what came only from unsupported ones. So two spaces that gave a page to each other do not keep
 *    it alive. `from` itself is never reached: what it gave to others is not asked for.
 *
 * 3. Rights are by the page, and mappings of any two spaces may overlap in any way. So the pages are taken in stretches
 *    within which no mapping begins or ends: in a stretch, a mapping has all pages or none.
 *
 * 4. Who gives up pages (unmap, transfer, the end of the space) leaves its gifts in place; they count as given by the
 *    one who gave the pages to it, or to whom it transferred them. So the first giver can always take back. That may
 *    cut a mapping of the receiver in two.
 *
 * 5. Cost: over the mappings of a stretch, for each space reached that ever gave anything. Marks are in the spaces,
 *    for the time of a stretch. First everything is looked at and the records are reserved, then all goes.
 *
 * Rejected: a tree of capabilities (a record for each gift, and its end to be told to every part of it); to count
 * withdrawn what a middleman holds after it has unmapped it (a way to keep what one was to give back).
 */
#include "aspace/loans.h"

#include "lib/report.h"

enum { MARK_REACHED = 1 << 0, MARK_SUPPORTED = 1 << 1 };

/* Pages [first, end) of an object, among which a mapping that has one has all. */
struct stretch {
    struct object *object;
    uint64_t first, end;
};

struct withdrawal {
    struct aspace *from, *to;
    struct aspace *givers;  /* reached in this stretch, and gave something once: a list */
    struct stretch stretch;
    bool acts;              /* the second time */
    bool found;             /* something that `to` has from `from` */
    size_t records;
    unsigned cuts;          /* of private address ranges */
};

/* ---- The graph of a stretch ---- */

static struct mapping *first_in(const struct stretch *t)
{
    return object_overlap_first(t->object, t->first, t->end);
}
static struct mapping *next_in(const struct stretch *t, const struct mapping *m)
{
    return object_overlap_next(m, t->first, t->end);
}

/* The list is short: only who gave something is in it. */
static struct aspace *giver_reached(const struct withdrawal *w, uint32_t id)
{
    struct aspace *space = id == 0 ? NULL : w->givers;
    while (space != NULL && space->tables.id != id) {
        space = space->next_giver;
    }
    return space;
}

static void reach(struct withdrawal *w, struct aspace *space)
{
    if ((space->marks & MARK_REACHED) == 0) {
        space->marks |= MARK_REACHED;
        if (space->gives) {
            space->next_giver = w->givers;
            w->givers = space;
        }
    }
}

static bool is_the_gift(const struct withdrawal *w, const struct mapping *m)
{
    return m->space == w->to && m->giver == w->from->tables.id;
}

/* All that `to` gave the pages to, and they in turn. */
static void reach_all(struct withdrawal *w)
{
    reach(w, w->to);
    bool again = true;
    while (again) {
        again = false;
        for (struct mapping *m = first_in(&w->stretch); m != NULL; m = next_in(&w->stretch, m)) {
            if ((m->space->marks & MARK_REACHED) == 0 && m->space != w->from && giver_reached(w, m->giver) != NULL) {
                reach(w, m->space);
                again = again || m->space->gives;
            }
        }
    }
}

/* Those reached that have the pages from elsewhere too, and those that have them from these. */
static void support_all(struct withdrawal *w)
{
    bool again = true;
    while (again) {
        again = false;
        for (struct mapping *m = first_in(&w->stretch); m != NULL; m = next_in(&w->stretch, m)) {
            const struct aspace *giver = giver_reached(w, m->giver);
            const bool supports = (giver == NULL || (giver->marks & MARK_SUPPORTED) != 0) &&
                                  !mapping_is_private(m); /* a copy of one's own is nothing to give on */
            if (m->space->marks == MARK_REACHED && supports && !is_the_gift(w, m)) {
                m->space->marks |= MARK_SUPPORTED;
                again = true;
            }
        }
    }
}

static bool is_lost(const struct withdrawal *w, const struct mapping *m)
{
    const struct aspace *giver = giver_reached(w, m->giver);
    return is_the_gift(w, m) || (giver != NULL && (giver->marks & MARK_SUPPORTED) == 0);
}

static void unmark(struct withdrawal *w)
{
    for (struct mapping *m = first_in(&w->stretch); m != NULL; m = next_in(&w->stretch, m)) {
        m->space->marks = 0;
    }
    while (w->givers != NULL) {
        struct aspace *space = w->givers;
        w->givers = space->next_giver;
        space->next_giver = NULL;
        space->marks = 0;
    }
    w->to->marks = 0;
}

/* ---- Withdrawing from a stretch ---- */

/* The addresses that go with these pages: private ones, and the guards beside them. */
static npages_t addresses_of(const struct mapping *m, vaddr_t *va, npages_t pages)
{
    const uint64_t end = vaddr_add_pages(*va, pages.v).v;
    if (va_is_global(*va)) {
        return npages(0);
    }
    const bool guards = (m->flags & ASPACE_GUARD_BELOW) != 0 && m->base.v == va->v;
    const bool guarded = (m->flags & ASPACE_GUARD_ABOVE) != 0 && mapping_end(m) == end;
    *va = vaddr(va->v - pages_to_bytes(npages(guards)));
    return npages(pages.v + guards + guarded);
}

/* The pages go from one space. => OK; CORRUPT */
static enum status take_back(const struct stretch *t, struct mapping *m)
{
    const vaddr_t va = vaddr_add_pages(m->base, t->first - m->first);
    const npages_t pages = npages(t->end - t->first);
    struct aspace *space = m->space;
    const enum status s = tables_drop_shared(space, va, pages);
    if (s == STATUS_OK) {
        vaddr_t from = va;
        const npages_t all = addresses_of(m, &from, pages);
        mapping_cut(m, va, pages);
        if (all.v > 0) {
            addresses_give(space, from, all);
        }
    }
    return s;
}

static bool has_the_gift(const struct withdrawal *w)
{
    struct mapping *m = first_in(&w->stretch);
    while (m != NULL && !is_the_gift(w, m)) {
        m = next_in(&w->stretch, m);
    }
    return m != NULL;
}

static enum status withdraw_stretch(struct withdrawal *w)
{
    enum status s = STATUS_OK;
    if (!has_the_gift(w)) {
        return s; /* what `to` has from others, and gave on, is not asked for */
    }
    reach_all(w);
    support_all(w);
    struct mapping *next, *m = first_in(&w->stretch);
    for (; m != NULL && s == STATUS_OK; m = next) {
        next = next_in(&w->stretch, m);
        if (!is_lost(w, m)) {
            continue;
        }
        w->found = w->found || is_the_gift(w, m);
        if (w->acts) {
            s = take_back(&w->stretch, m);
        } else {
            const uint64_t first = w->stretch.first;
            const vaddr_t va = vaddr_add_pages(m->base, first - m->first);
            w->records += m->first < first && w->stretch.end < m->first + m->pages.v;
            w->cuts += va_is_global(va) ? 0 : 2;
        }
    }
    unmark(w);
    return s;
}

/* The next stretch of [*first, end) that somebody maps. */
static bool next_stretch(struct stretch *t, uint64_t *first, uint64_t end)
{
    const struct mapping *m = *first < end ? object_overlap_first(t->object, *first, end) : NULL;
    if (m == NULL) {
        return false;
    }
    t->first = m->first > *first ? m->first : *first;
    t->end = end;
    for (; m != NULL && m->first < t->end; m = object_overlap_next(m, t->first, t->end)) {
        const uint64_t last = m->first + m->pages.v;
        t->end = m->first > t->first ? m->first : last < t->end ? last : t->end;
    }
    *first = t->end;
    return true;
}

static enum status withdraw_pages(struct withdrawal *w, struct object *object, uint64_t first, npages_t pages)
{
    enum status s = STATUS_OK;
    uint64_t at = first;
    w->stretch.object = object;
    while (s == STATUS_OK && next_stretch(&w->stretch, &at, first + pages.v)) {
        s = withdraw_stretch(w);
    }
    if (w->acts) {
        object_release_uncovered(object, first, pages);
    }
    return s;
}

/* ---- The range ---- */

/*
 * Whose pages are at `va`: what `from` maps there; in the global part, where it has given them up, what `to` maps
 * there, since the address says whose they are. *pages: so many from `va` on. => null: nobody's
 */
static struct object *object_at(const struct withdrawal *w, vaddr_t va, uint64_t *first, uint64_t *pages)
{
    const struct mapping *m = mapping_from(w->from, va);
    if ((m == NULL || m->base.v > va.v) && va_is_global(va)) {
        const struct mapping *other = mapping_from(w->to, va);
        const bool is_nearer = other != NULL && (m == NULL || other->base.v < m->base.v);
        m = is_nearer ? other : m;
    }
    if (m == NULL || m->base.v > va.v) {
        *pages = m == NULL ? UINT64_MAX : bytes_to_pages_down(m->base.v - va.v).v;
        return NULL;
    }
    *first = mapping_page(m, va);
    *pages = bytes_to_pages_down(mapping_end(m) - va.v).v;
    return mapping_is_private(m) ? NULL : m->object;
}

static enum status withdraw_range(struct withdrawal *w, vaddr_t va, npages_t pages)
{
    enum status s = STATUS_OK;
    for (uint64_t done = 0; done < pages.v && s == STATUS_OK;) {
        uint64_t first = 0, count;
        struct object *object = object_at(w, vaddr_add_pages(va, done), &first, &count);
        count = count < pages.v - done ? count : pages.v - done;
        s = object != NULL ? withdraw_pages(w, object, first, npages(count)) : s;
        done += count;
    }
    return s;
}

static enum status check_withdraw(const struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to)
{
    if (to == NULL || to->system != from->system) {
        return misuse("aspace_withdraw: %p is no space of this system", (void *)to);
    }
    const enum status s = range_check(va, pages);
    return s == STATUS_OK && from == to ? STATUS_INVALID : s;
}

enum status aspace_withdraw(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to)
{
    enum status s = aspace_begin(from, "aspace_withdraw");
    if (s != STATUS_OK) {
        return s;
    }
    struct aspaces *system = from->system;
    struct withdrawal w = {.from = from, .to = to};
    s = check_withdraw(from, va, pages, to);
    s = s == STATUS_OK ? withdraw_range(&w, va, pages) : s;
    s = s == STATUS_OK && !w.found ? STATUS_ABSENT : s;
    if (s == STATUS_OK) {
        const struct aspace_needs needs = {
            .mappings = w.records, .arena = w.cuts > 0 ? &system->global : NULL, .operations = w.cuts};
        s = aspaces_reserve(system, &needs);
    }
    if (s == STATUS_OK) {
        w.acts = true;
        s = withdraw_range(&w, va, pages);
    }
    aspaces_done(system);
    return s;
}
