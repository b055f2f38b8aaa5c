/*
 * Code in user mode: run until it leaves, by SYSCALL, by INT INTERRUPT_FROM_USER, by an exception or an interrupt. Who
 * runs when is not known here (kernel/task_run.c, tests, provocations).
 *
 * What user mode can have in registers lies in its context (context.h): general ones and flags, x87 and SSE as
 * FXSAVE keeps them (nothing more, since XSAVE is off: features.c); segment registers are empty at each start. All of
 * it is loaded when another context begins and taken away when it leaves, so nothing of another one, or of the kernel,
 * is ever seen. Of a context that left by SYSCALL, RCX and R11 are what that has made of them: RIP and RFLAGS.
 */
#ifndef CAIRN_ARCH_X86_64_USER_H
#define CAIRN_ARCH_X86_64_USER_H

#include "arch/x86_64/interrupt.h"
#include "lib/status.h"

/* The vector of a context that left by SYSCALL: behind those of interrupts. RIP is behind the instruction then. */
enum { USER_SYSCALL = 256 };

/* The debug registers are off; SYSCALL, where there is one, goes to user.asm. Once on each CPU, before user mode. */
void user_init(bool has_syscall);

/*
 * Run it in the space whose tables CR3 names until it leaves. Of its flags those that user mode may set count; CS and
 * SS are set here. => OK: it has left, or the one that user_change put in its place has: user_left(); INVALID: rip is
 * no canonical address; MISUSE (reported): one runs already.
 */
enum status user_run(struct user_context *context);
/* The context that ended the last run; null: it was given up. */
struct user_context *user_left(void);

/* Is user code running, or interrupted? */
bool user_is_running(void);

/* For the handler of an interrupt from user mode: it has left. The run ends, its context holds *f. */
_Noreturn void user_leave(const struct interrupt_frame *f, vaddr_t fault);

/* ---- System calls ---- */

enum user_go {
    USER_GO_LEAVE, /* the run ends */
    USER_GO_BACK,  /* the context that called goes on */
    USER_GO_OTHER, /* another one does: user_change has been called */
};
/*
 * From now on SYSCALL calls this, with the registers in the context, on the stack of user_run, interrupts off;
 * null: it leaves, as all else does. Returns the one before. Only the registers of the frame may be changed; not CS,
 * SS, RFLAGS, nor RIP but to a canonical address.
 */
typedef enum user_go user_call_fn(struct user_context *context);
user_call_fn *user_set_call(user_call_fn *call);
/*
 * In a system call: `next` runs from now on; the FPU's state is saved and loaded. Its space is the caller's to enter.
 * => false: rip is no canonical address, nothing has changed.
 */
bool user_change(struct user_context *next);
/* In a system call: the running context is given up; nothing of it is touched any more. */
void user_give_up(void);

/* Are interrupts taken in user mode, from the next start of a context on? Off at first. */
void user_allow_interrupts(bool allowed);

#endif
