/*
 * Faults: a page is brought when it is touched.
 *
 * 1. What there may be is the mapping's to say, what is there the tables' (private memory) or the object's (shared).
 *    A fault first asks the mapping; what it denies is an access violation. What it allows is *placed* in the tables:
 *
 *      private, no object    read: the zero frame, for copy on write; write: a zeroed frame
 *      private, of an object the object's frame, for copy on write; a write then takes a copy
 *      shared                the object's frame
 *      physical              the frame that it is (after a clone or a withdrawal had dropped it)
 *
 * 2. Placing looks and stores in one descent, and says when something is in the way:
 *      EXISTS   the page is there. Either the tables permit the access by now (a spurious fault: R6), or it is a write
 *               to a private page: the space takes it (vmm_own_page: in place, if it is alone with the frame), or the
 *               leaf is an old one of a shared page: dropped, and placed anew
 *      SHARED   its table has several parents. A borrowed one: the page is brought into the lender's tables, who has
 *               the same page there; if that does not help, the loan ends. A clone's: the table becomes the space's own
 *    and then again. Each round takes one hindrance away, so a few are enough (ROUNDS).
 *
 * 3. Who is asked for memory may call low-memory callbacks: they change no mapping, and leave alone the page that the
 *    object gave last (aspaces.recent). So what was looked at stays true.
 *
 * 4. In a segment, its list is asked instead of mappings, and the page is placed in the segment's own tables.
 *
 * 5. Cost: the most frequent fault, the first write to private memory, is one look-up of the mapping (O(log mappings)),
 *    one vmm_map_page with a frame zeroed ahead, and one word for the reverse index.
 *
 * Rejected: prefaulting around every fault (a mapping asks for it, with resident neighbours only: nothing is read or
 * allocated for a page that nobody touched); bringing pages under tables shared by clones without copying these (all
 * parents would have to be alike in what they map there).
 */
#include "aspace/loans.h"
#include "aspace/segment_list.h"

#include "arch/layout.h"
#include "arch/paging.h"
#include "lib/report.h"

enum {
    ROUNDS = 8,
    AROUND_PAGES = 16, /* an aligned window of them, within one PT */
};

struct fault {
    struct aspace *space; /* in whose tables: of a segment, the space that has those of all */
    struct mapping *m;
    vaddr_t page;
    unsigned access; /* VMM_* */
    unsigned rights; /* VMM_*: of who touches it */
};

static struct vmm *vmm_of(const struct fault *f) { return f->space->system->vmm; }

/* What may be done with rights: reading is in every one. */
static unsigned usable(unsigned rights) { return (rights & ~(unsigned)VMM_USER) == 0 ? 0 : rights | VMM_READ; }

/* ---- Placing a page that is absent ---- */

/* => as vmm_map */
static enum status place_anonymous(const struct fault *f)
{
    struct aspaces *system = f->space->system;
    const unsigned rights = leaf_rights(f->m->rights);
    if ((f->access & VMM_WRITE) == 0) {
        return vmm_map_frames(system->vmm, &f->space->tables, f->page, system->zero, npages(1), rights | VMM_COPY,
                              true);
    }
    pfn_t frame;
    const enum status s = vmm_map_page(system->vmm, &f->space->tables, f->page, rights, &frame);
    if (s == STATUS_OK) {
        reverse_note_private(system, frame, f->space, f->page);
    }
    return s;
}

/* => as vmm_map_frames, object_page_get */
static enum status place_of_object(const struct fault *f)
{
    struct object *object = f->m->object;
    const uint64_t page = mapping_page(f->m, f->page);
    const unsigned rights = leaf_rights(f->m->rights);
    if (object->kind == OBJECT_PHYSICAL) {
        return vmm_map_frames(vmm_of(f), &f->space->tables, f->page, pfn_add(object->first, page), npages(1),
                              rights | object->cache, false);
    }
    pfn_t frame;
    enum status s = object_page_get(object, page, &frame);
    if (s != STATUS_OK) {
        return s;
    }
    const unsigned copy = mapping_is_private(f->m) ? VMM_COPY : 0;
    return vmm_map_frames(vmm_of(f), &f->space->tables, f->page, frame, npages(1), rights | copy, true);
}

static enum status place(const struct fault *f)
{
    return f->m->object == NULL ? place_anonymous(f) : place_of_object(f);
}

/* ---- A page that is there, or behind a table of several parents ---- */

/* A private page is its space's own from now on: the index says so. */
static enum status note_private(const struct fault *f)
{
    struct aspaces *system = f->space->system;
    pte_t leaf;
    const enum status s = vmm_leaf(system->vmm, &f->space->tables, f->page, &leaf);
    if (s == STATUS_OK && pte_is_present(leaf) && pte_pfn(leaf).v != system->zero.v) {
        reverse_note_private(system, pte_pfn(leaf), f->space, f->page);
    }
    return s;
}

/* Of an access: what the leaf, as the whole walk leaves it, does not permit. */
static unsigned leaf_lacks(pte_t leaf, unsigned access)
{
    return access & (((leaf.v & PTE_W) == 0 ? (unsigned)VMM_WRITE : 0) |
                     ((leaf.v & PTE_XD) != 0 ? (unsigned)VMM_EXECUTE : 0) |
                     ((leaf.v & PTE_U) == 0 ? (unsigned)VMM_USER : 0));
}

/* The page is there. *again: it has been dropped. => OK: it can be used */
static enum status settle(const struct fault *f, pte_t leaf, bool *again)
{
    const unsigned lacks = leaf_lacks(leaf, f->access);
    if (lacks == 0) {
        return STATUS_OK;
    }
    if (!mapping_is_private(f->m)) {
        *again = true;
        return tables_drop(f->space, f->page, npages(1));
    }
    if (lacks == VMM_WRITE) {
        const enum status s = vmm_own_page(vmm_of(f), &f->space->tables, f->page);
        return s == STATUS_OK ? note_private(f) : s;
    }
    return vmm_protect(vmm_of(f), &f->space->tables, f->page, npages(1), leaf_rights(f->m->rights));
}

/* The page is brought for the lender, whose tables these are. Null loan: they are a clone's. */
static enum status make_way(const struct fault *f, const struct vmm_loan *loan)
{
    if (loan == NULL) {
        return vmm_unshare(vmm_of(f), &f->space->tables, f->page, npages(1));
    }
    const vaddr_t va = vaddr_add(loan->from, f->page.v - loan->to.v);
    struct aspace *lender = aspace_of(loan->lender);
    const struct fault there = {lender, mapping_at(lender, va), va, f->access, f->rights};
    enum status s = STATUS_ABSENT;
    if (there.m != NULL && there.m->object == f->m->object &&
        mapping_page(there.m, va) == mapping_page(f->m, f->page)) {
        s = place(&there);
    }
    return s == STATUS_OK ? s : loans_end(f->space, f->page, npages(1));
}

/* Placing did not come as far as the tables: what it answers is the pager's, whatever that may be. */
static bool is_pagers_answer(const struct fault *f)
{
    const struct object *object = f->m->object;
    return object != NULL && object->kind == OBJECT_PAGED &&
           object_resident(object, mapping_page(f->m, f->page)).v == 0;
}

static enum status bring(const struct fault *f)
{
    enum status s = STATUS_EXISTS;
    for (unsigned round = 0; round < ROUNDS; round++) {
        pte_t leaf;
        /* Where a page may be there already, and placing would bring one of an object in vain, that is looked at. */
        const bool looks = f->m->object != NULL && (f->m->flags & ASPACE_PRIVATE) != 0 && round == 0;
        s = looks ? STATUS_EXISTS : place(f);
        if (s == STATUS_OK && f->m->object != NULL && mapping_is_private(f->m) && (f->access & VMM_WRITE) != 0) {
            continue; /* the object's page is shown; now it is there to be copied */
        }
        if ((s != STATUS_EXISTS && s != STATUS_SHARED) || (!looks && is_pagers_answer(f))) {
            return s;
        }
        bool again = false;
        const bool is_shared = s == STATUS_SHARED;
        s = vmm_leaf(vmm_of(f), &f->space->tables, f->page, &leaf);
        if (s == STATUS_OK && pte_is_present(leaf)) {
            s = settle(f, leaf, &again);
            if (s != STATUS_OK || !again) {
                return s;
            }
        } else if (s == STATUS_OK && is_shared) {
            s = make_way(f, loan_borrowed_at(f->space, f->page));
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    report(REPORT_CORRUPT, "aspace_fault: space %u, %#lx: %u hindrances taken away, and there is another one",
           f->space->tables.id, f->page.v, ROUNDS);
    return STATUS_CORRUPT;
}

/* ---- Neighbours ---- */

/* Resident pages around this one, where nothing is yet. It is a favour: whatever fails is left to faults. */
static void bring_around(const struct fault *f)
{
    const struct mapping *m = f->m;
    const struct object *object = m->object;
    const uint64_t at = vaddr_page_number(f->page), first = at - at % AROUND_PAGES, base = vaddr_page_number(m->base);
    const unsigned copy = mapping_is_private(m) ? VMM_COPY : 0;
    for (uint64_t n = first; n < first + AROUND_PAGES; n++) {
        pfn_t frame;
        if (n == at || n < base || n >= base + m->pages.v ||
            object_frame(object, m->first + (n - base), &frame) != STATUS_OK) {
            continue;
        }
        (void)!vmm_map_frames(vmm_of(f), &f->space->tables, vaddr_add_pages(vaddr(0), n), frame, npages(1),
                              leaf_rights(m->rights) | copy, true);
    }
}

/* ---- The fault ---- */

static enum status violation(enum status s, const char *why, struct aspace_fault *out)
{
    if (out != NULL) {
        out->why = why;
    }
    return s;
}

static const char *why_denied(unsigned rights, unsigned access)
{
    const unsigned lacks = access & ~usable(rights);
    return rights == 0                     ? "the range may not be touched"
           : (lacks & VMM_USER) != 0       ? "the range is the kernel's alone"
           : (lacks & VMM_WRITE) != 0      ? "the range is read-only"
           : (lacks & VMM_EXECUTE) != 0    ? "the range is not executable"
                                           : "the range is not readable";
}

static const char *why_not_now(enum status s, bool grows)
{
    return s == STATUS_NOMEM     ? "memory is short"
           : s == STATUS_LIMIT   ? (grows ? "the stack may not grow: the space has all that it may have"
                                          : "the frame has as many users as can be counted")
           : s == STATUS_CORRUPT ? "the page tables are broken"
                                 : "the pager cannot bring the page";
}

/* Does the mapping say no? => OK; ABSENT, DENIED. */
static enum status judge(const struct fault *f, struct aspace_fault *out)
{
    if (f->m == NULL) {
        return violation(STATUS_ABSENT, "no range is there", out);
    }
    if ((f->access & ~usable(f->rights)) != 0) {
        return violation(STATUS_DENIED, why_denied(f->rights, f->access), out);
    }
    if (f->m->object != NULL && mapping_page(f->m, f->page) >= f->m->object->pages.v) {
        return violation(STATUS_ABSENT, "it is behind the end of the object", out);
    }
    return STATUS_OK;
}

/* Memory is short: but do the page tables permit the access by now? */
static bool is_settled(const struct fault *f)
{
    pte_t leaf;
    return vmm_leaf(vmm_of(f), &f->space->tables, f->page, &leaf) == STATUS_OK && pte_is_present(leaf) &&
           leaf_lacks(leaf, f->access) == 0;
}

/* Is it in a segment? Then the tables are those of all who have it, and the list says what may be done. */
static bool look_in_segment(struct fault *f)
{
    const struct segment *segment = segment_at(f->space->system, f->page);
    const unsigned rights = segment != NULL ? segment_rights(segment, f->space) : 0;
    if (rights != 0) {
        f->space = &f->space->system->segment_tables;
        f->m = segment->whole;
        f->rights = rights;
    }
    return segment != NULL;
}

/* What the mapping denies is no question of memory, so it is asked first; then stock, which may call others (3). */
static enum status handle(struct aspace *space, vaddr_t va, unsigned access, struct aspace_fault *out)
{
    struct fault f = {.space = space, .page = vaddr_page(va), .access = access};
    struct mapping *stack = NULL;
    struct mapping gain;
    if (!va_is_global(va) || !look_in_segment(&f)) {
        f.m = mapping_at(space, va);
        stack = f.m == NULL ? stack_at(space, va) : NULL;
        if (stack != NULL) {
            gain = stack_gain(stack, f.page);
            f.m = &gain;
        }
        f.rights = f.m != NULL ? f.m->rights : 0;
    }
    enum status s = judge(&f, out);
    if (s != STATUS_OK) {
        return s;
    }
    const struct aspace_needs needs = {.frames = 1};
    s = aspaces_reserve(space->system, &needs);
    if (s != STATUS_OK && is_settled(&f)) {
        return STATUS_OK;
    }
    s = s == STATUS_OK && stack != NULL ? stack_prepare(stack, &gain) : s;
    s = s == STATUS_OK ? bring(&f) : s;
    if (s == STATUS_OK && stack != NULL) {
        stack_grow(stack, &gain);
    } else if (s == STATUS_OK && f.m->object != NULL && (f.m->flags & ASPACE_FAULT_AROUND) != 0 &&
               f.m->object->kind != OBJECT_PHYSICAL) {
        bring_around(&f);
    }
    return s == STATUS_OK ? s : violation(s, why_not_now(s, stack != NULL), out);
}

/* The mapping that holds `va`, or in whose guard or room it is, or the nearest one. */
static void describe(const struct aspace *space, vaddr_t va, struct aspace_fault *out)
{
    const struct segment *segment = segment_at(space->system, va);
    const unsigned rights = segment != NULL ? segment_rights(segment, space) : 0;
    if (rights != 0) {
        out->base = segment->whole->base;
        out->pages = segment->object->pages;
        out->rights = rights;
        out->tag = segment->whole->tag;
        out->inside = mapping_page(segment->whole, va) < out->pages.v;
        return;
    }
    const struct mapping *above = mapping_from(space, va);
    const struct mapping *below =
        mapping_by_address(above == NULL ? avl_last(&space->mappings) : avl_previous(&above->by_address));
    const bool inside = above != NULL && above->base.v <= va.v;
    const uint64_t distance = above != NULL && !inside ? bytes_to_pages_up(above->base.v - va.v).v : 0;
    const bool grows = distance > 0 && distance <= above->room_pages;
    const bool guards = distance > 0 && !grows && distance <= mapping_lead(above).v;
    const bool guarded = !inside && below != NULL && va.v - mapping_end(below) < pages_to_bytes(mapping_trail(below));
    const struct mapping *m = above;
    if (!inside && !guards && !grows && below != NULL &&
        (guarded || above == NULL || va.v - mapping_end(below) < above->base.v - va.v)) {
        m = below;
    }
    if (m == NULL) {
        return;
    }
    out->base = m->base;
    out->pages = m->pages;
    out->rights = m->rights;
    out->tag = m->tag;
    out->inside = inside;
    out->in_guard = guards || guarded;
    if (out->in_guard) {
        const bool is_stack = (m->flags & ASPACE_STACK) != 0 && guards;
        out->why = is_stack ? "the stack is full: its guard page" : "a guard page";
    }
}

static enum status check_access(const struct aspace *space, vaddr_t va, unsigned access)
{
    const unsigned kind = access & ~(unsigned)VMM_USER;
    if (space == NULL || space->system == NULL) {
        return misuse("aspace_fault: %p is no space", (const void *)space);
    }
    if (kind != VMM_READ && kind != VMM_WRITE && kind != VMM_EXECUTE) {
        return STATUS_INVALID;
    }
    return va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END ? STATUS_OK : STATUS_RANGE;
}

enum status aspace_fault(struct aspace *space, vaddr_t va, unsigned access, struct aspace_fault *out)
{
    if (out != NULL) {
        *out = (struct aspace_fault){.why = ""};
    }
    enum status s = check_access(space, va, access);
    if (s != STATUS_OK) {
        return violation(s, s == STATUS_RANGE ? "it is no user address" : "the question makes no sense", out);
    }
    s = aspace_begin(space, "aspace_fault");
    if (s != STATUS_OK) {
        return violation(s, "a call on the spaces is under way", out);
    }
    s = handle(space, va, access, out);
    aspaces_done(space->system);
    if (s != STATUS_OK && out != NULL) {
        describe(space, va, out);
    }
    return s;
}
