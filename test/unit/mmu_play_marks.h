/* The part of the VMM's histories about accessed and dirty bits. */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_MARKS_H
#define CAIRN_TEST_UNIT_MMU_PLAY_MARKS_H

#include "unit/mmu_play.h"
#include "vmm/vmm.h"

/* What a history knows of a page. */
struct page_record {
    bool mapped, device;
    bool accessed, dirty; /* somebody has read it, written to it, since the mark was cleared */
    uint8_t rights;
    uint16_t frame;  /* of a device: which of them */
    uint64_t number; /* the page's first word */
};

/* From now on some CPU marks leaves in the middle of compare and exchange, and the records say so. */
void play_marks_start(struct model *m, const struct space *spaces,
                      struct page_record (*page)[PLAY_PARTS][PLAY_PART_PAGES], const uint64_t *part_base);

/* Count the marks of the operation's range, and clear some. => null; what is wrong. */
const char *play_marks(struct vmm *vmm, struct space *space, vaddr_t va, const struct play_op *op,
                       struct page_record *page);

#endif
