/* Nodes, index and size classes of the arena. Private to arena*.c and the tests that break them. */
#ifndef CAIRN_VMM_ARENA_NODE_H
#define CAIRN_VMM_ARENA_NODE_H

#include "vmm/arena.h"

enum arena_state { ARENA_FREE, ARENA_USED, ARENA_CACHED };

/* A range. 64 bytes: a cache line, 64 a page. */
struct arena_node {
    struct arena_node *next, *prev; /* in address order; `next` also links the reserve */
    struct arena_node *peer, *back; /* free: the list of its class; cached: `peer` is the one below on the stack */
    vaddr_t base;
    npages_t pages;                 /* > 0 */
    const char *tag;                /* of what is used */
    unsigned kind;
    uint8_t state;                  /* enum arena_state */
    uint8_t stack;                  /* its place in the cache (arena_stack) */
};
static_assert(sizeof(struct arena_node) == 64, "a cache line");

static inline uint64_t node_end(const struct arena_node *n) { return n->base.v + pages_to_bytes(n->pages); }

enum { INDEX_DIGIT = 6, INDEX_SLOTS = 1 << INDEX_DIGIT };

/*
 * A node of the index: one digit of the key. In the reserve its words are 0, and `parent` is the next one.
 * A word: 0, or a range, or INDEX_BELOW added to the address of an index node that tells several ranges apart.
 */
struct arena_index {
    uint64_t present;             /* bit i: word[i] is not 0 */
    uint64_t word[INDEX_SLOTS];
    struct arena_index *parent;   /* null: the root */
    uint16_t parent_slot, depth;  /* the root's is 0 */
};
static_assert(INDEX_SLOTS == 8 * sizeof(uint64_t), "a bit of `present` for each word");

/* ---- arena_reserve.c ---- */

enum { ARENA_CUT_NODES = 2 }; /* that a cut takes at most */

/* All that one allocation may need is in the reserve (arena.c, section 5). */
static inline bool arena_has_reserve(const struct arena *a)
{
    return a->spare_node_count >= ARENA_CUT_NODES && a->spare_index_count >= a->index_below;
}

/* Ask `more` for what is not; it may use the arena: what was found in it before is not. => false: memory is short. */
bool arena_refill(struct arena *a);

static inline struct arena_node *arena_take_node(struct arena *a)
{
    struct arena_node *n = a->spare_nodes;
    a->spare_nodes = n->next;
    a->spare_node_count--;
    return n;
}

static inline void arena_spare_node(struct arena *a, struct arena_node *n)
{
    n->next = a->spare_nodes;
    a->spare_nodes = n;
    a->spare_node_count++;
}

static inline struct arena_index *arena_take_index(struct arena *a)
{
    struct arena_index *t = a->spare_indexes;
    a->spare_indexes = t->parent;
    a->spare_index_count--;
    return t;
}

static inline void arena_spare_index(struct arena *a, struct arena_index *t)
{
    t->parent = a->spare_indexes;
    a->spare_indexes = t;
    a->spare_index_count++;
}

/* ---- arena_index.c: used and cached ranges by their bases ---- */

enum { INDEX_BELOW = 1 };

/* The page of `va` as a key: the first digit on top. Digits of addresses outside the arena lead anywhere. */
static inline uint64_t index_key(const struct arena *a, vaddr_t va)
{
    return bytes_to_pages_down(va.v - a->base.v).v << a->key_shift;
}

static inline uint64_t index_next_digit(uint64_t key) { return key << INDEX_DIGIT | key >> (64 - INDEX_DIGIT); }
static inline unsigned index_digit(uint64_t key) { return key & (INDEX_SLOTS - 1); }
static inline bool index_leads_below(uint64_t word) { return (word & INDEX_BELOW) != 0; }
static inline struct arena_index *index_below(uint64_t word) { return (void *)(uintptr_t)(word - INDEX_BELOW); }
static inline struct arena_node *index_node(uint64_t word) { return (void *)(uintptr_t)word; }

/* The used or cached range that starts at `base`, or null. Any `base` may be asked for. */
static inline struct arena_node *arena_index_find(const struct arena *a, vaddr_t base)
{
    uint64_t key = index_key(a, base), word = ptr_to_vaddr(a->index).v + INDEX_BELOW;
    do {
        key = index_next_digit(key);
        word = index_below(word)->word[index_digit(key)];
    } while (index_leads_below(word));
    struct arena_node *n = index_node(word);
    return n != NULL && n->base.v == base.v ? n : NULL;
}

/* The last used or cached range that starts at or below `va`, which is in the arena; null: there is none. */
struct arena_node *arena_index_find_below(const struct arena *a, vaddr_t va);
/* Takes at most index_below nodes of the reserve, which are there. No range of its base is in the index. */
void arena_index_insert(struct arena *a, struct arena_node *n);
void arena_index_remove(struct arena *a, const struct arena_node *n);

/* ---- arena_cut.c: free ranges by size ---- */

/* => 1 ... ARENA_CLASSES - 1 for 1 ... 2^36 pages; it does not fall when `pages` grow. */
static inline unsigned arena_size_class(uint64_t pages)
{
    const unsigned steps = 1U << ARENA_STEPS_LOG2;
    if (pages < 2 * steps) {
        return (unsigned)pages;
    }
    unsigned coarse = 63U - (unsigned)__builtin_clzll(pages) - ARENA_STEPS_LOG2;
    return coarse * steps + (unsigned)(pages >> coarse);
}

/* The stack of the cache for ranges of so many pages: 0, which has no room, for large ones. */
static inline unsigned arena_stack(uint64_t pages) { return pages < ARENA_LARGE_PAGES ? arena_size_class(pages) : 0; }

/* A free range for the request, and the place in it; null: none. The request is valid, its pages fit the arena. */
struct arena_node *arena_choose(const struct arena *a, const struct arena_request *r, vaddr_t *place);
/*
 * Cut [base, base + pages) out of free range `n`, which holds it; the reserve is there. => its node, in the index, in
 * no state yet.
 */
struct arena_node *arena_cut(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages);
/* A node whose neighbours are not free is free from now on. */
void arena_add_free(struct arena *a, struct arena_node *n);
/* A range of the index, on no stack, is free from now on, merged with its neighbours. */
void arena_merge(struct arena *a, struct arena_node *n);

#endif
