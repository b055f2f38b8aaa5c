/*
 * fuzz [SEED [CALLS | SECONDSs]]: random system calls. Half of the arguments mean something (addresses, sizes, rights
 * and tasks that are there), the others are the edges of what there is, or any number.
 *
 * Workers, clones of this task, call at random, and with luck give each other pages, kill themselves, or clone on. This
 * task itself asks for nothing: it reads what comes, frees the pages that it is given, starts anew who has died, and
 * says at the end how often each call has answered what. Each call must leave the registers that are not its answer as
 * they were. A call that never gave an answer that it should be able to give is named; after many calls that is a
 * failure.
 *
 * A second is taken for 3 * 10^9 ticks of the CPU's counter: on most machines it is longer.
 */
#include "lib/fmt.h"
#include "lib/rng.h"
#include "user/fuzz_answers.h"
#include "user/runtime.h"

enum {
    WORKERS = 4,
    STATUSES = 17,
    CALLS_NAMED = 250000, /* from so many calls on each answer must have come */
    RANGES = 32,
    SEGMENTS = 8, /* that all of these tasks know */
    CHILD_CALLS = 40,
};

static struct common { /* all of these tasks have it */
    int64_t left;
    uint64_t until;    /* ticks; 0: calls are counted */
    uint64_t seen[NUMBERS][STATUSES], died, wrong;
    unsigned ids[WORKERS + 4]; /* of workers; then of others that live, or did */
    struct range { uint64_t va, bytes; } segments[SEGMENTS]; /* somebody's, or that were */
} *common;

static struct rng rng;
static unsigned main_id;
static bool may_wait; /* a worker: somebody will wake it */
static struct range ranges[RANGES]; /* of this task's, mostly */
static unsigned count, used; /* of them; the one of them that was taken last */
static struct range last;    /* the one that the last address was taken from */

static uint64_t below(uint64_t bound) { return rng_below(&rng, bound); }
static bool one_in(uint64_t n) { return below(n) == 0; }

/* ---- Arguments ---- */

static uint64_t any_number(void)
{
    static const uint64_t edges[] = {0, 1, 7, 0xFFFF, 0x10000, 0x3FFFFFFFE000, 0x3FFFFFFFFFFF, 0x400000000000,
        0x7FFFFFFFDFFF, 0x7FFFFFFFE000, 0x7FFFFFFFF000, 0x7FFFFFFFFFFF, 0x800000000000, 0xFFFF800000000000,
        0xFFFFFE8000100000, 0xFFFFFF8000000000, UINT64_MAX - PAGE_BYTES, UINT64_MAX, 1UL << 31, 1UL << 32, 1UL << 63};
    switch (below(3)) {
    case 0: return edges[below(ARRAY_LEN(edges))];
    case 1: return rng_next(&rng) >> below(64);
    default: return rng_next(&rng) << below(64);
    }
}

/* Of this task's own, what it needs to live. */
static uint64_t vital(void)
{
    const uint64_t all[] = {address_of((void *)(uintptr_t)any_number), address_of(&rng), address_of(&all),
                            address_of(common)};
    return all[below(ARRAY_LEN(all))];
}

static uint64_t inside(struct range range)
{
    const uint64_t pages = bytes_to_pages_up(range.bytes).v;
    const uint64_t page = pages > 0 && one_in(3) ? below(pages) : 0;
    last = range;
    return range.va + pages_to_bytes(npages(page)) + (one_in(30) ? 8 : 0);
}

static uint64_t segment(void) { return inside(common->segments[below(SEGMENTS)]); }

/* An edge, or anywhere in a range. */
static uint64_t place(void)
{
    if (one_in(8) || count == 0) {
        return any_number();
    }
    used = (unsigned)below(count);
    return one_in(10) ? segment() : inside(ranges[used]);
}

static uint64_t address(void) { return one_in(300) ? vaddr_page(vaddr(vital())).v : place(); }

static uint64_t size(void)
{
    switch (below(8)) {
    case 0: return any_number();
    case 1: return last.bytes;
    case 2: return one_in(8) ? 0 : 1UL << below(32);
    default: return PAGE_BYTES * (1 + below(4)) - below(2);
    }
}

static uint64_t rights(void)
{
    static const uint64_t good[] = {TASK_READ, TASK_READ | TASK_WRITE, TASK_READ | TASK_WRITE,
                                    TASK_READ | TASK_EXECUTE, 0};
    return one_in(6) ? below(16) | (one_in(4) ? any_number() : 0) : good[below(ARRAY_LEN(good))];
}

static uint64_t task(void)
{
    switch (below(8)) {
    case 0: return any_number();
    case 1: return my_id();
    case 2: return main_id;
    case 3: return common->ids[below(ARRAY_LEN(common->ids))];
    default: return common->ids[below(WORKERS)];
    }
}

static uint64_t flags(uint64_t good) { return one_in(12) ? any_number() : one_in(2) ? good : 0; }

/* Where the kernel may write: nothing that is vital. */
static uint64_t buffer(void) { return one_in(6) ? any_number() : place(); }

/* ---- Calls ---- */

static int child(uint64_t seed);

static void fill_clone(uint64_t a[6])
{
    static struct task_keep keep[TASK_KEEP_MAX + 1];
    for (unsigned i = 1; i < ARRAY_LEN(keep); i++) {
        keep[i] = (struct task_keep){address(), size(), rights()};
    }
    keep[0] = (struct task_keep){address_of(common), sizeof *common, TASK_READ | TASK_WRITE};
    a[0] = one_in(4) ? any_number() : clone_prepare(child);
    a[2] = one_in(8) ? buffer() : address_of(keep);
    a[3] = one_in(8) ? any_number() : one_in(2) ? 1 : below(4);
    a[4] = one_in(4) ? any_number() : 16 * KIB;
}

static void fill_send(uint64_t a[6])
{
    static const uint64_t kinds[] = {0, TASK_DATA, TASK_GIVE, TASK_LEND};
    const uint64_t kind = kinds[below(ARRAY_LEN(kinds))];
    const bool has_rights = kind == TASK_GIVE || kind == TASK_LEND || one_in(8);
    a[0] = task();
    a[3] = address();
    a[4] = kind == TASK_DATA ? below(one_in(8) ? 2 * TASK_DATA_BYTES : 64) : size();
    a[5] = one_in(16) ? any_number() : kind | (has_rights ? rights() : 0);
}

/* A module's, mostly. */
static void fill_name(uint64_t a[6])
{
    a[0] = one_in(4) ? address() : address_of("fuzz");
    a[1] = one_in(4) ? below(40) : 4;
}

static void fill(uint64_t number, uint64_t a[6])
{
    for (unsigned i = 0; i < 6; i++) {
        a[i] = any_number();
    }
    switch (number) {
    case TASK_ALLOC: {
        const uint64_t f = flags(1ULL << (16 + below(3)));
        a[0] = (f & TASK_POPULATE) == 0 ? size() : one_in(1000) ? 1 << 29 : PAGE_BYTES * below(9);
        a[1] = rights() | f;
        a[2] = one_in(4) ? below(64) : 0;
        break;
    }
    case TASK_MAP_MODULE: fill_name(a), a[2] = flags(TASK_PRIVATE); break;
    case TASK_FREE: case TASK_SEAL: a[0] = address(), a[1] = size(); break;
    case TASK_PROTECT: a[0] = address(), a[1] = size(), a[2] = rights(); break;
    case TASK_QUERY: a[0] = address(), a[1] = buffer(); break;
    case TASK_SHARE:
        a[0] = address(), a[1] = size(), a[2] = task(), a[3] = rights();
        a[4] = one_in(2) ? 0 : one_in(2) ? address() : any_number(); break;
    case TASK_TRANSFER: a[0] = address(), a[1] = size(), a[2] = task(), a[3] = rights(); break;
    case TASK_WITHDRAW: a[0] = address(), a[1] = size(), a[2] = task(); break;
    case TASK_CLONE: fill_clone(a); break;
    case TASK_SEND: fill_send(a); break;
    case TASK_RECEIVE:
        a[0] = one_in(2) ? 0 : one_in(2) ? main_id : task();
        a[1] = buffer(), a[2] = one_in(3) ? below(32) : below(2 * TASK_DATA_BYTES);
        /* Only for those may be waited who wake everybody, and who is no more. */
        a[3] = flags(TASK_NO_WAIT) | (!may_wait || (a[0] != 0 && a[0] != main_id) ? (uint64_t)TASK_NO_WAIT : 0);
        break;
    case TASK_LOG: a[0] = address(), a[1] = below(300); break;
    case TASK_STATS: a[0] = buffer(); break;
    case TASK_SEGMENT_CREATE: a[0] = one_in(20) ? any_number() : size() % (4 * MIB), a[1] = rights(); break;
    case TASK_SEGMENT_FILE: fill_name(a), a[2] = rights(); break;
    case TASK_SEGMENT_RESIZE: a[0] = one_in(8) ? address() : segment(), a[1] = size(); break;
    case TASK_SEGMENT_GRANT: case TASK_SEGMENT_NARROW: case TASK_SEGMENT_REVOKE:
        a[0] = one_in(8) ? address() : segment(), a[1] = task(), a[2] = rights(); break;
    default: break; /* a[] as it is */
    }
}

/* A range that is there now. Large ones in memory go again: others want to live too. */
static void learn_range(uint64_t number, uint64_t va, uint64_t bytes)
{
    if (number == TASK_ALLOC && bytes >= 256 * MIB) {
        (void)!call_free(va, bytes);
    } else {
        ranges[count < RANGES ? count++ : below(RANGES)] = (struct range){va, bytes};
    }
    if (number == TASK_SEGMENT_CREATE || number == TASK_SEGMENT_FILE) {
        common->segments[below(SEGMENTS)] = (struct range){va, bytes};
    }
}

static bool answers_address(uint64_t number)
{
    return number == TASK_ALLOC || number == TASK_MAP_MODULE || number == TASK_SEGMENT_CREATE ||
           number == TASK_SEGMENT_FILE;
}

/* What was learnt: ranges that are there now, or no more; tasks. */
static void learn(uint64_t number, const uint64_t was[6], const uint64_t now[6])
{
    if (answers_address(number)) {
        struct task_range range = {0};
        (void)!call_query(now[2], &range);
        learn_range(number, now[2], number == TASK_ALLOC ? was[0] : range.bytes);
    } else if (number == TASK_RECEIVE && TASK_MESSAGE_KIND(now[3]) == TASK_MESSAGE_PAGES) {
        learn_range(number, now[4], now[5]);
    } else if (number == TASK_CLONE) {
        common->ids[WORKERS + below(ARRAY_LEN(common->ids) - WORKERS)] = (unsigned)now[2];
    } else if ((number == TASK_FREE || number == TASK_TRANSFER) && count > 0 && was[0] == ranges[used].va) {
        ranges[used] = ranges[--count];
    }
}

static void check_registers(uint64_t number, enum status s, const uint64_t was[6], const uint64_t now[6])
{
    const bool answers = answers_address(number) || number == TASK_CLONE;
    const bool is_message = number == TASK_RECEIVE && s == STATUS_OK;
    const bool changes_rdx = (answers && s == STATUS_OK) || (number == TASK_RECEIVE && s == STATUS_LIMIT);
    for (unsigned i = 0; i < 6 && !is_message; i++) {
        if (was[i] != now[i] && !(i == 2 && changes_rdx)) {
            common->wrong++;
            say("call %lu, %s: register %u was %#lx, is %#lx", number, status_name(s), i, was[i], now[i]);
        }
    }
}

static void call_once(void)
{
    uint64_t number = below(NUMBERS), was[6], now[6];
    if ((number == TASK_EXIT && !one_in(500)) || (number == TASK_LOG && !one_in(20)) ||
        (number == TASK_CLONE && !one_in(4))) {
        number = one_in(2) ? TASK_ALLOC : TASK_FREE;
    }
    fill(number, was);
    memcpy(now, was, sizeof now);
    const uint64_t asked = number == TASK_CALLS ? TASK_CALLS + below(UINT64_MAX - TASK_CALLS) : number;
    const enum status s = call(asked, now);
    if ((unsigned)s >= STATUSES) {
        common->wrong++;
        return;
    }
    common->seen[number][s]++;
    check_registers(number, s, was, now);
    if (s == STATUS_OK) {
        learn(number, was, now);
    }
}

static int child(uint64_t seed)
{
    rng = rng_seeded(seed ^ my_id());
    may_wait = false;
    for (unsigned i = 0; i < CHILD_CALLS; i++) {
        call_once();
    }
    return 0;
}

static bool is_time(void)
{
    return common->until != 0 ? ticks_now() < common->until
                              : __atomic_fetch_sub(&common->left, 1, __ATOMIC_RELAXED) > 0;
}

static int work(uint64_t seed)
{
    rng = rng_seeded(seed);
    may_wait = true;
    count = 0;
    while (is_time()) {
        call_once();
    }
    return 0;
}

/* ---- The main task ---- */

static bool is_over(void) { return common->until != 0 ? ticks_now() >= common->until : common->left <= 0; }

static void begin_worker(unsigned i)
{
    const struct task_keep keep = {address_of(common), sizeof *common, TASK_READ | TASK_WRITE};
    unsigned id;
    if (task_begin(work, rng_next(&rng), &keep, 1, &id) == STATUS_OK) { /* else later */
        common->ids[i] = id;
    }
}

/* What comes from `id`, or anybody, is read; nobody's pages are kept. => the last answer. */
static enum status drain(unsigned id)
{
    static uint64_t data[(sizeof(struct task_data) + TASK_DATA_BYTES) / sizeof(uint64_t)];
    struct message m;
    enum status s;
    while ((s = call_receive(id, data, sizeof data, TASK_NO_WAIT, &m)) == STATUS_OK) {
        if (TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_PAGES) {
            (void)!call_free(m.word0, m.word1); /* it may have been taken back */
        }
    }
    return s;
}

/* Until the time is over and no worker lives. */
static void watch(void)
{
    unsigned alive = 1;
    while (alive > 0) {
        alive = 0;
        (void)!drain(0);
        for (unsigned i = 0; i < WORKERS; i++) {
            if (drain(common->ids[i]) != STATUS_ABSENT) {
                alive++;
                (void)!call_send(common->ids[i], 0, 0, 0, 0, 0); /* it may wait */
            } else if (!is_over()) {
                alive++;
                common->died++;
                begin_worker(i);
            }
        }
        NEED_OK(call_yield());
    }
}

/* => the calls in all. */
static uint64_t tell(unsigned *never)
{
    uint64_t all = 0;
    for (unsigned n = 0; n < NUMBERS; n++) {
        char text[TASK_LOG_BYTES];
        size_t length = fmt_text(text, sizeof text, "%s:", known[n].name);
        for (unsigned s = 0; s < STATUSES; s++) {
            const bool is_missing = common->seen[n][s] == 0 && (known[n].answers >> s & 1) != 0;
            all += common->seen[n][s];
            *never += is_missing;
            if (common->seen[n][s] > 0 || is_missing) {
                length += fmt_text(text + length, sizeof text - length, " %s %lu%s,", status_name((enum status)s),
                                   common->seen[n][s], is_missing ? " (never seen)" : "");
            }
        }
        NEED_OK(call_log(text, length));
    }
    return all;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, calls = 20000;
    user_address va;
    const size_t digits = argc > 2 ? strlen(argv[2]) : 0;
    const bool is_seconds = digits > 1 && argv[2][digits - 1] == 's';
    if (is_seconds) {
        argv[2][digits - 1] = '\0';
    }
    if (argc > 3 || (argc > 1 && !number_of(argv[1], &seed)) || (argc > 2 && !number_of(argv[2], &calls))) {
        fail("fuzz [SEED [CALLS | SECONDSs]]");
    }
    NEED_OK(call_alloc(sizeof *common, TASK_READ | TASK_WRITE | TASK_POPULATE, 0, &va));
    common = (struct common *)va;
    common->left = (int64_t)calls;
    common->until = is_seconds ? ticks_now() + calls * 3000000000 : 0;
    rng = rng_seeded(seed);
    main_id = my_id();
    for (unsigned i = 0; i < WORKERS; i++) {
        begin_worker(i);
    }
    watch();
    unsigned never = 0;
    const uint64_t all = tell(&never);
    say("%lu calls with seed %lu; %lu workers died on the way; %u answers never seen; %lu registers changed", all, seed,
        common->died, never, common->wrong);
    return common->wrong > 0 || (all >= CALLS_NAMED && never > 0);
}
