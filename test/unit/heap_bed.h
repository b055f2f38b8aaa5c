/*
 * What the heap's tests stand on: a page source over memory of the test, which can refuse its k-th request, fills what
 * it gives with rubbish and what it gets back with other rubbish, puts canary pages around guarded stretches, and sees
 * pages given back wrongly.
 */
#ifndef CAIRN_TEST_UNIT_HEAP_BED_H
#define CAIRN_TEST_UNIT_HEAP_BED_H

#include "heap/heap.h"
#include "unit/test.h"

struct heap_bed {
    struct heap heap;
    uint8_t *arena;
    uint8_t *state; /* a byte a page of the arena: enum in heap_bed.c */
    size_t pages;
    uint64_t gets, puts; /* requests granted, and given back */
    uint64_t pages_out;  /* pages granted and not given back */
    uint64_t fail_at;    /* this many requests from now, one is refused; 0: none */
    uint64_t wrong;      /* what the heap did wrong to the source */
    bool forbids_gets;   /* any request now is wrong */
    bool is_fabricating; /* stretches of pages are addresses behind the arena that nothing is mapped at */
    bool guards_fresh;   /* the last request was a guarded one */
    unsigned align_log2; /* of the last request */
    uint64_t fabricated; /* next such address */
};

/* A heap over `pages` pages that straddle a border between two nodes of its tree. Null: no memory for the
 * test. */
struct heap_bed *heap_bed_new(size_t pages);

/* heap_check, the canaries, the source's view of what is held. Expectations inside. */
void heap_bed_check(struct heap_bed *bed);

/* Everything freed: shrink, and nothing may be held. Expectations inside. */
void heap_bed_end(struct heap_bed *bed);

/* Fill with, and compare with, a pattern that depends on `seed` and the place. */
void heap_bed_fill(void *block, size_t bytes, uint64_t seed);
bool heap_bed_filled(const void *block, size_t bytes, uint64_t seed);

/* Does the last report hold `text`? */
bool heap_bed_reported(const char *text);
/* heap_check fails, and says `text`. */
bool heap_bed_check_says(struct heap_bed *bed, const char *text);
bool heap_bed_contains(const char *text, const char *part);

bool heap_bed_same(struct heap_stats a, struct heap_stats b);

#endif
