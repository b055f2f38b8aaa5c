/* Turns: who runs next. One queue, first come first served; nothing here but pointers, so nothing that could fail. */
#include "lib/report.h"
#include "task/call.h"

void turns_add(struct task *task)
{
    struct tasks *tasks = task->system;
    task->state = TASK_READY;
    task->next_ready = NULL;
    if (tasks->ready_last != NULL) {
        tasks->ready_last->next_ready = task;
    } else {
        tasks->ready_first = task;
    }
    tasks->ready_last = task;
}

void turns_remove(struct task *task)
{
    struct tasks *tasks = task->system;
    struct task *before = NULL;
    for (struct task *t = tasks->ready_first; t != task; t = t->next_ready) {
        before = t;
    }
    *(before != NULL ? &before->next_ready : &tasks->ready_first) = task->next_ready;
    if (tasks->ready_last == task) {
        tasks->ready_last = before;
    }
    task->next_ready = NULL;
}

void turns_leave(struct task *task)
{
    struct tasks *tasks = task->system;
    task->ticks += tasks->port.ticks(tasks->port.ctx) - task->since;
    tasks->running = NULL;
}

struct task *tasks_next(struct tasks *tasks)
{
    const uint64_t now = tasks->port.ticks(tasks->port.ctx);
    struct task *was = tasks->running;
    if (was != NULL) {
        was->ticks += now - was->since;
        turns_add(was);
    }
    struct task *task = tasks->ready_first;
    tasks->running = task;
    if (task == NULL) {
        return NULL;
    }
    tasks->ready_first = task->next_ready;
    if (tasks->ready_first == NULL) {
        tasks->ready_last = NULL;
    }
    task->next_ready = NULL;
    task->state = TASK_RUNNING;
    task->since = now;
    task->switches++;
    return task;
}
