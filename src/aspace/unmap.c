/* Giving a range up: look, reserve, tables, and then what cannot fail. */
#include "aspace/mapping.h"

/* May all of it go? *needs: records for a part in the middle, and for what the space gave on. */
static enum status look(const struct aspace *space, vaddr_t va, vaddr_t end, struct aspace_needs *needs)
{
    size_t ranges = space->ranges;
    struct giving_up up = {.since = va, .end = end, .most = ASPACE_LOOKS};
    const struct mapping *m = mapping_at(space, va);
    for (vaddr_t at = va; at.v < end.v;) {
        if (m == NULL || m->base.v > at.v) {
            return STATUS_ABSENT;
        }
        if (m->sealed) {
            return STATUS_DENIED;
        }
        const vaddr_t to = mapping_end(m) < end.v ? vaddr(mapping_end(m)) : end;
        const bool is_middle = m->base.v < va.v && mapping_end(m) > end.v;
        const bool is_whole = m->base.v >= va.v && mapping_end(m) <= end.v;
        needs->mappings += is_middle;
        if (m->object != NULL && !gifts_are_too_many(&up, bytes_to_pages_down(end.v - va.v))) {
            needs->mappings += gifts_pass_missing(m, mapping_page(m, at), bytes_to_pages_down(to.v - at.v), &up);
        }
        ranges = is_middle ? ranges + 1 : ranges - is_whole;
        at = to;
        m = mapping_next(m);
    }
    const bool fits = limits_allow(space, npages(0), ranges) &&
                      !gifts_are_too_many(&up, bytes_to_pages_down(end.v - va.v));
    return fits ? STATUS_OK : STATUS_LIMIT;
}

/* The range with the guards and the room that go with it. */
static void with_guards(const struct aspace *space, vaddr_t *va, vaddr_t *end)
{
    const struct mapping *first = mapping_at(space, *va), *last = mapping_at(space, vaddr(end->v - 1));
    if (mapping_end(last) == end->v) {
        *end = vaddr_add_pages(*end, mapping_trail(last).v);
    }
    if (first->base.v == va->v) {
        *va = vaddr(va->v - pages_to_bytes(mapping_lead(first)));
    }
}

/* The pages of one mapping, which no table shows any more. */
static void leave(struct mapping *m, vaddr_t va, npages_t pages, struct giving_up *up)
{
    struct object *object = m->object;
    const uint64_t first = mapping_page(m, va);
    if (object == NULL) {
        mapping_cut(m, va, pages);
        return;
    }
    gifts_pass(m, first, pages, up);
    mapping_cut(m, va, pages);
    object_release_uncovered(object, first, pages);
}

static enum status unmap(struct aspace *space, vaddr_t va, vaddr_t end)
{
    struct aspace_needs needs = {0};
    const npages_t pages = bytes_to_pages_down(end.v - va.v);
    enum status s = look(space, va, end, &needs);
    if (s != STATUS_OK) {
        return s;
    }
    vaddr_t from = va, to = end;
    with_guards(space, &from, &to);
    const npages_t all = bytes_to_pages_down(to.v - from.v);
    const bool is_private = !va_is_global(va);
    needs.operations = is_private ? addresses_cuts(space, from, all) : 0;
    needs.arena = needs.operations > 0 ? space->arena : NULL;
    s = aspaces_reserve(space->system, &needs);
    s = s == STATUS_OK ? tables_drop(space, va, pages) : s;
    if (s != STATUS_OK) {
        return s;
    }
    if (is_private) { /* first: addresses of objects that go may take the nodes that are left */
        addresses_give(space, from, all);
    }
    struct giving_up up = {.since = va, .end = end, .most = UINT64_MAX};
    for (vaddr_t at = va; at.v < end.v;) {
        struct mapping *m = mapping_at(space, at);
        const vaddr_t stop = mapping_end(m) < end.v ? vaddr(mapping_end(m)) : end;
        leave(m, at, bytes_to_pages_down(stop.v - at.v), &up);
        at = stop;
    }
    return STATUS_OK;
}

enum status aspace_unmap(struct aspace *space, vaddr_t va, npages_t pages)
{
    enum status s = aspace_begin(space, "aspace_unmap");
    if (s != STATUS_OK) {
        return s;
    }
    s = range_check(va, pages);
    s = s == STATUS_OK ? unmap(space, va, vaddr_add_pages(va, pages.v)) : s;
    aspaces_done(space->system);
    return s;
}
