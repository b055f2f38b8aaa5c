/*
 * The record of the exercise's second part: what each page of each of its spaces should be, and the ways to compare.
 * exercise_spaces.c tells how it is used.
 */
#ifndef CAIRN_KERNEL_EXERCISE_RECORD_H
#define CAIRN_KERNEL_EXERCISE_RECORD_H

#include "kernel/exercise.h"

enum {
    SPACES = 4,
    STRETCHES = 5,
    STRETCH_PAGES = 96, /* three times VMM_FLUSH_PAGES_MAX: changes beyond it are flushed in another way */
    CELLS = SPACES * STRETCHES * STRETCH_PAGES,
    FRAME_WORDS = PAGE_BYTES / sizeof(uint64_t),
    NO_CELL = 0, /* cell numbers count from 1 */
};

struct cell {
    uint64_t frame;
    uint64_t value; /* 0: fresh, all zero */
    uint32_t users; /* pages on it; 0: the cell is unused */
};

struct page_record {
    uint16_t cell; /* NO_CELL: not mapped */
    uint16_t rights;
};

struct record {
    struct space spaces[SPACES];
    struct cell cells[CELLS + 1];
    struct page_record pages[SPACES][STRETCHES][STRETCH_PAGES];
};

/* A part of a stretch. */
struct part {
    unsigned space, stretch, first, count;
};

static inline struct space *space_of(struct record *r, struct part p)
{
    return &r->spaces[p.space];
}
static inline struct page_record *page_of(struct record *r, struct part p, unsigned i)
{
    return &r->pages[p.space][p.stretch][p.first + i];
}

/* One page of a part. */
static inline struct part part_page(struct part p, unsigned i)
{
    return (struct part){p.space, p.stretch, p.first + i, 1};
}

vaddr_t part_address(struct part p);
/* A part of a stretch of this space, short ones more often. */
struct part part_random(struct exercise *ex, unsigned space, unsigned longest);
/* The beginning of the part in which all pages are (or none is) mapped; the whole part when already its first page is
 * not so. */
struct part part_trimmed(struct record *r, struct part p, bool mapped);
/* How many pages of the part are mapped, by the record. */
unsigned part_mapped(struct record *r, struct part p);

/* Reads and compares (or, when `write`, writes) the cell's words at an address where its frame can be reached now. */
bool cell_touch(struct exercise *ex, const struct cell *c, vaddr_t page, bool write, const char *from);
/* The same through a temporary mapping. */
bool cell_touch_outside(struct exercise *ex, const struct cell *c, bool write);

/* One page as the VMM sees it against the record: EX-4. */
bool part_look_at_page(struct exercise *ex, struct record *r, struct part p);
/* All pages of the part, and what is in them. */
bool part_look(struct exercise *ex, struct record *r, struct part p);
/* What a change answered against what the record says it must. A refused one must have changed nothing: the pages are
 * looked at. */
bool part_judged(struct exercise *ex, struct record *r, struct part p, const char *what, enum status s,
                 enum status expected);

#endif
