/*
 * What stands of a stretch: from the spaces that have the pages of their own along all gifts (gifts.c, section 2). A
 * space that stands is on a list, and marked, for the time of a question; gifts wait in lists by their giver's id until
 * this is seen to stand.
 */
#include "aspace/gifts.h"

enum { LISTS_LOG2 = 5 };

bool gift_next_stretch(struct gift_graph *g, uint64_t *at, uint64_t end)
{
    const struct mapping *m = *at < end ? object_overlap_first(g->object, *at, end) : NULL;
    if (m == NULL) {
        return false;
    }
    g->first = m->first > *at ? m->first : *at;
    g->end = end;
    for (; m != NULL && m->first < g->end; m = object_overlap_next(m, g->first, g->end)) {
        const uint64_t last = m->first + m->pages.v;
        g->end = m->first > g->first ? m->first : last < g->end ? last : g->end;
        ++*g->looks;
    }
    *at = g->end;
    return true;
}

bool gift_is_left_out(const struct gift_graph *g, const struct mapping *m)
{
    if (m->space != g->to) {
        return false;
    }
    if (g->from != NULL) {
        return m->giver == g->from->tables.id || (m->is_anyones && g->takes_anyones);
    }
    const uint64_t va = gift_address(g, m).v;
    return va >= g->since.v && va < g->until.v;
}

struct standing {
    struct aspace *first, *last; /* by next_giver */
    struct mapping *waiting[1 << LISTS_LOG2];
};

/* Fibonacci hashing: ids that were given one after the other fall into different lists. */
static struct mapping **list_of(struct standing *s, uint32_t giver)
{
    return &s->waiting[giver * 0x9E3779B9U >> (32 - LISTS_LOG2)];
}

/* The mapping stands, and with it its space, unless it is a copy (nothing to give on), or left out. */
static void stand(const struct gift_graph *g, struct standing *s, struct mapping *m)
{
    struct aspace *space = m->space;
    m->next_gift = m; /* gift_stands */
    if (space->marks == 0 && !mapping_is_private(m) && !gift_is_left_out(g, m)) {
        space->marks = 1;
        *(s->last != NULL ? &s->last->next_giver : &s->first) = space;
        s->last = space;
    }
}

bool gift_weigh(const struct gift_graph *g)
{
    struct standing s = {0};
    for (struct mapping *m = gift_first(g); m != NULL; m = gift_next(g, m)) {
        if (m->giver == 0) {
            stand(g, &s, m);
        } else {
            struct mapping **list = list_of(&s, m->giver);
            m->next_gift = *list;
            *list = m;
        }
    }
    for (const struct aspace *space = s.first; space != NULL; space = space->next_giver) {
        struct mapping *m, **at = list_of(&s, space->tables.id);
        while (space->gives && (m = *at) != NULL) {
            if (m->giver == space->tables.id) {
                *at = m->next_gift;
                stand(g, &s, m);
            } else {
                at = &m->next_gift;
            }
        }
    }
    const bool still_has = g->to->marks != 0;
    for (struct aspace *space = s.first, *next; space != NULL; space = next) {
        next = space->next_giver;
        space->next_giver = NULL;
        space->marks = 0;
    }
    return still_has;
}

/* ---- How often ---- */

bool limits_allow_again(const struct aspace *space, const struct object *object, uint64_t first, npages_t pages,
                        const struct aspace *from, struct giving_up *up)
{
    uint64_t until[ASPACE_TIMES]; /* of those that have the page at hand, where they end */
    unsigned n = from == NULL; /* until[0]: all of it */
    const struct mapping *m = object_overlap_first(object, first, first + pages.v);
    until[0] = UINT64_MAX;
    for (; m != NULL; m = object_overlap_next(m, first, first + pages.v), up->looks++) {
        const bool counts = m->space == space  ? !va_is_global(m->base) && !mapping_is_private(m)
                            : m->space == from ? m->base.v < up->end.v && mapping_end(m) > up->since.v
                                               : false;
        unsigned left = 0;
        for (unsigned i = 0; i < n && counts; i++) {
            if (until[i] > m->first) {
                until[left++] = until[i];
            }
        }
        if (counts && left == ASPACE_TIMES) {
            return false;
        }
        if (counts) {
            until[left] = m->first + m->pages.v;
            n = left + 1;
        }
    }
    return true;
}
