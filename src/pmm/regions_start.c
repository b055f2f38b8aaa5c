/*
 * Regions made from the runs: whole blocks each, of one zone and one node; runs that touch the same block belong
 * together. Users see the pieces that a border of zones or nodes cuts as one region (`joined`, `shown`).
 */
#include "lib/string.h"
#include "pmm/never.h"

/* Descriptors that whole blocks [first, end) take: one, and one more for each border of a zone inside. */
static size_t count_pieces(uint64_t first, uint64_t end)
{
    size_t count = 0;
    for (; first < end; first = zone_end(first)) {
        count++;
    }
    return count;
}

size_t pmm_count_regions(const struct frame_run *runs, size_t run_count)
{
    size_t count = 0;
    for (size_t i = 0; i < run_count; i++) {
        count += i == 0 || block_of(runs[i].first.v) > block_of(run_end(runs[i - 1]) - 1);
    }
    return count;
}

size_t pmm_count_descriptors(const struct frame_run *runs, size_t run_count)
{
    size_t count = 0;
    uint64_t base = 0, end = 0;
    for (size_t i = 0; i < run_count; i++) {
        uint64_t first = block_of(runs[i].first.v);
        if (i == 0 || first >= end) {
            count += count_pieces(base, end);
            base = first;
        }
        end = block_of(run_end(runs[i]) - 1) + 1;
    }
    return count + count_pieces(base, end);
}

/* The node of a block, and where at the latest the next one begins. */
static unsigned node_at(const struct pmm *pmm, uint64_t block, uint64_t *stop)
{
    uint64_t frame = block_start(block);
    *stop = UINT64_MAX;
    for (size_t i = 0; i < pmm->node_range_count; i++) {
        const struct pmm_node_range *r = &pmm->node_ranges[i];
        uint64_t first = r->first.v, end = first + r->frames.v;
        if (frame < first) {
            *stop = block_of(first + PMM_BLOCK_FRAMES - 1); /* the first block that begins in it */
            break;
        }
        if (frame < end) {
            *stop = block_of(end + PMM_BLOCK_FRAMES - 1);
            return r->node;
        }
    }
    return 0;
}

void region_init(struct pmm_region *r, uint64_t base, uint64_t blocks, unsigned node)
{
    *r = (struct pmm_region){.base = (uint32_t)base, .blocks = (uint32_t)blocks, .watermark = (uint32_t)base,
                             .gaps = PMM_NO_BLOCK, .holed = PMM_NO_BLOCK, .whole = PMM_NO_BLOCK,
                             .stacks = {[0 ... PMM_CLASSES - 1] = {[0 ... PMM_STACKS - 1] = PMM_NO_BLOCK}},
                             .zone = (uint8_t)zone_of_block(base), .node = (uint8_t)node,
                             .never = blocks <= PMM_REGION_BITS ? ~0ULL >> (PMM_REGION_BITS - blocks) : 0};
}

void region_ready(const struct pmm *pmm, struct pmm_region *r)
{
    struct pmm_block b = {.region = (uint16_t)(r - pmm->regions), .mode = PMM_BLOCK_OPEN, .stack = STACK_NONE};
    b.lane = (uint8_t)((unsigned)r->node << LANE_NODE_SHIFT | (r->zone < pmm->cache_zone ? (unsigned)LANE_DIRECT : 0));
    r->new_kind = (uint32_t)b.kind;
}

void regions_renumber(struct pmm *pmm)
{
    pmm->shown_count = 0;
    bool is_empty = pmm->region_count == 0;
    pmm->first_block = is_empty ? 0 : region_at(pmm, 0)->base;
    pmm->end_block = is_empty ? 0 : pmm->places[pmm->region_count - 1].end;
    for (size_t place = 0; place < pmm->region_count; place++) {
        pmm->shown_count += !region_at(pmm, place)->joined;
        pmm->places[place].shown = (uint16_t)(pmm->shown_count - 1);
    }
}

/* Whole blocks [base, end) in pieces of one zone and one node each. => OK; LIMIT: no room. */
static enum status make_pieces(struct pmm *pmm, uint64_t base, uint64_t end)
{
    bool joined = false;
    while (base < end) {
        uint64_t stop;
        unsigned node = node_at(pmm, base, &stop);
        uint64_t border = zone_end(base);
        stop = stop < border ? stop : border;
        stop = stop < end ? stop : end;
        if (pmm->region_count == pmm->region_capacity || pmm->region_count == PMM_REGIONS_MAX) {
            return STATUS_LIMIT;
        }
        struct pmm_region *r = &pmm->regions[pmm->region_count];
        region_init(r, base, stop - base, node);
        r->joined = joined;
        pmm->places[pmm->region_count] = (struct pmm_place){(uint32_t)stop, (uint16_t)pmm->region_count, 0};
        pmm->region_count++;
        joined = true;
        base = stop;
    }
    return STATUS_OK;
}

static uint64_t ram_count(const struct pmm *pmm, uint64_t first, uint64_t end)
{
    uint64_t count = 0;
    for (size_t i = run_at(pmm, first); i < pmm->run_count && pmm->runs[i].first.v < end; i++) {
        uint64_t from = pmm->runs[i].first.v > first ? pmm->runs[i].first.v : first;
        count += (run_end(pmm->runs[i]) < end ? run_end(pmm->runs[i]) : end) - from;
    }
    return count;
}

/* Regions from the runs, every block never used, on no list. => OK; LIMIT. */
enum status make_regions(struct pmm *pmm)
{
    enum status s = STATUS_OK;
    uint64_t base = 0, end = 0;
    pmm->region_count = 0;
    for (size_t i = 0; i < pmm->run_count && s == STATUS_OK; i++) {
        uint64_t first = block_of(pmm->runs[i].first.v);
        if (i == 0 || first >= end) {
            s = make_pieces(pmm, base, end);
            base = first;
        }
        end = block_of(run_end(pmm->runs[i]) - 1) + 1;
    }
    s = s == STATUS_OK ? make_pieces(pmm, base, end) : s;
    pmm->untouched = 0;
    memset(pmm->zone_free, 0, sizeof pmm->zone_free);
    struct stretch part = {0};
    for (struct pmm_region *r = pmm->regions; s == STATUS_OK && r < pmm->regions + pmm->region_count; r++) {
        uint64_t first_frame = block_start(r->base), end_frame = block_start(region_end(r));
        r->fresh = stretch_hint(&part);
        if (!has_few_blocks(r)) {
            r->in_gap = r->fresh_whole_at = r->fresh;
        }
        unsigned stretches = 0;
        while (stretch_next(pmm, &part, end_frame)) {
            stretches++;
            r->untouched += part.stop - part.first;
            uint64_t whole = whole_blocks(&part);
            r->fresh_whole += (uint32_t)whole;
            r->whole_bits |= whole == 0 ? 0 : whole_bits_of(r, whole_first(&part), whole_first(&part) + whole);
        }
        uint64_t other = end_frame - first_frame - r->untouched; /* held, or absent */
        r->absent = other == 0 ? 0 : (uint32_t)(end_frame - first_frame - ram_count(pmm, first_frame, end_frame));
        r->is_one_run = stretches == 1 && other == r->absent;
        pmm->untouched += r->untouched;
        count_free(pmm, r, (int64_t)r->untouched);
    }
    for (size_t slot = pmm->region_count; slot < pmm->region_capacity; slot++) {
        pmm->regions[slot].blocks = 0; /* free slots, for pmm_region_add */
    }
    regions_renumber(pmm);
    return s;
}
