/* Calls that concern ranges that are mapped: unmapped, protected, sealed. */
#include "unit/aspace_play_map.h"

static bool any_is_sealed(struct aplay_space *s, const struct aplay_range *r)
{
    for (unsigned i = aplay_lower(s, number_of(r->va)); i < s->count; i++) {
        if (s->page[i].number >= number_of(r->va) + r->pages.v) {
            break;
        }
        if (s->page[i].sealed) {
            return true;
        }
    }
    return false;
}

/* What each of the calls below is refused for. A cut makes more ranges of one. */
static unsigned refused(struct aplay_space *s, const struct aplay_range *r, unsigned *may)
{
    unsigned must = aplay_dead(s) | r->wrong;
    if (must == 0) {
        must |= aplay_covers(s, number_of(r->va), r->pages.v) ? 0 : APLAY_BIT(STATUS_ABSENT);
        *may |= s->limits.ranges != 0 && aplay_mappings(s) + 2 > s->limits.ranges ? APLAY_BIT(STATUS_LIMIT) : 0;
    }
    *may |= aplay_shortage();
    return must;
}

static unsigned sealed(struct aplay_space *s, const struct aplay_range *r)
{
    return r->wrong == 0 && any_is_sealed(s, r) ? APLAY_BIT(STATUS_DENIED) : 0;
}

void aplay_unmap(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    const struct aplay_range r = aplay_pick_range(s, op);
    unsigned may = 0, must = refused(s, &r, &may) | sealed(s, &r);
    const enum status status = aspace_unmap(&s->space, r.va, r.pages);
    aplay_say("aspace_unmap(%u, %#lx, %lu) = %s", op->space, r.va.v, r.pages.v, status_name(status));
    if (aplay_answer(APLAY_UNMAP, status, must, may)) {
        aplay_pass(s, number_of(r.va), r.pages.v, 0);
        aplay_remove(s, number_of(r.va), r.pages.v);
    }
}

void aplay_protect(const struct aplay_op *op)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    struct aplay_space *s = &aplay.space[op->space];
    const struct aplay_range r = aplay_pick_range(s, op);
    const unsigned rights = op->rights % 64 == 63 ? 1U << 30 : aplay_pick_rights(op->rights / 64);
    unsigned may = 0, must = refused(s, &r, &may) | sealed(s, &r);
    must |= rights == 1U << 30 ? APLAY_BIT(STATUS_INVALID) : 0;
    const unsigned from = r.wrong == 0 ? aplay_lower(s, number_of(r.va)) : 0;
    const unsigned count = r.wrong == 0 ? aplay_count_in(s, number_of(r.va), r.pages.v) : 0;
    for (unsigned i = from; i < from + count; i++) {
        const struct aplay_page *p = &s->page[i];
        const bool unasked = (rights & both) == both && (p->flags & ASPACE_WRITE_EXECUTE) == 0;
        must |= (rights & ~(unsigned)p->allowed) != 0 ? APLAY_BIT(STATUS_DENIED) : 0;
        must |= unasked ? APLAY_BIT(STATUS_INVALID) | APLAY_BIT(STATUS_DENIED) : 0;
    }
    /* of a range that is no mapping, it is not known whether both at once may be had */
    must |= must != 0 && (rights & both) == both ? APLAY_BIT(STATUS_INVALID) : 0;
    const enum status status = aspace_protect(&s->space, r.va, r.pages, rights);
    aplay_say("aspace_protect(%u, %#lx, %lu, %#x) = %s", op->space, r.va.v, r.pages.v, rights, status_name(status));
    if (aplay_answer(APLAY_PROTECT, status, must, may)) {
        for (unsigned i = from; i < from + count; i++) {
            s->page[i].rights = (uint8_t)rights;
        }
    }
}

void aplay_seal(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    const struct aplay_range r = aplay_pick_range(s, op);
    unsigned may = 0, must = refused(s, &r, &may);
    const enum status status = aspace_seal(&s->space, r.va, r.pages);
    aplay_say("aspace_seal(%u, %#lx, %lu) = %s", op->space, r.va.v, r.pages.v, status_name(status));
    if (aplay_answer(APLAY_SEAL, status, must, may)) {
        for (uint64_t i = 0; i < r.pages.v; i++) {
            aplay_find(s, number_of(r.va) + i)->sealed = true;
        }
    }
}
