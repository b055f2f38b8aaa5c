/*
 * What a block just backed says at first: its codes, as the run and hold lists have it, and its descriptor.
 */
#include "pmm/codes.h"
#include "pmm/open.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A block's frames as the lists have them, lowest first: a step is a stretch of frames whose codes are the same. */
struct steps {
    const struct pmm *pmm;
    size_t run, hold;         /* the first ones that end behind `at` */
    uint64_t paid, paid_end;  /* frames there that nobody holds are metadata */
    uint64_t at, stop, end;   /* this step is [at, stop) */
    unsigned code;            /* of its frames */
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

/*
 * The codes and the counts of one part of a block, up to s->end. What is free at the block's end was never carved. Of
 * the rest, what is free is loose, but for the first such frame, which is the stack: it is what an opening is for.
 */
__attribute__((noinline, cold)) static void write_part(struct pmm *pmm, struct pmm_block *b, struct steps *s)
{
    uint64_t end = s->end;
    unsigned usable = 0, free = 0, loose = 0;
    carved_set(b, part_limit(pmm, b));
    for (step_find(s); s->at < end; step_on(s)) {
        unsigned frames = (unsigned)(s->stop - s->at), first = index_in_block(s->at);
        if (s->code == CODE_FREE && s->stop == end) {
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

/*
 * The same of a part that has runs, holes between them, its first usable frames paid or none, and nothing else: that is
 * most of those with holes. Frames are counted, and no more: from the first free one on the block is `late`. A hole
 * needs no code, since fresh memory says CODE_UNWRITTEN, and no part with a hole is opened twice.
 */
__attribute__((noinline)) static void write_late(struct pmm *pmm, struct pmm_block *b, struct part part,
                                                 uint64_t paid_end, struct pmm_list_hint *hint)
{
    const struct frame_run *run = &pmm->runs[hint->run], *stop = &pmm->runs[pmm->run_count];
    uint64_t at = b == pmm->blocks ? frames_below_1m() : part.start;
    unsigned paid = 0, free = 0;
    if (at == 0 && run->first.v == 0) { /* is never handed out */
        code_set(pmm, 0, CODE_RESERVED);
        at = 1;
        run += run->frames.v == 1;
    }
    for (; at < paid_end && run < stop && run->first.v < part.end; run++) {
        uint64_t next = least(least(run_end(*run), paid_end), part.end); /* others may have paid further up */
        at = run->first.v > at ? run->first.v : at;
        if (at < next) {
            code_set(pmm, at, CODE_METADATA);
            if (at + 1 < next) {
                codes_fill(pmm, at + 1, next, CODE_METADATA);
            }
            paid += (unsigned)(next - at);
            at = next;
        }
        if (at < run_end(*run)) {
            break;
        }
    }
    block_mark_set(pmm, b, part, at, run);
    if (run < stop && run->first.v < part.end) {
        uint64_t last = run_end(*run);
        free = (unsigned)(last - part.start) - b->carved;
        for (run++; run < stop && run->first.v < part.end; run++) {
            free += (unsigned)run->frames.v;
            last = run_end(*run);
        }
        free -= last > part.end ? (unsigned)(last - part.end) : 0;
        run -= last > part.end;
    }
    hint->run = (uint32_t)(run - pmm->runs);
    b->free = (uint16_t)free;
    b->usable = (paid + free) & PMM_COUNT_MASK;
}

__attribute__((cold)) void block_write_rest(struct pmm *pmm, struct pmm_block *b)
{
    struct part part = block_part(pmm, b);
    uint64_t first = part.start, at = first + b->carved, end = part.end, mark = end;
    unsigned loose = b->loose;
    for (size_t run = run_at(pmm, at); at < end && run < pmm->run_count && pmm->runs[run].first.v < end; run++) {
        at = pmm->runs[run].first.v > at ? pmm->runs[run].first.v : at;
        uint64_t stop = run_end(pmm->runs[run]);
        if (stop >= end) {
            mark = at;
            break;
        }
        codes_fill(pmm, at, stop, CODE_FREE);
        loose |= eighths_touched((unsigned)(at - first), (unsigned)(stop - first));
    }
    b->late = 0;
    b->loose = loose & 0xFFU;
    carved_set(b, (unsigned)(mark - first));
    block_hide_mark(pmm, b);
}

/* write_part for a block just opened, of which some frames are claimed or held. */
__attribute__((noinline, cold)) static void write_parts(struct pmm *pmm, struct pmm_block *b, uint64_t paid,
                                                        uint64_t paid_end, struct pmm_list_hint *hint)
{
    uint64_t start = block_start((uint64_t)(b - pmm->blocks)), end = start + PMM_BLOCK_FRAMES;
    struct steps s = {pmm, hint->run, hint->hold, paid, paid_end, start, start, end, CODE_FREE};
    if (start == 0) {
        pmm->low = *b;
        pmm->low.lane |= LANE_DIRECT;
        pmm->low.free = 0;
        s.end = frames_below_1m();
        write_part(pmm, &pmm->low, &s);
        s.end = end;
    }
    write_part(pmm, b, &s);
    *hint = (struct pmm_list_hint){(uint32_t)s.run, (uint32_t)s.hold};
}

/* The same of a part that has frames of one run only, of which none are paid: mostly the first or last of a region. */
static inline bool write_one_run(struct pmm *pmm, struct pmm_block *b, struct part part, uint64_t at,
                                 struct pmm_list_hint *hint)
{
    uint32_t run_index = hint->run;
    const struct frame_run *run = &pmm->runs[run_index];
    uint64_t first = run->first.v, stop = run_end(*run);
    bool is_last = stop >= part.end || run_index + 1 == pmm->run_count || run[1].first.v >= part.end;
    if (!is_last || first >= part.end || stop <= at) {
        return false;
    }
    first = first > at ? first : at;
    b->late = stop < part.end;
    hint->run += stop <= part.end;
    if (b->late) {
        code_set(pmm, first, run_index & CODE_RUN_MASK);
    } else {
        stop = part.end;
    }
    carved_set(b, (unsigned)(first - part.start));
    b->free = (uint16_t)(stop - first);
    b->usable = b->free & PMM_COUNT_MASK;
    return true;
}

/*
 * Block 0 and `low`, of which none are claimed or held. What is below 1 MiB is mostly one run, and what is above, too.
 */
__attribute__((noinline)) static void write_late_0(struct pmm *pmm, struct pmm_block *b, uint64_t paid,
                                                   uint64_t paid_end, struct pmm_list_hint *hint)
{
    const struct part low = {0, frames_below_1m()}, high = {0, PMM_BLOCK_FRAMES};
    uint64_t low_paid = paid < low.end ? paid_end : 0;
    pmm->low = *b;
    pmm->low.lane |= LANE_DIRECT;
    pmm->low.free = 0;
    bool has_0 = pmm->runs[hint->run].first.v == 0;
    if (has_0 && low_paid == 0 && write_one_run(pmm, &pmm->low, low, 1, hint)) {
        code_set(pmm, 0, CODE_RESERVED); /* is never handed out */
    } else {
        write_late(pmm, &pmm->low, low, low_paid, hint);
    }
    bool has_more = hint->run < pmm->run_count && paid_end <= low.end;
    if (!has_more || !write_one_run(pmm, b, high, low.end, hint)) {
        write_late(pmm, b, high, paid_end, hint);
    }
}

unsigned block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
                     uint64_t paid_end)
{
    uint64_t start = block_start(block), end = block_start(block + 1);
    struct pmm_block *b = &pmm->blocks[block];
    struct pmm_list_hint *hint = hint_of(r, block); /* of the next block: if it is another, extents_note says where */
    if (hint_is_said(b)) {
        hint_take(pmm, r, block);
    }
    block_begin(r, b, class, 0, PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES, false);
    trace(pmm, PMM_EVENT_OPEN_BLOCK, start, PMM_BLOCK_FRAMES);
    bool is_claimed = pmm->claim_first < end && start < pmm->claim_end; /* 0, 0: there is no claim */
    bool is_paid = paid != paid_end && start < paid_end;                /* frames from block to block, in this order */
    bool is_plain = start != 0 && !is_claimed && !is_paid;
    if (!is_claimed && surely_whole(r, block)) { /* no list needs to be looked at, and no code written but of those */
        unsigned gone = is_paid ? (unsigned)(least(paid_end, end) - start) : 0;
        fresh_whole_remove(pmm, r, block);
        if (gone > 0) {
            codes_fill(pmm, start, start + gone, CODE_METADATA);
            carved_set(b, gone);
            b->free = (uint16_t)(PMM_BLOCK_FRAMES - gone);
        }
        return b->free;
    }
    if (!hint_fits(pmm, *hint, start)) {
        struct stretch near = stretch_near(pmm, start, *hint);
        *hint = stretch_hint(&near);
    }
    bool is_late = !is_claimed && (hint->hold == pmm->hold_count || pmm->holds[hint->hold].first.v >= end);
    bool was_whole = is_whole_at(pmm, *hint, block);
    if (was_whole) { /* by the lists alone: as it was counted */
        fresh_whole_remove(pmm, r, block);
        plain_learn(pmm, r, *hint);
    } else if (is_plain && is_late && write_one_run(pmm, b, (struct part){start, end}, start, hint)) {
        return b->free;
    }
    if (is_claimed && pmm->claim_whole && pmm->claim_first <= start && end <= pmm->claim_end) {
        b->mode = PMM_BLOCK_RUN_PART; /* found wholly free before; no code means anything */
        b->free = 0;
        return 0;
    }
    if (was_whole && is_plain) {
        return PMM_BLOCK_FRAMES;
    }
    if (is_late && block == 0) {
        write_late_0(pmm, b, paid, paid_end, hint);
    } else if (is_late) {
        write_late(pmm, b, (struct part){start, end}, paid < end ? paid_end : 0, hint);
    } else {
        write_parts(pmm, b, paid, paid_end, hint);
    }
    return b->free + (block == 0 ? pmm->low.free : 0U);
}
