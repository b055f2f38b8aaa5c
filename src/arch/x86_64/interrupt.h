/*
 * GDT, TSS, IDT. Exceptions come in as one struct; the kernel layer says what they mean.
 */
#ifndef CAIRN_ARCH_X86_64_INTERRUPT_H
#define CAIRN_ARCH_X86_64_INTERRUPT_H

#include <stdbool.h>

#include "arch/context.h"

enum exception {
    EXCEPTION_DIVIDE = 0,
    EXCEPTION_NMI = 2,
    EXCEPTION_INVALID_OPCODE = 6,
    EXCEPTION_DOUBLE_FAULT = 8,
    EXCEPTION_GENERAL_PROTECTION = 13,
    EXCEPTION_PAGE_FAULT = 14,
    EXCEPTION_MACHINE_CHECK = 18,
    EXCEPTIONS = 32,
};

/* The one vector that user mode may raise by INT n; any other is a general protection fault there. */
enum { INTERRUPT_FROM_USER = 0x80 };

/* Came it from user mode? */
static inline bool interrupt_is_from_user(const struct interrupt_frame *f) { return (f->cs & 3) == 3; }

/* Stacks that the CPU switches to by itself; the numbers are IST indices (SDM 3A 6.14.5). */
enum interrupt_stack { IST_NONE, IST_DOUBLE_FAULT, IST_NMI, IST_MACHINE_CHECK, IST_COUNT };

/* Load GDT, TSS and IDT; no IST stacks yet. Once, early. */
void interrupts_init(void);
/* From now on double fault, NMI or machine check runs on a stack that ends at `top`. */
void interrupts_set_stack(enum interrupt_stack which, vaddr_t top);

/* The kernel's handler of everything; returning goes on where it happened. */
void kernel_interrupt(struct interrupt_frame *frame);

/*
 * From now on `handler` gets this vector instead of kernel_interrupt; null: nobody instead of it. Returns who got it
 * until now, null when that was kernel_interrupt. vector < 256.
 */
typedef void interrupt_handler(struct interrupt_frame *frame);
interrupt_handler *interrupt_hook(unsigned vector, interrupt_handler *handler);

/* Called by entry.asm. */
void interrupt_dispatch(struct interrupt_frame *frame);

/* Go on at `function` on a stack that ends at `top`; the old one is never used again. */
_Noreturn void enter_on_stack(uint64_t top, void (*function)(void));

#endif
