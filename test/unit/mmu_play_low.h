/* Histories in which memory runs short in the middle of an operation, and who is asked for some uses the VMM. */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_LOW_H
#define CAIRN_TEST_UNIT_MMU_PLAY_LOW_H

#include "unit/mmu_play.h"
#include "vmm/vmm.h"

/* May it be op[2]? */
bool play_low_is_beside(const struct play_op *op);
/* op[0] is PLAY_LOW: does op[1] say what it does without memory, and does op[2] keep other books than that? */
bool play_low_fits(const struct play_op *op);
/* op[1], with op[2] in the middle of it; after it where nobody was asked. `run` runs one. */
void play_low_run(struct vmm *vmm, const struct play_op *op, void (*run)(const struct play_op *op));
/* How often op[2] came in the middle, since the program began. */
unsigned play_low_count(void);

#endif
