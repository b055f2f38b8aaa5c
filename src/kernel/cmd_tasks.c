/*
 * Commands about tasks: start, list, end, wait for them.
 *
 * `wait` gives them the machine until its condition holds, a key ^C comes, or none is ready: then those that live wait
 * for messages of each other, and nothing will ever change that.
 */
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "kernel/task_run.h"
#include "lib/macros.h"
#include "lib/string.h"

enum { CTRL_C = 3 };

/* ---- tasks ---- */

static const char *state_name(const struct task *task)
{
    static const char *const names[] = {
        [TASK_NEW] = "new", [TASK_READY] = "ready", [TASK_RUNNING] = "running", [TASK_WAITING] = "waiting"};
    return names[task->state];
}

static const char *const end_names[] = {
    [TASK_EXITED] = "exited", [TASK_KILLED] = "killed", [TASK_FAULTED] = "faulted"};

static void task_json(struct json *j, const struct task *task)
{
    json_object(j, NULL);
    json_number(j, "id", task->id);
    json_text(j, "name", task->name);
    json_text(j, "state", state_name(task));
    json_number(j, "space", task->space.tables.id);
    json_number(j, "resident", task->space.tables.pages.v);
    json_number(j, "mapped", task->space.pages.v);
    json_number(j, "ranges", task->space.ranges);
    json_number(j, "messages", task->messages);
    json_number(j, "faults", task->faults);
    json_number(j, "calls", task->calls);
    json_number(j, "switches", task->switches);
    json_number(j, "ticks", task->ticks);
    json_close(j);
}

static void end_json(struct json *j, const struct task_end *end)
{
    json_object(j, NULL);
    json_number(j, "id", end->id);
    json_text(j, "name", end->name);
    json_text(j, "how", end_names[end->how]);
    json_number(j, "code", (uint64_t)end->code);
    json_text(j, "cause", end->cause);
    json_number(j, "faults", end->faults);
    json_number(j, "calls", end->calls);
    json_number(j, "switches", end->switches);
    json_number(j, "ticks", end->ticks);
    json_close(j);
}

/* The oldest death that is remembered: its number among all. */
static uint64_t first_end(const struct tasks *t) { return t->ended > TASK_ENDS ? t->ended - TASK_ENDS : 0; }

static void tasks_json(const struct tasks *t)
{
    struct json j = json_begin(console);
    json_number(&j, "count", t->count);
    json_number(&j, "messages", t->messages);
    json_number(&j, "ends", t->ended);
    json_list(&j, "tasks");
    for (const struct task *task = t->first; task != NULL; task = task->next) {
        task_json(&j, task);
    }
    json_close(&j);
    json_list(&j, "ended");
    for (uint64_t i = first_end(t); i < t->ended; i++) {
        end_json(&j, &t->ends[i % TASK_ENDS]);
    }
    json_close(&j);
    json_end(&j);
}

static void print_task(const struct task *task)
{
    print("  %5u %-12s %-8s %6u %8lu %8lu %7lu %5u %8lu %10lu %9lu %14lu", task->id, task->name, state_name(task),
          task->space.tables.id, task->space.tables.pages.v, task->space.pages.v, task->space.ranges, task->messages,
          task->faults, task->calls, task->switches, task->ticks);
    if (task->state == TASK_WAITING) {
        print(task->waits_for != 0 ? "  for task %u" : "  for any", task->waits_for);
    }
    print("\n");
}

static bool run_tasks(const struct command_line *line)
{
    const struct tasks *t = &machine.tasks;
    if (!cmd_args(line, 0, 0, "[-j]")) {
        return false;
    }
    if (line->json) {
        tasks_json(t);
        return true;
    }
    print("  %5s %-12s %-8s %6s %8s %8s %7s %5s %8s %10s %9s %14s\n", "task", "name", "state", "space", "resident",
          "mapped", "ranges", "mail", "faults", "calls", "switches", "ticks");
    for (const struct task *task = t->first; task != NULL; task = task->next) {
        print_task(task);
    }
    print("  %u tasks, %lu messages wait, %lu tasks ended\n", t->count, t->messages, t->ended);
    for (uint64_t i = first_end(t); i < t->ended; i++) {
        task_print_end(&t->ends[i % TASK_ENDS]);
    }
    return true;
}

/* ---- run ---- */

static void list_modules(void)
{
    print("modules:");
    for (size_t i = 0; i < machine.module_count; i++) {
        const char *args = machine.modules[i].args, *end = strchr(args, ' ');
        print(" %.*s", (int)(end != NULL ? end - args : (ptrdiff_t)strlen(args)), args);
    }
    print(machine.module_count == 0 ? " none\n" : "\n");
}

static bool run_run(const struct command_line *line)
{
    char args[MONITOR_LINE_BYTES] = "";
    if (!cmd_args(line, 1, MONITOR_ARGS_MAX, "MODULE [ARGUMENT...]")) {
        return false;
    }
    for (int i = 1; i < line->argc; i++) {
        const size_t length = strlen(args);
        fmt_text(args + length, sizeof args - length, "%s%s", i > 1 ? " " : "", line->argv[i]);
    }
    struct task *task;
    const char *why;
    enum status s = task_run_module(args, &task, &why);
    if (s == STATUS_OK) {
        print("task %u (%s): space %u\n", task->id, task->name, task->space.tables.id);
        return true;
    }
    print("run %s: %s%s%s\n", line->argv[1], status_name(s), why != NULL ? ": " : "", why != NULL ? why : "");
    if (s == STATUS_ABSENT) {
        list_modules();
    }
    return false;
}

/* ---- kill, wait ---- */

static bool read_id(const char *text, unsigned *id)
{
    uint64_t number;
    if (!cmd_number(text, "task", &number)) {
        return false;
    }
    *id = number <= UINT32_MAX ? (unsigned)number : 0;
    return true;
}

static bool say_absent(const char *text)
{
    print("there is no task %s\n", text);
    return false;
}

static bool run_kill(const struct command_line *line)
{
    unsigned id;
    if (!cmd_args(line, 1, 1, "ID") || !read_id(line->argv[1], &id)) {
        return false;
    }
    struct task *task = tasks_find(&machine.tasks, id);
    return task != NULL ? cmd_done("kill", task_end(task, TASK_KILLED, 0, "at the monitor"))
                        : say_absent(line->argv[1]);
}

/* Task `id`; 0: any. */
static bool lives(unsigned id) { return id == 0 ? machine.tasks.count > 0 : tasks_find(&machine.tasks, id) != NULL; }

static bool say_stuck(void)
{
    print("wait: none is ready; these wait for messages:\n");
    for (const struct task *task = machine.tasks.first; task != NULL; task = task->next) {
        print_task(task);
    }
    return false;
}

/* => false: said why it is in vain. */
static bool wait_until_gone(unsigned id)
{
    while (lives(id)) {
        if (task_run() == TASK_RUN_NONE) {
            return say_stuck();
        }
        if (console_key_now() == CTRL_C) {
            print("^C\n");
            return false;
        }
    }
    return true;
}

static bool all_went_well(void)
{
    bool well = true;
    for (struct task_judged *j = NULL; (j = task_judged_badly(j)) != NULL;) {
        print(well ? "wait: ended badly: %u" : " %u", j->id);
        j->told = true;
        well = false;
    }
    print(well ? "" : "\n");
    return well;
}

static bool one_went_well(unsigned id)
{
    struct task_judged *j = task_judged(id);
    if (j != NULL && j->verdict == TASK_BADLY) {
        j->told = true;
        print("wait: ended badly: %u\n", id);
        return false;
    }
    return true;
}

static bool run_wait(const struct command_line *line)
{
    unsigned id = 0;
    if (!cmd_args(line, 0, 1, "[ID]")) {
        return false;
    }
    if (line->argc == 2) {
        if (!read_id(line->argv[1], &id)) {
            return false;
        }
        if (id == 0 || (!lives(id) && task_judged(id) == NULL && tasks_find_end(&machine.tasks, id) == NULL)) {
            return say_absent(line->argv[1]);
        }
    }
    return wait_until_gone(id) && (id == 0 ? all_went_well() : one_went_well(id));
}

const struct command cmd_tasks[] = {
    {"tasks", "[-j]", "tasks that live, and how the last ones ended", run_tasks},
    {"run", "MODULE [ARGUMENT...]", "start a boot module as a task", run_run},
    {"kill", "ID", "end a task", run_kill},
    {"wait", "[ID]", "until all tasks, or one, have ended; fails if one that `run` began ended badly", run_wait},
    {0},
};
