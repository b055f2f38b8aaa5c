/* The parts of the benchmark `paging`: cases, what the cost model says of them, and running them. */
#ifndef CAIRN_TEST_BENCH_PAGING_BENCH_H
#define CAIRN_TEST_BENCH_PAGING_BENCH_H

#include "bench/paging_count.h"
#include "rivals/paging/paging.h"

enum paging_op {
    OP_MAP_OWN,       /* the tables are there, and empty */
    OP_MAP_OWN_PARTLY, /* from the middle of a table; the tables at both ends hold other pages */
    OP_MAP_OWN_NEW,   /* the tables of the range are made, after time to spare (struct paging_subject) */
    OP_MAP_OWN_COLD,  /* ... at once */
    OP_MAP_FOREIGN,   /* the slot shows another space before */
    OP_MAP_KEPT_OPEN, /* the same space, the same tables, were edited just before */
    OP_UNMAP,         /* own; the tables stay */
    OP_UNMAP_RECLAIM, /* own; the tables go back */
    OP_PROTECT,       /* own */
    PAGING_OPS,
};

/* What a case's cost depends on. */
struct paging_shape {
    uint64_t pages;      /* N */
    uint64_t pts, pds;   /* P1, P2: tables that the range touches */
    uint64_t occupied;   /* pages of it whose PTs are not empty */
    uint64_t tables;     /* made by it, or going back with it */
};

/* What the model says that the subject does. Walker loads are not said. */
struct paging_counts paging_predict(const struct paging_subject *s, enum paging_op op, struct paging_shape shape);

/* Is there such a case? */
bool paging_case_exists(const struct paging_subject *s, enum paging_op op, uint64_t pages);
/* On a machine of its own. *shape is what was measured. Stops the program where anything goes wrong. */
struct paging_counts paging_case_run(const struct paging_subject *s, enum paging_op op, uint64_t pages,
                                     struct paging_shape *shape);

#endif
