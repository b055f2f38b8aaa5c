/* What the files of the validator share. */
#ifndef CAIRN_PMM_CHECK_H
#define CAIRN_PMM_CHECK_H

#include "pmm/block.h"

struct check {
    const struct pmm *pmm;
    struct sink *out;
    unsigned wrong;
    uint64_t free, cached, used, metadata, reserved, untouched; /* frames, recounted */
    uint64_t bad, lost, whole;                                  /* frames, frames, blocks */
    struct unit_counter units;                                  /* behind open blocks */
};

/* What one region's blocks say, to be compared with its lists. */
struct census {
    uint64_t on_stack[PMM_CLASSES][STACK_NONE + 1];
    uint64_t free, opened, never, fresh_whole, whole_bits;
};

/* Say what is wrong, and count it. */
__attribute__((format(printf, 2, 3))) void wrong(struct check *c, const char *format, ...);

/* blocks_check.c: one descriptor, and the frames [from, to) that are its. PMM-I2, I3, I4, I6, I11. */
void check_block(struct check *c, const struct pmm_block *b, uint64_t from, uint64_t to, struct census *census);

/* lists_check.c: magazines, the zero pool, owners. PMM-I9, I10, I11. */
void check_cached(struct check *c);
void check_owners(struct check *c);

#endif
