/*
 * Before a change: all it may take is there (aspace.h: all or nothing).
 *
 * Who is asked for memory may give back stock and pages of objects (aspaces_reclaim), and nothing else of ours: so what
 * was looked at before stays true, but for how much is in stock. That is counted again after each request, until all is
 * there at once.
 */
#include "aspace/mapping.h"
#include "lib/report.h"

enum status aspaces_begin(struct aspaces *system, const char *call)
{
    if (system == NULL || system->vmm == NULL) {
        return misuse("%s: no system of spaces", call);
    }
    if (system->busy) {
        return misuse("%s: called inside another call", call);
    }
    system->busy = true;
    return STATUS_OK;
}

enum status aspace_begin(struct aspace *space, const char *call)
{
    if (space == NULL || space->system == NULL) {
        return misuse("%s: %p is no space", call, (void *)space);
    }
    return aspaces_begin(space->system, call);
}

void aspaces_done(struct aspaces *system)
{
    system->busy = false;
    system->reserved = 0;
    system->recent = pfn(0);
}

/* Pages of stock. */
static size_t count(const struct aspaces *system, const struct aspace_needs *n)
{
    size_t pages = n->stock;
    pages += pool_missing(&system->mappings, n->mappings) + pool_missing(&system->objects, n->objects);
    pages += pool_missing(&system->families, n->families) + pool_missing(&system->loans, n->loans);
    pages += n->object_id != 0 ? page_index_missing(&system->object_of, n->object_id, 1) : 0;
    pages += n->frames > 0 ? reverse_missing(system, n->frames) : 0;
    pages += n->index != NULL ? page_index_missing(n->index, n->first, n->pages) : 0;
    return pages;
}

enum status aspaces_reserve(struct aspaces *system, const struct aspace_needs *needs)
{
    const size_t before = system->reserved;
    enum status s = needs->arena != NULL ? arena_reserve_for(needs->arena, needs->operations) : STATUS_OK;
    size_t wanted = before + count(system, needs);
    while (s == STATUS_OK && system->stock.count < wanted) {
        s = stock_ensure(&system->stock, wanted);
        wanted = before + count(system, needs);
    }
    system->reserved = s == STATUS_OK ? wanted : before;
    return s;
}
