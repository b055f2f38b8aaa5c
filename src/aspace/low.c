/*
 * Memory is short: what the spaces can have again.
 *
 * In order of cost: stock that no call under way relies on; page tables that are kept empty; pages of paged objects
 * that no leaf shows and nobody was ever allowed to write to, since their pager can bring them again.
 *
 * All of it is safe in the middle of any call: no mapping changes, no table that holds a page goes, and the page that
 * the call has asked for last is left alone (aspaces.recent). Anonymous pages are never taken: there is nowhere to put
 * them.
 */
#include "aspace/mapping.h"
#include "pmm/pmm.h"

/* Objects looked at in one call, and pages of them: a callback must not take for ever. */
enum { OBJECTS_MAX = 64, PAGES_MAX = 4000 };

/* Every space gives its empty page tables back. */
static npages_t free_empty_tables_of_all(struct aspaces *system)
{
    uint64_t before = 0, after = 0;
    for (struct aspace *space = system->first; space != NULL; space = space->next) {
        if (space->tables.keeps_tables) {
            before += space->tables.tables.v;
            (void)!space_keep_tables(system->vmm, &space->tables, false);
            (void)!space_keep_tables(system->vmm, &space->tables, true);
            after += space->tables.tables.v;
        }
    }
    return npages(before - after);
}

/* Pages that only the object has. */
static npages_t drop_clean(struct object *object, npages_t wanted, unsigned *looks)
{
    npages_t dropped = npages(0);
    uint64_t page = object_next_resident(object, 0, object->pages.v);
    for (; page < object->pages.v && dropped.v < wanted.v && *looks > 0; (*looks)--) {
        const pfn_t frame = object_resident(object, page);
        const bool is_alone = pmm_query(object->system->vmm->pmm, frame).references == 1;
        const uint64_t next = object_next_resident(object, page + 1, object->pages.v);
        if (is_alone && frame.v != object->system->recent.v) {
            object_drop_pages(object, page, npages(1));
            dropped.v++;
        }
        page = next;
    }
    return dropped;
}

static npages_t drop_clean_of_all(struct aspaces *system, npages_t wanted)
{
    const uint64_t end = 1ULL << ASPACE_ID_BITS;
    npages_t dropped = npages(0);
    unsigned looks = PAGES_MAX, objects = OBJECTS_MAX;
    uint64_t id = page_index_next(&system->object_of, system->reclaim_next, end);
    for (; id < end && objects > 0 && looks > 0 && dropped.v < wanted.v; objects--) {
        struct object *object = (void *)(uintptr_t)page_index_get(&system->object_of, id);
        if (object->kind == OBJECT_PAGED && !object->is_written) {
            dropped.v += drop_clean(object, npages(wanted.v - dropped.v), &looks).v;
        }
        id = page_index_next(&system->object_of, id + 1, end);
    }
    system->reclaim_next = id < end ? (unsigned)id : 1;
    return dropped;
}

npages_t aspaces_reclaim(struct aspaces *system, npages_t wanted)
{
    npages_t freed = npages(0);
    if (system == NULL || system->vmm == NULL) {
        return freed;
    }
    const bool may_edit = system->vmm->editing == NULL; /* nor does a visitor ask */
    if (may_edit) {
        freed.v += stock_trim(&system->stock, system->reserved);
    }
    if (may_edit && freed.v < wanted.v) {
        freed.v += free_empty_tables_of_all(system).v;
    }
    if (freed.v < wanted.v) {
        freed.v += drop_clean_of_all(system, npages(wanted.v - freed.v)).v;
    }
    return freed;
}
