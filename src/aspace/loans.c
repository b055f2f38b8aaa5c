/*
 * Loans: whole parts of 2 MiB and 1 GiB of shared objects whose tables one space lends to others (vmm_share.h).
 *
 * A loan is a cache like all tables of shared objects: it may end at any time, and the borrower's pages come back by
 * faults. So whoever edits tables, or changes what a mapping says, ends the loans that touch the range first, whichever
 * side it is on; only bringing a page into the lender's tables is no edit: it is the same page for all.
 *
 * A space finds its loans in the two trees of its tables, by address. Those that it borrows are disjoint. Those that
 * it lends may overlap (one part to several, a PT inside a PD), but none begins below the GiB that an address is in.
 *
 * What leads to a segment's tables (segment.h) is a loan too, but no cache: an edit of these ends none. On the side of
 * who borrows them no range meets them, since nothing is mapped there.
 *
 * Chains there are none (vmm/lend.c section 4): what is borrowed is lent on by its lender.
 */
#include "aspace/loans.h"

#include "aspace/segment_list.h"

static uint64_t from_of(const struct avl_node *n) { return CONTAINER_OF(n, struct vmm_loan, by_from)->from.v; }
static uint64_t to_of(const struct avl_node *n) { return CONTAINER_OF(n, struct vmm_loan, by_to)->to.v; }

static uint64_t part_end(vaddr_t part, unsigned level) { return part.v + level_span_bytes(level); }
static uint64_t part_begin(vaddr_t va, unsigned level) { return va.v & ~(level_span_bytes(level) - 1); }

struct vmm_loan *loan_borrowed_at(const struct aspace *borrower, vaddr_t va)
{
    struct vmm_loan *loan = vmm_loan_by_to(borrower->tables.borrowed.root);
    while (loan != NULL) {
        if (va.v < loan->to.v) {
            loan = vmm_loan_by_to(avl_child(&loan->by_to, AVL_LEFT));
        } else if (va.v >= part_end(loan->to, loan->level)) {
            loan = vmm_loan_by_to(avl_child(&loan->by_to, AVL_RIGHT));
        } else {
            break;
        }
    }
    return loan;
}

/* ---- Ending ---- */

static enum status end_loan(struct vmm_loan *loan)
{
    struct aspaces *system = aspace_of(loan->lender)->system;
    const enum status s = vmm_withdraw(system->vmm, loan);
    return s == STATUS_OK ? pool_put(&system->loans, loan) : s;
}

enum status loans_end(struct aspace *space, vaddr_t va, npages_t pages)
{
    if ((space->tables.lent.root == NULL && space->tables.borrowed.root == NULL) || is_segments_space(space)) {
        return STATUS_OK;
    }
    const uint64_t end = vaddr_add_pages(va, pages.v).v, from = part_begin(va, 3);
    enum status s = STATUS_OK;
    struct vmm_loan *next, *loan = vmm_loan_by_to(avl_first_from(&space->tables.borrowed, from, to_of));
    for (; loan != NULL && loan->to.v < end && s == STATUS_OK; loan = next) {
        next = vmm_loan_by_to(avl_next(&loan->by_to));
        s = part_end(loan->to, loan->level) > va.v ? end_loan(loan) : STATUS_OK;
    }
    loan = vmm_loan_by_from(avl_first_from(&space->tables.lent, from, from_of));
    for (; loan != NULL && loan->from.v < end && s == STATUS_OK; loan = next) {
        next = vmm_loan_by_from(avl_next(&loan->by_from));
        s = part_end(loan->from, loan->level) > va.v ? end_loan(loan) : STATUS_OK;
    }
    return s;
}

/* ---- Beginning ---- */

size_t loan_missing(const struct aspaces *system) { return pool_missing(&system->loans, 1); }

/* => OK; anything else: there is no loan */
static enum status begin_loan(struct aspace *lender, vaddr_t from, struct aspace *borrower, vaddr_t to, unsigned level,
                              unsigned rights)
{
    struct aspaces *system = lender->system;
    enum status s = stock_ensure(&system->stock, system->reserved + loan_missing(system));
    if (s != STATUS_OK) {
        return s;
    }
    struct vmm_loan *loan = pool_take(&system->loans);
    s = vmm_lend(system->vmm, &lender->tables, from, &borrower->tables, to, level, rights & ~(unsigned)VMM_USER, loan);
    if (s != STATUS_OK) {
        (void)!pool_put(&system->loans, loan);
    }
    return s;
}

/* Who lends the part at `va` of `space`: itself, or who lent it to it. Null: nobody can, the mappings differ. */
static struct aspace *lender_of(struct aspace *space, vaddr_t *va, unsigned level)
{
    const struct vmm_loan *loan = loan_borrowed_at(space, *va);
    if (loan == NULL) {
        return space;
    }
    *va = vaddr_add(loan->from, va->v - loan->to.v);
    return loan->level >= level ? aspace_of(loan->lender) : NULL;
}

void loans_begin(struct aspace *lender, vaddr_t va, npages_t pages, struct aspace *borrower, vaddr_t to_va,
                 unsigned rights)
{
    const uint64_t end = vaddr_add_pages(va, pages.v).v;
    for (uint64_t at = va.v; at < end;) {
        unsigned level = 0;
        for (unsigned l = 3; l >= 2 && level == 0; l--) {
            const uint64_t span = level_span_bytes(l), to = to_va.v + (at - va.v);
            const bool aligned = part_begin(vaddr(at), l) == at && part_begin(vaddr(to), l) == to;
            vaddr_t from = vaddr(at);
            struct aspace *owner = aligned && end - at >= span ? lender_of(lender, &from, l) : NULL;
            const bool lends = owner != NULL && owner != borrower &&
                               begin_loan(owner, from, borrower, vaddr(to), l, rights) == STATUS_OK;
            level = lends ? l : 0;
        }
        at = part_end(vaddr(part_begin(vaddr(at), level == 0 ? 2 : level)), level == 0 ? 2 : level);
    }
}

/* ---- Shared pages go from the tables ---- */

/* Where a large page over `end` begins; or its end. 0: there is none. */
static uint64_t large_over(struct aspace *space, vaddr_t end, bool wants_end)
{
    struct vmm_walk w;
    const enum status s = vmm_translate(space->system->vmm, &space->tables, end, &w);
    if (s != STATUS_OK || !w.present || w.page_bytes == PAGE_BYTES) {
        return 0;
    }
    const uint64_t first = end.v & ~(w.page_bytes - 1);
    return first == end.v ? 0 : wants_end ? first + w.page_bytes : first;
}

/* Tables of clones are in the way: parts without them, by halves. */
static enum status drop_by_parts(struct aspace *space, vaddr_t va, uint64_t pages)
{
    const uint64_t part = bytes_to_pages_down(level_span_bytes(2)).v;
    enum status s = vmm_unmap_present(space->system->vmm, &space->tables, va, npages(pages));
    if (s != STATUS_SHARED) {
        return s;
    }
    const uint64_t first = vaddr_page_number(va), middle = (first + pages / 2) / part * part;
    if (middle <= first && (first / part + 1) * part >= first + pages) {
        return STATUS_OK; /* behind one such table: nothing of the range is there */
    }
    const uint64_t below = (middle <= first ? (first / part + 1) * part : middle) - first;
    s = drop_by_parts(space, va, below);
    return s == STATUS_OK ? drop_by_parts(space, vaddr_add_pages(va, below), pages - below) : s;
}

enum status tables_drop_shared(struct aspace *space, vaddr_t va, npages_t pages)
{
    vaddr_t end = vaddr_add_pages(va, pages.v);
    enum status s = loans_end(space, va, pages);
    s = s == STATUS_OK ? vmm_unmap_present(space->system->vmm, &space->tables, va, pages) : s;
    if (s == STATUS_NOMEM) {
        const uint64_t below = large_over(space, va, false), above = large_over(space, end, true);
        va.v = below != 0 ? below : va.v;
        end.v = above != 0 ? above : end.v;
        s = vmm_unmap_present(space->system->vmm, &space->tables, va, bytes_to_pages_down(end.v - va.v));
    }
    return s == STATUS_SHARED ? drop_by_parts(space, va, bytes_to_pages_down(end.v - va.v).v) : s;
}
