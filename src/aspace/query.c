/*
 * Questions: what is at an address? Nothing is changed, and nothing can fail for want of memory.
 *
 * aspace_query is what a kernel asks before it believes an address, so it is short: a walk down the tree, inline, then
 * the frame: of shared memory by the object's index, of private memory by the leaf, in four loads, inline too.
 */
#include "arch/layout.h"
#include "aspace/segment_list.h"
#include "lib/report.h"
#include "lib/string.h"
#include "vmm/peek.h"

/*
 * The rest of a question about private memory, with `leaf` behind it. What is not frequent is apart, and the last that
 * is called: so the short way saves no registers.
 */
static void say_leaf(const struct aspace *space, pte_t leaf, struct aspace_query *out)
{
    /* A page that may not be written to can have more users than one, and the PMM knows. */
    const bool is_alone = (leaf.v & PTE_W) != 0 || ((leaf.v & PTE_COW) == 0 && space->family->members == 1);
    out->frame = pte_pfn(leaf);
    out->sharers = out->object != NULL    ? out->object->mapping_count
                   : !pte_is_present(leaf) ? 0
                   : is_alone              ? 1
                                           : pmm_query(space->system->vmm->pmm, pte_pfn(leaf)).references;
}

__attribute__((noinline)) static enum status ask_leaf(struct aspace *space, vaddr_t va, struct aspace_query *out)
{
    pte_t leaf = {0};
    const enum status s = vmm_leaf(space->tables.vmm, &space->tables, va, &leaf);
    say_leaf(space, leaf, out);
    return s;
}

/* Behind what the mapping says. */
__attribute__((always_inline)) static inline enum status query_private(struct aspace *space, vaddr_t va,
                                                                       struct aspace_query *out)
{
    pte_t leaf;
    struct vmm *vmm = space->tables.vmm;
    if (!peek_now(vmm, &space->tables, va, PTE_W, &leaf)) {
        return ask_leaf(space, va, out);
    }
    vmm->counters.table_loads += PAGING_LEVELS;
    if ((leaf.v & PTE_W) == 0 && ((leaf.v & (PTE_P | PTE_COW)) != PTE_P || space->family->members > 1)) {
        return ask_leaf(space, va, out);
    }
    out->sharers = 1;
    out->frame = pte_pfn(leaf);
    return STATUS_OK;
}

__attribute__((noinline)) static enum status say_object(const struct object *object, struct aspace_query *out)
{
    out->frame = object->kind == OBJECT_PHYSICAL ? pfn_add(object->first, out->page)
                                                 : object_resident(object, out->page);
    return STATUS_OK;
}

/* In a segment. */
__attribute__((noinline)) static enum status query_segment(const struct aspace *space, const struct segment *s,
                                                           vaddr_t va, struct aspace_query *out)
{
    const unsigned rights = segment_rights(s, space);
    struct object *object = s->object;
    const uint64_t page = segment_page(va);
    if (rights == 0 || page >= object->pages.v) {
        return STATUS_ABSENT;
    }
    *out = (struct aspace_query){
        .base = s->whole->base,
        .pages = object->pages,
        .rights = (uint16_t)rights,
        .allowed = (uint16_t)rights,
        .flags = ASPACE_GLOBAL,
        .giver = s->owner != space ? s->owner->tables.id : 0,
        .tag = s->whole->tag,
        .object = object,
        .page = page,
        .frame = object_resident(object, page),
        .sharers = object->mapping_count - 1 + s->count,
    };
    return STATUS_OK;
}

/* Of who is in the list. */
static inline enum status permits(const struct segment *s, unsigned rights, vaddr_t va, unsigned access)
{
    if (segment_page(va) >= s->object->pages.v) {
        return STATUS_ABSENT;
    }
    return __builtin_expect((access & ~rights) != 0, 0) ? STATUS_DENIED : STATUS_OK;
}

/* It is not where it would be if no other were: from the beginning, so that the short way saves no registers. */
__attribute__((noinline)) static enum status look_longer(const struct aspace *space, vaddr_t va, unsigned access)
{
    const struct segment *s = segment_at(space->system, va);
    const unsigned rights = segment_rights(s, space);
    return rights != 0 ? permits(s, rights, va, access) : STATUS_ABSENT;
}

enum status segment_permits(const struct aspace *space, vaddr_t va, unsigned access)
{
    const struct segment *s = segment_at(space->system, va);
    if (s == NULL) {
        return STATUS_ABSENT;
    }
    if (s->hashed != NULL) {
        const uint64_t rights = *segment_place(s, segment_home(s, space)) ^ ptr_to_vaddr(space).v;
        return rights <= WORD_RIGHTS ? permits(s, (unsigned)rights, va, access) : look_longer(space, va, access);
    }
    const unsigned rights = segment_few_rights(s, space);
    return rights != 0 ? permits(s, rights, va, access) : STATUS_ABSENT;
}

/* No mapping there, or no space. */
__attribute__((noinline)) static enum status query_nothing(const struct aspace *space, vaddr_t va)
{
    if (space == NULL || space->system == NULL) {
        return misuse("aspace_query: %p is no space", (const void *)space);
    }
    return va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END ? STATUS_ABSENT : STATUS_RANGE;
}

/* What the mapping says that holds `va`, in a tree with this root. */
__attribute__((always_inline)) static inline enum status query_mapping(struct aspace *space, const struct mapping *root,
                                                                       vaddr_t va, struct aspace_query *out)
{
    const struct mapping *m = mapping_below(root, va);
    __asm__("" : "+r"(m)); /* what the walk compared is loaded again here, and not kept with each step there */
    const vaddr_t base = m->base;
    const npages_t pages = m->pages, behind = bytes_to_pages_down(va.v - base.v);
    if (behind.v >= pages.v) {
        return query_nothing(space, va);
    }
    struct object *object = m->object;
    out->base = base;
    out->pages = pages;
    __builtin_memcpy(&out->rights, &m->rights, MAPPING_SAID_BYTES); /* inline; the kernel's memcpy is a call */
    out->object = object;
    if (object == NULL) {
        out->page = 0;
        return query_private(space, va, out);
    }
    const uint64_t page = m->first + behind.v;
    out->page = page;
    if ((m->flags & ASPACE_PRIVATE) != 0) {
        return ask_leaf(space, va, out);
    }
    out->sharers = object->mapping_count;
    uint64_t *frame;
    if (object->kind == OBJECT_PHYSICAL || page < OBJECT_FEW || !page_index_try(&object->frames, page, &frame)) {
        return say_object(object, out);
    }
    out->frame = pfn(frame != NULL ? *frame : 0);
    return STATUS_OK;
}

/* Segments come first, where the space has some. */
__attribute__((noinline)) static enum status query_segments_first(struct aspace *space, vaddr_t va,
                                                                  struct aspace_query *out)
{
    if (space == NULL || space->system == NULL) {
        return query_nothing(space, va);
    }
    const struct segment *s = segment_at(space->system, va);
    if (s != NULL) {
        return query_segment(space, s, va, out);
    }
    const struct mapping *root = mapping_root(space);
    return root != NULL ? query_mapping(space, root, va, out) : query_nothing(space, va);
}

enum status aspace_query(struct aspace *space, vaddr_t va, struct aspace_query *out)
{
    if (space == NULL || space->asked == NULL) {
        return query_segments_first(space, va, out);
    }
    return query_mapping(space, (const void *)space->asked, va, out);
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
    bool goes_on = true;
    for (; m != NULL && goes_on; m = mapping_next(m)) {
        struct aspace_query q = {.page = m->object != NULL ? m->first : 0};
        q.base = m->base;
        q.pages = m->pages;
        memcpy(&q.rights, &m->rights, MAPPING_SAID_BYTES);
        q.object = m->object;
        goes_on = visit(ctx, &q);
    }
    const struct vmm_loan *link = segment_link_first(space);
    for (; link != NULL && goes_on; link = segment_link_next(link)) {
        struct aspace_query q;
        goes_on = query_segment(space, segment_at(space->system, link->to), link->to, &q) != STATUS_OK ||
                  visit(ctx, &q);
    }
    aspaces_done(space->system);
}
