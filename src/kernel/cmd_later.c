/* Commands whose turn has not come: known by name, so that a script that tries one is told so, and fails. */
#include "kernel/cmd.h"

static bool run_later(const struct command_line *line)
{
    (void)line;
    print("not yet\n");
    return false;
}

const struct command cmd_later[] = {
    {"cpus", "", "processors (not yet)", run_later},
    {0},
};
