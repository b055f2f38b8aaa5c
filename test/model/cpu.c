/* The host's CPUs are threads: each says which one it is. Interrupts never come. */
#include "model/cpu.h"

static _Thread_local unsigned this_cpu;

void model_thread_is_cpu(unsigned cpu) { this_cpu = cpu; }

unsigned arch_cpu(void) { return this_cpu; }

void (*model_before_lock)(void);

uint64_t arch_interrupts_off(void)
{
    if (model_before_lock != NULL) {
        model_before_lock();
    }
    return 0;
}

void arch_interrupts_restore(uint64_t flags) { (void)flags; }
