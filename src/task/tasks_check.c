/* Tasks: lists, ids, messages and spaces against each other. Broken lists are left where they end to make sense. */
#include "task/call.h"
#include "task/message.h"

struct check {
    const struct tasks *tasks;
    struct sink *out;
    bool is_broken;
};

__attribute__((format(printf, 2, 3))) static void broken(struct check *c, const char *format, ...)
{
    va_list args;
    c->is_broken = true;
    if (c->out != NULL) {
        va_start(args, format);
        sink_vprintf(c->out, format, args);
        va_end(args);
    }
}

/* TASK-I1 */
static void check_turns(struct check *c)
{
    const struct tasks *tasks = c->tasks;
    unsigned ready = 0, queued = 0;
    const struct task *last = NULL;
    for (const struct task *t = tasks->first; t != NULL; t = t->next) {
        ready += t->state == TASK_READY;
        if ((t->state == TASK_RUNNING) != (t == tasks->running)) {
            broken(c, "TASK-I1 task %u: state %u, and the running one is %u\n", t->id, (unsigned)t->state,
                   tasks->running != NULL ? tasks->running->id : 0);
        }
    }
    for (const struct task *t = tasks->ready_first; t != NULL && queued <= ready; t = t->next_ready) {
        queued++;
        last = t;
        if (t->state != TASK_READY) {
            broken(c, "TASK-I1 task %u is on the ready queue in state %u\n", t->id, (unsigned)t->state);
        }
    }
    if (queued != ready || tasks->ready_last != last) {
        broken(c, "TASK-I1 %u tasks are ready, %u on the queue\n", ready, queued);
    }
}

/* TASK-I2, the list of all and the places of ids. => false: the list cannot be followed */
static bool check_ids(struct check *c)
{
    const struct tasks *tasks = c->tasks;
    unsigned count = 0, places = 0;
    const struct task *before = NULL;
    for (const struct task *t = tasks->first; t != NULL && count <= TASKS_MAX; t = t->next) {
        if (t->id == 0 || tasks->by_id[t->id % TASKS_MAX] != t || t->id == tasks->next_id) {
            broken(c, "TASK-I2 task %u: its place in by_id is another's, or its id will be given again\n", t->id);
        }
        if (t->previous != before || t->system != tasks) {
            broken(c, "TASK-I2 task %u is not linked to the one before it\n", t->id);
        }
        before = t;
        count++;
    }
    for (unsigned i = 0; i < TASKS_MAX; i++) {
        places += tasks->by_id[i] != NULL;
    }
    if (count != tasks->count || places != count || tasks->last != before) {
        broken(c, "TASK-I2 %u tasks are counted, %u listed, %u have ids\n", tasks->count, count, places);
    }
    return count <= TASKS_MAX;
}

/* TASK-I4: what a message with pages names. */
static void check_pages(struct check *c, const struct task *task, const struct task_message *m)
{
    const uint64_t va = m->words[0], bytes = m->words[1];
    if (va < LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) || !is_page_aligned(va) || !is_page_aligned(bytes) ||
        call_check_bytes(va, bytes) != STATUS_OK) {
        broken(c, "TASK-I4 task %u: message %#lx names pages [%#lx, +%#lx)\n", task->id, m->id, va, bytes);
    }
}

/* TASK-I3, I4 of one task. => its messages */
static unsigned check_messages(struct check *c, const struct task *task)
{
    unsigned n = 0;
    uint64_t id = 0;
    const struct task_message *last = NULL;
    for (const struct task_message *m = task->first; m != NULL && n <= task->messages; m = m->next) {
        const bool is_awaited = task->state == TASK_WAITING &&
                                (task->waits_for == 0 || task->waits_for == m->sender);
        if (TASK_MESSAGE_COUNT(m->id) <= id || TASK_MESSAGE_COUNT(m->id) >= c->tasks->next_message ||
            m->id >> 56 > TASK_MESSAGE_PAGES || is_awaited) {
            broken(c, "TASK-I3 task %u: message %#lx of %u follows %#lx%s\n", task->id, m->id, m->sender, id,
                   is_awaited ? ", and is waited for" : "");
        }
        if (m->id >> 56 == TASK_MESSAGE_PAGES) {
            check_pages(c, task, m);
        }
        id = TASK_MESSAGE_COUNT(m->id);
        last = m;
        n++;
    }
    if (n != task->messages || n > task->limits.messages || task->last != last) {
        broken(c, "TASK-I3 task %u: %u messages are counted, %u wait, %u may\n", task->id, task->messages, n,
               task->limits.messages);
    }
    return n;
}

/* TASK-I4: whom it waits for. */
static void check_wait(struct check *c, const struct task *task)
{
    const unsigned id = task->waits_for;
    if (task->state == TASK_WAITING && id != 0 && (id == task->id || tasks_find(c->tasks, id) == NULL)) {
        broken(c, "TASK-I4 task %u waits for %u, which is no task that could wake it\n", task->id, id);
    }
}

/* TASK-I5: each task's space is one of the system's, with the task's limits. */
static void check_spaces(struct check *c)
{
    const struct tasks *tasks = c->tasks;
    unsigned found = 0;
    for (const struct aspace *s = tasks->aspaces->first; s != NULL; s = s->next) {
        struct heap_block block;
        const bool is_tasks = heap_owner_of(tasks->heap, s, &block) && block.cache_name == tasks->task_cache.type.name;
        const struct task *task = tasks_of_space(tasks, s);
        found += task != NULL;
        if (is_tasks && task == NULL) {
            broken(c, "TASK-I5 space %u is of a task that is no more\n", s->tables.id);
        }
        if (task != NULL && (s->system != tasks->aspaces || s->limits.pages.v != task->limits.pages.v ||
                             s->limits.ranges != task->limits.ranges)) {
            broken(c, "TASK-I5 task %u: its space has other limits\n", task->id);
        }
    }
    if (found != tasks->count) {
        broken(c, "TASK-I5 %u tasks, and %u have a space\n", tasks->count, found);
    }
}

enum status tasks_check(const struct tasks *tasks, struct sink *out)
{
    struct check c = {.tasks = tasks, .out = out};
    uint64_t messages = 0;
    if (!check_ids(&c)) {
        return STATUS_CORRUPT;
    }
    check_turns(&c);
    for (const struct task *t = tasks->first; t != NULL; t = t->next) {
        messages += check_messages(&c, t);
        check_wait(&c, t);
    }
    if (messages != tasks->messages) {
        broken(&c, "TASK-I3 %lu messages are counted, %lu wait\n", tasks->messages, messages);
    }
    check_spaces(&c);
    return c.is_broken ? STATUS_CORRUPT : STATUS_OK;
}
