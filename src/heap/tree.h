/* The words of the heap's tree (tree.c), for tree.c and tree_walk.c. */
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

#endif
