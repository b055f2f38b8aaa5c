/* Large pages: what map, unmap and protect share with promotion and demotion. Private to src/vmm/. */
#ifndef CAIRN_VMM_LARGE_H
#define CAIRN_VMM_LARGE_H

#include "vmm/plan.h"
#include "vmm/walk.h"

/* ---- large.c ---- */

/*
 * May the page size behind the stretch be changed? => OK; SHARED: a table on the way has several parents. What is lent
 * too: a borrower may see it at another address, whose window pages would have to be flushed one by one.
 */
enum status large_look(const struct cursor *c);
/* The large page of the stretch becomes 512 of the size below: break, flush, make. The table is promised. */
void large_split(struct cursor *c);
/* Clear entry[level]. => what it was, with all that CPUs have marked until then. */
pte_t large_break(struct cursor *c, unsigned level);
/* The i-th of the 512 smaller leaves that the large page of `level` is made of. */
static inline pte_t large_part(pte_t leaf, unsigned level, unsigned i)
{
    const uint64_t first = level > PLAN_LOWEST ? leaf.v : leaf.v & ~PTE_PS; /* in a PTE it is the PAT bit */
    return (pte_t){first + i * level_span_bytes(level - 1)};
}
/* Tables that cutting the stretch, part of a large page, out of it takes. */
uint64_t large_cut_tables(const struct cursor *c);
/*
 * Promise *tables > 0 frames, as `look` has said; it looks again where others have edited meanwhile. => OK: so many are
 * promised in the end, perhaps 0; NOMEM, or what `look` says: none.
 */
enum status large_promise(struct cursor *c, npages_t *tables,
                          enum status (*look)(struct cursor *c, npages_t *tables));
/*
 * Cut the large pages that lie over the ends of a range, so that it can be changed whole. `tables`: so many are
 * needed, says `look`, which has looked at the range and does so again afterwards, or earlier when others have edited.
 * => OK, as `look` found it last; NOMEM, or what `look` says: nothing is cut.
 */
enum status large_cut_ends(struct cursor *c, npages_t tables,
                           enum status (*look)(struct cursor *c, npages_t *tables));
/* The large page that the stretch is goes, with its frames if it owns them; or gets these rights. Into the gather. */
void large_unmap(struct cursor *c);
void large_protect(struct cursor *c, uint64_t bits);

/* ---- large_fill.c ---- */

/* Large pages that one call of vmm_map finds frames for: the list that holds them meanwhile. */
enum { VMM_MAP_LARGE_MAX = 512 };

/* For a stretch that is to be mapped with large pages: is nothing there? => OK; EXISTS; SHARED: a table that is. */
enum status large_look_free(struct cursor *c);
/*
 * Map it: with the frames from `first` on, or, fresh, with the runs in the list, `zeroed`; `bits`: of 4 KiB leaves.
 * Empty tables that the space keeps are gone before.
 */
void large_fill(struct cursor *c, pfn_t first, uint64_t bits);
void large_fill_fresh(struct cursor *c, unsigned *next_run, uint64_t bits, bool zeroed);
/* Are the large pages of the plan not more than the list holds? => OK; LIMIT, reported. */
enum status large_check_list(const struct page_plan *plan);

struct large_page {
    vaddr_t va;
    unsigned level;
};

/*
 * A run for each large page of the plan, into the list. They may be had only in part: then none is taken, and *missing
 * is the first page that has none. => OK; NOMEM; LIMIT as above.
 */
enum status large_take_runs(struct vmm *vmm, const struct page_plan *plan, unsigned class,
                            struct large_page *missing);

#endif
