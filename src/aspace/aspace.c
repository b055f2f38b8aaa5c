/*
 * Spaces: theory.
 *
 * 1. Two views of one thing. The mappings say what a space has a right to; page tables are what the CPU sees of it.
 *    Mappings are few and exact; tables are filled by faults, and what they hold of objects may be dropped at any time.
 *    Only private anonymous memory is in the tables alone: so clones can share it by sharing tables.
 *
 * 2. The order of every change (mapping.h names the steps):
 *      arguments        status, nothing else
 *      look             may it be done? How much does it take at most?
 *      reserve          records, nodes of arenas, pages of stock: may call who gives memory back, changes nothing
 *      page tables      the VMM's calls are all or nothing, and the last thing that can fail
 *      change           trees, counts, objects, addresses: cannot fail
 *    So a call that fails has changed nothing, and none has to be undone in the middle but a map, whose addresses and
 *    pages are nobody else's yet.
 *
 * 3. Memory. What is kept for a space is proportional to its mappings: a record each (mapping.c), and what its arena
 *    needs. An empty space costs its PML4 and a share of two pages of records; the arena of its private part, a page,
 *    comes with its first private range.
 *
 *    What a space leaves goes to the stock, and beyond STOCK_KEPT pages back to the VMM when it ends: memory that
 *    thousands of spaces took for their records is no longer taken when they are gone. What is kept is what a few
 *    spaces that come and go need, so that these do not fetch and give back pages each time.
 *
 * 4. One CPU, no lock: `busy` marks a call. What is called back from inside (pagers, visitors, low-memory callbacks)
 *    finds everything in order, but may change nothing: another call is refused.
 */
#include "aspace/aspace.h"

#include "arch/layout.h"
#include "aspace/segment_list.h"
#include "lib/report.h"

enum { STOCK_KEPT = 64, NODE_PAGES_KEPT = 8 };

/* ---- The system ---- */

/* A page for nodes of arenas: of the stock, beside what the call under way relies on. */
static void *more_nodes(void *ctx)
{
    struct aspaces *system = ctx;
    const uint64_t number = system->node_pages.count;
    const struct aspace_needs needs = {.stock = 1, .index = &system->node_pages, .first = number, .pages = 1};
    const size_t before = system->reserved;
    if (aspaces_reserve(system, &needs) != STATUS_OK) {
        return NULL;
    }
    void *page = stock_take(&system->stock);
    page_index_set(&system->node_pages, &system->stock, number, ptr_to_vaddr(page).v);
    system->reserved = before;
    return page;
}

/* The one zero frame, made if there is none. */
static enum status find_zero_frame(struct aspaces *system)
{
    struct vmm *vmm = system->vmm;
    enum status s = pmm_zero_frame(vmm->pmm, &system->zero);
    if (s != STATUS_ABSENT) {
        return s;
    }
    s = pmm_alloc(vmm->pmm, PMM_KERNEL, &system->zero);
    s = s == STATUS_OK ? frame_zero(vmm, system->zero) : s;
    return s == STATUS_OK ? pmm_zero_frame_set(vmm->pmm, system->zero) : s;
}

static enum status begin_arenas(struct aspaces *system)
{
    arena_reserve_init(&system->nodes, (struct arena_source){.ctx = system, .more = more_nodes});
    return arena_init_shared(&system->global, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)), vaddr(LAYOUT_USER_END),
                             &system->nodes);
}

/* All nodes go to the stock. */
static void end_arenas(struct aspaces *system)
{
    arena_end(&system->global);
    for (uint64_t i = 0, pages = system->node_pages.count; i < pages; i++) {
        stock_put(&system->stock, vaddr_to_ptr(vaddr(page_index_get(&system->node_pages, i))));
    }
    page_index_clear(&system->node_pages, &system->stock);
}

enum status aspaces_init(struct aspaces *system, struct vmm *vmm)
{
    *system = (struct aspaces){.vmm = vmm, .next_object = 1, .next_family = 1};
    stock_init(&system->stock, vmm);
    pool_init(&system->mappings, &system->stock, "mappings", sizeof(struct mapping));
    pool_init(&system->objects, &system->stock, "objects", sizeof(struct object));
    pool_init(&system->families, &system->stock, "families", sizeof(struct aspace_family));
    pool_init(&system->loans, &system->stock, "loans", sizeof(struct vmm_loan));
    pool_init(&system->segments, &system->stock, "segments", sizeof(struct segment));
    enum status s = find_zero_frame(system);
    s = s == STATUS_OK ? begin_arenas(system) : s;
    if (s != STATUS_OK) {
        (void)stock_trim(&system->stock, 0);
        system->vmm = NULL;
    }
    return s;
}

enum status aspaces_end(struct aspaces *system)
{
    struct aspace *tables = system != NULL ? &system->segment_tables : NULL;
    if (tables != NULL && system->first == tables && tables->next == NULL && system->objects.used == 0) {
        (void)!aspace_destroy(tables); /* nobody has a segment: it is empty */
    }
    if (system == NULL || system->vmm == NULL || system->first != NULL || system->objects.used != 0) {
        return misuse("aspaces_end: space %u is there, and %lu objects",
                      system != NULL && system->first != NULL ? system->first->tables.id : 0,
                      system != NULL ? system->objects.used : 0);
    }
    end_arenas(system);
    page_index_clear(&system->used_for, &system->stock);
    page_index_clear(&system->object_of, &system->stock);
    page_index_clear(&system->family_of, &system->stock);
    struct pool *pools[] = {&system->mappings, &system->objects, &system->families, &system->loans,
                            &system->segments};
    for (unsigned i = 0; i < ARRAY_LEN(pools); i++) {
        (void)pool_trim(pools[i]);
    }
    (void)stock_trim(&system->stock, 0);
    system->vmm = NULL;
    return STATUS_OK;
}

/* ---- Spaces ---- */

enum status aspace_create(struct aspaces *system, struct aspace *space, struct aspace_limits limits)
{
    enum status s = aspaces_begin(system, "aspace_create");
    if (s != STATUS_OK) {
        return s;
    }
    const struct aspace_needs needs = {.stock = family_missing(system)};
    s = space == NULL ? misuse("aspace_create: no struct to make a space of") : aspaces_reserve(system, &needs);
    s = s == STATUS_OK ? space_create(system->vmm, &space->tables) : s;
    if (s == STATUS_OK) {
        const struct space tables = space->tables;
        *space = (struct aspace){.tables = tables, .system = system, .limits = limits, .next = system->first};
        if (system->first != NULL) {
            system->first->previous = space;
        }
        system->first = space;
        family_begin(space);
    }
    aspaces_done(system);
    return s;
}

/* Nothing of it is in any table any more. */
static void forget(struct aspace *space)
{
    struct aspaces *system = space->system;
    for (struct avl_node *n; (n = avl_first(&space->mappings)) != NULL;) {
        struct mapping *m = mapping_by_address(n);
        struct object *object = m->object;
        const uint64_t first = m->first;
        const npages_t pages = m->pages;
        mapping_remove(m);
        if (object != NULL) {
            object_release_uncovered(object, first, pages);
        }
    }
    if (space->arena != NULL) {
        arena_end(space->arena);
        stock_put(&system->stock, space->arena);
        system->arenas--;
    }
    family_leave(space);
    *(space->previous != NULL ? &space->previous->next : &system->first) = space->next;
    if (space->next != NULL) {
        space->next->previous = space->previous;
    }
}

static enum status destroy(struct aspace *space)
{
    struct aspaces *system = space->system;
    if (space->tables.cpus.mask != 0) {
        return misuse("aspace_destroy: space %u is current", space->tables.id);
    }
    const enum status left = segments_leave(space);
    gifts_pass_all(space);
    enum status s = loans_end(space, vaddr(LAYOUT_USER_FIRST),
                              bytes_to_pages_down(LAYOUT_USER_END - LAYOUT_USER_FIRST));
    s = s == STATUS_OK ? space_destroy(system->vmm, &space->tables) : s;
    if (s == STATUS_MISUSE) {
        return s;
    }
    forget(space);
    space->system = NULL;
    return s == STATUS_OK ? left : s;
}

/*
 * Nodes lie anywhere in their pages: these can go when no arena has a range. What a new one takes is in stock then.
 */
static void give_back(struct aspaces *system)
{
    system->reserved = 0; /* the call is over */
    if (system->arenas == 0 && system->global.used.v == 0 && system->node_pages.count > NODE_PAGES_KEPT) {
        end_arenas(system);
        must(begin_arenas(system));
    }
    (void)stock_trim(&system->stock, STOCK_KEPT);
}

enum status aspace_destroy(struct aspace *space)
{
    enum status s = aspace_begin(space, "aspace_destroy");
    if (s == STATUS_OK) {
        struct aspaces *system = space->system;
        s = destroy(space);
        give_back(system);
        aspaces_done(system);
    }
    return s;
}

enum status aspace_set_limits(struct aspace *space, struct aspace_limits limits)
{
    enum status s = aspace_begin(space, "aspace_set_limits");
    if (s != STATUS_OK) {
        return s;
    }
    if ((limits.pages.v != 0 && space->pages.v > limits.pages.v) ||
        (limits.ranges != 0 && space->ranges > limits.ranges)) {
        s = STATUS_LIMIT;
    } else {
        space->limits = limits;
    }
    aspaces_done(space->system);
    return s;
}
