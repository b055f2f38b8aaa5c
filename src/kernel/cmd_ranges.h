/* What the commands say of spaces with mappings: cmd_ranges.c. */
#ifndef CAIRN_KERNEL_CMD_RANGES_H
#define CAIRN_KERNEL_CMD_RANGES_H

#include "kernel/cmd.h"

/* The space with mappings whose tables these are; null: none. O(spaces). */
struct aspace *cmd_aspace(const struct space *tables);
/* A line a mapping, with a bar, rights, tag, object. */
void cmd_print_ranges(struct aspace *space);
/* What the mapping that holds `va` says, or that there is none. */
void cmd_print_mapping(struct aspace *space, vaddr_t va);

#endif
