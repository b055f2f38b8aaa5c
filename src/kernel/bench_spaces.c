/*
 * The benchmarks of spaces, on a system of their own in kernel pages. A large space has 10,000 mappings of a page
 * each, side by side; those that are asked about are drawn at random.
 */
#include "arch/layout.h"
#include "kernel/bench_spaces.h"

enum { MANY = 10000, SEED = 1 };
enum { PRIVATE_PAGES, SHARED_PAGES, PRIVATE_OTHER, SHARED_OTHER };

#define PLACE LAYOUT_SLOT_BASE(1)

/* ---- Bodies; twins without the calls ---- */

static inline vaddr_t any_page(struct bench_space *b)
{
    return vaddr_add_pages(vaddr(PLACE), rng_below(&b->rng, MANY));
}

static enum status queries(struct bench_work *w, uint64_t ops)
{
    struct aspace_query q = {0};
    unsigned wrong = 0;
    for (uint64_t i = 0; i < ops; i++) {
        wrong |= (unsigned)aspace_query(&w->own_space->space, any_page(w->own_space), &q);
    }
    return wrong == 0 && q.frame.v != 0 ? STATUS_OK : STATUS_CORRUPT;
}

static enum status finds(struct bench_work *w, uint64_t ops)
{
    vaddr_t base;
    npages_t pages;
    unsigned right = 1;
    for (uint64_t i = 0; i < ops; i++) {
        right &= aspace_find(&w->own_space->space, any_page(w->own_space), &base, &pages);
    }
    return right == 1 ? STATUS_OK : STATUS_CORRUPT;
}

static enum status only_chooses(struct bench_work *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        __asm__ volatile("" : : "r"(any_page(w->own_space)) : "memory");
    }
    return STATUS_OK;
}

static enum status pairs(struct bench_work *w, uint64_t ops)
{
    const struct aspace_request r = {.pages = w->n, .rights = VMM_READ | VMM_WRITE, .flags = w->flags, .tag = "bench"};
    unsigned wrong = 0;
    for (uint64_t i = 0; i < ops; i++) {
        vaddr_t va = {0};
        wrong |= (unsigned)aspace_map(&w->own_space->space, &r, &va);
        wrong |= (unsigned)aspace_unmap(&w->own_space->space, va, w->n);
    }
    return wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

/* ---- The space ---- */

/* Neighbours differ in a right, so that they stay apart. */
static enum status fill(struct bench_space *b, bool shared)
{
    enum status s = shared ? object_create_anonymous(&b->system, npages(MANY), &b->object) : STATUS_OK;
    struct aspace_request r = {
        .pages = npages(1), .flags = ASPACE_AT | ASPACE_POPULATE, .object = b->object, .tag = "bench",
    };
    for (uint64_t i = 0; i < MANY && s == STATUS_OK; i++) {
        vaddr_t va;
        r.va = vaddr_add_pages(vaddr(PLACE), i);
        r.first = shared ? i : 0;
        r.rights = i % 2 == 0 ? VMM_READ : VMM_READ | VMM_WRITE;
        s = aspace_map(&b->space, &r, &va);
    }
    b->rng = rng_seeded(SEED);
    return s;
}

static enum status end(struct bench_space *b, enum status s)
{
    if (b->object != NULL) {
        const enum status released = object_release(b->object);
        s = s == STATUS_OK ? released : s;
    }
    if (b->space.system != NULL) {
        const enum status destroyed = aspace_destroy(&b->space);
        s = s == STATUS_OK ? destroyed : s;
    }
    const enum status ended = aspaces_end(&b->system);
    return s == STATUS_OK ? ended : s;
}

enum status bench_on_system(const struct bench *bench, struct bench_result *result, bench_spaces_fn *measure)
{
    vaddr_t memory;
    enum status s = kpages_alloc(&machine.vmm, bytes_to_pages_up(sizeof(struct bench_space)), ARENA_ALIGN_PAGE,
                                 KPAGES_ZEROED, "bench", &memory);
    if (s != STATUS_OK) {
        return s;
    }
    struct bench_space *b = vaddr_to_ptr(memory);
    s = aspaces_init(&b->system, &machine.vmm);
    if (s == STATUS_OK) {
        s = aspace_create(&b->system, &b->space, (struct aspace_limits){0});
        s = s == STATUS_OK ? measure(bench, result, b) : s;
        s = end(b, s);
    }
    const enum status freed = kpages_free(&machine.vmm, memory);
    return s == STATUS_OK ? freed : s;
}

static enum status measure_questions(const struct bench *bench, struct bench_result *result, struct bench_space *b,
                                     bench_body *body)
{
    const bool shared = bench->flags == SHARED_PAGES || bench->flags == SHARED_OTHER;
    const bool is_own = bench->flags == PRIVATE_PAGES || bench->flags == SHARED_PAGES;
    struct space *home = machine.vmm.current;
    struct bench_work w = {.own_space = b};
    enum status s = fill(b, shared);
    s = s == STATUS_OK && is_own ? space_switch(&machine.vmm, &b->space.tables) : s;
    if (s == STATUS_OK) {
        s = bench_add(result, body, only_chooses, &w, BENCH_LOOPS);
        const enum status back = space_switch(&machine.vmm, home);
        s = s == STATUS_OK ? back : s;
    }
    return s;
}

static enum status measure_queries(const struct bench *bench, struct bench_result *result, struct bench_space *b)
{
    return measure_questions(bench, result, b, queries);
}

static enum status measure_finds(const struct bench *bench, struct bench_result *result, struct bench_space *b)
{
    return measure_questions(bench, result, b, finds);
}

static enum status measure_pairs(const struct bench *bench, struct bench_result *result, struct bench_space *b)
{
    struct bench_work w = {.own_space = b, .flags = bench->flags, .n = npages(bench->frames)};
    enum status s = pairs(&w, 1); /* the first one makes the arena */
    return s == STATUS_OK ? bench_add(result, pairs, bench_nothing, &w, BENCH_LOOPS) : s;
}

static enum status bench_queries(const struct bench *bench, struct bench_result *result)
{
    return bench_on_system(bench, result, measure_queries);
}

static enum status bench_finds(const struct bench *bench, struct bench_result *result)
{
    return bench_on_system(bench, result, measure_finds);
}

static enum status bench_pairs(const struct bench *bench, struct bench_result *result)
{
    return bench_on_system(bench, result, measure_pairs);
}

const struct bench bench_spaces[] = {
    {"spaces_query", "what is at an address of 10,000 private ranges, of the current space", bench_queries,
     PRIVATE_PAGES, MANY},
    {"spaces_query_shared", "the same, pages of an object", bench_queries, SHARED_PAGES, MANY},
    {"spaces_query_other", "the same as the first, of another space", bench_queries, PRIVATE_OTHER, MANY},
    {"spaces_query_other_shared", "the same, pages of an object", bench_queries, SHARED_OTHER, MANY},
    {"spaces_find", "the range that holds an address, of 10,000", bench_finds, SHARED_OTHER, MANY},
    {"spaces_map", "a page of private addresses mapped and unmapped", bench_pairs, 0, 1},
    {"spaces_map_global", "the same of the global part: an object that comes and goes", bench_pairs, ASPACE_GLOBAL, 1},
    {"spaces_map_64", "64 pages of private memory, there at once, and unmapped", bench_pairs, ASPACE_POPULATE, 64},
    {0},
};
