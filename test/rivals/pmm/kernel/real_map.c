/* Real frames to try the ways on: taken out of the kernel's PMM, where they lie at given numbers. */
#include "kernel/machine.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "rivals/pmm/bits.h"
#include "rivals/pmm/kernel/real.h"

#define LOW (16 * MIB / PAGE_BYTES) /* above what the boot took */

const struct frame_run real_map[REAL_RUNS] = {
    {{LOW + 16}, {143}},
    {{LOW + 160}, {500}},
    {{LOW + 1024}, {1700}},
    [REAL_LARGE] = {{2 * LOW + 100}, {64 * MIB / PAGE_BYTES}},
    {{40 * BITS_PAGE_FRAMES - 3}, {24000}},
};

/* Frames are given and taken in a state of their own: magazines would keep some of them. */
static pfn_t take(void)
{
    pfn_t frame;
    if (pmm_alloc(&machine.pmm, PMM_KERNEL, &frame) != STATUS_OK) {
        panic("no frame for the arrays of a way");
    }
    return frame;
}

static void give(pfn_t frame)
{
    if (pmm_free(&machine.pmm, frame) != STATUS_OK) {
        panic("frame %#lx, of a way's arrays, does not go back", frame.v);
    }
}

/* The first `count` runs. */
static enum status give_runs(unsigned count)
{
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < count; i++) {
        enum status freed = pmm_free_run(&machine.pmm, real_map[i].first, real_map[i].frames);
        s = s == STATUS_OK ? freed : s;
    }
    pmm_drain(&machine.pmm);
    return s;
}

enum status real_map_take(void)
{
    for (unsigned i = 0; i < REAL_RUNS; i++) {
        enum status s = pmm_claim(&machine.pmm, real_map[i].first, real_map[i].frames);
        if (s != STATUS_OK) {
            (void)give_runs(i);
            return s;
        }
    }
    real_use((struct real_source){take, give}, real_map, REAL_RUNS);
    return STATUS_OK;
}

enum status real_map_give(void)
{
    machine_end();
    return give_runs(REAL_RUNS);
}
