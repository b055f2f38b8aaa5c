/*
 * System calls about segments (aspace/segment.h). Tasks are named by their ids; who gets a segment was not asked, so
 * its range is counted as a gift is (call_share.c): within half of what the receiver may have.
 */
#include "aspace/segment.h"
#include "task/call.h"

/* With rights as user mode says them. => OK, its address in RDX; as segment_create */
static enum status create(struct task *task, struct interrupt_frame *f, struct segment_request r, uint64_t rights)
{
    vaddr_t va;
    if (!call_rights(rights, &r.rights)) {
        return STATUS_INVALID;
    }
    const enum status s = segment_create(&task->space, &r, &va);
    if (s == STATUS_OK) {
        f->rdx = va.v;
    }
    return s;
}

enum status call_segment_create(struct task *task, struct interrupt_frame *f)
{
    const struct segment_request r = {.pages = bytes_to_pages_up(f->rdi), .tag = "task segment"};
    return create(task, f, r, f->rsi);
}

/* The module itself is at one address for all, and nobody's to change: a file has pages of its own. */
enum status call_segment_file(struct task *task, struct interrupt_frame *f)
{
    struct segment_request r = {.tag = "task file"};
    struct object *module;
    enum status s = call_module(task, f->rdi, f->rsi, &module);
    s = s == STATUS_OK ? object_create_copy(module, &r.object) : s;
    if (s == STATUS_OK) {
        s = create(task, f, r, f->rdx);
        (void)!object_release(r.object); /* the segment holds it, if it was made */
    }
    return s;
}

enum status call_segment_give(struct task *task, struct task *to, vaddr_t va, uint64_t rights)
{
    unsigned wanted;
    if (!call_rights(rights, &wanted)) {
        return STATUS_INVALID;
    }
    const bool has_room = to == task || to->space.ranges < to->limits.ranges - to->limits.ranges / 2;
    const enum status s = has_room ? STATUS_OK : STATUS_LIMIT;
    return s == STATUS_OK ? segment_grant(&task->space, va, &to->space, wanted) : s;
}

enum status call_segment_grant(struct task *task, struct interrupt_frame *f)
{
    struct task *to = call_find(task->system, f->rsi);
    return to != NULL ? call_segment_give(task, to, vaddr(f->rdi), f->rdx) : STATUS_ABSENT;
}

enum status call_segment_narrow(struct task *task, struct interrupt_frame *f)
{
    struct task *of = call_find(task->system, f->rsi);
    unsigned rights;
    if (!call_rights(f->rdx, &rights)) {
        return STATUS_INVALID;
    }
    return of != NULL ? segment_narrow(&task->space, vaddr(f->rdi), &of->space, rights) : STATUS_ABSENT;
}

enum status call_segment_revoke(struct task *task, struct interrupt_frame *f)
{
    struct task *from = call_find(task->system, f->rsi);
    return from != NULL ? segment_revoke(&task->space, vaddr(f->rdi), &from->space) : STATUS_ABSENT;
}

enum status call_segment_resize(struct task *task, struct interrupt_frame *f)
{
    return segment_resize(&task->space, vaddr(f->rdi), bytes_to_pages_up(f->rsi));
}
