/* System calls at play about memory and other tasks' memory: drawn, made, and done in the model. */
#include "arch/layout.h"
#include "unit/task_play.h"

static unsigned me(const struct tplay *p) { return (unsigned)p->running; }
static struct task *my_task(const struct tplay *p) { return p->tasks[p->running].task; }

static bool tplay_alloc(struct tplay *p)
{
    static const uint64_t flags[] = {0, 0, 0, TASK_PRIVATE, TASK_PRIVATE | TASK_POPULATE, TASK_GUARDS, TASK_POPULATE,
                                     TASK_NO_WAIT};
    static const uint64_t aligns[] = {0, 0, 0, 0, 12, 14, 21, 1, 40, 1UL << 40};
    const uint64_t bytes = tplay_draw_bytes(p), rights = tplay_draw_rights(p), align = aligns[tplay_below(p, 10)];
    const uint64_t flag = flags[tplay_below(p, ARRAY_LEN(flags))], pages = tplay_page_count(bytes);
    const bool is_wrong = bytes == 0 || pages > ASPACE_PAGES_MAX || (rights | flag) >= TASK_DATA || rights == 0 ||
                          (rights & 8) != 0 || (rights & 6) == 6 || align == 1 || align > 39;
    const bool is_many = tplay_pages(p, me(p)).v + pages > TPLAY_LIMIT_PAGES;
    const unsigned s = CALL_IT(p, TASK_ALLOC, is_wrong ? BIT(INVALID) : is_many ? BIT(LIMIT) : 0, bytes,
                               rights | flag, align);
    const uint64_t va = task_value(my_task(p)), is_private = flag & TASK_PRIVATE;
    if (s != STATUS_OK) {
        return s != UINT32_MAX;
    }
    bool ok = EXPECT(va % (1UL << (align > 12 ? align : 12)) == 0) &&
              EXPECT((va < LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)) == (is_private != 0));
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t at = va + i * PAGE_BYTES;
        ok = ok && EXPECT(tplay_segment_at(p, at) == NULL);
        for (unsigned t = 0; t < TPLAY_TASKS; t++) { /* an address is nobody else's */
            ok = ok && EXPECT(tplay_page_of(p, t, at) == NULL || (is_private != 0 && t != me(p)));
        }
        tplay_page_have(tplay_page_new(p, at, is_private != 0), me(p), (unsigned)rights);
    }
    return ok;
}

/* DENIED: one is sealed, or `rights` are too many for one. */
static unsigned change_reasons(struct tplay *p, uint64_t va, uint64_t bytes, uint64_t rights)
{
    unsigned reasons = tplay_range_reasons(p, me(p), va, bytes);
    for (uint64_t i = 0; (reasons & ~BIT(ABSENT)) == 0 && i < tplay_page_count(bytes) && i < TPLAY_LIMIT_PAGES; i++) {
        const struct tplay_page *page = tplay_page_of(p, me(p), va + i * PAGE_BYTES);
        if (page != NULL && (page->sealed[p->running] || (rights & ~(uint64_t)page->allowed[p->running] & 7) != 0)) {
            reasons |= BIT(DENIED);
            break;
        }
    }
    return reasons;
}

static bool tplay_free(struct tplay *p)
{
    const uint64_t va = tplay_draw_va(p), bytes = tplay_draw_bytes(p);
    const unsigned s = CALL_IT(p, TASK_FREE, change_reasons(p, va, bytes, 0), va, bytes);
    for (uint64_t i = 0; s == STATUS_OK && i < tplay_page_count(bytes); i++) {
        tplay_page_lose(p, tplay_page_of(p, me(p), va + i * PAGE_BYTES), me(p));
    }
    return s != UINT32_MAX;
}

static bool tplay_protect(struct tplay *p)
{
    const uint64_t va = tplay_draw_va(p), bytes = tplay_draw_bytes(p), rights = tplay_draw_rights(p);
    const unsigned wrong = tplay_are_wrong(rights) ? BIT(INVALID) : 0;
    const unsigned s = CALL_IT(p, TASK_PROTECT, wrong | change_reasons(p, va, bytes, rights), va, bytes, rights);
    for (uint64_t i = 0; s == STATUS_OK && i < tplay_page_count(bytes); i++) {
        tplay_page_of(p, me(p), va + i * PAGE_BYTES)->rights[p->running] =
            (uint8_t)(rights != 0 ? rights | TASK_READ : 0);
    }
    return s != UINT32_MAX;
}

static bool tplay_seal(struct tplay *p)
{
    const uint64_t va = tplay_draw_va(p), bytes = tplay_below(p, 3) == 0 ? PAGE_BYTES : 0; /* seldom one, never more */
    const unsigned s = CALL_IT(p, TASK_SEAL, tplay_range_reasons(p, me(p), va, bytes), va, bytes);
    if (s == STATUS_OK) {
        tplay_page_of(p, me(p), va)->sealed[p->running] = true;
    }
    return s != UINT32_MAX;
}

static bool tplay_query(struct tplay *p)
{
    const uint64_t va = tplay_draw_va(p), buffer = tplay_below(p, 8) != 0 ? tplay_buffer(p) : 0;
    const struct tplay_page *page = tplay_page_of(p, me(p), va - va % PAGE_BYTES);
    const struct tplay_segment *segment = tplay_segment_of(p, me(p), va);
    unsigned reasons = buffer == 0 ? BIT(RANGE) : 0;
    if (page == NULL && !tplay_segment_has(segment, va)) {
        reasons |= va < LAYOUT_USER_FIRST || va >= LAYOUT_USER_END ? BIT(RANGE) : BIT(ABSENT);
    }
    struct task_range r;
    const unsigned s = CALL_IT(p, TASK_QUERY, reasons, va, buffer);
    if (s != STATUS_OK) {
        return s != UINT32_MAX;
    }
    const bool ok = EXPECT(task_bed_read(&p->bed, my_task(p), vaddr(buffer), &r, sizeof r));
    if (segment != NULL) {
        return ok && EXPECT_EQ(r.va, segment->va) && EXPECT_EQ(r.bytes, segment->pages * PAGE_BYTES) &&
               EXPECT_EQ(r.rights, segment->rights[p->running]) && EXPECT_EQ(r.allowed, r.rights) &&
               EXPECT_EQ(r.giver, segment->owner == me(p) ? 0 : p->tasks[segment->owner].id) &&
               EXPECT(r.is_sealed == 0 && r.flags == 0);
    }
    return ok && EXPECT(r.va <= va && va < r.va + r.bytes) && EXPECT_EQ(r.rights, page->rights[p->running]) &&
           EXPECT_EQ(r.allowed, page->allowed[p->running]) && EXPECT_EQ(r.is_sealed, page->sealed[p->running]) &&
           EXPECT_EQ(r.flags, page->is_private ? TASK_PRIVATE : 0) &&
           EXPECT(r.giver == 0 || (tplay_find(p, r.giver) >= 0 && page->gave[tplay_find(p, r.giver)][p->running]));
}

static bool tplay_share(struct tplay *p, bool takes)
{
    const uint64_t va = tplay_draw_va(p), bytes = tplay_draw_bytes_at(p, va), id = tplay_draw_id(p);
    const uint64_t rights = tplay_draw_rights(p);
    const int to = tplay_find(p, id);
    const unsigned reasons = tplay_give_reasons(p, to, va, bytes, rights, takes);
    const unsigned s = CALL_IT(p, takes ? TASK_TRANSFER : TASK_SHARE, reasons, va, bytes, id, rights);
    if (s == STATUS_OK) {
        tplay_give(p, (unsigned)to, va, bytes, rights, takes);
    }
    return s != UINT32_MAX;
}

/*
 * Who loses what by it depends on the whole history of gifts (aspace_random has the model of that). Here: nobody gains,
 * nothing outside the range changes, the giver keeps what it has, and where nothing was given, nothing is taken.
 */
static bool tplay_withdraw(struct tplay *p)
{
    const uint64_t va = tplay_draw_va(p), bytes = tplay_draw_bytes(p), id = tplay_draw_id(p);
    const int from = tplay_find(p, id);
    unsigned reasons = tplay_range_reasons(p, me(p), va, bytes) & ~BIT(ABSENT);
    reasons |= (from < 0 ? BIT(ABSENT) : 0) | (from == p->running ? BIT(INVALID) : 0);
    bool gave = false;
    for (uint64_t i = 0; reasons == 0 && i < tplay_page_count(bytes) && i < TPLAY_LIMIT_PAGES; i++) {
        const struct tplay_page *page = tplay_page_of(p, (unsigned)from, va + i * PAGE_BYTES);
        gave = gave || (page != NULL && page->gave[p->running][from]);
    }
    reasons |= reasons != 0 ? 0 : BIT(ABSENT) | (gave ? TPLAY_OR_OK : 0);
    const unsigned s = CALL_IT(p, TASK_WITHDRAW, reasons, va, bytes, id);
    for (unsigned i = p->page_count; s == STATUS_OK && i-- > 0;) {
        struct tplay_page *page = &p->pages[i];
        const uint64_t at = page->va;
        for (unsigned t = 0; t < TPLAY_TASKS && at >= va && at - va < tplay_page_count(bytes) * PAGE_BYTES; t++) {
            struct aspace_query q;
            if (page->va == at && page->has[t] && t != me(p) && !page->is_private &&
                aspace_query(&p->tasks[t].task->space, vaddr(at), &q) == STATUS_ABSENT) {
                tplay_page_lose(p, page, t);
            }
        }
    }
    return s != UINT32_MAX;
}

static bool tplay_module(struct tplay *p)
{
    const struct tplay_name name = tplay_draw_name(p);
    const uint64_t flags = tplay_below(p, 8) == 0 ? TASK_READ : 0;
    const uint64_t global = object_info(p->bed.module).global.v;
    unsigned reasons = name.reasons | (flags != 0 ? BIT(INVALID) : 0);
    reasons |= tplay_pages(p, me(p)).v + TASK_BED_MODULE_PAGES > TPLAY_LIMIT_PAGES ? BIT(LIMIT) : 0;
    for (unsigned i = 0; i < TASK_BED_MODULE_PAGES; i++) {
        reasons |= tplay_page_of(p, me(p), global + i * PAGE_BYTES) != NULL ? BIT(EXISTS) : 0;
    }
    const unsigned s = CALL_IT(p, TASK_MAP_MODULE, reasons, name.va, name.bytes, flags);
    const uint64_t va = task_value(my_task(p));
    for (unsigned i = 0; s == STATUS_OK && i < TASK_BED_MODULE_PAGES; i++) {
        struct tplay_page *page = NULL;
        for (unsigned t = 0; t < TPLAY_TASKS && page == NULL; t++) {
            page = tplay_page_of(p, t, va + i * PAGE_BYTES);
        }
        page = page != NULL ? page : tplay_page_new(p, va + i * PAGE_BYTES, false);
        page->word = p->bed.pager.seed + i;
        tplay_page_have(page, me(p), TASK_READ);
    }
    return s != UINT32_MAX && (s != STATUS_OK || global == 0 || EXPECT_EQ(va, global));
}

bool tplay_memory_call(struct tplay *p)
{
    switch (tplay_below(p, 12)) {
    case 0: return tplay_free(p);
    case 1: return tplay_protect(p);
    case 2: return tplay_seal(p);
    case 3: return tplay_query(p);
    case 4:
    case 5: return tplay_share(p, false);
    case 6: return tplay_share(p, true);
    case 7: return tplay_withdraw(p);
    case 8: return tplay_module(p);
    }
    return tplay_alloc(p);
}

/* ---- Clones ---- */

static bool keeps(const struct tplay_segment *s, const struct task_keep *keep)
{
    return s != NULL && keep->va == s->va && tplay_page_count(keep->bytes) == s->pages;
}

/* With what rights the child has a segment: those of the first that names all of it. 0: it has it not. */
static uint64_t kept_rights(const struct tplay_segment *s, const struct task_keep *keep, unsigned count)
{
    for (unsigned k = 0; k < count; k++) {
        if (keeps(s, &keep[k])) {
            return tplay_are_wrong(keep[k].rights) ? 0 : keep[k].rights;
        }
    }
    return 0;
}

/* What is wrong with the `k`th. *pages: one more that the child has of the global part. */
static unsigned keep_reasons(struct tplay *p, const struct task_keep *keep, unsigned count, unsigned k,
                             uint64_t *pages)
{
    const uint64_t rights = keep[k].rights;
    const struct tplay_segment *s = tplay_segment_of(p, me(p), keep[k].va);
    const uint64_t kept = s != NULL ? kept_rights(s, keep, count) : 0;
    if (kept != 0 && ((kept | TASK_READ) & ~(uint64_t)s->rights[p->running]) != 0) {
        return BIT(DENIED);
    }
    if (kept != 0 && tplay_segment_has(s, keep[k].va)) { /* a part of it is in the whole */
        return tplay_are_wrong(rights) ? BIT(INVALID) : 0;
    }
    *pages += s == NULL ? tplay_page_count(keep[k].bytes) : 0;
    return s == NULL ? tplay_give_reasons(p, TPLAY_TASKS, keep[k].va, keep[k].bytes, rights, false)
                     : BIT(INVALID) | BIT(RANGE) | BIT(ABSENT);
}

static unsigned clone_reasons(struct tplay *p, const struct task_keep *keep, unsigned count, uint64_t stack)
{
    unsigned reasons = stack == 0 ? BIT(INVALID) : 0;
    uint64_t pages = tplay_page_count(stack);
    for (unsigned i = 0; i < p->page_count; i++) {
        pages += p->pages[i].has[p->running] && p->pages[i].is_private;
    }
    for (unsigned k = 0; k < count; k++) {
        reasons |= keep_reasons(p, keep, count, k, &pages);
        if (k == 1 && tplay_segment_of(p, me(p), keep[1].va) == NULL &&
            keep[1].va < keep[0].va + pages_to_bytes(bytes_to_pages_up(keep[0].bytes)) &&
            keep[0].va < keep[1].va + pages_to_bytes(bytes_to_pages_up(keep[1].bytes))) {
            reasons |= BIT(EXISTS);
        }
    }
    return reasons | (pages > TPLAY_LIMIT_PAGES ? BIT(LIMIT) : 0);
}

/* The child has what the parent has of the private part, what was kept, and its stack. */
static void enter_child(struct tplay *p, unsigned t, struct task *child, const struct task_keep *keep, unsigned count)
{
    tplay_enter(p, t, child);
    for (unsigned i = 0, n = p->page_count; i < n; i++) {
        if (p->pages[i].is_private && p->pages[i].has[p->running]) {
            struct tplay_page *page = tplay_page_new(p, p->pages[i].va, true);
            page->word = p->pages[i].word;
            page->has[t] = true;
            page->sealed[t] = p->pages[i].sealed[p->running];
            page->rights[t] = p->pages[i].rights[p->running];
            page->allowed[t] = p->pages[i].allowed[p->running];
        }
    }
    for (unsigned k = 0; k < count; k++) {
        struct tplay_segment *s = tplay_segment_of(p, me(p), keep[k].va);
        if (s == NULL) {
            tplay_give(p, t, keep[k].va, keep[k].bytes, keep[k].rights, false);
        } else {
            s->rights[t] = (uint8_t)(kept_rights(s, keep, count) | TASK_READ);
        }
    }
    tplay_page_have(tplay_page_new(p, child->context.frame.rsp - PAGE_BYTES, false), t, TASK_READ | TASK_WRITE);
}

bool tplay_clone_call(struct tplay *p)
{
    const uint64_t buffer = tplay_buffer(p), kind = tplay_below(p, 16);
    const unsigned count = (unsigned)tplay_below(p, 3);
    const uint64_t entry = kind == 0 ? 0 : TASK_BED_ENTRY, stack = kind == 1 ? 0 : PAGE_BYTES;
    struct task_keep keep[2];
    const int place = tplay_place(p);
    if (place < 0 || (count > 0 && buffer == 0)) {
        return true;
    }
    p->is_scarce = p->is_scarce || tplay_below(p, 4) == 0;
    for (unsigned k = 0; k < 2; k++) {
        const uint64_t va = tplay_below(p, 3) == 0 ? tplay_draw_segment(p) : tplay_draw_va(p);
        const uint64_t bytes = tplay_segment_at(p, va) != NULL ? tplay_draw_bytes_at(p, va)
                                                               : 1 + tplay_below(p, 2 * PAGE_BYTES);
        keep[k] = (struct task_keep){va, bytes, tplay_draw_rights(p)};
    }
    EXPECT(count == 0 || task_bed_write(&p->bed, my_task(p), vaddr(buffer), keep, sizeof keep));
    unsigned reasons = clone_reasons(p, keep, count, stack) | (entry == 0 ? BIT(RANGE) : 0);
    reasons |= kind == 2 ? BIT(LIMIT) : 0;
    const unsigned s = CALL_IT(p, TASK_CLONE, reasons, entry, 5, buffer, kind == 2 ? TASK_KEEP_MAX + 1 : count, stack);
    if (s == STATUS_OK) {
        struct task *child = tasks_find(&p->bed.tasks, (unsigned)task_value(my_task(p)));
        if (!EXPECT(child != NULL)) {
            return false;
        }
        enter_child(p, (unsigned)place, child, keep, count);
    }
    return s != UINT32_MAX;
}
