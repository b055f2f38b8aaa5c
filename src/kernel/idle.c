/*
 * Idle time is the tasks'. Where none is ready it zeroes frames: of each kind, tables and pages, as many as the pool's
 * room is parted into. One frame a step, so that a key that comes meanwhile does not wait. When the pool is full,
 * scattered free frames become whole blocks, one a step.
 */
#include "kernel/idle.h"

#include "kernel/mover.h"
#include "kernel/task_run.h"
#include "pmm/pmm_pressure.h"

static bool zero(void *ctx, pfn_t frame)
{
    (void)ctx;
    return frame_zero(&machine.vmm, frame) == STATUS_OK;
}

static bool fill(unsigned class)
{
    npages_t filled = npages(0);
    return pmm_zero_fill(&machine.pmm, class, npages(1), zero, NULL, &filled) == STATUS_OK && filled.v > 0;
}

void idle_step(void)
{
    struct pmm_stats s = pmm_stats(&machine.pmm);
    if (s.zeroed.v < MACHINE_ZERO_FRAMES) {
        (void)(s.zeroed_kernel.v < MACHINE_ZERO_TABLES ? fill(PMM_KERNEL) : fill(PMM_USER));
    } else {
        mover_idle_step();
    }
}

void idle_turn(void)
{
    if (task_run() == TASK_RUN_NONE) {
        idle_step();
    }
}
