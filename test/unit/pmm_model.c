/* The slow, obvious model of the PMM: what there is. */
#include "unit/pmm_model.h"

static uint64_t block_of(uint64_t frame) { return frame / PMM_BLOCK_FRAMES; }

/* ---- Frames ---- */

static bool inside(const struct pmm_model *m, uint64_t frame) { return frame >= m->first && frame < m->end; }

enum model_kind model_kind(const struct pmm_model *m, uint64_t frame)
{
    return inside(m, frame) ? (enum model_kind)m->kind[frame - m->first] : MODEL_OUTSIDE;
}

unsigned model_marks(const struct pmm_model *m, uint64_t frame)
{
    return inside(m, frame) ? m->marks[frame - m->first] : 0;
}

unsigned model_references(const struct pmm_model *m, uint64_t frame)
{
    return inside(m, frame) ? m->references[frame - m->first] : 0;
}

uint64_t model_region(const struct pmm_model *m, uint64_t block)
{
    return inside(m, block * PMM_BLOCK_FRAMES) ? m->region[block - block_of(m->first)] : 0;
}

bool model_is_left_out(const struct pmm_model *m, uint64_t frame)
{
    return inside(m, frame) && m->is_left_out[block_of(frame) - block_of(m->first)];
}

void model_set(struct pmm_model *m, uint64_t frame, enum model_kind kind)
{
    m->counts[m->kind[frame - m->first]]--;
    m->counts[kind]++;
    m->kind[frame - m->first] = (uint8_t)kind;
    m->references[frame - m->first] = kind == MODEL_USED || kind == MODEL_RUN;
    m->marks[frame - m->first] = 0;
    m->came_free += kind == MODEL_FREE;
}

uint64_t model_count(const struct pmm_model *m, enum model_kind kind) { return m->counts[kind]; }

uint64_t model_used(const struct pmm_model *m)
{
    return m->counts[MODEL_USED] + m->counts[MODEL_RUN] + m->counts[MODEL_ZERO];
}

enum pmm_zone model_zone(uint64_t frame)
{
    static const uint64_t ends[] = {MIB, 16 * MIB, 4 * GIB};
    unsigned zone = 0;
    while (zone < ARRAY_LEN(ends) && frame >= bytes_to_pages_down(ends[zone]).v) {
        zone++;
    }
    return (enum pmm_zone)zone;
}

unsigned model_node(const struct pmm_model *m, uint64_t frame)
{
    return inside(m, frame) ? m->node[block_of(frame) - block_of(m->first)] : 0;
}

static unsigned node_at_start(const struct pmm_bed *bed, uint64_t frame)
{
    for (size_t i = 0; i < bed->node_range_count; i++) {
        const struct pmm_node_range *range = &bed->node_ranges[i];
        if (frame >= range->first.v && frame < range->first.v + range->frames.v) {
            return range->node;
        }
    }
    return 0;
}

bool model_is_broken(const struct pmm_model *m) { return m->bed->fail_at != 0 && m->bed->backs >= m->bed->fail_at; }

bool model_is_cached(const struct pmm_model *m, uint64_t frame)
{
    return pmm_query(&m->bed->pmm, pfn(frame)).state == PMM_STATE_CACHED;
}

uint64_t model_out_of_reach(const struct pmm_model *m)
{
    uint64_t count = 0;
    for (uint64_t f = m->first; f < m->end && m->bed->cpu_count > 1; f++) {
        count += model_kind(m, f) == MODEL_FREE && model_is_cached(m, f);
    }
    return count;
}

/* ---- Pages and tables behind the arrays ---- */

/* Those that block needs and `have` lacks; with `add` they are put in. */
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

static struct bed_set temporary_set(uint64_t *slots)
{
    memset(slots, 0, BED_SET_SLOTS * sizeof *slots);
    return (struct bed_set){slots, 0};
}

static bool is_kept(const struct pmm_model *m, uint64_t block)
{
    return model_region(m, block) != 0 && !m->is_left_out[block - block_of(m->first)];
}

uint64_t model_new_units(struct pmm_model *m, uint64_t first_block, uint64_t end_block)
{
    struct bed_set kept = temporary_set(m->scratch[0]);
    uint64_t count = 0;
    for (uint64_t block = block_of(m->first); block < block_of(m->end); block++) {
        if (is_kept(m, block)) {
            lacking(m, block, &kept, true);
        }
    }
    for (uint64_t block = first_block; block < end_block; block++) {
        count += lacking(m, block, &kept, true);
    }
    return count;
}

uint64_t model_earmarked(struct pmm_model *m)
{
    uint64_t now = m->bed->backed.count << 32 | m->changes;
    if (m->earmarked_at == now) {
        return m->earmarked;
    }
    struct bed_set seen = temporary_set(m->scratch[0]);
    memcpy(seen.slots, m->bed->backed.slots, BED_SET_SLOTS * sizeof(uint64_t));
    seen.count = m->bed->backed.count;
    m->earmarked = 0;
    m->earmarked_at = now;
    for (uint64_t block = block_of(m->first); block < block_of(m->end); block++) {
        m->earmarked += is_kept(m, block) ? lacking(m, block, &seen, true) : 0;
    }
    return m->earmarked;
}

uint64_t model_free(struct pmm_model *m) { return m->counts[MODEL_FREE] - model_earmarked(m); }

uint64_t model_avail(struct pmm_model *m)
{
    /* How much of the emergency reserve is filled is the PMM's word: what callbacks give back may go there at once. */
    uint64_t kept = m->promised + pmm_stats(&m->bed->pmm).emergency.v, free = model_free(m);
    return free > kept ? free - kept : 0;
}

bool model_is_poor(const struct pmm_model *m)
{
    return m->counts[MODEL_FREE] < model_earmarked((struct pmm_model *)m);
}

/* ---- Regions ---- */

static bool block_has_ram(const struct pmm_model *m, uint64_t block)
{
    for (uint64_t f = block * PMM_BLOCK_FRAMES; f < (block + 1) * PMM_BLOCK_FRAMES; f++) {
        if (m->kind[f - m->first] >= MODEL_FREE) {
            return true;
        }
    }
    return false;
}

/* Does one run reach from this block into the next? Then they are one region. */
static bool joined_with_next(const struct pmm_model *m, uint64_t block)
{
    uint64_t edge = (block + 1) * PMM_BLOCK_FRAMES;
    return edge < m->end && m->kind[edge - 1 - m->first] >= MODEL_FREE && m->kind[edge - m->first] >= MODEL_FREE;
}

/* Blocks [first, end) become a region; what of it is not RAM is absent. */
static void number_region(struct pmm_model *m, uint64_t first, uint64_t end)
{
    m->regions_made++;
    m->changes++;
    for (uint64_t block = first; block < end; block++) {
        m->region[block - block_of(m->first)] = m->regions_made;
    }
    for (uint64_t f = first * PMM_BLOCK_FRAMES; f < end * PMM_BLOCK_FRAMES; f++) {
        if (model_kind(m, f) == MODEL_OUTSIDE) {
            model_set(m, f, MODEL_ABSENT);
        }
    }
}

void model_add_region(struct pmm_model *m, uint64_t first_block, uint64_t end_block, unsigned node)
{
    for (uint64_t block = first_block; block < end_block; block++) {
        m->node[block - block_of(m->first)] = (uint8_t)node;
    }
    for (uint64_t f = first_block * PMM_BLOCK_FRAMES; f < end_block * PMM_BLOCK_FRAMES; f++) {
        model_set(m, f, f == 0 ? MODEL_RESERVED : MODEL_FREE);
    }
    number_region(m, first_block, end_block);
}

void model_remove_region(struct pmm_model *m, uint64_t number)
{
    m->changes++;
    for (uint64_t f = m->first; f < m->end; f++) {
        if (model_region(m, block_of(f)) == number) {
            model_set(m, f, MODEL_OUTSIDE);
        }
    }
    for (uint64_t block = block_of(m->first); block < block_of(m->end); block++) {
        if (model_region(m, block) == number) {
            m->region[block - block_of(m->first)] = 0;
            m->is_left_out[block - block_of(m->first)] = false;
        }
    }
}

/*
 * The rule of pmm_init: a region that brings no more frames than new units stays out, unless something in it is in
 * use. `kept` holds the units of those before.
 */
static void keep_or_leave_out(struct pmm_model *m, uint64_t first, uint64_t end, struct bed_set *kept)
{
    struct bed_set trial = {m->scratch[1], kept->count};
    memcpy(trial.slots, kept->slots, BED_SET_SLOTS * sizeof(uint64_t));
    uint64_t units = 0, frames = 0;
    bool live = false;
    for (uint64_t f = first * PMM_BLOCK_FRAMES; f < end * PMM_BLOCK_FRAMES; f++) {
        enum model_kind kind = model_kind(m, f);
        frames += kind >= MODEL_FREE;
        live = live || kind == MODEL_USED || kind == MODEL_METADATA;
    }
    for (uint64_t block = first; block < end; block++) {
        units += lacking(m, block, &trial, true);
    }
    bool out = units >= frames && !live;
    for (uint64_t block = first; block < end; block++) {
        m->is_left_out[block - block_of(m->first)] = out;
        if (!out) {
            lacking(m, block, kept, true);
        }
    }
    for (uint64_t f = first * PMM_BLOCK_FRAMES; f < end * PMM_BLOCK_FRAMES && out; f++) {
        if (model_kind(m, f) == MODEL_FREE) {
            model_set(m, f, MODEL_RESERVED);
        }
    }
}

static void make_regions(struct pmm_model *m)
{
    struct bed_set kept = temporary_set(m->scratch[0]);
    for (uint64_t block = block_of(m->first); block < block_of(m->end); block++) {
        if (!block_has_ram(m, block)) {
            continue;
        }
        uint64_t end = block + 1;
        while (joined_with_next(m, end - 1)) {
            end++;
        }
        keep_or_leave_out(m, block, end, &kept);
        number_region(m, block, end);
        block = end - 1;
    }
}

static void set_kinds(struct pmm_model *m)
{
    static const enum model_kind kind_of_hold[] = {[HOLD_RESERVED] = MODEL_RESERVED, [HOLD_USED] = MODEL_USED,
                                                   [HOLD_METADATA] = MODEL_METADATA, [HOLD_BAD] = MODEL_BAD};
    struct pmm_bed *bed = m->bed;
    m->counts[MODEL_OUTSIDE] = m->end - m->first;
    for (size_t i = 0; i < bed->run_count; i++) {
        for (uint64_t f = bed->runs[i].first.v; f < run_end(bed->runs[i]); f++) {
            model_set(m, f, f == 0 ? MODEL_RESERVED : MODEL_FREE);
        }
    }
    for (size_t i = 0; i < bed->hold_count; i++) {
        for (uint64_t f = bed->holds[i].first.v; f < hold_end(bed->holds[i]); f++) {
            model_set(m, f, kind_of_hold[bed->holds[i].kind]);
        }
    }
    for (uint64_t f = m->first; f < m->end; f += PMM_BLOCK_FRAMES) {
        m->node[block_of(f) - block_of(m->first)] = (uint8_t)node_at_start(bed, f);
    }
    make_regions(m);
    m->came_free = 0;
}

struct pmm_model *model_new(struct pmm_bed *bed)
{
    uint64_t blocks = bed->end_block - bed->first_block, frames = blocks * PMM_BLOCK_FRAMES;
    struct bed_arena *arena = bed->arena;
    struct pmm_model *m = bed_pages(arena, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    *m = (struct pmm_model){
        .bed = bed, .first = bed->first_block * PMM_BLOCK_FRAMES, .end = bed->end_block * PMM_BLOCK_FRAMES,
        .kind = bed_pages(arena, 2 * frames), .references = bed_pages(arena, frames * sizeof(uint16_t)),
        .region = bed_pages(arena, blocks * (sizeof(uint16_t) + sizeof(bool) + 1)),
        .run = bed_pages(arena, blocks * (sizeof(uint32_t) + sizeof(bool))),
        .scratch = {bed_pages(arena, 2 * BED_SET_SLOTS * sizeof(uint64_t))}, .zero_frame = MODEL_NO_FRAME,
        .earmarked_at = UINT64_MAX, .ok = true};
    if (m->kind == NULL || m->references == NULL || m->region == NULL || m->run == NULL || m->scratch[0] == NULL) {
        test_note("no memory for the model");
        return NULL;
    }
    m->marks = m->kind + frames;
    m->is_left_out = (bool *)(m->region + blocks);
    m->node = (uint8_t *)(m->is_left_out + blocks);
    m->is_head = (bool *)(m->run + blocks);
    m->scratch[1] = m->scratch[0] + BED_SET_SLOTS;
    set_kinds(m);
    bed->model = m;
    return m;
}
