/*
 * Commands that change what spaces map: map, unmap, protect, and between two spaces share, transfer, withdraw. From
 * outside, whatever space is current. In a space of tables alone, and in the kernel's own, pages are mapped as they
 * are; in a space with mappings they get a mapping, and come when they are touched, where that was asked for.
 */
#include "arch/layout.h"
#include "boot/mb2.h"
#include "kernel/cmd.h"
#include "kernel/cmd_ranges.h"
#include "kernel/current.h"
#include "kernel/pagers.h"
#include "kernel/usercopy.h"
#include "lib/macros.h"
#include "lib/string.h"

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

/* ---- In spaces with mappings ---- */

/* What `map` was told beside the range. */
struct map_words {
    unsigned rights, size, flags;
    bool lazy;
};

static bool map_word(const char *word, struct map_words *w)
{
    static const struct {
        const char *word;
        unsigned flags;
    } flags[] = {
        {"private", ASPACE_PRIVATE},
        {"stack", ASPACE_STACK},
        {"guard", ASPACE_GUARD_BELOW | ASPACE_GUARD_ABOVE},
        {"wx", ASPACE_WRITE_EXECUTE},
        {"around", ASPACE_FAULT_AROUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strcmp(word, flags[i].word) == 0) {
            w->flags |= flags[i].flags;
            return true;
        }
    }
    const unsigned size = size_of_word(word);
    w->size = size != 0 ? size : w->size;
    w->lazy = w->lazy || strcmp(word, "lazy") == 0;
    return size != 0 || strcmp(word, "lazy") == 0 || cmd_rights(word, &w->rights);
}

static bool map_words(const struct command_line *line, int from, struct map_words *w)
{
    for (int i = from; i < line->argc; i++) {
        if (!map_word(line->argv[i], w)) {
            return false;
        }
    }
    return true;
}

/* A boot module's object, made at its first use and held for good: all who map it share its pages. */
static enum status module_object(const char *text, struct object **object, npages_t *pages)
{
    static struct object *objects[MB2_MODULES_MAX];
    uint64_t at;
    if (!cmd_number(text, "module", &at) || at >= machine.module_count || at >= MB2_MODULES_MAX) {
        print("map: there are %lu modules\n", machine.module_count);
        return STATUS_ABSENT;
    }
    const struct pager pager = pager_of_module(&machine.modules[at]);
    *pages = module_pages(&machine.modules[at]);
    enum status s =
        objects[at] != NULL ? STATUS_OK : object_create_paged(&machine.aspaces, *pages, &pager, &objects[at]);
    *object = objects[at];
    return s;
}

/* Where: an address, `any` of the private part, `global`. */
static bool map_where(const char *text, struct aspace_request *request)
{
    if (strcmp(text, "global") == 0) {
        request->flags |= ASPACE_GLOBAL;
        return true;
    }
    if (strcmp(text, "any") == 0) {
        return true;
    }
    request->flags |= ASPACE_AT;
    return cmd_number(text, "address", &request->va.v);
}

static bool map_in_aspace(const struct command_line *line, struct aspace *space)
{
    bool is_module = strcmp(line->argv[3], "module") == 0;
    struct map_words w = {.rights = is_module ? VMM_READ : VMM_READ | VMM_WRITE};
    struct aspace_request request = {.tag = is_module ? "module" : "by hand"};
    if (!map_where(line->argv[2], &request) || !map_words(line, is_module ? 5 : 4, &w)) {
        return false;
    }
    if (w.size != 0) {
        print("map: large pages are for spaces of tables alone (space new tables)\n");
        return false;
    }
    enum status s = STATUS_OK;
    if (is_module) {
        s = line->argc > 4 ? module_object(line->argv[4], &request.object, &request.pages) : STATUS_INVALID;
    } else if (!cmd_number(line->argv[3], "pages", &request.pages.v)) {
        return false;
    }
    request.rights = w.rights | VMM_USER;
    request.allowed = VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER;
    request.flags |= w.flags | (w.lazy ? 0 : ASPACE_POPULATE);
    struct range_args r = {.space = &space->tables, .va = request.va, .pages = request.pages};
    s = s == STATUS_OK ? aspace_map(space, &request, &r.va) : s;
    return cmd_done_at("map", s, r.space, r.va, r.pages) && print_range("mapped", &r, request.rights);
}

/* ---- map, unmap, protect ---- */

static const char map_usage[] = "SPACE VA PAGES [rwx] [2m|1g] | SPACE VA|any|global PAGES|module N [rwx]"
                                " [lazy|private|stack|guard|around|wx]";

static bool run_map(const struct command_line *line)
{
    struct range_args r;
    struct map_words w = {.rights = VMM_READ | VMM_WRITE};
    if (!cmd_args(line, 3, MONITOR_ARGS_MAX, map_usage)) {
        return false;
    }
    r.space = cmd_space(line->argv[1]);
    if (r.space != NULL && cmd_aspace(r.space) != NULL) {
        return map_in_aspace(line, cmd_aspace(r.space));
    }
    if (r.space == NULL || !range_args(line, &r) || !map_words(line, 4, &w)) {
        return false;
    }
    if (w.flags != 0 || w.lazy) {
        print("map: in tables alone there are rights and page sizes, nothing else\n");
        return false;
    }
    unsigned rights = rights_at(r.va, w.rights);
    return cmd_done_at("map", map_by_hand(&r, rights | w.size), r.space, r.va, r.pages) &&
           print_range("mapped", &r, rights);
}

static bool run_unmap(const struct command_line *line)
{
    struct range_args r;
    if (!cmd_args(line, 3, 3, "SPACE VA PAGES") || !range_args(line, &r) || !is_by_hand(line, &r, true)) {
        return false;
    }
    struct aspace *space = cmd_aspace(r.space);
    enum status s = space != NULL ? aspace_unmap(space, r.va, r.pages) : unmap_by_hand(&r);
    return cmd_done_at("unmap", s, r.space, r.va, r.pages) && print_range("unmapped", &r, 0);
}

static bool run_protect(const struct command_line *line)
{
    struct range_args r;
    unsigned rights;
    if (!cmd_args(line, 4, 4, "SPACE VA PAGES rwx") || !range_args(line, &r) || !cmd_rights(line->argv[4], &rights) ||
        !is_by_hand(line, &r, false)) {
        return false;
    }
    struct aspace *space = cmd_aspace(r.space);
    rights = rights_at(r.va, rights);
    enum status s = space != NULL ? aspace_protect(space, r.va, r.pages, rights)
                                  : vmm_protect(&machine.vmm, r.space, r.va, r.pages, rights);
    return cmd_done_at("protect", s, r.space, r.va, r.pages) && print_range("protected", &r, rights);
}

/* ---- share, transfer, withdraw ---- */

static struct aspace *aspace_arg(const char *text)
{
    struct space *space = cmd_space(text);
    struct aspace *with_mappings = space != NULL ? cmd_aspace(space) : NULL;
    if (space != NULL && with_mappings == NULL) {
        print("space %u has no mappings: it is tables alone\n", space->id);
    }
    return with_mappings;
}

struct pair_args {
    struct aspace *from, *to;
    struct range_args range;
    unsigned rights;
    vaddr_t to_va;
};

/* FROM VA PAGES TO [RIGHTS [TO_VA]] */
static bool pair_args(const struct command_line *line, struct pair_args *p)
{
    *p = (struct pair_args){.from = aspace_arg(line->argv[1])};
    if (p->from == NULL || !range_args(line, &p->range) || (p->to = aspace_arg(line->argv[4])) == NULL) {
        return false;
    }
    if (line->argc > 5 && !cmd_rights(line->argv[5], &p->rights)) {
        return false;
    }
    p->rights |= VMM_USER;
    return line->argc <= 6 || cmd_number(line->argv[6], "address", &p->to_va.v);
}

static bool pair_done(const char *what, const struct pair_args *p, enum status s)
{
    if (cmd_done_at(what, s, p->range.space, p->range.va, p->range.pages)) {
        print("%s: space %u, %016lx, %lu pages, space %u\n", what, p->from->tables.id, p->range.va.v,
              p->range.pages.v, p->to->tables.id);
    }
    return s == STATUS_OK;
}

static bool run_share(const struct command_line *line)
{
    struct pair_args p;
    return cmd_args(line, 5, 6, "FROM VA PAGES TO RIGHTS [TO_VA]") && pair_args(line, &p) &&
           pair_done("share", &p, aspace_share(p.from, p.range.va, p.range.pages, p.to, p.rights, p.to_va));
}

static bool run_transfer(const struct command_line *line)
{
    struct pair_args p;
    return cmd_args(line, 5, 5, "FROM VA PAGES TO RIGHTS") && pair_args(line, &p) &&
           pair_done("transfer", &p, aspace_transfer(p.from, p.range.va, p.range.pages, p.to, p.rights));
}

static bool run_withdraw(const struct command_line *line)
{
    struct pair_args p;
    return cmd_args(line, 4, 4, "FROM VA PAGES TO") && pair_args(line, &p) &&
           pair_done("withdraw", &p, aspace_withdraw(p.from, p.range.va, p.range.pages, p.to));
}

const struct command cmd_maps[] = {
    {"map", map_usage, "fresh pages, or a module's, from outside; rw when not said", run_map},
    {"unmap", "SPACE VA PAGES", "take pages away, from outside", run_unmap},
    {"protect", "SPACE VA PAGES rwx", "give pages new rights, from outside", run_protect},
    {"share", "FROM VA PAGES TO RIGHTS [TO_VA]", "let a space use pages of another", run_share},
    {"transfer", "FROM VA PAGES TO RIGHTS", "move global pages to another space", run_transfer},
    {"withdraw", "FROM VA PAGES TO", "take back what was shared", run_withdraw},
    {0},
};
