/* CPUs of the host's port: what arch_cpu answers. */
#ifndef CAIRN_TEST_MODEL_CPU_H
#define CAIRN_TEST_MODEL_CPU_H

#include "arch/arch.h"

void model_thread_is_cpu(unsigned cpu); /* this thread is that CPU from now on; 0 at first */

/* Called whenever a lock is about to be taken; null: nothing. */
extern void (*model_before_lock)(void);

#endif
