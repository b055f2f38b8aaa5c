/*
 * `exercise vmm`: a random history of three spaces whose end is left standing, so that others can read it: the
 * monitor's `pt`, the emulators' own walk of the tables. exercise_vmm.c tells the theory.
 */
#ifndef CAIRN_KERNEL_EXERCISE_VMM_H
#define CAIRN_KERNEL_EXERCISE_VMM_H

#include "kernel/exercise.h"

enum {
    EXERCISE_VMM_SPACES = 3,
    EXERCISE_VMM_STEPS_DEFAULT = 60000, /* more than 10,000 of them map something */
};

/* `steps` is given; all else is told. */
struct exercise_vmm {
    uint64_t steps;
    struct space *spaces[EXERCISE_VMM_SPACES]; /* made as by `space new`; null from the first that could not be had */
    uint64_t mappings, pages_mapped;           /* ranges that were mapped; their pages */
    uint64_t unmaps, protects, switches;
    uint64_t refused;       /* changes that could not be made, and were not */
    uint64_t foreign_opens; /* times that the foreign slot changed its space */
    uint64_t pages_left;    /* in the three spaces, at the end */
};

/*
 * The history of ex->seed. false: ex->failure says what broke first, and all is left as it was then. The kernel's own
 * space is current afterwards. O(steps), a few seconds.
 */
bool exercise_vmm_run(struct exercise *ex, struct exercise_vmm *out);

/* exercise_large.c: large pages at the end of it. As exercise_vmm_run. */
bool exercise_vmm_large(struct exercise *ex, struct space *space);

#endif
