/*
 * One block: the stack of its free frames, and what else can become of its frames. Nothing here looks at other blocks,
 * and nothing here counts `spare`.
 */
#include "pmm/internal.h"

/* Four codes at once; the array is of uint16_t. */
typedef uint64_t __attribute__((may_alias)) four_codes;

static four_codes *codes_at(const struct pmm *pmm, uint64_t frame) { return (four_codes *)(void *)&pmm->states[frame]; }

/* ---- Frames out ---- */

/* The next frames from the carve mark on. In a plain block they are free whatever their codes say. */
static unsigned carve(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code)
{
    uint64_t first = block_first(pmm, b);
    unsigned index = b->carved, limit = part_limit(pmm, b), got = 0;
    if (b->mode == PMM_BLOCK_OPEN) {
        got = n < limit - index ? n : limit - index;
        for (unsigned i = 0; i < got; i++) {
            code_set(pmm, first + index + i, code);
            frames[got - 1 - i] = first + index + i;
        }
        carved_set(b, index + got);
        return got;
    }
    uint64_t taken[PMM_MAGAZINE_FRAMES];
    for (; index < limit && got < n && got < ARRAY_LEN(taken); index++) {
        if (code_get(pmm, first + index) == CODE_NEVER) {
            code_set(pmm, first + index, code);
            taken[got++] = first + index;
        }
    }
    carved_set(b, index);
    for (unsigned i = 0; i < got; i++) {
        frames[got - 1 - i] = taken[i];
    }
    return got;
}

/* Pop up to n frames; frames found corrupt close the block, and what was popped before stays popped. */
static unsigned pop(struct pmm *pmm, struct pmm_block *b, uint64_t *frames, unsigned n, unsigned code)
{
    uint64_t base = block_first(pmm, b) - CODE_LINK;
    unsigned top = b->top, carved = b->carved, got = 0;
    while (got < n && top != 0) {
        unsigned below = top < CODE_LINK || top - CODE_LINK >= carved ? 0 : code_get(pmm, base + top);
        if (__builtin_expect(!code_is_link(below), 0)) {
            b->top = 0;
            b->free = (uint16_t)(b->free - got);
            count_free_in(pmm, b, -(int64_t)got);
            bool is_frame = top >= CODE_LINK && top - CODE_LINK < carved;
            block_close(pmm, b, "the stack of free frames is broken", top, is_frame ? base + top : FRAME_NONE);
            return got;
        }
        code_set(pmm, base + top, code);
        frames[got++] = base + top;
        top = below == top ? 0 : below;
    }
    b->top = (uint16_t)top;
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
    if (got < n) {
        got += carve(pmm, b, frames + got, n - got, code);
    }
    if (__builtin_expect(got < n && got < PMM_MAGAZINE_FRAMES, 0)) {
        b->free = (uint16_t)(b->free - got);
        count_free_in(pmm, b, -(int64_t)got);
        block_close(pmm, b, "it counts more free frames than it has", b->free, FRAME_NONE);
        return got;
    }
    b->free = (uint16_t)(b->free - got);
    count_free_in(pmm, b, -(int64_t)got);
    return got;
}

/* ---- Given frames ---- */

/* Frames [carved, index) that are free go on the stack, the lowest on top. */
static void carve_up_to(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned index)
{
    unsigned top = b->top;
    for (unsigned i = index; i > b->carved; i--) {
        if (b->mode == PMM_BLOCK_OPEN || code_get(pmm, first + i - 1) == CODE_NEVER) {
            unsigned code = CODE_LINK + i - 1;
            code_set(pmm, first + i - 1, top == 0 ? code : top);
            top = code;
        }
    }
    b->top = (uint16_t)top;
    if (index > b->carved) {
        carved_set(b, index);
    }
}

/* Unlink one frame: its predecessor is the frame whose code is its link. A few instructions for four frames. */
static void unlink_one(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned index)
{
    unsigned code = CODE_LINK + index, below = code_get(pmm, first + index);
    below = below == code ? 0 : below;
    code_set(pmm, first + index, 1); /* at once: it may name the next one to be unlinked */
    if (b->top == code) {
        b->top = (uint16_t)below;
        return;
    }
    uint64_t pattern = code * 0x0001000100010001ULL;
    const four_codes *words = codes_at(pmm, first);
    for (unsigned w = 0; w * 4 < b->carved; w++) {
        uint64_t x = __atomic_load_n(&words[w], __ATOMIC_RELAXED) ^ pattern;
        /* Some lane of x may be 0: at least then the borrow of the subtraction shows in its top bit. */
        if (((x - 0x0001000100010001ULL) & ~x & 0x8000800080008000ULL) == 0) {
            continue;
        }
        for (unsigned i = w * 4; i < w * 4 + 4; i++) {
            if (i != index && i < b->carved && code_get(pmm, first + i) == code) {
                code_set(pmm, first + i, below == 0 ? CODE_LINK + i : below);
                return;
            }
        }
    }
}

/* Unlink the frames [low, low + n), all on the stack: one walk over it, up to the last of them. */
static void unlink_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned low, unsigned n)
{
    uint64_t base = first - CODE_LINK;
    unsigned from = CODE_LINK + low, above = 0, left = n;
    for (unsigned code = b->top; code != 0 && left > 0;) {
        unsigned below = code_get(pmm, base + code);
        if (code - from < n) {
            unsigned next = below == code ? 0 : below;
            if (above == 0) {
                b->top = (uint16_t)next;
            } else {
                code_set(pmm, base + above, next == 0 ? above : next);
            }
            left--;
            code = next;
        } else {
            above = code;
            code = below == code ? 0 : below;
        }
    }
}

void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end)
{
    enum { FEW = 2 };
    uint64_t start = block_first(pmm, b);
    unsigned low = (unsigned)(first - start), high = (unsigned)(end - start);
    if (low > b->carved) {
        carve_up_to(pmm, b, start, low);
    }
    unsigned linked = high < b->carved ? high : b->carved; /* [low, linked) is on the stack */
    if (linked > low && linked - low <= FEW) {
        for (unsigned i = low; i < linked; i++) {
            unlink_one(pmm, b, start, i);
        }
    } else if (linked > low) {
        unlink_range(pmm, b, start, low, linked - low);
    }
    for (uint64_t f = first; f < end; f++) {
        code_set(pmm, f, 1);
    }
    if (high > b->carved) {
        carved_set(b, high);
    }
    b->free = (uint16_t)(b->free - (high - low));
    count_free_in(pmm, b, -(int64_t)(high - low));
    block_restack(pmm, b);
}

void block_make_holed(struct pmm *pmm, struct pmm_block *b)
{
    if (b->mode != PMM_BLOCK_OPEN) {
        return;
    }
    uint64_t first = block_first(pmm, b);
    for (unsigned i = b->carved; i < PMM_BLOCK_FRAMES; i++) {
        code_set(pmm, first + i, CODE_NEVER);
    }
    b->mode = PMM_BLOCK_HOLED;
}

/* ---- Blocks handed out whole ---- */

void block_split(struct pmm *pmm, struct pmm_block *b)
{
    four_codes *words = codes_at(pmm, block_first(pmm, b));
    for (unsigned w = 0; w < PMM_BLOCK_FRAMES / 4; w += 8) {
        for (unsigned i = w; i < w + 8; i++) {
            __atomic_store_n(&words[i], 0x0001000100010001ULL, __ATOMIC_RELAXED);
        }
    }
    b->mode = PMM_BLOCK_OPEN;
    b->top = 0;
    carved_set(b, PMM_BLOCK_FRAMES);
}

/* ---- Corruption ---- */

/* Free frames as the codes have them. */
static uint64_t count_free_codes(const struct pmm *pmm, const struct pmm_block *b)
{
    uint64_t first = block_first(pmm, b), free = 0;
    for (unsigned i = 0; i < part_limit(pmm, b); i++) {
        unsigned code = code_get(pmm, first + i);
        bool carved = i < b->carved;
        free += carved ? code_is_link(code) : b->mode == PMM_BLOCK_OPEN || code == CODE_NEVER;
    }
    return free;
}

void block_close(struct pmm *pmm, struct pmm_block *b, const char *why, uint64_t value, uint64_t suspect)
{
    if (b->mode == PMM_BLOCK_CLOSED) {
        return;
    }
    report(REPORT_CORRUPT, "pmm: block %#lx is closed: %s (%#lx; free %u of %u, carved %u, owner %u)",
           block_of(block_first(pmm, b)), why, value, b->free, b->usable, b->carved, b->owner);
    block_unstack(pmm, b);
    b->stack = STACK_NONE;
    if (b->owner != 0) {
        struct pmm_owner *o = owner_find(pmm, b->owner);
        o->in_own -= (uint64_t)b->usable - b->free;
        o->elsewhere += (uint64_t)b->usable - b->free;
        o->blocks--;
    }
    for (unsigned node = 0; node < pmm->node_count; node++) {
        for (unsigned class = 0; class < PMM_CLASSES; class++) {
            if (pmm->current[node][class] == b) {
                pmm->current[node][class] = &pmm->none;
                pmm->currents--;
            }
        }
    }
    uint64_t lost = b->free;
    if (suspect != FRAME_NONE && count_free_codes(pmm, b) < lost) {
        code_set(pmm, suspect, CODE_LOST); /* its code was overwritten: it is free, and says something else */
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

/* Bit i of the result: lane i of the word is a link code, its seven top bits all ones. */
static unsigned link_lanes(uint64_t word)
{
    uint64_t other = (~word & 0xFE00FE00FE00FE00ULL) >> 1;                     /* 0 in the lanes of links */
    uint64_t marks = ~(other + 0x7F007F007F007F00ULL) & 0x8000800080008000ULL; /* no carry leaves a lane */
    return (unsigned)((marks >> 15) * 0x0001000200040008ULL >> 48) & 0xFU;
}

struct block_map block_free_map(const struct pmm *pmm, const struct pmm_block *b)
{
    struct block_map map = {{0}};
    if (!block_has_stack(b)) {
        return map;
    }
    uint64_t first = block_first(pmm, b);
    const four_codes *words = codes_at(pmm, first);
    for (unsigned w = 0; w * 4 < b->carved; w++) {
        uint64_t lanes = link_lanes(__atomic_load_n(&words[w], __ATOMIC_RELAXED));
        map.word[w / 16] |= lanes << (w % 16 * 4);
    }
    for (unsigned w = 0; first == 0 && b != &pmm->low && w < frames_below_1m() / 64; w++) {
        map.word[w] = 0; /* these are `low`'s */
    }
    if (b->mode == PMM_BLOCK_OPEN) { /* all ones from the mark on */
        unsigned word = b->carved / 64;
        if (word < ARRAY_LEN(map.word)) {
            uint64_t beyond = ~0ULL << (b->carved % 64);
            map.word[word] |= beyond;
            while (++word < ARRAY_LEN(map.word)) {
                map.word[word] = ~0ULL;
            }
        }
        return map;
    }
    for (unsigned i = b->carved; i < part_limit(pmm, b); i++) {
        uint64_t bit = 1ULL << (i % 64);
        bool free = code_get(pmm, first + i) == CODE_NEVER;
        map.word[i / 64] = free ? map.word[i / 64] | bit : map.word[i / 64] & ~bit;
    }
    return map;
}
