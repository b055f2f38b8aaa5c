/* Cairn's own PMM in the form of the ways, to be measured among them. */
#ifndef CAIRN_TEST_RIVALS_PMM_KERNEL_CAIRN_H
#define CAIRN_TEST_RIVALS_PMM_KERNEL_CAIRN_H

#include "rivals/pmm/frames.h"

/* As it is; and with arrays that are there whole from the start. */
extern const struct frames_way frames_cairn[2];

#endif
