/* A stock of kernel pages for tests, and a count of what it is asked for. */
#ifndef CAIRN_TEST_UNIT_STOCK_BED_H
#define CAIRN_TEST_UNIT_STOCK_BED_H

#include "aspace/page_index.h"
#include "unit/vmm_bed.h"

struct stock_bed {
    struct vmm_bed vmm;
    struct stock stock;
};

/* => false: no VMM, the test has failed. */
bool stock_bed_open(struct stock_bed *bed);
/* Everything is back in stock; it goes to the VMM. */
void stock_bed_close(struct stock_bed *bed);
/* Exactly so many pages in stock. */
void stock_bed_fill(struct stock_bed *bed, size_t pages);

/* The validators; what they say are notes of the test. */
bool stock_bed_pool_is_sound(const struct pool *pool);
bool stock_bed_index_is_sound(const struct page_index *index);

#endif
