/*
 * Operations of histories on large pages. Each space has two areas for them: one of 4 MiB and over the end of a GiB, of
 * which each page is recorded, and one of 1 GiB that maps a device, recorded between fixed cuts. `part` chooses.
 */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_LARGE_H
#define CAIRN_TEST_UNIT_MMU_PLAY_LARGE_H

#include "unit/mmu_play.h"
#include "vmm/vmm.h"

enum play_large_kind {
    PLAY_LARGE_MAP = PLAY_LARGE, /* `part`: fresh or not, and which page size is asked for */
    PLAY_LARGE_UNMAP,
    PLAY_LARGE_PROTECT,
    PLAY_LARGE_PROMOTE, /* part % 2: by copying, if it must be */
    PLAY_LARGE_DEMOTE,
    PLAY_LARGE_USE,
    PLAY_LARGE_GIB, /* of the second area: map, unmap, protect, promote, demote by `part` */
};
static_assert((int)PLAY_LARGE_GIB == (int)PLAY_LARGE_LAST, "as many as are kept for them");

enum { PLAY_LARGE_RARITY = 20 }; /* one of so many operations: they take long */

void play_large_start(void);
/* The space is another one from now on. */
void play_large_forget(unsigned space);
/* *numbers: of what is written into pages. */
void play_large_run(struct vmm *vmm, struct space *spaces, const struct play_op *op, uint64_t *numbers);
/* The CPU that runs uses pages of the space that is current on it. */
void play_large_use(struct vmm *vmm, struct space *spaces, const struct play_op *op, uint64_t *numbers);
/* The first wrong answer since the start, as a text that stays; null: none. */
const char *play_large_wrong(void);
/* Some of them into *op, whose space is drawn. */
void play_large_draw(struct rng *rng, struct play_op *op);
const char *play_large_name(unsigned kind);

#endif
