/*
 * Counting the pages and tables behind the two arrays: all that there will ever be (once, at the start), and those
 * that exist.
 *
 * Both arrays are visited in ascending order, so a unit is new exactly when it lies behind the last one counted. The
 * arrays lie apart, so they can share a table only where one ends and the other begins: it is the last of one and the
 * first of the other.
 */
#include "pmm/internal.h"

static uint64_t page_number(const void *p) { return vaddr_page_number(ptr_to_vaddr(p)); }

/* Pages [first, last] and their tables, from `level` up. */
static void units_add(struct units *u, uint64_t first, uint64_t last, unsigned level, unsigned levels)
{
    for (unsigned i = 0; i <= levels; i++) {
        if (i >= level) {
            uint64_t from = u->count[i] > 0 && first <= u->last[i] ? u->last[i] + 1 : first;
            if (from <= last) {
                u->first[i] = u->count[i] == 0 ? from : u->first[i];
                u->count[i] += last - from + 1;
                u->last[i] = last;
            }
        }
        first /= PAGES_PER_2M; /* entries of a table */
        last /= PAGES_PER_2M;
    }
}

void units_add_blocks(const struct pmm *pmm, struct unit_counter *c, uint64_t first, uint64_t end)
{
    units_add(&c->states, page_number(states_page(pmm, first)), page_number(states_page(pmm, end - 1)), 0, c->levels);
    units_add(&c->blocks, page_number(descriptor_page(pmm, first)), page_number(descriptor_page(pmm, end - 1)), 0,
              c->levels);
}

static void edge_add(const struct pmm *pmm, struct units *u, const void *page, unsigned levels)
{
    uint64_t missing = pmm->backing.missing(pmm->backing.ctx, page).v;
    if (missing <= levels) { /* the page and the tables next above it are what is missing */
        units_add(u, page_number(page), page_number(page), (unsigned)missing, levels);
    }
}

void units_add_edge(const struct pmm *pmm, struct unit_counter *c, uint64_t block)
{
    edge_add(pmm, &c->states, states_page(pmm, block), c->levels);
    edge_add(pmm, &c->blocks, descriptor_page(pmm, block), c->levels);
}

bool kept_edges(const struct pmm *pmm, uint64_t *first, uint64_t *last)
{
    bool found = false;
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        if (!r->left_out) {
            *first = found ? *first : r->base;
            *last = region_end(r) - 1;
            found = true;
        }
    }
    return found;
}

uint64_t units_total(const struct unit_counter *c)
{
    uint64_t total = 0;
    for (unsigned i = 0; i <= c->levels; i++) {
        const struct units *s = &c->states, *b = &c->blocks;
        bool shared = s->count[i] > 0 && b->count[i] > 0 && (s->last[i] == b->first[i] || b->last[i] == s->first[i]);
        total += s->count[i] + b->count[i] - shared;
    }
    return total;
}

uint64_t units_of_regions(const struct pmm *pmm)
{
    struct unit_counter counter = {.levels = pmm->backing.table_levels};
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        if (!r->left_out) {
            units_add_blocks(pmm, &counter, r->base, region_end(r));
        }
    }
    return units_total(&counter);
}

/* Pages [first, last] of one array; where a table is missing, all below it is. */
static void add_backed(const struct pmm *pmm, struct units *u, uint64_t first, uint64_t last, unsigned levels)
{
    for (uint64_t page = first; page <= last;) {
        const void *address = vaddr_to_ptr(vaddr(pages_to_bytes(npages(page))));
        uint64_t missing = pmm->backing.missing(pmm->backing.ctx, address).v, step = 1;
        edge_add(pmm, u, address, levels);
        for (; missing > 1; missing--) {
            step *= PAGES_PER_2M;
        }
        page = page / step * step + step;
    }
}

uint64_t units_backed(const struct pmm *pmm)
{
    struct unit_counter c = {.levels = pmm->backing.table_levels};
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        uint64_t last = region_end(r) - 1;
        if (!r->left_out) {
            add_backed(pmm, &c.states, page_number(states_page(pmm, r->base)), page_number(states_page(pmm, last)),
                       c.levels);
            add_backed(pmm, &c.blocks, page_number(descriptor_page(pmm, r->base)),
                       page_number(descriptor_page(pmm, last)), c.levels);
        }
    }
    return units_total(&c);
}

bool arrays_are_apart(const struct pmm *pmm, uint64_t first_block, uint64_t end_block)
{
    return !ranges_overlap(page_number(states_page(pmm, first_block)), page_number(states_page(pmm, end_block - 1)) + 1,
                           page_number(descriptor_page(pmm, first_block)),
                           page_number(descriptor_page(pmm, end_block - 1)) + 1);
}

/* ---- Which regions are worth having ---- */

enum { UNITS_BEYOND = 16 }; /* pages and tables at the ends of both arrays are fewer */

bool hold_is_live(struct frame_hold h) { return h.kind == HOLD_USED || h.kind == HOLD_METADATA; }

static bool has_live_holds(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t end = block_start(region_end(r));
    for (size_t i = hold_at(pmm, block_start(r->base)); i < pmm->hold_count && pmm->holds[i].first.v < end; i++) {
        if (hold_is_live(pmm->holds[i])) {
            return true;
        }
    }
    return false;
}

uint64_t region_frames(const struct pmm_region *r) { return block_start(r->blocks) - r->absent; }

/* The pieces of one region, as users see it: slots [first, end) at the start. */
struct piece_group {
    struct pmm_region *first, *end;
    uint64_t frames, untouched;
};

static struct piece_group group_from(const struct pmm *pmm, struct pmm_region *first)
{
    struct piece_group g = {first, first, 0, 0};
    do {
        g.frames += region_frames(g.end);
        g.untouched += g.end->untouched;
        g.end++;
    } while (g.end < pmm->regions + pmm->region_count && g.end->joined);
    return g;
}

static void leave_out(struct pmm *pmm, struct piece_group g)
{
    for (struct pmm_region *r = g.first; r < g.end; r++) {
        r->left_out = 1;
        pmm->untouched -= r->untouched;
        count_free(pmm, r, -(int64_t)r->free);
        r->untouched = r->fresh_whole = 0;
        r->whole_bits = 0;
    }
}

void count_units(struct pmm *pmm, bool strict)
{
    struct unit_counter counter = {.levels = pmm->backing.table_levels};
    struct piece_group g;
    for (struct pmm_region *r = pmm->regions; r < pmm->regions + pmm->region_count; r = g.end) {
        g = group_from(pmm, r);
        uint64_t end = region_end(g.end - 1), brought = strict ? g.untouched : g.frames;
        if (brought > (end - r->base) * 2 + UNITS_BEYOND) { /* more than its units can be, whatever they are */
            units_add_blocks(pmm, &counter, r->base, end);
            continue;
        }
        struct unit_counter with = counter;
        units_add_blocks(pmm, &with, r->base, end);
        bool is_live = false;
        for (struct pmm_region *piece = g.first; piece < g.end; piece++) {
            is_live = is_live || has_live_holds(pmm, piece);
        }
        if (units_total(&with) - units_total(&counter) >= brought && !is_live) {
            leave_out(pmm, g);
        } else {
            counter = with;
        }
    }
    pmm->units = units_total(&counter);
}
