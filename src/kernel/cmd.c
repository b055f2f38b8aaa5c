/* What the commands share: arguments, answers, sizes and the names of addresses. */
#include "kernel/cmd.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "lib/macros.h"
#include "lib/string.h"

bool cmd_args(const struct command_line *line, int least, int most, const char *usage)
{
    if (line->argc - 1 >= least && line->argc - 1 <= most) {
        return true;
    }
    print("usage: %s%s%s\n", line->argv[0], usage[0] == '\0' ? "" : " ", usage);
    return false;
}

bool cmd_number(const char *text, const char *what, uint64_t *value)
{
    if (parse_number(text, false, value)) {
        return true;
    }
    print("%s: '%s' is not a number (decimal, or hexadecimal after 0x)\n", what, text);
    return false;
}

struct space *cmd_space(const char *text)
{
    uint64_t id;
    if (!cmd_number(text, "space", &id)) {
        return NULL;
    }
    struct space *space = id <= UINT32_MAX ? space_find(&machine.vmm, (unsigned)id) : NULL;
    if (space == NULL) {
        print("there is no space %lu\n", id);
    }
    return space;
}

struct space *cmd_current_space(void)
{
    uint64_t root = paddr_to_pfn(arch_root()).v;
    struct space *kernel = space_find(&machine.vmm, 0);
    for (struct space *s = kernel; s != NULL; s = s->next) {
        if (s->root.v == root) {
            return s;
        }
    }
    return kernel;
}

bool cmd_rights(const char *text, unsigned *rights)
{
    unsigned got = VMM_READ;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == 'w') {
            got |= VMM_WRITE;
        } else if (*c == 'x') {
            got |= VMM_EXECUTE;
        } else if (*c != 'r' && *c != '-') {
            print("'%s' are no rights: letters of r, w, x are\n", text);
            return false;
        }
    }
    *rights = got;
    return true;
}

bool cmd_done(const char *what, enum status s)
{
    if (s == STATUS_OK) {
        return true;
    }
    print("%s: %s\n", what, status_name(s));
    return false;
}

const char *cmd_size(char text[static CMD_SIZE_TEXT], uint64_t bytes)
{
    static const struct {
        uint64_t bytes;
        const char *name;
    } units[] = {{TIB, "TiB"}, {GIB, "GiB"}, {MIB, "MiB"}, {KIB, "KiB"}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (bytes < units[i].bytes) {
            continue;
        }
        uint64_t whole = bytes / units[i].bytes;
        /* Below 1024 units the rest is below 2^40: ten times it cannot overflow. */
        uint64_t tenth = bytes % units[i].bytes * 10 / units[i].bytes;
        if (tenth == 0) {
            fmt_text(text, CMD_SIZE_TEXT, "%lu %s", whole, units[i].name);
        } else {
            fmt_text(text, CMD_SIZE_TEXT, "%lu.%lu %s", whole, tenth, units[i].name);
        }
        return text;
    }
    fmt_text(text, CMD_SIZE_TEXT, "%lu B", bytes);
    return text;
}

const char *cmd_rights_text(char text[static CMD_RIGHTS_TEXT], unsigned rights)
{
    fmt_text(text, CMD_RIGHTS_TEXT, "%c%c%c%c", (rights & VMM_READ) != 0 ? 'r' : '-',
             (rights & VMM_WRITE) != 0 ? 'w' : '-', (rights & VMM_EXECUTE) != 0 ? 'x' : '-',
             (rights & VMM_USER) != 0 ? 'u' : '-');
    return text;
}

const char *cmd_cache_name(unsigned pat_index)
{
    static const char *const names[] = {"WB", "WC", "UC-", "UC"};
    return names[pat_index % ARRAY_LEN(names)];
}

static bool within(vaddr_t va, uint64_t base, uint64_t end)
{
    return va.v >= base && va.v < end;
}

const char *cmd_owner(vaddr_t va, unsigned rights)
{
    struct arena_range range;
    if (cmd_is_user(va)) {
        return va.v < LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) ? "private" : "global";
    }
    if (within(va, LAYOUT_ARENA_NODES, LAYOUT_ARENA_BASE)) {
        return "arena nodes";
    }
    if (within(va, LAYOUT_ARENA_BASE, LAYOUT_KERNEL_END)) {
        return arena_find(&machine.vmm.arena, va, &range) && range.tag != NULL ? range.tag : "kernel pages";
    }
    if (within(va, LAYOUT_PMM_STATES, LAYOUT_PMM_STATES_END)) {
        return "frame states";
    }
    if (within(va, LAYOUT_TEMP_BASE, LAYOUT_PMM_TABLES)) {
        return "temporary";
    }
    if (within(va, LAYOUT_PMM_TABLES, LAYOUT_TEMP_END)) {
        return va.v < LAYOUT_PMM_BLOCKS ? "runs, regions" : "blocks";
    }
    if (within(va, LAYOUT_IMAGE_BASE, LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN))) {
        return (rights & VMM_EXECUTE) != 0 ? "image text" : (rights & VMM_WRITE) != 0 ? "image data" : "image rodata";
    }
    return va.v >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN) ? "window" : "nobody";
}

vaddr_t cmd_user_end(void)
{
    return vaddr(LAYOUT_USER_END);
}
vaddr_t cmd_kernel_base(void)
{
    return vaddr(LAYOUT_KERNEL_BASE);
}
vaddr_t cmd_kernel_end(void)
{
    return vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN));
}
bool cmd_is_user(vaddr_t va)
{
    return va.v < LAYOUT_USER_END;
}
