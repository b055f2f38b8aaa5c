/*
 * The validator's second part: page tables against mappings, objects, frame counts, loans, the reverse index. It reads
 * the tables by the VMM's questions; vmm_check says whether these are to be believed.
 */
#include "arch/layout.h"
#include "aspace/check.h"
#include "aspace/segment_list.h"
#include "vmm/entry.h"

/* ---- ASPACE-I3, I7: each leaf ---- */

/* A leaf of a private mapping. */
static void check_private(struct space_checker *k, const struct mapping *m, vaddr_t va, pfn_t frame,
                          const struct vmm_mapping *leaf)
{
    pfn_t resident = pfn(0);
    const bool is_objects = m->object != NULL &&
                            object_frame(m->object, mapping_page(m, va), &resident) == STATUS_OK &&
                            resident.v == frame.v;
    if (!leaf->owned || (is_objects && (leaf->rights & VMM_WRITE) != 0) ||
        (m->object != NULL && mapping_page(m, va) >= m->object->pages.v)) {
        space_complain(k, "ASPACE-I3: %#lx shows frame %#lx, writable, of its object, or behind its end", va.v,
                       frame.v);
    }
    if (!is_objects && frame.v != k->system->zero.v && !reverse_is_private(k->system, frame, k->space, va)) {
        space_complain(k, "ASPACE-I7: frame %#lx of the private page %#lx is known as something else", frame.v, va.v);
    }
}

/* A leaf of a shared mapping. */
static void check_shared(struct space_checker *k, const struct mapping *m, vaddr_t va, pfn_t frame,
                         const struct vmm_mapping *leaf)
{
    pfn_t resident = pfn(0);
    const enum status s = object_frame(m->object, mapping_page(m, va), &resident);
    const bool is_physical = m->object->kind == OBJECT_PHYSICAL;
    if (s != STATUS_OK || resident.v != frame.v || leaf->owned == is_physical) {
        space_complain(k, "ASPACE-I3: %#lx shows frame %#lx, page %lu of object %u is in %#lx", va.v, frame.v,
                       mapping_page(m, va), m->object->id, resident.v);
    }
}

static bool check_leaves(void *ctx, const struct vmm_mapping *leaf)
{
    struct space_checker *k = ctx;
    for (uint64_t i = 0; i < leaf->pages.v; i++) {
        const vaddr_t va = vaddr_add_pages(leaf->base, i);
        const pfn_t frame = pfn_add(paddr_to_pfn(leaf->address), i);
        const struct mapping *m = mapping_at(k->space, va);
        if (m == NULL || (leaf->rights & ~leaf_rights(m->rights)) != 0) {
            space_complain(k, "ASPACE-I3: %#lx shows frame %#lx with rights %x, %s %x", va.v, frame.v, leaf->rights,
                           m == NULL ? "in no mapping" : "its mapping has", m == NULL ? 0 : m->rights);
        } else {
            (mapping_is_private(m) ? check_private : check_shared)(k, m, va, frame, leaf);
        }
    }
    return true;
}

/* ---- ASPACE-I4, I7: each resident page ---- */

/* Is the leaf at `va` also in tables of a member of the family that comes before? */
static bool is_seen_before(struct space_checker *k, const struct aspace *space, vaddr_t va, pfn_t table)
{
    struct aspace *other = space->family->first;
    for (; other != NULL && other != space; other = other->relative) {
        struct vmm_walk w;
        if (vmm_translate(k->system->vmm, &other->tables, va, &w) == STATUS_OK && w.level == 1 &&
            pte_pfn(w.entry[2]).v == table.v) {
            return true;
        }
    }
    return false;
}

/* Does this space's own table, or one that it sees as the first, name the frame at `va`? */
static bool has_leaf(struct space_checker *k, struct aspace *space, vaddr_t va, pfn_t frame)
{
    struct vmm_walk w;
    if (vmm_translate(k->system->vmm, &space->tables, va, &w) != STATUS_OK || !w.present ||
        paddr_to_pfn(w.address).v != frame.v) {
        return false;
    }
    bool is_shared = false;
    for (unsigned level = w.level + 1; level < PAGING_LEVELS; level++) {
        if (entry_is_borrowed(w.entry[level])) {
            return false; /* the lender's */
        }
        is_shared = is_shared || entry_is_closed(w.entry[level]);
    }
    return !is_shared || !is_seen_before(k, space, va, pte_pfn(w.entry[2]));
}

static void check_resident(struct space_checker *k, const struct object *object, uint64_t page, pfn_t frame)
{
    unsigned leaves = 0;
    const struct mapping *m = object_overlap_first(object, page, page + 1);
    for (; m != NULL; m = object_overlap_next(m, page, page + 1)) {
        leaves += has_leaf(k, m->space, vaddr_add_pages(m->base, page - m->first), frame) ? 1U : 0U;
    }
    const struct pmm_frame f = pmm_query(k->system->vmm->pmm, frame);
    if (f.state != PMM_STATE_USED || f.references != 1 + leaves) {
        space_complain(k, "ASPACE-I4: page %lu of object %u: frame %#lx, %s, has %u references of %u leaves", page,
                       object->id, frame.v, pmm_state_name(f.state), f.references, leaves);
    }
    if (!reverse_is_object(k->system, frame, object, page)) {
        space_complain(k, "ASPACE-I7: frame %#lx is page %lu of object %u, and known as something else", frame.v, page,
                       object->id);
    }
}

static void check_pages(struct space_checker *k, const struct object *object)
{
    const uint64_t end = ASPACE_PAGES_MAX;
    for (uint64_t at = object_next_resident(object, 0, end); at < end; at = object_next_resident(object, at + 1, end)) {
        if (at >= object->pages.v) {
            space_complain(k, "ASPACE-I4: object %u has %lu pages, and one at %lu", object->id, object->pages.v, at);
        }
        check_resident(k, object, at, object_resident(object, at));
    }
}

/* ---- ASPACE-I6: each loan ---- */

static void check_loan(struct space_checker *k, const struct vmm_loan *l)
{
    if (loan_is_permission(l)) {
        segment_check_link(k, l);
        return;
    }
    const struct aspace *lender = aspace_of(l->lender), *borrower = aspace_of(l->borrower);
    const uint64_t end = level_span_pages(l->level);
    for (uint64_t i = 0; i < end;) {
        const vaddr_t from = vaddr_add_pages(l->from, i), to = vaddr_add_pages(l->to, i);
        const struct mapping *mine = mapping_at(lender, from), *its = mapping_at(borrower, to);
        if (mine == NULL || its == NULL || mapping_is_private(mine) || mapping_is_private(its) ||
            mine->object != its->object || mapping_page(mine, from) != mapping_page(its, to) ||
            (l->rights & ~leaf_rights(its->rights)) != 0) {
            space_complain(k, "ASPACE-I6: %#lx is lent to space %u at %#lx, which maps something else there", from.v,
                           l->borrower->id, to.v);
            return;
        }
        const uint64_t left = bytes_to_pages_down(mapping_end(mine) - from.v).v,
                       right = bytes_to_pages_down(mapping_end(its) - to.v).v;
        i += left < right ? left : right;
    }
}

static bool is_of_system(const struct space_checker *k, const struct space *tables)
{
    const struct aspace *space = k->system->first;
    while (space != NULL && &space->tables != tables) {
        space = space->next;
    }
    return space != NULL;
}

/* The loans that a space's tables know are between spaces of the system. */
static size_t check_loans(struct space_checker *k)
{
    const struct aspace *space = k->space;
    size_t lent = 0;
    for (struct avl_node *n = avl_first(&space->tables.lent); n != NULL; n = avl_next(n)) {
        const struct vmm_loan *l = vmm_loan_by_from(n);
        if (l->lender != &space->tables || !is_of_system(k, l->borrower)) {
            space_complain(k, "ASPACE-I6: a loan at %#lx that is none", l->from.v);
        } else {
            check_loan(k, l);
        }
        lent++;
    }
    return lent;
}

/* Each leaf but those behind links to segments, whose tables are looked at once. */
static void check_leaves_of(struct space_checker *k)
{
    vaddr_t from = {0};
    const struct vmm_loan *link = segment_link_first(k->space);
    for (; link != NULL; link = segment_link_next(link)) {
        if (link->to.v > from.v) {
            vmm_visit(k->system->vmm, &k->space->tables, from, link->to, check_leaves, k);
        }
        from = vaddr_add(link->to, level_span_bytes(3));
    }
    vmm_visit(k->system->vmm, &k->space->tables, from, vaddr(LAYOUT_USER_END), check_leaves, k);
}

void space_check_tables(struct space_checker *k)
{
    size_t loans = 0;
    for (k->space = k->system->first; k->space != NULL; k->space = k->space->next) {
        check_leaves_of(k);
        loans += check_loans(k);
    }
    if (loans != k->system->loans.used) {
        space_complain(k, "ASPACE-I6: %lu loans, %lu in the pool", loans, k->system->loans.used);
    }
    space_check_objects(k, check_pages);
}
