/*
 * One page changes its frame: theory.
 *
 * 1. A private page is in the tables only: the leaf that shows it gets the other frame (vmm_replace: break, flush,
 *    copy, make). With one reference there is one leaf; where spaces are clones it is in the tables of one of them. A
 *    leaf behind a table that clones share is not edited: that would be an edit of all of them.
 *
 * 2. A page of an object is the object's to say. Nobody's leaf: the contents are copied, and the object told. One leaf,
 *    in one space: the same, and the leaf gets the other frame in place, so the space does not even see a fault. More:
 *    the leaves go from all tables, as they may at any time, loans too; then the object's reference must be the only
 *    one.
 *
 * 3. Order: the place in the reverse index first, which may ask for memory; then what may be refused; copy; the object,
 *    the index. Nothing behind the copy can fail. A refusal leaves at most leaves that come back by faults.
 *
 * 4. Who else has a reference, or sees the frame in a temporary mapping, reads and writes the frame and not the page:
 *    such a page is pinned. The kernel's own way to user pages is by their addresses, or holds a reference.
 */
#include "aspace/move_page.h"

#include "aspace/loans.h"

/* ---- Private pages ---- */

static enum aspace_move move_private(struct aspaces *system, const struct frame_use *use, pfn_t frame, pfn_t to,
                                     unsigned references)
{
    const vaddr_t va = vaddr_add_pages(vaddr(0), use->page);
    if (references != 1) {
        return use->family->members > 1 ? ASPACE_MOVE_SHARED : ASPACE_MOVE_PINNED;
    }
    enum aspace_move move = ASPACE_MOVE_UNKNOWN;
    for (struct aspace *space = use->family->first; space != NULL; space = space->relative) {
        const enum status s = vmm_replace(system->vmm, &space->tables, va, frame, to);
        if (s == STATUS_OK) {
            reverse_note_private(system, to, space, va);
            return ASPACE_MOVED;
        }
        move = s == STATUS_SHARED ? ASPACE_MOVE_SHARED : move;
    }
    return move;
}

/* ---- Pages of objects ---- */

/* The only leaf gets the other frame. false: it is in no table that is one space's own. */
static bool replace_leaf(struct aspaces *system, const struct frame_use *use, pfn_t frame, pfn_t to)
{
    const struct mapping *m = object_overlap_first(use->object, use->page, use->page + 1);
    for (; m != NULL; m = object_overlap_next(m, use->page, use->page + 1)) {
        const vaddr_t va = vaddr_add_pages(m->base, use->page - m->first);
        if (vmm_replace(system->vmm, &m->space->tables, va, frame, to) == STATUS_OK) {
            (void)!pmm_retain(system->vmm->pmm, to);
            (void)!pmm_release(system->vmm->pmm, frame, NULL);
            return true;
        }
    }
    return false;
}

/* => OK; SHARED: clones of a private mapping see it; CORRUPT */
static enum status drop_leaf(struct aspaces *system, const struct mapping *m, vaddr_t va, pfn_t frame)
{
    pte_t leaf;
    if ((m->flags & ASPACE_PRIVATE) == 0) {
        return tables_drop_shared(m->space, va, npages(1));
    }
    const enum status s = vmm_leaf(system->vmm, &m->space->tables, va, &leaf);
    const bool shows = s == STATUS_OK && pte_is_present(leaf) && pte_pfn(leaf).v == frame.v;
    return shows ? vmm_unmap_present(system->vmm, &m->space->tables, va, npages(1)) : s;
}

static enum aspace_move drop_leaves(struct aspaces *system, const struct frame_use *use, pfn_t frame)
{
    enum status s = STATUS_OK;
    const struct mapping *m = object_overlap_first(use->object, use->page, use->page + 1);
    for (; m != NULL && s == STATUS_OK; m = object_overlap_next(m, use->page, use->page + 1)) {
        s = drop_leaf(system, m, vaddr_add_pages(m->base, use->page - m->first), frame);
    }
    return s != STATUS_OK                                            ? ASPACE_MOVE_SHARED
           : pmm_query(system->vmm->pmm, frame).references == 1 ? ASPACE_MOVED
                                                                     : ASPACE_MOVE_PINNED;
}

static enum aspace_move move_of_object(struct aspaces *system, const struct frame_use *use, pfn_t frame, pfn_t to,
                                       unsigned references)
{
    references = references != 0 ? references : pmm_query(system->vmm->pmm, frame).references;
    if (references != 2 || !replace_leaf(system, use, frame, to)) {
        const enum aspace_move move = references == 1 ? ASPACE_MOVED : drop_leaves(system, use, frame);
        if (move != ASPACE_MOVED) {
            return move;
        }
        if (frame_copy(system->vmm, to, frame) != STATUS_OK) {
            return ASPACE_MOVE_DEVICE;
        }
    }
    object_set_resident(use->object, use->page, to);
    reverse_note_object(system, to, use->object, use->page);
    return ASPACE_MOVED;
}

/* ---- Any page ---- */

/* A page of the index has the frames of a block: where one was noted, it is there. */
enum status move_prepare(struct aspaces *system, pfn_t to)
{
    static_assert((int)PAGE_INDEX_WORDS == (int)PMM_BLOCK_FRAMES, "a page of words for a block of frames");
    const struct aspace_needs needs = {.frames = 1};
    const size_t before = system->reserved;
    const enum status s = reverse_kind(system, to) != FRAME_UNKNOWN ? STATUS_OK : aspaces_reserve(system, &needs);
    system->reserved = before;
    return s;
}

enum aspace_move move_page(struct aspaces *system, pfn_t frame, pfn_t to, unsigned references)
{
    if (temp_shows(system->vmm, frame, 1)) {
        return ASPACE_MOVE_PINNED;
    }
    const struct frame_use use = reverse_find(system, frame);
    return use.object != NULL   ? move_of_object(system, &use, frame, to, references)
           : use.family != NULL ? move_private(system, &use, frame, to, references)
                                : ASPACE_MOVE_UNKNOWN;
}

enum aspace_move aspaces_move_page(struct aspaces *system, pfn_t frame, pfn_t to, enum status *s)
{
    enum aspace_move move = ASPACE_MOVE_UNKNOWN;
    *s = aspaces_begin(system, "aspaces_move_page");
    if (*s == STATUS_OK) {
        const struct pmm_frame f = pmm_query(system->vmm->pmm, frame);
        if (f.state != PMM_STATE_USED) {
            move = f.state == PMM_STATE_ZERO  ? ASPACE_MOVE_ZERO
                   : f.state == PMM_STATE_RUN ? ASPACE_MOVE_UNKNOWN
                                              : ASPACE_MOVE_DEVICE;
        } else {
            const bool ready = move_prepare(system, to) == STATUS_OK;
            move = ready ? move_page(system, frame, to, f.references) : ASPACE_MOVE_NOMEM;
        }
        aspaces_done(system);
    }
    return move;
}
