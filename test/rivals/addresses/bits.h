/*
 * Bitmaps of two bits a unit: `used`, and `last`, the last unit of a range, so that a range's end is known from its
 * beginning. A step is a word that is looked at or changed; the words of both maps for the same units are one step.
 */
#ifndef CAIRN_TEST_RIVALS_ADDRESSES_BITS_H
#define CAIRN_TEST_RIVALS_ADDRESSES_BITS_H

#include "rivals/addresses/addresses.h"

enum { BITS_WORD = 64 };

struct bits {
    uint64_t units;
    uint64_t *used, *last;
};

static inline uint64_t bits_words(uint64_t units) { return (units + BITS_WORD - 1) / BITS_WORD; }
static inline bool bit_of(const uint64_t *map, uint64_t i) { return (map[i / BITS_WORD] >> i % BITS_WORD & 1) != 0; }

/* The first unit of [from, end) whose bit of `used` is `value`, else `end`. */
static inline uint64_t bits_next(struct addresses *a, const struct bits *b, uint64_t from, uint64_t end, bool value)
{
    for (uint64_t at = from; at < end; at = (at / BITS_WORD + 1) * BITS_WORD) {
        addresses_step(a);
        uint64_t word = (value ? b->used[at / BITS_WORD] : ~b->used[at / BITS_WORD]) >> at % BITS_WORD;
        if (word != 0) {
            at += (unsigned)__builtin_ctzll(word);
            return at < end ? at : end;
        }
    }
    return end;
}

/*
 * The lowest aligned run of `count` free units. No unit below *low is free, before and after: it goes up to the first
 * that is. => true, or false: there is none.
 */
static inline bool bits_search(struct addresses *a, const struct bits *b, uint64_t *low, uint64_t count,
                               unsigned align_log2, uint64_t *found)
{
    *low = bits_next(a, b, *low, b->units, false);
    uint64_t at = addresses_align_up(*low, align_log2);
    while (at < b->units && count <= b->units - at) {
        uint64_t used = bits_next(a, b, at, at + count, true);
        if (used == at + count) {
            *found = at;
            return true;
        }
        at = addresses_align_up(bits_next(a, b, used + 1, b->units, false), align_log2);
    }
    return false;
}

/* All units of [first, first + count) become used, one range; or free. */
static inline void bits_set(struct addresses *a, struct bits *b, uint64_t first, uint64_t count, bool used)
{
    uint64_t last = first + count - 1;
    for (uint64_t word = first / BITS_WORD; word <= last / BITS_WORD; word++) {
        addresses_step(a);
        uint64_t mask = ~0ULL;
        mask &= word == first / BITS_WORD ? ~0ULL << first % BITS_WORD : ~0ULL;
        mask &= word == last / BITS_WORD ? ~0ULL >> (BITS_WORD - 1 - last % BITS_WORD) : ~0ULL;
        b->used[word] = used ? b->used[word] | mask : b->used[word] & ~mask;
    }
    b->last[last / BITS_WORD] ^= 1ULL << last % BITS_WORD;
}

static inline bool bits_is_first(const struct bits *b, uint64_t unit)
{
    return bit_of(b->used, unit) && (unit == 0 || !bit_of(b->used, unit - 1) || bit_of(b->last, unit - 1));
}

/* The first unit of the range that holds `unit`, which is used. */
static inline uint64_t bits_first(struct addresses *a, const struct bits *b, uint64_t unit)
{
    for (uint64_t at = unit; at > 0;) { /* the unit right below `at` ends what is before the range? */
        uint64_t word = (at - 1) / BITS_WORD;
        uint64_t ends = ~b->used[word] | b->last[word];
        addresses_step(a);
        ends &= ~0ULL >> (BITS_WORD - 1 - (at - 1) % BITS_WORD);
        if (ends != 0) {
            return word * BITS_WORD + addresses_log2_down(ends) + 1;
        }
        at = word * BITS_WORD;
    }
    return 0;
}

/* How many units the range has that starts at `first`. */
static inline uint64_t bits_length(struct addresses *a, const struct bits *b, uint64_t first)
{
    uint64_t at = first;
    addresses_step(a);
    uint64_t word = b->last[at / BITS_WORD] >> at % BITS_WORD;
    while (word == 0) {
        at = (at / BITS_WORD + 1) * BITS_WORD;
        addresses_step(a);
        word = b->last[at / BITS_WORD];
    }
    return at + (unsigned)__builtin_ctzll(word) + 1 - first;
}

#endif
