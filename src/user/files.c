/*
 * files [MODULE]: a module that several tasks map: the same pages, at the same address in all, read-only for all.
 * Without a name it is the program's own file.
 */
#include "user/runtime.h"

enum { TASKS = 4 };

static char name[TASK_NAME_BYTES]; /* a copy: the arguments are on the stack, which clones do not have */
static const uint8_t *file; /* where the parent has it */
static uint64_t bytes, sum;
static uint64_t *common;    /* a page that all have; word 0: how many clones have it mapped */

static uint64_t sum_of(const uint8_t *at)
{
    uint64_t s = 0;
    for (uint64_t i = 0; i < bytes; i++) {
        s = s * 31 + at[i];
    }
    return s;
}

static const uint8_t *map_it(uint64_t flags)
{
    user_address va;
    struct task_range range;
    NEED_OK(call_map_module(name, strlen(name), flags, &va));
    NEED_OK(call_query(va, &range));
    NEED(range.va == va && range.rights == TASK_READ && range.allowed == TASK_READ);
    bytes = range.bytes;
    return (const uint8_t *)va;
}

static int read_too(uint64_t number)
{
    const uint64_t flags = number % 2 == 0 ? 0 : TASK_PRIVATE; /* at the global address; or at one of its own */
    const uint8_t *at = map_it(flags);
    NEED((at == file) == (flags == 0));
    NEED(sum_of(at) == sum);
    NEED_STATUS(call_protect(address_of(at), bytes, TASK_READ | TASK_WRITE), STATUS_DENIED);
    NEED_STATUS(call_protect(address_of(at), bytes, TASK_READ | TASK_EXECUTE), STATUS_DENIED);
    common[0]++;
    while (common[0] < TASKS) { /* until all have it */
        NEED_OK(call_yield());
    }
    struct task_range range;
    NEED_OK(call_query(address_of(at), &range));
    common[1] = range.sharers > common[1] ? range.sharers : common[1];
    NEED_OK(call_free(address_of(at), bytes));
    return 0;
}

int main(int argc, char **argv)
{
    user_address va;
    unsigned id[TASKS];
    const char *given = argc > 1 ? argv[1] : argv[0];
    NEED(strlen(given) < sizeof name);
    memcpy(name, given, strlen(given));
    NEED_STATUS(call_map_module("no such module", 14, 0, &va), STATUS_ABSENT);
    file = map_it(0);
    sum = sum_of(file);
    NEED_OK(call_alloc(PAGE_BYTES, TASK_READ | TASK_WRITE, 0, &va));
    common = (uint64_t *)va;
    for (unsigned i = 0; i < TASKS; i++) {
        const struct task_keep keep = {va, PAGE_BYTES, TASK_READ | TASK_WRITE};
        NEED_OK(task_begin(read_too, i, &keep, 1, &id[i]));
    }
    for (unsigned i = 0; i < TASKS; i++) {
        wait_for_end(id[i]);
    }
    NEED(common[0] == TASKS);
    NEED(sum_of(file) == sum);
    NEED_OK(call_free(address_of(file), bytes));
    say("%s: %lu bytes at %p, read by %u tasks, at most %lu mappings at once; sum %#lx", name, bytes, (void *)file,
        TASKS + 1, common[1], sum);
    return 0;
}
