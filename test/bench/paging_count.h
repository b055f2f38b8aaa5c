/*
 * What an edit of page tables does to the machine, counted where it leaves the product or the rival: at the port
 * (arch.h). The linker puts these counters around the port's functions (--wrap), so all subjects are counted alike and
 * none counts itself.
 */
#ifndef CAIRN_TEST_BENCH_PAGING_COUNT_H
#define CAIRN_TEST_BENCH_PAGING_COUNT_H

#include <stdint.h>

enum paging_count {
    COUNT_LOADS,  /* of table entries, by software */
    COUNT_STORES,
    COUNT_INVLPG,
    COUNT_CR3_LOADS,
    COUNT_IPIS,
    COUNT_WALKER_LOADS, /* of table entries, by the CPU's walker */
    PAGING_COUNTS,
};

struct paging_counts {
    uint64_t of[PAGING_COUNTS];
};

/* From 0, with a cold TLB. */
void paging_count_start(void);
/* Since then. */
struct paging_counts paging_counted(void);

#endif
