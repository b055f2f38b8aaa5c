/*
 * Histories of the VMM on the model machine: lists of operations that can be drawn, run, shrunk and printed so that
 * they can be pasted as a test. A history fails at its first violation, wrong answer or broken invariant.
 */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_H
#define CAIRN_TEST_UNIT_MMU_PLAY_H

#include "lib/rng.h"
#include "model/model.h"

enum play_kind {
    PLAY_MAP,        /* pages of a space: fresh frames */
    PLAY_MAP_FRAMES, /* ... frames of a device, with a cache type */
    PLAY_UNMAP,
    PLAY_PROTECT,
    PLAY_CLEAR,  /* unmap all that is mapped of a part, stretch by stretch */
    PLAY_USE,    /* translate; read and write them if the space is current */
    PLAY_SWITCH, /* to the space */
    PLAY_RENEW,  /* destroy the space and create another, unless it is current */
    PLAY_KERNEL, /* kernel pages: free what the place `part` holds, or allocate `pages` there */
    PLAY_WINDOW, /* map a page in a window, which must be refused */
    PLAY_KEEP,   /* the space keeps tables from now on, or no longer */
    PLAY_IDLE,   /* frames are zeroed ahead: `pages` of one kind or the other */
    PLAY_OTHER_SWITCH, /* CPU 1 switches to the space */
    PLAY_OTHER_USE,    /* CPU 1 reads and writes pages of the space that is current there, and kernel pages */
    PLAY_MARKS,        /* count accessed and dirty, clear those that `rights` says */
    PLAY_GLOBAL,       /* global pages of the kernel half: map, protect, unmap */
    PLAY_LOW,          /* no memory for the next operation; who is asked for some does the one behind it */
    PLAY_LARGE,        /* as mmu_play_large.h says */
    PLAY_LARGE_LAST = PLAY_LARGE + 6,
    PLAY_SHARE_MAP, /* from here on mmu_play_share.c: pages whose tables are shared */
    PLAY_SHARE_UNMAP,
    PLAY_SHARE_PROTECT,
    PLAY_SHARE_CLEAR, /* unmap all of a part */
    PLAY_SHARE_LEND,
    PLAY_SHARE_WITHDRAW,
    PLAY_SHARE_CLONE,
    PLAY_SHARE_UNSHARE,
    PLAY_SHARE_OWN, /* as write faults */
    PLAY_SHARE_USE,
    PLAY_SHARE_LARGE,  /* map a part with one large page */
    PLAY_SHARE_DEVICE, /* map pages of a device */
    PLAY_SHARE_PROMOTE, /* the part */
    PLAY_SHARE_DEMOTE,
    PLAY_SHARE_MARKS,  /* count accessed and dirty, clear them or not */
    PLAY_SOME_UNMAP, /* from here on mmu_play_some.c: what is there of a range of these pages */
    PLAY_SOME_PROTECT,
    PLAY_SOME_COPY, /* map one for copy on write */
    PLAY_MOVE, /* pages of a space, elsewhere in it: `rights` and the rest say where */
    PLAY_KINDS,
};

enum {
    PLAY_SPACES = 3, /* number PLAY_SPACES is the kernel's own, for PLAY_SWITCH */
    PLAY_PARTS = 3,
    PLAY_PART_PAGES = 700,
    PLAY_TEXT_BYTES = 640,
};

struct play_op {
    uint8_t kind, space, part, rights; /* rights: VMM_* */
    uint16_t first, pages;
};

struct play_result {
    bool failed;
    enum model_rule rule; /* MODEL_NONE: a wrong answer or a broken invariant */
    unsigned at;          /* the operation */
    unsigned changes;     /* operations on pages of spaces that changed something */
    char text[PLAY_TEXT_BYTES];
};

/* What drawing goes on from: half of the operations name the space that is current. */
struct play_drawing {
    struct rng rng;
    struct play_op last;
    uint8_t current;
    bool has_global; /* PLAY_GLOBAL came, and not yet the one that unmaps */
    bool two_cpus; /* CPU 1 runs too */
    bool has_large; /* with operations on large pages */
    bool shares;   /* tables are shared */
    bool moves;    /* pages move */
    uint8_t low;   /* so many operations are still to come for a PLAY_LOW */
    uint8_t step;  /* of a plan for one place of what is shared; 0: none */
    struct play_op place;
};

/* On what kind of machine; null in the calls below, and all of it zero: Intel's rules, no defect. */
struct play_machine {
    const struct model_variant *variant;
    bool (*loses_invlpg)(vaddr_t va); /* as in struct model: a defect of the product, put on */
};

struct play_op play_draw(struct play_drawing *d);
/*
 * On a fresh machine; CPU 1 runs from the start where the history has operations of it. All edits are CPU 0's, since
 * the VMM keeps what is a CPU's own once; but what CPU 1 may hold counts.
 */
struct play_result play_run(const struct play_op *ops, unsigned n, const struct play_machine *machine);
/* The shortest history that breaks the same rule, in place. => its length. */
unsigned play_shrink(struct play_op *ops, unsigned n, const struct play_machine *machine);
/* As C, by test_note. */
void play_print(const struct play_op *ops, unsigned n, const struct play_result *result);

#endif
