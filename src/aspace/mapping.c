/*
 * Mappings: theory.
 *
 * 1. A mapping is a record of a pool, in two trees: by address in its space's, by first page in its object's. The
 *    trees' nodes lie in the record, so that to put one in or take one out takes no memory: what takes memory is a
 *    record, and only a mapping more needs one. reserve.c asks for it before anything is changed.
 *
 * 2. How many records a call takes at most, with what it makes more of mappings:
 *      map                          1
 *      unmap                        1: a part in the middle leaves two; a part at an end leaves the record that was
 *      protect, seal                2: one mapping becomes three; the record of a range that merges comes back
 *    share and transfer: share.c; clone: as many as the parent has. The limit of a space counts what is there after all
 *    is merged, records what is there at most in between.
 *
 * 3. Neighbours that could be one are one: so what is counted against a limit does not depend on the way that led
 *    there, and a range that was cut and made whole again is one record.
 *
 * 4. The object's tree answers "who maps a page of [first, end)?". In each node is how far the pages of its subtree
 *    reach (the greatest end), so subtrees that end too early are left out: O(log mappings) for each that is found.
 */
#include "aspace/mapping.h"

/* ---- The trees ---- */

/* `reach` from the node and its two children. */
static void reach_update(struct avl_node *n)
{
    struct mapping *m = mapping_by_page(n);
    m->reach = m->first + m->pages.v;
    for (unsigned side = AVL_LEFT; side <= AVL_RIGHT; side++) {
        const struct mapping *child = mapping_by_page(avl_child(n, side));
        m->reach = child != NULL && child->reach > m->reach ? child->reach : m->reach;
    }
}

static uint64_t base_of(const struct avl_node *n) { return CONTAINER_OF(n, struct mapping, by_address)->base.v; }
static uint64_t first_of(const struct avl_node *n) { return CONTAINER_OF(n, struct mapping, by_page)->first; }

static void put_by_address(struct mapping *m)
{
    avl_insert_by(&m->space->mappings, &m->by_address, base_of);
    aspace_note_root(m->space);
}

static void take_by_address(struct mapping *m)
{
    avl_remove(&m->space->mappings, &m->by_address);
    aspace_note_root(m->space);
}

static void put_by_page(struct mapping *m)
{
    m->object->mappings.update = reach_update;
    avl_insert_by(&m->object->mappings, &m->by_page, first_of);
}

static void link(struct mapping *m)
{
    put_by_address(m);
    m->space->ranges++;
    if (m->object != NULL) {
        put_by_page(m);
        m->object->mapping_count++;
        m->object->is_written |= !mapping_is_private(m) && (m->allowed & VMM_WRITE) != 0;
    }
}

static void unlink(struct mapping *m)
{
    take_by_address(m);
    m->space->ranges--;
    if (m->object != NULL) {
        avl_remove(&m->object->mappings, &m->by_page);
        m->object->mapping_count--;
    }
}

/* It ends elsewhere now. */
static void set_pages(struct mapping *m, npages_t pages)
{
    m->pages = pages;
    if (m->object != NULL) {
        avl_changed(&m->object->mappings, &m->by_page);
    }
}

static void lose_lead(struct mapping *m)
{
    mapping_clear(m, ASPACE_GUARD_BELOW);
    m->room_pages = 0;
}

/* It begins so many pages later; among the pages of its object that may be another place. */
static void cut_head(struct mapping *m, npages_t pages)
{
    if (m->object != NULL) {
        avl_remove(&m->object->mappings, &m->by_page);
    }
    m->base = vaddr_add_pages(m->base, pages.v);
    m->first += pages.v;
    m->pages.v -= pages.v;
    lose_lead(m);
    if (m->object != NULL) {
        put_by_page(m);
    }
}

static struct aspaces *system_of(const struct mapping *m) { return m->space->system; }

static void put_record(struct aspaces *system, struct mapping *m)
{
    must(pool_put(&system->mappings, m)); /* it was taken there */
}

/* ---- Finding ---- */

static inline struct mapping *not_const(const struct mapping *m) { return (struct mapping *)(uintptr_t)m; }

static const struct mapping *below(const struct aspace *space, vaddr_t va)
{
    const struct mapping *root = mapping_root(space);
    return root != NULL ? mapping_below(root, va) : MAPPING_NONE;
}

struct mapping *mapping_at(const struct aspace *space, vaddr_t va)
{
    const struct mapping *m = below(space, va);
    return va.v < mapping_end(m) ? not_const(m) : NULL;
}

struct mapping *mapping_from(const struct aspace *space, vaddr_t va)
{
    const struct mapping *m = below(space, va);
    if (m == MAPPING_NONE) {
        return mapping_by_address(avl_first(&space->mappings));
    }
    return va.v < mapping_end(m) ? not_const(m) : mapping_next(m);
}

struct mapping *mapping_next(const struct mapping *m) { return mapping_by_address(avl_next(&m->by_address)); }
struct mapping *mapping_previous(const struct mapping *m) { return mapping_by_address(avl_previous(&m->by_address)); }

bool mapping_covers(const struct aspace *space, vaddr_t va, npages_t pages)
{
    const uint64_t end = vaddr_add_pages(va, pages.v).v;
    const struct mapping *m = mapping_at(space, va);
    while (m != NULL && mapping_end(m) < end) {
        const struct mapping *next = mapping_next(m);
        m = next != NULL && next->base.v == mapping_end(m) ? next : NULL;
    }
    return m != NULL;
}

bool mapping_is_clear(const struct aspace *space, vaddr_t va, npages_t pages)
{
    const struct mapping *m = mapping_from(space, va);
    return m == NULL || m->base.v >= vaddr_add_pages(va, pages.v).v;
}

/* ---- Changing ---- */

struct mapping *mapping_add(struct aspace *space, const struct mapping *values)
{
    struct mapping *m = pool_take(&space->system->mappings);
    *m = *values;
    m->by_address = m->by_page = (struct avl_node){0};
    m->space = space;
    space->pages.v += m->pages.v;
    link(m);
    return m;
}

void mapping_pass(struct mapping *m, struct aspace *to)
{
    struct aspace *from = m->space;
    take_by_address(m);
    from->ranges--;
    from->pages.v -= m->pages.v;
    m->space = to;
    put_by_address(m);
    to->ranges++;
    to->pages.v += m->pages.v;
}

void mapping_remove(struct mapping *m)
{
    struct aspaces *system = system_of(m);
    m->space->pages.v -= m->pages.v;
    unlink(m);
    put_record(system, m);
}

struct mapping *mapping_split(struct mapping *m, vaddr_t at)
{
    const npages_t below = bytes_to_pages_down(at.v - m->base.v);
    struct mapping *upper = pool_take(&system_of(m)->mappings);
    *upper = *m;
    upper->by_address = upper->by_page = (struct avl_node){0};
    upper->base = at;
    upper->first += below.v;
    upper->pages.v -= below.v;
    lose_lead(upper);
    mapping_clear(m, ASPACE_GUARD_ABOVE);
    set_pages(m, below);
    link(upper);
    return upper;
}

void mapping_cut(struct mapping *m, vaddr_t va, npages_t pages)
{
    const uint64_t end = vaddr_add_pages(va, pages.v).v;
    if (va.v == m->base.v && end == mapping_end(m)) {
        mapping_remove(m);
        return;
    }
    if (va.v > m->base.v && end < mapping_end(m)) {
        (void)mapping_split(m, vaddr(end));
    }
    m->space->pages.v -= pages.v;
    if (va.v > m->base.v) {
        mapping_clear(m, ASPACE_GUARD_ABOVE);
        set_pages(m, bytes_to_pages_down(va.v - m->base.v));
    } else {
        cut_head(m, pages);
    }
}

bool limits_allow(const struct aspace *space, npages_t more, size_t ranges)
{
    const struct aspace_limits *l = &space->limits;
    return (l->pages.v == 0 || (more.v <= l->pages.v && space->pages.v <= l->pages.v - more.v)) &&
           (l->ranges == 0 || ranges <= l->ranges || ranges <= space->ranges);
}

bool mapping_joins(const struct mapping *low, const struct mapping *high)
{
    const unsigned beside = ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE;
    return mapping_end(low) == high->base.v && low->object == high->object &&
           (low->object == NULL || low->first + low->pages.v == high->first) && low->rights == high->rights &&
           low->allowed == high->allowed && low->sealed == high->sealed && low->giver == high->giver &&
           low->is_anyones == high->is_anyones &&
           low->tag == high->tag && (low->flags & ~beside) == (high->flags & ~beside);
}

/* `high` becomes part of `low`. */
static void join(struct mapping *low, struct mapping *high)
{
    const npages_t pages = npages(low->pages.v + high->pages.v);
    low->flags |= high->flags & ASPACE_GUARD_ABOVE;
    unlink(high);
    put_record(system_of(low), high);
    set_pages(low, pages);
}

struct mapping *mapping_merge(struct mapping *m)
{
    struct mapping *next = mapping_next(m), *previous = mapping_previous(m);
    if (next != NULL && mapping_joins(m, next)) {
        join(m, next);
    }
    if (previous != NULL && mapping_joins(previous, m)) {
        join(previous, m);
        m = previous;
    }
    return m;
}

/* ---- Of an object ---- */

static inline uint64_t last_of(const struct mapping *m) { return m->first + m->pages.v; }

/*
 * The leftmost in the subtree. Where the left part reaches behind `first`, it has the answer or there is none: who
 * reaches so far either begins in front of `end`, or all that is further right does not.
 */
static struct mapping *overlap_below(struct avl_node *n, uint64_t first, uint64_t end)
{
    while (n != NULL && mapping_by_page(n)->reach > first) {
        struct mapping *m = mapping_by_page(n), *left = mapping_by_page(avl_child(n, AVL_LEFT));
        if (left != NULL && left->reach > first) {
            n = avl_child(n, AVL_LEFT);
        } else if (m->first >= end) {
            return NULL;
        } else if (last_of(m) > first) {
            return m;
        } else {
            n = avl_child(n, AVL_RIGHT);
        }
    }
    return NULL;
}

struct mapping *object_overlap_first(const struct object *object, uint64_t first, uint64_t end)
{
    return overlap_below(object->mappings.root, first, end);
}

struct mapping *object_overlap_next(const struct mapping *m, uint64_t first, uint64_t end)
{
    const struct avl_node *n = &m->by_page;
    struct mapping *found = overlap_below(avl_child(n, AVL_RIGHT), first, end);
    while (found == NULL && n->parent != NULL) {
        struct avl_node *parent = n->parent;
        if (parent->child[AVL_LEFT] == n) {
            struct mapping *above = mapping_by_page(parent);
            if (above->first >= end) {
                return NULL;
            }
            found = last_of(above) > first ? above : overlap_below(avl_child(parent, AVL_RIGHT), first, end);
        }
        n = parent;
    }
    return found;
}

bool object_gap(const struct object *object, uint64_t *from, uint64_t end, uint64_t *to)
{
    uint64_t at = *from;
    const struct mapping *m = object_overlap_first(object, at, end);
    while (at < end && m != NULL && m->first <= at) {
        at = last_of(m) > at ? last_of(m) : at;
        m = object_overlap_next(m, at, end);
    }
    *from = at;
    *to = m != NULL ? m->first : end;
    return at < end;
}
