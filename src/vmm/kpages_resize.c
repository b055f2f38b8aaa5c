/*
 * Kernel pages that become more or fewer. What may fail comes first, and what was done before it is undone without
 * memory; so each call is all or nothing.
 *
 * Growing in place: the addresses behind are had as a range of its own, which can be given back; frames are mapped
 * there, and only then the two ranges become one, which needs no node. The old upper guard is the first of the new
 * pages then, and the last page of the whole range is the guard.
 *
 * Moving: addresses, then frames for what is new, then vmm_move; until it has answered the old pages are as they were.
 *
 * Trimming: a large page over the new end is cut first, then the node that the rest may need is made sure of; what
 * follows needs no memory.
 */
#include "vmm/kpages.h"

#include "lib/report.h"
#include "vmm/map.h"
#include "vmm/vmm_large.h"

enum { RIGHTS = VMM_READ | VMM_WRITE };

/* What `s` was the answer for has been undone by a call that cannot fail. */
static enum status undone(enum status by, enum status s) { return by == STATUS_OK ? s : STATUS_CORRUPT; }

enum status kpages_grow(struct vmm *vmm, vaddr_t base, npages_t pages)
{
    struct kpages_range r;
    if (!kpages_range_of(vmm, base, "kpages_grow", &r)) {
        return STATUS_MISUSE;
    }
    if (pages.v <= r.pages.v) {
        return STATUS_INVALID;
    }
    if (kpages_range_is_pooled(&r)) {
        return STATUS_EXISTS;
    }
    const npages_t more = npages(pages.v - r.pages.v);
    const vaddr_t behind = vaddr_add_pages(r.range.base, r.range.pages.v);
    enum status s = arena_alloc_at(&vmm->arena, behind, more, r.range.tag);
    if (s != STATUS_OK) {
        return s == STATUS_RANGE ? STATUS_EXISTS : s;
    }
    s = map_fresh(vmm, &vmm->kernel, vaddr_add_pages(base, r.pages.v), more, RIGHTS, false);
    if (s != STATUS_OK) {
        return undone(arena_free(&vmm->arena, behind), s);
    }
    return arena_join(&vmm->arena, r.range.base);
}

/* No large page lies over `end` any more, so that what is behind it can be unmapped without memory. => as vmm_demote */
static enum status cut_at(struct vmm *vmm, vaddr_t end)
{
    for (;;) {
        struct vmm_walk w;
        enum status s = vmm_translate(vmm, &vmm->kernel, end, &w);
        if (s != STATUS_OK || !w.present || (end.v & (w.page_bytes - 1)) == 0) {
            return s;
        }
        s = vmm_demote(vmm, &vmm->kernel, end);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

enum status kpages_trim(struct vmm *vmm, vaddr_t base, npages_t pages)
{
    struct kpages_range r;
    if (!kpages_range_of(vmm, base, "kpages_trim", &r)) {
        return STATUS_MISUSE;
    }
    if (pages.v == 0 || pages.v >= r.pages.v || kpages_range_is_pooled(&r)) {
        return STATUS_INVALID;
    }
    const vaddr_t end = vaddr_add_pages(base, pages.v);
    const npages_t fewer = npages(r.pages.v - pages.v);
    enum status s = cut_at(vmm, end);
    s = s == STATUS_OK ? arena_reserve_for(&vmm->arena, 1) : s;
    if (s != STATUS_OK) {
        return s;
    }
    s = vmm_unmap(vmm, &vmm->kernel, end, fewer);
    if (s != STATUS_OK) {
        return misuse("kpages_trim: the %lu pages at %#lx are not all mapped: %s", fewer.v, end.v, status_name(s));
    }
    return arena_free_part(&vmm->arena, vaddr_add_pages(end, r.guard), fewer);
}

/* Frames for the pages that come to those moved, and these themselves. => OK; else nothing is mapped there. */
static enum status fill_moved(struct vmm *vmm, vaddr_t from, npages_t old, vaddr_t to, npages_t pages)
{
    const vaddr_t behind = vaddr_add_pages(to, old.v);
    const npages_t more = npages(pages.v - old.v);
    enum status s = more.v > 0 ? map_fresh(vmm, &vmm->kernel, behind, more, RIGHTS, false) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    s = vmm_move(vmm, &vmm->kernel, from, to, old);
    return s == STATUS_OK || more.v == 0 ? s : undone(vmm_unmap(vmm, &vmm->kernel, behind, more), s);
}

enum status kpages_move(struct vmm *vmm, vaddr_t base, npages_t pages, unsigned align_log2, vaddr_t *moved)
{
    struct kpages_range r;
    if (!kpages_range_of(vmm, base, "kpages_move", &r)) {
        return STATUS_MISUSE;
    }
    if (pages.v < r.pages.v) {
        return STATUS_INVALID;
    }
    if (pages.v > bytes_to_pages_down(vmm->arena.end.v - vmm->arena.base.v).v) {
        return STATUS_NOMEM;
    }
    vaddr_t range;
    enum status s = kpages_range_get(vmm, pages, align_log2, r.guard > 0, r.range.tag, &range);
    if (s != STATUS_OK) {
        return s;
    }
    const vaddr_t to = vaddr_add_pages(range, r.guard);
    s = fill_moved(vmm, base, r.pages, to, pages);
    if (s != STATUS_OK) {
        return undone(arena_free(&vmm->arena, range), s);
    }
    *moved = to;
    return kpages_addresses_put(vmm, base, r.guard);
}
