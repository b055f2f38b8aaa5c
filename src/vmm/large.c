/*
 * Large pages that are there: taken away, protected, cut.
 *
 * A large page is an entry of a PD or PDPT, and stays one as long as all of it is treated alike. A window shows it as a
 * table: nobody looks (walk.c section 8), but a CPU may cache what it sees there, and so what it sees is flushed with
 * the page itself (gather_large).
 *
 * Cutting. Of a range's two ends each may lie in a large page: only there, it becomes smaller ones first. The tables
 * for it are promised before anything is changed, and to cut changes no mapping: so the call still is all or nothing.
 * The entry is cleared, all that shows it is flushed, and only then the new table, filled where nobody sees it, takes
 * its place (R12; SDM 3A 4.10.4.2). It is filled after the flush: until then a CPU may mark the page as accessed or
 * dirty, and the small pages take over the marks.
 *
 * A frame that was zeroed ahead is a table already, an empty one: it is linked, and filled through its own window page,
 * as any map fills one (R19). Another frame is filled through a temporary mapping and then linked: 2 stores and 1
 * INVLPG more.
 */
#include "vmm/large.h"

#include "arch/arch.h"

#include "vmm/cache_types.h"
#include "vmm/edit.h"
#include "vmm/frames.h"
#include "vmm/gather.h"
#include "vmm/request.h"

enum status large_look(const struct cursor *c) { return cursor_is_shared(c) ? STATUS_SHARED : STATUS_OK; }

uint64_t large_cut_tables(const struct cursor *c)
{
    const vaddr_t end = vaddr_add_pages(c->va, c->pages);
    uint64_t tables = 0;
    for (unsigned level = c->level; level >= PLAN_LOWEST; level--) {
        const uint64_t inside = level_span_bytes(level) - 1;
        const unsigned cuts = ((c->va.v & inside) != 0 ? 1U : 0U) + ((end.v & inside) != 0 ? 1U : 0U);
        tables += cuts > 1 && spans_touched(c->va, c->pages, level) == 1 ? 1 : cuts;
    }
    return tables;
}

pte_t large_break(struct cursor *c, unsigned level)
{
    pte_t old = window_load(c->vmm, c->window, c->at[level], level);
    while (!arch_table_replace(c->at[level], &old, (pte_t){0})) {
    }
    c->vmm->counters.table_stores++;
    return old;
}

/* From `first` on: a table's entries for the parts of the large page of `level` that `leaf` was. */
static void store_parts(struct vmm *vmm, vaddr_t first, pte_t leaf, unsigned level)
{
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        arch_table_store(entry_at(first, i), large_part(leaf, level, i));
    }
    vmm->counters.table_stores += TABLE_ENTRIES;
}

void large_split(struct cursor *c)
{
    struct vmm *vmm = c->vmm;
    const unsigned level = c->level;
    const vaddr_t base = vaddr(c->va.v & ~(level_span_bytes(level) - 1)), parts = vaddr_page(c->at[level - 1]);
    bool is_zero = false;
    const pfn_t table = frame_take_either(vmm, PMM_KERNEL, &is_zero);
    const pte_t leaf = large_break(c, level);
    gather_large(vmm, c->window, base, level, c->cpus, cursor_table_cpus(c));
    gather_flush(vmm);
    if (!is_zero) {
        store_parts(vmm, temp_slot_set(vmm, TEMP_SLOT_ZERO, table), leaf, level);
        temp_slot_clear(vmm, TEMP_SLOT_ZERO);
    }
    const pte_t e = entry_with_count(pte_make(table, c->is_kernel ? TABLE_BITS_KERNEL : TABLE_BITS_USER),
                                     TABLE_ENTRIES);
    window_store(vmm, c->window, c->at[level], level, e);
    if (is_zero) {
        window_use(vmm, c->window, parts, level - 1);
        store_parts(vmm, parts, leaf, level);
    }
    trust(vmm, e, level);
    vmm->counters.tables_made++;
    cursor_tables_change(c, 1);
}

/* The large page that maps `va` becomes smaller ones until one ends at `at`, its own end, or lies at `va` alone. */
static void cut_at(struct vmm *vmm, struct space *space, vaddr_t va, vaddr_t at)
{
    for (;;) {
        struct cursor c;
        cursor_start(&c, CURSOR_LOOK, vmm, space, va, 1);
        if (!cursor_next(&c) || !cursor_is_large(&c) || (at.v & (level_span_bytes(c.level) - 1)) == 0) {
            return;
        }
        large_split(&c);
    }
}

static enum status look_again(struct cursor *c, npages_t *tables,
                              enum status (*look)(struct cursor *c, npages_t *tables))
{
    *tables = npages(0);
    cursor_start(c, CURSOR_LOOK, c->vmm, c->space, c->first, c->total);
    return look(c, tables);
}

enum status large_promise(struct cursor *c, npages_t *tables, enum status (*look)(struct cursor *c, npages_t *tables))
{
    struct vmm *vmm = c->vmm;
    for (bool changed = true; changed;) {
        enum status s = edit_promise(vmm, c->space, &c->window, c->first, *tables, &changed);
        if (s == STATUS_OK && changed) { /* by who was asked for memory */
            s = pmm_unpromise(vmm->pmm, *tables);
            s = s == STATUS_OK ? look_again(c, tables, look) : s;
        }
        if (s != STATUS_OK || tables->v == 0) {
            return s;
        }
    }
    return STATUS_OK;
}

enum status large_cut_ends(struct cursor *c, npages_t tables, enum status (*look)(struct cursor *c, npages_t *tables))
{
    struct vmm *vmm = c->vmm;
    enum status s = large_promise(c, &tables, look);
    if (s != STATUS_OK || tables.v == 0) {
        return s;
    }
    const vaddr_t end = vaddr_add_pages(c->first, c->total);
    cut_at(vmm, c->space, c->first, c->first);
    cut_at(vmm, c->space, vaddr_add_pages(c->first, c->total - 1), end);
    return look_again(c, &tables, look);
}

void large_unmap(struct cursor *c)
{
    window_store(c->vmm, c->window, c->at[c->level], c->level, (pte_t){0});
    cursor_count_large_gone(c);
    gather_large(c->vmm, c->window, c->va, c->level, c->cpus, cursor_table_cpus(c));
    if ((c->entry[c->level].v & PTE_DEVICE) != 0) {
        device_leaf_gone(c->vmm, c->entry[c->level], c->level);
    }
    gather_large_frames(c->vmm, c->entry[c->level], c->level);
}

void large_protect(struct cursor *c, uint64_t bits)
{
    const vaddr_t at = c->at[c->level];
    pte_t old = window_load(c->vmm, c->window, at, c->level);
    if ((old.v & RIGHTS_BITS) != bits) {
        while (!arch_table_replace(at, &old, (pte_t){(old.v & ~RIGHTS_BITS) | bits})) {
        }
        c->vmm->counters.table_stores++;
        gather_large(c->vmm, c->window, c->va, c->level, c->cpus, cursor_table_cpus(c));
    }
}
