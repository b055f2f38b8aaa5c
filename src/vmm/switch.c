/* Another space becomes current: the way of each switch between tasks. */
#include "arch/arch.h"
#include "lib/report.h"
#include "vmm/foreign.h"
#include "vmm/request.h"

enum status space_switch(struct vmm *vmm, struct space *space)
{
    enum status s = request_check_space(vmm, space, "space_switch");
    if (s != STATUS_OK || space == vmm->current) {
        return s;
    }
    if (vmm->editing != NULL) {
        return misuse("space_switch: to space %u inside %s", space->id, vmm->editing);
    }
    const uint64_t self = 1ULL << arch_cpu();
    struct space *left = vmm->current;
    lock_take(&left->window_lock);
    foreign_clear(vmm);
    left->cpus.mask &= ~self;
    space->cpus.mask |= self; /* before the load: from then on this CPU may hold its translations */
    if (space->opens != NULL) {
        space->opens->reached.mask |= self; /* and tables behind the window that is open there, by another CPU (R15) */
    }
    vmm->current = space;
    vmm->changes++;
    window_root_load(vmm, space->root);
    lock_drop(&left->window_lock);
    return STATUS_OK;
}
