/*
 * Who has which addresses: a private arena for each space, one global arena for all objects.
 *
 * Private: a range of the arena for each request, guards included. What is given up may be any part of it, and may lie
 * over several ranges that are one mapping: only the two at its ends are cut, those between go whole and take no node.
 *
 * Global: a range for all pages of an object, with the object's id as its kind: so an address tells whose it is, and an
 * object whose page was given back is not taken for the owner of what somebody else has there now. The address of a
 * page goes with its frame. That may take a node; if there is none to be had, the object keeps the addresses until it
 * ends: unmapping and destroying need no memory, and addresses are plenty.
 */
#include "arch/layout.h"
#include "arch/paging.h"
#include "aspace/mapping.h"

enum { GUARD_PAGES = 1, KIND_PRIVATE = 0 };

static uint64_t guard_pages(unsigned flags, unsigned which) { return (flags & which) != 0 ? GUARD_PAGES : 0; }

static vaddr_t range_end(const struct arena_range *r) { return vaddr_add_pages(r->base, r->pages.v); }

/* ---- Private ---- */

static enum status make_arena(struct aspace *space)
{
    struct aspaces *system = space->system;
    static_assert(sizeof(struct arena) <= PAGE_BYTES, "a page of stock holds an arena");
    const struct aspace_needs page = {.stock = 1};
    enum status s = aspaces_reserve(system, &page);
    if (s != STATUS_OK) {
        return s;
    }
    struct arena *a = stock_take(&system->stock);
    system->reserved--;
    s = arena_init_shared(a, vaddr(LAYOUT_USER_FIRST), vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)), &system->nodes);
    if (s == STATUS_OK) {
        space->arena = a;
        system->arenas++;
    } else {
        stock_put(&system->stock, a);
    }
    return s;
}

enum status addresses_ready(struct aspace *space, unsigned operations)
{
    enum status s = space->arena == NULL ? make_arena(space) : STATUS_OK;
    return s == STATUS_OK ? arena_reserve_for(space->arena, operations) : s;
}

/* The range for all of it: `pages` between guards, above the room. */
static struct arena_request request_of(const struct aspace_request *r, npages_t pages, unsigned kind)
{
    const uint64_t below = guard_pages(r->flags, ASPACE_GUARD_BELOW) + r->room.v;
    const uint64_t above = guard_pages(r->flags, ASPACE_GUARD_ABOVE);
    return (struct arena_request){
        .pages = npages(below + pages.v + above),
        .align_log2 = r->align_log2 != 0 ? r->align_log2 : ARENA_ALIGN_PAGE,
        .lead = npages(below),
        .tag = r->tag,
        .kind = kind,
        .best_fit = (r->flags & ASPACE_BEST_FIT) != 0,
    };
}

enum status addresses_take(struct aspace *space, const struct aspace_request *request, vaddr_t *va)
{
    const struct arena_request r = request_of(request, request->pages, KIND_PRIVATE);
    vaddr_t range;
    if ((request->flags & ASPACE_AT) != 0) {
        range = vaddr(request->va.v - pages_to_bytes(r.lead));
        *va = request->va;
        return arena_alloc_at(space->arena, range, r.pages, r.tag);
    }
    const enum status s = arena_request(space->arena, &r, &range);
    if (s == STATUS_OK) {
        *va = vaddr_add_pages(range, r.lead.v);
    }
    return s;
}

/* The used range that holds `va`. */
static struct arena_range used_at(const struct arena *a, vaddr_t va)
{
    struct arena_range r = {0};
    const bool is_used = arena_find(a, va, &r) && r.tag != NULL;
    ASSERT(is_used);
    (void)is_used;
    return r;
}

unsigned addresses_cuts(const struct aspace *space, vaddr_t va, npages_t pages)
{
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    const struct arena_range first = used_at(space->arena, va),
                             last = used_at(space->arena, vaddr_add_pages(va, pages.v - 1));
    return (first.base.v < va.v ? 1U : 0U) + (range_end(&last).v > end.v ? 1U : 0U);
}

/* What of a used range lies in [va, end) goes. */
static enum status free_within(struct arena *a, const struct arena_range *r, vaddr_t va, vaddr_t end)
{
    const vaddr_t from = r->base.v > va.v ? r->base : va, to = range_end(r).v < end.v ? range_end(r) : end;
    const npages_t pages = bytes_to_pages_down(to.v - from.v);
    return pages.v == r->pages.v ? arena_free(a, r->base) : arena_free_part(a, from, pages);
}

void addresses_give(struct aspace *space, vaddr_t va, npages_t pages)
{
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    while (va.v < end.v) {
        const struct arena_range r = used_at(space->arena, va);
        must(free_within(space->arena, &r, va, end)); /* it is the arena's, and used */
        va = range_end(&r);
    }
}

/* ---- Global ---- */

enum status addresses_place(struct object *object, const struct aspace_request *request)
{
    const struct arena_request r = request_of(request, object->pages, object->id);
    vaddr_t range;
    const enum status s = arena_request(&object->system->global, &r, &range);
    if (s == STATUS_OK) {
        object->global = vaddr_add_pages(range, r.lead.v);
        object->global_pages = object->pages;
        object->guards = request->flags & (ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE);
    }
    return s;
}

enum status addresses_place_slot(struct object *object, const char *tag)
{
    const npages_t pages = bytes_to_pages_down(level_span_bytes(3));
    const struct arena_request r = {.pages = pages,
                                    .align_log2 = (unsigned)__builtin_ctzll(level_span_bytes(3)),
                                    .tag = tag,
                                    .kind = object->id};
    const enum status s = arena_request(&object->system->global, &r, &object->global);
    object->global_pages = s == STATUS_OK ? pages : npages(0);
    return s;
}

/* The range that holds `va`, if it is (still) the object's. */
static bool find_its(const struct object *object, vaddr_t va, struct arena_range *r)
{
    return arena_find(&object->system->global, va, r) && r->tag != NULL && r->kind == object->id;
}

bool addresses_are_there(const struct object *object, uint64_t first, npages_t pages)
{
    if (object->global.v == 0 || first + pages.v > object->global_pages.v) {
        return false;
    }
    vaddr_t va = vaddr_add_pages(object->global, first);
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    struct arena_range r;
    while (va.v < end.v && find_its(object, va, &r)) {
        va = range_end(&r);
    }
    return va.v >= end.v;
}

/* Of [va, end), what is the object's. */
static void give_between(struct object *object, vaddr_t va, vaddr_t end)
{
    struct arena *a = &object->system->global;
    while (va.v < end.v) {
        struct arena_range r;
        if (!arena_find(a, va, &r)) {
            return;
        }
        const vaddr_t next = range_end(&r);
        if (r.tag != NULL && r.kind == object->id) {
            const enum status s = free_within(a, &r, va, end);
            object->keeps_addresses = object->keeps_addresses || s != STATUS_OK;
        }
        va = next;
    }
}

void addresses_give_pages(struct object *object, uint64_t first, npages_t pages)
{
    uint64_t end = first + pages.v;
    if (object->global.v == 0 || first >= object->global_pages.v) {
        return;
    }
    end = end < object->global_pages.v ? end : object->global_pages.v;
    const uint64_t below = first == 0 ? guard_pages(object->guards, ASPACE_GUARD_BELOW) : 0;
    const uint64_t above = end == object->global_pages.v ? guard_pages(object->guards, ASPACE_GUARD_ABOVE) : 0;
    const vaddr_t va = vaddr_add_pages(object->global, first);
    give_between(object, vaddr(va.v - pages_to_bytes(npages(below))), vaddr_add_pages(va, end - first + above));
}

void addresses_give_all(struct object *object)
{
    addresses_give_pages(object, 0, object->global_pages);
    object->global = vaddr(0);
    object->global_pages = npages(0);
}
