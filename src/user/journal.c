/*
 * journal [MODULE [RECORDS]]: a file that one task writes and grows, and two others read as it grows.
 *
 * The file begins as a boot module does (without a name: as the program's own file), in pages of its own. Behind it the
 * writer puts a head, which says how many records there are, and records; where there is no room it grows the file by a
 * page. The readers were granted it once, to be read, before there was any: they follow the head, and look at each
 * word. In the end one of them reads behind the end, and dies of it.
 */
#include "lib/rng.h"
#include "user/runtime.h"

enum { RECORDS = 400, RECORDS_MAX = 50000, READERS = 2 };

struct record {
    uint64_t words[125]; /* 1,000 bytes: some lie in two pages */
};

/* In the first page behind the module's. */
struct head {
    uint64_t count; /* records that may be read; the writer says so when they are whole */
    struct record records[];
};

static char name[TASK_NAME_BYTES]; /* copies: clones do not have the stack, where arguments are */
static uint64_t records = RECORDS;
static unsigned writer;
static uint8_t *file;              /* a segment: at the same address in all */
static uint64_t module_bytes;      /* with which it begins, in pages */

static struct head *head(void) { return (struct head *)(void *)(file + module_bytes); }

static uint64_t bytes_now(void)
{
    struct task_range range;
    NEED_OK(call_query(address_of(file), &range));
    NEED(range.va == address_of(file));
    return range.bytes;
}

/* What record `i` must hold; `writes`: it does from now on. */
static void go_through(uint64_t i, bool writes)
{
    struct record *r = &head()->records[i];
    struct rng rng = rng_seeded(i);
    for (unsigned w = 0; w < ARRAY_LEN(r->words); w++) {
        const uint64_t word = rng_next(&rng);
        if (writes) {
            r->words[w] = word;
        } else if (r->words[w] != word) {
            fail("record %lu, word %u, is %#lx, not %#lx", i, w, r->words[w], word);
        }
    }
}

static uint64_t sum_of_all(void)
{
    uint64_t sum = 0;
    const uint8_t *end = (const uint8_t *)&head()->records[records];
    for (const uint8_t *at = file; at < end; at++) {
        sum = sum * 31 + *at;
    }
    return sum;
}

static uint64_t wait_for_word(unsigned from)
{
    struct message m;
    NEED_OK(call_receive(from, NULL, 0, 0, &m));
    return m.word0;
}

static void tell(unsigned id, uint64_t word) { NEED_OK(call_send(id, word, 0, 0, 0, 0)); }

/* ---- A reader ---- */

static int reader(uint64_t dies)
{
    struct task_range range;
    (void)wait_for_word(writer); /* granted */
    NEED_OK(call_query(address_of(file), &range));
    NEED(range.rights == TASK_READ && range.giver == writer && range.bytes == module_bytes);
    NEED_STATUS(call_query(address_of(head()), &range), STATUS_ABSENT);         /* behind the end, as yet */
    NEED_STATUS(call_stats((struct task_stats *)(void *)file), STATUS_DENIED); /* it may not be written to */
    tell(writer, 0);
    (void)wait_for_word(writer); /* there is a head */
    for (uint64_t i = 0; i < records; i++) {
        while (__atomic_load_n(&head()->count, __ATOMIC_ACQUIRE) <= i) {
            NEED_OK(call_yield());
        }
        go_through(i, false);
    }
    tell(writer, sum_of_all());
    (void)wait_for_word(writer); /* all have read it */
    if (dies) {
        (void)*(volatile uint8_t *)(file + bytes_now());
        say("still alive");
    }
    NEED_STATUS(call_log((const char *)(file + bytes_now()), 1), STATUS_DENIED); /* as the kernel finds it */
    return 0;
}

/* ---- The writer ---- */

/* It begins as the module does, and what is written to it is the file's alone. */
static void compare_with_module(void)
{
    user_address va;
    NEED_OK(call_map_module(name, strlen(name), TASK_PRIVATE, &va));
    const uint8_t *module = (const uint8_t *)va;
    NEED(memcmp(file, module, module_bytes) == 0);
    file[0]++;
    NEED((uint8_t)(module[0] + 1) == file[0]);
    file[0]--;
    NEED_OK(call_free(va, module_bytes));
}

/* => how often it was grown. */
static uint64_t write_all(void)
{
    uint64_t bytes = bytes_now(), grown = 0;
    for (uint64_t i = 0; i < records; i++) {
        const uint64_t end = address_of(&head()->records[i + 1]) - address_of(file);
        while (bytes < end) {
            bytes += PAGE_BYTES;
            NEED_OK(call_segment_resize(address_of(file), bytes));
            grown++;
        }
        go_through(i, true);
        __atomic_store_n(&head()->count, i + 1, __ATOMIC_RELEASE);
        if (i % 8 == 0) {
            NEED_OK(call_yield()); /* they read what there is */
        }
    }
    NEED(bytes_now() == bytes);
    return grown;
}

static void arguments(int argc, char **argv)
{
    const char *given = argc > 1 ? argv[1] : argv[0];
    if (argc > 3 || strlen(given) >= sizeof name || (argc == 3 && !number_of(argv[2], &records)) || records == 0 ||
        records > RECORDS_MAX) {
        fail("journal [MODULE [RECORDS]], 1 to %u of them", RECORDS_MAX);
    }
    memcpy(name, given, strlen(given));
    writer = my_id();
}

int main(int argc, char **argv)
{
    user_address va;
    unsigned id[READERS];
    arguments(argc, argv);
    NEED_STATUS(call_segment_file("no such module", 14, TASK_READ, &va), STATUS_ABSENT);
    NEED_OK(call_segment_file(name, strlen(name), TASK_READ | TASK_WRITE, &va));
    file = (uint8_t *)va;
    module_bytes = bytes_now();
    compare_with_module();
    for (unsigned i = 0; i < READERS; i++) {
        NEED_OK(task_begin(reader, i, NULL, 0, &id[i]));
        NEED_OK(call_segment_grant(va, id[i], TASK_READ));
        tell(id[i], 0);
        (void)wait_for_word(id[i]);
    }
    NEED_OK(call_segment_resize(va, module_bytes + PAGE_BYTES));
    for (unsigned i = 0; i < READERS; i++) {
        tell(id[i], 0);
    }
    const uint64_t grown = write_all(), sum = sum_of_all();
    for (unsigned i = 0; i < READERS; i++) {
        NEED(wait_for_word(id[i]) == sum);
    }
    NEED_STATUS(call_segment_resize(va, module_bytes), STATUS_SHARED); /* they have read it */
    for (unsigned i = 0; i < READERS; i++) {
        tell(id[i], 0);
        wait_for_end(id[i]);
    }
    say("%s: %lu bytes, then %lu records; grown %lu times, each word read by %u tasks; sum %#lx", name, module_bytes,
        records, grown, READERS, sum);
    NEED_OK(call_segment_resize(va, module_bytes)); /* they are gone */
    compare_with_module();
    NEED_OK(call_segment_revoke(va, my_id()));
    return 0;
}
