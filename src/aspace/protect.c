/* New rights, and seals: a range that says something else from now on. Splits, tables, and what cannot fail. */
#include "aspace/mapping.h"

/* What becomes of a mapping's state in the range. */
struct change {
    bool sets_rights, seals;
    unsigned rights;
};

static void apply(struct mapping *m, const struct change *c)
{
    m->rights = c->sets_rights ? (uint16_t)c->rights : m->rights;
    m->sealed = m->sealed || c->seals;
}

static bool changes(const struct mapping *m, const struct change *c)
{
    return (c->sets_rights && m->rights != c->rights) || (c->seals && !m->sealed);
}

/* Ranges of a space, neighbours that could be one counted as one. */
struct tally {
    struct mapping last; /* pages 0: none yet */
    size_t ranges;
};

/* [from, to) of a mapping, if that is any. */
static void tally_part(struct tally *t, const struct mapping *m, uint64_t from, uint64_t to, const struct change *c)
{
    from = from > m->base.v ? from : m->base.v;
    to = to < mapping_end(m) ? to : mapping_end(m);
    if (from >= to) {
        return;
    }
    struct mapping part = *m;
    part.first = mapping_page(m, vaddr(from));
    part.base = vaddr(from);
    part.pages = bytes_to_pages_down(to - from);
    if (c != NULL) {
        apply(&part, c);
    }
    t->ranges += t->last.pages.v == 0 || !mapping_joins(&t->last, &part);
    t->last = part;
}

/* How many ranges the space would have. The range is covered. */
static size_t ranges_after(const struct aspace *space, vaddr_t va, vaddr_t end, const struct change *c)
{
    struct tally t = {0};
    size_t before = 0;
    const struct mapping *m = mapping_at(space, va), *previous = mapping_previous(m);
    bool is_last = false;
    for (m = previous != NULL ? previous : m; m != NULL && !is_last; m = mapping_next(m)) {
        is_last = m->base.v >= end.v;
        before++;
        tally_part(&t, m, 0, va.v, NULL);
        tally_part(&t, m, va.v, end.v, c);
        tally_part(&t, m, end.v, UINT64_MAX, NULL);
    }
    return space->ranges - before + t.ranges;
}

/* Records that the splits take. */
static size_t splits(const struct aspace *space, vaddr_t va, vaddr_t end, const struct change *c)
{
    const struct mapping *first = mapping_at(space, va), *last = mapping_at(space, vaddr(end.v - 1));
    const bool below = first->base.v < va.v && changes(first, c), above = mapping_end(last) > end.v && changes(last, c);
    return (below ? 1U : 0U) + (above ? 1U : 0U);
}

/* The range is covered, records are there. */
static void change_range(struct aspace *space, vaddr_t va, vaddr_t end, const struct change *c)
{
    struct mapping *m = mapping_at(space, va);
    while (m != NULL && m->base.v < end.v) {
        if (changes(m, c)) {
            m = m->base.v < va.v ? mapping_split(m, va) : m;
            if (mapping_end(m) > end.v) {
                (void)mapping_split(m, end);
            }
            apply(m, c);
        }
        m = mapping_next(mapping_merge(m));
    }
    if (m != NULL) {
        (void)mapping_merge(m); /* the neighbour above */
    }
}

/* All that the change takes. => OK; LIMIT; NOMEM. The range is covered. */
static enum status prepare(struct aspace *space, vaddr_t va, vaddr_t end, const struct change *c)
{
    const size_t ranges = ranges_after(space, va, end, c);
    if (!limits_allow(space, npages(0), ranges)) {
        return STATUS_LIMIT;
    }
    const struct aspace_needs needs = {.mappings = splits(space, va, end, c)};
    return aspaces_reserve(space->system, &needs);
}

/* May all of it have these rights? */
static enum status look(const struct aspace *space, vaddr_t va, vaddr_t end, unsigned rights)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    enum status s = STATUS_OK;
    const struct mapping *m = mapping_at(space, va);
    for (; m != NULL && m->base.v < end.v && s == STATUS_OK; m = mapping_next(m)) {
        if (m->sealed || (rights & ~m->allowed) != 0) {
            s = STATUS_DENIED;
        } else if ((rights & both) == both && (m->flags & ASPACE_WRITE_EXECUTE) == 0) {
            s = STATUS_INVALID;
        }
    }
    return s;
}

enum status aspace_protect(struct aspace *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum status s = aspace_begin(space, "aspace_protect");
    if (s != STATUS_OK) {
        return s;
    }
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    s = range_check(va, pages);
    s = s == STATUS_OK ? rights_check(&rights) : s;
    s = s == STATUS_OK && !mapping_covers(space, va, pages) ? STATUS_ABSENT : s;
    s = s == STATUS_OK ? look(space, va, end, rights) : s;
    const struct change c = {.sets_rights = true, .rights = rights};
    s = s == STATUS_OK ? prepare(space, va, end, &c) : s;
    s = s == STATUS_OK ? tables_protect(space, va, pages, leaf_rights(rights)) : s;
    if (s == STATUS_OK) {
        change_range(space, va, end, &c);
    }
    aspaces_done(space->system);
    return s;
}

enum status aspace_seal(struct aspace *space, vaddr_t va, npages_t pages)
{
    enum status s = aspace_begin(space, "aspace_seal");
    if (s != STATUS_OK) {
        return s;
    }
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    const struct change c = {.seals = true};
    s = range_check(va, pages);
    s = s == STATUS_OK && !mapping_covers(space, va, pages) ? STATUS_ABSENT : s;
    s = s == STATUS_OK ? prepare(space, va, end, &c) : s;
    if (s == STATUS_OK) {
        change_range(space, va, end, &c);
    }
    aspaces_done(space->system);
    return s;
}
