/*
 * One block: the stack of its free frames, and what else can become of its frames. Nothing here looks at other blocks,
 * and nothing here counts `spare`.
 */
#include "pmm/codes.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

/* ---- Frames out ---- */

/*
 * Where what is behind the mark is not all RAM the code at the mark says which run that is in: a hint, since the list
 * may have been edited. Null: it is in none, which is a wrong mark.
 */
ALWAYS_INLINE const struct frame_run *run_at_mark(const struct pmm *pmm, uint64_t at)
{
    size_t i = code_get(pmm, at);
    if (__builtin_expect(i >= pmm->run_count || at - pmm->runs[i].first.v >= pmm->runs[i].frames.v, 0)) {
        i = run_at(pmm, at);
    }
    return i < pmm->run_count && pmm->runs[i].first.v <= at ? &pmm->runs[i] : NULL;
}

/* The next frames from the carve mark on: they are free whatever their codes say. Of one run, if the block is late. */
__attribute__((noinline, cold)) static unsigned carve(struct pmm *pmm, struct pmm_block *b, uint64_t *frames,
                                                      unsigned n, unsigned code)
{
    struct part part = block_part(pmm, b);
    uint64_t at = part.start + b->carved, end = part.end;
    const struct frame_run *run = NULL;
    if (b->late && at < end) {
        run = run_at_mark(pmm, at);
        end = run != NULL ? run_end(*run) : 0; /* inside the block */
    }
    uint64_t left = at < end ? end - at : 0; /* a mark beyond the end is a wrong one: nothing is there */
    unsigned got = n < left ? n : (unsigned)left;
    for (unsigned i = 0; i < got; i++) {
        code_set(pmm, at + i, code);
        frames[got - 1 - i] = at + i;
    }
    if (run != NULL) {
        block_mark_set(pmm, b, part, at + got, run + (got == left));
    } else {
        carved_set(b, b->carved + got);
    }
    return got;
}

unsigned block_take_oddly(struct pmm *pmm, struct pmm_block *b, uint64_t *frame, unsigned code)
{
    uint64_t at = block_first(pmm, b) + b->carved;
    if (!b->late || b->top != 0 || b->free == 0 || b->carved >= part_limit(pmm, b)) {
        return block_take(pmm, b, frame, 1, code);
    }
    const struct frame_run *run = run_at_mark(pmm, at);
    if (run == NULL) {
        return block_take(pmm, b, frame, 1, code);
    }
    if (at + 1 < run_end(*run)) {
        code_set(pmm, at + 1, code_get(pmm, at)); /* the mark stays in the same run */
        carved_set(b, b->carved + 1U);
    } else {
        block_mark_set(pmm, b, block_part(pmm, b), at + 1, run + 1);
    }
    code_set(pmm, at, code);
    b->free--;
    count_free_in(pmm, b, -1);
    *frame = at;
    return 1;
}

/* The eighths that are this descriptor's: block 0 shares its frames with `low`. */
static unsigned eighths_of(const struct pmm *pmm, const struct pmm_block *b)
{
    static_assert(PMM_BLOCK_FRAMES / EIGHTH_FRAMES == 8, "a bit each");
    return b == &pmm->low ? 0x0F : b == pmm->blocks ? 0xF0 : 0xFF;
}

unsigned block_free_eighths(const struct pmm *pmm, const struct pmm_block *b, unsigned among)
{
    uint64_t first = block_first(pmm, b);
    unsigned eighths = 0;
    for (unsigned left = eighths_of(pmm, b) & among; left != 0; left &= left - 1) {
        unsigned q = (unsigned)__builtin_ctz(left), end = (q + 1) * EIGHTH_FRAMES;
        if (end <= b->carved) {
            eighths |= (unsigned)eighth_has_free(pmm, first + q * EIGHTH_FRAMES) << q;
            continue;
        }
        for (unsigned i = q * EIGHTH_FRAMES; i < b->carved && (eighths >> q & 1) == 0; i++) {
            eighths |= (unsigned)code_is_link(code_get(pmm, first + i)) << q;
        }
    }
    return eighths;
}

enum { LOOSE_VISITS_MAX = 2 }; /* eighths that one call looks for loose frames in: bounds its cost */

/* Loose frames of one eighth, lowest first; `top` is 0. Its bit goes with the last of them. */
static unsigned take_loose(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code)
{
    unsigned q = (unsigned)__builtin_ctz(b->loose), got = 0;
    uint64_t at = block_first(pmm, b) + q * EIGHTH_FRAMES;
    uint64_t end = at + EIGHTH_FRAMES, mark = block_first(pmm, b) + b->carved;
    end = end < mark ? end : mark;
    for (const code_word *w = codes_at(pmm, at); at < end; at += 4 * CODES_A_WORD, w += 4) {
        if (maybe_free_in_four(w) == 0) {
            continue;
        }
        unsigned map = codes_map_16(w) & (end - at < 16 ? (1U << (end - at)) - 1 : ~0U);
        for (; map != 0; map &= map - 1) {
            if (got == n) {
                return got; /* and there are more */
            }
            uint64_t frame = at + (unsigned)__builtin_ctz(map);
            code_set(pmm, frame, code);
            frames[got++] = frame;
        }
    }
    b->loose = (b->loose & ~(1U << q)) & 0xFFU;
    return got;
}

enum { STACK_END = PMM_BLOCK_FRAMES }; /* no index */

/*
 * Pop up to n frames, from `*top` on, which is where the stack goes on afterwards: STACK_END, or the frame at which it
 * was found broken if less than n were had. Out of line: it keeps all that the loop needs in registers.
 */
__attribute__((noinline)) static unsigned pop_links(uint16_t *codes, uint64_t first, unsigned carved, uint64_t *top,
                                                    uint64_t *frames, unsigned n, unsigned code)
{
    uint64_t index = *top;
    unsigned got = 0;
    while (got < n && index < carved) {
        unsigned below = __atomic_load_n(&codes[index], __ATOMIC_RELAXED);
        if (__builtin_expect(!code_is_link(below), 0)) {
            break;
        }
        __atomic_store_n(&codes[index], (uint16_t)code, __ATOMIC_RELAXED);
        frames[got++] = first + index;
        below -= CODE_LINK;
        index = below == index ? (unsigned)STACK_END : below; /* which ends the loop: no mark is higher */
    }
    *top = index;
    return got;
}

/* Pop up to n frames; frames found corrupt close the block, and what was popped before stays popped. */
static unsigned pop(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code)
{
    uint64_t start = block_first(pmm, b), index = b->top - (unsigned)CODE_LINK;
    unsigned got = pop_links(&pmm->states[start], start, b->carved, &index, frames, n, code);
    b->top = index == STACK_END ? 0 : (uint16_t)(index + CODE_LINK);
    if (__builtin_expect(got < n && b->top != 0, 0)) {
        b->free = (uint16_t)(b->free - got);
        count_free_in(pmm, b, -(int64_t)got);
        block_close(pmm, b, "the stack of free frames is broken", b->top,
                    index < b->carved ? start + index : FRAME_NONE);
    }
    return got;
}

unsigned block_take(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code)
{
    n = n < b->free ? n : b->free;
    unsigned got = 0;
    if (b->top != 0) {
        got = pop(pmm, b, frames, n, code);
        if (b->mode == PMM_BLOCK_CLOSED) {
            return got;
        }
    }
    for (unsigned visits = 0; got < n && b->loose != 0 && (got == 0 || visits < LOOSE_VISITS_MAX); visits++) {
        got += take_loose(pmm, b, frames + got, n - got, code);
    }
    bool is_all = b->loose == 0, is_late = b->late; /* that it has, where it gives less than it was asked for */
    if (got < n && is_all) {
        got += carve(pmm, b, frames + got, n - got, code);
        is_all = !is_late || got == 0;
    }
    b->free = (uint16_t)(b->free - got);
    count_free_in(pmm, b, -(int64_t)got);
    if (__builtin_expect(got < n && is_all, 0)) {
        block_close(pmm, b, "it counts more free frames than it has", b->free, FRAME_NONE);
    }
    return got;
}

/*
 * The lowest loose frame of the first eighth that has some, whose bit goes unless there may be another one: a frame
 * with very many references may look like one. No look at the mark: see block_hide_mark.
 */
unsigned block_take_loose(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t *frame, unsigned code)
{
    uint64_t at = first + (unsigned)__builtin_ctz(b->loose) * EIGHTH_FRAMES;
    const code_word *begin = codes_at(pmm, at), *four = begin, *end = begin + EIGHTH_WORDS;
    while (four < end && maybe_free_in_four(four) == 0) {
        four += 4;
    }
    const code_word *w = four;
    uint64_t lanes = 0;
    if (four < end && b->free > 0) { /* it is one of the four */
        w += (maybe_free_in(w) | maybe_free_in(w + 1)) == 0 ? 2 : 0;
        w += maybe_free_in(w) == 0;
        lanes = free_lanes(w);
    }
    if (lanes == 0) {
        return block_take(pmm, b, frame, 1, code);
    }
    at = (uint64_t)((const uint16_t *)(const void *)w - pmm->states) + (unsigned)__builtin_ctzll(lanes) / 16;
    code_set(pmm, at, code);
    for (; maybe_free_in_four(four) == 0; four += 4) {
        if (four + 4 == end) {
            b->loose = (b->loose & (b->loose - 1U)) & 0xFFU;
            break;
        }
    }
    b->free--;
    count_free_in(pmm, b, -1);
    *frame = at;
    return 1;
}

/* ---- Given frames ---- */

uint64_t block_first_not_free(const struct pmm *pmm, const struct pmm_block *b, uint64_t first, uint64_t end)
{
    uint64_t mark = block_first(pmm, b) + b->carved;
    uint64_t to = end < mark ? end : mark;
    uint64_t found = first < to ? codes_first_not_free(pmm, first, to) : to;
    return found < to ? found : end;
}

/* Eighths with free frames in the map that are not among [low, high). */
static unsigned eighths_in_map(const struct block_map *map, unsigned low, unsigned high)
{
    unsigned eighths = 0;
    for (unsigned w = 0; w < ARRAY_LEN(map->word); w++) {
        unsigned from = w * EIGHTH_FRAMES, stop = from + EIGHTH_FRAMES;
        uint64_t taken = (low <= from ? ~0ULL : low < stop ? ~0ULL << (low - from) : 0)
                         & (high >= stop ? ~0ULL : high > from ? ~(~0ULL << (high - from)) : 0);
        eighths |= (unsigned)((map->word[w] & ~taken) != 0) << w;
    }
    return eighths;
}

void block_hide_mark(const struct pmm *pmm, const struct pmm_block *b)
{
    unsigned mark = b->carved, end = mark / EIGHTH_FRAMES * EIGHTH_FRAMES + EIGHTH_FRAMES;
    if (mark % EIGHTH_FRAMES != 0 && (b->loose >> mark / EIGHTH_FRAMES & 1) != 0) {
        uint64_t start = block_first(pmm, b);
        codes_fill(pmm, start + mark, start + end, CODE_UNWRITTEN);
    }
}

void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end, const struct block_map *map)
{
    uint64_t start = block_first(pmm, b);
    block_be_written(pmm, b);
    unsigned low = (unsigned)(first - start), high = (unsigned)(end - start), carved = b->carved;
    codes_fill(pmm, first, end, 1);
    if (low > carved) {
        codes_fill(pmm, start + carved, first, CODE_FREE);
        b->loose = (b->loose | eighths_touched(carved, low)) & 0xFFU;
    }
    if (high > carved) {
        carved_set(b, high);
    }
    if (low < carved) { /* some were on the stack, which nobody can tell from loose ones: now all are loose */
        b->top = 0;
        unsigned taken = eighths_from_to((low + EIGHTH_FRAMES - 1) / EIGHTH_FRAMES, high / EIGHTH_FRAMES);
        bool is_carved = map != NULL && b->carved == PMM_BLOCK_FRAMES; /* all that the map has free is loose then */
        b->loose = (is_carved ? eighths_in_map(map, low, high) : block_free_eighths(pmm, b, ~taken)) & 0xFFU;
    }
    block_hide_mark(pmm, b);
    b->free = (uint16_t)(b->free - (high - low));
    count_free_in(pmm, b, -(int64_t)(high - low));
    block_restack(pmm, b);
}

/* ---- Blocks handed out whole ---- */

void block_split(struct pmm *pmm, struct pmm_block *b)
{
    codes_fill_block(pmm, block_first(pmm, b), 1);
    b->mode = PMM_BLOCK_OPEN;
    b->top = 0;
    b->loose = 0;
    carved_set(b, PMM_BLOCK_FRAMES);
}

/* ---- Corruption ---- */

/* Free frames as the codes have them; `carved` is no more than there are. */
static unsigned count_free_codes(const struct pmm *pmm, const struct pmm_block *b, unsigned carved)
{
    uint64_t first = block_first(pmm, b);
    unsigned free = part_limit(pmm, b) - carved;
    for (unsigned i = b == pmm->blocks ? (unsigned)frames_below_1m() : 0; i < carved; i++) {
        free += code_is_link(code_get(pmm, first + i));
    }
    return free;
}

/*
 * The codes of a block that is closed mean something up to its end. => the frames that were free in it: as it says
 * itself, or, where that cannot be, as the codes do.
 */
static unsigned codes_close(struct pmm *pmm, struct pmm_block *b, uint64_t suspect)
{
    unsigned limit = part_limit(pmm, b), carved = b->carved < limit ? b->carved : limit;
    unsigned free = count_free_codes(pmm, b, carved);
    uint64_t first = block_first(pmm, b);
    if (suspect != FRAME_NONE && free < b->free) {
        code_set(pmm, suspect, CODE_LOST); /* its code was overwritten: it is free, and says something else */
        free++;
    }
    codes_fill(pmm, first + carved, first + limit, CODE_LOST);
    carved_set(b, limit);
    return b->free < b->usable && b->usable <= limit ? b->free : free;
}

void block_close(struct pmm *pmm, struct pmm_block *b, const char *why, uint64_t value, uint64_t suspect)
{
    if (b->mode == PMM_BLOCK_CLOSED) {
        return;
    }
    report(REPORT_CORRUPT, "pmm: block %#lx is closed: %s (%#lx; free %u of %u, carved %u, owner %u)",
           block_of(block_first(pmm, b)), why, value, b->free, b->usable, b->carved, b->owner);
    cpus_distrust_codes(pmm);
    block_be_written(pmm, b);
    block_unstack(pmm, b);
    b->stack = STACK_NONE;
    uint64_t lost = codes_close(pmm, b, suspect);
    if (b->owner != 0) {
        struct pmm_owner *o = owner_of(pmm, b);
        o->in_own -= b->usable - lost;
        o->elsewhere += b->usable - lost;
        o->blocks--;
    }
    for (unsigned node = 0; node < pmm->node_count; node++) {
        for (unsigned class = 0; class < PMM_CLASSES; class++) {
            if (pmm->current[node][class] == b) {
                pmm->current[node][class] = &pmm->none;
                pmm->currents = (uint16_t)(pmm->currents & ~current_bit(node, class));
            }
        }
    }
    count_free_in(pmm, b, -(int64_t)lost);
    uint64_t *accounts[] = {&pmm->spare, &pmm->emergency, &pmm->promised};
    uint64_t left = lost;
    for (size_t i = 0; i < ARRAY_LEN(accounts); i++) { /* a promise is what breaks last */
        uint64_t part = left < *accounts[i] ? left : *accounts[i];
        *accounts[i] -= part;
        left -= part;
    }
    pmm->debt += left; /* these were to pay for metadata */
    pmm->reserved += lost;
    pmm->lost += lost;
    b->free = b->top = b->usable = 0; /* nothing can be pushed any more */
    b->loose = 0;
    b->owner = 0;
    b->mode = PMM_BLOCK_CLOSED;
    lane_set(b, b->lane | (unsigned)LANE_DIRECT);
    trace(pmm, PMM_EVENT_CLOSE_BLOCK, block_first(pmm, b), PMM_BLOCK_FRAMES);
}

void block_lose_frame(struct pmm *pmm, uint64_t frame)
{
    code_set(pmm, frame, CODE_LOST);
    pmm->reserved++;
    pmm->lost++;
}

/* ---- The map of free frames ---- */

struct block_map block_free_map(const struct pmm *pmm, const struct pmm_block *b)
{
    struct block_map map = {{0}};
    if (!block_has_stack(b)) {
        return map;
    }
    unsigned from = b == pmm->blocks ? (unsigned)frames_below_1m() / 64 : 0, limit = part_limit(pmm, b);
    unsigned carved = b->carved < limit ? b->carved : limit; /* a wrong mark must not lead beyond the map */
    uint64_t first = block_first(pmm, b);
    for (unsigned w = from; w < carved / 64; w++) {
        map.word[w] = codes_map_64(codes_at(pmm, first + w * 64));
    }
    for (unsigned w = carved / 64; w < limit / 64; w++) { /* free from the mark on */
        uint64_t beyond = w * 64 < carved ? ~0ULL << (carved % 64) : ~0ULL;
        map.word[w] = beyond | (beyond == ~0ULL ? 0 : codes_map_64(codes_at(pmm, first + w * 64)));
    }
    return map;
}
