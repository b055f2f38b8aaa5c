/* The fake machine of the PMM's tests. */
#include "unit/pmm_bed.h"

#include "unit/pmm_model.h"

enum { POISON = 0xA5 };

bool bed_set_has(const struct bed_set *set, uint64_t number)
{
    for (size_t at = number * 0x9E3779B97F4A7C15 >> 32;; at++) {
        uint64_t slot = set->slots[at % BED_SET_SLOTS];
        if (slot == number || slot == 0) {
            return slot != 0;
        }
    }
}

bool bed_set_add(struct bed_set *set, uint64_t number)
{
    if (bed_set_has(set, number)) {
        return false;
    }
    if (++set->count > BED_SET_SLOTS / 2) {
        EXPECT(set->count <= BED_SET_SLOTS / 2);
        return true;
    }
    size_t at = number * 0x9E3779B97F4A7C15 >> 32;
    while (set->slots[at % BED_SET_SLOTS] != 0) {
        at++;
    }
    set->slots[at % BED_SET_SLOTS] = number;
    return true;
}

uint64_t bed_unit(const void *address, unsigned level)
{
    uint64_t number = vaddr_page_number(ptr_to_vaddr(address));
    for (unsigned i = 0; i < level; i++) {
        number /= PAGES_PER_2M;
    }
    return number | (uint64_t)(level + 1) << BED_UNIT_LEVEL_SHIFT;
}

static npages_t bed_missing(void *ctx, const void *page)
{
    const struct pmm_bed *bed = ctx;
    uint64_t missing = 0;
    for (unsigned level = 0; level <= bed->levels; level++) {
        missing += !bed_set_has(&bed->backed, bed_unit(page, level));
    }
    return npages(bed->lies && missing > 0 ? bed->levels + 2 : missing);
}

static enum status bed_back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    struct pmm_bed *bed = ctx;
    EXPECT_EQ(n.v, bed_missing(bed, page).v);
    EXPECT(n.v > 0);
    bed->backs++;
    if (bed->fail_at != 0 && bed->backs >= bed->fail_at) {
        return STATUS_CORRUPT;
    }
    for (uint64_t i = 0; i < n.v; i++) {
        bed->frames_taken++;
        if (bed->model != NULL) {
            model_metadata(bed->model, frames[i].v);
        }
    }
    for (unsigned level = 0; level <= bed->levels; level++) {
        bed_set_add(&bed->backed, bed_unit(page, level));
    }
    memset(vaddr_to_ptr(vaddr_page(ptr_to_vaddr(page))), 0, PAGE_BYTES);
    return STATUS_OK;
}

struct bed_arena bed_arena(void)
{
    return (struct bed_arena){test_pages(BED_ARENA_PAGES), pages_to_bytes(npages(BED_ARENA_PAGES)), 0};
}

void *bed_pages(struct bed_arena *arena, size_t bytes)
{
    npages_t pages = bytes_to_pages_up(bytes);
    if (arena == NULL) {
        return test_pages(pages.v);
    }
    if (arena->base == NULL || pages_to_bytes(pages) > arena->size - arena->used) {
        return NULL;
    }
    unsigned char *p = arena->base + arena->used;
    arena->used += pages_to_bytes(pages);
    memset(p, 0, pages_to_bytes(pages));
    return p;
}

struct pmm_bed *bed_new(struct bed_arena *arena, uint64_t first_block, uint64_t end_block, unsigned levels)
{
    if (arena != NULL) {
        arena->used = 0;
    }
    struct pmm_bed *bed = bed_pages(arena, sizeof *bed);
    /* The window begins and ends at whole pages of descriptors, so that the array's pages are its own. */
    uint64_t step = PAGE_BYTES / PMM_BLOCK_BYTES;
    first_block -= first_block % step;
    end_block += (step - end_block % step) % step;
    size_t states_bytes = (size_t)(end_block - first_block) * PMM_BLOCK_FRAMES * sizeof(uint16_t);
    size_t blocks_bytes = (size_t)(end_block - first_block) * PMM_BLOCK_BYTES;
    unsigned char *arrays = bed_pages(arena, states_bytes + blocks_bytes);
    uint64_t *slots = bed_pages(arena, BED_SET_SLOTS * sizeof(uint64_t));
    struct pmm_region *regions = bed_pages(arena, (size_t)BED_REGIONS_MAX * PMM_REGION_BYTES);
    if (bed == NULL || arrays == NULL || slots == NULL || regions == NULL) {
        test_note("no memory for the bed");
        return NULL;
    }
    bed->arena = arena;
    memset(arrays, POISON, states_bytes + blocks_bytes);
    bed->first_block = first_block;
    bed->end_block = end_block;
    bed->levels = levels;
    bed->hold_capacity = BED_HOLDS_MAX;
    bed->backed.slots = slots;
    bed->regions = regions;
    bed->region_capacity = BED_REGIONS_MAX;
    uintptr_t base = (uintptr_t)arrays;
    bed->states = (uint16_t *)(base - first_block * PMM_BLOCK_FRAMES * sizeof(uint16_t));
    bed->blocks = (struct pmm_block *)(base + states_bytes - first_block * PMM_BLOCK_BYTES);
    return bed;
}

void bed_run(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    bed->runs[bed->run_count++] = (struct frame_run){pfn(first), npages(frames)};
}

void bed_hold(struct pmm_bed *bed, uint64_t first, uint64_t frames, enum hold_kind kind)
{
    bed->holds[bed->hold_count++] = (struct frame_hold){pfn(first), (uint32_t)frames, kind};
}

static void back_one(struct pmm_bed *bed, const void *address)
{
    void *page = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(address)));
    if (!bed_set_has(&bed->backed, bed_unit(page, 0))) {
        memset(page, 0, PAGE_BYTES);
    }
    for (unsigned level = 0; level <= bed->levels; level++) {
        bed_set_add(&bed->backed, bed_unit(page, level));
    }
}

void bed_back_block(struct pmm_bed *bed, uint64_t block)
{
    back_one(bed, &bed->blocks[block]);
    back_one(bed, &bed->states[block * PMM_BLOCK_FRAMES]);
}

void bed_with_cpus(struct pmm_bed *bed, size_t cpus)
{
    bed->cpus = cpus > 0 ? bed_pages(bed->arena, cpus * sizeof *bed->cpus) : NULL;
    bed->cpu_count = cpus == 0 || EXPECT(bed->cpus != NULL) ? cpus : 0;
}

void bed_with_owners(struct pmm_bed *bed, size_t owners)
{
    bed->owners = bed_pages(bed->arena, owners * sizeof *bed->owners);
    bed->owner_capacity = EXPECT(bed->owners != NULL) ? owners : 0;
    if (bed->owners != NULL) {
        memset(bed->owners, POISON, owners * sizeof *bed->owners);
    }
}

void bed_with_zero_pool(struct pmm_bed *bed, size_t frames)
{
    bed->zero_pool = bed_pages(bed->arena, frames * sizeof *bed->zero_pool);
    bed->zero_capacity = EXPECT(bed->zero_pool != NULL) ? frames : 0;
    if (bed->zero_pool != NULL) {
        memset(bed->zero_pool, POISON, frames * sizeof *bed->zero_pool);
    }
}

void bed_node(struct pmm_bed *bed, uint64_t first, uint64_t frames, unsigned node)
{
    bed->node_ranges[bed->node_range_count++] = (struct pmm_node_range){pfn(first), npages(frames), node};
    bed->node_count = node >= bed->node_count ? node + 1 : bed->node_count;
}

void bed_with_room(struct pmm_bed *bed, size_t runs)
{
    bed->run_capacity = bed->run_count + runs;
    EXPECT(bed->run_capacity <= BED_RUNS_MAX);
}

struct pmm_config bed_config(struct pmm_bed *bed)
{
    return (struct pmm_config){
        .runs = bed->runs, .run_count = bed->run_count, .run_capacity = bed->run_capacity,
        .holds = bed->holds, .hold_count = bed->hold_count, .hold_capacity = bed->hold_capacity,
        .states = bed->states, .blocks = bed->blocks, .regions = bed->regions, .region_capacity = bed->region_capacity,
        .backing = {.ctx = bed, .missing = bed_missing, .back = bed_back, .table_levels = bed->levels},
        .cpus = bed->cpus, .cpu_count = bed->cpu_count, .owners = bed->owners, .owner_capacity = bed->owner_capacity,
        .zero_pool = bed->zero_pool, .zero_capacity = bed->zero_capacity, .node_ranges = bed->node_ranges,
        .node_range_count = bed->node_range_count, .node_count = bed->node_count, .node_distance = bed->node_distance,
    };
}

enum status bed_start(struct pmm_bed *bed)
{
    for (size_t i = 0; i < bed->hold_count; i++) {
        struct frame_hold h = bed->holds[i];
        bed->given_holds[i] = h;
        bool opens = h.kind == HOLD_USED || h.kind == HOLD_METADATA;
        for (uint64_t f = h.first.v; opens && f < hold_end(h); f++) {
            bed_back_block(bed, f / PMM_BLOCK_FRAMES);
        }
    }
    struct pmm_config config = bed_config(bed);
    return pmm_init(&bed->pmm, &config);
}

bool bed_starts(struct pmm_bed *bed)
{
    return EXPECT_EQ(bed_start(bed), STATUS_OK) && bed_sound(bed);
}

bool bed_sound(const struct pmm_bed *bed)
{
    char text[1024];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    bool ok = EXPECT_EQ(pmm_check(&bed->pmm, &sink.sink), STATUS_OK);
    if (!ok) {
        test_note("%s", text);
    }
    return ok;
}

/* ---- Calls that change nothing ---- */

/* All that a frame's users can see of it, as one number. */
static uint64_t sight_of(const struct pmm_bed *bed, uint64_t frame)
{
    struct pmm_frame f = pmm_query(&bed->pmm, pfn(frame));
    enum pmm_state state = f.state == PMM_STATE_CACHED ? PMM_STATE_FREE : f.state;
    return (uint64_t)state | (uint64_t)f.references << 8 | (uint64_t)f.owner << 32 | (uint64_t)f.goes_bad << 56;
}

static struct pmm_stats comparable_stats(const struct pmm_bed *bed)
{
    struct pmm_stats s = pmm_stats(&bed->pmm);
    s.misuses = s.drains = s.refills = s.flushes = s.reclaims = 0;
    if (bed->cpu_count + bed->zero_capacity > 0) { /* cached frames are in none of these */
        s.cached = s.zeroed = s.whole = npages(0);
        for (size_t i = 0; i < PMM_ZONES; i++) {
            s.zones[i].free = npages(0);
        }
    }
    return s;
}

static size_t frames_of_ram(const struct pmm_bed *bed)
{
    size_t frames = 0;
    for (size_t i = 0; i < bed->pmm.run_count; i++) {
        frames += bed->pmm.runs[i].frames.v;
    }
    return frames;
}

void bed_remember(struct pmm_bed *bed)
{
    size_t frames = frames_of_ram(bed), n = 0;
    if (bed->seen == NULL || frames > bed->seen_frames) {
        bed->seen = bed_pages(bed->arena, frames * sizeof *bed->seen);
    }
    bed->seen_frames = EXPECT(bed->seen != NULL) ? frames : 0;
    for (size_t i = 0; n < bed->seen_frames; i++) {
        for (uint64_t f = 0; f < bed->pmm.runs[i].frames.v; f++) {
            bed->seen[n++] = sight_of(bed, bed->pmm.runs[i].first.v + f);
        }
    }
    bed->seen_stats = comparable_stats(bed);
}

bool bed_unchanged(struct pmm_bed *bed)
{
    struct pmm_stats now = comparable_stats(bed);
    size_t same = 0;
    while (same < sizeof now && ((char *)&now)[same] == ((char *)&bed->seen_stats)[same]) {
        same++;
    }
    bool ok = EXPECT_EQ(same, sizeof now); /* else the offset in struct pmm_stats that is not */
    if (!EXPECT_EQ(frames_of_ram(bed), bed->seen_frames)) {
        return false;
    }
    for (size_t i = 0, n = 0; n < bed->seen_frames; i++) {
        for (uint64_t at = 0; at < bed->pmm.runs[i].frames.v; at++, n++) {
            uint64_t frame = bed->pmm.runs[i].first.v + at;
            if (bed->seen[n] != sight_of(bed, frame)) {
                struct pmm_frame f = pmm_query(&bed->pmm, pfn(frame));
                test_note("frame %#lx is %s, references %u, owner %u", frame, pmm_state_name(f.state), f.references,
                          f.owner);
                return EXPECT_EQ(sight_of(bed, frame), bed->seen[n]);
            }
        }
    }
    return bed_sound(bed) && ok;
}

bool bed_reported(const char *words)
{
    const char *text = test_last_report();
    for (size_t len = strlen(words); strlen(text) >= len; text++) {
        if (memcmp(text, words, len) == 0) {
            return true;
        }
    }
    test_note("\"%s\" has no \"%s\"", test_last_report(), words);
    return false;
}

uint64_t bed_take_all(struct pmm_bed *bed, unsigned flags)
{
    pfn_t frame;
    uint64_t taken = 0;
    enum status s;
    while ((s = pmm_alloc(&bed->pmm, flags, &frame)) == STATUS_OK) {
        taken++;
    }
    EXPECT_EQ(s, STATUS_NOMEM);
    return taken;
}

bool bed_fill(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    bool ok = EXPECT_EQ(pmm_claim(&bed->pmm, pfn(first), npages(frames)), STATUS_OK);
    bed_take_all(bed, PMM_KERNEL);
    return EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0) && ok && bed_sound(bed);
}

/* ---- Random maps ---- */

static uint64_t between(struct rng *rng, uint64_t low, uint64_t high) { return low + rng_below(rng, high - low + 1); }

/* Longest runs and holes of a style, in frames. */
static const struct { uint64_t run, hole; } styles[] = {
    {4000, 3}, {40, 40}, {1, 2}, {700, 1500}, {3, 1600}, {1, 700},
};

/* One run, nearly all of it held: a few free frames a block, so that no block can pay for itself. */
static void dust_map(struct pmm_bed *bed, struct rng *rng)
{
    uint64_t at = bed->first_block * PMM_BLOCK_FRAMES, end = bed->end_block * PMM_BLOCK_FRAMES;
    uint64_t most = between(rng, 1, 4);
    bed_run(bed, at, end - at);
    while (at < end) {
        uint64_t free = between(rng, 1, most);
        uint64_t held = between(rng, 1, rng_below(rng, 6) == 0 ? 3 : 2 * PMM_BLOCK_FRAMES);
        at += free;
        held = at + held < end ? held : at < end ? end - at : 0;
        if (held > 0) {
            bed_hold(bed, at, held, rng_below(rng, 60) == 0 ? HOLD_USED : HOLD_RESERVED);
        }
        at += held;
    }
}

void bed_random_map(struct pmm_bed *bed, struct rng *rng, unsigned style)
{
    bed->run_count = bed->hold_count = 0;
    if (style >= ARRAY_LEN(styles)) {
        dust_map(bed, rng);
        return;
    }
    uint64_t at = bed->first_block * PMM_BLOCK_FRAMES + rng_below(rng, 3);
    uint64_t end = bed->end_block * PMM_BLOCK_FRAMES;
    while (bed->run_count < BED_RUNS_MAX - 1 && at < end) {
        uint64_t frames = between(rng, 1, styles[style].run);
        if (rng_below(rng, 8) == 0) {
            frames = between(rng, 1, 2 * PMM_BLOCK_FRAMES);
        }
        frames = frames < end - at ? frames : end - at;
        bed_run(bed, at, frames);
        uint64_t stop = at + frames;
        while (at < stop && bed->hold_count < BED_HOLDS_MAX / 2 && rng_below(rng, 3) == 0) {
            uint64_t first = between(rng, at, stop - 1);
            uint64_t held = between(rng, 1, rng_below(rng, 2) == 0 ? 3 : stop - first);
            held = held < stop - first ? held : stop - first;
            unsigned kind = rng_below(rng, 4) != 0 ? HOLD_RESERVED : rng_below(rng, 2) == 0 ? HOLD_USED : HOLD_METADATA;
            bed_hold(bed, first, held, (enum hold_kind)kind);
            at = first + held;
        }
        at = stop + between(rng, 1, styles[style].hole);
    }
}
