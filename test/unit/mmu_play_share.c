/*
 * Histories that share tables, against a plain model of contents: a page is an object with a number; a mapping names
 * one, and what is shared for copy on write names the same as others until it is owned. A borrowed part has no mappings
 * of its own: it is looked up at the lender's. Which tables are shared just now is asked of the walk; that their marks
 * are right, of vmm_check(); what may be cached, of the model's MMU.
 */
#include "unit/mmu_play_pages.h"

#include "unit/test.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_marks.h"

/* As a fault handler: the page is owned where it may be. */
static unsigned own_page(const struct place *at, unsigned page)
{
    struct mapping *m = play_mapping_at(at, page);
    const struct vmm_loan *l = play_loan_of(at);
    const bool may = (m->rights & VMM_WRITE) != 0, passes = l == NULL || (l->rights & VMM_WRITE) != 0;
    enum status s = vmm_own_page(play_shared.vmm, space_at(at), play_page_address(at, page));
    enum status expected = !m->mapped ? STATUS_ABSENT : !may || !passes ? STATUS_DENIED : STATUS_OK;
    if (l != NULL && expected == STATUS_OK && s == STATUS_SHARED && m->cow) {
        return 0; /* the lender must own it first */
    }
    play_expect(s, expected, "vmm_own_page");
    if (s != STATUS_OK) {
        return 0;
    }
    if (l == NULL && m->cow) {
        m->object = play_new_object(play_shared.number[m->object]);
        m->cow = false;
    }
    const struct vmm_walk w = play_walk_of(at, page);
    if ((w.rights & VMM_WRITE) == 0) {
        play_fail("%#lx is owned, and not writable", address_of(at, page));
    }
    if (play_shared.vmm->current == space_at(at)) {
        play_touch_page(at, page);
    }
    return 1;
}

/* ---- Edits ---- */

/* A large page in a part that is lent is not cut. */
static bool may_not_be_cut(const struct place *at, unsigned first, unsigned pages)
{
    const struct vmm_walk w = play_walk_of(at, first);
    return w.level == 2 && w.present && entry_is_lent(w.entry[3]) && pages < PAGES;
}

static void record(const struct play_op *op, const struct place *at, unsigned first, unsigned pages)
{
    for (unsigned i = first; i < first + pages; i++) {
        struct mapping *m = play_mapping_at(at, i);
        if (op->kind == PLAY_SHARE_PROTECT) {
            m->rights = op->rights;
        } else if (op->kind == PLAY_SHARE_UNMAP || op->kind == PLAY_SHARE_CLEAR) {
            *m = (struct mapping){0};
        } else {
            *m = (struct mapping){.mapped = true,
                                  .device = op->kind == PLAY_SHARE_DEVICE,
                                  .rights = op->rights,
                                  .object = play_new_object(0)};
        }
    }
}

/* The frames of a device that belong to the place, of one cache type. */
static pfn_t device_frame(const struct place *at)
{
    return pfn(0x3008000 + (at->region * PARTS + at->part) * (uint64_t)PART_PAGES);
}

static unsigned edit(const struct play_op *op, const struct place *at, unsigned first, unsigned pages)
{
    struct space *space = space_at(at);
    const vaddr_t va = play_page_address(at, first);
    const npages_t n = play_pages(first, pages);
    const unsigned size = pages == PAGES && op->first % 2 == 0 ? VMM_2M : 0;
    unsigned mapped = 0;
    for (unsigned i = first; i < first + pages; i++) {
        mapped += play_mapping_at(at, i)->mapped;
    }
    const bool unmaps = op->kind == PLAY_SHARE_UNMAP || op->kind == PLAY_SHARE_CLEAR,
               maps = !unmaps && op->kind != PLAY_SHARE_PROTECT, closed = play_is_closed(at);
    const bool fits = maps ? mapped == 0 : mapped == pages;
    const enum status good = !maps && may_not_be_cut(at, first, pages) ? STATUS_SHARED : STATUS_OK;
    enum status s = op->kind == PLAY_SHARE_DEVICE
                        ? vmm_map_frames(play_shared.vmm, space, va, pfn_add(device_frame(at), first), n,
                                         op->rights | VMM_WRITE_COMBINING | size, false)
                    : maps   ? vmm_map(play_shared.vmm, space, va, n, op->rights | size)
                    : unmaps ? vmm_unmap(play_shared.vmm, space, va, n)
                             : vmm_protect(play_shared.vmm, space, va, n, op->rights);
    if (s != STATUS_SHARED || size == 0 || !maps) { /* a table that is lent stays, and is in the way */
        play_expect(s, closed ? STATUS_SHARED : fits ? good : maps ? STATUS_EXISTS : STATUS_ABSENT, "an edit");
    }
    if (s == STATUS_OK) {
        record(op, at, first, pages);
    }
    return s == STATUS_OK ? pages : 0;
}

/* The part becomes one page, or 512: contents, rights and who shares them stay. */
static unsigned change_size(const struct play_op *op, const struct place *at)
{
    const vaddr_t va = play_part_address(at->region, at->part);
    const bool promotes = op->kind == PLAY_SHARE_PROMOTE;
    enum status s = promotes ? vmm_promote(play_shared.vmm, space_at(at), va, 2,
                                           op->first % 2 == 0 ? VMM_PROMOTE_COPY : 0)
                             : vmm_demote(play_shared.vmm, space_at(at), va);
    const struct vmm_walk w = play_walk_of(at, 0);
    const bool is_lent = (pte_is_present(w.entry[3]) && entry_is_lent(w.entry[3])) ||
                         (w.level == 1 && entry_is_lent(w.entry[2]));
    if (s == STATUS_OK ? play_is_closed(at) || is_lent || w.level != (promotes ? 2U : 1U)
                       : s != STATUS_EXISTS && s != STATUS_ABSENT && s != STATUS_SHARED && s != STATUS_NOMEM &&
                             !(promotes && s == STATUS_CONFLICT)) {
        play_fail("another page size: the answer is %s, the page's level %u", status_name(s), w.level);
    }
    return s == STATUS_OK;
}

static unsigned mark(const struct play_op *op, const struct place *at, unsigned first, unsigned pages)
{
    struct vmm_marks marks;
    const bool clears = op->first % 2 == 0;
    bool mapped = true;
    for (unsigned i = first; i < first + pages; i++) {
        mapped = mapped && play_mapping_at(at, i)->mapped;
    }
    enum status s = vmm_marks(play_shared.vmm, space_at(at), play_page_address(at, first), play_pages(first, pages),
                              clears ? VMM_ACCESSED | VMM_DIRTY : 0, &marks);
    if (s != STATUS_SHARED || !clears) {
        play_expect(s, mapped ? STATUS_OK : STATUS_ABSENT, "vmm_marks");
    }
    if (s == STATUS_OK && clears && play_is_closed(at)) {
        play_fail("marks are cleared in a table of somebody else");
    }
    return 0;
}

static unsigned lend(const struct play_op *op, const struct place *from, const struct place *to, unsigned level)
{
    for (unsigned i = 0; i < LOANS; i++) {
        struct vmm_loan *l = &play_shared.loan[i];
        if (l->lender != NULL) {
            continue;
        }
        enum status s = vmm_lend(
            play_shared.vmm, &play_shared.space[from->space],
            play_part_address(from->region, level == 3 ? 0 : from->part), &play_shared.space[to->space],
            play_part_address(to->region, level == 3 ? 0 : to->part), level, VMM_READ | (op->rights & VMM_WRITE), l);
        if (from->space == to->space) {
            play_expect(s, STATUS_INVALID, "vmm_lend");
        } else if (s != STATUS_OK && s != STATUS_ABSENT && s != STATUS_EXISTS && s != STATUS_SHARED &&
                   s != STATUS_DENIED && s != STATUS_NOMEM) {
            play_fail("vmm_lend: the answer is %s", status_name(s));
        }
        return s == STATUS_OK;
    }
    return 0;
}

/* One of them; `any`: the next that is not over. */
static unsigned withdraw(unsigned i, bool any)
{
    for (unsigned k = 0; k < LOANS && any && play_shared.loan[i].lender == NULL; k++) {
        i = (i + 1) % LOANS;
    }
    const bool is_on = play_shared.loan[i].lender != NULL;
    play_expect(vmm_withdraw(play_shared.vmm, &play_shared.loan[i]), is_on ? STATUS_OK : STATUS_ABSENT, "vmm_withdraw");
    return is_on;
}

static unsigned clone(const struct place *from, const struct place *to, bool whole)
{
    const unsigned first = whole ? 0 : from->part, last = whole ? PARTS - 1 : from->part;
    enum status s = vmm_clone(play_shared.vmm, &play_shared.space[from->space], &play_shared.space[to->space],
                              play_part_address(from->region, first),
                              npages(whole ? PART_PAGES * (uint64_t)TABLE_ENTRIES : PART_PAGES));
    if (from->space == to->space) {
        play_expect(s, STATUS_INVALID, "vmm_clone");
    } else if (s != STATUS_OK && s != STATUS_EXISTS && s != STATUS_SHARED && s != STATUS_NOMEM) {
        play_fail("vmm_clone: the answer is %s", status_name(s));
    }
    for (unsigned part = first; part <= last && s == STATUS_OK; part++) {
        for (unsigned page = 0; page < PAGES; page++) {
            struct mapping *m = &play_shared.map[from->space][from->region][part][page];
            m->cow = m->mapped;
            play_shared.map[to->space][from->region][part][page] = *m;
        }
    }
    return s == STATUS_OK;
}

static unsigned unshare(const struct place *at)
{
    const struct vmm_loan *l = play_loan_of(at);
    const struct vmm_loan was = l != NULL ? *l : (struct vmm_loan){0};
    struct mapping copy[PARTS][PAGES];
    for (unsigned i = 0; i < PARTS; i++) {
        const struct place part = {at->space, at->region, i}, lenders = play_resolve(&part);
        for (unsigned page = 0; page < PAGES; page++) {
            if (l != NULL) {
                play_settle(&lenders, page);
            }
            copy[i][page] = *play_mapping_at(&part, page);
            copy[i][page].cow = copy[i][page].mapped;
            copy[i][page].rights &= (uint8_t)was.rights;
        }
    }
    const bool was_closed = play_is_closed(at);
    enum status s = vmm_unshare(play_shared.vmm, space_at(at), play_part_address(at->region, at->part), npages(1));
    play_expect(s, STATUS_OK, "vmm_unshare");
    if (s != STATUS_OK) {
        return 0;
    }
    if (play_is_closed(at) || (l != NULL && l->lender != NULL)) {
        play_fail("what is unshared is shared");
    }
    for (unsigned i = 0; i < PARTS && l != NULL; i++) {
        if (was.level == 3 || i == at->part) {
            memcpy(play_shared.map[at->space][at->region][i], copy[i], sizeof copy[i]);
        }
    }
    return was_closed;
}

/* Unmap all that a place has. */
static unsigned clear(const struct play_op *op, const struct place *at)
{
    unsigned done = 0;
    for (unsigned first = 0, n; first < PAGES; first += n) {
        n = 1;
        while (first + n < PAGES && play_mapping_at(at, first)->mapped && play_mapping_at(at, first + n)->mapped) {
            n++;
        }
        done += play_mapping_at(at, first)->mapped ? edit(op, at, first, n) : 0;
    }
    return done;
}

bool play_share_lends(unsigned s)
{
    return play_shared.space[s].lent.root != NULL;
}

void play_share_ended(unsigned s)
{
    memset(play_shared.map[s], 0, sizeof play_shared.map[s]);
    for (unsigned i = 0; i < LOANS; i++) {
        if (play_shared.loan[i].lender != NULL && play_shared.loan[i].borrower == &play_shared.space[s]) {
            play_fail("a loan outlives its borrower");
        }
    }
}

/* ---- Operations: `first` and `pages` draw what the other fields have no room for ---- */

/*
 * Chance alone rarely makes a part whole and lets it stay so, or leaves two places such that one can share with the
 * other. A plan does, for one place and the same one of another space, while others come in between.
 */
static const struct step {
    uint8_t kind;
    bool is_other;
} steps[] = {
    {PLAY_SHARE_UNSHARE, false}, {PLAY_SHARE_CLEAR, false},   {PLAY_SHARE_UNSHARE, true}, {PLAY_SHARE_CLEAR, true},
    {PLAY_SHARE_LARGE, false},   {PLAY_SHARE_DEMOTE, false},  {PLAY_SHARE_PROMOTE, false}, {PLAY_SHARE_LEND, false},
    {PLAY_SHARE_USE, true},      {PLAY_SHARE_DEMOTE, false},  {PLAY_SHARE_UNSHARE, true}, {PLAY_SHARE_OWN, true},
    {PLAY_SHARE_PROMOTE, true},  {PLAY_SHARE_DEMOTE, true},   {PLAY_SHARE_CLEAR, true},   {PLAY_SHARE_CLONE, false},
    {PLAY_SHARE_USE, false},     {PLAY_SHARE_OWN, true},      {PLAY_SHARE_UNSHARE, true}, {PLAY_SHARE_UNSHARE, false},
    {PLAY_SHARE_PROMOTE, false}, {PLAY_SHARE_DEMOTE, false},
};
enum { STEPS_NEEDED = 5 }; /* after these some are left out */

/* Values of `first` by which an operation names the same place of the next space. */
static uint16_t first_for_next(unsigned part, bool whole)
{
    return (uint16_t)(PAGES * (3 * part + (whole ? 3 * REGIONS * PARTS : 0)));
}

static struct play_op draw_step(struct play_drawing *d, struct play_op op)
{
    if (d->step == 0) {
        d->place = op;
    } else if (rng_below(&d->rng, 3) == 0) {
        return op; /* somebody else */
    }
    const struct step *step = &steps[d->step];
    op.kind = step->kind;
    op.space = (uint8_t)((d->place.space + step->is_other) % PLAY_SPACES);
    op.part = d->place.part;
    if (op.kind == PLAY_SHARE_LEND || op.kind == PLAY_SHARE_CLONE) {
        op.first = first_for_next(op.part, rng_below(&d->rng, 4) == 0);
    }
    d->step = (uint8_t)((d->step + (d->step < STEPS_NEEDED ? 1 : 1 + rng_below(&d->rng, 2))) % ARRAY_LEN(steps));
    return op;
}

struct play_op play_share_draw(struct play_drawing *d)
{
    static const uint8_t kinds[] = {PLAY_SHARE_MAP,   PLAY_SHARE_MAP,      PLAY_SHARE_MAP,  PLAY_SHARE_UNMAP,
                                    PLAY_SHARE_UNMAP, PLAY_SHARE_PROTECT,  PLAY_SHARE_LEND, PLAY_SHARE_LEND,
                                    PLAY_SHARE_CLONE, PLAY_SHARE_CLONE,    PLAY_SHARE_OWN,  PLAY_SHARE_OWN,
                                    PLAY_SHARE_OWN,   PLAY_SHARE_WITHDRAW, PLAY_SHARE_USE,  PLAY_SHARE_UNSHARE,
                                    PLAY_SHARE_USE,   PLAY_SHARE_CLEAR};
    static const uint8_t rare[] = {PLAY_SHARE_LARGE,   PLAY_SHARE_LARGE,  PLAY_SHARE_PROMOTE, PLAY_SHARE_DEMOTE,
                                   PLAY_SHARE_DEVICE, PLAY_SHARE_DEVICE, PLAY_SHARE_MARKS};
    struct rng *rng = &d->rng;
    const bool is_rare = rng_below(rng, 6) == 0;
    const bool here = d->current < PLAY_SPACES && rng_below(rng, 2) == 0;
    const struct play_op op = {
        .kind = is_rare ? rare[rng_below(rng, ARRAY_LEN(rare))] : kinds[rng_below(rng, ARRAY_LEN(kinds))],
        .space = here ? d->current : (uint8_t)rng_below(rng, PLAY_SPACES),
        .part = (uint8_t)rng_below(rng, REGIONS * PARTS),
        .rights = rng_below(rng, 3) == 0 ? VMM_READ : VMM_READ | VMM_WRITE,
        .first = (uint16_t)rng_below(rng, DRAWN),
        .pages = (uint16_t)(1 + rng_below(rng, PAGES)),
    };
    return d->step > 0 || rng_below(rng, 16) == 0 ? draw_step(d, op) : op;
}

static unsigned run(const struct play_op *op)
{
    const struct place at = {op->space, op->part / PARTS % REGIONS, op->part % PARTS};
    const unsigned first = op->first % PAGES, more = op->first / PAGES;
    const unsigned next = op->first == DRAWN - 1 ? 0 : 1 + more % 2; /* rarely itself, which is refused */
    const struct place other = {(op->space + next) % PLAY_SPACES, more / 3 / PARTS % REGIONS, more / 3 % PARTS};
    const unsigned pages = op->pages < PAGES - first ? op->pages : PAGES - first;
    const bool whole = more / 12 % 2 != 0, has_rest = first + pages == PAGES;
    unsigned done = 0;
    switch ((enum play_kind)op->kind) {
    case PLAY_SHARE_LEND: return lend(op, &at, &other, whole ? 3 : 2);
    case PLAY_SHARE_WITHDRAW: return withdraw(op->first % LOANS, op->pages % 2 == 0);
    case PLAY_SHARE_CLONE: return clone(&at, &other, whole);
    case PLAY_SHARE_UNSHARE: return unshare(&at);
    case PLAY_SHARE_OWN:
        for (unsigned i = 0; i < pages; i++) {
            done += own_page(&at, first + i);
        }
        return done;
    case PLAY_SHARE_CLEAR: return clear(op, &at);
    case PLAY_SHARE_LARGE: return edit(op, &at, 0, PAGES);
    case PLAY_SHARE_PROMOTE:
    case PLAY_SHARE_DEMOTE: return change_size(op, &at);
    case PLAY_SHARE_MARKS: return mark(op, &at, first, pages);
    case PLAY_SHARE_MAP: return edit(op, &at, first, has_rest && first > 0 && pages > 1 ? pages - 1 : pages);
    case PLAY_SHARE_USE:
        play_peek_part(&at);
        if (play_shared.vmm->current == &play_shared.space[op->space]) {
            play_share_touch(op->space);
        }
        return 0;
    default: return edit(op, &at, first, pages);
    }
}

unsigned play_share_run(const struct play_op *op)
{
    struct play_share_count *count = &play_shared.count[(op->kind - PLAY_SHARE_MAP) % PLAY_SHARE_KINDS];
    const unsigned done = run(op);
    count->run++;
    count->done += done > 0;
    return done;
}

struct play_share_count play_share_counted(unsigned kind)
{
    return play_shared.count[(kind - PLAY_SHARE_MAP) % PLAY_SHARE_KINDS];
}

const char *play_share_name(unsigned kind)
{
    static const char *const names[] = {
        "PLAY_SHARE_MAP",  "PLAY_SHARE_UNMAP",    "PLAY_SHARE_PROTECT", "PLAY_SHARE_CLEAR",   "PLAY_SHARE_LEND",
        "PLAY_SHARE_WITHDRAW", "PLAY_SHARE_CLONE", "PLAY_SHARE_UNSHARE", "PLAY_SHARE_OWN", "PLAY_SHARE_USE",
        "PLAY_SHARE_LARGE", "PLAY_SHARE_DEVICE", "PLAY_SHARE_PROMOTE", "PLAY_SHARE_DEMOTE", "PLAY_SHARE_MARKS"};
    return names[(kind - PLAY_SHARE_MAP) % ARRAY_LEN(names)];
}
