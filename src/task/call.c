/*
 * System calls: dispatch, and what is not about memory or messages.
 *
 * A call looks at its arguments, which are whatever user mode put there, then does what cannot be refused any more. All
 * numbers are 64 bits wide until they have been compared. Pages are looked at by the spaces (aspace.h), whose calls are
 * all or nothing; buffers by the port, as user mode itself would touch them.
 *
 * Cost: a call that does nothing is a comparison and a store; others an indirect call more.
 */
#include "lib/report.h"
#include "task/call.h"

/*
 * `left` bytes of a copy that ends at `end` were not copied. Is that memory that is not there, or the task's mistake? A
 * page that can be had now could not be had a moment ago.
 */
__attribute__((noinline)) static enum status why_not(struct task *task, uint64_t end, uint64_t left, unsigned access)
{
    const enum status s = aspace_fault(&task->space, vaddr(end - left), access | VMM_USER, NULL);
    return s == STATUS_OK || s == STATUS_NOMEM || s == STATUS_LIMIT ? STATUS_NOMEM : STATUS_DENIED;
}

enum status call_copy_in(struct task *task, void *to, uint64_t from, uint64_t bytes)
{
    const struct task_port *port = &task->system->port;
    const enum status s = call_check_bytes(from, bytes);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t left = port->copy_in(port->ctx, task, to, vaddr(from), bytes);
    return left == 0 ? STATUS_OK : why_not(task, from + bytes, left, VMM_READ);
}

enum status call_copy_out(struct task *task, uint64_t to, const void *from, uint64_t bytes)
{
    const struct task_port *port = &task->system->port;
    const enum status s = call_check_bytes(to, bytes);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t left = port->copy_out(port->ctx, task, vaddr(to), from, bytes);
    return left == 0 ? STATUS_OK : why_not(task, to + bytes, left, VMM_WRITE);
}

static enum status call_exit(struct task *task, struct interrupt_frame *f)
{
    return task_end(task, TASK_EXITED, (int64_t)f->rdi, NULL);
}

static enum status call_log(struct task *task, struct interrupt_frame *f)
{
    char text[TASK_LOG_BYTES];
    if (f->rsi > sizeof text) {
        return STATUS_LIMIT;
    }
    const enum status s = call_copy_in(task, text, f->rdi, f->rsi);
    if (s == STATUS_OK) {
        task->system->port.log(task->system->port.ctx, task, text, f->rsi);
    }
    return s;
}

static enum status call_stats(struct task *task, struct interrupt_frame *f)
{
    const struct task_port *port = &task->system->port;
    const struct task_stats stats = {
        .id = task->id,
        .messages = task->messages,
        .pages = task->space.pages.v,
        .pages_max = task->limits.pages.v,
        .ranges = task->space.ranges,
        .ranges_max = task->limits.ranges,
        .messages_max = task->limits.messages,
        .calls = task->calls,
        .faults = task->faults,
        .switches = task->switches,
        .ticks = task->ticks + (port->ticks(port->ctx) - task->since),
    };
    return call_copy_out(task, f->rdi, &stats, sizeof stats);
}

static task_call_fn *const calls[TASK_CALLS] = {
    [TASK_EXIT] = call_exit,
    [TASK_ALLOC] = call_alloc,
    [TASK_FREE] = call_free,
    [TASK_MAP_MODULE] = call_map_module,
    [TASK_PROTECT] = call_protect,
    [TASK_QUERY] = call_query,
    [TASK_SHARE] = call_share,
    [TASK_TRANSFER] = call_transfer,
    [TASK_WITHDRAW] = call_withdraw,
    [TASK_CLONE] = call_clone,
    [TASK_SEAL] = call_seal,
    [TASK_SEND] = call_send,
    [TASK_RECEIVE] = call_receive,
    [TASK_LOG] = call_log,
    [TASK_STATS] = call_stats,
    [TASK_SEGMENT_CREATE] = call_segment_create,
    [TASK_SEGMENT_GRANT] = call_segment_grant,
    [TASK_SEGMENT_NARROW] = call_segment_narrow,
    [TASK_SEGMENT_REVOKE] = call_segment_revoke,
    [TASK_SEGMENT_RESIZE] = call_segment_resize,
    [TASK_SEGMENT_FILE] = call_segment_file,
};

bool task_call(struct tasks *tasks, struct task *task)
{
    if (task != tasks->running || task == NULL) {
        (void)!misuse("task_call: %p is not the task that runs", (void *)task);
        return false;
    }
    struct interrupt_frame *f = &task->context.frame;
    const uint64_t number = f->rax;
    task->calls++;
    if (number == TASK_YIELD) {
        f->rax = STATUS_OK;
        return tasks->ready_first == NULL;
    }
    if (number >= TASK_CALLS) {
        f->rax = STATUS_UNSUPPORTED;
        return true;
    }
    const enum status s = calls[number](task, f);
    if (tasks->running != task) {
        return false; /* it waits, and its answer will be written then; or it is no more */
    }
    f->rax = s;
    return true;
}
