/*
 * hello [WORD...]: what a program finds at its start. It says its arguments and its id, where its code, its data, its
 * stack and its heap are (the latter two in the global part, where an address means the same to every task), and what
 * the kernel counts of it.
 */
#include "user/runtime.h"

static int zeros[PAGE_BYTES];
static int number = 42;

int main(int argc, char **argv)
{
    say("hello, I am task %u, with %d arguments", my_id(), argc);
    for (int i = 0; i < argc; i++) {
        say("argument %d: %s", i, argv[i]);
    }
    NEED(argc > 0 && argv[argc] == NULL);

    for (size_t i = 0; i < ARRAY_LEN(zeros); i++) {
        NEED(zeros[i] == 0);
    }
    NEED(number == 42);
    number++;
    zeros[1] = number;

    char *small = malloc(100), *large = malloc(100000);
    NEED(small != NULL && large != NULL && is_page_aligned(address_of(large)));
    memset(small, 'a', 100);
    memset(large, 'b', 100000);
    say("code %#lx, data %#lx, stack %#lx, small block %#lx, large block %#lx", address_of((void *)(uintptr_t)main),
        address_of(&number), address_of(&small), address_of(small), address_of(large));
    free(large);
    free(small);

    struct task_stats stats;
    NEED_OK(call_stats(&stats));
    NEED(stats.id == my_id());
    say("%lu pages in %lu ranges, %lu calls, %lu faults, %lu ticks", stats.pages, stats.ranges, stats.calls,
        stats.faults, stats.ticks);
    return 0;
}
