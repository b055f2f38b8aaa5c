/* What heap_bench.c measured: results, gates, tables. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/heap_bench.h"

enum { ROWS = HEAP_TRACES + HEAP_FAMILIES, NAME_BYTES = 40, CELL_COLUMNS = 9 };

static const struct {
    const char *mean;
    char letter;
} families[HEAP_FAMILIES] = {{"geomean", 'k'}, {"h-geomean", 'h'}};

static const char *const figure_names[HEAP_FIGURES] = {"time", "worst", "frames_used"};
static const char *const figure_units[HEAP_FIGURES] = {"cycles", "cycles", "%"};

/* Ours is held to the gate; that of a time never fails the run. */
static const struct {
    const char *name, *unit, *title;
    enum bench_gate kind;
    double gate;
} other_lines[HEAP_OTHERS] = {
    [HEAP_STORM] = {"storm", "footprint", "storm, footprint", BENCH_GATE_MOST, 1.03},
    [HEAP_FREED] = {"freed", "frames", "freed, frames", BENCH_GATE_IF_SET, 0},
    [HEAP_SLABS] = {"freed:slabs", "frames", "freed, slabs too many", BENCH_GATE_MOST, 0},
    [HEAP_TO_CLASSES] = {"freed:to-classes", "ratio", "freed, to classes", BENCH_GATE_MOST, 1},
    [HEAP_SHRUNKEN] = {"shrunken", "frames", "shrunken, frames", BENCH_GATE_MOST, 0},
    [HEAP_HOLES] = {"holes", "ratio", "holes, ratio", BENCH_GATE_IF_SET, 2},
};
enum { NOT_REPORTED_GATE = 4, NOT_REPORTED_GUARD_GATE = 0 };
#define WORST_GATE 0.5

/* Of each family, if all of it was measured. */
static void add_means(double row[ROWS])
{
    for (unsigned family = 0; family < HEAP_FAMILIES; family++) {
        unsigned count = 0, all = 0;
        double sum = 0;
        for (unsigned t = 0; t < HEAP_TRACES; t++) {
            if (heap_trace_names[t][0] == families[family].letter) {
                all++;
                count += row[t] > 0;
                sum += row[t] > 0 ? log(row[t]) : 0;
            }
        }
        row[HEAP_TRACES + family] = count == all ? exp(sum / all) : 0;
    }
}

/* ---- Results ---- */

static const char *row_name(unsigned row)
{
    return row < HEAP_TRACES ? heap_trace_names[row] : families[row - HEAP_TRACES].mean;
}

/* A result's names are kept. */
static const char *name_of(const char *what, const char *row)
{
    char *name = heap_must(malloc(NAME_BYTES));
    snprintf(name, NAME_BYTES, "%s:%s", what, row);
    return name;
}

static struct bench_result result(unsigned rival, const char *workload, double value, const char *unit)
{
    return (struct bench_result){.bench = "heap", .subject = heap_rivals[rival]->name, .workload = workload,
                                 .value = value, .unit = unit};
}

static void tell_figure(const struct heap_table *table, enum heap_figure f)
{
    for (unsigned row = 0; row < ROWS; row++) {
        const char *name = name_of(figure_names[f], row_name(row));
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            const double value = table->measured[f][i][row], base = table->measured[f][HEAP_BASE][row];
            if (value > 0) {
                bench_add(result(i, name, value, figure_units[f]));
            }
            if (value > 0 && base > 0 && f != HEAP_FRAMES_USED) {
                bench_add(result(i, name, value / base, "ratio"));
            }
        }
    }
}

/* The longest of all traces of the first family, beside TLSF's idea. */
static double worst_to_tlsf(const struct heap_table *table, unsigned rival)
{
    double most[2] = {0, 0};
    for (unsigned t = 0; t < HEAP_TRACES; t++) {
        if (heap_trace_names[t][0] == families[0].letter) {
            most[0] = fmax(most[0], table->measured[HEAP_WORST][rival][t]);
            most[1] = fmax(most[1], table->measured[HEAP_WORST][HEAP_TLSF][t]);
        }
    }
    return most[0] / most[1];
}

static unsigned count(const struct heap_table *table, unsigned rival, enum heap_verdict from, enum heap_verdict last)
{
    unsigned n = 0;
    for (unsigned kind = 0; kind < HEAP_MISUSES; kind++) {
        n += table->verdicts[rival][kind] >= from && table->verdicts[rival][kind] <= last;
    }
    return n;
}

static void tell_gated(bool is_held_to, struct bench_result r, double gate, enum bench_gate kind)
{
    r.gate = is_held_to ? gate : 0;
    bench_add_gated(r, is_held_to ? kind : BENCH_GATE_IF_SET);
}

static void tell_others(const struct heap_table *table, unsigned rival)
{
    for (unsigned o = 0; o < HEAP_OTHERS; o++) {
        if (table->others[o][rival] >= 0) {
            tell_gated(rival == HEAP_CAIRN,
                       result(rival, other_lines[o].name, table->others[o][rival], other_lines[o].unit),
                       other_lines[o].gate, other_lines[o].kind);
        }
    }
    tell_gated(rival == HEAP_CAIRN, result(rival, "worst:to-tlsf-idea", worst_to_tlsf(table, rival), "ratio"),
               WORST_GATE, BENCH_GATE_IF_SET);
}

/* Kinds of misuse that ours may leave unreported. */
static double not_reported_gate(unsigned rival)
{
    return rival == HEAP_GUARD ? NOT_REPORTED_GUARD_GATE : NOT_REPORTED_GATE;
}

static void tell_misuse(const struct heap_table *table, unsigned rival)
{
    const bool is_ours = rival == HEAP_CAIRN || rival == HEAP_GUARD;
    for (unsigned kind = 0; kind < HEAP_MISUSES; kind++) {
        const char *name = name_of("misuse", heap_misuse_names[kind]);
        bench_add(result(rival, name, table->verdicts[rival][kind], "verdict"));
    }
    tell_gated(is_ours,
               result(rival, "misuse:not-reported", count(table, rival, HEAP_CRASHED, HEAP_SURVIVED), "of 12"),
               not_reported_gate(rival), BENCH_GATE_MOST);
    tell_gated(is_ours, result(rival, "misuse:harmful", count(table, rival, HEAP_CRASHED, HEAP_TAKEN), "of 12"), 0,
               BENCH_GATE_MOST);
}

/* ---- Tables ---- */

static void print_text(unsigned rival, const char *text)
{
    const size_t len = strlen(heap_rivals[rival]->name);
    printf("  %*s", (int)(len < CELL_COLUMNS ? CELL_COLUMNS : len), text);
}

static void print_head(const char *title)
{
    printf("\n%-24s", title);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        print_text(i, heap_rivals[i]->name);
    }
    printf("\n");
}

static void print_cell(unsigned rival, bool is_there, double value, int decimals)
{
    char text[NAME_BYTES] = "-";
    if (is_there) {
        snprintf(text, sizeof text, "%.*f", decimals, value);
    }
    print_text(rival, text);
}

static void print_gate(double value, double gate)
{
    printf("  gate %g %s", gate, value > gate ? "MISSED" : "ok");
}

/* As a ratio to the base where that is there, else as it is. */
static void print_figure(const struct heap_table *table, enum heap_figure f, const char *title, bool as_ratio)
{
    print_head(title);
    for (unsigned row = 0; row < ROWS; row++) {
        printf("%s:%-*s", figure_names[f], f == HEAP_FRAMES_USED ? 12 : f == HEAP_TIME ? 19 : 18, row_name(row));
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            const double value = table->measured[f][i][row], base = table->measured[f][HEAP_BASE][row];
            print_cell(i, value > 0 && (!as_ratio || base > 0), as_ratio ? value / base : value,
                       as_ratio ? 2 : f == HEAP_WORST ? 0 : 1);
        }
        printf("\n");
    }
}

static void print_others(const struct heap_table *table)
{
    print_head("ours has a gate");
    printf("%-24s", "worst, to tlsf-idea's");
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        print_cell(i, table->found[i], worst_to_tlsf(table, i), 2);
    }
    print_gate(worst_to_tlsf(table, HEAP_CAIRN), WORST_GATE);
    printf("\n");
    for (unsigned o = 0; o < HEAP_OTHERS; o++) {
        printf("%-24s", other_lines[o].title);
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            const bool is_count = strcmp(other_lines[o].unit, "frames") == 0;
            print_cell(i, table->others[o][i] >= 0, table->others[o][i], is_count ? 0 : 2);
        }
        if (o != HEAP_FREED) {
            print_gate(table->others[o][HEAP_CAIRN], other_lines[o].gate);
        }
        printf("\n");
    }
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (heap_rivals[i]->most_bytes != 0) {
            printf("-: %s: %s\n", heap_rivals[i]->name, heap_rivals[i]->limit);
        }
    }
}

static void print_count(const struct heap_table *table, const char *title, enum heap_verdict last)
{
    printf("%-24s", title);
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        print_cell(i, table->found[i], count(table, i, HEAP_CRASHED, last), 0);
    }
}

static void print_misuse(const struct heap_table *table)
{
    print_head("misuse");
    for (unsigned kind = 0; kind < HEAP_MISUSES; kind++) {
        printf("%-24s", heap_misuse_names[kind]);
        for (unsigned i = 0; i < HEAP_RIVALS; i++) {
            print_text(i, table->found[i] ? heap_verdict_names[table->verdicts[i][kind]] : "-");
        }
        printf("\n");
    }
    print_count(table, "not reported", HEAP_SURVIVED);
    print_gate(count(table, HEAP_CAIRN, HEAP_CRASHED, HEAP_SURVIVED), NOT_REPORTED_GATE);
    printf(", guarded:");
    print_gate(count(table, HEAP_GUARD, HEAP_CRASHED, HEAP_SURVIVED), NOT_REPORTED_GUARD_GATE);
    printf("\n");
    print_count(table, "harmful", HEAP_TAKEN);
    print_gate(count(table, HEAP_CAIRN, HEAP_CRASHED, HEAP_TAKEN), 0);
    printf("\n");
}

void heap_report(struct heap_table *table)
{
    for (unsigned at = 0; at < HEAP_FIGURES * HEAP_RIVALS; at++) {
        add_means(table->measured[at / HEAP_RIVALS][at % HEAP_RIVALS]);
    }
    for (unsigned f = 0; f < HEAP_FIGURES; f++) {
        tell_figure(table, (enum heap_figure)f);
    }
    for (unsigned i = 0; i < HEAP_RIVALS; i++) {
        if (table->found[i]) {
            tell_others(table, i);
            tell_misuse(table, i);
        }
    }
    print_figure(table, HEAP_TIME, "time, to mimalloc's", true);
    print_figure(table, HEAP_TIME, "cycles an operation", false);
    print_figure(table, HEAP_WORST, "longest, cycles", false);
    print_figure(table, HEAP_FRAMES_USED, "frames used, %", false);
    print_others(table);
    print_misuse(table);
}
