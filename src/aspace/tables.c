/*
 * Page tables below mappings: each call is all or nothing, and what it does first (loans that end, tables that become
 * the space's own) cannot be seen: a fault brings what was borrowed, and a copied table says what the shared one did.
 */
#include "aspace/mapping.h"

static struct vmm *vmm_of(const struct aspace *space) { return space->system->vmm; }

enum status tables_own(struct aspace *space, vaddr_t va, npages_t pages)
{
    const enum status s = loans_end(space, va, pages);
    return s == STATUS_OK ? vmm_unshare(vmm_of(space), &space->tables, va, pages) : s;
}

enum status tables_drop(struct aspace *space, vaddr_t va, npages_t pages)
{
    struct vmm *vmm = vmm_of(space);
    enum status s = loans_end(space, va, pages);
    s = s == STATUS_OK ? vmm_unmap_present(vmm, &space->tables, va, pages) : s;
    if (s != STATUS_SHARED) {
        return s;
    }
    /* Tables of clones reach over an end of the range; those between go as they are. */
    s = vmm_unshare(vmm, &space->tables, va, npages(1));
    s = s == STATUS_OK ? vmm_unshare(vmm, &space->tables, vaddr_add_pages(va, pages.v - 1), npages(1)) : s;
    return s == STATUS_OK ? vmm_unmap_present(vmm, &space->tables, va, pages) : s;
}

enum status tables_protect(struct aspace *space, vaddr_t va, npages_t pages, unsigned rights)
{
    struct vmm *vmm = vmm_of(space);
    enum status s = loans_end(space, va, pages);
    s = s == STATUS_OK ? vmm_protect_present(vmm, &space->tables, va, pages, rights) : s;
    if (s == STATUS_SHARED) {
        s = vmm_unshare(vmm, &space->tables, va, pages);
        s = s == STATUS_OK ? vmm_protect_present(vmm, &space->tables, va, pages, rights) : s;
    }
    return s;
}

/* As vmm_map_frames, after the tables have become the space's own where they were not. */
static enum status map_frames(struct aspace *space, vaddr_t va, pfn_t frame, npages_t pages, unsigned rights,
                              bool owned)
{
    enum status s = vmm_map_frames(vmm_of(space), &space->tables, va, frame, pages, rights, owned);
    if (s == STATUS_SHARED) {
        s = tables_own(space, va, pages);
        s = s == STATUS_OK ? vmm_map_frames(vmm_of(space), &space->tables, va, frame, pages, rights, owned) : s;
    }
    return s;
}

enum status tables_map_physical(struct aspace *space, const struct object *object, uint64_t first, vaddr_t va,
                                npages_t pages, unsigned rights)
{
    const unsigned flags = rights | object->cache | (pages.v >= PAGES_PER_2M ? (unsigned)VMM_LARGE : 0);
    return map_frames(space, va, pfn_add(object->first, first), pages, flags, false);
}

/* ---- All pages at once ---- */

/* Each page is known by the frame that it got. */
static enum status note_private(const struct mapping *m)
{
    struct aspaces *system = m->space->system;
    const size_t before = system->reserved;
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < m->pages.v && s == STATUS_OK; i++) {
        const struct aspace_needs needs = {.frames = 1};
        pte_t leaf;
        const vaddr_t va = vaddr_add_pages(m->base, i);
        system->reserved = before;
        s = aspaces_reserve(system, &needs);
        s = s == STATUS_OK ? vmm_leaf(system->vmm, &m->space->tables, va, &leaf) : s;
        if (s == STATUS_OK) {
            reverse_note_private(system, pte_pfn(leaf), m->space, va);
        }
    }
    system->reserved = before;
    return s;
}

static enum status populate_anonymous(const struct mapping *m)
{
    struct aspace *space = m->space;
    const unsigned rights = leaf_rights(m->rights);
    enum status s = vmm_map(vmm_of(space), &space->tables, m->base, m->pages, rights);
    if (s == STATUS_SHARED) {
        s = tables_own(space, m->base, m->pages);
        s = s == STATUS_OK ? vmm_map(vmm_of(space), &space->tables, m->base, m->pages, rights) : s;
    }
    return s == STATUS_OK ? note_private(m) : s;
}

static enum status populate_page(const struct mapping *m, uint64_t i)
{
    const unsigned copies = (m->flags & ASPACE_PRIVATE) != 0 ? (unsigned)VMM_COPY : 0;
    pfn_t frame;
    const enum status s = object_page_get(m->object, m->first + i, &frame);
    return s != STATUS_OK ? s
                          : map_frames(m->space, vaddr_add_pages(m->base, i), frame, npages(1),
                                       leaf_rights(m->rights) | copies, true);
}

enum status tables_populate(struct mapping *m)
{
    enum status s = STATUS_OK;
    if (m->object == NULL) {
        s = populate_anonymous(m);
    }
    for (uint64_t i = 0; m->object != NULL && i < m->pages.v && s == STATUS_OK; i++) {
        s = populate_page(m, i);
    }
    if (s != STATUS_OK) { /* the tables are its own: needs no memory */
        const enum status undone = tables_drop(m->space, m->base, m->pages);
        s = undone == STATUS_OK ? s : undone;
    }
    return s;
}
