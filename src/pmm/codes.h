/*
 * Frame codes four at a time. The array of codes is of u16; here it is read and written as words of four lanes, lane 0
 * the lowest frame. Blocks and their eighths are multiples of four frames, so only ranges of the caller's have edges.
 *
 * Other CPUs read and write codes of frames that are theirs meanwhile: every access is one, relaxed, and words are
 * written only where all four frames are this call's.
 */
#ifndef CAIRN_PMM_CODES_H
#define CAIRN_PMM_CODES_H

#include "pmm/block.h"

enum { CODES_A_WORD = 4, EIGHTH_FRAMES = PMM_BLOCK_FRAMES / 8, EIGHTH_WORDS = EIGHTH_FRAMES / CODES_A_WORD };

typedef uint64_t __attribute__((may_alias)) code_word;

static inline code_word *codes_at(const struct pmm *pmm, uint64_t frame)
{
    return (code_word *)(void *)&pmm->states[frame];
}

/* Bit 15 of each lane that holds a free frame's code: its seven top bits are ones. The other bits are anything. */
static inline uint64_t free_marks(const code_word *word)
{
    return (__atomic_load_n(word, __ATOMIC_RELAXED) >> 1 & 0x7F007F007F007F00ULL) + 0x0100010001000100ULL;
}
static inline uint64_t free_lanes(const code_word *word) { return free_marks(word) & 0x8000800080008000ULL; }
static inline uint64_t free_in_four(const code_word *w) /* of words; not 0: one of their frames is free */
{
    return (free_marks(w) | free_marks(w + 1) | free_marks(w + 2) | free_marks(w + 3)) & 0x8000800080008000ULL;
}
static_assert(CODE_LINK == 0xFE00, "free_lanes");
/* Bit 9 is one in all codes of free frames, and in no other code but some counts of very many references. */
enum { CODE_LIKE_FREE = 0x200 };
static_assert((CODE_LINK & CODE_LIKE_FREE) != 0 && CODE_LAST - CODE_METADATA < CODE_LIKE_FREE
              && (CODE_METADATA & CODE_LIKE_FREE) == 0 && (CODE_LAST & CODE_LIKE_FREE) == 0, "nor has one of these");
/* 0: no frame of this word, of these four is free. */
static inline uint64_t maybe_free_in(const code_word *w)
{
    return __atomic_load_n(w, __ATOMIC_RELAXED) & CODE_LIKE_FREE * 0x0001000100010001ULL;
}
static inline uint64_t maybe_free_in_four(const code_word *w)
{
    return (__atomic_load_n(w, __ATOMIC_RELAXED) | __atomic_load_n(w + 1, __ATOMIC_RELAXED)
            | __atomic_load_n(w + 2, __ATOMIC_RELAXED) | __atomic_load_n(w + 3, __ATOMIC_RELAXED))
           & CODE_LIKE_FREE * 0x0001000100010001ULL;
}

/* Each of these words: little more than a store a word, however many they are. */
void codes_fill_words(code_word *w, uint64_t words, uint64_t value);
/* The codes of frames [from, to) become `code`. */
void codes_fill(const struct pmm *pmm, uint64_t from, uint64_t to, unsigned code);
void codes_fill_block(const struct pmm *pmm, uint64_t first, unsigned code); /* all 512 of a block */
/* First frame of [from, to) whose code is not that of a free one, or `to`. */
uint64_t codes_first_not_free(const struct pmm *pmm, uint64_t from, uint64_t to);
/* Is one of this eighth of a block free? `frame` is its first. */
bool eighth_has_free(const struct pmm *pmm, uint64_t frame);
/* Bit per eighth of [from, to). */
static inline unsigned eighths_from_to(unsigned from, unsigned to)
{
    return from < to ? ((1U << to) - 1) & ~((1U << from) - 1) : 0;
}
/* Bit per eighth with one of the frames [low, high). */
static inline unsigned eighths_touched(unsigned low, unsigned high)
{
    return eighths_from_to(low / EIGHTH_FRAMES, (high + EIGHTH_FRAMES - 1) / EIGHTH_FRAMES);
}
/* Bit i: frame i from the first of these four words on is free by its code. */
static inline unsigned codes_map_16(const code_word *w)
{
    /* Bits 0, 4, 8, 12 of lane l are frames l, 4 + l, 8 + l, 12 + l; the product moves bit b of lane l to 48 + b + l.
     */
    uint64_t lanes = free_lanes(w) >> 15 | free_lanes(w + 1) >> 11 | free_lanes(w + 2) >> 7 | free_lanes(w + 3) >> 3;
    return (unsigned)(lanes * 0x0001000200040008ULL >> 48);
}
/* The same of 64 frames. */
static inline uint64_t codes_map_64(const code_word *w)
{
    return codes_map_16(w) | (uint64_t)codes_map_16(w + 4) << 16 | (uint64_t)codes_map_16(w + 8) << 32 |
           (uint64_t)codes_map_16(w + 12) << 48;
}

#endif
