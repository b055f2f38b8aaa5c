/*
 * Ways to hand out ranges of addresses, behind one interface: the product's arena and its rivals. What each is good for
 * stands in README.md.
 *
 * Pages are numbers, 0 ... pages - 1 of the range served. All bookkeeping lies in memory that start() is given, zeroed;
 * the state is at its beginning. What was used of it once is never given back to anybody.
 *
 * A call that fails changes nothing that a caller could see. Context: one thread.
 *
 * The sources are compiled twice: as they are, to be timed; and with ADDRESSES_COUNTED, to count steps, under other
 * names. A *step* is a visit to a node, an entry of a list, a word of a bitmap, a level of a tree.
 */
#ifndef CAIRN_TEST_RIVALS_ADDRESSES_ADDRESSES_H
#define CAIRN_TEST_RIVALS_ADDRESSES_ADDRESSES_H

#include "lib/status.h"
#include "lib/units.h"

#ifdef ADDRESSES_COUNTED
enum { ADDRESSES_COUNTS = 1 };
#define ADDRESSES(name_) addresses_counted_##name_
#else
enum { ADDRESSES_COUNTS = 0 };
#define ADDRESSES(name_) addresses_##name_
#endif

enum { ADDRESSES_SUBJECTS = 10, ADDRESSES_ALIGN_LOG2_MAX = 18 };

/* What the state of each subject begins with. */
struct addresses {
    uint64_t pages;
    uint8_t *next, *end; /* bookkeeping memory never used so far */
    uint64_t steps;      /* of the last call; 0 where they are not counted */
    uint64_t splits;     /* of the last call: blocks that it divided */
};

/* A range in use as it is reserved: it may be longer than what was asked for. */
struct addresses_range {
    uint64_t first, pages;
};

struct addresses_subject {
    const char *name;
    /*
     * Serve pages [0, pages); the state is at `memory`, page-aligned. A multiple of 1 GiB suits all, for the binary
     * buddy a power of two. => OK; INVALID: not such a number of pages; NOMEM: too little memory.
     */
    enum status (*start)(void *memory, size_t bytes, uint64_t pages);
    /*
     * A range of `pages` whose first page is a multiple of 1 << align_log2, at most ADDRESSES_ALIGN_LOG2_MAX.
     * => OK; NOMEM: none was found, or no memory for the bookkeeping; INVALID. *first is untouched but for OK.
     */
    enum status (*alloc)(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first);
    /* The whole range that starts there. => OK; MISUSE: none does. Any page may be asked for. */
    enum status (*free)(struct addresses *a, uint64_t first);
    /* The range in use that holds the page. => true; false: none does. Null: the idea has no answer. */
    bool (*find)(struct addresses *a, uint64_t page, struct addresses_range *out);
};

/* All of them, the product first. */
extern const struct addresses_subject *const addresses_subjects[ADDRESSES_SUBJECTS];
extern const struct addresses_subject *const addresses_counted_subjects[ADDRESSES_SUBJECTS];
extern const struct addresses_subject ADDRESSES(cairn), ADDRESSES(buddy2), ADDRESSES(buddy4), ADDRESSES(segments),
    ADDRESSES(chunks), ADDRESSES(list), ADDRESSES(tree), ADDRESSES(vmem), ADDRESSES(bestfit), ADDRESSES(imports);

/* The state of which `a_` is the first member, `head`. */
#define ADDRESSES_STATE(type_, a_) ((struct type_ *)(void *)(a_))

static inline size_t addresses_bytes(const struct addresses *a) { return (size_t)(a->next - (const uint8_t *)a); }

/* ---- For the rivals ---- */

static inline void addresses_begin(struct addresses *a)
{
    if (ADDRESSES_COUNTS) {
        a->steps = a->splits = 0;
    }
}

static inline void addresses_step(struct addresses *a)
{
    if (ADDRESSES_COUNTS) {
        a->steps++;
    }
}

static inline void addresses_split(struct addresses *a)
{
    if (ADDRESSES_COUNTS) {
        a->splits++;
    }
}

/* Memory of zeros, aligned to 8 bytes; null: there is not so much. */
static inline void *addresses_take(struct addresses *a, size_t bytes)
{
    bytes = (bytes + 7) / 8 * 8;
    if ((size_t)(a->end - a->next) < bytes) {
        return NULL;
    }
    a->next += bytes;
    return a->next - bytes;
}

/* => the state, `state_bytes` long and zero but for its head; null: too little memory. */
static inline void *addresses_open(void *memory, size_t bytes, size_t state_bytes, uint64_t pages)
{
    struct addresses *a = memory;
    if (bytes < state_bytes) {
        return NULL;
    }
    *a = (struct addresses){.pages = pages, .next = memory, .end = (uint8_t *)memory + bytes};
    return addresses_take(a, state_bytes);
}

/* Nodes of one size, at least a pointer's: those given back first. Their contents are not zeroed. */
struct addresses_pool {
    void **spare;
    size_t spares, node_bytes;
};

/* Can `count` nodes be taken? */
static inline bool addresses_pool_has(const struct addresses *a, const struct addresses_pool *pool, size_t count)
{
    return pool->spares >= count || (count - pool->spares) * pool->node_bytes <= (size_t)(a->end - a->next);
}

/* One that addresses_pool_has. */
static inline void *addresses_pool_take(struct addresses *a, struct addresses_pool *pool)
{
    void **node = pool->spare;
    if (node == NULL) {
        return addresses_take(a, pool->node_bytes);
    }
    pool->spare = *node;
    pool->spares--;
    return node;
}

static inline void addresses_pool_give(struct addresses_pool *pool, void *node)
{
    *(void **)node = pool->spare;
    pool->spare = node;
    pool->spares++;
}

static inline bool addresses_is_valid(uint64_t pages, unsigned align_log2)
{
    return pages > 0 && align_log2 <= ADDRESSES_ALIGN_LOG2_MAX;
}

static inline unsigned addresses_log2_down(uint64_t n) { return 63U - (unsigned)__builtin_clzll(n); }
static inline unsigned addresses_log2_up(uint64_t n) { return n == 1 ? 0 : addresses_log2_down(n - 1) + 1; }
static inline uint64_t addresses_align_up(uint64_t n, unsigned align_log2)
{
    return (n + (1ULL << align_log2) - 1) >> align_log2 << align_log2;
}

#endif
