/*
 * Objects: theory.
 *
 * 1. The object says what a page holds, in an index by page number; page tables are filled from it. So what is shared
 *    is shared by the page: a mapping more copies nothing, and a page that was dropped from tables is still there.
 *
 * 2. A page's frame has one reference of the object and one of each leaf. Who unmaps gives back the leaf's; the
 *    object's goes when nobody can reach the page any more: no mapping covers it, and nobody holds the object. The
 *    mappings of an object are a tree by first page with the greatest end of each subtree (mapping.c), so the stretches
 *    of a range that nobody covers are found in O(log mappings) each.
 *
 * 3. Address and page live equally long: an address of the global part is given to somebody else when the page behind
 *    it is no more.
 *
 * 4. What has no object: private anonymous memory. Its pages are in one space's tables only, or in tables that clones
 *    share, with nothing kept beside: to clone them is to share tables (vmm_clone).
 */
#include "aspace/segment_list.h"
#include "lib/report.h"

enum { HOLDERS_MAX = 0x7FFFFFFF };

unsigned object_next_id(const struct aspaces *system)
{
    return reverse_next_id(&system->object_of, system->next_object);
}

struct object *object_new(struct aspaces *system, enum object_kind kind, npages_t pages)
{
    struct object *object = pool_take(&system->objects);
    object->system = system;
    object->id = object_next_id(system);
    object->kind = kind;
    object->pages = pages;
    system->next_object = object->id + 1;
    page_index_set(&system->object_of, &system->stock, object->id, ptr_to_vaddr(object).v);
    return object;
}

/* What all kinds have in common; *object is held once. => OK; NOMEM; INVALID; MISUSE */
static enum status create(struct aspaces *system, enum object_kind kind, npages_t pages, struct object **object,
                          const char *call)
{
    if (pages.v == 0 || pages.v > ASPACE_PAGES_MAX || object == NULL) {
        return STATUS_INVALID;
    }
    enum status s = aspaces_begin(system, call);
    if (s != STATUS_OK) {
        return s;
    }
    const struct aspace_needs needs = {.objects = 1, .object_id = object_next_id(system)};
    s = aspaces_reserve(system, &needs);
    if (s == STATUS_OK) {
        *object = object_new(system, kind, pages);
        (*object)->holders = 1;
    }
    aspaces_done(system);
    return s;
}

enum status object_create_anonymous(struct aspaces *system, npages_t pages, struct object **object)
{
    return create(system, OBJECT_ANONYMOUS, pages, object, "object_create_anonymous");
}

/* May the PMM hand out some of them? Halves without RAM are not looked through; at most as deep as a number is wide. */
static bool has_pmm_frames(const struct pmm *pmm, pfn_t first, npages_t pages)
{
    if (pmm_count_ram(pmm, first, pages).v == 0) {
        return false;
    }
    if (pages.v > 1) {
        const uint64_t half = pages.v / 2;
        return has_pmm_frames(pmm, first, npages(half)) ||
               has_pmm_frames(pmm, pfn_add(first, half), npages(pages.v - half));
    }
    const enum pmm_state state = pmm_query(pmm, first).state;
    return state != PMM_STATE_RESERVED && state != PMM_STATE_BAD;
}

enum status object_create_physical(struct aspaces *system, pfn_t first, npages_t pages, unsigned flags,
                                   struct object **object)
{
    const unsigned both = VMM_UNCACHED | VMM_WRITE_COMBINING;
    if ((flags & ~both) != 0 || flags == both || pages.v == 0 || pages.v > ASPACE_PAGES_MAX) {
        return STATUS_INVALID;
    }
    if (system != NULL && system->vmm != NULL) {
        const uint64_t end = system->vmm->frames_end.v;
        if (first.v >= end || pages.v > end - first.v) {
            return STATUS_RANGE;
        }
        if (has_pmm_frames(system->vmm->pmm, first, pages)) {
            return misuse("object_create_physical: of the %lu frames from %#lx on, some are RAM of the PMM", pages.v,
                          first.v);
        }
    }
    const enum status s = create(system, OBJECT_PHYSICAL, pages, object, "object_create_physical");
    if (s == STATUS_OK) {
        (*object)->first = first;
        (*object)->cache = flags;
    }
    return s;
}

enum status object_create_paged(struct aspaces *system, npages_t pages, const struct pager *pager,
                                struct object **object)
{
    if (pager == NULL || pager->fill == NULL) {
        return STATUS_INVALID;
    }
    const enum status s = create(system, OBJECT_PAGED, pages, object, "object_create_paged");
    if (s == STATUS_OK) {
        (*object)->pager = *pager;
    }
    return s;
}

enum status object_create_copy(const struct object *of, struct object **object)
{
    if (of == NULL || of->kind != OBJECT_PAGED) {
        return of == NULL ? STATUS_INVALID : STATUS_UNSUPPORTED;
    }
    struct pager pager = of->pager;
    pager.gone = NULL;
    return object_create_paged(of->system, of->pages, &pager, object);
}

enum status object_hold(struct object *object)
{
    if (object == NULL || object->system == NULL) {
        return misuse("object_hold: %p is no object", (void *)object);
    }
    if (object->holders == HOLDERS_MAX) {
        report(REPORT_NOTE, "object_hold: object %u has HOLDERS_MAX, %u, holders", object->id, object->holders);
        return STATUS_LIMIT;
    }
    object->holders++;
    return STATUS_OK;
}

enum status object_release(struct object *object)
{
    if (object == NULL || object->system == NULL || object->holders == 0) {
        return misuse("object_release: %p, object %u, is held by nobody", (void *)object,
                      object == NULL ? 0 : object->id);
    }
    struct aspaces *system = object->system;
    const enum status s = aspaces_begin(system, "object_release");
    if (s == STATUS_OK) {
        object->holders--;
        object_release_uncovered(object, 0, object->pages);
        aspaces_done(system);
    }
    return s;
}

/* ---- Another size ---- */

/* Every mapping of pages from `first` on: do(space, va, pages) for the part of it. */
static enum status for_each_behind(struct object *object, uint64_t first, bool only_private,
                                   enum status (*act)(struct aspace *space, vaddr_t va, npages_t pages))
{
    enum status s = STATUS_OK;
    struct mapping *m = object_overlap_first(object, first, UINT64_MAX);
    for (; m != NULL && s == STATUS_OK; m = object_overlap_next(m, first, UINT64_MAX)) {
        const uint64_t skip = m->first < first ? first - m->first : 0;
        if (!only_private || (m->flags & ASPACE_PRIVATE) != 0) {
            s = act(m->space, vaddr_add_pages(m->base, skip), npages(m->pages.v - skip));
        }
    }
    return s;
}

/*
 * Only copies in private mappings are nowhere else: their tables are the spaces' own before the first page goes.
 */
static enum status shrink(struct object *object, npages_t pages)
{
    enum status s = for_each_behind(object, pages.v, true, tables_own);
    s = s == STATUS_OK ? for_each_behind(object, pages.v, false, tables_drop) : s;
    if (s == STATUS_OK) {
        object_drop_pages(object, pages.v, npages(object->pages.v - pages.v));
    }
    return s;
}

enum status object_set_size(struct object *object, npages_t pages)
{
    enum status s = object->segment != NULL              ? segment_may_resize(object->segment, pages)
                    : pages.v < object->global_pages.v ? STATUS_SHARED
                                                         : STATUS_OK;
    const uint64_t before = object->pages.v;
    if (s == STATUS_OK && pages.v < before) {
        s = shrink(object, pages);
    }
    if (s == STATUS_OK) {
        object->pages = pages;
        if (object->segment != NULL) {
            object->segment->owner->pages.v += pages.v - before;
        }
    }
    return s;
}

enum status object_resize(struct object *object, npages_t pages)
{
    if (object == NULL || pages.v == 0 || pages.v > ASPACE_PAGES_MAX) {
        return STATUS_INVALID;
    }
    if (object->kind == OBJECT_PHYSICAL) {
        return STATUS_UNSUPPORTED;
    }
    enum status s = aspaces_begin(object->system, "object_resize");
    if (s == STATUS_OK) {
        s = object_set_size(object, pages);
        aspaces_done(object->system);
    }
    return s;
}

/* ---- Questions ---- */

struct object_info object_info(const struct object *object)
{
    return (struct object_info){
        .id = object->id,
        .kind = object->kind,
        .pages = object->pages,
        .resident = object->kind == OBJECT_PHYSICAL ? object->pages : object_count_resident(object),
        .holders = object->holders,
        .mappings = object->mapping_count,
        .global = object->global,
        .first = object->first,
        .name = object->pager.name,
    };
}

void object_visit(const struct object *object, uint64_t first, npages_t pages, object_visit_fn *visit, void *ctx)
{
    const uint64_t end = first + pages.v;
    if (aspaces_begin(object->system, "object_visit") != STATUS_OK) {
        return;
    }
    const struct mapping *m = object_overlap_first(object, first, end);
    bool goes_on = true;
    for (; m != NULL && goes_on; m = object_overlap_next(m, first, end)) {
        const uint64_t skip = m->first < first ? first - m->first : 0;
        const uint64_t last = m->first + m->pages.v < end ? m->first + m->pages.v : end;
        goes_on = visit(ctx, m->space, vaddr_add_pages(m->base, skip), npages(last - m->first - skip), m->rights);
    }
    aspaces_done(object->system);
}
