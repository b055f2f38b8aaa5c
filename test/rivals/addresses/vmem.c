/*
 * After vmem (Bonwick and Adams, 2001), without what the arena adds to it: boundary tags on one list in address order,
 * free ones on lists by power of two, used ones in a hash by their first pages, small sizes cached.
 *
 * *Instant fit*: from the list on in which every range is long enough, the first one of the first list that is not
 * empty, cut at its low end. Only where there is none, the list of the request's own power is searched. Ranges of up to
 * QUANTUM_PAGES_MAX pages are kept as they are when they are freed, for the next of their size; they are merged before
 * a request is refused.
 *
 * The hash has a fixed number of buckets (the original doubles it now and then, in a thread that takes all locks), and
 * no look-up by an address inside a range.
 */
#include "rivals/addresses/addresses.h"

enum { POWERS = 36, BUCKETS_LOG2 = 14, BUCKETS = 1 << BUCKETS_LOG2, QUANTUM_PAGES_MAX = 8, CACHED_EACH = 16 };
enum state { FREE, USED, CACHED };

struct tag {
    struct tag *next, *prev; /* in address order */
    struct tag *peer, *back; /* free: the list of its power; used, cached: `peer` is the next in its bucket */
    struct tag *cached;      /* the next on its stack */
    uint64_t first, pages;
    enum state state;
};

struct vmem {
    struct addresses head;
    struct addresses_pool tags;
    uint64_t powers; /* bit k: free[k] is not empty */
    struct tag *free[POWERS];
    struct tag *cache[QUANTUM_PAGES_MAX + 1];
    unsigned cached[QUANTUM_PAGES_MAX + 1];
    struct tag *buckets[BUCKETS];
};

static struct tag **bucket(struct vmem *v, uint64_t first)
{
    const uint64_t golden = 0x9E3779B97F4A7C15; /* 2^64 divided by the golden ratio */
    return &v->buckets[first * golden >> (64 - BUCKETS_LOG2)];
}

static void add_free(struct vmem *v, struct tag *t)
{
    unsigned power = addresses_log2_down(t->pages);
    t->state = FREE;
    t->peer = v->free[power];
    t->back = NULL;
    if (t->peer != NULL) {
        t->peer->back = t;
    }
    v->free[power] = t;
    v->powers |= 1ULL << power;
}

static void remove_free(struct vmem *v, struct tag *t)
{
    unsigned power = addresses_log2_down(t->pages);
    if (t->peer != NULL) {
        t->peer->back = t->back;
    }
    *(t->back != NULL ? &t->back->peer : &v->free[power]) = t->peer;
    if (v->free[power] == NULL) {
        v->powers &= ~(1ULL << power);
    }
}

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0 || addresses_log2_down(pages) >= POWERS) {
        return STATUS_INVALID;
    }
    struct vmem *v = addresses_open(memory, bytes, sizeof *v, pages);
    if (v == NULL) {
        return STATUS_NOMEM;
    }
    v->tags.node_bytes = sizeof(struct tag);
    if (!addresses_pool_has(&v->head, &v->tags, 1)) {
        return STATUS_NOMEM;
    }
    struct tag *all = addresses_pool_take(&v->head, &v->tags);
    *all = (struct tag){.pages = pages};
    add_free(v, all);
    return STATUS_OK;
}

static uint64_t skip_in(const struct tag *t, unsigned align_log2)
{
    return addresses_align_up(t->first, align_log2) - t->first;
}

static bool fits(const struct tag *t, uint64_t pages, unsigned align_log2)
{
    uint64_t skip = skip_in(t, align_log2);
    return skip < t->pages && t->pages - skip >= pages;
}

static struct tag *choose(struct vmem *v, uint64_t pages, unsigned align_log2)
{
    addresses_step(&v->head); /* the word */
    unsigned own = addresses_log2_down(pages), sure = addresses_log2_up(pages + (1ULL << align_log2) - 1);
    uint64_t powers = sure < POWERS ? v->powers >> sure << sure : 0;
    if (powers != 0) {
        addresses_step(&v->head);
        return v->free[__builtin_ctzll(powers)];
    }
    for (unsigned power = own; power < sure && power < POWERS; power++) {
        for (struct tag *t = v->free[power]; t != NULL; t = t->peer) {
            addresses_step(&v->head);
            if (fits(t, pages, align_log2)) {
                return t;
            }
        }
    }
    return NULL;
}

/* A free tag right behind `t`, for its pages from `pages` on. */
static struct tag *split_behind(struct vmem *v, struct tag *t, uint64_t pages)
{
    addresses_step(&v->head);
    struct tag *behind = addresses_pool_take(&v->head, &v->tags);
    *behind = (struct tag){.next = t->next, .prev = t, .first = t->first + pages, .pages = t->pages - pages};
    if (t->next != NULL) {
        t->next->prev = behind;
    }
    t->next = behind;
    t->pages = pages;
    return behind;
}

/* `next`, on no list, becomes part of `t`. */
static void join(struct vmem *v, struct tag *t, struct tag *next)
{
    addresses_step(&v->head);
    t->pages += next->pages;
    t->next = next->next;
    if (t->next != NULL) {
        t->next->prev = t;
    }
    addresses_pool_give(&v->tags, next);
}

/* The word that names the tag of that first page, or null after the last of its bucket. */
static struct tag **look_up(struct vmem *v, uint64_t first)
{
    struct tag **link = bucket(v, first);
    addresses_step(&v->head);
    while (*link != NULL && (*link)->first != first) {
        addresses_step(&v->head);
        link = &(*link)->peer;
    }
    return link;
}

/* The used or cached tag `t` is free from now on. */
static void merge(struct vmem *v, struct tag *t)
{
    struct tag **link = look_up(v, t->first);
    *link = t->peer;
    if (t->next != NULL && t->next->state == FREE) {
        remove_free(v, t->next);
        join(v, t, t->next);
    }
    struct tag *prev = t->prev;
    if (prev != NULL && prev->state == FREE) {
        remove_free(v, prev);
        join(v, prev, t);
        t = prev;
    }
    add_free(v, t);
}

static bool drain(struct vmem *v)
{
    bool any = false;
    for (unsigned pages = 1; pages <= QUANTUM_PAGES_MAX; pages++) {
        for (struct tag *t; (t = v->cache[pages]) != NULL; any = true) {
            addresses_step(&v->head);
            v->cache[pages] = t->cached;
            v->cached[pages]--;
            merge(v, t);
        }
    }
    return any;
}

static struct tag *cut(struct vmem *v, struct tag *t, uint64_t pages, unsigned align_log2)
{
    remove_free(v, t);
    uint64_t skip = skip_in(t, align_log2);
    if (skip > 0) {
        struct tag *before = t;
        t = split_behind(v, t, skip);
        add_free(v, before);
    }
    if (t->pages > pages) {
        add_free(v, split_behind(v, t, pages));
    }
    struct tag **in = bucket(v, t->first);
    t->peer = *in;
    *in = t;
    addresses_step(&v->head);
    return t;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct vmem *v = ADDRESSES_STATE(vmem, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    struct tag *t = NULL;
    if (pages <= QUANTUM_PAGES_MAX && align_log2 == 0 && v->cache[pages] != NULL) {
        addresses_step(a);
        t = v->cache[pages];
        v->cache[pages] = t->cached;
        v->cached[pages]--;
    } else {
        enum { CUT_TAGS = 2 };
        if (pages > a->pages || (!addresses_pool_has(a, &v->tags, CUT_TAGS) &&
                                 !(drain(v) && addresses_pool_has(a, &v->tags, CUT_TAGS)))) {
            return STATUS_NOMEM;
        }
        t = choose(v, pages, align_log2);
        t = t == NULL && drain(v) ? choose(v, pages, align_log2) : t;
        if (t == NULL) {
            return STATUS_NOMEM;
        }
        t = cut(v, t, pages, align_log2);
    }
    t->state = USED;
    *first = t->first;
    return STATUS_OK;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct vmem *v = ADDRESSES_STATE(vmem, a);
    addresses_begin(a);
    struct tag *t = *look_up(v, first);
    if (t == NULL || t->state != USED) {
        return STATUS_MISUSE;
    }
    if (t->pages > QUANTUM_PAGES_MAX || v->cached[t->pages] == CACHED_EACH) {
        merge(v, t);
        return STATUS_OK;
    }
    t->state = CACHED;
    t->cached = v->cache[t->pages];
    v->cache[t->pages] = t;
    v->cached[t->pages]++;
    return STATUS_OK;
}

const struct addresses_subject ADDRESSES(vmem) = {"vmem", start, alloc, free_range, NULL};
