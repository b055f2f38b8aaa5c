/*
 * Who gave what to whom: theory.
 *
 * 1. Each mapping says who gave its pages to its space: `giver`, 0 for those that the space has of its own. So over the
 *    mappings of one page there is a graph, an edge from giver to receiver for each mapping.
 *
 * 2. A mapping *stands* that is its space's own, or whose giver has the page by one that stands: there is a chain of
 *    gifts from a space that has the page of its own. All do, between calls. aspace_withdraw(from, ..., to) takes away
 *    the edges from -> to, and then all that does not stand without them: so two spaces that gave a page to each other
 *    do not keep it alive, and who has it from somebody else too keeps that, and what it gave on.
 *
 * 3. Rights are by the page, and mappings of any two spaces may overlap in any way. So the pages are taken in stretches
 *    within which no mapping begins or ends: in a stretch, a mapping has all pages or none.
 *
 * 4. Who gives up pages (unmap, transfer, the end of the space) leaves its gifts in place; they count as given by the
 *    one who gave the pages to it (by the last of the mappings that go, and stood), or to whom it transferred them,
 *    unless it still has the pages by another one that stands without those that go: of a gift of its own that came
 *    back to it, it is no giver. So behind every mapping there is a chain from a space that has the pages of its own,
 *    no circle stands for itself, and the first giver can always take back. That may cut a mapping of the receiver in
 *    two.
 *
 * 5. Steps. In a stretch of d mappings, what stands is found by d looks, along the gifts of each space that stands
 *    (gifts_graph.c). n mappings of an object make 2 n - 1 stretches at most, so a call takes n^2 looks at most, and
 *    as it is used, with as many stretches as a range has pieces, little more than n. Who gives up pages that it has
 *    once (those that it was given at their own address) is asked about them once and not by the stretch. First
 *    everything is looked at and the records are reserved, then all goes.
 *
 * 6. Limits. n is nothing that one who gives up pages can answer for: those to whom it gave them can give them on, cut
 *    them, and map them again. So
 *      - a space maps a page ASPACE_TIMES times in its private part, and once in the global one. With S spaces a
 *        stretch has 9 S mappings at most: 9,216 with 1,024 tasks
 *      - a call for more than one page that takes more than ASPACE_LOOKS looks is refused, before anything has
 *        changed. Mappings that go count as 16 looks, cuts as 8. At some 100 instructions a look (an estimate: looks
 *        are what tests count), twice, no call takes much more than 13 million. Who is refused asks for less: a page
 *        can always go, and at its end a space takes all with it
 *      - the end of a space cannot be refused. It looks as often; from then on, the gifts that it made of an object's
 *        pages are passed on all at once and whole, one look at each mapping of the object: to its giver, which is
 *        right where it has the object's pages from one only. Where it had them from several, a gift so counts as
 *        given by one who may not have all of its pages: it is *anyone's*, that is, any space that has a page of it
 *        may withdraw that, and what does not stand goes with the next withdrawal of the page. The same where no
 *        memory is to be had to cut it.
 *
 * Rejected: a tree of capabilities (a record for each gift, and its end to be told to every part of it); to count
 * withdrawn what a middleman holds after it has unmapped it (a way to keep what one was to give back); a limit on the
 * mappings of an object (thousands may map a program's text, and the first who cuts up what it was lent would use it up
 * for all others); the lengths of chains in the mappings, which would spare the search (a gift would then fall that has
 * another, longer chain).
 */
#include "aspace/gifts.h"
#include "aspace/loans.h"

#include "lib/report.h"

enum { LOOKS_OF_A_LOSS = 16 };

struct withdrawal {
    struct gift_graph graph;
    uint64_t looks;
    bool is_one_page;       /* may be looked at however long that takes */
    bool acts;              /* the second time */
    bool found;             /* something that `to` has from `from` */
    size_t records;
    unsigned cuts;          /* of private address ranges */
};

/* ---- Withdrawing from a stretch ---- */

/* The addresses that go with these pages: private ones, and the guards and room beside them. */
static npages_t addresses_of(const struct mapping *m, vaddr_t *va, npages_t pages)
{
    const uint64_t end = vaddr_add_pages(*va, pages.v).v;
    if (va_is_global(*va)) {
        return npages(0);
    }
    const npages_t lead = m->base.v == va->v ? mapping_lead(m) : npages(0);
    const npages_t trail = mapping_end(m) == end ? mapping_trail(m) : npages(0);
    *va = vaddr(va->v - pages_to_bytes(lead));
    return npages(lead.v + pages.v + trail.v);
}

/* The pages go from one space. => OK; CORRUPT */
static enum status take_back(const struct gift_graph *g, struct mapping *m)
{
    const vaddr_t va = gift_address(g, m);
    const npages_t pages = npages(g->end - g->first);
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

static bool has_the_gift(const struct gift_graph *g)
{
    struct mapping *m = gift_first(g);
    while (m != NULL && !gift_is_left_out(g, m)) {
        m = gift_next(g, m);
    }
    return m != NULL;
}

static enum status withdraw_stretch(struct withdrawal *w)
{
    struct gift_graph *g = &w->graph;
    enum status s = STATUS_OK;
    if (!has_the_gift(g)) {
        return s; /* what `to` has from others, and gave on, is not asked for */
    }
    w->found = true;
    (void)gift_weigh(g);
    struct mapping *next, *m = gift_first(g);
    for (; m != NULL && s == STATUS_OK; m = next) {
        next = gift_next(g, m);
        if (gift_stands(m) && !gift_is_left_out(g, m)) {
            continue;
        }
        w->looks += LOOKS_OF_A_LOSS;
        if (w->acts) {
            s = take_back(g, m);
        } else {
            w->records += m->first < g->first && g->end < m->first + m->pages.v;
            w->cuts += va_is_global(gift_address(g, m)) ? 0 : 2;
        }
    }
    return s;
}

static bool is_too_long(const struct withdrawal *w) { return !w->acts && !w->is_one_page && w->looks > ASPACE_LOOKS; }

/* Has `to` anything of it from `from`? One look at all who map it spares one for each stretch. */
static bool has_any_gift(struct withdrawal *w, const struct object *object, uint64_t first, uint64_t end)
{
    const struct mapping *m = object_overlap_first(object, first, end);
    while (m != NULL && (m->space != w->graph.to || (m->giver != w->graph.from->tables.id && !m->is_anyones))) {
        w->looks++;
        m = object_overlap_next(m, first, end);
    }
    return m != NULL;
}

static enum status withdraw_pages(struct withdrawal *w, struct object *object, uint64_t first, npages_t pages)
{
    enum status s = STATUS_OK;
    uint64_t at = first;
    if (!has_any_gift(w, object, first, first + pages.v)) {
        return STATUS_OK;
    }
    w->graph.object = object;
    w->graph.looks = &w->looks;
    while (s == STATUS_OK && gift_next_stretch(&w->graph, &at, first + pages.v)) {
        s = is_too_long(w) ? STATUS_LIMIT : withdraw_stretch(w);
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
static struct object *object_at(struct withdrawal *w, vaddr_t va, uint64_t *first, uint64_t *pages)
{
    const struct mapping *m = mapping_from(w->graph.from, va);
    w->graph.takes_anyones = m != NULL && m->base.v <= va.v;
    if ((m == NULL || m->base.v > va.v) && va_is_global(va)) {
        const struct mapping *other = mapping_from(w->graph.to, va);
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
        s = s == STATUS_OK && is_too_long(w) ? STATUS_LIMIT : s;
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
    struct withdrawal w = {.graph = {.from = from, .to = to}, .is_one_page = pages.v == 1};
    s = check_withdraw(from, va, pages, to);
    s = s == STATUS_OK && from->gives ? withdraw_range(&w, va, pages) : s;
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
