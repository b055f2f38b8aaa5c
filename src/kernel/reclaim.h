/*
 * After boot: what was only needed to get here goes back to the PMM.
 */
#ifndef CAIRN_KERNEL_RECLAIM_H
#define CAIRN_KERNEL_RECLAIM_H

#include "boot/mb2.h"
#include "lib/range.h"
#include "lib/units.h"

/* What bring-up leaves for later, since it cannot give back the ground it stands on. Copied out of .init. */
struct reclaim {
    struct frame_run info;        /* boot information */
    struct frame_run *acpi;       /* on the heap; freed by reclaim_all */
    size_t acpi_count;
    bool vga;                     /* VGA text memory is shown in the boot window */
    struct mb2_framebuffer framebuffer;
};

extern struct reclaim reclaim;

/*
 * These bytes stay, whatever else the loader says of them: nothing that is given back may take them along. Before
 * reclaim_all; up to RECLAIM_KEEPS_MAX, more panics.
 */
enum { RECLAIM_KEEPS_MAX = MB2_MODULES_MAX + 16 };
void reclaim_keep(uint64_t start_bytes, uint64_t end_bytes);

/* Give everything back: boot information, .boot and .init, ACPI-reclaimable memory, the boot window. Returns the frames
 * won; bad ones (badram=) become PMM_STATE_BAD instead. Once, on the main stack. */
npages_t reclaim_all(void);

#endif
