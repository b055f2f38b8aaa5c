/*
 * Sharing: theory.
 *
 * 1. To share pages is to give another space a mapping of the same object: a record, whatever the number of pages, and
 *    no address in the global part, where both use the object's. What makes it fast to use are favours to the tables,
 *    which may fail in silence since a fault does the same:
 *      - whole parts of 2 MiB and 1 GiB that the giver has tables for are lent (loans.c): one store each
 *      - of the rest, pages that are resident are mapped, ASPACE_SHARE_PAGES at most: one entry each
 *    So a message of one page is one entry in the receiver's tables, and none in the giver's; transferred, one there.
 *
 * 2. The range may lie over several mappings; each gives one *piece*. First all is looked at: rights, what is there in
 *    the receiver, limits. Then all that can fail, and could be taken back: records, the private addresses, private
 *    memory that becomes an object (adopt.c), pages of devices, which are mapped whole, favours: a frame that has as
 *    many users as can be counted is known by these. Then mappings.
 *
 * 3. Transfer: the giver's entries go and are flushed, then its mapping goes, then the receiver gets one: no moment at
 *    which both can use a page, no copy. The object holds the frames meanwhile. The receiver stands where the giver
 *    stood: who gave to the giver can withdraw from the receiver, and what the giver shared counts as the receiver's.
 *
 * 4. A new mapping shows what the object has: the giver's pages, or zeros. Never what was in a frame before: frames
 *    come zeroed into an object, or filled by its pager, or with the giver's own contents.
 *
 * Rejected: copying short messages (a second path to check, and the receiver would need a page anyway); sharing by
 * borrowed tables alone (a table is 2 MiB of rights); unmapping in the giver what it shares.
 */
#include "aspace/loans.h"

#include "arch/layout.h"
#include "aspace/adopt.h"
#include "lib/report.h"

struct share {
    const char *call;
    struct aspace *from, *to;
    vaddr_t va, to_va;
    npages_t pages;
    unsigned rights;
    bool takes;             /* transfer */
    struct object *adopted; /* for the private pieces, in order: a list through pager.ctx */
    struct giving_up up;
    uint64_t favours;       /* pages that may yet be mapped at once */
    bool has_addresses, adopts;
};

/* What one mapping of `from` contributes. */
struct piece {
    struct mapping *m; /* null before the first */
    vaddr_t va;
    npages_t pages;
};

static bool next_piece(const struct share *k, struct piece *p)
{
    const uint64_t end = vaddr_add_pages(k->va, k->pages.v).v;
    const vaddr_t at = p->m == NULL ? k->va : vaddr_add_pages(p->va, p->pages.v);
    p->m = at.v < end ? mapping_at(k->from, at) : NULL;
    if (p->m == NULL) {
        return false;
    }
    p->va = at;
    p->pages = bytes_to_pages_down((mapping_end(p->m) < end ? mapping_end(p->m) : end) - at.v);
    return true;
}

static vaddr_t place_of(const struct share *k, vaddr_t va) { return vaddr_add(k->to_va, va.v - k->va.v); }

/* What it is in the receiver. */
static struct mapping values_of(const struct share *k, const struct piece *p)
{
    const uint32_t kept = ASPACE_FAULT_AROUND | (k->to_va.v == k->va.v ? (uint32_t)ASPACE_GLOBAL : 0);
    return (struct mapping){
        .space = k->to,
        .object = p->m->object,
        .first = mapping_page(p->m, p->va),
        .base = place_of(k, p->va),
        .pages = p->pages,
        .tag = p->m->tag,
        .flags = (uint16_t)(p->m->flags & kept),
        .rights = (uint16_t)k->rights,
        .allowed = (uint16_t)k->rights,
        /* what comes back to its giver is its own gift: it stands on what else the giver has of it (gifts.c) */
        .is_anyones = k->takes && p->m->is_anyones,
        .giver = k->takes ? p->m->giver : k->from->tables.id,
    };
}

/* ---- Looking ---- */

static enum status check_arguments(struct share *k, vaddr_t to_va)
{
    if (k->to == NULL || k->to->system != k->from->system) {
        return misuse("%s: %p is no space of this system", k->call, (void *)k->to);
    }
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    enum status s = range_check(k->va, k->pages);
    s = s == STATUS_OK ? rights_check(&k->rights) : s;
    if (s != STATUS_OK) {
        return s;
    }
    if (k->from == k->to || k->rights == 0 || (k->rights & both) == both) {
        return STATUS_INVALID;
    }
    k->to_va = to_va.v != 0 ? to_va : k->va;
    if (to_va.v == 0) {
        return va_is_global(k->va) ? STATUS_OK : STATUS_NOT_GLOBAL;
    }
    s = range_check(to_va, k->pages);
    return s == STATUS_OK && va_is_global(to_va) ? STATUS_INVALID : s;
}

/* How many ranges the receiver has afterwards, neighbours that could be one being one. */
static size_t ranges_after(const struct share *k, const struct piece *p, struct mapping *before, size_t ranges)
{
    const struct mapping values = values_of(k, p);
    const struct mapping *below = before->pages.v > 0 ? before : NULL, *above;
    if (below == NULL && values.base.v > 0) {
        below = mapping_at(k->to, vaddr(values.base.v - 1));
    }
    above = mapping_at(k->to, vaddr(mapping_end(&values)));
    const bool is_private = mapping_is_private(p->m); /* of an object that is yet to be */
    ranges += is_private || below == NULL || !mapping_joins(below, &values);
    ranges -= !is_private && above != NULL && mapping_joins(&values, above);
    *before = values;
    before->pages = is_private ? npages(0) : before->pages;
    return ranges;
}

/* Records for what the giver gave on of what it transfers. */
static size_t passing(struct share *k, const struct piece *p)
{
    const bool asks = k->takes && p->m->object != NULL && !gifts_are_too_many(&k->up, k->pages);
    return asks ? gifts_pass_missing(p->m, mapping_page(p->m, p->va), p->pages, &k->up) : 0;
}

static bool may_have_again(struct share *k, const struct piece *p)
{
    return va_is_global(k->to_va) || mapping_is_private(p->m) ||
           (!gifts_are_too_many(&k->up, k->pages) &&
            limits_allow_again(k->to, p->m->object, mapping_page(p->m, p->va), p->pages, k->from, &k->up));
}

/* *records: of mappings. => OK; ABSENT; DENIED; LIMIT */
static enum status look_at_pieces(struct share *k, size_t *records)
{
    struct piece p = {0};
    struct mapping before = {0};
    size_t ranges = k->to->ranges, own = k->from->ranges;
    uint64_t seen = 0;
    bool is_denied = false, fits = true;
    for (; next_piece(k, &p); seen += p.pages.v) {
        const uint64_t end = vaddr_add_pages(p.va, p.pages.v).v;
        const size_t cuts = (size_t)(p.m->base.v < p.va.v) + (mapping_end(p.m) > end);
        is_denied = is_denied || (k->rights & ~(unsigned)p.m->rights) != 0 ||
                    (k->takes && p.m->sealed);
        ranges = ranges_after(k, &p, &before, ranges);
        *records += 1 + cuts + passing(k, &p);
        fits = fits && may_have_again(k, &p);
        own += mapping_is_private(p.m) ? cuts : k->takes ? cuts - 1 : 0; /* may wrap, and comes back */
    }
    fits = fits && limits_allow(k->to, k->pages, ranges) && limits_allow(k->from, npages(0), own) &&
           !gifts_are_too_many(&k->up, k->pages);
    return seen < k->pages.v ? STATUS_ABSENT
           : is_denied       ? STATUS_DENIED
           : fits            ? STATUS_OK
                             : STATUS_LIMIT;
}

static enum status look(struct share *k, vaddr_t to_va, size_t *records)
{
    enum status s = check_arguments(k, to_va);
    if (s == STATUS_OK) {
        k->up = (struct giving_up){
            .since = k->va, .end = vaddr_add_pages(k->va, k->pages.v), .to = k->to->tables.id, .most = ASPACE_LOOKS};
        s = look_at_pieces(k, records);
        k->up.most = UINT64_MAX;
    }
    return s == STATUS_OK && !mapping_is_clear(k->to, k->to_va, k->pages) ? STATUS_EXISTS : s;
}

/* ---- What can fail ---- */

static enum status take_addresses(struct share *k)
{
    const struct aspace_request request = {
        .pages = k->pages, .flags = ASPACE_AT, .va = k->to_va, .tag = mapping_at(k->from, k->va)->tag};
    vaddr_t va;
    if (va_is_global(k->to_va)) {
        return STATUS_OK;
    }
    enum status s = addresses_ready(k->to, 1);
    s = s == STATUS_OK ? addresses_take(k->to, &request, &va) : s;
    k->has_addresses = s == STATUS_OK;
    return s;
}

/* The private pieces, and the devices. */
static enum status prepare(struct share *k)
{
    enum status s = STATUS_OK;
    void **last = (void **)(void *)&k->adopted;
    for (struct piece p = {0}; s == STATUS_OK && next_piece(k, &p);) {
        if (mapping_is_private(p.m)) {
            struct object *object = NULL;
            s = adopt_prepare(k->from, p.m, p.va, p.pages, &object);
            k->adopts = true;
            if (s == STATUS_OK && object != NULL) {
                *last = object;
                last = &object->pager.ctx;
            }
        } else if (p.m->object->kind == OBJECT_PHYSICAL && !k->takes) {
            s = tables_map_physical(k->to, p.m->object, mapping_page(p.m, p.va), place_of(k, p.va), p.pages, k->rights);
        }
    }
    return s;
}

static struct object *next_adopted(struct share *k)
{
    struct object *object = k->adopted;
    if (object != NULL) {
        k->adopted = object->pager.ctx;
        object->pager.ctx = NULL;
    }
    return object;
}

/* Nothing of `to` is seen yet. */
static enum status undo(struct share *k, enum status s)
{
    for (struct object *object = next_adopted(k); object != NULL; object = next_adopted(k)) {
        adopt_undo(object);
    }
    const enum status dropped = tables_drop_shared(k->to, k->to_va, k->pages);
    if (k->has_addresses) {
        addresses_give(k->to, k->to_va, k->pages);
    }
    return dropped == STATUS_OK ? s : dropped;
}

/* => OK; CORRUPT */
static enum status adopt_all(struct share *k)
{
    enum status s = STATUS_OK;
    for (struct piece p = {0}; s == STATUS_OK && next_piece(k, &p);) {
        if (mapping_is_private(p.m)) {
            s = adopt_commit(k->from, p.va, p.pages, adopt_keeps_object(p.m) ? NULL : next_adopted(k));
            p.m = mapping_at(k->from, p.va);
        }
    }
    return s;
}

/* ---- Favours ---- */

/* Frames one after the other, from this page on; those that a pager could be asked for again, one by one. */
static uint64_t run_at(struct object *object, uint64_t page, uint64_t most, pfn_t *first)
{
    uint64_t n = 1;
    if (object_page_get(object, page, first) != STATUS_OK) {
        return 0;
    }
    while (n < most && object->kind == OBJECT_ANONYMOUS &&
           object_resident(object, page + n).v == first->v + n) {
        n++;
    }
    return n;
}

/* Resident pages of the receiver's range `m`. => OK, also when it was not possible; LIMIT */
static enum status bring_resident(struct share *k, const struct mapping *m)
{
    struct object *object = m->object;
    const uint64_t end = m->first + m->pages.v;
    uint64_t page = m->first;
    while (k->favours > 0 && (page = object_next_resident(object, page, end)) < end) {
        const vaddr_t at = vaddr_add_pages(m->base, page - m->first);
        const struct vmm_loan *loan = loan_borrowed_at(k->to, at);
        if (loan != NULL) {
            page += bytes_to_pages_down(vaddr_add(loan->to, level_span_bytes(loan->level)).v - at.v).v;
            continue;
        }
        pfn_t frame;
        const uint64_t n = run_at(object, page, end - page < k->favours ? end - page : k->favours, &frame);
        const enum status s = n == 0 ? STATUS_NOMEM
                                     : vmm_map_frames(k->to->system->vmm, &k->to->tables, at, frame, npages(n),
                                                      leaf_rights(m->rights), true);
        if (s != STATUS_OK) {
            return s == STATUS_LIMIT ? s : STATUS_OK;
        }
        page += n;
        k->favours -= n;
    }
    return STATUS_OK;
}

/* One piece, `m` in the receiver, is brought into its tables, or borrowed. => as bring_resident */
static enum status do_favour(struct share *k, const struct piece *p, const struct mapping *m)
{
    if (m->object->kind == OBJECT_PHYSICAL) {
        if (k->takes) {
            (void)!tables_map_physical(k->to, m->object, m->first, m->base, m->pages, leaf_rights(m->rights));
        }
        return STATUS_OK;
    }
    if (!k->takes && ((p->m->rights ^ m->rights) & VMM_USER) == 0) {
        loans_begin(k->from, p->va, p->pages, k->to, m->base, m->rights);
    }
    return bring_resident(k, m);
}

static enum status do_favours(struct share *k)
{
    enum status s = STATUS_OK;
    for (struct piece p = {0}; s == STATUS_OK && next_piece(k, &p);) {
        const struct mapping values = values_of(k, &p);
        s = do_favour(k, &p, &values);
    }
    return s;
}

/* ---- The calls ---- */

static enum status share(struct share *k, vaddr_t to_va)
{
    struct aspace_needs needs = {0};
    enum status s = look(k, to_va, &needs.mappings);
    s = s == STATUS_OK ? aspaces_reserve(k->from->system, &needs) : s;
    s = s == STATUS_OK ? take_addresses(k) : s;
    if (s != STATUS_OK) {
        return s;
    }
    s = prepare(k);
    /* Of what is adopted, favours come last, and a limit of users that they meet is left to faults. */
    s = s == STATUS_OK && k->adopts ? adopt_all(k) : s;
    s = s == STATUS_OK && !k->adopts ? do_favours(k) : s;
    if (s != STATUS_OK) {
        return undo(k, s);
    }
    for (struct piece p = {0}; next_piece(k, &p);) {
        const struct mapping values = values_of(k, &p);
        (void)mapping_merge(mapping_add(k->to, &values));
    }
    k->from->gives = true;
    if (k->adopts) {
        (void)!do_favours(k);
    }
    return STATUS_OK;
}

enum status aspace_share(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights,
                         vaddr_t to_va)
{
    struct share k = {.call = "aspace_share", .from = from, .to = to, .va = va, .pages = pages, .rights = rights,
                      .favours = ASPACE_SHARE_PAGES};
    enum status s = aspace_begin(from, k.call);
    if (s == STATUS_OK) {
        s = share(&k, to_va);
        aspaces_done(from->system);
    }
    return s;
}

static enum status transfer(struct share *k)
{
    struct aspace_needs needs = {0};
    enum status s = look(k, vaddr(0), &needs.mappings);
    s = s == STATUS_OK ? aspaces_reserve(k->from->system, &needs) : s;
    s = s == STATUS_OK ? tables_drop_shared(k->from, k->va, k->pages) : s;
    if (s != STATUS_OK) {
        return s;
    }
    for (uint64_t done = 0; done < k->pages.v;) {
        const vaddr_t at = vaddr_add_pages(k->va, done);
        struct piece p = {.m = mapping_at(k->from, at), .va = at};
        const uint64_t rest = k->pages.v - done, there = bytes_to_pages_down(mapping_end(p.m) - at.v).v;
        p.pages = npages(there < rest ? there : rest);
        const struct mapping values = values_of(k, &p);
        gifts_pass(p.m, values.first, p.pages, &k->up);
        mapping_cut(p.m, at, p.pages);
        (void)mapping_merge(mapping_add(k->to, &values));
        (void)!do_favour(k, &p, &values);
        done += p.pages.v;
    }
    k->to->gives = k->to->gives || k->from->gives;
    return STATUS_OK;
}

enum status transfer_range(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights)
{
    struct share k = {.call = "aspace_transfer", .from = from, .to = to, .va = va, .pages = pages, .rights = rights,
                      .takes = true, .favours = ASPACE_SHARE_PAGES};
    return transfer(&k);
}
