/* `paging`: the cost model of page-table edits, measured on the model machine for the product and its rivals. */
#include "bench/paging_bench.h"

#include <stdio.h>

#include "bench/bed.h"
#include "bench/bench.h"

enum { LENGTHS = 6, QUICK_LENGTHS = 5, NAME_BYTES = 32 };

static const uint64_t lengths[LENGTHS] = {1,
                                           PAGING_FLUSH_PAGES_MAX,
                                           PAGING_FLUSH_PAGES_MAX + 1,
                                           TABLE_ENTRIES,
                                           8 * TABLE_ENTRIES,
                                           TABLE_ENTRIES * TABLE_ENTRIES};

static const struct {
    const char *name, *title;
} ops[PAGING_OPS] = {
    [OP_MAP_OWN] = {"map_own", "map, own; the tables are there, empty"},
    [OP_MAP_OWN_PARTLY] = {"map_own_partly", "map, own; from the middle of a PT, other pages in those at the ends"},
    [OP_MAP_OWN_NEW] = {"map_own_new", "map, own; the tables are made, from frames that idle time has zeroed (cairn)"},
    [OP_MAP_OWN_COLD] = {"map_own_cold", "map, own; the tables are made, without a frame zeroed ahead"},
    [OP_MAP_FOREIGN] = {"map_foreign", "map, foreign; another space was edited before"},
    [OP_MAP_KEPT_OPEN] = {"map_kept_open", "map, foreign; the same tables were edited before"},
    [OP_UNMAP] = {"unmap", "unmap, own; the tables stay"},
    [OP_UNMAP_RECLAIM] = {"unmap_reclaim", "unmap, own; the tables go back"},
    [OP_PROTECT] = {"protect", "protect, own"},
};

static const struct {
    const char *title, *unit;
    int width;
} columns[PAGING_COUNTS] = {
    [COUNT_LOADS] = {"loads", "loads", 8},
    [COUNT_STORES] = {"stores", "stores", 7},
    [COUNT_INVLPG] = {"INVLPG", "invlpg", 7},
    [COUNT_CR3_LOADS] = {"CR3", "cr3_loads", 6},
    [COUNT_IPIS] = {"IPIs", "ipis", 6},
    [COUNT_WALKER_LOADS] = {"walker", "walker_loads", 8},
};

/* Names of results are kept, not copied. */
static const char *workload_name(unsigned op, unsigned length)
{
    static char names[PAGING_OPS][LENGTHS][NAME_BYTES];
    snprintf(names[op][length], NAME_BYTES, "%s_%lu", ops[op].name, (unsigned long)lengths[length]);
    return names[op][length];
}

static const char *model_name(unsigned subject)
{
    static char names[PAGING_SUBJECTS][NAME_BYTES];
    snprintf(names[subject], NAME_BYTES, "model/%s", paging_subjects[subject]->name);
    return names[subject];
}

static struct bench_result result(const char *subject, const char *workload, uint64_t value, unsigned column,
                                  uint64_t gate)
{
    return (struct bench_result){"paging", subject, workload, (double)value, columns[column].unit, (double)gate, NULL};
}

/* Results of one case. => does it keep to the model? */
static bool add_results(unsigned subject, const char *workload, struct paging_counts c, struct paging_counts model)
{
    const char *name = paging_subjects[subject]->name;
    enum bench_gate kind = paging_subjects[subject] == &paging_cairn ? BENCH_GATE_MOST : BENCH_GATE_EXACT;
    bool kept = true;
    for (unsigned i = 0; i < PAGING_COUNTS; i++) {
        if (i == COUNT_WALKER_LOADS) {
            bench_add(result(name, workload, c.of[i], i, 0));
        } else {
            kept = bench_add_gated(result(name, workload, c.of[i], i, model.of[i]), kind) && kept;
            bench_add(result(model_name(subject), workload, model.of[i], i, 0));
        }
    }
    return kept;
}

static void print_heading(enum paging_op op)
{
    printf("\n%s\n%7s  %-12s", ops[op].title, "N", "subject");
    for (unsigned i = 0; i < PAGING_COUNTS; i++) {
        printf(i == COUNT_WALKER_LOADS ? " %*s" : " %*s%*s", columns[i].width, columns[i].title, columns[i].width,
               "model");
    }
    printf("\n");
}

static void print_line(uint64_t pages, unsigned subject, struct paging_counts c, struct paging_counts model, bool kept)
{
    bool is_ours = paging_subjects[subject] == &paging_cairn;
    printf("%7lu  %-12s", (unsigned long)pages, paging_subjects[subject]->name);
    for (unsigned i = 0; i < PAGING_COUNTS; i++) {
        printf(" %*lu", columns[i].width, (unsigned long)c.of[i]);
        if (i != COUNT_WALKER_LOADS) {
            printf("%*lu", columns[i].width, (unsigned long)model.of[i]);
        }
    }
    printf("%s\n", !kept ? is_ours ? "  MISSED" : "  DIFFERS" : is_ours ? "  ok" : "");
}

static void run_op(enum paging_op op, unsigned length_count)
{
    print_heading(op);
    for (unsigned length = 0; length < length_count; length++) {
        for (unsigned subject = 0; subject < PAGING_SUBJECTS; subject++) {
            const struct paging_subject *s = paging_subjects[subject];
            if (!paging_case_exists(s, op, lengths[length])) {
                continue;
            }
            struct paging_shape shape;
            struct paging_counts c = paging_case_run(s, op, lengths[length], &shape);
            struct paging_counts model = paging_predict(s, op, shape);
            bool kept = add_results(subject, workload_name(op, length), c, model);
            print_line(lengths[length], subject, c, model, kept);
        }
        fflush(stdout);
    }
}

void bench_paging(const struct bench_options *options)
{
    printf("paging: what an edit of N pages does, counted at the port of the model machine, beside the cost model\n"
           "cairn may not exceed its model, the rivals keep to theirs exactly: else the status is 1. Walker loads\n"
           "are those after a cold start, with caches without limit; they have no gate. One CPU: nobody to send an\n"
           "IPI to. No times: the model's own work is hundreds of times that of the loops.\n");
    for (unsigned op = 0; op < PAGING_OPS; op++) {
        run_op(op, options->quick ? QUICK_LENGTHS : LENGTHS);
    }
}
