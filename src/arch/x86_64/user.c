#include "arch/x86_64/user.h"

#include <assert.h>
#include <stddef.h>

#include "arch/layout.h"
#include "arch/paging.h"
#include "arch/x86_64/cpu.h"
#include "lib/report.h"

/* CF, PF, AF, ZF, SF, TF, DF, OF, AC, ID; bit 1 is always set. Not IF, IOPL, NT, RF, VM. */
enum { FLAGS_USER = 0x240DD5, FLAGS_ALWAYS = 2, FLAGS_INTERRUPTS = 0x200, FLAGS_ALL = 0x3F7FD5 };

/* Off, as after a reset (SDM 3B 17.2.4: bit 10 is always set). */
enum { DR7_OFF = 0x400 };

static_assert(offsetof(struct user_context, frame) == USER_FPU_BYTES, "CONTEXT_FRAME of user.asm");
static_assert(offsetof(struct interrupt_frame, vector) == 15 * 8, "FRAME_VECTOR of user.asm");
static_assert(offsetof(struct interrupt_frame, rip) == 17 * 8, "FRAME_RIP of user.asm");
static_assert(sizeof(struct interrupt_frame) == 22 * 8, "FRAME_BYTES of user.asm");

/* user.asm: into user mode; comes back when user_resume is called, with its FPU state saved. */
void user_enter(struct user_context *context);
_Noreturn void user_resume(struct user_context *context);
void user_syscall(void);

/* Read by user.asm. */
extern struct user_context *user_running; /* null: none */
extern user_call_fn *user_call;

static enum user_go leave(struct user_context *context)
{
    (void)context;
    return USER_GO_LEAVE;
}

struct user_context *user_running;
user_call_fn *user_call = leave;
static struct user_context *left_last;
static uint64_t flags_more; /* FLAGS_INTERRUPTS or 0 */

/*
 * SYSRET takes CS and SS from 16 and 8 behind one base, with the privilege level of that on some CPUs; SYSCALL likewise
 * from the kernel's (SDM 2B). User mode has no code segment of 32 bits, so that CSTAR is never used.
 */
void user_init(bool has_syscall)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"((uint64_t)DR7_OFF));
    if (!has_syscall) {
        return;
    }
    const uint64_t star = (uint64_t)(LAYOUT_SEL_USER_DATA - 8) << 48 | (uint64_t)LAYOUT_SEL_CODE << 32;
    write_msr(MSR_STAR, star);
    write_msr(MSR_LSTAR, (uint64_t)(uintptr_t)user_syscall);
    write_msr(MSR_FMASK, FLAGS_ALL);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
}

static void prepare(struct user_context *context)
{
    context->frame.cs = LAYOUT_SEL_USER_CODE;
    context->frame.ss = LAYOUT_SEL_USER_DATA;
    context->frame.rflags = (context->frame.rflags & FLAGS_USER) | FLAGS_ALWAYS | flags_more;
}

enum status user_run(struct user_context *context)
{
    if (user_running != NULL) {
        report(REPORT_MISUSE, "user_run: at %#lx, and code at %#lx has not left", context->frame.rip,
               user_running->frame.rip);
        return STATUS_MISUSE;
    }
    if (!vaddr_is_canonical(vaddr(context->frame.rip))) {
        return STATUS_INVALID; /* IRET would fault, in the kernel */
    }
    prepare(context);
    context->fault = vaddr(0);
    user_running = context;
    user_enter(context);
    left_last = user_running;
    user_running = NULL;
    return STATUS_OK;
}

struct user_context *user_left(void) { return left_last; }

bool user_is_running(void) { return user_running != NULL; }

_Noreturn void user_leave(const struct interrupt_frame *f, vaddr_t fault)
{
    user_running->frame = *f;
    user_running->fault = fault;
    user_resume(user_running);
}

user_call_fn *user_set_call(user_call_fn *call)
{
    user_call_fn *before = user_call;
    user_call = call != NULL ? call : leave;
    return before;
}

/* FNINIT: as in user_enter. */
bool user_change(struct user_context *next)
{
    if (!vaddr_is_canonical(vaddr(next->frame.rip))) {
        return false;
    }
    if (user_running != NULL) {
        __asm__ volatile("fxsave64 %0" : "=m"(user_running->fpu));
    }
    prepare(next);
    __asm__ volatile("fninit; fxrstor64 %0" : : "m"(next->fpu));
    user_running = next;
    return true;
}

void user_give_up(void) { user_running = NULL; }

void user_allow_interrupts(bool allowed) { flags_more = allowed ? FLAGS_INTERRUPTS : 0; }
