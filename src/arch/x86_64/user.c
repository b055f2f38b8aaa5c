#include "arch/x86_64/user.h"

#include <assert.h>
#include <stddef.h>

#include "arch/layout.h"
#include "arch/paging.h"
#include "lib/report.h"

/* FXSAVE image: offsets and what FNINIT and a reset set (SDM 1 8.1.5, 10.2.3). */
enum { FPU_CONTROL = 0, FPU_CONTROL_INITIAL = 0x037F, FPU_MXCSR = 24, FPU_MXCSR_INITIAL = 0x1F80 };

/* CF, PF, AF, ZF, SF, TF, DF, OF, AC, ID; bit 1 is always set. Not IF, IOPL, NT, RF, VM. */
enum { FLAGS_USER = 0x240DD5, FLAGS_ALWAYS = 2 };

static_assert(offsetof(struct user_context, frame) == USER_FPU_BYTES, "CONTEXT_FRAME of user.asm");
static_assert(offsetof(struct interrupt_frame, rip) == 136, "FRAME_RIP of user.asm");

/* user.asm: into user mode; comes back when user_resume is called, with its FPU state saved. */
void user_enter(struct user_context *context);
_Noreturn void user_resume(struct user_context *context);

static struct user_context *running; /* null: none */

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

void user_context_init(struct user_context *context, vaddr_t rip, vaddr_t rsp)
{
    *context = (struct user_context){.frame = {.rip = rip.v, .rsp = rsp.v}};
    put16(&context->fpu[FPU_CONTROL], FPU_CONTROL_INITIAL);
    put16(&context->fpu[FPU_MXCSR], FPU_MXCSR_INITIAL);
}

enum status user_run(struct user_context *context)
{
    if (running != NULL) {
        report(REPORT_MISUSE, "user_run: at %#lx, and code at %#lx has not left", context->frame.rip,
               running->frame.rip);
        return STATUS_MISUSE;
    }
    if (!vaddr_is_canonical(vaddr(context->frame.rip))) {
        return STATUS_INVALID; /* IRET would fault, in the kernel */
    }
    context->frame.cs = LAYOUT_SEL_USER_CODE;
    context->frame.ss = LAYOUT_SEL_USER_DATA;
    context->frame.rflags = (context->frame.rflags & FLAGS_USER) | FLAGS_ALWAYS;
    context->fault = vaddr(0);
    running = context;
    user_enter(context);
    return STATUS_OK;
}

bool user_is_running(void) { return running != NULL; }

_Noreturn void user_leave(const struct interrupt_frame *f, vaddr_t fault)
{
    struct user_context *left = running;
    left->frame = *f;
    left->fault = fault;
    running = NULL;
    user_resume(left);
}
