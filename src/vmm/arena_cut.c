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

/* The place for the request in free range `n`: the lowest, or the highest for a large one. */
static bool fits(const struct arena_node *n, const struct arena_request *r, vaddr_t *place)
{
    if (n->pages.v < r->pages.v) {
        return false;
    }
    uint64_t spare = n->pages.v - r->pages.v;
    uint64_t inside = bytes_to_pages_down(1ULL << r->align_log2).v - 1; /* bits of a page number inside the alignment */
    uint64_t lowest = vaddr_page_number(n->base) + r->lead.v;           /* the page to be aligned */
    bool is_high = r->pages.v >= ARENA_LARGE_PAGES;
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
            if (fits(n, r, place)) {
                return n;
            }
            if (--looks == 0) {
                return NULL;
            }
        }
    }
    return NULL;
}

struct arena_node *arena_choose(const struct arena *a, const struct arena_request *r, vaddr_t *place)
{
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
        return fits(n, r, place) ? n : NULL;
    }
    return own < sure ? look(a, r, own, sure, ARENA_LOOKS_MAX, place) : NULL;
}

/* ---- Cutting and merging ---- */

/* A new node for [base, base + pages) between two neighbours, null at the ends. */
static inline struct arena_node *insert_between(struct arena *a, struct arena_node *prev, struct arena_node *next,
                                                vaddr_t base, uint64_t pages)
{
    struct arena_node *n = arena_take_node(a);
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
    arena_spare_node(a, n);
}

struct arena_node *arena_cut(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages)
{
    uint64_t before = bytes_to_pages_down(base.v - n->base.v).v;
    uint64_t behind = n->pages.v - before - pages.v;
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

void arena_merge(struct arena *a, struct arena_node *n)
{
    arena_index_remove(a, n);
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
    } else if (joins_next) {
        next->base = n->base;
        resize(a, next, next->pages.v + n->pages.v);
        drop(a, n);
    } else {
        arena_add_free(a, n);
    }
}
