/*
 * Calls of the PMM, and what an interrupt does that lands in them: the tables of pmm_interrupt_test.c.
 */
#ifndef CAIRN_TEST_UNIT_PMM_SCENE_H
#define CAIRN_TEST_UNIT_PMM_SCENE_H

#include "pmm/pmm.h"
#include "unit/test.h"

enum {
    SCENE_HELD_MAX = 2 * PMM_MAGAZINE_FRAMES + 8,
    SCENE_TIMER_MAX = 6,
};

struct scene {
    struct pmm *pmm;
    unsigned flags;     /* of the call's allocations, and of the interrupt's */
    unsigned owner;     /* 0: there is none */
    bool scarce;        /* so few frames are free that the interrupt may be told NOMEM */
    enum status status; /* the call's */
    pfn_t held[SCENE_HELD_MAX];
    uint64_t held_count;
    pfn_t run; /* in use where run_frames > 0 */
    npages_t run_frames;

    enum status timer_status; /* the interrupt's first that was not OK */
    pfn_t timer_held[SCENE_TIMER_MAX];
    uint64_t timer_count;
};

struct scene_timer {
    const char *name;
    void (*run)(struct scene *sc);
    bool balanced; /* it may come any number of times */
};

/* What the call does when nothing interrupts it. */
enum scene_event { SCENE_ANY, SCENE_REFILL, SCENE_FLUSH };

struct scene_call {
    const char *name;
    bool (*prepare)(struct scene *sc); /* the magazines are empty before it */
    void (*run)(struct scene *sc);
    enum scene_event event;
    uint64_t needs; /* frames, at most, that are in use for it before or after it */
};

/*
 * Each ends with a null name. scene_bed_calls are for a PMM whose frames nobody reads: they call frames zero that are
 * not; and for one with owners.
 */
extern const struct scene_timer scene_timers[];
extern const struct scene_call scene_calls[], scene_bed_calls[];
/* An alloc of the class that the interrupt does not use: on a fresh machine it opens a block. */
extern const struct scene_call scene_opening_call;

enum { SCENE_TIMER_FRAMES = 3 };
/* Before a call: empty magazines, and SCENE_TIMER_FRAMES that the interrupt may free. */
bool scene_begin(struct scene *sc);
/* After it: nobody got a frame that another has. */
bool scene_apart(const struct scene *sc);
/* All frames go back. */
bool scene_end(struct scene *sc);

#endif
