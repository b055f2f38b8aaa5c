/* The handler: where the next instruction stands says whether it counts. */
#define _GNU_SOURCE
#include "bench/steps.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

enum { TRAP_FLAG = 0x100 };

extern const char __start_steps_uncounted[], __stop_steps_uncounted[], __executable_start[];

static volatile uint64_t steps;
static uint64_t starts, steps_of_nothing;
static uintptr_t addresses[STEPS_MAX], explained[STEPS_MAX];
static uint64_t explained_count;
static const char *wanted;

#ifdef BENCH_SCOUT
bool steps_are_on;
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) { steps += steps_are_on; }
#endif

static void on_step(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t next = (uintptr_t)gregs[REG_RIP];
    if (next - (uintptr_t)__start_steps_uncounted >=
        (uintptr_t)__stop_steps_uncounted - (uintptr_t)__start_steps_uncounted) {
        if (steps == STEPS_MAX) {
            gregs[REG_EFL] &= ~TRAP_FLAG; /* no more of this call */
            return;
        }
        addresses[steps++] = next;
    }
}

void steps_clear(void) { steps = starts = 0; }
void steps_go_on(void) { starts++; }
uint64_t steps_counted(void)
{
    bool is_cut_off = !STEPS_ARE_SCOUTED && steps == STEPS_MAX;
    return is_cut_off ? steps : steps - starts * steps_of_nothing;
}

void steps_want_explained(const char *workload) { wanted = workload; }

void steps_explain(const char *workload)
{
    if (wanted != NULL && strcmp(wanted, workload) == 0) {
        explained_count = steps;
        memcpy(explained, addresses, explained_count * sizeof *addresses);
    }
}

bool steps_write_explained(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return false;
    }
    for (uint64_t i = 0; i < explained_count; i++) {
        fprintf(file, "%#lx\n", (unsigned long)(explained[i] - (uintptr_t)__executable_start));
    }
    return fclose(file) == 0;
}

/* Four instructions, and one to come back. */
static __attribute__((noinline)) void known_code(void) { __asm__ volatile("nop\n\tnop\n\tnop\n\tnop"); }
static STEPS_UNCOUNTED void uncounted_code(void) { __asm__ volatile("nop\n\tnop\n\tnop\n\tnop"); }

bool steps_begin(void)
{
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGTRAP, &action, NULL) != 0) {
        return false;
    }
    steps_of_nothing = 0;
    steps_start();
    steps_stop();
    steps_of_nothing = steps;
    steps_start();
    known_code();
    steps_stop();
    uint64_t known = steps_counted();
    steps_start();
    uncounted_code();
    steps_stop();
    return known == 6 && steps_counted() == 1;
}
