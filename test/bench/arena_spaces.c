/*
 * Many spaces ask for ranges of the global part in turn. Straight: one arena serves all, so that small ranges of many
 * spaces lie side by side, and each space needs a page table for every 2 MiB in which it has one. Imports: each space
 * has an arena of its own that gets spans of 2 MiB from the one for all.
 *
 * Tables: the 2 MiB parts in which a space has a range, at the end; least: as many as its pages would fill. Held: the
 * addresses that nobody else can have, for each page in use. Cycles: a call, the median of batches.
 */
#include "bench/arena_spaces.h"

#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "arch/layout.h"
#include "bench/bed.h"
#include "lib/rng.h"
#include "vmm/arena.h"

enum { SPACES = 64, STAY_MOST = 256, BATCH = 128, ROUNDS = 4000, QUICK_ROUNDS = 200, NODE_BYTES = 1 << 28 };

struct owned {
    vaddr_t base;
    uint64_t pages;
};

struct user {
    struct arena arena;
    struct owned range[STAY_MOST + 1]; /* [STAY_MOST]: the last message's, where these go at once */
    unsigned count;
};

struct scene {
    struct arena global;
    struct arena_reserve reserve;
    uint8_t *nodes, *next;
    bool imports, small_stays;
    uint64_t spans, refused;
    struct rng rng;
    struct user user[SPACES];
};

static void *more(void *ctx)
{
    struct scene *s = ctx;
    uint8_t *page = s->next;
    if (page == s->nodes + NODE_BYTES) {
        return NULL;
    }
    s->next += PAGE_BYTES;
    return page;
}

static enum status get(void *ctx, npages_t pages, vaddr_t *base)
{
    struct scene *s = ctx;
    s->spans++;
    return arena_alloc(&s->global, pages, ARENA_ALIGN_PAGE + ARENA_LARGE_PAGES_LOG2, "span", base);
}

static void put(void *ctx, vaddr_t base, npages_t pages)
{
    struct scene *s = ctx;
    (void)pages;
    bed_must(arena_free(&s->global, base), "a span back");
}

static struct arena *arena_of(struct scene *s, struct user *u) { return s->imports ? &u->arena : &s->global; }

static struct scene *open(bool imports, bool small_stays, uint64_t seed)
{
    struct scene *s = bed_reserve(sizeof *s);
    const vaddr_t base = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)), end = vaddr(LAYOUT_USER_END);
    s->nodes = s->next = bed_reserve(NODE_BYTES);
    s->imports = imports;
    s->small_stays = small_stays;
    s->rng = rng_seeded(seed);
    arena_reserve_init(&s->reserve, (struct arena_source){s, more});
    bed_must(arena_init_shared(&s->global, base, end, &s->reserve), "the arena for all");
    const struct arena_spans spans = {s, npages(ARENA_LARGE_PAGES), get, put};
    for (unsigned i = 0; i < SPACES && imports; i++) {
        bed_must(arena_init_spans(&s->user[i].arena, base, end, &s->reserve, spans), "the arena of a space");
    }
    return s;
}

static void close(struct scene *s)
{
    bed_unreserve(s->nodes, NODE_BYTES);
    bed_unreserve(s, sizeof *s);
}

/* ---- Requests ---- */

static unsigned give(struct scene *s, struct user *u, struct owned *r)
{
    if (r->pages == 0) {
        return 0;
    }
    bed_must(arena_free(arena_of(s, u), r->base), "a range back");
    r->pages = 0;
    return 1;
}

static unsigned take(struct scene *s, struct user *u, struct owned *r, uint64_t pages)
{
    enum status got = arena_alloc(arena_of(s, u), npages(pages), ARENA_ALIGN_PAGE, "bench", &r->base);
    r->pages = got == STATUS_OK ? pages : 0;
    s->refused += got != STATUS_OK;
    return 1;
}

/* The mix of arena_trace.h. => calls. */
static unsigned message(struct scene *s)
{
    enum { ALL = 100, SMALL = 90, MIDDLE = 99, SMALL_PAGES = 4, MIB_PAGES = 256, DOUBLINGS = 11 };
    struct user *u = &s->user[rng_below(&s->rng, SPACES)];
    const uint64_t what = rng_below(&s->rng, ALL);
    const bool is_small = what < SMALL;
    const uint64_t pages = is_small        ? 1 + rng_below(&s->rng, SMALL_PAGES)
                           : what < MIDDLE ? MIB_PAGES
                                           : (uint64_t)MIB_PAGES << rng_below(&s->rng, DOUBLINGS);
    if (is_small && !s->small_stays) {
        unsigned calls = give(s, u, &u->range[STAY_MOST]);
        return calls + take(s, u, &u->range[STAY_MOST], pages);
    }
    struct owned *r = &u->range[u->count < STAY_MOST ? u->count++ : rng_below(&s->rng, STAY_MOST)];
    unsigned calls = give(s, u, r);
    return calls + take(s, u, r, pages);
}

static double play(struct scene *s, unsigned rounds)
{
    double *batches = bed_reserve(rounds * sizeof *batches);
    for (unsigned i = 0; i < 2 * SPACES * STAY_MOST * (s->small_stays ? 1U : 10U); i++) { /* each has all it may */
        (void)message(s);
    }
    for (unsigned round = 0; round < rounds; round++) {
        unsigned calls = 0;
        _mm_lfence();
        const uint64_t begin = __rdtsc();
        for (unsigned i = 0; i < BATCH; i++) {
            calls += message(s);
        }
        _mm_lfence();
        batches[round] = (double)(__rdtsc() - begin) / calls;
    }
    const double cycles = bench_median(batches, rounds);
    bed_unreserve(batches, rounds * sizeof *batches);
    return cycles;
}

/* ---- What comes of it ---- */

struct outcome {
    double cycles, tables, least, held;
    uint64_t tables_most, spans, refused;
};

static uint64_t table_of(uint64_t address) { return vaddr_page_number(vaddr(address)) / PAGES_PER_2M; }

static int by_base(const void *a, const void *b)
{
    const struct owned *x = a, *y = b;
    return (x->base.v > y->base.v) - (x->base.v < y->base.v);
}

/* Parts of 2 MiB in which the space has a range. */
static uint64_t tables_of(const struct user *u, uint64_t *pages)
{
    struct owned sorted[STAY_MOST + 1];
    unsigned count = 0;
    for (unsigned i = 0; i <= STAY_MOST; i++) {
        if (u->range[i].pages > 0) {
            sorted[count++] = u->range[i];
            *pages += u->range[i].pages;
        }
    }
    qsort(sorted, count, sizeof *sorted, by_base);
    uint64_t tables = 0, next = 0; /* the first part that is not counted yet */
    for (unsigned i = 0; i < count; i++) {
        const uint64_t first = table_of(sorted[i].base.v);
        const uint64_t end = table_of(sorted[i].base.v + pages_to_bytes(npages(sorted[i].pages)) - 1) + 1;
        const uint64_t from = first > next ? first : next;
        tables += end > from ? end - from : 0;
        next = end > next ? end : next;
    }
    return tables;
}

static struct outcome run(bool imports, bool small_stays, const struct bench_options *options)
{
    struct scene *s = open(imports, small_stays, options->seed);
    struct outcome o = {.cycles = play(s, options->quick ? QUICK_ROUNDS : ROUNDS)};
    uint64_t pages = 0;
    for (unsigned i = 0; i < SPACES; i++) {
        uint64_t own = 0;
        const uint64_t tables = tables_of(&s->user[i], &own);
        o.tables += (double)tables / SPACES;
        o.least += (double)((own + PAGES_PER_2M - 1) / PAGES_PER_2M) / SPACES;
        o.tables_most = tables > o.tables_most ? tables : o.tables_most;
        pages += own;
        bed_must(imports ? arena_check(&s->user[i].arena, NULL) : STATUS_OK, "the arena of a space");
    }
    bed_must(arena_check(&s->global, NULL), "the arena for all");
    o.held = (double)s->global.used.v / (double)pages;
    o.spans = s->spans;
    o.refused = s->refused;
    close(s);
    return o;
}

static void add(const char *subject, const char *workload, const char *unit, double value)
{
    bench_add((struct bench_result){"arena", subject, workload, value, unit, 0, NULL});
}

void arena_spaces(const struct bench_options *options)
{
    static const struct {
        const char *name, *title;
        bool small_stays;
    } workloads[] = {{"spaces_message", "small ranges go with the next message of their space", false},
                     {"spaces_stay", "small ranges stay as all others do", true}};
    for (unsigned w = 0; w < 2; w++) {
        printf("\n%s: %u spaces of %u ranges, %s\n", workloads[w].name, SPACES, STAY_MOST, workloads[w].title);
        printf("%-9s %13s | %11s %7s %7s | %12s %9s %8s\n", "subject", "cycles a call", "tables each", "most", "least",
               "held a page", "spans got", "refused");
        for (unsigned i = 0; i < 2; i++) {
            const char *name = i == 0 ? "cairn" : "imports", *workload = workloads[w].name;
            const struct outcome o = run(i == 1, workloads[w].small_stays, options);
            printf("%-9s %13.1f | %11.1f %7lu %7.1f | %12.3f %9lu %8lu\n", name, o.cycles, o.tables, o.tables_most,
                   o.least, o.held, o.spans, o.refused);
            add(name, workload, "space_cycles", o.cycles);
            add(name, workload, "tables", o.tables);
            add(name, workload, "tables_least", o.least);
            add(name, workload, "held", o.held);
            add(name, workload, "refused", (double)o.refused);
        }
    }
}
