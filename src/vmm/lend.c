/*
 * Lending tables: theory.
 *
 * 1. A lent table has one parent that edits it, the lender's, and one for each borrower. The lender's entry counts
 *    COUNT_SEVERAL, so that no short way believes a number there, and the borrowers' have ENTRY_BORROWED, and
 *    COUNT_SEVERAL too. How many parents there are is the reference count of the table's frame. Below the table
 *    everything is as it was: the PTs of a lent PD have their counts.
 *
 * 2. Who may hold what. A borrower's CPUs walk into the lender's tables. So an edit by the lender of anything behind a
 *    lent entry flushes, on the CPUs of the lender and of all borrowers of that part, everything: under which addresses
 *    they see it is a matter of each loan. Where tables go, also on those that may walk there through a foreign slot
 *    on a borrower (R15). The borrowers' entries never change meanwhile.
 *
 * 3. A lent table stays when it becomes empty: other entries name it. When its last loan ends it is counted, and goes
 *    then if it is empty (unless it is a PT of a space that keeps these).
 *
 * 4. No chains: what is borrowed is not lent, what is shared for copy on write is not lent, and nothing is borrowed
 *    into a table that is lent. So a lender's loans are all there is: nobody sees a table of it but their borrowers.
 *    A PT inside a lent PD may be lent too; borrowers of both are told.
 *
 * 5. Lender and borrower find their loans in trees, the VMM knows which structs are loans (loans.c).
 */
#include "lib/report.h"
#include "vmm/gather.h"
#include "vmm/map.h"
#include "vmm/share.h"

/* ---- Lending ---- */

/* One end of a loan: may this part be shared at all? */
static enum status check_part(struct vmm *vmm, struct space *space, vaddr_t va, unsigned level)
{
    const npages_t pages = npages(level_span_pages(level));
    enum status s = request_check(vmm, space, va, pages, "vmm_lend");
    if (s == STATUS_OK && is_kernel_half(va)) {
        return STATUS_RANGE;
    }
    return s == STATUS_OK && pages_to_span_end(va, level) != pages.v ? STATUS_INVALID : s;
}

static enum status check_loan(struct vmm *vmm, const struct vmm_loan *loan)
{
    const unsigned known = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    if ((loan->level != 2 && loan->level != 3) || (loan->rights & ~known) != 0 || (loan->rights & VMM_READ) == 0) {
        return STATUS_INVALID;
    }
    enum status s = check_part(vmm, loan->lender, loan->from, loan->level);
    s = s == STATUS_OK ? check_part(vmm, loan->borrower, loan->to, loan->level) : s;
    return s == STATUS_OK && loan->lender == loan->borrower ? STATUS_INVALID : s;
}

/* Does a PD name only PTs that are the lender's own? Of a space that was never cloned, its loans say it. */
static bool is_own_directory(struct cursor *c)
{
    const vaddr_t first = vaddr_page(c->at[2]);
    if (!c->space->has_clones) {
        return loan_find(c->space, c->first, level_span_pages(3)) == NULL;
    }
    window_use(c->vmm, c->window, first, 2);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t e = table_load(c->vmm, entry_at(first, i));
        if (pte_is_present(e) && !entry_is_large(e, 2) && entry_is_closed(e)) {
            return false;
        }
    }
    return true;
}

/* The lender's table. => OK, c->entry[level] names it; ABSENT; DENIED; SHARED; CORRUPT. */
static enum status look_at_lender(struct cursor *c, const struct vmm_loan *loan, struct vmm *vmm)
{
    const unsigned level = loan->level;
    if (!cursor_find_table(c, vmm, loan->lender, loan->from, level)) {
        return c->is_corrupt ? STATUS_CORRUPT : STATUS_ABSENT;
    }
    unsigned rights = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    for (unsigned l = level; l <= PAGING_LEVELS; l++) {
        rights &= bits_to_rights(c->entry[l]);
    }
    if ((loan->rights & ~rights) != 0) {
        return STATUS_DENIED;
    }
    return c->closed >= level || (level == 3 && !is_own_directory(c)) ? STATUS_SHARED : STATUS_OK;
}

/* The borrower's empty place. => OK, *tables are missing above it; EXISTS; SHARED; CORRUPT. */
static enum status look_at_borrower(struct cursor *c, const struct vmm_loan *loan, struct vmm *vmm, npages_t *tables)
{
    cursor_start(c, CURSOR_READ, vmm, loan->borrower, loan->to, 1);
    if (!cursor_next(c) || c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    if (c->closed > loan->level || c->lent > loan->level) {
        return STATUS_SHARED;
    }
    if (c->level < loan->level || pte_is_present(c->entry[c->level])) {
        return STATUS_EXISTS;
    }
    tables->v = c->level - loan->level;
    return STATUS_OK;
}

/* Both ends, until nobody edits in between; the tables of the borrower are promised then. */
static enum status look_and_promise(const struct pair *p, const struct vmm_loan *loan, npages_t *tables)
{
    struct vmm *vmm = p->vmm;
    struct cursor c;
    for (;;) {
        pair_show(p, loan->borrower);
        if (loan->borrower->keeps_tables) { /* what is kept of tables is not in the way */
            free_empty_tables(vmm, loan->borrower, loan->to, level_span_pages(loan->level));
        }
        enum status s = look_at_borrower(&c, loan, vmm, tables);
        if (s == STATUS_OK) {
            pair_show(p, loan->lender);
            s = look_at_lender(&c, loan, vmm);
        }
        if (s != STATUS_OK || tables->v == 0) {
            return s;
        }
        bool changed;
        s = pair_promise(p, *tables, &changed);
        if (s != STATUS_OK || !changed) {
            return s;
        }
        s = pmm_unpromise(vmm->pmm, *tables);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

static pte_t borrowing_entry(pfn_t table, unsigned rights)
{
    uint64_t bits = PTE_P | PTE_U | ENTRY_BORROWED | ((rights & VMM_WRITE) != 0 ? PTE_W : 0) |
                    ((rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD);
    return entry_with_count(pte_make(table, bits), COUNT_SEVERAL);
}

/* All is looked at and promised. => OK; LIMIT: nothing changed */
static enum status link_loan(const struct pair *p, struct vmm_loan *loan, npages_t promised)
{
    struct vmm *vmm = p->vmm;
    const unsigned level = loan->level;
    struct cursor c;
    pair_show(p, loan->lender);
    (void)cursor_find_table(&c, vmm, loan->lender, loan->from, level);
    pte_t e = c.entry[level];
    enum status s = pmm_retain(vmm->pmm, pte_pfn(e));
    if (s != STATUS_OK) {
        enum status undone = promised.v > 0 ? pmm_unpromise(vmm->pmm, promised) : STATUS_OK;
        return undone == STATUS_OK ? s : undone;
    }
    if (!entry_is_lent(e)) {
        trust_no_more(vmm, e);
        window_store(vmm, c.window, c.at[level], level, entry_with_count(e, COUNT_SEVERAL));
    }
    pair_show(p, loan->borrower);
    cursor_start(&c, CURSOR_READ, vmm, loan->borrower, loan->to, 1);
    (void)cursor_next(&c);
    cursor_make_tables_to(&c, level);
    cursor_link(&c, level, borrowing_entry(pte_pfn(e), loan->rights));
    (void)cursor_next(&c);
    loan_enter(vmm, loan);
    return STATUS_OK;
}

static enum status refuse_struct(const struct vmm_loan *loan)
{
    return misuse("vmm_lend: the struct at %p is %s", (const void *)loan,
                  loan == NULL ? "none" : "a loan not over yet");
}

enum status vmm_lend(struct vmm *vmm, struct space *lender, vaddr_t from, struct space *borrower, vaddr_t to,
                     unsigned level, unsigned rights, struct vmm_loan *loan)
{
    const struct vmm_loan wanted = {
        .lender = lender, .borrower = borrower, .from = from, .to = to, .level = level, .rights = rights};
    enum status s = check_loan(vmm, &wanted);
    if (s != STATUS_OK) {
        return s;
    }
    if (loan == NULL || loan_is_running(vmm, loan)) {
        return refuse_struct(loan);
    }
    const struct pair p = {vmm, lender, borrower};
    s = pair_begin(&p, from, "vmm_lend");
    if (s != STATUS_OK) {
        return s;
    }
    npages_t tables = npages(0);
    s = look_and_promise(&p, &wanted, &tables);
    if (s == STATUS_OK && tables.v > 0 && loan_is_running(vmm, loan)) { /* who was asked for memory has used it */
        enum status undone = pmm_unpromise(vmm->pmm, tables);
        s = undone == STATUS_OK ? refuse_struct(loan) : undone;
    }
    if (s == STATUS_OK) {
        *loan = wanted;
        s = link_loan(&p, loan, tables);
        loan->lender = s == STATUS_OK ? lender : NULL;
    }
    pair_end(&p);
    return s;
}

/* ---- The end of a loan ---- */

pte_t loan_entry(struct vmm *vmm, const struct vmm_loan *loan)
{
    pte_t e = pte_make(loan->borrower->root, PTE_P);
    for (unsigned level = PAGING_LEVELS; level >= loan->level && pte_is_present(e); level--) {
        const unsigned index = table_index(loan->to, level);
        e = table_load(vmm, entry_at(temp_slot_set(vmm, TEMP_SLOT_COPY, pte_pfn(e)), index));
        temp_slot_clear(vmm, TEMP_SLOT_COPY);
    }
    return e;
}

/*
 * The borrower's entry leaves these rights, or goes (0); what its CPUs have of it is gathered. *c: there; its
 * entry[level] is the old one. => OK; CORRUPT
 */
static enum status change_link(struct cursor *c, struct vmm *vmm, const struct vmm_loan *loan, unsigned rights)
{
    const unsigned level = loan->level;
    const struct vmm_cpus runs = loan->borrower->cpus, all = {runs.mask | loan->borrower->reached.mask};
    if (!cursor_find_table(c, vmm, loan->borrower, loan->to, level) || c->closed != level) {
        return STATUS_CORRUPT;
    }
    const pte_t now = rights != 0 ? borrowing_entry(pte_pfn(c->entry[level]), rights) : (pte_t){0};
    window_store(vmm, c->window, c->at[level], level, now);
    gather_range(vmm, loan->to, level_span_pages(level), runs);
    if (level == 3) { /* its PTs are in as many window pages */
        gather_all(vmm, loan->to, all);
    }
    cursor_gather_window(c, level, all);
    return STATUS_OK;
}

/* The borrower's entry goes, or is replaced; flushed before the table's reference goes. */
static enum status unlink_loan(struct vmm *vmm, const struct vmm_loan *loan, pte_t instead)
{
    const unsigned level = loan->level;
    struct cursor c;
    const enum status s = change_link(&c, vmm, loan, 0);
    if (s != STATUS_OK) {
        return s;
    }
    const pte_t e = c.entry[level];
    if (pte_is_present(instead)) {
        gather_flush(vmm);
        window_store(vmm, c.window, c.at[level], level, instead);
    } else {
        cursor_count_at(&c, level + 1, -1);
        c.closed = c.lent = 0;
        (void)cursor_next(&c);
        gather_flush(vmm);
    }
    return pmm_release(vmm->pmm, pte_pfn(e), NULL);
}

enum status vmm_narrow(struct vmm *vmm, struct vmm_loan *loan, unsigned rights)
{
    if (!loan_is_running(vmm, loan)) {
        return STATUS_ABSENT;
    }
    if ((rights & ~loan->rights) != 0 || (rights & VMM_READ) == 0) {
        return (rights & VMM_READ) == 0 ? STATUS_INVALID : STATUS_DENIED;
    }
    const struct pair p = {vmm, loan->lender, loan->borrower};
    enum status s = pair_begin(&p, loan->from, "vmm_narrow");
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    pair_show(&p, loan->borrower);
    s = change_link(&c, vmm, loan, rights);
    gather_flush(vmm);
    loan->rights = s == STATUS_OK ? rights : loan->rights;
    pair_end(&p);
    return s;
}

/* The lender's table is its alone again. */
static void count_again(struct vmm *vmm, const struct vmm_loan *loan)
{
    struct cursor c;
    const bool is_there = cursor_find_table(&c, vmm, loan->lender, loan->from, loan->level);
    if (!is_there || !entry_is_lent(c.entry[loan->level])) {
        report(REPORT_CORRUPT, "vmm_withdraw: space %u does not lend %#lx any more", loan->lender->id, loan->from.v);
        return;
    }
    c.lent = c.lent > loan->level ? c.lent : 0;
    cursor_set_count(&c, loan->level, cursor_count_live(&c, loan->level));
    (void)cursor_next(&c);
    gather_flush(vmm);
}

enum status loan_end(const struct pair *p, struct vmm_loan *loan, pte_t instead)
{
    pair_show(p, loan->borrower);
    enum status s = unlink_loan(p->vmm, loan, instead);
    if (s != STATUS_OK) {
        report(REPORT_CORRUPT, "vmm_withdraw: space %u at %#lx does not have what space %u lent it: %s",
               loan->borrower->id, loan->to.v, loan->lender->id, status_name(s));
        return STATUS_CORRUPT;
    }
    if (!loan_is_lent_again(loan)) {
        pair_show(p, loan->lender);
        count_again(p->vmm, loan);
    }
    loan_leave(p->vmm, loan);
    return STATUS_OK;
}

static enum status withdraw(struct vmm *vmm, struct vmm_loan *loan, const char *call)
{
    const struct pair p = {vmm, loan->lender, loan->borrower};
    enum status s = pair_begin(&p, loan->from, call);
    if (s == STATUS_OK) { /* others may have ended it by then */
        s = loan->lender == p.a && loan->borrower == p.b ? loan_end(&p, loan, (pte_t){0}) : STATUS_ABSENT;
        pair_end(&p);
    }
    return s;
}

enum status vmm_withdraw(struct vmm *vmm, struct vmm_loan *loan)
{
    return loan_is_running(vmm, loan) ? withdraw(vmm, loan, "vmm_withdraw") : STATUS_ABSENT;
}

/*
 * The borrower dies, and what it borrowed is not where it should be: its entry is lost with all that is above it, which
 * no CPU walks any more after this flush. The lender has its table for itself.
 */
static enum status end_lost_loan(struct vmm *vmm, struct vmm_loan *loan)
{
    const struct pair p = {vmm, loan->lender, loan->borrower};
    enum status s = pair_begin(&p, loan->from, "space_destroy");
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    gather_all(vmm, loan->to, loan->borrower->reached);
    gather_flush(vmm);
    pair_show(&p, loan->lender);
    if (cursor_find_table(&c, vmm, loan->lender, loan->from, loan->level)) {
        s = pmm_release(vmm->pmm, pte_pfn(c.entry[loan->level]), NULL);
    }
    if (!loan_is_lent_again(loan)) {
        count_again(vmm, loan);
    }
    loan_leave(vmm, loan);
    pair_end(&p);
    return s;
}

enum status loans_end_all(struct vmm *vmm, struct space *borrower)
{
    enum status s = STATUS_OK, all = STATUS_OK;
    while (s == STATUS_OK && borrower->borrowed.root != NULL) {
        struct vmm_loan *loan = vmm_loan_by_to(borrower->borrowed.root);
        s = withdraw(vmm, loan, "space_destroy");
        if (s == STATUS_CORRUPT) {
            all = s;
            s = end_lost_loan(vmm, loan);
        }
    }
    return s == STATUS_OK ? all : s;
}
