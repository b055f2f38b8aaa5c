/*
 * forkbomb [CLONES]: a task wants more than it may have, in every way there is, and is told so; the rest lives on, and
 * what it had comes back.
 *
 *   messages  sent to a clone that does not look
 *   pages     asked for, never touched, up to its limit; ranges of a page likewise
 *   memory    touched by a clone until there is no more: it dies of that
 *   tasks     each clone clones itself until that is refused: at most so many attempts in all (default 3000)
 */
#include "user/runtime.h"

enum { CLONES = 3000, CHILDREN_MAX = 64, SLOTS = 8192 };

static struct common { /* on a page that all of them have */
    int64_t left;      /* attempts */
    uint64_t made, refused[STATUS_NOT_YET + 2];
} *common;

static user_address *given; /* addresses that were given out */

static bool is_refusal(enum status s) { return s == STATUS_LIMIT || s == STATUS_NOMEM; }

/* ---- Messages ---- */

static int sleep_until_told(uint64_t parent)
{
    struct message m;
    uint64_t count = 0;
    NEED_OK(call_send((unsigned)parent, 0, 0, 0, 0, 0));
    while (common->left > 0) { /* does not look */
        NEED_OK(call_yield());
    }
    while (call_receive((unsigned)parent, NULL, 0, TASK_NO_WAIT, &m) == STATUS_OK) {
        NEED(m.word0 == count);
        count++;
    }
    NEED(count == common->made);
    return 0;
}

static void want_messages(void)
{
    unsigned id;
    struct message m;
    const struct task_keep keep = {address_of(common), PAGE_BYTES, TASK_READ | TASK_WRITE};
    common->left = 1;
    NEED_OK(task_begin(sleep_until_told, my_id(), &keep, 1, &id));
    NEED_OK(call_receive(id, NULL, 0, 0, &m));
    uint64_t sent = 0;
    enum status s;
    while ((s = call_send(id, sent, 0, 0, 0, 0)) == STATUS_OK) {
        sent++;
    }
    NEED(is_refusal(s));
    common->made = sent;
    common->left = 0;
    wait_for_end(id);
    say("messages: the one after %lu is refused: %s", sent, status_name(s));
}

/* ---- Pages and ranges ---- */

static void want_pages(void)
{
    struct task_stats before, full, after;
    NEED_OK(call_stats(&before));
    uint64_t count = 0;
    enum status s = STATUS_OK;
    for (uint64_t bytes = 1UL << 36; bytes >= PAGE_BYTES; bytes /= 2) { /* large ones, then what is left */
        while (count < SLOTS / 2 && (s = call_alloc(bytes, TASK_READ | TASK_WRITE, 0, &given[count])) == STATUS_OK) {
            given[SLOTS / 2 + count++] = bytes;
        }
        NEED(is_refusal(s));
    }
    NEED_OK(call_stats(&full));
    NEED(full.pages <= full.pages_max);
    for (uint64_t i = 0; i < count; i++) {
        NEED_OK(call_free(given[i], given[SLOTS / 2 + i]));
    }
    NEED_OK(call_stats(&after));
    NEED(after.pages == before.pages && after.ranges == before.ranges);
    say("pages: %lu of %lu, one more is refused: %s", full.pages, full.pages_max, status_name(s));
}

static void want_ranges(void)
{
    struct task_stats full;
    uint64_t count = 0;
    enum status s = STATUS_OK;
    while (count < SLOTS && (s = call_alloc(PAGE_BYTES, TASK_READ, 0, &given[count])) == STATUS_OK) {
        count++;
    }
    NEED(is_refusal(s));
    NEED_OK(call_stats(&full));
    for (uint64_t i = 0; i < count; i++) {
        NEED_OK(call_free(given[i], PAGE_BYTES));
    }
    say("ranges: %lu of %lu, one more is refused: %s", full.ranges, full.ranges_max, status_name(s));
}

/* ---- Memory ---- */

static int touch_all(uint64_t bytes)
{
    user_address va;
    NEED_OK(call_alloc(bytes, TASK_READ | TASK_WRITE, 0, &va));
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
        *(volatile char *)(va + at) = 1;
        common->made++;
    }
    return 0;
}

static void want_memory(void)
{
    unsigned id;
    struct task_stats stats;
    const struct task_keep keep = {address_of(common), PAGE_BYTES, TASK_READ | TASK_WRITE};
    NEED_OK(call_stats(&stats));
    common->made = 0;
    NEED_OK(task_begin(touch_all, pages_to_bytes(npages((stats.pages_max - stats.pages) / 2)), &keep, 1, &id));
    wait_for_end(id);
    say("memory: a clone has touched %lu pages", common->made);
}

/* ---- Tasks ---- */

static int bomb(uint64_t depth)
{
    unsigned id[CHILDREN_MAX], count = 0;
    const struct task_keep keep = {address_of(common), PAGE_BYTES, TASK_READ | TASK_WRITE};
    while (count < CHILDREN_MAX && __atomic_fetch_sub(&common->left, 1, __ATOMIC_RELAXED) > 0) {
        const enum status s = task_begin(bomb, depth + 1, &keep, 1, &id[count]);
        __atomic_fetch_add(s == STATUS_OK ? &common->made : &common->refused[s], 1, __ATOMIC_RELAXED);
        if (s != STATUS_OK) {
            NEED(is_refusal(s));
            break;
        }
        count++;
        NEED_OK(call_yield());
    }
    while (count > 0) {
        wait_for_end(id[--count]);
    }
    return 0;
}

static int nothing(uint64_t argument) { return (int)argument; }

static void want_tasks(uint64_t clones)
{
    unsigned id;
    memset(common, 0, sizeof *common);
    common->left = (int64_t)clones;
    NEED(bomb(0) == 0);
    say("tasks: %lu clones, refused %lu times by a limit, %lu times for want of memory", common->made,
        common->refused[STATUS_LIMIT], common->refused[STATUS_NOMEM]);
    NEED_OK(task_begin(nothing, 0, NULL, 0, &id)); /* there is room again */
    wait_for_end(id);
}

int main(int argc, char **argv)
{
    uint64_t clones = CLONES;
    user_address va;
    if (argc > 2 || (argc == 2 && !number_of(argv[1], &clones))) {
        fail("forkbomb [CLONES]");
    }
    NEED_OK(call_alloc(PAGE_BYTES, TASK_READ | TASK_WRITE | TASK_POPULATE, 0, &va));
    common = (struct common *)va;
    given = malloc(SLOTS * sizeof *given);
    NEED(given != NULL);
    memset(given, 0, SLOTS * sizeof *given);
    want_messages();
    want_pages();
    want_ranges();
    want_memory();
    want_tasks(clones);
    free(given);
    return 0;
}
