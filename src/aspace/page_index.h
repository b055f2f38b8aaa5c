/*
 * A sparse array of words by page number: what an object has for each of its pages, what a frame is used for, a record
 * by its id. A tree of kernel pages of 512 words each, as high as the largest number needs: an index that holds only
 * numbers below 512 is one page, an empty one none. The height falls only when the index becomes empty.
 */
#ifndef CAIRN_ASPACE_PAGE_INDEX_H
#define CAIRN_ASPACE_PAGE_INDEX_H

#include "aspace/stock.h"

enum {
    PAGE_INDEX_DIGIT = 9, /* bits of a number that one level tells apart */
    PAGE_INDEX_WORDS = 1 << PAGE_INDEX_DIGIT,
    PAGE_INDEX_LEVELS_MAX = 5, /* numbers of 45 bits */
};
static_assert(PAGE_INDEX_WORDS * sizeof(uint64_t) == PAGE_BYTES, "a node is a page");

struct page_index {
    uint64_t top;      /* the word that leads to the root (page_index_node); 0: empty */
    unsigned levels;   /* of nodes; 0: empty */
    uint64_t count;    /* words that are not 0 */
};

/* A word above the lowest nodes: the node below, which is page-aligned, and how many of its words are not 0. */
static inline uint64_t *page_index_node(uint64_t word) { return vaddr_to_ptr(vaddr_page(vaddr(word))); }

/* Where the word of `number` is, of any height; null: there is no node for it. */
uint64_t *page_index_look(const struct page_index *index, uint64_t number);
/* The same of up to three levels, which hold numbers up to 2^27. => false: it has another height. */
static inline bool page_index_try(const struct page_index *index, uint64_t number, uint64_t **place)
{
    const uint64_t high = number >> PAGE_INDEX_DIGIT;
    uint64_t *node;
    if (index->levels == 2 && high < PAGE_INDEX_WORDS) {
        node = page_index_node(page_index_node(index->top)[high]);
    } else if (index->levels == 3 && high < PAGE_INDEX_WORDS * PAGE_INDEX_WORDS) {
        node = page_index_node(page_index_node(index->top)[high >> PAGE_INDEX_DIGIT]);
        node = node != NULL ? page_index_node(node[high & (PAGE_INDEX_WORDS - 1)]) : NULL;
    } else if (index->levels == 1 && high == 0) {
        node = page_index_node(index->top);
    } else {
        return false;
    }
    *place = node != NULL ? &node[number & (PAGE_INDEX_WORDS - 1)] : NULL;
    return true;
}
/* page_index_look. O(levels): 20 instructions for three levels, 14 for two, which it favours. */
static inline uint64_t *page_index_place(const struct page_index *index, uint64_t number)
{
    uint64_t *place;
    return page_index_try(index, number, &place) ? place : page_index_look(index, number);
}
/* The word at `number`; 0: there is none. Any number. As page_index_place. */
static inline uint64_t page_index_get(const struct page_index *index, uint64_t number)
{
    const uint64_t *word = page_index_place(index, number);
    return word != NULL ? *word : 0;
}
/* Another word at `number`, where there is one. => there was */
static inline bool page_index_replace(const struct page_index *index, uint64_t number, uint64_t word)
{
    uint64_t *place = page_index_place(index, number);
    const bool is_there = place != NULL && *place != 0;
    if (is_there) {
        *place = word;
    }
    return is_there;
}

/*
 * Pages of stock that setting all of [first, first + count) takes: exactly, as the index is now. => SIZE_MAX: beyond
 * 45 bits. O(levels + count / 512).
 */
size_t page_index_missing(const struct page_index *index, uint64_t first, uint64_t count);
/*
 * Set a word; the stock has what page_index_missing(index, number, 1) said. 0 takes it away, with nodes that become
 * empty, and needs no memory. O(levels).
 */
void page_index_set(struct page_index *index, struct stock *stock, uint64_t number, uint64_t word);
/* The first word that is not 0 in [from, end): its number, or `end`: there is none. O(nodes between). */
uint64_t page_index_next(const struct page_index *index, uint64_t from, uint64_t end);
/* All of it away. */
void page_index_clear(struct page_index *index, struct stock *stock);
/* Compare counts, and that no node is empty. => OK; CORRUPT, said to `out` (may be null). */
enum status page_index_check(const struct page_index *index, struct sink *out);

#endif
