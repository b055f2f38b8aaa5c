/* Commands about what an address means: pt (all mappings, or one walk), query. None of them allocates or changes a
 * mapping. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/cmd_ranges.h"
#include "kernel/cmd_sharing.h"
#include "lib/macros.h"
#include "lib/string.h"
#include "vmm/window.h"

static const char *const level_names[PAGING_LEVELS + 1] = {"", "PT", "PD", "PDPT", "PML4"};

/* ---- pt: all mappings ---- */

struct listing {
    npages_t pages, unsafe; /* unsafe: both writable and executable */
    size_t mappings;
};

static bool list_mapping(void *ctx, const struct vmm_mapping *m)
{
    char size[CMD_SIZE_TEXT], page[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT];
    struct listing *l = ctx;
    bool unsafe = (m->rights & VMM_WRITE) != 0 && (m->rights & VMM_EXECUTE) != 0;
    l->mappings++;
    l->pages.v += m->pages.v;
    l->unsafe.v += unsafe ? m->pages.v : 0;
    print("  %016lx %13lx %8lu %10s %6s %s %-3s %s%s%s%s\n", m->base.v, m->address.v, m->pages.v,
          cmd_size(size, pages_to_bytes(m->pages)), cmd_size(page, m->page_bytes), cmd_rights_text(rights, m->rights),
          cmd_cache_name(m->cache), cmd_owner(m->base, m->rights), m->owned ? "" : ", fixed frames",
          m->global ? ", global" : "", unsafe ? "  WRITABLE AND EXECUTABLE" : "");
    return true;
}

/* A window's own tables would be shown once more as pages (they are, to the MMU): a line each says what they are
 * instead. */
static void print_windows(const struct space *space)
{
    pfn_t root = space->root;
    const struct space *open = NULL;
    if (space == cmd_current_space()) {
        /* Read here and now: what the VMM believes of the slot is not asked. */
        vaddr_t base = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN));
        pte_t slot = arch_table_load(window_entry(WINDOW_OWN, base, PAGING_LEVELS));
        for (const struct space *s = space_find(&machine.vmm, 0); pte_is_present(slot) && s != NULL; s = s->next) {
            open = s->root.v == pte_pfn(slot).v ? s : open;
        }
    }
    print("  %016lx  foreign window: ", LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN));
    if (open != NULL) {
        print("open on space %u, PML4 at %lx\n", open->id, pfn_to_paddr(open->root).v);
    } else {
        print("closed\n");
    }
    print("  %016lx  self window: PML4 at %lx\n", LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), pfn_to_paddr(root).v);
}

static bool list_space(struct space *space)
{
    struct listing l = {0};
    print("  %-16s %13s %8s %10s %6s %s %-3s %s\n", "virtual", "physical", "pages", "size", "page", "rwxu", "PAT",
          "owner");
    vmm_visit(&machine.vmm, space, vaddr(0), cmd_user_end(), list_mapping, &l);
    vmm_visit(&machine.vmm, space, cmd_kernel_base(), cmd_kernel_end(), list_mapping, &l);
    print_windows(space);
    cmd_print_loans(space);
    print("  space %u: %lu mappings, %lu pages, %lu both writable and executable\n", space->id, l.mappings, l.pages.v,
          l.unsafe.v);
    return l.unsafe.v == 0;
}

/* ---- pt VA: one walk ---- */

/* Every bit that is set, in words; what nobody should have set is told as a number. */
static void print_bits(pte_t e, unsigned level)
{
    static const struct {
        uint64_t bit;
        const char *in_leaf, *in_table; /* what the bit means in each kind of entry; null: nothing */
    } bits[] = {
        {PTE_P, "present", "present"},
        {PTE_W, "writable", "writable"},
        {PTE_U, "user", "user"},
        {PTE_PWT, "PWT", "PWT"},
        {PTE_PCD, "PCD", "PCD"},
        {PTE_A, "accessed", "accessed"},
        {PTE_D, "dirty", "written-by-window"}, /* in a window the table is a page, and its parent entry a leaf */
        {PTE_PS, "large", NULL},
        {PTE_G, "global", NULL},
        {PTE_OWNED, "owned", NULL},
        {PTE_DEVICE, "device", NULL},
        {PTE_COW, "copy-on-write", NULL},
        {PTE_COW_WRITE, "may-be-written", NULL},
        {ENTRY_BORROWED, NULL, "borrowed"},
        {PTE_XD, "no-execute", "no-execute"},
    };
    bool is_leaf = level == 1 || entry_is_large(e, level);
    uint64_t rest = e.v & ~PTE_FRAME_MASK;
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        const char *name = is_leaf ? bits[i].in_leaf : bits[i].in_table;
        name = level == 1 && bits[i].bit == PTE_PS ? "PAT" : name;
        if ((rest & bits[i].bit) != 0 && name != NULL) {
            print(" %s", name);
            rest &= ~bits[i].bit;
        }
    }
    if (!is_leaf && entry_is_shared(e)) {
        print(" several-parents");
        rest &= ~COUNT_MASK;
    } else if (!is_leaf && entry_count(e) != 0) {
        print(" %u-entries", entry_count(e)); /* of the table below: its live count */
        rest &= ~COUNT_MASK;
    }
    if (rest != 0) {
        print(" unknown-%#lx", rest);
    }
}

static bool print_walk(struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    if (!cmd_done_at("pt", vmm_translate(&machine.vmm, space, va, &w), space, va, npages(1))) {
        return false;
    }
    print("space %u, %016lx\n", space->id, va.v);
    print("  %-5s %5s %-16s  %-16s  %-16s  bits\n", "level", "entry", "read through", "table at", "raw");
    pfn_t table = space->root;
    for (unsigned level = PAGING_LEVELS; level >= w.level; level--) {
        pte_t e = w.entry[level];
        print("  %-5s %5u %016lx  %016lx  %016lx ", level_names[level], table_index(va, level), w.window[level].v,
              pfn_to_paddr(table).v, e.v);
        if (pte_is_present(e)) {
            print_bits(e, level);
        } else {
            print(" not present");
        }
        print("\n");
        table = pte_pfn(e);
    }
    cmd_print_sharing(space, va, &w);
    if (!w.present) {
        print("  stopped: the %s entry is not present\n", level_names[w.level]);
        return true;
    }
    char size[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT];
    print("  maps to %lx, page of %s, effective rights %s, %s\n", w.address.v, cmd_size(size, w.page_bytes),
          cmd_rights_text(rights, w.rights), cmd_owner(va, w.rights));
    return true;
}

/* `pt`, `pt SPACE`, `pt VA`, `pt VA SPACE`: a lone number that a space has is that space (no mapping can begin below 64
 * KiB). */
static bool run_pt(const struct command_line *line)
{
    uint64_t number;
    if (!cmd_args(line, 0, 2, "[SPACE] | VA [SPACE]")) {
        return false;
    }
    if (line->argc == 1) {
        return list_space(cmd_current_space());
    }
    if (!cmd_number(line->argv[1], "pt", &number)) {
        return false;
    }
    if (line->argc == 2 && number < LAYOUT_USER_FIRST) {
        struct space *space = cmd_space(line->argv[1]);
        return space != NULL && list_space(space);
    }
    struct space *space = line->argc == 3 ? cmd_space(line->argv[2]) : cmd_current_space();
    return space != NULL && print_walk(space, vaddr(number));
}

/* ---- query ---- */

struct query {
    vaddr_t va;
    struct vmm_mapping found;
    bool is_found;
};

static bool query_mapping(void *ctx, const struct vmm_mapping *m)
{
    struct query *q = ctx;
    if (q->va.v < m->base.v) {
        return false;
    }
    if (q->va.v - m->base.v < pages_to_bytes(m->pages)) {
        q->found = *m;
        q->is_found = true;
        return false;
    }
    return true;
}

static void print_object(struct space *space, vaddr_t va, const struct vmm_walk *w)
{
    struct query q = {.va = va};
    bool user = cmd_is_user(va);
    vmm_visit(&machine.vmm, space, user ? vaddr(0) : cmd_kernel_base(), user ? cmd_user_end() : cmd_kernel_end(),
              query_mapping, &q);
    if (q.is_found) {
        char size[CMD_SIZE_TEXT], page[CMD_SIZE_TEXT];
        print("  range   %016lx, %lu pages, %s, mapped in pages of %s\n", q.found.base.v, q.found.pages.v,
              cmd_size(size, pages_to_bytes(q.found.pages)), cmd_size(page, w->page_bytes));
        print("  object  %s, %s\n", cmd_owner(va, q.found.rights),
              q.found.owned ? "anonymous: its own frames" : "fixed frames");
        print("  cache   %s%s\n", cmd_cache_name(q.found.cache), q.found.global ? ", global" : "");
    }
    struct pmm_frame f = pmm_query(&machine.pmm, paddr_to_pfn(w->address));
    print("  frame   %lx, %s", pfn_to_paddr(paddr_to_pfn(w->address)).v, pmm_state_name(f.state));
    if (f.state == PMM_STATE_USED) {
        print(", %u reference%s", f.references, f.references == 1 ? "" : "s");
    }
    print("\n");
}

static bool run_query(const struct command_line *line)
{
    vaddr_t va;
    if (!cmd_args(line, 1, 2, "VA [SPACE]") || !cmd_number(line->argv[1], "address", &va.v)) {
        return false;
    }
    struct space *space = line->argc == 3 ? cmd_space(line->argv[2]) : cmd_current_space();
    struct vmm_walk w;
    if (space == NULL ||
        !cmd_done_at("query", vmm_translate(&machine.vmm, space, va, &w), space, va, npages(1))) {
        return false;
    }
    char rights[CMD_RIGHTS_TEXT];
    print("%016lx in space %u: %s\n", va.v, space->id, w.present ? cmd_rights_text(rights, w.rights) : "not mapped");
    cmd_print_sharing(space, va, &w);
    if (cmd_aspace(space) != NULL && cmd_is_user(va)) {
        cmd_print_mapping(cmd_aspace(space), va);
    }
    if (w.present) {
        print_object(space, va, &w);
    } else {
        struct kpages_info info;
        if (kpages_find(&machine.vmm, va, &info) && info.in_guard) {
            print("  guard   %s '%s' (%016lx, %lu pages)\n", info.above ? "above" : "below", info.tag, info.base.v,
                  info.pages.v);
        }
    }
    return true;
}

const struct command cmd_tables[] = {
    {"pt", "[SPACE] | VA [SPACE]", "all mappings of a space, or the walk of one address", run_pt},
    {"query", "VA [SPACE]", "the rights of an address, its range, object and frame", run_query},
    {0},
};
