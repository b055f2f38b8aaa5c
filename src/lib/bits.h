/* Bits of a word. */
#ifndef CAIRN_LIB_BITS_H
#define CAIRN_LIB_BITS_H

#include <stdint.h>

/* How many are set: a step for each. */
static inline unsigned bits_set(uint64_t word)
{
    unsigned bits = 0;
    for (; word != 0; word &= word - 1) {
        bits++;
    }
    return bits;
}

#endif
