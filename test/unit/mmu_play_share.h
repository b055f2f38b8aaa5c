/* The part of histories that shares tables (mmu_play_share.c): pages of its own, beside those of the others. */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_SHARE_H
#define CAIRN_TEST_UNIT_MMU_PLAY_SHARE_H

#include "unit/mmu_play.h"
#include "vmm/vmm.h"

/* The history begins: its VMM and its spaces, PLAY_SPACES of them. */
void play_share_start(struct vmm *vmm, struct space *space);
struct play_op play_share_draw(struct play_drawing *d);
/* Kinds from PLAY_SHARE_MAP on. => how many pages were changed, or linked */
unsigned play_share_run(const struct play_op *op);
/* How often operations of this kind were run in the history, and how often they changed something. */
struct play_share_count {
    unsigned run, done;
};
struct play_share_count play_share_counted(unsigned kind);
const char *play_share_name(unsigned kind);
/* The CPU that runs reads and writes what space number `s`, which is current there, has. */
void play_share_touch(unsigned s);
/* Before a space ends: does it lend? Afterwards it is empty. */
bool play_share_lends(unsigned s);
void play_share_ended(unsigned s);

/* mmu_play.c: the history has failed. */
void play_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
