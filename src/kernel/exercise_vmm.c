/*
 * `exercise vmm`: a random history of three spaces.
 *
 * A space has PLACES, some in each part of the user half where tables of some level begin and end; in a place there is
 * one stretch of pages, or none. A step picks a place of a space and maps a stretch there, of fresh frames or (read
 * only) of RAM that belongs to others; takes away all of one, its first or its last pages; gives it, or its last pages,
 * new rights; or looks. What must be refused is tried too: mapping over a page, unmapping and protecting where nothing
 * is. Every so often another space becomes current, so that the same tables are edited through the self window and
 * through the foreign one; now and then a space is destroyed, with all in it, and a new one made in its stead.
 *
 * The record is the list of stretches, in kernel pages of its own. At the end every empty place is filled once more,
 * each space must have exactly the pages of the record, and then *nothing is given back*: the spaces stay, as if made
 * by `space new`, with large pages beside them (exercise_large.c), for whoever wants to read the tables by another way
 * than ours. `space free` ends them. Some tables are shared between them then: lent, and cloned.
 *
 * Memory short: a stretch that cannot be had is not there, and that is no failure (EX-6).
 */
#include "kernel/exercise_vmm.h"

#include "arch/layout.h"
#include "kernel/cmd.h"
#include "kernel/exercise_port.h"
#include "lib/macros.h"
#include "vmm/entry.h"
#include "vmm/vmm_share.h"

enum {
    PLACES = 96,
    PLACES_PER_BORDER = 16,
    PLACE_PAGES = 1024,  /* two tables of pages: a stretch lies in one, two or three */
    LONG_PAGES = 640,    /* more than a table; one stretch in eight is up to so long */
    SHORT_PAGES = 48,    /* more than VMM_FLUSH_PAGES_MAX */
    SWITCH_EVERY = 20,   /* steps with one space current */
    SHARED_PAGES = 600,  /* two tables */
    RENEW_EVERY = 1000,  /* steps until a space is destroyed and made anew */
};

struct stretch {
    vaddr_t va;
    uint64_t pages; /* 0: none */
    paddr_t fixed;  /* not `is_own`: the first frame */
    uint64_t cut;   /* pages before it have `rights`, those from it on `rights_tail` */
    unsigned rights, rights_tail;
    bool is_own;
};

struct history {
    struct stretch at[EXERCISE_VMM_SPACES][PLACES];
};

struct run {
    struct exercise *ex;
    struct exercise_vmm *out;
    struct history *h;
};

static uint64_t below(struct run *r, uint64_t bound)
{
    return rng_below(&r->ex->rng, bound);
}

/* Where a place begins. Those of a border lie around it, and it runs through the middle of one. */
static vaddr_t place_base(unsigned place)
{
    static const uint64_t borders[PLACES / PLACES_PER_BORDER] = {
        LAYOUT_USER_FIRST,  GIB, LAYOUT_SLOT_BASE(1), LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL),
        LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL + 1) - GIB, LAYOUT_USER_END,
    };
    unsigned border = place / PLACES_PER_BORDER;
    bool is_first = border == 0, is_last = border == ARRAY_LEN(borders) - 1;
    uint64_t all = PLACES_PER_BORDER * (uint64_t)PLACE_PAGES;
    uint64_t back = is_first ? 0 : is_last ? all : all / 2 - PLACE_PAGES / 2;
    return vaddr_add_pages(vaddr(borders[border] - pages_to_bytes(npages(back))),
                           place % PLACES_PER_BORDER * (uint64_t)PLACE_PAGES);
}

static bool wrong(struct run *r, const char *what, const struct space *space, const struct stretch *s, enum status got)
{
    return exercise_failed(r->ex, "EX-4: %s of %lu pages at %#lx in space %u: %s", what, s->pages, s->va.v, space->id,
                           status_name(got));
}

/* The change must be refused with `expected`; that it changed nothing, the looks and the end show. */
static bool refused(struct run *r, const char *what, const struct space *space, const struct stretch *s,
                    enum status got, enum status expected)
{
    r->out->refused++;
    return got == expected || wrong(r, what, space, s, got);
}

static unsigned random_rights(struct run *r, bool is_own)
{
    static const unsigned choices[] = {VMM_READ, VMM_READ | VMM_EXECUTE, VMM_READ | VMM_WRITE, VMM_READ | VMM_WRITE};
    return choices[below(r, is_own ? ARRAY_LEN(choices) : 2)] | (below(r, 2) == 0 ? VMM_USER : 0U);
}

static struct stretch random_stretch(struct run *r, unsigned place)
{
    struct stretch s = {.is_own = below(r, 3) == 0};
    s.pages = 1 + below(r, below(r, 8) == 0 ? LONG_PAGES : SHORT_PAGES);
    s.va = vaddr_add_pages(place_base(place), below(r, PLACE_PAGES - s.pages)); /* the last page stays free */
    s.cut = s.pages;
    s.rights = random_rights(r, s.is_own);
    struct pmm_region_stats region;
    if (!s.is_own && pmm_region_stats(&machine.pmm, 0, &region) && region.frames.v > s.pages) {
        s.fixed = pfn_to_paddr(pfn_add(region.base, below(r, region.frames.v - s.pages)));
        /* What is between is a device, and has a cache type of its own (the VGA screen). */
        s.is_own = pmm_count_ram(&machine.pmm, paddr_to_pfn(s.fixed), npages(s.pages)).v != s.pages;
    }
    return s;
}

static bool map(struct run *r, struct space *space, struct stretch *at, unsigned place)
{
    if (at->pages > 0) {
        vaddr_t last = vaddr_add_pages(at->va, at->pages - 1);
        return refused(r, "mapping over the end", space, at,
                       vmm_map(&machine.vmm, space, last, npages(1 + below(r, 2)), VMM_READ), STATUS_EXISTS);
    }
    struct stretch s = random_stretch(r, place);
    npages_t pages = npages(s.pages);
    enum status got = s.is_own ? exercise_port_map(space, s.va, pages, s.rights)
                               : vmm_map_frames(&machine.vmm, space, s.va, paddr_to_pfn(s.fixed), pages, s.rights,
                                                false);
    if (got == STATUS_NOMEM) {
        return refused(r, "map", space, &s, got, STATUS_NOMEM);
    }
    *at = s;
    r->out->mappings++;
    r->out->pages_mapped += s.pages;
    return got == STATUS_OK || wrong(r, "map", space, &s, got);
}

/* All of it, or its first or last pages. */
static bool unmap(struct run *r, struct space *space, struct stretch *at, unsigned place)
{
    if (at->pages == 0) {
        struct stretch s = random_stretch(r, place);
        return refused(r, "unmap of nothing", space, &s, vmm_unmap(&machine.vmm, space, s.va, npages(s.pages)),
                       STATUS_ABSENT);
    }
    uint64_t pages = below(r, 4) != 0 ? at->pages : 1 + below(r, at->pages), rest = at->pages - pages;
    bool is_tail = below(r, 2) == 0;
    enum status got =
        exercise_port_unmap(space, is_tail ? vaddr_add_pages(at->va, rest) : at->va, npages(pages));
    if (got != STATUS_OK) {
        return wrong(r, "unmap", space, at, got);
    }
    r->out->unmaps++;
    at->cut = is_tail ? (at->cut < rest ? at->cut : rest) : at->cut > pages ? at->cut - pages : 0;
    if (!is_tail) {
        at->va = vaddr_add_pages(at->va, pages);
        at->fixed = pfn_to_paddr(pfn_add(paddr_to_pfn(at->fixed), pages));
    }
    at->pages = rest;
    return true;
}

static bool protect(struct run *r, struct space *space, struct stretch *at, unsigned place)
{
    if (at->pages == 0) {
        struct stretch s = random_stretch(r, place);
        return refused(r, "protect of nothing", space, &s,
                       vmm_protect(&machine.vmm, space, s.va, npages(s.pages), VMM_READ), STATUS_ABSENT);
    }
    /* From somewhere on to the end, or all of it. */
    at->cut = below(r, 2) == 0 ? 0 : below(r, at->cut + 1 < at->pages ? at->cut + 1 : at->pages);
    at->rights_tail = random_rights(r, at->is_own);
    enum status got = exercise_port_protect(space, vaddr_add_pages(at->va, at->cut), npages(at->pages - at->cut),
                                            at->rights_tail);
    r->out->protects++;
    return got == STATUS_OK || wrong(r, "protect", space, at, got);
}

/* One page of a stretch, or the one behind its end. */
static bool look(struct run *r, struct space *space, const struct stretch *at, unsigned place)
{
    struct vmm_walk w;
    uint64_t page = below(r, at->pages + 1);
    vaddr_t va = vaddr_add_pages(at->pages > 0 ? at->va : place_base(place), page);
    enum status s = vmm_translate(&machine.vmm, space, va, &w);
    bool is_in = page < at->pages;
    unsigned rights = page < at->cut ? at->rights : at->rights_tail;
    bool is_right = s == STATUS_OK && w.present == is_in && (!is_in || w.rights == rights) &&
                    (!is_in || at->is_own || w.address.v == at->fixed.v + pages_to_bytes(npages(page)));
    return is_right || exercise_failed(r->ex, "EX-4: space %u, %#lx: %s, %s, rights %#x, to %#lx; page %lu of %lu",
                                       space->id, va.v, status_name(s), w.present ? "mapped" : "not mapped", w.rights,
                                       w.address.v, page, at->pages);
}

static bool switch_to(struct run *r, struct space *space)
{
    r->out->switches++;
    enum status s = space_switch(&machine.vmm, space);
    return s == STATUS_OK || exercise_failed(r->ex, "switch to space %u: %s", space->id, status_name(s));
}

/* Away with it and all in it; the struct becomes the next one. */
static bool renew(struct run *r, unsigned i)
{
    struct space *space = r->out->spaces[i];
    if (machine.vmm.current == space && !switch_to(r, &machine.vmm.kernel)) {
        return false;
    }
    unsigned id = space->id;
    enum status s = space_destroy(&machine.vmm, space);
    if (s == STATUS_OK) {
        s = space_create(&machine.vmm, space);
    }
    for (unsigned place = 0; place < PLACES; place++) {
        r->h->at[i][place].pages = 0;
    }
    return s == STATUS_OK || exercise_failed(r->ex, "space %u destroyed and made anew: %s", id, status_name(s));
}

static bool step(struct run *r, uint64_t number)
{
    unsigned i = (unsigned)below(r, EXERCISE_VMM_SPACES), place = (unsigned)below(r, PLACES);
    if (number % RENEW_EVERY == 0 && !renew(r, i)) {
        return false;
    }
    if (number % SWITCH_EVERY == 0) {
        uint64_t to = below(r, EXERCISE_VMM_SPACES + 1);
        if (!switch_to(r, to == EXERCISE_VMM_SPACES ? &machine.vmm.kernel : r->out->spaces[to])) {
            return false;
        }
    }
    struct space *space = r->out->spaces[i];
    struct stretch *at = &r->h->at[i][place];
    switch (below(r, 8)) {
    case 0:
    case 1:
    case 2: return map(r, space, at, place);
    case 3:
    case 4:
    case 5: return unmap(r, space, at, place) && look(r, space, at, place);
    case 6: return protect(r, space, at, place) && look(r, space, at, place);
    default: return look(r, space, at, place);
    }
}

static bool sum_pages(void *ctx, const struct vmm_mapping *m)
{
    *(uint64_t *)ctx += m->pages.v;
    return true;
}

/* Fills the empty places, and compares the pages of the record, of the space's own figure and of a visit. */
static bool finish(struct run *r, unsigned i)
{
    struct space *space = r->out->spaces[i];
    uint64_t pages = 0, visited = 0;
    for (unsigned place = 0; place < PLACES; place++) {
        struct stretch *at = &r->h->at[i][place];
        if ((at->pages == 0 && !map(r, space, at, place)) || !look(r, space, at, place)) {
            return false;
        }
        pages += at->pages;
    }
    const npages_t before = space->pages;
    if (!exercise_vmm_large(r->ex, space)) {
        return false;
    }
    pages += space->pages.v - before.v;
    vmm_visit(&machine.vmm, space, vaddr(0), cmd_user_end(), sum_pages, &visited);
    r->out->pages_left += pages;
    return (space->pages.v == pages && visited == pages) ||
           exercise_failed(r->ex, "EX-4: space %u has %lu pages by the record, %lu by its figure, %lu by a visit",
                           space->id, pages, space->pages.v, visited);
}

static bool run_all(struct run *r)
{
    for (unsigned i = 0; i < EXERCISE_VMM_SPACES; i++) {
        r->out->spaces[i] = cmd_space_make();
        if (r->out->spaces[i] == NULL) {
            return exercise_failed(r->ex, "no space could be made");
        }
    }
    for (uint64_t i = 1; i <= r->out->steps; i++) {
        if (!step(r, i)) {
            return false;
        }
    }
    for (unsigned i = 0; i < EXERCISE_VMM_SPACES; i++) {
        if (!finish(r, i)) {
            return false;
        }
    }
    return true;
}

/*
 * What is shared in the end: the first space borrows a part of the last, to read, and a smaller one, to write; it has a
 * clone of another, of which it owns one page. The last may not end before the first.
 */
static bool share(struct run *r)
{
    static struct vmm_loan loans[2];
    struct space *from = r->out->spaces[EXERCISE_VMM_SPACES - 1], *to = r->out->spaces[0];
    const vaddr_t part = vaddr(LAYOUT_SLOT_BASE(20)), there = vaddr(LAYOUT_SLOT_BASE(21));
    const vaddr_t cloned = vaddr(part.v + GIB), single = vaddr(cloned.v + GIB);
    const npages_t pages = npages(SHARED_PAGES), all = npages(level_span_pages(3));
    for (unsigned i = 0; i < ARRAY_LEN(loans); i++) { /* of a run before this one */
        enum status s = vmm_withdraw(&machine.vmm, &loans[i]);
        if (s != STATUS_OK && s != STATUS_ABSENT) {
            return exercise_failed(r->ex, "EX-4: a loan is not withdrawn: %s", status_name(s));
        }
    }
    enum status s = vmm_map(&machine.vmm, from, part, pages, VMM_READ | VMM_WRITE | VMM_USER);
    if (s == STATUS_OK) {
        s = vmm_lend(&machine.vmm, from, part, to, there, 3, VMM_READ, &loans[0]);
    }
    if (s == STATUS_OK) {
        s = vmm_map(&machine.vmm, from, single, pages, VMM_READ | VMM_WRITE | VMM_USER);
    }
    if (s == STATUS_OK) {
        s = vmm_lend(&machine.vmm, from, single, to, vaddr(there.v + GIB), 2, VMM_READ | VMM_WRITE, &loans[1]);
    }
    if (s == STATUS_OK) {
        s = vmm_map(&machine.vmm, from, cloned, pages, VMM_READ | VMM_WRITE);
    }
    s = s == STATUS_OK ? vmm_clone(&machine.vmm, from, to, cloned, all) : s;
    s = s == STATUS_OK ? vmm_own_page(&machine.vmm, to, cloned) : s;
    r->out->pages_left = 0;
    for (unsigned i = 0; i < EXERCISE_VMM_SPACES; i++) {
        r->out->pages_left += r->out->spaces[i]->pages.v;
    }
    return s == STATUS_OK || s == STATUS_NOMEM || exercise_failed(r->ex, "EX-4: sharing: %s", status_name(s));
}

bool exercise_vmm_run(struct exercise *ex, struct exercise_vmm *out)
{
    uint64_t opens = machine.vmm.counters.foreign_opens;
    ex->rng = rng_seeded(ex->seed);
    struct run r = {.ex = ex, .out = out, .h = exercise_record(ex, sizeof(struct history), "exercise: vmm")};
    if (r.h == NULL) {
        return false;
    }
    bool ok = run_all(&r) && share(&r) && switch_to(&r, &machine.vmm.kernel) && exercise_record_free(ex);
    out->foreign_opens = machine.vmm.counters.foreign_opens - opens;
    exercise_note(ex, "%lu steps, seed %lu: %lu mappings of %lu pages, %lu unmaps, %lu protects, %lu refused",
                  out->steps, ex->seed, out->mappings, out->pages_mapped, out->unmaps, out->protects, out->refused);
    exercise_note(ex, "%lu switches, the foreign slot opened %lu times, %lu pages left in spaces %u, %u, %u",
                  out->switches, out->foreign_opens, out->pages_left, ok ? out->spaces[0]->id : 0,
                  ok ? out->spaces[1]->id : 0, ok ? out->spaces[2]->id : 0);
    enum status s = ok ? vmm_check(&machine.vmm, console) : STATUS_OK;
    return ok && (s == STATUS_OK || exercise_failed(ex, "vmm_check: %s", status_name(s)));
}
