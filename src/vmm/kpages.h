/* The kernel arena's start. Private to src/vmm/. */
#ifndef CAIRN_VMM_KPAGES_H
#define CAIRN_VMM_KPAGES_H

#include "vmm/vmm.h"

/* => OK; NOMEM. */
enum status kernel_arena_init(struct vmm *vmm);

#endif
