/* Which page sizes a range is to be mapped with. Private to src/vmm/. */
#ifndef CAIRN_VMM_PLAN_H
#define CAIRN_VMM_PLAN_H

#include "arch/paging.h"
#include "vmm/entry.h"
#include "vmm/vmm.h"

enum { PLAN_LOWEST = 2, PLAN_HIGHEST = 3 }; /* levels of large pages */

#define VMM_SIZES (VMM_LARGE | VMM_2M | VMM_1G)

/*
 * [from[l], to[l]) with pages of level l or larger, l = 2 and 3; what is not in [2], with 4 KiB pages. Both aligned to
 * the level's span, [3] inside [2]; from == to: none.
 */
struct page_plan {
    vaddr_t from[PLAN_HIGHEST + 1], to[PLAN_HIGHEST + 1];
};

static inline bool plan_has(const struct page_plan *plan, unsigned level)
{
    return plan->from[level].v < plan->to[level].v;
}

/*
 * For [va, va + pages), a good range. `sizes`: one of VMM_SIZES. `first`: the frame behind va; frames that are yet to
 * be found will be aligned as va is. => OK; INVALID: no single size, or not aligned to it; UNSUPPORTED: the CPU has no
 * such pages.
 */
enum status plan_make(struct page_plan *plan, vaddr_t va, npages_t pages, pfn_t first, unsigned sizes);

/* The level of the leaf at va: 1..3. */
unsigned plan_level(const struct page_plan *plan, vaddr_t va);
/* Pages from va on with leaves of one size; UINT64_MAX or so where nothing is planned behind it. */
uint64_t plan_pages_alike(const struct page_plan *plan, vaddr_t va);
/* Entries of `level` in the range that are to be leaves, or lie behind one. */
uint64_t plan_entries(const struct page_plan *plan, vaddr_t va, uint64_t pages, unsigned level);
/* From `va`, which begins a page of `level`, there are to be smaller ones. */
void plan_shrink(struct page_plan *plan, vaddr_t va, unsigned level);

#endif
