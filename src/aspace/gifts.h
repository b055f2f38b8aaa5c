/* The graph of who gave a page to whom (gifts.c, sections 1 to 3). Private to src/aspace/. */
#ifndef CAIRN_ASPACE_GIFTS_H
#define CAIRN_ASPACE_GIFTS_H

#include "aspace/mapping.h"

/*
 * Pages [first, end) of an object, among which a mapping that has one has all; and the question what stands without
 * some mappings of `to`: those that `from` gave it, or, `from` null, those of addresses [since, until) (of the first
 * page).
 */
struct gift_graph {
    struct object *object;
    uint64_t first, end;
    struct aspace *from, *to;
    vaddr_t since, until;
    bool takes_anyones; /* `from` has the pages: those are left out too that are anyone's */
    uint64_t *looks; /* each mapping of each stretch counts once */
};

/* The next stretch of [*at, end) that somebody maps; *at is its end. */
bool gift_next_stretch(struct gift_graph *g, uint64_t *at, uint64_t end);

static inline struct mapping *gift_first(const struct gift_graph *g)
{
    return object_overlap_first(g->object, g->first, g->end);
}
static inline struct mapping *gift_next(const struct gift_graph *g, const struct mapping *m)
{
    return object_overlap_next(m, g->first, g->end);
}

/* Where the mapping has the first page. */
static inline vaddr_t gift_address(const struct gift_graph *g, const struct mapping *m)
{
    return vaddr_add_pages(m->base, g->first - m->first);
}

/* Is it one of those without which is asked? */
bool gift_is_left_out(const struct gift_graph *g, const struct mapping *m);

/*
 * Which mappings of the stretch stand: they are their space's own, or there is a chain of gifts to their giver from a
 * space that has the pages of its own, without those left out. gift_stands says it of each, of those left out too,
 * until the next question. => does `to` still have the pages so? O(mappings of the stretch), as long as few ids of
 * givers fall together in a list.
 */
bool gift_weigh(const struct gift_graph *g);
static inline bool gift_stands(const struct mapping *m) { return m->next_gift == m; }

#endif
