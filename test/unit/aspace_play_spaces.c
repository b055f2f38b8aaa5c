/* Calls that concern one space: made, destroyed, mapped, unmapped, protected. */
#include "unit/aspace_play_map.h"

#include "arch/layout.h"

static const char *const tags[] = {"play", "code", "heap"};

/* ---- Spaces ---- */

/* Always a limit of pages, so that the map has room. */
static struct aspace_limits pick_limits(uint32_t how)
{
    const uint64_t pages = how % 8 == 0 ? 40 + how / 8 % 200 : APLAY_LIMIT_PAGES;
    return (struct aspace_limits){npages(pages), how % 8 == 1 ? 3 + how / 8 % 12 : 0};
}

void aplay_create(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    const struct aspace_limits limits = pick_limits(op->how);
    aplay_say("aspace_create(%u, %lu pages, %zu ranges)", op->space, limits.pages.v, limits.ranges);
    const enum status status = aspace_create(&aplay.system, &s->space, limits);
    const unsigned must = s->lives ? APLAY_BIT(STATUS_MISUSE) : 0;
    if (aplay_answer(APLAY_CREATE, status, must, aplay_shortage())) {
        s->lives = true;
        s->limits = limits;
        s->count = 0;
    }
}

void aplay_destroy(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    const bool is_current = s->lives && aplay.vmm.current == &s->space.tables;
    const unsigned must = !s->lives || is_current ? APLAY_BIT(STATUS_MISUSE) : 0;
    aplay_say("aspace_destroy(%u)", op->space);
    if (!aplay_answer(APLAY_DESTROY, aspace_destroy(&s->space), must, 0)) {
        return;
    }
    aplay_pass(s, 0, UINT64_MAX, 0);
    aplay_remove(s, 0, UINT64_MAX);
    s->lives = false;
}

void aplay_limits(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    struct aspace_limits limits = pick_limits(op->how);
    if (op->how % 8 == 2) { /* as much as it has, and little more */
        limits.pages.v = s->count + 1 + op->how / 8 % 4;
    }
    unsigned must = aplay_dead(s);
    if (s->lives && (limits.pages.v < s->count || (limits.ranges != 0 && limits.ranges < aplay_mappings(s)))) {
        must |= APLAY_BIT(STATUS_LIMIT);
    }
    aplay_say("aspace_set_limits(%u, %lu pages, %zu ranges)", op->space, limits.pages.v, limits.ranges);
    if (aplay_answer(APLAY_LIMITS, aspace_set_limits(&s->space, limits), must, 0)) {
        s->limits = limits;
    }
}

/* ---- A new range ---- */

static unsigned limits_say(const struct aplay_space *s, uint64_t pages, unsigned *may)
{
    *may |= s->limits.ranges != 0 && aplay_mappings(s) + 1 > s->limits.ranges ? APLAY_BIT(STATUS_LIMIT) : 0;
    return s->lives && s->count + pages > s->limits.pages.v ? APLAY_BIT(STATUS_LIMIT) : 0;
}

/* Guard and room. */
static uint64_t lead_of(const struct aspace_request *r)
{
    return ((r->flags & (ASPACE_GUARD_BELOW | ASPACE_STACK)) != 0) + r->room.v;
}

/* What the request alone is to be refused for. */
static unsigned request_wrong(const struct aspace_request *r)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    const bool excluded = (r->flags & ASPACE_GLOBAL) != 0 &&
                          (r->flags & (ASPACE_PRIVATE | ASPACE_AT | ASPACE_WRITE_EXECUTE)) != 0;
    const bool both_unasked = (r->rights & both) == both && (r->flags & ASPACE_WRITE_EXECUTE) == 0;
    const bool too_few = r->allowed != 0 && (r->rights & ~r->allowed) != 0;
    unsigned wrong = excluded || both_unasked || too_few || r->pages.v == 0 || r->pages.v > ASPACE_PAGES_MAX
                         ? APLAY_BIT(STATUS_INVALID)
                         : 0;
    const bool may_have_room = (r->flags & ASPACE_STACK) != 0 && (r->flags & ASPACE_GLOBAL) == 0 && r->object == NULL;
    wrong |= r->room.v > (may_have_room ? UINT32_MAX : 0) ? APLAY_BIT(STATUS_INVALID) : 0;
    if ((r->flags & ASPACE_AT) != 0) {
        const bool no_guard = r->va.v >= LAYOUT_USER_FIRST &&
                              number_of(r->va) - number_of(vaddr(LAYOUT_USER_FIRST)) < lead_of(r);
        wrong |= aplay_range_wrong(r->va, r->pages) | (no_guard ? APLAY_BIT(STATUS_RANGE) : 0);
        wrong |= (r->flags & ASPACE_BEST_FIT) != 0 ? APLAY_BIT(STATUS_INVALID) : 0;
        wrong |= r->va.v >= APLAY_PRIVATE_END ? APLAY_BIT(STATUS_INVALID) | APLAY_BIT(STATUS_RANGE) : 0;
    }
    return wrong;
}

/* With its guards. */
static bool place_is_free(struct aplay_space *s, const struct aspace_request *r)
{
    const uint64_t below = lead_of(r), above = (r->flags & ASPACE_GUARD_ABOVE) != 0;
    return aplay_is_free(s, number_of(r->va) - below, r->pages.v + below + above);
}

static unsigned object_says(struct aplay_space *s, const struct aspace_request *r, unsigned *may)
{
    const struct aplay_object *o = aplay_object_of(r->object);
    unsigned must = 0;
    must |= r->first + r->pages.v > o->pages ? APLAY_BIT(STATUS_RANGE) : 0;
    must |= o->kind == OBJECT_PHYSICAL && (r->flags & ASPACE_PRIVATE) != 0 ? APLAY_BIT(STATUS_UNSUPPORTED) : 0;
    *may |= o->kind == OBJECT_PHYSICAL ? APLAY_BIT(STATUS_CONFLICT) | APLAY_BIT(STATUS_LIMIT) : 0;
    *may |= o->answer != STATUS_OK ? APLAY_BIT(o->answer) : 0;
    if ((r->flags & ASPACE_GLOBAL) == 0) {
        const uint64_t end = (r->flags & ASPACE_PRIVATE) != 0 ? 0 : r->first + r->pages.v;
        for (uint64_t i = r->first; i < end && i < o->pages; i++) {
            const bool is_often = aplay_times(s, (unsigned)(o - aplay.object) + 1, i) >= ASPACE_TIMES;
            must |= is_often ? APLAY_BIT(STATUS_LIMIT) : 0;
        }
        return must;
    }
    const uint64_t begins = o->global + pages_to_bytes(npages(r->first));
    const bool is_aligned = r->align_log2 == 0 || (begins & ((1ULL << r->align_log2) - 1)) == 0;
    must |= is_aligned ? 0 : APLAY_BIT(STATUS_INVALID);
    if (o->global == 0) {
        return must;
    }
    const uint64_t number = number_of(vaddr(begins));
    if (r->first + r->pages.v > o->global_pages) {
        must |= APLAY_BIT(STATUS_RANGE);
    } else if (aplay_count_in(s, number, r->pages.v) > 0) {
        must |= APLAY_BIT(STATUS_EXISTS);
    }
    for (uint64_t i = r->first; i < r->first + r->pages.v && i < APLAY_OBJECT_PAGES; i++) {
        *may |= o->lost[i] ? APLAY_BIT(STATUS_ABSENT) : 0;
    }
    return must;
}

static void expect_place(struct aplay_space *s, const struct aspace_request *r, vaddr_t va)
{
    const bool global = (r->flags & ASPACE_GLOBAL) != 0;
    struct aspace_request placed = *r;
    placed.va = va;
    const bool is_new = !global || r->object == NULL || aplay_object_of(r->object)->global == 0;
    if (!is_page_aligned(va.v) || (va.v & ((1ULL << r->align_log2) - 1)) != 0) {
        aplay_fail("%#lx is not aligned to 2^%u", va.v, r->align_log2);
    }
    if ((r->flags & ASPACE_AT) != 0 && va.v != r->va.v) {
        aplay_fail("%#lx is not where the range was asked for, %#lx", va.v, r->va.v);
    }
    if (aplay_range_wrong(va, r->pages) != 0 || (va.v >= APLAY_PRIVATE_END) != global) {
        aplay_fail("%#lx, %lu pages, is in no part of the user half, or in the wrong one", va.v, r->pages.v);
    }
    if (!global && !place_is_free(s, &placed)) {
        aplay_fail("%#lx, %lu pages, or the guards, lie over others of space %u", va.v, r->pages.v, index_of(s));
    }
    const bool below = (r->flags & ASPACE_GUARD_BELOW) != 0, above = (r->flags & ASPACE_GUARD_ABOVE) != 0;
    const uint64_t first = number_of(va) - (r->object != NULL ? r->first : 0);
    const uint64_t pages = r->object != NULL ? aplay_object_of(r->object)->pages : r->pages.v;
    const bool is_taken = is_new ? aplay_is_taken(first - below, pages + below + above, NULL)
                                 : aplay_is_taken(number_of(va), r->pages.v, aplay_object_of(r->object));
    if (global && is_taken) {
        aplay_fail("%#lx, %lu pages: a global address that somebody has was given out", va.v, r->pages.v);
    }
}

static void expect_request(struct aplay_space *s, const struct aspace_request *r, vaddr_t va)
{
    const unsigned kept = ASPACE_PRIVATE | ASPACE_STACK | ASPACE_WRITE_EXECUTE | ASPACE_FAULT_AROUND;
    const unsigned allowed = r->allowed != 0 ? r->allowed : r->rights;
    for (uint64_t i = 0; i < r->pages.v; i++) {
        const struct aplay_page *p = aplay_find(s, number_of(va) + i);
        if (p == NULL || p->room != (i == 0 ? r->room.v : 0)) {
            aplay_fail("page %lu at %#lx has other room than %lu pages", i, va.v, r->room.v);
            return;
        }
        if (p->rights != r->rights || p->allowed != allowed || p->tag != r->tag || p->sealed ||
            p->giver != 0 || (p->flags & kept) != (r->flags & kept) || (p->flags & ~r->flags) != 0) {
            aplay_fail("page %lu at %#lx: rights %#x of %#x, flags %#x, giver %u, not as asked for", i, va.v, p->rights,
                       p->allowed, p->flags, p->giver);
            return;
        }
        const struct aplay_object *o = aplay_object(p);
        const bool wants_own = r->object == NULL && (r->flags & ASPACE_GLOBAL) != 0;
        if ((o == NULL) != (r->object == NULL && !wants_own) || (r->object != NULL && o->object != r->object) ||
            (o != NULL && p->page != i + (r->object != NULL ? r->first : 0))) {
            aplay_fail("page %lu at %#lx is of another object, or another page of it", i, va.v);
            return;
        }
        struct vmm_walk w = {0};
        const bool is_idle = r->rights == 0 && o != NULL && o->kind == OBJECT_PHYSICAL; /* a device nobody may use */
        if ((r->flags & ASPACE_POPULATE) != 0 && !is_idle &&
            (vmm_translate(&aplay.vmm, &s->space.tables, vaddr_add_pages(va, i), &w) != STATUS_OK || !w.present)) {
            aplay_fail("page %lu at %#lx is not there, though asked for", i, va.v);
        }
    }
}

static void mapped(struct aplay_space *s, const struct aspace_request *r, vaddr_t va)
{
    expect_place(s, r, va);
    const bool is_placed = r->object != NULL && aplay_object_of(r->object)->global != 0;
    if (aplay.result.failed || !aplay_learn(s, number_of(va), r->pages.v)) {
        return;
    }
    expect_request(s, r, va);
    struct aplay_object *o = aplay_object(aplay_find(s, number_of(va)));
    if ((r->flags & ASPACE_GLOBAL) != 0 && o != NULL && !is_placed) {
        o->global = va.v - pages_to_bytes(npages(r->first));
        o->global_pages = o->pages;
        o->guards = r->flags & APLAY_ALLOWED_WITH_FLAGS;
        memset(o->lost, 0, sizeof o->lost);
        aplay_settle(o);
    }
}

static void ask(const struct aplay_op *op, struct aspace_request *r)
{
    struct aplay_space *s = &aplay.space[op->space];
    const struct aplay_object *o = aplay_object_of(r->object);
    unsigned may = aplay_shortage(), must = aplay_dead(s) | request_wrong(r);
    must |= limits_say(s, r->pages.v, &may);
    must |= o != NULL && r->object != NULL ? object_says(s, r, &may) : 0;
    const bool is_at = (r->flags & ASPACE_AT) != 0 && (must & ~APLAY_BIT(STATUS_LIMIT)) == 0;
    must |= is_at && !place_is_free(s, r) ? APLAY_BIT(STATUS_EXISTS) : 0;
    vaddr_t va = vaddr(0);
    const enum status status = aspace_map(&s->space, r, &va);
    aplay_say("aspace_map(%u, %#lx, %lu pages above %lu, rights %#x of %#x, flags %#x, object %p from %lu) = %s, %#lx",
              op->space, r->va.v, r->pages.v, r->room.v, r->rights, r->allowed, r->flags, (void *)r->object, r->first,
              status_name(status), va.v);
    if (aplay_answer((enum aplay_kind)op->kind, status, must, may)) {
        mapped(s, r, va);
    }
}

/* Flags by bits of `how`; combinations that are not meant are rare. */
void aplay_map(const struct aplay_op *op)
{
    const bool global = op->kind == APLAY_MAP_GLOBAL;
    struct aplay_object *o = op->kind == APLAY_MAP_OBJECT ? aplay_pick_object(op->which) : NULL;
    struct aspace_request r = {.pages = npages(aplay_pick_pages(op->pages)),
                               .rights = aplay_pick_rights(op->rights),
                               .tag = tags[op->rights / 64 % ARRAY_LEN(tags)]};
    const uint32_t how = op->how;
    r.allowed = op->rights / 256 % 3 == 0 ? VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER
                : op->rights / 256 % 16 == 1 ? (unsigned)VMM_READ
                                             : 0;
    r.flags = (global || (o != NULL && how % 3 == 0) ? ASPACE_GLOBAL : 0) | (how / 4 % 5 == 0 ? ASPACE_POPULATE : 0) |
              (how / 32 % 4 == 0 ? ASPACE_FAULT_AROUND : 0) | (how / 128 % 4 == 0 ? ASPACE_BEST_FIT : 0);
    r.flags |= (how / 512 % 5 == 0 && o == NULL ? ASPACE_GUARD_ABOVE : 0) |
               (how / 5120 % 5 == 0 && o == NULL ? ASPACE_GUARD_BELOW : 0);
    r.flags |= how / 32768 % 8 == 0 && o == NULL && !global ? ASPACE_STACK : 0;
    r.room.v = ((r.flags & ASPACE_STACK) != 0 ? op->which % 4 != 0 : op->which % 256 == 0) ? op->which / 4 % 48 : 0;
    r.align_log2 = how / (1U << 18) % 6 == 0 || r.pages.v % PAGES_PER_2M == 0 ? 21 : 0;
    if ((r.flags & ASPACE_GLOBAL) == 0 || how / (1U << 21) % 32 == 0) {
        r.flags |= how / (1U << 21) % 2 == 0 ? ASPACE_AT : 0;
        r.flags |= o != NULL && how / (1U << 22) % 3 != 0 ? ASPACE_PRIVATE : 0;
        r.flags |= how / (1U << 23) % 16 == 0 ? ASPACE_WRITE_EXECUTE : 0;
    }
    if ((r.flags & ASPACE_AT) != 0) {
        r.flags &= op->pages / 16 % 32 == 0 ? UINT32_MAX : ~(unsigned)ASPACE_BEST_FIT;
        r.va = how / (1U << 26) == 0 ? vaddr(LAYOUT_KERNEL_BASE) : address_of(aplay_pick_place(op->first));
        r.align_log2 = 0;
    }
    if (o != NULL) {
        const bool whole = op->first % 4 == 0;
        r.object = o->object;
        r.first = whole ? 0 : op->first % o->pages;
        r.pages.v = whole ? o->pages : r.pages.v > o->pages - r.first && op->first % 16 != 1 ? 1 : r.pages.v;
        o->answer = o->kind == OBJECT_PAGED && op->first % 7 == 0 ? STATUS_NOT_YET : STATUS_OK;
    }
    r.pages.v = op->pages / (1U << 24) == 0 ? (op->pages % 2 == 0 ? 0 : UINT64_MAX) : r.pages.v;
    ask(op, &r);
    if (o != NULL) {
        o->answer = STATUS_OK;
    }
}
