/* The plain map against all that there is: mappings, tables, frames, objects; and who uses a frame. */
#include "unit/aspace_play_map.h"

#include "arch/layout.h"

static const uint64_t words[] = APLAY_WORDS;

bool aplay_frame_shows(pfn_t frame, uint64_t value)
{
    const uint64_t *at = model_frame(model_machine, frame);
    for (unsigned i = 0, next = 0; i < TABLE_ENTRIES && at != NULL; i++) {
        const bool is_word = next < ARRAY_LEN(words) && words[next] == i;
        next += is_word;
        if (at[i] != (is_word ? value : 0)) {
            return false;
        }
    }
    return at != NULL;
}

/* ---- Mappings ---- */

struct comparison {
    struct aplay_space *space;
    unsigned at, mappings;
};

static bool compare_mapping(void *ctx, const struct aspace_query *q)
{
    struct comparison *c = ctx;
    struct aplay_space *s = c->space;
    unsigned low = c->at, high = c->at;
    if (c->at < s->count) {
        aplay_mapping(s, c->at, &low, &high);
    }
    const struct aplay_page *p = &s->page[low], *last = &s->page[high - (high > low)];
    const unsigned guards = (p->guard_below ? (unsigned)ASPACE_GUARD_BELOW : 0) |
                            (last->guard_above ? (unsigned)ASPACE_GUARD_ABOVE : 0);
    const struct aplay_object *o = aplay_object(p);
    if (low == high || p->number != number_of(q->base) || high - low != q->pages.v || p->rights != q->rights ||
        p->allowed != q->allowed || p->flags + guards != q->flags || p->sealed != q->sealed || p->tag != q->tag ||
        (o == NULL ? NULL : o->object) != q->object || (o != NULL && p->page != q->page) ||
        q->giver != p->giver || q->room_pages != p->room) {
        aplay_fail("space %u has %#lx, %lu pages, rights %#x of %#x, flags %#x, giver %u, room %u, object %p page "
                   "%lu; not %#lx, %u pages, rights %#x of %#x, flags %#x, giver %u, room %u, object %p page %u",
                   index_of(s), q->base.v, q->pages.v, q->rights, q->allowed, q->flags, q->giver, q->room_pages,
                   (void *)q->object, q->page, address_of(p->number).v, high - low, p->rights, p->allowed,
                   p->flags + guards, p->giver, p->room, o == NULL ? NULL : (void *)o->object, p->page);
        return false;
    }
    c->at = high;
    c->mappings++;
    return true;
}

void aplay_compare(struct aplay_space *s)
{
    struct comparison c = {.space = s};
    if (!s->lives || aplay.result.failed) {
        return;
    }
    aspace_visit(&s->space, compare_mapping, &c);
    if (!aplay.result.failed && c.at != s->count) {
        aplay_fail("space %u has no mapping at %#lx", index_of(s), address_of(s->page[c.at].number).v);
    }
    if (!aplay.result.failed && (s->space.pages.v != s->count || s->space.ranges != c.mappings)) {
        aplay_fail("space %u counts %lu pages in %zu ranges, not %u in %u", index_of(s), s->space.pages.v,
                   s->space.ranges, s->count, c.mappings);
    }
}

/* ---- Leaves ---- */

static void compare_leaf(struct aplay_space *s, uint64_t number, pfn_t frame, unsigned rights)
{
    struct aplay_page *p = aplay_find(s, number);
    const vaddr_t va = address_of(number);
    if (p == NULL || aplay_is_behind_end(p)) {
        aplay_fail("space %u: the tables have a page at %#lx, %s", index_of(s), va.v,
                   p == NULL ? "where no mapping is" : "behind the end of its object");
        return;
    }
    const unsigned allowed = p->rights == 0 ? (unsigned)VMM_READ : p->rights;
    if ((rights & ~allowed) != 0) {
        aplay_fail("space %u: the tables give %#x at %#lx, the mapping %#x", index_of(s), rights, va.v, p->rights);
    }
    const uint64_t *value = aplay_value(p);
    const struct aplay_object *o = aplay_object(p);
    if (value == NULL ? frame.v != o->first.v + p->page : !aplay_frame_shows(frame, *value)) {
        aplay_fail("space %u: behind %#lx is frame %#lx, which does not hold %#lx", index_of(s), va.v, frame.v,
                   value == NULL ? 0 : *value);
    }
}

static bool compare_leaves(void *ctx, const struct vmm_mapping *m)
{
    for (uint64_t i = 0; i < m->pages.v && !aplay.result.failed; i++) {
        compare_leaf(ctx, number_of(m->base) + i, pfn_add(paddr_to_pfn(m->address), i), m->rights);
    }
    return !aplay.result.failed;
}

/* Private memory that holds something is nowhere but in the tables. */
static void expect_kept(struct aplay_space *s)
{
    for (unsigned i = 0; i < s->count && !aplay.result.failed; i++) {
        const struct aplay_page *p = &s->page[i];
        struct vmm_walk w;
        if ((p->object != 0 && !p->copied) || p->value == 0 || aplay_is_behind_end(p)) {
            continue;
        }
        if (vmm_translate(&aplay.vmm, &s->space.tables, address_of(p->number), &w) != STATUS_OK || !w.present) {
            aplay_fail("space %u, %#lx: %#lx was written there, and nothing is there", index_of(s),
                       address_of(p->number).v, p->value);
        }
    }
}

/* ---- Objects ---- */

static void compare_pages(const struct aplay_object *o)
{
    uint64_t resident = 0;
    for (uint64_t i = 0; i < o->pages && !aplay.result.failed; i++) {
        pfn_t frame;
        const enum status s = object_frame(o->object, i, &frame);
        const bool is_there = s == STATUS_OK;
        resident += is_there;
        if (is_there && o->holders == 0 && o->users[i] == 0) {
            aplay_fail("page %lu of object %p is nobody's, and has a frame", i, (void *)o->object);
        }
        if (is_there ? !aplay_frame_shows(frame, o->value[i]) : o->value[i] != aplay_initial(o, i)) {
            aplay_fail("page %lu of object %p (%s) does not hold %#lx", i, (void *)o->object, status_name(s),
                       o->value[i]);
        }
    }
    if (object_info(o->object).resident.v != resident) {
        aplay_fail("object %p counts other pages than its %lu resident ones", (void *)o->object, resident);
    }
}

static void compare_object(const struct aplay_object *o)
{
    const struct object_info info = object_info(o->object);
    const uint64_t global = o->global;
    if (info.kind != o->kind || info.pages.v != o->pages || info.holders != o->holders || info.global.v != global ||
        o->gone != 0) {
        aplay_fail("object %p: kind %u, %lu pages, %u holders, at %#lx, not %u, %lu, %u, %#lx", (void *)o->object,
                   info.kind, info.pages.v, info.holders, info.global.v, o->kind, o->pages, o->holders, global);
    }
    if (o->kind != OBJECT_PHYSICAL) {
        compare_pages(o);
    }
}

/* ---- All ---- */

static void validate(void)
{
    static char text[APLAY_TEXT_BYTES];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    if (aspaces_check(&aplay.system, &b.sink) != STATUS_OK) {
        const char *number = strchr(text, '-'); /* of the invariant */
        aplay.result.kind = number == NULL ? 0 : (enum aplay_kind)(number[1] * 16 + number[2]);
        aplay_fail("aspaces_check: %s", text);
    } else if (vmm_check(&aplay.vmm, &b.sink) != STATUS_OK) {
        aplay_fail("vmm_check: %s", text);
    } else if (pmm_check(&model_machine->pmm, &b.sink) != STATUS_OK) {
        aplay_fail("pmm_check: %s", text);
    }
}

void aplay_sweep(void)
{
    for (unsigned k = 0; k < APLAY_SPACES && !aplay.result.failed; k++) {
        struct aplay_space *s = &aplay.space[k];
        aplay_compare(s);
        if (s->lives && !aplay.result.failed) {
            vmm_visit(&aplay.vmm, &s->space.tables, vaddr(0), vaddr(LAYOUT_USER_END), compare_leaves, s);
            expect_kept(s);
        }
    }
    for (unsigned i = 0; i < APLAY_OBJECTS && !aplay.result.failed; i++) {
        if (aplay.object[i].object != NULL) {
            compare_object(&aplay.object[i]);
        }
    }
    if (!aplay.result.failed) {
        aplay_check_gifts();
    }
    if (!aplay.result.failed) {
        validate();
    }
}

/* ---- Who uses a frame ---- */

struct users {
    pfn_t frame;
    const struct aplay_page *page;    /* that it is */
    unsigned leaves, visited, others; /* that name the frame; that were told, and do; that could, after a fault */
};

static bool count_leaves(void *ctx, const struct vmm_mapping *m)
{
    struct users *u = ctx;
    const uint64_t first = paddr_to_pfn(m->address).v;
    u->leaves += u->frame.v >= first && u->frame.v < first + m->pages.v;
    return true;
}

static bool count_visit(void *ctx, struct aspace *space, vaddr_t va)
{
    struct users *u = ctx;
    struct vmm_walk w;
    const struct aplay_page *p = NULL;
    for (unsigned k = 0; k < APLAY_SPACES && p == NULL; k++) {
        p = &aplay.space[k].space == space && aplay.space[k].lives ? aplay_find(&aplay.space[k], number_of(va)) : NULL;
    }
    if (vmm_translate(&aplay.vmm, &space->tables, va, &w) == STATUS_OK && w.present &&
        paddr_to_pfn(w.address).v == u->frame.v) {
        u->visited++;
        return true;
    }
    u->others++;
    if (p == NULL || p->object == 0 || p->object != u->page->object || p->page != u->page->page) {
        aplay_fail("frame %#lx is not behind %#lx, as aspaces_users says", u->frame.v, va.v);
    }
    return true;
}

void aplay_users(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    pfn_t zero;
    struct aspace_query q = {0};
    struct aplay_page *p = s->lives && s->count > 0 ? &s->page[op->which % s->count] : NULL;
    if (p == NULL || aspace_query(&s->space, address_of(p->number), &q) != STATUS_OK || q.frame.v == 0 ||
        pmm_zero_frame(&model_machine->pmm, &zero) != STATUS_OK || q.frame.v == zero.v ||
        q.frame.v >= model_machine->ram.v) {
        return;
    }
    struct users u = {.frame = q.frame, .page = p};
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        if (aplay.space[k].lives) {
            vmm_visit(&aplay.vmm, &aplay.space[k].space.tables, vaddr(0), vaddr(LAYOUT_USER_END), count_leaves, &u);
        }
    }
    const enum status status = aspaces_users(&aplay.system, q.frame, count_visit, &u);
    aplay_say("aspaces_users(%#lx) = %s, %u", q.frame.v, status_name(status), u.visited);
    if (u.visited != u.leaves) {
        aplay_fail("frame %#lx is behind %u addresses, aspaces_users says %u", q.frame.v, u.leaves, u.visited);
    }
    (void)aplay_answer(APLAY_USERS, status, u.visited + u.others == 0 ? APLAY_BIT(STATUS_ABSENT) : 0, 0);
}
