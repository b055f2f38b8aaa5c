/*
 * Moving: the frames of a range appear at other addresses; not a byte is copied, and no frame comes or goes.
 *
 * 1. Both ranges are looked at: where it goes must be free (tables that are missing there are promised), where it comes
 *    from must be mapped throughout. Then nothing can fail any more.
 *
 * 2. The leaves are made at the new place first, and taken from the old one then. In between both are there: of the
 *    same size and cache type, so a CPU may use either. The other way round, tables that the old range leaves empty
 *    could be those that the new one was found to need no frame for.
 *
 * 3. A new leaf needs no flush (R6). An old one goes by an exchange: what a CPU has marked as accessed or dirty since
 *    it was read is joined to the new leaf (R19). Then one flush for all, window pages of tables that became empty
 *    included, and these tables go (R7, R13).
 *
 * 4. Cost: a page is three loads and two stores (an exchange is both), four where its PT was not full; no frame is
 *    touched. A page copied is a thousand loads and stores.
 *
 * 5. The record (walk.c section 4) is the new range's; entries above the old one are read twice.
 *
 * Rejected: to link the PTs themselves at the new place, where both ranges lie alike in them: one store for 512 pages;
 * but a heap's blocks rarely do, since each has a guard before it. Large pages that stay large: as long as nobody moves
 * any, they are cut, which needs a table each.
 */
#include "lib/macros.h"
#include "vmm/edit.h"
#include "vmm/gather.h"
#include "vmm/map_steps.h"
#include "vmm/vmm_large.h"

enum { BATCH = 64 }; /* leaves at a time, so that two pages of the foreign window are not used in turn */

struct move {
    struct vmm *vmm;
    struct space *space;
    vaddr_t from, to;
    uint64_t pages;
};

/* ---- Looking ---- */

/* => OK; ABSENT; SHARED; CONFLICT: a large page; CORRUPT. */
static enum status look_at_source_stretch(struct cursor *c)
{
    if (c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    if (cursor_is_shared(c)) {
        return STATUS_SHARED;
    }
    if (c->level > 1) {
        return cursor_is_large(c) ? STATUS_CONFLICT : STATUS_ABSENT;
    }
    if (cursor_count(c) == TABLE_ENTRIES) {
        return STATUS_OK;
    }
    const vaddr_t first = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages; i++) {
        if (!pte_is_present(table_load(c->vmm, entry_at(first, i)))) {
            return STATUS_ABSENT;
        }
    }
    return STATUS_OK;
}

/* What is shared may be mapped into; but what is moved there would be seen by others at once. => OK; SHARED; CORRUPT.
 */
static enum status look_at_target_stretch(struct cursor *c)
{
    if (c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    return cursor_is_shared(c) ? STATUS_SHARED : STATUS_OK;
}

static enum status look(const struct move *m, vaddr_t va, enum status (*look_at)(struct cursor *c))
{
    struct cursor c;
    enum status s = STATUS_OK;
    cursor_start(&c, CURSOR_READ, m->vmm, m->space, va, m->pages);
    while (s == STATUS_OK && cursor_next(&c)) {
        s = look_at(&c);
    }
    return s;
}

/* ---- Moving ---- */

/* How many leaves from `va` on are in one PT, at most `pages` and a batch. */
static uint64_t batch_at(vaddr_t va, uint64_t pages)
{
    const uint64_t room = pages_to_span_end(va, 2), most = pages < BATCH ? pages : BATCH;
    return room < most ? room : most;
}

/* The leaves of the target's stretch, as those from `from` on are. Its table is there. */
static void make_leaves(struct cursor *to, vaddr_t from)
{
    struct vmm *vmm = to->vmm;
    pte_t leaves[BATCH];
    for (uint64_t done = 0, n; done < to->pages; done += n) {
        const vaddr_t va = vaddr_add_pages(from, done), source = window_entry(to->window, va, 1);
        n = batch_at(va, to->pages - done);
        window_use(vmm, to->window, source, 1);
        for (uint64_t i = 0; i < n; i++) {
            leaves[i] = arch_table_load(entry_at(source, i));
        }
        const vaddr_t target = entry_at(cursor_leaves(to), done);
        for (uint64_t i = 0; i < n; i++) {
            arch_table_store(entry_at(target, i), leaves[i]);
        }
        vmm->counters.table_loads += n;
        vmm->counters.table_stores += n;
    }
}

/* Marks that a CPU has set in the old leaf after the new one was made of it. */
static void join_marks(struct vmm *vmm, vaddr_t entry, pte_t old)
{
    pte_t now = table_load(vmm, entry);
    const uint64_t marks = old.v & (PTE_A | PTE_D);
    if ((marks & ~now.v) == 0) {
        return;
    }
    while (!arch_table_replace(entry, &now, (pte_t){now.v | marks})) {
    }
    vmm->counters.table_stores++;
}

/* The leaves of the source's stretch go; those at `to` are there already. */
static void take_leaves(struct cursor *from, vaddr_t to)
{
    struct vmm *vmm = from->vmm;
    pte_t leaves[BATCH];
    for (uint64_t done = 0, n; done < from->pages; done += n) {
        const vaddr_t va = vaddr_add_pages(to, done), target = window_entry(from->window, va, 1);
        n = batch_at(va, from->pages - done);
        const vaddr_t source = entry_at(cursor_leaves(from), done);
        for (uint64_t i = 0; i < n; i++) {
            leaves[i] = arch_table_load(entry_at(source, i));
            while (!arch_table_replace(entry_at(source, i), &leaves[i], (pte_t){0})) {
            }
        }
        vmm->counters.table_loads += n;
        vmm->counters.table_stores += n;
        window_use(vmm, from->window, target, 1);
        for (uint64_t i = 0; i < n; i++) {
            join_marks(vmm, entry_at(target, i), leaves[i]);
        }
    }
}

/* The half that cannot fail. `to`: looked at, its tables are promised. */
static void move(const struct move *m, struct cursor *to)
{
    struct vmm *vmm = m->vmm;
    vaddr_t at = m->from;
    cursor_change(to);
    while (cursor_next(to)) {
        cursor_make_tables(to);
        make_leaves(to, at);
        cursor_count_change(to, (int)to->pages);
        at = vaddr_add_pages(at, to->pages);
    }
    struct cursor from;
    cursor_start(&from, CURSOR_CHANGE, vmm, m->space, m->from, m->pages);
    from.is_single = false; /* no look of this cursor has placed it, */
    from.replayed = vmm->record.count; /* and the record is not of this range */
    at = m->to;
    while (cursor_next(&from)) {
        take_leaves(&from, at);
        cursor_count_change(&from, -(int)from.pages);
        gather_range(vmm, from.va, from.pages, from.cpus);
        at = vaddr_add_pages(at, from.pages);
    }
    gather_flush(vmm);
}

static enum status look_and_move(const struct move *m, enum window *w)
{
    struct cursor to;
    npages_t promised;
    cursor_start(&to, CURSOR_LOOK, m->vmm, m->space, m->to, m->pages);
    enum status s = map_look_and_promise(&to, npages(0), &promised);
    *w = to.window;
    if (s != STATUS_OK) {
        return s;
    }
    s = look(m, m->to, look_at_target_stretch);
    s = s == STATUS_OK ? look(m, m->from, look_at_source_stretch) : s;
    if (s != STATUS_OK) {
        return map_take_back(m->vmm, promised, s);
    }
    move(m, &to);
    return STATUS_OK;
}

/* Large pages over any part of the range become small ones. Outside of an edit: it may want memory. */
static enum status cut_large_pages(const struct move *m)
{
    const vaddr_t end = vaddr_add_pages(m->from, m->pages);
    enum status s = STATUS_OK;
    for (vaddr_t va = m->from; s == STATUS_OK && va.v - m->from.v < end.v - m->from.v;) {
        struct vmm_walk w;
        s = vmm_translate(m->vmm, m->space, va, &w);
        if (s == STATUS_OK && w.present && w.page_bytes > PAGE_BYTES) {
            s = vmm_demote(m->vmm, m->space, va); /* of 1 GiB: again, one of 2 MiB */
        } else {
            va = vaddr_add_pages(va, pages_to_span_end(va, 2)); /* a PT has only small ones */
        }
    }
    return s;
}

enum status vmm_move(struct vmm *vmm, struct space *space, vaddr_t from, vaddr_t to, npages_t pages)
{
    enum status s = request_check(vmm, space, from, pages, "vmm_move");
    s = s == STATUS_OK ? request_check(vmm, space, to, pages, "vmm_move") : s;
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t bytes = pages_to_bytes(pages);
    if (is_kernel_half(from) != is_kernel_half(to) || from.v - to.v < bytes || to.v - from.v < bytes) {
        return STATUS_INVALID;
    }
    const struct move m = {vmm, space, from, to, pages.v};
    enum window w = WINDOW_OWN;
    s = cut_large_pages(&m);
    s = s == STATUS_OK ? edit_begin(vmm, space, to, "vmm_move", &w) : s;
    if (s != STATUS_OK) {
        return s;
    }
    s = look_and_move(&m, &w);
    edit_end(vmm, space, w);
    return s;
}
