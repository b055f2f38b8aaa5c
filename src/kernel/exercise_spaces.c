/*
 * The exercise's second part: spaces.
 *
 * Each of a few spaces has stretches of pages at places where tables begin and end (exercise_record.c). The record of a
 * page is a *cell*: the frame that it should be on, the rights, and the value that was put into it. A frame that is
 * shared has the same cell number in several pages, so what is written through one is expected in all. A page's content
 * is its first and last word, and one more at a place that its number says.
 *
 * A step picks a space and a stretch and does one thing to a random part of it: map, unmap, protect, share a frame of
 * another page, write from outside through a temporary mapping, look from outside; every so often it switches into the
 * space and reads and writes all its pages there. Whether a change must succeed is told by the record; a refused one
 * must change nothing (EX-6), which the next look at its pages proves.
 *
 * Pages are mapped for the supervisor only, though in the user half: the kernel reads them by their own addresses,
 * which SMAP would forbid for user pages.
 */
#include "arch/layout.h"
#include "kernel/exercise_port.h"
#include "kernel/exercise_record.h"
#include "lib/macros.h"

enum {
    STEPS = 3000,
    INSIDE_EVERY = 50, /* steps between two visits inside */
};

/* ---- Changes ---- */

static uint16_t unused_cell(struct record *r)
{
    uint16_t cell = 1;
    while (r->cells[cell].users != 0) {
        cell++; /* there is a cell for each page */
    }
    return cell;
}

/* Notes a freshly mapped page: its frame is asked once, here, and believed to stay. */
static bool note_mapped(struct exercise *ex, struct record *r, struct part p, unsigned rights)
{
    struct vmm_walk w;
    enum status s = vmm_translate(&machine.vmm, space_of(r, p), part_address(p), &w);
    if (s != STATUS_OK || !w.present) {
        return exercise_failed(ex, "EX-4: %#lx in space %u was just mapped, and is not", part_address(p).v,
                               space_of(r, p)->id);
    }
    for (uint16_t c = 1; c <= CELLS; c++) {
        if (r->cells[c].users != 0 && r->cells[c].frame == paddr_to_pfn(w.address).v) {
            return exercise_failed(ex, "EX-1: fresh page %#lx is on frame %#lx, which another page has",
                                   part_address(p).v, r->cells[c].frame);
        }
    }
    uint16_t cell = unused_cell(r);
    r->cells[cell] = (struct cell){.frame = paddr_to_pfn(w.address).v, .value = 0, .users = 1};
    *page_of(r, p, 0) = (struct page_record){.cell = cell, .rights = (uint16_t)rights};
    return cell_touch_outside(ex, &r->cells[cell], false);
}

static unsigned random_rights(struct exercise *ex)
{
    static const unsigned choices[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_WRITE, VMM_READ | VMM_EXECUTE};
    return choices[rng_below(&ex->rng, ARRAY_LEN(choices))];
}

static bool step_map(struct exercise *ex, struct record *r, struct part p)
{
    unsigned rights = random_rights(ex);
    bool is_free = part_mapped(r, p) == 0;
    enum status s = exercise_port_map(space_of(r, p), part_address(p), npages(p.count), rights);
    if (!part_judged(ex, r, p, "map", s, is_free ? STATUS_OK : STATUS_EXISTS)) {
        return false;
    }
    for (unsigned i = 0; is_free && i < p.count; i++) {
        if (!note_mapped(ex, r, part_page(p, i), rights)) {
            return false;
        }
    }
    return !is_free || part_look(ex, r, p);
}

static bool step_unmap(struct exercise *ex, struct record *r, struct part p)
{
    bool is_all = part_mapped(r, p) == p.count;
    enum status s = exercise_port_unmap(space_of(r, p), part_address(p), npages(p.count));
    if (!part_judged(ex, r, p, "unmap", s, is_all ? STATUS_OK : STATUS_ABSENT)) {
        return false;
    }
    for (unsigned i = 0; is_all && i < p.count; i++) {
        r->cells[page_of(r, p, i)->cell].users--;
        page_of(r, p, i)->cell = NO_CELL;
    }
    return !is_all || part_look(ex, r, p);
}

static bool step_protect(struct exercise *ex, struct record *r, struct part p)
{
    unsigned rights = random_rights(ex);
    bool is_all = part_mapped(r, p) == p.count;
    enum status s = exercise_port_protect(space_of(r, p), part_address(p), npages(p.count), rights);
    if (!part_judged(ex, r, p, "protect", s, is_all ? STATUS_OK : STATUS_ABSENT)) {
        return false;
    }
    for (unsigned i = 0; is_all && i < p.count; i++) {
        page_of(r, p, i)->rights = (uint16_t)rights;
    }
    return !is_all || part_look(ex, r, p);
}

/* Map the frame of some page of any space once more. */
static bool step_share(struct exercise *ex, struct record *r, struct part p)
{
    struct part from = part_random(ex, (unsigned)rng_below(&ex->rng, SPACES), 1);
    uint16_t cell = page_of(r, from, 0)->cell;
    p.count = 1;
    if (cell == NO_CELL) {
        return true;
    }
    unsigned rights = random_rights(ex);
    bool is_free = part_mapped(r, p) == 0;
    enum status s = exercise_port_map_frame(space_of(r, p), part_address(p), pfn(r->cells[cell].frame), rights);
    if (!part_judged(ex, r, p, "share", s, is_free ? STATUS_OK : STATUS_EXISTS)) {
        return false;
    }
    if (is_free) {
        r->cells[cell].users++;
        *page_of(r, p, 0) = (struct page_record){.cell = cell, .rights = (uint16_t)rights};
    }
    struct pmm_frame f = pmm_query(&machine.pmm, pfn(r->cells[cell].frame));
    if (f.references != r->cells[cell].users) {
        return exercise_failed(ex, "EX-1: frame %#lx is mapped %u times and has %u references", r->cells[cell].frame,
                               r->cells[cell].users, f.references);
    }
    return part_look_at_page(ex, r, p);
}

static bool step_write(struct exercise *ex, struct record *r, struct part p)
{
    for (unsigned i = 0; i < p.count; i++) {
        uint16_t cell = page_of(r, p, i)->cell;
        if (cell != NO_CELL) {
            r->cells[cell].value = rng_next(&ex->rng) | 1;
            if (!cell_touch_outside(ex, &r->cells[cell], true)) {
                return false;
            }
        }
    }
    return part_look(ex, r, p);
}

/* ---- Inside ---- */

/* In the space itself: every page holds what was put there, and what is writable is written anew. */
static bool visit_inside(struct exercise *ex, struct record *r, unsigned space)
{
    enum status s = space_switch(&machine.vmm, &r->spaces[space]);
    if (s != STATUS_OK) {
        return exercise_failed(ex, "switch to space %u: %s", r->spaces[space].id, status_name(s));
    }
    for (unsigned i = 0; i < STRETCHES * STRETCH_PAGES; i++) {
        struct part p = {space, i / STRETCH_PAGES, i % STRETCH_PAGES, 1};
        const struct page_record *page = page_of(r, p, 0);
        struct cell *c = &r->cells[page->cell];
        if (page->cell == NO_CELL) {
            continue;
        }
        if (!cell_touch(ex, c, part_address(p), false, "inside")) {
            return false;
        }
        if ((page->rights & VMM_WRITE) != 0 && rng_below(&ex->rng, 2) == 0) {
            c->value = rng_next(&ex->rng) | 1;
            cell_touch(ex, c, part_address(p), true, "inside");
        }
    }
    return true;
}

/* ---- The part ---- */

static bool step(struct exercise *ex, struct record *r)
{
    struct part p = part_random(ex, (unsigned)rng_below(&ex->rng, SPACES), STRETCH_PAGES);
    /* One in four goes as it fell, and may have to be refused; the others are cut to what can be done. */
    bool as_it_fell = rng_below(&ex->rng, 4) == 0;
    struct part mapped = as_it_fell ? p : part_trimmed(r, p, true);
    switch (rng_below(&ex->rng, 8)) {
    case 0:
    case 1: return step_map(ex, r, as_it_fell ? p : part_trimmed(r, p, false));
    case 2:
    case 3: return step_unmap(ex, r, mapped);
    case 4: return step_protect(ex, r, mapped);
    case 5: return step_share(ex, r, p);
    case 6: return step_write(ex, r, p);
    default: return part_look(ex, r, p);
    }
}

static bool sum_pages(void *ctx, const struct vmm_mapping *m)
{
    npages_t *sum = ctx;
    sum->v += m->pages.v;
    return true;
}

/* At the end: every page of the record, and that there is none beside it. */
static bool look_at_all(struct exercise *ex, struct record *r)
{
    for (unsigned s = 0; s < SPACES; s++) {
        unsigned mapped = 0;
        for (unsigned stretch = 0; stretch < STRETCHES; stretch++) {
            struct part p = {s, stretch, 0, STRETCH_PAGES};
            mapped += part_mapped(r, p);
            if (!part_look(ex, r, p)) {
                return false;
            }
        }
        npages_t visited = npages(0);
        vmm_visit(&machine.vmm, &r->spaces[s], vaddr(0), vaddr(LAYOUT_USER_END), sum_pages, &visited);
        if (r->spaces[s].pages.v != mapped || visited.v != mapped) {
            return exercise_failed(ex, "EX-4: space %u has %u pages by the record, %lu by its count, %lu by a visit",
                                   r->spaces[s].id, mapped, r->spaces[s].pages.v, visited.v);
        }
    }
    return true;
}

static bool run_steps(struct exercise *ex, struct record *r)
{
    for (unsigned i = 1; i <= STEPS; i++) {
        if (!step(ex, r)) {
            return false;
        }
        if (i % INSIDE_EVERY == 0) {
            /* After a visit the space stays current for the next steps, or the kernel's own is current again: both
             * kinds of edits. */
            unsigned space = (unsigned)rng_below(&ex->rng, SPACES);
            if (!visit_inside(ex, r, space)) {
                return false;
            }
            if (rng_below(&ex->rng, 2) == 0 && space_switch(&machine.vmm, &machine.vmm.kernel) != STATUS_OK) {
                return exercise_failed(ex, "switch to the kernel's own space failed");
            }
        }
    }
    return look_at_all(ex, r);
}

static bool create_all(struct exercise *ex, struct record *r)
{
    for (unsigned i = 0; i < SPACES; i++) {
        enum status s = space_create(&machine.vmm, &r->spaces[i]);
        if (s != STATUS_OK) {
            return exercise_failed(ex, "space_create: %s", status_name(s));
        }
    }
    return true;
}

static bool destroy_all(struct exercise *ex, struct record *r)
{
    for (unsigned i = 0; i < SPACES; i++) {
        enum status s = space_destroy(&machine.vmm, &r->spaces[i]);
        if (s != STATUS_OK) {
            return exercise_failed(ex, "space_destroy: %s", status_name(s));
        }
    }
    return true;
}

bool exercise_spaces(struct exercise *ex)
{
    struct record *r = exercise_record(ex, sizeof *r, "exercise: spaces");
    if (r == NULL) {
        return false;
    }
    uint64_t edits = ex->foreign_edits;
    bool ok = create_all(ex, r) && run_steps(ex, r);
    enum status s = space_switch(&machine.vmm, &machine.vmm.kernel);
    if (!ok || s != STATUS_OK) {
        return ok ? exercise_failed(ex, "switch to the kernel's own space: %s", status_name(s)) : false;
    }
    if (!destroy_all(ex, r)) {
        return false;
    }
    exercise_note(ex, "%u spaces, %lu foreign edits, all found from outside and from inside", SPACES,
                  ex->foreign_edits - edits);
    return exercise_record_free(ex);
}
