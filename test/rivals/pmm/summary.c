/*
 * A bitmap with summaries: a bit of level k + 1 says that a word of level k is not zero, up to one word. So the lowest
 * free frame is found in as many steps as there are levels (four for 4 GiB, seven for 16 TiB), whatever is full or a
 * hole in between; a free that finds its word empty goes up again. It costs a sixty-third more memory.
 *
 * The word that served last is tried first: nothing below it is free, as in the plain bitmap, which a free below it
 * changes. So the levels are climbed once in 64 allocs.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

enum { LEVELS_MAX = 8 };

struct summary {
    struct bits bits; /* level 0; `next` is not used */
    uint64_t *levels[LEVELS_MAX];
    unsigned top; /* its level has one word */
};

void *summary_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct summary *s = machine_memory(sizeof *s);
    uint64_t words = bits_words(frames);
    bits_open(&s->bits, machine_memory(bits_bytes(frames)), frames);
    for (size_t i = 0; i < run_count; i++) {
        bits_add(s->bits.words, runs[i].first.v, run_end(runs[i]));
    }
    s->levels[0] = s->bits.words;
    for (; words > 1; words = bits_words(words)) {
        const uint64_t *below = s->levels[s->top];
        uint64_t *level = machine_memory(bits_words(words) * sizeof *level);
        for (uint64_t i = 0; i < words; i++) {
            level[i / BITS_WORD] |= (uint64_t)(below[i] != 0) << i % BITS_WORD;
        }
        s->levels[++s->top] = level;
    }
    return s;
}

/* Word `at` of level 0 has become zero. */
static __attribute__((noinline)) void emptied(struct summary *s, uint64_t at)
{
    for (unsigned level = 1; level <= s->top; level++) {
        uint64_t word = s->levels[level][at / BITS_WORD] &= ~(1ULL << at % BITS_WORD);
        if (word != 0) {
            return;
        }
        at /= BITS_WORD;
    }
}

/* And is no longer. */
static inline void filled(struct summary *s, uint64_t at)
{
    for (unsigned level = 1; level <= s->top; level++) {
        uint64_t *word = &s->levels[level][at / BITS_WORD], before = *word;
        *word = before | 1ULL << at % BITS_WORD;
        if (before != 0) {
            return;
        }
        at /= BITS_WORD;
    }
}

/* => false: nothing is free. */
static __attribute__((noinline)) bool descend(struct summary *s)
{
    uint64_t at = 0;
    for (unsigned level = s->top; level > 0; level--) {
        uint64_t word = s->levels[level][at];
        if (word == 0) {
            return false; /* of the top only */
        }
        at = at * BITS_WORD + (unsigned)__builtin_ctzll(word);
    }
    s->bits.at = at;
    return s->levels[0][at] != 0; /* it may be the top */
}

FRAMES_HOT pfn_t summary_alloc(void *state)
{
    struct summary *s = state;
    if (__builtin_expect(s->bits.words[s->bits.at] == 0, 0) && !descend(s)) {
        return FRAMES_NONE;
    }
    uint64_t at = s->bits.at;
    pfn_t frame = bits_take_from(&s->bits, at, s->bits.words[at]);
    if (__builtin_expect(s->bits.words[at] == 0, 0)) {
        emptied(s, at);
    }
    return frame;
}

FRAMES_HOT enum status summary_free(void *state, pfn_t frame)
{
    struct summary *s = state;
    uint64_t at = frame.v / BITS_WORD;
    bool was_empty = at < s->bits.count && s->bits.words[at] == 0;
    enum status status = bits_give(&s->bits, frame.v);
    if (was_empty) {
        filled(s, at);
    }
    if (at < s->bits.at && status == STATUS_OK) {
        s->bits.at = at;
    }
    return status;
}

pfn_t summary_alloc_block(void *state)
{
    struct summary *s = state;
    if (s->bits.words[s->bits.at] == 0 && !descend(s)) {
        return FRAMES_NONE;
    }
    pfn_t first = bits_take_block(&s->bits, s->bits.at);
    for (uint64_t i = 0; first.v != FRAMES_NONE.v && i < BITS_BLOCK_WORDS; i++) {
        emptied(s, first.v / BITS_WORD + i);
    }
    return first;
}

enum status summary_free_block(void *state, pfn_t first)
{
    struct summary *s = state;
    enum status status = bits_give_block(&s->bits, first.v);
    if (status == STATUS_OK && first.v / BITS_WORD < s->bits.at) {
        s->bits.at = first.v / BITS_WORD;
    }
    for (uint64_t i = 0; status == STATUS_OK && i < BITS_BLOCK_WORDS; i++) {
        filled(s, first.v / BITS_WORD + i);
    }
    return status;
}
