/*
 * Code in user mode: run until it leaves, by INT INTERRUPT_FROM_USER or by an exception. No scheduler: for tests,
 * provocations, and whoever schedules some day.
 *
 * What user mode can have in registers lies in its context: general registers and flags, x87 and SSE as FXSAVE keeps
 * them (nothing more, since XSAVE is off: features.c); segment registers are empty at each start. All of it is loaded
 * at each start and taken away when it leaves, so nothing of another context, or of the kernel, is ever seen.
 *
 * Interrupts stay off in user mode: a loop there is not left.
 */
#ifndef CAIRN_ARCH_X86_64_USER_H
#define CAIRN_ARCH_X86_64_USER_H

#include <stdalign.h>

#include "arch/x86_64/interrupt.h"
#include "lib/status.h"

enum { USER_FPU_BYTES = 512 }; /* SDM 1 10.5.1 */

struct user_context {
    alignas(16) uint8_t fpu[USER_FPU_BYTES];
    struct interrupt_frame frame; /* where it goes on; vector and error tell how it left */
    vaddr_t fault;                /* the address of a page fault */
};

/* To begin at `rip` with a stack that ends at `rsp`: all other registers 0, x87 and SSE as after reset. */
void user_context_init(struct user_context *context, vaddr_t rip, vaddr_t rsp);

/*
 * Run it in the space whose tables CR3 names until it leaves. Of its flags those that user mode may set count; CS and
 * SS are set here. => OK: it has left; INVALID: rip is no canonical address; MISUSE (reported): one runs already.
 */
enum status user_run(struct user_context *context);

/* Is user code running, or interrupted? */
bool user_is_running(void);

/* For the handler of an interrupt from user mode: it has left. The run ends, its context holds *f. */
_Noreturn void user_leave(const struct interrupt_frame *f, vaddr_t fault);

#endif
