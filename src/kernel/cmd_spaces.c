/*
 * Commands about address spaces: make, destroy, list, edit from outside. A space made here lies in a block of the heap,
 * and only these are destroyed here: other spaces belong to whoever made them.
 */
#include "arch/layout.h"
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "lib/macros.h"
#include "lib/string.h"

/* Spaces made by `space new`, so that `space free` knows them from others. */
enum { MADE_MAX = 64 };
static struct space *made[MADE_MAX];

/* ---- spaces ---- */

static bool run_spaces(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "[-j]")) {
        return false;
    }
    const struct space *current = cmd_current_space();
    struct json j;
    if (line->json) {
        j = json_begin(console);
        json_list(&j, "spaces");
    } else {
        print("  %5s %-16s %10s %10s %10s\n", "space", "root", "pages", "size", "tables");
    }
    for (const struct space *s = space_find(&machine.vmm, 0); s != NULL; s = s->next) {
        if (line->json) {
            json_object(&j, NULL);
            json_number(&j, "id", s->id);
            json_number(&j, "root", pfn_to_paddr(s->root).v);
            json_number(&j, "pages", s->pages.v);
            json_number(&j, "tables", s->tables.v);
            json_bool(&j, "current", s == current);
            json_close(&j);
        } else {
            char size[CMD_SIZE_TEXT];
            print("  %5u %016lx %10lu %10s %10lu%s%s\n", s->id, pfn_to_paddr(s->root).v, s->pages.v,
                  cmd_size(size, pages_to_bytes(s->pages)), s->tables.v, s->id == 0 ? "  the kernel's own" : "",
                  s == current ? "  current" : "");
        }
    }
    if (line->json) {
        json_close(&j);
        json_end(&j);
    }
    return true;
}

/* ---- space ---- */

struct space *cmd_space_make(void)
{
    size_t at = 0;
    while (at < MADE_MAX && made[at] != NULL) {
        at++;
    }
    if (at == MADE_MAX) {
        print("space: %d spaces made by hand are there (MADE_MAX)\n", MADE_MAX);
        return NULL;
    }
    struct space *space = heap_zalloc(&machine.heap, sizeof *space);
    enum status s = space != NULL ? space_create(&machine.vmm, space) : STATUS_NOMEM;
    if (!cmd_done("space", s)) {
        if (space != NULL) {
            /* The block is ours: giving it back cannot be refused. */
            (void)!heap_free(&machine.heap, space);
        }
        return NULL;
    }
    return made[at] = space;
}

static bool space_new(void)
{
    struct space *space = cmd_space_make();
    if (space != NULL) {
        print("space %u: root %#lx\n", space->id, pfn_to_paddr(space->root).v);
    }
    return space != NULL;
}

static bool space_free(const char *text)
{
    struct space *space = cmd_space(text);
    size_t at = 0;
    if (space == NULL) {
        return false;
    }
    while (at < MADE_MAX && made[at] != space) {
        at++;
    }
    if (at == MADE_MAX) {
        print("space %u was not made by `space new`\n", space->id);
        return false;
    }
    bool done = cmd_done("space", space_destroy(&machine.vmm, space));
    if (space->vmm != NULL) {
        return false; /* it is still there; a corrupt one is not */
    }
    made[at] = NULL;
    return cmd_done("space", heap_free(&machine.heap, space)) && done;
}

static bool print_mapping(void *ctx, const struct vmm_mapping *m)
{
    char size[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT];
    npages_t *pages = ctx;
    pages->v += m->pages.v;
    print("  %016lx  %12lx  %8lu pages  %10s  %s  %s\n", m->base.v, m->address.v, m->pages.v,
          cmd_size(size, pages_to_bytes(m->pages)), cmd_rights_text(rights, m->rights),
          m->owned ? "own" : "borrowed frames");
    return true;
}

static bool space_show(const char *text)
{
    struct space *space = cmd_space(text);
    if (space == NULL) {
        return false;
    }
    npages_t pages = npages(0);
    print("space %u: root %#lx, %lu pages, %lu tables\n", space->id, pfn_to_paddr(space->root).v, space->pages.v,
          space->tables.v);
    vmm_visit(&machine.vmm, space, vaddr(0), cmd_user_end(), print_mapping, &pages);
    print("  %lu pages in the user part\n", pages.v);
    return true;
}

/* The monitor goes on in that space: the kernel half is the same in all. */
static bool space_enter(const char *text)
{
    struct space *space = cmd_space(text);
    if (space == NULL || !cmd_done("space", space_switch(&machine.vmm, space))) {
        return false;
    }
    print("space %u is current\n", space->id);
    return true;
}

static bool run_space(const struct command_line *line)
{
    static const char usage[] = "ID | new | free ID | switch ID";
    if (!cmd_args(line, 1, 2, usage)) {
        return false;
    }
    const char *word = line->argv[1];
    bool is_free = strcmp(word, "free") == 0, is_switch = strcmp(word, "switch") == 0;
    if (line->argc != (is_free || is_switch ? 3 : 2)) {
        print("usage: space %s\n", usage);
        return false;
    }
    if (is_free || is_switch) {
        return is_free ? space_free(line->argv[2]) : space_enter(line->argv[2]);
    }
    return strcmp(word, "new") == 0 ? space_new() : space_show(word);
}

/* ---- map, unmap, protect ---- */

struct range_args {
    struct space *space;
    vaddr_t va;
    npages_t pages;
};

static bool range_args(const struct command_line *line, struct range_args *r)
{
    r->space = cmd_space(line->argv[1]);
    return r->space != NULL && cmd_number(line->argv[2], "address", &r->va.v) &&
           cmd_number(line->argv[3], "pages", &r->pages.v);
}

/*
 * Kernel addresses belong to whoever has their range of the arena: a page mapped into a free one would be in the way of
 * every later kernel allocation, and a page taken away may be the stack or the heap. So what is mapped there by hand
 * takes its addresses from the arena first, and only that can be changed again, and taken away as a whole.
 */
static const char by_hand[] = "mapped by hand";

static bool is_arena(const struct range_args *r)
{
    return r->space == &machine.vmm.kernel && r->va.v >= LAYOUT_ARENA_BASE && r->va.v < LAYOUT_KERNEL_END;
}

static bool is_by_hand(const struct command_line *line, const struct range_args *r, bool whole)
{
    struct arena_range range;
    if (!is_arena(r)) {
        return true;
    }
    bool found = arena_find(&machine.vmm.arena, r->va, &range) && range.tag == by_hand;
    uint64_t before = found ? vaddr_page_number(r->va) - vaddr_page_number(range.base) : 0;
    if (!found || r->pages.v > range.pages.v - before || (whole && r->pages.v != range.pages.v)) {
        print("%s: %016lx, %lu pages: not %s mapped by hand\n", line->argv[0], r->va.v, r->pages.v,
              whole ? "exactly what was" : "inside what was");
        return false;
    }
    return true;
}

static enum status map_by_hand(const struct range_args *r, unsigned rights)
{
    struct arena *arena = &machine.vmm.arena;
    enum status s = is_arena(r) ? arena_alloc_at(arena, r->va, r->pages, by_hand) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    s = vmm_map(&machine.vmm, r->space, r->va, r->pages, rights);
    if (s != STATUS_OK && is_arena(r) && arena_free(arena, r->va) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    return s;
}

static enum status unmap_by_hand(const struct range_args *r)
{
    enum status s = vmm_unmap(&machine.vmm, r->space, r->va, r->pages);
    return s == STATUS_OK && is_arena(r) ? arena_free(&machine.vmm.arena, r->va) : s;
}

/* User addresses are mapped for user mode. */
static unsigned rights_at(vaddr_t va, unsigned rights)
{
    return cmd_is_user(va) ? rights | VMM_USER : rights;
}

static bool print_range(const char *verb, const struct range_args *r, unsigned rights)
{
    char size[CMD_SIZE_TEXT], text[CMD_RIGHTS_TEXT];
    print("%s: space %u, %016lx, %lu pages, %s", verb, r->space->id, r->va.v, r->pages.v,
          cmd_size(size, pages_to_bytes(r->pages)));
    if (rights != 0) {
        print(", %s", cmd_rights_text(text, rights));
    }
    print("\n");
    return true;
}

/* A word for the page size; 0: it is none. */
static unsigned size_of_word(const char *word)
{
    return strcmp(word, "2m") == 0 ? VMM_2M : strcmp(word, "1g") == 0 ? VMM_1G : 0U;
}

static bool run_map(const struct command_line *line)
{
    struct range_args r;
    unsigned rights = VMM_READ | VMM_WRITE, size = 0;
    if (!cmd_args(line, 3, 5, "SPACE VA PAGES [rwx] [2m|1g]") || !range_args(line, &r)) {
        return false;
    }
    for (int i = 4; i < line->argc; i++) {
        const unsigned word = size_of_word(line->argv[i]);
        if (word == 0 && !cmd_rights(line->argv[i], &rights)) {
            return false;
        }
        size = word != 0 ? word : size;
    }
    rights = rights_at(r.va, rights);
    return cmd_done_at("map", map_by_hand(&r, rights | size), r.space, r.va, r.pages) &&
           print_range("mapped", &r, rights);
}

static bool run_unmap(const struct command_line *line)
{
    struct range_args r;
    return cmd_args(line, 3, 3, "SPACE VA PAGES") && range_args(line, &r) &&
           is_by_hand(line, &r, true) && cmd_done_at("unmap", unmap_by_hand(&r), r.space, r.va, r.pages) &&
           print_range("unmapped", &r, 0);
}

static bool run_protect(const struct command_line *line)
{
    struct range_args r;
    unsigned rights;
    if (!cmd_args(line, 4, 4, "SPACE VA PAGES rwx") || !range_args(line, &r) || !cmd_rights(line->argv[4], &rights) ||
        !is_by_hand(line, &r, false)) {
        return false;
    }
    rights = rights_at(r.va, rights);
    enum status s = vmm_protect(&machine.vmm, r.space, r.va, r.pages, rights);
    return cmd_done_at("protect", s, r.space, r.va, r.pages) && print_range("protected", &r, rights);
}

const struct command cmd_spaces[] = {
    {"spaces", "[-j]", "all address spaces", run_spaces},
    {"space", "ID | new | free ID | switch ID", "what a space maps; make, destroy, enter one", run_space},
    {"map", "SPACE VA PAGES [rwx] [2m|1g]", "fresh pages at an address, from outside; rw when not said", run_map},
    {"unmap", "SPACE VA PAGES", "take pages away, from outside", run_unmap},
    {"protect", "SPACE VA PAGES rwx", "give pages new rights, from outside", run_protect},
    {0},
};
