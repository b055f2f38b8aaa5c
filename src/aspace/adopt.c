/*
 * Private memory becomes an object, when it is shared.
 *
 * Its pages are in the tables only, and may be seen by clones (copy on write). The object gets a frame for each page
 * that is there: the same one, where nobody else has it, so nothing is copied; else a copy, as a write would have made
 * (the zero frame: none at all, an absent page is zero). A page of a private mapping of another object that was not
 * written to yet is copied from that object: from now on both go their own ways. But a mapping that may never be
 * written by, as of a program's code, keeps its object, and is shared from now on.
 *
 * First all that can fail, with both references to the frames: the object is nobody's yet, and is thrown away if more
 * memory is wanted than there is. Then the leaves go, all at once, and the mapping names the object; pages come back by
 * faults. Clones see nothing of it: they keep their leaves and their references.
 */
#include "aspace/adopt.h"

#include "pmm/pmm.h"
#include "vmm/vmm_large.h"

enum { BATCH = 32 };

/* Pages of the range that the tables show, some at a time. */
struct harvest {
    struct aspaces *system;
    vaddr_t va, next, end;
    uint64_t found;  /* all together */
    unsigned count;
    uint64_t page[BATCH];
    pfn_t frame[BATCH];
};

static bool harvest_stretch(void *ctx, const struct vmm_mapping *mapping)
{
    struct harvest *h = ctx;
    const pfn_t first = paddr_to_pfn(mapping->address), zero = h->system->zero;
    for (uint64_t i = 0; i < mapping->pages.v; i++) {
        const vaddr_t va = vaddr_add_pages(mapping->base, i);
        if (va.v < h->next.v || va.v >= h->end.v || first.v + i == zero.v) {
            continue;
        }
        if (h->count == BATCH) {
            return false;
        }
        h->page[h->count] = bytes_to_pages_down(va.v - h->va.v).v;
        h->frame[h->count++] = pfn_add(first, i);
    }
    return true;
}

/* The next ones; none: the end. */
static unsigned harvest_next(struct harvest *h, struct aspace *space)
{
    if (h->count > 0) {
        h->next = vaddr_add_pages(h->va, h->page[h->count - 1] + 1);
        h->count = 0;
    }
    if (h->next.v < h->end.v) {
        vmm_visit(h->system->vmm, &space->tables, h->next, h->end, harvest_stretch, h);
    }
    h->found += h->count;
    return h->count;
}

static struct harvest harvest_of(struct aspace *space, vaddr_t va, npages_t pages)
{
    return (struct harvest){.system = space->system, .va = va, .next = va, .end = vaddr_add_pages(va, pages.v)};
}

/* A large page over an end of the range becomes small ones. => OK; as vmm_demote */
static enum status cut_large_at(struct aspace *space, vaddr_t end)
{
    struct vmm *vmm = space->system->vmm;
    for (;;) {
        struct vmm_walk w;
        enum status s = vmm_translate(vmm, &space->tables, end, &w);
        if (s != STATUS_OK || !w.present || w.page_bytes == PAGE_BYTES || (end.v & (w.page_bytes - 1)) == 0) {
            return s;
        }
        s = vmm_demote(vmm, &space->tables, end);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

/* The object has `frame` as its page, with a reference of its own; the index has room. */
static void put_page(struct object *object, uint64_t page, pfn_t frame)
{
    object_set_resident(object, page, frame);
}

/* A copy of `frame` becomes the page. => OK; NOMEM */
static enum status put_copy(struct object *object, uint64_t page, pfn_t frame)
{
    struct aspaces *system = object->system;
    pfn_t copy;
    enum status s = pmm_alloc(system->vmm->pmm, PMM_USER, &copy);
    if (s != STATUS_OK) {
        return s;
    }
    s = stock_ensure(&system->stock, system->reserved + page_index_missing(&system->used_for, copy.v, 1));
    s = s == STATUS_OK ? frame_copy(system->vmm, copy, frame) : s;
    if (s != STATUS_OK) {
        (void)!pmm_free(system->vmm->pmm, copy);
        return s;
    }
    reverse_note_object(system, copy, object, page);
    put_page(object, page, copy);
    return STATUS_OK;
}

/* A frame that the tables show. => OK; NOMEM; LIMIT */
static enum status put_shown(struct object *object, uint64_t page, pfn_t frame)
{
    struct pmm *pmm = object->system->vmm->pmm;
    if (pmm_query(pmm, frame).references > 1) {
        return put_copy(object, page, frame);
    }
    const enum status s = pmm_retain(pmm, frame);
    if (s == STATUS_OK) {
        put_page(object, page, frame);
    }
    return s;
}

/* Of a private mapping of `source`: the pages that its space has none of its own for. */
static enum status copy_rest(struct object *object, struct object *source, uint64_t first)
{
    enum status s = STATUS_OK;
    for (uint64_t page = 0; page < object->pages.v && first + page < source->pages.v && s == STATUS_OK; page++) {
        pfn_t frame;
        if (object_resident(object, page).v == 0) {
            s = object_page_get(source, first + page, &frame);
            s = s == STATUS_OK ? put_copy(object, page, frame) : s;
        }
    }
    return s;
}

static enum status make_object(struct aspace *space, npages_t pages, uint64_t resident, struct object **object)
{
    struct aspaces *system = space->system;
    const struct page_index none = {0};
    const uint64_t all = page_index_missing(&none, 0, pages.v), few = resident * PAGE_INDEX_LEVELS_MAX;
    const struct aspace_needs needs = {.mappings = 2,
                                       .objects = 1,
                                       .object_id = object_next_id(system),
                                       .stock = (size_t)(all < few ? all : few) + PAGE_INDEX_LEVELS_MAX};
    const enum status s = aspaces_reserve(system, &needs);
    if (s == STATUS_OK) {
        *object = object_new(system, OBJECT_ANONYMOUS, pages);
    }
    return s;
}

enum status adopt_prepare(struct aspace *space, struct mapping *m, vaddr_t va, npages_t pages, struct object **object)
{
    struct harvest h = harvest_of(space, va, pages);
    enum status s = tables_own(space, va, pages);
    *object = NULL;
    if (adopt_keeps_object(m)) {
        return s;
    }
    s = s == STATUS_OK ? cut_large_at(space, va) : s;
    s = s == STATUS_OK ? cut_large_at(space, h.end) : s;
    if (s != STATUS_OK) {
        return s;
    }
    while (harvest_next(&h, space) > 0) {
    }
    s = make_object(space, pages, m->object != NULL ? pages.v : h.found, object);
    if (s != STATUS_OK) {
        return s;
    }
    h = harvest_of(space, va, pages);
    while (s == STATUS_OK && harvest_next(&h, space) > 0) {
        for (unsigned i = 0; i < h.count && s == STATUS_OK; i++) {
            s = put_shown(*object, h.page[i], h.frame[i]);
        }
    }
    if (s == STATUS_OK && m->object != NULL) {
        s = copy_rest(*object, m->object, mapping_page(m, va));
    }
    if (s != STATUS_OK) {
        adopt_undo(*object);
    }
    return s;
}

void adopt_undo(struct object *object) { object_release_uncovered(object, 0, object->pages); }

enum status adopt_commit(struct aspace *space, vaddr_t va, npages_t pages, struct object *object)
{
    const vaddr_t end = vaddr_add_pages(va, pages.v);
    const enum status s = tables_drop(space, va, pages);
    if (s != STATUS_OK) {
        if (object != NULL) {
            adopt_undo(object);
        }
        return s;
    }
    struct mapping *m = mapping_at(space, va);
    if (m->base.v < va.v) {
        m = mapping_split(m, va);
    }
    if (mapping_end(m) > end.v) {
        (void)mapping_split(m, end);
    }
    struct mapping values = *m;
    struct object *old = values.object;
    const uint64_t old_first = values.first;
    mapping_remove(m);
    mapping_clear(&values, ASPACE_PRIVATE);
    if (object != NULL) {
        values.object = object;
        values.first = 0;
    }
    (void)mapping_merge(mapping_add(space, &values));
    if (object == NULL) {
        return STATUS_OK;
    }
    if (old != NULL) {
        object_release_uncovered(old, old_first, object->pages);
    }
    for (uint64_t page = object_next_resident(object, 0, object->pages.v); page < object->pages.v;
         page = object_next_resident(object, page + 1, object->pages.v)) {
        reverse_note_object(space->system, object_resident(object, page), object, page);
    }
    return STATUS_OK;
}
