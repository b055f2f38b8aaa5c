/* System calls about the task's own memory: the spaces' calls, with arguments of user mode. */
#include "task/call.h"

enum status call_alloc(struct task *task, struct interrupt_frame *f)
{
    const uint64_t flags = f->rsi & ~(uint64_t)(TASK_READ | TASK_WRITE | TASK_EXECUTE);
    unsigned rights;
    if ((flags & ~(uint64_t)(TASK_PRIVATE | TASK_POPULATE | TASK_GUARDS)) != 0 ||
        !call_rights(f->rsi & ~flags, &rights) || rights == 0 || f->rdx > ARENA_ALIGN_MAX) {
        return STATUS_INVALID;
    }
    const struct aspace_request request = {
        .pages = bytes_to_pages_up(f->rdi),
        .rights = rights,
        .flags = ((flags & TASK_PRIVATE) != 0 ? 0U : (unsigned)ASPACE_GLOBAL) |
                 ((flags & TASK_POPULATE) != 0 ? (unsigned)ASPACE_POPULATE : 0U) |
                 ((flags & TASK_GUARDS) != 0 ? (unsigned)(ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE) : 0U),
        .align_log2 = (unsigned)f->rdx,
        .tag = "alloc",
    };
    vaddr_t va;
    const enum status s = aspace_map(&task->space, &request, &va);
    if (s == STATUS_OK) {
        f->rdx = va.v;
    }
    return s;
}

enum status call_free(struct task *task, struct interrupt_frame *f)
{
    return aspace_unmap(&task->space, vaddr(f->rdi), bytes_to_pages_up(f->rsi));
}

enum status call_module(struct task *task, uint64_t name, uint64_t bytes, struct object **module)
{
    const struct task_port *port = &task->system->port;
    char text[TASK_NAME_BYTES] = {0};
    if (bytes >= sizeof text) {
        return STATUS_LIMIT;
    }
    const enum status s = call_copy_in(task, text, name, bytes);
    return s == STATUS_OK ? port->module(port->ctx, text, module) : s;
}

enum status call_map_module(struct task *task, struct interrupt_frame *f)
{
    struct object *object;
    if ((f->rdx & ~(uint64_t)TASK_PRIVATE) != 0) {
        return STATUS_INVALID;
    }
    enum status s = call_module(task, f->rdi, f->rsi, &object);
    if (s != STATUS_OK) {
        return s;
    }
    const struct aspace_request request = {
        .pages = object_info(object).pages,
        .rights = VMM_READ | VMM_USER,
        .flags = f->rdx != 0 ? 0U : (unsigned)ASPACE_GLOBAL,
        .object = object,
        .tag = "module",
    };
    vaddr_t va;
    s = aspace_map(&task->space, &request, &va);
    if (s == STATUS_OK) {
        f->rdx = va.v;
    }
    return s;
}

enum status call_protect(struct task *task, struct interrupt_frame *f)
{
    unsigned rights;
    if (!call_rights(f->rdx, &rights)) {
        return STATUS_INVALID;
    }
    return aspace_protect(&task->space, vaddr(f->rdi), bytes_to_pages_up(f->rsi), rights);
}

enum status call_seal(struct task *task, struct interrupt_frame *f)
{
    return aspace_seal(&task->space, vaddr(f->rdi), bytes_to_pages_up(f->rsi));
}

/* The task whose space has this id; 0: none (a space need not be a task's). */
static uint32_t task_of(const struct tasks *tasks, uint32_t space_id)
{
    const struct task *task = space_id != 0 ? tasks->first : NULL;
    while (task != NULL && task->space.tables.id != space_id) {
        task = task->next;
    }
    return task != NULL ? task->id : 0;
}

enum status call_query(struct task *task, struct interrupt_frame *f)
{
    const unsigned said = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    struct aspace_query q;
    enum status s = call_check_bytes(f->rsi, sizeof(struct task_range));
    s = s == STATUS_OK ? aspace_query(&task->space, vaddr(f->rdi), &q) : s;
    if (s != STATUS_OK) {
        return s;
    }
    const struct task_range range = {
        .va = q.base.v,
        .bytes = pages_to_bytes(q.pages),
        .rights = q.rights & said,
        .allowed = q.allowed & said,
        .flags = f->rdi >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) ? 0U : (unsigned)TASK_PRIVATE,
        .is_sealed = q.sealed,
        .giver = task_of(task->system, q.giver),
        .sharers = q.sharers,
        .is_resident = q.frame.v != 0,
    };
    return call_copy_out(task, f->rsi, &range, sizeof range);
}
