/*
 * The longest call: a random mix of all that touches frames, over states that are as awkward as can be made (many
 * regions, borders, holes, all but full, owners, nodes).
 *
 * To count instructions is slow, so it is done in two runs of the same calls. The first is a program of its own, the
 * scout, whose PMM counts the basic blocks it goes through (steps.h): it writes down which calls of each kind went
 * through the most. The second counts the instructions of those.
 */
#ifndef CAIRN_TEST_BENCH_PMM_LONGEST_H
#define CAIRN_TEST_BENCH_PMM_LONGEST_H

#include "bench/bed.h"

enum kind {
    ALLOC, ALLOC_REFUSED, FREE, RETAIN, RELEASE, RETAIN_IN_RUN, RELEASE_IN_RUN, PAIR_2M, REFUSED_2M, REFILL, FLUSH,
    OPENING,                         /* + pages and tables that were backed: it opened blocks */
    BACKED_MAX = 16,
    OPENING_PAIR_2M = OPENING + BACKED_MAX + 1, /* that backed nothing: longer by blocks, not by instructions */
    KINDS,
};

struct longest;

/* The next call follows; true: it is to be counted, and longest_seen told. */
bool longest_watch(struct longest *l);
/* `kind` unless it turns out to have opened blocks, refilled or flushed. */
void longest_seen(struct longest *l, enum kind kind);

/* The mix, from bed_start to bed_check. */
void longest_mix(struct longest *l, struct bed *bed, uint64_t seed);

#endif
