/*
 * The frame of every call that reads or edits tables: one at a time, with the locks of the space, and the foreign
 * window open where it is needed. Private to src/vmm/.
 *
 * Locks, in this order (R17): the current space's window lock where the foreign window is used, since the slot is in
 * its PML4; then the table lock of the space that is named. With one CPU both are the interrupt flag.
 */
#ifndef CAIRN_VMM_EDIT_H
#define CAIRN_VMM_EDIT_H

#include "vmm/foreign.h"

static inline void locks_take(struct vmm *vmm, struct space *space, enum window w)
{
    if (w == WINDOW_FOREIGN) {
        lock_take(&vmm->current->window_lock);
    }
    lock_take(&space->table_lock);
}

static inline void locks_drop(struct vmm *vmm, struct space *space, enum window w)
{
    lock_drop(&space->table_lock);
    if (w == WINDOW_FOREIGN) {
        lock_drop(&vmm->current->window_lock);
    }
}

/* => MISUSE, reported: `call` inside of another edit or of a visit. */
enum status edit_refuse(struct vmm *vmm, const struct space *space, vaddr_t va, const char *call);

/*
 * An edit of `space`, a space of this VMM, around `va` begins; *w: the window for it. => OK; MISUSE, reported: inside
 * of another edit or of a visit, or as foreign_open. For OK edit_end must follow.
 */
static inline enum status edit_begin(struct vmm *vmm, struct space *space, vaddr_t va, const char *call, enum window *w)
{
    if (vmm->editing != NULL) {
        return edit_refuse(vmm, space, va, call);
    }
    *w = window_for(vmm, space, va);
    locks_take(vmm, space, *w);
    enum status s = *w == WINDOW_OWN ? STATUS_OK : foreign_open(vmm, space);
    if (s == STATUS_OK) {
        vmm->editing = call;
        vmm->changes++;
    } else {
        locks_drop(vmm, space, *w);
    }
    return s;
}

static inline void edit_end(struct vmm *vmm, struct space *space, enum window w)
{
    vmm->editing = NULL;
    locks_drop(vmm, space, w);
}

/*
 * Promise n > 0 frames in the middle of an edit, outside of its locks: the PMM may call those who can give memory back,
 * and they may edit tables. *changed: something was edited, or the window moved; what was looked at is to be looked at
 * again, through *w. => OK; NOMEM; MISUSE as foreign_open: nothing is promised.
 */
enum status edit_promise(struct vmm *vmm, struct space *space, enum window *w, vaddr_t va, npages_t n, bool *changed);

/*
 * A question about `space` begins: may be asked inside of a visit, and inside of an edit where it moves no window.
 * => OK; MISUSE, reported.
 */
enum status question_begin(struct vmm *vmm, struct space *space, vaddr_t va, const char *call);
void question_end(struct vmm *vmm, struct space *space, vaddr_t va);

/* Around a visitor: it may ask, and visit, but not edit. No question is open. */
void visitor_begin(struct vmm *vmm);
void visitor_end(struct vmm *vmm);

#endif
