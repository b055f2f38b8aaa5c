/*
 * segments [WORKERS | stay]: a segment that many tasks use at once, at the same addresses.
 *
 * The workers are clones that keep nothing of it. When they run, their parent grants it to them: then they follow
 * pointers in it, bring pages of it, and count there. In the end they find that they may not what they were not
 * granted, or not any more: some ask the kernel, one dies of it. `stay`: they have it, and wait for ever.
 */
#include "user/runtime.h"

enum { WORKERS = 12, WORKERS_MAX = 64, ROUNDS = 20, SEGMENT_BYTES = 4 << 20 };
enum { DIES, IS_REVOKED, GIVES_UP }; /* what becomes of a worker: the first dies */

static unsigned parent;

/* What the segment begins with; the workers' own words are pages apart. */
struct board {
    volatile uint64_t go, done; /* rounds that may be run; workers that are through with theirs */
    uint64_t *volatile words[WORKERS_MAX];
    volatile uint64_t late;     /* a page that a worker brought */
};

static struct board *board;

/* Until somebody says so with a message of these words. */
static uint64_t wait_for_word(void)
{
    struct message m;
    NEED_OK(call_receive(my_id() == parent ? 0 : parent, NULL, 0, 0, &m));
    return m.word0;
}

static void tell(unsigned id, uint64_t word) { NEED_OK(call_send(id, word, 0, 0, 0, 0)); }

static void tell_parent(void) { tell(parent, my_id()); }

/* May a byte there be read, as the kernel finds it where it looks for a name? */
static bool may_read(const volatile void *at)
{
    user_address va;
    return call_map_module((const char *)(uintptr_t)at, 1, 0, &va) != STATUS_DENIED;
}

/* ---- A worker ---- */

static int worker(uint64_t number)
{
    struct task_range range;
    NEED_STATUS(call_query(address_of(board), &range), STATUS_ABSENT); /* not yet */
    NEED(!may_read(board));
    tell_parent();
    (void)wait_for_word(); /* granted */
    NEED_OK(call_query(address_of(board), &range));
    NEED(range.va == address_of(board) && range.rights == (TASK_READ | TASK_WRITE) && range.giver == parent);
    NEED(may_read(board));
    for (uint64_t i = 0; i < ROUNDS; i++) {
        while (board->go <= i) {
            NEED_OK(call_yield());
        }
        ++*board->words[number]; /* a pointer that the parent wrote */
        __atomic_fetch_add(&board->done, 1, __ATOMIC_SEQ_CST);
    }
    NEED_STATUS(call_segment_grant(address_of(board), my_id(), TASK_READ), STATUS_DENIED); /* not its own */
    NEED_STATUS(call_segment_resize(address_of(board), PAGE_BYTES), STATUS_DENIED);
    tell_parent();
    const uint64_t how = wait_for_word(); /* narrowed, or revoked */
    if (how == DIES) {
        *board->words[number] = 0; /* it dies */
        say("still alive");
    }
    if (how == IS_REVOKED) {
        NEED(!may_read(board));
        NEED_STATUS(call_query(address_of(board), &range), STATUS_ABSENT);
    } else {
        NEED_OK(call_segment_revoke(address_of(board), my_id())); /* it gives it up itself */
        NEED_STATUS(call_segment_revoke(address_of(board), my_id()), STATUS_ABSENT);
    }
    return 0;
}

/* ---- Their parent ---- */

static void wait_for_all(unsigned workers)
{
    struct message m;
    for (unsigned i = 0; i < workers; i++) {
        NEED_OK(call_receive(0, NULL, 0, 0, &m));
    }
}

static void run_rounds(unsigned workers)
{
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        board->done = 0;
        board->go = i;
        while (board->done < workers) {
            NEED_OK(call_yield());
        }
    }
    for (unsigned i = 0; i < workers; i++) {
        NEED(*board->words[i] == ROUNDS);
    }
}

int main(int argc, char **argv)
{
    uint64_t workers = WORKERS;
    unsigned id[WORKERS_MAX];
    user_address va;
    const bool stays = argc == 2 && strcmp(argv[1], "stay") == 0;
    if (argc > 2 || (argc == 2 && !stays && !number_of(argv[1], &workers)) || workers < 3 || workers > WORKERS_MAX) {
        fail("segments [WORKERS | stay], 3 to %u of them", WORKERS_MAX);
    }
    parent = my_id();
    NEED_OK(call_segment_create(PAGE_BYTES, TASK_READ | TASK_WRITE, &va));
    NEED(va % (1 << 30) == 0);
    board = (struct board *)va;
    NEED_OK(call_segment_resize(va, SEGMENT_BYTES)); /* it grows where it is */
    for (unsigned i = 0; i < workers; i++) {
        board->words[i] = (uint64_t *)(va + (i + 1) * (uint64_t)PAGE_BYTES);
        NEED_OK(task_begin(worker, i, NULL, 0, &id[i]));
    }
    wait_for_all((unsigned)workers);
    for (unsigned i = 0; i < workers; i++) {
        NEED_OK(call_segment_grant(va, id[i], TASK_READ | TASK_WRITE));
        NEED_STATUS(call_segment_grant(va, id[i], TASK_READ), STATUS_EXISTS);
        if (!stays) {
            tell(id[i], 0);
        }
    }
    if (stays) {
        NEED_OK(call_segment_narrow(va, id[0], TASK_READ));
        (void)wait_for_word();
    }
    run_rounds((unsigned)workers);
    wait_for_all((unsigned)workers);
    say("%lu workers, %u rounds in one segment at %#lx", workers, ROUNDS, va);
    NEED_STATUS(call_segment_resize(va, PAGE_BYTES), STATUS_SHARED);
    for (unsigned i = 0; i < workers; i++) {
        const uint64_t how = i == 0 ? DIES : i % 2 == 0 ? IS_REVOKED : GIVES_UP;
        NEED_OK(how == DIES         ? call_segment_narrow(va, id[i], TASK_READ)
                : how == IS_REVOKED ? call_segment_revoke(va, id[i])
                                    : STATUS_OK);
        tell(id[i], how);
    }
    for (unsigned i = 0; i < workers; i++) {
        wait_for_end(id[i]);
        NEED(*board->words[i] == ROUNDS); /* whoever tried, wrote nothing */
        NEED_STATUS(call_segment_grant(va, id[i], TASK_READ), STATUS_ABSENT); /* it is dead */
    }
    NEED_OK(call_segment_resize(va, PAGE_BYTES));
    struct task_range range;
    NEED_STATUS(call_query(va + PAGE_BYTES, &range), STATUS_ABSENT);
    NEED_OK(call_segment_revoke(va, my_id()));
    NEED_STATUS(call_query(va, &range), STATUS_ABSENT);
    say("narrowed, revoked, given up: nobody has it any more");
    return 0;
}
