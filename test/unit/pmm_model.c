/* The slow, obvious model of the PMM. */
#include "unit/pmm_model.h"

/* Pages and tables that block needs and `have` lacks; with `add` they are put in. */
static uint64_t lacking(const struct pmm_model *m, uint64_t block, struct bed_set *have, bool add)
{
    uint64_t count = 0;
    for (unsigned level = 0; level <= m->bed->levels; level++) {
        uint64_t units[] = {bed_unit(&m->bed->blocks[block], level),
                            bed_unit(&m->bed->states[block * PMM_BLOCK_FRAMES], level)};
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
            bool lacks = add ? bed_set_add(have, units[i]) : !bed_set_has(have, units[i]);
            count += lacks;
        }
    }
    return count;
}

static bool block_has_ram(const struct pmm_model *m, uint64_t block)
{
    for (uint64_t f = block * PMM_BLOCK_FRAMES; f < (block + 1) * PMM_BLOCK_FRAMES; f++) {
        if (m->kind[f - m->first] >= MODEL_FREE) {
            return true;
        }
    }
    return false;
}

/*
 * Does one run reach from this block into the next, or do two runs touch this block and that one? Then they are one
 * region.
 */
static bool joined_with_next(const struct pmm_model *m, uint64_t block)
{
    uint64_t edge = (block + 1) * PMM_BLOCK_FRAMES;
    return edge < m->end && m->kind[edge - 1 - m->first] >= MODEL_FREE && m->kind[edge - m->first] >= MODEL_FREE;
}

static struct bed_set temporary_set(uint64_t *slots)
{
    memset(slots, 0, BED_SET_SLOTS * sizeof *slots);
    return (struct bed_set){slots, 0};
}

/*
 * The rule of pmm_init: a region that brings no more frames than new units stays out, unless something in it is in
 * use.
 */
static void leave_out(struct pmm_model *m)
{
    uint64_t first = m->first / PMM_BLOCK_FRAMES, end = m->end / PMM_BLOCK_FRAMES;
    struct bed_set kept = temporary_set(m->scratch[0]);
    struct bed_set trial = temporary_set(m->scratch[1]);
    for (uint64_t block = first; block < end; block++) {
        if (!block_has_ram(m, block)) {
            continue;
        }
        uint64_t stop = block + 1;
        while (joined_with_next(m, stop - 1)) {
            stop++;
        }
        memcpy(trial.slots, kept.slots, BED_SET_SLOTS * sizeof(uint64_t));
        trial.count = kept.count;
        uint64_t units = 0, frames = 0;
        bool live = false;
        for (uint64_t b = block; b < stop; b++) {
            units += lacking(m, b, &trial, true);
            for (uint64_t f = b * PMM_BLOCK_FRAMES; f < (b + 1) * PMM_BLOCK_FRAMES; f++) {
                uint8_t kind = m->kind[f - m->first];
                frames += kind >= MODEL_FREE;
                live = live || kind == MODEL_USED || kind == MODEL_METADATA;
            }
        }
        bool out = units >= frames && !live;
        for (uint64_t b = block; b < stop; b++) {
            m->is_left_out[b - first] = out;
            if (!out) {
                lacking(m, b, &kept, true);
            }
        }
        block = stop - 1;
    }
}

static void set_kinds(struct pmm_model *m)
{
    static const uint8_t kind_of_hold[] = {
        [HOLD_RESERVED] = MODEL_RESERVED, [HOLD_USED] = MODEL_USED, [HOLD_METADATA] = MODEL_METADATA};
    struct pmm_bed *bed = m->bed;
    for (size_t i = 0; i < bed->run_count; i++) {
        for (uint64_t f = bed->runs[i].first.v; f < run_end(bed->runs[i]); f++) {
            m->kind[f - m->first] = f == 0 ? MODEL_RESERVED : MODEL_FREE;
        }
    }
    for (size_t i = 0; i < bed->hold_count; i++) {
        for (uint64_t f = bed->holds[i].first.v; f < hold_end(bed->holds[i]); f++) {
            m->kind[f - m->first] = kind_of_hold[bed->holds[i].kind];
            m->references[f - m->first] = bed->holds[i].kind == HOLD_USED;
        }
    }
    leave_out(m);
    for (uint64_t f = m->first; f < m->end; f++) {
        uint64_t block = f / PMM_BLOCK_FRAMES;
        uint8_t *kind = &m->kind[f - m->first];
        if (*kind == MODEL_FREE && m->is_left_out[block - bed->first_block]) {
            *kind = MODEL_RESERVED;
        } else if (*kind == MODEL_OUTSIDE && block_has_ram(m, block)) {
            *kind = MODEL_ABSENT;
        }
    }
}

struct pmm_model *model_new(struct pmm_bed *bed)
{
    uint64_t blocks = bed->end_block - bed->first_block;
    struct bed_arena *arena = bed->arena;
    struct pmm_model *m = bed_pages(arena, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    *m = (struct pmm_model){
        .bed = bed, .first = bed->first_block * PMM_BLOCK_FRAMES, .end = bed->end_block * PMM_BLOCK_FRAMES};
    m->kind = bed_pages(arena, blocks * PMM_BLOCK_FRAMES);
    m->references = bed_pages(arena, blocks * PMM_BLOCK_FRAMES * sizeof(uint16_t));
    m->is_left_out = bed_pages(arena, blocks);
    m->scratch[0] = bed_pages(arena, BED_SET_SLOTS * sizeof(uint64_t));
    m->scratch[1] = bed_pages(arena, BED_SET_SLOTS * sizeof(uint64_t));
    if (m->kind == NULL || m->references == NULL || m->is_left_out == NULL || m->scratch[1] == NULL) {
        test_note("no memory for the model");
        return NULL;
    }
    set_kinds(m);
    bed->model = m;
    return m;
}

enum model_kind model_kind(const struct pmm_model *m, uint64_t frame)
{
    return frame < m->first || frame >= m->end ? MODEL_OUTSIDE : (enum model_kind)m->kind[frame - m->first];
}

uint64_t model_count(const struct pmm_model *m, enum model_kind kind)
{
    uint64_t count = 0;
    for (uint64_t f = m->first; f < m->end; f++) {
        count += m->kind[f - m->first] == kind;
    }
    return count;
}

uint64_t model_earmarked(const struct pmm_model *m)
{
    struct bed_set seen = temporary_set(m->scratch[0]);
    memcpy(seen.slots, m->bed->backed.slots, BED_SET_SLOTS * sizeof(uint64_t));
    seen.count = m->bed->backed.count;
    uint64_t count = 0;
    for (uint64_t block = m->bed->first_block; block < m->bed->end_block; block++) {
        if (block_has_ram(m, block) && !m->is_left_out[block - m->bed->first_block]) {
            count += lacking(m, block, &seen, true);
        }
    }
    return count;
}

uint64_t model_free(const struct pmm_model *m) { return model_count(m, MODEL_FREE) - model_earmarked(m); }

static void change(struct pmm_model *m, uint64_t frame, enum model_kind from, enum model_kind to)
{
    if (!EXPECT_EQ(model_kind(m, frame), from)) {
        test_note("frame %#lx", frame);
        return;
    }
    m->kind[frame - m->first] = (uint8_t)to;
    m->references[frame - m->first] = to == MODEL_USED;
}

void model_allocated(struct pmm_model *m, uint64_t frame) { change(m, frame, MODEL_FREE, MODEL_USED); }
void model_freed(struct pmm_model *m, uint64_t frame) { change(m, frame, MODEL_USED, MODEL_FREE); }
void model_metadata(struct pmm_model *m, uint64_t frame) { change(m, frame, MODEL_FREE, MODEL_METADATA); }

enum status model_claim(struct pmm_model *m, uint64_t first, uint64_t frames)
{
    if (frames == 0 || first + frames < first) {
        return STATUS_INVALID;
    }
    for (uint64_t f = first; f < first + frames; f++) {
        enum model_kind kind = model_kind(m, f);
        if (kind != MODEL_FREE) {
            return kind == MODEL_OUTSIDE || kind == MODEL_ABSENT ? STATUS_ABSENT : STATUS_EXISTS;
        }
    }
    if (frames > model_free(m) - m->promised) {
        return STATUS_NOMEM;
    }
    for (uint64_t f = first; f < first + frames; f++) {
        model_allocated(m, f);
    }
    return STATUS_OK;
}

enum status model_give_back(struct pmm_model *m, uint64_t first, uint64_t frames)
{
    for (uint64_t f = first; f < first + frames; f++) {
        bool out = f >= m->first && f < m->end && m->is_left_out[f / PMM_BLOCK_FRAMES - m->bed->first_block];
        if (f == 0 || model_kind(m, f) != MODEL_RESERVED) {
            return STATUS_MISUSE;
        }
        if (out) {
            return STATUS_NOMEM;
        }
    }
    for (uint64_t f = first; f < first + frames; f++) {
        m->kind[f - m->first] = MODEL_FREE;
    }
    return frames == 0 ? STATUS_MISUSE : STATUS_OK;
}

enum status model_retain(struct pmm_model *m, uint64_t frame)
{
    if (model_kind(m, frame) != MODEL_USED) {
        return STATUS_MISUSE;
    }
    m->references[frame - m->first]++;
    return STATUS_OK;
}

enum status model_release(struct pmm_model *m, uint64_t frame, bool only_last)
{
    if (model_kind(m, frame) != MODEL_USED || (only_last && m->references[frame - m->first] != 1)) {
        return STATUS_MISUSE;
    }
    if (--m->references[frame - m->first] == 0) {
        m->kind[frame - m->first] = MODEL_FREE;
    }
    return STATUS_OK;
}

/* ---- Comparison ---- */

static bool same(enum model_kind mine, enum pmm_state theirs)
{
    static const enum pmm_state states[] = {
        [MODEL_OUTSIDE] = PMM_STATE_OUTSIDE, [MODEL_ABSENT] = PMM_STATE_ABSENT, [MODEL_FREE] = PMM_STATE_FREE,
        [MODEL_USED] = PMM_STATE_USED, [MODEL_RESERVED] = PMM_STATE_RESERVED, [MODEL_METADATA] = PMM_STATE_METADATA};
    return states[mine] == theirs || (mine == MODEL_FREE && theirs == PMM_STATE_UNTOUCHED);
}

struct walker {
    const struct pmm_model *m;
    uint64_t next, frames;
    enum pmm_state last;
    bool ok;
};

static bool walk_one(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    struct walker *w = ctx;
    /* Ascending; touching stretches differ, so each is as long as can be. */
    w->ok = w->ok && first.v >= w->next && frames.v > 0 && !(first.v == w->next && state == w->last && w->frames > 0);
    for (uint64_t f = first.v; f < first.v + frames.v; f++) {
        w->ok = w->ok && same(model_kind(w->m, f), state);
    }
    w->next = first.v + frames.v;
    w->frames += frames.v;
    w->last = state;
    return w->ok;
}

bool model_agrees(const struct pmm_model *m)
{
    const struct pmm *pmm = &m->bed->pmm;
    struct pmm_stats s = pmm_stats(pmm);
    uint64_t outside = model_count(m, MODEL_OUTSIDE) + model_count(m, MODEL_ABSENT);
    bool ok = EXPECT_EQ(s.ram.v, m->end - m->first - outside);
    ok &= EXPECT_EQ(s.earmarked.v, model_earmarked(m));
    ok &= EXPECT_EQ(s.free.v, model_free(m));
    ok &= EXPECT_EQ(s.used.v, model_count(m, MODEL_USED));
    ok &= EXPECT_EQ(s.metadata.v, model_count(m, MODEL_METADATA));
    ok &= EXPECT_EQ(s.reserved.v, model_count(m, MODEL_RESERVED));
    ok &= EXPECT_EQ(s.promised.v, m->promised);
    for (uint64_t f = m->first; f < m->end && ok; f++) {
        struct pmm_frame q = pmm_query(pmm, pfn(f));
        if (!same(model_kind(m, f), q.state) || q.references != m->references[f - m->first]) {
            ok = EXPECT(same(model_kind(m, f), q.state) && q.references == m->references[f - m->first]);
            test_note("frame %#lx: %s, %u references, the model says kind %u, %u", f, pmm_state_name(q.state),
                      q.references, model_kind(m, f), m->references[f - m->first]);
        }
    }
    struct walker w = {.m = m, .last = PMM_STATE_OUTSIDE, .ok = true};
    pmm_walk(pmm, walk_one, &w);
    ok &= EXPECT(w.ok);
    return EXPECT_EQ(w.frames, s.ram.v) && ok;
}
