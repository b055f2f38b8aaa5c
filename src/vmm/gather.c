/*
 * The gather: one flush for everything that a call unhooked, then the frames go back.
 *
 * The frames of a long range would need a list as long. They have one: a PT that goes as a whole is unhooked as it is,
 * and after the flush its own entries say which frames it owned. So an unmap of any length needs room for the frames of
 * the two tables at its ends, and a word for each table; and the leaves of a table that goes are never cleared.
 */
#include "vmm/gather.h"

#include "arch/arch.h"
#include "lib/macros.h"
#include "vmm/frames.h"

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

static void add_address(struct vmm_gather *g, vaddr_t va, unsigned *count)
{
    g->addresses[g->page_count + g->window_count] = va;
    ++*count;
}

void gather_range(struct vmm *vmm, vaddr_t va, uint64_t pages, struct vmm_cpus cpus)
{
    struct vmm_gather *g = &vmm->gather;
    if (cpus.mask == 0 || pages == 0) {
        return;
    }
    g->cpus.mask |= cpus.mask;
    if (pages > VMM_FLUSH_PAGES_MAX - g->page_count) {
        g->all = true;
    }
    for (uint64_t i = 0; i < pages && !g->all; i++) {
        add_address(g, vaddr_add_pages(va, i), &g->page_count);
    }
}

void gather_table(struct vmm *vmm, pte_t entry, vaddr_t page, struct vmm_cpus cpus)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->table_count == VMM_GATHER_TABLES) {
        gather_flush(vmm);
    }
    g->tables[g->table_count++] = entry;
    if (g->table_count > VMM_FLUSH_PAGES_MAX) {
        g->all = true;
    }
    gather_window(vmm, page, cpus);
}

void gather_window(struct vmm *vmm, vaddr_t page, struct vmm_cpus cpus)
{
    struct vmm_gather *g = &vmm->gather;
    g->cpus.mask |= cpus.mask;
    if (!g->all) {
        add_address(g, page, &g->window_count);
    }
}

/* On every CPU of the set, this one first. */
static void flush(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    const unsigned count = g->page_count + g->window_count;
    const uint64_t self = 1ULL << arch_cpu(), others = g->cpus.mask & ~self;
    if ((g->cpus.mask & self) != 0 && g->all) {
        window_root_reload(vmm);
    } else if ((g->cpus.mask & self) != 0) {
        for (unsigned i = 0; i < count; i++) {
            window_invlpg(vmm, g->addresses[i]);
        }
    }
    if (others != 0) {
        for (uint64_t rest = others; rest != 0; rest &= rest - 1) {
            vmm->counters.ipis++;
        }
        arch_flush_others(others, g->all ? NULL : g->addresses, count);
    }
}

/* The owned frames of a PT that went with its leaves: it is seen through a temporary mapping. */
static void release_leaves(struct vmm *vmm, pte_t table)
{
    unsigned live = entry_count(table);
    if (live == 0) {
        return;
    }
    vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_GATHER, pte_pfn(table));
    for (unsigned i = 0; i < TABLE_ENTRIES && live > 0; i++) {
        pte_t e = table_load(vmm, entry_at(page, i));
        live -= pte_is_present(e);
        if (pte_is_present(e) && (e.v & PTE_OWNED) != 0) {
            give_back(pmm_release(vmm->pmm, pte_pfn(e), NULL), "owned", pte_pfn(e));
        }
    }
    temp_slot_clear(vmm, TEMP_SLOT_GATHER);
}

static void free_tables(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    for (unsigned i = 0; i < g->table_count; i++) {
        release_leaves(vmm, g->tables[i]);
        trust_no_more(vmm, g->tables[i]);
        give_back(pmm_free(vmm->pmm, pte_pfn(g->tables[i])), "table", pte_pfn(g->tables[i]));
    }
    vmm->counters.tables_freed += g->table_count;
}

void gather_flush(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->cpus.mask != 0) {
        flush(vmm);
    }
    for (unsigned i = 0; i < g->frame_count; i++) {
        give_back(pmm_release(vmm->pmm, g->frames[i], NULL), "owned", g->frames[i]);
    }
    if (g->table_count > 0) {
        free_tables(vmm);
    }
    g->all = false;
    g->cpus.mask = 0;
    g->page_count = g->window_count = g->frame_count = g->table_count = 0;
}
