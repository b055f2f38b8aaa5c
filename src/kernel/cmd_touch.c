/* `touch`: a byte of a space, read or written on behalf of its user mode, with all the faults that this takes. */
#include "kernel/cmd_ranges.h"
#include "kernel/current.h"
#include "kernel/fault.h"
#include "kernel/usercopy.h"
#include "lib/string.h"

/* In the space, and back again. => was it done? */
static bool touch(struct aspace *space, vaddr_t va, unsigned access, uint8_t *byte)
{
    struct space *before = machine.vmm.current;
    struct aspace *aspace_before = current_aspace();
    *fault_of_user_last() = (struct aspace_fault){.why = "not an address of user mode"};
    if (!cmd_done("touch", current_enter(space))) {
        return false;
    }
    uint64_t left = access == VMM_WRITE ? copy_to_user(va, byte, sizeof *byte) : copy_from_user(byte, va, sizeof *byte);
    struct aspace_fault why = *fault_of_user_last();
    enum status s = aspace_before != NULL ? current_enter(aspace_before) : space_switch(&machine.vmm, before);
    if (left > 0) {
        fault_print_refusal(space, va, access, &why);
    }
    return cmd_done("touch", s) && left == 0;
}

static bool run_touch(const struct command_line *line)
{
    vaddr_t va;
    uint64_t value = 0;
    if (!cmd_args(line, 2, 3, "SPACE VA [VALUE]")) {
        return false;
    }
    struct space *tables = cmd_space(line->argv[1]);
    struct aspace *space = tables != NULL ? cmd_aspace(tables) : NULL;
    if (tables != NULL && space == NULL) {
        print("space %u is tables alone\n", tables->id);
    }
    if (space == NULL || !cmd_number(line->argv[2], "address", &va.v) ||
        (line->argc > 3 && !cmd_number(line->argv[3], "value", &value))) {
        return false;
    }
    if (value > UINT8_MAX) {
        print("touch: %lu is more than a byte holds\n", value);
        return false;
    }
    uint8_t byte = (uint8_t)value;
    uint64_t faults = machine.page_faults;
    if (!touch(space, va, line->argc > 3 ? VMM_WRITE : VMM_READ, &byte)) {
        return false;
    }
    print("touch: space %u, %016lx: %#x, %lu faults\n", tables->id, va.v, byte, machine.page_faults - faults);
    return true;
}

const struct command cmd_touch[] = {
    {"touch", "SPACE VA [VALUE]", "read or write a byte as user mode of a space would, faults and all", run_touch},
    {0},
};
