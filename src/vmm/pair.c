/* The frame of edits of two spaces. */
#include "vmm/pair.h"

#include "arch/arch.h"

static inline bool needs_window(const struct pair *p)
{
    return p->a != p->vmm->current || p->b != p->vmm->current;
}

/* With one CPU any of the locks is the interrupt flag, and one is enough: a message of a page takes them. */
static inline bool one_is_all(const struct pair *p)
{
    return !p->a->table_lock.shared && !p->b->table_lock.shared && !p->vmm->current->window_lock.shared;
}

__attribute__((always_inline)) static inline void take(const struct pair *p)
{
    if (one_is_all(p)) {
        lock_take(&p->a->table_lock);
        return;
    }
    if (needs_window(p)) {
        lock_take(&p->vmm->current->window_lock);
    }
    lock_take(&(p->a->id < p->b->id ? p->a : p->b)->table_lock);
    lock_take(&(p->a->id < p->b->id ? p->b : p->a)->table_lock);
}

__attribute__((always_inline)) static inline void drop(const struct pair *p)
{
    if (one_is_all(p)) {
        lock_drop(&p->a->table_lock);
        return;
    }
    lock_drop(&(p->a->id < p->b->id ? p->b : p->a)->table_lock);
    lock_drop(&(p->a->id < p->b->id ? p->a : p->b)->table_lock);
    if (needs_window(p)) {
        lock_drop(&p->vmm->current->window_lock);
    }
}

/* Can it be opened later? Asked of one that cannot, foreign_open says so with the values. */
static enum status may_open(const struct pair *p, struct space *space)
{
    bool may = space == p->vmm->current || space->opens == NULL;
    return may ? STATUS_OK : foreign_open(p->vmm, space);
}

enum status pair_begin(const struct pair *p, vaddr_t va, const char *call)
{
    if (p->vmm->editing != NULL) {
        return edit_refuse(p->vmm, p->a, va, call);
    }
    take(p);
    enum status s = may_open(p, p->a);
    s = s == STATUS_OK ? may_open(p, p->b) : s;
    if (s == STATUS_OK) {
        p->vmm->editing = call;
        p->vmm->changes++;
    } else {
        drop(p);
    }
    return s;
}

void pair_begin_known(const struct pair *p, const char *call)
{
    take(p);
    p->vmm->editing = call;
    p->vmm->changes++;
}

void pair_end(const struct pair *p)
{
    p->vmm->editing = NULL;
    drop(p);
}

void pair_show(const struct pair *p, struct space *space)
{
    if (space != p->vmm->current && foreign_open(p->vmm, space) != STATUS_OK) {
        arch_fatal("a space that could be opened cannot be opened any more, in the middle of an edit");
    }
}

enum status pair_promise(const struct pair *p, npages_t n, bool *changed)
{
    struct vmm *vmm = p->vmm;
    const char *call = vmm->editing;
    const uint64_t changes = vmm->changes;
    p->a->waiting++;
    p->b->waiting++;
    pair_end(p);
    enum status s = pmm_promise(vmm->pmm, n);
    p->a->waiting--;
    p->b->waiting--;
    take(p);
    *changed = vmm->changes != changes;
    vmm->editing = call;
    if (s == STATUS_OK && *changed) {
        s = may_open(p, p->a);
        s = s == STATUS_OK ? may_open(p, p->b) : s;
        enum status undone = s == STATUS_OK ? s : pmm_unpromise(vmm->pmm, n);
        s = undone == STATUS_OK ? s : undone;
    }
    return s;
}
