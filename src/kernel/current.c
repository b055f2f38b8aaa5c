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

enum status current_run(struct aspace *space, struct user_context *context, struct aspace_fault *out)
{
    struct space *before = machine.vmm.current;
    struct aspace *entered_before = entered;
    enum status s = current_enter(space);
    if (s != STATUS_OK) {
        return s;
    }
    s = user_run(context);
    if (out != NULL) {
        *out = *fault_of_user_last();
    }
    enum status back = space_switch(&machine.vmm, before);
    entered = entered_before;
    return s != STATUS_OK ? s : back;
}
