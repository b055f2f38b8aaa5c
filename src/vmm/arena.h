/*
 * Arena: hands out ranges of virtual addresses, page granularity. It maps nothing.
 *
 * Its bookkeeping (one node a range, used or free) comes from a reserve of node pages which `more` feeds, never
 * from the heap above. Only an allocation that splits a free range needs nodes; a free never does: merging only
 * returns them.
 *
 * Invariants: ARENA-I1 nodes tile [base, end) without gap or overlap, in order; ARENA-I2 no two free neighbours;
 * ARENA-I3 the counters are the sums over the nodes. arena_check() compares.
 *
 * Context: thread; not re-entrant: `more` may not call the arena.
 */
#ifndef CAIRN_VMM_ARENA_H
#define CAIRN_VMM_ARENA_H

#include "lib/fmt.h"
#include "lib/status.h"
#include "lib/units.h"

enum {
    ARENA_ALIGN_PAGE = __builtin_ctz(PAGE_BYTES), /* the least alignment: log2 of a page's bytes */
    ARENA_ALIGN_MAX = 39,                         /* the most: one PML4 slot */
};

struct arena_node; /* private to src/vmm/, arena_node.h */

/*
 * Where node pages come from: one mapped, zeroed, writable page a call, or null when memory is short. Never taken back.
 */
struct arena_source {
    void *ctx;
    void *(*more)(void *ctx);
};

struct arena {
    struct arena_node *first;  /* all nodes in address order */
    struct arena_node *unused; /* the reserve */
    struct arena_source source;
    vaddr_t base, end;
    npages_t used;             /* pages handed out */
    size_t ranges;             /* ranges handed out */
    size_t unused_count;       /* nodes in the reserve */
};

/* A range that was handed out, or a free one (tag null). */
struct arena_range {
    vaddr_t base;
    npages_t pages;
    const char *tag; /* who asked, a string that lives for ever */
    unsigned kind;   /* a number of the asker's own; 0 from arena_alloc and arena_alloc_at */
};

/* What is asked for, in full. */
struct arena_request {
    npages_t pages;      /* of the whole range, > 0 */
    unsigned align_log2; /* bytes, 12..39; of the page `lead` pages into the range */
    npages_t lead;       /* pages before the aligned one, < pages: a guard below */
    const char *tag;     /* not null */
    unsigned kind;
};

/* Serve [base, end), both page-aligned, base < end. => OK; NOMEM: no page for the first nodes; INVALID. */
enum status arena_init(struct arena *a, vaddr_t base, vaddr_t end, struct arena_source source);

/*
 * A free range of `pages`, aligned to 1 << align_log2 bytes (12 or more, at most 39). First fit for now: O(ranges).
 * => OK; NOMEM: no range or no node; INVALID: no pages, alignment out of range. *base is untouched but for OK.
 */
enum status arena_alloc(struct arena *a, npages_t pages, unsigned align_log2, const char *tag, vaddr_t *base);
/* The same with everything that can be asked for; arena_alloc is the plain case of it. */
enum status arena_request(struct arena *a, const struct arena_request *request, vaddr_t *base);
/* Exactly this range. => OK; EXISTS: part of it is in use; RANGE: not inside the arena; NOMEM; INVALID. */
enum status arena_alloc_at(struct arena *a, vaddr_t base, npages_t pages, const char *tag);
/*
 * Give back the whole range that starts at `base`. => OK; MISUSE (reported): no used range starts there. O(ranges)
 * for now.
 */
enum status arena_free(struct arena *a, vaddr_t base);
/* The range (used or free) that holds `va`. O(ranges) for now. => true, or false when `va` is outside the arena. */
bool arena_find(const struct arena *a, vaddr_t va, struct arena_range *out);
/* All used ranges in order; false stops. */
void arena_visit(const struct arena *a, bool (*visit)(void *ctx, const struct arena_range *range), void *ctx);
/* Compare the views (ARENA-I1..I3); what is wrong is said to `out`, which may be null. => OK; CORRUPT. O(ranges). */
enum status arena_check(const struct arena *a, struct sink *out);

#endif
