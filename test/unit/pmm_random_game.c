/* Operations on a PMM held against the model: how a game begins. */
#include "unit/pmm_random_ops.h"

/* Blocks: at the start, across 16 MiB, across 4 GiB, and far up; the short ones first. */
static const uint64_t windows[][2] = {{0, 3}, {5000, 5004}, {6, 11}, {2046, 2051}, {0, 12}, {2040, 2056}, {0, 40}};

/* Runs and holds as the dice say; a fuzzer finds its own. */
static void dice_map(struct pmm_bed *bed, struct dice *d)
{
    static const uint64_t longest[] = {3, 40, PMM_BLOCK_FRAMES, 6 * PMM_BLOCK_FRAMES};
    uint64_t at = bed->first_block * PMM_BLOCK_FRAMES + dice_below(d, 3), end = bed->end_block * PMM_BLOCK_FRAMES;
    while (at < end && bed->run_count < BED_RUNS_MAX / 4) {
        uint64_t frames = 1 + dice_below(d, longest[dice_below(d, ARRAY_LEN(longest))]);
        frames = frames < end - at ? frames : end - at;
        bed_run(bed, at, frames);
        for (uint64_t held_end = at;
             dice_below(d, 3) == 0 && held_end < at + frames && bed->hold_count < BED_HOLDS_MAX / 2;) {
            uint64_t first = held_end + dice_below(d, at + frames - held_end), left = at + frames - first;
            uint64_t held = 1 + dice_below(d, dice_below(d, 2) == 0 && left > 4 ? 4 : left);
            bed_hold(bed, first, held, (enum hold_kind)dice_below(d, HOLD_BAD + 1));
            held_end = first + held;
        }
        at += frames + 1 + dice_below(d, longest[dice_below(d, ARRAY_LEN(longest))]);
    }
}

/* Up to three nodes, not always at the borders of blocks. */
static void draw_nodes(struct pmm_bed *bed, struct dice *d)
{
    static const uint8_t distance[] = {10, 20, 30, 20, 10, 15, 30, 15, 10};
    uint64_t nodes = dice_below(d, 6) == 0 ? 2 + dice_below(d, 2) : 0;
    uint64_t at = bed->first_block * PMM_BLOCK_FRAMES, end = bed->end_block * PMM_BLOCK_FRAMES;
    for (uint64_t i = 0; i < nodes && at < end; i++) {
        uint64_t frames = 1 + dice_below(d, end - at);
        bed_node(bed, at, frames, (unsigned)i);
        at += frames + dice_below(d, 2) * PMM_BLOCK_FRAMES;
    }
    bed->node_distance = bed->node_count == 3 && dice_below(d, 2) == 0 ? distance : NULL;
}

static void draw_rest(struct pmm_bed *bed, struct dice *d)
{
    static const uint8_t pools[] = {0, 0, 5, 64};
    draw_nodes(bed, d);
#ifdef CAIRN_HOST
    bed_with_cpus(bed, dice_below(d, 3));
#else
    bed_with_cpus(bed, dice_below(d, 2));
#endif
    bed_with_owners(bed, dice_below(d, 4));
    bed_with_zero_pool(bed, pools[dice_below(d, ARRAY_LEN(pools))]);
    size_t room = dice_below(d, 4);
    bed_with_room(bed, bed->run_count + room <= BED_RUNS_MAX ? room : 0);
    if (dice_below(d, 2) == 0) {
        bed->hold_capacity = bed->hold_count + dice_below(d, 2);
    }
    if (dice_below(d, 6) == 0) {
        size_t needed = pmm_count_descriptors(bed->runs, bed->run_count) + 2 * bed->node_range_count;
        bed->region_capacity = needed + dice_below(d, 3);
    }
}

static struct pmm_bed *draw_bed(struct play *p, uint64_t most_blocks)
{
    struct dice *d = &p->dice;
    size_t fitting = 0;
    while (fitting < ARRAY_LEN(windows) && windows[fitting][1] - windows[fitting][0] <= most_blocks) {
        fitting++;
    }
    const uint64_t *window = windows[dice_below(d, fitting)];
    struct pmm_bed *bed = bed_new(p->arena, window[0], window[1], (unsigned)dice_below(d, PMM_TABLE_LEVELS_MAX + 1));
    if (bed == NULL) {
        return NULL;
    }
    /* The arrays are whole pages; the map keeps to the window, and beyond it there is room for blocks to add. */
    uint64_t last = bed->end_block, beyond = window[1] + dice_below(d, 4);
    bed->first_block = window[0];
    bed->end_block = window[1];
    uint64_t style = dice_below(d, BED_STYLES + 2);
    if (style < BED_STYLES) {
        struct rng rng = rng_seeded(dice_below(d, UINT16_MAX + 1));
        bed_random_map(bed, &rng, (unsigned)style);
    } else {
        dice_map(bed, d);
    }
    draw_rest(bed, d);
    bed->end_block = beyond < last ? beyond : last;
    return bed;
}

static void tally_start(struct play *p, enum status s, unsigned may)
{
    p->tally->seen[CALL_INIT][s]++;
    if (!AGREE(p->model, (may >> s & 1U) != 0)) {
        test_note("pmm_init answers %s", status_name(s));
    }
}

/* Beginnings that must fail, before the one that counts. */
static void start_badly(struct play *p)
{
    struct pmm_bed *bed = p->bed;
    uint64_t how = dice_below(&p->dice, 8);
    if (how == 0 && bed->run_count > 0) {
        size_t capacity = bed->region_capacity;
        bed->region_capacity = pmm_count_descriptors(bed->runs, bed->run_count) - 1;
        tally_start(p, bed_start(bed), MAY(STATUS_LIMIT));
        bed->region_capacity = capacity;
    } else if (how == 1) {
        size_t runs = bed->run_count;
        bed->run_count = 0;
        tally_start(p, bed_start(bed), MAY(STATUS_INVALID));
        bed->run_count = runs;
    }
}

bool play_begin(struct play *p, struct bed_arena *arena, struct play_tally *tally, uint64_t most_blocks,
                uint64_t fail_at)
{
    struct dice dice = p->dice;
    *p = (struct play){.dice = dice, .arena = arena, .tally = tally, .zeroing = MODEL_NO_FRAME,
                        .what = "the beginning"};
    p->bed = draw_bed(p, most_blocks);
    if (p->bed == NULL || p->bed->run_count == 0) {
        p->bed = NULL;
        return false;
    }
    p->pmm = &p->bed->pmm;
    p->model = model_new(p->bed);
    if (p->model == NULL) {
        return false;
    }
    start_badly(p);
    bool poor = model_is_poor(p->model);
    enum status s = bed_start(p->bed);
    p->bed->fail_at = fail_at == 0 ? 0 : p->bed->backs + fail_at;
    tally_start(p, s, poor ? MAY(STATUS_OK) | MAY(STATUS_NOMEM) : MAY(STATUS_OK));
    if (poor || s != STATUS_OK) {
        /* A stricter rule, or no memory at all: tested by name. */
        p->bed->model = NULL;
        p->bed = NULL;
        return false;
    }
    if (dice_below(&p->dice, 4) != 0) { /* small owners have blocks of their own */
        pmm_policy_set(p->pmm, (struct pmm_policy){npages(2), 0});
    }
    return model_note_ok(p->model, bed_sound(p->bed)) && model_agrees(p->model);
}
