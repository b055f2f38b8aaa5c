/*
 * Tables that go; and single entries of any level, for tables that are shared: linked, unlinked and counted through a
 * cursor of one page.
 */
#include "vmm/gather.h"
#include "vmm/share.h"

void cursor_gather_table(struct cursor *c, vaddr_t va, unsigned level, pte_t entry)
{
    const struct vmm_cpus cpus = cursor_table_cpus(c);
    gather_table(c->vmm, entry, vaddr_page(window_entry(c->window, va, level)), cpus);
    if ((cpus.mask & ~(1ULL << arch_cpu())) != 0) { /* others may see it through the other window (R16) */
        enum window twin = c->window == WINDOW_OWN ? WINDOW_FOREIGN : WINDOW_OWN;
        gather_window(c->vmm, vaddr_page(window_entry(twin, va, level)), cpus);
    }
    if (c->lent > level + 1) {
        gather_sharers(c->vmm, c->space, va, 1, true);
    }
    cursor_tables_change(c, -1);
}

bool cursor_find_table(struct cursor *c, struct vmm *vmm, struct space *space, vaddr_t va, unsigned level)
{
    cursor_start(c, CURSOR_READ, vmm, space, va, 1);
    c->leaf = level;
    (void)cursor_next(c);
    if (c->level != level) {
        return false;
    }
    c->entry[level] = window_load(vmm, c->window, c->at[level], level);
    const bool is_table = pte_is_present(c->entry[level]) && cursor_examine(c, level);
    if (is_table) {
        cursor_note_sharing(c, level);
    }
    return is_table;
}

void cursor_link(struct cursor *c, unsigned level, pte_t entry)
{
    window_store(c->vmm, c->window, c->at[level], level, entry);
    c->entry[level] = entry;
    if ((c->fresh & 1U << level) == 0) { /* a table made for it was linked with its count */
        cursor_count_at(c, level + 1, 1);
    }
}

void cursor_unlink(struct cursor *c, unsigned level)
{
    window_store(c->vmm, c->window, c->at[level], level, (pte_t){0});
    cursor_count_at(c, level + 1, -1);
    c->entry[level] = (pte_t){0};
    c->level = level;
    c->closed = c->lent = 0;
    cursor_set_stretch(c);
}

void cursor_set_count(struct cursor *c, unsigned level, unsigned count)
{
    c->entry[level] = entry_with_count(c->entry[level], count);
    c->dirty |= 1U << level;
}

unsigned cursor_count_live(struct cursor *c, unsigned level)
{
    const vaddr_t first = vaddr_page(c->at[level - 1]);
    unsigned live = 0;
    window_use(c->vmm, c->window, first, level - 1);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        live += pte_is_present(arch_table_load(entry_at(first, i)));
    }
    c->vmm->counters.table_loads += TABLE_ENTRIES;
    return live;
}

void cursor_gather_window(struct cursor *c, unsigned level, struct vmm_cpus cpus)
{
    const enum window twin = c->window == WINDOW_OWN ? WINDOW_FOREIGN : WINDOW_OWN;
    gather_window(c->vmm, vaddr_page(c->at[level - 1]), cpus);
    if ((cpus.mask & ~(1ULL << arch_cpu())) != 0) {
        gather_window(c->vmm, vaddr_page(window_entry(twin, c->va, level - 1)), cpus);
    }
}
