/* Arguments of calls at play, and what is wrong with them. */
#include "arch/layout.h"
#include "pmm/pmm_pressure.h"
#include "unit/heap_pages.h"
#include "unit/task_play.h"

#define KERNEL 0xFFFF800000000000UL

static struct tplay_page *any_page(struct tplay *p, bool mine)
{
    for (unsigned i = 0; i < 20 && p->page_count > 0; i++) {
        struct tplay_page *page = &p->pages[tplay_below(p, p->page_count)];
        if (!mine || page->has[p->running]) {
            return page;
        }
    }
    return NULL;
}

uint64_t tplay_draw_va(struct tplay *p)
{
    static const uint64_t odd[] = {0, KERNEL, UINT64_MAX - PAGE_BYTES + 1, PAGE_BYTES, AT_PRIVATE, LAYOUT_USER_END};
    const uint64_t kind = tplay_below(p, 22);
    if (kind >= 20) {
        return tplay_draw_segment(p);
    }
    const struct tplay_page *page = any_page(p, kind < 14);
    if (page == NULL || kind == 18) {
        return odd[tplay_below(p, ARRAY_LEN(odd))];
    }
    return kind == 19 ? page->va + 1 + tplay_below(p, PAGE_BYTES - 1) : page->va;
}

uint64_t tplay_draw_bytes(struct tplay *p)
{
    const uint64_t kind = tplay_below(p, 24);
    return kind == 0    ? 0
           : kind == 1  ? UINT64_MAX - tplay_below(p, 2 * PAGE_BYTES)
           : kind == 2  ? 1 + tplay_below(p, TPLAY_LIMIT_PAGES * PAGE_BYTES)
           : kind < 16  ? 1 + tplay_below(p, PAGE_BYTES)
                        : 1 + tplay_below(p, 3 * PAGE_BYTES);
}

uint64_t tplay_draw_rights(struct tplay *p)
{
    static const uint64_t odd[] = {0, 7, 6, 8, 1UL << 32, UINT64_MAX};
    return tplay_below(p, 12) == 0 ? odd[tplay_below(p, ARRAY_LEN(odd))]
                                  : (tplay_below(p, 5) < 3 ? TRW : tplay_below(p, 4) == 0 ? TASK_EXECUTE : TASK_READ);
}

uint64_t tplay_draw_id(struct tplay *p)
{
    const uint64_t kind = tplay_below(p, 16);
    for (unsigned i = 0; i < 10; i++) {
        const struct tplay_task *t = &p->tasks[tplay_below(p, TPLAY_TASKS)];
        if (kind < 14 && t->task != NULL) {
            return t->id;
        }
    }
    return kind == 15 ? rng_next(&p->rng) : tplay_below(p, p->bed.tasks.next_id + 2);
}

uint64_t tplay_buffer(struct tplay *p)
{
    for (unsigned i = 0; i < p->page_count; i++) {
        const struct tplay_page *page = &p->pages[i];
        if (page->has[p->running] && (page->rights[p->running] & TASK_WRITE) != 0) {
            return page->va + TPLAY_BUFFER;
        }
    }
    return 0;
}

struct tplay_name tplay_draw_name(struct tplay *p)
{
    const char *const names[] = {"module", "module", "mod"};
    const char *name = names[tplay_below(p, ARRAY_LEN(names))];
    const uint64_t kind = tplay_below(p, 8);
    struct tplay_name n = {
        .va = kind == 2 ? 0 : tplay_buffer(p), .bytes = kind == 0 ? 0 : kind == 1 ? TASK_NAME_BYTES : strlen(name)};
    n.reasons = n.bytes == 0 ? BIT(INVALID) : n.bytes == TASK_NAME_BYTES ? BIT(LIMIT) : 0;
    n.reasons |= n.va == 0 ? BIT(RANGE) : n.bytes == strlen("mod") ? BIT(ABSENT) : 0;
    if (n.va != 0) {
        EXPECT(task_bed_write(&p->bed, p->tasks[p->running].task, vaddr(n.va), name, strlen(name)));
    }
    return n;
}

unsigned tplay_range_reasons(struct tplay *p, unsigned t, uint64_t va, uint64_t bytes)
{
    const uint64_t pages = tplay_page_count(bytes), global = LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL);
    if (va % PAGE_BYTES != 0 || pages == 0 || pages > (UINT64_MAX - va) / PAGE_BYTES + 1) {
        return BIT(INVALID);
    }
    const uint64_t last = va + (pages - 1) * PAGE_BYTES;
    if (va < LAYOUT_USER_FIRST || last >= LAYOUT_USER_END || (va < global) != (last < global)) {
        return BIT(RANGE);
    }
    for (uint64_t i = 0; i < pages; i++) {
        if (tplay_page_of(p, t, va + i * PAGE_BYTES) == NULL) {
            return BIT(ABSENT);
        }
    }
    return 0;
}

unsigned tplay_give_reasons(struct tplay *p, int to, uint64_t va, uint64_t bytes, uint64_t rights, bool takes)
{
    const unsigned t = (unsigned)p->running;
    const bool has_some = to >= 0 && to < TPLAY_TASKS;
    const struct tplay_segment *segment = tplay_segment_of(p, t, va);
    if (segment != NULL) { /* all of it, to be used too, or nothing */
        const bool is_whole = va == segment->va && tplay_page_count(bytes) == segment->pages;
        return tplay_grant_reasons(p, to, va, rights) | (!is_whole || takes || to == p->running ? BIT(INVALID) : 0);
    }
    unsigned reasons = to < 0 ? BIT(ABSENT) : 0;
    if (to == p->running || rights == 0 || tplay_are_wrong(rights)) {
        reasons |= BIT(INVALID);
    }
    const uint64_t pages = tplay_page_count(bytes), half = TPLAY_LIMIT_PAGES / 2;
    reasons |= has_some && tplay_pages(p, (unsigned)to).v + pages > half ? BIT(LIMIT) : 0;
    const unsigned range = tplay_range_reasons(p, t, va, bytes);
    reasons |= range;
    if ((range & (BIT(INVALID) | BIT(RANGE))) != 0) {
        return reasons;
    }
    reasons |= va < LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) ? BIT(NOT_GLOBAL) : 0;
    for (uint64_t i = 0; i < pages && i <= TPLAY_LIMIT_PAGES; i++) {
        const uint64_t at = va + i * PAGE_BYTES;
        const struct tplay_page *page = tplay_page_of(p, t, at);
        if (page != NULL && (((rights | TASK_READ) & ~(uint64_t)page->rights[t]) != 0 || (takes && page->sealed[t]))) {
            reasons |= BIT(DENIED);
        }
        reasons |= has_some && tplay_page_of(p, (unsigned)to, at) != NULL ? BIT(EXISTS) : 0;
    }
    return reasons;
}

void tplay_give(struct tplay *p, unsigned to, uint64_t va, uint64_t bytes, uint64_t rights, bool takes)
{
    const unsigned t = (unsigned)p->running;
    struct tplay_segment *segment = tplay_segment_of(p, t, va);
    if (segment != NULL) {
        segment->rights[to] = (uint8_t)(rights | TASK_READ);
        return;
    }
    for (uint64_t i = 0; i < tplay_page_count(bytes); i++) {
        struct tplay_page *page = tplay_page_of(p, t, va + i * PAGE_BYTES);
        tplay_page_have(page, to, (unsigned)rights);
        page->gave[t][to] = true;
        if (takes) { /* who gave it to the giver is the receiver's giver now, and its gifts are the receiver's */
            for (unsigned other = 0; other < TPLAY_TASKS; other++) {
                page->gave[other][to] = page->gave[other][to] || page->gave[other][t];
                page->gave[to][other] = page->gave[to][other] || page->gave[t][other];
            }
            tplay_page_lose(p, page, t);
        }
    }
}

/* Few frames are left, and the heap refuses the next page. */
static npages_t make_scarce(struct tplay *p)
{
    const struct pmm_stats st = pmm_stats(p->bed.spaces.vmm->pmm);
    const npages_t taken = npages(st.free.v - st.promised.v - tplay_below(p, 12));
    EXPECT_OK(pmm_promise(p->bed.spaces.vmm->pmm, taken));
    heap_pages_refuse_at(tplay_below(p, 4) == 0 ? 0 : 1);
    return taken;
}

unsigned tplay_call(struct tplay *p, uint64_t number, struct task_words words, unsigned reasons)
{
    const npages_t taken = p->is_scarce ? make_scarce(p) : npages(0);
    /* All is compared now and then; not of a clone, which may leave the parent's tables read-only. */
    const bool is_checked = tplay_below(p, 16) == 0;
    p->bed.is_lax = number == TASK_CLONE || !is_checked;
    const unsigned s = task_bed_call(&p->bed, p->tasks[p->running].task, number, words);
    p->bed.is_lax = false;
    if (p->is_scarce) {
        EXPECT_OK(pmm_unpromise(p->bed.spaces.vmm->pmm, taken));
        heap_pages_refuse_at(0);
    }
    p->calls++;
    EXPECT(number != TASK_CLONE || !is_checked || task_bed_check(&p->bed));
    if (s == TASK_BED_WAITS) {
        return s;
    }
    p->answers[number < TASK_CALLS ? number : TASK_CALLS][s < TPLAY_STATUSES ? s : 0]++;
    const bool may_be_ok = reasons == 0 || (reasons & TPLAY_OR_OK) != 0;
    const bool is_allowed = s == STATUS_OK ? may_be_ok : s < TPLAY_STATUSES && (reasons >> s & 1) != 0;
    if (is_allowed || (s == STATUS_NOMEM && p->is_scarce)) {
        return s;
    }
    EXPECT(is_allowed);
    test_note("call %lu(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx) by %u: %s, and may be %#x", number, words.at[0],
              words.at[1], words.at[2], words.at[3], words.at[4], words.at[5], p->tasks[p->running].id,
              status_name((enum status)s), reasons);
    return UINT32_MAX;
}
