/*
 * The monitor: the kernel's command line.
 *
 * 1. Words. A *line* is a command's name and its arguments, parted by blanks; double quotes keep blanks together. `-j`
 * anywhere asks for JSON: it is taken out of the arguments, so commands count only what they know.
 *
 * 2. Data. Commands live in tables, one for each cmd_*.c; this file joins them. A command is a name, a usage, a line of
 * help and a function that says whether it succeeded. There is no state here but the line editor's (line.c): the copy
 * of a line that a command cuts up lies on the stack.
 *
 * 3. Three callers: a person at the prompt (monitor_loop), a script through exec= (monitor_exec, which prints a verdict
 * for each command that scripts/run waits for), and other kernel code (monitor_run). The verdict names the command as
 * it was written, so that the script can compare it with what it sent.
 *
 * 4. Context: thread. Commands may take as long as they want and may allocate; those that look at a broken machine
 * (`check`, `mem`, `pt`, `who`, `frames`) allocate nothing, so that they answer when memory is used up.
 *
 * 5. Rejected: a shell with variables and pipes (scripts are Python's part, through JSON); abbreviations of names (a
 * script that relied on one would break with the next command).
 */
#include "kernel/monitor.h"

#include "kernel/cmd.h"
#include "kernel/line.h"
#include "kernel/main.h"
#include "lib/string.h"

/* ---- The tables ---- */

static bool run_help(const struct command_line *line);

static const struct command help_table[] = {
    {"help", "[COMMAND]", "all commands, or one", run_help},
    {0},
};

const struct command *const command_tables[] = {
    help_table, cmd_memory,   cmd_spaces, cmd_segments, cmd_maps,    cmd_touch, cmd_tables, cmd_caches,
    cmd_who,    cmd_tasks,    cmd_exercise, cmd_bench,  cmd_system,  cmd_compact, cmd_later, NULL,
};

/* The command with this name, or null. */
static const struct command *find(const char *name)
{
    for (const struct command *const *table = command_tables; *table != NULL; table++) {
        for (const struct command *c = *table; c->name != NULL; c++) {
            if (strcmp(c->name, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static void print_help(const struct command *c)
{
    char left[160];
    fmt_text(left, sizeof left, "%s %s", c->name, c->usage);
    print("  %-34s %s\n", left, c->summary);
}

static bool run_help(const struct command_line *line)
{
    if (!cmd_args(line, 0, 1, "[COMMAND]")) {
        return false;
    }
    if (line->argc == 2) {
        const struct command *c = find(line->argv[1]);
        if (c == NULL) {
            print("%s: no such command\n", line->argv[1]);
            return false;
        }
        print_help(c);
        return true;
    }
    for (const struct command *const *table = command_tables; *table != NULL; table++) {
        for (const struct command *c = *table; c->name != NULL; c++) {
            print_help(c);
        }
    }
    return true;
}

/* ---- A line into words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cuts the first word off `*text` (in place); null at the end of the line. */
static char *next_word(char **text)
{
    char *from = *text;
    while (is_blank(*from)) {
        from++;
    }
    if (*from == '\0') {
        return NULL;
    }
    char *word = from, *to = from;
    bool quoted = false;
    for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
        if (*from == '"') {
            quoted = !quoted;
        } else {
            *to++ = *from;
        }
    }
    *text = *from == '\0' ? from : from + 1;
    *to = '\0';
    return word;
}

static bool split(char *text, struct command_line *line)
{
    *line = (struct command_line){0};
    char *word;
    while ((word = next_word(&text)) != NULL) {
        if (line->argc > 0 && strcmp(word, "-j") == 0) {
            line->json = true;
        } else if (line->argc == MONITOR_ARGS_MAX) {
            print("more than %d words (MONITOR_ARGS_MAX)\n", MONITOR_ARGS_MAX);
            return false;
        } else {
            line->argv[line->argc++] = word;
        }
    }
    return true;
}

bool monitor_run(const char *text)
{
    char copy[MONITOR_LINE_BYTES];
    size_t len = strlen(text);
    if (len >= sizeof copy) {
        print("a line of %lu characters is too long (MONITOR_LINE_BYTES %d)\n", len, MONITOR_LINE_BYTES);
        return false;
    }
    memcpy(copy, text, len + 1);
    struct command_line line;
    if (!split(copy, &line)) {
        return false;
    }
    if (line.argc == 0) {
        return true;
    }
    const struct command *c = find(line.argv[0]);
    if (c == NULL) {
        print("%s: no such command; `help` lists them\n", line.argv[0]);
        return false;
    }
    bool ok = c->run(&line);
    /* debug=magic:NAME names a command: a debugger looks at what it left. */
    if (machine.options.magic_name[0] != '\0') {
        magic_breakpoint(c->name);
    }
    return ok;
}

/* ---- exec= ---- */

/* The command up to the next ';' outside quotes, without blanks around it. Returns where the next one begins, or null
 * after the last. */
static const char *next_command(const char *from, char *command, size_t size, bool *fits)
{
    const char *end = from;
    for (bool quoted = false; *end != '\0' && (quoted || *end != ';'); end++) {
        quoted = *end == '"' ? !quoted : quoted;
    }
    const char *rest = *end == ';' ? end + 1 : NULL;
    while (is_blank(*from)) {
        from++;
    }
    while (end > from && is_blank(end[-1])) {
        end--;
    }
    size_t len = end > from ? (size_t)(end - from) : 0;
    *fits = len < size;
    fmt_text(command, size, "%.*s", (int)len, from);
    return rest;
}

bool monitor_exec(const char *commands)
{
    char command[MONITOR_LINE_BYTES];
    bool all = true;
    for (const char *at = commands; at != NULL;) {
        bool fits;
        at = next_command(at, command, sizeof command, &fits);
        if (command[0] == '\0') {
            continue;
        }
        if (!fits) {
            print("a command of exec= is longer than %d characters (MONITOR_LINE_BYTES)\n", MONITOR_LINE_BYTES - 1);
        }
        bool ok = fits && monitor_run(command);
        print("result %s: %s\n", command, ok ? "ok" : "failed");
        all = all && ok;
    }
    return all;
}

void monitor_loop(void)
{
    const char *text;
    while ((text = line_read("cairn> ")) != NULL) {
        if (!monitor_run(text)) {
            print("failed\n");
        }
    }
}
