/* A trace (arena_trace.h) played to one way to hand out addresses (test/rivals/addresses/). */
#ifndef CAIRN_TEST_BENCH_ARENA_PLAY_H
#define CAIRN_TEST_BENCH_ARENA_PLAY_H

#include "bench/arena_trace.h"
#include "rivals/addresses/addresses.h"

struct arena_steps {
    uint64_t alloc, refused, free, find; /* the most of one call, by kind: refused is an alloc that fails */
    uint64_t steady;                     /* of an alloc that used no new memory for bookkeeping */
    uint64_t splits;                     /* the most blocks that one call divided */
    uint64_t lines; /* the most cache lines of bookkeeping that one call touched, refused ones left out */
};

struct arena_outcome {
    uint64_t asked, asked_pages, refused, refused_pages; /* requests of the measured part */
    uint64_t ranges, bytes;    /* in use at the end, and all memory for bookkeeping that was ever used */
    uint64_t largest, free;    /* pages: the largest request granted after the end, and all that nobody asked for */
    struct arena_steps steps;  /* of the whole trace; sources compiled to count them */
    double lines;              /* the mean of a call in the measured part */
    double cycles;             /* of a call in the measured part, the median of batches; with those of the player */
    double find_cycles;        /* a look-up by an address inside a range, after the end; 0: there is none */
};

/* Ends the program when the subject answers what it must not. */
struct arena_outcome arena_play_timed(const struct addresses_subject *s, const struct trace *trace, uint64_t pages);
struct arena_outcome arena_play_counted(const struct addresses_subject *s, const struct trace *trace, uint64_t pages);

/* A subject that does nothing and refuses nothing: what the player itself costs. */
extern const struct addresses_subject arena_nobody;

#endif
