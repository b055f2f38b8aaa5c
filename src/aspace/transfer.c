/*
 * Transfer, the short way: one page that is a mapping of its own, of an object that nobody else maps, as messages are.
 * So nobody was given it, nothing of it is lent, and no neighbour could be one with it: the record goes over as it is.
 * All else goes the long way (share.c).
 */
#include "aspace/mapping.h"

/* Arguments that the long way would refuse are none of these. */
static bool is_alone(const struct mapping *m, vaddr_t va)
{
    return m != NULL && m->base.v == va.v && m->pages.v == 1 &&
           (m->flags & ~(unsigned)ASPACE_FAULT_AROUND) == ASPACE_GLOBAL && m->object->mapping_count == 1 &&
           m->object->kind == OBJECT_ANONYMOUS && !m->sealed;
}

/* => false: it is not so, or the tables are not as they would have to be; nothing has changed. */
static bool transfer_page(struct aspace *from, vaddr_t va, struct aspace *to, unsigned rights)
{
    struct mapping *m = mapping_at(from, va);
    if (!is_alone(m, va) || to == NULL || to->system != from->system || to == from || (rights & VMM_READ) == 0 ||
        (rights & ~(unsigned)m->rights) != 0 || !limits_allow(to, npages(1), to->ranges + 1) ||
        !vmm_pass_page(from->system->vmm, &from->tables, &to->tables, va, leaf_rights(rights))) {
        return false;
    }
    m->rights = m->allowed = (uint16_t)rights;
    mapping_pass(m, to);
    to->gives |= from->gives;
    return true;
}

enum status aspace_transfer(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights)
{
    enum status s = aspace_begin(from, "aspace_transfer");
    if (s == STATUS_OK) {
        const bool is_done = pages.v == 1 && transfer_page(from, va, to, rights);
        s = is_done ? STATUS_OK : transfer_range(from, va, pages, to, rights);
        aspaces_done(from->system);
    }
    return s;
}
