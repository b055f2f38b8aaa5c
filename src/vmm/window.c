/*
 * The windows: theory, and what is not done once a page.
 *
 * The walk to a window address goes through the self slot once for each level that it must skip, and through `last`
 * (self or foreign) in the end:
 *
 *   level 1   [last]                      PTs         512 GiB
 *   level 2   [self][last]                PDs         1 GiB
 *   level 3   [self][self][last]          PDPTs       2 MiB
 *   level 4   [self][self][self][last]    the PML4    4 KiB
 *
 * So the entry of the next level up is found from an entry's address as a PTE is found from a page's: three
 * instructions a level (window_above). Which pages of the foreign window are clean is kept as a list of those that were
 * invalidated since the opening, and for each level the page used last: going through a table, and through neighbouring
 * tables, the upper levels stay on one page and the list is not looked at. Questions go to addresses in any order: for
 * them the PTs that were asked about are noted, by their numbers, each with the number of the opening (`shown`), so
 * that a new opening forgets them without a store.
 *
 * A CR3 load leaves global translations (R11). Entries that name tables have G = 0 (R2), so the window page of a table
 * never is one, and after a CR3 load every page of the foreign window is clean. But the window page that a large global
 * leaf makes of its frame (R3) is: nobody uses it before there is a table in the leaf's place, and the flush that goes
 * before that reaches it, by its own INVLPG or by window_flush_all. Global leaves are of the kernel half only, which
 * all spaces have alike: so no switch needs to drop them.
 */
#include "vmm/window.h"

void window_touch(struct vmm *vmm, vaddr_t page, unsigned level)
{
    struct vmm_foreign *f = &vmm->foreign;
    f->last[level] = page;
    if (f->all_clean) {
        return;
    }
    for (unsigned i = 0; i < f->count; i++) {
        if (f->pages[i].v == page.v) {
            return;
        }
    }
    if (f->count == VMM_WINDOW_PAGES_MAX) {
        window_root_reload(vmm);
        return;
    }
    window_invlpg(vmm, page);
    f->pages[f->count++] = page;
}

void window_root_load(struct vmm *vmm, pfn_t root)
{
    vmm->counters.cr3_loads++;
    arch_root_load(pfn_to_paddr(root));
}

void window_flush_all(struct vmm *vmm)
{
    vmm->counters.global_flushes++;
    arch_flush_all();
    vmm->foreign.all_clean = vmm->foreign.space != NULL;
}

void window_root_reload(struct vmm *vmm)
{
    window_root_load(vmm, vmm->current->root);
    vmm->foreign.all_clean = vmm->foreign.space != NULL;
}
