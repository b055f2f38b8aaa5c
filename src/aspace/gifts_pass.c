/* Who gives up pages passes its gifts on (gifts.c, section 4). */
#include "aspace/mapping.h"

/*
 * While the space has a page by another mapping, its gifts of it stay its own. What was given back to it by itself, in
 * the end, is none; nor, when the space ends, is a mapping whose gifts were passed on already.
 */
static bool is_other(const struct mapping *other, const struct mapping *m)
{
    const struct aspace *space = m->space;
    return other != m && other->space == space && !mapping_is_private(other) && other->giver != space->tables.id &&
           !(space->ends && other->base.v < m->base.v);
}

/* The next stretch of [*from, end) that the space has by `m` alone: [*from, *to). => false: there is none. */
static bool has_alone(const struct mapping *m, uint64_t *from, uint64_t end, uint64_t *to)
{
    *to = end;
    const struct mapping *other = object_overlap_first(m->object, *from, end);
    for (; other != NULL && *from < end; other = object_overlap_next(other, *from, end)) {
        const uint64_t other_end = other->first + other->pages.v;
        if (!is_other(other, m) || other_end <= *from) {
            continue;
        }
        if (other->first > *from) {
            *to = other->first < *to ? other->first : *to;
            break;
        }
        *from = other_end;
    }
    return *from < end;
}

static bool may_have_gifts(const struct mapping *m)
{
    return m->object != NULL && m->space->gives && !mapping_is_private(m) && m->giver != m->space->tables.id;
}

/* Each end of a stretch cuts each gift that it lies in. */
size_t gifts_pass_missing(const struct mapping *m, uint64_t first, npages_t pages)
{
    const uint64_t end = first + pages.v;
    size_t records = 0, gifts = 0, others = 0;
    struct mapping *gift = may_have_gifts(m) ? object_overlap_first(m->object, first, end) : NULL;
    for (; gift != NULL; gift = object_overlap_next(gift, first, end)) {
        others += gift != m && gift->space == m->space;
        if (gift->giver == m->space->tables.id) {
            gifts++;
            records += (size_t)(gift->first < first) + (gift->first + gift->pages.v > end);
        }
    }
    return records + 2 * others * gifts;
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

void gifts_pass(struct mapping *m, uint64_t first, npages_t pages, uint32_t giver)
{
    uint64_t end = first + pages.v, to;
    if (may_have_gifts(m)) {
        for (uint64_t from = first; has_alone(m, &from, end, &to); from = to) {
            pass_stretch(m, from, to, giver);
        }
    }
}
