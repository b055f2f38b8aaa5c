/* The pages of objects: how they come, and how they go. */
#include "aspace/mapping.h"
#include "lib/report.h"
#include "pmm/pmm_pressure.h"

void object_set_resident(struct object *object, uint64_t page, pfn_t frame)
{
    if (page < OBJECT_FEW) {
        object->few[page] = frame;
    } else {
        page_index_set(&object->frames, &object->system->stock, page, frame.v);
    }
}

uint64_t object_next_resident(const struct object *object, uint64_t from, uint64_t end)
{
    for (; from < OBJECT_FEW && from < end; from++) {
        if (object->few[from].v != 0) {
            return from;
        }
    }
    return page_index_next(&object->frames, from, end);
}

npages_t object_count_resident(const struct object *object)
{
    uint64_t count = object->frames.count;
    for (unsigned i = 0; i < OBJECT_FEW; i++) {
        count += object->few[i].v != 0;
    }
    return npages(count);
}

/* ---- Coming ---- */

/* A frame with the contents of the page; nobody sees it yet. => OK; NOMEM; what the pager says */
static enum status fill_frame(struct object *object, uint64_t page, pfn_t *frame)
{
    struct vmm *vmm = object->system->vmm;
    if (object->kind == OBJECT_ANONYMOUS) {
        bool is_zero = false;
        enum status s = pmm_alloc_zeroed(vmm->pmm, PMM_USER, frame, &is_zero);
        return s == STATUS_OK && !is_zero ? frame_zero(vmm, *frame) : s;
    }
    enum status s = pmm_alloc(vmm->pmm, PMM_USER, frame);
    if (s == STATUS_OK) {
        s = object->pager.fill(object->pager.ctx, page, *frame);
        enum status freed = s == STATUS_OK ? STATUS_OK : pmm_free(vmm->pmm, *frame);
        s = freed == STATUS_OK ? s : freed;
    }
    return s;
}

/* The pager, and who is asked for memory, may have taken of the stock: it is looked at last. */
static enum status bring(struct object *object, uint64_t page, pfn_t *frame)
{
    struct aspaces *system = object->system;
    const size_t before = system->reserved;
    const struct page_index *index = page < OBJECT_FEW ? NULL : &object->frames;
    const struct aspace_needs needs = {.frames = 1, .index = index, .first = page, .pages = 1};
    pfn_t fresh;
    enum status s = fill_frame(object, page, &fresh);
    if (s != STATUS_OK) {
        return s;
    }
    s = aspaces_reserve(system, &needs);
    system->reserved = before;
    if (s != STATUS_OK) {
        const enum status freed = pmm_free(system->vmm->pmm, fresh);
        return freed == STATUS_OK ? s : freed;
    }
    object_set_resident(object, page, fresh);
    reverse_note_object(system, fresh, object, page);
    *frame = fresh;
    return STATUS_OK;
}

enum status object_page_get(struct object *object, uint64_t page, pfn_t *frame)
{
    if (page >= object->pages.v) {
        return STATUS_RANGE;
    }
    if (object->kind == OBJECT_PHYSICAL) {
        *frame = pfn_add(object->first, page);
        return STATUS_OK;
    }
    *frame = object_resident(object, page);
    const enum status s = frame->v != 0 ? STATUS_OK : bring(object, page, frame);
    object->system->recent = s == STATUS_OK ? *frame : pfn(0);
    return s;
}

enum status object_populate(struct object *object, uint64_t first, npages_t pages)
{
    enum status s = object == NULL ? misuse("object_populate: there is no object")
                                   : aspaces_begin(object->system, "object_populate");
    if (s != STATUS_OK) {
        return s;
    }
    if (pages.v == 0 || first + pages.v < first) {
        s = STATUS_INVALID;
    } else if (first + pages.v > object->pages.v) {
        s = STATUS_RANGE;
    }
    pfn_t frame;
    for (uint64_t i = 0; object->kind != OBJECT_PHYSICAL && i < pages.v && s == STATUS_OK; i++) {
        s = object_page_get(object, first + i, &frame);
        if (s == STATUS_OK) { /* an object that nobody holds is mapped: it stays */
            object_release_uncovered(object, first + i, npages(1));
        }
    }
    aspaces_done(object->system);
    return s;
}

enum status object_frame(const struct object *object, uint64_t page, pfn_t *frame)
{
    if (page >= object->pages.v) {
        return STATUS_RANGE;
    }
    const bool is_physical = object->kind == OBJECT_PHYSICAL;
    const pfn_t found = is_physical ? pfn_add(object->first, page) : object_resident(object, page);
    if (found.v == 0 && !is_physical) {
        return STATUS_ABSENT;
    }
    *frame = found;
    return STATUS_OK;
}

/* ---- Going ---- */

void object_drop_pages(struct object *object, uint64_t first, npages_t pages)
{
    struct aspaces *system = object->system;
    const uint64_t end = first + pages.v;
    for (uint64_t at = object_next_resident(object, first, end); at < end;
         at = object_next_resident(object, at + 1, end)) {
        const pfn_t frame = object_resident(object, at);
        object_set_resident(object, at, pfn(0));
        must(pmm_release(system->vmm->pmm, frame, NULL)); /* our reference */
    }
}

static void end_object(struct object *object)
{
    struct aspaces *system = object->system;
    const struct pager pager = object->pager;
    object_drop_pages(object, 0, object->pages);
    addresses_give_all(object);
    page_index_set(&system->object_of, &system->stock, object->id, 0);
    must(pool_put(&system->objects, object)); /* it was taken there */
    if (pager.gone != NULL) {
        pager.gone(pager.ctx);
    }
}

void object_release_uncovered(struct object *object, uint64_t first, npages_t pages)
{
    if (object->holders > 0) {
        return;
    }
    if (object->mapping_count == 0) {
        end_object(object);
        return;
    }
    const uint64_t end = first + pages.v;
    uint64_t at = first, to;
    while (object_gap(object, &at, end, &to)) {
        object_drop_pages(object, at, npages(to - at));
        addresses_give_pages(object, at, npages(to - at));
        at = to;
    }
}
