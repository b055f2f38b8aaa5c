/* Machines that make the PMM's work long. */
#ifndef CAIRN_TEST_BENCH_PMM_MACHINES_H
#define CAIRN_TEST_BENCH_PMM_MACHINES_H

#include "bench/bed.h"

enum { PMM_MACHINES = 8 };

const char *pmm_machine_name(unsigned which);
/* Not started; from the seed alone. */
struct bed *pmm_machine(unsigned which, uint64_t seed);

#endif
