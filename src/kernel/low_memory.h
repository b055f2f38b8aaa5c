/* Who gives memory back when it is short, in order of cost. */
#ifndef CAIRN_KERNEL_LOW_MEMORY_H
#define CAIRN_KERNEL_LOW_MEMORY_H

/* From now on spaces and heap are asked before a request fails. Once, when both stand. */
void low_memory_init(void);

#endif
