/*
 * The walker: one cursor for our own and foreign tables, that cuts a range into stretches behind one entry and
 * descends once a table. Private to src/vmm/. The theory is in walk.c.
 */
#ifndef CAIRN_VMM_WALK_H
#define CAIRN_VMM_WALK_H

#include "vmm/frames.h"

/* ---- A range behind one PT, whose upper entries are all known: no cursor ---- */

struct spot {
    unsigned level;                 /* 1: entry[2] names the PT; else entry[level] is one to be examined */
    vaddr_t leaf, parent;           /* where the first page's entry is; where entry[2] is */
    pte_t entry[PAGING_LEVELS + 1]; /* as in a cursor: [level or 2]..[4] */
    pte_t last;                     /* of these the one read last */
};

/*
 * The PT for `va`. Reads what a cursor would read, and stops where one must decide: there the cursor takes over
 * (cursor_go_on). Our own tables inline, and by value where it is handed on, so that on the short way all of it is in
 * registers.
 */
__attribute__((always_inline)) static inline struct spot spot_find_own(struct vmm *vmm, vaddr_t va)
{
    struct spot s = {.level = PAGING_LEVELS, .leaf = window_entry(WINDOW_OWN, va, 1)};
    s.parent = window_above(s.leaf);
    const vaddr_t third = window_above(s.parent), top = window_above(third);
    s.last = s.entry[4] = arch_table_load(top);
    if (is_trusted(vmm, s.entry[4], 4)) {
        s.last = s.entry[3] = arch_table_load(third);
        s.level = 3;
        if (is_trusted(vmm, s.entry[3], 3)) {
            s.last = s.entry[2] = arch_table_load(s.parent);
            s.level = is_trusted(vmm, s.entry[2], 2) ? 1 : 2;
        }
    }
    vmm->counters.table_loads += s.level == 1 ? PAGING_LEVELS - 1 : PAGING_LEVELS + 1 - s.level;
    return s;
}

/* The same through the foreign window, which is open. */
struct spot spot_find_foreign(struct vmm *vmm, vaddr_t va);

/*
 * A spot stopped at a present entry that is not known: in the user half entries on the way that name tables after all,
 * as the PMM says, are known from now on. => the spot, found again, does not stop.
 */
bool spot_learn(struct vmm *vmm, enum window w, vaddr_t va);

static inline bool is_one_pt(vaddr_t va, npages_t pages) { return pages.v <= pages_to_span_end(va, 2); }

/* Its live count is another. */
static inline void spot_set_count(const struct spot *s, struct vmm *vmm, unsigned count)
{
    table_store(vmm, s->parent, entry_with_count(s->entry[2], count));
}

/* ---- Any range ---- */

struct page_plan;

enum cursor_mode {
    CURSOR_READ,   /* just read */
    CURSOR_LOOK,   /* read and keep what was read, for the change of the same range */
    CURSOR_CHANGE, /* the range looked at before: nothing is read twice; keep live counts, make and unhook tables */
};

struct cursor {
    struct vmm *vmm;
    struct space *space;
    enum window window;
    enum cursor_mode mode;
    bool is_kernel;        /* in the kernel half: the PDPT is shared, never made or freed, and has no count */
    bool is_single;        /* all behind one PT: there is one stretch, and a change takes it over as the look left it */
    bool keeps;            /* PTs that become empty stay */
    bool is_corrupt;       /* the stretch ends at an entry that no correct code wrote (reported) */
    bool is_placed;        /* the first stretch is set */
    bool goes;             /* the PT of the stretch goes with what is in it */
    unsigned leaf;         /* level of the leaves here: 1, but as `plan` says */
    const struct page_plan *plan; /* null: 4 KiB pages */
    /*
     * The highest level whose entry on the way to the stretch closes it: what is below is not edited through this way;
     * and whose entry names a table that is lent: edits reach the borrowers. 0: none.
     */
    unsigned closed, lent;
    struct vmm_cpus cpus;  /* that may have translations of the range */
    unsigned replayed;     /* entries taken from the record */
    unsigned given;        /* entry[given] and those above are there from the start */
    vaddr_t first;
    uint64_t total;
    /* The current stretch: [va, va + pages), all in a table of level `leaf`, or behind one entry that ends the walk. */
    vaddr_t va;
    uint64_t pages;
    uint64_t left;         /* pages from va to the end of the range, this stretch included */
    unsigned level;        /* `leaf`: entry[leaf + 1] names its table; else entry[level] is absent, large or corrupt */
    /* Sets of levels: the live count in entry[level] changed; the table of that level was made by this call. */
    unsigned dirty, fresh;
    /*
     * By level: where the entry that covers va is in the window, for all levels; and what it is, for [level]..[4].
     */
    vaddr_t at[PAGING_LEVELS + 1];
    pte_t entry[PAGING_LEVELS + 1];
};

/*
 * Walk [va, va + pages) of `space`: canonical, in one half, no window. pages > 0. The foreign window is open where it
 * is needed.
 */
void cursor_start(struct cursor *c, enum cursor_mode mode, struct vmm *vmm, struct space *space, vaddr_t va,
                  uint64_t pages);
/* Before the first stretch: what a spot has read is not read again. For ranges behind one PT. */
static inline void cursor_go_on(struct cursor *c, const struct spot *s)
{
    c->given = s->level > 1 ? s->level : 2;
    for (unsigned level = c->given; level <= PAGING_LEVELS; level++) {
        c->entry[level] = s->entry[level];
    }
}
/* entry[level] names a table that is known. */
static inline void cursor_note_sharing(struct cursor *c, unsigned level)
{
    if (level == PAGING_LEVELS) {
        return; /* only PDs and PTs are */
    }
    if (entry_is_closed(c->entry[level])) {
        c->closed = c->closed != 0 ? c->closed : level;
    } else if (entry_is_lent(c->entry[level])) {
        c->lent = c->lent != 0 ? c->lent : level;
    }
}
/* Is a table on the way to the stretch used by other spaces too? What they would have to be asked for is not done. */
static inline bool cursor_is_shared(const struct cursor *c) { return c->closed != 0 || c->lent != 0; }
/* After a look at the whole range: the same range, to be changed. */
void cursor_change(struct cursor *c);
/*
 * On to the next stretch. => false at the end of the range; counts are written back and empty tables gathered by then.
 */
bool cursor_next(struct cursor *c);

/* Before the first stretch: the range is mapped with these page sizes. The cursor keeps the pointer. */
static inline void cursor_use_plan(struct cursor *c, const struct page_plan *plan)
{
    c->plan = plan;
    c->is_single = c->is_single && plan == NULL;
}

/* The stretch is (a part of) a large page. */
static inline bool cursor_is_large(const struct cursor *c)
{
    return c->level > c->leaf && !c->is_corrupt && pte_is_present(c->entry[c->level]);
}

/* ... and all of it. */
static inline bool cursor_is_whole(const struct cursor *c) { return c->pages == level_span_pages(c->level); }

/* For stretches of level 1: where the first leaf's entry is, usable; the others follow (entry_at). Not counted yet. */
static inline vaddr_t cursor_leaves(struct cursor *c)
{
    window_use(c->vmm, c->window, c->at[1], 1);
    return c->at[1];
}

/* Live leaves in the PT of the stretch. */
static inline unsigned cursor_count(const struct cursor *c) { return entry_count(c->entry[2]); }
/* `delta` more (or fewer) leaves in the table of the stretch. Written back when the cursor leaves it. */
void cursor_count_change(struct cursor *c, int delta);
/* For a whole large page that is not present any more: there is one entry less in the table that it was in. */
void cursor_count_large_gone(struct cursor *c);
/* So many tables more. */
static inline void cursor_tables_change(struct cursor *c, int delta)
{
    npages_t *count = c->is_kernel ? &c->vmm->kernel_tables : &c->space->tables;
    count->v += (uint64_t)(int64_t)delta;
}
/* CPUs whose walkers may use the tables of this half: all those of `cpus`, and by way of foreign slots (R15). */
static inline struct vmm_cpus cursor_table_cpus(const struct cursor *c)
{
    return (struct vmm_cpus){c->cpus.mask | (c->is_kernel ? 0 : c->space->reached.mask)};
}
/*
 * The table of `level` that showed va, named by `entry`, was unhooked: it and what shows it go into the gather (R7,
 * R16).
 */
void cursor_gather_table(struct cursor *c, vaddr_t va, unsigned level, pte_t entry);
/*
 * The PT goes when the cursor leaves it, with the leaves that are in it: `owned`: their frames are released after the
 * flush; else the caller has gathered them.
 */
void cursor_drop_table(struct cursor *c, bool owned);

/* Tables missing above the PTEs of a stretch that ends at an entry not present. */
uint64_t cursor_missing_tables(const struct cursor *c);
/*
 * Make them, from promised frames, down to the table of level `stop`, for the first of its entries in the stretch;
 * afterwards the stretch is of that level.
 */
void cursor_make_tables_to(struct cursor *c, unsigned stop);
/* The same, down to the table of the first leaf of the stretch. */
static inline void cursor_make_tables(struct cursor *c) { cursor_make_tables_to(c, c->leaf); }

/* `delta` more (or fewer) present entries in the table that entry[level] names; not kept where there is no count. */
void cursor_count_at(struct cursor *c, unsigned level, int delta);
/* Cut the stretch where the entry that ends the walk, the table of the leaves, or their size ends. */
void cursor_set_stretch(struct cursor *c);

/* entry[level] is present and not simply a table that is known. => true: it is a table; false: large, or is_corrupt. */
bool cursor_examine(struct cursor *c, unsigned level);

/* ---- walk_link.c: entries of any level, by a cursor of one page. Written back by cursor_next ---- */

/*
 * A cursor of one page that stops at the entry of `level` (2, 3) for va, whatever is behind it. => true: entry[level]
 * names a table; false: it, or one above it, is absent, large, or corrupt (is_corrupt: reported).
 */
bool cursor_find_table(struct cursor *c, struct vmm *vmm, struct space *space, vaddr_t va, unsigned level);
/* entry[level], whose table is there, becomes `entry`; it was not present. */
void cursor_link(struct cursor *c, unsigned level, pte_t entry);
/* entry[level] is not present from now on. What is behind it is the caller's: the stretch is all of it. */
void cursor_unlink(struct cursor *c, unsigned level);
/* The table that entry[level] names has so many present entries: it goes when that is none, and it does not stay. */
void cursor_set_count(struct cursor *c, unsigned level, unsigned count);
/* Present entries of the table that entry[level] names, counted. */
unsigned cursor_count_live(struct cursor *c, unsigned level);
/* Gather the flush of the window page that shows the table of entry[level], in whatever window it is seen (R16). */
void cursor_gather_window(struct cursor *c, unsigned level, struct vmm_cpus cpus);

/* ---- walk_corrupt.c ---- */

/* Does the PMM have the frame that entry[level] names in use? What it says is remembered (frames.h). */
bool is_table_frame(const struct cursor *c, unsigned level);
/* entry[level] is as no correct code leaves it: `what` says how. With the walk to it. */
void report_corrupt(const struct cursor *c, unsigned level, const char *what);

#endif
