/* Who has a page from whom: marks in the spaces, for the time of a stretch (gifts.c). */
#include "aspace/gifts.h"

enum { MARK_REACHED = 1 << 0, MARK_SUPPORTED = 1 << 1 };

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
        return m->giver == g->from->tables.id;
    }
    const uint64_t va = gift_address(g, m).v;
    return va >= g->since.v && va <= g->last.v;
}

/* The list is short: only who gave something is in it. */
static struct aspace *giver_reached(const struct gift_graph *g, uint32_t id)
{
    struct aspace *space = id == 0 ? NULL : g->givers;
    while (space != NULL && space->tables.id != id) {
        space = space->next_giver;
    }
    return space;
}

static void reach(struct gift_graph *g, struct aspace *space)
{
    if ((space->marks & MARK_REACHED) == 0) {
        space->marks |= MARK_REACHED;
        if (space->gives) {
            space->next_giver = g->givers;
            g->givers = space;
        }
    }
}

/* All that `to` gave the pages to, and they in turn. */
static void reach_all(struct gift_graph *g)
{
    reach(g, g->to);
    bool again = true;
    while (again) {
        again = false;
        for (struct mapping *m = gift_first(g); m != NULL; m = gift_next(g, m)) {
            if ((m->space->marks & MARK_REACHED) == 0 && m->space != g->from && giver_reached(g, m->giver) != NULL) {
                reach(g, m->space);
                again = again || m->space->gives;
            }
        }
    }
}

/* Those reached that have the pages from elsewhere too, and those that have them from these. */
static void support_all(struct gift_graph *g)
{
    bool again = true;
    while (again) {
        again = false;
        for (struct mapping *m = gift_first(g); m != NULL; m = gift_next(g, m)) {
            const struct aspace *giver = giver_reached(g, m->giver);
            const bool supports = (giver == NULL || gift_is_supported(giver)) &&
                                  !mapping_is_private(m); /* a copy of one's own is nothing to give on */
            if (m->space->marks == MARK_REACHED && supports && !gift_is_left_out(g, m)) {
                m->space->marks |= MARK_SUPPORTED;
                again = true;
            }
        }
    }
}

void gift_mark(struct gift_graph *g)
{
    reach_all(g);
    support_all(g);
}

bool gift_is_supported(const struct aspace *space) { return (space->marks & MARK_SUPPORTED) != 0; }

bool gift_is_lost(const struct gift_graph *g, const struct mapping *m)
{
    const struct aspace *giver = giver_reached(g, m->giver);
    return gift_is_left_out(g, m) || (giver != NULL && !gift_is_supported(giver));
}

void gift_unmark(struct gift_graph *g)
{
    for (struct mapping *m = gift_first(g); m != NULL; m = gift_next(g, m)) {
        m->space->marks = 0;
    }
    while (g->givers != NULL) {
        struct aspace *space = g->givers;
        g->givers = space->next_giver;
        space->next_giver = NULL;
        space->marks = 0;
    }
    g->to->marks = 0;
}
