/*
 * A task makes another one that is what it is itself: the private part by aspace_clone, whole tables shared for copy on
 * write. Of the global part what the caller names, page by page: shared with the child when the child has nothing there
 * yet, so the spaces' own rules hold (aspace_share), and neither where ranges of the parent begin, nor that two of them
 * are one, makes a difference. What it cannot have (the parent has not got it, no right to it, too much) ends the call,
 * and the child, which nobody has seen, is no more.
 *
 * The limits are the parent's, and count what the child has from it.
 */
#include "aspace/segment.h"
#include "task/call.h"

struct clone {
    struct task *parent, *child;
    const struct task_keep *keep;
    uint64_t count;
    vaddr_t stack; /* its end */
};

/* Segments are kept with the private part, before all else; they are not the parent's to share, unless it owns them. */
static unsigned keep_segment(void *ctx, vaddr_t va, npages_t pages, unsigned has)
{
    const struct clone *k = ctx;
    struct segment_info segment;
    unsigned rights;
    (void)has;
    const uint64_t count = segment_info(k->parent->space.system, va, &segment) ? k->count : 0;
    for (uint64_t i = 0; i < count; i++) {
        if (k->keep[i].va == va.v && bytes_to_pages_up(k->keep[i].bytes).v == pages.v) {
            return call_rights(k->keep[i].rights, &rights) ? rights : 0;
        }
    }
    return 0;
}

static enum status keep_ranges(const struct clone *k)
{
    const struct task_keep *keep = k->keep;
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < k->count && s == STATUS_OK; i++) {
        unsigned rights;
        if (!call_rights(keep[i].rights, &rights)) {
            return STATUS_INVALID;
        }
        if (segment_permits(&k->child->space, vaddr(keep[i].va), 0) == STATUS_OK) {
            continue;
        }
        s = aspace_share(&k->parent->space, vaddr(keep[i].va), bytes_to_pages_up(keep[i].bytes), &k->child->space,
                         rights, vaddr(0));
    }
    return s;
}

static enum status make_stack(struct clone *k, uint64_t bytes)
{
    const struct aspace_request request = {
        .pages = bytes_to_pages_up(bytes),
        .rights = VMM_READ | VMM_WRITE | VMM_USER,
        .flags = ASPACE_GLOBAL | ASPACE_GUARD_BELOW,
        .tag = "stack",
    };
    vaddr_t va;
    const enum status s = aspace_map(&k->child->space, &request, &va);
    if (s == STATUS_OK) {
        k->stack = vaddr_add_pages(va, request.pages.v);
    }
    return s;
}

/* => OK, the child's space is there; as call_clone, and it is not. */
static enum status make_space(struct clone *k, uint64_t stack_bytes)
{
    enum status s = aspace_clone(&k->parent->space, &k->child->space, keep_segment, k);
    if (s != STATUS_OK) {
        return s;
    }
    s = keep_ranges(k);
    s = s == STATUS_OK ? make_stack(k, stack_bytes) : s;
    if (s != STATUS_OK) {
        (void)!aspace_destroy(&k->child->space);
    }
    return s;
}

enum status call_clone(struct task *task, struct interrupt_frame *f)
{
    const uint64_t entry = f->rdi, count = f->r10;
    struct task_keep keep[TASK_KEEP_MAX];
    if (count > TASK_KEEP_MAX) {
        return STATUS_LIMIT;
    }
    enum status s = call_check_bytes(entry, 1);
    s = s == STATUS_OK && count > 0 ? call_copy_in(task, keep, f->rdx, count * sizeof *keep) : s;
    if (s != STATUS_OK) {
        return s;
    }
    struct clone k = {.parent = task, .child = task_make(task->system, task->name, task->limits, &s),
                      .keep = keep, .count = count};
    if (k.child == NULL) {
        return s;
    }
    s = make_space(&k, f->r8);
    if (s != STATUS_OK) {
        task_unmake(k.child);
        return s;
    }
    task_enroll(k.child);
    const uint64_t arguments[3] = {f->rsi, 0, k.child->id};
    s = task_start(k.child, vaddr(entry), k.stack, arguments);
    f->rdx = k.child->id;
    return s;
}
