/* The arena's free ranges by size: one is chosen and cut, and what is freed is merged (arena.c, section 3). */
#include "vmm/arena_node.h"

enum { WORD_BITS = 8 * sizeof(uint64_t) };

/* ---- Lists by size class ---- */

static inline void link_in(struct arena *a, struct arena_node *n, unsigned class)
{
    struct arena_node *head = a->classes[class];
    n->peer = head;
    n->back = NULL;
    a->classes[class] = n;
    if (head != NULL) {
        head->back = n;
        return;
    }
    a->class_map[class / WORD_BITS] |= 1ULL << class % WORD_BITS;
    a->class_words |= 1ULL << class / WORD_BITS;
}

static inline void link_out(struct arena *a, struct arena_node *n, unsigned class)
{
    if (n->peer != NULL) {
        n->peer->back = n->back;
    }
    if (n->back != NULL) {
        n->back->peer = n->peer;
        return;
    }
    a->classes[class] = n->peer;
    if (n->peer == NULL) {
        unsigned word = class / WORD_BITS;
        a->class_map[word] &= ~(1ULL << class % WORD_BITS);
        if (a->class_map[word] == 0) {
            a->class_words &= ~(1ULL << word);
        }
    }
}

/* Free range `n`, on its list, is `pages` long from now on. */
static void resize(struct arena *a, struct arena_node *n, uint64_t pages)
{
    unsigned before = arena_size_class(n->pages.v), after = arena_size_class(pages);
    n->pages.v = pages;
    if (before != after) {
        link_out(a, n, before);
        link_in(a, n, after);
    }
}

/* The first class from `class` on whose list is not empty; ARENA_CLASSES: none. */
static unsigned next_class(const struct arena *a, unsigned class)
{
    if (class >= ARENA_CLASSES) {
        return ARENA_CLASSES;
    }
    unsigned word = class / WORD_BITS;
    uint64_t bits = a->class_map[word] >> class % WORD_BITS;
    if (bits != 0) {
        return class + (unsigned)__builtin_ctzll(bits);
    }
    uint64_t words = a->class_words & (~1ULL << word);
    if (words == 0) {
        return ARENA_CLASSES;
    }
    word = (unsigned)__builtin_ctzll(words);
    return word * WORD_BITS + (unsigned)__builtin_ctzll(a->class_map[word]);
}

/* ---- Choosing ---- */

bool arena_fits(const struct arena_node *n, const struct arena_request *r, vaddr_t *place)
{
    if (n->pages.v < r->pages.v) {
        return false;
    }
    uint64_t spare = n->pages.v - r->pages.v;
    uint64_t inside = bytes_to_pages_down(1ULL << r->align_log2).v - 1; /* bits of a page number inside the alignment */
    uint64_t lowest = vaddr_page_number(n->base) + r->lead.v;           /* the page to be aligned */
    bool is_high = r->pages.v >= ARENA_LARGE_PAGES && !r->low_end;
    uint64_t skip = is_high ? (lowest + spare) & inside : -lowest & inside;
    *place = vaddr_add_pages(n->base, is_high ? spare - skip : skip);
    return skip <= spare;
}

/* Look at free ranges in classes [class, end), small ones first, at most `looks`. */
static struct arena_node *look(const struct arena *a, const struct arena_request *r, unsigned class, unsigned end,
                               unsigned looks, vaddr_t *place)
{
    for (class = next_class(a, class); class < end; class = next_class(a, class + 1)) {
        for (struct arena_node *n = a->classes[class]; n != NULL; n = n->peer) {
            if (arena_fits(n, r, place)) {
                return n;
            }
            if (--looks == 0) {
                return NULL;
            }
        }
    }
    return NULL;
}

/* The smallest free range with a place for the request, of so many looked at; of two of its size the lower one. */
static struct arena_node *look_for_smallest(const struct arena *a, const struct arena_request *r, vaddr_t *place)
{
    struct arena_node *best = NULL;
    unsigned class = next_class(a, arena_size_class(r->pages.v)), looks = ARENA_LOOKS_MAX;
    for (; best == NULL && looks > 0 && class < ARENA_CLASSES; class = next_class(a, class + 1)) {
        for (struct arena_node *n = a->classes[class]; n != NULL && looks > 0; n = n->peer, looks--) {
            vaddr_t there;
            const bool is_better = best == NULL || n->pages.v < best->pages.v ||
                                   (n->pages.v == best->pages.v && n->base.v < best->base.v);
            if (is_better && arena_fits(n, r, &there)) {
                best = n;
                *place = there;
            }
        }
    }
    return best;
}

struct arena_node *arena_choose(const struct arena *a, const struct arena_request *r, vaddr_t *place)
{
    if (r->best_fit) {
        struct arena_node *best = look_for_smallest(a, r, place);
        if (best != NULL) {
            return best;
        }
    }
    /* From `sure` on every range has a place, whatever its address. */
    uint64_t enough = r->pages.v + bytes_to_pages_down(1ULL << r->align_log2).v - 1;
    unsigned own = arena_size_class(r->pages.v), sure = arena_size_class(enough - 1) + 1;
    struct arena_node *n = own < sure ? look(a, r, own, sure, ARENA_LOOKS, place) : NULL;
    if (n != NULL) {
        return n;
    }
    unsigned class = next_class(a, sure);
    if (class < ARENA_CLASSES) {
        n = a->classes[class];
        return arena_fits(n, r, place) ? n : NULL;
    }
    return own < sure ? look(a, r, own, sure, ARENA_LOOKS_MAX, place) : NULL;
}

/* ---- Cutting and merging ---- */

static inline struct arena_node *insert_between(struct arena *a, struct arena_node *prev, struct arena_node *next,
                                                vaddr_t base, uint64_t pages)
{
    struct arena_node *n = arena_take_node(a->reserve);
    n->next = next;
    n->prev = prev;
    n->base = base;
    n->pages.v = pages;
    if (next != NULL) {
        next->prev = n;
    }
    *(prev != NULL ? &prev->next : &a->first) = n;
    return n;
}

static inline void drop(struct arena *a, struct arena_node *n)
{
    if (n->next != NULL) {
        n->next->prev = n->prev;
    }
    *(n->prev != NULL ? &n->prev->next : &a->first) = n->next;
    arena_spare_node(a->reserve, n);
}

struct arena_node *arena_insert_between(struct arena *a, struct arena_node *prev, struct arena_node *next, vaddr_t base,
                                        uint64_t pages)
{
    return insert_between(a, prev, next, base, pages);
}

void arena_drop(struct arena *a, struct arena_node *n) { drop(a, n); }
void arena_unlist(struct arena *a, struct arena_node *n) { link_out(a, n, arena_size_class(n->pages.v)); }

struct arena_node *arena_cut(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages)
{
    uint64_t before = bytes_to_pages_down(base.v - n->base.v).v;
    uint64_t behind = n->pages.v - before - pages.v;
    if (n->prev == a->kept) {
        a->kept = NULL; /* something will be used in this span, if it is one */
    }
    if (before > 0) {
        resize(a, n, before);
        if (behind > 0) {
            arena_add_free(a, insert_between(a, n, n->next, vaddr_add_pages(base, pages.v), behind));
        }
        n = insert_between(a, n, n->next, base, pages.v);
    } else if (behind > 0) {
        n->base = vaddr_add_pages(base, pages.v);
        resize(a, n, behind);
        n = insert_between(a, n->prev, n, base, pages.v);
    } else {
        link_out(a, n, arena_size_class(pages.v));
    }
    n->stack = (uint8_t)arena_stack(pages.v);
    arena_index_insert(a, n);
    return n;
}

void arena_add_free(struct arena *a, struct arena_node *n)
{
    n->state = ARENA_FREE;
    link_in(a, n, arena_size_class(n->pages.v));
}

/* A node in no state becomes free, with its neighbours. => the free range. */
static inline struct arena_node *join(struct arena *a, struct arena_node *n)
{
    struct arena_node *prev = n->prev, *next = n->next;
    bool joins_next = next != NULL && next->state == ARENA_FREE;
    if (prev != NULL && prev->state == ARENA_FREE) {
        uint64_t pages = prev->pages.v + n->pages.v;
        drop(a, n);
        if (joins_next) {
            pages += next->pages.v;
            link_out(a, next, arena_size_class(next->pages.v));
            drop(a, next);
        }
        resize(a, prev, pages);
        return prev;
    }
    if (joins_next) {
        next->base = n->base;
        resize(a, next, next->pages.v + n->pages.v);
        drop(a, n);
        return next;
    }
    arena_add_free(a, n);
    return n;
}

struct arena_node *arena_merge(struct arena *a, struct arena_node *n)
{
    arena_index_remove(a, n);
    return join(a, n);
}

static void set_pages(struct arena_node *n, uint64_t pages)
{
    n->pages.v = pages;
    n->stack = (uint8_t)arena_stack(pages);
}

struct arena_node *arena_cut_out(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages)
{
    const uint64_t before = bytes_to_pages_down(base.v - n->base.v).v, behind = n->pages.v - before - pages.v;
    struct arena_node *above = n;
    if (before > 0) {
        set_pages(n, before);
        above = n->next;
        if (behind > 0) {
            above = insert_between(a, n, n->next, vaddr_add_pages(base, pages.v), behind);
            above->tag = n->tag;
            above->kind = n->kind;
            above->state = ARENA_USED;
        }
    } else {
        arena_index_remove(a, n); /* it moves to a base of its own */
        n->base = vaddr_add_pages(base, pages.v);
    }
    if (behind > 0) {
        set_pages(above, behind);
        arena_index_insert(a, above);
    }
    return join(a, insert_between(a, before > 0 ? n : n->prev, above, base, pages.v));
}
