/*
 * What code in user mode has in registers while it does not run: the general ones as the CPU's interrupts leave them,
 * x87 and SSE as FXSAVE does (SDM 1 10.5.1). Data alone: who schedules, and the host's tests, need no machine for it.
 */
#ifndef CAIRN_ARCH_CONTEXT_H
#define CAIRN_ARCH_CONTEXT_H

#include <stdalign.h>

#include "lib/units.h"

/* As entry.asm leaves it on the stack, lowest address first. */
struct interrupt_frame {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss; /* pushed by the CPU */
};

enum { USER_FPU_BYTES = 512 };

struct user_context {
    alignas(16) uint8_t fpu[USER_FPU_BYTES];
    struct interrupt_frame frame; /* where it goes on; vector and error tell how it left */
    vaddr_t fault;                /* the address of a page fault */
};

/* To begin at `rip` with a stack that ends at `rsp`: all other registers 0, x87 and SSE as after reset. */
static inline void user_context_init(struct user_context *context, vaddr_t rip, vaddr_t rsp)
{
    /* FXSAVE image: the control words, and what FNINIT and a reset set (SDM 1 8.1.5, 10.2.3). */
    enum { CONTROL = 0, MXCSR = 24 };
    *context = (struct user_context){.frame = {.rip = rip.v, .rsp = rsp.v}};
    context->fpu[CONTROL] = 0x7F;
    context->fpu[CONTROL + 1] = 0x03;
    context->fpu[MXCSR] = 0x80;
    context->fpu[MXCSR + 1] = 0x1F;
}

#endif
