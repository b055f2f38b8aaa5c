#include "kernel/current.h"

#include "kernel/fault.h"
#include "kernel/machine.h"

static struct aspace *entered; /* the last one; null: none, or left */

struct aspace *current_aspace(void)
{
    return entered != NULL && machine.vmm.current == &entered->tables ? entered : NULL;
}

enum status current_enter(struct aspace *space)
{
    enum status s = space_switch(&machine.vmm, &space->tables);
    if (s == STATUS_OK) {
        entered = space;
    }
    return s;
}

void current_leave(void)
{
    if (space_switch(&machine.vmm, &machine.vmm.kernel) != STATUS_OK) {
        panic("the kernel's own space cannot be entered");
    }
    entered = NULL;
}

struct current current_note(void) { return (struct current){machine.vmm.current, entered}; }

void current_return(struct current to)
{
    if (space_switch(&machine.vmm, to.tables) != STATUS_OK) {
        panic("space %u cannot be entered again", to.tables->id);
    }
    entered = to.space;
}

enum status current_run(struct aspace *space, struct user_context *context, struct aspace_fault *out)
{
    const struct current before = current_note();
    enum status s = current_enter(space);
    if (s != STATUS_OK) {
        return s;
    }
    s = user_run(context);
    if (out != NULL) {
        *out = *fault_of_user_last();
    }
    current_return(before);
    return s;
}
