/*
 * The exercise's third part: spaces with mappings, as programs use them.
 *
 * A few spaces have private stretches and share global ones. The record has a value for each page: what was written to
 * its first word last, 0 before that; and for each global page who may use it, with which rights, and who gave it. All
 * reading and writing is done on behalf of user mode, in the space itself, so that every page comes by a fault: zeros,
 * a frame, a copy on write. What the record forbids is tried as well, and must be refused.
 *
 * A step writes or reads pages, gives a stretch new rights, shares, takes back or moves global pages, gives up pages,
 * or replaces a space by a clone of another, which has all private values and nothing global. Only the first owner of a
 * global stretch shares and withdraws; who got pages by transfer is their owner then, page by page.
 */
#include "kernel/console.h"
#include "kernel/current.h"
#include "kernel/exercise.h"
#include "kernel/usercopy.h"
#include "lib/macros.h"

enum {
    SPACES = 4,
    STRETCHES = 3,      /* private ones, at the same addresses in all */
    GLOBALS = 4,
    STRETCH_PAGES = 24,
    STEPS = 2500,
    NOBODY = SPACES,
};

static const uint64_t bases[STRETCHES] = {16 * MIB - 8 * PAGE_BYTES, 1 * GIB - 4 * PAGE_BYTES, 40 * TIB};

/* rights 0: not mapped there */
struct private_page {
    uint64_t value;
    uint8_t rights;
};

struct global_page {
    uint64_t value;
    uint8_t owner;          /* NOBODY: given up by all */
    uint8_t rights[SPACES]; /* of each; 0: none */
};

struct record {
    struct aspace spaces[SPACES];
    struct private_page pages[SPACES][STRETCHES][STRETCH_PAGES];
    struct global_page globals[GLOBALS][STRETCH_PAGES];
    vaddr_t global_at[GLOBALS]; /* 0: none was mapped */
};

/* Pages [first, first + count) of a stretch. */
struct part {
    unsigned stretch, first, count;
};

enum { R = VMM_READ | VMM_USER, RW = VMM_READ | VMM_WRITE | VMM_USER };

static unsigned below(struct exercise *ex, unsigned bound) { return (unsigned)rng_below(&ex->rng, bound); }

static struct part any_part(struct exercise *ex, unsigned stretches)
{
    unsigned first = below(ex, STRETCH_PAGES);
    return (struct part){below(ex, stretches), first, 1 + below(ex, STRETCH_PAGES - first)};
}

static vaddr_t private_at(unsigned stretch, unsigned page) { return vaddr_add_pages(vaddr(bases[stretch]), page); }

static bool judged(struct exercise *ex, const char *what, unsigned space, vaddr_t va, enum status got,
                   enum status expected)
{
    return got == expected || exercise_failed(ex, "EX-9: %s at %#lx in space %u: %s, and not: %s", what, va.v, space,
                                              status_name(got), status_name(expected));
}

/* ---- Touching: the space is current ---- */

/* The page holds the value, or cannot be read where the record says so; sometimes it is written. */
static bool touch(struct exercise *ex, unsigned space, vaddr_t va, unsigned rights, uint64_t *value)
{
    uint64_t seen = 0;
    const bool readable = copy_from_user(&seen, va, sizeof seen) == 0;
    if (readable != (rights != 0) || (readable && seen != *value)) {
        return exercise_failed(ex, "EX-10: %#lx in space %u reads as %#lx%s; the record says %#lx, %s", va.v, space,
                               seen, readable ? "" : " (refused)", *value, rights != 0 ? "readable" : "refused");
    }
    ex->bytes_verified += sizeof seen;
    if (below(ex, 2) != 0) {
        return true;
    }
    const uint64_t fresh = rng_next(&ex->rng) | 1;
    const bool written = copy_to_user(va, &fresh, sizeof fresh) == 0;
    *value = written ? fresh : *value;
    return written == ((rights & VMM_WRITE) != 0) ||
           exercise_failed(ex, "EX-10: %#lx in space %u was %swritten to, against its rights", va.v, space,
                           written ? "" : "not ");
}

static bool enter(struct exercise *ex, struct record *r, unsigned space)
{
    enum status s = current_enter(&r->spaces[space]);
    return s == STATUS_OK || exercise_failed(ex, "switch to space %u: %s", space, status_name(s));
}

/* A page that nobody has any more: its address may be another stretch's by now. */
static bool is_nobodys(const struct global_page *page)
{
    unsigned any = 0;
    for (unsigned s = 0; s < SPACES; s++) {
        any |= page->rights[s];
    }
    return any == 0;
}

static bool step_touch(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, STRETCHES), g = any_part(ex, GLOBALS);
    bool ok = enter(ex, r, space);
    for (unsigned i = p.first; ok && i < p.first + p.count; i++) {
        struct private_page *page = &r->pages[space][p.stretch][i];
        ok = touch(ex, space, private_at(p.stretch, i), page->rights, &page->value);
    }
    for (unsigned i = g.first; ok && r->global_at[g.stretch].v != 0 && i < g.first + g.count; i++) {
        struct global_page *page = &r->globals[g.stretch][i];
        const vaddr_t va = vaddr_add_pages(r->global_at[g.stretch], i);
        ok = is_nobodys(page) || touch(ex, space, va, page->rights[space], &page->value);
    }
    current_leave();
    return ok;
}

/* ---- Private memory ---- */

static unsigned mapped(const struct record *r, unsigned space, struct part p)
{
    unsigned n = 0;
    for (unsigned i = p.first; i < p.first + p.count; i++) {
        n += r->pages[space][p.stretch][i].rights != 0;
    }
    return n;
}

static void note(struct record *r, unsigned space, struct part p, unsigned rights, bool fresh)
{
    for (unsigned i = p.first; i < p.first + p.count; i++) {
        struct private_page *page = &r->pages[space][p.stretch][i];
        *page = (struct private_page){fresh ? 0 : page->value, (uint8_t)rights};
    }
}

static bool step_map(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, STRETCHES);
    const vaddr_t va = private_at(p.stretch, p.first);
    struct aspace_request request = {.pages = npages(p.count), .rights = RW, .va = va, .tag = "exercise",
                                     .flags = ASPACE_AT | (below(ex, 4) == 0 ? ASPACE_POPULATE : 0U)};
    vaddr_t at;
    const bool is_free = mapped(r, space, p) == 0;
    enum status s = aspace_map(&r->spaces[space], &request, &at);
    if (is_free && s == STATUS_OK) {
        note(r, space, p, RW, true);
    }
    return judged(ex, "map", space, va, s, is_free ? STATUS_OK : STATUS_EXISTS);
}

static bool step_unmap(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, STRETCHES);
    const vaddr_t va = private_at(p.stretch, p.first);
    const bool is_all = mapped(r, space, p) == p.count;
    enum status s = aspace_unmap(&r->spaces[space], va, npages(p.count));
    if (is_all && s == STATUS_OK) {
        note(r, space, p, 0, true);
    }
    return judged(ex, "unmap", space, va, s, is_all ? STATUS_OK : STATUS_ABSENT);
}

static bool step_protect(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, STRETCHES);
    const vaddr_t va = private_at(p.stretch, p.first);
    const unsigned rights = below(ex, 2) == 0 ? R : RW;
    const bool is_all = mapped(r, space, p) == p.count;
    enum status s = aspace_protect(&r->spaces[space], va, npages(p.count), rights);
    if (is_all && s == STATUS_OK) {
        note(r, space, p, rights, false);
    }
    return judged(ex, "protect", space, va, s, is_all ? STATUS_OK : STATUS_ABSENT);
}

/* The space ends; a clone of another takes its place: all private, nothing global. */
static bool step_clone(struct exercise *ex, struct record *r, unsigned space)
{
    const unsigned parent = below(ex, SPACES);
    if (parent == space) {
        return true;
    }
    enum status s = aspace_destroy(&r->spaces[space]);
    if (!judged(ex, "destroy", space, vaddr(0), s, STATUS_OK)) {
        return false;
    }
    s = aspace_clone(&r->spaces[parent], &r->spaces[space], NULL, NULL);
    for (unsigned i = 0; i < STRETCHES * STRETCH_PAGES; i++) {
        r->pages[space][i / STRETCH_PAGES][i % STRETCH_PAGES] = r->pages[parent][i / STRETCH_PAGES][i % STRETCH_PAGES];
    }
    for (unsigned i = 0; i < GLOBALS * STRETCH_PAGES; i++) {
        struct global_page *page = &r->globals[i / STRETCH_PAGES][i % STRETCH_PAGES];
        page->rights[space] = 0;
        page->owner = page->owner == space ? NOBODY : page->owner;
    }
    return judged(ex, "clone", space, vaddr(0), s, STATUS_OK);
}

/* ---- Global memory ---- */

/* Do all pages have this owner, and `other` these rights (any: UINT8_MAX)? */
static bool all_are(const struct record *r, struct part p, unsigned owner, unsigned other, bool has)
{
    for (unsigned i = p.first; i < p.first + p.count; i++) {
        const struct global_page *page = &r->globals[p.stretch][i];
        if (page->owner != owner || (page->rights[other] != 0) != has) {
            return false;
        }
    }
    return true;
}

static void note_global(struct record *r, struct part p, unsigned space, unsigned rights)
{
    for (unsigned i = p.first; i < p.first + p.count; i++) {
        r->globals[p.stretch][i].rights[space] = (uint8_t)rights;
    }
}

/* A stretch that nobody has any more: its addresses are given up, and somebody gets new ones. */
static bool step_map_global(struct exercise *ex, struct record *r, unsigned space)
{
    const unsigned stretch = below(ex, GLOBALS);
    struct aspace_request request = {.pages = npages(STRETCH_PAGES), .rights = RW, .flags = ASPACE_GLOBAL,
                                     .tag = "exercise"};
    for (unsigned i = 0; i < STRETCH_PAGES; i++) {
        if (!is_nobodys(&r->globals[stretch][i])) {
            return true;
        }
    }
    enum status s = aspace_map(&r->spaces[space], &request, &r->global_at[stretch]);
    for (unsigned i = 0; i < STRETCH_PAGES; i++) {
        r->globals[stretch][i] = (struct global_page){.owner = (uint8_t)space};
        r->globals[stretch][i].rights[space] = RW;
    }
    return judged(ex, "map global", space, r->global_at[stretch], s, STATUS_OK);
}

static bool step_share(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, GLOBALS);
    const unsigned to = below(ex, SPACES), rights = below(ex, 2) == 0 ? R : RW;
    const vaddr_t va = vaddr_add_pages(r->global_at[p.stretch], p.first);
    if (to == space || !all_are(r, p, space, to, false)) {
        return true;
    }
    enum status s = aspace_share(&r->spaces[space], va, npages(p.count), &r->spaces[to], rights, vaddr(0));
    if (s == STATUS_OK) {
        note_global(r, p, to, rights);
    }
    return judged(ex, "share", space, va, s, STATUS_OK);
}

static bool step_withdraw(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, GLOBALS);
    const unsigned to = below(ex, SPACES);
    const vaddr_t va = vaddr_add_pages(r->global_at[p.stretch], p.first);
    if (to == space || !all_are(r, p, space, to, true)) {
        return true;
    }
    enum status s = aspace_withdraw(&r->spaces[space], va, npages(p.count), &r->spaces[to]);
    if (s == STATUS_OK) {
        note_global(r, p, to, 0);
    }
    return judged(ex, "withdraw", space, va, s, STATUS_OK);
}

/* All users but the owner lose the pages first: then whose they are is plain. */
static bool step_transfer(struct exercise *ex, struct record *r, unsigned space)
{
    const struct part p = any_part(ex, GLOBALS);
    const unsigned to = below(ex, SPACES);
    const vaddr_t va = vaddr_add_pages(r->global_at[p.stretch], p.first);
    bool is_alone = to != space;
    for (unsigned s = 0; s < SPACES; s++) {
        is_alone = is_alone && (s == space || all_are(r, p, space, s, false));
    }
    if (!is_alone) {
        return true;
    }
    enum status s = aspace_transfer(&r->spaces[space], va, npages(p.count), &r->spaces[to], RW);
    for (unsigned i = p.first; s == STATUS_OK && i < p.first + p.count; i++) {
        struct global_page *page = &r->globals[p.stretch][i];
        page->owner = (uint8_t)to;
        page->rights[space] = 0;
        page->rights[to] = RW;
    }
    return judged(ex, "transfer", space, va, s, STATUS_OK);
}

/* ---- The part ---- */

static bool step(struct exercise *ex, struct record *r)
{
    static bool (*const steps[])(struct exercise *ex, struct record *r, unsigned space) = {
        step_touch, step_touch,      step_touch, step_map,   step_unmap, step_map,
        step_share, step_map_global, step_share, step_touch, step_protect, step_withdraw,
        step_transfer,
    };
    const unsigned space = below(ex, SPACES);
    return below(ex, 40) == 0 ? step_clone(ex, r, space) : steps[below(ex, ARRAY_LEN(steps))](ex, r, space);
}

static bool end_all(struct exercise *ex, struct record *r)
{
    bool ok = true;
    for (unsigned i = 0; i < SPACES; i++) {
        ok = judged(ex, "destroy", i, vaddr(0), aspace_destroy(&r->spaces[i]), STATUS_OK) && ok;
    }
    return ok;
}

bool exercise_shared(struct exercise *ex)
{
    struct record *r = exercise_record(ex, sizeof *r, "exercise: spaces with mappings");
    if (r == NULL) {
        return false;
    }
    const uint64_t faults = machine.page_faults;
    for (unsigned i = 0; i < SPACES; i++) {
        enum status s = aspace_create(&machine.aspaces, &r->spaces[i], (struct aspace_limits){0});
        if (!judged(ex, "create", i, vaddr(0), s, STATUS_OK)) {
            return false;
        }
    }
    for (unsigned i = 0; i < GLOBALS * STRETCH_PAGES; i++) {
        r->globals[i / STRETCH_PAGES][i % STRETCH_PAGES].owner = NOBODY;
    }
    for (unsigned i = 0; i < STEPS; i++) {
        if (!step(ex, r)) {
            return false;
        }
    }
    enum status s = aspaces_check(&machine.aspaces, console);
    if (s != STATUS_OK || !end_all(ex, r)) {
        return s == STATUS_OK ? false : exercise_failed(ex, "aspaces_check: %s", status_name(s));
    }
    exercise_note(ex, "%d spaces with mappings, %lu faults, every page as it was written", SPACES,
                  machine.page_faults - faults);
    return exercise_record_free(ex);
}
