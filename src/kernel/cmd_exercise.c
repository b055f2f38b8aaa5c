/* The commands that put the machine to work: exercise, provoke (provoke.c). */
#include "arch/arch.h"
#include "kernel/cmd.h"
#include "kernel/exercise.h"
#include "kernel/exercise_vmm.h"
#include "kernel/json.h"
#include "kernel/provoke.h"
#include "lib/string.h"

static void print_json(const struct exercise *ex, bool ok, uint64_t ticks)
{
    struct json j = json_begin(console);
    json_bool(&j, "ok", ok);
    json_number(&j, "rounds", ex->rounds);
    json_number(&j, "seed", ex->seed);
    json_number(&j, "frames_touched", ex->frames_touched);
    json_number(&j, "foreign_edits", ex->foreign_edits);
    json_number(&j, "bytes_verified", ex->bytes_verified);
    json_number(&j, "ticks", ticks);
    json_text(&j, "failure", ex->failure);
    json_end(&j);
}

static void print_summary(const struct exercise *ex, bool ok, uint64_t ticks)
{
    char size[CMD_SIZE_TEXT];
    print("exercise: %lu frames touched, %lu foreign edits, %lu bytes verified (%s), %u rounds, seed %lu, %lu ticks\n",
          ex->frames_touched, ex->foreign_edits, ex->bytes_verified, cmd_size(size, ex->bytes_verified), ex->rounds,
          ex->seed, ticks);
    if (ok) {
        print("exercise: ok\n");
    } else {
        print("exercise: FAILED: %s\n", ex->failure);
    }
}

static bool run_vmm(const struct command_line *line)
{
    uint64_t seed = EXERCISE_SEED_DEFAULT, steps = EXERCISE_VMM_STEPS_DEFAULT;
    if (!cmd_args(line, 1, 3, "vmm [-j] [SEED] [STEPS]") ||
        (line->argc > 2 && !cmd_number(line->argv[2], "seed", &seed)) ||
        (line->argc > 3 && !cmd_number(line->argv[3], "steps", &steps))) {
        return false;
    }
    struct exercise ex = {.seed = seed, .quiet = line->json};
    struct exercise_vmm done = {.steps = steps};
    bool ok = exercise_vmm_run(&ex, &done);
    if (!line->json) {
        print(ok ? "exercise: ok\n" : "exercise: FAILED: %s\n", ex.failure);
        return ok;
    }
    struct json j = json_begin(console);
    json_bool(&j, "ok", ok);
    json_number(&j, "seed", seed);
    json_number(&j, "steps", steps);
    json_number(&j, "mappings", done.mappings);
    json_number(&j, "pages_mapped", done.pages_mapped);
    json_number(&j, "unmaps", done.unmaps);
    json_number(&j, "protects", done.protects);
    json_number(&j, "refused", done.refused);
    json_number(&j, "switches", done.switches);
    json_number(&j, "foreign_opens", done.foreign_opens);
    json_number(&j, "pages_left", done.pages_left);
    json_list(&j, "spaces");
    for (unsigned i = 0; i < EXERCISE_VMM_SPACES && done.spaces[i] != NULL; i++) {
        json_number(&j, NULL, done.spaces[i]->id);
    }
    json_close(&j);
    json_text(&j, "failure", ex.failure);
    json_end(&j);
    return ok;
}

static bool run_exercise(const struct command_line *line)
{
    if (line->argc > 1 && strcmp(line->argv[1], "vmm") == 0) {
        return run_vmm(line);
    }
    uint64_t rounds = EXERCISE_ROUNDS_DEFAULT, seed = EXERCISE_SEED_DEFAULT;
    if (!cmd_args(line, 0, 2, "[-j] [ROUNDS] [SEED]") ||
        (line->argc > 1 && !cmd_number(line->argv[1], "rounds", &rounds)) ||
        (line->argc > 2 && !cmd_number(line->argv[2], "seed", &seed))) {
        return false;
    }
    if (rounds == 0 || rounds > UINT32_MAX - 1) {
        print("exercise: %lu rounds prove nothing\n", rounds);
        return false;
    }
    struct exercise ex = {
        .seed = seed, .rounds = (unsigned)rounds, .quiet = line->json, .pause = machine.options.exercise_pause};
    uint64_t start = arch_ticks();
    bool ok = exercise_run(&ex);
    uint64_t ticks = arch_ticks() - start;
    if (line->json) {
        print_json(&ex, ok, ticks);
    } else {
        print_summary(&ex, ok, ticks);
    }
    return ok;
}

static bool run_provoke(const struct command_line *line)
{
    if (line->argc != 2) {
        print("usage: provoke NAME\nnames:");
        provoke_names();
        print("\n");
        return false;
    }
    return provoke(line->argv[1]);
}

const struct command cmd_exercise[] = {
    {"exercise", "[-j] [ROUNDS] [SEED] | vmm [-j] [SEED] [STEPS]",
     "work every layer against a record, all is given back; vmm: a history of three spaces, left standing",
     run_exercise},
    {"provoke", "NAME", "a deliberate fault, to see its report; always fails", run_provoke},
    {0},
};
