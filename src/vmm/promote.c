/*
 * Promotion and demotion: 512 pages become one, and one becomes 512 (vmm_large.h).
 *
 * 1. Break, flush, make (R12). The entry of the level above is cleared; the pages, and the window pages that show the
 *    table or the large page, are flushed on all CPUs that may hold them; then the new entry is stored. So no CPU ever
 *    holds translations of two sizes for one address, which is undefined or a machine check on some (AMD erratum 383,
 *    Intel's CVE-2018-12207).
 *
 * 2. Promotion in place reads the table once, to see that all leaves are alike and their frames continue each other.
 *    The large page has their marks (accessed, dirty) joined. Where other CPUs run in the space and may have set one
 *    since, the table is read again after the flush, through a temporary mapping; this CPU uses none of the pages
 *    meanwhile. Where every mark was seen set, nothing can be missing. The table is freed after that.
 *
 * 3. Promotion by copying moves the pages into a run of the PMM while the entry is absent: nobody writes to them then.
 *    The run is asked for outside of the edit, where the PMM's callbacks may edit; so what was seen before is looked at
 *    again.
 *
 * 4. All 512 pages of 2 MiB have a window page each that may show their frames: so promotion to 1 GiB flushes all.
 *
 * Rejected. To change the size without a break, by one store: what a CPU then makes of an address is "undefined" for
 * the A and D bits at best. To make promotion's large page before the table's marks are read: they would be lost.
 * Promotion on its own, when a table happens to become full of what fits (FreeBSD): who maps knows better, and a part
 * that is unmapped later would take memory.
 */
#include "arch/arch.h"
#include "lib/macros.h"
#include "pmm/pmm_runs.h"
#include "vmm/edit.h"
#include "vmm/frames.h"
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/request.h"
#include "vmm/vmm_large.h"

/* What differs between leaves that are alike, but for the frame. */
#define MARKS (PTE_A | PTE_D)

struct promotion {
    struct cursor c;
    unsigned level;   /* of the page that is made: entry[level] names the table */
    pte_t first;      /* its first leaf, without marks */
    uint64_t marks;   /* of all leaves, as the look saw them */
    bool needs_copy;  /* the frames do not continue each other, or are not aligned */
    pfn_t run;        /* to copy into, where `has_run` */
    bool has_run;
};

/* Promotion's cursor stops at the table of the leaves. */
static enum status find_table(struct promotion *p, const struct page_plan *plan, struct vmm *vmm, struct space *space,
                              vaddr_t va)
{
    struct cursor *c = &p->c;
    cursor_start(c, CURSOR_LOOK, vmm, space, va, level_span_pages(p->level));
    cursor_use_plan(c, plan);
    if (!cursor_next(c) || c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    if (c->level > c->leaf) {
        return cursor_is_large(c) ? STATUS_EXISTS : STATUS_ABSENT;
    }
    return large_look(c);
}

/* One of the leaves: is it as the first one is? => OK; ABSENT; CONFLICT. */
static enum status compare_leaf(struct promotion *p, pte_t e, pte_t expected)
{
    const uint64_t diff = (e.v ^ expected.v) & ~MARKS;
    if (diff == 0) {
        return STATUS_OK;
    }
    if (!pte_is_present(e)) {
        return STATUS_ABSENT;
    }
    p->needs_copy = true;
    return (diff & ~PTE_FRAME_MASK) == 0 ? STATUS_OK : STATUS_CONFLICT;
}

/* The leaves of the table. => OK; ABSENT; CONFLICT: they differ in more than their frames. */
static enum status compare_leaves(struct promotion *p)
{
    struct cursor *c = &p->c;
    const unsigned leaf = p->level - 1;
    const uint64_t part = level_span_bytes(leaf);
    enum status s = STATUS_OK;
    if (entry_count(c->entry[p->level]) != TABLE_ENTRIES) {
        return STATUS_ABSENT;
    }
    window_use(c->vmm, c->window, c->at[leaf], leaf);
    for (unsigned i = 0; i < TABLE_ENTRIES && s == STATUS_OK; i++) {
        const pte_t e = table_load(c->vmm, entry_at(c->at[leaf], i));
        p->first = i == 0 ? (pte_t){e.v & ~MARKS} : p->first;
        p->marks |= e.v & MARKS;
        s = compare_leaf(p, e, (pte_t){p->first.v + i * part});
        if (s == STATUS_OK && ((e.v & PTE_PS) != 0) != (leaf > 1)) { /* a table; in a PTE, a cache type of its own */
            s = STATUS_CONFLICT;
        }
    }
    p->needs_copy = p->needs_copy || (p->first.v & PTE_FRAME_MASK & (level_span_bytes(p->level) - 1)) != 0;
    return s;
}

/*
 * Copying: is every frame owned here and by nobody else? They go into the gather's list, which is empty meanwhile.
 * => OK; CONFLICT: not owned; SHARED.
 */
static enum status compare_frames(struct promotion *p)
{
    struct cursor *c = &p->c;
    if ((p->first.v & PTE_OWNED) == 0) {
        return STATUS_CONFLICT;
    }
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        const pte_t e = window_load(c->vmm, c->window, entry_at(c->at[1], i), 1);
        if (pmm_query(c->vmm->pmm, pte_pfn(e)).references != 1) {
            return STATUS_SHARED;
        }
        c->vmm->gather.frames[i] = pte_pfn(e);
    }
    return STATUS_OK;
}

/* => OK: *p says how; else as vmm_promote. */
static enum status look(struct promotion *p, const struct page_plan *plan, struct vmm *vmm, struct space *space,
                        vaddr_t va, unsigned flags)
{
    p->needs_copy = false;
    p->marks = 0;
    enum status s = find_table(p, plan, vmm, space, va);
    if (s == STATUS_OK) {
        s = compare_leaves(p);
    }
    if (s == STATUS_OK && (p->first.v & PTE_COW) != 0) {
        s = STATUS_SHARED;
    }
    if (s == STATUS_OK && p->needs_copy) {
        s = (flags & VMM_PROMOTE_COPY) != 0 ? compare_frames(p) : STATUS_CONFLICT;
    }
    return s;
}

/* All that may show the table, or a page in it. */
static void gather_table_and_pages(struct promotion *p)
{
    struct cursor *c = &p->c;
    const struct vmm_cpus cpus = cursor_table_cpus(c);
    gather_range(c->vmm, c->va, level_span_pages(p->level), c->cpus);
    if (p->level > PLAN_LOWEST) {
        gather_all(c->vmm, c->va, cpus);
    }
    gather_windows(c->vmm, c->window, c->va, p->level - 1, cpus);
}

/* Can a leaf have a mark that the look did not see? */
static bool may_be_marked_since(const struct promotion *p)
{
    const uint64_t all = PTE_A | ((p->first.v & PTE_W) != 0 ? PTE_D : 0), self = 1ULL << arch_cpu();
    return (all & ~p->marks) != 0 && (p->c.cpus.mask & ~self) != 0;
}

/* The table is unhooked and flushed: the marks of its leaves, which change no more. */
static uint64_t read_marks(struct vmm *vmm, pfn_t table)
{
    const vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_GATHER, table);
    uint64_t all = 0;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        all |= table_load(vmm, entry_at(page, i)).v;
    }
    temp_slot_clear(vmm, TEMP_SLOT_GATHER);
    return all & MARKS;
}

/* Move the pages into the run; the old ones go, which nobody can use any more. */
static void copy_pages(struct promotion *p)
{
    struct vmm *vmm = p->c.vmm;
    const pfn_t *frames = vmm->gather.frames;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        enum status s = frame_copy(vmm, pfn_add(p->run, i), frames[i]);
        ASSERT(s == STATUS_OK); /* frames of the PMM */
        (void)s;
    }
    vmm->gather.frame_count = TABLE_ENTRIES; /* the next flush, which has nothing to flush, releases them */
}

static void promote(struct promotion *p)
{
    struct cursor *c = &p->c;
    struct vmm *vmm = c->vmm;
    const pte_t table = large_break(c, p->level);
    gather_table_and_pages(p);
    gather_flush(vmm);
    const uint64_t marks = may_be_marked_since(p) ? read_marks(vmm, pte_pfn(table)) : p->marks;
    if (p->needs_copy) {
        copy_pages(p);
        p->first = pte_make(p->run, p->first.v & ~PTE_FRAME_MASK);
        p->has_run = false;
    }
    window_store(vmm, c->window, c->at[p->level], p->level, (pte_t){p->first.v | marks | PTE_PS});
    cursor_tables_change(c, -1);
    vmm->gather.tables[vmm->gather.table_count++] = entry_with_count(table, 0);
    gather_flush(vmm);
}

/* The edit, but for the run that copying needs: *lacks_run. */
static enum status look_and_promote(struct promotion *p, const struct page_plan *plan, struct vmm *vmm,
                                    struct space *space, vaddr_t va, unsigned flags, bool *lacks_run)
{
    enum window w = WINDOW_OWN;
    *lacks_run = false;
    enum status s = edit_begin(vmm, space, va, "vmm_promote", &w);
    if (s != STATUS_OK) {
        return s;
    }
    s = look(p, plan, vmm, space, va, flags);
    *lacks_run = s == STATUS_OK && p->needs_copy && !p->has_run;
    if (s == STATUS_OK && !*lacks_run) {
        promote(p);
    }
    edit_end(vmm, space, w);
    return s;
}

static enum status check_promotion(struct vmm *vmm, struct space *space, vaddr_t va, unsigned level, unsigned flags)
{
    const bool is_level = level == PLAN_LOWEST || level == PLAN_HIGHEST;
    const npages_t pages = npages(is_level ? level_span_pages(level) : 1);
    enum status s = request_check(vmm, space, va, pages, "vmm_promote");
    if (s != STATUS_OK) {
        return s;
    }
    if (!is_level || (flags & ~(unsigned)VMM_PROMOTE_COPY) != 0 || (flags != 0 && level != PLAN_LOWEST) ||
        (va.v & (level_span_bytes(level) - 1)) != 0) {
        return STATUS_INVALID;
    }
    return level == PLAN_HIGHEST && !arch_has_1g_pages() ? STATUS_UNSUPPORTED : STATUS_OK;
}

enum status vmm_promote(struct vmm *vmm, struct space *space, vaddr_t va, unsigned level, unsigned flags)
{
    enum status s = check_promotion(vmm, space, va, level, flags);
    if (s != STATUS_OK) {
        return s;
    }
    struct promotion p = {.level = level};
    struct page_plan plan = {0}; /* leaves of the level below */
    plan.from[PLAN_LOWEST] = va;
    plan.to[PLAN_LOWEST] = level == PLAN_HIGHEST ? vaddr_add(va, level_span_bytes(level)) : va;
    bool lacks_run;
    s = look_and_promote(&p, &plan, vmm, space, va, flags, &lacks_run);
    if (lacks_run) {
        const npages_t frames = npages(PAGES_PER_2M);
        space->waiting++;
        s = pmm_alloc_run(vmm->pmm, is_kernel_half(va) ? PMM_KERNEL : PMM_USER, frames, frames, npages(0), PMM_NO_LIMIT,
                          &p.run);
        space->waiting--;
        p.has_run = s == STATUS_OK;
        s = p.has_run ? look_and_promote(&p, &plan, vmm, space, va, flags, &lacks_run) : s;
        if (p.has_run) { /* not used */
            enum status undone = pmm_free_run(vmm->pmm, p.run, frames);
            s = undone == STATUS_OK ? s : undone;
        }
    }
    return s;
}

/* The large page at the cursor's address. => OK; ABSENT; EXISTS: it is a small one; SHARED; CORRUPT. */
static enum status look_at_page(struct cursor *c, npages_t *tables)
{
    const bool found = cursor_next(c);
    *tables = npages(1);
    if (!found || c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    if (cursor_is_large(c)) {
        return large_look(c);
    }
    return c->level == 1 && pte_is_present(window_load(c->vmm, c->window, c->at[1], 1)) ? STATUS_EXISTS : STATUS_ABSENT;
}

enum status vmm_demote(struct vmm *vmm, struct space *space, vaddr_t va)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, npages(1), "vmm_demote");
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_demote", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, 1);
    npages_t tables;
    s = look_at_page(&c, &tables);
    s = s == STATUS_OK ? large_promise(&c, &tables, look_at_page) : s;
    if (s == STATUS_OK) {
        large_split(&c);
    }
    edit_end(vmm, space, c.window);
    return s;
}
