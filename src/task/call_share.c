/*
 * System calls that let others use pages. Who gets them was not asked, so what it may have for itself is kept for it:
 * pages of others come only as long as it then has at most half of its limits. Whether its own or given, all counts:
 * a task that has half of its pages or more takes no more from others. (To count what was given apart from the rest
 * would need a count at each page that goes back; and who frees its own and keeps what it was given would be full.)
 *
 * A segment is given as a whole: so many bytes as it has, from its first page on, and only lent; it is taken back by
 * TASK_SEGMENT_REVOKE.
 *
 * To look whether there is room in half of the limits takes four comparisons where no more ranges can come of it than
 * fit, however they lie; else the space compares exactly, with the limits halved for this one call.
 */
#include "aspace/segment.h"
#include "task/call.h"

static enum status pass(struct task *from, struct task *to, const struct task_gift *g, unsigned rights)
{
    const npages_t pages = bytes_to_pages_up(g->bytes);
    return g->takes ? aspace_transfer(&from->space, vaddr(g->va), pages, &to->space, rights)
                    : aspace_share(&from->space, vaddr(g->va), pages, &to->space, rights, vaddr(g->to_va));
}

/* All of a segment, which is there. */
static enum status give_segment(struct task *from, struct task *to, const struct task_gift *g,
                                const struct segment_info *segment)
{
    const bool is_whole = g->va == segment->base.v && bytes_to_pages_up(g->bytes).v == segment->pages.v;
    return is_whole && !g->takes && g->to_va == 0 ? call_segment_give(from, to, segment->base, g->rights)
                                                  : STATUS_INVALID;
}

enum status call_give(struct task *from, struct task *to, const struct task_gift *g)
{
    struct segment_info segment;
    const struct aspace_limits all = {.pages = to->limits.pages, .ranges = to->limits.ranges};
    const struct aspace_limits half = {.pages = npages(all.pages.v - all.pages.v / 2),
                                       .ranges = all.ranges - all.ranges / 2};
    const uint64_t pages = bytes_to_pages_up(g->bytes).v;
    unsigned rights;
    if (!call_rights(g->rights, &rights) || from == to) {
        return STATUS_INVALID;
    }
    if (from->space.segments > 0 && segment_info(from->space.system, vaddr(g->va), &segment) &&
        segment_permits(&from->space, segment.base, 0) == STATUS_OK) {
        return give_segment(from, to, g, &segment);
    }
    if (to->space.pages.v + pages <= half.pages.v && to->space.ranges + pages <= half.ranges) {
        return pass(from, to, g, rights);
    }
    enum status s = aspace_set_limits(&to->space, half);
    if (s == STATUS_OK) {
        s = pass(from, to, g, rights);
        (void)!aspace_set_limits(&to->space, all); /* it has less */
    }
    return s;
}

enum status call_share(struct task *task, struct interrupt_frame *f)
{
    struct task *to = call_find(task->system, f->rdx);
    const struct task_gift gift = {.va = f->rdi, .bytes = f->rsi, .rights = f->r10, .to_va = f->r8};
    return to != NULL ? call_give(task, to, &gift) : STATUS_ABSENT;
}

enum status call_transfer(struct task *task, struct interrupt_frame *f)
{
    struct task *to = call_find(task->system, f->rdx);
    const struct task_gift gift = {.va = f->rdi, .bytes = f->rsi, .rights = f->r10, .takes = true};
    return to != NULL ? call_give(task, to, &gift) : STATUS_ABSENT;
}

enum status call_withdraw(struct task *task, struct interrupt_frame *f)
{
    struct task *from = call_find(task->system, f->rdx);
    if (from == NULL) {
        return STATUS_ABSENT;
    }
    return from == task ? STATUS_INVALID
                        : aspace_withdraw(&task->space, vaddr(f->rdi), bytes_to_pages_up(f->rsi), &from->space);
}
