/* The model of tasks at play. */
#include "unit/task_play.h"

#include "arch/layout.h"

struct tplay_page *tplay_page_of(struct tplay *p, unsigned t, uint64_t va)
{
    for (unsigned i = 0; i < p->page_count; i++) {
        if (p->pages[i].va == va && p->pages[i].has[t]) {
            return &p->pages[i];
        }
    }
    return NULL;
}

struct tplay_page *tplay_page_new(struct tplay *p, uint64_t va, bool is_private)
{
    EXPECT(p->page_count < TPLAY_PAGES);
    struct tplay_page *page = &p->pages[p->page_count++];
    *page = (struct tplay_page){.va = va, .is_private = is_private};
    return page;
}

void tplay_page_have(struct tplay_page *page, unsigned t, unsigned rights)
{
    page->has[t] = true;
    page->sealed[t] = false;
    page->rights[t] = page->allowed[t] = (uint8_t)(rights | TASK_READ);
}

void tplay_page_lose(struct tplay *p, struct tplay_page *page, unsigned t)
{
    bool is_had = false;
    page->has[t] = false;
    for (unsigned i = 0; i < TPLAY_TASKS; i++) {
        is_had = is_had || page->has[i];
        for (unsigned k = 0; k < TPLAY_TASKS; k++) { /* its givers are those of whom it gave to */
            page->gave[i][k] = page->gave[i][k] || (page->gave[i][t] && page->gave[t][k]);
        }
    }
    if (!is_had) {
        *page = p->pages[--p->page_count];
    }
}

npages_t tplay_pages(const struct tplay *p, unsigned t)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < p->page_count; i++) {
        n += p->pages[i].has[t];
    }
    for (unsigned i = 0; i < TPLAY_SEGMENTS; i++) {
        n += p->segments[i].owner == t ? p->segments[i].pages : 0;
    }
    return npages(n);
}

int tplay_find(const struct tplay *p, uint64_t id)
{
    for (int t = 0; t < TPLAY_TASKS; t++) {
        if (p->tasks[t].task != NULL && p->tasks[t].id == id) {
            return t;
        }
    }
    return -1;
}

int tplay_place(const struct tplay *p)
{
    for (int t = 0; t < TPLAY_TASKS; t++) {
        if (p->tasks[t].task == NULL) {
            return t;
        }
    }
    return -1;
}

void tplay_enter(struct tplay *p, unsigned t, struct task *task)
{
    p->tasks[t] = (struct tplay_task){.task = task, .id = task->id};
    tplay_make_ready(p, t);
}

void tplay_make_ready(struct tplay *p, unsigned t)
{
    p->tasks[t].state = TASK_READY;
    p->ready[p->ready_count++] = t;
}

static void leave_queue(struct tplay *p, unsigned t)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < p->ready_count; i++) {
        if (p->ready[i] != t) {
            p->ready[kept++] = p->ready[i];
        }
    }
    p->ready_count = kept;
}

void tplay_leave(struct tplay *p, unsigned t)
{
    const unsigned id = p->tasks[t].id;
    leave_queue(p, t);
    p->running = p->running == (int)t ? -1 : p->running;
    p->tasks[t].task = NULL;
    for (unsigned i = p->page_count; i-- > 0;) {
        if (p->pages[i].has[t]) {
            tplay_page_lose(p, &p->pages[i], t);
        }
    }
    for (unsigned i = 0; i < TPLAY_SEGMENTS; i++) {
        if (p->segments[i].va != 0) {
            tplay_segment_lose(p, &p->segments[i], t);
        }
    }
    for (unsigned i = 0; i < p->page_count; i++) { /* the place is another task's, some day */
        for (unsigned other = 0; other < TPLAY_TASKS; other++) {
            p->pages[i].gave[t][other] = p->pages[i].gave[other][t] = false;
        }
    }
    for (uint64_t told = 0, next; told < UINT32_MAX; told = next) { /* oldest first: ids count up */
        int oldest = -1;
        next = UINT32_MAX;
        for (int o = 0; o < TPLAY_TASKS; o++) {
            const struct tplay_task *m = &p->tasks[o];
            if (m->task != NULL && m->state == TASK_WAITING && m->waits_for == id && m->id > told && m->id < next) {
                next = m->id;
                oldest = o;
            }
        }
        if (oldest >= 0) {
            EXPECT_EQ(p->tasks[oldest].task->context.frame.rax, STATUS_ABSENT);
            tplay_make_ready(p, (unsigned)oldest);
        }
    }
}

/* ---- Comparisons ---- */

static bool task_agrees(struct tplay *p, unsigned t)
{
    const struct tplay_task *m = &p->tasks[t];
    const struct task *task = m->task;
    bool ok = EXPECT(tasks_find(&p->bed.tasks, m->id) == task) && EXPECT_EQ(task->state, m->state) &&
              EXPECT_EQ(task->messages, m->messages) && EXPECT_EQ(task->space.pages.v, tplay_pages(p, t).v);
    if (!ok) {
        test_note("task %u", m->id);
    }
    return ok;
}

static bool ready_agrees(const struct tplay *p)
{
    unsigned i = 0;
    for (const struct task *t = p->bed.tasks.ready_first; t != NULL; t = t->next_ready, i++) {
        if (!EXPECT(i < p->ready_count) || !EXPECT_EQ(t->id, p->tasks[p->ready[i]].id)) {
            return false;
        }
    }
    return EXPECT_EQ(i, p->ready_count);
}

static bool page_agrees(const struct tplay_page *page, const struct tplay_task *m, unsigned t)
{
    const unsigned said = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    struct aspace_query q;
    const enum status s = aspace_query(&m->task->space, vaddr(page->va), &q);
    bool ok = s == STATUS_OK || EXPECT_EQ(s, STATUS_ABSENT);
    if (page->is_private && !page->has[t]) {
        return ok;
    }
    ok = ok && EXPECT_EQ(s == STATUS_OK, page->has[t]);
    ok = ok && (s != STATUS_OK || (EXPECT_EQ(q.rights & said, page->rights[t]) &&
                                   EXPECT_EQ(q.allowed & said, page->allowed[t]) &&
                                   EXPECT_EQ(q.sealed, page->sealed[t])));
    if (!ok) {
        test_note("task %u, page %#lx", m->id, page->va);
    }
    return ok;
}

bool tplay_agrees(struct tplay *p)
{
    unsigned living = 0;
    bool ok = ready_agrees(p) && EXPECT_EQ(p->bed.tasks.next_message, p->next_count) &&
              EXPECT(p->bed.tasks.running == (p->running < 0 ? NULL : p->tasks[p->running].task));
    for (unsigned t = 0; t < TPLAY_TASKS; t++) {
        if (p->tasks[t].task != NULL) {
            living++;
            ok = task_agrees(p, t) && ok;
            for (unsigned i = 0; i < p->page_count && ok; i++) {
                ok = page_agrees(&p->pages[i], &p->tasks[t], t);
            }
            for (unsigned i = 0; i < TPLAY_SEGMENTS && ok; i++) {
                ok = p->segments[i].va == 0 || tplay_segment_agrees(p, &p->segments[i], t);
            }
        }
    }
    return EXPECT_EQ(p->bed.tasks.count, living) && ok;
}

bool tplay_touch(struct tplay *p)
{
    for (unsigned n = 0; n < 4 && p->page_count > 0; n++) {
        struct tplay_page *page = &p->pages[tplay_below(p, p->page_count)];
        const unsigned t = (unsigned)tplay_below(p, TPLAY_TASKS);
        struct task *task = p->tasks[t].task;
        const vaddr_t va = vaddr(page->va);
        uint64_t word = 0;
        if (task == NULL || (page->is_private && !page->has[t])) {
            continue;
        }
        const unsigned rights = page->has[t] ? page->rights[t] : 0;
        const bool reads = task_bed_read(&p->bed, task, va, &word, sizeof word);
        if (!EXPECT_EQ(reads, (rights & TASK_READ) != 0) || (reads && !EXPECT_EQ(word, page->word))) {
            test_note("task %u reads page %#lx", p->tasks[t].id, va.v);
            return false;
        }
        word = rng_next(&p->rng);
        const bool writes = task_bed_write(&p->bed, task, va, &word, sizeof word);
        if (!EXPECT_EQ(writes, (rights & TASK_WRITE) != 0)) {
            test_note("task %u writes page %#lx", p->tasks[t].id, va.v);
            return false;
        }
        page->word = writes ? word : page->word;
    }
    return true;
}
