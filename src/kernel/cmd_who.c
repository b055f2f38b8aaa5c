/*
 * `who NUMBER`: all that is known of any number. It is read as a virtual address (kernel half, or mapped in some space)
 * and, when it can be one, as a physical address; each reading that means something is told. Nothing is allocated,
 * nothing changed.
 *
 * Who maps a frame is asked of the spaces' reverse index; it is searched for in tables alone, and where that knows
 * nothing.
 * Which table a frame is, is not written anywhere: it is found by a walk to every 2 MiB that has a table of pages, and
 * past every larger part that has none. So tables without a single page, which a space may keep, are found too.
 */
#include "arch/layout.h"
#include "kernel/cmd_ranges.h"
#include "kernel/heap_debug.h"
#include "lib/macros.h"
#include "vmm/window.h"

/* A search over all mappings of all spaces. */
struct search {
    struct space *space; /* the one being looked at */
    paddr_t address;     /* wanted */
    size_t found;
    unsigned tables_told; /* bit l: as a table of level l, already told in this space */
};

enum { TOLD_MAX = 8 }; /* mappings named in full; more are counted */

static const char *const table_names[PAGING_LEVELS + 1] = {"", "PT", "PD", "PDPT", "PML4"};

/* Does this walk go through the frame? An entry of level l + 1 names a table of level l. */
static void tell_tables(struct search *s, vaddr_t va, const struct vmm_walk *w)
{
    for (unsigned level = PAGING_LEVELS - 1; level >= w->level; level--) {
        if (pte_pfn(w->entry[level + 1]).v != paddr_to_pfn(s->address).v || (s->tables_told & 1U << level) != 0) {
            continue;
        }
        s->tables_told |= 1U << level;
        s->found++;
        uint64_t span = level_span_bytes(level + 1);
        print("  table   %s of space %u, for addresses from %016lx, entry %016lx\n", table_names[level], s->space->id,
              va.v & ~(span - 1), w->entry[level + 1].v);
    }
}

/* All tables for addresses of the PML4 slots [first, end). */
static void search_tables(struct search *s, unsigned first, unsigned end)
{
    const uint64_t most = level_span_bytes(PAGING_LEVELS);
    for (unsigned slot = first; slot < end; slot++) {
        uint64_t step;
        for (uint64_t at = slot_is_window(slot) ? most : 0; at < most; at += step) {
            struct vmm_walk w;
            vaddr_t va = vaddr_add(vaddr(LAYOUT_SLOT_BASE(slot)), at);
            enum status st = vmm_translate(&machine.vmm, s->space, va, &w);
            if (st != STATUS_OK && st != STATUS_CORRUPT) {
                return;
            }
            tell_tables(s, va, &w);
            step = level_span_bytes(w.level > 1 ? w.level : 2);
        }
    }
}

static void tell_mapping(struct search *s, const struct vmm_mapping *m)
{
    if (s->address.v < m->address.v || s->address.v - m->address.v >= pages_to_bytes(m->pages)) {
        return;
    }
    if (s->found++ < TOLD_MAX) {
        char rights[CMD_RIGHTS_TEXT];
        vaddr_t va = vaddr_add(m->base, s->address.v - m->address.v);
        print("  mapped  at %016lx in space %u, %s, %s\n", va.v, s->space->id, cmd_rights_text(rights, m->rights),
              cmd_owner(va, m->rights));
    }
}

static bool search_mapping(void *ctx, const struct vmm_mapping *m)
{
    struct search *s = ctx;
    tell_mapping(s, m);
    return true;
}

/* The reverse index names a user of the frame: nothing was searched. */
static bool tell_user(void *ctx, struct aspace *space, vaddr_t va)
{
    struct search *s = ctx;
    if (s->found++ < TOLD_MAX) {
        char rights[CMD_RIGHTS_TEXT];
        struct vmm_walk w;
        bool walked = vmm_translate(&machine.vmm, &space->tables, va, &w) == STATUS_OK;
        va = vaddr_add(va, page_offset_bytes(s->address.v));
        print("  mapped  at %016lx in space %u, %s, %s", va.v, space->tables.id,
              walked && w.present ? cmd_rights_text(rights, w.rights) : "not touched yet", cmd_owner(va, 0));
        const struct task *task = tasks_of_space(&machine.tasks, space);
        if (task != NULL) {
            print(", of task %u (%s)", task->id, task->name);
        }
        print("\n");
    }
    return true;
}

static size_t search_frame(paddr_t address)
{
    struct search s = {.address = address};
    bool indexed = aspaces_users(&machine.aspaces, paddr_to_pfn(address), tell_user, &s) == STATUS_OK;
    for (struct space *space = space_find(&machine.vmm, 0); space != NULL; space = space->next) {
        s.space = space;
        s.tables_told = 0;
        if (space->root.v == paddr_to_pfn(address).v) {
            print("  table   PML4 of space %u\n", space->id);
            s.found++;
        }
        if (!indexed || cmd_aspace(space) == NULL) {
            vmm_visit(&machine.vmm, space, vaddr(0), cmd_user_end(), search_mapping, &s);
        }
        search_tables(&s, 0, LAYOUT_SLOT_KERNEL);
        if (space->id == 0) {
            vmm_visit(&machine.vmm, space, cmd_kernel_base(), cmd_kernel_end(), search_mapping, &s);
            search_tables(&s, LAYOUT_SLOT_KERNEL, TABLE_ENTRIES);
        }
    }
    if (s.found > TOLD_MAX) {
        print("  ... and more: %lu uses in all (TOLD_MAX %d)\n", s.found, TOLD_MAX);
    }
    return s.found;
}

/* What the loader put there, as long as it is kept. */
static void tell_module(paddr_t a)
{
    if (a.v >= machine.image_start.v && a.v < machine.image_end.v) {
        print("  image   byte %#lx of the kernel's own\n", a.v - machine.image_start.v);
    }
    for (size_t i = 0; i < machine.module_count; i++) {
        if (a.v >= machine.modules[i].start.v && a.v < machine.modules[i].end.v) {
            print("  module  %lu '%s', byte %#lx\n", i, machine.modules[i].args, a.v - machine.modules[i].start.v);
        }
    }
}

void cmd_tell_physical(paddr_t a)
{
    struct pmm_frame f = pmm_query(&machine.pmm, paddr_to_pfn(a));
    print("as a physical address: frame %#lx, byte %#lx, %s", paddr_to_pfn(a).v, page_offset_bytes(a.v),
          pmm_state_name(f.state));
    if (f.state == PMM_STATE_USED) {
        print(", %u reference%s", f.references, f.references == 1 ? "" : "s");
    }
    print("\n");
    struct pmm_region_stats r;
    if (f.state != PMM_STATE_OUTSIDE && pmm_region_stats(&machine.pmm, f.region, &r)) {
        char size[CMD_SIZE_TEXT];
        print("  region  %lu, from %lx, %s of RAM, node %u\n", f.region, pfn_to_paddr(r.base).v,
              cmd_size(size, pages_to_bytes(r.frames)), f.node);
    }
    if (f.state == PMM_STATE_RESERVED) {
        tell_module(a);
    }
    if (search_frame(a) == 0 && f.state == PMM_STATE_USED) {
        print("  no space maps it, and it is no table of any\n");
    }
}

static void tell_kernel_pages(vaddr_t va)
{
    struct kpages_info info;
    if (kpages_find(&machine.vmm, va, &info)) {
        char size[CMD_SIZE_TEXT];
        print("  kpages  '%s': %016lx, %lu pages, %s%s\n", info.tag, info.base.v, info.pages.v,
              cmd_size(size, pages_to_bytes(info.pages)),
              info.in_guard ? (info.above ? "; in the guard above" : "; in the guard below") : "");
    }
    struct heap_block block;
    if (heap_owner_of(&machine.heap, vaddr_to_ptr(va), &block)) {
        print("  heap    %s block %p, %lu bytes usable, %s, byte %lu of it", block.large ? "large" : "small",
              block.base, block.usable_bytes, block.allocated ? "allocated" : "free",
              va.v - ptr_to_vaddr(block.base).v);
        if (!block.large) {
            print(", class of %lu bytes", block.class_bytes);
        }
        if (block.cache_name != NULL) {
            print(", of the cache '%s'", block.cache_name);
        }
        print("\n");
    }
    (void)heap_debug_tell(va, "  guard   ");
}

/* => true: the address leads to itself, physically: that reading is told already. */
static bool tell_virtual(struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    bool kernel = !cmd_is_user(va);
    if (vmm_translate(&machine.vmm, space, va, &w) != STATUS_OK || (!w.present && !kernel)) {
        return false;
    }
    char rights[CMD_RIGHTS_TEXT];
    print("as a virtual address in space %u: ", space->id);
    if (w.present) {
        print("%s, %s, to %lx\n", cmd_rights_text(rights, w.rights), cmd_owner(va, w.rights), w.address.v);
    } else {
        print("not mapped, %s\n", cmd_owner(va, 0));
    }
    if (kernel) {
        tell_kernel_pages(va);
    }
    if (w.present) {
        cmd_tell_physical(w.address);
    }
    return w.present && w.address.v == va.v;
}

static bool run_who(const struct command_line *line)
{
    uint64_t number;
    if (!cmd_args(line, 1, 1, "NUMBER") || !cmd_number(line->argv[1], "who", &number)) {
        return false;
    }
    bool told = false;
    print("%#lx\n", number);
    if (!vaddr_is_canonical(vaddr(number))) {
        print("as a virtual address: not canonical\n");
    } else if (vaddr_is_window(vaddr(number))) {
        print("as a virtual address: in the %s, where tables appear\n", cmd_window_name(vaddr(number)));
    } else if (number >= LAYOUT_KERNEL_BASE) {
        tell_virtual(space_find(&machine.vmm, 0), vaddr(number));
    } else {
        for (struct space *s = space_find(&machine.vmm, 0); s != NULL; s = s->next) {
            told |= tell_virtual(s, vaddr(number));
        }
    }
    if (number < LAYOUT_PMM_REACH_BYTES && !told) {
        cmd_tell_physical(paddr(number));
    }
    return true;
}

const struct command cmd_who[] = {
    {"who", "NUMBER", "what any number is: frame, table, mapping, kernel pages, heap block", run_who},
    {0},
};
