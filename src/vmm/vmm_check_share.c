/*
 * The validator of shared tables: VMM-I9, VMM-I10. Every parent is looked for in the memory of all spaces: O(spaces)
 * for each table that is shared, and their square for PTs behind shared PDs.
 */
#include "vmm/vmm_check.h"

#include "vmm/frames.h"
#include "vmm/share.h"

/* A walk through memory: entry[level] and the table that it is in. */
struct memory_walk {
    pfn_t table;
    pte_t entry; /* 0: the walk does not come so far */
};

static struct memory_walk walk_to(struct vmm *vmm, const struct space *space, vaddr_t va, unsigned level)
{
    struct memory_walk w = {.entry = pte_make(space->root, PTE_P)};
    for (unsigned l = PAGING_LEVELS; l >= level && pte_is_present(w.entry); l--) {
        if (l < PAGING_LEVELS && (entry_is_large(w.entry, l + 1) || entry_is_corrupt(w.entry, l + 1))) {
            w.entry.v = 0;
            break;
        }
        w.table = pte_pfn(w.entry);
        w.entry = table_load(vmm, entry_at(temp_slot_set(vmm, TEMP_SLOT_COPY, w.table), table_index(va, l)));
        temp_slot_clear(vmm, TEMP_SLOT_COPY);
    }
    return w;
}

static bool names(pte_t e, pfn_t table)
{
    return pte_is_present(e) && pte_pfn(e).v == table.v;
}

unsigned share_parents(struct vmm *vmm, pfn_t table, vaddr_t va, unsigned level)
{
    unsigned parents = 0;
    for (const struct space *s = &vmm->kernel; s != NULL; s = s->next) {
        const struct memory_walk w = walk_to(vmm, s, va, level);
        bool is_new = names(w.entry, table) && !entry_is_borrowed(w.entry);
        for (const struct space *before = &vmm->kernel; is_new && level == 2 && before != s; before = before->next) {
            const struct memory_walk other = walk_to(vmm, before, va, level);
            is_new = !(names(other.entry, table) && other.table.v == w.table.v); /* the same PD */
        }
        parents += is_new;
    }
    return parents;
}

bool share_was_seen(struct vmm *vmm, const struct space *space, pte_t entry, vaddr_t va, unsigned level)
{
    for (const struct space *s = &vmm->kernel; s != NULL && s != space; s = s->next) {
        if (names(walk_to(vmm, s, va, level).entry, pte_pfn(entry))) {
            return true;
        }
    }
    return false;
}

/* Loans of this part; *borrowed: the one that `space` has at `va`. */
static unsigned count_loans(struct vmm *vmm, const struct space *space, vaddr_t va, unsigned level,
                            const struct vmm_loan **borrowed)
{
    unsigned loans = 0;
    *borrowed = NULL;
    for (const struct space *s = &vmm->kernel; s != NULL; s = s->next) {
        for (struct avl_node *n = avl_first(&s->lent); n != NULL; n = avl_next(n)) {
            const struct vmm_loan *l = vmm_loan_by_from(n);
            loans += s == space && l->from.v == va.v && l->level == level;
            if (l->borrower == space && l->to.v == va.v && l->level == level) {
                *borrowed = l;
            }
        }
    }
    return loans;
}

/* The bits of a borrower's entry. */
static bool has_bits_of(pte_t e, const struct vmm_loan *loan)
{
    uint64_t rights = ((loan->rights & VMM_WRITE) != 0 ? PTE_W : 0) | ((loan->rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD);
    return (e.v & (PTE_U | PTE_W | PTE_XD)) == (PTE_U | rights);
}

const char *share_complaint(struct vmm *vmm, const struct space *space, const struct shared_entry *s)
{
    const struct vmm_loan *loan;
    const unsigned loans = count_loans(vmm, space, s->va, s->level, &loan);
    const pfn_t table = pte_pfn(s->entry);
    const unsigned references = pmm_query(vmm->pmm, table).references;
    if (entry_is_borrowed(s->entry)) {
        if (loan == NULL || s->is_behind) {
            return "VMM-I10: borrowed without a loan";
        }
        const pte_t e = walk_to(vmm, loan->lender, loan->from, s->level).entry;
        bool ok = names(e, table) && entry_is_lent(e) && has_bits_of(s->entry, loan);
        return ok ? NULL : "VMM-I10: not what its loan says";
    }
    if (loan != NULL) {
        return "VMM-I10: not borrowed, and there is a loan";
    }
    if (entry_is_closed(s->entry)) {
        bool ok = (s->entry.v & (PTE_U | PTE_XD)) == PTE_U && references == share_parents(vmm, table, s->va, s->level);
        return ok ? NULL : "VMM-I9: its references are not its parents";
    }
    if (entry_is_lent(s->entry) || loans > 0) {
        bool ok = entry_is_lent(s->entry) && loans > 0 && !s->is_behind;
        return !ok                       ? "VMM-I10: lent without a loan, or not marked"
               : references != loans + 1 ? "VMM-I9: its references are not its loans and one"
                                         : NULL;
    }
    unsigned expected = s->is_behind ? share_parents(vmm, table, s->va, s->level) : 1;
    return references == expected ? NULL : "VMM-I9: its references are not its parents";
}

const struct vmm_loan *share_bad_loan(struct vmm *vmm, const struct space *lender)
{
    for (struct avl_node *n = avl_first(&lender->borrowed); n != NULL; n = avl_next(n)) {
        const struct vmm_loan *l = vmm_loan_by_to(n);
        if (l->borrower != lender || !loan_is_running(vmm, l)) {
            return l;
        }
    }
    for (struct avl_node *n = avl_first(&lender->lent); n != NULL; n = avl_next(n)) {
        const struct vmm_loan *l = vmm_loan_by_from(n);
        const struct space *borrower = &vmm->kernel;
        while (borrower != NULL && borrower != l->borrower) {
            borrower = borrower->next;
        }
        if (l->lender != lender || borrower == NULL || !loan_is_running(vmm, l) ||
            loan_find(borrower, l->to, 1) != l ||
            !entry_is_borrowed(walk_to(vmm, borrower, l->to, l->level).entry) ||
            !entry_is_lent(walk_to(vmm, lender, l->from, l->level).entry)) {
            return l;
        }
    }
    return NULL;
}
