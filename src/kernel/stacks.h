/* Kernel stacks, each between guard pages: the main one, and those the CPU takes by itself for the worst exceptions. */
#ifndef CAIRN_KERNEL_STACKS_H
#define CAIRN_KERNEL_STACKS_H

#include "lib/units.h"

enum { STACK_MAIN_PAGES = 16, STACK_IST_PAGES = 4 };

/* Allocate all of them and tell the TSS; returns the main stack's top. Panics when memory is short. Once. */
vaddr_t stacks_init(void);

#endif
