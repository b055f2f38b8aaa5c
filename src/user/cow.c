/*
 * cow: a clone has the private part as it was, and what either writes is not seen by the other.
 *
 * Private pages and variables are written before, after and during clones; a clone of a clone too. What the global part
 * has is the opposite: it is shared where the parent says so, and what is written there all see.
 */
#include "user/runtime.h"

enum { PAGES = 64, WORDS = PAGE_BYTES / sizeof(uint64_t), GENERATIONS = 4 };

static uint64_t variable = 1, *own, *common; /* private pages; a page that all generations have */

static uint64_t *page(unsigned i) { return own + i * WORDS; }

static void expect_all(uint64_t value)
{
    for (unsigned i = 0; i < PAGES; i++) {
        NEED(page(i)[i] == value + i);
    }
}

static void write_all(uint64_t value)
{
    for (unsigned i = 0; i < PAGES; i++) {
        page(i)[i] = value + i;
    }
}

/*
 * Generation n: finds what the one before it had when it was cloned, writes, clones the next, writes to every other
 * page while that one runs, and finds its own writes at the end.
 */
static int generation(uint64_t n)
{
    const uint64_t before = (n - 1) * 1000, now = n * 1000;
    unsigned next;
    if (n > 0) {
        NEED(variable == n);
        expect_all(before);
    }
    variable = n + 1;
    write_all(now);
    common[n] = now;
    if (n < GENERATIONS) {
        const struct task_keep keep = {address_of(common), PAGE_BYTES, TASK_READ | TASK_WRITE};
        NEED_OK(task_begin(generation, n + 1, &keep, 1, &next));
        for (unsigned i = 0; i < PAGES; i += 2) { /* the clone may have run by now, or not */
            page(i)[i]++;
        }
        NEED_OK(call_yield());
        for (unsigned i = 0; i < PAGES; i += 2) {
            page(i)[i]--;
        }
        variable = 77;
        wait_for_end(next);
        NEED(common[n + 1] == now + 1000); /* written by the clone */
        NEED(variable == 77);
    }
    expect_all(now);
    return 0;
}

/* What each of many clones of one parent writes, only it sees. */
static int scribble(uint64_t number)
{
    expect_all(5);
    write_all(number);
    for (unsigned i = 0; i < 4; i++) {
        NEED_OK(call_yield());
        expect_all(number);
    }
    common[number]++;
    return 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    user_address va;
    NEED_OK(call_alloc(PAGES * PAGE_BYTES, TASK_READ | TASK_WRITE | TASK_PRIVATE, 0, &va));
    own = (uint64_t *)va;
    NEED_OK(call_alloc(PAGE_BYTES, TASK_READ | TASK_WRITE, 0, &va));
    common = (uint64_t *)va;
    NEED(generation(0) == 0);
    say("%u generations, %u private pages each", GENERATIONS, PAGES);

    unsigned id[8];
    write_all(5);
    for (unsigned i = 0; i < ARRAY_LEN(id); i++) {
        const struct task_keep keep = {address_of(common), PAGE_BYTES, TASK_READ | TASK_WRITE};
        NEED_OK(task_begin(scribble, 100 + i, &keep, 1, &id[i]));
    }
    for (unsigned i = 0; i < ARRAY_LEN(id); i++) {
        wait_for_end(id[i]);
        NEED(common[100 + i] == 1);
    }
    expect_all(5);
    say("%lu clones at once", ARRAY_LEN(id));
    return 0;
}
