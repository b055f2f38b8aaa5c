/*
 * Segments: theory.
 *
 * 1. What there is. A segment is a slot of 1 GiB (a range of the global arena, which gives out everything else there,
 *    so that a slot is either a segment or open to ordinary ranges), an object whose page 0 is the slot's first, and a
 *    list of permissions (segment_list.c). The index of slots leads from the upper bits of an address to the segment.
 *
 * 2. The tables of all segments are in one space that nobody runs in (`segment_tables`), each at its own addresses: the
 *    PD and the PTs of the slot, filled from the object by faults, whoever has them. That space maps each object as any
 *    space would, so all that is true of objects and mappings is true of it, and no owner's end moves a table.
 *
 * 3. A permission is a loan of the PD (vmm_lend): one entry in the PDPT of who has it, with its rights. So to grant is
 *    one store whatever is there, to narrow one, to revoke one; pages come and go for all by edits of one PD, which
 *    reach the CPUs of all who have a link. Links are not a cache, as other loans are (loans.c): an entry of the list
 *    and its link come and go together, and by the links a space knows its segments.
 *
 * 4. The order. Create: records, the slot, the mapping, the PD, the link, and then what cannot fail: list, index,
 *    counts. The PD is there because page 0 shows the zero frame for a moment: what is lent stays when it is empty.
 *    Grant: record, link, list. Narrow and revoke: the link and its flush first, then the list. The end: all links,
 *    then the pages, the mapping, the slot, the object. What takes away takes no memory.
 *
 * 5. What is counted: a range for each entry, for its owner the pages. So nobody is filled up by others with more than
 *    a range, and who has the pages pays for them until it gives the segment up.
 *
 * Rejected: tables in the owner's space (its faults would go by its own window, some 200 instructions less; but each
 * call on ranges would have to spare them, and one space would not be like the others); a mapping in each space, tables
 * being a cache (two lists that say the same, a look in O(log mappings), and who has lent a table to whom would depend
 * on history); a segment that outlives its owner (pages for which nobody pays).
 */
#include "aspace/segment_list.h"

#include "arch/layout.h"
#include "lib/report.h"

/* ---- Who may ask ---- */

enum status segment_find(const struct aspace *owner, vaddr_t va, struct segment **s)
{
    *s = segment_at(owner->system, va);
    if (*s == NULL || segment_rights(*s, owner) == 0) {
        return STATUS_ABSENT;
    }
    return (*s)->owner == owner ? STATUS_OK : STATUS_DENIED;
}

enum status segment_check_other(const struct aspace *space, const struct aspace *other, const char *call)
{
    const bool is_one = other != NULL && other->system == space->system && !is_segments_space(other);
    return is_one ? STATUS_OK : misuse("%s: %p is no space of this system", call, (const void *)other);
}

/* *rights with what they include, and as the segment's are in VMM_USER. => OK; INVALID */
static enum status check_rights(unsigned *rights)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    const enum status s = rights_check(rights);
    return s == STATUS_OK && (*rights == 0 || (*rights & both) == both) ? STATUS_INVALID : s;
}

/* Of rights that somebody is to get, where `most` may be given. A link cannot take VMM_USER away. */
static enum status check_share(unsigned *rights, unsigned most)
{
    const enum status s = check_rights(rights);
    if (s != STATUS_OK) {
        return s;
    }
    const bool is_alike = ((*rights ^ most) & VMM_USER) == 0;
    return !is_alike ? STATUS_INVALID : (*rights & ~most) == 0 ? STATUS_OK : STATUS_DENIED;
}

/* ---- Links and entries ---- */

struct vmm_loan *segment_link(const struct segment *s, const struct aspace *space)
{
    struct vmm_loan *link = vmm_loan_by_to(space->tables.borrowed.root);
    while (link != NULL && link->to.v != s->whole->base.v) {
        const enum avl_side side = s->whole->base.v < link->to.v ? AVL_LEFT : AVL_RIGHT;
        link = vmm_loan_by_to(avl_child(&link->by_to, side));
    }
    return link;
}

enum status segment_enter(struct segment *s, struct aspace *to, unsigned rights)
{
    struct aspaces *system = to->system;
    const struct aspace_needs needs = {.loans = 1, .stock = segment_list_missing(s)};
    enum status status = aspaces_reserve(system, &needs);
    if (status != STATUS_OK) {
        return status;
    }
    struct vmm_loan *link = pool_take(&system->loans);
    status = vmm_lend(system->vmm, &system->segment_tables.tables, s->whole->base, &to->tables, s->whole->base, 3,
                      rights & ~(unsigned)VMM_USER, link);
    if (status != STATUS_OK) {
        must(pool_put(&system->loans, link));
        return status;
    }
    segment_list_put(s, to, rights);
    to->ranges++;
    to->segments++;
    aspace_note_root(to);
    return STATUS_OK;
}

/* ---- Beginning ---- */

static enum status check_object(const struct aspace *owner, const struct object *object)
{
    if (object == NULL || object->system != owner->system) {
        return object == NULL ? STATUS_OK
                              : misuse("segment_create: object %p is not of the system of space %u",
                                       (const void *)object, owner->tables.id);
    }
    return object->kind == OBJECT_PHYSICAL ? STATUS_UNSUPPORTED
           : object->global.v != 0       ? STATUS_EXISTS
                                           : STATUS_OK;
}

static enum status check_request(const struct aspace *owner, struct segment_request *r)
{
    const struct object *object = r->object;
    enum status s = r->tag != NULL ? check_rights(&r->rights) : STATUS_INVALID;
    if (s != STATUS_OK) {
        return s;
    }
    s = check_object(owner, object);
    if (s != STATUS_OK) {
        return s;
    }
    if (r->pages.v != 0 && object != NULL) {
        return STATUS_INVALID;
    }
    r->pages = object != NULL ? object->pages : r->pages;
    if (r->pages.v == 0 || r->pages.v > SEGMENT_PAGES_MAX) {
        return r->pages.v == 0 ? STATUS_INVALID : STATUS_RANGE;
    }
    return limits_allow(owner, r->pages, owner->ranges + 1) ? STATUS_OK : STATUS_LIMIT;
}

/* The space that has the tables is there. => OK; NOMEM; LIMIT */
static enum status begin_tables_space(struct aspaces *system)
{
    const bool is_there = system->segment_tables.system != NULL;
    return is_there ? STATUS_OK : aspace_create(system, &system->segment_tables, (struct aspace_limits){0});
}

/* It stays as long as there is a segment, and until then only if one was made. */
static void end_tables_space(struct aspaces *system)
{
    if (system->segment_tables.system != NULL && system->slots.count == 0) {
        must(aspace_destroy(&system->segment_tables));
    }
}

/* What there is before anybody may use it. The records are there; `object` has its slot. */
static struct segment *begin_record(struct aspace *owner, struct object *object, const struct segment_request *r)
{
    struct aspaces *system = owner->system;
    const struct mapping whole = {.object = object, .base = object->global, .pages = npages(SEGMENT_PAGES_MAX),
                                  .tag = r->tag, .flags = ASPACE_GLOBAL, .rights = (uint16_t)r->rights,
                                  .allowed = (uint16_t)r->rights};
    struct segment *s = pool_take(&system->segments);
    *s = (struct segment){.object = object, .owner = owner};
    s->whole = mapping_add(&system->segment_tables, &whole);
    object->segment = s;
    object->holders++;
    return s;
}

/* => OK; as segment_create, and all is as before */
static enum status open(struct aspace *owner, struct object *object, const struct segment_request *r)
{
    struct aspaces *system = owner->system;
    enum status s = addresses_place_slot(object, r->tag);
    if (s != STATUS_OK) {
        return s;
    }
    struct segment *segment = begin_record(owner, object, r);
    const vaddr_t base = object->global;
    struct space *tables = &system->segment_tables.tables;
    s = vmm_map_frames(system->vmm, tables, base, system->zero, npages(1), VMM_READ | VMM_COPY, true);
    if (s == STATUS_OK) {
        s = segment_enter(segment, owner, r->rights);
        must(vmm_unmap_present(system->vmm, tables, base, npages(1)));
    }
    if (s != STATUS_OK) {
        segment_end_record(segment);
        return s;
    }
    page_index_set(&system->slots, &system->stock, segment_number(base), ptr_to_vaddr(segment).v);
    owner->pages.v += object->pages.v;
    return STATUS_OK;
}

static enum status create(struct aspace *owner, const struct segment_request *r, vaddr_t *va)
{
    struct aspaces *system = owner->system;
    const bool is_fresh = r->object == NULL;
    const struct aspace_needs needs = {
        .mappings = 1,
        .objects = is_fresh,
        .object_id = is_fresh ? object_next_id(system) : 0,
        .stock = pool_missing(&system->segments, 1) + SEGMENT_SLOT_NODES,
        .arena = &system->global,
        .operations = 1,
    };
    enum status s = aspaces_reserve(system, &needs);
    if (s != STATUS_OK) {
        return s;
    }
    struct object *object = is_fresh ? object_new(system, OBJECT_ANONYMOUS, r->pages) : r->object;
    object->holders++;
    s = open(owner, object, r);
    if (s == STATUS_OK) {
        *va = object->global;
    }
    object->holders--;
    if (s != STATUS_OK && is_fresh) {
        object_release_uncovered(object, 0, r->pages);
    }
    return s;
}

enum status segment_create(struct aspace *owner, const struct segment_request *request, vaddr_t *va)
{
    enum status s = aspace_begin(owner, "segment_create");
    if (s != STATUS_OK) {
        return s;
    }
    struct aspaces *system = owner->system;
    struct segment_request r = request != NULL ? *request : (struct segment_request){0};
    s = va != NULL ? check_request(owner, &r) : STATUS_INVALID;
    aspaces_done(system);
    if (s != STATUS_OK) {
        return s;
    }
    s = begin_tables_space(system);
    s = s == STATUS_OK ? aspace_begin(owner, "segment_create") : s;
    if (s == STATUS_OK) {
        s = create(owner, &r, va);
        aspaces_done(system);
    }
    if (s != STATUS_OK) {
        end_tables_space(system);
    }
    return s;
}

/* ---- Permissions ---- */

static enum status grant(struct aspace *owner, vaddr_t va, struct aspace *to, unsigned rights)
{
    struct segment *segment;
    enum status s = segment_check_other(owner, to, "segment_grant");
    s = s == STATUS_OK ? segment_find(owner, va, &segment) : s;
    s = s == STATUS_OK ? check_share(&rights, segment_rights(segment, owner)) : s;
    if (s != STATUS_OK) {
        return s;
    }
    if (segment_rights(segment, to) != 0) {
        return STATUS_EXISTS;
    }
    return limits_allow(to, npages(0), to->ranges + 1) ? segment_enter(segment, to, rights) : STATUS_LIMIT;
}

enum status segment_grant(struct aspace *owner, vaddr_t va, struct aspace *to, unsigned rights)
{
    enum status s = aspace_begin(owner, "segment_grant");
    if (s == STATUS_OK) {
        s = grant(owner, va, to, rights);
        aspaces_done(owner->system);
    }
    return s;
}

static enum status narrow(struct aspace *owner, vaddr_t va, struct aspace *of, unsigned rights)
{
    struct segment *segment;
    enum status s = segment_check_other(owner, of, "segment_narrow");
    s = s == STATUS_OK ? segment_find(owner, va, &segment) : s;
    const unsigned has = s == STATUS_OK ? segment_rights(segment, of) : 0;
    s = s == STATUS_OK && has == 0 ? STATUS_ABSENT : s;
    s = s == STATUS_OK ? check_share(&rights, has) : s;
    if (s != STATUS_OK || rights == has) {
        return s;
    }
    s = vmm_narrow(owner->system->vmm, segment_link(segment, of), rights & ~(unsigned)VMM_USER);
    if (s == STATUS_OK) {
        segment_list_put(segment, of, rights);
    }
    return s;
}

enum status segment_narrow(struct aspace *owner, vaddr_t va, struct aspace *of, unsigned rights)
{
    enum status s = aspace_begin(owner, "segment_narrow");
    if (s == STATUS_OK) {
        s = narrow(owner, va, of, rights);
        aspaces_done(owner->system);
    }
    return s;
}
