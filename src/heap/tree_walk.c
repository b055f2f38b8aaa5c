/* All that the heap's tree leads to (tree.c), in the order of addresses: for the validator and the monitor. */
#include "heap/tree.h"

static uint64_t entries_of(const uint64_t *node)
{
    uint64_t entries = 0;
    for (unsigned i = 0; i < HEAP_NODE_ENTRIES; i++) {
        entries += node[i] != 0;
    }
    return entries;
}

/* Everything below a word, which leads to the leaf `number` or a node `level` above the leaves. */
static void walk(uint64_t word, unsigned level, uint64_t number, const struct heap_visitor *visitor)
{
    if (word == 0) {
        return;
    }
    if ((word & HEAP_INSIDE) != 0) {
        if (visitor->inside != NULL) {
            visitor->inside(visitor->ctx, number, vaddr_to_ptr(vaddr(word - HEAP_INSIDE)));
        }
        return;
    }
    if (level == 0) {
        visitor->leaf(visitor->ctx, number, leaf_of(word));
        return;
    }
    if (visitor->node != NULL) {
        visitor->node(visitor->ctx, page_offset_bytes(word) / HEAP_COUNT_ONE, entries_of(node_of(word)));
    }
    for (unsigned i = 0; i < HEAP_NODE_ENTRIES; i++) {
        walk(node_of(word)[i], level - 1, number + ((uint64_t)i << (HEAP_NODE_ENTRIES_LOG2 * (level - 1))), visitor);
    }
}

void heap_tree_walk(const struct heap *heap, const struct heap_visitor *visitor)
{
    walk(heap->root, heap->height, heap->origin, visitor);
}
