/* Calls that concern two spaces: sharing, transfer, clones. Withdrawal: aspace_play_gifts.c. */
#include "unit/aspace_play_map.h"

#include "arch/layout.h"

/* ---- Sharing ---- */

static bool is_both(unsigned rights)
{
    return (rights & (VMM_WRITE | VMM_EXECUTE)) == (VMM_WRITE | VMM_EXECUTE);
}

/* What the pages that are given say to it. */
static unsigned pages_say(struct aplay_space *from, const struct aplay_range *r, unsigned rights, unsigned *may)
{
    unsigned must = aplay_covers(from, number_of(r->va), r->pages.v) ? 0 : APLAY_BIT(STATUS_ABSENT);
    const unsigned first = aplay_lower(from, number_of(r->va));
    const unsigned end = aplay_lower(from, number_of(r->va) + r->pages.v);
    for (unsigned i = first; i < end; i++) {
        const struct aplay_page *p = &from->page[i];
        const struct aplay_object *o = aplay_object(p);
        must |= (rights & ~(unsigned)p->rights) != 0 ? APLAY_BIT(STATUS_DENIED) : 0;
        *may |= o != NULL && o->kind == OBJECT_PHYSICAL ? APLAY_BIT(STATUS_CONFLICT) | APLAY_BIT(STATUS_LIMIT) : 0;
        *may |= aplay_is_private(p) && aplay_is_behind_end(p) ? APLAY_BIT(STATUS_ABSENT) | APLAY_BIT(STATUS_RANGE) : 0;
    }
    return must;
}

/* What the receiver says to it. */
static unsigned receiver_says(struct aplay_space *to, vaddr_t va, npages_t pages, unsigned *may)
{
    const bool global = va.v >= APLAY_PRIVATE_END;
    const bool clear = global ? aplay_count_in(to, number_of(va), pages.v) == 0
                              : aplay_is_free(to, number_of(va), pages.v);
    unsigned must = clear ? 0 : APLAY_BIT(STATUS_EXISTS);
    must |= to->count + pages.v > to->limits.pages.v ? APLAY_BIT(STATUS_LIMIT) : 0;
    *may |= to->limits.ranges != 0 && aplay_mappings(to) + pages.v > to->limits.ranges ? APLAY_BIT(STATUS_LIMIT) : 0;
    return must;
}

/* Has the receiver it too often in its private part afterwards? What begins or ends outside of the range may count. */
static unsigned times_say(struct aplay_space *from, const struct aplay_range *r, const struct aplay_space *to,
                          unsigned *may)
{
    unsigned most = 0;
    for (uint64_t i = 0; i < r->pages.v; i++) {
        const struct aplay_page *p = aplay_find(from, number_of(r->va) + i);
        if (p == NULL || p->object == 0 || aplay_is_private(p)) {
            continue;
        }
        unsigned times = aplay_times(to, p->object, p->page);
        for (uint64_t k = 0; k < r->pages.v; k++) {
            const struct aplay_page *q = aplay_find(from, number_of(r->va) + k);
            times += q != NULL && q->object == p->object && q->page == p->page && !aplay_is_private(q);
        }
        most = times > most ? times : most;
    }
    *may |= most + 2 > ASPACE_TIMES ? APLAY_BIT(STATUS_LIMIT) : 0;
    return most > ASPACE_TIMES ? APLAY_BIT(STATUS_LIMIT) : 0;
}

static bool has_private(struct aplay_space *s, const struct aplay_range *r)
{
    for (uint64_t i = 0; i < r->pages.v; i++) {
        const struct aplay_page *p = aplay_find(s, number_of(r->va) + i);
        if (p != NULL && aplay_is_private(p)) {
            return true;
        }
    }
    return false;
}

/* Private pages that name an object now. What they hold goes with them. */
static void adopted(struct aplay_space *s)
{
    bool touched[APLAY_OBJECTS] = {0};
    for (unsigned i = 0; i < s->count; i++) {
        struct aplay_page *p = &s->page[i];
        const struct mapping *m = aplay_is_private(p) ? mapping_at(&s->space, address_of(p->number)) : NULL;
        if (m == NULL || m->object == NULL || (m->flags & ASPACE_PRIVATE) != 0) {
            continue;
        }
        struct aplay_object *old = aplay_object(p), *o = aplay_object_of(m->object);
        if (old != NULL && (p->allowed & VMM_WRITE) == 0) { /* keeps its object */
            if (old != o || mapping_page(m, address_of(p->number)) != p->page || p->copied) {
                aplay_fail("space %u, %#lx: what nobody may write was copied", index_of(s), address_of(p->number).v);
                return;
            }
            p->flags = m->flags & ~(uint32_t)APLAY_ALLOWED_WITH_FLAGS;
            continue;
        }
        const uint64_t value = aplay_is_behind_end(p) ? 0 : *aplay_value(p);
        o = o != NULL ? o : aplay_object_add(m->object);
        const uint64_t page = mapping_page(m, address_of(p->number));
        if (o == NULL || page >= o->pages || m->rights != p->rights || m->allowed != p->allowed || m->giver != 0) {
            aplay_fail("space %u, %#lx: what became an object has changed", index_of(s), address_of(p->number).v);
            return;
        }
        if (old != NULL) {
            old->users[p->page]--;
            old->total--;
            touched[p->object - 1] = true;
        }
        p->object = (uint8_t)(o - aplay.object + 1);
        p->page = (uint32_t)page;
        p->flags = m->flags & ~(uint32_t)APLAY_ALLOWED_WITH_FLAGS;
        p->copied = false;
        o->users[page]++;
        o->total++;
        o->value[page] = value;
    }
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        if (touched[i]) {
            aplay_settle(&aplay.object[i]);
        }
    }
}

/* What the receiver has got is what the giver has. */
static void received(struct aplay_space *from, const struct aplay_range *r, struct aplay_space *to, vaddr_t va,
                     unsigned rights, bool is_transfer)
{
    if (!aplay_learn(to, number_of(va), r->pages.v)) {
        return;
    }
    for (uint64_t i = 0; i < r->pages.v; i++) {
        const struct aplay_page *a = aplay_find(from, number_of(r->va) + i), *b = aplay_find(to, number_of(va) + i);
        const uint32_t giver = is_transfer ? a->giver : from->space.tables.id;
        if (a->object == 0 || aplay_is_private(a) || b->object != a->object || b->page != a->page ||
            b->rights != rights || b->allowed != rights || b->sealed || b->giver != giver ||
            b->tag != a->tag || aplay_is_private(b)) {
            aplay_fail("page %lu at %#lx: object %u page %u rights %#x of %#x giver %u is not what was given: "
                       "object %u page %u rights %#x giver %u",
                       i, va.v, b->object, b->page, b->rights, b->allowed, b->giver, a->object, a->page, rights, giver);
            return;
        }
    }
}

/* The target in the private part is often where things are already, or where tables can be lent. */
static vaddr_t pick_target(const struct aplay_op *op, const struct aplay_range *r)
{
    if (op->how / 64 % 32 == 0) {
        return op->how / 2048 % 2 == 0 ? vaddr(APLAY_PRIVATE_END) : vaddr(0x0000012340000100);
    }
    const bool same_offset = op->how / 64 % 2 == 0; /* in a part of 2 MiB, as lending wants it */
    const uint64_t place = aplay_pick_place(op->first);
    return address_of(same_offset ? place - place % PAGES_PER_2M + number_of(r->va) % PAGES_PER_2M : place);
}

void aplay_share(const struct aplay_op *op)
{
    struct aplay_space *from = &aplay.space[op->space], *to = &aplay.space[op->other];
    const struct aplay_range r = aplay_pick_range(from, op);
    const struct aplay_page *p = from->lives ? aplay_find(from, number_of(r.va)) : NULL;
    unsigned rights = aplay_pick_rights(op->rights);
    rights = p != NULL && op->rights / 64 % 8 != 0 ? rights & p->rights : rights;
    const bool at_place = op->how / 32 % (r.va.v < APLAY_PRIVATE_END ? 8U : 2U) != 0;
    const vaddr_t to_va = at_place ? pick_target(op, &r) : vaddr(0), va = to_va.v != 0 ? to_va : r.va;
    const bool at = to_va.v != 0;
    unsigned may = aplay_shortage(), must = aplay_dead(from) | aplay_dead(to) | r.wrong;
    must |= from == to || rights == 0 || is_both(rights) ? APLAY_BIT(STATUS_INVALID) : 0;
    must |= at ? aplay_range_wrong(to_va, r.pages) : 0;
    must |= at && to_va.v >= APLAY_PRIVATE_END ? APLAY_BIT(STATUS_INVALID) : 0;
    const bool is_plain = must == 0;
    must |= !at && r.va.v < APLAY_PRIVATE_END ? APLAY_BIT(STATUS_NOT_GLOBAL) : 0;
    must |= is_plain ? pages_say(from, &r, rights, &may) | receiver_says(to, va, r.pages, &may) : 0;
    may |= from->limits.ranges != 0 ? APLAY_BIT(STATUS_LIMIT) : 0;
    must |= is_plain && va.v < APLAY_PRIVATE_END ? times_say(from, &r, to, &may) : 0;
    const enum status s = aspace_share(&from->space, r.va, r.pages, &to->space, rights, to_va);
    aplay_say("aspace_share(%u, %#lx, %lu, %u, %#x, %#lx) = %s", op->space, r.va.v, r.pages.v, op->other, rights,
              to_va.v, status_name(s));
    if (aplay_answer(APLAY_SHARE, s, must, may)) {
        if (has_private(from, &r)) {
            adopted(from);
        }
        if (!aplay.result.failed) {
            received(from, &r, to, va, rights, false);
        }
        aplay.counts->loans += from->space.tables.lent.root != NULL;
    }
}

void aplay_transfer(const struct aplay_op *op)
{
    struct aplay_space *from = &aplay.space[op->space], *to = &aplay.space[op->other];
    const struct aplay_range r = aplay_pick_range(from, op);
    const struct aplay_page *p = from->lives ? aplay_find(from, number_of(r.va)) : NULL;
    unsigned rights = aplay_pick_rights(op->rights);
    rights = p != NULL && op->rights / 64 % 8 != 0 ? rights & p->rights : rights;
    unsigned may = aplay_shortage(), must = aplay_dead(from) | aplay_dead(to) | r.wrong;
    must |= from == to || rights == 0 || is_both(rights) ? APLAY_BIT(STATUS_INVALID) : 0;
    const bool is_plain = must == 0;
    must |= r.va.v < APLAY_PRIVATE_END ? APLAY_BIT(STATUS_NOT_GLOBAL) : 0;
    must |= is_plain ? pages_say(from, &r, rights, &may) | receiver_says(to, r.va, r.pages, &may) : 0;
    for (uint64_t i = 0; i < r.pages.v && is_plain; i++) {
        const struct aplay_page *page = aplay_find(from, number_of(r.va) + i);
        must |= page != NULL && page->sealed ? APLAY_BIT(STATUS_DENIED) : 0;
    }
    may |= from->limits.ranges != 0 ? APLAY_BIT(STATUS_LIMIT) : 0;
    const enum status s = aspace_transfer(&from->space, r.va, r.pages, &to->space, rights);
    aplay_say("aspace_transfer(%u, %#lx, %lu, %u, %#x) = %s", op->space, r.va.v, r.pages.v, op->other, rights,
              status_name(s));
    if (aplay_answer(APLAY_TRANSFER, s, must, may)) {
        aplay_pass(from, number_of(r.va), r.pages.v, to->space.tables.id);
        received(from, &r, to, r.va, rights, true);
        aplay_remove(from, number_of(r.va), r.pages.v);
    }
}

/* ---- Clones ---- */

static unsigned kept(uint32_t how, uint64_t va, unsigned rights)
{
    const uint64_t draw = (va / PAGE_BYTES + how) * 0x9E3779B97F4A7C15 >> 40;
    return draw % 4 == 0 ? 0 : draw % 64 == 1 ? VMM_READ | VMM_EXECUTE : draw % 4 == 1 ? rights & VMM_READ : rights;
}

struct keeping {
    struct aplay_space *parent;
    uint32_t how;
    unsigned asked;
};

static unsigned keep(void *ctx, vaddr_t va, npages_t pages, unsigned rights)
{
    struct keeping *k = ctx;
    const struct aplay_page *p = aplay_find(k->parent, number_of(va));
    unsigned low = 0, high = 0;
    if (p != NULL) {
        aplay_mapping(k->parent, (unsigned)(p - k->parent->page), &low, &high);
    }
    if (p == NULL || &k->parent->page[low] != p || high - low != pages.v || p->rights != rights) {
        aplay_fail("aspace_clone asks for %#lx, %lu pages, rights %#x: there is no such range", va.v, pages.v, rights);
    }
    k->asked++;
    return kept(k->how, va.v, rights);
}

/* What the child's page should be, from the parent's. => false: it is left out. */
static bool expected_page(const struct keeping *k, unsigned i, uint32_t parent, struct aplay_page *out)
{
    unsigned low, high;
    *out = k->parent->page[i];
    if (address_of(out->number).v >= APLAY_PRIVATE_END) {
        aplay_mapping(k->parent, i, &low, &high);
        const unsigned rights = kept(k->how, address_of(k->parent->page[low].number).v, out->rights);
        out->rights = (uint8_t)rights;
        if (rights == 0 || k->how % 8 == 0) {
            return false;
        }
    }
    out->giver = aplay_is_private(out) ? 0 : parent;
    return true;
}

static void cloned(const struct keeping *k, struct aplay_space *child)
{
    const uint32_t parent = k->parent->space.tables.id;
    for (unsigned i = 0; i < k->parent->count && !aplay.result.failed; i++) {
        struct aplay_page p;
        if (!expected_page(k, i, parent, &p)) {
            continue;
        }
        if (mapping_at(&child->space, address_of(p.number)) == NULL) {
            aplay_fail("the clone has no page at %#lx", address_of(p.number).v);
            return;
        }
        if (!aplay_learn(child, p.number, 1)) {
            return;
        }
        struct aplay_page *c = aplay_find(child, p.number);
        const bool global = address_of(p.number).v >= APLAY_PRIVATE_END;
        if (c->object != p.object || c->page != p.page || c->rights != p.rights || c->flags != p.flags ||
            (global ? (c->allowed & ~p.allowed) != 0 : c->allowed != p.allowed) || c->sealed != p.sealed ||
            c->giver != p.giver || c->tag != p.tag || c->guard_below != p.guard_below || c->room != p.room) {
            aplay_fail("%#lx: the clone has object %u page %u rights %#x of %#x flags %#x giver %u, not object %u page "
                       "%u rights %#x of %#x flags %#x giver %u",
                       address_of(p.number).v, c->object, c->page, c->rights, c->allowed, c->flags, c->giver, p.object,
                       p.page, p.rights, p.allowed, p.flags, p.giver);
        }
        c->value = p.value;
        c->copied = p.copied;
    }
}

void aplay_clone(const struct aplay_op *op)
{
    struct aplay_space *parent = &aplay.space[op->space], *child = &aplay.space[op->other];
    struct keeping k = {.parent = parent, .how = op->how};
    unsigned must = aplay_dead(parent) | (child->lives ? APLAY_BIT(STATUS_MISUSE) : 0), may = aplay_shortage();
    for (unsigned low = 0, high; low < parent->count && op->how % 8 != 0; low = high) {
        aplay_mapping(parent, low, &low, &high);
        const struct aplay_page *p = &parent->page[low];
        const bool global = address_of(p->number).v >= APLAY_PRIVATE_END;
        const unsigned rights = global ? kept(op->how, address_of(p->number).v, p->rights) : 0;
        must |= (rights & ~(unsigned)p->rights) != 0 ? APLAY_BIT(STATUS_DENIED) : 0;
    }
    const enum status s = aspace_clone(&parent->space, &child->space, op->how % 8 == 0 ? NULL : keep, &k);
    aplay_say("aspace_clone(%u, %u) = %s", op->space, op->other, status_name(s));
    if (aplay_answer(APLAY_CLONE, s, must, may)) {
        child->lives = true;
        child->limits = parent->limits;
        child->count = 0;
        cloned(&k, child);
    }
}
