/*
 * What a block just backed says at first: its codes, as the run and hold lists have it, and its descriptor.
 */
#include "pmm/codes.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A block's frames as the lists have them, lowest first: a step is a stretch of frames whose codes are the same. */
struct steps {
    const struct pmm *pmm;
    size_t run, hold;         /* the first ones that end behind `at` */
    uint64_t paid, paid_end;  /* frames there that nobody holds are metadata */
    uint64_t at, stop, end;   /* this step is [at, stop) */
    unsigned code;            /* of its frames */
    bool is_plain;            /* none of the block is claimed or paid, and frame 0 is not in it */
};

/* Where [first, end) begins, if that is behind `at`; else far away. */
static uint64_t begins(uint64_t first, uint64_t end, uint64_t at)
{
    return first > at && first < end ? first : FRAME_NONE;
}

static bool covers(uint64_t first, uint64_t end, uint64_t at) { return at - first < end - first && first < end; }

static void step_find(struct steps *s)
{
    static const uint16_t code_of_kind[] = {[HOLD_RESERVED] = CODE_RESERVED, [HOLD_USED] = 1,
                                            [HOLD_METADATA] = CODE_METADATA, [HOLD_BAD] = CODE_BAD};
    const struct pmm *pmm = s->pmm;
    uint64_t run_first = s->run < pmm->run_count ? pmm->runs[s->run].first.v : FRAME_NONE;
    if (run_first > s->at) {
        s->code = CODE_ABSENT;
        s->stop = least(run_first, s->end);
        return;
    }
    uint64_t hold_first = s->hold < pmm->hold_count ? pmm->holds[s->hold].first.v : FRAME_NONE;
    s->stop = least(run_end(pmm->runs[s->run]), s->end);
    if (hold_first <= s->at) {
        s->code = code_of_kind[pmm->holds[s->hold].kind];
        s->stop = least(hold_end(pmm->holds[s->hold]), s->stop);
        return;
    }
    s->stop = least(hold_first, s->stop);
    s->code = CODE_FREE;
    if (s->is_plain) {
        return;
    }
    if (s->at == 0) {
        s->code = CODE_RESERVED; /* frame 0 is never handed out */
        s->stop = 1;
    } else if (covers(pmm->claim_first, pmm->claim_end, s->at)) {
        s->code = 1;
        s->stop = least(pmm->claim_end, s->stop);
    } else if (covers(s->paid, s->paid_end, s->at)) {
        s->code = CODE_METADATA;
        s->stop = least(least(s->paid_end, begins(pmm->claim_first, pmm->claim_end, s->at)), s->stop);
    } else {
        uint64_t next = least(begins(pmm->claim_first, pmm->claim_end, s->at), begins(s->paid, s->paid_end, s->at));
        s->stop = least(next, s->stop);
    }
}

static void step_on(struct steps *s)
{
    s->at = s->stop;
    while (s->run < s->pmm->run_count && run_end(s->pmm->runs[s->run]) <= s->at) {
        s->run++;
    }
    while (s->hold < s->pmm->hold_count && hold_end(s->pmm->holds[s->hold]) <= s->at) {
        s->hold++;
    }
    if (s->at < s->end) {
        step_find(s);
    }
}

/* By the lists alone: what whole_count counted. */
static bool is_whole(const struct steps *s)
{
    const struct pmm *pmm = s->pmm;
    bool is_ram = s->run < pmm->run_count && pmm->runs[s->run].first.v <= s->at && run_end(pmm->runs[s->run]) >= s->end;
    return is_ram && s->at != 0 && (s->hold == pmm->hold_count || pmm->holds[s->hold].first.v >= s->end);
}

/*
 * The codes and the counts of one part of a block, up to s->end. What is free at the block's end was never carved. Of
 * the rest, what is free is loose, but for the first such frame, which is the stack: it is what an opening is for.
 */
static void write_part(struct pmm *pmm, struct pmm_block *b, struct steps *s)
{
    uint64_t end = s->end;
    unsigned usable = 0, free = 0, loose = 0;
    carved_set(b, part_limit(pmm, b));
    for (step_find(s); s->at < end; step_on(s)) {
        unsigned frames = (unsigned)(s->stop - s->at), first = index_in_block(s->at);
        if (s->code == CODE_FREE && s->stop == end && b != &pmm->low) { /* `low` is always carved to its end */
            carved_set(b, first);
            usable += frames;
            free += frames;
            continue;
        }
        uint64_t stop = (s->stop + CODES_A_WORD - 1) / CODES_A_WORD * CODES_A_WORD; /* what is behind comes later */
        codes_fill(pmm, s->at, stop, s->code);
        usable += s->code == CODE_FREE || s->code == CODE_METADATA || s->code == 1 ? frames : 0;
        if (s->code != CODE_FREE) {
            continue;
        }
        if (free == 0) {
            b->top = (uint16_t)link_to(s->at);
            code_set(pmm, s->at, b->top);
            loose = frames > 1 ? eighths_touched(first + 1, first + frames) : 0;
        } else {
            loose |= eighths_touched(first, first + frames);
        }
        free += frames;
    }
    b->free = (uint16_t)free;
    b->usable = usable & PMM_COUNT_MASK;
    b->loose = loose & 0xFFU;
    block_hide_mark(pmm, b);
}

/* Up to the end of the last word: what lies behind `to` comes later. Of the first word what lies before stays. */
__attribute__((always_inline)) static inline void fill_up(const struct pmm *pmm, uint64_t from, uint64_t to,
                                                          unsigned code)
{
    code_word *w = codes_at(pmm, from / CODES_A_WORD * CODES_A_WORD), *end = codes_at(pmm, to + CODES_A_WORD - 1);
    uint64_t all = code * 0x0001000100010001ULL, bits = from % CODES_A_WORD * 16, before = (1ULL << bits) - 1;
    __atomic_store_n(w, (__atomic_load_n(w, __ATOMIC_RELAXED) & before) | (all & ~before), __ATOMIC_RELAXED);
    codes_fill_words(w + 1, (uint64_t)(end - w - 1), all);
}

/*
 * write_part, of a block that has runs, holes between them, its first usable frames paid or none, and nothing else:
 * that is most of those with holes. A hole and the run behind it are one turn.
 */
static void write_runs(struct pmm *pmm, struct pmm_block *b, struct steps *s)
{
    bool is_low = b == &pmm->low; /* always carved to its end */
    uint64_t paid_end = s->paid < s->end ? s->paid_end : 0;
    const struct frame_run *run = &pmm->runs[s->run], *stop = &pmm->runs[pmm->run_count];
    uint64_t at = s->at, end = s->end, top = FRAME_NONE;
    unsigned usable = 0, free = 0, loose = 0, carved = part_limit(pmm, b);
    for (;;) {
        uint64_t first = run < stop ? least(run->first.v, end) : end;
        if (first > at) {
            fill_up(pmm, at, first, CODE_ABSENT);
            at = first;
        }
        if (at == end) {
            break;
        }
        uint64_t next = least(run_end(*run), end);
        if (at == 0) { /* is never handed out */
            code_set(pmm, 0, CODE_RESERVED);
            at = 1;
            run += next == 1;
            continue;
        }
        if (at < paid_end) {
            next = least(next, paid_end);
            usable += (unsigned)(next - at);
            fill_up(pmm, at, next, CODE_METADATA);
            at = next;
            run += next == run_end(*run);
            continue;
        }
        unsigned low = index_in_block(at), frames = (unsigned)(next - at);
        free += frames;
        if (next == end && !is_low) {
            carved = low;
            break;
        }
        fill_up(pmm, at, next, CODE_FREE);
        if (top == FRAME_NONE) {
            top = at;
            low++;
            frames--;
        }
        loose |= frames > 0 ? eighths_touched(low, low + frames) : 0;
        at = next;
        run += next == run_end(*run);
    }
    if (top != FRAME_NONE) {
        b->top = (uint16_t)link_to(top);
        code_set(pmm, top, b->top);
    }
    s->run = (size_t)(run - pmm->runs);
    s->at = end;
    carved_set(b, carved);
    b->free = (uint16_t)free;
    b->usable = (usable + free) & PMM_COUNT_MASK;
    b->loose = loose & 0xFFU;
    block_hide_mark(pmm, b);
}

unsigned block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
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
    struct pmm_list_hint *hint = block >= r->watermark ? &r->fresh : &r->in_gap;
    struct stretch from = stretch_near(pmm, start, *hint);
    bool is_claimed = ranges_overlap(start, end, pmm->claim_first, pmm->claim_end);
    bool is_plain = start != 0 && !is_claimed && !ranges_overlap(start, end, paid, paid_end);
    struct steps s = {pmm, from.run, from.hold, paid, paid_end, start, start, end, CODE_FREE, is_plain};
    *hint = stretch_hint(&from);
    bool was_whole = is_whole(&s);
    if (was_whole) {
        fresh_whole_change(pmm, r, -1);
    }
    if (pmm->claim_whole && pmm->claim_first <= start && end <= pmm->claim_end) {
        b->mode = PMM_BLOCK_RUN_PART; /* found wholly free before; no code means anything */
        b->free = 0;
        return 0;
    }
    if (was_whole && is_plain) {
        return PMM_BLOCK_FRAMES; /* no code needs to be written */
    }
    unsigned low_free = 0;
    bool has_hold = s.hold < pmm->hold_count && pmm->holds[s.hold].first.v < end;
    void (*write)(struct pmm *, struct pmm_block *, struct steps *) = is_claimed || has_hold ? write_part : write_runs;
    if (block == 0) {
        pmm->low = *b;
        pmm->low.lane |= LANE_DIRECT;
        s.end = frames_below_1m();
        write(pmm, &pmm->low, &s);
        low_free = pmm->low.free;
        s.end = end;
    }
    write(pmm, b, &s);
    *hint = (struct pmm_list_hint){(uint32_t)s.run, (uint32_t)s.hold};
    return low_free + b->free;
}
