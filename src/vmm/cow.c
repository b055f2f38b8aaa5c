/*
 * Copy on write by table: theory.
 *
 * 1. A table that is shared so has several parents, all with W = 0 and COUNT_SEVERAL: nobody writes to what is behind
 *    it, nor edits it. How many there are is its frame's reference count. Below a shared PD all is as it was when it
 *    was shared: its PTs have W = 1 and counts, but maybe more parents, in copies of the PD.
 *
 * 2. A table becomes a space's own from the top down; the parent entry is broken, flushed, and made again (R12 asks
 *    that of page sizes; here the translations behind it stay right, but tables and window pages change). One INVLPG
 *    drops what was cached of the old table, one each its window pages.
 *      - Others have it too: it is copied. Its frames get one reference more each; leaves of the copy are read-only
 *        with PTE_COW, and PTE_COW_WRITE where they were writable. A copied PD gives each PT one parent more, which
 *        starts with W = 0; those of the others are under their W = 0 higher up.
 *      - This space is the last: it gets the table. While the entry is absent, leaves of frames with other users (in
 *        copies) lose W and are marked. In a PD, all PTs get W = 0: each may have been copied since, so each is taken
 *        in its turn, when somebody wants to write there. Then W = 1, and the count anew.
 *
 * 3. A page is written to when its leaf is in tables of the space's own, by whoever is alone with the frame: else it is
 *    copied. PTE_COW stays in a leaf, whatever rights it is given, until then: so no right makes a frame writable that
 *    another space sees. Leaves without PTE_OWNED are not marked: what is no memory of the space's is not copied, and
 *    written to by all.
 *
 * 4. A part that is borrowed is copied with all its PTs, since the lender goes on editing them: the copy shares the
 *    frames, so what the lender writes to a page is seen until the copy owns that page. A right that the loan took
 *    away stays away. A large page becomes 512 small ones in the copy; in what is shared there is none (clone.c): of
 *    2 MiB nothing less could be copied.
 *
 * 5. When memory runs out: tables are promised before anything changes. A frame that can have no more references
 *    (LIMIT) stops a copy before it is linked; tables made own before stay so, which changes nothing that is seen.
 */
#include "vmm/cow.h"

#include "arch/arch.h"
#include "lib/report.h"
#include "vmm/cache_types.h"
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/map.h"

/* ---- Copies ---- */

/* A leaf as it is in a copy behind the parent entry `link`. */
static pte_t copied_leaf(pte_t leaf, pte_t link)
{
    const bool narrows = entry_is_borrowed(link) && (link.v & PTE_W) == 0;
    uint64_t v = leaf.v | (entry_is_borrowed(link) ? link.v & PTE_XD : 0);
    if ((leaf.v & PTE_OWNED) != 0) {
        v = (v & ~PTE_W) | PTE_COW | ((leaf.v & PTE_W) != 0 ? PTE_COW_WRITE : 0);
    }
    v = narrows ? v & ~(PTE_W | PTE_COW_WRITE) : v;
    const bool both = (v & PTE_XD) == 0 && (v & (PTE_W | PTE_COW_WRITE)) != 0;
    return (pte_t){both ? v : v & ~PTE_WX};
}

/* The entry of a copy of level 1 or 2 is no more. */
static void release_copied(struct vmm *vmm, pte_t e, unsigned level)
{
    if (level == 2 || (e.v & PTE_OWNED) != 0) {
        (void)!pmm_release(vmm->pmm, pte_pfn(e), NULL);
    } else if ((e.v & PTE_DEVICE) != 0) {
        device_leaf_gone(vmm, e, level);
    }
}

/*
 * One entry into a copy of level 1 or 2, with its reference; a device's leaf is counted once more. => OK; LIMIT, MISUSE
 * as pmm_retain
 */
static enum status copy_entry(struct vmm *vmm, vaddr_t to, pte_t e, unsigned level, pte_t link)
{
    enum status s = STATUS_OK;
    if (pte_is_present(e) && (level == 2 || (e.v & PTE_OWNED) != 0)) {
        s = pmm_retain(vmm->pmm, pte_pfn(e));
    } else if (pte_is_present(e) && (e.v & PTE_DEVICE) != 0) {
        device_leaf_copied(vmm, e);
    }
    if (s == STATUS_OK) {
        pte_t below = entry_with_count(pte_make(pte_pfn(e), PTE_P | PTE_U), COUNT_SEVERAL);
        table_store(vmm, to, !pte_is_present(e) ? (pte_t){0} : level == 2 ? below : copied_leaf(e, link));
    }
    return s;
}

enum status copy_table(struct vmm *vmm, const struct copy_source *from, pfn_t frame, unsigned *live)
{
    const vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_ZERO, frame);
    enum status s = STATUS_OK;
    *live = 0;
    for (unsigned i = 0; i < TABLE_ENTRIES && s == STATUS_OK; i++) {
        const pte_t e = from->table.v != 0 ? table_load(vmm, entry_at(from->table, i)) : large_part(from->large, 2, i);
        s = copy_entry(vmm, entry_at(page, i), e, from->level, from->link);
        *live += pte_is_present(e);
        for (unsigned k = 0; k < i && s != STATUS_OK; k++) {
            pte_t copied = table_load(vmm, entry_at(page, k));
            if (pte_is_present(copied)) {
                release_copied(vmm, copied, from->level);
            }
        }
    }
    temp_slot_clear(vmm, TEMP_SLOT_ZERO);
    return s;
}

/* ---- The last parent ---- */

/* A leaf of the original, for the last that has it. A CPU may hold it yet, read-only: no mark of its is lost (R19). */
static void take_leaf(struct vmm *vmm, vaddr_t at, pte_t e)
{
    if ((e.v & (PTE_OWNED | PTE_COW)) == PTE_OWNED && has_other_users(vmm, pte_pfn(e))) {
        const uint64_t write = (e.v & PTE_W) != 0 ? PTE_COW_WRITE : 0;
        while (!arch_table_replace(at, &e, (pte_t){(e.v & ~PTE_W) | PTE_COW | write})) {
        }
        vmm->counters.table_stores++;
    }
}

/* A PT in a PD that its last parent takes: its leaves have not been looked at, so it is closed in its turn. */
static void take_pt(struct vmm *vmm, vaddr_t at, pte_t e)
{
    if (!entry_is_closed(e)) {
        trust_no_more(vmm, e);
        table_store(vmm, at, entry_with_count((pte_t){e.v & ~PTE_W}, COUNT_SEVERAL));
    }
}

/* Nobody else has the table that `e` named; its entry is absent. => present entries */
static unsigned take_entries(struct cursor *c, pte_t e, unsigned level)
{
    const vaddr_t page = temp_slot_set(c->vmm, TEMP_SLOT_ZERO, pte_pfn(e));
    unsigned live = 0;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t below = table_load(c->vmm, entry_at(page, i));
        if (!pte_is_present(below)) {
            continue;
        }
        live++;
        if (level == 1) {
            take_leaf(c->vmm, entry_at(page, i), below);
        } else {
            take_pt(c->vmm, entry_at(page, i), below);
        }
    }
    temp_slot_clear(c->vmm, TEMP_SLOT_ZERO);
    return live;
}

/* ---- A table on the way becomes the space's own ---- */

static void break_entry(struct cursor *c, unsigned level)
{
    const struct vmm_cpus runs = c->space->cpus, reach = {runs.mask | c->space->reached.mask};
    window_store(c->vmm, c->window, c->at[level], level, (pte_t){0});
    gather_range(c->vmm, c->va, 1, runs);
    cursor_gather_window(c, level, reach);
    gather_flush(c->vmm);
}

static void make_entry(struct cursor *c, unsigned level, pfn_t table, unsigned live)
{
    pte_t e = entry_with_count(pte_make(table, TABLE_BITS_USER), live);
    window_store(c->vmm, c->window, c->at[level], level, e);
    c->space->tables.v++;
    c->space->pages.v += level == 2 ? live : 0;
}

/*
 * entry[level], whose table others have too, is to name a copy. Where other CPUs run in the space it is broken first,
 * so that none marks a page in the original that has been copied (R19); else the window shows the original meanwhile.
 */
static enum status copy_shared(struct cursor *c, unsigned level, npages_t *left, unsigned *live)
{
    struct vmm *vmm = c->vmm;
    const pte_t e = c->entry[level];
    const bool breaks_first = (c->space->cpus.mask & ~(1ULL << arch_cpu())) != 0;
    struct copy_source from = {.table = vaddr_page(c->at[level - 1]), .level = level - 1, .link = e};
    const pfn_t frame = frame_take(vmm, PMM_KERNEL);
    left->v--;
    if (breaks_first) {
        break_entry(c, level);
        from.table = temp_slot_set(vmm, TEMP_SLOT_COPY, pte_pfn(e));
    } else {
        window_use(vmm, c->window, from.table, level - 1);
    }
    enum status s = copy_table(vmm, &from, frame, live);
    if (breaks_first) {
        temp_slot_clear(vmm, TEMP_SLOT_COPY);
    }
    if (s != STATUS_OK) {
        if (breaks_first) {
            window_store(vmm, c->window, c->at[level], level, e);
        }
        enum status undone = pmm_free(vmm->pmm, frame);
        return undone == STATUS_OK ? s : undone;
    }
    if (!breaks_first) {
        break_entry(c, level);
    }
    vmm->counters.tables_made++;
    make_entry(c, level, frame, *live);
    return pmm_release(vmm->pmm, pte_pfn(e), NULL);
}

/*
 * entry[level], of tables of the space's own, is closed for copy on write. *left: promised frames. => OK; LIMIT, MISUSE
 * as pmm_retain: nothing changed.
 */
static enum status own_table(struct cursor *c, unsigned level, npages_t *left)
{
    const pte_t e = c->entry[level];
    unsigned live;
    if (!has_other_users(c->vmm, pte_pfn(e))) {
        break_entry(c, level);
        live = take_entries(c, e, level - 1);
        make_entry(c, level, pte_pfn(e), live);
    } else {
        enum status s = copy_shared(c, level, left, &live);
        if (s != STATUS_OK) {
            return s;
        }
    }
    if (live == 0 && !c->space->keeps_tables) { /* a PT that another space has kept */
        const uint64_t span = level_span_pages(level);
        vaddr_t first = vaddr_add_pages(c->va, pages_to_span_end(c->va, level) - span);
        free_empty_tables(c->vmm, c->space, first, span);
    }
    return STATUS_OK;
}

/* ---- How many tables it takes ---- */

/* The tables on the way to the stretch that are to be copied. `at`: the PD looked at last is not counted again. */
static uint64_t tables_of_stretch(const struct cursor *c, uint64_t *directory)
{
    uint64_t tables = 0;
    bool copied = false; /* the PD is: its PTs have other parents then */
    if (c->closed == 3) {
        const pfn_t frame = pte_pfn(c->entry[3]);
        copied = has_other_users(c->vmm, frame);
        tables += copied && *directory != c->at[3].v;
        *directory = c->at[3].v;
    }
    if (c->closed != 0 && c->level == 1) {
        tables += copied || has_other_users(c->vmm, pte_pfn(c->entry[2]));
    }
    return tables;
}

/* => OK; CORRUPT. Loans are left out. */
static enum status count_tables(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, npages_t *tables)
{
    struct cursor c;
    uint64_t directory = 0;
    tables->v = 0;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    while (cursor_next(&c)) {
        if (c.is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (c.closed != 0 && !entry_is_borrowed(c.entry[c.closed])) {
            tables->v += tables_of_stretch(&c, &directory);
        }
    }
    return STATUS_OK;
}

/* The range, a PT at a time, from the top down. */
static enum status own_range(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, npages_t *left)
{
    uint64_t done = 0;
    while (done < pages.v) {
        const vaddr_t at = vaddr_add_pages(va, done);
        struct cursor c;
        cursor_start(&c, CURSOR_LOOK, vmm, space, at, 1);
        (void)cursor_next(&c);
        if (c.is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (c.closed == 0) {
            done += pages_to_span_end(at, c.level > 1 ? c.level : 2);
            continue;
        }
        const unsigned level = c.closed;
        enum status s = own_table(&c, level, left);
        if (s != STATUS_OK) {
            return s;
        }
        done += level == 2 ? pages_to_span_end(at, 2) : 0; /* of a PD that is its own, the PTs are not yet */
    }
    return STATUS_OK;
}

/* ---- All that is shared in a range ---- */

/* The frames that it takes, loans in the range included. => OK; CORRUPT */
static enum status count_all(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, npages_t *tables)
{
    enum status s = count_tables(vmm, space, va, pages, tables);
    const struct vmm_loan *loan = loan_find(space, va, pages.v);
    while (loan != NULL && s == STATUS_OK && loan_overlaps(loan->to, loan->level, va, pages.v)) {
        s = count_loan(vmm, loan, tables);
        loan = vmm_loan_by_to(avl_next(&loan->by_to));
    }
    return s;
}

/* Look and promise, until nothing changes in between. *promised: what to take or put back. In an edit. */
static enum status promise_all(struct vmm *vmm, struct space *space, enum window *w, vaddr_t va, npages_t pages,
                               npages_t *promised)
{
    for (;;) {
        bool changed;
        enum status s = count_all(vmm, space, va, pages, promised);
        if (s != STATUS_OK || promised->v == 0) {
            promised->v = 0;
            return s;
        }
        const npages_t n = *promised;
        promised->v = 0;
        s = edit_promise(vmm, space, w, va, n, &changed);
        if (s != STATUS_OK) {
            return s;
        }
        if (!changed) {
            *promised = n;
            return STATUS_OK;
        }
        s = pmm_unpromise(vmm->pmm, n);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

/*
 * A loan takes the locks of both spaces, so it is an edit of its own; what was promised before is good for it while
 * nobody else has edited. Otherwise all is looked at and promised anew: what is done by then stays.
 */
enum status unshare(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const char *call)
{
    npages_t left = {0};
    uint64_t changes = UINT64_MAX; /* after the edit before: this one makes one more */
    struct vmm_loan *loan;
    enum status s;
    do {
        enum window w = WINDOW_OWN;
        loan = NULL;
        s = edit_begin(vmm, space, va, call, &w);
        if (s != STATUS_OK) {
            break;
        }
        if (vmm->changes != changes + 1) {
            s = left.v > 0 ? pmm_unpromise(vmm->pmm, left) : STATUS_OK;
            left.v = 0;
            s = s == STATUS_OK ? promise_all(vmm, space, &w, va, pages, &left) : s;
        }
        if (s == STATUS_OK) {
            loan = loan_find(space, va, pages.v);
            s = loan == NULL ? own_range(vmm, space, va, pages, &left) : STATUS_OK;
        }
        const struct pair p = {vmm, loan != NULL ? loan->lender : NULL, space};
        if (loan != NULL) { /* neither may go until own_loan has the locks */
            p.a->waiting++;
            p.b->waiting++;
        }
        changes = vmm->changes;
        edit_end(vmm, space, w);
        s = loan != NULL ? own_loan(&p, loan, &left, &changes) : s;
    } while (s == STATUS_OK && loan != NULL);
    enum status undone = left.v > 0 ? pmm_unpromise(vmm->pmm, left) : STATUS_OK;
    return undone == STATUS_OK ? s : undone;
}

enum status vmm_unshare(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages)
{
    enum status s = request_check(vmm, space, va, pages, "vmm_unshare");
    if (s == STATUS_OK && is_kernel_half(va)) {
        s = STATUS_RANGE;
    }
    return s == STATUS_OK ? unshare(vmm, space, va, pages, "vmm_unshare") : s;
}

void drop_shared(struct cursor *c)
{
    const unsigned level = c->closed;
    const pte_t e = c->entry[level];
    cursor_unlink(c, level);
    gather_shared(c->vmm, e, level - 1);
    gather_all(c->vmm, c->va, (struct vmm_cpus){c->space->cpus.mask | c->space->reached.mask});
}
