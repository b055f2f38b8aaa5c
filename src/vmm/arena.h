/*
 * Arena: hands out ranges of virtual addresses, page granularity. It maps nothing.
 *
 * Each call takes a fixed number of steps, whatever the number of ranges. A freed range of few pages is first cached:
 * kept as it is for the next request of its size. Requests that would fail without it get what is cached.
 *
 * Its bookkeeping comes from a reserve of node pages which `more` feeds, never from the heap above. Only an allocation
 * that cuts a free range needs nodes, and it has them before it changes anything; a free only gives nodes back.
 *
 * An arena may have all of its addresses from the start, or import them in spans (arena_init_spans).
 *
 * Invariants: ARENA-I1 nodes tile [base, end), or each span, without gap or overlap, in order; ARENA-I2 no two free
 * neighbours in a span (what is cached is not merged); ARENA-I3 the counters are the sums over the nodes; ARENA-I4 the
 * index holds exactly the ranges used and cached, each under its base; ARENA-I5 each free range is on the list of its
 * size class, and the maps say which lists are not empty; ARENA-I6 what is cached is on the stack of its class;
 * ARENA-I7 the reserve is what it counts; ARENA-I8 spans are aligned, and one at most is wholly free, of the least
 * size: the one kept. arena_check() compares.
 *
 * Context: thread. `more`, which may have to ask others for memory, is called before anything is changed: it, and they,
 * may use the arena.
 */
#ifndef CAIRN_VMM_ARENA_H
#define CAIRN_VMM_ARENA_H

#include "lib/fmt.h"
#include "lib/status.h"
#include "lib/units.h"

enum {
    ARENA_ALIGN_PAGE = __builtin_ctz(PAGE_BYTES), /* the least alignment: log2 of a page's bytes */
    ARENA_ALIGN_MAX = 39,                         /* the most: one PML4 slot */
    ARENA_PAGES_LOG2_MAX = 36,                    /* an arena is at most 256 TiB: all of 4-level paging */

    /*
     * Size classes. Sizes below 2 << ARENA_STEPS_LOG2 pages have a class each; from there a power of two has
     * 1 << ARENA_STEPS_LOG2.
     */
    ARENA_STEPS_LOG2 = 3,
    ARENA_CLASSES = ((ARENA_PAGES_LOG2_MAX - ARENA_STEPS_LOG2 + 1) << ARENA_STEPS_LOG2) + 1,
    ARENA_CLASS_WORDS = (ARENA_CLASSES + 63) / 64,

    /* Large: ranges of so many pages or more are cut off the high end of a free one. 2 MiB. */
    ARENA_LARGE_PAGES_LOG2 = 9,
    ARENA_LARGE_PAGES = 1 << ARENA_LARGE_PAGES_LOG2,

    /* Ranges of up to so many pages are cached, 32 MiB; so many a class, of large ones fewer (figures: note 0012). */
    ARENA_CACHED_PAGES_LOG2 = 13,
    ARENA_CACHED_PAGES = 1 << ARENA_CACHED_PAGES_LOG2,
    ARENA_CACHED_CLASSES = ((ARENA_CACHED_PAGES_LOG2 - ARENA_STEPS_LOG2 + 1) << ARENA_STEPS_LOG2) + 1,
    ARENA_CACHED_EACH = 16,
    ARENA_CACHED_LARGE_EACH = 1,

    ARENA_LOOKS = 8,        /* free ranges looked at for a closer fit than the size class promises */
    ARENA_LOOKS_MAX = 1024, /* looked at before the answer is NOMEM */

    ARENA_SPAN_PAGES_LEAST = 32, /* of a span that is imported */
};

/* Private to src/vmm/, arena_node.h. */
struct arena_node;
struct arena_index;

/*
 * Where node pages come from: one mapped, zeroed, writable page a call, or null when memory is short. Never taken back.
 */
struct arena_source {
    void *ctx;
    void *(*more)(void *ctx);
};

/* Nodes not in use, for any number of arenas: what one gives back serves the others. It stays where it is. */
struct arena_reserve {
    struct arena_source source;
    struct arena_node *nodes;              /* given back */
    struct arena_node *fresh, *fresh_end;  /* never used: the rest of a page */
    struct arena_index *indexes;
    size_t node_count, index_count;        /* of all that is here */
};
void arena_reserve_init(struct arena_reserve *reserve, struct arena_source source);

/*
 * Where an arena that grows gets its addresses: spans of another arena, or of whoever. `get` is called before anything
 * is changed, and may use the arena; `put` after, and may not.
 */
struct arena_spans {
    void *ctx;
    npages_t pages; /* of a span, a power of two; a request that is larger gets one of its size, rounded up to these */
    /* A span of `pages`, aligned to the span size, inside the arena's bounds. => OK; NOMEM. */
    enum status (*get)(void *ctx, npages_t pages, vaddr_t *base);
    /* A span in which nothing is used or cached any more goes back (one is kept). Needs no memory. */
    void (*put)(void *ctx, vaddr_t base, npages_t pages);
};

struct arena {
    struct arena_index *index; /* its root: used and cached ranges by their bases */
    unsigned key_shift;        /* page number in the arena << this: a key of the index */
    unsigned index_below;      /* levels of the index below the root */
    vaddr_t base, end;
    npages_t used;             /* pages handed out */
    size_t ranges;             /* ranges handed out */
    struct arena_node *cache[ARENA_CACHED_CLASSES]; /* stacks of freed ranges by size class, the last one on top */
    uint8_t room[ARENA_CACHED_CLASSES];             /* ranges more that a stack takes; [0], which is empty: none */
    struct arena_node *first;                  /* all nodes in address order */
    uint64_t class_words;                      /* bit w: class_map[w] is not 0 */
    uint64_t class_map[ARENA_CLASS_WORDS];     /* bit c: classes[c] is not empty */
    struct arena_node *classes[ARENA_CLASSES]; /* free ranges by size */
    struct arena_reserve *reserve;             /* where nodes come from: `own`, or a shared one */
    struct arena_reserve own;
    struct arena_spans spans;                  /* get null: all of [base, end) is the arena's */
    struct arena_node *kept;                   /* the span that is kept though nothing is used in it; null: none */
};
static_assert(sizeof(struct arena) <= PAGE_BYTES, "an arena for each space takes a page");

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
    bool low_end;        /* cut off the low end of a free range, however large it is */
    bool best_fit;       /* from the smallest free range of ARENA_LOOKS_MAX looked at; none that is cached */
};

/*
 * Serve [base, end), both page-aligned, base < end, at most 2^36 pages.
 * => OK; NOMEM: no page for the first nodes; INVALID.
 */
enum status arena_init(struct arena *a, vaddr_t base, vaddr_t end, struct arena_source source);

/* The same with nodes from a reserve that others use too. */
enum status arena_init_shared(struct arena *a, vaddr_t base, vaddr_t end, struct arena_reserve *reserve);
/*
 * The same, and nothing is free at first: spans are imported when a request finds no room, and go back. A range never
 * reaches over the end of a span. => INVALID also: not such spans.
 */
enum status arena_init_spans(struct arena *a, vaddr_t base, vaddr_t end, struct arena_reserve *reserve,
                             struct arena_spans spans);
/*
 * The arena is no more, whatever is used in it: its nodes go back to the reserve, its spans to where they came from.
 * O(ranges).
 */
void arena_end(struct arena *a);

/*
 * A free range of `pages`, aligned to 1 << align_log2 bytes (12 or more, at most 39): one that was cached, else a close
 * fit: from the smallest size class that has one, at its lowest aligned address. O(1), see arena.c section 3.
 * => OK; NOMEM: no range or no node; INVALID: no pages, alignment out of range. *base is untouched but for OK.
 * NOMEM for want of a range means: no free range has pages + alignment - 1 pages, and of those that have at least
 * `pages` the ARENA_LOOKS_MAX looked at (there are rarely more) have no aligned place for it.
 */
enum status arena_alloc(struct arena *a, npages_t pages, unsigned align_log2, const char *tag, vaddr_t *base);
/* The same with everything that can be asked for; arena_alloc is the plain case of it. */
enum status arena_request(struct arena *a, const struct arena_request *request, vaddr_t *base);
/*
 * Exactly this range. => OK; EXISTS: part of it is in use; RANGE: not inside the arena, or inside one span that it has;
 * NOMEM: no node; INVALID.
 */
enum status arena_alloc_at(struct arena *a, vaddr_t base, npages_t pages, const char *tag);
/* Give back the whole range that starts at `base`. => OK; MISUSE (reported): no used range starts there. O(1). */
enum status arena_free(struct arena *a, vaddr_t base);
/*
 * Give back [base, base + pages), which lies in one used range: what is left of it below keeps its base, what is left
 * above is a used range of its own, with tag and kind. => OK; NOMEM: no node, nothing changed; MISUSE (reported): not
 * all of it is in one used range; INVALID. O(1).
 */
enum status arena_free_part(struct arena *a, vaddr_t base, npages_t pages);
/*
 * The used range that starts at `base`, and the used one right behind it, are one from now on, with the first one's tag
 * and kind. Needs no memory. => OK; MISUSE (reported): there are no such two, or a span ends between them. O(1).
 */
enum status arena_join(struct arena *a, vaddr_t base);
/*
 * So many allocations and partial frees from now on need no more nodes than are in reserve: of this arena, and of all
 * that share its reserve and have no more levels (none reaches further), together. What gives spans is not counted.
 * => OK; NOMEM. What is cached may have become free.
 */
enum status arena_reserve_for(struct arena *a, unsigned operations);
/*
 * What is cached becomes free, and spans in which nothing is used go back, all of them. Needs no memory. O(cached).
 */
void arena_trim(struct arena *a);
/*
 * The range that holds `va`; a free one reaches to the used ones around it. O(1). => true, or false when `va` is
 * outside the arena.
 */
bool arena_find(const struct arena *a, vaddr_t va, struct arena_range *out);
/* All used ranges in order; false stops. */
void arena_visit(const struct arena *a, bool (*visit)(void *ctx, const struct arena_range *range), void *ctx);
/* Compare the views (ARENA-I1..I8); what is wrong is said to `out`, which may be null. => OK; CORRUPT. O(ranges). */
enum status arena_check(const struct arena *a, struct sink *out);

#endif
