/* The game of tasks at play: how it begins, and what comes next. */
#include "unit/task_play.h"

/* The bed's three, with limits that can be met, and what they have. */
bool tplay_begin(struct tplay *p, struct rng rng)
{
    p->rng = rng;
    p->page_count = p->ready_count = 0;
    p->running = -1;
    p->next_count = 1;
    p->gone_va = 0;
    memset(p->tasks, 0, sizeof p->tasks);
    memset(p->segments, 0, sizeof p->segments);
    if (!task_bed_open(&p->bed)) {
        return false;
    }
    for (unsigned i = 0; i < TASK_BED_TASKS; i++) {
        vaddr_t page;
        const struct task_limits limits = {.pages = npages(TPLAY_LIMIT_PAGES), .messages = TPLAY_LIMIT_MESSAGES};
        EXPECT_OK(task_end(p->bed.tasks.first, TASK_KILLED, 0, "the game begins"));
        tplay_enter(p, i, task_bed_task(&p->bed, limits, &page));
        for (unsigned k = 0; k < TASK_BED_PAGES; k++) {
            struct tplay_page *had = tplay_page_new(p, vaddr_add_pages(page, k).v, false);
            tplay_page_have(had, i, TASK_READ | TASK_WRITE);
        }
    }
    return true;
}

/* Another one, from nothing: when few are left. */
static bool give_birth(struct tplay *p)
{
    const struct task_limits limits = {.pages = npages(TPLAY_LIMIT_PAGES), .messages = TPLAY_LIMIT_MESSAGES};
    const int place = tplay_place(p);
    if (place < 0) {
        return true;
    }
    vaddr_t page;
    struct task *task = task_bed_task(&p->bed, limits, &page);
    if (!EXPECT(task != NULL)) {
        return false;
    }
    tplay_enter(p, (unsigned)place, task);
    for (unsigned k = 0; k < TASK_BED_PAGES; k++) {
        tplay_page_have(tplay_page_new(p, vaddr_add_pages(page, k).v, false), (unsigned)place, TASK_READ | TASK_WRITE);
    }
    return true;
}

/* The turn of the one that runs is over. */
static bool next_turn(struct tplay *p)
{
    if (p->running >= 0) {
        tplay_make_ready(p, (unsigned)p->running);
    }
    struct task *task = tasks_next(&p->bed.tasks);
    p->running = -1;
    if (p->ready_count > 0) {
        p->running = (int)p->ready[0];
        p->tasks[p->running].state = TASK_RUNNING;
        for (unsigned i = 0; i + 1 < p->ready_count; i++) {
            p->ready[i] = p->ready[i + 1];
        }
        p->ready_count--;
    }
    return EXPECT(task == (p->running < 0 ? NULL : p->tasks[p->running].task));
}

static bool step(struct tplay *p)
{
    const uint64_t kind = tplay_below(p, 100);
    if (p->running < 0 && p->ready_count == 0) { /* all wait, or none lives */
        return tplay_below(p, 2) == 0 ? give_birth(p) : tplay_kill(p);
    }
    if (p->running < 0 || kind < 12) {
        return next_turn(p);
    }
    p->is_scarce = tplay_below(p, 6) == 0;
    if (p->tasks[p->running].asks_again || kind < 42) {
        return tplay_message_call(p);
    }
    return kind < 74   ? tplay_memory_call(p)
           : kind < 83 ? tplay_segment_call(p)
           : kind < 88 ? tplay_clone_call(p)
           : kind < 98 ? tplay_other_call(p)
                       : give_birth(p);
}

bool tplay_step(struct tplay *p) { return step(p) && tplay_touch(p) && tplay_segment_touch(p) && tplay_agrees(p); }
