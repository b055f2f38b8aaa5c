/*
 * Page sizes of a range that is to be mapped.
 *
 * Address and frame must be aligned alike: then the largest pages lie in the middle, smaller ones around them, 4 KiB
 * pages at the ends. So a plan is two nested ranges, and a cursor knows at each address where its leaves are.
 */
#include "vmm/plan.h"

#include "arch/arch.h"

static bool is_multiple(uint64_t n, uint64_t of) { return (n & (of - 1)) == 0; }

/* The largest range of pages of `level` within [va, va + pages), frames being aligned as their pages are. */
static void plan_widest(struct page_plan *plan, vaddr_t va, npages_t pages, pfn_t first, unsigned level)
{
    const uint64_t span = level_span_pages(level), page = vaddr_page_number(va);
    const uint64_t from = (page + span - 1) & ~(span - 1), to = (page + pages.v) & ~(span - 1);
    if (is_multiple(page - first.v, span) && from < to) {
        plan->from[level] = vaddr_add_pages(va, from - page);
        plan->to[level] = vaddr_add_pages(va, to - page);
    }
}

enum status plan_make(struct page_plan *plan, vaddr_t va, npages_t pages, pfn_t first, unsigned sizes)
{
    *plan = (struct page_plan){0};
    const unsigned highest = arch_has_1g_pages() ? PLAN_HIGHEST : PLAN_LOWEST;
    const unsigned wanted = sizes == VMM_1G ? PLAN_HIGHEST : PLAN_LOWEST;
    const uint64_t span = level_span_pages(wanted);
    if (sizes != VMM_LARGE && sizes != VMM_2M && sizes != VMM_1G) {
        return STATUS_INVALID;
    }
    if (sizes != VMM_LARGE && !is_multiple(vaddr_page_number(va) | pages.v | first.v, span)) {
        return STATUS_INVALID;
    }
    if (wanted > highest) {
        return STATUS_UNSUPPORTED;
    }
    const unsigned largest = sizes == VMM_2M ? PLAN_LOWEST : highest;
    for (unsigned level = PLAN_LOWEST; level <= largest; level++) {
        plan_widest(plan, va, pages, first, level);
    }
    return STATUS_OK;
}

unsigned plan_level(const struct page_plan *plan, vaddr_t va)
{
    unsigned level = PLAN_HIGHEST;
    while (level >= PLAN_LOWEST && (va.v < plan->from[level].v || va.v >= plan->to[level].v)) {
        level--;
    }
    return level;
}

uint64_t plan_pages_alike(const struct page_plan *plan, vaddr_t va)
{
    uint64_t next = UINT64_MAX;
    for (unsigned level = PLAN_LOWEST; level <= PLAN_HIGHEST; level++) {
        next = plan->from[level].v > va.v && plan->from[level].v < next ? plan->from[level].v : next;
        next = plan->to[level].v > va.v && plan->to[level].v < next ? plan->to[level].v : next;
    }
    return bytes_to_pages_down(next - va.v).v;
}

uint64_t plan_entries(const struct page_plan *plan, vaddr_t va, uint64_t pages, unsigned level)
{
    if (level > PLAN_HIGHEST) {
        return 0;
    }
    const uint64_t end = vaddr_add_pages(va, pages).v;
    const uint64_t from = plan->from[level].v > va.v ? plan->from[level].v : va.v;
    const uint64_t to = plan->to[level].v < end ? plan->to[level].v : end;
    return from < to ? (to - from) / level_span_bytes(level) : 0;
}

void plan_shrink(struct page_plan *plan, vaddr_t va, unsigned level)
{
    plan->to[level] = va;
    if (level == PLAN_LOWEST && plan->to[PLAN_HIGHEST].v > va.v) {
        plan->to[PLAN_HIGHEST] = plan->from[PLAN_HIGHEST]; /* it lies behind */
    }
}
