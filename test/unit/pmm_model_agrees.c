/* The slow, obvious model of the PMM: is all as it says? */
#include "unit/pmm_model.h"

/* ---- Totals ---- */

/*
 * The emergency reserve never falls but by who may draw on it, and is filled up from what becomes free; what lies in
 * magazines is that when they are flushed.
 */
static void emergency_agrees(struct pmm_model *m, uint64_t now, uint64_t drawn)
{
    uint64_t filled = m->emergency + m->came_free;
    filled = filled < m->emergency_wanted ? filled : m->emergency_wanted;
    AGREE(m, now <= m->emergency_wanted);
    AGREE(m, now + drawn >= m->emergency);
    if (m->bed->cpu_count == 0) {
        AGREE(m, now + drawn >= filled);
    }
    m->emergency = now;
    m->came_free = 0;
}

bool model_totals_agree(struct pmm_model *m, uint64_t drawn)
{
    struct pmm_stats s = pmm_stats(&m->bed->pmm);
    AGREE_EQ(m, s.promised.v, m->promised);
    AGREE_EQ(m, s.misuses, m->misuses);
    emergency_agrees(m, s.emergency.v, drawn);
    if (model_is_broken(m)) {
        return m->ok;
    }
    uint64_t ram = 0;
    for (size_t kind = MODEL_FREE; kind < MODEL_KINDS; kind++) {
        ram += m->counts[kind];
    }
    AGREE_EQ(m, s.ram.v, ram);
    AGREE_EQ(m, s.earmarked.v, model_earmarked(m));
    AGREE_EQ(m, s.free.v, model_free(m));
    AGREE_EQ(m, s.used.v, model_used(m));
    AGREE_EQ(m, s.metadata.v, m->counts[MODEL_METADATA]);
    AGREE_EQ(m, s.reserved.v, m->counts[MODEL_RESERVED] + m->counts[MODEL_BAD]);
    AGREE_EQ(m, s.bad.v, m->counts[MODEL_BAD]);
    AGREE_EQ(m, s.lost.v, 0);
    AGREE_EQ(m, s.allocated, m->allocated);
    AGREE_EQ(m, s.freed, m->freed);
    AGREE(m, s.promised.v + s.emergency.v <= s.free.v);
    AGREE(m, s.zeroed.v <= m->bed->zero_capacity && s.zeroed.v <= s.cached.v);
    AGREE(m, s.cached.v == s.zeroed.v || m->bed->cpu_count > 0);
    return m->ok;
}

/* ---- Frames ---- */

static bool same(enum model_kind mine, enum pmm_state theirs)
{
    static const enum pmm_state states[] = {
        [MODEL_OUTSIDE] = PMM_STATE_OUTSIDE, [MODEL_ABSENT] = PMM_STATE_ABSENT, [MODEL_FREE] = PMM_STATE_FREE,
        [MODEL_USED] = PMM_STATE_USED,       [MODEL_RUN] = PMM_STATE_RUN,       [MODEL_ZERO] = PMM_STATE_ZERO,
        [MODEL_RESERVED] = PMM_STATE_RESERVED, [MODEL_BAD] = PMM_STATE_BAD,
        [MODEL_METADATA] = PMM_STATE_METADATA, [MODEL_GONE] = PMM_STATES};
    return mine == MODEL_GONE || states[mine] == theirs ||
           (mine == MODEL_FREE && (theirs == PMM_STATE_UNTOUCHED || theirs == PMM_STATE_CACHED));
}

/* What all queries together say. */
struct census {
    npages_t states[PMM_STATES], zones[PMM_ZONES];
    uint64_t in_own[MODEL_OWNERS + 1]; /* frames in use */
    uint64_t whole;                    /* frames in blocks of which all are free */
    uint64_t *of_block;                /* [2 * block]: free; [2 * block + 1]: never used */
    size_t regions;
};

static void frame_agrees(struct pmm_model *m, uint64_t frame, struct pmm_frame q, size_t region)
{
    enum model_kind kind = model_kind(m, frame);
    bool ok = same(kind, q.state) && q.zone == model_zone(frame) && q.owner <= MODEL_OWNERS &&
              (q.owner == 0 || m->owners[q.owner].is_open) && q.region == (kind == MODEL_OUTSIDE ? SIZE_MAX : region);
    if (kind != MODEL_GONE) {
        ok = ok && q.references == model_references(m, frame);
        ok = ok && q.goes_bad == ((model_marks(m, frame) & MARK_GOES_BAD) != 0);
    }
    if (kind >= MODEL_FREE) {
        ok = ok && q.node == model_node(m, frame);
    }
    if (!ok) {
        AGREE(m, ok);
        test_note(
            "frame %#lx: %s, %u references, region %lu, owner %u, zone %u, node %u%s; the model says kind %u, %u, "
            "region %lu, marks %#x",
            frame, pmm_state_name(q.state), q.references, q.region, q.owner, q.zone, q.node,
            q.goes_bad ? ", goes bad" : "", kind, model_references(m, frame), region, model_marks(m, frame));
    }
}

static void block_agrees(struct pmm_model *m, uint64_t start, struct census *c)
{
    uint64_t *counts = &c->of_block[2 * ((start - m->first) / PMM_BLOCK_FRAMES)];
    counts[0] = counts[1] = 0;
    for (uint64_t f = start; f < start + PMM_BLOCK_FRAMES && m->ok; f++) {
        struct pmm_frame q = pmm_query(&m->bed->pmm, pfn(f));
        frame_agrees(m, f, q, c->regions - 1);
        bool is_free = q.state == PMM_STATE_FREE || q.state == PMM_STATE_UNTOUCHED;
        bool is_used = q.state == PMM_STATE_USED || q.state == PMM_STATE_ZERO;
        c->states[q.state].v++;
        c->zones[q.zone].v += is_free;
        c->in_own[q.owner <= MODEL_OWNERS ? q.owner : 0] += is_used;
        counts[0] += is_free;
        counts[1] += q.state == PMM_STATE_UNTOUCHED;
    }
    c->whole += counts[0] == PMM_BLOCK_FRAMES ? counts[0] : 0;
}

/* Regions are numbered by address; each has just the frames that the queries show. */
static void blocks_agree(struct pmm_model *m, struct census *c)
{
    uint64_t last = 0;
    c->of_block = m->scratch[1];
    for (uint64_t start = m->first; start < m->end && m->ok; start += PMM_BLOCK_FRAMES) {
        uint64_t number = model_region(m, start / PMM_BLOCK_FRAMES);
        c->regions += number != 0 && number != last;
        last = number;
        block_agrees(m, start, c);
    }
}

static void census_agrees(struct pmm_model *m, const struct census *c)
{
    struct pmm_stats s = pmm_stats(&m->bed->pmm);
    npages_t counts[PMM_STATES];
    pmm_state_counts(&m->bed->pmm, counts);
    for (size_t i = PMM_STATE_ABSENT + 1; i < PMM_STATES; i++) { /* of RAM only */
        if (!AGREE_EQ(m, counts[i].v, c->states[i].v)) {
            test_note("state %s", pmm_state_name((enum pmm_state)i));
        }
    }
    AGREE_EQ(m, s.cached.v, c->states[PMM_STATE_CACHED].v);
    uint64_t untouched = c->states[PMM_STATE_UNTOUCHED].v, free = s.free.v - s.cached.v;
    AGREE_EQ(m, s.untouched.v, untouched < free ? untouched : free); /* part of what metadata will not need */
    for (size_t z = 0; z < PMM_ZONES; z++) {
        AGREE_EQ(m, s.zones[z].free.v, c->zones[z].v);
        AGREE_EQ(m, s.zones[z].reserve.v, m->zone_reserve[z]);
    }
    AGREE(m, s.whole.v <= c->whole);
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

/* ---- Regions and owners ---- */

static void region_agrees(struct pmm_model *m, const struct census *c, size_t index, uint64_t first_block)
{
    uint64_t number = model_region(m, first_block);
    struct pmm_region_stats expected = {.base = pfn(MODEL_NO_FRAME),
                                        .node = model_node(m, first_block * PMM_BLOCK_FRAMES)};
    struct pmm_region_stats s;
    for (uint64_t f = first_block * PMM_BLOCK_FRAMES; model_region(m, f / PMM_BLOCK_FRAMES) == number; f++) {
        bool is_ram = model_kind(m, f) >= MODEL_FREE;
        expected.base = is_ram && f < expected.base.v ? pfn(f) : expected.base;
        expected.frames.v += is_ram;
        if (f % PMM_BLOCK_FRAMES == 0) {
            const uint64_t *counts = &c->of_block[2 * ((f - m->first) / PMM_BLOCK_FRAMES)];
            expected.free.v += counts[0];
            expected.untouched.v += counts[1];
        }
    }
    if (!AGREE(m, pmm_region_stats(&m->bed->pmm, index, &s))) {
        return;
    }
    AGREE_EQ(m, s.base.v, expected.base.v);
    AGREE_EQ(m, s.frames.v, expected.frames.v);
    AGREE_EQ(m, s.node, expected.node);
    if (!model_is_broken(m)) {
        AGREE_EQ(m, s.free.v, expected.free.v);
        AGREE_EQ(m, s.untouched.v, expected.untouched.v);
    }
}

static void regions_agree(struct pmm_model *m, const struct census *c)
{
    struct pmm_region_stats s;
    uint64_t last = 0;
    size_t index = 0;
    for (uint64_t block = m->first / PMM_BLOCK_FRAMES; block < m->end / PMM_BLOCK_FRAMES && m->ok; block++) {
        uint64_t number = model_region(m, block);
        if (number != 0 && number != last) {
            region_agrees(m, c, index++, block);
        }
        last = number;
    }
    AGREE_EQ(m, pmm_stats(&m->bed->pmm).regions, c->regions);
    AGREE(m, !pmm_region_stats(&m->bed->pmm, c->regions, &s));
}

static void owners_agree(struct pmm_model *m, const struct census *c)
{
    size_t open = 0;
    for (unsigned owner = 0; owner <= MODEL_OWNERS; owner++) {
        struct pmm_owner_stats s;
        open += m->owners[owner].is_open;
        if (AGREE_EQ(m, pmm_owner_stats(&m->bed->pmm, owner, &s), m->owners[owner].is_open) &&
            m->owners[owner].is_open) {
            AGREE_EQ(m, s.in_own.v, c->in_own[owner]);
            AGREE_EQ(m, s.in_own.v + s.elsewhere.v, m->owners[owner].held);
            AGREE_EQ(m, s.drawn, m->owners[owner].drawn);
            AGREE(m, s.in_own.v <= s.own_blocks.v * PMM_BLOCK_FRAMES);
        }
    }
    AGREE_EQ(m, pmm_stats(&m->bed->pmm).owners, open);
}

bool model_agrees(struct pmm_model *m)
{
    struct census census = {.whole = 0};
    bool broken = model_is_broken(m);
    if (!broken && !model_totals_agree(m, 0)) {
        return false;
    }
    blocks_agree(m, &census);
    if (m->ok) {
        regions_agree(m, &census);
        owners_agree(m, &census);
    }
    if (!broken && m->ok) {
        census_agrees(m, &census);
    }
    struct walker w = {.m = m, .last = PMM_STATE_OUTSIDE, .ok = true};
    pmm_walk(&m->bed->pmm, walk_one, &w);
    AGREE(m, w.ok);
    if (!broken) {
        AGREE_EQ(m, w.frames, pmm_stats(&m->bed->pmm).ram.v);
    }
    return m->ok;
}
