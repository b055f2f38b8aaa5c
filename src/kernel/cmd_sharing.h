/* What the commands about tables say of sharing. */
#ifndef CAIRN_KERNEL_CMD_SHARING_H
#define CAIRN_KERNEL_CMD_SHARING_H

#include "kernel/machine.h"

/* A line for each part that the space lends or has borrowed. O(its loans). */
void cmd_print_loans(const struct space *space);
/* A line for each table of a walk to `va` that several spaces use: who lends, who borrows, all parents. O(spaces). */
void cmd_print_sharing(const struct space *space, vaddr_t va, const struct vmm_walk *w);

#endif
