/*
 * The run loop.
 *
 * 1. A turn ends by a tick of the timer, which leaves user mode for good: task_run returns, and who called it may look
 * at the keyboard. Within a turn tasks change as their system calls have it (on_call), without a way through here: the
 * next one's space is entered, its x87 and SSE state loaded, and SYSCALL's way out takes its registers.
 *
 * 2. The kernel is not preempted: interrupts are on in user mode only. A tick that comes during a call is taken at its
 * end.
 *
 * 3. What leaves otherwise (an exception that nobody solved) is the task's end: the report that user mode gets, then
 * task_end. The kernel goes on.
 *
 * 4. Nothing here waits. Where no task is ready, none ever will be by itself: there are no devices they wait for.
 */
#include "kernel/task_run.h"

#include "arch/x86_64/timer.h"
#include "kernel/console.h"
#include "kernel/current.h"
#include "kernel/fault.h"
#include "kernel/line.h"
#include "kernel/machine.h"
#include "kernel/pagers.h"
#include "kernel/physical.h"
#include "lib/macros.h"
#include "lib/string.h"
#include "task/load.h"

static struct current before; /* current when task_run was called */
static uint64_t ended_seen;   /* of tasks.ended */

static_assert(offsetof(struct task, context) == 0, "a context is its task's");
static struct task *task_of(struct user_context *context) { return (struct task *)(void *)context; }

/* ---- Verdicts ---- */

static struct task_judged judged[TASK_JUDGED]; /* a ring */
static unsigned judged_count;                  /* ever */

static void judge(unsigned id) { judged[judged_count++ % TASK_JUDGED] = (struct task_judged){.id = id}; }

struct task_judged *task_judged(unsigned id)
{
    for (unsigned i = 0; i < TASK_JUDGED; i++) {
        if (id != 0 && judged[i].id == id) {
            return &judged[i];
        }
    }
    return NULL;
}

struct task_judged *task_judged_badly(struct task_judged *at)
{
    for (at = at == NULL ? judged : at + 1; at < &judged[TASK_JUDGED]; at++) {
        if (at->verdict == TASK_BADLY && !at->told) {
            return at;
        }
    }
    return NULL;
}

void task_print_end(const struct task_end *end)
{
    static const char *const hows[] = {[TASK_EXITED] = "exited", [TASK_KILLED] = "killed", [TASK_FAULTED] = "faulted"};
    print("task %u (%s): %s", end->id, end->name, hows[end->how]);
    if (end->how == TASK_EXITED) {
        print(" with %ld", end->code);
    }
    print("%s%s; %lu calls, %lu faults, %lu switches, %lu ticks, %lu pages\n", end->cause[0] != '\0' ? ": " : "",
          end->cause, end->calls, end->faults, end->switches, end->ticks, end->pages.v);
}

/* A killed one did what it was told to. */
static void note_end(const struct task_end *end)
{
    struct task_judged *j = task_judged(end->id);
    if (j != NULL) {
        const bool badly = end->how == TASK_FAULTED || (end->how == TASK_EXITED && end->code != 0);
        j->verdict = badly ? TASK_BADLY : TASK_WELL;
        line_aside();
        task_print_end(end);
    }
}

static bool note_ends(void)
{
    const struct tasks *tasks = &machine.tasks;
    const bool any = ended_seen != tasks->ended;
    if (tasks->ended - ended_seen > TASK_ENDS) {
        ended_seen = tasks->ended - TASK_ENDS;
    }
    while (ended_seen != tasks->ended) {
        note_end(&tasks->ends[ended_seen++ % TASK_ENDS]);
    }
    return any;
}

/* ---- Turns ---- */

static enum user_go on_call(struct user_context *context)
{
    struct tasks *tasks = &machine.tasks;
    const uint64_t ended = tasks->ended;
    struct task *task = task_of(context);
    if (task_call(tasks, task)) {
        return USER_GO_BACK;
    }
    if (tasks->ended != ended) { /* it ended itself: nobody else's end is in a call */
        user_give_up();
        return USER_GO_LEAVE;
    }
    struct task *next = tasks_next(tasks);
    if (next == task) {
        return USER_GO_BACK;
    }
    if (next == NULL || current_enter(&next->space) != STATUS_OK || !user_change(&next->context)) {
        return USER_GO_LEAVE;
    }
    return USER_GO_OTHER;
}

static void end_by_exception(struct task *task)
{
    const struct interrupt_frame *f = &task->context.frame;
    char cause[TASK_CAUSE_BYTES];
    line_aside();
    print("task %u (%s): ", task->id, task->name);
    fault_print_user(&task->space, &task->context, fault_of_user_last());
    if (f->vector == EXCEPTION_PAGE_FAULT) {
        fmt_text(cause, sizeof cause, "%s, 0x%lx, at 0x%lx", fault_of_user_last()->why, task->context.fault.v, f->rip);
    } else {
        fmt_text(cause, sizeof cause, "%s at 0x%lx", fault_name(f->vector), f->rip);
    }
    if (task_end(task, TASK_FAULTED, (int64_t)f->vector, cause) != STATUS_OK) {
        print("not all that it had came back\n");
    }
}

/* It has left user mode: is there more for it to do there? */
static void has_left(struct task *task)
{
    const uint64_t vector = task->context.frame.vector;
    if (vector != USER_SYSCALL && !timer_is_tick(vector)) {
        end_by_exception(task);
    }
}

static void run_one(struct task *task)
{
    enum status s = current_enter(&task->space);
    if (s == STATUS_OK) {
        s = user_run(&task->context);
    }
    if (s != STATUS_OK) {
        (void)!task_end(task, TASK_FAULTED, 0, "it cannot be entered");
    } else if (user_left() != NULL) {
        has_left(task_of(user_left()));
    }
}

static volatile uint32_t *map_registers(paddr_t page)
{
    return physical_map(page.v, PAGE_BYTES, VMM_READ | VMM_WRITE | VMM_UNCACHED, "the local APIC");
}

/* Looked for when a task runs for the first time: the boot does not wait for it. */
static bool has_timer(void)
{
    static enum { UNKNOWN, NO, YES } answer;
    if (answer == UNKNOWN) {
        static const char *const names[] = {
            [TIMER_NONE] = "none", [TIMER_APIC] = "local APIC", [TIMER_PIT] = "PIT", [TIMER_X2APIC] = "x2APIC"};
        const enum timer_kind kind = timer_start(map_registers, machine.options.timer);
        answer = kind != TIMER_NONE ? YES : NO;
        log_at(kind != TIMER_NONE ? LOG_DEBUG : LOG_WARN, "timer: %s", names[kind]);
    }
    return answer == YES;
}

static enum task_run run_turn(bool has_ticks)
{
    before = current_note();
    user_call_fn *call = user_set_call(on_call);
    struct task *task = tasks_next(&machine.tasks);
    if (task != NULL) {
        user_allow_interrupts(has_ticks);
        run_one(task);
        user_allow_interrupts(false);
    }
    (void)user_set_call(call);
    current_return(before);
    return note_ends() ? TASK_RUN_ENDED : task == NULL ? TASK_RUN_NONE : TASK_RUN_TURN;
}

enum task_run task_run(void)
{
    const bool any = machine.tasks.ready_first != NULL || machine.tasks.running != NULL;
    return run_turn(any && has_timer());
}

enum task_run task_run_alone(void) { return run_turn(false); }

/* ---- Start ---- */

void task_run_init(void)
{
    const struct task_port port = task_port_of_machine(&before);
    const enum status s = tasks_init(&machine.tasks, &machine.aspaces, &machine.heap, &port);
    if (s != STATUS_OK) {
        panic("no tasks can be had: %s", status_name(s));
    }
}

static bool read_module(void *ctx, uint64_t at, void *to, uint64_t bytes) { return module_read(ctx, at, to, bytes); }

enum status task_run_module(const char *args, struct task **task, const char **why)
{
    const char *end = args;
    while (*end != '\0' && *end != ' ') {
        end++;
    }
    struct module *module = task_module_find(args, (size_t)(end - args));
    *why = NULL;
    if (!machine.cpu.syscall) {
        return STATUS_UNSUPPORTED;
    }
    if (module == NULL) {
        return STATUS_ABSENT;
    }
    struct object *file;
    enum status s = task_module_object(module, &file);
    if (s != STATUS_OK) {
        return s;
    }
    const struct elf_source source = {.ctx = module, .bytes = module_bytes(module), .read = read_module};
    const struct task_limits limits = {0};
    s = task_load(&machine.tasks, *end == '\0' ? module->args : args, &source, file, limits, task, why);
    if (s == STATUS_OK) {
        judge((*task)->id);
    }
    return s;
}
