/*
 * Who gives up pages passes its gifts on (gifts.c, section 4): not where it still has the pages, from somebody who does
 * not have them from it.
 */
#include "arch/layout.h"
#include "aspace/gifts.h"

/* The next one, unless there were too many looks. */
static struct mapping *look_on(struct giving_up *up, const struct mapping *m, uint64_t first, uint64_t end)
{
    up->looks++;
    return gifts_are_too_many(up, npages(end - first)) ? NULL : object_overlap_next(m, first, end);
}

/* Is any of [first, end) somebody's from the space of `m`? One look at all who map it spares one for each stretch. */
static bool has_gifts(const struct mapping *m, uint64_t first, uint64_t end, struct giving_up *up)
{
    if (first >= end || m->object == NULL || !m->space->gives || mapping_is_private(m)) {
        return false;
    }
    const struct mapping *other = object_overlap_first(m->object, first, end);
    while (other != NULL && other->giver != m->space->tables.id) {
        other = look_on(up, other, first, end);
    }
    return other != NULL;
}

/* Does the space map pages of [first, end) elsewhere too? */
static bool has_twice(const struct mapping *m, uint64_t first, uint64_t end, struct giving_up *up)
{
    const struct mapping *other = object_overlap_first(m->object, first, end);
    while (other != NULL && (other == m || other->space != m->space || mapping_is_private(other))) {
        other = look_on(up, other, first, end);
    }
    return other != NULL;
}

/*
 * Whose are the space's gifts of a stretch from now on, all being gone that it gives up? => false: they stay its own;
 * or that was decided at the first of its mappings there.
 */
static bool find_heir(const struct gift_graph *g, const struct mapping *m, uint32_t *heir)
{
    const struct mapping *last = NULL;
    if (gift_weigh(g)) {
        return false;
    }
    for (const struct mapping *x = gift_first(g); x != NULL; x = gift_next(g, x)) {
        if (x->space != g->to || mapping_is_private(x) || !gift_is_left_out(g, x)) {
            continue;
        }
        if (gift_address(g, x).v < gift_address(g, m).v) {
            return false;
        }
        if (gift_stands(x) && (last == NULL || gift_address(g, x).v > gift_address(g, last).v)) {
            last = x;
        }
    }
    *heir = last != NULL ? last->giver : m->giver;
    return true;
}

/* Pages that go from a space to one heir. */
struct lost {
    uint64_t from, end;
    uint32_t heir;
};

/* The next ones below `end`, from l->from on. => false: there are none */
static bool next_lost(const struct mapping *m, struct giving_up *up, uint64_t end, struct lost *l)
{
    struct gift_graph g = {
        .object = m->object, .to = m->space, .since = up->since, .until = up->end, .looks = &up->looks};
    uint64_t at = l->from;
    bool found = false;
    if (!has_twice(m, at, end, up)) {
        l->end = end;
        l->heir = m->giver;
        return m->giver != m->space->tables.id;
    }
    while (!gifts_are_too_many(up, npages(end - at)) && gift_next_stretch(&g, &at, end)) { /* `m` has them all */
        uint32_t heir = 0;
        const bool is_lost = find_heir(&g, m, &heir);
        if (found && (!is_lost || heir != l->heir)) {
            return true;
        }
        if (is_lost && !found) {
            *l = (struct lost){.from = g.first, .heir = heir};
        }
        l->end = is_lost ? g.end : l->end;
        found = is_lost;
    }
    return found;
}

/* Each end of what is lost cuts each gift that it lies in. */
size_t gifts_pass_missing(const struct mapping *m, uint64_t first, npages_t pages, struct giving_up *up)
{
    enum { LOOKS_OF_A_CUT = 8 }; /* a cut costs as much */
    const uint64_t end = first + pages.v;
    size_t records = 0;
    struct lost l = {.from = first};
    for (; has_gifts(m, l.from, end, up) && next_lost(m, up, end, &l); l.from = l.end) {
        const struct mapping *gift = object_overlap_first(m->object, l.from, l.end);
        for (; gift != NULL; gift = look_on(up, gift, l.from, l.end)) {
            if (gift->giver == m->space->tables.id) {
                const size_t cuts = (size_t)(gift->first < l.from) + (gift->first + gift->pages.v > l.end);
                up->looks += LOOKS_OF_A_CUT * cuts;
                records += cuts;
            }
        }
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
    const bool is_cut = gift->first + gift->pages.v > end;
    if (is_cut && may_cut(gift->space->system)) {
        (void)mapping_split(gift, vaddr_add_pages(gift->base, end - gift->first));
    }
    gift->is_anyones |= is_cut && gift->first + gift->pages.v > end;
    gift->giver = giver;
    return mapping_merge(gift);
}

static void pass_pages(struct mapping *m, const struct lost *l, uint32_t to)
{
    struct mapping *gift = object_overlap_first(m->object, l->from, l->end);
    for (; gift != NULL; gift = object_overlap_next(gift, l->from, l->end)) {
        if (gift->giver != m->space->tables.id || gift == m) {
            continue;
        }
        if (gift->first < l->from && may_cut(gift->space->system)) {
            /* the upper part comes later, behind all that begin below */
            (void)mapping_split(gift, vaddr_add_pages(gift->base, l->from - gift->first));
        } else {
            gift->is_anyones |= gift->first < l->from;
            gift = pass(gift, l->end, to == 0 || to == gift->space->tables.id ? l->heir : to);
        }
    }
}

void gifts_pass(struct mapping *m, uint64_t first, npages_t pages, struct giving_up *up)
{
    const uint64_t end = first + pages.v;
    for (struct lost l = {.from = first}; has_gifts(m, l.from, end, up) && next_lost(m, up, end, &l); l.from = l.end) {
        pass_pages(m, &l, up->to);
    }
}

/* ---- The end of a space ---- */

/* Has the space of `m` pages of the object from another one than `m` is from? */
static bool has_several_givers(const struct mapping *m)
{
    const struct mapping *other = object_overlap_first(m->object, 0, UINT64_MAX);
    while (other != NULL && (other->space != m->space || other->giver == m->giver || mapping_is_private(other))) {
        other = object_overlap_next(other, 0, UINT64_MAX);
    }
    return other != NULL;
}

/* All gifts of the object's pages at once, to the giver of `m`. */
static void pass_whole(const struct mapping *m)
{
    const uint32_t id = m->space->tables.id;
    if (m->object->passed_by == id || m->giver == id || mapping_is_private(m)) {
        return;
    }
    const bool is_anyones = has_several_givers(m);
    m->object->passed_by = id;
    struct mapping *gift = object_overlap_first(m->object, 0, UINT64_MAX);
    for (; gift != NULL; gift = object_overlap_next(gift, 0, UINT64_MAX)) {
        if (gift->giver == id && gift->space != m->space) {
            gift->is_anyones |= is_anyones;
            gift = pass(gift, UINT64_MAX, m->giver);
        }
    }
}

void gifts_pass_all(struct aspace *space)
{
    struct giving_up missing = {.since = vaddr(0), .end = vaddr(LAYOUT_USER_END), .most = ASPACE_LOOKS}, up = missing;
    struct mapping *m = mapping_by_address(avl_first(&space->mappings));
    for (; m != NULL && space->gives; m = mapping_next(m)) {
        if (m->object == NULL) {
            continue;
        }
        struct aspace_needs needs = {0};
        if (missing.looks <= missing.most) {
            needs.mappings = gifts_pass_missing(m, m->first, m->pages, &missing);
        }
        if (missing.looks <= missing.most && up.looks <= up.most) {
            (void)aspaces_reserve(space->system, &needs); /* else mappings are passed on whole */
            gifts_pass(m, m->first, m->pages, &up);
        }
        if (missing.looks > missing.most || up.looks > up.most) {
            pass_whole(m);
        }
    }
}
