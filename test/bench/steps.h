/*
 * Exact instruction counts of a stretch of code in this process: with the trap flag set, the CPU traps after each
 * instruction, and a signal handler counts. About a microsecond an instruction; no debugger and no counter of the
 * machine is needed.
 *
 *   steps_start(); status = pmm_free(pmm, frame); steps_stop();    then steps_counted()
 *
 * In the scout (BENCH_SCOUT) the same calls count the basic blocks of what is measured, compiled to tell of each: not
 * exact, but at speed.
 *
 * What the caller does to pass arguments is counted, the two calls here are not, nor is code in STEPS_UNCOUNTED
 * functions.
 */
#ifndef CAIRN_TEST_BENCH_STEPS_H
#define CAIRN_TEST_BENCH_STEPS_H

#include <stdbool.h>
#include <stdint.h>

/* Not counted; what such a function calls must stand between steps_pause and steps_resume. */
#define STEPS_UNCOUNTED __attribute__((noinline, section("steps_uncounted")))

bool steps_begin(void); /* installs the handler and finds what starting and stopping costs; false: it does not work */
uint64_t steps_counted(void); /* since steps_start; STEPS_MAX: that many or more */
enum { STEPS_MAX = 30000 };

/*
 * Where the instructions go: steps_explain(workload) keeps the addresses of what was counted last, if that is the
 * workload asked for; steps_write_explained writes the last ones kept, an address of the program's file a line.
 */
void steps_want_explained(const char *workload);
void steps_explain(const char *workload);
bool steps_write_explained(const char *path);

void steps_clear(void);
void steps_go_on(void);

#ifdef BENCH_SCOUT
enum { STEPS_ARE_SCOUTED = 1 };
extern bool steps_are_on;

static inline void steps_continue(void) { steps_are_on = true; }
static inline void steps_stop(void) { steps_are_on = false; }
static inline bool steps_pause(void)
{
    bool was_counting = steps_are_on;
    steps_are_on = false;
    return was_counting;
}
static inline void steps_resume(bool was_counting) { steps_are_on = was_counting; }
#else
enum { STEPS_ARE_SCOUTED = 0 };

/* Count on, after what was counted until the last steps_stop. The red zone below the stack pointer may be in use. */
static inline __attribute__((always_inline)) void steps_continue(void)
{
    steps_go_on();
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

static inline __attribute__((always_inline)) void steps_stop(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

/* Run at full speed until steps_resume; true: it was counting. */
static inline __attribute__((always_inline)) bool steps_pause(void)
{
    uint64_t flags;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tmovq (%%rsp), %0\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp"
                     : "=&r"(flags)::"memory", "cc");
    return (flags & 0x100) != 0;
}

static inline __attribute__((always_inline)) void steps_resume(bool was_counting)
{
    if (was_counting) {
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp" ::
                             : "memory", "cc");
    }
}

#endif

static inline __attribute__((always_inline)) void steps_start(void)
{
    steps_clear();
    steps_continue();
}

#endif
