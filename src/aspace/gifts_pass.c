/*
 * Who gives up pages passes its gifts on (gifts.c, section 4): not where it still has the pages, from somebody who does
 * not have them from it.
 */
#include "aspace/gifts.h"

/* Is any of [first, end) somebody's from the space of `m`? One look at all who map it spares one for each stretch. */
static bool has_gifts(const struct mapping *m, uint64_t first, uint64_t end)
{
    const uint32_t id = m->space->tables.id;
    if (m->object == NULL || !m->space->gives || mapping_is_private(m) || m->giver == id) {
        return false;
    }
    const struct mapping *other = object_overlap_first(m->object, first, end);
    while (other != NULL && other->giver != id) {
        other = object_overlap_next(other, first, end);
    }
    return other != NULL;
}

/* Does the space map pages of [first, end) elsewhere too? */
static bool has_twice(const struct mapping *m, uint64_t first, uint64_t end)
{
    const struct mapping *other = object_overlap_first(m->object, first, end);
    while (other != NULL && (other == m || other->space != m->space)) {
        other = object_overlap_next(other, first, end);
    }
    return other != NULL;
}

/* Has the space the stretch by mappings that are not left out, and by a chain that does not begin with itself? */
static bool still_has(struct gift_graph *g)
{
    bool may_have = false;
    for (const struct mapping *m = gift_first(g); m != NULL; m = gift_next(g, m)) {
        if (m->space != g->to || mapping_is_private(m) || gift_is_left_out(g, m)) {
            continue;
        }
        if (m->giver == 0) {
            return true;
        }
        may_have = true;
    }
    if (may_have) {
        gift_mark(g);
        may_have = gift_is_supported(g->to);
        gift_unmark(g);
    }
    return may_have;
}

/* The next pages [*from, *to) below `end` that the space has no more without `m`. => false: there are none */
static bool next_lost(const struct mapping *m, vaddr_t since, uint64_t *from, uint64_t end, uint64_t *to)
{
    struct gift_graph g = {.object = m->object, .to = m->space, .since = since};
    uint64_t at = *from;
    bool found = false;
    if (!has_twice(m, at, end)) {
        *to = end;
        return at < end;
    }
    while (gift_next_stretch(&g, &at, end)) { /* side by side: `m` has them all */
        g.last = gift_address(&g, m);
        if (still_has(&g)) {
            if (found) {
                return true;
            }
            *from = g.end;
        } else {
            found = true;
            *to = g.end;
        }
    }
    return found;
}

/* Each end of what is lost cuts each gift that it lies in. */
size_t gifts_pass_missing(const struct mapping *m, uint64_t first, npages_t pages, vaddr_t since)
{
    const uint64_t end = first + pages.v;
    size_t records = 0;
    uint64_t from = first, to;
    while (has_gifts(m, from, end) && next_lost(m, since, &from, end, &to)) {
        const struct mapping *gift = object_overlap_first(m->object, from, to);
        for (; gift != NULL; gift = object_overlap_next(gift, from, to)) {
            if (gift->giver == m->space->tables.id) {
                records += (size_t)(gift->first < from) + (gift->first + gift->pages.v > to);
            }
        }
        from = to;
    }
    return records;
}

/* Is there a record to cut a gift? */
static bool may_cut(const struct aspaces *system)
{
    return pool_missing(&system->mappings, 1) <= system->stock.count;
}

/* The part of a gift below `end` counts as given by somebody else; where it cannot be cut, all of it. */
static struct mapping *pass(struct mapping *gift, uint64_t end, uint32_t giver)
{
    if (gift->first + gift->pages.v > end && may_cut(gift->space->system)) {
        (void)mapping_split(gift, vaddr_add_pages(gift->base, end - gift->first));
    }
    gift->giver = giver;
    return mapping_merge(gift);
}

static void pass_stretch(struct mapping *m, uint64_t first, uint64_t end, uint32_t giver)
{
    const uint32_t id = m->space->tables.id;
    struct mapping *gift = object_overlap_first(m->object, first, end);
    for (; gift != NULL; gift = object_overlap_next(gift, first, end)) {
        if (gift->giver != id || gift == m) {
            continue;
        }
        if (gift->first < first && may_cut(gift->space->system)) {
            /* the upper part comes later, behind all that begin below `first` */
            (void)mapping_split(gift, vaddr_add_pages(gift->base, first - gift->first));
        } else {
            gift = pass(gift, end, giver == gift->space->tables.id ? m->giver : giver);
        }
    }
}

void gifts_pass(struct mapping *m, uint64_t first, npages_t pages, uint32_t giver, vaddr_t since)
{
    uint64_t from = first, to;
    while (has_gifts(m, from, first + pages.v) && next_lost(m, since, &from, first + pages.v, &to)) {
        pass_stretch(m, from, to, giver);
        from = to;
    }
}
