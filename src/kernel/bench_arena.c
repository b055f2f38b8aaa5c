/*
 * The arena's benchmarks, on an arena of its own that is as large as the global part (its index has the most levels)
 * and in use for a while: a fifth of its ranges went back. What is handed out has no memory behind it; only the nodes
 * have, from kernel pages.
 *
 * Sizes are those of an IPC-heavy system: of 100 ranges 90 have 1 to 4 pages, 9 have 256, one has 1 MiB to 1 GiB.
 */
#include "kernel/bench.h"

#include "arch/layout.h"
#include "lib/rng.h"

enum { EXTRA_EACH = 4, RANGES_PER_NODE_PAGE = 16, NODE_PAGES_LEAST = 16, SIZES = 64 };

struct bench_ranges {
    struct arena arena;
    uint8_t *next, *end; /* pages for its nodes */
    vaddr_t *bases;      /* of the ranges in use */
    uint64_t count;
    struct rng rng;
    uint64_t sizes[SIZES];
};

static void *next_page(void *ctx)
{
    struct bench_ranges *r = ctx;
    uint8_t *page = r->next;
    if (page == r->end) {
        return NULL;
    }
    r->next += PAGE_BYTES;
    return page;
}

static uint64_t random_size(struct rng *rng)
{
    enum { ALL = 100, SMALL = 90, MESSAGE = 99, SMALL_PAGES = 4, MIB_PAGES = 256, DOUBLINGS = 11 };
    uint64_t what = rng_below(rng, ALL);
    if (what < SMALL) {
        return 1 + rng_below(rng, SMALL_PAGES);
    }
    return what < MESSAGE ? MIB_PAGES : (uint64_t)MIB_PAGES << rng_below(rng, DOUBLINGS);
}

static enum status take(struct bench_ranges *r, uint64_t pages, vaddr_t *base)
{
    return arena_alloc(&r->arena, npages(pages), ARENA_ALIGN_PAGE, "bench", base);
}

/* ---- Bodies; twins without the calls ---- */

static enum status pairs(struct bench_work *w, uint64_t ops)
{
    unsigned wrong = 0;
    vaddr_t base = vaddr(0);
    for (uint64_t i = 0; i < ops; i++) {
        wrong |= (unsigned)arena_alloc(&w->ranges->arena, w->n, ARENA_ALIGN_PAGE, "bench", &base);
        wrong |= (unsigned)arena_free(&w->ranges->arena, base);
    }
    return wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

static inline vaddr_t *any_base(struct bench_ranges *r) { return &r->bases[rng_below(&r->rng, r->count)]; }

static enum status exchanges(struct bench_work *w, uint64_t ops)
{
    unsigned wrong = 0;
    for (uint64_t i = 0; i < ops; i++) {
        vaddr_t *base = any_base(w->ranges);
        wrong |= (unsigned)arena_free(&w->ranges->arena, *base);
        wrong |= (unsigned)take(w->ranges, w->ranges->sizes[i % SIZES], base);
    }
    return wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

static enum status finds(struct bench_work *w, uint64_t ops)
{
    unsigned right = 1;
    struct arena_range range;
    for (uint64_t i = 0; i < ops; i++) {
        right &= arena_find(&w->ranges->arena, vaddr_add(*any_base(w->ranges), i), &range);
    }
    return right == 1 ? STATUS_OK : STATUS_CORRUPT;
}

static enum status only_chooses(struct bench_work *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        __asm__ volatile("" : : "r"(any_base(w->ranges)), "r"(w->ranges->sizes[i % SIZES]) : "memory");
    }
    return STATUS_OK;
}

/* ---- The arena ---- */

static enum status fill(struct bench_ranges *r, uint64_t wanted)
{
    vaddr_t base = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)), end = vaddr(LAYOUT_USER_END);
    enum status s = arena_init(&r->arena, base, end, (struct arena_source){r, next_page});
    r->rng = rng_seeded(1);
    for (uint64_t i = 0; i < SIZES; i++) {
        r->sizes[i] = random_size(&r->rng);
    }
    for (; r->count < wanted + wanted / EXTRA_EACH && s == STATUS_OK; r->count += s == STATUS_OK) {
        s = take(r, random_size(&r->rng), &r->bases[r->count]);
    }
    while (r->count > wanted && s == STATUS_OK) {
        vaddr_t *out = any_base(r);
        s = arena_free(&r->arena, *out);
        *out = r->bases[--r->count];
    }
    return s;
}

static enum status measure(const struct bench *bench, struct bench_result *result, bench_body *body, bench_body *empty)
{
    npages_t own = bytes_to_pages_up(sizeof(struct bench_ranges));
    npages_t bases = bytes_to_pages_up((bench->frames + bench->frames / EXTRA_EACH) * sizeof(vaddr_t));
    npages_t nodes = npages(NODE_PAGES_LEAST + bench->frames / RANGES_PER_NODE_PAGE);
    npages_t all = npages(own.v + bases.v + nodes.v);
    vaddr_t memory;
    enum status s = kpages_alloc(&machine.vmm, all, ARENA_ALIGN_PAGE, KPAGES_ZEROED, "bench", &memory);
    if (s != STATUS_OK) {
        return s;
    }
    struct bench_ranges *r = vaddr_to_ptr(memory);
    r->bases = vaddr_to_ptr(vaddr_add_pages(memory, own.v));
    r->next = vaddr_to_ptr(vaddr_add_pages(memory, own.v + bases.v));
    r->end = vaddr_to_ptr(vaddr_add_pages(memory, all.v));
    s = fill(r, bench->frames);
    struct bench_work w = {.ranges = r, .n = npages(bench->flags)};
    if (s == STATUS_OK) {
        s = body(&w, 1); /* the first one may find nothing cached */
    }
    if (s == STATUS_OK) {
        s = bench_add(result, body, empty, &w, BENCH_LOOPS);
    }
    if (s == STATUS_OK) {
        s = r->arena.ranges == bench->frames ? arena_check(&r->arena, NULL) : STATUS_CORRUPT;
    }
    enum status freed = kpages_free(&machine.vmm, memory);
    return s == STATUS_OK ? freed : s;
}

static enum status bench_pairs(const struct bench *bench, struct bench_result *result)
{
    return measure(bench, result, pairs, bench_nothing);
}

static enum status bench_exchanges(const struct bench *bench, struct bench_result *result)
{
    return measure(bench, result, exchanges, only_chooses);
}

static enum status bench_finds(const struct bench *bench, struct bench_result *result)
{
    return measure(bench, result, finds, only_chooses);
}

enum { FEW = 10, MANY = 100000 };
#define PAGES_2G ((unsigned)(2 * GIB / PAGE_BYTES))
static_assert(PAGES_2G > ARENA_CACHED_PAGES, "not cached");

const struct bench bench_arena[] = {
    {"arena_pair_10", "page of addresses handed out and taken back, among 10 ranges", bench_pairs, 1, FEW},
    {"arena_pair_100k", "the same among 100,000", bench_pairs, 1, MANY},
    {"arena_pair_1m_10", "1 MiB, among 10", bench_pairs, 256, FEW},
    {"arena_pair_1m_100k", "the same among 100,000", bench_pairs, 256, MANY},
    {"arena_pair_2m_10", "2 MiB, among 10", bench_pairs, ARENA_LARGE_PAGES, FEW},
    {"arena_pair_2m_100k", "the same among 100,000", bench_pairs, ARENA_LARGE_PAGES, MANY},
    {"arena_pair_2g_10", "2 GiB, which are not cached, among 10", bench_pairs, PAGES_2G, FEW},
    {"arena_pair_2g_100k", "the same among 100,000", bench_pairs, PAGES_2G, MANY},
    {"arena_mix_10", "any range of 10 taken back, one of the mix handed out", bench_exchanges, 0, FEW},
    {"arena_mix_100k", "the same among 100,000", bench_exchanges, 0, MANY},
    {"arena_find_10", "look-up by an address inside, among 10", bench_finds, 0, FEW},
    {"arena_find_100k", "the same among 100,000", bench_finds, 0, MANY},
    {0},
};
