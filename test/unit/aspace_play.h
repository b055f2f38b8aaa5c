/*
 * Histories of spaces on the model machine, against a plain map: for each page of each space what it was last told, and
 * for each page of each object what was last written there. Lists of operations are drawn, run, shrunk and printed; a
 * history fails at its first wrong answer, wrong contents, broken invariant, or violation of a rule of page tables.
 */
#ifndef CAIRN_TEST_UNIT_ASPACE_PLAY_H
#define CAIRN_TEST_UNIT_ASPACE_PLAY_H

#include "aspace/object.h"
#include "model/model.h"
#include "pmm/pmm_pressure.h"

enum aplay_kind {
    APLAY_CREATE,
    APLAY_DESTROY,
    APLAY_CLONE,
    APLAY_LIMITS,
    APLAY_MAP,        /* anonymous memory, anywhere or at an address */
    APLAY_MAP_GLOBAL, /* ... in the global part */
    APLAY_MAP_OBJECT, /* pages of an object that there is, shared, private or global */
    APLAY_UNMAP,
    APLAY_PROTECT,
    APLAY_SEAL,
    APLAY_SHARE,
    APLAY_TRANSFER,
    APLAY_WITHDRAW,
    APLAY_TOUCH, /* faults and accesses of some pages */
    APLAY_QUERY,
    APLAY_FIND,
    APLAY_USERS,
    APLAY_OBJECT_NEW,
    APLAY_OBJECT_HOLD,
    APLAY_OBJECT_RELEASE,
    APLAY_OBJECT_RESIZE,
    APLAY_OBJECT_POPULATE,
    APLAY_RECLAIM,
    APLAY_SWITCH, /* another space becomes current; or none */
    APLAY_IDLE,   /* frames are zeroed ahead */
    APLAY_COMPACT, /* pages move until blocks are whole */
    APLAY_KINDS,
};

/* Numbers are drawn; what they come to depends on what there is when the operation runs (by remainders). */
struct aplay_op {
    uint8_t kind, space, other;
    uint8_t frames; /* free while the call runs; APLAY_PLENTY: all */
    uint32_t which, first, pages, rights, how;
};

enum {
    APLAY_SPACES = 8,
    APLAY_OBJECTS = 240,
    APLAY_OBJECTS_FULL = 200, /* from here on no calls that make more: one call may make many */
    APLAY_OBJECTS_MADE = 24,  /* by object_create */
    APLAY_OBJECT_PAGES = 1600,
    APLAY_SPACE_PAGES = 4000,  /* more than APLAY_LIMIT_PAGES with all that one call may add */
    APLAY_LIMIT_PAGES = 2600,  /* of every space */
    APLAY_STATUSES = STATUS_NOT_YET + 1,
    APLAY_PLENTY = UINT8_MAX,
    APLAY_TEXT_BYTES = 640,
    APLAY_ALLOWED_WITH_FLAGS = ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE,
};

/* How often each call answered what. */
struct aplay_counts {
    unsigned answers[APLAY_KINDS][APLAY_STATUSES];
    unsigned calls, succeeded;
    unsigned loans, dropped; /* shares that left loans; frames that were reclaimed */
    unsigned moved;          /* pages, to other frames */
};

struct aplay_result {
    bool failed;
    unsigned at; /* the operation */
    const char *what; /* the form of `text`: failures of one kind; and of which call with what answer */
    enum aplay_kind kind;
    enum status answer;
    char text[APLAY_TEXT_BYTES];
};

struct rng;
struct aplay_op aplay_draw(struct rng *rng);
/* On a fresh machine. `says`: each call becomes a note. Counts are added. */
struct aplay_result aplay_run(const struct aplay_op *ops, unsigned n, bool says, struct aplay_counts *counts);
/* The shortest history that fails in the same way, in place. => its length. */
unsigned aplay_shrink(struct aplay_op *ops, unsigned n);
/* As C, and in words, by test_note. */
void aplay_print(const struct aplay_op *ops, unsigned n);
const char *aplay_kind_name(unsigned kind);

#endif
