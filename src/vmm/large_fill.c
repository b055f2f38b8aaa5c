/*
 * Mapping with large pages: the part of map.c that knows of them.
 *
 * The cursor stops at the table that the leaves are to be in (plan.h). An entry that is there already is in the way,
 * unless it is a table that is empty and kept: that goes first, by break, flush, make (R12).
 *
 * Fresh frames are runs of the PMM. They are all taken before anything is linked, since a run cannot be promised: the
 * list of them is the second half of the gather's frames, which is empty while a range is mapped; the first half is the
 * list of a PT's frames (map.c).
 */
#include "lib/report.h"
#include "pmm/pmm_runs.h"
#include "vmm/frames.h"
#include "vmm/gather.h"
#include "vmm/large.h"

enum { FIRST_RUN = VMM_GATHER_FRAMES - VMM_MAP_LARGE_MAX };
static_assert((int)FIRST_RUN >= (int)TABLE_ENTRIES, "two lists in one");

static pfn_t *list_of_runs(struct vmm *vmm) { return &vmm->gather.frames[FIRST_RUN]; }

/* Large pages of the stretch. */
static uint64_t larges(const struct cursor *c) { return c->pages >> level_span_log2(c->leaf); }

static vaddr_t large_va(const struct cursor *c, uint64_t i)
{
    return vaddr_add_pages(c->va, i << level_span_log2(c->leaf));
}

static bool is_empty_pt(pte_t e) { return !entry_is_large(e, 2) && !entry_is_corrupt(e, 2) && entry_count(e) == 0; }

/* The entry of `level` for va names a table without a page in it: an empty PT, or a PD of such. */
static bool is_empty_table(struct cursor *c, vaddr_t va, unsigned level, pte_t e)
{
    if (level == 2) {
        return is_empty_pt(e);
    }
    if (entry_is_large(e, level) || entry_is_corrupt(e, level)) {
        return false;
    }
    const vaddr_t first = window_entry(c->window, va, level - 1);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t below = window_load(c->vmm, c->window, entry_at(first, i), level - 1);
        if (pte_is_present(below) && !is_empty_pt(below)) {
            return false;
        }
    }
    return true;
}

/* What is where the large page at va is to be. => OK: nothing, or what goes; EXISTS; SHARED: a table that is. */
static enum status look_at_entry(struct cursor *c, vaddr_t va, unsigned level, pte_t e)
{
    if (!pte_is_present(e)) {
        return STATUS_OK;
    }
    if (!entry_is_large(e, level) && entry_is_shared(e)) {
        return STATUS_SHARED;
    }
    return c->keeps && is_empty_table(c, va, level, e) ? STATUS_OK : STATUS_EXISTS;
}

enum status large_look_free(struct cursor *c)
{
    const unsigned level = c->leaf;
    const bool counts = level + 1 < PAGING_LEVELS || !c->is_kernel;
    if (counts && entry_count(c->entry[level + 1]) == 0) {
        return STATUS_OK;
    }
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < larges(c) && s == STATUS_OK; i++) {
        const pte_t e = window_load(c->vmm, c->window, entry_at(c->at[level], i), level);
        s = look_at_entry(c, large_va(c, i), level, e);
    }
    return s;
}

/* The PTs of an empty PD are unhooked. */
static void drop_empty_pts(struct cursor *c, vaddr_t va)
{
    const vaddr_t first = window_entry(c->window, va, 2);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t e = window_load(c->vmm, c->window, entry_at(first, i), 2);
        if (pte_is_present(e)) {
            window_store(c->vmm, c->window, entry_at(first, i), 2, (pte_t){0});
            cursor_gather_table(c, vaddr_add_pages(va, i * level_span_pages(2)), 1, e);
        }
    }
}

/* Empty tables that are kept where leaves are to be. The count of the table they are in is put right by the leaves. */
static void drop_empty_tables(struct cursor *c)
{
    const unsigned level = c->leaf;
    for (uint64_t i = 0; i < larges(c); i++) {
        pte_t e = window_load(c->vmm, c->window, entry_at(c->at[level], i), level);
        if (!pte_is_present(e)) {
            continue;
        }
        if (level > 2) {
            drop_empty_pts(c, large_va(c, i));
        }
        window_store(c->vmm, c->window, entry_at(c->at[level], i), level, (pte_t){0});
        cursor_gather_table(c, large_va(c, i), level - 1, entry_with_count(e, 0));
        cursor_count_change(c, -1);
    }
    gather_flush(c->vmm);
}

/*
 * Nothing is left of the tables that were there. Of the kernel half they could be seen through the foreign window too,
 * and were not flushed there when they went (walk.c): nobody used it, but now the page size is another one.
 */
static void make_way(struct cursor *c)
{
    if (c->keeps) {
        drop_empty_tables(c);
    }
    if (!c->is_kernel) {
        return;
    }
    for (uint64_t i = 0; i < larges(c) && c->leaf == 2; i++) {
        gather_windows(c->vmm, c->window, large_va(c, i), 1, c->cpus);
    }
    if (c->leaf > 2) { /* it had PTs */
        gather_all(c->vmm, c->va, c->cpus);
    }
    gather_flush(c->vmm);
}

void large_fill(struct cursor *c, pfn_t first, uint64_t bits)
{
    make_way(c);
    for (uint64_t i = 0; i < larges(c); i++) {
        pte_t leaf = pte_make(pfn_add(first, i << level_span_log2(c->leaf)), bits | PTE_PS);
        window_store(c->vmm, c->window, entry_at(c->at[c->leaf], i), c->leaf, leaf);
    }
}

void large_fill_fresh(struct cursor *c, unsigned *next_run, uint64_t bits, bool zeroed)
{
    const pfn_t *runs = list_of_runs(c->vmm) + *next_run;
    const uint64_t frames = level_span_pages(c->leaf);
    make_way(c);
    for (uint64_t i = 0; i < larges(c); i++) {
        for (uint64_t k = 0; k < frames && zeroed; k++) {
            temp_zero(c->vmm, pfn_add(runs[i], k));
        }
        window_store(c->vmm, c->window, entry_at(c->at[c->leaf], i), c->leaf, pte_make(runs[i], bits | PTE_PS));
    }
    *next_run += (unsigned)larges(c);
}

/* The first `n` runs of the plan go back. */
static void give_back(struct vmm *vmm, const struct page_plan *plan, unsigned n)
{
    vaddr_t va = plan->from[PLAN_LOWEST];
    for (unsigned i = 0; i < n; i++) {
        const uint64_t frames = level_span_pages(plan_level(plan, va));
        enum status s = pmm_free_run(vmm->pmm, list_of_runs(vmm)[i], npages(frames));
        (void)s; /* just taken; the PMM has reported it */
        va = vaddr_add_pages(va, frames);
    }
}

static unsigned runs_of(const struct page_plan *plan)
{
    const uint64_t bytes = plan->to[2].v - plan->from[2].v, huge = plan->to[3].v - plan->from[3].v;
    const uint64_t n = (bytes - huge) / level_span_bytes(2) + huge / level_span_bytes(3);
    return n <= VMM_MAP_LARGE_MAX ? (unsigned)n : VMM_MAP_LARGE_MAX + 1;
}

enum status large_check_list(const struct page_plan *plan)
{
    if (runs_of(plan) > VMM_MAP_LARGE_MAX) {
        report(REPORT_NOTE, "vmm_map: more than %u large pages in one call, VMM_MAP_LARGE_MAX", VMM_MAP_LARGE_MAX);
        return STATUS_LIMIT;
    }
    return STATUS_OK;
}

enum status large_take_runs(struct vmm *vmm, const struct page_plan *plan, unsigned class, struct large_page *missing)
{
    const unsigned n = runs_of(plan);
    if (large_check_list(plan) != STATUS_OK) {
        return STATUS_LIMIT;
    }
    vaddr_t va = plan->from[PLAN_LOWEST];
    for (unsigned i = 0; i < n; i++) {
        *missing = (struct large_page){va, plan_level(plan, va)};
        const npages_t frames = npages(level_span_pages(missing->level));
        enum status s = pmm_alloc_run(vmm->pmm, class | PMM_NO_RECLAIM, frames, frames, npages(0), PMM_NO_LIMIT,
                                      &list_of_runs(vmm)[i]);
        if (s != STATUS_OK) {
            give_back(vmm, plan, i);
            return s;
        }
        va = vaddr_add_pages(va, frames.v);
    }
    return STATUS_OK;
}
