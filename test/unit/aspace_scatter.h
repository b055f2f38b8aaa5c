/*
 * Memory that is scattered, for tests of the mover: a space has one page of eight left of some blocks, and every whole
 * block can be taken away.
 */
#ifndef CAIRN_TEST_UNIT_ASPACE_SCATTER_H
#define CAIRN_TEST_UNIT_ASPACE_SCATTER_H

#include "aspace/compact.h"
#include "unit/aspace_touch.h"

enum { SCATTER_BLOCKS = 6, SCATTER_PAGES = SCATTER_BLOCKS * PMM_BLOCK_FRAMES, SCATTER_EVERY = 8, SCATTER_FIRST = 3 };

/* Page i; those that are left are SCATTER_FIRST, and each SCATTER_EVERY-th from there on. */
static inline vaddr_t scatter_page(uint64_t i) { return vaddr_add_pages(vaddr(AT_PRIVATE), i); }

/* A bed whose space `a` has them; page i says i. */
bool scatter_open(struct aspace_bed *bed);
/* It says so still, and the validators find nothing. */
void scatter_expect_contents(struct aspace_bed *bed);

/* Opened blocks that are wholly free. */
uint64_t scatter_whole_blocks(const struct aspace_bed *bed);
/* aspaces_compact, which must answer OK. => what came of it */
struct aspace_compaction scatter_compact(struct aspace_bed *bed, uint64_t blocks);

/* ---- Runs ---- */

/* All whole blocks are taken, and from now on the mover is asked for runs. Host only. */
void scatter_take_whole(struct aspace_bed *bed);
/* They go back, and the mover is asked no more. */
void scatter_give_whole(struct aspace_bed *bed);
/* What the mover did, and how often it was asked, since they were taken. */
extern struct aspace_compaction scatter_run_moves;
extern unsigned scatter_asked;

#endif
