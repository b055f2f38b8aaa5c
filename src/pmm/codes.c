/* Frame codes four at a time. */
#include "pmm/codes.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

enum { WORDS_AT_ONCE = 32 };

ALWAYS_INLINE void word_set(code_word *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
ALWAYS_INLINE void fill_4(code_word *w, uint64_t value)
{
    word_set(w, value), word_set(w + 1, value), word_set(w + 2, value), word_set(w + 3, value);
}
ALWAYS_INLINE void fill_8(code_word *w, uint64_t value) { fill_4(w, value), fill_4(w + 4, value); }
ALWAYS_INLINE void fill_16(code_word *w, uint64_t value) { fill_8(w, value), fill_8(w + 8, value); }

void codes_fill_words(code_word *w, uint64_t words, uint64_t value)
{
    for (; words >= WORDS_AT_ONCE; words -= WORDS_AT_ONCE, w += WORDS_AT_ONCE) {
        fill_16(w, value);
        fill_16(w + 16, value);
    }
    if ((words & 16) != 0) {
        fill_16(w, value);
        w += 16;
    }
    if ((words & 8) != 0) {
        fill_8(w, value);
        w += 8;
    }
    if ((words & 4) != 0) {
        fill_4(w, value);
        w += 4;
    }
    for (words &= 3; words > 0; words--) {
        word_set(w++, value);
    }
}

void codes_fill_block(const struct pmm *pmm, uint64_t first, unsigned code)
{
    codes_fill_words(codes_at(pmm, first), PMM_BLOCK_FRAMES / CODES_A_WORD, code * 0x0001000100010001ULL);
}

void codes_fill(const struct pmm *pmm, uint64_t from, uint64_t to, unsigned code)
{
    uint16_t *states = pmm->states;
    for (; from < to && from % CODES_A_WORD != 0; from++) {
        __atomic_store_n(&states[from], (uint16_t)code, __ATOMIC_RELAXED);
    }
    if (from >= to) {
        return;
    }
    uint64_t words = (to - from) / CODES_A_WORD;
    codes_fill_words(codes_at(pmm, from), words, code * 0x0001000100010001ULL);
    for (from += words * CODES_A_WORD; from < to; from++) {
        __atomic_store_n(&states[from], (uint16_t)code, __ATOMIC_RELAXED);
    }
}

uint64_t codes_first_not_free(const struct pmm *pmm, uint64_t from, uint64_t to)
{
    for (; from < to && from % CODES_A_WORD != 0; from++) {
        if (!code_is_link(code_get(pmm, from))) {
            return from;
        }
    }
    for (; from + 4 * CODES_A_WORD <= to; from += 4 * CODES_A_WORD) {
        const code_word *w = codes_at(pmm, from);
        uint64_t all = free_marks(w) & free_marks(w + 1) & free_marks(w + 2) & free_marks(w + 3);
        if ((all & 0x8000800080008000ULL) != 0x8000800080008000ULL) {
            break;
        }
    }
    while (from < to && code_is_link(code_get(pmm, from))) {
        from++;
    }
    return from;
}

bool eighth_has_free(const struct pmm *pmm, uint64_t frame)
{
    const code_word *w = codes_at(pmm, frame);
    for (const code_word *end = w + EIGHTH_WORDS; w < end; w += 4) {
        if (free_in_four(w) != 0) {
            return true;
        }
    }
    return false;
}
