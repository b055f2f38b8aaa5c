/*
 * The validator: every invariant of pmm.h, from views that do not depend on each other. It trusts no link: every walk
 * is bounded.
 */
#include "lib/string.h"
#include "pmm/check.h"
#include "pmm/never.h"

__attribute__((format(printf, 2, 3))) void wrong(struct check *c, const char *format, ...)
{
    enum { SAID_MAX = 20 }; /* a broken array would say thousands of things */
    if (c->wrong++ < SAID_MAX && c->out != NULL) {
        va_list args;
        va_start(args, format);
        sink_vprintf(c->out, format, args);
        va_end(args);
        sink_printf(c->out, "\n");
    }
}

/* PMM-I3: one list of blocks is as long as the blocks say, and linked both ways. */
static void check_stack(struct check *c, const struct pmm_region *r, unsigned stack, uint32_t head, uint64_t expected)
{
    uint64_t count = 0;
    uint32_t prev = PMM_NO_BLOCK;
    for (uint32_t at = head; at != PMM_NO_BLOCK; at = c->pmm->blocks[at].next) {
        bool inside = at >= r->base && at < r->watermark && block_is_open(c->pmm, r, at);
        if (!inside || c->pmm->blocks[at].stack != stack || c->pmm->blocks[at].prev != prev || ++count > expected) {
            wrong(c, "PMM-I3: region %zu: stack %u is broken at block %#x", (size_t)(r - c->pmm->regions), stack, at);
            return;
        }
        prev = at;
    }
    if (count != expected) {
        wrong(c, "PMM-I3: region %zu: stack %u holds %lu blocks, %lu say so", (size_t)(r - c->pmm->regions), stack,
              count, expected);
    }
}

static void check_stacks(struct check *c, const struct pmm_region *r, const struct census *census)
{
    bool gives[PMM_SUPPLIES] = {0};
    const uint64_t *idle[] = {census->on_stack[0], census->on_stack[1]};
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        for (unsigned i = 0; i < PMM_STACKS; i++) {
            check_stack(c, r, i, r->stacks[class][i], census->on_stack[class][i]);
            if ((r->masks[class] >> i & 1U) != (r->stacks[class][i] != PMM_NO_BLOCK)) {
                wrong(c, "PMM-I3: region %zu: mask %#x is wrong at stack %u", (size_t)(r - c->pmm->regions),
                      r->masks[class], i);
            }
        }
        gives[class] = r->masks[class] != 0;
    }
    check_stack(c, r, STACK_HOLED, r->holed, idle[0][STACK_HOLED] + idle[1][STACK_HOLED]);
    check_stack(c, r, STACK_WHOLE, r->whole, idle[0][STACK_WHOLE] + idle[1][STACK_WHOLE]);
    c->whole += idle[0][STACK_WHOLE] + idle[1][STACK_WHOLE];
    gives[PMM_SUPPLY_HOLED] = r->holed != PMM_NO_BLOCK;
    gives[PMM_SUPPLY_WHOLE] = r->whole != PMM_NO_BLOCK;
    gives[PMM_SUPPLY_FRESH] = r->untouched > 0;
    gives[PMM_SUPPLY_FRESH_WHOLE] = r->fresh_whole > 0;
    for (unsigned i = 0; i < PMM_SUPPLIES; i++) {
        if ((r->listed >> i & 1U) != gives[i]) {
            wrong(c, "PMM-I3: region %zu: on the lists %#x, wrong at %u", (size_t)(r - c->pmm->regions), r->listed, i);
        }
    }
}

/* PMM-I8: of few blocks each has a bit that says whether its descriptor is one of a block never used; or not usable. */
static bool never_bits_are_right(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t never = 0;
    for (uint64_t block = r->base; block < region_end(r); block++) {
        bool is_open = block < r->watermark
                       && pmm->backing.missing(pmm->backing.ctx, descriptor_page(pmm, block)).v == 0
                       && pmm->blocks[block].mode != PMM_BLOCK_NEVER;
        never |= is_open ? 0 : block_bit(r, block);
    }
    for (uint64_t bits = never & r->skipped; bits != 0; bits &= bits - 1) {
        uint64_t start = block_start(r->base + (unsigned)__builtin_ctzll(bits));
        if (usable_count(pmm, start, start + PMM_BLOCK_FRAMES) > 0) {
            return false;
        }
    }
    return never == r->never && has_gaps(r) == (gap_bits(r) != 0);
}

/* PMM-I8: the gaps are exactly the never-used blocks below the watermark. */
static void check_extents(struct check *c, const struct pmm_region *r, const struct census *census)
{
    const struct pmm *pmm = c->pmm;
    size_t index = (size_t)(r - pmm->regions);
    uint64_t in_gaps = 0;
    for (uint32_t d = r->gaps; !has_few_blocks(r) && d != PMM_NO_BLOCK; d = pmm->blocks[d].gap_next) {
        bool sound = d > r->base && d < r->watermark && block_is_open(pmm, r, d);
        uint64_t gap = sound ? pmm->blocks[d].gap_blocks : 0;
        sound = sound && gap > 0 && gap <= d - r->base && in_gaps + gap <= r->blocks;
        if (!sound || block_is_open(pmm, r, d - 1) || block_is_open(pmm, r, d - gap)
            || (d - gap > r->base && !block_is_open(pmm, r, d - gap - 1))) {
            wrong(c, "PMM-I8: region %zu: the gap of %lu blocks below %#x is wrong", index, gap, d);
            return;
        }
        in_gaps += gap;
    }
    for (uint64_t bits = has_few_blocks(r) ? gap_bits(r) : 0; bits != 0; bits &= bits - 1) {
        in_gaps++;
    }
    if (in_gaps != census->never || census->opened + census->never != (uint64_t)r->watermark - r->base) {
        wrong(c, "PMM-I8: region %zu: %lu opened and %lu never used below the watermark, gaps say %lu", index,
              census->opened, census->never, in_gaps);
    }
    /* The descriptor at the watermark, where its page is backed: the ones behind it are zero too if it is right. */
    if (r->watermark < region_end(r) &&
        pmm->backing.missing(pmm->backing.ctx, descriptor_page(pmm, r->watermark)).v == 0 &&
        pmm->blocks[r->watermark].mode != PMM_BLOCK_NEVER) {
        wrong(c, "PMM-I8: region %zu: block %#x at the watermark is open", index, r->watermark);
    }
}

/* What the lists say of never-used blocks [first, end). */
static void count_unopened(struct check *c, const struct pmm_region *r, uint64_t first, uint64_t end,
                           struct census *census)
{
    uint64_t stop;
    struct stretch s = stretch_from(c->pmm, block_start(first));
    while (!r->left_out && stretch_next(c->pmm, &s, block_start(end))) {
        uint64_t whole = whole_blocks(&s);
        census->fresh_whole += whole;
        census->whole_bits |= whole == 0 ? 0 : whole_bits_of(r, whole_first(&s), whole_first(&s) + whole);
    }
    for (uint64_t at = block_start(first); at < block_start(end); at = stop) {
        enum pmm_state state = unopened_state(c->pmm, at, &stop);
        stop = stop < block_start(end) ? stop : block_start(end);
        bool free = state == PMM_STATE_UNTOUCHED && !r->left_out;
        c->bad += state == PMM_STATE_BAD ? stop - at : 0;
        c->reserved += state != PMM_STATE_ABSENT && !free ? stop - at : 0;
        c->untouched += free ? stop - at : 0;
        census->free += free ? stop - at : 0;
    }
}

/* PMM-I8: what is known to be whole is so by the lists: the bits, or the plain ones. */
static void check_known_whole(struct check *c, const struct pmm_region *r, const struct census *census)
{
    const struct pmm *pmm = c->pmm;
    size_t index = (size_t)(r - pmm->regions);
    uint64_t plain = r->plain_end - r->plain;
    if (r->blocks > PMM_REGION_BITS) {
        bool is_inside = r->plain <= r->plain_end
                         && (plain == 0 || (r->plain >= r->base && r->plain_end <= region_end(r)));
        if (!is_inside || whole_count(pmm, r->plain, r->plain_end) != plain) {
            wrong(c, "PMM-I8: region %zu: not all of [%#x, %#x) can be used wholly", index, r->plain, r->plain_end);
        }
    } else if (r->whole_bits != census->whole_bits) {
        wrong(c, "PMM-I8: region %zu: the bits of these blocks are %#lx, recounted %#lx", index, r->whole_bits,
              census->whole_bits);
    }
}

static void check_region(struct check *c, const struct pmm_region *r)
{
    const struct pmm *pmm = c->pmm;
    size_t index = (size_t)(r - pmm->regions);
    struct census census = {.free = 0};
    if (r->watermark < r->base || r->watermark > region_end(r)) {
        wrong(c, "PMM-I8: region %zu: watermark %#x outside its blocks", index, r->watermark);
        return;
    }
    if (has_few_blocks(r) && !never_bits_are_right(pmm, r)) {
        wrong(c, "PMM-I8: region %zu: the bits of its blocks never used are not right: %#lx, skipped %#lx", index,
              r->never, r->skipped);
        return;
    }
    uint64_t untouched_before = c->untouched;
    uint64_t stop;
    for (uint64_t block = r->base; block < r->watermark; block = stop) {
        stop = block + 1;
        if (!block_is_open(pmm, r, block)) {
            stop = unopened_end(pmm, r, block);
            census.never += stop - block;
            count_unopened(c, r, block, stop, &census);
            continue;
        }
        census.opened++;
        units_add_blocks(pmm, &c->units, block, stop);
        const struct pmm_block *b = &pmm->blocks[block];
        bool is_direct = r->zone < pmm->cache_zone || b->mode == PMM_BLOCK_CLOSED;
        if (b->region != index || b->mode == PMM_BLOCK_NEVER || b->mode > PMM_BLOCK_CLOSED || node_of(b) != r->node
            || (b->owner == 0 && ((b->lane & LANE_DIRECT) != 0) != is_direct)) { /* of owners': check_owners */
            wrong(c, "PMM-I8: block %#lx: region %u, mode %u, lane %#x", block, b->region, b->mode, b->lane);
            continue;
        }
        uint64_t from = block_start(block);
        if (block == 0) {
            struct census low = {.free = 0};
            from = frames_below_1m();
            check_block(c, &pmm->low, 0, from, &low);
            census.free += low.free;
        }
        check_block(c, b, from, block_start(stop), &census);
    }
    count_unopened(c, r, r->watermark, region_end(r), &census);
    check_extents(c, r, &census);
    check_stacks(c, r, &census);
    if (r->fresh_whole != census.fresh_whole) {
        wrong(c, "PMM-I8: region %zu: %u blocks never used can be used wholly, recounted %lu", index, r->fresh_whole,
              census.fresh_whole);
    }
    check_known_whole(c, r, &census);
    if (r->fresh_whole_from > r->watermark && !r->left_out
        && (r->fresh_whole_from > region_end(r) || whole_count(pmm, r->watermark, r->fresh_whole_from) != 0)) {
        wrong(c, "PMM-I8: region %zu: one below %#x can be used wholly", index, r->fresh_whole_from);
    }
    if (r->free != census.free || r->untouched != c->untouched - untouched_before) {
        wrong(c, "PMM-I1: region %zu: free %lu and never used %lu, recounted %lu and %lu", index, r->free, r->untouched,
              census.free, c->untouched - untouched_before);
    }
}

/* PMM-I3: each list of regions holds those that are marked as listed, once. */
static void check_supply(struct check *c, unsigned kind, unsigned zone, unsigned node)
{
    const struct pmm *pmm = c->pmm;
    size_t listed = 0, seen = 0;
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        bool is_listed = r->zone == zone && r->node == node && ((unsigned)r->listed >> kind & 1U) != 0;
        listed += is_listed ? 1U : 0U;
    }
    uint16_t prev = PMM_NO_REGION;
    for (uint16_t at = pmm->supply[kind][zone][node]; at != PMM_NO_REGION; at = pmm->regions[at].links[kind].next) {
        if (at >= pmm->region_capacity || pmm->regions[at].links[kind].prev != prev || ++seen > listed) {
            break;
        }
        prev = at;
    }
    bool says = (nodes_with(pmm, zone, kind) >> node & 1) != 0;
    if (seen != listed || says != (listed > 0)) {
        wrong(c, "PMM-I3: the list of regions that give %u in zone %u of node %u holds %zu, %zu say so", kind, zone,
              node, seen, listed);
    }
}

/* What is free below 1 MiB while nobody has a descriptor for it. */
static void check_low(struct check *c)
{
    const struct pmm *pmm = c->pmm;
    const struct pmm_region *r = pmm->region_count > 0 ? region_at(pmm, 0) : NULL;
    uint64_t usable = r != NULL && r->base == 0 && !r->left_out ? usable_count(pmm, 0, frames_below_1m()) : 0;
    if (pmm->low.mode == PMM_BLOCK_NEVER && pmm->low_untouched != usable) {
        wrong(c, "PMM-I1: %lu frames below 1 MiB are free and never used, recounted %lu", pmm->low_untouched, usable);
    }
}

static void check_totals(struct check *c)
{
    const struct pmm *pmm = c->pmm;
    struct pmm_stats s = pmm_stats(pmm);
    uint64_t ram = 0;
    for (size_t i = 0; i < pmm->run_count; i++) {
        ram += pmm->runs[i].frames.v;
    }
    if (s.ram.v != ram || s.ram.v != s.free.v + s.used.v + s.metadata.v + s.earmarked.v + s.reserved.v) {
        wrong(c, "PMM-I1: ram %lu (runs %lu), free %lu, used %lu, metadata %lu, earmarked %lu, reserved %lu", s.ram.v,
              ram, s.free.v, s.used.v, s.metadata.v, s.earmarked.v, s.reserved.v);
    }
    if (c->free + c->cached + c->untouched != s.free.v + s.earmarked.v || c->untouched != pmm->untouched
        || c->used != s.used.v || c->metadata != s.metadata.v) {
        wrong(c, "PMM-I1: recounted: free %lu + %lu cached + %lu never used, used %lu, metadata %lu", c->free,
              c->cached, c->untouched, c->used, c->metadata);
    }
    if (c->reserved != s.reserved.v || c->bad != s.bad.v || c->lost != s.lost.v) {
        wrong(c, "PMM-I7: %lu frames are reserved, %lu bad, %lu lost; the states and holds say %lu, %lu, %lu",
              s.reserved.v, s.bad.v, s.lost.v, c->reserved, c->bad, c->lost);
    }
    if (c->whole != pmm->whole_blocks) {
        wrong(c, "PMM-I3: %lu blocks are wholly free, the stacks say %lu", pmm->whole_blocks, c->whole);
    }
    uint64_t in_zones = 0;
    for (unsigned zone = 0; zone < PMM_ZONES; zone++) {
        in_zones += pmm->zone_free[zone];
    }
    if (in_zones != c->free + c->untouched) {
        wrong(c, "PMM-I1: the zones have %lu free frames, the blocks %lu", in_zones, c->free + c->untouched);
    }
    /* What is missing is missing: the earmark from what exists, the metadata from what is there. */
    uint64_t backed = units_total(&c->units), existing = units_backed(pmm);
    int64_t fixed = (int64_t)(s.metadata.v + pmm->earmarked) - (int64_t)pmm->units;
    if (fixed != pmm->metadata_fixed || pmm->earmarked > pmm->units - backed
        || pmm->earmarked < pmm->units - existing) {
        wrong(c,
              "PMM-I5: metadata %lu and earmarked %lu do not make the %lu pages needed (%lu to %lu exist, %ld others)",
              s.metadata.v, pmm->earmarked, pmm->units, backed, existing, pmm->metadata_fixed);
    }
}

enum status pmm_check(const struct pmm *pmm, struct sink *out)
{
    struct unit_counter none = {.levels = pmm->backing.table_levels};
    struct check c = {.pmm = pmm, .out = out, .units = none};
    if (pmm->broken) {
        wrong(&c, "the backing failed");
    }
    for (size_t place = 0; place < pmm->region_count; place++) {
        check_region(&c, region_at(pmm, place));
    }
    for (unsigned kind = 0; kind < PMM_SUPPLIES; kind++) {
        for (unsigned zone = 0; zone < PMM_ZONES; zone++) {
            for (unsigned node = 0; node < pmm->node_count; node++) {
                check_supply(&c, kind, zone, node);
            }
        }
    }
    check_cached(&c);
    check_owners(&c);
    check_low(&c);
    check_totals(&c);
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}
