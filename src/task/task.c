/*
 * Tasks: theory.
 *
 * 1. A task is a context, a space and a queue of messages, in one struct. It has no kernel stack: the kernel runs on
 *    one, is never interrupted but in user mode, and leaves nothing on it when another task goes on. A system call is
 *    a function of the context (call.c), which looks at everything first and then does it; so a call either has an
 *    answer at once, or the task waits, which is a state and not a place in code. There is nothing to unwind when a
 *    task is killed, nothing to lock, and 1,024 tasks cost no stack.
 *    The price: a call is not interrupted. The longest are those that go by pages (ALLOC with TASK_POPULATE, FREE).
 *
 * 2. States.
 *                     task_start        tasks_next
 *        NEW ------------------> READY -----------> RUNNING --- RECEIVE, nothing there ---> WAITING
 *                                  ^                   |                                       |
 *                                  +--- turn is over --+                                       |
 *                                  +----------- a message, or whom it waits for is no more ----+
 *    task_end takes it from any.
 *
 * 3. Ids. The lower bits are the place in by_id, so an id leads to its task in one load and one comparison; the upper
 *    bits tell who had the place before. Ids count up, over places in use: an id comes again after 2^32, which is 2^22
 *    tasks at least, where all places but one are taken.
 *
 * 4. Memory. A task: its struct (of an object cache), what its space takes, its messages. Nobody else's call can make
 *    it take more than its limits, and not more than half of them (call_share.c). Calls take memory before they change
 *    anything; what frees takes none: task_end gives back everything whatever the state of memory.
 *
 * 5. Death. The space goes, with all pages that nobody else has. What the task had shared stays with those who have it,
 *    as shared by whoever had shared it with the task; so do messages it had sent, since what they name is the
 *    receiver's. Messages for it go. Who waits for it alone is told ABSENT. Clones live on. A record of its end stays.
 *
 * Rejected: a kernel stack each, and a switch in the middle of a call (16 KiB a task, and every list would need a
 * lock); message buffers of fixed size in the task (a task that gets none would pay for them).
 */
#include "lib/report.h"
#include "lib/string.h"
#include "task/call.h"
#include "task/message.h"

/* ---- The system ---- */

enum status tasks_init(struct tasks *tasks, struct aspaces *aspaces, struct heap *heap, const struct task_port *port)
{
    static const struct heap_cache_type task_type = {HEAP_CACHE_TYPE("tasks", struct task), .flags = HEAP_CACHE_ZERO};
    static const struct heap_cache_type message_type = {HEAP_CACHE_TYPE("messages", struct task_message)};
    if (tasks == NULL || aspaces == NULL || heap == NULL || port == NULL) {
        return misuse("tasks_init: %p, %p, %p, %p: none may be null", (void *)tasks, (void *)aspaces, (void *)heap,
                      (const void *)port);
    }
    memset(tasks, 0, sizeof *tasks);
    tasks->aspaces = aspaces;
    tasks->heap = heap;
    tasks->port = *port;
    tasks->next_id = 1;
    tasks->next_message = 1;
    enum status s = heap_cache_create(heap, &tasks->task_cache, &task_type);
    if (s != STATUS_OK) {
        return s;
    }
    s = heap_cache_create(heap, &tasks->message_cache, &message_type);
    if (s != STATUS_OK) {
        (void)!heap_cache_destroy(&tasks->task_cache);
    }
    return s;
}

enum status tasks_end(struct tasks *tasks)
{
    enum status s = STATUS_OK;
    if (tasks->running != NULL) {
        return misuse("tasks_end: task %u runs", tasks->running->id);
    }
    while (tasks->first != NULL) {
        const enum status ended = task_end(tasks->first, TASK_KILLED, 0, "the system of tasks ends");
        s = s == STATUS_OK ? ended : s;
    }
    const enum status a = heap_cache_destroy(&tasks->task_cache), b = heap_cache_destroy(&tasks->message_cache);
    return s != STATUS_OK ? s : a != STATUS_OK ? a : b;
}

/* ---- Birth ---- */

struct task *task_make(struct tasks *tasks, const char *name, struct task_limits limits, enum status *s)
{
    struct task *task = tasks->count < TASKS_MAX ? heap_cache_alloc(&tasks->task_cache) : NULL;
    *s = task != NULL ? STATUS_OK : tasks->count < TASKS_MAX ? STATUS_NOMEM : STATUS_LIMIT;
    if (task == NULL) {
        return NULL;
    }
    task->system = tasks;
    (void)fmt_text(task->name, sizeof task->name, "%s", name);
    task->limits = (struct task_limits){
        .pages = limits.pages.v != 0 ? limits.pages : npages(TASK_PAGES),
        .ranges = limits.ranges != 0 ? limits.ranges : TASK_RANGES,
        .messages = limits.messages != 0 ? limits.messages : TASK_MESSAGES,
    };
    return task;
}

void task_unmake(struct task *task) { (void)!heap_cache_free(&task->system->task_cache, task); }

/* There is a place: there are fewer than TASKS_MAX. */
static unsigned take_id(struct tasks *tasks)
{
    unsigned id = tasks->next_id;
    while (id == 0 || tasks->by_id[id % TASKS_MAX] != NULL) {
        id++;
    }
    tasks->next_id = id + 1;
    return id;
}

void task_enroll(struct task *task)
{
    struct tasks *tasks = task->system;
    task->id = take_id(tasks);
    tasks->by_id[task->id % TASKS_MAX] = task;
    tasks->count++;
    task->previous = tasks->last;
    *(tasks->last != NULL ? &tasks->last->next : &tasks->first) = task;
    tasks->last = task;
    task->state = TASK_NEW;
}

enum status task_create(struct tasks *tasks, const char *name, struct task_limits limits, struct task **task)
{
    enum status s;
    struct task *made = task_make(tasks, name, limits, &s);
    if (made == NULL) {
        return s;
    }
    const struct aspace_limits space = {.pages = made->limits.pages, .ranges = made->limits.ranges};
    s = aspace_create(tasks->aspaces, &made->space, space);
    if (s != STATUS_OK) {
        task_unmake(made);
        return s;
    }
    task_enroll(made);
    *task = made;
    return STATUS_OK;
}

enum status task_start(struct task *task, vaddr_t entry, vaddr_t stack, const uint64_t arguments[3])
{
    if (task->state != TASK_NEW) {
        return misuse("task_start: task %u has started already", task->id);
    }
    user_context_init(&task->context, entry, stack);
    task->context.frame.rdi = arguments[0];
    task->context.frame.rsi = arguments[1];
    task->context.frame.rdx = arguments[2];
    turns_add(task);
    return STATUS_OK;
}

/* ---- Death ---- */

static void remember(const struct task *task, enum task_how how, int64_t code, const char *cause)
{
    struct tasks *tasks = task->system;
    struct task_end *end = &tasks->ends[tasks->ended++ % TASK_ENDS];
    *end = (struct task_end){.id = task->id, .how = how, .code = code, .calls = task->calls, .faults = task->faults,
                             .switches = task->switches, .ticks = task->ticks, .pages = task->space.pages};
    memcpy(end->name, task->name, sizeof end->name);
    (void)fmt_text(end->cause, sizeof end->cause, "%s", cause != NULL ? cause : "");
}

/* Nobody waits for it any more, and it is on no list. */
static void forget(struct task *task)
{
    struct tasks *tasks = task->system;
    tasks->by_id[task->id % TASKS_MAX] = NULL;
    tasks->count--;
    *(task->previous != NULL ? &task->previous->next : &tasks->first) = task->next;
    *(task->next != NULL ? &task->next->previous : &tasks->last) = task->previous;
    for (struct task *t = tasks->first; t != NULL; t = t->next) {
        if (t->state == TASK_WAITING && t->waits_for == task->id) {
            t->context.frame.rax = STATUS_ABSENT;
            turns_add(t);
        }
    }
}

static void drop_messages(struct task *task)
{
    for (struct task_message *m; (m = task->first) != NULL;) {
        task->first = m->next;
        task->system->messages--;
        message_free(task->system, m);
    }
}

enum status task_end(struct task *task, enum task_how how, int64_t code, const char *cause)
{
    struct tasks *tasks = task->system;
    if (tasks->running == task) {
        turns_leave(task);
    } else if (task->state == TASK_READY) {
        turns_remove(task);
    }
    if (task->state != TASK_NEW) {
        remember(task, how, code, cause);
    }
    forget(task);
    drop_messages(task);
    tasks->port.leave(tasks->port.ctx, &task->space);
    const unsigned id = task->id;
    const enum status s = aspace_destroy(&task->space);
    if (s == STATUS_MISUSE) { /* said already. Its tables are in use: they stay, and the struct that they are in */
        return STATUS_CORRUPT;
    }
    task_unmake(task);
    if (s != STATUS_OK) {
        report(REPORT_CORRUPT, "task_end: the space of task %u was not in order", id);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

/* ---- Questions ---- */

struct task *tasks_find(const struct tasks *tasks, unsigned id) { return call_find(tasks, id); }

const struct task_end *tasks_find_end(const struct tasks *tasks, unsigned id)
{
    const uint64_t known = tasks->ended < TASK_ENDS ? tasks->ended : TASK_ENDS;
    for (uint64_t i = 1; i <= known; i++) {
        const struct task_end *end = &tasks->ends[(tasks->ended - i) % TASK_ENDS];
        if (end->id == id) {
            return end;
        }
    }
    return NULL;
}

struct task *tasks_of_space(const struct tasks *tasks, const struct aspace *space)
{
    struct task *task = tasks->first;
    while (task != NULL && &task->space != space) {
        task = task->next;
    }
    return task;
}
