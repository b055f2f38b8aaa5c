/* What is borrowed becomes a copy of the borrower's own (cow.c section 4). */
#include "vmm/cow.h"
#include "vmm/gather.h"

enum status count_loan(struct vmm *vmm, const struct vmm_loan *loan, npages_t *tables)
{
    const pte_t e = loan_entry(vmm, loan);
    if (!entry_is_borrowed(e)) {
        return STATUS_CORRUPT;
    }
    tables->v++;
    if (loan->level == 2) {
        return STATUS_OK;
    }
    const vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_COPY, pte_pfn(e));
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t below = table_load(vmm, entry_at(page, i));
        tables->v += pte_is_present(below);
    }
    temp_slot_clear(vmm, TEMP_SLOT_COPY);
    return STATUS_OK;
}

struct loan_copy {
    struct vmm *vmm;
    struct space *space;
    npages_t *left;
    uint64_t pages, tables; /* in the copy */
};

/* A PT of the lender, or a large page. *out: the entry that names the copy, 0 when nothing is in it. */
static enum status copy_pt(struct loan_copy *k, pte_t e, pte_t link, pte_t *out)
{
    struct vmm *vmm = k->vmm;
    const pfn_t frame = frame_take(vmm, PMM_KERNEL);
    unsigned live;
    k->left->v--;
    struct copy_source from = {.large = e, .level = 1, .link = link};
    if (!entry_is_large(e, 2)) {
        from.table = temp_slot_set(vmm, TEMP_SLOT_COPY, pte_pfn(e));
    }
    enum status s = copy_table(vmm, &from, frame, &live);
    if (!entry_is_large(e, 2)) {
        temp_slot_clear(vmm, TEMP_SLOT_COPY);
    }
    *out = (pte_t){0};
    if (s != STATUS_OK || live == 0) {
        enum status freed = pmm_free(vmm->pmm, frame);
        return s == STATUS_OK ? freed : s;
    }
    *out = entry_with_count(pte_make(frame, TABLE_BITS_USER), live);
    vmm->counters.tables_made++;
    k->pages += live;
    k->tables++;
    return STATUS_OK;
}

/* The same of a PD: its PTs one by one, into a PD that nobody sees yet. */
static enum status copy_pd(struct loan_copy *k, pte_t link, pte_t *out)
{
    struct vmm *vmm = k->vmm;
    const pfn_t frame = frame_take_zeroed(vmm, PMM_KERNEL);
    enum status s = STATUS_OK;
    unsigned live = 0;
    k->left->v--;
    const vaddr_t from = temp_slot_set(vmm, TEMP_SLOT_GATHER, pte_pfn(link)); /* nothing is gathered meanwhile */
    const vaddr_t to = temp_slot_set(vmm, TEMP_SLOT_GATHER_PD, frame);
    for (unsigned i = 0; i < TABLE_ENTRIES && s == STATUS_OK; i++) {
        pte_t copy, e = table_load(vmm, entry_at(from, i));
        s = pte_is_present(e) ? copy_pt(k, e, link, &copy) : STATUS_OK;
        if (s == STATUS_OK && pte_is_present(e) && pte_is_present(copy)) {
            live++;
            table_store(vmm, entry_at(to, i), copy);
        }
    }
    temp_slot_clear(vmm, TEMP_SLOT_GATHER_PD);
    temp_slot_clear(vmm, TEMP_SLOT_GATHER);
    *out = (pte_t){0};
    if (s != STATUS_OK || live == 0) { /* what is in it goes as a shared table goes */
        gather_shared(vmm, entry_with_count(pte_make(frame, PTE_P), COUNT_SEVERAL), 2);
        gather_flush(vmm);
        return s;
    }
    *out = entry_with_count(pte_make(frame, TABLE_BITS_USER), live);
    vmm->counters.tables_made++;
    k->tables++;
    return STATUS_OK;
}

static enum status copy_and_end(const struct pair *p, struct vmm_loan *loan, npages_t *left)
{
    struct vmm *vmm = p->vmm;
    struct space *space = loan->borrower;
    struct loan_copy k = {.vmm = vmm, .space = space, .left = left};
    const pte_t link = loan_entry(vmm, loan);
    pte_t copy;
    enum status s = loan->level == 2 ? copy_pt(&k, link, link, &copy) : copy_pd(&k, link, &copy);
    if (s == STATUS_OK) {
        s = loan_end(p, loan, copy);
    }
    if (s == STATUS_OK) {
        space->pages.v += k.pages;
        space->tables.v += k.tables;
    }
    return s;
}

enum status own_loan(const struct pair *p, struct vmm_loan *loan, npages_t *left, uint64_t *changes)
{
    struct vmm *vmm = p->vmm;
    enum status s = pair_begin(p, vaddr(0), "vmm_unshare");
    p->a->waiting--;
    p->b->waiting--;
    if (s != STATUS_OK) {
        return s;
    }
    if (vmm->changes == *changes + 1) {
        s = copy_and_end(p, loan, left);
        pair_show(p, p->b); /* where the next edit of it finds the window */
        *changes = vmm->changes;
    }
    pair_end(p);
    return s;
}
