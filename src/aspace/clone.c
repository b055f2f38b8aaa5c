/*
 * A new space with all that another one has.
 *
 * Mappings are copied, a record each, with guards and seals. What is behind them:
 *
 *   private  is shared for copy on write, by whole tables (vmm_clone): of each part of 2 MiB that has any, both spaces
 *            get the same table, read-only; who writes first copies that table, and then the page. So the cost goes by
 *            tables, not by pages, and no frame is touched. It is right because private pages are in the tables only,
 *            and say all there is to know.
 *   shared   stays what the object says: nothing is copied, faults fill the child's tables. In a part where both kinds
 *            lie, shared pages are first dropped from the parent's tables: a copied table would take them for private
 *            ones. They come back by faults, once the part's table has been made the space's own.
 *   devices  are mapped whole, as always.
 *
 * The child stands below the parent in what was given (gifts.c): who shared with the parent, and the parent, can take
 * back from the child what is shared.
 *
 * When memory runs out, the child is destroyed; the parent is left with tables that say read-only where nobody shares
 * them any more: the next write there takes them in place.
 *
 * Rejected: a list of shadow objects, one more for each clone, that a fault walks (Mach): its length is what it costs;
 * leaf by leaf, as most kernels do: a page then costs a load, two stores and a reference.
 */
#include "aspace/loans.h"
#include "aspace/segment_list.h"

#include "arch/layout.h"
#include "lib/report.h"

struct clone {
    struct aspace *parent, *child;
    aspace_keep_fn *global;
    void *ctx;
    enum status status;
};

/* ---- Addresses and mappings ---- */

static bool count_range(void *ctx, const struct arena_range *range)
{
    (void)range;
    ++*(unsigned *)ctx;
    return true;
}

static bool copy_range(void *ctx, const struct arena_range *range)
{
    struct clone *k = ctx;
    k->status = arena_alloc_at(k->child->arena, range->base, range->pages, range->tag);
    return k->status == STATUS_OK;
}

static enum status copy_addresses(struct clone *k)
{
    unsigned ranges = 0;
    if (k->parent->arena == NULL) {
        return STATUS_OK;
    }
    arena_visit(k->parent->arena, count_range, &ranges);
    k->status = addresses_ready(k->child, ranges);
    if (k->status == STATUS_OK) {
        arena_visit(k->parent->arena, copy_range, k);
    }
    return k->status;
}

/* The rights of a range of the global part, of which the parent `has` so many; 0: left out. => OK; INVALID; DENIED */
static enum status ask(const struct clone *k, vaddr_t base, npages_t pages, unsigned has, unsigned *rights)
{
    *rights = k->global != NULL ? k->global(k->ctx, base, pages, has) : 0;
    const enum status s = rights_check(rights);
    return s == STATUS_OK && (*rights & ~has) != 0 ? STATUS_DENIED : s;
}

static enum status copy_mappings(struct clone *k)
{
    const struct aspace_needs needs = {.mappings = k->parent->ranges};
    enum status s = aspaces_reserve(k->parent->system, &needs);
    const struct mapping *m = mapping_by_address(avl_first(&k->parent->mappings));
    for (; m != NULL && s == STATUS_OK; m = mapping_next(m)) {
        struct mapping values = *m;
        if (!mapping_is_private(m)) {
            values.giver = k->parent->tables.id;
            values.is_anyones = false;
            k->parent->gives = true;
        }
        if (va_is_global(m->base)) {
            unsigned rights;
            s = ask(k, m->base, m->pages, m->rights, &rights);
            values.rights = values.allowed = (uint16_t)rights;
            if (s != STATUS_OK || rights == 0) {
                continue;
            }
        }
        (void)mapping_merge(mapping_add(k->child, &values));
    }
    return s;
}

/* The child is in the lists of those of its parent's segments that it is to have. */
static enum status copy_segments(const struct clone *k)
{
    enum status s = STATUS_OK;
    const struct vmm_loan *link = segment_link_first(k->parent);
    for (; link != NULL && s == STATUS_OK; link = segment_link_next(link)) {
        struct segment *segment = segment_at(k->parent->system, link->to);
        const unsigned has = segment_rights(segment, k->parent);
        unsigned rights;
        s = ask(k, link->to, segment->object->pages, has, &rights);
        s = s == STATUS_OK && ((rights ^ has) & VMM_USER) != 0 && rights != 0 ? STATUS_INVALID : s;
        s = s == STATUS_OK && rights != 0 ? segment_enter(segment, k->child, rights) : s;
    }
    return s;
}

/* ---- Tables ---- */

/* Whole parts of 2 MiB. */
struct parts {
    uint64_t first, end;
};

static struct parts parts_of(const struct mapping *m)
{
    const uint64_t part = level_span_bytes(2);
    return (struct parts){m->base.v & ~(part - 1), (mapping_end(m) + part - 1) & ~(part - 1)};
}

/* Shared pages leave the parent's tables there. => OK; CORRUPT */
static enum status drop_shared_in(struct aspace *space, struct parts p)
{
    enum status s = STATUS_OK;
    const struct mapping *m = mapping_from(space, vaddr(p.first));
    for (; m != NULL && m->base.v < p.end && s == STATUS_OK; m = mapping_next(m)) {
        const uint64_t from = m->base.v > p.first ? m->base.v : p.first;
        const uint64_t end = mapping_end(m) < p.end ? mapping_end(m) : p.end;
        if (!mapping_is_private(m)) {
            s = tables_drop_shared(space, vaddr(from), bytes_to_pages_down(end - from));
        }
    }
    return s;
}

/* => OK; as vmm_clone */
static enum status share_tables_of(const struct clone *k, struct parts p)
{
    enum status s = drop_shared_in(k->parent, p);
    if (s == STATUS_OK) {
        s = vmm_clone(k->parent->system->vmm, &k->parent->tables, &k->child->tables, vaddr(p.first),
                      bytes_to_pages_down(p.end - p.first));
    }
    return s;
}

/* Runs of neighbouring parts with private mappings, each in one call. */
static enum status share_tables(const struct clone *k)
{
    enum status s = STATUS_OK;
    struct parts run = {0, 0};
    const struct mapping *m = mapping_by_address(avl_first(&k->parent->mappings));
    for (; m != NULL && !va_is_global(m->base) && s == STATUS_OK; m = mapping_next(m)) {
        if (!mapping_is_private(m)) {
            continue;
        }
        const struct parts p = parts_of(m);
        if (p.first > run.end) {
            s = run.end > run.first ? share_tables_of(k, run) : s;
            run = p;
        } else {
            run.end = p.end;
        }
    }
    return s == STATUS_OK && run.end > run.first ? share_tables_of(k, run) : s;
}

static enum status map_devices(const struct clone *k)
{
    enum status s = STATUS_OK;
    const struct mapping *m = mapping_by_address(avl_first(&k->child->mappings));
    for (; m != NULL && s == STATUS_OK; m = mapping_next(m)) {
        if (m->object != NULL && m->object->kind == OBJECT_PHYSICAL && m->rights != 0) {
            s = tables_map_physical(k->child, m->object, m->first, m->base, m->pages,
                                    leaf_rights(m->rights));
        }
    }
    return s;
}

/* ---- The call ---- */

static enum status fill(struct clone *k)
{
    enum status s = aspace_begin(k->parent, "aspace_clone");
    if (s != STATUS_OK) {
        return s;
    }
    family_leave(k->child);
    family_join(k->child, k->parent);
    s = copy_addresses(k);
    s = s == STATUS_OK ? copy_mappings(k) : s;
    s = s == STATUS_OK ? copy_segments(k) : s;
    s = s == STATUS_OK ? share_tables(k) : s;
    s = s == STATUS_OK ? map_devices(k) : s;
    aspaces_done(k->parent->system);
    return s;
}

enum status aspace_clone(struct aspace *parent, struct aspace *child, aspace_keep_fn *global, void *ctx)
{
    enum status s = aspace_begin(parent, "aspace_clone");
    if (s != STATUS_OK) {
        return s;
    }
    aspaces_done(parent->system);
    s = aspace_create(parent->system, child, parent->limits);
    if (s != STATUS_OK) {
        return s;
    }
    struct clone k = {.parent = parent, .child = child, .global = global, .ctx = ctx};
    s = fill(&k);
    if (s != STATUS_OK) {
        const enum status gone = aspace_destroy(child);
        return gone == STATUS_OK ? s : gone;
    }
    return STATUS_OK;
}
