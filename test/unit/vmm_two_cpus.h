/* A second CPU for tests of the VMM. One edits at a time; what the VMM keeps of a CPU goes with it. Host only. */
#ifndef CAIRN_TEST_UNIT_VMM_TWO_CPUS_H
#define CAIRN_TEST_UNIT_VMM_TWO_CPUS_H

#include "vmm/vmm.h"

/* CPU 1 comes to life in the kernel's own space; CPU 0 goes on. */
void start_other_cpu(struct vmm *vmm);
/* What follows is done by the other of the two. */
void change_cpu(struct vmm *vmm);

#endif
