/* The command that measures the kernel's own layers. */
#include "kernel/bench.h"
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "lib/macros.h"
#include "lib/string.h"

static const struct bench *const suites[] = {bench_arena, bench_heap, bench_pmm, bench_segments, bench_spaces,
                                            bench_tasks, bench_user, bench_vmm,
#ifdef CAIRN_BENCH_MORE
                                            CAIRN_BENCH_MORE,
#endif
};

/* Chosen by its name, or by its suite's: what stands before the first underscore. */
static bool is_chosen(const struct bench *bench, const char *word)
{
    size_t length = strlen(word);
    return strncmp(bench->name, word, length) == 0 &&
           (bench->name[length] == '\0' || bench->name + length == strchr(bench->name, '_'));
}

static void print_names(void)
{
    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        if (suites[i]->name == NULL) {
            continue; /* a kernel on another heap or PMM has none for its own */
        }
        const char *end = strchr(suites[i]->name, '_');
        print("  %.*s:", (int)(end - suites[i]->name), suites[i]->name);
        for (const struct bench *b = suites[i]; b->name != NULL; b++) {
            print(" %s", b->name);
        }
        print("\n");
    }
}

static void print_result(const struct bench *bench, const struct bench_result *r, bool exact)
{
    enum { TENTHS = 10 };
    uint64_t tenths = r->ticks * TENTHS / r->ops;
    print("  %-22s %8lu.%lu %s an operation (%lu in %lu", bench->name, tenths / TENTHS, tenths % TENTHS,
          exact ? "instructions" : "ticks", r->ticks, r->ops);
    if (r->most > 0) {
        print(", at most %lu", r->most);
    }
    print(")  %s\n", bench->summary);
}

static void print_json(const struct bench *bench, const struct bench_result *r, bool exact)
{
    struct json j = json_begin(console);
    json_text(&j, "name", bench->name);
    json_number(&j, "ops", r->ops);
    json_number(&j, exact ? "instructions" : "ticks", r->ticks);
    if (r->most > 0) {
        json_number(&j, "most", r->most);
    }
    json_text(&j, "what", bench->summary);
    json_end(&j);
}

static bool run_one(const struct bench *bench, bool json, bool exact)
{
    struct bench_result result = {0};
    enum status s = bench->run(bench, &result);
    if (s != STATUS_OK || result.ops == 0) {
        print("%s: %s\n", bench->name, s == STATUS_UNSUPPORTED ? "not on this machine" : status_name(s));
        return false;
    }
    (json ? print_json : print_result)(bench, &result, exact);
    return true;
}

static bool run_bench(const struct command_line *line)
{
    if (!cmd_args(line, 0, 1, "[NAME] [-j]")) {
        return false;
    }
    const char *word = line->argc > 1 ? line->argv[1] : NULL;
    bool exact = bench_counts_instructions(), ok = true;
    unsigned ran = 0;
    if (!line->json && !exact) {
        print("these are ticks of the TSC, not instructions (scripts/run --icount counts those)\n");
    }
    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        for (const struct bench *b = suites[i]; b->name != NULL; b++) {
            if (word == NULL || is_chosen(b, word)) {
                ok = run_one(b, line->json, exact) && ok;
                ran++;
            }
        }
    }
    if (ran == 0) {
        print("bench: no benchmark is named '%s'; there are\n", word);
        print_names();
    }
    return ok && ran > 0;
}

const struct command cmd_bench[] = {
    {"bench", "[NAME] [-j]", "what the kernel's own calls cost, in instructions (or ticks)", run_bench},
    {0},
};
