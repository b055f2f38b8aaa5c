/* The words of the heap's tree (tree.c), for tree.c, tree_spare.c and tree_walk.c. */
#ifndef CAIRN_HEAP_TREE_H
#define CAIRN_HEAP_TREE_H

#include "heap/heap_internal.h"

enum {
    HEAP_COUNT_ONE = 2, /* a word counts what is below it in its low bits, from bit 1 on */
    HEAP_INSIDE = 1,    /* the stretch lies in a large block, and the rest of the word is its descriptor's address */
};

static inline uint64_t *node_of(uint64_t word)
{
    return vaddr_to_ptr(vaddr_page(vaddr(word)));
}

static inline struct heap_desc *leaf_of(uint64_t word)
{
    return vaddr_to_ptr(vaddr_page(vaddr(word)));
}

/* The words on the way to a leaf, from the root's on. */
struct heap_path {
    uint64_t *words[HEAP_LEVELS_MAX + 1];
    unsigned last; /* words[last] is the leaf's */
};

/* As far as there is something. => the leaf's word; null: the way there ends before, or the number is outside the span.
 */
uint64_t *heap_path_to(const struct heap *heap, uint64_t number, struct heap_path *path);

/* The word of a leaf among the recent ones, or null. */
static inline uint64_t *heap_recent_word(const struct heap *heap, uint64_t number)
{
    unsigned at = number % HEAP_RECENT_LEAVES;
    if (heap->recent_words[at].number != number) {
        return NULL;
    }
    if (heap->recent_words[at].word == NULL) {
        __builtin_unreachable(); /* there is one for each number: callers need not look twice */
    }
    return heap->recent_words[at].word;
}

/* More levels until the leaf is below the root. => false: memory is short. */
bool heap_tree_grow_to(struct heap *heap, uint64_t number);

/* ---- tree_spare.c ---- */

/* The word of a page of zeros, as a leaf or a node, which is counted; 0: memory is short. */
uint64_t heap_tree_new_page(struct heap *heap, bool is_leaf);
/* A node or leaf is empty and its word away: it is a spare page now. */
void heap_tree_retire(struct heap *heap, uint64_t word, bool is_leaf);

#endif
