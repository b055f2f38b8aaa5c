/* Nodes, index and size classes of the arena. Private to arena*.c and the tests that break them. */
#ifndef CAIRN_VMM_ARENA_NODE_H
#define CAIRN_VMM_ARENA_NODE_H

#include "vmm/arena.h"

/* ARENA_SPAN: no range but the mark that a span begins here; its length is `kind`, in spans of the least size. */
enum arena_state { ARENA_FREE, ARENA_USED, ARENA_CACHED, ARENA_SPAN };

/* A range. 64 bytes: a cache line, 64 a page. */
struct arena_node {
    struct arena_node *next, *prev; /* in address order; `next` also links the reserve */
    struct arena_node *peer, *back; /* free: the list of its class; cached: `peer` is the one below on the stack */
    vaddr_t base;
    npages_t pages;                 /* > 0; of a mark 0 */
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

enum {
    ARENA_CUT_NODES = 2,    /* that a cut takes at most, of free range or used one */
    ARENA_IMPORT_NODES = 2, /* that a new span takes: the mark, and its free range */
};

/* All that one allocation from what is free, or one partial free, may need is in the reserve (arena.c, section 5). */
static inline bool arena_has_reserve(const struct arena *a)
{
    const struct arena_reserve *r = a->reserve;
    return r->node_count >= ARENA_CUT_NODES && r->index_count >= a->index_below;
}

/*
 * Ask `more` until the reserve has so many nodes and indexes; it may use the arena: what was found in it before is not.
 * => false: memory is short.
 */
bool arena_refill(struct arena_reserve *r, size_t nodes, size_t indexes);

static inline struct arena_node *arena_take_node(struct arena_reserve *r)
{
    struct arena_node *n = r->nodes;
    r->node_count--;
    if (n == NULL) {
        return r->fresh++;
    }
    r->nodes = n->next;
    return n;
}

static inline void arena_spare_node(struct arena_reserve *r, struct arena_node *n)
{
    n->next = r->nodes;
    r->nodes = n;
    r->node_count++;
}

static inline struct arena_index *arena_take_index(struct arena_reserve *r)
{
    struct arena_index *t = r->indexes;
    r->indexes = t->parent;
    r->index_count--;
    return t;
}

static inline void arena_spare_index(struct arena_reserve *r, struct arena_index *t)
{
    t->parent = r->indexes;
    r->indexes = t;
    r->index_count++;
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

/* ---- arena_find.c ---- */

/* The range of any state that holds `va`; null: it is outside. */
struct arena_node *arena_node_at(const struct arena *a, vaddr_t va);
/* The used range that holds all of [base, base + pages); null: none. */
struct arena_node *arena_used_at(const struct arena *a, vaddr_t base, npages_t pages);

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

/* The stack of the cache for ranges of so many pages: 0, which has no room, for those that are not cached. */
static inline unsigned arena_stack(uint64_t pages) { return pages <= ARENA_CACHED_PAGES ? arena_size_class(pages) : 0; }
/* Ranges that a stack takes at most. */
static inline unsigned arena_stack_room(unsigned stack)
{
    return stack == 0 ? 0 : stack < arena_size_class(ARENA_LARGE_PAGES) ? ARENA_CACHED_EACH : ARENA_CACHED_LARGE_EACH;
}
static_assert(ARENA_CACHED_CLASSES - 1 <= UINT8_MAX, "a stack's number is a byte of a node");

/* A free range for the request, and the place in it; null: none. The request is valid, its pages fit the arena. */
struct arena_node *arena_choose(const struct arena *a, const struct arena_request *r, vaddr_t *place);
/*
 * Cut [base, base + pages) out of free range `n`, which holds it; the reserve is there. => its node, in the index, in
 * no state yet.
 */
struct arena_node *arena_cut(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages);
/* A node whose neighbours are not free is free from now on. */
void arena_add_free(struct arena *a, struct arena_node *n);
/* A range of the index, on no stack, is free from now on, merged with its neighbours. => the free range. */
struct arena_node *arena_merge(struct arena *a, struct arena_node *n);
/*
 * [base, base + pages), a part of used range `n` but not all of it, is free from now on; what lies above it is a used
 * range like `n`. The reserve is there. => the free range.
 */
struct arena_node *arena_cut_out(struct arena *a, struct arena_node *n, vaddr_t base, npages_t pages);
/* The place for the request in free range `n`: the lowest, or the highest for a large one. */
bool arena_fits(const struct arena_node *n, const struct arena_request *r, vaddr_t *place);
/* A new node for [base, base + pages) between two neighbours, null at the ends; and back to the reserve. */
struct arena_node *arena_insert_between(struct arena *a, struct arena_node *prev, struct arena_node *next, vaddr_t base,
                                        uint64_t pages);
void arena_drop(struct arena *a, struct arena_node *n);
/* Free range `n` is on no list from now on. */
void arena_unlist(struct arena *a, struct arena_node *n);

/* ---- arena_spans.c ---- */

/* A span with a place for the request. => its free range; null: there is none, or no memory for nodes. */
struct arena_node *arena_import(struct arena *a, const struct arena_request *r, vaddr_t *place);
/* `n`, free, was merged: if it is a whole span, it goes back, or is kept when none is. */
void arena_retire(struct arena *a, struct arena_node *n);
/* The span that is kept goes back. */
void arena_give_up_kept(struct arena *a);
npages_t arena_span_pages(const struct arena *a, const struct arena_node *mark);

#endif
