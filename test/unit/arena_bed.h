/* An arena for tests, with a source of node pages that runs dry when told to. */
#ifndef CAIRN_TEST_UNIT_ARENA_BED_H
#define CAIRN_TEST_UNIT_ARENA_BED_H

#include "unit/test.h"
#include "vmm/arena_node.h"

#define ARENA_BED_BASE 0xFFFF900000000000

struct arena_bed {
    struct arena arena;
    vaddr_t base;
    void *nodes;    /* the pages for its nodes, */
    unsigned left;  /* so many still to be given, */
    unsigned given; /* so many given: tests that raise `left` have opened it with as many */
};

/*
 * An arena of `pages` at `base`, with `node_pages` (at least 1) for its nodes. The bed stays where it is.
 * => it stands.
 */
bool arena_bed_open_at(struct arena_bed *bed, vaddr_t base, uint64_t pages, unsigned node_pages);
bool arena_bed_open(struct arena_bed *bed, uint64_t pages, unsigned node_pages);

static inline vaddr_t arena_bed_page(const struct arena_bed *bed, uint64_t page)
{
    return vaddr_add_pages(bed->base, page);
}

/* Plain requests that must succeed: at any place, and there. => the first page; the test fails otherwise. */
uint64_t arena_bed_take(struct arena_bed *bed, uint64_t pages);
void arena_bed_take_at(struct arena_bed *bed, uint64_t page, uint64_t pages);
void arena_bed_give(struct arena_bed *bed, uint64_t page);
/* Ranges that are cached beside one of `pages`. */
uint64_t arena_bed_cached(const struct arena_bed *bed, uint64_t pages);
/* The reserve as if all nodes were in use. => what it was. */
struct arena_reserve arena_bed_hide_nodes(struct arena *a);
/* arena_check; what it says is a note of the test. */
bool arena_bed_is_sound(const struct arena_bed *bed);
/* arena_check finds this invariant broken. */
void arena_bed_expect_broken(const struct arena *a, const char *invariant);

#endif
