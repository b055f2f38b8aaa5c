/*
 * The monitor: a command line on the serial port, and the same commands from `exec=`.
 */
#ifndef CAIRN_KERNEL_MONITOR_H
#define CAIRN_KERNEL_MONITOR_H

#include <stdbool.h>
#include <stddef.h>

enum { MONITOR_ARGS_MAX = 16, MONITOR_LINE_BYTES = 256, MONITOR_HISTORY = 16 };

/* argv[0] is the command's name; -j is taken out of argv and given as `json`. */
struct command_line {
    int argc;
    char *argv[MONITOR_ARGS_MAX];
    bool json;
};

struct command {
    const char *name;
    const char *usage;                            /* arguments, "" for none */
    const char *summary;                          /* one line for help */
    bool (*run)(const struct command_line *line); /* true: ok */
};

/* All commands in the order of help: tables that live in the cmd_*.c files, each ended by a null name, joined in
 * monitor.c and ended by null. */
extern const struct command *const command_tables[];

/* Run one line, of which the copy may be cut up. false: failed, unknown or malformed. */
bool monitor_run(const char *line);
/* exec=: run each command between ';', print `result COMMAND: ok|failed` after each; true when every one succeeded. */
bool monitor_exec(const char *commands);
/* The interactive loop; returns only when there is no serial port. */
void monitor_loop(void);

#endif
