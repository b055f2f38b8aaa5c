#include "kernel/program.h"

#include "kernel/machine.h"

static enum status map_at(struct program *p, uint64_t va, npages_t pages, unsigned rights, npages_t room,
                          struct object *object)
{
    const bool is_stack = room.v > 0;
    struct aspace_request r = {
        .pages = pages,
        .rights = rights | VMM_USER,
        .flags = ASPACE_AT | (is_stack ? (unsigned)ASPACE_STACK : 0),
        .room = room,
        .va = vaddr(va),
        .object = object,
        .tag = object != NULL ? "code" : is_stack ? "stack" : "data",
    };
    vaddr_t at;
    return aspace_map(&p->space, &r, &at);
}

static enum status map_all(struct program *p)
{
    const npages_t code = bytes_to_pages_up(p->bytes.count), none = npages(0);
    const npages_t stack = npages(1), room = npages(PROGRAM_STACK_PAGES - stack.v);
    const struct pager pager = pager_of_bytes(&p->bytes);
    enum status s = object_create_paged(&machine.aspaces, code, &pager, &p->code);
    if (s == STATUS_OK) {
        s = map_at(p, PROGRAM_CODE, code, VMM_READ | VMM_EXECUTE, none, p->code);
    }
    if (s == STATUS_OK) {
        s = map_at(p, PROGRAM_DATA, npages(PROGRAM_DATA_PAGES), VMM_READ | VMM_WRITE, none, NULL);
    }
    if (s == STATUS_OK) {
        s = map_at(p, PROGRAM_STACK - pages_to_bytes(stack), stack, VMM_READ | VMM_WRITE, room, NULL);
    }
    return s;
}

enum status program_make(struct program *p, const uint8_t *code, const uint8_t *end)
{
    *p = (struct program){.bytes = {code, (uint64_t)(end - code)}};
    enum status s = aspace_create(&machine.aspaces, &p->space, (struct aspace_limits){0});
    if (s != STATUS_OK) {
        return s;
    }
    program_begin(p);
    s = map_all(p);
    return s == STATUS_OK || program_end(p) == STATUS_OK ? s : STATUS_CORRUPT;
}

void program_begin(struct program *p) { user_context_init(&p->context, vaddr(PROGRAM_CODE), vaddr(PROGRAM_STACK)); }

enum status program_run(struct program *p) { return current_run(&p->space, &p->context, &p->fault); }

enum status program_end(struct program *p)
{
    enum status s = aspace_destroy(&p->space);
    enum status released = p->code != NULL ? object_release(p->code) : STATUS_OK;
    p->code = NULL;
    return s != STATUS_OK ? s : released;
}
