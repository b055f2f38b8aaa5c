/* The gather: one flush for everything that a call unhooked, then the frames go back. */
#include "vmm/gather.h"

#include "arch/arch.h"

/*
 * Frames in the gather come from entries that the walk has checked; a refusal means that tables and PMM disagree.
 * The PMM has reported it.
 */
static void give_back(enum status s, const char *what, pfn_t frame)
{
    if (s != STATUS_OK) {
        report(REPORT_CORRUPT, "gather_flush: %s frame %#lx: the PMM says %s", what, frame.v, status_name(s));
    }
}

void gather_page(struct vmm *vmm, vaddr_t va, bool is_live)
{
    struct vmm_gather *g = &vmm->gather;
    if (!is_live || g->all) {
        return;
    }
    if (g->page_count == VMM_FLUSH_PAGES_MAX) {
        g->all = true;
        return;
    }
    g->pages[g->page_count++] = va;
}

void gather_frame(struct vmm *vmm, pfn_t frame)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->frame_count == VMM_GATHER_FRAMES) {
        gather_flush(vmm);
    }
    g->frames[g->frame_count++] = frame;
}

void gather_table(struct vmm *vmm, pfn_t frame, vaddr_t page)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->table_count == VMM_GATHER_TABLES) {
        gather_flush(vmm);
    }
    g->tables[g->table_count++] = frame;
    if (g->window_count == VMM_FLUSH_PAGES_MAX) {
        g->all = true;
        return;
    }
    g->windows[g->window_count++] = page;
}

void gather_flush(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->all) {
        window_root_reload(vmm);
    } else {
        for (unsigned i = 0; i < g->page_count; i++) {
            window_invlpg(vmm, g->pages[i]);
        }
        for (unsigned i = 0; i < g->window_count; i++) {
            window_invlpg(vmm, g->windows[i]);
        }
    }
    for (unsigned i = 0; i < g->frame_count; i++) {
        give_back(pmm_release(vmm->pmm, g->frames[i], NULL), "owned", g->frames[i]);
    }
    for (unsigned i = 0; i < g->table_count; i++) {
        vmm->counters.tables_freed++;
        give_back(pmm_free(vmm->pmm, g->tables[i]), "table", g->tables[i]);
    }
    g->all = false;
    g->page_count = g->window_count = g->frame_count = g->table_count = 0;
}
