/*
 * Bad frames by bit patterns. What a pattern matches is never listed: the next match is computed from the number where
 * the search begins, so a pattern that matches every second frame of 16 TiB costs no more than one that matches none.
 */
#include "lib/badram.h"

/*
 * The least match at or above `from`; UINT64_MAX when there is none. The highest bit in which `from` differs from the
 * pattern decides: where the pattern has the 1, `from` grows by taking the pattern's bits from there on down; where it
 * has the 0, a bit above that the pattern leaves open must grow by one, and all below starts anew.
 */
static uint64_t next_match(struct badram_pattern p, uint64_t from)
{
    uint64_t wrong = (from ^ p.number) & p.mask;
    if (wrong == 0) {
        return from;
    }
    uint64_t highest = 1ULL << (63 - __builtin_clzll(wrong));
    uint64_t below = highest | (highest - 1); /* this bit and all under it */
    uint64_t grown = from;
    if ((p.number & highest) == 0) {
        uint64_t carried = from | p.mask | below; /* a carry passes through all that is not open */
        if (carried == UINT64_MAX) {
            return UINT64_MAX;
        }
        grown = carried + 1;
    }
    return (grown & ~below & ~p.mask) | p.number;
}

/* Where the stretch of one pattern ends that holds the match `at`. */
static uint64_t match_end(struct badram_pattern p, uint64_t at)
{
    uint64_t open = p.mask == 0 ? UINT64_MAX : (p.mask & -p.mask) - 1; /* bits below the lowest that counts */
    return (at | open) == UINT64_MAX ? UINT64_MAX : (at | open) + 1;
}

uint64_t badram_next(const struct badram_list *list, uint64_t from, uint64_t end)
{
    for (size_t i = 0; i < list->count && from < end; i++) {
        uint64_t match = next_match(list->at[i], from);
        end = match < end ? match : end;
    }
    return end;
}

uint64_t badram_bad_until(const struct badram_list *list, uint64_t from, uint64_t end)
{
    uint64_t until = from;
    for (size_t i = 0; i < list->count; i++) {
        struct badram_pattern p = list->at[i];
        uint64_t stretch_end = ((from ^ p.number) & p.mask) == 0 ? match_end(p, from) : from;
        until = stretch_end > until ? stretch_end : until;
    }
    return until < end ? until : end;
}
