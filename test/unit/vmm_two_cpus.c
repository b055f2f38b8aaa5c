/* Two CPUs that take turns. */
#include "unit/vmm_two_cpus.h"

#include "arch/arch.h"
#include "model/cpu.h"
#include "model/model.h"

/* What the VMM keeps of the CPU that does not run just now. */
static struct {
    struct space *current;
    struct vmm_foreign foreign;
} other;

void change_cpu(struct vmm *vmm)
{
    struct space *current = vmm->current;
    struct vmm_foreign foreign = vmm->foreign;
    vmm->current = other.current;
    vmm->foreign = other.foreign;
    other.current = current;
    other.foreign = foreign;
    unsigned cpu = 1 - model_machine->current_cpu;
    model_use_cpu(model_machine, cpu);
    model_thread_is_cpu(cpu);
}

void start_other_cpu(struct vmm *vmm)
{
    other.current = &vmm->kernel;
    other.foreign.space = NULL;
    change_cpu(vmm);
    vmm->online.mask |= 1ULL << arch_cpu();
    vmm->kernel.cpus.mask |= 1ULL << arch_cpu();
    model_root_load(model_machine, pfn_to_paddr(vmm->kernel.root));
    change_cpu(vmm);
}
