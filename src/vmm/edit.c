/* The frame of calls: nesting, promises in between, questions. */
#include "vmm/edit.h"

#include "lib/report.h"

enum status edit_refuse(struct vmm *vmm, const struct space *space, vaddr_t va, const char *call)
{
    return misuse("%s: space %u, %#lx: called inside %s", call, space->id, va.v, vmm->editing);
}

enum status edit_promise(struct vmm *vmm, struct space *space, enum window *w, vaddr_t va, npages_t n, bool *changed)
{
    const char *call = vmm->editing;
    const uint64_t changes = vmm->changes;
    space->waiting++;
    edit_end(vmm, space, *w);
    enum status s = pmm_promise(vmm->pmm, n);
    space->waiting--;
    *w = window_for(vmm, space, va);
    locks_take(vmm, space, *w);
    *changed = vmm->changes != changes;
    vmm->editing = call;
    if (s == STATUS_OK && *changed && *w == WINDOW_FOREIGN) {
        s = foreign_open(vmm, space);
        enum status undone = s == STATUS_OK ? s : pmm_unpromise(vmm->pmm, n);
        s = undone == STATUS_OK ? s : undone;
    }
    return s;
}

/* Not of a visitor: these may ask. */
static bool is_inside_edit(const struct vmm *vmm) { return vmm->editing != NULL && vmm->visits == 0; }

enum status question_begin(struct vmm *vmm, struct space *space, vaddr_t va, const char *call)
{
    enum window w = window_for(vmm, space, va);
    if (is_inside_edit(vmm)) {
        bool moves = w == WINDOW_FOREIGN && vmm->foreign.space != space;
        return moves ? edit_refuse(vmm, space, va, call) : STATUS_OK;
    }
    locks_take(vmm, space, w);
    enum status s = w == WINDOW_OWN ? STATUS_OK : foreign_open(vmm, space);
    if (s != STATUS_OK) {
        locks_drop(vmm, space, w);
    }
    return s;
}

void question_end(struct vmm *vmm, struct space *space, vaddr_t va)
{
    if (!is_inside_edit(vmm)) {
        locks_drop(vmm, space, window_for(vmm, space, va));
    }
}

void visitor_begin(struct vmm *vmm)
{
    vmm->visits++;
    vmm->editing = "vmm_visit";
}

void visitor_end(struct vmm *vmm)
{
    vmm->visits--;
    vmm->editing = vmm->visits > 0 ? vmm->editing : NULL;
}
