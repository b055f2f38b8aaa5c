/* What is done while nothing else is to be done. */
#ifndef CAIRN_KERNEL_IDLE_H
#define CAIRN_KERNEL_IDLE_H

/*
 * One short piece of work: a frame zeroed ahead of need, while the PMM's pool has room; else a block won by moving
 * pages, where the policy says so (mover.h). Thread context, without locks;
 * to be called again as long as there is nothing better to do.
 */
void idle_step(void);
/* The same, where no task is ready; else a turn of these. */
void idle_turn(void);

#endif
