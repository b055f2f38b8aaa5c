/*
 * A new range: arguments, all that it may take, addresses, limits, tables, and then what cannot fail. Each step until
 * then can be taken back without memory.
 */
#include "arch/layout.h"
#include "aspace/mapping.h"
#include "lib/report.h"

enum {
    KNOWN_FLAGS = ASPACE_GLOBAL | ASPACE_AT | ASPACE_PRIVATE | ASPACE_POPULATE | ASPACE_GUARD_BELOW |
                  ASPACE_GUARD_ABOVE | ASPACE_STACK | ASPACE_WRITE_EXECUTE | ASPACE_FAULT_AROUND | ASPACE_BEST_FIT,
    NOT_GLOBAL_FLAGS = ASPACE_AT | ASPACE_PRIVATE | ASPACE_WRITE_EXECUTE,
    KEPT_FLAGS = KNOWN_FLAGS & ~(ASPACE_AT | ASPACE_POPULATE | ASPACE_BEST_FIT),
    GUARDS = ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE,
};

/* The request, with what it implies. */
struct wanted {
    struct aspace_request r;
    bool is_global, is_fresh;  /* fresh: an object is made for it */
    unsigned guards;           /* that lie beside the mapping */
};

static enum status check_flags(const struct aspace_request *r)
{
    const bool is_global = (r->flags & ASPACE_GLOBAL) != 0, is_at = (r->flags & ASPACE_AT) != 0;
    if ((r->flags & ~(unsigned)KNOWN_FLAGS) != 0 || (is_global && (r->flags & NOT_GLOBAL_FLAGS) != 0) ||
        (is_at && (r->flags & ASPACE_BEST_FIT) != 0) || ((r->flags & ASPACE_PRIVATE) != 0 && r->object == NULL)) {
        return STATUS_INVALID;
    }
    const bool has_room = (r->flags & ASPACE_STACK) != 0 && !is_global && r->object == NULL;
    if (r->room.v > (has_room ? UINT32_MAX : 0)) {
        return STATUS_INVALID;
    }
    const bool is_aligned = r->align_log2 == 0 ||
                            (r->align_log2 >= ARENA_ALIGN_PAGE && r->align_log2 <= ARENA_ALIGN_MAX);
    return is_aligned ? STATUS_OK : STATUS_INVALID;
}

static enum status check_rights(struct aspace_request *r)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    r->allowed = r->allowed != 0 ? r->allowed : r->rights;
    enum status s = rights_check(&r->rights);
    s = s == STATUS_OK ? rights_check(&r->allowed) : s;
    const bool is_odd = (r->rights & both) == both && (r->flags & ASPACE_WRITE_EXECUTE) == 0;
    return s == STATUS_OK && (is_odd || (r->rights & ~r->allowed) != 0) ? STATUS_INVALID : s;
}

/* ASPACE_AT: the range with its guards and room. */
static enum status check_place(const struct aspace_request *r)
{
    const uint64_t align = r->align_log2 != 0 ? 1ULL << r->align_log2 : PAGE_BYTES;
    enum status s = range_check(r->va, r->pages);
    if (s == STATUS_INVALID || (r->va.v & (align - 1)) != 0) {
        return STATUS_INVALID;
    }
    if (s != STATUS_OK || va_is_global(r->va)) {
        return STATUS_RANGE;
    }
    const uint64_t lead = ((r->flags & ASPACE_GUARD_BELOW) != 0 ? 1 : 0) + r->room.v;
    const bool is_below = bytes_to_pages_down(r->va.v - LAYOUT_USER_FIRST).v >= lead;
    const bool above = (r->flags & ASPACE_GUARD_ABOVE) != 0;
    const bool is_inside = is_below && (!above || !va_is_global(vaddr_add_pages(r->va, r->pages.v)));
    return is_inside ? STATUS_OK : STATUS_RANGE;
}

/* The part of an object. */
static enum status check_object(const struct aspace *space, const struct aspace_request *r)
{
    const struct object *object = r->object;
    if (object == NULL) {
        return r->first == 0 ? STATUS_OK : STATUS_INVALID;
    }
    if (object->system != space->system) {
        return misuse("aspace_map: object %p is not of the system of space %u", (const void *)object,
                      space->tables.id);
    }
    if (object->kind == OBJECT_PHYSICAL && (r->flags & ASPACE_PRIVATE) != 0) {
        return STATUS_UNSUPPORTED;
    }
    if (r->first + r->pages.v < r->first) {
        return STATUS_INVALID;
    }
    return r->first + r->pages.v <= object->pages.v ? STATUS_OK : STATUS_RANGE;
}

/* => OK, *w says what is wanted. */
static enum status check(const struct aspace *space, const struct aspace_request *request, struct wanted *w)
{
    if (request == NULL || request->tag == NULL || request->pages.v == 0 || request->pages.v > ASPACE_PAGES_MAX) {
        return STATUS_INVALID;
    }
    *w = (struct wanted){.r = *request, .is_global = (request->flags & ASPACE_GLOBAL) != 0};
    w->is_fresh = w->is_global && request->object == NULL;
    w->r.flags |= (w->r.flags & ASPACE_STACK) != 0 ? (unsigned)ASPACE_GUARD_BELOW : 0;
    w->guards = w->r.flags & GUARDS;
    enum status s = check_flags(&w->r);
    s = s == STATUS_OK ? check_rights(&w->r) : s;
    s = s == STATUS_OK ? check_object(space, &w->r) : s;
    return s == STATUS_OK && (w->r.flags & ASPACE_AT) != 0 ? check_place(&w->r) : s;
}

/* ---- Addresses ---- */

/* At the object's addresses: those it has, if it was placed before. */
static enum status place_again(const struct aspace *space, struct wanted *w, vaddr_t *va)
{
    const struct object *object = w->r.object;
    const uint64_t align = w->r.align_log2 != 0 ? 1ULL << w->r.align_log2 : PAGE_BYTES;
    const bool is_first = w->r.first == 0, is_last = w->r.first + w->r.pages.v == object->global_pages.v;
    const unsigned there = (is_first ? object->guards & ASPACE_GUARD_BELOW : 0U) |
                           (is_last ? object->guards & ASPACE_GUARD_ABOVE : 0U);
    *va = vaddr_add_pages(object->global, w->r.first);
    if (object->segment != NULL) {
        return STATUS_EXISTS; /* who has the segment has it there */
    }
    if ((w->guards & ~there) != 0 || (va->v & (align - 1)) != 0) {
        return STATUS_INVALID; /* what it has is not what is asked for */
    }
    if (w->r.first + w->r.pages.v > object->global_pages.v) {
        return STATUS_RANGE;
    }
    if (!addresses_are_there(object, w->r.first, w->r.pages)) {
        return STATUS_ABSENT;
    }
    return mapping_is_clear(space, *va, w->r.pages) ? STATUS_OK : STATUS_EXISTS;
}

static enum status place(struct aspace *space, struct wanted *w, vaddr_t *va)
{
    if (!w->is_global) {
        return addresses_take(space, &w->r, va);
    }
    if (w->r.object->global.v != 0) {
        return place_again(space, w, va);
    }
    const uint64_t align = w->r.align_log2 != 0 ? 1ULL << w->r.align_log2 : PAGE_BYTES;
    if ((pages_to_bytes(npages(w->r.first)) & (align - 1)) != 0) {
        return STATUS_INVALID; /* the object is aligned, and so is not what begins in its middle */
    }
    const enum status s = addresses_place(w->r.object, &w->r);
    *va = vaddr_add_pages(w->r.object->global, w->r.first);
    if (s == STATUS_OK && (w->r.first != 0 || w->r.pages.v != w->r.object->pages.v)) {
        w->guards &= (w->r.first == 0 ? ASPACE_GUARD_BELOW : 0U) |
                     (w->r.first + w->r.pages.v == w->r.object->pages.v ? ASPACE_GUARD_ABOVE : 0U);
    }
    return s;
}

/* Nothing is mapped there. `was_placed`: the object had its addresses before. */
static void give_up_place(struct aspace *space, const struct wanted *w, vaddr_t va, bool was_placed)
{
    if (w->is_global) {
        if (!was_placed) {
            addresses_give_all(w->r.object);
        }
        if (w->is_fresh) {
            object_release_uncovered(w->r.object, 0, w->r.pages);
        }
        return;
    }
    const uint64_t above = (w->guards & ASPACE_GUARD_ABOVE) != 0;
    const uint64_t below = ((w->guards & ASPACE_GUARD_BELOW) != 0) + w->r.room.v;
    addresses_give(space, vaddr(va.v - pages_to_bytes(npages(below))), npages(below + w->r.pages.v + above));
}

/* ---- The mapping ---- */

static struct mapping mapping_of(const struct wanted *w, vaddr_t va)
{
    return (struct mapping){
        .object = w->r.object,
        .first = w->r.first,
        .base = va,
        .pages = w->r.pages,
        .tag = w->r.tag,
        .flags = (uint16_t)((w->r.flags & KEPT_FLAGS & ~(unsigned)GUARDS) | w->guards),
        .rights = (uint16_t)w->r.rights,
        .allowed = (uint16_t)w->r.allowed,
        .room_pages = (uint32_t)w->r.room.v,
    };
}

/* With one range more, if it is not one with its neighbours. */
static enum status check_limits(const struct aspace *space, const struct mapping *m)
{
    struct mapping *above = mapping_from(space, m->base);
    const struct mapping *below = above != NULL ? mapping_previous(above)
                                                : mapping_by_address(avl_last(&space->mappings));
    size_t ranges = space->ranges + 1;
    ranges -= below != NULL && mapping_joins(below, m);
    ranges -= above != NULL && mapping_joins(m, above);
    struct giving_up looks = {0};
    const bool again = va_is_global(m->base) || mapping_is_private(m) ||
                       limits_allow_again(space, m->object, m->first, m->pages, NULL, &looks);
    return again && limits_allow(space, m->pages, ranges) ? STATUS_OK : STATUS_LIMIT;
}

/* At its address, with the pages that are wanted at once. => nothing changed but for OK */
static enum status enter(struct aspace *space, const struct wanted *w, vaddr_t va)
{
    const struct mapping values = mapping_of(w, va);
    enum status s = check_limits(space, &values);
    if (s == STATUS_OK && w->r.object != NULL && w->r.object->kind == OBJECT_PHYSICAL && w->r.rights != 0) {
        s = tables_map_physical(space, w->r.object, w->r.first, va, w->r.pages,
                                leaf_rights(w->r.rights));
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct mapping *m = mapping_add(space, &values);
    const bool is_physical = m->object != NULL && m->object->kind == OBJECT_PHYSICAL;
    if ((w->r.flags & ASPACE_POPULATE) != 0 && !is_physical) {
        s = tables_populate(m);
    }
    if (s == STATUS_OK) {
        (void)mapping_merge(m);
        return STATUS_OK;
    }
    mapping_remove(m);
    if (w->r.object != NULL && !w->is_fresh) { /* pages that came for it alone */
        object_release_uncovered(w->r.object, w->r.first, w->r.pages);
    }
    return s;
}

static enum status map(struct aspace *space, struct wanted *w, vaddr_t *va)
{
    struct aspaces *system = space->system;
    const struct aspace_needs needs = {
        .mappings = 1,
        .objects = w->is_fresh,
        .object_id = w->is_fresh ? object_next_id(system) : 0,
        .arena = w->is_global ? &system->global : NULL,
        .operations = 1,
    };
    enum status s = w->is_global ? STATUS_OK : addresses_ready(space, 1);
    s = s == STATUS_OK ? aspaces_reserve(system, &needs) : s;
    if (s != STATUS_OK) {
        return s;
    }
    if (w->is_fresh) {
        w->r.object = object_new(system, OBJECT_ANONYMOUS, w->r.pages);
    }
    const bool was_placed = w->is_global && w->r.object->global.v != 0;
    vaddr_t place_va;
    s = place(space, w, &place_va);
    if (s != STATUS_OK) {
        if (w->is_fresh) {
            object_release_uncovered(w->r.object, 0, w->r.pages);
        }
        return s;
    }
    s = enter(space, w, place_va);
    if (s == STATUS_OK) {
        *va = place_va;
        if (w->is_global && !was_placed && !w->is_fresh) { /* pages that nobody has need no address */
            object_release_uncovered(w->r.object, 0, w->r.object->pages);
        }
    } else {
        give_up_place(space, w, place_va, was_placed);
    }
    return s;
}

enum status aspace_map(struct aspace *space, const struct aspace_request *request, vaddr_t *va)
{
    enum status s = aspace_begin(space, "aspace_map");
    if (s != STATUS_OK) {
        return s;
    }
    struct wanted w;
    s = va == NULL ? STATUS_INVALID : check(space, request, &w);
    s = s == STATUS_OK ? map(space, &w, va) : s;
    aspaces_done(space->system);
    return s;
}
