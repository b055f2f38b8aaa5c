/*
 * Withdrawal, page by page, by the graph of who gave what to whom: a space that was reached from the one who must give
 * back keeps what somebody else still gives it, and what it gave on; it loses the rest.
 */
#include "unit/aspace_play_map.h"

enum { EDGES = 64 };

struct edge { /* a mapping of the page */
    unsigned holder;
    uint32_t giver;
    uint64_t number;
    bool gone;
};

struct graph {
    struct edge edge[EDGES];
    unsigned count;
    bool reached[APLAY_SPACES], supported[APLAY_SPACES];
};

static void collect(struct graph *g, uint8_t object, uint32_t page)
{
    *g = (struct graph){0};
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        const struct aplay_space *s = &aplay.space[k];
        for (unsigned i = 0; i < s->count && g->count < EDGES; i++) {
            const struct aplay_page *p = &s->page[i];
            if (p->object == object && p->page == page && !aplay_is_private(p)) {
                g->edge[g->count++] = (struct edge){.holder = k, .giver = p->giver, .number = p->number};
            }
        }
    }
}

static uint32_t id_of(unsigned k) { return aplay.space[k].lives ? aplay.space[k].space.tables.id : UINT32_MAX; }

static bool is_from(const struct edge *e, const bool *spaces)
{
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        if (spaces[k] && id_of(k) == e->giver) {
            return true;
        }
    }
    return false;
}

static void reach(struct graph *g, unsigned from, unsigned to)
{
    g->reached[to] = true;
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < g->count; i++) {
            const struct edge *e = &g->edge[i];
            if (!e->gone && e->holder != from && !g->reached[e->holder] && is_from(e, g->reached)) {
                more = g->reached[e->holder] = true;
            }
        }
    }
}

static void support(struct graph *g)
{
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < g->count; i++) {
            const struct edge *e = &g->edge[i];
            const bool helps = !is_from(e, g->reached) || (is_from(e, g->supported) && e->giver != id_of(e->holder));
            if (!e->gone && g->reached[e->holder] && !g->supported[e->holder] && helps) {
                more = g->supported[e->holder] = true;
            }
        }
    }
}

/* => the page was given by `from` to `to`; it is taken away from whom it must be. */
static bool withdraw_page(const struct aplay_page *page, unsigned from, unsigned to)
{
    struct graph g;
    bool any = false;
    collect(&g, page->object, page->page);
    for (unsigned i = 0; i < g.count; i++) {
        g.edge[i].gone = g.edge[i].holder == to && g.edge[i].giver == id_of(from);
        any = any || g.edge[i].gone;
    }
    if (!any) {
        return false;
    }
    reach(&g, from, to);
    support(&g);
    for (unsigned i = 0; i < g.count; i++) {
        struct edge *e = &g.edge[i];
        for (unsigned k = 0; k < APLAY_SPACES; k++) {
            e->gone = e->gone || (g.reached[k] && !g.supported[k] && e->giver == id_of(k));
        }
    }
    for (unsigned i = 0; i < g.count; i++) {
        if (g.edge[i].gone) {
            aplay_remove(&aplay.space[g.edge[i].holder], g.edge[i].number, 1);
        }
    }
    return true;
}

/* Has `to` anything of the range from `from`? */
static bool has_gift(struct aplay_space *from, struct aplay_space *to, const struct aplay_range *r)
{
    for (unsigned i = 0; i < to->count; i++) {
        const struct aplay_page *b = &to->page[i];
        if (b->object == 0 || b->giver != from->space.tables.id || aplay_is_private(b)) {
            continue;
        }
        for (unsigned k = aplay_lower(from, number_of(r->va)); k < from->count; k++) {
            const struct aplay_page *a = &from->page[k];
            if (a->number >= number_of(r->va) + r->pages.v) {
                break;
            }
            if (a->object == b->object && a->page == b->page && !aplay_is_private(a)) {
                return true;
            }
        }
    }
    return false;
}

/* Often a range of which something was given. */
static struct aplay_range pick(const struct aplay_op *op, struct aplay_space *from, struct aplay_space **to)
{
    for (unsigned k = 0; k < APLAY_SPACES * 64 && op->rights % 4 != 0 && from->count > 0; k++) {
        const struct aplay_page *a = &from->page[(op->which + 7919U * k) % from->count];
        struct aplay_space *s = &aplay.space[(op->other + k) % APLAY_SPACES];
        for (unsigned i = 0; i < s->count && a->object != 0; i++) {
            if (s->page[i].giver == from->space.tables.id && s->page[i].object == a->object) {
                *to = s;
                struct aplay_op near = *op;
                near.which = (uint32_t)(a - from->page);
                return aplay_pick_range(from, &near);
            }
        }
    }
    return aplay_pick_range(from, op);
}

void aplay_withdraw(const struct aplay_op *op)
{
    struct aplay_space *from = &aplay.space[op->space], *to = &aplay.space[op->other];
    const struct aplay_range r = pick(op, from, &to);
    unsigned may = aplay_shortage(), must = aplay_dead(from) | aplay_dead(to) | r.wrong;
    must |= from == to ? APLAY_BIT(STATUS_INVALID) | APLAY_BIT(STATUS_ABSENT) : 0;
    must |= must == 0 && !has_gift(from, to, &r) ? APLAY_BIT(STATUS_ABSENT) : 0;
    const enum status s = aspace_withdraw(&from->space, r.va, r.pages, &to->space);
    aplay_say("aspace_withdraw(%u, %#lx, %lu, %u) = %s", op->space, r.va.v, r.pages.v, index_of(to), status_name(s));
    if (!aplay_answer(APLAY_WITHDRAW, s, must, may)) {
        return;
    }
    for (uint64_t n = number_of(r.va); n < number_of(r.va) + r.pages.v; n++) {
        const struct aplay_page *p = aplay_find(from, n);
        if (p != NULL && p->object != 0 && !aplay_is_private(p)) {
            const struct aplay_page copy = *p;
            (void)withdraw_page(&copy, index_of(from), index_of(to));
        }
    }
}
