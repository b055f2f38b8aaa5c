/*
 * What every program is linked with: its start, the start of clones, lines for the log, malloc (malloc.h).
 *
 * int main(int argc, char **argv) as usual; what it returns is the task's exit code.
 */
#ifndef CAIRN_USER_RUNTIME_H
#define CAIRN_USER_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/macros.h"
#include "lib/status.h"
#include "lib/string.h"
#include "lib/units.h"
#include "user/calls.h"
#include "user/malloc.h"

/* The caller's own id, also in a clone. */
unsigned my_id(void);

/* A line of the log; what is longer than TASK_LOG_BYTES is cut. Formats as in lib/fmt.h. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
/* The same, and the program ends with code 1. */
__attribute__((format(printf, 1, 2))) _Noreturn void fail(const char *format, ...);

/* Checks of the programs: when it is not so, the line that says it, and the end. */
#define NEED(condition) ((condition) ? (void)0 : fail("line %d: not so: %s", __LINE__, #condition))
#define NEED_OK(call) need_status((call), STATUS_OK, #call, __LINE__)
#define NEED_STATUS(call, expected) need_status((call), (expected), #call, __LINE__)
void need_status(enum status s, enum status expected, const char *call_text, int line);

/*
 * A clone that runs run(argument) on a stack of its own, and exits with what this returns. It has the private part as
 * it is now, copied on write (code, .data, .bss), and of the global part what `keep` names: not the caller's stack,
 * and nothing that malloc gave, which begins anew there. => as TASK_CLONE
 */
enum status task_begin(int (*run)(uint64_t), uint64_t argument, const struct task_keep *keep, unsigned count,
                       unsigned *id);
/* For a call of TASK_CLONE's own: the entry at which the next clone will run run(argument). */
user_address clone_prepare(int (*run)(uint64_t));
/* Waits until the task is no more. What it still sends is thrown away. */
void wait_for_end(unsigned id);

/* Time in ticks of the CPU's counter. */
static inline uint64_t ticks_now(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* Decimal digits. => false: none, or something else behind them, or too large. */
bool number_of(const char *text, uint64_t *number);

int main(int argc, char **argv);

#endif
