/* Operations on a PMM held against the model: memory that comes, goes or breaks. */
#include "unit/pmm_random_ops.h"

/* All that is available is promised: what takes memory away must fail now. Most of it comes back by play_promise. */
void play_promise_all(struct play *p)
{
    struct pmm_model *m = p->model;
    uint64_t all = model_for_all(m), beyond = model_out_of_reach(m), n = all > beyond ? all - beyond : 0;
    if (model_is_broken(m)) {
        return;
    }
    play_calls(p, CALLS_TO_FREE);
    if (play_answers(p, CALL_PROMISE, pmm_promise(p->pmm, npages(n)), MAY(STATUS_OK))) {
        m->promised += n;
    }
}

/* ---- What breaks ---- */

static void mark_one(struct play *p, uint64_t frame)
{
    play_calls(p, CALLS_TO_FREE);
    enum status s = pmm_mark_bad(p->pmm, pfn(frame));
    if (play_answers(p, CALL_MARK_BAD, s, model_mark_bad(p->model, frame))) {
        model_marked_bad(p->model, frame);
    } else if (!p->model->ok) {
        test_note("frame %#lx, kind %u, %u references", frame, model_kind(p->model, frame),
                  model_references(p->model, frame));
    }
}

/* Many shared frames that wait: then there is no more room for one. */
static void fill_waiting_list(struct play *p)
{
    struct pmm_model *m = p->model;
    unsigned waiting = 0;
    for (uint64_t f = play_find(p, MODEL_USED); f < m->end && waiting <= PMM_BAD_SHARED_MAX && m->ok; f++) {
        if (model_free_one(m, f) != STATUS_OK || model_marks(m, f) != 0) {
            continue;
        }
        play_calls(p, CALLS_NOBODY);
        if (play_answers(p, CALL_RETAIN, pmm_retain(p->pmm, pfn(f)), MAY(STATUS_OK))) {
            model_retained(m, f);
        }
        mark_one(p, f);
        waiting++;
    }
}

void play_mark_bad(struct play *p)
{
    struct dice *d = &p->dice;
    if (dice_one_in(d, 12)) {
        fill_waiting_list(p);
        return;
    }
    if (dice_one_in(d, 3)) {
        play_promise_all(p);
    }
    static const enum model_kind kinds[] = {MODEL_FREE, MODEL_FREE, MODEL_FREE, MODEL_USED, MODEL_USED,
                                            MODEL_RUN,  MODEL_RESERVED, MODEL_BAD, MODEL_ZERO, MODEL_METADATA};
    uint64_t frame = play_find(p, kinds[dice_below(d, ARRAY_LEN(kinds))]);
    for (unsigned i = 0; i < 8 && p->bed->owner_capacity > 0 && frame != MODEL_NO_FRAME; i++) {
        if (model_kind(p->model, frame) == MODEL_USED && play_owner_of(p, frame) == 0) {
            frame = play_find(p, MODEL_USED); /* in a block of its own, if there is one */
        }
    }
    mark_one(p, frame == MODEL_NO_FRAME || dice_one_in(d, 8) ? play_anywhere(p) : frame);
}

/* ---- What comes and goes ---- */

/* Some blocks that no region touches, if there are any; else any. */
static uint64_t empty_blocks(struct play *p, uint64_t *count)
{
    const struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t first = m->first / PMM_BLOCK_FRAMES, end = m->end / PMM_BLOCK_FRAMES;
    uint64_t at = first + dice_below(d, end - first);
    for (uint64_t i = 0; i < end - first && model_region(m, at) != 0; i++) {
        at = at + 1 < end ? at + 1 : first;
    }
    *count = 1;
    while (at + *count < end && model_region(m, at + *count) == 0 && dice_below(d, 3) != 0) {
        ++*count;
    }
    return at;
}

static unsigned add_answers(const struct play *p, uint64_t first, uint64_t frames, unsigned node)
{
    const struct pmm_model *m = p->model;
    const struct pmm_bed *bed = p->bed;
    unsigned nodes = bed->node_count == 0 ? 1 : bed->node_count;
    if (first == 0 || first % PMM_BLOCK_FRAMES != 0 || frames % PMM_BLOCK_FRAMES != 0 || frames == 0 ||
        first + frames < first || (first + frames) / PMM_BLOCK_FRAMES >= UINT32_MAX - 1 || node >= nodes) {
        return MAY(STATUS_INVALID);
    }
    unsigned may = MAY(STATUS_OK);
    for (uint64_t f = first; f < first + frames; f += PMM_BLOCK_FRAMES) {
        may = model_region(m, f / PMM_BLOCK_FRAMES) != 0 ? MAY(STATUS_EXISTS) : may;
    }
    if (p->pmm->run_count >= p->pmm->run_capacity || bed->run_capacity == 0) {
        /* It may be joined with its neighbours in the list. */
        bool touches = model_kind(m, first - 1) >= MODEL_FREE || model_kind(m, first + frames) >= MODEL_FREE;
        return touches ? may | MAY(STATUS_LIMIT) : may == MAY(STATUS_OK) ? MAY(STATUS_LIMIT) : may | MAY(STATUS_LIMIT);
    }
    size_t regions_max = p->pmm->region_count + 2;
    bool is_full = regions_max > bed->region_capacity || p->pmm->hold_count >= p->pmm->hold_capacity;
    return may | (is_full ? MAY(STATUS_LIMIT) : 0);
}

void play_region_add(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    uint64_t blocks, block = empty_blocks(p, &blocks);
    uint64_t first = block * PMM_BLOCK_FRAMES, frames = blocks * PMM_BLOCK_FRAMES;
    unsigned node = p->bed->node_count == 0 ? 0 : (unsigned)dice_below(d, p->bed->node_count);
    switch (dice_below(d, 16)) {
        case 0: first++; break;
        case 1: frames += dice_below(d, 2) == 0 ? 1 : UINT64_MAX - frames; break;
        case 2: node = p->bed->node_count + 1; break;
        case 3: frames = 0; break;
        default: break;
    }
    unsigned may = add_answers(p, first, frames, node);
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_region_add(p->pmm, pfn(first), npages(frames), node);
    if (play_answers(p, CALL_REGION_ADD, s, may)) {
        model_add_region(m, block, block + blocks, node);
    } else if (!m->ok) {
        test_note("%lu blocks at block %#lx, frames [%#lx, + %lu)", blocks, block, first, frames);
    }
}

/* What a region is, as the model sees it. */
struct extent {
    uint64_t number, first_block, end_block;
    uint64_t ram, ram_end; /* first frame of RAM, and the one behind the last */
    struct pmm_in_the_way way;
    uint64_t free;
};

static struct extent look_at_region(const struct play *p, uint64_t block)
{
    const struct pmm_model *m = p->model;
    struct extent e = {.number = model_region(m, block), .first_block = block, .end_block = block + 1,
                       .ram = MODEL_NO_FRAME, .way = {.first = pfn(MODEL_NO_FRAME)}};
    while (e.first_block > m->first / PMM_BLOCK_FRAMES && model_region(m, e.first_block - 1) == e.number) {
        e.first_block--;
    }
    while (e.end_block < m->end / PMM_BLOCK_FRAMES && model_region(m, e.end_block) == e.number) {
        e.end_block++;
    }
    for (uint64_t f = e.first_block * PMM_BLOCK_FRAMES; f < e.end_block * PMM_BLOCK_FRAMES; f++) {
        enum model_kind kind = model_kind(m, f);
        if (kind >= MODEL_FREE) {
            e.ram = f < e.ram ? f : e.ram;
            e.ram_end = f + 1;
        }
        e.free += kind == MODEL_FREE;
        e.way.used.v += kind == MODEL_USED || kind == MODEL_RUN || kind == MODEL_ZERO;
        e.way.reserved.v += kind == MODEL_RESERVED || kind == MODEL_BAD;
        e.way.metadata.v += kind == MODEL_METADATA;
        if (kind > MODEL_FREE && e.way.first.v == MODEL_NO_FRAME) {
            e.way.first = pfn(f);
            e.way.what = pmm_query(p->pmm, pfn(f));
        }
    }
    return e;
}

static bool has_cached(const struct play *p, const struct extent *e)
{
    for (uint64_t f = e->ram; f < e->ram_end; f++) {
        if (model_is_cached(p->model, f)) {
            return true;
        }
    }
    return false;
}

/* Before the call; whether NOMEM is right is judged after it. */
static unsigned remove_answers(struct play *p, const struct extent *e, uint64_t first, uint64_t frames)
{
    if (e->number == 0 || first != e->ram || first + frames != e->ram_end) {
        return MAY(STATUS_ABSENT);
    }
    if (e->way.first.v != MODEL_NO_FRAME) {
        return MAY(STATUS_EXISTS);
    }
    unsigned may = MAY(STATUS_OK) | MAY(STATUS_NOMEM);
    if (p->pmm->run_count >= p->pmm->run_capacity || p->pmm->hold_count >= p->pmm->hold_capacity) {
        may |= MAY(STATUS_LIMIT);
    }
    return may | (p->bed->cpu_count > 1 && has_cached(p, e) ? MAY(STATUS_EXISTS) : 0);
}

static void way_agrees(struct play *p, const struct extent *e, const struct pmm_in_the_way *way)
{
    struct pmm_model *m = p->model;
    AGREE_EQ(m, way->first.v, e->way.first.v);
    AGREE_EQ(m, way->what.state, e->way.what.state);
    AGREE_EQ(m, way->what.references, e->way.what.references);
    AGREE_EQ(m, way->used.v, e->way.used.v);
    AGREE_EQ(m, way->reserved.v, e->way.reserved.v);
    AGREE_EQ(m, way->metadata.v, e->way.metadata.v);
}

void play_region_remove(struct play *p)
{
    struct pmm_model *m = p->model;
    struct dice *d = &p->dice;
    struct extent e;
    unsigned tries = 0;
    do { /* one where nothing is in the way, if there are any */
        e = look_at_region(p, m->first / PMM_BLOCK_FRAMES + dice_below(d, (m->end - m->first) / PMM_BLOCK_FRAMES));
    } while (++tries < 8 && (e.number == 0 || e.way.first.v != MODEL_NO_FRAME) && dice_below(d, 6) != 0);
    if (dice_one_in(d, 3)) {
        play_promise_all(p);
    }
    bool by_ram = dice_below(d, 4) != 0 && e.ram != MODEL_NO_FRAME;
    uint64_t first = by_ram ? e.ram : e.first_block * PMM_BLOCK_FRAMES;
    uint64_t frames = (by_ram ? e.ram_end : e.end_block * PMM_BLOCK_FRAMES) - first;
    frames -= dice_one_in(d, 8) ? 1 : 0;
    unsigned may = remove_answers(p, &e, first, frames);
    struct pmm_in_the_way way = {.first = pfn(MODEL_NO_FRAME)};
    play_calls(p, CALLS_TO_FREE);
    enum status s = pmm_region_remove(p->pmm, pfn(first), npages(frames), &way);
    if (play_answers(p, CALL_REGION_REMOVE, s, may)) {
        model_remove_region(m, e.number);
        AGREE(m, m->counts[MODEL_FREE] >= model_earmarked(m) + m->promised);
        return;
    }
    bool is_exact = p->bed->cpu_count <= 1 || !has_cached(p, &e); /* what another CPU has cached is in the way too */
    if (m->ok && s == STATUS_EXISTS && e.way.first.v != MODEL_NO_FRAME && is_exact) {
        way_agrees(p, &e, &way);
    }
    /* Without it there is less free, but less to be kept for metadata too: this is more than enough. */
    uint64_t kept = m->promised + m->emergency + model_out_of_reach(m);
    for (size_t z = 0; z < PMM_ZONES; z++) {
        kept += m->zone_reserve[z];
    }
    AGREE(m, s != STATUS_NOMEM || model_free(m) < e.free + kept);
    if (!m->ok) {
        test_note("[%#lx, + %lu) of blocks [%#lx, %#lx), RAM [%#lx, %#lx)", first, frames, e.first_block, e.end_block,
                  e.ram, e.ram_end);
    }
}
