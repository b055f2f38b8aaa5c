/*
 * What a block just backed says at first: its codes, as the run and hold lists have it, and its descriptor.
 */
#include "pmm/internal.h"

static void fill(struct pmm *pmm, uint64_t from, uint64_t to, unsigned code)
{
    for (; from < to; from++) {
        code_set(pmm, from, code);
    }
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* All RAM, and nothing held, claimed or paid: then no code needs to be written. */
static bool is_plain(const struct pmm *pmm, uint64_t start, uint64_t end, uint64_t paid, uint64_t paid_end)
{
    size_t run = run_at(pmm, start), hold = hold_at(pmm, start);
    bool is_ram = run < pmm->run_count && pmm->runs[run].first.v <= start && run_end(pmm->runs[run]) >= end;
    bool is_held = hold < pmm->hold_count && pmm->holds[hold].first.v < end;
    return start != 0 && is_ram && !is_held && !ranges_overlap(start, end, paid, paid_end)
           && !ranges_overlap(start, end, pmm->claim_first, pmm->claim_end);
}

static void write_codes(struct pmm *pmm, uint64_t start, uint64_t end)
{
    static const uint16_t code_of_kind[] = {[HOLD_RESERVED] = CODE_RESERVED, [HOLD_USED] = 1,
                                            [HOLD_METADATA] = CODE_METADATA, [HOLD_BAD] = CODE_BAD};
    fill(pmm, start, end, CODE_NEVER);
    uint64_t at = start;
    for (size_t i = run_at(pmm, start); i < pmm->run_count && pmm->runs[i].first.v < end; i++) {
        fill(pmm, at, clamp(pmm->runs[i].first.v, start, end), CODE_ABSENT);
        at = clamp(run_end(pmm->runs[i]), start, end);
    }
    fill(pmm, at, end, CODE_ABSENT);
    for (size_t i = hold_at(pmm, start); i < pmm->hold_count && pmm->holds[i].first.v < end; i++) {
        struct frame_hold h = pmm->holds[i];
        fill(pmm, clamp(h.first.v, start, end), clamp(hold_end(h), start, end), code_of_kind[h.kind]);
    }
    if (start == 0 && code_get(pmm, 0) == CODE_NEVER) {
        code_set(pmm, 0, CODE_RESERVED); /* frame 0 is never handed out */
    }
    fill(pmm, clamp(pmm->claim_first, start, end), clamp(pmm->claim_end, start, end), 1);
}

/* Descriptor of frames [from, to) whose codes are written. PMM-I4: no count beyond the mark, and below it links only.
 */
static void set_up(struct pmm *pmm, struct pmm_block *b, uint64_t from, uint64_t to)
{
    unsigned usable = 0, free = 0, carved = index_in_block(from), top = 0;
    for (uint64_t f = from; f < to; f++) {
        unsigned code = code_get(pmm, f);
        bool is_count = code_is_count(code);
        usable += code == CODE_NEVER || is_count || code == CODE_METADATA;
        free += code == CODE_NEVER;
        carved = is_count ? index_in_block(f) + 1 : carved;
    }
    uint64_t start = from - index_in_block(from);
    for (unsigned i = carved; i > index_in_block(from); i--) {
        if (code_get(pmm, start + i - 1) == CODE_NEVER) {
            unsigned code = CODE_LINK + i - 1;
            code_set(pmm, start + i - 1, top == 0 ? code : top);
            top = code;
        }
    }
    b->mode = PMM_BLOCK_HOLED;
    b->free = (uint16_t)free;
    b->usable = (uint16_t)usable;
    b->top = (uint16_t)top;
    carved_set(b, carved);
}

void block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
                 uint64_t paid_end)
{
    uint64_t start = block_start(block), end = block_start(block + 1);
    struct pmm_block *b = &pmm->blocks[block];
    unsigned direct = r->zone < pmm->cache_zone ? LANE_DIRECT : 0;
    *b = (struct pmm_block){.free = PMM_BLOCK_FRAMES, .usable = PMM_BLOCK_FRAMES,
                            .region = (uint16_t)(r - pmm->regions), .mode = PMM_BLOCK_OPEN,
                            .lane = (uint8_t)(class | (unsigned)r->node << LANE_NODE_SHIFT | direct),
                            .stack = STACK_NONE, .next = PMM_NO_BLOCK, .prev = PMM_NO_BLOCK, .gap_next = PMM_NO_BLOCK};
    trace(pmm, PMM_EVENT_OPEN_BLOCK, start, PMM_BLOCK_FRAMES);
    if (pmm->claim_whole && pmm->claim_first <= start && end <= pmm->claim_end) {
        b->mode = PMM_BLOCK_RUN_PART; /* found wholly free before; no code means anything */
        b->free = 0;
        return;
    }
    if (is_plain(pmm, start, end, paid, paid_end)) {
        return;
    }
    write_codes(pmm, start, end);
    for (uint64_t f = clamp(paid, start, end); f < paid_end && f < end; f++) {
        if (code_get(pmm, f) == CODE_NEVER) {
            code_set(pmm, f, CODE_METADATA);
        }
    }
    uint64_t from = start;
    if (block == 0) {
        pmm->low = *b;
        pmm->low.lane |= LANE_DIRECT;
        from = frames_below_1m();
        set_up(pmm, &pmm->low, 0, from);
    }
    set_up(pmm, b, from, end);
}
