/*
 * Where a contiguous run is: inside a block by its map of free frames, over blocks by walking the stretches of wholly
 * free ones, with a hint for each region where the greatest was when last looked.
 */
#include "lib/string.h"
#include "pmm/internal.h"
#include "pmm/run.h"

enum { WORD_BITS = 64, MAP_WORDS = PMM_BLOCK_FRAMES / WORD_BITS };

/* Bit i becomes bit i & bit i + shift: 0 < shift < 512. Words from MAP_WORDS on are 0. */
static inline void and_shifted(uint64_t m[2 * MAP_WORDS + 1], unsigned shift)
{
    const uint64_t *from = m + shift / WORD_BITS;
    unsigned bits = shift % WORD_BITS;
    for (unsigned w = 0; w < MAP_WORDS; w += 2) {
        if (bits == 0) {
            m[w] &= from[w];
            m[w + 1] &= from[w + 1];
        } else {
            m[w] &= from[w] >> bits | from[w + 1] << (WORD_BITS - bits);
            m[w + 1] &= from[w + 1] >> bits | from[w + 2] << (WORD_BITS - bits);
        }
    }
}

static bool crosses(uint64_t first, const struct run_wish *wish)
{
    return wish->boundary != 0 && first / wish->boundary != (first + wish->frames - 1) / wish->boundary;
}

/* Runs of less than a word: those of `frames` ones by doubling, then the first that meets the rest of the wish. */
static unsigned find_short(const struct block_map *map, uint64_t start, const struct run_wish *wish)
{
    uint64_t m[2 * MAP_WORDS + 1] = {0}; /* bit i, after the loop: `frames` free ones begin at i */
    memcpy(m, map->word, sizeof map->word);
    for (uint64_t have = 1; have < wish->frames;) {
        uint64_t step = wish->frames - have < have ? wish->frames - have : have;
        and_shifted(m, (unsigned)step);
        have += step;
    }
    for (unsigned w = 0; w < MAP_WORDS; w++) {
        for (uint64_t bits = m[w]; bits != 0; bits &= bits - 1) {
            unsigned index = w * WORD_BITS + (unsigned)__builtin_ctzll(bits);
            uint64_t first = start + index;
            if (index % wish->align == 0 && first + wish->frames <= wish->end && !crosses(first, wish)) {
                return index;
            }
        }
    }
    return PMM_BLOCK_FRAMES;
}

uint64_t fit_in_stretch(uint64_t from, uint64_t stop, const struct run_wish *wish)
{
    uint64_t at = (from + wish->align - 1) / wish->align * wish->align;
    if (crosses(at, wish)) {
        uint64_t step = wish->boundary > wish->align ? wish->boundary : wish->align;
        at = (at + step - 1) / step * step;
    }
    return at + wish->frames <= stop && at + wish->frames <= wish->end ? at : FRAME_NONE;
}

/* Runs of a word or more: none begins and ends within one, so a step a word is enough. */
static unsigned find_long(const struct block_map *map, uint64_t start, const struct run_wish *wish)
{
    unsigned from = 0; /* a stretch of ones goes from here to the word at hand */
    for (unsigned w = 0; w <= MAP_WORDS; w++) {
        uint64_t zeros = w < MAP_WORDS ? ~map->word[w] : ~0ULL;
        if (zeros == 0) {
            continue;
        }
        unsigned stop = w * WORD_BITS + (unsigned)__builtin_ctzll(zeros);
        uint64_t at = stop - from >= wish->frames ? fit_in_stretch(start + from, start + stop, wish) : FRAME_NONE;
        if (at != FRAME_NONE) {
            return (unsigned)(at - start);
        }
        from = (w + 1) * WORD_BITS - (unsigned)__builtin_clzll(zeros);
    }
    return PMM_BLOCK_FRAMES;
}

unsigned map_find(const struct block_map *map, uint64_t start, const struct run_wish *wish)
{
    if (wish->align > PMM_BLOCK_FRAMES && start % wish->align != 0) {
        return PMM_BLOCK_FRAMES;
    }
    struct run_wish inside = *wish;
    inside.align = wish->align < PMM_BLOCK_FRAMES ? wish->align : (uint64_t)PMM_BLOCK_FRAMES;
    return wish->frames < WORD_BITS ? find_short(map, start, &inside) : find_long(map, start, &inside);
}

/* ---- Wholly free blocks ---- */

/* The next stretch of wholly free blocks in [from, end of r): false: none. */
static bool next_stretch(const struct pmm *pmm, const struct pmm_region *r, uint64_t from, uint64_t *first,
                         uint64_t *stop)
{
    uint64_t end = region_end(r);
    bool inside = false;
    while (from < end) {
        if (block_is_open(pmm, r, from)) {
            bool free = pmm->blocks[from].stack == STACK_WHOLE;
            if (inside && !free) {
                break;
            }
            *first = free && !inside ? from : *first;
            inside = free;
            from++;
            *stop = from;
            continue;
        }
        uint64_t extent_end = unopened_end(pmm, r, from), usable_stop = 0;
        if (pmm->broken) { /* nothing can be opened any more */
            if (inside) {
                break;
            }
            from = extent_end;
            continue;
        }
        uint64_t usable = usable_next(pmm, block_start(from), block_start(extent_end), &usable_stop);
        if (inside && usable != block_start(from)) {
            break;
        }
        uint64_t whole_first = usable >= block_start(extent_end) ? extent_end : block_of(usable + PMM_BLOCK_FRAMES - 1);
        uint64_t whole_end = usable >= block_start(extent_end) ? extent_end : block_of(usable_stop);
        if (whole_first >= whole_end) {
            if (inside) {
                break;
            }
            from = whole_end > from ? whole_end : from + 1;
            continue;
        }
        *first = inside ? *first : whole_first;
        inside = true;
        from = *stop = whole_end;
        if (whole_end < extent_end) {
            break;
        }
    }
    return inside;
}

/* First block in [first, stop) where `blocks` ones meet the wish; FRAME_NONE. */
static uint64_t fit(uint64_t first, uint64_t stop, uint64_t blocks, const struct run_wish *wish)
{
    uint64_t align = wish->align > PMM_BLOCK_FRAMES ? wish->align / PMM_BLOCK_FRAMES : 1;
    uint64_t at = (first + align - 1) / align * align;
    if (crosses(block_start(at), wish)) { /* the boundary is at least as long as the run: its next multiple does */
        uint64_t step = wish->boundary / PMM_BLOCK_FRAMES;
        step = step > align ? step : align;
        at = (at + step - 1) / step * step;
    }
    bool fits = at >= first && at < stop && blocks <= stop - at && block_start(at) + wish->frames <= wish->end;
    return fits ? at : FRAME_NONE;
}

/* The stretch at the hint, as far as it still is wholly free and as it is needed. */
static uint64_t at_hint(const struct pmm *pmm, const struct pmm_region *r, uint64_t blocks, const struct run_wish *wish)
{
    uint64_t at =
        r->hint_blocks >= blocks ? fit(r->hint, (uint64_t)r->hint + r->hint_blocks, blocks, wish) : FRAME_NONE;
    if (at == FRAME_NONE || at < r->base || at + blocks > region_end(r)) {
        return FRAME_NONE;
    }
    uint64_t first = 0, stop = 0;
    bool still = next_stretch(pmm, r, at, &first, &stop) && first == at && stop - at >= blocks;
    return still ? at : FRAME_NONE;
}

uint64_t region_find_blocks(struct pmm *pmm, struct pmm_region *r, uint64_t blocks, const struct run_wish *wish)
{
    uint64_t found = at_hint(pmm, r, blocks, wish);
    if (found != FRAME_NONE) {
        r->hint_blocks -= (uint32_t)(found + blocks - r->hint);
        r->hint = (uint32_t)(found + blocks);
        return found;
    }
    uint64_t first = 0, stop = 0, best = 0, best_first = 0;
    for (uint64_t at = r->base; !r->left_out && next_stretch(pmm, r, at, &first, &stop); at = stop) {
        found = found == FRAME_NONE ? fit(first, stop, blocks, wish) : found;
        if (stop - first > best) {
            best = stop - first;
            best_first = first;
        }
    }
    r->hint = (uint32_t)best_first;
    r->hint_blocks = (uint32_t)best;
    return found;
}

uint64_t region_largest_extent(struct pmm *pmm, struct pmm_region *r, uint64_t limit)
{
    uint64_t first = 0, stop = 0, best = 0;
    for (uint64_t at = r->base; !r->left_out && next_stretch(pmm, r, at, &first, &stop); at = stop) {
        uint64_t start = block_start(first), end = block_start(stop) < limit ? block_start(stop) : limit;
        best = end > start && end - start > best ? end - start : best;
    }
    return best;
}
