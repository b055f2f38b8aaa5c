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
#include "pmm/pmm_runs.h"
#include "vmm/cache_types.h"
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
    g->global = g->global || (vmm->has_global && is_kernel_half(va));
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

/* In the list, PTE_PS says that it is a PD; the count, that it is no large page. */
void gather_shared(struct vmm *vmm, pte_t entry, unsigned level)
{
    struct vmm_gather *g = &vmm->gather;
    if (g->table_count == VMM_GATHER_TABLES) {
        gather_flush(vmm);
    }
    g->tables[g->table_count++] = (pte_t){entry.v | (level == 2 ? PTE_PS : 0)};
    g->all = g->all || g->table_count > VMM_FLUSH_PAGES_MAX;
}

void gather_window(struct vmm *vmm, vaddr_t page, struct vmm_cpus cpus)
{
    struct vmm_gather *g = &vmm->gather;
    g->cpus.mask |= cpus.mask;
    g->all = g->all || g->window_count == 2 * VMM_FLUSH_PAGES_MAX;
    if (!g->all) {
        add_address(g, page, &g->window_count);
    }
}

void gather_large(struct vmm *vmm, enum window w, vaddr_t va, unsigned level, struct vmm_cpus cpus,
                  struct vmm_cpus table_cpus)
{
    gather_range(vmm, va, 1, cpus);
    for (unsigned below = 1; below < level; below++) {
        gather_windows(vmm, w, va, below, table_cpus);
    }
}

void gather_windows(struct vmm *vmm, enum window w, vaddr_t va, unsigned level, struct vmm_cpus cpus)
{
    const enum window twin = w == WINDOW_OWN ? WINDOW_FOREIGN : WINDOW_OWN;
    struct vmm_gather *g = &vmm->gather;
    /* What a large global page shows there is global (R11). */
    g->global = g->global || (vmm->has_global && is_kernel_half(va));
    gather_window(vmm, vaddr_page(window_entry(w, va, level)), cpus);
    if ((cpus.mask & ~(1ULL << arch_cpu())) != 0 || is_kernel_half(va)) {
        gather_window(vmm, vaddr_page(window_entry(twin, va, level)), cpus);
    }
}

void gather_large_frames(struct vmm *vmm, pte_t leaf, unsigned level)
{
    struct vmm_gather *g = &vmm->gather;
    if ((leaf.v & PTE_OWNED) == 0) {
        return;
    }
    if (g->table_count == VMM_GATHER_TABLES) {
        gather_flush(vmm);
    }
    g->tables[g->table_count++] = entry_with_count(pte_make(pte_pfn(leaf), PTE_PS), level);
}

void gather_all(struct vmm *vmm, vaddr_t va, struct vmm_cpus cpus)
{
    struct vmm_gather *g = &vmm->gather;
    g->all = g->all || cpus.mask != 0;
    g->global = g->global || (vmm->has_global && is_kernel_half(va));
    g->cpus.mask |= cpus.mask;
}

/* On every CPU of the set, this one first. */
static void flush(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    const unsigned count = g->page_count + g->window_count;
    const uint64_t self = 1ULL << arch_cpu(), others = g->cpus.mask & ~self;
    if ((g->cpus.mask & self) != 0 && g->all && g->global) {
        window_flush_all(vmm);
    } else if ((g->cpus.mask & self) != 0 && g->all) {
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
        } else if (pte_is_present(e) && (e.v & PTE_DEVICE) != 0) {
            device_leaf_gone(vmm, e, 1);
        }
    }
    temp_slot_clear(vmm, TEMP_SLOT_GATHER);
}

/* A block that the PMM has handed out whole goes back so; of others each frame has a count of its own. */
static void release_block(struct vmm *vmm, pfn_t first)
{
    if (pmm_query(vmm->pmm, first).state == PMM_STATE_RUN) {
        give_back(pmm_free_run(vmm->pmm, first, npages(PAGES_PER_2M)), "owned", first);
        return;
    }
    for (uint64_t i = 0; i < PAGES_PER_2M; i++) {
        give_back(pmm_release(vmm->pmm, pfn_add(first, i), NULL), "owned", pfn_add(first, i));
    }
}

static void release_large(struct vmm *vmm, pte_t entry)
{
    const uint64_t frames = level_span_pages(entry_count(entry));
    for (uint64_t i = 0; i < frames; i += PAGES_PER_2M) {
        release_block(vmm, pfn_add(pte_pfn(entry), i));
    }
}

static void free_table(struct vmm *vmm, pte_t entry)
{
    release_leaves(vmm, entry);
    trust_no_more(vmm, entry);
    give_back(pmm_free(vmm->pmm, pte_pfn(entry)), "table", pte_pfn(entry));
    vmm->counters.tables_freed++;
}

static void release_shared(struct vmm *vmm, pfn_t table, unsigned level);

/* An entry of a shared table of `level` that nobody names any more. */
static void release_entry(struct vmm *vmm, pte_t e, unsigned level)
{
    const bool is_large = entry_is_large(e, level);
    if (level == 2 && !is_large) {
        release_shared(vmm, pte_pfn(e), 1); /* no deeper */
    } else if ((e.v & PTE_DEVICE) != 0) {
        device_leaf_gone(vmm, e, level);
    } else if ((e.v & PTE_OWNED) != 0 && is_large) {
        release_large(vmm, entry_with_count(pte_make(pte_pfn(e), 0), level));
    } else if ((e.v & PTE_OWNED) != 0) {
        give_back(pmm_release(vmm->pmm, pte_pfn(e), NULL), "owned", pte_pfn(e));
    }
}

/*
 * A table of `level` has a parent less. It goes with the last: a PT with the frames that it owns, a PD with a parent
 * less for each of its PTs.
 */
static void release_shared(struct vmm *vmm, pfn_t table, unsigned level)
{
    if (pmm_query(vmm->pmm, table).references == 1) {
        trust_no_more(vmm, pte_make(table, 0));
        vmm->counters.tables_freed++;
        const unsigned slot = level == 1 ? TEMP_SLOT_GATHER : TEMP_SLOT_GATHER_PD;
        vaddr_t page = temp_slot_set(vmm, slot, table);
        for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
            pte_t e = table_load(vmm, entry_at(page, i));
            if (pte_is_present(e)) {
                release_entry(vmm, e, level);
            }
        }
        temp_slot_clear(vmm, slot);
    }
    give_back(pmm_release(vmm->pmm, table, NULL), "table", table);
}

static void free_tables(struct vmm *vmm)
{
    struct vmm_gather *g = &vmm->gather;
    for (unsigned i = 0; i < g->table_count; i++) {
        const pte_t e = g->tables[i];
        if (entry_is_shared(e)) {
            release_shared(vmm, pte_pfn(e), (e.v & PTE_PS) != 0 ? 2 : 1);
        } else if ((e.v & PTE_PS) != 0) {
            release_large(vmm, e);
        } else {
            free_table(vmm, e);
        }
    }
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
    g->all = g->global = false;
    g->cpus.mask = 0;
    g->page_count = g->window_count = g->frame_count = g->table_count = 0;
}

void gather_flush_page(struct vmm *vmm, vaddr_t va, struct vmm_cpus cpus)
{
    if (cpus.mask == 0) {
        return; /* its space runs nowhere */
    }
    if (cpus.mask == 1ULL << arch_cpu()) {
        window_invlpg(vmm, va);
        return;
    }
    gather_range(vmm, va, 1, cpus);
    gather_flush(vmm);
}
