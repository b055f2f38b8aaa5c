/*
 * One page changes its frame: theory.
 *
 * 1. A private page is in the tables only: the leaf that shows it gets the other frame (vmm_replace: break, flush,
 *    copy, make). With one reference there is one leaf; where spaces are clones it is in the tables of one of them. A
 *    leaf behind a table that clones share is not edited: that would be an edit of all of them.
 *
 * 2. A page of an object is the object's to say. Nobody's leaf: the contents are copied, and the object told. One leaf,
 *    in one space: the same, and the leaf gets the other frame in place, so the space does not even see a fault; its
 *    reference passes to that frame at once (pmm_pass_references). More: the leaves go from all tables, as they may at
 *    any time, loans too; then the object's reference must be the only one.
 *
 * 3. Order: the place in the reverse index first, which may ask for memory; then what may be refused; copy; the object,
 *    the index. Nothing behind the copy can fail. A refusal leaves at most leaves that come back by faults. What the
 *    index says of the old frame it says of the new one: a word is copied, and made of nothing. The words for a block's
 *    frames lie in one node, found once a block.
 *
 * 4. Who else has a reference, or sees the frame in a temporary mapping, reads and writes the frame and not the page:
 *    such a page is pinned. The kernel's own way to user pages is by their addresses, or holds a reference.
 */
#include "aspace/move_page.h"

#include "aspace/loans.h"

/* ---- Private pages ---- */

static enum aspace_move move_private(struct aspaces *system, const struct frame_use *use, const struct moving *m)
{
    const vaddr_t va = vaddr_add_pages(vaddr(0), use->page);
    if (m->references != 1) {
        return use->family->members > 1 ? ASPACE_MOVE_SHARED : ASPACE_MOVE_PINNED;
    }
    enum aspace_move move = ASPACE_MOVE_UNKNOWN;
    for (struct aspace *space = use->family->first; space != NULL; space = space->relative) {
        const enum status s = vmm_replace(system->vmm, &space->tables, va, m->frame, m->to);
        if (s == STATUS_OK) {
            return ASPACE_MOVED;
        }
        move = s == STATUS_SHARED ? ASPACE_MOVE_SHARED : move;
    }
    return move;
}

/* ---- Pages of objects ---- */

/*
 * The only leaf gets the other frame, and with it its reference; that goes first, since it alone can be refused.
 * false: it is in no table that is one space's own.
 */
static bool replace_leaf(struct aspaces *system, const struct frame_use *use, pfn_t frame, pfn_t to)
{
    struct vmm *vmm = system->vmm;
    const struct mapping *m = object_overlap_first(use->object, use->page, use->page + 1);
    if (m == NULL || pmm_pass_references(vmm->pmm, frame, to) != STATUS_OK) {
        return false;
    }
    for (; m != NULL; m = object_overlap_next(m, use->page, use->page + 1)) {
        const vaddr_t va = vaddr_add_pages(m->base, use->page - m->first);
        if (vmm_replace(vmm, &m->space->tables, va, frame, to) == STATUS_OK) {
            return true;
        }
    }
    must(pmm_pass_references(vmm->pmm, to, frame)); /* as it was: what `frame` had it can have */
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

static enum aspace_move move_of_object(struct aspaces *system, const struct frame_use *use, const struct moving *m)
{
    const unsigned references = m->references != 0 ? m->references : pmm_query(system->vmm->pmm, m->frame).references;
    if (references != 2 || !replace_leaf(system, use, m->frame, m->to)) {
        const enum aspace_move move = references == 1 ? ASPACE_MOVED : drop_leaves(system, use, m->frame);
        if (move != ASPACE_MOVED) {
            return move;
        }
        if (frame_copy(system->vmm, m->to, m->frame) != STATUS_OK) {
            return ASPACE_MOVE_DEVICE;
        }
    }
    if (use->page < OBJECT_FEW || !page_index_replace(&use->object->frames, use->page, m->to.v)) {
        object_set_resident(use->object, use->page, m->to);
    }
    return ASPACE_MOVED;
}

/* ---- Any page ---- */

enum status move_prepare(struct aspaces *system, pfn_t to)
{
    const struct aspace_needs needs = {.frames = 1};
    const size_t before = system->reserved;
    const enum status s = reverse_words(system, to) != NULL ? STATUS_OK : aspaces_reserve(system, &needs);
    system->reserved = before;
    return s;
}

/* What the index says of `frame` it says of `to` then: object and page, or family and page, are the same. */
enum aspace_move move_page(struct aspaces *system, const struct moving *m)
{
    if (system->vmm->temp_count > 0 && temp_shows(system->vmm, m->frame, 1)) {
        return ASPACE_MOVE_PINNED;
    }
    const struct frame_use use = reverse_read(system, m->frame, m->word);
    const enum aspace_move move = use.object != NULL   ? move_of_object(system, &use, m)
                                  : use.family != NULL ? move_private(system, &use, m)
                                                       : ASPACE_MOVE_UNKNOWN;
    if (move == ASPACE_MOVED) {
        reverse_note_word(system, m->to, m->word, m->to_word);
    }
    return move;
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
            const struct moving m = {.frame = frame, .to = to, .references = f.references,
                                     .word = page_index_get(&system->used_for, frame.v)};
            const bool ready = move_prepare(system, to) == STATUS_OK;
            move = ready ? move_page(system, &m) : ASPACE_MOVE_NOMEM;
        }
        aspaces_done(system);
    }
    return move;
}
