/*
 * Where tests of the VMM find one. On the host each call is a fresh model machine (test/model/); in the kernel it
 * is the live VMM, so a test leaves behind what it found. Memory is accessed by arch_read64 and arch_write64 only,
 * and pages that a test accesses are mapped without VMM_USER (SMAP).
 */
#ifndef CAIRN_TEST_UNIT_VMM_ENV_H
#define CAIRN_TEST_UNIT_VMM_ENV_H

#include "vmm/vmm.h"

/* Null (and a failed test) when there is none. */
struct vmm *test_vmm(void);

#endif
