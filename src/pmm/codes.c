/* Frame codes four at a time. */
#include "pmm/codes.h"

enum { WORDS_AT_ONCE = 32 };

static void word_set(code_word *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

/* Many words at a time, as many as there are such. => behind the last. */
static code_word *fill_words(code_word *w, const code_word *end, uint64_t value)
{
    for (; end - w >= WORDS_AT_ONCE; w += WORDS_AT_ONCE) {
        word_set(w, value), word_set(w + 1, value), word_set(w + 2, value), word_set(w + 3, value);
        word_set(w + 4, value), word_set(w + 5, value), word_set(w + 6, value), word_set(w + 7, value);
        word_set(w + 8, value), word_set(w + 9, value), word_set(w + 10, value), word_set(w + 11, value);
        word_set(w + 12, value), word_set(w + 13, value), word_set(w + 14, value), word_set(w + 15, value);
        word_set(w + 16, value), word_set(w + 17, value), word_set(w + 18, value), word_set(w + 19, value);
        word_set(w + 20, value), word_set(w + 21, value), word_set(w + 22, value), word_set(w + 23, value);
        word_set(w + 24, value), word_set(w + 25, value), word_set(w + 26, value), word_set(w + 27, value);
        word_set(w + 28, value), word_set(w + 29, value), word_set(w + 30, value), word_set(w + 31, value);
    }
    return w;
}

void codes_fill_block(const struct pmm *pmm, uint64_t first, unsigned code)
{
    static_assert(PMM_BLOCK_FRAMES / CODES_A_WORD % WORDS_AT_ONCE == 0, "nothing is left over");
    code_word *w = codes_at(pmm, first);
    fill_words(w, w + PMM_BLOCK_FRAMES / CODES_A_WORD, code * 0x0001000100010001ULL);
}

void codes_fill(const struct pmm *pmm, uint64_t from, uint64_t to, unsigned code)
{
    uint64_t value = code * 0x0001000100010001ULL;
    uint16_t *states = pmm->states;
    for (; from < to && from % CODES_A_WORD != 0; from++) {
        __atomic_store_n(&states[from], (uint16_t)code, __ATOMIC_RELAXED);
    }
    code_word *w = codes_at(pmm, from), *end = from < to ? w + (to - from) / CODES_A_WORD : w;
    from += (uint64_t)(end - w) * CODES_A_WORD;
    for (w = fill_words(w, end, value); end - w >= 4; w += 4) {
        word_set(w, value), word_set(w + 1, value), word_set(w + 2, value), word_set(w + 3, value);
    }
    for (; w < end; w++) {
        word_set(w, value);
    }
    for (; from < to; from++) {
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
