/*
 * Commands about address spaces: make, clone, destroy, enter, list. A space made here is an object of a cache, and
 * only these are destroyed here: other spaces belong to whoever made them. There are two kinds: spaces with mappings
 * (struct aspace), and tables alone (`space new tables`), for whoever wants to edit these by hand.
 */
#include "arch/layout.h"
#include "heap/cache.h"
#include "kernel/cmd.h"
#include "kernel/cmd_ranges.h"
#include "kernel/current.h"
#include "kernel/heap_debug.h"
#include "kernel/json.h"
#include "lib/macros.h"
#include "lib/string.h"

/* Spaces made by `space new`, so that `space free` knows them from others. */
enum { MADE_MAX = 64 };
static struct made {
    struct space *tables;  /* null: none */
    struct aspace *space;  /* null: tables alone */
} made[MADE_MAX];

/* ---- spaces ---- */

void cmd_print_task(const struct aspace *space, const char *before)
{
    const struct task *task = space != NULL ? tasks_of_space(&machine.tasks, space) : NULL;
    if (task != NULL) {
        print("%stask %u (%s)", before, task->id, task->name);
    }
}

static void print_space(const struct space *s, bool is_current)
{
    const struct aspace *space = cmd_aspace(s);
    char size[CMD_SIZE_TEXT];
    print("  %5u %016lx %10lu %10s %10lu", s->id, pfn_to_paddr(s->root).v, s->pages.v,
          cmd_size(size, pages_to_bytes(s->pages)), s->tables.v);
    if (space != NULL) {
        print("  %lu pages in %lu ranges", space->pages.v, space->ranges);
        if (space->segments > 0) {
            print(", %u of them segments", space->segments);
        }
        print(space == &machine.aspaces.segment_tables ? "  the tables of all segments" : "");
    }
    print("%s", s->id == 0 ? "  the kernel's own" : "");
    cmd_print_task(space, "  of ");
    print("%s\n", is_current ? "  current" : "");
}

static void print_space_json(struct json *j, const struct space *s, bool is_current)
{
    const struct aspace *space = cmd_aspace(s);
    json_object(j, NULL);
    json_number(j, "id", s->id);
    json_number(j, "root", pfn_to_paddr(s->root).v);
    json_number(j, "pages", s->pages.v);
    json_number(j, "tables", s->tables.v);
    json_bool(j, "current", is_current);
    if (space != NULL) {
        json_number(j, "mapped", space->pages.v);
        json_number(j, "ranges", space->ranges);
        json_number(j, "segments", space->segments);
        const struct task *task = tasks_of_space(&machine.tasks, space);
        if (task != NULL) {
            json_number(j, "task", task->id);
        }
    }
    json_close(j);
}

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
            print_space_json(&j, s, s == current);
        } else {
            print_space(s, s == current);
        }
    }
    if (line->json) {
        json_close(&j);
        json_end(&j);
    }
    return true;
}

/* ---- space ---- */

struct aspace *cmd_aspace(const struct space *tables)
{
    struct aspace *space = machine.aspaces.first;
    while (space != NULL && &space->tables != tables) {
        space = space->next;
    }
    return space;
}

/* Where the spaces made here come from. */
static struct heap_cache *cache_of(bool has_mappings)
{
    static struct heap_cache caches[2];
    static const struct heap_cache_type types[2] = {
        {HEAP_CACHE_TYPE("tables", struct space), .flags = HEAP_CACHE_ZERO},
        {HEAP_CACHE_TYPE("spaces", struct aspace), .flags = HEAP_CACHE_ZERO},
    };
    struct heap_cache *cache = &caches[has_mappings];
    struct heap_cache_type type = types[has_mappings];
    type.flags |= heap_debug_cache_flags(type.name);
    if (cache->heap == NULL && heap_cache_create(&machine.heap, cache, &type) != STATUS_OK) {
        panic("no cache for spaces");
    }
    return cache;
}

/* A place in the list, with memory for a space in it; null: said why not. */
static struct made *make_room(bool has_mappings)
{
    struct made *m = made;
    while (m < &made[MADE_MAX] && m->tables != NULL) {
        m++;
    }
    if (m == &made[MADE_MAX]) {
        print("space: %d spaces made by hand are there (MADE_MAX)\n", MADE_MAX);
        return NULL;
    }
    m->tables = heap_cache_alloc(cache_of(has_mappings));
    return cmd_done("space", m->tables != NULL ? STATUS_OK : STATUS_NOMEM) ? m : NULL;
}

/* The space in it was made, or was not: then all is as before. */
static struct made *made_or_not(struct made *m, enum status s)
{
    if (!cmd_done("space", s)) {
        /* The block is ours: giving it back cannot be refused. */
        (void)!heap_cache_free(cache_of(m->space != NULL), m->tables);
        *m = (struct made){0};
        return NULL;
    }
    return m;
}

struct space *cmd_space_make(void)
{
    struct made *m = make_room(false);
    m = m != NULL ? made_or_not(m, space_create(&machine.vmm, m->tables)) : NULL;
    return m != NULL ? m->tables : NULL;
}

/* A clone keeps all of the global part, with the same rights. */
static unsigned keep(void *ctx, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)ctx;
    (void)va;
    (void)pages;
    return rights;
}

/* With mappings: empty, or a clone. */
static struct space *aspace_make(struct aspace *parent)
{
    struct made *m = make_room(true);
    if (m == NULL) {
        return NULL;
    }
    static_assert(offsetof(struct aspace, tables) == 0, "one block for both");
    m->space = (struct aspace *)(void *)m->tables;
    enum status s = parent != NULL ? aspace_clone(parent, m->space, keep, NULL)
                                   : aspace_create(&machine.aspaces, m->space, (struct aspace_limits){0});
    m = made_or_not(m, s);
    return m != NULL ? m->tables : NULL;
}

static bool tell_made(const struct space *space)
{
    if (space != NULL) {
        print("space %u: root %#lx\n", space->id, pfn_to_paddr(space->root).v);
    }
    return space != NULL;
}

static bool space_new(const char *text)
{
    if (text != NULL && strcmp(text, "tables") != 0) {
        print("space: there is no kind '%s'\n", text);
        return false;
    }
    return tell_made(text != NULL ? cmd_space_make() : aspace_make(NULL));
}

static bool space_clone(const char *text)
{
    struct space *parent = cmd_space(text);
    if (parent != NULL && cmd_aspace(parent) == NULL) {
        print("space %u is tables alone\n", parent->id);
        return false;
    }
    return parent != NULL && tell_made(aspace_make(cmd_aspace(parent)));
}

static bool space_free(const char *text)
{
    struct space *space = cmd_space(text);
    struct made *m = made;
    if (space == NULL) {
        return false;
    }
    while (m < &made[MADE_MAX] && m->tables != space) {
        m++;
    }
    if (m == &made[MADE_MAX]) {
        print("space %u was not made by `space new`\n", space->id);
        return false;
    }
    if (space == cmd_current_space()) {
        print("space %u is current: `space switch` to another one first\n", space->id);
        return false;
    }
    bool done = cmd_done("space", m->space != NULL ? aspace_destroy(m->space) : space_destroy(&machine.vmm, space));
    if (space->vmm != NULL) {
        return false; /* it is still there; a corrupt one is not */
    }
    struct heap_cache *cache = cache_of(m->space != NULL);
    *m = (struct made){0};
    return cmd_done("space", heap_cache_free(cache, space)) && done;
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
    print("space %u: root %#lx, %lu pages, %lu tables", space->id, pfn_to_paddr(space->root).v, space->pages.v,
          space->tables.v);
    cmd_print_task(cmd_aspace(space), ", of ");
    print("\n");
    if (cmd_aspace(space) != NULL) {
        cmd_print_ranges(cmd_aspace(space));
        return true;
    }
    vmm_visit(&machine.vmm, space, vaddr(0), cmd_user_end(), print_mapping, &pages);
    print("  %lu pages in the user part\n", pages.v);
    return true;
}

/* The monitor goes on in that space: the kernel half is the same in all. */
static bool space_enter(const char *text)
{
    struct space *space = cmd_space(text);
    if (space == NULL) {
        return false;
    }
    struct aspace *with_mappings = cmd_aspace(space);
    enum status s = with_mappings != NULL ? current_enter(with_mappings) : space_switch(&machine.vmm, space);
    if (cmd_done("space", s)) {
        print("space %u is current\n", space->id);
    }
    return s == STATUS_OK;
}

static const char space_usage[] = "ID | new | free ID | switch ID | new tables | clone ID";

static bool run_space(const struct command_line *line)
{
    static const struct {
        const char *word;
        bool (*run)(const char *id);
    } verbs[] = {{"clone", space_clone}, {"free", space_free}, {"switch", space_enter}};
    if (!cmd_args(line, 1, 2, space_usage)) {
        return false;
    }
    const char *word = line->argv[1], *id = line->argc == 3 ? line->argv[2] : NULL;
    if (strcmp(word, "new") == 0) {
        return space_new(id);
    }
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(word, verbs[i].word) == 0) {
            return id != NULL ? verbs[i].run(id) : cmd_args(line, 2, 2, space_usage);
        }
    }
    return id == NULL ? space_show(word) : cmd_args(line, 1, 1, space_usage);
}

const struct command cmd_spaces[] = {
    {"spaces", "[-j]", "all address spaces", run_spaces},
    {"space", space_usage, "what a space maps; make, copy on write, destroy, enter one", run_space},
    {0},
};
