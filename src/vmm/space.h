/* The kernel slots that all spaces share. Private to src/vmm/. */
#ifndef CAIRN_VMM_SPACE_H
#define CAIRN_VMM_SPACE_H

#include "vmm/vmm.h"

extern const unsigned vmm_kernel_slots[VMM_KERNEL_SLOTS];

#endif
