/*
 * The benchmarks of spaces, on a system of their own in kernel pages. A large space has 10,000 mappings of a page
 * each, side by side; those that are asked about are drawn at random.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "aspace/compact.h"
#include "kernel/bench_spaces.h"
#include "lib/macros.h"

enum { MANY = 10000, SEED = 1 };
enum {
    PRIVATE_PAGES,
    SHARED_PAGES,
    PRIVATE_OTHER,
    SHARED_OTHER,
    SHARED_BY_ALL = SHARED_OTHER + BENCH_SPACES_MORE, /* SHARED_OTHER + n: by so many spaces more */
};

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
    struct aspace *const all[] = {&b->space, &b->more[0], &b->more[1], &b->more[2]};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        const enum status destroyed = all[i]->system != NULL ? aspace_destroy(all[i]) : STATUS_OK;
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

/* ---- Pages that move ---- */

enum { MOVE_PAGES = 1400, MOVE_OTHERS = 2, COPIES = 16 };

/* A space more has the same pages. */
static enum status map_too(struct bench_space *b, struct aspace *space, struct aspace_request r)
{
    const enum status s = aspace_create(&b->system, space, (struct aspace_limits){0});
    return s == STATUS_OK ? aspace_map(space, &r, &r.va) : s;
}

/*
 * Pages come one by one, with two of somebody else's each, who goes: 171 of a block stay, as with programs. The first
 * `more` of the other spaces have them too.
 */
static enum status scatter(struct bench_space *b, bool shared, unsigned more)
{
    struct aspace_request r = {.pages = npages(MOVE_PAGES), .rights = VMM_READ | VMM_WRITE, .va = vaddr(PLACE),
                               .flags = ASPACE_AT, .tag = "bench"};
    struct object *other;
    enum status s = object_create_anonymous(&b->system, npages(MOVE_OTHERS * MOVE_PAGES), &other);
    if (s != STATUS_OK) {
        return s;
    }
    s = shared ? object_create_anonymous(&b->system, r.pages, &b->object) : STATUS_OK;
    r.object = b->object;
    s = s == STATUS_OK ? aspace_map(&b->space, &r, &r.va) : s;
    for (unsigned n = 0; n < more && s == STATUS_OK; n++) {
        s = map_too(b, &b->more[n], r);
    }
    for (uint64_t i = 0; i < MOVE_PAGES && s == STATUS_OK; i++) {
        const vaddr_t page = vaddr_add_pages(vaddr(PLACE), i);
        s = aspace_fault(&b->space, page, VMM_WRITE, NULL);
        s = s == STATUS_OK ? object_populate(other, MOVE_OTHERS * i, npages(MOVE_OTHERS)) : s;
        for (unsigned n = 0; n < more && s == STATUS_OK; n++) {
            s = aspace_fault(&b->more[n], page, VMM_WRITE, NULL);
        }
    }
    const enum status gone = object_release(other);
    return s == STATUS_OK ? gone : s;
}

/* The copy alone: what is not counted. */
static enum status ticks_of_copy(uint64_t *ticks)
{
    vaddr_t pages;
    enum status s = kpages_alloc(&machine.vmm, npages(2), ARENA_ALIGN_PAGE, 0, "bench", &pages);
    if (s == STATUS_OK) {
        const uint64_t start = arch_ticks();
        for (unsigned i = 0; i < COPIES; i++) {
            arch_page_copy(pages, vaddr_add_pages(pages, 1));
        }
        *ticks = (arch_ticks() - start) / COPIES;
        s = kpages_free(&machine.vmm, pages);
    }
    return s;
}

static enum status measure_moves(const struct bench *bench, struct bench_result *result, struct bench_space *b)
{
    struct aspace_compaction c = {0};
    struct space *home = machine.vmm.current;
    uint64_t copy = 0;
    const bool shared = bench->flags >= SHARED_OTHER;
    enum status s = scatter(b, shared, shared ? bench->flags - SHARED_OTHER : 0);
    s = s == STATUS_OK ? ticks_of_copy(&copy) : s;
    s = s == STATUS_OK && bench->flags == PRIVATE_PAGES ? space_switch(&machine.vmm, &b->space.tables) : s;
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t start = arch_ticks();
    s = aspaces_compact(&b->system, UINT64_MAX, &c);
    const uint64_t taken = arch_ticks() - start;
    const enum status back = space_switch(&machine.vmm, home);
    if (c.moved == 0) {
        return s == STATUS_OK ? STATUS_UNSUPPORTED : s;
    }
    result->ops += c.moved;
    result->ticks += taken - c.moved * copy;
    return s == STATUS_OK ? back : s;
}

static enum status bench_moves(const struct bench *bench, struct bench_result *result)
{
    return bench_on_system(bench, result, measure_moves);
}

/* ---- The rows ---- */

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
    {"spaces_move", "a page moved, of those in the way of whole blocks, its copy not counted", bench_moves,
     PRIVATE_PAGES, MOVE_PAGES},
    {"spaces_move_other", "the same, of another space", bench_moves, PRIVATE_OTHER, MOVE_PAGES},
    {"spaces_move_shared", "the same, pages of an object", bench_moves, SHARED_OTHER, MOVE_PAGES},
    {"spaces_move_by_2", "the same, which two spaces show", bench_moves, SHARED_OTHER + 1, MOVE_PAGES},
    {"spaces_move_by_4", "the same, which four show", bench_moves, SHARED_BY_ALL, MOVE_PAGES},
    {0},
};
