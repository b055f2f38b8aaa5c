/*
 * The validator: ASPACE-I1..I9. First what everything else rests on (records and indexes), then the trees against the
 * arenas and the objects, then page tables against the mappings (tables_check.c).
 */
#include "arch/layout.h"
#include "aspace/check.h"
#include "aspace/segment_list.h"

enum { COMPLAINTS_MAX = 16 }; /* said in full; more are only counted */

void space_complain(struct space_checker *k, const char *format, ...)
{
    if (k->complaints++ < COMPLAINTS_MAX && k->out != NULL) {
        va_list args;
        va_start(args, format);
        if (k->space != NULL) {
            sink_printf(k->out, "space %u: ", k->space->tables.id);
        }
        sink_vprintf(k->out, format, args);
        sink_printf(k->out, "\n");
        va_end(args);
    }
}

void space_check_objects(struct space_checker *k, void (*act)(struct space_checker *k, const struct object *object))
{
    const struct page_index *index = &k->system->object_of;
    const uint64_t end = 1ULL << 32;
    for (uint64_t id = page_index_next(index, 0, end); id < end; id = page_index_next(index, id + 1, end)) {
        act(k, vaddr_to_ptr(vaddr(page_index_get(index, id))));
    }
}

/* ---- ASPACE-I8 ---- */

static void check_stock(struct space_checker *k)
{
    const struct stock *stock = &k->system->stock;
    size_t count = 0;
    for (const void *page = stock->pages; page != NULL && count <= stock->count; page = *(void *const *)page) {
        count++;
    }
    if (count != stock->count) {
        space_complain(k, "ASPACE-I8: the stock has another number of pages than the %lu that it counts",
                       stock->count);
    }
}

static void check_indexes_of_object(struct space_checker *k, const struct object *object)
{
    if (page_index_check(&object->frames, k->out) != STATUS_OK) {
        space_complain(k, "ASPACE-I8: the index of the pages of object %u", object->id);
    }
}

static void check_memory(struct space_checker *k)
{
    const struct aspaces *system = k->system;
    const struct pool *const pools[] = {&system->mappings, &system->objects, &system->families, &system->loans,
                                         &system->segments};
    const struct page_index *const indexes[] = {&system->object_of, &system->family_of, &system->used_for,
                                                &system->node_pages, &system->slots};
    for (unsigned i = 0; i < ARRAY_LEN(pools); i++) {
        if (pool_check(pools[i], k->out) != STATUS_OK) {
            space_complain(k, "ASPACE-I8: the pool of %s", pools[i]->name);
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(indexes); i++) {
        if (page_index_check(indexes[i], k->out) != STATUS_OK) {
            space_complain(k, "ASPACE-I8: index %u of the system", i);
        }
    }
    if (system->objects.used != system->object_of.count || system->families.used != system->family_of.count) {
        space_complain(k, "ASPACE-I8: %lu objects of which %lu have an id, %lu families of which %lu have one",
                       system->objects.used, system->object_of.count, system->families.used, system->family_of.count);
    }
    check_stock(k);
}

/* ---- ASPACE-I1, I2, I5: one space ---- */

/* Is it in its object's tree? */
static bool is_in_tree(const struct mapping *m)
{
    const struct avl_node *n = &m->by_page;
    while (n->parent != NULL) {
        n = n->parent;
    }
    return m->object->mappings.root == n;
}

static void check_mapping(struct space_checker *k, const struct mapping *m, const struct mapping *next)
{
    const uint64_t end = mapping_end(m);
    if (range_check(m->base, m->pages) != STATUS_OK || m->space != k->space ||
        (next != NULL && next->base.v < end)) {
        space_complain(k, "ASPACE-I1: %lu pages at %#lx, the next ones at %#lx", m->pages.v, m->base.v,
                       next != NULL ? next->base.v : 0);
    }
    if (m->object != NULL && !is_in_tree(m)) {
        space_complain(k, "ASPACE-I2: %#lx is not in the tree of its object", m->base.v);
    }
    if (next != NULL && mapping_joins(m, next)) {
        space_complain(k, "ASPACE-I2: %#lx and %#lx could be one", m->base.v, next->base.v);
    }
    if (va_is_global(m->base) && (m->object == NULL || m->object->global.v == 0 ||
                                  m->base.v != vaddr_add_pages(m->object->global, m->first).v ||
                                  !addresses_are_there(m->object, m->first, m->pages))) {
        space_complain(k, "ASPACE-I1: %#lx is not the address of an object's page", m->base.v);
    }
}

/* The private ranges with guards and room: all of it in use in the arena. => pages */
static uint64_t check_addresses(struct space_checker *k, const struct mapping *m)
{
    vaddr_t va = vaddr(m->base.v - pages_to_bytes(mapping_lead(m)));
    const vaddr_t first = va, end = vaddr_add_pages(vaddr(mapping_end(m)), mapping_trail(m).v);
    struct arena_range r;
    while (va.v < end.v && k->space->arena != NULL && arena_find(k->space->arena, va, &r) && r.tag != NULL) {
        va = vaddr_add_pages(r.base, r.pages.v);
    }
    if (va.v < end.v) {
        space_complain(k, "ASPACE-I1: %#lx is mapped, or a guard, and free in the arena", va.v);
    }
    return bytes_to_pages_down(end.v - first.v).v;
}

static void check_space(struct space_checker *k)
{
    const struct aspace *space = k->space;
    uint64_t pages = 0, private_pages = 0;
    size_t ranges = 0;
    if (!avl_is_sound(&space->mappings)) {
        space_complain(k, "ASPACE-I1: the tree of mappings is broken");
        return;
    }
    for (const struct mapping *m = mapping_by_address(avl_first(&space->mappings)); m != NULL; m = mapping_next(m)) {
        check_mapping(k, m, mapping_next(m));
        private_pages += va_is_global(m->base) ? 0 : check_addresses(k, m);
        pages += m->pages.v;
        ranges++;
        k->of_objects += m->object != NULL;
    }
    k->mappings += ranges;
    segment_count_for(k, &ranges, &pages);
    if (private_pages != (space->arena != NULL ? space->arena->used.v : 0)) {
        space_complain(k, "ASPACE-I1: %lu pages of the private part are mapped or guards, the arena has %lu in use",
                       private_pages, space->arena != NULL ? space->arena->used.v : 0);
    }
    if (space->arena != NULL && arena_check(space->arena, k->out) != STATUS_OK) {
        space_complain(k, "ASPACE-I1: its arena");
    }
    if (!space->system->busy && (space->marks != 0 || space->next_giver != NULL)) {
        space_complain(k, "ASPACE-I8: marks of a withdrawal (%#x) though none is under way", space->marks);
    }
    const struct aspace_limits *l = &space->limits;
    if (pages != space->pages.v || ranges != space->ranges || (l->pages.v != 0 && pages > l->pages.v)) {
        space_complain(k, "ASPACE-I5: %lu pages in %lu ranges were found, counted are %lu in %lu, at most %lu", pages,
                       ranges, space->pages.v, space->ranges, l->pages.v);
    }
}

/* ---- ASPACE-I1, I2: objects and the global arena ---- */

static void check_object(struct space_checker *k, const struct object *object)
{
    unsigned count = 0;
    uint64_t at = 0;
    if (!avl_is_sound(&object->mappings)) {
        space_complain(k, "ASPACE-I2: the tree of object %u is broken", object->id);
        return;
    }
    struct avl_node *n = avl_first(&object->mappings);
    for (; n != NULL; n = avl_next(n), count++) {
        const struct mapping *m = mapping_by_page(n);
        uint64_t reach = m->first + m->pages.v;
        for (unsigned side = AVL_LEFT; side <= AVL_RIGHT; side++) {
            const struct mapping *child = mapping_by_page(avl_child(n, side));
            reach = child != NULL && child->reach > reach ? child->reach : reach;
        }
        if (m->object != object || m->first < at || m->reach != reach) {
            space_complain(k, "ASPACE-I2: object %u has %#lx of space %u at page %lu", object->id, m->base.v,
                           m->space->tables.id, m->first);
        }
        at = m->first;
        k->of_objects--;
    }
    if (count != object->mapping_count || (count == 0 && object->holders == 0)) {
        space_complain(k, "ASPACE-I2: object %u, with %u holders, has %u mappings and counts %u", object->id,
                       object->holders, count, object->mapping_count);
    }
}

/* A used range of the global arena: pages of an object that somebody maps, or holds, and their guards. */
static bool check_global(void *ctx, const struct arena_range *r)
{
    struct space_checker *k = ctx;
    const struct object *object = vaddr_to_ptr(vaddr(page_index_get(&k->system->object_of, r->kind)));
    const vaddr_t end = vaddr_add_pages(r->base, r->pages.v);
    if (object == NULL || object->global.v == 0) {
        space_complain(k, "ASPACE-I1: %lu global addresses at %#lx are object %u's, which has none", r->pages.v,
                       r->base.v, r->kind);
        return true;
    }
    const uint64_t guard = pages_to_bytes(npages(1));
    const vaddr_t last = vaddr_add_pages(object->global, object->global_pages.v);
    const uint64_t below = (object->guards & ASPACE_GUARD_BELOW) != 0 ? guard : 0,
                   above = (object->guards & ASPACE_GUARD_ABOVE) != 0 ? guard : 0;
    if (r->base.v < object->global.v - below || end.v > last.v + above) {
        space_complain(k, "ASPACE-I1: the global addresses at %#lx are not those of object %u", r->base.v, object->id);
        return true;
    }
    const uint64_t from = r->base.v > object->global.v ? r->base.v : object->global.v,
                   to = end.v < last.v ? end.v : last.v;
    uint64_t gap = bytes_to_pages_down(from - object->global.v).v, gap_end;
    const bool may_be_free = object->holders > 0 || object->keeps_addresses;
    if (!may_be_free && object_gap(object, &gap, bytes_to_pages_down(to - object->global.v).v, &gap_end)) {
        space_complain(k, "ASPACE-I1: the global address of page %lu of object %u is kept, and nobody maps it", gap,
                       object->id);
    }
    return true;
}

enum status aspaces_check(struct aspaces *system, struct sink *out)
{
    struct space_checker k = {.system = system, .out = out};
    check_memory(&k);
    space_check_objects(&k, check_indexes_of_object);
    segment_check_all(&k);
    if (k.complaints > 0) {
        return STATUS_CORRUPT; /* all the rest would be read through these */
    }
    for (k.space = system->first; k.space != NULL; k.space = k.space->next) {
        check_space(&k);
    }
    if (k.mappings != system->mappings.used) {
        space_complain(&k, "ASPACE-I8: %lu mappings are in spaces, %lu in the pool", k.mappings,
                       system->mappings.used);
    }
    space_check_objects(&k, check_object);
    if (k.of_objects != 0) {
        space_complain(&k, "ASPACE-I2: mappings of objects, less those in the objects' trees: %ld",
                       (long)k.of_objects);
    }
    if (arena_check(&system->global, out) != STATUS_OK) {
        space_complain(&k, "ASPACE-I1: the global arena");
    }
    arena_visit(&system->global, check_global, &k);
    if (k.complaints == 0) {
        space_check_tables(&k);
    }
    if (k.complaints > COMPLAINTS_MAX && out != NULL) {
        sink_printf(out, "and %u complaints more\n", k.complaints - COMPLAINTS_MAX);
    }
    return k.complaints == 0 ? STATUS_OK : STATUS_CORRUPT;
}
