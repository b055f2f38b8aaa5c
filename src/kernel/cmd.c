/* What the commands share: arguments, answers, sizes and the names of addresses. */
#include "kernel/cmd_ranges.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "lib/macros.h"
#include "lib/string.h"
#include "vmm/window.h"

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

static const char *why_refused(const struct space *space, vaddr_t va, npages_t pages)
{
    const npages_t all = bytes_to_pages_down(UINT64_MAX);
    if (pages.v == 0) {
        return "no pages";
    }
    if (pages.v > all.v || vaddr_page_number(va) > all.v - (pages.v - 1)) {
        return "beyond the end of the address space";
    }
    vaddr_t last = vaddr_add_pages(va, pages.v - 1);
    if (!vaddr_is_canonical(va) || !vaddr_is_canonical(last)) {
        return "not canonical";
    }
    if (vaddr_is_window(va) || vaddr_is_window(last)) {
        return cmd_window_name(vaddr_is_window(va) ? va : last);
    }
    if (va.v >= LAYOUT_KERNEL_BASE && space->id != 0) {
        return "kernel addresses are space 0's";
    }
    if (va.v >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) && cmd_is_user(va) && cmd_aspace(space) != NULL) {
        return "addresses of the global part are given out, not asked for";
    }
    return va.v < LAYOUT_USER_FIRST || !cmd_is_user(last) ? "neither all user part nor all kernel arena"
                                                         : "writable and executable at once";
}

bool cmd_done_at(const char *what, enum status s, const struct space *space, vaddr_t va, npages_t pages)
{
    if (s != STATUS_INVALID && s != STATUS_RANGE) {
        return cmd_done(what, s);
    }
    bool is_aligned = s == STATUS_RANGE || is_page_aligned(va.v);
    print("%s: %s: %016lx, %lu pages: %s\n", what, status_name(s), va.v, pages.v,
          is_aligned ? why_refused(space, va, pages) : "not page-aligned");
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
    if (within(va, LAYOUT_IMAGE_BASE, LAYOUT_SLOT_BASE(LAYOUT_SLOT_IMAGE + 1))) {
        return (rights & VMM_EXECUTE) != 0 ? "image text" : (rights & VMM_WRITE) != 0 ? "image data" : "image rodata";
    }
    return vaddr_is_window(va) ? cmd_window_name(va) : "nobody";
}

const char *cmd_window_name(vaddr_t va)
{
    switch (table_index(va, PAGING_LEVELS)) {
    case LAYOUT_SLOT_SELF: return "self window";
    case LAYOUT_SLOT_FOREIGN: return "foreign window";
    default: return "bank of foreign windows";
    }
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
    return vaddr(0);
}
bool cmd_is_user(vaddr_t va)
{
    return va.v < LAYOUT_USER_END;
}
