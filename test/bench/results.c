/* Results: kept in the order they come, printed as tables, written as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

enum { RESULTS_MAX = 5000, SUBJECTS_MAX = 16 };

static struct bench_result results[RESULTS_MAX];
static enum bench_gate gate_kinds[RESULTS_MAX];
static unsigned result_count;

static bool misses(const struct bench_result *r)
{
    switch (gate_kinds[r - results]) {
    case BENCH_GATE_MOST: return r->value > r->gate;
    case BENCH_GATE_EXACT: return r->value > r->gate || r->value < r->gate;
    default: return r->gate > 0 && r->value > r->gate;
    }
}

bool bench_add_gated(struct bench_result result, enum bench_gate kind)
{
    if (result_count == RESULTS_MAX) {
        fprintf(stderr, "bench: RESULTS_MAX (%d) is too small\n", RESULTS_MAX);
        abort();
    }
    gate_kinds[result_count] = kind;
    results[result_count++] = result;
    return !misses(&results[result_count - 1]);
}

void bench_add(struct bench_result result) { bench_add_gated(result, BENCH_GATE_IF_SET); }

static bool is_compared(const struct bench_result *r)
{
    return strcmp(r->unit, "cycles") == 0 || strcmp(r->unit, "ratio") == 0;
}
static bool is_share(const struct bench_result *r) { return strcmp(r->unit, "%") == 0; }

static const struct bench_result *find(const char *bench, const char *subject, const char *workload, const char *unit)
{
    for (unsigned i = 0; i < result_count; i++) {
        const struct bench_result *r = &results[i];
        if (strcmp(r->bench, bench) == 0 && strcmp(r->subject, subject) == 0 && strcmp(r->workload, workload) == 0 &&
            strcmp(r->unit, unit) == 0) {
            return r;
        }
    }
    return NULL;
}

/* The rest of a line. */
static void print_gate(const struct bench_result *r)
{
    const char *note = r == NULL || r->note == NULL ? "" : r->note;
    if (r != NULL && r->gate > 0) {
        printf("  %8.6g  %-6s%s%s", r->gate, misses(r) ? "MISSED" : "ok", *note == 0 ? "" : "  ", note);
    } else if (*note != 0) {
        printf("  %8s  %-6s  %s", "", "", note);
    }
    printf("\n");
}

static unsigned subjects_of(const char *bench, const char *subjects[SUBJECTS_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; i < result_count && count < SUBJECTS_MAX; i++) {
        bool is_new = is_compared(&results[i]) && strcmp(results[i].bench, bench) == 0;
        for (unsigned j = 0; is_new && j < count; j++) {
            is_new = strcmp(subjects[j], results[i].subject) != 0;
        }
        if (is_new) {
            subjects[count++] = results[i].subject;
        }
    }
    return count;
}

static void print_cell(const struct bench_result *r, int width, int decimals)
{
    if (r == NULL) {
        printf("  %*s", width, "-");
    } else {
        printf("  %*.*f", width, decimals, r->value);
    }
}

static void print_workload(const char *bench, const char *workload, const char *const *subjects, unsigned count)
{
    const struct bench_result *gated = NULL;
    printf("%-24s", workload);
    for (unsigned i = 0; i < count; i++) {
        const struct bench_result *ratio = find(bench, subjects[i], workload, "ratio");
        print_cell(find(bench, subjects[i], workload, "cycles"), 10, 1);
        print_cell(ratio, 6, 2);
        gated = ratio != NULL && ratio->gate > 0 ? ratio : gated;
    }
    print_gate(gated);
}

void bench_print_comparison(const char *bench)
{
    const char *subjects[SUBJECTS_MAX];
    unsigned count = subjects_of(bench, subjects);
    printf("%-24s", "workload");
    for (unsigned i = 0; i < count; i++) {
        printf("  %10s  %6s", subjects[i], "ratio");
    }
    printf("  %8s\n", "gate");
    for (unsigned i = 0; i < result_count; i++) {
        const struct bench_result *r = &results[i];
        bool is_first = is_compared(r) && strcmp(r->bench, bench) == 0;
        for (unsigned j = 0; is_first && j < i; j++) {
            is_first = strcmp(results[j].workload, r->workload) != 0 || !is_compared(&results[j]);
        }
        if (is_first) {
            print_workload(bench, r->workload, subjects, count);
        }
    }
}

void bench_print_shares(const char *bench)
{
    const char *subjects[SUBJECTS_MAX];
    unsigned count = subjects_of(bench, subjects);
    printf("%-24s", "workload, %");
    for (unsigned i = 0; i < count; i++) {
        printf("  %18s", subjects[i]);
    }
    printf("\n");
    const char *last = "";
    for (unsigned i = 0; i < result_count; i++) {
        const struct bench_result *r = &results[i];
        if (strcmp(r->bench, bench) != 0 || !is_share(r) || strcmp(r->workload, last) == 0) {
            continue; /* the subjects of one workload follow each other */
        }
        last = r->workload;
        printf("%-24s", last);
        for (unsigned k = 0; k < count; k++) {
            print_cell(find(bench, subjects[k], last, "%"), 18, 1);
        }
        printf("\n");
    }
}

void bench_print_figures(const char *bench)
{
    printf("%-24s  %10s  %-12s  %8s\n", "workload", "cairn", "unit", "gate");
    for (unsigned i = 0; i < result_count; i++) {
        const struct bench_result *r = &results[i];
        if (strcmp(r->bench, bench) == 0 && !is_compared(r) && !is_share(r)) {
            bool is_whole = r->value == (double)(uint64_t)r->value;
            printf("%-24s  %10.*f  %-12s", r->workload, is_whole ? 0 : 3, r->value, r->unit);
            print_gate(r);
        }
    }
}

bool bench_gates_kept(void)
{
    bool kept = true;
    for (unsigned i = 0; i < result_count; i++) {
        kept = kept && (is_compared(&results[i]) || !misses(&results[i]));
    }
    return kept;
}

bool bench_write_json(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return false;
    }
    for (unsigned i = 0; i < result_count; i++) {
        const struct bench_result *r = &results[i];
        fprintf(file, "%s{\"bench\": \"%s\", \"subject\": \"%s\", \"workload\": \"%s\", ", i == 0 ? "[\n " : ",\n ",
                r->bench, r->subject, r->workload);
        fprintf(file, "\"value\": %.4f, \"unit\": \"%s\"}", r->value, r->unit);
    }
    fprintf(file, "%s\n]\n", result_count == 0 ? "[" : "");
    bool is_written = ferror(file) == 0;
    return fclose(file) == 0 && is_written;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
