/*
 * The walker: one cursor for our own and foreign tables, that cuts a range into stretches behind one entry and
 * descends once a table. Private to src/vmm/. The theory is in walk.c.
 */
#ifndef CAIRN_VMM_WALK_H
#define CAIRN_VMM_WALK_H

#include "vmm/foreign.h"

enum cursor_mode {
    CURSOR_READ,   /* just read */
    CURSOR_LOOK,   /* read and keep what was read in vmm->record */
    CURSOR_CHANGE, /* the range looked at before: read from the record, keep live counts, make and unhook tables */
};

struct cursor {
    struct vmm *vmm;
    struct space *space;
    enum window window;
    enum cursor_mode mode;
    bool is_kernel;         /* in the kernel half: the PDPT is shared, never made or freed, and has no count */
    bool is_live;           /* this CPU may have translations of the range */
    bool started;
    unsigned replayed;      /* entries taken from the record */
    /* The current stretch: [va, va + pages), all behind one PT or one entry that ends the walk. */
    vaddr_t va;
    uint64_t pages;
    uint64_t left;          /* pages from va to the end of the range, this stretch included */
    unsigned level;         /* 1: entry[2] names a PT; 2..4: entry[level] is not present, a large page or corrupt */
    /*
     * By level: the entry that covers va in the table of that level, [level]..[4] valid; its live count changed;
     * the table itself was made by this call, so that its entries are known to be 0.
     */
    pte_t entry[PAGING_LEVELS + 1];
    bool dirty[PAGING_LEVELS + 1];
    bool fresh[PAGING_LEVELS + 1];
};

/*
 * Walk [va, va + pages) of `space`: canonical, in one half, no window. pages > 0. Opens the foreign window where it
 * is needed.
 */
void cursor_start(struct cursor *c, enum cursor_mode mode, struct vmm *vmm, struct space *space, vaddr_t va,
                  uint64_t pages);
/*
 * On to the next stretch. => false at the end of the range; counts are written back and empty tables gathered by then.
 */
bool cursor_next(struct cursor *c);

/* The stretch ends at an entry that no correct code wrote (reported). */
bool cursor_is_corrupt(const struct cursor *c);
bool cursor_is_large(const struct cursor *c);

/* For stretches of level 1: the address of the first leaf's entry; the others follow. */
vaddr_t cursor_leaves(const struct cursor *c);
/* One leaf of the stretch; in CURSOR_LOOK it is recorded, in CURSOR_CHANGE with `recorded` taken from the record. */
pte_t cursor_leaf(struct cursor *c, vaddr_t entry, bool recorded);
void cursor_leaf_store(struct cursor *c, vaddr_t entry, pte_t value);
/* Live leaves in the PT of the stretch. */
unsigned cursor_count(const struct cursor *c);
/* `delta` more (or fewer) leaves in it. Written back when the cursor leaves the PT. */
void cursor_count_change(struct cursor *c, int delta);

/* Tables missing above the PTEs of a stretch that ends at an entry not present. */
uint64_t cursor_missing_tables(const struct cursor *c);
/* Make them for the first PT of the stretch, from promised frames; afterwards the stretch is of level 1. */
void cursor_make_tables(struct cursor *c);

#endif
