/*
 * Each system call with each wrong argument: its status, and nothing changed (the bed compares all that can be seen).
 * And what each call does when it works.
 */
#include "arch/layout.h"
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES
#define BIG (UINT64_MAX - PAGE_BYTES + 1)
#define KERNEL 0xFFFF800000000000UL
#define GLOBAL_FIRST LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)

/* Words that stand for something of the bed, so that tables can be constant. */
#define MINE 0x5EED000000000000UL     /* + offset: of a's pages: 0 and 1 to write, 2 to read, 3 sealed */
#define THEIRS 0x5EED100000000000UL   /* b's */
#define TEXT 0x5EED200000000000UL     /* "module" in a's private part, read-only */
#define B_ID 0x5EED300000000000UL
#define A_ID 0x5EED400000000000UL
#define PRIVATE 0x5EED500000000000UL  /* a private page to write */
#define LENT 0x5EED600000000000UL     /* a page of b's that it lends to a, read-only */
#define KEEP 0x5EED700000000000UL     /* + n: where keep n of `keeps` is */
#define KINDS 0xFFFFF00000000000UL

struct wrong {
    uint64_t number, words[6];
    enum status answer;
};

static uint64_t text_at, private_at, keeps_at, lent_at;

static uint64_t resolve(uint64_t w)
{
    const uint64_t offset = w & ~KINDS;
    switch (w & KINDS) {
    case MINE: return bed.page[0].v + offset;
    case THEIRS: return bed.page[1].v + offset;
    case TEXT: return text_at + offset;
    case B_ID: return bed.b->id;
    case A_ID: return bed.a->id;
    case PRIVATE: return private_at + offset;
    case LENT: return lent_at + offset;
    case KEEP: return keeps_at + offset * sizeof(struct task_keep);
    }
    return w;
}

/* What the words above stand for. */
static bool open_scene(void)
{
    static const struct task_keep keeps[] = {
        {MINE, P, TASK_READ},      /* 0: good */
        {MINE + 1, P, TASK_READ},  /* 1: unaligned */
        {MINE, 0, TASK_READ},      /* 2: empty */
        {MINE, P, 0},              /* 3: no rights */
        {MINE, P, 8},              /* 4: unknown rights */
        {PRIVATE, P, TASK_READ},   /* 5: private */
        {THEIRS, P, TASK_READ},    /* 6: not its own */
        {MINE + 2 * P, P, TRW},    /* 7: no right to write there */
        {MINE, P, TASK_READ},      /* 8, 9: the same twice */
        {MINE, P, TASK_READ},
        {MINE, BIG, TASK_READ},    /* 10: overflows */
        {KERNEL, P, TASK_READ},    /* 11 */
        {GLOBAL_FIRST - P, 2 * P, TASK_READ},   /* 12: half private */
        {MINE, P, TASK_WRITE | TASK_EXECUTE},   /* 13 */
        {MINE + 3 * P, 2 * P, TASK_READ},       /* 14: half there */
    };
    static struct task_keep there[ARRAY_LEN(keeps)];
    if (!task_bed_open(&bed)) {
        return false;
    }
    struct task *a = bed.a;
    bool ok = EXPECT_OK(CALL(&bed, a, TASK_ALLOC, P, TRW | TASK_PRIVATE | TASK_POPULATE, 0));
    private_at = task_value(a);
    ok = EXPECT_OK(CALL(&bed, a, TASK_ALLOC, P, TRW | TASK_PRIVATE | TASK_POPULATE | TASK_GUARDS, 0)) && ok;
    text_at = task_value(a);
    keeps_at = text_at + 64;
    for (unsigned i = 0; i < ARRAY_LEN(keeps); i++) {
        there[i] = (struct task_keep){resolve(keeps[i].va), keeps[i].bytes, keeps[i].rights};
    }
    ok = EXPECT(task_bed_write(&bed, a, vaddr(text_at), "module", 6)) && ok;
    ok = EXPECT(task_bed_write(&bed, a, vaddr(keeps_at), there, sizeof there)) && ok;
    ok = EXPECT_OK(CALL(&bed, a, TASK_PROTECT, text_at, P, TASK_READ)) && ok;
    ok = EXPECT_OK(CALL(&bed, a, TASK_PROTECT, bed.page[0].v + 2 * P, P, TASK_READ)) && ok;
    ok = EXPECT_OK(CALL(&bed, a, TASK_SEAL, bed.page[0].v + 3 * P, P)) && ok;
    lent_at = bed.page[1].v + P;
    return EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, lent_at, P, a->id, TASK_READ, 0)) && ok;
}

static void expect_all(const struct wrong *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct task_words words;
        for (unsigned k = 0; k < ARRAY_LEN(words.at); k++) {
            words.at[k] = resolve(table[i].words[k]);
        }
        if (!EXPECT_EQ(task_bed_call(&bed, bed.a, table[i].number, words), table[i].answer)) {
            test_note("row %zu: call %lu", i, table[i].number);
        }
    }
}

TEST(task_calls, numbers_that_are_no_call_are_unsupported)
{
    static const struct wrong table[] = {
        {TASK_CALLS, {1, 2, 3}, STATUS_UNSUPPORTED},
        {1UL << 32, {1, 2, 3}, STATUS_UNSUPPORTED},
        {(1UL << 32) + TASK_EXIT, {1, 2, 3}, STATUS_UNSUPPORTED},
        {UINT64_MAX, {1, 2, 3}, STATUS_UNSUPPORTED},
    };
    REQUIRE(open_scene());
    expect_all(table, ARRAY_LEN(table));
    task_bed_close(&bed);
}

TEST(task_calls, wrong_arguments_about_own_memory_are_refused)
{
    static const struct wrong table[] = {
        {TASK_ALLOC, {0, TRW}, STATUS_INVALID},
        {TASK_ALLOC, {P, 0}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_PRIVATE}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_WRITE | TASK_EXECUTE}, STATUS_INVALID},
        {TASK_ALLOC, {P, 8 | TASK_READ}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_READ | TASK_NO_WAIT}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_READ | 1UL << 32}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_READ, 1}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_READ, 40}, STATUS_INVALID},
        {TASK_ALLOC, {P, TASK_READ, 1UL << 32}, STATUS_INVALID},
        {TASK_ALLOC, {UINT64_MAX, TRW}, STATUS_INVALID},
        {TASK_ALLOC, {(TASK_PAGES + 1UL) * P, TRW}, STATUS_LIMIT},
        {TASK_ALLOC, {1UL << 45, TRW | TASK_PRIVATE}, STATUS_LIMIT},
        {TASK_FREE, {MINE + 1, P}, STATUS_INVALID},
        {TASK_FREE, {MINE, 0}, STATUS_INVALID},
        {TASK_FREE, {MINE, BIG}, STATUS_INVALID},
        {TASK_FREE, {MINE, UINT64_MAX}, STATUS_INVALID},
        {TASK_FREE, {0, P}, STATUS_RANGE},
        {TASK_FREE, {KERNEL, P}, STATUS_RANGE},
        {TASK_FREE, {BIG, P}, STATUS_RANGE},
        {TASK_FREE, {GLOBAL_FIRST - P, 2 * P}, STATUS_RANGE},
        {TASK_FREE, {THEIRS, P}, STATUS_ABSENT},
        {TASK_FREE, {LENT, 100 * P}, STATUS_ABSENT},
        {TASK_FREE, {MINE + 3 * P, P}, STATUS_DENIED},
        {TASK_FREE, {MINE, 4 * P}, STATUS_DENIED},
        {TASK_PROTECT, {MINE + 1, P, TASK_READ}, STATUS_INVALID},
        {TASK_PROTECT, {MINE, 0, TASK_READ}, STATUS_INVALID},
        {TASK_PROTECT, {MINE, P, 8}, STATUS_INVALID},
        {TASK_PROTECT, {MINE, P, TASK_WRITE | TASK_EXECUTE}, STATUS_INVALID},
        {TASK_PROTECT, {MINE, P, 1UL << 32 | TASK_READ}, STATUS_INVALID},
        {TASK_PROTECT, {MINE, P, TASK_EXECUTE}, STATUS_DENIED},
        {TASK_PROTECT, {LENT, P, TRW}, STATUS_DENIED},
        {TASK_PROTECT, {MINE + 3 * P, P, TASK_READ}, STATUS_DENIED},
        {TASK_PROTECT, {THEIRS, P, TASK_READ}, STATUS_ABSENT},
        {TASK_PROTECT, {KERNEL, P, TASK_READ}, STATUS_RANGE},
        {TASK_SEAL, {MINE + 1, P}, STATUS_INVALID},
        {TASK_SEAL, {MINE, 0}, STATUS_INVALID},
        {TASK_SEAL, {THEIRS, P}, STATUS_ABSENT},
        {TASK_SEAL, {KERNEL, P}, STATUS_RANGE},
    };
    REQUIRE(open_scene());
    expect_all(table, ARRAY_LEN(table));
    task_bed_close(&bed);
}

TEST(task_calls, wrong_buffers_names_and_texts_are_refused)
{
    static const struct wrong table[] = {
        {TASK_MAP_MODULE, {TEXT, 0, 0}, STATUS_INVALID},
        {TASK_MAP_MODULE, {TEXT, 6, TASK_READ}, STATUS_INVALID},
        {TASK_MAP_MODULE, {TEXT, TASK_NAME_BYTES, 0}, STATUS_LIMIT},
        {TASK_MAP_MODULE, {TEXT, UINT64_MAX, 0}, STATUS_LIMIT},
        {TASK_MAP_MODULE, {TEXT, 5, 0}, STATUS_ABSENT},
        {TASK_MAP_MODULE, {KERNEL, 6, 0}, STATUS_RANGE},
        {TASK_MAP_MODULE, {THEIRS, 6, 0}, STATUS_DENIED},
        {TASK_QUERY, {THEIRS, MINE}, STATUS_ABSENT},
        {TASK_QUERY, {KERNEL, MINE}, STATUS_RANGE},
        {TASK_QUERY, {0, MINE}, STATUS_RANGE},
        {TASK_QUERY, {MINE, KERNEL}, STATUS_RANGE},
        {TASK_QUERY, {MINE, 0}, STATUS_RANGE},
        {TASK_QUERY, {MINE, UINT64_MAX - 8}, STATUS_INVALID},
        {TASK_QUERY, {MINE, THEIRS}, STATUS_DENIED},
        {TASK_QUERY, {MINE, TEXT}, STATUS_DENIED},
        {TASK_QUERY, {MINE, LENT}, STATUS_DENIED},
        {TASK_LOG, {TEXT, 0}, STATUS_INVALID},
        {TASK_LOG, {TEXT, TASK_LOG_BYTES + 1}, STATUS_LIMIT},
        {TASK_LOG, {TEXT, UINT64_MAX}, STATUS_LIMIT},
        {TASK_LOG, {THEIRS, 5}, STATUS_DENIED},
        {TASK_LOG, {KERNEL, 5}, STATUS_RANGE},
        {TASK_LOG, {UINT64_MAX, 5}, STATUS_INVALID},
        {TASK_STATS, {TEXT}, STATUS_DENIED},
        {TASK_STATS, {THEIRS}, STATUS_DENIED},
        {TASK_STATS, {KERNEL}, STATUS_RANGE},
        {TASK_STATS, {0}, STATUS_RANGE},
        {TASK_RECEIVE, {0, MINE, P, 1}, STATUS_INVALID},
        {TASK_RECEIVE, {0, UINT64_MAX, P, 0}, STATUS_INVALID},
        {TASK_RECEIVE, {0, KERNEL, P, 0}, STATUS_RANGE},
        {TASK_RECEIVE, {0, 0, 1, 0}, STATUS_RANGE},
        {TASK_RECEIVE, {0, 0, 0, TASK_NO_WAIT}, STATUS_AGAIN},
        {TASK_RECEIVE, {77, 0, 0, 0}, STATUS_ABSENT},
        {TASK_RECEIVE, {1UL << 32, 0, 0, 0}, STATUS_ABSENT},
    };
    REQUIRE(open_scene());
    expect_all(table, ARRAY_LEN(table));
    EXPECT_EQ(bed.logs, 0);
    task_bed_close(&bed);
}

TEST(task_calls, wrong_arguments_about_pages_for_others_are_refused)
{
    static const struct wrong table[] = {
        {TASK_SHARE, {MINE, P, 77, TASK_READ}, STATUS_ABSENT},
        {TASK_SHARE, {MINE, P, 0, TASK_READ}, STATUS_ABSENT},
        {TASK_SHARE, {MINE, P, UINT64_MAX, TASK_READ}, STATUS_ABSENT},
        {TASK_SHARE, {MINE, P, A_ID, TASK_READ}, STATUS_INVALID},
        {TASK_SHARE, {MINE, 0, B_ID, TASK_READ}, STATUS_INVALID},
        {TASK_SHARE, {MINE + 1, P, B_ID, TASK_READ}, STATUS_INVALID},
        {TASK_SHARE, {MINE, BIG, B_ID, TASK_READ}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, 0}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, 8}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, TASK_WRITE | TASK_EXECUTE}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, TASK_READ, MINE}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, TASK_READ, AT_PRIVATE + 1}, STATUS_INVALID},
        {TASK_SHARE, {MINE, P, B_ID, TASK_READ, KERNEL}, STATUS_RANGE},
        {TASK_SHARE, {KERNEL, P, B_ID, TASK_READ}, STATUS_RANGE},
        {TASK_SHARE, {PRIVATE, P, B_ID, TASK_READ}, STATUS_NOT_GLOBAL},
        {TASK_SHARE, {THEIRS, P, B_ID, TASK_READ}, STATUS_ABSENT},
        {TASK_SHARE, {MINE + 2 * P, P, B_ID, TRW}, STATUS_DENIED},
        {TASK_SHARE, {MINE, P, B_ID, TASK_EXECUTE}, STATUS_DENIED},
        {TASK_SHARE, {LENT, P, B_ID, TASK_READ}, STATUS_EXISTS},
        {TASK_TRANSFER, {MINE, P, 77, TASK_READ}, STATUS_ABSENT},
        {TASK_TRANSFER, {MINE, P, A_ID, TASK_READ}, STATUS_INVALID},
        {TASK_TRANSFER, {MINE, P, B_ID, 0}, STATUS_INVALID},
        {TASK_TRANSFER, {MINE, 0, B_ID, TASK_READ}, STATUS_INVALID},
        {TASK_TRANSFER, {PRIVATE, P, B_ID, TASK_READ}, STATUS_NOT_GLOBAL},
        {TASK_TRANSFER, {MINE + 3 * P, P, B_ID, TASK_READ}, STATUS_DENIED},
        {TASK_TRANSFER, {MINE + 2 * P, P, B_ID, TRW}, STATUS_DENIED},
        {TASK_WITHDRAW, {MINE, P, 77}, STATUS_ABSENT},
        {TASK_WITHDRAW, {MINE, P, A_ID}, STATUS_INVALID},
        {TASK_WITHDRAW, {MINE, P, B_ID}, STATUS_ABSENT},
        {TASK_WITHDRAW, {LENT, P, B_ID}, STATUS_ABSENT},
        {TASK_WITHDRAW, {MINE + 1, P, B_ID}, STATUS_INVALID},
        {TASK_WITHDRAW, {MINE, 0, B_ID}, STATUS_INVALID},
        {TASK_WITHDRAW, {KERNEL, P, B_ID}, STATUS_RANGE},
    };
    REQUIRE(open_scene());
    expect_all(table, ARRAY_LEN(table));
    task_bed_close(&bed);
}

TEST(task_calls, wrong_arguments_of_a_message_are_refused_and_nothing_is_sent)
{
    static const struct wrong table[] = {
        {TASK_SEND, {77, 1, 2}, STATUS_ABSENT},
        {TASK_SEND, {0, 1, 2}, STATUS_ABSENT},
        {TASK_SEND, {B_ID, 1, 2, 0, 0, TASK_READ}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, 0, 0, TASK_NO_WAIT}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, 0, 0, 1UL << 32}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, P, TASK_DATA | TASK_GIVE | TRW}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, P, TASK_LEND | TASK_GIVE | TRW}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, 8, TASK_DATA | TASK_READ}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, 0, TASK_DATA}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, TASK_DATA_BYTES + 1, TASK_DATA}, STATUS_LIMIT},
        {TASK_SEND, {B_ID, 1, 2, MINE, UINT64_MAX, TASK_DATA}, STATUS_LIMIT},
        {TASK_SEND, {B_ID, 1, 2, THEIRS, 8, TASK_DATA}, STATUS_DENIED},
        {TASK_SEND, {B_ID, 1, 2, KERNEL, 8, TASK_DATA}, STATUS_RANGE},
        {TASK_SEND, {B_ID, 1, 2, UINT64_MAX, 8, TASK_DATA}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, P, TASK_GIVE}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, 0, TASK_GIVE | TRW}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE, UINT64_MAX, TASK_GIVE | TRW}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE + 1, P, TASK_LEND | TRW}, STATUS_INVALID},
        {TASK_SEND, {B_ID, 1, 2, MINE + 3 * P, P, TASK_GIVE | TRW}, STATUS_DENIED},
        {TASK_SEND, {B_ID, 1, 2, MINE + 2 * P, P, TASK_LEND | TRW}, STATUS_DENIED},
        {TASK_SEND, {B_ID, 1, 2, PRIVATE, P, TASK_GIVE | TRW}, STATUS_NOT_GLOBAL},
        {TASK_SEND, {B_ID, 1, 2, THEIRS, P, TASK_GIVE | TRW}, STATUS_ABSENT},
        {TASK_SEND, {B_ID, 1, 2, KERNEL, P, TASK_GIVE | TRW}, STATUS_RANGE},
    };
    REQUIRE(open_scene());
    expect_all(table, ARRAY_LEN(table));
    task_bed_close(&bed);
}

TEST(task_calls, wrong_arguments_of_a_clone_are_refused_and_leave_no_child)
{
    static const struct wrong table[] = {
        {TASK_CLONE, {0, 1, KEEP, 1, P}, STATUS_RANGE},
        {TASK_CLONE, {KERNEL, 1, KEEP, 1, P}, STATUS_RANGE},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, TASK_KEEP_MAX + 1, P}, STATUS_LIMIT},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, UINT64_MAX, P}, STATUS_LIMIT},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, THEIRS, 1, P}, STATUS_DENIED},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KERNEL, 1, P}, STATUS_RANGE},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, 1, 0}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, 1, UINT64_MAX}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, 1, TASK_PAGES * (uint64_t)P}, STATUS_LIMIT},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 1, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 2, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 3, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 4, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 5, 1, P}, STATUS_NOT_GLOBAL},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 6, 1, P}, STATUS_ABSENT},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 7, 1, P}, STATUS_DENIED},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 8, 2, P}, STATUS_EXISTS},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 10, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 11, 1, P}, STATUS_RANGE},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 12, 1, P}, STATUS_RANGE},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 13, 1, P}, STATUS_INVALID},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP + 14, 1, P}, STATUS_ABSENT},
        {TASK_CLONE, {TASK_BED_ENTRY, 1, KEEP, 2, P}, STATUS_INVALID}, /* the second is wrong: the first is not kept */
    };
    REQUIRE(open_scene());
    bed.is_lax = true; /* the parent's tables may say read-only afterwards: mended by the next write */
    expect_all(table, ARRAY_LEN(table)); /* once before: what grows to a usual size has grown */
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const unsigned count = bed.tasks.count, next_id = bed.tasks.next_id;
        const uint64_t pages = bed.a->space.pages.v, ranges = bed.a->space.ranges;
        const struct task_bed_memory before = task_bed_memory(&bed);
        expect_all(&table[i], 1);
        const struct task_bed_memory after = task_bed_memory(&bed);
        EXPECT(task_bed_check(&bed));
        EXPECT(bed.tasks.count == count && bed.tasks.next_id == next_id && bed.spaces.system.first->next != NULL);
        EXPECT(bed.a->space.pages.v == pages && bed.a->space.ranges == ranges);
        EXPECT(after.frames == before.frames && after.heap_pages == before.heap_pages);
    }
    task_bed_close(&bed);
}
