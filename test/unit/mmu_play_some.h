/* The part of histories that edits what is there of a range, and maps copies (mmu_play_some.c). */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_SOME_H
#define CAIRN_TEST_UNIT_MMU_PLAY_SOME_H

#include "unit/mmu_play_marks.h"
#include "unit/mmu_play_share.h"

/* Page of PLAY_UNMAP or PLAY_PROTECT, which it is. */
void play_change_page(const struct play_op *op, struct page_record *page);
/* The same operations, of which not all pages are mapped: those that are change. => null; what is wrong. */
const char *play_present(struct vmm *vmm, struct space *space, vaddr_t va, const struct play_op *op,
                         struct page_record *page);
/* Does vmm_leaf say what the walk to `va` says? => null; what is wrong. */
const char *play_leaf(struct vmm *vmm, struct space *space, vaddr_t va, const struct vmm_walk *w);

struct play_op play_some_draw(struct rng *rng, uint8_t current);
/* Kinds from PLAY_SOME_UNMAP on. => how many pages were changed */
unsigned play_some_run(const struct play_op *op);
const char *play_some_name(unsigned kind);

#endif
