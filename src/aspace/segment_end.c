/* Segments: who leaves, how they end, and another size. The theory is in segment.c. */
#include "aspace/segment_list.h"

/* ---- Ending ---- */

/* => OK; CORRUPT: the link was not there as it should be */
static enum status leave(struct segment *s, struct aspace *space)
{
    struct aspaces *system = space->system;
    struct vmm_loan *link = segment_link(s, space);
    const enum status status = vmm_withdraw(system->vmm, link);
    if (status == STATUS_OK) {
        must(pool_put(&system->loans, link));
    }
    segment_list_remove(s, space);
    space->ranges--;
    space->segments--;
    aspace_note_root(space);
    return status;
}

/* Nobody has it any more: no pages, no addresses. */
void segment_end_record(struct segment *s)
{
    struct aspaces *system = s->object->system;
    struct object *object = s->object;
    mapping_remove(s->whole);
    object->segment = NULL;
    addresses_give_all(object);
    must(pool_put(&system->segments, s));
    object->holders--;
    object_release_uncovered(object, 0, object->pages);
}

/* For all. Needs no memory. => OK; CORRUPT */
static enum status end_segment(struct segment *s)
{
    struct aspaces *system = s->object->system;
    enum status status = STATUS_OK;
    struct segment_entry e = {0};
    while (segment_list_next(s, &e)) {
        const enum status left = leave(s, e.space);
        status = status == STATUS_OK ? left : status;
        segment_list_again(s, &e);
    }
    const struct mapping *m = s->whole;
    const enum status dropped = tables_drop(&system->segment_tables, m->base, m->pages);
    s->owner->pages.v -= s->object->pages.v;
    page_index_set(&system->slots, &system->stock, segment_number(m->base), 0);
    segment_end_record(s);
    return status == STATUS_OK ? dropped : status;
}

static enum status revoke(struct aspace *by, vaddr_t va, struct aspace *from)
{
    struct segment *segment;
    enum status s = segment_check_other(by, from, "segment_revoke");
    s = s == STATUS_OK ? segment_find(by, va, &segment) : s;
    s = s == STATUS_DENIED && by == from ? STATUS_OK : s;
    if (s == STATUS_OK && segment_rights(segment, from) == 0) {
        s = STATUS_ABSENT;
    }
    if (s != STATUS_OK) {
        return s;
    }
    return segment->owner == from ? end_segment(segment) : leave(segment, from);
}

enum status segment_revoke(struct aspace *by, vaddr_t va, struct aspace *from)
{
    enum status s = aspace_begin(by, "segment_revoke");
    if (s == STATUS_OK) {
        s = revoke(by, va, from);
        aspaces_done(by->system);
    }
    return s;
}

enum status segments_leave(struct aspace *space)
{
    enum status s = STATUS_OK;
    struct vmm_loan *link;
    while (s == STATUS_OK && (link = segment_link_first(space)) != NULL) {
        struct segment *segment = segment_at(space->system, link->to);
        s = segment->owner == space ? end_segment(segment) : leave(segment, space);
    }
    return s;
}

/* ---- Size ---- */

enum status segment_may_resize(const struct segment *s, npages_t pages)
{
    const uint64_t now = s->object->pages.v;
    if (pages.v > SEGMENT_PAGES_MAX) {
        return STATUS_RANGE;
    }
    const bool fits = pages.v <= now || limits_allow(s->owner, npages(pages.v - now), s->owner->ranges);
    return fits ? STATUS_OK : STATUS_LIMIT;
}

static enum status resize(struct aspace *owner, vaddr_t va, npages_t pages)
{
    struct segment *segment;
    enum status s = segment_find(owner, va, &segment);
    if (s != STATUS_OK || pages.v == 0) {
        return s != STATUS_OK ? s : STATUS_INVALID;
    }
    struct object *object = segment->object;
    const uint64_t end = object->pages.v;
    if (pages.v < end && segment->count > 1 && object_next_resident(object, pages.v, end) < end) {
        return STATUS_SHARED;
    }
    return object_set_size(object, pages);
}

enum status segment_resize(struct aspace *owner, vaddr_t va, npages_t pages)
{
    enum status s = aspace_begin(owner, "segment_resize");
    if (s == STATUS_OK) {
        s = resize(owner, va, pages);
        aspaces_done(owner->system);
    }
    return s;
}
