/*
 * Questions: what is at an address? Nothing is changed, and nothing can fail for want of memory.
 *
 * aspace_query is what a kernel asks before it believes an address, so it is short: a walk down the tree, inline, then
 * the frame: of shared memory by the object's index, of private memory by the leaf, in four loads.
 */
#include "arch/layout.h"
#include "aspace/mapping.h"
#include "lib/report.h"
#include "lib/string.h"

/* Below all of them: one that ends where it begins. */
static const struct mapping nothing = {0};

/*
 * How many use the frame of a private leaf: one, where it is writable, or where nobody has a copy. Else it may have
 * more, and the PMM knows.
 */
static unsigned users_of(const struct aspace *space, pte_t leaf)
{
    const bool is_alone = (leaf.v & PTE_W) != 0 || ((leaf.v & PTE_COW) == 0 && space->family->members == 1);
    if (!pte_is_present(leaf) || is_alone) {
        return pte_is_present(leaf) ? 1 : 0;
    }
    return pmm_query(space->system->vmm->pmm, pte_pfn(leaf)).references;
}

/* Behind what the mapping says: the leaf. Apart, so that what is shared needs no registers saved. */
__attribute__((noinline)) static enum status query_private(struct aspace *space, vaddr_t va,
                                                           const struct mapping *m, struct aspace_query *out)
{
    pte_t leaf = {0};
    const enum status s = vmm_leaf(space->system->vmm, &space->tables, va, &leaf);
    const struct object *object = m->object;
    out->frame = pte_pfn(leaf);
    out->page = object != NULL ? mapping_page(m, va) : 0;
    out->sharers = object != NULL ? object->mapping_count : users_of(space, leaf);
    return s;
}

/* No mapping there, or no space. */
__attribute__((noinline)) static enum status query_nothing(const struct aspace *space, vaddr_t va)
{
    if (space == NULL || space->system == NULL) {
        return misuse("aspace_query: %p is no space", (const void *)space);
    }
    return va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END ? STATUS_ABSENT : STATUS_RANGE;
}

enum status aspace_query(struct aspace *space, vaddr_t va, struct aspace_query *out)
{
    /* A space that is no more has no tree. */
    const struct mapping *m = space != NULL ? mapping_below_or(space, va, &nothing) : &nothing;
    if (va.v >= mapping_end(m)) {
        return query_nothing(space, va);
    }
    struct object *object = m->object;
    out->base = m->base;
    out->pages = m->pages;
    __builtin_memcpy(&out->rights, &m->rights, MAPPING_SAID_BYTES); /* inline; the kernel's memcpy is a call */
    out->object = object;
    if (object == NULL || (m->flags & ASPACE_PRIVATE) != 0) {
        return query_private(space, va, m, out);
    }
    const uint64_t page = mapping_page(m, va);
    out->page = page;
    out->sharers = object->mapping_count;
    out->frame = object->kind == OBJECT_PHYSICAL ? pfn_add(object->first, page) : object_resident(object, page);
    return STATUS_OK;
}

bool aspace_find(const struct aspace *space, vaddr_t va, vaddr_t *base, npages_t *pages)
{
    const struct mapping *m = space == NULL || space->system == NULL ? NULL : mapping_from(space, va);
    if (m != NULL) {
        *base = m->base;
        *pages = m->pages;
    }
    return m != NULL;
}

void aspace_visit(struct aspace *space, bool (*visit)(void *ctx, const struct aspace_query *mapping), void *ctx)
{
    if (aspace_begin(space, "aspace_visit") != STATUS_OK) {
        return;
    }
    const struct mapping *m = mapping_by_address(avl_first(&space->mappings));
    for (bool goes_on = true; m != NULL && goes_on; m = mapping_next(m)) {
        struct aspace_query q = {.page = m->object != NULL ? m->first : 0};
        q.base = m->base;
        q.pages = m->pages;
        memcpy(&q.rights, &m->rights, MAPPING_SAID_BYTES);
        q.object = m->object;
        goes_on = visit(ctx, &q);
    }
    aspaces_done(space->system);
}
