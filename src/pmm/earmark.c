/*
 * Counting the pages and tables behind the two arrays: all that there will ever be (once, at the start), and those
 * that exist.
 *
 * Both arrays are visited in ascending order, so a unit is new exactly when it lies behind the last one counted. The
 * arrays lie apart, so they can share a table only where one ends and the other begins: it is the last of one and the
 * first of the other.
 */
#include "pmm/internal.h"

static const void *page_of(const void *p) { return vaddr_to_ptr(vaddr_page(ptr_to_vaddr(p))); }
static uint64_t page_number(const void *p) { return vaddr_page_number(ptr_to_vaddr(p)); }

const void *states_page(const struct pmm *pmm, uint64_t block) { return page_of(&pmm->states[block_start(block)]); }
const void *descriptor_page(const struct pmm *pmm, uint64_t block) { return page_of(&pmm->blocks[block]); }

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
    for (const struct pmm_region *r = pmm->regions; r < pmm->regions + pmm->region_count; r++) {
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

bool arrays_are_apart(const struct pmm *pmm, uint64_t first_block, uint64_t end_block)
{
    return !ranges_overlap(page_number(states_page(pmm, first_block)), page_number(states_page(pmm, end_block - 1)) + 1,
                           page_number(descriptor_page(pmm, first_block)),
                           page_number(descriptor_page(pmm, end_block - 1)) + 1);
}
