/*
 * What the bitmaps share. A bit is set while its frame is RAM and free: so a word of zeros is passed by at once, a page
 * of zeros can stand for memory that is not there, and one instruction finds the lowest free frame in 64.
 *
 * Behind the last word is one that is never zero, which ends every search.
 */
#ifndef CAIRN_TEST_RIVALS_PMM_BITS_H
#define CAIRN_TEST_RIVALS_PMM_BITS_H

#include "rivals/pmm/frames.h"

enum { BITS_WORD = 64, BITS_BLOCK_WORDS = FRAMES_BLOCK / BITS_WORD, BITS_PAGE_WORDS = PAGE_BYTES / 8,
       BITS_PAGE_FRAMES = PAGE_BYTES * 8 };

struct bits {
    uint64_t *words;
    uint64_t count; /* words, but the last one that ends searches */
    uint64_t at;    /* lowest fit: no word below has a free frame. Next fit: the word that served last */
    /*
     * Lowest fit: no word between `at` and this one has a free frame. So a frame freed far below, and taken again, does
     * not make the next search pass all that is full in between.
     */
    uint64_t next;
};

static inline uint64_t bits_words(uint64_t frames) { return (frames + BITS_WORD - 1) / BITS_WORD; }
static inline uint64_t bits_bytes(uint64_t frames) { return (bits_words(frames) + 1) * sizeof(uint64_t); }

/* Bits that are set. (The compiler's own is a call of its library, which a kernel has not.) */
static inline unsigned bits_count(uint64_t word)
{
    word -= word >> 1 & 0x5555555555555555ULL;
    word = (word & 0x3333333333333333ULL) + (word >> 2 & 0x3333333333333333ULL);
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0FULL;
    return (unsigned)(word * 0x0101010101010101ULL >> 56);
}

static inline void bits_open(struct bits *b, uint64_t *words, uint64_t frames)
{
    *b = (struct bits){words, bits_words(frames), 0, 1};
    words[b->count] = ~0ULL;
}

/* Frames [first, end) are free. */
static inline void bits_add(uint64_t *words, uint64_t first, uint64_t end)
{
    uint64_t at = first / BITS_WORD;
    const uint64_t last = end / BITS_WORD;
    const uint64_t from = ~0ULL << first % BITS_WORD, below = (1ULL << end % BITS_WORD) - 1;
    if (first >= end) {
        return;
    }
    if (at == last) {
        words[at] |= from & below;
        return;
    }
    words[at] |= from;
    while (++at < last) {
        words[at] = ~0ULL;
    }
    if (below != 0) { /* else the word may be none of the map's */
        words[last] |= below;
    }
}

/* The first word from `at` on that has a free frame; b->count: none has. */
static inline uint64_t bits_search(const struct bits *b, uint64_t at)
{
    while (b->words[at] == 0) {
        at++;
    }
    return at;
}

static inline pfn_t bits_take_from(struct bits *b, uint64_t at, uint64_t word)
{
    b->words[at] = word & (word - 1);
    return pfn(at * BITS_WORD + (unsigned)__builtin_ctzll(word));
}

/* The lowest free frame. */
static inline pfn_t bits_take_lowest(struct bits *b)
{
    uint64_t at = b->at, word = b->words[at];
    if (__builtin_expect(word == 0, 0)) {
        at = bits_search(b, b->next);
        b->next = at;
        if (at == b->count) {
            return FRAMES_NONE;
        }
        b->at = at;
        b->next = at + 1;
        word = b->words[at];
    }
    return bits_take_from(b, at, word);
}

/* One free frame more. => MISUSE: it is free already, or lies beyond the map. */
static inline enum status bits_give(struct bits *b, uint64_t frame)
{
    uint64_t at = frame / BITS_WORD, bit = 1ULL << frame % BITS_WORD;
    if (__builtin_expect(at >= b->count, 0)) {
        return STATUS_MISUSE;
    }
    uint64_t word = b->words[at];
    if (__builtin_expect((word & bit) != 0, 0)) {
        return STATUS_MISUSE;
    }
    b->words[at] = word | bit;
    return STATUS_OK;
}

/* Word `at`, below `next` and not the one that serves, has a free frame now. */
static __attribute__((noinline)) void bits_lower(struct bits *b, uint64_t at)
{
    if (b->words[b->at] == 0) { /* nothing up to `next`, but here */
        b->at = at;
    } else if (at < b->at) {
        b->next = b->at;
        b->at = at;
    } else {
        b->next = at;
    }
}

/* The same, and searches begin no higher. */
static inline enum status bits_give_lowest(struct bits *b, uint64_t frame)
{
    enum status s = bits_give(b, frame);
    uint64_t at = frame / BITS_WORD;
    if (at < b->next && at != b->at && s == STATUS_OK) {
        bits_lower(b, at);
    }
    return s;
}

/* ---- Blocks ---- */

/* The first word of the lowest block from word `at` on that is wholly free; b->count or more: there is none. */
static inline uint64_t bits_search_block(const struct bits *b, uint64_t at)
{
    for (at -= at % BITS_BLOCK_WORDS; at + BITS_BLOCK_WORDS <= b->count; at++) {
        at = bits_search(b, at);
        at -= at % BITS_BLOCK_WORDS;
        unsigned whole = 0;
        while (whole < BITS_BLOCK_WORDS && at + whole < b->count && b->words[at + whole] == ~0ULL) {
            whole++;
        }
        if (whole == BITS_BLOCK_WORDS) {
            return at;
        }
        at += BITS_BLOCK_WORDS - 1;
    }
    return b->count;
}

static inline void bits_fill_block(struct bits *b, uint64_t at, uint64_t word)
{
    for (unsigned i = 0; i < BITS_BLOCK_WORDS; i++) {
        b->words[at + i] = word;
    }
}

/* The lowest wholly free block from word `at` on. */
static inline pfn_t bits_take_block(struct bits *b, uint64_t at)
{
    at = bits_search_block(b, at);
    if (at >= b->count) {
        return FRAMES_NONE;
    }
    bits_fill_block(b, at, 0);
    return pfn(at * BITS_WORD);
}

/* => MISUSE: a frame of it is free, it is not aligned, or it lies beyond the map. */
static inline enum status bits_give_block(struct bits *b, uint64_t first)
{
    uint64_t at = first / BITS_WORD, any = 0;
    if (first % FRAMES_BLOCK != 0 || at + BITS_BLOCK_WORDS > b->count) {
        return STATUS_MISUSE;
    }
    for (unsigned i = 0; i < BITS_BLOCK_WORDS; i++) {
        any |= b->words[at + i];
    }
    if (any != 0) {
        return STATUS_MISUSE;
    }
    bits_fill_block(b, at, ~0ULL);
    return STATUS_OK;
}

static inline enum status bits_give_block_lowest(struct bits *b, uint64_t first)
{
    enum status s = bits_give_block(b, first);
    if (s == STATUS_OK && first / BITS_WORD < b->next) {
        b->at = first / BITS_WORD < b->at ? first / BITS_WORD : b->at;
        b->next = b->at + 1;
    }
    return s;
}

#endif
