/*
 * Regions that come and go (pmm_change.h). Their metadata comes with the first use of a block, as ever, and stays when
 * they go: pages once backed are metadata for good, and serve again when the memory comes back.
 */
#include "lib/string.h"
#include "pmm/account.h"

enum { PIECES_MAX = 3 }; /* memory that crosses 16 MiB and 4 GiB */

struct pieces { /* blocks of one zone each */
    uint64_t first[PIECES_MAX], end[PIECES_MAX];
    size_t count;
};

static struct pieces cut_by_zone(uint64_t first, uint64_t end)
{
    struct pieces p = {.count = 0};
    while (first < end) {
        uint64_t stop = zone_end(first);
        stop = stop < end ? stop : end;
        p.first[p.count] = first;
        p.end[p.count++] = stop;
        first = stop;
    }
    return p;
}

/* What all metadata takes now, and what of it does not exist. => the earmark that this set of regions needs. */
static uint64_t earmark_needed(const struct pmm *pmm, uint64_t *units)
{
    *units = units_of_regions(pmm);
    return *units - units_backed(pmm);
}

static void earmark_set(struct pmm *pmm, uint64_t earmark, uint64_t units)
{
    pmm->spare += pmm->earmarked;
    pmm->spare -= earmark;
    pmm->earmarked = earmark;
    pmm->units = units;
    pmm->metadata_fixed = (int64_t)(pmm->metadata + earmark) - (int64_t)units;
}

static void forget_known(struct pmm *pmm)
{
    pmm->known_count = 0;
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        __atomic_store_n(&pmm->cpus[i].known_count, 0, __ATOMIC_RELAXED); /* whose frames are there is wrong anyway */
        __atomic_store_n(&pmm->cpus[i].drawn_count, 0, __ATOMIC_RELAXED);
    }
}

/* ---- Places ---- */

static void place_insert(struct pmm *pmm, uint16_t slot)
{
    size_t at = pmm->region_count++;
    for (; at > 0 && region_at(pmm, at - 1)->base > pmm->regions[slot].base; at--) {
        pmm->places[at] = pmm->places[at - 1];
    }
    pmm->places[at] = (struct pmm_place){(uint32_t)region_end(&pmm->regions[slot]), slot, 0};
}

static void place_remove(struct pmm *pmm, const struct pmm_region *r)
{
    size_t at = 0;
    while (region_at(pmm, at) != r) {
        at++;
    }
    for (pmm->region_count--; at < pmm->region_count; at++) {
        pmm->places[at] = pmm->places[at + 1];
    }
}

static uint16_t free_slot(const struct pmm *pmm)
{
    uint16_t slot = 0;
    while (pmm->regions[slot].blocks != 0) {
        slot++;
    }
    return slot;
}

/* ---- Runs ---- */

/* [first, end) becomes RAM; runs that it touches grow. The room was looked for before. */
static void run_add(struct pmm *pmm, uint64_t first, uint64_t end)
{
    size_t at = run_at(pmm, first);
    bool joins_below = at > 0 && run_end(pmm->runs[at - 1]) == first;
    bool joins_above = at < pmm->run_count && pmm->runs[at].first.v == end;
    if (joins_below && joins_above) {
        pmm->runs[at - 1].frames.v += end - first + pmm->runs[at].frames.v;
        memmove(&pmm->runs[at], &pmm->runs[at + 1], (pmm->run_count - at - 1) * sizeof *pmm->runs);
        pmm->run_count--;
    } else if (joins_below) {
        pmm->runs[at - 1].frames.v += end - first;
    } else if (joins_above) {
        pmm->runs[at] = (struct frame_run){pfn(first), npages(pmm->runs[at].frames.v + end - first)};
    } else {
        memmove(&pmm->runs[at + 1], &pmm->runs[at], (pmm->run_count - at) * sizeof *pmm->runs);
        pmm->runs[at] = (struct frame_run){pfn(first), npages(end - first)};
        pmm->run_count++;
    }
}

/* [first, end), RAM all of it or with holes, is none any more. */
static void run_remove(struct pmm *pmm, uint64_t first, uint64_t end)
{
    for (size_t at = run_at(pmm, first); at < pmm->run_count && pmm->runs[at].first.v < end;) {
        struct frame_run run = pmm->runs[at];
        uint64_t below = run.first.v < first ? first - run.first.v : 0;
        uint64_t above = run_end(run) > end ? run_end(run) - end : 0;
        size_t pieces = (size_t)(below > 0) + (size_t)(above > 0);
        memmove(&pmm->runs[at + pieces], &pmm->runs[at + 1], (pmm->run_count - at - 1) * sizeof *pmm->runs);
        pmm->run_count = pmm->run_count - 1 + pieces;
        if (below > 0) {
            pmm->runs[at++] = (struct frame_run){run.first, npages(below)};
        }
        if (above > 0) {
            pmm->runs[at++] = (struct frame_run){pfn(end), npages(above)};
        }
    }
}

/* ---- Add ---- */

static enum status add_look(const struct pmm *pmm, uint64_t first, uint64_t frames, unsigned node)
{
    uint64_t end = first + frames, low = block_of(first), high = block_of(end);
    if (pmm->region_count > 0) { /* the arrays must stay apart over all that there is */
        low = region_at(pmm, 0)->base < low ? region_at(pmm, 0)->base : low;
        uint64_t last = region_end(region_at(pmm, pmm->region_count - 1));
        high = last > high ? last : high;
    }
    if (frames == 0 || end < first || index_in_block(first) != 0 || index_in_block(frames) != 0 || first == 0
        || block_of(end) >= PMM_NO_BLOCK - 1 || node >= pmm->node_count
        || !arrays_are_apart(pmm, low, high)) {
        return STATUS_INVALID;
    }
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        if (ranges_overlap(block_of(first), block_of(end), r->base, region_end(r))) {
            return STATUS_EXISTS;
        }
    }
    size_t pieces = cut_by_zone(block_of(first), block_of(end)).count;
    if (pmm->run_count == pmm->run_capacity) {
        report(REPORT_NOTE, "pmm_region_add: the run list is full (config.run_capacity %zu)", pmm->run_capacity);
        return STATUS_LIMIT;
    }
    if (pmm->region_count + pieces > pmm->region_capacity || pmm->region_count + pieces > PMM_REGIONS_MAX) {
        report(REPORT_NOTE, "pmm_region_add: %zu regions more are too many (config.region_capacity %zu)", pieces,
               pmm->region_capacity);
        return STATUS_LIMIT;
    }
    return STATUS_OK;
}

static enum status add_locked(struct pmm *pmm, uint64_t first, uint64_t frames, unsigned node)
{
    enum status s = add_look(pmm, first, frames, node);
    if (s != STATUS_OK) {
        return s;
    }
    struct pieces p = cut_by_zone(block_of(first), block_of(first + frames));
    uint16_t slots[PIECES_MAX];
    for (size_t i = 0; i < p.count; i++) {
        slots[i] = free_slot(pmm);
        struct pmm_region *r = &pmm->regions[slots[i]];
        region_init(r, p.first[i], p.end[i] - p.first[i], node);
        region_ready(pmm, r);
        r->joined = i > 0;
        place_insert(pmm, slots[i]);
    }
    uint64_t units, earmark = earmark_needed(pmm, &units);
    if (earmark >= pmm->earmarked + frames) { /* it would cost what it brings */
        for (size_t i = 0; i < p.count; i++) {
            place_remove(pmm, &pmm->regions[slots[i]]);
            pmm->regions[slots[i]].blocks = 0;
        }
        return STATUS_NOMEM;
    }
    run_add(pmm, first, first + frames);
    pmm->ram += frames;
    pmm->spare += frames;
    pmm->whole_total += frames / PMM_BLOCK_FRAMES;
    earmark_set(pmm, earmark, units);
    for (size_t i = 0; i < p.count; i++) {
        untouched_add(pmm, &pmm->regions[slots[i]], block_start(p.end[i] - p.first[i]));
        fresh_whole_add(pmm, &pmm->regions[slots[i]], p.first[i], p.end[i] - p.first[i]);
    }
    regions_renumber(pmm);
    emergency_top_up(pmm);
    trace(pmm, PMM_EVENT_REGION_ADD, first, frames);
    return STATUS_OK;
}

enum status pmm_region_add(struct pmm *pmm, pfn_t first, npages_t frames, unsigned node)
{
    lock_take(&pmm->lock);
    enum status s = add_locked(pmm, first.v, frames.v, node);
    lock_drop(&pmm->lock);
    return s;
}

/* ---- Remove ---- */

uint64_t ram_first(const struct pmm *pmm, uint64_t from)
{
    uint64_t first = pmm->runs[run_at(pmm, from)].first.v;
    return first > from ? first : from;
}

uint64_t ram_end(const struct pmm *pmm, uint64_t before)
{
    size_t i = run_at(pmm, before - 1);
    bool inside = i < pmm->run_count && pmm->runs[i].first.v < before;
    return inside ? before : run_end(pmm->runs[i - 1]);
}

/* The places [*place, *end) whose regions are exactly these frames. */
static bool find_places(const struct pmm *pmm, uint64_t first, uint64_t frames, size_t *place, size_t *end)
{
    const struct pmm_region *r = region_find(pmm, block_of(first));
    uint64_t stop = first + frames;
    if (frames == 0 || stop < first || r == NULL || r->base != block_of(first) || r->joined) {
        return false;
    }
    for (*place = 0; region_at(pmm, *place) != r; ++*place) {
    }
    for (*end = *place + 1; *end < pmm->region_count && region_at(pmm, *end)->joined; ++*end) {
    }
    const struct pmm_region *last = region_at(pmm, *end - 1);
    return ram_first(pmm, block_start(r->base)) == first && ram_end(pmm, block_start(region_end(last))) == stop;
}

static void in_the_way(const struct pmm *pmm, uint64_t first, uint64_t end, struct pmm_in_the_way *way)
{
    *way = (struct pmm_in_the_way){.first = pfn(end)};
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) { /* stretches: memory never used takes a few steps */
        enum pmm_state state = state_at(pmm, region_find(pmm, block_of(at)), at, &stop);
        stop = stop < end ? stop : end;
        bool used = state == PMM_STATE_USED || state == PMM_STATE_RUN || state == PMM_STATE_ZERO;
        bool kept = state == PMM_STATE_RESERVED || state == PMM_STATE_BAD || state == PMM_STATE_LOST;
        bool metadata = state == PMM_STATE_METADATA;
        way->used.v += used ? stop - at : 0;
        way->reserved.v += kept ? stop - at : 0;
        way->metadata.v += metadata ? stop - at : 0;
        if ((used || kept || metadata || state == PMM_STATE_CACHED) && way->first.v == end) {
            way->first = pfn(at);
            way->what = query_locked(pmm, at);
        }
    }
}

static void region_close(struct pmm *pmm, struct pmm_region *r)
{
    for (uint64_t block = r->base; block < r->watermark; block++) {
        if (block_is_open(pmm, r, block)) {
            block_unstack(pmm, &pmm->blocks[block]);
        }
    }
    for (unsigned kind = 0; kind < PMM_SUPPLIES; kind++) {
        supply_update(pmm, r, (enum pmm_supply)kind, false);
    }
    for (uint64_t block = r->base; block < r->watermark; block++) {
        if (block_is_open(pmm, r, block)) {
            memset(&pmm->blocks[block], 0, sizeof pmm->blocks[block]);
        }
    }
    if (r->base == 0) {
        pmm->low = (struct pmm_block){.stack = STACK_NONE};
        pmm->low_untouched = 0;
    }
    pmm->untouched -= r->untouched;
    count_free(pmm, r, -(int64_t)r->free);
    pmm->whole_total -= r->blocks;
    place_remove(pmm, r);
    r->blocks = 0;
}

static enum status remove_locked(struct pmm *pmm, uint64_t first, uint64_t frames, struct pmm_in_the_way *way)
{
    size_t place = 0, end = 0;
    if (!find_places(pmm, first, frames, &place, &end)) {
        return STATUS_ABSENT;
    }
    drain_locked(pmm);
    currents_retire(pmm);
    in_the_way(pmm, first, first + frames, way);
    if (way->first.v != first + frames) {
        return STATUS_EXISTS;
    }
    uint64_t free = 0;
    for (size_t i = place; i < end; i++) {
        region_at(pmm, i)->left_out = 1;
        free += region_at(pmm, i)->free;
    }
    uint64_t units, earmark = earmark_needed(pmm, &units);
    bool enough = pmm->spare + pmm->earmarked >= free + earmark;
    for (size_t i = place; i < end; i++) {
        region_at(pmm, i)->left_out = 0;
    }
    struct frame_run run = pmm->runs[run_at(pmm, first)];
    bool splits = run.first.v < first && run_end(run) > first + frames;
    bool room = !splits || pmm->run_count < pmm->run_capacity;
    if (!enough || !room || holds_trim(pmm, first, first + frames) != STATUS_OK) {
        return enough ? STATUS_LIMIT : STATUS_NOMEM;
    }
    for (size_t i = place; i < end; i++) {
        region_close(pmm, region_at(pmm, place));
    }
    pmm->ram -= free;
    pmm->spare += pmm->earmarked;
    pmm->spare -= free;
    pmm->spare -= earmark;
    pmm->earmarked = earmark;
    earmark_set(pmm, earmark, units);
    run_remove(pmm, first, first + frames);
    forget_known(pmm);
    regions_renumber(pmm);
    trace(pmm, PMM_EVENT_REGION_REMOVE, first, frames);
    return STATUS_OK;
}

enum status pmm_region_remove(struct pmm *pmm, pfn_t first, npages_t frames, struct pmm_in_the_way *way)
{
    struct pmm_in_the_way there = {.first = pfn(0)};
    lock_take(&pmm->lock);
    enum status s = remove_locked(pmm, first.v, frames.v, &there);
    lock_drop(&pmm->lock);
    if (s == STATUS_EXISTS && way != NULL) {
        *way = there;
    }
    return s;
}
