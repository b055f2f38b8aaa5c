/*
 * Segments at play: calls about them drawn, made, and done in the model: arrays of who may do what, and of what each
 * page begins with. Messages and clones that name segments come from the other calls, which ask here.
 */
#include "unit/task_play.h"

static unsigned me(const struct tplay *p) { return (unsigned)p->running; }
static uint64_t slot(uint64_t va) { return va / GIB; }
static bool is_wrong(uint64_t rights) { return rights == 0 || tplay_are_wrong(rights); }

/* ---- The model ---- */

struct tplay_segment *tplay_segment_at(struct tplay *p, uint64_t va)
{
    for (unsigned i = 0; i < TPLAY_SEGMENTS; i++) {
        if (p->segments[i].va != 0 && slot(p->segments[i].va) == slot(va)) {
            return &p->segments[i];
        }
    }
    return NULL;
}

struct tplay_segment *tplay_segment_of(struct tplay *p, unsigned t, uint64_t va)
{
    struct tplay_segment *s = tplay_segment_at(p, va);
    return s != NULL && s->rights[t] != 0 ? s : NULL;
}

bool tplay_segment_has(const struct tplay_segment *s, uint64_t va)
{
    return s != NULL && (va - s->va) / PAGE_BYTES < s->pages;
}

/* Pages from `first` on are as in the beginning. */
static void renew(struct tplay *p, struct tplay_segment *s, uint64_t first)
{
    for (uint64_t i = first; i < TPLAY_LIMIT_PAGES; i++) {
        s->page[i] = (struct tplay_segment_page){.word = s->is_file ? p->bed.pager.seed + i : 0};
    }
}

void tplay_segment_lose(struct tplay *p, struct tplay_segment *s, unsigned t)
{
    s->rights[t] = 0;
    if (s->owner == t) {
        p->gone_va = s->va;
        *s = (struct tplay_segment){0};
    }
}

bool tplay_segment_agrees(struct tplay *p, const struct tplay_segment *s, unsigned t)
{
    struct aspace_query q;
    struct aspace *space = &p->tasks[t].task->space;
    const uint64_t end = s->va + s->pages * PAGE_BYTES;
    const enum status is = s->rights[t] != 0 ? STATUS_OK : STATUS_ABSENT, got = aspace_query(space, vaddr(s->va), &q);
    bool ok = EXPECT_EQ(got, is) && EXPECT_EQ(aspace_query(space, vaddr(end), &q), STATUS_ABSENT);
    if (ok && is == STATUS_OK) {
        ok = EXPECT_OK(aspace_query(space, vaddr(end - 1), &q)) && EXPECT_EQ(q.rights, s->rights[t] | VMM_USER) &&
             EXPECT_EQ(q.base.v, s->va) && EXPECT_EQ(q.pages.v, s->pages) &&
             EXPECT_EQ(q.giver, s->owner == t ? 0 : p->tasks[s->owner].task->space.tables.id);
    }
    if (!ok) {
        test_note("task %u, segment %#lx of task %u", p->tasks[t].id, s->va, p->tasks[s->owner].id);
    }
    return ok;
}

/* A page, or the first behind the end, is read and written to. */
bool tplay_segment_touch(struct tplay *p)
{
    struct tplay_segment *s = &p->segments[tplay_below(p, TPLAY_SEGMENTS)];
    const unsigned t = (unsigned)tplay_below(p, TPLAY_TASKS);
    struct task *task = p->tasks[t].task;
    if (s->va == 0 || task == NULL) {
        return true;
    }
    const uint64_t i = tplay_below(p, s->pages + 1);
    const vaddr_t va = vaddr(s->va + i * PAGE_BYTES);
    const unsigned rights = i < s->pages ? s->rights[t] : 0;
    struct tplay_segment_page *page = &s->page[i % TPLAY_LIMIT_PAGES];
    uint64_t word = 0;
    const bool reads = task_bed_read(&p->bed, task, va, &word, sizeof word);
    bool ok = EXPECT_EQ(reads, rights != 0) && (!reads || EXPECT_EQ(word, page->word));
    word = rng_next(&p->rng);
    const bool writes = ok && task_bed_write(&p->bed, task, va, &word, sizeof word);
    ok = ok && EXPECT_EQ(writes, (rights & TASK_WRITE) != 0);
    page->word = writes ? word : page->word;
    page->use = reads ? TPLAY_IN_USE : page->use;
    if (!ok) {
        test_note("task %u touches page %lu of segment %#lx", p->tasks[t].id, i, s->va);
    }
    return ok;
}

/* ---- What is drawn ---- */

/* A segment: of any task, that the running one may use, or its own. Null: there is none. */
static const struct tplay_segment *any_segment(struct tplay *p)
{
    const uint64_t kind = tplay_below(p, 16);
    for (unsigned first = (unsigned)tplay_below(p, TPLAY_SEGMENTS), i = 0; kind > 0 && i < TPLAY_SEGMENTS; i++) {
        const struct tplay_segment *s = &p->segments[(first + i) % TPLAY_SEGMENTS];
        const bool fits = kind < 3 || (kind < 7 ? s->rights[p->running] != 0 : s->owner == me(p));
        if (s->va != 0 && fits) {
            return s;
        }
    }
    return NULL;
}

uint64_t tplay_draw_segment(struct tplay *p)
{
    const struct tplay_segment *s = any_segment(p);
    const uint64_t kind = tplay_below(p, 8);
    return s == NULL  ? p->gone_va
           : kind < 6 ? s->va
           : kind < 7 ? s->va + tplay_below(p, s->pages + 1) * PAGE_BYTES
                      : s->va + tplay_below(p, GIB);
}

uint64_t tplay_draw_bytes_at(struct tplay *p, uint64_t va)
{
    const struct tplay_segment *s = tplay_segment_at(p, va);
    return s != NULL && tplay_below(p, 4) > 0 ? s->pages * PAGE_BYTES - tplay_below(p, 9) : tplay_draw_bytes(p);
}

/* Mostly of somebody who may use it. */
static uint64_t draw_holder(struct tplay *p, uint64_t va)
{
    const struct tplay_segment *s = tplay_segment_at(p, va);
    for (unsigned i = 0; i < 12 && s != NULL && tplay_below(p, 8) > 0; i++) {
        const uint64_t t = tplay_below(p, TPLAY_TASKS);
        if (s->rights[t] != 0) {
            return p->tasks[t].id;
        }
    }
    return tplay_draw_id(p);
}

static uint64_t draw_bytes(struct tplay *p)
{
    const uint64_t kind = tplay_below(p, 8);
    return kind == 0   ? GIB + tplay_below(p, 4)
           : kind == 1 ? TPLAY_LIMIT_PAGES * PAGE_BYTES
                       : tplay_draw_bytes(p);
}

/* ---- Reasons ---- */

/* Of a call that its owner may make: `rights` for, or of, `other` (a place; -1: no such task). */
static unsigned change_reasons(struct tplay *p, uint64_t va, int other, uint64_t rights)
{
    const struct tplay_segment *s = tplay_segment_of(p, me(p), va);
    unsigned reasons = (other < 0 ? BIT(ABSENT) : 0) | (is_wrong(rights) ? BIT(INVALID) : 0);
    return reasons | (s == NULL ? BIT(ABSENT) : s->owner != me(p) ? BIT(DENIED) : 0);
}

static unsigned more_than(unsigned has, uint64_t rights)
{
    return ((rights | TASK_READ) & ~(uint64_t)has) != 0 ? BIT(DENIED) : 0;
}

unsigned tplay_grant_reasons(struct tplay *p, int to, uint64_t va, uint64_t rights)
{
    const struct tplay_segment *s = tplay_segment_of(p, me(p), va);
    unsigned reasons = change_reasons(p, va, to, rights);
    if (s != NULL) {
        reasons |= more_than(s->rights[p->running], rights);
        reasons |= to >= 0 && s->rights[to] != 0 ? BIT(EXISTS) : 0;
    }
    return reasons;
}

static unsigned resize_reasons(struct tplay *p, uint64_t va, uint64_t pages)
{
    const struct tplay_segment *s = tplay_segment_of(p, me(p), va);
    unsigned reasons = change_reasons(p, va, (int)me(p), TASK_READ) | (pages == 0 ? BIT(INVALID) : 0);
    if (pages > GIB / PAGE_BYTES) {
        return reasons | BIT(RANGE);
    }
    if (s == NULL || s->owner != me(p)) {
        return reasons;
    }
    bool is_shared = false;
    for (unsigned t = 0; t < TPLAY_TASKS; t++) {
        is_shared = is_shared || (t != me(p) && s->rights[t] != 0);
    }
    for (uint64_t i = pages; is_shared && i < s->pages; i++) {
        reasons |= s->page[i].use == TPLAY_IN_USE ? BIT(SHARED) : 0;
    }
    for (uint64_t i = pages; reasons == 0 && is_shared && i < s->pages; i++) {
        reasons |= s->page[i].use == TPLAY_MAYBE_IN_USE ? BIT(SHARED) | TPLAY_OR_OK : 0;
    }
    return reasons | (tplay_pages(p, me(p)).v - s->pages + pages > TPLAY_LIMIT_PAGES ? BIT(LIMIT) : 0);
}

/* ---- Calls ---- */

/* A new one, with so many pages. => false: it is not as it should be */
static bool enter(struct tplay *p, struct tplay_segment *s, uint64_t pages, uint64_t rights, bool is_file)
{
    const uint64_t va = task_value(p->tasks[p->running].task);
    bool ok = EXPECT(va % GIB == 0) && EXPECT(tplay_segment_at(p, va) == NULL);
    for (unsigned i = 0; i < p->page_count; i++) {
        ok = EXPECT(slot(p->pages[i].va) != slot(va)) && ok;
    }
    *s = (struct tplay_segment){.va = va, .pages = pages, .owner = me(p), .is_file = is_file};
    s->rights[p->running] = (uint8_t)(rights | TASK_READ);
    renew(p, s, 0);
    return ok;
}

/* A place for one more; null: none. */
static struct tplay_segment *place(struct tplay *p)
{
    for (unsigned i = 0; i < TPLAY_SEGMENTS; i++) {
        if (p->segments[i].va == 0) {
            return &p->segments[i];
        }
    }
    return NULL;
}

static bool tplay_create(struct tplay *p, struct tplay_segment *s)
{
    const uint64_t bytes = draw_bytes(p), rights = tplay_draw_rights(p), pages = tplay_page_count(bytes);
    unsigned reasons = is_wrong(rights) || bytes == 0 ? BIT(INVALID) : 0;
    reasons |= pages > GIB / PAGE_BYTES ? BIT(RANGE) : 0;
    reasons |= tplay_pages(p, me(p)).v + pages > TPLAY_LIMIT_PAGES ? BIT(LIMIT) : 0;
    const unsigned status = CALL_IT(p, TASK_SEGMENT_CREATE, reasons, bytes, rights);
    return status == STATUS_OK ? enter(p, s, pages, rights, false) : status != UINT32_MAX;
}

static bool tplay_file(struct tplay *p, struct tplay_segment *s)
{
    const struct tplay_name name = tplay_draw_name(p);
    const uint64_t rights = tplay_draw_rights(p);
    unsigned reasons = name.reasons | (is_wrong(rights) ? BIT(INVALID) : 0);
    reasons |= tplay_pages(p, me(p)).v + TASK_BED_MODULE_PAGES > TPLAY_LIMIT_PAGES ? BIT(LIMIT) : 0;
    const unsigned status = CALL_IT(p, TASK_SEGMENT_FILE, reasons, name.va, name.bytes, rights);
    return status == STATUS_OK ? enter(p, s, TASK_BED_MODULE_PAGES, rights, true) : status != UINT32_MAX;
}

static bool tplay_grant(struct tplay *p)
{
    const uint64_t va = tplay_draw_segment(p), id = tplay_draw_id(p), rights = tplay_draw_rights(p);
    const int to = tplay_find(p, id);
    const unsigned status = CALL_IT(p, TASK_SEGMENT_GRANT, tplay_grant_reasons(p, to, va, rights), va, id, rights);
    if (status == STATUS_OK) {
        tplay_segment_at(p, va)->rights[to] = (uint8_t)(rights | TASK_READ);
    }
    return status != UINT32_MAX;
}

static bool tplay_narrow(struct tplay *p)
{
    const uint64_t va = tplay_draw_segment(p), id = draw_holder(p, va), rights = tplay_draw_rights(p);
    const int of = tplay_find(p, id);
    struct tplay_segment *s = tplay_segment_of(p, me(p), va);
    const unsigned has = s != NULL && of >= 0 ? s->rights[of] : 0;
    unsigned reasons = change_reasons(p, va, of, rights);
    reasons |= s == NULL ? 0 : has == 0 ? BIT(ABSENT) : more_than(has, rights);
    const unsigned status = CALL_IT(p, TASK_SEGMENT_NARROW, reasons, va, id, rights);
    if (status == STATUS_OK) {
        s->rights[of] = (uint8_t)(rights | TASK_READ);
    }
    return status != UINT32_MAX;
}

static bool tplay_revoke(struct tplay *p)
{
    const uint64_t va = tplay_draw_segment(p), holder = draw_holder(p, va);
    const bool is_own = holder == p->tasks[p->running].id;
    const uint64_t id = is_own && tplay_below(p, 4) > 0 ? tplay_draw_id(p) : holder; /* seldom the end of it */
    const int from = tplay_find(p, id);
    struct tplay_segment *s = tplay_segment_of(p, me(p), va);
    unsigned reasons = change_reasons(p, va, from, TASK_READ);
    reasons = from == p->running ? reasons & ~BIT(DENIED) : reasons; /* its own */
    reasons |= s != NULL && from >= 0 && s->rights[from] == 0 ? BIT(ABSENT) : 0;
    const unsigned status = CALL_IT(p, TASK_SEGMENT_REVOKE, reasons, va, id);
    if (status == STATUS_OK) {
        tplay_segment_lose(p, s, (unsigned)from);
    }
    return status != UINT32_MAX;
}

static bool tplay_resize(struct tplay *p)
{
    const uint64_t va = tplay_draw_segment(p);
    const struct tplay_segment *there = tplay_segment_at(p, va);
    const bool is_less = there != NULL && tplay_below(p, 5) < 2;
    const uint64_t bytes = is_less ? tplay_below(p, there->pages) * PAGE_BYTES : draw_bytes(p);
    const uint64_t pages = tplay_page_count(bytes);
    const unsigned status = CALL_IT(p, TASK_SEGMENT_RESIZE, resize_reasons(p, va, pages), va, bytes);
    if (status == STATUS_OK) {
        struct tplay_segment *s = tplay_segment_at(p, va);
        s->pages = pages;
        renew(p, s, pages);
    }
    return status != UINT32_MAX;
}

bool tplay_segment_call(struct tplay *p)
{
    struct tplay_segment *free = place(p);
    switch (tplay_below(p, 10)) {
    case 0: return tplay_narrow(p);
    case 1: return tplay_revoke(p);
    case 2:
    case 3: return tplay_resize(p);
    case 4: return free == NULL || tplay_file(p, free);
    case 5:
    case 6: return free == NULL || tplay_create(p, free);
    }
    return tplay_grant(p);
}
