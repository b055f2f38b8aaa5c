/*
 * Pages for heaps under test: the lowest that fit, but each third time others; a request can be refused; what goes back
 * otherwise than it was given fails the test. And blocks of such heaps, written so that each shows whose it is.
 */
#ifndef CAIRN_TEST_UNIT_HEAP_PAGES_H
#define CAIRN_TEST_UNIT_HEAP_PAGES_H

#include "heap/heap.h"
#include "unit/test.h"

/* One at a time: the last is forgotten. => no functions in it: no memory for the test. */
struct heap_source heap_pages_begin(size_t pages);
/* Given and not given back. */
uint64_t heap_pages_out(void);
/* So many requests from now, one is refused; 0: none. */
void heap_pages_refuse_at(uint64_t requests);

struct pattern_block {
    uint8_t *at; /* null: none */
    size_t bytes;
    uint64_t seed;
};

/* Write all of it, by `seed` and place. */
void pattern_fill(struct pattern_block *b, uint64_t seed);
/* Its first `bytes` are as they were written last. */
bool pattern_is_kept(const struct pattern_block *b, size_t bytes);

#endif
