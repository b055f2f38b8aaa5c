/*
 * Who has which page from whom, page by page, by the graph of gifts. Withdrawal: a space that was reached from the one
 * who must give back keeps what somebody else still gives it, and what it gave on; it loses the rest. Who gives up
 * pages stays the giver of those that it still has from others than those it gave them to.
 */
#include "arch/layout.h"
#include "unit/aspace_play_map.h"

enum { EDGES = 128 };

struct edge { /* a mapping of the page */
    unsigned holder;
    uint32_t giver;
    struct aplay_page *page;
    bool gone;
};

struct graph {
    struct edge edge[EDGES];
    unsigned count;
    bool reached[APLAY_SPACES], supported[APLAY_SPACES];
};

/* Pages of spaces by the page of an object that they are: lists, by index in `users`. */
enum { NONE = -1 };
static struct user {
    struct aplay_page *page;
    unsigned holder;
    int next;
} users[APLAY_SPACES * APLAY_SPACE_PAGES];
static int first_user[APLAY_OBJECTS][APLAY_OBJECT_PAGES];

static bool is_shared(const struct aplay_page *p) { return p->object != 0 && !aplay_is_private(p); }

unsigned aplay_times(const struct aplay_space *s, unsigned object, uint64_t page)
{
    unsigned times = 0;
    for (unsigned k = 0; k < s->count && s->page[k].number < number_of(vaddr(APLAY_PRIVATE_END)); k++) {
        const struct aplay_page *p = &s->page[k];
        times += p->object == object && p->page == page && is_shared(p);
    }
    return times;
}

/* Of the pages that a space has; good until pages come or go. */
static void list_users(void)
{
    int n = 0;
    for (unsigned i = 0; i < 2 * APLAY_SPACES; i++) {
        const unsigned holder = i % APLAY_SPACES;
        struct aplay_space *s = &aplay.space[holder];
        for (unsigned k = 0; k < s->count; k++) {
            struct aplay_page *p = &s->page[k];
            int *first = is_shared(p) ? &first_user[p->object - 1][p->page] : NULL;
            if (first != NULL && i < APLAY_SPACES) {
                *first = NONE;
            } else if (first != NULL) {
                users[n] = (struct user){p, holder, *first};
                *first = n++;
            }
        }
    }
}

static void collect(struct graph *g, const struct aplay_page *of)
{
    *g = (struct graph){0};
    for (int i = first_user[of->object - 1][of->page]; i != NONE; i = users[i].next) {
        if (g->count == EDGES) {
            aplay_fail("a page has more than %u mappings", g->count);
            return;
        }
        g->edge[g->count++] = (struct edge){users[i].holder, users[i].page->giver, users[i].page, false};
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

/* If the page was given by `from` to `to`, it is taken away from whom it must be. */
static void withdraw_page(const struct aplay_page *page, unsigned from, unsigned to)
{
    struct graph g;
    bool any = false;
    list_users();
    collect(&g, page);
    for (unsigned i = 0; i < g.count; i++) {
        g.edge[i].gone = g.edge[i].holder == to && g.edge[i].giver == id_of(from);
        any = any || g.edge[i].gone;
    }
    if (!any) {
        return;
    }
    reach(&g, from, to);
    support(&g);
    for (unsigned i = 0; i < g.count; i++) {
        struct edge *e = &g.edge[i];
        for (unsigned k = 0; k < APLAY_SPACES; k++) {
            e->gone = e->gone || (g.reached[k] && !g.supported[k] && e->giver == id_of(k));
        }
    }
    uint64_t numbers[EDGES]; /* pages move as others go */
    for (unsigned i = 0; i < g.count; i++) {
        numbers[i] = g.edge[i].page->number;
    }
    for (unsigned i = 0; i < g.count; i++) {
        if (g.edge[i].gone) {
            aplay_remove(&aplay.space[g.edge[i].holder], numbers[i], 1);
        }
    }
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
            withdraw_page(&copy, index_of(from), index_of(to));
        }
    }
}

/* ---- Who gives pages up ---- */

/* Has the space the page, without its own of [first, last], by a chain that does not begin with itself? */
static bool still_has(struct graph *g, unsigned holder, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < g->count; i++) {
        struct edge *e = &g->edge[i];
        e->gone = e->holder == holder && e->page->number >= first && e->page->number <= last;
    }
    reach(g, APLAY_SPACES, holder);
    support(g);
    return g->supported[holder];
}

void aplay_pass(struct aplay_space *s, uint64_t number, uint64_t pages, uint32_t heir)
{
    const uint32_t id = s->space.tables.id;
    const unsigned from = aplay_lower(s, number), to = aplay_lower(s, number + pages);
    list_users();
    for (unsigned i = from; i < to; i++) {
        const struct aplay_page *p = &s->page[i];
        bool gave = false;
        for (int u = is_shared(p) ? first_user[p->object - 1][p->page] : NONE; u != NONE; u = users[u].next) {
            gave = gave || (users[u].page->giver == id && users[u].page != p);
        }
        struct graph g;
        if (!gave || p->giver == id) {
            continue;
        }
        collect(&g, p);
        if (still_has(&g, index_of(s), number, p->number)) {
            continue;
        }
        const uint32_t giver = heir != 0 ? heir : p->giver;
        for (unsigned k = 0; k < g.count; k++) {
            struct aplay_page *gift = g.edge[k].page;
            if (gift->giver == id && gift != p) {
                gift->giver = giver == id_of(g.edge[k].holder) ? p->giver : giver;
            }
        }
    }
}

void aplay_check_gifts(void)
{
    list_users();
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        for (unsigned i = 0; i < aplay.space[k].count && !aplay.result.failed; i++) {
            const struct aplay_page *p = &aplay.space[k].page[i];
            struct graph g;
            if (!is_shared(p) || p->giver == 0) {
                continue;
            }
            collect(&g, p);
            bool has[APLAY_SPACES] = {false}, gives = false;
            for (unsigned round = 0; round < APLAY_SPACES; round++) {
                for (unsigned e = 0; e < g.count; e++) {
                    has[g.edge[e].holder] |= g.edge[e].giver == 0 || is_from(&g.edge[e], has);
                }
            }
            for (unsigned e = 0; e < g.count; e++) {
                gives = gives || (has[g.edge[e].holder] && id_of(g.edge[e].holder) == p->giver);
            }
            if (!has[k] || !gives) {
                aplay_fail("space %u has %#lx from space of id %u, and nobody behind it has the page of his own", k,
                           address_of(p->number).v, p->giver);
            }
        }
    }
}
