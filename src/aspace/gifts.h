/* The graph of who gave a page to whom (gifts.c, sections 1 to 3). Private to src/aspace/. */
#ifndef CAIRN_ASPACE_GIFTS_H
#define CAIRN_ASPACE_GIFTS_H

#include "aspace/mapping.h"

/*
 * Pages [first, end) of an object, among which a mapping that has one has all; and the question what there is without
 * some mappings of `to`: those that `from` gave it, or, `from` null, those of addresses [since, last] (of the first
 * page).
 */
struct gift_graph {
    struct object *object;
    uint64_t first, end;
    struct aspace *from, *to;
    vaddr_t since, last;
    struct aspace *givers; /* reached, and gave something once: a list */
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
 * Mark who has the pages from `to`, directly or not, and who of these (and `to`) has them from elsewhere too. Rounds
 * over the mappings of the stretch, at most one for each space reached that ever gave anything. gift_unmark follows.
 */
void gift_mark(struct gift_graph *g);
void gift_unmark(struct gift_graph *g);
/* Of a marked graph: is a mapping that this space gave a gift of nobody who has the pages? */
bool gift_is_lost(const struct gift_graph *g, const struct mapping *m);
bool gift_is_supported(const struct aspace *space);

#endif
