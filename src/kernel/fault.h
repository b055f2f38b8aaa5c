/* Exceptions: what happened, in words. And what panic.c shares with it. */
#ifndef CAIRN_KERNEL_FAULT_H
#define CAIRN_KERNEL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* From panic.c: frames from these registers on; rip 0: begin with the return address at rbp. */
void backtrace_from(uint64_t rip, uint64_t rbp);

/* From panic.c: call first in every report that ends the machine; does not return when one is under way already. */
bool panic_enter(void);

#endif
