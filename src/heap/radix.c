/* The page table of the heap (heap.c, section 4): which descriptor a page belongs to. */
#include "heap/heap_internal.h"
#include "lib/string.h"

enum { PAGES_PER_MIDDLE = HEAP_NODE_ENTRIES * HEAP_NODE_ENTRIES };

/* The word that leads to the middle node of `page`, or null without a root. */
static uint64_t *middle_word(const struct heap *heap, uint64_t page)
{
    return heap->root == 0 ? NULL : &heap_node(heap->root)[page / PAGES_PER_MIDDLE];
}

/* The word that leads to the leaf of `page`, or null when there is nothing that far. */
static uint64_t *leaf_word(const struct heap *heap, uint64_t page)
{
    uint64_t *middle = middle_word(heap, page);
    return middle == NULL || *middle == 0 ? NULL : &heap_node(*middle)[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES];
}

uint64_t heap_radix_missing(const struct heap *heap, const void *base, npages_t pages)
{
    uint64_t first = heap_page_number(heap, base);
    uint64_t missing = heap->root == 0;
    uint64_t last_middle = UINT64_MAX;
    for (uint64_t leaf = first / HEAP_NODE_ENTRIES; leaf <= (first + pages.v - 1) / HEAP_NODE_ENTRIES; leaf++) {
        const uint64_t *word = leaf_word(heap, leaf * HEAP_NODE_ENTRIES);
        missing += word == NULL || *word == 0;
        if (word == NULL && leaf / HEAP_NODE_ENTRIES != last_middle) {
            last_middle = leaf / HEAP_NODE_ENTRIES;
            missing++;
        }
    }
    return missing;
}

/* Makes `*word` lead to a node, if it does not yet. => a node was made: the node that holds `word` has one entry more.
 */
static bool node_ensure(struct heap *heap, uint64_t *word, struct heap_idle_page **nodes)
{
    if (*word != 0) {
        return false;
    }
    void *node = heap_chain_take(nodes);
    memset(node, 0, PAGE_BYTES);
    *word = ptr_to_vaddr(node).v;
    heap->node_count++;
    return true;
}

void heap_radix_link(struct heap *heap, struct heap_desc *desc, npages_t pages, struct heap_idle_page **nodes)
{
    uint64_t page = heap_page_number(heap, desc->base);
    uint64_t end = page + pages.v;
    (void)node_ensure(heap, &heap->root, nodes);
    while (page < end) {
        uint64_t *middle = middle_word(heap, page);
        heap->root += node_ensure(heap, middle, nodes);
        uint64_t *word = leaf_word(heap, page);
        *middle += node_ensure(heap, word, nodes);
        uint64_t *leaf = heap_node(*word);
        do {
            ASSERT(leaf[page % HEAP_NODE_ENTRIES] == 0);
            leaf[page % HEAP_NODE_ENTRIES] = ptr_to_vaddr(desc).v;
            ++*word;
            page++;
        } while (page < end && page % HEAP_NODE_ENTRIES != 0);
    }
}

/* Nodes that become empty stay until heap_radix_shrink: the next block is likely to need them, and a free stays short.
 */
void heap_radix_unlink(struct heap *heap, const void *base, npages_t pages)
{
    uint64_t page = heap_page_number(heap, base);
    uint64_t end = page + pages.v;
    while (page < end) {
        uint64_t *word = leaf_word(heap, page);
        uint64_t *leaf = heap_node(*word);
        do {
            leaf[page % HEAP_NODE_ENTRIES] = 0;
            --*word;
            page++;
        } while (page < end && page % HEAP_NODE_ENTRIES != 0);
    }
}

/* => the node of `word` had no entries and is gone. */
static bool node_drop_if_empty(struct heap *heap, uint64_t *word)
{
    if (*word == 0 || page_offset_bytes(*word) != 0) {
        return false;
    }
    void *node = heap_node(*word);
    *word = 0;
    heap->node_count--;
    heap_source_put(heap, node, npages(1));
    return true;
}

void heap_radix_shrink(struct heap *heap)
{
    for (uint64_t i = 0; heap->root != 0 && i < HEAP_NODE_ENTRIES; i++) {
        uint64_t *middle = &heap_node(heap->root)[i];
        for (uint64_t k = 0; *middle != 0 && k < HEAP_NODE_ENTRIES; k++) {
            *middle -= node_drop_if_empty(heap, &heap_node(*middle)[k]);
        }
        heap->root -= node_drop_if_empty(heap, middle);
    }
    (void)node_drop_if_empty(heap, &heap->root);
}
