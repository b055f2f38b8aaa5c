/* A node of the arena. Private to arena.c, arena_check.c and the test that breaks it. */
#ifndef CAIRN_VMM_ARENA_NODE_H
#define CAIRN_VMM_ARENA_NODE_H

#include "vmm/arena.h"

struct arena_node {
    struct arena_node *next, *prev; /* in address order; `next` also links the reserve */
    vaddr_t base;
    npages_t pages;                 /* > 0 */
    const char *tag;                /* null: free */
    unsigned kind;
};

static inline uint64_t node_end(const struct arena_node *n) { return n->base.v + pages_to_bytes(n->pages); }

#endif
