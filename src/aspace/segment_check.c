/* The validator's part about segments: slots, objects, lists and links against each other (ASPACE-I9). */
#include "aspace/check.h"
#include "aspace/segment_list.h"

/* The record is one of the pool's, its object lies where the slot is, and the tables' space maps it there. */
static void check_record(struct space_checker *k, uint64_t number, const struct segment *s)
{
    const struct object *object = s->object;
    const struct mapping *m = s->whole;
    if (object->segment != s || segment_number(m->base) != number || m->base.v != object->global.v || m->first != 0 ||
        m->pages.v != SEGMENT_PAGES_MAX || m->object != object || !is_segments_space(m->space) ||
        object->pages.v > SEGMENT_PAGES_MAX || object->holders == 0) {
        space_complain(k, "ASPACE-I9: slot %#lx has the segment of object %u, which lies at %#lx", number, object->id,
                       object->global.v);
    }
}

static void check_list(struct space_checker *k, const struct segment *s)
{
    struct segment_entry e = {0};
    unsigned count = 0;
    bool is_found = true;
    while (segment_list_next(s, &e)) {
        count++;
        is_found = is_found && segment_rights(s, e.space) == e.rights;
        const struct vmm_loan *link = e.space->system == k->system ? segment_link(s, e.space) : NULL;
        if (link == NULL || !loan_is_permission(link)) {
            space_complain(k, "ASPACE-I9: space %u is in the list of the segment at %#lx, and has no link",
                           e.space->tables.id, s->whole->base.v);
        }
        if ((e.rights & ~(unsigned)s->whole->rights) != 0) {
            space_complain(k, "ASPACE-I9: space %u has rights %x in the segment at %#lx, which gives %x",
                           e.space->tables.id, e.rights, s->whole->base.v, s->whole->rights);
        }
    }
    const bool has_owner = segment_rights(s, s->owner) != 0;
    if (count != s->count || !has_owner || !is_found) {
        space_complain(k, "ASPACE-I9: the segment at %#lx counts %u in its list, there are %u%s", s->whole->base.v,
                       s->count, count,
                       !has_owner ? ", and not its owner" : is_found ? "" : ", not all where they are looked for");
    }
}

void segment_check_all(struct space_checker *k)
{
    const struct page_index *slots = &k->system->slots;
    const uint64_t end = UINT32_MAX;
    for (uint64_t n = page_index_next(slots, 0, end); n < end; n = page_index_next(slots, n + 1, end)) {
        const struct segment *s = vaddr_to_ptr(vaddr(page_index_get(slots, n)));
        check_record(k, n, s);
        check_list(k, s);
    }
    if (slots->count != k->system->segments.used) {
        space_complain(k, "ASPACE-I9: %lu slots have a segment, of %lu", slots->count, k->system->segments.used);
    }
}

void segment_check_link(struct space_checker *k, const struct vmm_loan *link)
{
    const struct aspace *space = aspace_of(link->borrower);
    const struct segment *s = segment_at(k->system, link->to);
    const unsigned rights = s != NULL ? segment_rights(s, space) & ~(unsigned)VMM_USER : 0;
    if (link->from.v != link->to.v || link->level != 3 || rights == 0 || rights != link->rights) {
        space_complain(k, "ASPACE-I9: space %u has a link with rights %x at %#lx, and its entry there says %x",
                       space->tables.id, link->rights, link->to.v, rights);
    }
}

void segment_count_for(struct space_checker *k, size_t *ranges, uint64_t *pages)
{
    const struct aspace *space = k->space;
    const struct vmm_loan *link = segment_link_first(space);
    unsigned segments = 0;
    for (; link != NULL; link = segment_link_next(link)) {
        segments++;
        const struct segment *s = segment_at(space->system, link->to);
        *ranges += 1;
        *pages += s != NULL && s->owner == space ? s->object->pages.v : 0;
    }
    if (segments != space->segments || space->asked != (segments == 0 ? space->mappings.root : NULL)) {
        space_complain(k, "ASPACE-I9: %u segments are counted, there are %u; questions begin at %p", space->segments,
                       segments, (void *)space->asked);
    }
}
