/*
 * Bad memory, named as BadRAM does (Linux's patch, Memtest86+, GRUB's command): a list of pairs address, mask. A frame
 * is bad when (its address & mask) == (address & mask) for one of the pairs. Whole frames only: bits below the page
 * size count in neither.
 */
#ifndef CAIRN_LIB_BADRAM_H
#define CAIRN_LIB_BADRAM_H

#include "lib/units.h"

enum { BADRAM_PATTERNS_MAX = 64 }; /* more than fit into an option of full-width numbers */

/* One pair, of frame numbers. */
struct badram_pattern {
    uint64_t number; /* no bit that `mask` has not */
    uint64_t mask;   /* 0: every frame */
};

struct badram_list {
    struct badram_pattern at[BADRAM_PATTERNS_MAX];
    size_t count;
};

static inline struct badram_pattern badram_pattern(uint64_t address, uint64_t mask)
{
    uint64_t frame_mask = bytes_to_pages_down(mask).v;
    return (struct badram_pattern){bytes_to_pages_down(address).v & frame_mask, frame_mask};
}

/* The first bad frame of [from, end); `end` when there is none. O(patterns). */
uint64_t badram_next(const struct badram_list *list, uint64_t from, uint64_t end);

/*
 * All of [from, result) is bad; `from` when that frame is good. Where patterns meet or overlap it may go on being bad
 * behind the result: ask again. O(patterns).
 */
uint64_t badram_bad_until(const struct badram_list *list, uint64_t from, uint64_t end);

#endif
