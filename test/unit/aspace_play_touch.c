/* Faults, accesses as a CPU makes them, and questions. */
#include "unit/aspace_play_map.h"

#include "arch/arch.h"
#include "arch/layout.h"

enum { BURST = 6 };

static const uint64_t words[] = APLAY_WORDS;

/* ---- The CPU ---- */

static enum model_kind kind_of(unsigned access)
{
    return (access & VMM_WRITE) != 0     ? MODEL_WRITE
           : (access & VMM_EXECUTE) != 0 ? MODEL_EXECUTE
                                         : MODEL_READ;
}

static void write_page(vaddr_t va, uint64_t *value)
{
    *value = ++aplay.values;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        arch_write64(vaddr_add(va, words[i] * sizeof(uint64_t)), *value);
    }
}

static void read_page(const struct aplay_space *s, vaddr_t va, uint64_t value)
{
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        const uint64_t word = arch_read64(vaddr_add(va, words[i] * sizeof(uint64_t)));
        if (word != value) {
            aplay_fail("space %u, %#lx: word %lu holds %#lx, not %#lx", index_of(s), va.v, words[i], word, value);
        }
    }
}

/* After a fault that says so, the access works, and shows what it should. */
static void access_page(struct aplay_space *s, struct aplay_page *p, unsigned access, bool stores)
{
    const vaddr_t va = address_of(p->number);
    struct vmm_walk w;
    if (aplay.vmm.current != &s->space.tables && space_switch(&aplay.vmm, &s->space.tables) != STATUS_OK) {
        aplay_fail("no switch to space %u", index_of(s));
        return;
    }
    if (vmm_translate(&aplay.vmm, &s->space.tables, va, &w) != STATUS_OK || (access & ~w.rights) != 0 ||
        (w.rights & ~(unsigned)p->rights) != 0) {
        aplay_fail("space %u, %#lx: after a fault for %#x the tables give %#x, the mapping says %#x", index_of(s), va.v,
                   access, w.rights, p->rights);
        return;
    }
    const struct model_verdict v = model_judge(model_machine, va, kind_of(access));
    if (v.rule != MODEL_NONE) {
        aplay_fail("space %u, %#lx: after a fault for %#x an access comes to: %s", index_of(s), va.v, access,
                   model_rule_name(v.rule));
        return;
    }
    uint64_t *value = aplay_value(p);
    if (value != NULL) {
        read_page(s, va, *value);
        if (stores) {
            write_page(va, value);
        }
    }
}

/* ---- Faults ---- */

static unsigned fault_wrong(const struct aplay_page *p, unsigned access, unsigned *may)
{
    struct aplay_object *o = aplay_object(p);
    unsigned must = (access & ~(unsigned)p->rights) != 0 ? APLAY_BIT(STATUS_DENIED) : 0;
    must |= aplay_is_behind_end(p) ? APLAY_BIT(STATUS_ABSENT) : 0;
    *may |= o != NULL && o->kind == OBJECT_PHYSICAL ? APLAY_BIT(STATUS_CONFLICT) | APLAY_BIT(STATUS_LIMIT) : 0;
    *may |= o != NULL && o->answer != STATUS_OK ? APLAY_BIT(o->answer) : 0;
    return must;
}

static void check_out(struct aplay_space *s, uint64_t number, enum status status, const struct aspace_fault *out)
{
    const struct aplay_page *p = aplay_find(s, number);
    const bool in_guard = p == NULL && aplay_is_guard(s, number);
    if (status == STATUS_OK || status == STATUS_RANGE || status == STATUS_MISUSE) {
        return;
    }
    if (out->why == NULL || out->inside != (p != NULL) || (out->in_guard != in_guard && number_of(out->base) != 0 &&
                                                           address_of(number).v < APLAY_PRIVATE_END)) {
        aplay_fail("space %u, %#lx: %s: inside %d, in_guard %d, not %d, %d", index_of(s), address_of(number).v,
                   out->why == NULL ? "no reason" : out->why, out->inside, out->in_guard, p != NULL, in_guard);
    }
}

/* The pages from this one on, up to the first one of the stack, are the stack's too. */
static void grow(struct aplay_space *s, struct aplay_page *stack, uint64_t number)
{
    const struct aplay_page old = *stack;
    const uint64_t gained = stack->number - number;
    stack->guard_below = false;
    stack->room = 0;
    struct aplay_page *p = aplay_insert(s, number, gained);
    for (uint64_t i = 0; i < gained && p != NULL; i++) {
        p[i].tag = old.tag;
        p[i].flags = old.flags;
        p[i].rights = old.rights;
        p[i].allowed = old.allowed;
        p[i].sealed = old.sealed;
        p[i].guard_below = i == 0;
        p[i].room = i == 0 ? (uint32_t)(old.room - gained) : 0;
    }
}

/* A stack that is to grow: what it is refused for. */
static unsigned growth_wrong(const struct aplay_space *s, const struct aplay_page *stack, uint64_t number,
                             unsigned access, unsigned *may)
{
    const bool is_full = s->count + (stack->number - number) > s->limits.pages.v;
    *may |= s->limits.ranges != 0 && aplay_mappings(s) + 1 > s->limits.ranges ? APLAY_BIT(STATUS_LIMIT) : 0;
    return ((access & ~(unsigned)stack->rights) != 0 ? APLAY_BIT(STATUS_DENIED) : 0) |
           (is_full ? APLAY_BIT(STATUS_LIMIT) : 0);
}

static void touch_page(struct aplay_space *s, uint64_t number, unsigned access, bool stores)
{
    struct aplay_page *p = s->lives ? aplay_find(s, number) : NULL;
    struct aplay_page *stack = s->lives ? aplay_stack_at(s, number) : NULL;
    const vaddr_t va = vaddr_add(address_of(number), aplay.values * sizeof(uint64_t) % PAGE_BYTES);
    unsigned may = aplay_shortage(), must = aplay_dead(s);
    const bool is_user = va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END;
    must |= is_user ? 0 : APLAY_BIT(STATUS_RANGE);
    must |= p != NULL       ? fault_wrong(p, access, &may)
            : stack != NULL ? growth_wrong(s, stack, number, access, &may)
            : must != 0     ? 0
                            : APLAY_BIT(STATUS_ABSENT);
    struct aspace_fault out = {0};
    const enum status status = aspace_fault(&s->space, va, access, &out);
    aplay_say("aspace_fault(%u, %#lx, %#x) = %s", index_of(s), va.v, access, status_name(status));
    if (!aplay_answer(APLAY_TOUCH, status, must, may)) {
        check_out(s, number, status, &out);
        return;
    }
    if (stack != NULL) {
        grow(s, stack, number);
        p = aplay_find(s, number);
    }
    if ((access & VMM_WRITE) != 0 && p != NULL && (p->flags & ASPACE_PRIVATE) != 0 && !p->copied) {
        p->value = *aplay_value(p);
        p->copied = true;
    }
    if (p != NULL && !aplay.result.failed) {
        access_page(s, p, access, stores && (access & VMM_WRITE) != 0);
    }
}

static uint64_t pick_page(const struct aplay_space *s, const struct aplay_op *op)
{
    static const uint64_t wrong[] = {LAYOUT_KERNEL_BASE, LAYOUT_USER_FIRST - PAGE_BYTES, LAYOUT_USER_END,
                                     LAYOUT_USER_FIRST};
    if (op->first % 64 == 0) {
        return number_of(vaddr(wrong[op->which % ARRAY_LEN(wrong)]));
    }
    if (s->count == 0 || op->first % 64 == 1) {
        return aplay_pick_place(op->which);
    }
    unsigned low = op->which % s->count, high;
    if (op->first % 64 < 14) { /* the next stack, to grow */
        unsigned i = low;
        for (unsigned n = 0; n < s->count && s->page[i].room == 0; n++) {
            i = (i + 1) % s->count;
        }
        return s->page[i].number - (s->page[i].room != 0 ? 1 + op->first / 64 % s->page[i].room : 0);
    }
    if (op->first % 64 < 20) { /* the end of a mapping, or just outside: guards */
        aplay_mapping(s, low, &low, &high);
        const uint64_t below = op->first / 64 % (2 + (uint64_t)s->page[low].room);
        return op->first % 2 == 0 ? s->page[low].number - below : s->page[high - 1].number + 1;
    }
    return s->page[low].number;
}

void aplay_touch(const struct aplay_op *op)
{
    static const unsigned accesses[] = {VMM_READ, VMM_WRITE, VMM_WRITE, VMM_EXECUTE};
    struct aplay_space *s = &aplay.space[op->space];
    const uint64_t number = pick_page(s, op), pages = 1 + (op->pages % 4 == 0 ? op->pages / 4 % BURST : 0);
    for (uint64_t i = 0; i < pages && !aplay.result.failed; i++) {
        const struct aplay_page *p = s->lives ? aplay_find(s, number + i) : NULL;
        unsigned access = accesses[(op->rights >> 2 * i) % ARRAY_LEN(accesses)];
        if (p != NULL && op->rights >> 20 != 0 && (access & p->rights) == 0) {
            access = VMM_READ; /* mostly one that is allowed */
        }
        const bool as_user = p == NULL || (p->rights & VMM_USER) != 0 || op->how % 32 == 0;
        struct aplay_object *o = p != NULL ? aplay_object(p) : NULL;
        if (o != NULL && o->kind == OBJECT_PAGED && op->how / 32 % 8 == 0) {
            o->answer = STATUS_NOT_YET;
        }
        touch_page(s, number + i, access | (as_user && op->how % 8 != 1 ? (unsigned)VMM_USER : 0), op->how % 4 != 2);
        if (o != NULL) {
            o->answer = STATUS_OK;
        }
    }
}

/* ---- Questions ---- */

static unsigned mappings_of(const struct aplay_page *p)
{
    unsigned n = 0;
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        const struct aplay_space *s = &aplay.space[k];
        for (unsigned i = 0; i < s->count; i++) {
            n += s->page[i].object == p->object && (i == 0 || !aplay_joins(&s->page[i - 1], &s->page[i]));
        }
    }
    return n;
}

static void compare_query(struct aplay_space *s, struct aplay_page *p, const struct aspace_query *q)
{
    struct aplay_object *o = aplay_object(p);
    unsigned low, high;
    aplay_mapping(s, (unsigned)(p - s->page), &low, &high);
    const bool same = number_of(q->base) == s->page[low].number && q->pages.v == high - low &&
                      q->rights == p->rights && q->allowed == p->allowed && q->sealed == p->sealed &&
                      q->tag == p->tag && q->object == (o == NULL ? NULL : o->object) &&
                      (o == NULL || (q->page == p->page && q->sharers == mappings_of(p)));
    if (!same) {
        aplay_fail("space %u, %#lx: query says %#lx, %lu pages, rights %#x of %#x, page %lu, %u sharers", index_of(s),
                   address_of(p->number).v, q->base.v, q->pages.v, q->rights, q->allowed, q->page, q->sharers);
    }
    const uint64_t *value = aplay_value(p);
    if (value == NULL || aplay_is_behind_end(p)) {
        return;
    }
    const bool is_untouched = o != NULL && aplay_is_private(p) && !p->copied; /* none of its own yet */
    const uint64_t fresh = o == NULL || p->copied ? 0 : is_untouched ? *value : aplay_initial(o, p->page);
    if (q->frame.v == 0 ? *value != fresh : !aplay_frame_shows(q->frame, *value)) {
        aplay_fail("space %u, %#lx: query says frame %#lx, which does not hold %#lx", index_of(s),
                   address_of(p->number).v, q->frame.v, *value);
    }
}

void aplay_query(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    const uint64_t number = pick_page(s, op);
    const bool is_user = address_of(number).v >= LAYOUT_USER_FIRST && address_of(number).v < LAYOUT_USER_END;
    struct aplay_page *p = s->lives ? aplay_find(s, number) : NULL;
    unsigned must = aplay_dead(s) | (is_user ? 0 : APLAY_BIT(STATUS_RANGE));
    must |= must == 0 && p == NULL ? APLAY_BIT(STATUS_ABSENT) : 0;
    struct aspace_query q = {0};
    aplay_say("aspace_query(%u, %#lx)", op->space, address_of(number).v);
    if (aplay_answer(APLAY_QUERY, aspace_query(&s->space, address_of(number), &q), must, 0)) {
        compare_query(s, p, &q);
    }
}

void aplay_find_next(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    if (!s->lives) {
        return;
    }
    const uint64_t number = pick_page(s, op);
    const unsigned i = aplay_lower(s, number);
    vaddr_t base = vaddr(0);
    npages_t pages = npages(0);
    unsigned low = i, high = i;
    if (i < s->count) {
        aplay_mapping(s, i, &low, &high);
    }
    const bool found = aspace_find(&s->space, address_of(number), &base, &pages);
    if (found != (i < s->count) ||
        (found && (number_of(base) != s->page[low].number || pages.v != high - low))) {
        aplay_fail("space %u: aspace_find(%#lx) says %d: %#lx, %lu pages", op->space, address_of(number).v, found,
                   base.v, pages.v);
    }
    (void)aplay_answer(APLAY_FIND, found ? STATUS_OK : STATUS_ABSENT, found ? 0 : APLAY_BIT(STATUS_ABSENT), 0);
}
