/*
 * Parts of the VMM's histories that keep books of their own: device frames with cache types, kernel pages, global ones.
 */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_KINDS_H
#define CAIRN_TEST_UNIT_MMU_PLAY_KINDS_H

#include "unit/mmu_play_marks.h"

void play_kinds_start(void);

/* PLAY_MAP_FRAMES: which frames, and VMM_* of their type. Each part has its own, some operations ask for another's. */
pfn_t play_device_first(const struct play_op *op);
unsigned play_device_type(const struct play_op *op);
/* What vmm_map_frames must answer where the range is free. */
enum status play_device_expected(const struct vmm *vmm, const struct play_op *op);
/* Page i of the operation was mapped so; the page was unmapped. */
void play_device_mapped(const struct play_op *op, unsigned i, struct page_record *page);
void play_device_unmapped(const struct page_record *page);

/* PLAY_WINDOW: map and translate pages of a window, for the kernel and for the space. => null; what is wrong. */
const char *play_window(struct vmm *vmm, struct space *space, const struct play_op *op);
/* PLAY_KERNEL: free what `base` says, or allocate. => null; what is wrong. */
const char *play_kernel(struct vmm *vmm, vaddr_t *base, const struct play_op *op);
/* PLAY_GLOBAL: map, protect, or unmap global pages of the kernel half. => null; what is wrong. */
const char *play_global(struct vmm *vmm, const struct play_op *op);
/* Read them, as any CPU may. => null; what is wrong. */
const char *play_global_read(void);
/* PLAY_MOVE: pages of a space, within a part or to another one. => null; what is wrong. */
const char *play_move(struct vmm *vmm, struct space *space, const struct play_op *op,
                      struct page_record (*page)[PLAY_PART_PAGES], const uint64_t *part_base);
/* Moves done since the program began. */
unsigned play_moves(void);

#endif
