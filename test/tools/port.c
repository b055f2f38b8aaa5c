/* The port of the host tools: reports go to standard error, nothing else is needed. */
#include <stdio.h>
#include <stdlib.h>

#include "arch/arch.h"

void arch_report(enum report_kind kind, const char *text)
{
    (void)kind;
    fprintf(stderr, "%s\n", text);
}

void arch_fatal(const char *text)
{
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}
