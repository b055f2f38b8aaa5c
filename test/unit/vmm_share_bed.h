/* What tests of shared tables ask of a space, and do to it. */
#ifndef CAIRN_TEST_UNIT_VMM_SHARE_BED_H
#define CAIRN_TEST_UNIT_VMM_SHARE_BED_H

#include "unit/vmm_bed.h"

/* Effective rights of `va`. */
unsigned rights_of(struct vmm_bed *bed, struct space *space, vaddr_t va);
uint64_t word_of(struct vmm_bed *bed, struct space *space, vaddr_t va);
/* As a write fault would: the page is owned, then written to. */
void write_word(struct vmm_bed *bed, struct space *space, vaddr_t va, uint64_t word);
/* The PMM's zero frame, which is made if there is none: it stays. */
pfn_t zero_frame_of(struct vmm_bed *bed);

#endif
