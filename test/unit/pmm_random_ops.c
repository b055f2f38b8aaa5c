/* Operations on a PMM held against the model: the game, and what its operations share. */
#include "unit/pmm_random_ops.h"

#ifdef CAIRN_HOST
#include "model/cpu.h"
#endif

/* ---- Dice ---- */

uint64_t dice_below(struct dice *d, uint64_t bound)
{
    if (d->bytes == NULL) {
        return rng_below(&d->rng, bound);
    }
    uint64_t value = 0;
    for (uint64_t most = 1; most < bound && d->left > 0; most <<= 8, d->left--) {
        value = value << 8 | *d->bytes++;
    }
    return value % bound;
}

bool dice_one_in(struct dice *d, uint64_t times) { return dice_below(d, times) == times - 1; }

/* ---- Calls and statuses ---- */

const char *play_call_name(enum play_call call)
{
    static const char *const names[] = {
        "init", "alloc", "free", "free_at", "retain", "release", "zero_frame_set", "zero_frame", "claim", "give_back",
        "promise", "unpromise", "alloc_many", "free_many", "alloc_run", "free_run", "split_run", "owner_open",
        "owner_close", "uncharge", "low_add", "low_remove", "emergency_reserve", "zone_reserve", "alloc_zeroed",
        "zero_fill", "mark_bad", "region_add", "region_remove"};
    static_assert(ARRAY_LEN(names) == PLAY_CALLS, "one name a call");
    return names[call];
}

void play_calls(struct play *p, enum play_callbacks callbacks)
{
    p->reports = test_reports();
    p->model->cached = pmm_stats(p->pmm).cached.v;
    p->callbacks = callbacks;
    p->has_swapped = false;
    p->backs = p->bed->backs;
    for (size_t i = 0; i < PLAY_LOWS; i++) {
        p->lows[i].calls = 0;
    }
}

bool play_answers(struct play *p, enum play_call call, enum status s, unsigned may)
{
    struct pmm_model *m = p->model;
    unsigned reports = test_reports() - p->reports;
    p->callbacks = CALLS_NOBODY;
    p->tally->seen[call][s]++;
    p->is_corrupt = p->is_corrupt || s == STATUS_CORRUPT;
    p->tally->reports += reports;
    m->misuses += s == STATUS_MISUSE;
    if (!AGREE(m, (may >> s & 1U) != 0)) {
        test_note("%s answers %s; it may answer %#x", play_call_name(call), status_name(s), may);
    }
    bool may_report_more = s == STATUS_LIMIT || s == STATUS_CORRUPT || model_is_broken(m);
    if (!may_report_more) {
        AGREE_EQ(m, reports, s == STATUS_MISUSE);
    }
    return s == STATUS_OK && m->ok;
}

bool play_served(struct play *p, enum play_call call, unsigned flags, uint64_t n, enum status s)
{
    struct pmm_model *m = p->model;
    unsigned may = 0;
    if (model_flags_wrong(m, flags, n)) {
        may = MAY(STATUS_MISUSE);
    } else if (model_is_broken(m)) {
        may = MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_CORRUPT);
    } else {
        may |= s == STATUS_OK && model_may_serve(m, flags, n) ? MAY(STATUS_OK) : 0;
        /* Callbacks that allocate what they freed gave nothing, though it lies elsewhere now. */
        bool is_excused = p->has_swapped && model_limit(flags) != UINT64_MAX;
        may |= s == STATUS_NOMEM && (is_excused || !model_must_serve(m, flags, n)) ? MAY(STATUS_NOMEM) : 0;
    }
    bool ok = play_answers(p, call, s, may);
    if (!m->ok) {
        test_note("flags %#x for %lu frames: %lu available, %lu promised, %lu for emergencies", flags, n,
                  model_avail(m), m->promised, m->emergency);
    }
    if (ok) {
        m->promised -= (flags & PMM_PROMISED) != 0 ? n : 0;
        p->drawn += (flags & PMM_EMERGENCY) != 0 ? n : 0;
    }
    return ok;
}

void play_zone_is_kept(struct play *p, unsigned flags, enum pmm_zone zone)
{
    struct pmm_model *m = p->model;
    struct pmm_zone_stats s = pmm_stats(p->pmm).zones[zone];
    bool may_draw = (flags & (PMM_PROMISED | PMM_EMERGENCY)) != 0 || zone == model_highest_zone(flags);
    /* What lay in a magazine was taken before; and metadata comes from anywhere. */
    if (m->cached == 0 && !p->has_swapped && !may_draw && p->backs == p->bed->backs) {
        AGREE(m, s.free.v >= m->zone_reserve[zone]);
    }
}

void play_took(struct play *p, unsigned flags, pfn_t frame)
{
    struct pmm_model *m = p->model;
    unsigned owner = flags >> PMM_OWNER_SHIFT;
    struct pmm_frame q = pmm_query(p->pmm, frame);
    AGREE(m, frame.v < model_limit(flags));
    AGREE(m, q.state == PMM_STATE_USED && q.references == 1 && (q.owner == 0 || q.owner == owner));
    model_allocated(m, frame.v);
    play_zone_is_kept(p, flags, q.zone);
    p->to_trace += p->is_traced;
    AGREE(m, frame.v != p->zeroing);
    if (owner != 0) {
        m->owners[owner].held++;
        m->owners[owner].drawn++;
    }
    if (!m->ok) {
        test_note("frame %#lx for flags %#x: %s, owner %u", frame.v, flags, pmm_state_name(q.state), q.owner);
    }
}

/* ---- Arguments ---- */

uint64_t play_find(struct play *p, enum model_kind kind)
{
    const struct pmm_model *m = p->model;
    uint64_t span = m->end - m->first, start = dice_below(&p->dice, span);
    for (uint64_t i = 0; i < span && m->counts[kind] > 0; i++) {
        uint64_t frame = m->first + (start + i) % span;
        if (model_kind(m, frame) == kind) {
            return frame;
        }
    }
    return MODEL_NO_FRAME;
}

uint64_t play_anywhere(struct play *p)
{
    static const uint64_t wild[] = {
        0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX / PAGE_BYTES, UINT64_MAX / PMM_BLOCK_FRAMES};
    uint64_t frame = MODEL_NO_FRAME;
    switch (dice_below(&p->dice, 8)) {
        case 0: return wild[dice_below(&p->dice, ARRAY_LEN(wild))];
        case 1: frame = play_find(p, MODEL_RUN); break;
        case 2: frame = play_find(p, MODEL_FREE); break;
        case 3: frame = play_find(p, MODEL_USED); break;
        default: break;
    }
    uint64_t span = p->model->end - p->model->first;
    frame = frame != MODEL_NO_FRAME ? frame : p->model->first + dice_below(&p->dice, span + PMM_BLOCK_FRAMES);
    return model_kind(p->model, frame) == MODEL_GONE ? 0 : frame;
}

uint64_t play_in_use(struct play *p)
{
    uint64_t frame = dice_one_in(&p->dice, 12) ? MODEL_NO_FRAME : play_find(p, MODEL_USED);
    return frame != MODEL_NO_FRAME ? frame : play_anywhere(p);
}

unsigned play_owner(struct play *p)
{
    unsigned owner = 1 + (unsigned)dice_below(&p->dice, p->bed->owner_capacity + 1);
    for (unsigned i = 0; i < MODEL_OWNERS && !dice_one_in(&p->dice, 20); i++) {
        if (p->model->owners[owner].is_open) {
            return owner;
        }
        owner = owner % MODEL_OWNERS + 1;
    }
    return owner;
}

unsigned play_flags(struct play *p)
{
    static const unsigned below[] = {PMM_BELOW_1M, PMM_BELOW_16M, PMM_BELOW_4G, PMM_BELOW_1M | PMM_BELOW_4G};
    struct dice *d = &p->dice;
    unsigned flags = dice_below(d, 2) == 0 ? PMM_KERNEL : PMM_USER;
    uint64_t how = dice_below(d, 16);
    flags |= how == 0 && (p->model->promised > 0 || dice_one_in(d, 4)) ? PMM_PROMISED : 0;
    flags |= how == 1 ? below[dice_below(d, ARRAY_LEN(below))] : 0;
    flags |= how == 2 || how == 3 ? PMM_EMERGENCY : 0;
    flags |= how >= 4 && how < 8 ? PMM_NO_RECLAIM : 0;
    if (how >= 8 && how < 13 && p->bed->owner_capacity > 0) {
        unsigned owner = play_owner(p);
        flags |= p->model->owners[owner].is_open || dice_one_in(d, 8) ? PMM_OWNER(owner) : 0;
    }
    flags |= how == 15 && dice_one_in(d, 8) ? 1U << (7 + dice_below(d, 9)) : 0;
    flags |= dice_one_in(d, 24) ? PMM_EMERGENCY | PMM_BELOW_16M : 0;
    return flags;
}

unsigned play_owner_of(const struct play *p, uint64_t frame) { return pmm_query(p->pmm, pfn(frame)).owner; }

void play_released(struct play *p, uint64_t frame, unsigned owner)
{
    model_released(p->model, frame);
    if (model_references(p->model, frame) == 0 && owner != 0 && owner <= MODEL_OWNERS) {
        p->model->owners[owner].held--;
    }
}

/* ---- Steps ---- */

/* Weights while memory fills, is used, and empties; `brave`: not after the backing failed. */
static const struct operation {
    void (*run)(struct play *p);
    const char *name;
    uint8_t weight[3];
    bool brave;
} operations[] = {
    {play_alloc, "alloc", {30, 22, 8}, false}, {play_free, "free", {8, 22, 30}, false},
    {play_alloc_many, "alloc_many", {14, 6, 1}, false}, {play_free_many, "free_many", {2, 6, 14}, false},
    {play_alloc_run, "alloc_run", {8, 6, 3}, false}, {play_free_run, "free_run", {2, 5, 10}, false},
    {play_split_run, "split_run", {1, 2, 2}, false}, {play_largest_run, "largest_run", {1, 1, 1}, true},
    {play_retain, "retain", {4, 5, 3}, false}, {play_reference_limit, "reference_limit", {1, 1, 1}, false},
    {play_zero_frame, "zero_frame", {1, 2, 2}, false}, {play_claim, "claim", {4, 4, 2}, false},
    {play_give_back, "give_back", {3, 4, 2}, false}, {play_promise, "promise", {4, 5, 5}, false},
    {play_questions, "questions", {1, 1, 1}, false}, {play_owner_open, "owner_open", {4, 2, 1}, false},
    {play_owner_close, "owner_close", {0, 1, 3}, false}, {play_uncharge, "uncharge", {1, 1, 1}, false},
    {play_policy, "policy", {1, 1, 1}, false}, {play_mark_bad, "mark_bad", {1, 2, 1}, false},
    {play_region_add, "region_add", {2, 2, 1}, true}, {play_region_remove, "region_remove", {1, 2, 4}, true},
    {play_lows, "lows", {2, 2, 2}, false}, {play_reserves, "reserves", {1, 2, 2}, true},
    {play_squeeze, "squeeze", {0, 1, 1}, true},
    {play_alloc_zeroed, "alloc_zeroed", {4, 4, 2}, false}, {play_zero_fill, "zero_fill", {1, 2, 2}, true},
    {play_drain, "drain", {1, 1, 1}, false}, {play_trace, "trace", {1, 1, 1}, false},
};

static const struct operation *choose(struct play *p)
{
    enum { PHASE_STEPS = 64 };
    uint64_t phase = p->step / PHASE_STEPS % 3, sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        sum += operations[i].weight[phase];
    }
    uint64_t at = dice_below(&p->dice, sum);
    for (size_t i = 0;; i++) {
        if (at < operations[i].weight[phase]) {
            return operations[i].brave && model_is_broken(p->model) ? &operations[0] : &operations[i];
        }
        at -= operations[i].weight[phase];
    }
}

static void run_on_cpu(const struct play *p, uint64_t cpu)
{
#ifdef CAIRN_HOST
    model_thread_is_cpu(p->bed->cpu_count > 1 ? (unsigned)cpu : 0);
#else
    (void)p;
    (void)cpu;
#endif
}

static void look_at_everything(struct play *p)
{
    if (p->model->ok && !model_is_broken(p->model)) {
        model_note_ok(p->model, bed_sound(p->bed));
    }
    if (p->model->ok) {
        model_agrees(p->model);
    }
}

bool play_step(struct play *p, enum play_depth depth)
{
    enum { LIGHT_STEPS = 50 };
    struct pmm_model *m = p->model;
    const struct operation *op = choose(p);
    p->what = op->name;
    p->drawn = 0;
    p->may_lose = 0;
    p->is_corrupt = false;
    bool was_broken = model_is_broken(m);
    run_on_cpu(p, p->bed->cpu_count > 1 ? dice_below(&p->dice, p->bed->cpu_count) : 0);
    op->run(p);
    if (model_is_broken(m) && (p->is_corrupt || !was_broken)) {
        model_mourn(m, p->may_lose + (was_broken ? 0 : PMM_TABLE_LEVELS_MAX + 1));
    }
    AGREE_EQ(m, p->traced, p->to_trace);
    model_totals_agree(m, p->drawn);
    p->step++;
    if (m->ok && (depth == PLAY_THOROUGH || p->step % LIGHT_STEPS == 0)) {
        look_at_everything(p);
    }
    run_on_cpu(p, 0);
    return m->ok;
}

/* ---- The end ---- */

static void release_all(struct play *p)
{
    struct pmm_model *m = p->model;
    for (uint64_t f = m->first; f < m->end && m->ok; f++) {
        while (m->ok && (model_kind(m, f) == MODEL_USED || model_kind(m, f) == MODEL_RUN)) {
            unsigned owner = play_owner_of(p, f);
            AGREE_EQ(m, pmm_release(p->pmm, pfn(f), NULL), STATUS_OK);
            play_released(p, f, owner);
        }
    }
}

bool play_end(struct play *p)
{
    struct pmm_model *m = p->model;
    bool broken = model_is_broken(m);
    p->what = "the end";
    pmm_trace(p->pmm, NULL, NULL);
    for (size_t i = 0; i < PLAY_LOWS; i++) {
        if (p->lows[i].is_added) {
            AGREE_EQ(m, pmm_low_remove(p->pmm, &p->lows[i].low), STATUS_OK);
        }
    }
    AGREE_EQ(m, pmm_unpromise(p->pmm, npages(m->promised)), STATUS_OK);
    m->promised = 0;
    release_all(p);
    for (unsigned owner = 1; owner <= MODEL_OWNERS && m->ok; owner++) {
        struct pmm_owner_end end = {.blocks = npages(0)};
        if (m->owners[owner].is_open) {
            AGREE_EQ(m, pmm_owner_close(p->pmm, owner, &end), STATUS_OK);
            AGREE_EQ(m, end.frames.v, 0);
            m->owners[owner] = (struct model_owner){.is_open = false};
        }
    }
    for (uint64_t cpu = p->bed->cpu_count; cpu > 0; cpu--) {
        run_on_cpu(p, cpu - 1);
        pmm_drain(p->pmm);
    }
    run_on_cpu(p, 0);
    if (m->ok && !broken) {
        pmm_drain(p->pmm);
        model_totals_agree(m, 0);
        AGREE_EQ(m, pmm_stats(p->pmm).cached.v, 0);
        AGREE_EQ(m, pmm_stats(p->pmm).used.v, m->counts[MODEL_ZERO]);
    }
    look_at_everything(p);
    p->bed->model = NULL;
    return m->ok;
}
