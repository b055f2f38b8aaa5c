/* The longest calls of each kind: which they are, and how many instructions they take. */
#include "bench/pmm_longest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/pmm_bench.h"
#include "bench/pmm_machines.h"
#include "bench/steps.h"
#include "lib/fmt.h"

enum { GATE_CALL = 600, GATE_BACKED = 800, GATE_MANY = 3000 };
/* By basic blocks: the call that takes the most instructions is not always among the first few. */
enum { PICKS_A_KIND = 100, PICKS_QUICK = 16, PICKS_MAX = KINDS * PICKS_A_KIND, WHERE_MAX = 48 };

static const struct {
    const char *name;
    double gate;
} kinds[OPENING] = {
    [ALLOC] = {"longest_alloc", GATE_CALL},
    [ALLOC_REFUSED] = {"longest_alloc_refused", GATE_CALL},
    [FREE] = {"longest_free", GATE_CALL},
    [RETAIN] = {"longest_retain", GATE_CALL},
    [RELEASE] = {"longest_release", GATE_CALL},
    [RETAIN_IN_RUN] = {"longest_retain_in_run", GATE_CALL},
    [RELEASE_IN_RUN] = {"longest_release_in_run", GATE_CALL},
    [PAIR_2M] = {"longest_pair_2m", GATE_CALL},
    [REFUSED_2M] = {"longest_2m_refused", 0},
    [REFILL] = {"longest_refill", GATE_MANY},
    [FLUSH] = {"longest_flush", GATE_MANY},
};

struct pick {
    uint64_t steps, call;
};

struct longest {
    char where_now[WHERE_MAX];
    const struct bed *bed;
    uint64_t calls; /* number of the call at hand, from 1 */
    uint64_t steps[KINDS];
    char where[KINDS][WHERE_MAX];
    /* Before the call at hand; the PMM's own fields, since pmm_stats shows only what of `untouched` can be had. */
    uint64_t refills, flushes, drains, untouched, units;

    struct pick picks[KINDS][PICKS_A_KIND]; /* the scout's: */
    unsigned picks_kept;                    /* of each kind */
    uint64_t to_count[PICKS_MAX + 1];       /* calls, ascending; then 0 */
    size_t to_count_total, next;
};

static const char *kind_name(unsigned kind)
{
    static char names[KINDS][32];
    if (kind < OPENING) {
        return kinds[kind].name;
    }
    if (kind == OPENING_PAIR_2M) {
        return "opening_pair_2m";
    }
    fmt_text(names[kind], sizeof names[kind], "opening_backed_%u", kind - OPENING);
    return names[kind];
}

bool longest_watch(struct longest *l)
{
    const struct pmm *pmm = &l->bed->pmm;
    l->calls++;
    if (!STEPS_ARE_SCOUTED && l->to_count[l->next] != l->calls) {
        return false;
    }
    l->next++;
    l->refills = pmm->refills;
    l->flushes = pmm->flushes;
    l->drains = pmm->drains;
    l->untouched = pmm->untouched;
    l->units = l->bed->units;
    return true;
}

/* Replaces the shortest pick, if this one is longer. */
static void pick(struct longest *l, unsigned kind)
{
    struct pick *shortest = &l->picks[kind][0];
    for (unsigned i = 1; i < l->picks_kept; i++) {
        shortest = l->picks[kind][i].steps < shortest->steps ? &l->picks[kind][i] : shortest;
    }
    if (steps_counted() > shortest->steps) {
        *shortest = (struct pick){steps_counted(), l->calls};
    }
}

void longest_seen(struct longest *l, enum kind kind)
{
    const struct pmm *pmm = &l->bed->pmm;
    unsigned k = kind;
    bool has_refilled = pmm->refills != l->refills, has_opened = pmm->untouched < l->untouched;
    /* A drain is no part of any figure; nor are 64 allocations that opened blocks. */
    if (pmm->drains != l->drains || (has_refilled && has_opened)) {
        return;
    }
    if (has_opened) {
        uint64_t backed = l->bed->units - l->units;
        k = OPENING + (unsigned)(backed < BACKED_MAX ? backed : BACKED_MAX);
        k = k == OPENING && kind == PAIR_2M ? OPENING_PAIR_2M : k;
    } else if (has_refilled || pmm->flushes != l->flushes) {
        k = has_refilled ? REFILL : FLUSH;
    }
    if (STEPS_ARE_SCOUTED) {
        pick(l, k);
    } else if (pmm_bench_is_most(kind_name(k), &l->steps[k])) {
        memcpy(l->where[k], l->where_now, sizeof l->where_now);
    }
}

static void run_machines(struct longest *l, uint64_t seed)
{
    for (unsigned i = 0; i < PMM_MACHINES; i++) {
        for (size_t cpus = 0; cpus < 2; cpus++) {
            struct bed *bed = pmm_machine(i, seed);
            bed->cpu_count = cpus;
            l->bed = bed;
            fmt_text(l->where_now, sizeof l->where_now, "%s (seed %lu)", pmm_machine_name(i), seed);
            longest_mix(l, bed, seed + i + cpus * PMM_MACHINES);
            bed_free(bed);
        }
    }
}

/* What is longest under one seed may be twice that under another. */
static void run_seeds(struct longest *l, const struct bench_options *options)
{
    for (uint64_t i = 0; i < options->seeds; i++) {
        run_machines(l, options->seed + i);
    }
}

static int compare_calls(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct longest longest;

void pmm_bench_scout(const struct bench_options *options)
{
    struct longest *l = &longest;
    l->picks_kept = options->quick ? PICKS_QUICK : PICKS_A_KIND;
    run_seeds(l, options);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned i = 0; i < l->picks_kept; i++) {
            if (l->picks[kind][i].steps > 0) {
                l->to_count[l->to_count_total++] = l->picks[kind][i].call;
            }
        }
    }
    qsort(l->to_count, l->to_count_total, sizeof *l->to_count, compare_calls);
    for (size_t i = 0; i < l->to_count_total; i++) {
        printf("%lu\n", (unsigned long)l->to_count[i]);
    }
}

void pmm_bench_longest(const struct bench_options *options)
{
    struct longest *l = &longest;
    FILE *file = options->calls == NULL ? NULL : fopen(options->calls, "r");
    if (file == NULL) {
        bed_fail("no list of calls to count: --calls", STATUS_ABSENT);
    }
    unsigned long call;
    while (l->to_count_total < PICKS_MAX && fscanf(file, "%lu", &call) == 1) {
        l->to_count[l->to_count_total++] = call;
    }
    fclose(file);
    run_seeds(l, options);
    if (l->next != l->to_count_total) {
        bed_fail("the scout has seen other calls", STATUS_CORRUPT);
    }
    for (unsigned i = 0; i < KINDS; i++) {
        double gate = i < OPENING ? kinds[i].gate : GATE_CALL + (double)(i - OPENING) * GATE_BACKED;
        gate = i == OPENING_PAIR_2M ? GATE_CALL : gate;
        if (l->steps[i] != 0) {
            pmm_bench_figure(kind_name(i), (double)l->steps[i], "instructions", gate, l->where[i]);
        }
    }
    pmm_bench_figure("longest_of", (double)l->calls, "calls", 0, NULL);
}
