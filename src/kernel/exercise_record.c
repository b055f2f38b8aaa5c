/* The record of spaces: where its pages lie, and comparing it with what is there. */
#include "kernel/exercise_record.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "lib/macros.h"

/* Each begins half a stretch before a place where a table of some level ends: a table of pages, of 2 MiB parts, of 1
 * GiB parts; the first addresses that may be had; the border between the private and the global part. */
static const uint64_t borders[STRETCHES] = {
    LAYOUT_USER_FIRST, 2 * MIB, GIB, LAYOUT_SLOT_BASE(1), LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL),
};

vaddr_t part_address(struct part p)
{
    vaddr_t border = vaddr(borders[p.stretch]);
    uint64_t half = p.stretch == 0 ? 0 : pages_to_bytes(npages(STRETCH_PAGES / 2));
    return vaddr_add_pages(vaddr(border.v - half), p.first);
}

struct part part_random(struct exercise *ex, unsigned space, unsigned longest)
{
    struct part p = {.space = space, .stretch = (unsigned)rng_below(&ex->rng, STRETCHES)};
    p.first = (unsigned)rng_below(&ex->rng, STRETCH_PAGES);
    unsigned room = STRETCH_PAGES - p.first;
    unsigned most = 1 + (unsigned)rng_below(&ex->rng, room < longest ? room : longest);
    p.count = 1 + (unsigned)rng_below(&ex->rng, most);
    if (longest == STRETCH_PAGES && rng_below(&ex->rng, 4) == 0) {
        p.first = 0; /* all of it: more than what is flushed page by page */
        p.count = STRETCH_PAGES;
    }
    return p;
}

struct part part_trimmed(struct record *r, struct part p, bool mapped)
{
    unsigned same = 0;
    while (same < p.count && (page_of(r, p, same)->cell != NO_CELL) == mapped) {
        same++;
    }
    p.count = same == 0 ? p.count : same;
    return p;
}

unsigned part_mapped(struct record *r, struct part p)
{
    unsigned mapped = 0;
    for (unsigned i = 0; i < p.count; i++) {
        mapped += page_of(r, p, i)->cell != NO_CELL;
    }
    return mapped;
}

/* ---- Contents ---- */

/* The words of a page that are looked at. */
static void word_places(uint64_t value, uint64_t places[static 3])
{
    places[0] = 0;
    places[1] = FRAME_WORDS - 1;
    places[2] = value % FRAME_WORDS;
}

static uint64_t word_expected(const struct exercise *ex, const struct cell *c, uint64_t place)
{
    return c->value == 0 ? 0 : exercise_word(ex, c->value, place);
}

/* Reads (or, when `write`, writes) the page's words at an address where it can be reached now. */
bool cell_touch(struct exercise *ex, const struct cell *c, vaddr_t page, bool write, const char *from)
{
    uint64_t places[3];
    word_places(c->value, places);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        vaddr_t at = vaddr_add(page, places[i] * sizeof(uint64_t));
        uint64_t expected = word_expected(ex, c, places[i]);
        if (write) {
            arch_write64(at, expected);
        } else if (arch_read64(at) != expected) {
            return exercise_failed(ex, "EX-5: frame %#lx, word %lu, seen from %s: %#lx was put there, %#lx is there",
                                   c->frame, places[i], from, expected, arch_read64(at));
        } else {
            ex->bytes_verified += sizeof(uint64_t);
        }
    }
    return true;
}

bool cell_touch_outside(struct exercise *ex, const struct cell *c, bool write)
{
    vaddr_t page;
    enum status s = temp_map(&machine.vmm, pfn(c->frame), &page);
    if (s != STATUS_OK) {
        return exercise_failed(ex, "temporary mapping of frame %#lx: %s", c->frame, status_name(s));
    }
    if (!cell_touch(ex, c, page, write, "outside")) {
        return false;
    }
    s = temp_unmap(&machine.vmm, page);
    return s == STATUS_OK || exercise_failed(ex, "undoing a temporary mapping: %s", status_name(s));
}

/* ---- Looking ---- */

/* One page as the VMM sees it against the record: EX-4. */
bool part_look_at_page(struct exercise *ex, struct record *r, struct part p)
{
    struct vmm_walk w;
    vaddr_t va = part_address(p);
    const struct page_record *page = page_of(r, p, 0);
    enum status s = vmm_translate(&machine.vmm, space_of(r, p), va, &w);
    if (s != STATUS_OK) {
        return exercise_failed(ex, "EX-4: vmm_translate of %#lx: %s", va.v, status_name(s));
    }
    if (w.present != (page->cell != NO_CELL)) {
        return exercise_failed(ex, "EX-4: space %u, %#lx: the record says %s, the tables say %s", space_of(r, p)->id,
                               va.v, w.present ? "nothing" : "mapped", w.present ? "mapped" : "nothing");
    }
    if (!w.present) {
        return true;
    }
    const struct cell *c = &r->cells[page->cell];
    if (paddr_to_pfn(w.address).v != c->frame || w.rights != page->rights) {
        return exercise_failed(
            ex, "EX-4: space %u, %#lx: frame %#lx with rights %#x was mapped, the tables say %#lx and %#x",
            space_of(r, p)->id, va.v, c->frame, page->rights, paddr_to_pfn(w.address).v, w.rights);
    }
    return true;
}

bool part_look(struct exercise *ex, struct record *r, struct part p)
{
    for (unsigned i = 0; i < p.count; i++) {
        struct part one = part_page(p, i);
        uint16_t cell = page_of(r, p, i)->cell;
        if (!part_look_at_page(ex, r, one) || (cell != NO_CELL && !cell_touch_outside(ex, &r->cells[cell], false))) {
            return false;
        }
        /* By its own address too, with no CR3 load since the change: what the change did not flush shows here. */
        if (cell != NO_CELL && machine.vmm.current == space_of(r, p) &&
            !cell_touch(ex, &r->cells[cell], part_address(one), false, "inside, after a change")) {
            return false;
        }
    }
    return true;
}

/* What the change answered against what the record says it must. A refused one must have changed nothing: the pages are
 * looked at. */
bool part_judged(struct exercise *ex, struct record *r, struct part p, const char *what, enum status s,
                 enum status expected)
{
    if (s != expected) {
        return exercise_failed(ex, "EX-4: %s of %u pages at %#lx in space %u: %s, and should be: %s", what, p.count,
                               part_address(p).v, space_of(r, p)->id, status_name(s), status_name(expected));
    }
    if (s == STATUS_OK && machine.vmm.current != space_of(r, p)) {
        ex->foreign_edits++;
    }
    return s == STATUS_OK || part_look(ex, r, p);
}
