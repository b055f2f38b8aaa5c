/*
 * The PMM drains its magazines and its pool of zeroed frames by itself. Then it asks, cheapest first: the spaces, for
 * what can be had again without work (empty tables, clean pages of paged objects, stock), then the heap, whose empty
 * pages cost a flush each and are wanted again soonest. Nobody is asked before a request would fail (threshold 0):
 * what is cached is worth more than free frames. Nothing is ever taken that somebody still uses.
 */
#include "kernel/low_memory.h"

#include "kernel/console.h"
#include "kernel/heap_source.h"
#include "kernel/machine.h"
#include "pmm/pmm_pressure.h"

enum { COST_SPACES = 10, COST_HEAP = 20 };

static npages_t reclaim_spaces(void *ctx, npages_t wanted)
{
    (void)ctx;
    return aspaces_reclaim(&machine.aspaces, wanted);
}

static npages_t reclaim_heap(void *ctx, npages_t wanted)
{
    (void)ctx;
    (void)wanted;
    if (heap_source_is_asking()) {
        return npages(0); /* its lists are in the middle of a change */
    }
    uint64_t before = pmm_stats(&machine.pmm).free.v;
    (void)heap_shrink(&machine.heap);
    uint64_t after = pmm_stats(&machine.pmm).free.v;
    return npages(after > before ? after - before : 0);
}

void low_memory_init(void)
{
    static struct pmm_low spaces = {.cost = COST_SPACES, .reclaim = reclaim_spaces};
    static struct pmm_low heap = {.cost = COST_HEAP, .reclaim = reclaim_heap};
    if (pmm_low_add(&machine.pmm, &spaces) != STATUS_OK || pmm_low_add(&machine.pmm, &heap) != STATUS_OK) {
        panic("nobody can be asked for memory");
    }
}
